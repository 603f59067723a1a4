"""Learned against fixed constants: the lab's networks, trained once more from the same start (Figure 9, ours).

The paper's constants are numbers that a search wrote. Here each is a parameter of the network: one scalar a network and
hidden layer, from the published value on, in the same Adam as the weights. Initial weights, batches, tasks, steps and
schedule are the lab's, so that differences to its own losses are paired by task. Which constants can be learned, and
how the functions are then written, says `actlab.learnable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from actlab.activations import zoo
from actlab.activations.tables import CONSTANTS as FUNCTIONS
from actlab.activations.trainable import learnable
from actlab.core import stats
from actlab.core.config import FAMILIES, SUITES, FitnessConfig, LabConfig
from actlab.core.jobs import Runner
from actlab.lab import backends, tasks, training
from actlab.lab.tracing import Function
from actlab.lab.training_view import TrainingView
from actlab.scoring import summaries
from actlab.scoring.evaluator import mse
from actlab.scoring.laboratory import Laboratory

PARTS = ("losses", "values")
FLOOR = 1e-6  # of a training loss under the logarithm

Constants = dict[str, torch.Tensor]  # by name, [layers, models, 1, 1]


@dataclass(frozen=True)
class Found:
    """What was found; both tables have the columns function, family and task besides.

    losses: constants (fixed, learned), suite, seed, ood_mse, train_mse.
    values: layer (from 1), constant, start, value (after the training in which it is learned).
    """

    losses: pd.DataFrame
    values: pd.DataFrame


@dataclass(frozen=True)
class Trained:
    """A stack of networks, the constants of the function between their layers, and predictions [models, points]."""

    networks: training.Networks
    constants: Constants
    predict: Callable[[torch.Tensor], torch.Tensor]  # at x [models, points, features]


def train(name: str, learned: bool, data: TrainingView, config: LabConfig, seed: int, chosen: Sequence[int]) -> Trained:
    """What `training.train` does for a zoo function, with its constants fixed or learned.

    Fixed ones, which are there to compare with the lab's, are always trained by torch's autograd.

    Args:
        name: of a pointwise function with constants, so that a whole stack of models may be its argument.
        learned: whether the constants are.
        data: the tasks.
        config: the lab's settings; its rate and schedule are the constants' too.
        seed: of initial weights and batches, as in `training.train`.
        chosen: places of the tasks to train on.

    Raises:
        ValueError: where the function has no constants, or sees its batch.
    """
    module = learnable(name, device=config.device, dtype=getattr(torch, config.dtype))
    if not module.activation.pointwise:
        raise ValueError(f"wanted a pointwise function, to train a stack at once; got {name}, which sees its batch")
    start = training.Start.of(data, config, seed, chosen)
    names = [key for key, _ in module.named_parameters()]
    values = torch.stack([*module.parameters()]).detach().expand(len(start.x), config.depth, -1).clone()

    def function(x: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, dict(zip(names, given, strict=True)), (x,))

    steps, why = backends.steps_of(function, config, start.x.shape[1], len(names)) if learned else (None, "fixed")
    if why is None:
        made = backends.by_steps(steps, start, config, constants=values.numpy())
        return Trained(made.networks, _named(names, values), made.predict)
    constants = _named(names, values)
    functions = [_of_layer(function, constants, layer) for layer in range(config.depth)]
    parameters = [*start.networks.tensors, *(constants.values() if learned else ())]
    losses = partial(start.networks.losses, functions)
    training.fit(parameters, training.by_autograd(parameters, losses), start, config)
    return Trained(start.networks, constants, lambda x: start.networks.layers(functions, x)[-1].squeeze(-1))


def _named(names: Sequence[str], values: torch.Tensor) -> Constants:
    """Of values [models, layers, constants]."""
    return {name: values[..., place].T[..., None, None].clone() for place, name in enumerate(names)}


def _of_layer(function: Callable[..., torch.Tensor], constants: Constants, layer: int) -> Function:
    return lambda z: function(z, *(value[layer] for value in constants.values()))


def study(laboratory: Laboratory, names: Iterable[str] = FUNCTIONS, suite: str = "held-out", seed: int = 0) -> Found:
    """Trains functions on a suite with learned constants, beside the laboratory's own losses, where they are fixed.

    Args:
        laboratory: whose lab, suites, number of processes and store are used; the processes change no number.
        names: as `train` takes them.
        suite: by default the one that no setting and no search has seen.
        seed: of initial weights and batches.
    """
    profile, names = laboratory.profile, [zoo.entry(name).name for name in names]
    settings = {"suite": suite, "seed": seed, "lab": profile.lab, "tasks": profile.tasks, "order": [SUITES, FAMILIES]}
    settings |= {"family": "lab", "kind": "constants", "clamp": profile.fitness.clamp}
    about = {name: settings | {"function": name} for name in names}
    kept = {name: [laboratory.store.load(one | {"part": part}) for part in PARTS] for name, one in about.items()}
    lacking = [name for name, found in kept.items() if any(table is None for table in found)]
    for name, found in _compute(laboratory, lacking, suite, seed):
        for part, table in zip(PARTS, found, strict=True):
            laboratory.store.save(about[name] | {"part": part}, table)
        kept[name] = found
    which = {"suite": suite, "seed": seed}
    learned = [found[0].assign(function=name, constants="learned", **which) for name, found in kept.items()]
    scored = laboratory.scores(names, suite, [seed]).assign(constants="fixed")
    losses = pd.concat([scored[learned[0].columns], *learned], ignore_index=True)
    values = [found[1].assign(function=name) for name, found in kept.items()]
    return Found(losses, pd.concat(values, ignore_index=True))


def fixed(laboratory: Laboratory, name: str, chosen: Iterable[int], suite: str = "held-out") -> np.ndarray:
    """OOD losses on chosen tasks, [tasks], of networks that `train` gives fixed constants: the lab's to rounding."""
    given, places = laboratory.suites[suite], list(chosen)
    ood, *_ = _predicted((name, False, given.blind, laboratory.profile.lab, 0, places))
    return mse(ood, given.ood_y[places], laboratory.profile.fitness.clamp)


