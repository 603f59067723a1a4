"""Losses summed up for tables and figures: means, log ratios and planned comparisons, each with its interval (ours).

`losses` is what `studies.Laboratory.scores` returns: a row a function, suite, seed and task. Data sets are the unit
that is resampled, within their families.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from actlab import stats
from actlab.config import FitnessConfig


def matrix(losses: pd.DataFrame, column: str = "ood_mse") -> np.ndarray:
    """Losses as [functions, tasks, seeds], in the order of the rows.

    Raises:
        ValueError: where functions differ in their tasks or seeds, or there are several suites.
    """
    if losses["suite"].nunique() != 1:
        raise ValueError(f"wanted losses on one suite; got {', '.join(losses['suite'].unique())}")
    shape = tuple(losses[key].nunique() for key in ("function", "task", "seed"))
    if len(losses) != np.prod(shape):
        raise ValueError(f"wanted every function on every task and seed, {shape}; got {len(losses)} losses")
    order = [pd.Categorical(losses[key], losses[key].unique()) for key in ("function", "task", "seed")]
    keys = pd.DataFrame({"f": order[0], "t": order[1], "s": order[2], "y": losses[column].to_numpy()})
    return keys.sort_values(["f", "t", "s"])["y"].to_numpy().reshape(shape)


def log_ratios(losses: pd.DataFrame, config: FitnessConfig, reference: str = "relu") -> pd.DataFrame:
    """The losses with a column `log_ratio`: log of each OOD loss over the reference's, same task, seed and suite.

    Raises:
        ValueError: where the reference is not among the functions.
    """
    if reference not in set(losses["function"]):
        raise ValueError(f"wanted losses of {reference}; got {', '.join(losses['function'].unique())}")
    logs = stats.mean_log(losses[["ood_mse"]].to_numpy(), config.clamp, config.floor)
    table = losses.assign(log=logs)
    base = table[table["function"] == reference].set_index(["suite", "seed", "task"])["log"]
    keys = pd.MultiIndex.from_frame(table[["suite", "seed", "task"]])
    return table.assign(log_ratio=table["log"] - base.loc[keys].to_numpy()).drop(columns="log")


def summary(losses: pd.DataFrame, config: FitnessConfig, seed: int = 0) -> pd.DataFrame:
    """Each function on each suite: mean OOD loss, mean log ratio to ReLU, and training loss.

    Args:
        losses: of one seed, ReLU among the functions.
        config: clamp and floor.
        seed: of the bootstrap; the same resamples serve every function.

    Returns:
        Columns function, suite, n, ood_mse, ood_low, ood_high, whole_mse, train_mse, log_ratio, log_low, log_high;
        95 % percentile bootstrap over data sets within families.
    """
    rows = []
    for (suite, function), part in log_ratios(losses, config).groupby(["suite", "function"], sort=False):
        mean, ratio = (
            stats.bootstrap_mean(part[column], np.random.default_rng(seed), strata=part["family"])
            for column in ("ood_mse", "log_ratio")
        )
        rows.append(
            {
                "function": function,
                "suite": suite,
                "n": mean.n,
                "ood_mse": mean.estimate,
                "ood_low": mean.low,
                "ood_high": mean.high,
                "whole_mse": part["ood_mse_whole"].mean(),
                "train_mse": part["train_mse"].mean(),
                "log_ratio": ratio.estimate,
                "log_low": ratio.low,
                "log_high": ratio.high,
            }
        )
    return pd.DataFrame(rows)


def families(losses: pd.DataFrame) -> pd.DataFrame:
    """Mean OOD loss of each function on each family of a suite: columns function, suite, then the families."""
    table = losses.pivot_table("ood_mse", ["suite", "function"], "family", "mean", sort=False)
    return table.reset_index()[["function", "suite", *losses["family"].unique()]].rename_axis(columns=None)


def comparisons(
    losses: pd.DataFrame, subject: str, others: Sequence[str], config: FitnessConfig, seed: int = 0
) -> pd.DataFrame:
    """Planned comparisons of one function with others on one suite, paired by data set and corrected by Holm.

    Returns:
        Columns function (the other), n, log_ratio (log of subject over other; negative favours the subject), low,
        high, p, p_holm, verdict (better, worse, undecided: by p_holm < 0.05), mse_difference with mse_low and
        mse_high, and unequal_fit: whether the subject trained more than twice as well or as badly as the other.
    """
    logs = losses.assign(log=stats.mean_log(losses[["ood_mse"]].to_numpy(), config.clamp, config.floor))
    parts = {name: part.set_index("task") for name, part in logs.groupby("function", sort=False)}
    a, rows = parts[subject], []
    for other in others:
        b = parts[other].loc[a.index]
        log, plain = (
            stats.paired_difference(a[column], b[column], np.random.default_rng(seed), strata=a["family"])
            for column in ("log", "ood_mse")
        )
        fit = a["train_mse"].mean() / b["train_mse"].mean()
        rows.append(
            {
                "function": other,
                "n": log.n,
                "log_ratio": log.estimate,
                "low": log.low,
                "high": log.high,
                "p": log.p_value,
                "mse_difference": plain.estimate,
                "mse_low": plain.low,
                "mse_high": plain.high,
                "unequal_fit": not 0.5 <= fit <= 2,
            }
        )
    table = pd.DataFrame(rows)
    table.insert(6, "p_holm", stats.holm(table["p"]))
    side = np.where(table["log_ratio"] < 0, "better", "worse")
    table.insert(7, "verdict", np.where(table["p_holm"] < 0.05, side, "undecided"))
    return table
