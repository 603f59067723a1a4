"""Every figure with a small table that it can draw, and what was drawn: for the tests of `report.figures`."""

from itertools import product
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection

from actlab.report import figures
from actlab.report.figures import style
from actlab.studies import robustness

SUBJECTS = ("constants", "lab", "multiverse", "search", "spectra", "tasks", "transfer")


def rows(columns: str, *values: tuple) -> pd.DataFrame:
    """A table with these columns."""
    return pd.DataFrame(list(values), columns=columns.split())


def around(table: pd.DataFrame, value: str, low: str = "low", high: str = "high") -> pd.DataFrame:
    """The table with an interval around each value."""
    return table.assign(**{low: table[value] - 0.04, high: table[value] + 0.05})


def crossed(value: str, **columns: list) -> pd.DataFrame:
    """A row for each combination of the columns' values, with an estimate and its interval."""
    table = pd.DataFrame(product(*columns.values()), columns=list(columns))
    return table.assign(**{value: 0.1 * (1 + table.index)}, low=0.09 * (1 + table.index), high=0.12 * (1 + table.index))


# Tables

STEPS = rows(
    "component role module counts",
    ("Proposer", "mutates and crosses syntax trees", "actlab.proposers.grammar", "200 of 412"),
    ("Checker", "allow-list, duplicates", "actlab.program", "200 of 412"),
    ("Evaluator", "trains small MLPs", "actlab.tasks, actlab.lab", "200 of 412"),
    ("Fitness", "OOD loss", "actlab.fitness", "200 of 412"),
    ("Archive", "islands", "actlab.archive", "200 of 412"),
)
TARGETS = pd.DataFrame({"family": "polynomial", "panel": 1, "u": np.linspace(-1.25, 1.25, 41)})
TARGETS = TARGETS.assign(y=TARGETS["u"] ** 2, split=np.where(TARGETS["u"].abs() <= 1, "id", "ood"))
GRID = rows("u1 u2 y", *((u1, u2, u1 * u2) for u2, u1 in product([-2.0, 0, 2], repeat=2)))
RINGS = around(rows("ring ood_mse", (0.1, 0.05), (0.2, 0.09), (0.3, 0.2)), "ood_mse")
TRACE = rows(
    "evaluation fitness search pointwise",
    (0, -0.09, -0.09, True), (1, -0.06, -0.06, True), (2, -np.inf, -0.06, True), (3, -0.05, -0.05, False),
    (4, -40.0, -0.05, False),
)  # fmt: skip
TRACE = around(TRACE.assign(held_out=TRACE["search"] - 0.01, parts=False), "held_out")
ELITES = rows(
    "fitness held_out led final",
    (0.0, -0.1, True, False), (0.4, 0.3, True, False), (0.5, 0.4, False, False), (0.7, 0.6, True, False),
    (0.6, 0.5, False, True),
)  # fmt: skip
ELITES = around(ELITES.assign(parts=False), "held_out")
TREE = rows(
    "id parent generation place fitness line",
    (0, None, 0, 1.0, 0.0, True), (1, 0, 1, 0.5, 0.4, True), (2, 0, 1, 2.0, -30.0, False),
    (4, 1, 2, 0.0, 0.6, True), (7, 1, 2, 1.0, 0.3, False),
).astype({"parent": "Int64"})  # fmt: skip
ISLANDS = rows(
    "round island best cells event",
    (0, 0, 0.0, 1, ""), (0, 1, 0.0, 1, ""), (1, 0, 0.4, 2, ""), (1, 1, 0.2, 3, ""),
    (2, 0, 0.6, 3, ""), (2, 1, 0.6, 4, "migrated"), (3, 0, 0.6, 1, "reset"), (3, 1, 0.7, 4, ""),
)  # fmt: skip
ARMS = crossed("log_ratio", suite=["held-out", "far"], arm=["search", "grammar"])
RUNS = rows(
    "arm seed suite log_ratio",
    ("search", 0, "held-out", -0.3), ("search", 1, "held-out", -0.1), ("grammar", 0, "held-out", 0.2),
    ("snake", None, "held-out", -0.7), ("search", 0, "far", 0.1),
).astype({"seed": "Int64"})  # fmt: skip
TRACES = rows(
    "arm seed fitness mean",
    ("search", 0, (0.0, 0.3, 0.5), (0.0, 0.2, 0.3)), ("search", 1, (0.0, 0.1, 0.1), (0.0, 0.2, 0.3)),
    ("one island", 0, (0.0, 0.0, 0.2), (0.0, 0.0, 0.2)),
).assign(evaluation=[range(3)] * 3).explode(["evaluation", "fitness", "mean"], ignore_index=True)  # fmt: skip
CURVE = pd.DataFrame({"function": "gmtu", "x": [-1.0, 0, 1], "y": [-1.0, 0, 1], "slope": 1.0})
BINS = [("gmtu", layer, left, left + 1, density) for layer in (1, 2) for left, density in ((0, 0.4), (1, 0.6))]
BINS = rows("function layer bin_left bin_right density", *BINS)
SCORES = rows("function estimate paper", ("turbulent", 0.1, 0.03), ("gmtu", 0.2, 0.052), ("gelu-sine", 0.3, np.nan),
              ("relu", 0.4, 0.093))  # fmt: skip
