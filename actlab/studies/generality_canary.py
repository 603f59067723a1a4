"""The canary of generality: tiny labs in float64, whose tasks and losses tell whether its code computes the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from actlab.activations import zoo
from actlab.core.config import SUITES, LabConfig, LabsConfig, LabsFitnessConfig, LabsTaskConfig
from actlab.lab import labs
from actlab.lab.tasks import Suite
from actlab.scoring.in_process import InProcess, one_thread, summary
from actlab.studies import generality

TASKS = LabsTaskConfig(calibration=6, search=6, held_out=6, far=7)
FITNESS = LabsFitnessConfig(each=TASKS.each, clip=0.2)  # so low that some labs are clipped
PARTS = ((8, 9, 10, 11, 0, 1, 2, 3), (*range(4, 8), *range(12, 24)))


def small(name: str, tasks: LabsTaskConfig = TASKS, dtype: str = "float64") -> Suite:
    """A suite of labs whose networks are narrow, trained for a few steps and of one shape, which is traced once."""
    made = labs.suite(name, tasks)
    few = tuple(replace(lab, steps=8, batch=64, width=8, dtype=dtype) for lab in made.labs.labs)
    return replace(made, labs=LabsConfig(few))


def values() -> dict[str, float | int | str]:
    """Settings and tasks of the labs of each suite, and scores in them, whole and in parts."""
    found: dict[str, float | int | str] = {}
    with one_thread():
        suites = {name: small(name) for name in SUITES}
        for name, made in suites.items():
            found[f"{name} labs"] = "; ".join(map(repr, labs.settings(name, TASKS)))
            found[f"{name} tasks"] = "; ".join(f"{task.family} {task.label}" for task in made.tasks)
            arrays = {"train x": made.blind.train_x, "train y": made.blind.train_y, "ood x": made.blind.ood_x}
            for part, array in (arrays | {"ood y": made.ood_y}).items():
                found |= summary(f"{name} {part}", array)
        snake = generality.tuned_source(generality.FORMS["snake"][0], 0.53, 1.7)
        turbulent = zoo.program_source("turbulent")  # which sees its batch, so that it is traced anew in each lab
        with InProcess(suites, FITNESS, 1) as evaluator:
            for name, source, suite, part in (
                ("snake", snake, "search", None),
                ("snake", snake, "far", None),
                ("turbulent", turbulent, "search", PARTS[0]),
            ):
                score = evaluator.submit(source, suite, LabConfig(), chosen=part).result()
                found |= summary(f"{name} {suite}", np.array([*score.ood_mse, *score.train_mse, score.fitness]))
            relu = evaluator.submit(zoo.program_source("relu"), "search", LabConfig()).result()
            parts = [(part, evaluator.submit(snake, "search", LabConfig(), chosen=part).result()) for part in PARTS]
            found["joined"] = evaluator.joined(parts, "search", relu).fitness
    return found
