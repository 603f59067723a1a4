"""Statistics of the lab: intervals, paired comparisons, verdicts, and aggregates of losses over tasks.

Losses, and all aggregates of them, are better when lower. Units are tasks (data sets) rather than seeds, since tasks
matter far more. The paper reports no intervals: all choices here are [ours].

Arguments that recur: `level` is the coverage of an interval, `generator` the source of resamples and sign flips, and
`strata` [n] the family of each unit. A suite holds its families in fixed numbers, so that differences between families
are no source of error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

if TYPE_CHECKING:
    import pandas as pd

FLIPS = RESAMPLES = 10_000  # sign flips of a test, and resamples of a bootstrap
ALPHA = 0.05  # a comparison is decided where its p value after Holm's correction is below
EXACT_FLIPS = 12  # up to this many pairs, all 2**n sign flips are tried
BATCH = 1 << 20  # numbers drawn at a time, so that memory stays near 16 MB whatever the number of resamples

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval and what it rests on; `f"{interval:.3f}"` reads 0.052 [0.047, 0.058]."""

    estimate: float
    low: float
    high: float
    n: int  # units that the estimate rests on: tasks, seeds, items
    method: str  # one line, for captions

    def __format__(self, spec: str) -> str:
        """Format the three numbers alike, by default to three significant digits."""
        return bracketed(self.estimate, self.low, self.high, spec or ".3g")

    def columns(self, name: str, ends: str = "") -> dict[str, float]:
        """Return columns of a table: the estimate as `name`, the ends as `low` and `high` with a prefix."""
        return {name: self.estimate, f"{ends}low": self.low, f"{ends}high": self.high}


@dataclass(frozen=True)
class Comparison(Interval):
    """A difference with its interval and a two-sided p value."""

    p_value: float


@dataclass(frozen=True)
class RankCorrelation:
    """Agreement of two orderings of the same items."""

    spearman: Interval
    kendall: Interval  # tau-b


def bracketed(estimate: float, low: float, high: float, spec: str = ".2f") -> str:
    """Return an estimate and its interval as text, such as `0.93 [0.90, 0.96]`."""
    return f"{estimate:{spec}} [{low:{spec}}, {high:{spec}}]"