SCORES = around(SCORES, "estimate")
RELIABILITY = crossed("reliability", aggregate=["mean", "rank"], tasks=[12, 48])
SHARES_OF_VARIANCE = around(rows("component share", ("function", 0.2), ("task", 0.8)), "share")
RATES = rows(  # as far apart as the laptop's are
    "function fixed fixed_low fixed_high tuned tuned_low tuned_high",
    ("turbulent", 0.06, 0.05, 0.07, 0.005, 0.004, 0.006), ("gmtu", 0.07, 0.06, 0.08, 0.006, 0.005, 0.007),
)  # fmt: skip
RACES = rows("plan incumbent saved dropped", ("screen", 1, 0.4, 0.2), ("race", 1, 0.6, 0.0), ("screen", 8, 0.4, 0.5),
             ("race", 8, 0.3, np.nan))  # fmt: skip
RACES = around(around(RACES, "saved", "saved_low", "saved_high"), "dropped", "dropped_low", "dropped_high")
GROWTH = rows("setting value ms_per_step", ("tasks", 12, 1.0), ("tasks", 24, 2.0), ("width", 16, 4.0))
GROWTH = around(GROWTH, "ms_per_step", "ms_least", "ms_most")
DRAWS = [("gmtu", draw, 0.05 + 0.01 * draw, False, np.nan, np.nan) for draw in range(5)]
DRAWS = rows("form draw ood_mse discovered low high", *DRAWS, ("gmtu", 5, 0.06, True, 0.05, 0.07))
SWEEP = crossed("estimate", constant=[0.0, 0.1])
LEARNED = around(rows("function ratio train", ("gmtu", 0.9, 0.7), ("snake", 1.1, 1.0)), "ratio")
ENDS = crossed("median", constant=["leak", "frequency"], layer=[1, 2])
ENDS = ENDS.assign(function=["gmtu", "gmtu", "snake", "snake"], start=[0.1, 0.1, 1.0, 1.0])
SHARES = crossed("share", aggregate=["mean", "typical"], statement=["A < B", "A < C", "D < A"])
SHARES = SHARES.assign(origin=["paper", "paper", "ours"] * 2, chance=0.5)
SHARES = around(SHARES, "share", "both_low", "both_high")
AHEAD = crossed("share", panel=["held-out", "far"], name=["over labs", "Snake"], kind=["a run", "another"])
TAUS = pd.DataFrame({"lab": range(20), "tau": np.repeat([-1.0, 1 / 15, 1.0, 1 / 3], 5)})
EFFECTS = crossed("difference", outcome=["tau", "A / B"], setting=["width > 32", "depth > 2", "ring > 0.0707"])
EFFECTS = EFFECTS.assign(verdict=["undecided", "undecided", "raises"] * 2)
PREDICTIONS = crossed("target", family=["harmonic", "power"], function=["relu", "gelu-sine"], u=[-3.0, 0.0, 3.0])
PREDICTIONS = PREDICTIONS.assign(task=PREDICTIONS["family"], prediction=PREDICTIONS["u"]).drop(columns=["low", "high"])
SPECTRA = crossed("estimate", function=["relu", "gelu-sine"], where=["inside", "beyond"],
                  signal=["prediction", "target"], periods=list(range(1, 9)))  # fmt: skip
