"""Statistics of what networks learn by frequency (ours): measures by task, planned comparisons, mean spectra.

The records are `spectra.study`'s, of one training seed. Tasks are the unit that is resampled, within their families;
`seed` is that of the sign flips.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from actlab.core import stats
from actlab.core.config import FitnessConfig
from actlab.scoring import summaries
from actlab.studies.spectra import Found

BAND = 4  # periods a stretch: the fastest target has 2, and the window widens a line by 2 to either side
FLOOR = 1e-6  # of a power under the logarithm, in variances of the target: a line is no less straight for less
LEAK = 1e-3  # of a share under the logarithm; what the window lets through of the band is a tenth of it
MEASURES = {
    "start": "gradient norm at the start",
    "gradient": "gradient norm over the root of the loss, in training",
    "train": "training loss",
    "fine": "share of the error inside that lies above the band",
    "ring": "loss in the lab's ring",
    "waves": "power beyond the range, in the band",
    "miss": "error beyond the range, in the band",
}  # each as a natural logarithm, so that a difference is a ratio
KEYS = ["function", "family", "task"]


def banded(found: Found) -> pd.DataFrame:
    """The power of each stretch in the band and above it.

    Columns function, family, task, stretch, and prediction, error, target (powers up to `BAND` periods) with
    prediction_share, error_share, target_share (of the stretch's power that lies above).
    """
    signals, sides = ["prediction", "error", "target"], [*KEYS, "stretch"]
    whole = found.power.groupby(sides, sort=False)[signals].sum()
    band = found.power[found.power["periods"] <= BAND].groupby(sides, sort=False)[signals].sum()
    return band.join((1 - band / whole).add_suffix("_share")).reset_index()


def measures(found: Found, fitness: FitnessConfig) -> pd.DataFrame:
    """Each function on each task: columns function, family, task and the `MEASURES`, as logarithms.

    Beyond the range, a measure is the mean over its two sides; in training, over spans of steps of growing length,
    without the first step. The loss in the ring has the clamp and floor of the lab's score, `fitness`.
    """
    table = banded(found)
    inside = table["stretch"] == "inside"
    beyond = _beyond(table, ["prediction", "error"])
    steps, losses = found.steps.set_index(KEYS), found.losses.set_index(KEYS)
    later = steps[steps["step"] > 1]
    columns = {
        "start": np.log(steps.loc[steps["step"] == 1, "gradient"]),
        "gradient": np.log(later["gradient"] / later["loss"] ** 0.5).groupby(KEYS, sort=False).mean(),
        "train": np.log(losses["train_mse"].clip(lower=FLOOR)),
        "fine": np.log(table[inside].set_index(KEYS)["error_share"].clip(lower=LEAK)),
        "ring": pd.Series(stats.log_losses(losses["ring_mse"], fitness.clamp, fitness.floor), losses.index),
        "waves": beyond["prediction"],
        "miss": beyond["error"],
    }
    return pd.DataFrame(columns)[list(MEASURES)].loc[losses.index].reset_index()


def _beyond(table: pd.DataFrame, signals: list[str]) -> pd.DataFrame:
    """Logarithms of powers in the band beyond the range, means over its two sides, by function, family and task."""
    sides = table[table["stretch"] != "inside"].set_index(KEYS)[signals]
    return np.log(sides.clip(lower=FLOOR)).groupby(KEYS, sort=False).mean()


def compared(table: pd.DataFrame, pairs: Sequence[tuple[str, str]], seed: int = 0) -> pd.DataFrame:
    """Planned comparisons by every measure, paired by task; all rows are one family for Holm's correction.

    `table` is that of `measures`, and a pair is a subject and the function that it is compared with.

    Columns subject, other, measure, n, log_ratio (subject over other), low, high, p, p_holm and verdict (higher, lower,
    undecided; `stats.decided`).
    """
    by_name, rows = summaries.by_function(table), []
    for (one, other), measure in itertools.product(pairs, MEASURES):
        a, b = by_name[one], by_name[other].loc[by_name[one].index]
        names = {"subject": one, "other": other, "measure": measure}
        rows.append(names | _gap(a[measure], b[measure], a["family"], seed))
    return stats.decided(pd.DataFrame(rows), "log_ratio", "lower", "higher")


def against_straight(found: Found, names: Iterable[str], seed: int = 0) -> pd.DataFrame:
    """The error beyond the range, in the band, against a straight line's, which is the target's own power.

    The line is the best one of each stretch: it has the target's slope there, and none of its waves.

    Columns function, family and those of `compared` from n on; corrected by Holm over all rows.
    """
    logs = _beyond(banded(found), ["error", "target"]).reset_index()
    logs = pd.concat([logs[logs["function"] == name] for name in names])
    table = stats.by_group(logs, KEYS[:2], lambda part: _gap(part["error"], part["target"], None, seed))
    return stats.decided(table, "log_ratio", "lower", "higher")


def _gap(a: pd.Series, b: pd.Series, families: pd.Series | None, seed: int) -> dict[str, Any]:
    gap = stats.paired_difference(a, b, np.random.default_rng(seed), strata=families)
    return {"n": gap.n, **gap.columns("log_ratio"), "p": gap.p_value}


def ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """Comparisons as ratios with intervals: a row a measure, a column a subject; decided ones are in bold."""
    cells = [summaries.ratio(row) for row in rows.itertuples()]
    bold = [cell if row == "undecided" else f"**{cell}**" for cell, row in zip(cells, rows["verdict"], strict=True)]
    wide = rows.assign(cell=bold).pivot(index="measure", columns="subject", values="cell")
    return wide.loc[list(MEASURES), rows["subject"].unique()].rename(index=MEASURES).rename_axis(columns=None)


def readings(rows: pd.DataFrame, words: Callable[[str], str]) -> list[str]:
    """A phrase a measure: which subjects are higher, lower, undecided; `words` names a subject."""
    phrases = []
    for measure, part in rows.groupby("measure", sort=False):
        sides = {side: part.loc[part["verdict"] == side, "subject"] for side in ("higher", "lower", "undecided")}
        names = {side: "all" if len(of) == len(part) > 1 else ", ".join(map(words, of)) for side, of in sides.items()}
        phrases.append(f"{MEASURES[measure]}: " + "; ".join(f"{side} for {who}" for side, who in names.items() if who))
    return phrases


def claim(rows: pd.DataFrame, measure: str, side: str) -> str:
    """Whether comparisons find a measure on one side (higher, lower).

    It holds where every verdict is that side, fails where one is the other side, and is undecided otherwise. A measure
    by which no comparison was made raises a ValueError.
    """
    found = rows.loc[rows["measure"] == measure, "verdict"]
    if found.empty:
        raise ValueError(f"wanted a measure among {', '.join(rows['measure'].unique())}; got {measure!r}")
    agree, contrary = (found == side).sum(), (~found.isin([side, "undecided"])).sum()
    word = "holds" if agree == len(found) else "fails" if contrary else "undecided"
    return f"{word} ({agree} for, {contrary} against, of {len(found)})"


def shares(found: Found) -> pd.DataFrame:
    """Mean share of the power above the band, of predictions and of errors, inside the range and beyond it.

    Columns function, where, signal (prediction, error, target), n, estimate, low, high.
    """
    tall = _by_place(banded(found), ["where"], ["prediction_share", "error_share", "target_share"])
    tall["signal"] = tall["signal"].str.removesuffix("_share")
    return _means(tall, ["function", "where", "signal"], least=0)


def spectrum(found: Found, family: str, most: int = 16) -> pd.DataFrame:
    """Geometric mean spectra of a family's predictions and targets, inside the range and beyond it.

    Columns function, where (inside, or beyond: both sides), signal (prediction, target), periods (1 to `most`), n,
    estimate, low, high.
    """
    rows = found.power[(found.power["family"] == family) & found.power["periods"].between(1, most)]
    tall = _by_place(rows, ["where", "periods"], ["prediction", "target"])
    tall["value"] = np.log(tall["value"].clip(lower=FLOOR))
    return _exponential(_means(tall, ["function", "where", "signal", "periods"]))


def _by_place(table: pd.DataFrame, by: list[str], columns: list[str]) -> pd.DataFrame:
    """Means over the stretches inside, and over those beyond, of columns: a row a task, place and signal."""
    placed = table.assign(where=np.where(table["stretch"] == "inside", "inside", "beyond"))
    means = placed.groupby([*KEYS, *by], sort=False)[columns].mean().reset_index()
    return means.melt([*KEYS, *by], columns, "signal", "value")


def training(found: Found) -> pd.DataFrame:
    """Geometric mean over tasks of gradient norms and losses along training.

    Columns function, quantity (gradient, relative: to the root of the loss, loss), step, n, estimate, low, high.
    """
    steps = found.steps.assign(relative=found.steps["gradient"] / found.steps["loss"] ** 0.5)
    tall = steps.melt([*KEYS, "step"], ["gradient", "relative", "loss"], "quantity", "value")
    return _exponential(_means(tall.assign(value=np.log(tall["value"])), ["function", "quantity", "step"]))


def sweep(table: pd.DataFrame, named: Iterable[tuple[str, float, str]]) -> pd.DataFrame:
    """Each measure by the amplitude, as a ratio to GELU, which is amplitude 0 of every form.

    `table` is that of `measures`, and `named` a form, an amplitude and the function's name in the table.

    Columns form, amplitude, measure, n, estimate (a ratio), low, high.
    """
    by_name, parts = summaries.by_function(table), []
    base = by_name["gelu"]
    for form, amplitude, name in named:
        gaps = by_name[name][list(MEASURES)] - base[list(MEASURES)]
        tall = gaps.assign(family=base["family"]).melt("family", list(MEASURES), "measure", "value")
        parts.append(tall.assign(form=form, amplitude=amplitude))
    return _exponential(_means(pd.concat(parts), ["form", "amplitude", "measure"]))


def _means(table: pd.DataFrame, by: list[str], least: float = -np.inf) -> pd.DataFrame:
    """Means of `value` with 95 % intervals over tasks within families."""

    def row(part: pd.DataFrame) -> dict[str, float]:
        mean = stats.mean_interval(part["value"], part["family"], least=least)
        return {"n": mean.n} | mean.columns("estimate")

    return stats.by_group(table, by, row)


def _exponential(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{end: np.exp(table[end]) for end in ("estimate", "low", "high")})
