"""Figures of transfer (Figure 6, lab against transfer, comparisons): as in `plotting`, from a tidy table onto axes."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.markers import CARETLEFT, CARETRIGHT

from actlab.report.figures.style import INK, MARKERS, SERIES, _markers, _once, _panels, _want, colour, label

MEAN = "mean"  # the task that stands for all of them
OOD = "ood"  # the split that is drawn hollow
EDGE = 1.08  # where an axis ends, over what is still drawn as it is
DECIDED = ("better", "worse")
DODGE = 0.14  # between the tasks of a function, of which the next stands at 1
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
        axes: one a panel, three in two columns' width, about 0.22 inches a function; names stand at each row's left.
        table: task, split, function, other, difference, low, high, verdict ("better", "worse", or another word where
            it is undecided).
        reach: by task, half the width of the axis; a task without one shows everything.
        xlabel: what is shown, of all tasks or by task.
    """
    _want("downstream", table, "task", "split", "function", "other", "difference", "low", "high", "verdict")
    others = _once(table["other"])
    shown = _once(table["function"])
    names = list(dict.fromkeys([*(other for other in others if other in shown), *shown]))
    groups = list(table.groupby(["task", "split"], sort=False))
    axes = _panels("downstream", axes, len(groups))
    markers = _markers("downstream", others)
    offsets = 0.42 * (np.arange(len(others)) - (len(others) - 1) / 2)
    for ax, ((task, split), rows) in zip(axes, groups, strict=True):
        ax.hlines(range(len(names)), 0, 1, color="0.93", lw=0.6, zorder=0, transform=ax.get_yaxis_transform())
        ax.axvline(0, color=INK, lw=0.8, ls="--", zorder=1)
        limit = (reach or {}).get(task, np.inf)
        if np.isfinite(limit):
            ax.set_xlim(-EDGE * limit, EDGE * limit)
        for other, offset, marker in zip(others, offsets, markers, strict=True):
            _differences(ax, rows[rows["other"] == other], names, offset, marker, limit)
        ax.set(title=f"{task}\n{NAMES.get(split, split)}", ylim=(len(names) - 0.5, -0.5))
        first = ax.get_subplotspec() is None or ax.get_subplotspec().is_first_col()
        ax.set_yticks(range(len(names)), [label(name) for name in names] if first else [])
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.xaxis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 5, 10]))
        ax.set_xlabel(xlabel if isinstance(xlabel, str) else xlabel[task])
    handles = [
        Line2D([], [], marker=marker, ms=4, lw=1.2, color=INK, label=f"over {label(other)}")
        for other, marker in zip(others, markers, strict=True)
    ]
    handles.append(Line2D([], [], marker="o", ms=4, lw=0, mfc="white", mec=INK, label="undecided"))
    axes[0].figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), handlelength=1.5)
    return axes


def _differences(ax: Axes, rows: pd.DataFrame, names: list[str], offset: float, marker: str, limit: float) -> None:
    """Draw the comparisons with one reference; those beyond the limit as triangles with their values."""
    inside = rows[rows["difference"].abs() <= limit]
    colours = [colour(name) for name in inside["function"]]
    place = np.array([names.index(name) + offset for name in inside["function"]])
    faces = np.where(inside["verdict"].isin(DECIDED), colours, "white")
    ax.hlines(place, inside["low"], inside["high"], colors=colours, lw=1.2)
    ax.scatter(inside["difference"], place, s=14, marker=marker, c=faces, edgecolors=colours, lw=0.9, zorder=3)
    for row in rows.itertuples():
        y, ink = names.index(row.function) + offset, colour(row.function)
        if abs(row.difference) > limit:
            side = np.sign(row.difference)
            look = {"marker": ">" if side > 0 else "<", "mfc": ink if row.verdict in DECIDED else "white"}
            ax.plot(side * limit, y, color=ink, ms=4, lw=0, zorder=3, **look)
            words = {"ha": "right" if side > 0 else "left", "va": "center_baseline", "fontsize": 5.5}
            ax.text(side * 0.93 * limit, y, f"{row.difference:.2g}", color=ink, **words)
            continue
        for cut, side, caret in ((row.low < -EDGE * limit, -1, CARETLEFT), (row.high > EDGE * limit, 1, CARETRIGHT)):
            if cut:
                ax.plot(side * EDGE * limit, y, marker=caret, color=ink, ms=4, lw=0, clip_on=False, zorder=3)