TRAINING = crossed("estimate", function=["relu", "gelu-sine"], quantity=["gradient", "loss"], step=[1, 2, 10])
AMPLITUDES = crossed("estimate", form=["gelu-sine", "gelu-tanh"], amplitude=[0.0, 0.1, 1.0], measure=["ring", "waves"])
ARRAYS = rows("panel row column value", *(("edges", row, column, row + column / 2) for row, column in np.ndindex(2, 2)))
LEVELS = crossed("value", panel=["clean", "noisy"], level=["mild", "strong"], function=["relu", "gelu"])
VALIDATION = crossed("value", panel=["all", "few"], function=["relu", "snake"], epoch=[0, 1])
DIFFERENCES = rows(
    "task split function other difference verdict",
    ("MNIST-5k", "ood", "gelu", "relu", 0.1, "better"), ("MNIST-5k", "ood", "qfw", "relu", -0.5, "worse"),
    ("MNIST-5k", "ood", "qfw", "gelu", -0.01, "undecided"), ("B3DB", "ood", "gelu", "relu", 0.0, "undecided"),
)  # fmt: skip
DIFFERENCES = around(DIFFERENCES, "difference")
POINTS = crossed("transfer", suite=["search", "far"], function=["relu", "gelu", "found"])
POINTS = around(POINTS.assign(task="mean", split="both", lab=-POINTS["transfer"]), "lab", "lab_low", "lab_high")


def profile(tasks: str = "ab") -> pd.DataFrame:
    """Scores for Figure 6: of each task in either split, and their mean."""
    series = [*product(tasks, ("in-distribution", "ood")), ("mean", "both")]
    values = (
        (*one, name, place + high) for place, one in enumerate(series) for high, name in enumerate(("relu", "gelu"))
    )
    return around(rows("task split function value", *values), "value")


# Figures


class Figure(NamedTuple):
    """What a figure draws: a table, on how many panels (0: not an array), estimates with intervals, other arguments."""

    table: pd.DataFrame
    panels: int = 0
    estimates: str = ""
    options: dict = {}  # noqa: RUF012
    wide: bool = False


TITLES = {"titles": {"gradient": "norm", "loss": "loss"}}
SWEPT = {"titles": {"ring": "ring", "waves": "waves"}, "discovered": 0.1}
FIGURES = {
    "loop_diagram": Figure(STEPS, wide=True),
    "targets": Figure(TARGETS, 1),
    "targets_2d": Figure(GRID, options={"box": (-1, 1)}),
    "calibration": Figure(RINGS, 0, "ood_mse", {"paper": 0.0931, "chosen": 0.2}),
    "functions": Figure(CURVE, 1),
    "preactivations": Figure(BINS, 1),
    "scores": Figure(SCORES, 0, "estimate"),
    "reliability": Figure(RELIABILITY, 0, "reliability"),
    "variance": Figure(SHARES_OF_VARIANCE),
    "rate_control": Figure(RATES, 0, "fixed tuned"),
    "racing": Figure(RACES, 2, "saved dropped"),
    "growth": Figure(GROWTH, 2),
    "search_trace": Figure(TRACE, 0, "held_out"),
    "transfer": Figure(ELITES, 0, "held_out"),
    "tree": Figure(TREE, wide=True),
    "islands": Figure(ISLANDS, 2),
    "arms": Figure(ARMS, 2, "log_ratio", {"runs": RUNS}),
    "traces": Figure(TRACES),
    "random_constants": Figure(DRAWS, 0, "", {"relu": 0.09, "beaten": {"gmtu": "beats 4 of 5"}}, wide=True),
    "sweep": Figure(SWEEP, 0, "estimate", {"discovered": 0.1}),
    "learned_ratio": Figure(LEARNED, 0, "ratio"),
    "learned_values": Figure(ENDS, 0, "median", wide=True),
    "shares": Figure(SHARES, 0, "share both", wide=True),
    "ahead": Figure(AHEAD, 2, "share", wide=True),
    "taus": Figure(TAUS, options={"random": robustness.random_taus(), "mean": (0.2, 0.1, 0.3)}),
    "effects": Figure(EFFECTS, 2, "difference"),
    "beyond": Figure(PREDICTIONS, 2),
    "spectra": Figure(SPECTRA, 2, "estimate", {"band": 4}),
    "gradients": Figure(TRAINING, 2, "estimate", TITLES),
    "amplitude": Figure(AMPLITUDES, 2, "estimate", SWEPT),
    "arrays": Figure(ARRAYS, 1, options={"labels": {"edges": ("from", "to")}}),
    "forest": Figure(LEVELS, 2, "value", {"lines": {"clean": {"SVC": 0.85}}}),
    "curves": Figure(VALIDATION, 2, "value"),
    "downstream": Figure(DIFFERENCES, 2, "difference"),
    "figure_6": Figure(profile(), 0, "value", wide=True),
    "lab_against_transfer": Figure(POINTS, 2, "transfer lab", {"titles": ["search", "far"]}),
}


