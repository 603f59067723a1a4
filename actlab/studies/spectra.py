"""What networks with each function learn, by frequency, inside the training range and beyond it (ours).

The readers' open question is why periodic terms help. So one-dimensional networks are trained as the lab trains them,
with the norms of their gradients noted on the way, and their predictions are taken apart on an even grid: over the
training range, and over a stretch of the same length on either side of it, far beyond the lab's ring. Frequencies are
counted in periods a stretch, and the training range is one stretch. Nothing here is in the paper.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from scipy import signal

from actlab.activations import zoo
from actlab.core.config import SUITES, LabConfig
from actlab.lab import backends, tasks, training
from actlab.lab.tracing import Function
from actlab.lab.training_view import TrainingView
from actlab.scoring.laboratory import Laboratory

FAMILIES = ("harmonic", "polynomial")  # those of one input
STRETCHES = {"left": -3.0, "inside": -1.0, "right": 1.0}  # where each begins, in half-ranges; each is 2 long
POINTS = 256  # on the grid of a stretch
PARTS = ("power", "steps", "losses", "curves")


@dataclass(frozen=True)
class Found:
    """What was found of some functions; each table has the columns function, family and task besides.

    power: stretch, periods (a stretch), prediction, error, target (mean squares, in variances of the target).
    steps: step (from 1), gradient, loss (geometric means over the steps until the next row's).
    losses: train_mse, ring_mse.
    curves: u, prediction, target; of one task of each family.
    """

    power: pd.DataFrame
    steps: pd.DataFrame
    losses: pd.DataFrame
    curves: pd.DataFrame


def gelu_tanh(x: torch.Tensor, amplitude: float = 0.1) -> torch.Tensor:
    """GELU plus a small tanh: GELUSine's slope at 0 and its bound, but without the way back."""
    return zoo.gelu(x) + amplitude * torch.tanh(x)


def subject(name: str) -> tuple[Function, dict[str, object]]:
    """The function of a name, and what identifies it, so that no two names of one function are trained twice.

    Args:
        name: of the zoo, or `gelu-tanh`; with `@AMPLITUDE` after it where the function has that constant.

    Raises:
        ValueError: where the function is unknown, has no such constant, or sees its batch: on another grid it would
            be another function.
    """
    form, _, amplitude = name.partition("@")
    given = {"amplitude": float(amplitude)} if amplitude else {}
    if form == "gelu-tanh":
        function, constants = gelu_tanh, {"amplitude": 0.1} | given
    else:
        entry = zoo.entry(form)
        form, function, constants = entry.name, entry.function, entry.settle(given)
        if not entry.pointwise:
            raise ValueError(f"wanted a pointwise function, since a grid is no batch; got {form}, which sees its batch")
    return partial(function, **constants), {"form": form, **constants}


def study(laboratory: Laboratory, names: Iterable[str], per_family: int, suite: str = "held-out") -> Found:
    """Trains functions on one-dimensional tasks of a suite, in this process, and keeps what is found of each.

    Args:
        laboratory: whose lab, suites and store are used.
        names: as `subject` takes them.
        per_family: tasks of each family, the last ones; all where there are fewer. A trial on the first six of a
            family settled the measures.
        suite: by default the one that no setting and no search has seen.
    """
    profile, parts = laboratory.profile, {part: [] for part in PARTS}
    settings = {"suite": suite, "lab": profile.lab, "tasks": profile.tasks, "per_family": per_family, "order": SUITES}
    for name in names:
        function, identity = subject(name)
        about = {"family": "lab", "kind": "spectra", **identity, **settings}
        kept = {part: laboratory.store.load(about | {"part": part}) for part in PARTS}
        if any(table is None for table in kept.values()):
            kept = _observed(function, laboratory.suites[suite], profile.lab, per_family)
            for part, table in kept.items():
                laboratory.store.save(about | {"part": part}, table)
        for part, table in kept.items():
            parts[part].append(table.assign(function=name))
    return Found(**{part: pd.concat(tables, ignore_index=True) for part, tables in parts.items()})


def _observed(function: Function, suite: tasks.Suite, config: LabConfig, per_family: int) -> dict[str, pd.DataFrame]:
    """The tables of `Found` for one function, without its name."""
    torch.set_num_threads(1)
    places = {family: [i for i, one in enumerate(suite.families) if one == family] for family in FAMILIES}
    chosen = [i for family in FAMILIES for i in places[family][-per_family:]]
    networks, gradient, loss = train(function, suite.blind, config, 0, chosen)
    exact = training.Networks.of(tensor.double().cpu() for tensor in networks.tensors)
    u = np.concatenate([start + (np.arange(POINTS) + 0.5) * 2 / POINTS for start in STRETCHES.values()])
    x = torch.zeros(len(chosen), len(u), tasks.MAX_DIM, dtype=torch.float64)
    x[:, :, 0] = torch.from_numpy(u * tasks.INPUT_SCALE)
    prediction = exact.predict(function, x).numpy()
    target = np.stack([suite.target(i, u[:, None]) for i in chosen])

    def loss_on(points: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.mean((exact.predict(function, torch.from_numpy(points[chosen])).numpy() - y[chosen]) ** 2, axis=1)

    about = pd.DataFrame({"family": [suite.families[i] for i in chosen], "task": [suite.labels[i] for i in chosen]})
    shown = about.drop_duplicates("family").index
    curves = [about.loc[[i] * len(u)].assign(u=u, prediction=prediction[i], target=target[i]) for i in shown]
    data = suite.blind
    return {
        "power": _powers(about, prediction, target),
        "steps": _steps(about, gradient, loss),
        "losses": about.assign(
            train_mse=loss_on(data.train_x, data.train_y), ring_mse=loss_on(data.ood_x, suite.ood_y)
        ),
        "curves": pd.concat(curves, ignore_index=True),
    }


def train(
    function: Function, data: TrainingView, config: LabConfig, seed: int, chosen: Sequence[int]
) -> tuple[training.Networks, np.ndarray, np.ndarray]:
    """What `training.train` does for a pointwise function, with each gradient's norm noted at each step.

    Args:
        function: of single values, so that a whole stack of models may be its argument.
        data: the tasks.
        config: the lab's settings.
        seed: of initial weights and batches, as in `training.train`.
        chosen: places of the tasks to train on.

    Returns:
        The networks; the L2 norms [models, steps] of the gradient of each model's batch loss by its parameters, and
        those losses, both before the step is made.
    """
    whole, notes = training.Start.of(data, config, seed, chosen), np.zeros((len(chosen), config.steps, 2))

    def by_torch(function: Function) -> training.Networks:
        networks, notes[..., 0], notes[..., 1] = _by_autograd(function, whole, config)
        return networks

    trained = backends.train(function, whole, config, by_torch=by_torch, notes=notes)
    return trained.networks, notes[..., 0], notes[..., 1]


def _by_autograd(
    function: Function, whole: training.Start, config: LabConfig
) -> tuple[training.Networks, np.ndarray, np.ndarray]:
    parts = np.array_split(np.arange(len(whole.x)), training.stacks(len(whole.x), config))
    stacks, norms, losses = zip(
        *(_train_stack(function, whole.at(part.tolist()), config) for part in parts), strict=True
    )
    return training.Networks.joined(stacks), np.concatenate(norms), np.concatenate(losses)


def _train_stack(
    function: Function, start: training.Start, config: LabConfig
) -> tuple[training.Networks, np.ndarray, np.ndarray]:
    networks, norms, losses = start.networks, [], []

    def batch_losses(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        found = networks.losses(itertools.repeat(function), x, y)
        losses.append(found.detach())
        return found

    def note(gradients: Sequence[torch.Tensor]) -> None:
        norms.append(sum(gradient.square().sum(dim=(1, 2)) for gradient in gradients).sqrt())

    training.fit(networks.tensors, training.by_autograd(networks.tensors, batch_losses), start, config, hook=note)
    return networks, *(torch.stack(noted, dim=1).double().cpu().numpy() for noted in (norms, losses))


def power(values: np.ndarray) -> np.ndarray:
    """The mean square of values on an even grid, [..., points], by frequency: [..., points // 2 + 1] from 0 periods on.

    The straight line that fits best is taken out, since a network that only goes on straight has learned no wave; then
    a Hann window, since a stretch is no whole number of periods. The powers sum to the window's mean square.
    """
    return signal.periodogram(values, fs=values.shape[-1], window="hann", detrend="linear")[1]


def _powers(about: pd.DataFrame, prediction: np.ndarray, target: np.ndarray) -> pd.DataFrame:
    """The powers of each task [tasks, stretches x points] as a tidy table."""
    shape = (len(about), len(STRETCHES), POINTS)
    signals = {"prediction": prediction, "error": prediction - target, "target": target}
    powers = {name: power(values.reshape(shape)) for name, values in signals.items()}
    task, stretch, periods = (axis.ravel() for axis in np.indices(powers["target"].shape))
    names = {"stretch": np.array(list(STRETCHES))[stretch], "periods": periods}
    table = about.iloc[task].reset_index(drop=True)
    return table.assign(**names, **{name: values.ravel() for name, values in powers.items()})


def _steps(about: pd.DataFrame, gradient: np.ndarray, loss: np.ndarray) -> pd.DataFrame:
    """Norms and losses [tasks, steps] as geometric means over spans of steps that grow; the first step stands alone."""
    steps = gradient.shape[1]
    edges = np.unique(np.r_[1, 2, np.geomspace(1, steps + 1, 20).round().astype(int)])
    parts = []
    for first, after in itertools.pairwise(edges):
        span = slice(first - 1, after - 1)
        means = {name: np.exp(np.log(a[:, span]).mean(axis=1)) for name, a in (("gradient", gradient), ("loss", loss))}
        parts.append(about.assign(step=first, **means))
    return pd.concat(parts, ignore_index=True)
