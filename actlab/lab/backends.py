"""What trains the lab's networks: compiled C, where function and machine allow it, or torch, the reference (ours).

`ACTLAB_BACKEND=torch` asks for torch alone. Both take the same start and settings and give the same networks, to
rounding.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from actlab.core.config import LabConfig, LabsConfig
from actlab.lab import batch_statistics, compiled, training
from actlab.lab.listing import listed, listed_with_sums
from actlab.lab.operations import Unlisted, checked
from actlab.lab.tracing import Function
from actlab.lab.training import Networks, Start
from actlab.lab.training_view import TrainingView

LOG = logging.getLogger("actlab.lab.backends")
BACKENDS = ("compiled", "torch")


def excuse(config: LabConfig | LabsConfig) -> str | None:
    """Why torch trains all functions here, whatever they are; None where what can be compiled is.

    Raises:
        ValueError: where ACTLAB_BACKEND asks for a backend that there is not.
    """
    asked = os.environ.get("ACTLAB_BACKEND", "compiled")
    if asked not in BACKENDS:
        raise ValueError(f"ACTLAB_BACKEND: wanted one of {', '.join(BACKENDS)}; got {asked!r}")
    if config.device != "cpu":
        return f"compiled networks are the processor's; asked for {config.device}"
    why = "ACTLAB_BACKEND=torch asks for it" if asked == "torch" else compiled.missing()
    if why is not None:
        _say(f"torch trains the lab's networks: {why}")
    return why


_say = cache(LOG.warning)  # once a process


@dataclass(frozen=True)
class Trained:
    """Trained networks, what predicts with them, and who trained them."""

    networks: Networks
    predict: Callable[..., torch.Tensor]  # as `Networks.predict` without its function
    backend: str
    why: str | None = None  # the networks are not compiled


def shapes(config: LabConfig | LabsConfig, points: int) -> list[tuple[int, int]]:
    """Shapes [batch, features] at which a function is used, in training and on all of so many points at once.

    Of several labs they have each batch and each width, though not each with each.
    """
    labs = [lab for lab, *_ in config.parts(0, 0)]
    counts, widths = (
        list(dict.fromkeys(sizes)) for sizes in ([*(lab.batch for lab in labs), points], [lab.width for lab in labs])
    )
    return [(counts[i % len(counts)], widths[i % len(widths)]) for i in range(max(len(counts), len(widths)))]


def train(
    function: Function,
    start: Start,
    config: LabConfig,
    by_torch: Callable[[Function], Networks] | None = None,
    notes: np.ndarray | None = None,
) -> Trained:
    """Trains a function of our own from a start. A candidate is never run here: see `by_steps`.

    Args:
        function: of one model's [batch, features].
        start: points, their order and initial networks.
        config: the lab's settings.
        by_torch: what torch's training is, given the function; by default `training.train_from`.
        notes: as `compiled.train` takes them; what `by_torch` notes is its own affair.
    """
    steps, why = steps_of(function, config, start.x.shape[1])
    if why is None:
        return by_steps(steps, start, config, notes=notes)
    networks = training.train_from(function, start, config) if by_torch is None else by_torch(function)
    return Trained(networks, lambda *given: networks.predict(function, *given), "torch", why)


def steps_of(
    function: Callable[..., torch.Tensor], config: LabConfig, points: int, constants: int = 0
) -> tuple[Any, str | None]:
    """The list of operations of a function of our own, and None; or None, and why torch trains it.

    Args:
        function: of one model's [batch, features], and of its learned constants.
        config: the lab's settings.
        points: how many a network learns from.
        constants: how many it learns.
    """
    why = excuse(config)
    if why is not None:
        return None, why
    try:
        return lists(function, shapes(config, points), getattr(torch, config.dtype), constants), None
    except Unlisted as error:
        return None, str(error)


def lists(
    function: Callable[..., torch.Tensor], given: Sequence[tuple[int, int]], dtype: torch.dtype, constants: int = 0
) -> Any:
    """A function's list of operations, or, where it sees its batch, its lists; plain data. See `tracing.listed`.

    Raises:
        Unlisted: where it has neither.
    """
    try:
        return listed(function, given, dtype, constants)
    except Unlisted:
        if constants:
            raise
        return listed_with_sums(function, given, dtype)


def checked_lists(steps: Any) -> Any:
    """What `lists` gives, if it is such; raises Unlisted else."""
    return batch_statistics.checked_lists(steps) if isinstance(steps, dict) else checked(steps)


def by_steps(steps: Any, start: Start, config: LabConfig, constants: np.ndarray | None = None, **more: Any) -> Trained:
    """Trains a function that is given as a list of operations, which is checked; the rest is as in `compiled.train`.

    Raises:
        Unlisted: where the list is none.
        Uncompiled: where it cannot be compiled here.
    """
    act = compiled.compiled(steps, config.dtype, 0 if constants is None else constants.shape[-1])
    networks = compiled.train(act, start, config, constants=constants, **more)
    return Trained(networks, lambda x, batch=None: compiled.predict(act, networks, x, constants, batch), "compiled")


Labs = list[tuple[LabConfig, Sequence[int], Start]]  # each with the places of its tasks, and where they begin


def labs(data: TrainingView, config: LabConfig | LabsConfig, seed: int) -> Labs:
    """Where the trainings of a suite begin, lab by lab: one where `config` is a lab's own."""
    found = []
    for lab, own, places in config.parts(len(data.dims), seed):
        part = slice(places[0], places[-1] + 1)
        view = TrainingView(data.dims[part], data.train_x[part], data.train_y[part], data.ood_x[part])
        found.append((lab, places, Start.of(view, lab, own, range(len(places)))))
    return found


def in_labs(
    given: Labs, chosen: Sequence[int] | None, ood_x: np.ndarray, train: Callable[[Start, LabConfig], Trained]
) -> list[np.ndarray]:
    """What `predictions` gives of a suite's chosen tasks, in their order, or of all; each lab is trained by itself."""
    chosen = [place for _, places, _ in given for place in places] if chosen is None else list(chosen)
    made: dict[int, tuple[np.ndarray, ...]] = {}
    for lab, places, start in given:
        if wanted := [place for place in chosen if place in places]:
            start = start.at([place - places[0] for place in wanted])
            parts = predictions(train(start, lab), start, ood_x[wanted], lab)
            made |= zip(wanted, zip(*parts, strict=True), strict=True)
    return [np.stack(part) for part in zip(*(made[place] for place in chosen), strict=True)]


def predictions(trained: Trained, start: Start, ood_x: np.ndarray, config: LabConfig) -> list[np.ndarray]:
    """Predictions [tasks, points] of the training points; of the OOD points in batches; and of these as one batch.

    Args:
        trained: the networks.
        start: where they began.
        ood_x: [tasks, points, features].
        config: the lab's settings.
    """
    outside = torch.from_numpy(ood_x).to(start.x.dtype)
    asked = ((start.x, config.batch), (outside, config.batch), (outside, None))
    return [trained.predict(*points).double().numpy() for points in asked]
