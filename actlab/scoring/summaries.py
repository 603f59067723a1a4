"""Losses summed up for tables and figures: means, log ratios and planned comparisons, each with its interval (ours).

`losses` is what `Laboratory.scores` returns: a row a function, suite, seed and task. Intervals are 95 % ones of
`stats.mean_interval` over data sets within their families; `seed` is that of sign flips, the same for every function;
`config` has the losses' clamp and floor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from actlab.core import stats
from actlab.core.config import FitnessConfig

KEYS = ["function", "task", "seed"]


def matrix(losses: pd.DataFrame, column: str = "ood_mse") -> np.ndarray:
    """Losses on one suite as [functions, tasks, seeds], in the order of the rows; all have the same tasks and seeds."""
    if losses["suite"].nunique() != 1:
        raise ValueError(f"wanted losses on one suite; got {', '.join(losses['suite'].unique())}")
    shape = tuple(losses[key].nunique() for key in KEYS)
    if len(losses) != np.prod(shape):
        raise ValueError(f"wanted every function on every task and seed, {shape}; got {len(losses)} losses")
    order = losses.assign(**{key: pd.Categorical(losses[key], losses[key].unique()) for key in KEYS})
    return order.sort_values(KEYS)[column].to_numpy().reshape(shape)


def with_logs(losses: pd.DataFrame, config: FitnessConfig) -> pd.DataFrame:
    """The losses with a column `log`, of the clamped and floored OOD losses."""
    return losses.assign(log=stats.log_losses(losses["ood_mse"], config.clamp, config.floor))


def by_function(losses: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each function, by task."""
    return {name: part.set_index("task") for name, part in losses.groupby("function", sort=False)}


def log_ratios(losses: pd.DataFrame, config: FitnessConfig, reference: str = "relu") -> pd.DataFrame:
    """The losses with a column `log_ratio`: log of each OOD loss over the reference's, same task, seed and suite."""
    if reference not in set(losses["function"]):
        raise ValueError(f"wanted losses of {reference}; got {', '.join(losses['function'].unique())}")
    table, keys = with_logs(losses, config), ["suite", "seed", "task"]
    base = table[table["function"] == reference].set_index(keys)["log"]
    of_reference = base.loc[pd.MultiIndex.from_frame(table[keys])].to_numpy()
    return table.assign(log_ratio=table["log"] - of_reference).drop(columns="log")


def summary(losses: pd.DataFrame, config: FitnessConfig, reference: str = "relu") -> pd.DataFrame:
    """Each function on each suite: mean OOD loss, mean log ratio to a reference among the functions, training loss.

    Columns function, suite, n, ood_mse, ood_low, ood_high, whole_mse, train_mse, log_ratio, log_low, log_high, from
    losses of one seed.
    """

    def row(part: pd.DataFrame) -> dict[str, float]:
        mean = stats.mean_interval(part["ood_mse"], part["family"], least=0)
        ratio = stats.mean_interval(part["log_ratio"], part["family"])
        whole = {"whole_mse": part["ood_mse_whole"].mean(), "train_mse": part["train_mse"].mean()}
        return {"n": mean.n} | mean.columns("ood_mse", "ood_") | whole | ratio.columns("log_ratio", "log_")

    return _each(log_ratios(losses, config, reference), row)


def _each(losses: pd.DataFrame, row: Callable[[pd.DataFrame], dict[str, float]], *more: str) -> pd.DataFrame:
    """A row a suite and function, and by the columns `more`; the function is the first column."""
    table = stats.by_group(losses, ["suite", "function", *more], row)
    return table[["function", "suite", *table.columns[2:]]]


def unequal(fit: Any) -> Any:
    """Whether one mean training loss is more than twice, or less than half, of another: ratios, one or an array."""
    return (fit < 0.5) | (fit > 2)


def notes(table: pd.DataFrame, reference: str = "relu") -> pd.DataFrame:
    """A summary with what a reader of Table 1 has to know of each row beside its loss.

    The summary with the columns train_ratio (training loss over the reference's), signs_differ (whether the mean and
    the mean log ratio disagree on which is better), and note: "calibrated" for the reference, to whose loss the ring
    was calibrated, and "wins at unequal fit" for a better OOD loss with `unequal` training losses.
    """
    base = table[table["function"] == reference].set_index("suite").loc[table["suite"]].reset_index()
    ratio = table["train_mse"].to_numpy() / base["train_mse"].to_numpy()
    gain, log = table["ood_mse"].to_numpy() - base["ood_mse"].to_numpy(), table["log_ratio"].to_numpy()
    note = np.where(((gain < 0) | (log < 0)) & unequal(ratio), "wins at unequal fit", "")
    note = np.where(table["function"] == reference, "calibrated", note)
    return table.assign(train_ratio=ratio, signs_differ=gain * log < 0, note=note)