def figure_6(ax: Axes, table: pd.DataFrame, ylabel: str = "log ratio to ReLU") -> Axes:
    """Draw Figure 6: functions along the axis, a point a task, and their mean as a line of black diamonds.

    Args:
        ax: two columns wide, or one for few functions.
        table: task, split (out of distribution is hollow), function, value, and maybe low and high; functions are
            shown in the order of the rows, and the task "mean" is the line. At most five tasks beside it.
        ylabel: what is shown, and the reference.
    """
    _want("figure_6", table, "task", "split", "function", "value")
    names = _once(table["function"])
    series = table[table["task"] != MEAN].drop_duplicates(["task", "split"])
    tasks = _once(series["task"])
    looks = dict(zip(tasks, zip(_markers("figure_6", tasks), SERIES, strict=False), strict=False))
    left = len(series) // 2
    offsets = DODGE * np.array([*range(-left, 0), *range(1, len(series) - left + 1)])  # the mean stands between
    ax.axhline(0, color=INK, lw=0.8, ls="--", zorder=0)
    ax.vlines(np.arange(len(names) - 1) + 0.5, 0, 1, color="0.93", lw=0.6, zorder=0, transform=ax.get_xaxis_transform())
    handles = []
    for offset, (task, split) in zip(offsets, series[["task", "split"]].to_numpy(), strict=True):
        rows, (marker, ink) = table[(table["task"] == task) & (table["split"] == split)], looks[task]
        place = rows["function"].map(names.index) + offset
        if "low" in table:
            ax.vlines(place, rows["low"], rows["high"], color=ink, lw=0.9)
        text = f"{task}, {NAMES.get(split, split)}" if split else task
        look = {"marker": marker, "ms": 3.0, "mec": ink, "mfc": "white" if split == OOD else ink, "mew": 0.8}
        handles += ax.plot(place, rows["value"], color=ink, lw=0, label=text, zorder=3, **look)
    mean = table[table["task"] == MEAN]
    place = mean["function"].map(names.index)
    if "low" in table:
        ax.vlines(place, mean["low"], mean["high"], color="black", lw=1.4, zorder=4)
    look = {"marker": "D", "ms": 3.8, "lw": 0.8, "color": "black"}
    handles += ax.plot(place, mean["value"], label="mean", zorder=4, **look)
    ax.set_xticks(range(len(names)), [label(name) for name in names], rotation=35, ha="right", rotation_mode="anchor")
    ax.set(ylabel=ylabel, xlim=(-0.5, len(names) - 0.5))
    columns = len(handles) if len(handles) < 6 else 4
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, columnspacing=1.2)
    return ax


def lab_against_transfer(
    axes: Axes | np.ndarray,
    table: pd.DataFrame,
    titles: Sequence[str] = (),
    xlabel: str = "lab loss, log ratio to ReLU",
    ylabel: str = "transfer (higher is better)",
    closer: Mapping[str, tuple[float, float, float, float]] | None = None,
) -> np.ndarray:
    """Draw the lab's score against the score elsewhere, a panel a suite, task and split, a point a function.

    The lab's axis runs from bad to good, so that agreement rises to the right.

    Args:
        axes: one a panel; a legend of all functions stands beneath the figure.
        table: suite, task, split, function, lab (lower is better), transfer (higher is better), low, high (of the
            transfer; NaN where it has no interval), and maybe lab_low and lab_high.
        titles: one a panel; suite, task and split by default.
        xlabel: of all panels.
        ylabel: of the first panel.
        closer: by suite, the left, right, lower and upper end of what is shown again in an inset, where points crowd.
    """
    _want("lab_against_transfer", table, "suite", "task", "split", "function", "lab", "transfer", "low", "high")
    names = _once(table["function"])
    groups = list(table.groupby(["suite", "task", "split"], sort=False))
    axes = _panels("lab_against_transfer", axes, len(groups))
    words = [f"{suite}: {task}" + f", {NAMES.get(split, split)}" * bool(split) for (suite, task, split), _ in groups]
    if len(titles or words) != len(groups):
        raise ValueError(f"lab_against_transfer: wanted {len(groups)} titles, one a panel; got {len(titles)}")
    looks = {
        name: {"marker": marker, "ms": 5.5, "lw": 0, "mec": "white", "mew": 0.4, "color": colour(name)}
        for name, marker in zip(names, itertools.cycle(MARKERS), strict=False)
    }
    for ax, ((suite, *_), rows), title in zip(axes, groups, titles or words, strict=True):
        _crossed(ax, rows, looks)
        ax.set(title=title, xlabel=xlabel)
        ax.xaxis.set_inverted(True)
        if suite in (closer or {}):
            _closer(ax, rows, looks, closer[suite])
    axes[0].set_ylabel(ylabel)
    figure = axes[0].figure
    columns = max(1, int(figure.get_figwidth() / 1.35))
    handles = [Line2D([], [], **look, label=label(name)) for name, look in looks.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.2)
    return axes


def _crossed(ax: Axes, rows: pd.DataFrame, looks: Mapping[str, dict]) -> None:
    """Draw points with their intervals either way."""
    colours = [colour(name) for name in rows["function"]]
    ax.vlines(rows["lab"], rows["low"], rows["high"], colors=colours, lw=0.9)
    if "lab_low" in rows:
        ax.hlines(rows["transfer"], rows["lab_low"], rows["lab_high"], colors=colours, lw=0.9)
    for row in rows.itertuples():
        ax.plot(row.lab, row.transfer, **looks[row.function], zorder=3)


def _closer(ax: Axes, rows: pd.DataFrame, looks: Mapping[str, dict], ends: tuple[float, float, float, float]) -> None:
    """Draw a part of a panel again, larger, in its lower middle; a frame shows which."""
    inset = ax.inset_axes((0.36, 0.1, 0.36, 0.38))
    _crossed(inset, rows, looks)
    left, right, low, high = ends
    inset.set(xlim=(left, right), ylim=(low, high))
    inset.tick_params(labelsize=5.5, length=2)
    inset.spines[:].set(visible=True, color="0.6", lw=0.6)
    ax.indicate_inset_zoom(inset, edgecolor="0.6", lw=0.6)
