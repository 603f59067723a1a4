"""Statistics of the ablation of the search: each arm against the full search and against functions (ours).

Intervals are for new seeds and new data sets (`stats.crossed_difference`). A `comparison` holds the records, of two
seeds or more; `fitness` has the clamp and the floor of the losses.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pandas as pd

from actlab.core import stats
from actlab.core.config import FitnessConfig
from actlab.scoring import summaries
from actlab.search.ablation import Comparison


def differences(
    comparison: Comparison, suite: str, fitness: FitnessConfig, others: Iterable[str] = (), pick: str = "final"
) -> pd.DataFrame:
    """Every arm against the search, or against `others` among the references: mean log ratios of test losses.

    Runs are paired by seed, and data sets with themselves; `pick` says how programs were picked from their runs, final
    or best.

    Columns arm, other, suite, seeds, n (data sets), log_ratio (of arm over other: negative favours the arm), low, high,
    mse_difference, mse_low, mse_high (of the plain means), unequal_fit (whether the mean training losses are
    `summaries.unequal`), p (of the log ratio), p_holm and verdict (`stats.decided`, of the arm). Comparisons with
    functions, and of the best programs, are descriptive: they have neither p_holm nor verdict.
    """
    values, families = _values(comparison, suite, fitness, pick)
    arms, functions, rows = comparison.losses["arm"].unique(), list(others), []
    for other, arm in itertools.product(functions or ["search"], arms):
        if arm == other:
            continue
        found, plain = (
            stats.crossed_difference(values[column][arm], values[column][other], families)
            for column in ("log", "ood_mse")
        )
        fit = values["train_mse"][arm].mean() / values["train_mse"][other].mean()
        row = {"arm": arm, "other": other, "suite": suite, "seeds": found.n, "n": len(families)}
        row |= found.columns("log_ratio") | plain.columns("mse_difference", "mse_")
        rows.append(row | {"unequal_fit": summaries.unequal(fit), "p": found.p_value})
    table = pd.DataFrame(rows)
    return table if functions or pick != "final" else stats.decided(table, "log_ratio")


def by_seed(comparison: Comparison, suite: str, fitness: FitnessConfig, other: str = "relu") -> pd.DataFrame:
    """Mean log ratio of each run's final choice to a function's loss: columns arm, seed, suite, log_ratio.

    The other functions among the references come last, without a seed.
    """
    logs = _values(comparison, suite, fitness)[0]["log"]
    rows = [
        (name, seed, suite, value)
        for name, runs in logs.items()
        for seed, value in enumerate((np.atleast_2d(runs) - logs[other]).mean(axis=1).tolist())
        if name != other
    ]
    table = pd.DataFrame(rows, columns=["arm", "seed", "suite", "log_ratio"]).astype({"seed": "Int64"})
    table.loc[table["arm"].isin(comparison.references["function"]), "seed"] = pd.NA
    return table


def by_family(comparison: Comparison, suite: str, fitness: FitnessConfig, other: str = "relu") -> pd.DataFrame:
    """Mean log ratio of each arm to a function's loss in each family, over seeds: columns arm, then the families."""
    values, families = _values(comparison, suite, fitness)
    rows = {}
    for arm in comparison.losses["arm"].unique():
        gaps = (values["log"][arm] - values["log"][other]).mean(axis=0)
        rows[arm] = {family: gaps[families == family].mean() for family in dict.fromkeys(families)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("arm").reset_index()


def _values(
    comparison: Comparison, suite: str, fitness: FitnessConfig, pick: str = "final"
) -> tuple[dict[str, dict[str, np.ndarray]], np.ndarray]:
    """Log, ood_mse and train_mse by arm [seeds, tasks] and by function [tasks], and the families of the tasks."""
    ours = comparison.losses.query("pick == @pick and suite == @suite").rename(columns={"arm": "name"})
    theirs = comparison.references.query("suite == @suite").assign(seed=0).rename(columns={"function": "name"})
    part = summaries.with_logs(pd.concat([ours, theirs], ignore_index=True), fitness)
    tasks, columns = part.drop_duplicates("task").set_index("task")["family"], ["log", "ood_mse", "train_mse"]
    wide = part.pivot(index=["name", "seed"], columns="task", values=columns)
    if wide.empty or wide.isna().any(axis=None):
        raise ValueError(f"wanted a loss of every run on every task of the suite {suite}; got {len(part)} losses")
    values = {
        column: {name: wide.loc[name][column][tasks.index].to_numpy() for name in part["name"].unique()}
        for column in columns
    }
    for table in values.values():
        table |= {name: table[name][0] for name in theirs["name"].unique()}
    return values, tasks.to_numpy()
