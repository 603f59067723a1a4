"""Losses summed up for tables and figures: means, log ratios and planned comparisons, each with its interval (ours).

`losses` is what `laboratory.Laboratory.scores` returns: a row a function, suite, seed and task. Data sets are the unit
that is resampled, within their families.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from actlab.core import stats
from actlab.core.config import FitnessConfig


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


def summary(losses: pd.DataFrame, config: FitnessConfig, seed: int = 0, reference: str = "relu") -> pd.DataFrame:
    """Each function on each suite: mean OOD loss, mean log ratio to ReLU (or another reference), and training loss.

    Args:
        losses: of one seed, the reference among the functions.
        config: clamp and floor.
        seed: of the bootstrap; the same resamples serve every function.
        reference: whose loss the log ratios are over.

    Returns:
        Columns function, suite, n, ood_mse, ood_low, ood_high, whole_mse, train_mse, log_ratio, log_low, log_high;
        95 % percentile bootstrap over data sets within families.
    """
    rows = []
    for (suite, function), part in log_ratios(losses, config, reference).groupby(["suite", "function"], sort=False):
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


def notes(table: pd.DataFrame, reference: str = "relu") -> pd.DataFrame:
    """A summary with what a reader of Table 1 has to know of each row beside its loss.

    Returns:
        The summary with the columns train_ratio (training loss over the reference's), signs_differ (whether the mean
        and the mean log ratio disagree on who is better), and note: "calibrated" for the reference, whose loss set
        the ring, and "wins at unequal fit" where a better OOD loss goes with a training loss that is more than twice
        or less than half of the reference's.
    """
    base = table[table["function"] == reference].set_index("suite").loc[table["suite"]].reset_index()
    ratio = table["train_mse"].to_numpy() / base["train_mse"].to_numpy()
    gain, log = table["ood_mse"].to_numpy() - base["ood_mse"].to_numpy(), table["log_ratio"].to_numpy()
    wins = (gain < 0) | (log < 0)
    note = np.where(wins & ((ratio < 0.5) | (ratio > 2)), "wins at unequal fit", "")
    note = np.where(table["function"] == reference, "calibrated", note)
    return table.assign(train_ratio=ratio, signs_differ=gain * log < 0, note=note)


def batch_effect(losses: pd.DataFrame, config: FitnessConfig, seed: int = 0) -> pd.DataFrame:
    """Prediction of the whole OOD set as one batch against batches of the training size, paired by data set.

    Returns:
        Columns function, suite, n, batches and whole (mean losses), log_ratio (whole over batches), low, high.
    """
    rows = []
    for (suite, function), part in losses.groupby(["suite", "function"], sort=False):
        pair = [stats.mean_log(part[[c]].to_numpy(), config.clamp, config.floor) for c in ("ood_mse_whole", "ood_mse")]
        found = stats.paired_difference(*pair, np.random.default_rng(seed), strata=part["family"])
        means = {"batches": part["ood_mse"].mean(), "whole": part["ood_mse_whole"].mean()}
        interval = {"log_ratio": found.estimate, "low": found.low, "high": found.high}
        rows.append({"function": function, "suite": suite, "n": found.n, **means, **interval})
    return pd.DataFrame(rows)


def families(losses: pd.DataFrame) -> pd.DataFrame:
    """Mean OOD loss of each function on each family of a suite: columns function, suite, then the families."""
    table = losses.pivot_table("ood_mse", ["suite", "function"], "family", "mean", sort=False)
    return table.reset_index()[["function", "suite", *losses["family"].unique()]].rename_axis(columns=None)


def by_family(losses: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Table 4 [ours]: mean OOD and training losses of each function on each family of each suite, with intervals.

    Args:
        losses: of one seed.
        seed: of the bootstrap; the same resamples serve every function.

    Returns:
        Columns function, suite, family, n (data sets), ood_mse, ood_low, ood_high, train_mse, train_low, train_high;
        95 % percentile bootstrap over data sets.
    """
    rows = []
    for (suite, function, family), part in losses.groupby(["suite", "function", "family"], sort=False):
        row = {"function": function, "suite": suite, "family": family, "n": len(part)}
        for side in ("ood", "train"):
            mean = stats.bootstrap_mean(part[f"{side}_mse"], np.random.default_rng(seed))
            row |= {f"{side}_mse": mean.estimate, f"{side}_low": mean.low, f"{side}_high": mean.high}
        rows.append(row)
    return pd.DataFrame(rows)


