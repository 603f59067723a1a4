"""The jobs on a candidate in its confined process: describe it, train it, compute its values (ours).

Each takes a request, arrays and the suites' training data and OOD inputs by name, and returns plain data: an object and
arrays. Nothing here, and nothing that is imported here, has a target outside the training range.
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
    """Trains a program on the tasks of a suite and predicts.

    The request has `source`; `suite`, the name; `lab`, the fields of a LabConfig; `seed`; and `chosen`, the places of
    some tasks, or none for all. Returns predictions [tasks, points]: of the training points, of the OOD points in
    batches of the training size, and of the OOD points as one batch.
    """
    config, suite, chosen = LabConfig(**request["lab"]), data[request["suite"]], request.get("chosen")
    which = slice(None) if chosen is None else chosen
    dtype = getattr(torch, config.dtype)
    function = compile_program(check(request["source"]))
    networks = training.train(function, suite, config, request["seed"], chosen)
    train_x, ood_x = (torch.from_numpy(x[which]).to(dtype) for x in (suite.train_x, suite.ood_x))
    asked = ((train_x, config.batch), (ood_x, config.batch), (ood_x, None))
    return {}, [networks.predict(function, *points).double().numpy() for points in asked]


def values(request: Mapping[str, Any], arrays: Sequence[np.ndarray], data: Mapping[str, TrainingView]) -> Answer:
    """A program's result at one element of a batch, and its slope along that element by autograd, [points] each.

    The request has `source`; the arrays are x [points], the element in the first row and second column, and the batch
    [batch, features], which has all others.
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
    """Runs the zoo once, so that whatever torch loads late is loaded: a confined process can load nothing."""
    torch.set_num_threads(1)
    torch.backends.mkldnn.set_flags(False)  # oneDNN writes machine code as it runs, which confinement forbids
    x = np.random.default_rng(0).normal(size=(2, 64, 4))
    data = {"warm-up": TrainingView((4, 4), x, x[:, :, 0], x)}
    for name in zoo.names():
        source = check(zoo.program_source(name)).source
        describe({"source": source}, [], {})
        predict({"source": source, "suite": "warm-up", "lab": {"steps": 2}, "seed": 0}, [], data)
        values({"source": source}, [np.linspace(-1, 1, 5), x[0]], {})


JOBS: dict[str, Job] = {"describe": describe, "predict": predict, "values": values}
