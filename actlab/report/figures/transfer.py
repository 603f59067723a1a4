"""Figures of transfer: Figure 6, the lab against transfer, and comparisons. See `draw`."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.markers import CARETLEFT, CARETRIGHT

from actlab.report.figures import draw
from actlab.report.figures.style import GUIDE, INK, MARKERS, colour, label

MEAN = "mean"  # the task that stands for all of them
OOD = "ood"  # the split that is drawn hollow
EDGE = 1.08  # the end of an axis, as a multiple of the largest value that is drawn in place
DECIDED = ("better", "worse")
DODGE = 0.14  # between the tasks of a function; functions are 1 apart
NAMES = {"in-distribution": "in distribution", OOD: "OOD", "both": "both splits"}


def downstream(
    axes: Axes | np.ndarray,
    table: pd.DataFrame,
    reach: Mapping[str, float] | None = None,
    xlabel: str | Mapping[str, str] = "difference of scores",
) -> np.ndarray:
    """Draw differences of scores as dots with intervals, a panel a task and split, one marker a reference.

    A filled marker is a difference that is decided after the correction, a hollow one is not. What lies beyond `reach`
    is a triangle on the edge, filled or hollow, with its value beside it; an interval that is cut there has an arrow.
    The references come first, the others follow in the order of the rows.

    Args:
        axes: one a panel, three in two columns' width, about 0.22 inches a function; names are at each row's left.
        table: task, split, function, other, difference, low, high, verdict ("better", "worse", or another word where
            it is undecided).
        reach: by task, half the width of the axis; a task without one shows everything.
        xlabel: what is shown, of all tasks or by task.
    """
    columns = ("function", "other", "difference", "low", "high", "verdict")
    axes, groups = draw.panels("downstream", axes, table, ["task", "split"], *columns)
    others, shown = draw.series("downstream", table["other"], 0.42), list(table["function"].unique())
    names = list(dict.fromkeys([*(other for other, *_ in others if other in shown), *shown]))
    for ax, (task, split), rows in groups:
        draw.name_rows(ax, [label(name) for name in names], guides=True, shown=ax.get_subplotspec().is_first_col())
        ax.axvline(0, color=INK, lw=0.8, ls="--", zorder=1)
        limit = (reach or {}).get(task, np.inf)
        if np.isfinite(limit):
            ax.set_xlim(-EDGE * limit, EDGE * limit)
        for other, offset, marker, _ in others:
            part = rows[rows["other"] == other]
            _differences(ax, part, draw.places(names, part["function"], offset), marker, limit)
        ax.set(title=f"{task}\n{NAMES.get(split, split)}", xlabel=xlabel if isinstance(xlabel, str) else xlabel[task])
        ax.xaxis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 5, 10]))
    look = {"ms": 4, "lw": 1.2, "color": INK}
    handles = [draw.handle(marker=marker, label=f"over {label(other)}", **look) for other, _, marker, _ in others]
    handles.append(draw.handle(marker="o", ms=4, lw=0, mfc="white", mec=INK, label="undecided"))
    return draw.legend_outside(axes, "upper right", handles, handlelength=1.5)


def _differences(ax: Axes, rows: pd.DataFrame, place: np.ndarray, marker: str, limit: float) -> None:
    """Draw the comparisons with one reference; those beyond the limit as triangles with their values."""
    inks = np.array([colour(name) for name in rows["function"]])
    faces = np.where(rows["verdict"].isin(DECIDED), inks, "white")
    inside = (rows["difference"].abs() <= limit).to_numpy()
    look = {"marker": marker, "s": 14, "c": faces[inside], "edgecolors": inks[inside], "lw": 0.9}
    draw.dots(ax, rows[inside], place[inside], "difference", ink=inks[inside], width=1.2, **look)
    for row, y, ink, face in zip(rows.itertuples(), place, inks, faces, strict=True):
        side = np.sign(row.difference)
        if abs(row.difference) > limit:
            ax.plot(side * limit, y, ">" if side > 0 else "<", color=ink, mfc=face, ms=4, zorder=3)
            words = {"ha": "right" if side > 0 else "left", "va": "center_baseline", "fontsize": 5.5}
            ax.text(side * 0.93 * limit, y, f"{row.difference:.2g}", color=ink, **words)
            continue
        for end, caret in ((-row.low, CARETLEFT), (row.high, CARETRIGHT)):
            if end > EDGE * limit:
                edge = EDGE * limit * (1 if caret == CARETRIGHT else -1)
                ax.plot(edge, y, marker=caret, color=ink, ms=4, lw=0, clip_on=False, zorder=3)


def figure_6(ax: Axes, table: pd.DataFrame, ylabel: str = "log ratio to ReLU") -> Axes:
    """Draw Figure 6: functions along the axis, a point a task, and their mean as a line of black diamonds.

    Args:
        ax: two columns wide, or one for few functions.
        table: task, split (out of distribution is hollow), function, value, and optionally low and high; functions are
            shown in the order of the rows, and the task "mean" is the line. At most five tasks beside it.
        ylabel: what is shown, and the reference.
    """
    draw.want("figure_6", table, "task", "split", "function", "value")
    names, bars = list(table["function"].unique()), "low" in table
    groups = list(table[table["task"] != MEAN].groupby(["task", "split"], sort=False))
    looks = {task: look for task, _, *look in draw.series("figure_6", (task for (task, _), _ in groups))}
    left = len(groups) // 2
    offsets = DODGE * np.array([*range(-left, 0), *range(1, len(groups) - left + 1)])  # the mean is in the middle
    ax.axhline(0, color=INK, lw=0.8, ls="--", zorder=0)
    ax.vlines(np.arange(len(names) - 1) + 0.5, 0, 1, transform=ax.get_xaxis_transform(), **GUIDE)
    handles = []
    for offset, ((task, split), rows) in zip(offsets, groups, strict=True):
        marker, ink = looks[task]
        look = {"marker": marker, "ms": 3.0, "mec": ink, "mfc": "white" if split == OOD else ink, "mew": 0.8, "lw": 0}
        look["label"] = f"{task}, {NAMES.get(split, split)}" if split else task
        place = draw.places(names, rows["function"], offset)
        handles += draw.curve(ax, rows, place, "value", ink, bars={"lw": 0.9} if bars else None, zorder=3, **look)
    mean = table[table["task"] == MEAN]
    look = {"bars": {"lw": 1.4, "zorder": 4} if bars else None, "marker": "D", "ms": 3.8, "lw": 0.8, "zorder": 4}
    handles += draw.curve(ax, mean, draw.places(names, mean["function"]), "value", "black", label="mean", **look)
    ax.set_xticks(range(len(names)), [label(name) for name in names], rotation=35, ha="right", rotation_mode="anchor")
    ax.set(ylabel=ylabel, xlim=(-0.5, len(names) - 0.5))
    columns = len(handles) if len(handles) < 6 else 4
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, columnspacing=1.2)
    return ax


def lab_against_transfer(
    axes: Axes | np.ndarray,
    table: pd.DataFrame,
    titles: Sequence[str],
    closer: Mapping[str, tuple[float, float, float, float]] | None = None,
) -> np.ndarray:
    """Draw the lab's score against the score elsewhere, a panel a suite, task and split, a point a function.

    The lab's axis runs from bad to good, so that agreement rises to the right.

    Args:
        axes: one a panel; a legend is beneath the figure.
        table: suite, task, split, function, lab (lower is better), transfer (higher is better), and their intervals:
            lab_low, lab_high, low, high; NaN where there is none.
        titles: one a panel.
        closer: by suite, the left, right, lower and upper end of what is repeated in an inset, where points crowd.
    """
    columns = ("function", "lab", "lab_low", "lab_high", "transfer", "low", "high")
    axes, groups = draw.panels("lab_against_transfer", axes, table, ["suite", "task", "split"], *columns)
    if len(titles) != len(groups):
        raise ValueError(f"lab_against_transfer: wanted {len(groups)} titles, one a panel; got {len(titles)}")
    look = {"ms": 5.5, "lw": 0, "mec": "white", "mew": 0.4}
    markers = zip(table["function"].unique(), itertools.cycle(MARKERS), strict=False)
    looks = {name: look | {"marker": marker} for name, marker in markers}
    for (ax, (suite, *_), rows), title in zip(groups, titles, strict=True):
        _crossed(ax, rows, looks)
        ax.set(title=title, xlabel="lab loss, log ratio to ReLU")
        ax.xaxis.set_inverted(True)
        if suite in (closer or {}):
            _closer(ax, rows, looks, closer[suite])
    axes[0].set_ylabel("transfer (higher is better)")
    return draw.legend_beneath(axes, looks)


def _crossed(ax: Axes, rows: pd.DataFrame, looks: Mapping[str, dict]) -> None:
    """Draw points with their intervals along both axes."""
    colours = [colour(name) for name in rows["function"]]
    ax.vlines(rows["lab"], rows["low"], rows["high"], colors=colours, lw=0.9)
    ax.hlines(rows["transfer"], rows["lab_low"], rows["lab_high"], colors=colours, lw=0.9)
    for row in rows.itertuples():
        ax.plot(row.lab, row.transfer, color=colour(row.function), zorder=3, **looks[row.function])


def _closer(ax: Axes, rows: pd.DataFrame, looks: Mapping[str, dict], ends: tuple[float, float, float, float]) -> None:
    """Repeat a part of a panel, larger, in its lower middle; a frame shows which."""
    inset = ax.inset_axes((0.36, 0.1, 0.36, 0.38))
    _crossed(inset, rows, looks)
    inset.set(xlim=ends[:2], ylim=ends[2:])
    inset.tick_params(labelsize=5.5, length=2)
    inset.spines[:].set(visible=True, color="0.6", lw=0.6)
    ax.indicate_inset_zoom(inset, edgecolor="0.6", lw=0.6)
