"""The work that is done on a candidate in its confined process: describe it, train it, take its values (ours).

Each job takes the request and the suites' blind data, and returns plain data: an object and arrays. Nothing here, and
nothing that is imported here, can tell a target outside of the training range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from actlab.activations import zoo
from actlab.candidates import profiling
from actlab.candidates.program import check, compile_program
from actlab.core.config import LabConfig
from actlab.lab import training
from actlab.lab.training_view import TrainingView

Answer = tuple[dict[str, Any], list[np.ndarray]]
Job = Callable[[Mapping[str, Any], Sequence[np.ndarray], Mapping[str, TrainingView]], Answer]


def describe(request: Mapping[str, Any], arrays: Sequence[np.ndarray], data: Mapping[str, TrainingView]) -> Answer:
    """Behaviour, cost, traits and fingerprint of `request["source"]`, as `profiling.Description`'s plain data."""
    return profiling.describe(request["source"]).to_dict(), []


def predict(request: Mapping[str, Any], arrays: Sequence[np.ndarray], data: Mapping[str, TrainingView]) -> Answer:
    """Trains a program on every task of a suite and predicts.

    Args:
        request: `source`; `suite`, the name; `lab`, the fields of a LabConfig; `seed`; and `chosen`, the places of
            some tasks of the suite, or none for all.
        arrays: none.
        data: the suites' training data and OOD inputs, by name.

    Returns:
        Predictions [tasks, points]: of the training points, of the OOD points in batches of the training size, and
        of the OOD points as one batch.
    """
    config, suite, chosen = LabConfig(**request["lab"]), data[request["suite"]], request.get("chosen")
    which = slice(None) if chosen is None else chosen
    dtype = getattr(torch, config.dtype)
    function = compile_program(check(request["source"]))
    networks = training.train(function, suite, config, request["seed"], chosen)
    train_x, ood_x = (torch.from_numpy(x[which]).to(dtype) for x in (suite.train_x, suite.ood_x))
    made = (
        networks.predict(function, train_x, config.batch),
        networks.predict(function, ood_x, config.batch),
        networks.predict(function, ood_x),
    )
    return {}, [prediction.double().numpy() for prediction in made]


def values(request: Mapping[str, Any], arrays: Sequence[np.ndarray], data: Mapping[str, TrainingView]) -> Answer:
    """A program's result at one element of a batch, and its slope along that element.

    Args:
        request: `source`.
        arrays: x [points], the element in the first row and second column; and the batch [batch, features], which
            gives all others.
        data: not used.

    Returns:
        y and its slope, as autograd has it, [points] each; float64.
    """
    points, stay = (torch.tensor(array) for array in arrays)
    moves = torch.zeros_like(stay, dtype=torch.bool)
    moves[0, 1] = True
    points.requires_grad_()
    stack = torch.where(moves, points[:, None, None], stay)
    y = torch.func.vmap(compile_program(check(request["source"])))(stack)[:, 0, 1]
    (slope,) = torch.autograd.grad(y.sum(), points)
    return {}, [y.detach().numpy(), slope.numpy()]


def warm_up() -> None:
    """Runs the zoo once, so that what torch loads late is loaded: a confined process can load nothing any more."""
    torch.set_num_threads(1)
    torch.backends.mkldnn.set_flags(False)  # oneDNN writes machine code as it goes, which confinement forbids
    x = np.random.default_rng(0).normal(size=(2, 64, 4))
    data = {"warm-up": TrainingView((4, 4), x, x[:, :, 0], x)}
    for name in zoo.names():
        source = check(zoo.program_source(name)).source
        describe({"source": source}, [], {})
        predict({"source": source, "suite": "warm-up", "lab": {"steps": 2}, "seed": 0}, [], data)
        values({"source": source}, [np.linspace(-1, 1, 5), x[0]], {})


JOBS: dict[str, Job] = {"describe": describe, "predict": predict, "values": values}
