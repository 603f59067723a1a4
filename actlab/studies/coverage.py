"""How often intervals of a mean hold the mean, by method, law and size: `make bench BENCH=coverage` (ours).

The rule of all tables is `stats.weighted_mean`. A law is skewed, or has heavy tails, or neither; a size is that of the
groups which tables have: families of a suite, seeds of a task. Each law and size has random numbers of its own, so that
a part of the table is that part of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import scipy.stats

from actlab.core import stats
from actlab.core.stats import Floats

LAWS = {  # of mean 0
    "normal": lambda rng, size: rng.normal(size=size),
    "t, 3 degrees": lambda rng, size: rng.standard_t(3, size=size),
    "lognormal": lambda rng, size: rng.lognormal(size=size) - np.exp(0.5),
    "exponential": lambda rng, size: rng.exponential(size=size) - 1,
}
SIZES = ((1, 2), (1, 3), (1, 4), (1, 5), (1, 10), (1, 12), (1, 50), (4, 2), (4, 4), (4, 12), (4, 50))  # groups, values
RUNS = (5, 40)  # seeds and data sets of a crossed design in which only seeds differ: the hardest one
RULE = "the rule: Welch's t and Hall's"
REPEATS = {True: 40_000, False: 1000}  # of methods without and with resampling
RESAMPLES = 1000  # the same draws for all samples of a size


def plain(groups: list[Floats]) -> dict[str, tuple[Floats, Floats]]:
    """Low and high by method, [repeats] each, of the mean of all groups [repeats, values]; without resampling."""
    weights = [1 / len(groups)] * len(groups)
    means, variances, thirds = stats.cumulants(groups, weights)
    mean, variance, third = means.sum(axis=0), variances.sum(axis=0), thirds.sum(axis=0)
    error, free = np.sqrt(variance), [group.shape[-1] - 1 for group in groups]
    t = scipy.stats.t.ppf(0.975, stats.satterthwaite(variances, free))
    down, up = stats.bent(t, third / error**3)
    shift = third / variance / 6
    return {
        "Welch's t": (mean - t * error, mean + t * error),
        "Johnson's t": (mean + shift - t * error, mean + shift + t * error),
        "Hall's transformation": (mean - down * error, mean + up * error),
        RULE: stats.weighted_mean(groups, weights)[1:3],
    }


def resampled(groups: list[Floats], rng: np.random.Generator) -> dict[str, tuple[Floats, Floats]]:
    """The same by bootstraps within groups: percentile, bias-corrected (BCa) and studentised."""

    def statistic(*parts: Floats, axis: int) -> Floats:
        means, variances, _ = stats.cumulants(parts, [1 / len(parts)] * len(parts)).sum(axis=1)
        return np.array([means, np.sqrt(variances)])

    how = {"n_resamples": RESAMPLES, "batch": 20, "axis": -1, "vectorized": True, "rng": rng}
    (mean, error), drawn = statistic(*groups, axis=-1), scipy.stats.bootstrap(groups, statistic, **how, method="basic")
    means, errors = drawn.bootstrap_distribution
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample of one value has no error: unbounded
        t = np.nan_to_num((means - mean[:, None]) / errors, nan=0, posinf=np.inf, neginf=-np.inf)
    low, high = np.quantile(t, [0.025, 0.975], axis=1, method="inverted_cdf")
    found = {"percentile bootstrap": tuple(np.quantile(means, [0.025, 0.975], axis=1))}
    found["studentised bootstrap"] = mean - high * error, mean - low * error
    if groups[0].shape[-1] > 2:  # scipy's BCa has none for pairs
        mean_of = lambda *parts, axis: sum(part.mean(axis=axis) for part in parts) / len(parts)  # noqa: E731
        found["BCa bootstrap"] = tuple(scipy.stats.bootstrap(groups, mean_of, **how, method="BCa").confidence_interval)
    return found


def crossed(law: str, repeats: int, rng: np.random.Generator) -> dict[str, Floats]:
    """Whether the intervals of `stats.crossed_difference`, and Student's, hold the mean, [repeats] each by method."""
    found = []
    for _ in range(repeats):
        values = LAWS[law](rng, (RUNS[0], 1)) + 0.01 * rng.normal(size=RUNS)
        one = stats.crossed_difference(values, np.zeros(RUNS[1]))
        found.append((one.p_value >= 0.05, one.low <= 0 <= one.high))
    return dict(zip(("Welch's t", RULE), np.array(found).T, strict=True))


def table(
    sizes: Iterable[tuple[int, int]] = SIZES, repeats: dict[bool, int] = REPEATS, runs: bool = True
) -> pd.DataFrame:
    """Shares of samples whose nominal 95 % interval holds the mean.

    Columns size, method, repeats, then one a law, and width_normal and width_lognormal: the median width over that of
    Welch's t (of a crossed design, and of BCa for pairs, there is none).
    """
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for i, law in enumerate(LAWS):
        for groups, each in sizes:
            rng, widths = np.random.default_rng([i, groups, each]), {}
            for is_plain in (True, False):
                drawn = list(LAWS[law](rng, (groups, repeats[is_plain], each)))
                found = plain(drawn) if is_plain else resampled(drawn, rng)
                for method, (low, high) in found.items():
                    row = rows.setdefault((f"{groups} x {each}", method), {"repeats": repeats[is_plain]})
                    row[law], widths[method] = np.mean((low <= 0) & (high >= 0)), np.median(high - low)
                    row[f"width {law}"] = widths[method] / widths["Welch's t"]
        if runs:
            count = repeats[False]
            for method, held in crossed(law, count, np.random.default_rng([i, *RUNS])).items():
                row = rows.setdefault((f"{RUNS[0]} seeds, crossed", method), {"repeats": count})
                row[law] = held.mean()
    found = pd.DataFrame(rows.values(), index=pd.MultiIndex.from_tuples(rows, names=["size", "method"])).reset_index()
    return found[["size", "method", "repeats", *LAWS, "width normal", "width lognormal"]].round(3)
