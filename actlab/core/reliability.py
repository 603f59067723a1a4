"""How reliably a lab ranks functions: agreement of random halves, and what varies how much (all choices ours).

Losses and aggregates of them are better when lower; tasks are data sets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import spearmanrho, t

from actlab.core.stats import Floats, Interval, members, sizes, tails

Aggregate = Callable[[Floats], Floats]  # from losses [functions, columns] to one number a function
SPLIT = {"tasks": 1, "seeds": 2}  # the axis of scores that is split


@dataclass(frozen=True, eq=False)
class Reliability:
    """How well the ranks of functions on one random half of the tasks, or seeds, agree with the other's."""

    correlations: Floats  # [splits] Spearman correlation of each split
    halves: Interval  # of one part
    whole: Interval  # stepped up to all units by Spearman-Brown


@dataclass(frozen=True)
class VarianceComponents:
    """Variances of a crossed design, in squared units of the values."""

    function: float
    task: float
    interaction: float  # function x task: tasks that suit one function and not another
    residual: float  # seeds within one function and task
    design: tuple[int, int, int]  # functions, tasks, seeds


def split_half(
    scores: ArrayLike,
    aggregate: Aggregate,
    generator: np.random.Generator,
    splits: int = 200,
    strata: ArrayLike | None = None,
    unit: str = "tasks",
    fraction: float = 0.5,
    level: float = 0.95,
) -> Reliability:
    """Return how well the ranks of functions agree between random halves of the tasks, or of the seeds.

    The spread over splits is no confidence interval: all splits share the same functions and tasks.

    Args:
        scores: [functions, tasks] or [functions, tasks, seeds] losses of at least 3 functions.
        aggregate: of the half's columns; with three axes, these are all pairs of the half's units and the other axis. A
            reference is a row: `lambda x: mean_log_ratio(x, x[0], 1, .1)`.
        generator: source of the splits.
        splits: number of random splits.
        strata: label of each unit; each stratum is split by itself, and an odd one out is left out.
        unit: "tasks" or "seeds", what is split.
        fraction: of the units in each part, at most a half; less shows how reliability grows with them.
        level: share of the splits between the low and the high value.

    Source: Spearman (1910) and Brown (1910), British Journal of Psychology 3, for the step-up.
    """
    scores = np.asarray(scores, dtype=float)
    if unit not in SPLIT or scores.ndim not in (2, 3) or scores.ndim <= SPLIT[unit] or scores.shape[0] < 3:
        raise ValueError(
            f"split_half: wanted scores of at least 3 functions, [functions, tasks] or [functions, tasks, seeds], and "
            f"tasks or seeds to split; got shape {scores.shape} to split {unit}"
        )
    by_unit = np.moveaxis(scores, SPLIT[unit], 1)
    functions, units = by_unit.shape[:2]
    groups = members(units, strata)
    takes = [int(group.size * fraction + 1e-9) for group in groups]
    if not (0 < fraction <= 0.5 and sum(takes)):
        raise ValueError(
            f"split_half: wanted a fraction of at most 0.5 that leaves a unit; got {fraction} of {sizes(groups)}"
        )
    halves = np.empty((2, splits, functions))
    for split in range(splits):
        orders = [generator.permutation(group) for group in groups]
        for part, half in enumerate(halves):
            chosen = [order[part * take :][:take] for order, take in zip(orders, takes, strict=True)]
            half[split] = aggregate(by_unit[:, np.concatenate(chosen)].reshape(functions, -1))
    if not (np.ptp(halves, axis=-1) > 0).all():
        raise ValueError("split_half: all functions tie on some half: there is no order to compare")
    correlations, size = spearmanrho(*halves, axis=-1).statistic, sum(takes)
    spread = [float(correlations.mean()), *map(float, np.quantile(correlations, tails(level)))]
    stepped = [spearman_brown(value, units / size) for value in spread]
    method = f"mean and {level:.0%} spread over {splits} random splits into twice {size} of {units} {unit}"
    whole = Interval(*stepped, units, f"{method}, Spearman-Brown to {units}")
    return Reliability(correlations, Interval(*spread, size, method), whole)


