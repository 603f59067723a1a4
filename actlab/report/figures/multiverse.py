"""Figures of the multiverse of labs: shares of labs, agreement of orders, and what each setting does (ours).

As in `actlab.report.figures.style`, a function draws a tidy table on the axes it is given, computes nothing and reads
no file.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from actlab.report.figures.style import INK, MARKERS, SERIES, _legend_above, _once, _panels, _want

_GRID = {"color": "0.93", "lw": 0.6, "zorder": 0}


def shares(ax: Axes, table: pd.DataFrame) -> Axes:
    """Draw in what share of labs statements hold: a row a statement, a marker an aggregate.

    Thick bars are intervals over labs, thin ones with caps over labs and tasks; grey: what a random order gives.

    Args:
        ax: two columns wide, about 0.27 inches a row.
        table: statement, origin, aggregate, share, low, high, both_low, both_high, chance; statements of one origin
            together.
    """
    bounds = ("low", "high", "both_low", "both_high")
    _want("shares", table, "statement", "origin", "aggregate", "share", *bounds, "chance")
    names, aggregates = _once(table["statement"]), _once(table["aggregate"])
    ax.hlines(range(len(names)), 0, 1, **_GRID)
    ax.axvline(0.5, color=INK, lw=0.8, ls=":", zorder=0)
    once = table.drop_duplicates("statement")
    place = once["statement"].map(names.index)
    ax.vlines(once["chance"], place - 0.32, place + 0.32, color="0.55", lw=1.6)
    asides = 0.26 * (np.arange(len(aggregates)) - (len(aggregates) - 1) / 2)
    handles = []
    for aggregate, aside, ink, marker in zip(aggregates, asides, SERIES, MARKERS, strict=False):
        rows = table[table["aggregate"] == aggregate]
        place = rows["statement"].map(names.index) + aside
        ax.hlines(place, rows["both_low"], rows["both_high"], color=ink, lw=0.7)
        ax.hlines(place, rows["low"], rows["high"], color=ink, lw=2.2)
        for end in ("both_low", "both_high"):
            ax.scatter(rows[end], place, s=26, marker="|", lw=0.9, color=ink, zorder=2)
        ax.scatter(rows["share"], place, s=15, marker=marker, color=ink, zorder=3)
        handles.append(Line2D([], [], color=ink, marker=marker, ms=4, lw=2.2, label=f"by the {aggregate} loss"))
    handles.append(Line2D([], [], color="0.55", marker="|", ms=8, mew=1.6, lw=0, label="a random order"))
    edge = np.flatnonzero(once["origin"].to_numpy()[1:] != once["origin"].to_numpy()[:-1]) + 0.5
    ax.hlines(edge, 0, 1, color=INK, lw=0.6)
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(axis="y", length=0)
    ax.set(xlabel="share of labs in which it holds", xlim=(-0.02, 1.02), ylim=(len(names) - 0.5, -0.5))
    ax.xaxis.set_major_formatter(ticker.PercentFormatter(1.0, decimals=0))
    _legend_above(ax, handles)
    return ax


def taus(ax: Axes, table: pd.DataFrame, random: pd.Series, mean: tuple[float, float, float]) -> Axes:
    """Draw how many labs agree how well with the paper's order: a histogram, with what random orders would give.

    Args:
        ax: one column wide.
        table: lab, tau.
        random: expected share of labs at each tau that random orders can have.
        mean: the labs' mean tau and its interval.
    """
    _want("taus", table, "lab", "tau")
    step = np.diff(random.index).min()
    edges = np.append(random.index - step / 2, random.index[-1] + step / 2)
    ax.hist(table["tau"], bins=edges, color=SERIES[0], alpha=0.55, label="labs")
    ax.plot(random.index, random * len(table), "o-", color="0.4", ms=2.5, lw=0.9, label="random orders")
    ax.axvline(0, color=INK, lw=0.8, ls=":")
    top = 1.05
    look = {"color": "black", "clip_on": False, "transform": ax.get_xaxis_transform()}
    ax.plot(mean[1:], [top, top], lw=1.6, **look)
    ax.plot(mean[:1], [top], "D", ms=4, **look)
    ax.set(xlabel="Kendall's tau with the paper's order", ylabel="labs", xlim=(-1.1, 1.1), xticks=(-1, -0.5, 0, 0.5, 1))
    ax.yaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    average = Line2D([], [], color="black", marker="D", ms=4, lw=1.6, label="mean")
    _legend_above(ax, [average, *ax.get_legend_handles_labels()[0]], lift=0.09)
    return ax


def effects(axes: Axes | np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Draw what settings do to outcomes: a panel an outcome, a row a setting; filled where the verdict is decided.

    Args:
        axes: one an outcome, in one row or several, which share their settings; two columns wide in all and about 0.2
            inches a setting.
        table: outcome, setting, difference (of the means of its halves), low, high, verdict.
    """
    _want("effects", table, "outcome", "setting", "difference", "low", "high", "verdict")
    outcomes, settings = _once(table["outcome"]), _once(table["setting"])
    grid = np.atleast_2d(axes)
    axes = _panels("effects", axes, len(outcomes))
    for ax, outcome in zip(axes, outcomes, strict=True):
        rows = table[table["outcome"] == outcome]
        place, decided = rows["setting"].map(settings.index), rows["verdict"] != "undecided"
        inks = np.where(decided, SERIES[1], "0.55")
        ax.hlines(range(len(settings)), 0, 1, transform=ax.get_yaxis_transform(), **_GRID)
        ax.axvline(0, color=INK, lw=0.8, ls=":", zorder=0)
        ax.hlines(place, rows["low"], rows["high"], colors=inks, lw=1.4)
        ax.scatter(rows["difference"], place, s=16, c=np.where(decided, inks, "white"), edgecolors=inks, zorder=3)
        ax.set_yticks(range(len(settings)), settings)
        ax.tick_params(axis="y", length=0)
        ax.xaxis.set_major_locator(ticker.MaxNLocator(4))
        ax.set(title=outcome, ylim=(len(settings) - 0.5, -0.5))
    grid[-1, grid.shape[1] // 2].set_xlabel("upper half minus lower half")
    handles = [
        Line2D([], [], color=SERIES[1], marker="o", ms=4, lw=1.4, label="decided"),
        Line2D([], [], color="0.55", marker="o", ms=4, mfc="white", lw=1.4, label="undecided"),
    ]
    _legend_above(grid[0, -1], handles, lift=0.07)
    return axes
