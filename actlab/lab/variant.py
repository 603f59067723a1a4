"""One lab out of many: the synthetic lab of section 4 with settings of its own, all of them free (ours).

The default lab (`actlab.lab.training`) fixes Adam's cosine schedule, torch's initialisation and the scales of the data.
A variant takes its initial weights, batches, tasks, recorded passes and training loop, and varies the rest: inputs,
targets and initial weights are multiplied, and the schedule is chosen. With the default lab's settings it trains the
same networks, up to rounding, at some 1.5 times the cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import numpy as np
import pandas as pd
import torch

from actlab.activations import zoo
from actlab.core import stats
from actlab.core.config import FAMILIES, TaskConfig, VariantConfig
from actlab.lab import backends, tasks, training
from actlab.lab.backends import Trained
from actlab.lab.tasks import Suite
from actlab.lab.tracing import Backward, Forward, Function, record
from actlab.lab.training import Networks

GELU = "gelu"  # whose form is a setting; functions that contain a GELU keep theirs
OOD_POINTS = 256  # a task; a multiple of every batch
COLUMNS = ["function", "task", "family", "ood_mse", "train_mse"]


@dataclass(frozen=True)
class Settings:
    """What one lab is set to, and the seed of its tasks, initial weights and batches."""

    ring: float  # width of the out-of-distribution ring, in half-ranges of the training box
    input_scale: float  # standard deviation of each input on the training box
    target_scale: float  # standard deviation of the training targets; losses are in its square all the same
    width: int  # units a hidden layer
    depth: int  # hidden layers
    learning_rate: float  # Adam's
    gain: float  # on all initial weights, over torch's own initialisation; biases stay
    schedule: str  # of the learning rate: falls to 0 along a cosine, or stays
    steps: int
    batch: int  # points a step
    samples: int  # training points a task, whole batches
    families: tuple[str, ...]
    gelu: str  # the form: "tanh" or "erf"
    tasks: int  # equally many of each family
    seed: int

    def __post_init__(self) -> None:
        if not self.families or set(self.families) - {*FAMILIES, *tasks.OTHERS}:
            came = ", ".join(self.families) or "none"
            raise ValueError(f"families: wanted some of {', '.join((*FAMILIES, *tasks.OTHERS))}; got {came}")
        if self.tasks % len(self.families):
            raise ValueError(f"tasks: wanted a multiple of {len(self.families)} families; got {self.tasks}")
        if self.gelu not in ("tanh", "erf"):
            raise ValueError(f"gelu: wanted tanh or erf; got {self.gelu!r}")
        _ = self.lab  # refuses what no lab can be set to

    @property
    def lab(self) -> VariantConfig:
        """How networks are trained."""
        names = ("width", "depth", "batch", "steps", "learning_rate", "schedule", "gain", "seed")
        return VariantConfig(**{name: getattr(self, name) for name in names})


def suite(settings: Settings, held_out: bool = True) -> Suite:
    """A lab's tasks, families in turn; what is blind has scaled inputs and targets.

    Args:
        settings: the lab's.
        held_out: whether Feynman equations are those kept from calibration and search, or the others.
    """
    generator = np.random.default_rng([settings.seed, 0])
    drawn = tasks.draw(settings.tasks // len(settings.families), held_out, generator, settings.families)
    config = TaskConfig(train_points=settings.samples, ood_points=OOD_POINTS)
    made = tasks.sample("variant", drawn, settings.ring, config, generator)
    scales = {"train_x": settings.input_scale, "ood_x": settings.input_scale, "train_y": settings.target_scale}
    scaled = {name: getattr(made.blind, name) * scale for name, scale in scales.items()}
    units = np.full(settings.tasks, settings.target_scale)
    return replace(made, blind=replace(made.blind, **scaled), unit=units)


class _Recorded(torch.autograd.Function):
    """A function's recorded passes (`actlab.lab.tracing`) as one step of autograd."""

    @staticmethod
    def forward(ctx: Any, z: torch.Tensor, forward: Forward, backward: Backward) -> torch.Tensor:
        value, *ctx.kept = forward(z)
        ctx.recorded = backward
        return value

    @staticmethod
    def backward(ctx: Any, d: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return ctx.recorded(d.contiguous(), *ctx.kept)[0], None, None


def train(function: Function, given: Suite, settings: Settings, dtype: torch.dtype = torch.float32) -> Trained:
    """Networks trained on each task of a lab, as `suite` makes them; the function is one of one model's batch.

    Torch trains them as one stack, and by autograd: `training.train` is faster, but rounds in another way, which the
    committed records would show.
    """
    config = replace(settings.lab, dtype=str(dtype).removeprefix("torch."))
    start = training.Start.of(given.blind, config, settings.seed, range(len(given.tasks)))
    networks = start.networks

    def by_torch(function: Function) -> Networks:
        passes = record(function, start.x.new_zeros(len(start.x), config.batch, config.width))
        layer = repeat(lambda z: _Recorded.apply(z, *passes))
        gradients = training.by_autograd(networks.tensors, lambda x, y: networks.losses(layer, x, y))
        training.fit(networks.tensors, gradients, start, config)
        return networks

    return backends.train(function, start, config, by_torch)


def losses(
    settings: Settings, functions: Mapping[str, Function], clamp: float, dtype: torch.dtype = torch.float32
) -> pd.DataFrame:
    """What a lab says of functions: a row a function and task, in the order given.

    Functions that see their batch are judged on OOD inputs in batches of the training size.

    Args:
        settings: the lab's.
        functions: by name; "gelu" is taken in the form of the settings, whatever is given.
        clamp: highest loss, in variances of the training target; NaN and infinity count as this.
        dtype: of the networks.

    Returns:
        The table of `COLUMNS`; a task is its number.
    """
    given, parts = suite(settings), []
    forms = {"tanh": zoo.gelu, "erf": zoo.gelu_erf}
    train_y = given.blind.train_y / settings.target_scale
    for name, function in functions.items():
        function = forms[settings.gelu] if name == GELU else function
        trained = train(function, given, settings, dtype)
        columns = {}
        for column, x, y in (("ood_mse", given.blind.ood_x, given.ood_y), ("train_mse", given.blind.train_x, train_y)):
            predicted = trained.predict(torch.from_numpy(x).to(dtype), settings.batch).double().numpy()
            with np.errstate(over="ignore", invalid="ignore"):
                mse = np.mean((predicted / settings.target_scale - y) ** 2, axis=1)
            columns[column] = stats.clamped(mse, clamp)
        parts.append(pd.DataFrame({"function": name, "task": range(len(y)), "family": given.families, **columns}))
    return pd.concat(parts, ignore_index=True)[COLUMNS]
