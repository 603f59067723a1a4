"""Suites whose tasks lie in many labs, to choose a function, and to judge it, for what it does across labs (ours).

A lab is drawn from a stated distribution, in strata of the number of hidden layers and of the gain of the initial
weights, which are the settings that turned the order of functions around in earlier labs. Labs of the four suites have
numbers of their own, apart from one another and from the multiverse's. The far labs lie outside of the distribution, a
kind at a time. A task's family is its lab's stratum here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import product

import numpy as np

from actlab.core.config import SUITES, LabsConfig, LabsTaskConfig
from actlab.lab import variant
from actlab.lab.distribution import Distribution, Levels, Range
from actlab.lab.tasks import OTHERS, Suite
from actlab.lab.training_view import TrainingView
from actlab.lab.variant import Settings

DEPTHS = {"one layer": (1,), "two layers": (2,), "three or four layers": (3, 4)}  # the cheapest first
GAINS = {"low gain": Range(0.5, 1.2), "high gain": Range(1.2, 3.0)}
STRATA = {f"{depth}, {gain}": (DEPTHS[depth], GAINS[gain]) for depth, gain in product(DEPTHS, GAINS)}
SHAPED = {"samples": Levels((256,)), "gelu": Levels(("tanh",))}  # one stack of points; no program is told from others

Far = Callable[[Settings], Settings]
NOISE = 0.3  # standard deviations of the target, on the training points of noisy labs
FAR: dict[str, tuple[dict[str, Range | Levels], Far]] = {  # what is drawn from elsewhere, and what is changed
    "wider rings": ({"ring": Range(0.5, 1.0)}, lambda lab: lab),
    "gains of four": ({"gain": Range(3.5, 4.5)}, lambda lab: lab),
    "five or six layers": ({"depth": Levels((5, 6))}, lambda lab: lab),
    "wide": ({"width": Levels((96, 128))}, lambda lab: lab),
    "smooth networks": ({}, lambda lab: replace(lab, families=OTHERS[:1])),
    "splines": ({}, lambda lab: replace(lab, families=OTHERS[1:])),
    "noise": ({}, lambda lab: lab),
}


def settings(name: str, config: LabsTaskConfig) -> Iterator[tuple[str, Settings]]:
    """The labs of a suite, each with its stratum, or the kind of far lab that it is.

    Raises:
        ValueError: where there is no suite of that name, or its size cannot be shared equally by the strata.
    """
    if name not in SUITES:
        raise ValueError(f"unknown suite: wanted one of {', '.join(SUITES)}; got {name!r}")
    strata: dict[str, tuple[dict[str, Range | Levels], Far]] = FAR
    if name != "far":
        strata = {
            stratum: ({"depth": Levels(depths), "gain": gain}, lambda lab: lab)
            for stratum, (depths, gain) in STRATA.items()
        }
    if config.size(name) % len(strata):
        raise ValueError(
            f"the {name} labs: wanted a multiple of {len(strata)}, for equal strata; got {config.size(name)}"
        )
    counts = tuple(count for count in (1, 2, 4) if config.each % count == 0)
    for place, (stratum, (drawn, changed)) in enumerate(strata.items()):
        distribution = Distribution(tasks=config.each, counts=counts, seed=config.seed, **{**SHAPED, **drawn})
        for lab in range(config.size(name) // len(strata)):
            yield stratum, changed(distribution.draw(SUITES.index(name), place, lab))


def suite(name: str, config: LabsTaskConfig) -> Suite:
    """The suite of that name, the same to the byte for the same config; its labs are trained as `Suite.labs` says.

    Calibration and search draw Feynman equations from one pool, held-out and far from the other.
    """
    strata, labs = zip(*settings(name, config), strict=True)
    made = [variant.suite(lab, name in ("held-out", "far")) for lab in labs]
    for stratum, lab, part in zip(strata, labs, made, strict=True):
        if stratum == "noise":
            generator = np.random.default_rng([lab.seed, 2])
            part.blind.train_y[:] += NOISE * lab.target_scale * generator.standard_normal(part.blind.train_y.shape)
    tasks = tuple(
        replace(task, family=stratum, label=f"lab {place}, {task.family}, {task.label}")
        for place, (stratum, part) in enumerate(zip(strata, made, strict=True))
        for task in part.tasks
    )
    arrays = {field.name: np.concatenate([getattr(part.blind, field.name) for part in made])
              for field in fields(TrainingView) if field.name != "dims"}  # fmt: skip
    dims = tuple(dim for part in made for dim in part.blind.dims)
    ood_y, offset, scale, unit = (
        np.concatenate([getattr(part, one) for part in made]) for one in ("ood_y", "offset", "scale", "unit")
    )
    config_of = LabsConfig(tuple(lab.lab for lab in labs))
    return Suite(name, np.nan, tasks, TrainingView(dims, **arrays), ood_y, offset, scale, unit, config_of)
