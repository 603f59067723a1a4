"""Statistics of the lab: intervals, paired comparisons, aggregates over tasks, reliability of a ranking.

Pure functions on arrays. A loss is better when lower, and so is every aggregate here. The unit that is
resampled is the task (data set), since tasks matter far more than seeds. The paper has no intervals: all
choices here are [ours].
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

RESAMPLES = 10_000
EXACT_FLIPS = 12  # up to this many pairs, all 2**n sign flips are tried
SLICE = 1 << 20  # numbers drawn at a time, so that memory stays near 16 MB whatever the number of resamples
COMPONENTS = ("function", "task", "function x task", "residual")

Floats = NDArray[np.float64]
Aggregate = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval, what it rests on; `f"{interval:.3f}"` reads 0.052 [0.047, 0.058]."""

    estimate: float
    low: float
    high: float
    n: int  # units that the estimate rests on: tasks, seeds, items
    method: str  # one line, for captions

    def __format__(self, spec: str) -> str:
        """Format the three numbers alike; without a specification, to three significant digits."""
        estimate, low, high = (format(value, spec or ".3g") for value in (self.estimate, self.low, self.high))
        return f"{estimate} [{low}, {high}]"

    def text(self, digits: int = 3) -> str:
        """Return the estimate and its interval with `digits` decimals, for tables."""
        return format(self, f".{digits}f")


@dataclass(frozen=True)
class Comparison(Interval):
    """A paired difference with its interval and a two-sided p value."""

    p_value: float


@dataclass(frozen=True, eq=False)
class Reliability:
    """How well the ranks of functions on one random half of the tasks, or seeds, agree with the other's."""

    correlations: Floats  # [splits] Spearman correlation of each split
    halves: Interval  # of one part
    whole: Interval  # stepped up to all the units by Spearman-Brown


@dataclass(frozen=True)
class VarianceComponents:
    """Variances of a crossed design, in squared units of the values."""

    function: float
    task: float
    interaction: float  # function x task: tasks that suit one function and not another
    residual: float  # seeds within one function and task
    design: tuple[int, int, int]  # functions, tasks, seeds
    cut: tuple[str, ...]  # names of the components whose estimate was negative and is given as 0

    def shares(self) -> dict[str, float]:
        """Return each component's share of the sum, by the names in `COMPONENTS`; NaN if nothing varies."""
        values = (self.function, self.task, self.interaction, self.residual)
        total = sum(values) or np.nan
        return {name: value / total for name, value in zip(COMPONENTS, values, strict=True)}


@dataclass(frozen=True)
class RankCorrelation:
    """Agreement of two orderings of the same items."""

    spearman: Interval
    kendall: Interval  # tau-b


