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
from actlab.core.config import LabConfig, lab_config
from actlab.lab import backends, training
from actlab.lab.backends import Trained
from actlab.lab.operations import Unlisted
from actlab.lab.tracing import Function
from actlab.lab.training import Start
from actlab.lab.training_view import TrainingView

Answer = tuple[dict[str, Any], list[np.ndarray]]
WARM = ("relu", "gelu-sine", "turbulent", "fisg")  # of the zoo: pointwise ones, of the batch, by Fourier transforms
Job = Callable[[Mapping[str, Any], Sequence[np.ndarray], Mapping[str, TrainingView]], Answer]


def describe(request: Mapping[str, Any], arrays: Sequence[np.ndarray], data: Mapping[str, TrainingView]) -> Answer:
    """Behaviour, cost, traits and fingerprint of `request["source"]`, as `profiling.Description`'s plain data.

    Where the request has `shapes` and a `dtype`, its list of operations besides, as `_listed` gives it.
    """
    found = profiling.describe(request["source"])
    answer = {"description": found.to_dict()}
    if found.error is None and request.get("shapes"):
        answer |= _listed(compile_program(check(request["source"])), request)
    return answer, []


def _listed(function: Function, request: Mapping[str, Any]) -> dict[str, Any]:
    """A function's `steps`, or why it is `unlisted`. What raises here raises again where torch trains it."""
    try:
        return {"steps": backends.lists(function, request["shapes"], getattr(torch, request["dtype"]))}
    except Unlisted as error:
        return {"unlisted": str(error)[:200]}
    except Exception as raised:
        return {"unlisted": f"it raised {type(raised).__name__}"}


def predict(request: Mapping[str, Any], arrays: Sequence[np.ndarray], data: Mapping[str, TrainingView]) -> Answer:
    """Trains a program on the tasks of a suite and predicts.

    The request has `source`; `suite`, the name; `lab`, the fields of a LabConfig or LabsConfig; `seed`; and `chosen`,
    the places of some tasks, or none for all. Returns what `backends.in_labs` does. Where the request has `shapes` and
    a `dtype`, and the program can be listed, the answer has its `steps` instead, and the caller trains.
    """
    function, answer = compile_program(check(request["source"])), {}
    if request.get("shapes"):
        answer = _listed(function, request)
        if "steps" in answer:
            return answer, []
    suite, config = data[request["suite"]], lab_config(request["lab"])
    labs = backends.labs(suite, config, request["seed"])

    def train(start: Start, lab: LabConfig) -> Trained:
        networks = training.train_from(function, start, lab)
        return Trained(networks, lambda *given: networks.predict(function, *given), "torch")

    return answer, backends.in_labs(labs, request.get("chosen"), suite.ood_x, train)


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
    """Runs functions of each kind once, so that what torch loads late is there: a confined process loads nothing."""
    torch.set_num_threads(1)
    torch.backends.mkldnn.set_flags(False)  # oneDNN writes machine code as it runs, which confinement forbids
    x = np.random.default_rng(0).normal(size=(2, 64, 4))
    data = {"warm-up": TrainingView((4, 4), x, x[:, :, 0], x)}
    for name in WARM:
        source = check(zoo.program_source(name)).source
        describe({"source": source, "shapes": [(64, 4)], "dtype": "float32"}, [], {})
        predict({"source": source, "suite": "warm-up", "lab": {"steps": 2}, "seed": 0}, [], data)
        values({"source": source}, [np.linspace(-1, 1, 5), x[0]], {})


JOBS: dict[str, Job] = {"describe": describe, "predict": predict, "values": values}