def reach(variance: ArrayLike, third: ArrayLike, degrees: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Return how far an interval of a mean goes below and above it: Student's, and as far as its skewness asks.

    Where values are skewed, Student's interval misses too often on the side of the long tail. Hall's transformation
    corrects it, but is too short where tails are heavy and not skewed. Both together cover; `studies.coverage` measures
    how often.

    Args:
        variance: of the mean, [...].
        third: its third cumulant, [...].
        degrees: of freedom, [...]; one less than Student's, since the skewness is estimated too [ours].

    Source: Hall (1992), Journal of the Royal Statistical Society B 54; the union with Student's is [ours].
    """
    t, error = stats.t.ppf(tails(level)[1], degrees), np.sqrt(variance)
    down, up = bent(t, third / np.where(error > 0, error, 1) ** 3)
    return error * np.maximum(t, down), error * np.maximum(t, up)


def bent(t: ArrayLike, skewness: ArrayLike) -> tuple[Floats, Floats]:
    """Return how far Hall's interval of a mean of this skewness goes below and above it, in standard errors."""
    slope = np.where(np.abs(skewness) > 1e-6, skewness, 1e-6)
    ends = 3 / slope * (np.cbrt(1 + slope * (np.array([t, -t]) - slope / 6)) - 1)
    return ends[0], -ends[1]


def weighted_mean(
    groups: Sequence[Floats], weights: Sequence[float], level: float = 0.95
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the weighted sum of the means of independent groups, its interval's low and high, and p that it is 0.

    Each group is [..., n], with two values or more, and gives [...]. Degrees of freedom are Satterthwaite's. The p is
    Welch's, without a correction: under its hypothesis either sign is as likely, so that nothing is skewed.

    Source: Welch (1947), Biometrika 34; Satterthwaite (1946), Biometrics Bulletin 2.
    """
    means, variances, thirds = cumulants(groups, weights)
    sizes, mean, variance = np.array([group.shape[-1] for group in groups]), means.sum(axis=0), variances.sum(axis=0)
    down, up = reach(variance, thirds.sum(axis=0), satterthwaite(variances, spare(sizes)), level)
    return mean, mean - down, mean + up, _p_value(mean, variance, satterthwaite(variances, sizes - 1))


def cumulants(groups: Sequence[Floats], weights: Sequence[float]) -> Floats:
    """Return the weighted mean of each group [..., n], its variance and its third cumulant: [3, groups, ...].

    The variance is without bias. The cumulant is n / (n - 1) times that without bias, since it is divided by a variance
    of the same values, which hides some of the skewness [ours].
    """
    rows = []
    for values, weight in zip(groups, weights, strict=True):
        n, mean = values.shape[-1], values.mean(axis=-1)
        gaps = values - mean[..., None]
        square, cube = np.vecdot(gaps, gaps) / (n - 1), np.vecdot(gaps * gaps, gaps) / (n - 1)
        rows.append((weight * mean, weight**2 * square / n, weight**3 * cube / ((n - 1) * spare(n))))
    return np.moveaxis(np.array(rows), 1, 0)


def spare(sizes: ArrayLike) -> NDArray[np.int_]:
    """Return the degrees of freedom of groups of these sizes, whose mean and skewness are estimated; two have one."""
    return np.maximum(np.asarray(sizes) - 2, 1)


def satterthwaite(variances: Floats, free: ArrayLike) -> Floats:
    """Return Satterthwaite's degrees of freedom of a sum of variances [groups, ...], which have these themselves."""
    share = variances / np.where((total := variances.sum(axis=0)) > 0, total, 1)
    fourth = (share.T**2 / free).T.sum(axis=0)
    return 1 / np.where(total > 0, fourth, 1)


def _p_value(mean: Floats, variance: Floats, degrees: Floats) -> Floats:
    """Return Student's two-sided p of a mean of 0; without variance it is 0 or 1."""
    t = np.abs(mean) / np.sqrt(np.where(variance > 0, variance, 1))
    return np.where(variance > 0, 2 * stats.t.sf(t, degrees), mean == 0)


def mean_interval(
    values: ArrayLike, strata: ArrayLike | None = None, level: float = 0.95, least: float = -np.inf
) -> Interval:
    """Return the mean of `values` [n], finite, with a `weighted_mean`'s interval; strata of one value are refused.

    The interval is cut off at `least`, below which no value can lie: 0 for losses.
    """
    values = _vector("mean_interval", values)
    groups = members(values.size, strata)
    if min(map(len, groups)) < 2:
        raise ValueError(f"mean_interval: wanted at least 2 values in each stratum, got {sizes(groups)}")
    parts, shares = [values[group] for group in groups], [len(group) / values.size for group in groups]
    middle, *ends, _ = (float(part) for part in weighted_mean(parts, shares, level))
    mean = float(values.mean())
    low, high = (mean + (end - middle) for end in ends)  # free of the rounding of a sum in another order
    few = few_words(map(len, groups))
    method = f"{level:.0%} skewness-corrected t over {values.size} values{_within(strata, groups)}{few}"
    return Interval(mean, max(low, least), high, values.size, method)


FEW = "less over groups of two"  # behind the words for an interval which `studies.coverage` shows to miss too often


def few_words(sizes: Iterable[int]) -> str:
    """Return `FEW` behind a comma where one of these groups is too small for its interval to cover, else nothing."""
    return f", {FEW}" if min(sizes) < 3 else ""


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    generator: np.random.Generator,
    strata: ArrayLike | None = None,
    level: float = 0.95,
    flips: int = FLIPS,
) -> Comparison:
    """Return mean(a - b) over the same tasks, its `mean_interval`, and the p value of a sign-flip test.

    `a` and `b` are [n], finite, in the same order of tasks. Under the null hypothesis either sign of a difference is as
    likely. Up to 12 pairs, all flips are tried; beyond, so many random ones, and p is (1 + hits) / (1 + flips), never
    0. The strata serve the interval alone, which holds for skewed differences too, and may be the wider for it.
    """
    differences = _differences("paired_difference", a, b)
    interval = mean_interval(differences, strata, level)
    p_value, tried = _sign_flip(differences, generator, flips)
    method = f"paired {interval.method}; p from {tried} sign flips"
    return Comparison(interval.estimate, interval.low, interval.high, interval.n, method, p_value)


def _within(strata: ArrayLike | None, groups: list[NDArray]) -> str:
    return "" if strata is None else f" in {len(groups)} strata"


def _sign_flip(differences: Floats, generator: np.random.Generator, flips: int) -> tuple[float, str]:
    """Return the two-sided p value of mean 0, and the flips tried in words."""
    n = differences.size
    reach = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()  # ties count, despite rounding
    if n <= EXACT_FLIPS:
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return float(np.mean(np.abs((1 - 2 * bits) @ differences) >= reach)), f"all {2**n}"
    hits, rows = 0, max(1, BATCH // n)
    for start in range(0, flips, rows):
        signs = 1 - 2 * generator.integers(2, size=(min(rows, flips - start), n))
        hits += int(np.count_nonzero(np.abs(signs @ differences) >= reach))
    return (1 + hits) / (1 + flips), f"{flips} random"


def paired_t(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Comparison:
    """Return mean(a - b) of `a` and `b` [n] with its `mean_interval` and Student's p value: for few seeds.

    Where all differences are equal and not 0, the interval has no width and Student's p would be 0; then p is that of
    the sign-flip test, 2^(1 - n).
    """
    differences = _differences("paired_t", a, b)
    found, n = mean_interval(differences, level=level), differences.size
    p_value = float(weighted_mean([differences], [1])[-1])
    if np.ptp(differences) < 1e-12 < abs(found.estimate):
        p_value = 2.0 ** (1 - n)
    return Comparison(found.estimate, found.low, found.high, n, f"paired {found.method}", p_value)


def crossed_difference(a: ArrayLike, b: ArrayLike, strata: ArrayLike | None = None, level: float = 0.95) -> Comparison:
    """Return mean(a - b) of runs on the same tasks, with an interval that holds for new runs and new tasks.

    `a` is [runs, tasks], finite, `b` the same, with runs paired with those of `a`, or [tasks], and `strata` [tasks].

    The differences of one run are correlated, and so are those of one task. This is a crossed design of two random
    factors without repetition: the variance of the mean is the sum of the components for runs, for tasks within their
    families, and for the rest, from expected mean squares, with Satterthwaite's degrees of freedom. These are near the
    number of runs where runs differ most, and near that of tasks where tasks do. The interval is that of `reach`, with
    the third cumulants of runs and of tasks; p is Student's, as in `weighted_mean`.

    Raises ValueError: a value is not finite, shapes differ, or there are fewer than two runs, or two tasks a stratum.

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
    groups = members(tasks, strata)
    if runs < 2 or min(map(len, groups)) < 2:
        raise ValueError(
            f"crossed_difference: wanted at least 2 runs and 2 tasks in each stratum, got {runs} and {sizes(groups)}"
        )
    mean, by_run = float(differences.mean()), differences.mean(axis=1)
    residual, within = differences - differences.mean(axis=0), differences.mean(axis=0)
    for group in groups:
        residual[:, group] -= residual[:, group].mean(axis=1, keepdims=True)
        within[group] -= within[group].mean()
    free = np.array([runs - 1, tasks - len(groups), (runs - 1) * (tasks - len(groups))])
    squares = np.array([tasks * ((by_run - mean) ** 2).sum(), runs * (within**2).sum(), (residual**2).sum()]) / free
    weights = np.append(squares[:2] > squares[2], 0).astype(float)  # a negative component counts as none
    weights[2] = 1 - weights[:2].sum()
    variances = weights * squares / differences.size
    by_task = [differences[:, group].mean(axis=0) for group in groups]
    of_tasks = cumulants(by_task, [len(group) / tasks for group in groups])[2].sum()
    third = weights[:2] @ [cumulants([by_run], [1])[2].sum(), of_tasks]
    left = [spare(runs), spare([len(group) for group in groups]).sum(), free[2]]
    degrees = satterthwaite(variances, left)
    down, up = reach(variances.sum(), third, degrees, level)
    p_value = float(_p_value(mean, variances.sum(), satterthwaite(variances, free)))
    method = (
        f"{level:.0%} skewness-corrected crossed t over {runs} runs and {tasks} tasks{_within(strata, groups)}, "
        f"{degrees:.1f} degrees of freedom{few_words([runs, *map(len, groups)])}"
    )
    return Comparison(mean, float(mean - down), float(mean + up), runs, method, p_value)


def holm(p_values: ArrayLike) -> Floats:
    """Return p values [k] of planned comparisons, adjusted by Holm's step-down method, in the order given.

    Source: Holm (1979), Scandinavian Journal of Statistics 6.
    """
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"holm: wanted a vector of p values between 0 and 1, got {p.tolist()}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    return adjusted


def decided(
    table: pd.DataFrame, effect: str, below: str = "better", above: str = "worse", null: float = 0.0
) -> pd.DataFrame:
    """Return a table of planned comparisons with two more columns behind its `p`: `p_holm` and `verdict`.

    All rows are one family for Holm's correction. Where p_holm is below `ALPHA`, the verdict is `below` or `above`: the
    side of `null` on which the column `effect` lies. Elsewhere it is "undecided".
    """
    p_holm, place = holm(table["p"]), table.columns.get_loc("p") + 1
    verdict = np.where(p_holm < ALPHA, np.where(table[effect] < null, below, above), "undecided")
    table = table.copy()
    table.insert(place, "p_holm", p_holm)
    table.insert(place + 1, "verdict", verdict)
    return table


def by_group(table: pd.DataFrame, by: Sequence[str], row: Callable[[pd.DataFrame], dict[str, Any]]) -> pd.DataFrame:
    """Return a table with a row a group, in the groups' order: the columns `by`, and what `row` makes of the group."""
    import pandas as pd

    groups = table.groupby(list(by), sort=False)
    return pd.DataFrame([dict(zip(by, key, strict=True)) | row(part) for key, part in groups])


def in_order(table: pd.DataFrame, names: Sequence[str], column: str = "function") -> pd.DataFrame:
    """Return the rows sorted by the place of `column` among `names`; rows of one name keep their order."""
    return table.sort_values(column, key=lambda values: values.map(list(names).index), kind="stable")


def share(hits: int, n: int) -> Comparison:
    """Return hits / n with its 95 % Wilson interval, and the exact binomial p value of a share of one half."""
    found = stats.binomtest(hits, n)
    low, high = found.proportion_ci(method="wilson")
    return Comparison(hits / n, float(low), float(high), n, f"95% Wilson interval over {n}", found.pvalue)


def probability_of_improvement(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Interval:
    """Return the share of tasks on which `a` [n] is lower than `b` [n], ties counting half, with Wilson's interval.

    Half counts are why this is not `share`: scipy's binomial test takes whole numbers only. Source: Wilson (1927),
    Journal of the American Statistical Association 22.
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
    """Return the losses; those above `clamp`, NaN or infinite count as `clamp`, so that one task cannot decide."""
    losses = np.asarray(losses, dtype=float)
    return np.where(np.isfinite(losses) & (losses < clamp), losses, clamp)


def clamped_mean(losses: ArrayLike, clamp: float) -> Floats:
    """Return the mean over tasks of the clamped losses."""
    return clamped(losses, clamp).mean(axis=-1)


def log_losses(losses: ArrayLike, clamp: float, floor: float) -> Floats:
    """Return the log of each clamped loss, at least `floor`, which is above 0: easy tasks must not dominate."""
    if not 0 < floor < clamp:
        raise ValueError(f"log_losses: wanted 0 < floor < clamp, got floor {floor} and clamp {clamp}")
    return np.log(np.maximum(clamped(losses, clamp), floor))


def mean_log(losses: ArrayLike, clamp: float, floor: float) -> Floats:
    """Return the mean over tasks of the `log_losses`."""
    return log_losses(losses, clamp, floor).mean(axis=-1)


def mean_log_ratio(losses: ArrayLike, reference: ArrayLike, clamp: float, floor: float) -> Floats:
    """Return the mean over tasks of log(loss / reference) to a reference [tasks]; -0.1 reads "10 % lower"."""
    losses, reference = np.asarray(losses, dtype=float), np.asarray(reference, dtype=float)
    if reference.shape != losses.shape[-1:]:
        raise ValueError(f"mean_log_ratio: wanted one reference a task {losses.shape[-1:]}, got {reference.shape}")
    return mean_log(losses, clamp, floor) - mean_log(reference, clamp, floor)


def mean_rank(losses: ArrayLike, clamp: float) -> Floats:
    """Return the mean over tasks of each function's rank, 1 for the lowest loss, of losses [functions, tasks].

    It depends on which functions are ranked, so it serves comparisons, never as a fitness.
    """
    return stats.rankdata(clamped(losses, clamp), axis=0).mean(axis=-1)


def rank_correlation(
    a: ArrayLike, b: ArrayLike, generator: np.random.Generator, level: float = 0.95, resamples: int = RESAMPLES
) -> RankCorrelation:
    """Return Spearman's rho and Kendall's tau-b of two scores [n] of the same items, with bootstrap intervals.

    A resample in which all items tie has no correlation and is left out: `scipy.stats.bootstrap` would return NaN. Of
    normal scores the intervals cover 94 % or more from ten items on; of six, 79 % where the correlation is 0.95, since
    a sample without any swap has no spread.
    """
    a, b = _vector("rank_correlation", a), _vector("rank_correlation", b)
    if a.shape != b.shape or a.size < 4 or not (np.ptp(a) and np.ptp(b)):
        raise ValueError(
            f"rank_correlation: wanted the same items twice, at least 4, not all tied; got {a.size}, {b.size}"
        )
    picks = generator.integers(a.size, size=(resamples, a.size))
    picks = picks[np.all([np.ptp(x[picks], axis=1) > 0 for x in (a, b)], axis=0)]
    method = f"{level:.0%} percentile bootstrap over {a.size} items, {resamples} resamples"
    found = []
    for correlation in (_spearman, _kendall):
        ends = np.quantile(correlation(a[picks], b[picks]), tails(level))
        found.append(Interval(float(correlation(a[None], b[None])[0]), *map(float, ends), a.size, method))
    return RankCorrelation(*found)


def _spearman(a: Floats, b: Floats) -> Floats:
    """Return Spearman's rho of each row of [rows, n]; scipy's 5e-17 for no correlation is 0."""
    return np.round(stats.spearmanrho(a, b, axis=-1).statistic, 15) + 0.0


def _kendall(a: Floats, b: Floats) -> Floats:
    """Return Kendall's tau-b of each row of [rows, n]: scipy's `kendalltau` takes ten times as long on many rows."""
    taus = []
    for parts in zip(*(np.array_split(x, 1 + x.size * x.shape[1] // BATCH) for x in (a, b)), strict=True):
        first, second = (np.sign(x[:, :, None] - x[:, None, :]).reshape(len(x), -1) for x in parts)
        scale = np.sqrt(np.vecdot(first, first) * np.vecdot(second, second))
        taus.append(np.vecdot(first, second) / scale)
    return np.concatenate(taus)


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


def members(n: int, strata: ArrayLike | None) -> list[NDArray]:
    """Return the positions of each stratum's members, strata sorted; without strata, one group of all."""
    if strata is None:
        return [np.arange(n)]
    strata = np.asarray(strata)
    if strata.shape != (n,):
        raise ValueError(f"wanted a stratum for each of {n} units, got shape {strata.shape}")
    return [np.flatnonzero(strata == label) for label in np.unique(strata)]


def sizes(groups: list[NDArray]) -> str:
    """Return the sizes of groups in words, for messages."""
    return ", ".join(str(len(group)) for group in groups)


def tails(level: float) -> tuple[float, float]:
    """Return the two quantiles between which a share `level` lies, such as 0.025 and 0.975."""
    if not 0 < level < 1:
        raise ValueError(f"wanted a level between 0 and 1, such as 0.95, got {level}")
    return (1 - level) / 2, (1 + level) / 2