def bootstrap_mean(
    values: ArrayLike,
    generator: np.random.Generator,
    strata: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return the mean of a value a task, with a percentile bootstrap interval over tasks.

    With `strata`, tasks are redrawn within their family, as many as the family has: a suite holds its
    families in fixed numbers, so their differences are no source of error. Small strata give intervals that
    are too narrow, by a factor of sqrt(1 - 1/m) for m tasks a family.

    Args:
        values: [n] finite.
        generator: source of the resamples.
        strata: [n] family of each task; a family of one is refused, since it would seem to have no error.
        level: coverage wanted, between 0 and 1.
        resamples: number of bootstrap samples.

    Raises:
        ValueError: a value is not finite, shapes differ, or a stratum has fewer than two values.
    """
    values = _vector("bootstrap_mean", values)
    groups = _groups(values.size, strata)
    if min(group.size for group in groups) < 2:
        raise ValueError(f"bootstrap_mean: wanted at least 2 values in each stratum, got {_sizes(groups)}")
    sums = np.zeros(resamples)
    for rows in _slices(resamples, values.size):
        for group in groups:
            picks = generator.integers(group.size, size=(rows.stop - rows.start, group.size))
            sums[rows] += values[group][picks].sum(axis=1)
    low, high = np.quantile(sums / values.size, _tails(level))
    within = "" if strata is None else f" in {len(groups)} strata"
    method = f"{level:.0%} percentile bootstrap over {values.size} values{within}, {resamples} resamples"
    return Interval(float(values.mean()), float(low), float(high), values.size, method)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    generator: np.random.Generator,
    strata: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Return mean(a - b) over the same tasks, its bootstrap interval, and the p value of a sign-flip test.

    Under the null hypothesis each difference is as likely to have had the other sign. Up to 12 pairs every
    flip is tried; beyond, `resamples` random ones, and p = (1 + hits) / (1 + resamples), never 0.

    Args:
        a: [n] finite; lower is better, so a negative difference favours `a`.
        b: [n] finite, of the same tasks in the same order.
        generator: source of the resamples and flips.
        strata: [n] family of each task, for the interval.
        level: coverage of the interval.
        resamples: bootstrap samples, and random flips.
    """
    differences = _differences("paired_difference", a, b)
    interval = bootstrap_mean(differences, generator, strata, level, resamples)
    p_value, flips = _sign_flip(differences, generator, resamples)
    method = f"paired {interval.method}; p from {flips} sign flips"
    return Comparison(interval.estimate, interval.low, interval.high, interval.n, method, p_value)


def _sign_flip(differences: Floats, generator: np.random.Generator, resamples: int) -> tuple[float, str]:
    """Return the two-sided p value of mean 0, and the flips tried in words."""
    n = differences.size
    reach = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()  # ties count, despite rounding
    if n <= EXACT_FLIPS:
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return float(np.mean(np.abs((1 - 2 * bits) @ differences) >= reach)), f"all {2**n}"
    hits = 0
    for rows in _slices(resamples, n):
        signs = 1 - 2 * generator.integers(2, size=(rows.stop - rows.start, n))
        hits += int(np.count_nonzero(np.abs(signs @ differences) >= reach))
    return (1 + hits) / (1 + resamples), f"{resamples} random"


def paired_t(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Comparison:
    """Return mean(a - b) with Student's paired interval and p value: for few seeds, where a bootstrap fails.

    Args:
        a: [n] finite.
        b: [n] finite, of the same seeds in the same order.
        level: coverage of the interval.
    """
    differences = _differences("paired_t", a, b)
    n, mean = differences.size, float(differences.mean())
    error = float(differences.std(ddof=1) / np.sqrt(n))
    reach = float(stats.t.ppf((1 + level) / 2, n - 1)) * error
    p_value = float(2 * stats.t.sf(abs(mean) / error, n - 1)) if error else float(mean == 0)
    return Comparison(mean, mean - reach, mean + reach, n, f"{level:.0%} paired t over {n} pairs", p_value)


def crossed_difference(a: ArrayLike, b: ArrayLike, strata: ArrayLike | None = None, level: float = 0.95) -> Comparison:
    """Return mean(a - b) of runs that all met the same tasks, with an interval for new runs and new tasks.

    The differences of a run share its luck, those of a task its kind, so neither runs nor tasks alone give the error:
    a crossed design of two random factors without repetition. The variance of the mean is the sum of the components
    for runs, tasks within their families, and the rest, from expected mean squares; Student's distribution gets
    Satterthwaite's degrees of freedom. These are near runs - 1 where runs differ most, and near the number of tasks
    where tasks do. A bootstrap over as few as five runs would be too narrow: its variance falls short by a fifth, and
    its tails are those of the normal distribution.

    Args:
        a: [runs, tasks] finite; lower is better, so a negative difference favours `a`.
        b: [runs, tasks] of runs that are paired with those of `a`, or [tasks] where all meet the same values.
        strata: [tasks] family of each task; families are fixed, so that differences between them are no error.
        level: coverage of the interval.

    Raises:
        ValueError: a value is not finite, shapes differ, or there are fewer than two runs, or two tasks a stratum.

    Source: Searle, Casella, McCulloch, "Variance Components" (1992), section 4.3; Satterthwaite (1946), Biometrics
    Bulletin 2.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.ndim != 2 or b.shape not in (a.shape, a.shape[1:]) or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(
            f"crossed_difference: wanted finite values [runs, tasks], and as many or [tasks] to compare with; got "
            f"shapes {a.shape} and {b.shape}"
        )
    differences = a - b
    runs, tasks = differences.shape
    groups = _groups(tasks, strata)
    if runs < 2 or min(group.size for group in groups) < 2:
        raise ValueError(
            f"crossed_difference: wanted at least 2 runs and 2 tasks in each stratum, got {runs} and {_sizes(groups)}"
        )
    mean, by_run = float(differences.mean()), differences.mean(axis=1)
    residual, within = differences - differences.mean(axis=0), differences.mean(axis=0)
    for group in groups:
        residual[:, group] -= residual[:, group].mean(axis=1, keepdims=True)
        within[group] -= within[group].mean()
    free = np.array([runs - 1, tasks - len(groups), (runs - 1) * (tasks - len(groups))])
    squares = np.array([tasks * ((by_run - mean) ** 2).sum(), runs * (within**2).sum(), (residual**2).sum()]) / free
    rest = squares[2]
    weights = np.array([squares[0] > rest, squares[1] > rest, 0], dtype=float)  # a negative component counts as none
    weights[2] = 1 - weights[:2].sum()
    variance = float(weights @ squares)
    error = np.sqrt(variance / differences.size)
    degrees = variance**2 / float(weights**2 @ (squares**2 / free)) if variance else float(free[0])
    reach = float(stats.t.ppf((1 + level) / 2, degrees)) * error
    p_value = float(2 * stats.t.sf(abs(mean) / error, degrees)) if error else float(mean == 0)
    within_words = "" if strata is None else f" in {len(groups)} strata"
    method = f"{level:.0%} crossed t over {runs} runs and {tasks} tasks{within_words}, {degrees:.1f} degrees of freedom"
    return Comparison(mean, mean - reach, mean + reach, runs, method, p_value)


def holm(p_values: ArrayLike) -> Floats:
    """Return p values adjusted for several planned comparisons by Holm's step-down method.

    Args:
        p_values: [k] between 0 and 1.

    Returns:
        [k] in the order given; each at most 1.

    Source: Holm (1979), Scandinavian Journal of Statistics 6.
    """
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"holm: wanted a vector of p values between 0 and 1, got {p.tolist()}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    return adjusted


def probability_of_improvement(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Interval:
    """Return the share of tasks on which `a` has the lower loss, ties counting half, with Wilson's interval.

    Args:
        a: [n] losses, finite.
        b: [n] losses of the same tasks.
        level: coverage of the interval.

    Source: Wilson (1927), Journal of the American Statistical Association 22.
    """
    differences = _differences("probability_of_improvement", a, b)
    n = differences.size
    share = float(np.mean(differences < 0) + np.mean(differences == 0) / 2)
    z = float(stats.norm.ppf((1 + level) / 2))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    method = f"{level:.0%} Wilson interval over {n} pairs, ties count half"
    return Interval(share, max(0.0, float(centre - reach)), min(1.0, float(centre + reach)), n, method)


def clamped(losses: ArrayLike, clamp: float) -> Floats:
    """Return the losses; what is above `clamp`, NaN or infinite counts as `clamp`: one bad task, no more."""
    losses = np.asarray(losses, dtype=float)
    return np.where(np.isfinite(losses) & (losses < clamp), losses, clamp)


def clamped_mean(losses: ArrayLike, clamp: float) -> Floats:
    """Return the mean over tasks of the clamped losses.

    Args:
        losses: [..., tasks].
        clamp: highest loss that counts, in the losses' unit.

    Returns:
        [...], lower is better.
    """
    return clamped(losses, clamp).mean(axis=-1)


def mean_log(losses: ArrayLike, clamp: float, floor: float) -> Floats:
    """Return the mean over tasks of the log of the clamped losses; below `floor` all losses count as `floor`.

    The floor keeps the easiest tasks from ruling the mean.

    Args:
        losses: [..., tasks], not negative.
        clamp: highest loss that counts.
        floor: lowest loss that counts, above 0.

    Returns:
        [...], natural log, lower is better.
    """
    if not 0 < floor < clamp:
        raise ValueError(f"mean_log: wanted 0 < floor < clamp, got floor {floor} and clamp {clamp}")
    return np.log(np.maximum(clamped(losses, clamp), floor)).mean(axis=-1)


def mean_log_ratio(losses: ArrayLike, reference: ArrayLike, clamp: float, floor: float) -> Floats:
    """Return the mean over tasks of log(loss / reference), both clamped and floored; -0.1 reads "10 % lower".

    Args:
        losses: [..., tasks].
        reference: [tasks] losses of the fixed reference, ReLU.
        clamp: highest loss that counts.
        floor: lowest loss that counts, above 0.

    Returns:
        [...], lower is better, 0 for the reference itself.
    """
    losses, reference = np.asarray(losses, dtype=float), np.asarray(reference, dtype=float)
    if reference.shape != losses.shape[-1:]:
        raise ValueError(f"mean_log_ratio: wanted one reference a task {losses.shape[-1:]}, got {reference.shape}")
    return mean_log(losses, clamp, floor) - mean_log(reference, clamp, floor)


def mean_rank(losses: ArrayLike, clamp: float) -> Floats:
    """Return the mean over tasks of each function's rank among the functions given, 1 for the lowest loss.

    It depends on who else is ranked, so it serves comparisons, never as a fitness.

    Args:
        losses: [functions, tasks].
        clamp: highest loss that counts; losses at the clamp tie.

    Returns:
        [functions], lower is better.
    """
    return stats.rankdata(clamped(losses, clamp), axis=0).mean(axis=-1)


def split_half_reliability(
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
        scores: [functions, tasks] or [functions, tasks, seeds] losses.
        aggregate: from [functions, columns] to [functions]; with three axes, the columns are all pairs of the
            half's units and the other axis. A reference is a row: `lambda x: mean_log_ratio(x, x[0], 1, .1)`.
        generator: source of the splits.
        splits: number of random splits.
        strata: label of each unit; each stratum is split by itself, and an odd one out is left out.
        unit: "tasks" or "seeds", what is split.
        fraction: of the units in each part, at most a half; less shows how reliability grows with them.
        level: share of the splits between the low and the high value.

    Source: Spearman (1910) and Brown (1910), British Journal of Psychology 3, for the step-up.
    """
    scores = np.asarray(scores, dtype=float)
    axes = {"tasks": 1, "seeds": 2}
    if unit not in axes:
        raise ValueError(f"split_half_reliability: wanted unit 'tasks' or 'seeds', got {unit!r}")
    if scores.ndim not in (2, 3) or scores.ndim <= axes[unit] or scores.shape[0] < 3:
        raise ValueError(
            f"split_half_reliability: wanted scores of at least 3 functions, [functions, tasks] or "
            f"[functions, tasks, seeds], to split {unit}, got shape {scores.shape}"
        )
    by_unit = np.moveaxis(scores, axes[unit], 1)
    functions, units = by_unit.shape[:2]
    groups = _groups(units, strata)
    halves = np.empty((2, splits, functions))
    for split in range(splits):
        parts = _two_parts(groups, fraction, generator)
        for half, members in zip(halves, parts, strict=True):
            half[split] = aggregate(by_unit[:, members].reshape(functions, -1))
    correlations = _row_correlation(*stats.rankdata(halves, axis=-1))
    if np.isnan(correlations).any():
        raise ValueError("split_half_reliability: all functions tie on some half: there is no order to compare")
    size = parts[0].size
    spread = (float(correlations.mean()), *np.quantile(correlations, _tails(level)))
    stepped = (spearman_brown(float(value), units / size) for value in spread)
    method = f"mean and {level:.0%} spread over {splits} random splits into twice {size} of {units} {unit}"
    return Reliability(
        correlations,
        Interval(*map(float, spread), size, method),
        Interval(*stepped, units, f"{method}, Spearman-Brown to {units}"),
    )


def _two_parts(groups: list[NDArray], fraction: float, generator: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Return two disjoint random sets of members, each with `fraction` of every group, rounded down."""
    if not 0 < fraction <= 0.5:
        raise ValueError(f"split_half_reliability: wanted a fraction above 0 and at most 0.5, got {fraction}")
    takes = [int(group.size * fraction + 1e-9) for group in groups]
    if not sum(takes):
        raise ValueError(f"split_half_reliability: {fraction} of {_sizes(groups)} units leaves none in a part")
    orders = [generator.permutation(group) for group in groups]
    first = np.concatenate([order[:take] for order, take in zip(orders, takes, strict=True)])
    second = np.concatenate([order[take : 2 * take] for order, take in zip(orders, takes, strict=True)])
    return first, second


def spearman_brown(reliability: float, factor: float) -> float:
    """Return the reliability of a test `factor` times as long; a negative one is returned as it is."""
    if reliability <= 0:
        return reliability
    return factor * reliability / (1 + (factor - 1) * reliability)


def variance_components(values: ArrayLike) -> VarianceComponents:
    """Return what varies how much: functions, tasks, their interaction, and seeds within both.

    A balanced two-way random-effects analysis of variance by expected mean squares. Estimates below 0 are
    given as 0 and named in `cut`. Use the log of clamped losses as values: their spread is multiplicative.

    Args:
        values: [functions, tasks, seeds] finite, at least two of each.

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
    cut = tuple(name for name, value in zip(COMPONENTS, raw, strict=True) if value < 0)
    return VarianceComponents(*(max(0.0, float(value)) for value in raw), (a, b, n), cut)


def variance_shares(values: ArrayLike, level: float = 0.95) -> dict[str, Interval]:
    """Return each component's share of the variance, with a delete-one-task jackknife interval cut to [0, 1].

    Tasks are the sample here; the functions are taken as given.

    Args:
        values: [functions, tasks, seeds] as `variance_components` wants them, at least three tasks.
        level: coverage of the interval.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 11.
    """
    values = np.asarray(values, dtype=float)
    whole = variance_components(values).shares()
    tasks = values.shape[1]
    if tasks < 3:
        raise ValueError(f"variance_shares: wanted at least 3 tasks to leave one out, got {tasks}")
    kept = (variance_components(np.delete(values, task, axis=1)).shares() for task in range(tasks))
    errors = np.sqrt((tasks - 1) * np.var([list(shares.values()) for shares in kept], axis=0))
    reaches = stats.t.ppf((1 + level) / 2, tasks - 1) * errors
    method = f"{level:.0%} jackknife t over {tasks} tasks"
    return {
        name: Interval(share, float(max(0, share - reach)), float(min(1, share + reach)), tasks, method)
        for (name, share), reach in zip(whole.items(), reaches, strict=True)
    }


def dependability(components: VarianceComponents, tasks: int, seeds: int) -> float:
    """Return the relative generalizability coefficient of a design: how reliably it orders functions.

    All functions meet the same tasks, so the tasks' own variance does not disturb the order.

    Args:
        components: from `variance_components`.
        tasks: number of tasks in the design, random and new.
        seeds: number of seeds a task.

    Returns:
        Between 0 and 1; NaN where nothing varies.

    Source: Brennan, "Generalizability Theory" (2001), chapter 2.
    """
    if tasks < 1 or seeds < 1:
        raise ValueError(f"dependability: wanted at least one task and one seed, got {tasks} and {seeds}")
    noise = components.interaction / tasks + components.residual / (tasks * seeds)
    total = components.function + noise
    return components.function / total if total else np.nan


def rank_correlation(
    a: ArrayLike,
    b: ArrayLike,
    generator: np.random.Generator,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> RankCorrelation:
    """Return Spearman's rho and Kendall's tau-b of two orderings, with bootstrap intervals over items.

    A resample in which all items tie has no correlation and is left out.

    Args:
        a: [n] finite scores of the items in one place.
        b: [n] finite scores of the same items in another.
        generator: source of the resamples.
        level: coverage of the intervals.
        resamples: number of bootstrap samples.
    """
    a, b = _vector("rank_correlation", a), _vector("rank_correlation", b)
    if a.shape != b.shape or a.size < 4 or not (np.ptp(a) and np.ptp(b)):
        raise ValueError(
            f"rank_correlation: wanted the same items twice, at least 4, not all tied; got {a.size}, {b.size}"
        )
    drawn = np.empty((2, resamples))
    for rows in _slices(resamples, a.size**2):
        picks = generator.integers(a.size, size=(rows.stop - rows.start, a.size))
        drawn[0, rows], drawn[1, rows] = _spearman(a[picks], b[picks]), _kendall(a[picks], b[picks])
    found = _spearman(a[None], b[None])[0], _kendall(a[None], b[None])[0]
    method = f"{level:.0%} percentile bootstrap over {a.size} items, {resamples} resamples"
    intervals = (
        Interval(float(value), *map(float, np.nanquantile(sample, _tails(level))), a.size, method)
        for value, sample in zip(found, drawn, strict=True)
    )
    return RankCorrelation(*intervals)


def _spearman(a: Floats, b: Floats) -> Floats:
    """Return Spearman's rho of each row of [rows, n]."""
    return _row_correlation(stats.rankdata(a, axis=-1), stats.rankdata(b, axis=-1))


def _kendall(a: Floats, b: Floats) -> Floats:
    """Return Kendall's tau-b of each row of [rows, n]: the correlation of the signs of pairs' differences."""
    signs = [np.sign(x[:, :, None] - x[:, None, :]).reshape(len(x), -1) for x in (a, b)]
    return _row_correlation(*signs)


def _row_correlation(a: Floats, b: Floats) -> Floats:
    """Return Pearson's correlation of each row of [rows, n]; NaN where a row does not vary."""
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    scale = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return np.divide((a * b).sum(axis=-1), scale, out=np.full(len(a), np.nan), where=scale > 0)


def _vector(caller: str, values: ArrayLike) -> Floats:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or values.size < 2 or not np.isfinite(values).all():
        bad = np.count_nonzero(~np.isfinite(values))
        raise ValueError(
            f"{caller}: wanted a vector of at least 2 finite values (clamp losses first), got shape "
            f"{values.shape} with {bad} not finite"
        )
    return values


def _differences(caller: str, a: ArrayLike, b: ArrayLike) -> Floats:
    a, b = _vector(caller, a), _vector(caller, b)
    if a.shape != b.shape:
        raise ValueError(f"{caller}: wanted pairs, got {a.size} and {b.size} values")
    return a - b


def _groups(n: int, strata: ArrayLike | None) -> list[NDArray]:
    """Return the positions of each stratum's members, strata sorted; without strata, one group of all."""
    if strata is None:
        return [np.arange(n)]
    strata = np.asarray(strata)
    if strata.shape != (n,):
        raise ValueError(f"wanted a stratum for each of {n} units, got shape {strata.shape}")
    return [np.flatnonzero(strata == label) for label in np.unique(strata)]


def _sizes(groups: list[NDArray]) -> str:
    return ", ".join(str(group.size) for group in groups)


def _slices(count: int, width: int) -> Iterator[slice]:
    """Return slices of `count` rows, each of at most `SLICE` numbers where a row has `width`."""
    rows = max(1, SLICE // width)
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))


def _tails(level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"wanted a level between 0 and 1, such as 0.95, got {level}")
    return (1 - level) / 2, (1 + level) / 2
