"""The loops behind the notebooks: each study trains functions in the lab and returns tidy records (ours)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from actlab import activations, lab, tasks
from actlab.config import LabConfig
from actlab.fitness import mse
from actlab.laboratory import SCORING, Laboratory
from actlab.records import key, source_hash

TABLE_1 = ("relu", "gelu", "gelu-sine", "gelu-sinc", "gmtu", "turbulent")  # the paper's rows
HAND_MADE = ("snake", "sine", "silu", "tanh", "softplus", "mish")  # scored on every suite beside them [ours]


def calibration(laboratory: Laboratory, rings: Sequence[float]) -> pd.DataFrame:
    """ReLU's losses on the calibration suite by the width of the ring; it is trained once, since only test inputs move.

    Returns:
        Columns ring, family, task, ood_mse, train_mse.
    """
    profile = laboratory.profile
    found = key(
        kind="calibration",
        rings=list(rings),
        tasks=profile.tasks,
        lab=profile.lab,
        code=source_hash(*SCORING),
    )
    table = laboratory.store.load(found)
    if table is not None:
        return table
    torch.set_num_threads(1)
    base = laboratory.suites["calibration"]
    relu = activations.relu
    networks = lab.train(relu, base.blind, profile.lab, seed=0)
    dtype, parts = networks.weights[0].dtype, []
    train = networks.predict(relu, torch.from_numpy(base.blind.train_x).to(dtype)).double().numpy()
    for ring in rings:
        suite = tasks.suite("calibration", replace(profile.tasks, ring=ring))
        ood = networks.predict(relu, torch.from_numpy(suite.blind.ood_x).to(dtype)).double().numpy()
        losses = {
            "ood_mse": mse(ood, suite.ood_y, profile.fitness.clamp),
            "train_mse": mse(train, base.blind.train_y, profile.fitness.clamp),
        }
        parts.append(pd.DataFrame({"ring": ring, "family": suite.families, "task": suite.labels, **losses}))
    table = pd.concat(parts, ignore_index=True)
    laboratory.store.save(found, table, rings=list(rings))
    return table


def target_curves(suite: tasks.Suite, per_family: int, points: int = 241) -> pd.DataFrame:
    """Targets of one-dimensional tasks along u, from one ring's edge to the other (Figure 2).

    Returns:
        Columns family, panel, u, y (standardised) and split, which is id where |u| <= 1, else ood.
    """
    parts = []
    for family in dict.fromkeys(suite.families):
        flat = [i for i, task in enumerate(suite.tasks) if task.family == family and task.dim == 1][:per_family]
        for panel, i in enumerate(flat):
            u = np.linspace(-1 - suite.ring, 1 + suite.ring, points)
            y = suite.target(i, u[:, None])
            split = np.where(np.abs(u) <= 1, "id", "ood")
            parts.append(pd.DataFrame({"family": family, "panel": panel, "u": u, "y": y, "split": split}))
    return pd.concat(parts, ignore_index=True)


def tuned_rates(laboratory: Laboratory, names: Iterable[str], seeds: Sequence[int] = (0,)) -> pd.DataFrame:
    """The learning rate that serves each function best: lowest mean log training loss on the calibration suite.

    Chosen by the training loss, so that the control does not select on what it is to judge. [ours]

    Returns:
        Columns function, learning_rate, train_mse (mean) and best; one row a function and rate.
    """
    rates = laboratory.profile.rates
    losses = laboratory.scores(list(names), "calibration", seeds, learning_rates=rates)
    losses["log_train"] = np.log(losses["train_mse"])
    table = losses.groupby(["function", "learning_rate"], sort=False)[["train_mse", "log_train"]].mean().reset_index()
    table["best"] = table["log_train"] == table.groupby("function")["log_train"].transform("min")
    return table


def tuned_scores(laboratory: Laboratory, rates: pd.DataFrame, suite: str) -> pd.DataFrame:
    """Losses on a suite with each function at the rate that `tuned_rates` found best."""
    best = rates[rates["best"]]
    parts = [laboratory.scores([row.function], suite, learning_rates=(row.learning_rate,)) for row in best.itertuples()]
    return pd.concat(parts, ignore_index=True)


def random_constants(
    laboratory: Laboratory, name: str, draws: int, generator: np.random.Generator, spread: float = 4.0
) -> dict[str, str]:
    """Programs of a zoo function's form with random constants (Figure 7).

    Each constant is drawn log-uniformly from 1/spread to spread times its discovered value, with its sign. [ours]

    Returns:
        Source by name: `NAME` for the discovered constants, `NAME#i` for draw i.
    """
    constants = activations.REGISTRY[name].constants
    programs = {name: activations.program_source(name)}
    for i in range(draws):
        factor = spread ** generator.uniform(-1, 1, size=len(constants))
        drawn = {k: float(f"{v * f:.4g}") for (k, v), f in zip(constants.items(), factor, strict=True)}
        programs[f"{name}#{i}"] = activations.program_source(name, **drawn)
    return programs


def preactivations(
    laboratory: Laboratory, names: Iterable[str], edges: np.ndarray, suite: str = "search"
) -> pd.DataFrame:
    """Histograms of what enters each hidden layer's function in trained networks, over training inputs (Figure 5).

    Args:
        laboratory: whose suite and settings are used.
        names: zoo functions.
        edges: of the bins, [bins + 1]; what lies outside counts in the total.
        suite: whose tasks the networks were trained on.

    Returns:
        Columns function, layer (from 1), bin_left, bin_right, density (1/unit), inside (share within [-2, 2]).
    """
    data, config, parts = laboratory.suites[suite].blind, laboratory.profile.lab, []
    for name in names:
        found = key(kind="preactivations", name=name, edges=edges.tolist(), suite=suite, lab=config,
                    tasks=laboratory.profile.tasks, code=source_hash(*SCORING))  # fmt: skip
        table = laboratory.store.load(found)
        if table is None:
            table = _histograms(name, data, config, edges)
            laboratory.store.save(found, table, name=name, suite=suite)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def _histograms(name: str, data: tasks.Blind, config: LabConfig, edges: np.ndarray) -> pd.DataFrame:
    torch.set_num_threads(1)
    function, rows = activations.REGISTRY[name].function, []
    networks = lab.train(function, data, config, seed=0)
    x = torch.from_numpy(data.train_x).to(networks.weights[0].dtype)
    with torch.no_grad():
        entering = networks.preactivations(function, x[:, : config.batch])[:-1]
    for layer, z in enumerate(entering, start=1):
        values = z.double().numpy().ravel()
        density = np.histogram(values, edges)[0] / values.size / np.diff(edges)
        rows.append(
            pd.DataFrame(
                {
                    "function": name,
                    "layer": layer,
                    "bin_left": edges[:-1],
                    "bin_right": edges[1:],
                    "density": density,
                    "inside": float(np.mean(np.abs(values) <= 2)),
                }
            )
        )
    return pd.concat(rows, ignore_index=True)