def written(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `by_family` with each mean and its interval in one cell, and a column a side."""
    cells = {
        f"{side} loss": [
            f"{mean:.2g} [{low:.2g}, {high:.2g}]"
            for mean, low, high in table[[f"{side}_mse", f"{side}_low", f"{side}_high"]].to_numpy()
        ]
        for side in ("ood", "train")
    }
    return table[["function", "suite", "family", "n"]].assign(**cells)


def comparisons(
    losses: pd.DataFrame, subject: str, others: Sequence[str], config: FitnessConfig, seed: int = 0
) -> pd.DataFrame:
    """Planned comparisons of one function with others on one suite, paired by data set and corrected by Holm.

    Returns:
        As `planned`, without the column subject.
    """
    return planned(losses, [(subject, other) for other in others], config, seed).drop(columns="subject")


def planned(
    losses: pd.DataFrame, pairs: Sequence[tuple[str, str]], config: FitnessConfig, seed: int = 0
) -> pd.DataFrame:
    """Planned comparisons on one suite, paired by data set; all of them are one family for Holm's correction.

    Args:
        losses: of one suite and seed.
        pairs: subject and the function that it is compared with.
        config: clamp and floor.
        seed: of the bootstrap and the sign flips.

    Returns:
        Columns subject, function (the other), n, log_ratio (log of subject over other; negative favours the subject),
        low, high, p, p_holm, verdict (better, worse, undecided: by p_holm < 0.05), mse_difference with mse_low and
        mse_high, and unequal_fit: whether the subject trained more than twice as well or as badly as the other.
    """
    logs = losses.assign(log=stats.mean_log(losses[["ood_mse"]].to_numpy(), config.clamp, config.floor))
    parts = {name: part.set_index("task") for name, part in logs.groupby("function", sort=False)}
    rows = []
    for subject, other in pairs:
        a = parts[subject]
        b = parts[other].loc[a.index]
        log, plain = (
            stats.paired_difference(a[column], b[column], np.random.default_rng(seed), strata=a["family"])
            for column in ("log", "ood_mse")
        )
        fit = a["train_mse"].mean() / b["train_mse"].mean()
        rows.append(
            {
                "subject": subject,
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
    table.insert(7, "p_holm", stats.holm(table["p"]))
    side = np.where(table["log_ratio"] < 0, "better", "worse")
    table.insert(8, "verdict", np.where(table["p_holm"] < 0.05, side, "undecided"))
    return table


def ratio(row: Any) -> str:
    """A row's log ratio with its interval, as a ratio of losses: `0.93 [0.90, 0.96]`."""
    return f"{np.exp(row.log_ratio):.2f} [{np.exp(row.low):.2f}, {np.exp(row.high):.2f}]"


def markdown(table: pd.DataFrame, digits: int = 4) -> str:
    """A table for a notebook: numbers with so many decimals, what is missing left empty."""
    return table.round(digits).astype(object).where(table.notna(), "").to_markdown(index=False)


def claim(compared: pd.DataFrame) -> str:
    """What planned comparisons say of "the subject is better than each of these": holds, fails or is undecided.

    It holds where every verdict is better, fails where one is worse.
    """
    verdicts = set(compared["verdict"])
    if verdicts == {"better"}:
        return "holds"
    return "fails" if "worse" in verdicts else "is undecided"