def axes_for(name: str, count: int | None = None) -> Axes | np.ndarray:
    """Axes of a figure of print width, as many as it has panels or `count`."""
    count = max(1, FIGURES[name].panels) if count is None else count
    width = style.TWO_COLUMNS if FIGURES[name].wide or count > 1 else style.ONE_COLUMN
    return plt.subplots(1, count, figsize=(width, 2.4))[1]


def drawn(name: str, data: pd.DataFrame | None = None, axes: Axes | np.ndarray | None = None, **changes) -> np.ndarray:
    """The axes on which a figure drew its sample, or other data: an array where it has panels."""
    modules = [vars(getattr(figures, subject)) for subject in SUBJECTS]
    (draw,) = (module[name] for module in modules if name in module)
    figure, axes = FIGURES[name], axes_for(name) if axes is None else axes
    return draw(axes, figure.table if data is None else data, **figure.options | changes)


# What was drawn: numbers are rounded to a millionth.


def segments(*axes: Axes) -> list[list[tuple[float, float]]]:
    """The ends of the lines of intervals, in the order of drawing; guides in units of the axes are left out."""
    parts = [
        c for ax in axes for c in ax.collections if isinstance(c, LineCollection) and c.get_transform() == ax.transData
    ]
    return [[tuple(end) for end in one.round(6).tolist()] for part in parts for one in part.get_segments()]


def intervals(*axes: Axes) -> set[tuple[float, float]]:
    """Lowest and highest value of each line of an interval, horizontal or vertical, and of each place in a band."""
    found = {(a[i], b[i]) for a, b in segments(*axes) for i in (0, 1) if a[1 - i] == b[1 - i]}
    for band in (c for ax in axes for c in ax.collections if isinstance(c, PolyCollection)):
        edges = pd.DataFrame(band.get_paths()[0].vertices.round(6)).groupby(0)[1].agg(["min", "max"])
        found |= set(edges.itertuples(index=False, name=None))
    return found


def dots(*axes: Axes) -> list[list[tuple[float, float]]]:
    """The dots of each scatter, in the order of drawing."""
    parts = [c.get_offsets().round(6).tolist() for ax in axes for c in ax.collections if isinstance(c, PathCollection)]
    return [[tuple(one) for one in part] for part in parts]


def texts(ax: Axes) -> set[str]:
    """All that is written in and around the axes."""
    legend = ax.get_legend()
    found = [*ax.texts, *(legend.get_texts() if legend else []), *ax.get_xticklabels(), *ax.get_yticklabels()]
    return {*(text.get_text() for text in found), ax.get_title(), ax.get_xlabel(), ax.get_ylabel()}


def names(ax: Axes) -> list[str]:
    """The names at the left, the first on top."""
    assert ax.yaxis_inverted()
    return [text.get_text() for text in ax.get_yticklabels()]