Job = tuple[str, bool, TrainingView, LabConfig, int, list[int]]  # the arguments of `train`


def _compute(
    laboratory: Laboratory, names: Sequence[str], suite: str, seed: int
) -> Iterator[tuple[str, list[pd.DataFrame]]]:
    """The tables of each function as soon as its last stack is trained."""
    given, config = laboratory.suites[suite], laboratory.profile.lab
    count = training.stacks(len(given.tasks), config)
    stacks = [part.tolist() for part in np.array_split(np.arange(len(given.tasks)), count)]
    jobs = [(name, True, given.blind, config, seed, part) for name in names for part in stacks]
    done: dict[str, dict[int, tuple[np.ndarray, ...]]] = {name: {} for name in names}
    # Where a suite is a single stack, its trainings take less time than a process takes to start.
    for (name, *_, part), made in Runner(1 if count == 1 else laboratory.workers).run(jobs, _predicted):
        done[name][part[0]] = made
        if len(done[name]) == count:
            arrays = map(np.concatenate, zip(*(done[name][part[0]] for part in stacks), strict=True))
            yield name, _tables(name, given, laboratory.profile.fitness.clamp, *arrays)


def _predicted(job: Job) -> tuple[np.ndarray, ...]:
    """Predictions [models, points] at the OOD and training inputs; the constants [models, layers, constants]."""
    _, _, data, config, _, chosen = job
    trained = train(*job)
    inputs = (torch.from_numpy(x[chosen]).to(config.device, getattr(torch, config.dtype))
              for x in (data.ood_x, data.train_x))  # fmt: skip
    values = torch.stack([value[..., 0, 0].T for value in trained.constants.values()], dim=-1)
    made = (*(trained.predict(x) for x in inputs), values)
    return tuple(tensor.double().cpu().numpy() for tensor in made)


def _tables(
    name: str, suite: tasks.Suite, clamp: float, ood: np.ndarray, train: np.ndarray, values: np.ndarray
) -> list[pd.DataFrame]:
    """The tables of `Found` for one function with learned constants, without what `study` knows."""
    about = pd.DataFrame({"family": suite.families, "task": suite.labels})
    losses = {"ood_mse": mse(ood, suite.ood_y, clamp), "train_mse": mse(train, suite.blind.train_y, clamp)}
    starts = {key: value.item() for key, value in learnable(name, dtype=torch.float64).named_parameters()}
    task, layer, constant = (axis.ravel() for axis in np.indices(values.shape))
    names = {"layer": layer + 1, "constant": np.array(list(starts))[constant]}
    starting = np.array(list(starts.values()))[constant]
    tall = about.iloc[task].reset_index(drop=True).assign(**names, start=starting, value=values.ravel())
    return [about.assign(**losses), tall]


def compared(losses: pd.DataFrame, config: FitnessConfig, seed: int = 0) -> pd.DataFrame:
    """Each function's losses with learned constants over those with fixed ones, paired by task.

    Args:
        losses: of `Found`.
        config: clamp and floor.
        seed: of the sign flips.

    Returns:
        Columns function and those of `summaries.planned` from n on, Holm's correction over the functions; log_ratio is
        that of OOD loss, learned over fixed. Then train_ratio, train_low, train_high: the same of training loss, as a
        logarithm too.
    """
    logs = stats.log_losses(losses["train_mse"], config.clamp, FLOOR)
    arms = losses.assign(function=losses["function"] + " " + losses["constants"], log=logs)
    names, parts, fits = losses["function"].unique(), summaries.by_function(arms), []
    for name in names:
        learned, fixed = (parts[f"{name} {arm}"] for arm in ("learned", "fixed"))
        gap = stats.mean_interval(learned["log"] - fixed.loc[learned.index, "log"], learned["family"])
        fits.append(gap.columns("train_ratio", "train_"))
    table = summaries.planned(arms, [(f"{name} learned", f"{name} fixed") for name in names], config, seed)
    return table.drop(columns="subject").assign(function=names, **pd.DataFrame(fits))


def by_family(losses: pd.DataFrame, config: FitnessConfig) -> pd.DataFrame:
    """The geometric mean ratio of OOD loss, learned over fixed, of each function (rows) on each family (columns)."""
    logs = summaries.with_logs(losses, config)
    wide = logs.pivot_table("log", ["function", "family"], "constants", "mean", sort=False)
    ratio = np.exp(wide["learned"] - wide["fixed"]).unstack()
    return ratio.loc[losses["function"].unique(), losses["family"].unique()].rename_axis(columns=None)


def quartiles(values: pd.DataFrame) -> pd.DataFrame:
    """How learned constants are spread over the networks.

    Returns:
        Columns function, constant, layer, start, n, low, median, high; low and high are quartiles.
    """
    groups = values.groupby(["function", "constant", "layer", "start"], sort=False)["value"]
    spread: dict[str, Any] = {"n": "size", "low": lambda v: v.quantile(0.25), "median": "median"}
    return groups.agg(**spread, high=lambda v: v.quantile(0.75)).reset_index()