def spearman_brown(reliability: float, factor: float) -> float:
    """Return the reliability of a test `factor` times as long; a negative one is returned as it is."""
    return reliability if reliability <= 0 else factor * reliability / (1 + (factor - 1) * reliability)


def variance_components(values: ArrayLike) -> VarianceComponents:
    """Return how much functions, tasks, their interaction, and seeds within both vary.

    A balanced two-way random-effects analysis of variance by expected mean squares of `values` [functions, tasks,
    seeds], finite, at least two of each. Use logs of clamped losses, whose spread is multiplicative. Negative
    estimates become 0.

    Source: Searle, Casella, McCulloch, "Variance Components" (1992), section 4.3.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 3 or min(values.shape) < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"variance_components: wanted finite values [functions, tasks, seeds], at least 2 of each, got "
            f"shape {values.shape} with {np.count_nonzero(~np.isfinite(values))} not finite"
        )
    a, b, n = values.shape
    cells = values.mean(axis=2)
    rows, columns, mean = cells.mean(axis=1), cells.mean(axis=0), cells.mean()
    ms_function = b * n * ((rows - mean) ** 2).sum() / (a - 1)
    ms_task = a * n * ((columns - mean) ** 2).sum() / (b - 1)
    ms_cell = n * ((cells - rows[:, None] - columns + mean) ** 2).sum() / ((a - 1) * (b - 1))
    ms_seed = ((values - cells[..., None]) ** 2).sum() / (a * b * (n - 1))
    raw = ((ms_function - ms_cell) / (b * n), (ms_task - ms_cell) / (a * n), (ms_cell - ms_seed) / n, ms_seed)
    return VarianceComponents(*(max(0.0, float(value)) for value in raw), (a, b, n))


def variance_shares(values: ArrayLike, level: float = 0.95) -> dict[str, Interval]:
    """Return each component's share of the variance, with a delete-one-task jackknife interval cut to [0, 1].

    `values` are those of `variance_components`, with at least three tasks; functions are taken as given. All shares are
    NaN if nothing varies. Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 11.
    """
    values = np.asarray(values, dtype=float)
    whole = _shares(values)
    tasks = values.shape[1]
    if tasks < 3:
        raise ValueError(f"variance_shares: wanted at least 3 tasks to leave one out, got {tasks}")
    kept = [list(_shares(np.delete(values, task, axis=1)).values()) for task in range(tasks)]
    reaches = t.ppf((1 + level) / 2, tasks - 1) * np.sqrt((tasks - 1) * np.var(kept, axis=0))
    method = f"{level:.0%} jackknife t over {tasks} tasks"
    return {
        name: Interval(share, float(max(0, share - reach)), float(min(1, share + reach)), tasks, method)
        for (name, share), reach in zip(whole.items(), reaches, strict=True)
    }


def _shares(values: Floats) -> dict[str, float]:
    found = variance_components(values)
    parts = {"function": found.function, "task": found.task, "function x task": found.interaction}
    parts["residual"] = found.residual
    total = sum(parts.values()) or np.nan
    return {name: part / total for name, part in parts.items()}


def dependability(components: VarianceComponents, tasks: int, seeds: int) -> float:
    """Return how reliably a design of so many new tasks, and seeds a task, would order functions, between 0 and 1.

    This is the relative generalizability coefficient; NaN where nothing varies. All functions get the same tasks, so
    the tasks' own variance does not disturb the order. Source: Brennan, "Generalizability Theory" (2001), chapter 2.
    """
    if tasks < 1 or seeds < 1:
        raise ValueError(f"dependability: wanted at least one task and one seed, got {tasks} and {seeds}")
    noise = components.interaction / tasks + components.residual / (tasks * seeds)
    total = components.function + noise
    return components.function / total if total else np.nan