def batch_effect(losses: pd.DataFrame, config: FitnessConfig) -> pd.DataFrame:
    """Prediction of the whole OOD set as one batch against batches of the training size, paired by data set.

    Columns function, suite, n, batches and whole (mean losses), log_ratio (whole over batches), low, high.
    """

    def row(part: pd.DataFrame) -> dict[str, float]:
        whole, batches = (stats.log_losses(part[c], config.clamp, config.floor) for c in ("ood_mse_whole", "ood_mse"))
        found = stats.mean_interval(whole - batches, part["family"])
        means = {"batches": part["ood_mse"].mean(), "whole": part["ood_mse_whole"].mean()}
        return {"n": found.n} | means | found.columns("log_ratio")

    return _each(losses, row)


def families(losses: pd.DataFrame) -> pd.DataFrame:
    """Mean OOD loss of each function on each family of a suite: columns function, suite, then the families."""
    table = losses.pivot_table("ood_mse", ["suite", "function"], "family", "mean", sort=False)
    return table.reset_index()[["function", "suite", *losses["family"].unique()]].rename_axis(columns=None)


def by_family(losses: pd.DataFrame) -> pd.DataFrame:
    """Table 4 [ours]: mean OOD and training losses of each function on each family of each suite, with intervals.

    Columns function, suite, family, n (data sets), ood_mse, ood_low, ood_high, train_mse, train_low, train_high, from
    losses of one seed.
    """

    def row(part: pd.DataFrame) -> dict[str, float]:
        found = (stats.mean_interval(part[f"{side}_mse"], least=0) for side in ("ood", "train"))
        ood, train = (one.columns(f"{side}_mse", f"{side}_") for one, side in zip(found, ("ood", "train"), strict=True))
        return {"n": len(part)} | ood | train

    return _each(losses, row, "family")


def written(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `by_family` with each mean and its interval in one cell, and a column a side."""
    names = {f"{side} loss": (f"{side}_mse", f"{side}_low", f"{side}_high") for side in ("ood", "train")}
    cells = {name: intervals(table, *columns, ".2g") for name, columns in names.items()}
    return table[["function", "suite", "family", "n"]].assign(**cells)


def comparisons(
    losses: pd.DataFrame, subject: str, others: Sequence[str], config: FitnessConfig, seed: int = 0
) -> pd.DataFrame:
    """`planned` comparisons of one function with others, without the column subject."""
    return planned(losses, [(subject, other) for other in others], config, seed).drop(columns="subject")


def planned(
    losses: pd.DataFrame, pairs: Sequence[tuple[str, str]], config: FitnessConfig, seed: int = 0
) -> pd.DataFrame:
    """Planned comparisons on one suite, paired by data set; all of them are one family for Holm's correction.

    `losses` are of one suite and seed, a pair is a subject and the function that it is compared with.

    Columns subject, function (the other), n, log_ratio (log of subject over other; negative favours the subject), low,
    high, p, p_holm, verdict (`stats.decided`, of the subject), mse_difference with mse_low and mse_high, and
    unequal_fit: whether their mean training losses are `unequal`.
    """
    parts, rows = by_function(with_logs(losses, config)), []
    for subject, other in pairs:
        a, b = parts[subject], parts[other].loc[parts[subject].index]
        log, plain = (
            stats.paired_difference(a[column], b[column], np.random.default_rng(seed), strata=a["family"])
            for column in ("log", "ood_mse")
        )
        row = {"subject": subject, "function": other, "n": log.n, **log.columns("log_ratio"), "p": log.p_value}
        row |= plain.columns("mse_difference", "mse_")
        rows.append(row | {"unequal_fit": unequal(a["train_mse"].mean() / b["train_mse"].mean())})
    return stats.decided(pd.DataFrame(rows), "log_ratio")


def ratio(row: Any) -> str:
    """A row's log ratio with its interval, as a ratio of losses: `0.93 [0.90, 0.96]`."""
    return stats.bracketed(*np.exp([row.log_ratio, row.low, row.high]))


def intervals(table: pd.DataFrame, value: str, low: str = "low", high: str = "high", form: str = ".2f") -> list[str]:
    """A column with its interval as text, such as `0.93 [0.90, 0.96]`, a row each."""
    return [stats.bracketed(*row, form) for row in table[[value, low, high]].itertuples(index=False)]


def markdown(table: pd.DataFrame, digits: int = 4) -> str:
    """A table for a notebook: numbers with so many decimals, what is missing left empty, a | in a cell as text."""
    cells = table.round(digits).astype(object).where(table.notna(), "")
    cells = cells.map(lambda cell: cell.replace("|", r"\|") if isinstance(cell, str) else cell)
    return cells.rename(columns=lambda head: str(head).replace("|", r"\|")).to_markdown(index=False)


def claim(compared: pd.DataFrame) -> str:
    """Whether the subject beats all others: holds (all verdicts better), fails (one is worse) or is undecided."""
    verdicts = set(compared["verdict"])
    return "holds" if verdicts == {"better"} else "fails" if "worse" in verdicts else "is undecided"
