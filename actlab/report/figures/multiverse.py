"""Figures of labs drawn at random [ours]: shares of labs, agreement of orders, effects of settings. See `draw`."""

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes

from actlab.report.figures import draw
from actlab.report.figures.style import GUIDE, INK, SERIES


def shares(ax: Axes, table: pd.DataFrame) -> Axes:
    """Draw in what share of labs statements hold: a row a statement, a marker an aggregate.

    Thick bars are intervals over labs, thin ones with caps over labs and tasks; grey marks what a random order gives.

    Args:
        ax: two columns wide, about 0.27 inches a row.
        table: statement, origin, aggregate, share, low, high, both_low, both_high, chance; statements of one origin
            are adjacent.
    """
    both = ("both_low", "both_high")
    draw.want("shares", table, "statement", "origin", "aggregate", "share", "low", "high", *both, "chance")
    once = table.drop_duplicates("statement")
    names, place = list(once["statement"]), np.arange(len(once))
    draw.name_rows(ax, names, line=True)
    ax.hlines(place, 0, 1, **GUIDE)
    ax.axvline(0.5, color=INK, lw=0.8, ls=":", zorder=0)
    ax.vlines(once["chance"], place - 0.32, place + 0.32, color="0.55", lw=1.6)
    handles = []
    for aggregate, offset, marker, ink in draw.series("shares", table["aggregate"], 0.26):
        rows = table[table["aggregate"] == aggregate]
        place = draw.places(names, rows["statement"], offset)
        ax.hlines(place, rows["both_low"], rows["both_high"], color=ink, lw=0.7)
        draw.dots(ax, rows, place, "share", ink=ink, width=2.2, marker=marker, s=15)
        for end in both:
            ax.scatter(rows[end], place, s=26, marker="|", lw=0.9, color=ink, zorder=2)
        handles.append(draw.handle(color=ink, marker=marker, ms=4, lw=2.2, label=f"by the {aggregate} loss"))
    handles.append(draw.handle(color="0.55", marker="|", ms=8, mew=1.6, lw=0, label="a random order"))
    edges = np.flatnonzero(once["origin"].to_numpy()[1:] != once["origin"].to_numpy()[:-1]) + 0.5
    ax.hlines(edges, 0, 1, color=INK, lw=0.6)
    ax.set(xlabel="share of labs in which it holds", xlim=(-0.02, 1.02))
    ax.xaxis.set_major_formatter(ticker.PercentFormatter(1.0, decimals=0))
    return draw.legend_above(ax, handles)


def ahead(axes: Axes | np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Draw Figure 10 [ours]: in what share of labs functions are ahead, a row a name, a panel a suite and reference.

    Dots of one row, such as the runs of an arm, are side by side.

    Args:
        axes: one a panel, about 0.25 inches a row; names are at the left of each row of panels.
        table: panel, name, kind (a marker each), share, low, high.
    """
    axes, groups = draw.panels("ahead", axes, table, ["panel"], "name", "kind", "share", "low", "high")
    names, kinds = list(table["name"].unique()), draw.series("ahead", table["kind"])
    for ax, (panel,), rows in groups:
        draw.name_rows(ax, names, guides=True, shown=ax.get_subplotspec().is_first_col())
        ax.axvline(0.5, color=INK, lw=0.8, ls=":", zorder=0)
        of_row = rows.groupby("name")["share"]
        beside = (of_row.cumcount() - (of_row.transform("size") - 1) / 2) / of_row.transform("size").clip(lower=2)
        place = draw.places(names, rows["name"], 0.8 * beside.to_numpy())
        for kind, _, marker, ink in kinds:
            of_kind = (rows["kind"] == kind).to_numpy()
            draw.dots(ax, rows[of_kind], place[of_kind], "share", ink=ink, width=0.8, marker=marker, s=7, lw=0)
        ax.set(title=panel, xlim=(-0.03, 1.03), xticks=(0, 0.5, 1))
        ax.xaxis.set_major_formatter(ticker.PercentFormatter(1.0, decimals=0))
    axes[len(axes) // 2].set_xlabel("share of labs in which it is ahead")
    handles = [draw.handle(color=ink, marker=marker, ms=4, lw=1.2, label=kind) for kind, _, marker, ink in kinds]
    return draw.legend_outside(axes, "upper right", handles)


def taus(ax: Axes, table: pd.DataFrame, random: pd.Series, mean: tuple[float, float, float]) -> Axes:
    """Draw a histogram of how well labs agree with the paper's order, with what random orders would give.

    Args:
        ax: one column wide.
        table: lab, tau.
        random: expected share of labs at each tau that random orders can have.
        mean: the labs' mean tau and its interval.
    """
    draw.want("taus", table, "lab", "tau")
    step = np.diff(random.index).min()
    edges = np.append(random.index - step / 2, random.index[-1] + step / 2)
    ax.hist(table["tau"], bins=edges, color=SERIES[0], alpha=0.55, label="labs")
    ax.plot(random.index, random * len(table), "o-", color="0.4", ms=2.5, lw=0.9, label="random orders")
    ax.axvline(0, color=INK, lw=0.8, ls=":")
    look = {"color": "black", "clip_on": False, "transform": ax.get_xaxis_transform()}
    ax.plot(mean[1:], [1.05, 1.05], lw=1.6, **look)
    ax.plot(mean[:1], [1.05], "D", ms=4, **look)
    ax.set(xlabel="Kendall's tau with the paper's order", ylabel="labs", xlim=(-1.1, 1.1), xticks=(-1, -0.5, 0, 0.5, 1))
    ax.yaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    average = draw.handle(color="black", marker="D", ms=4, lw=1.6, label="mean")
    return draw.legend_above(ax, [average, *ax.get_legend_handles_labels()[0]], lift=0.09)


def effects(axes: Axes | np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Draw the effects of settings on outcomes: a panel an outcome, a row a setting; filled where decided.

    Args:
        axes: one an outcome, in one row or several, with the same settings in each; two columns wide in all and about
            0.2 inches a setting.
        table: outcome, setting, difference (of the means of its halves), low, high, verdict.
    """
    grid = np.atleast_2d(axes)
    axes, groups = draw.panels("effects", axes, table, ["outcome"], "setting", "difference", "low", "high", "verdict")
    settings = list(table["setting"].unique())
    for ax, (outcome,), rows in groups:
        draw.name_rows(ax, settings, guides=True, line=True)
        ax.axvline(0, color=INK, lw=0.8, ls=":", zorder=0)
        decided = rows["verdict"] != "undecided"
        inks = np.where(decided, SERIES[1], "0.55")
        look = {"c": np.where(decided, inks, "white"), "edgecolors": inks, "s": 16}
        draw.dots(ax, rows, draw.places(settings, rows["setting"]), "difference", ink=inks, **look)
        ax.xaxis.set_major_locator(ticker.MaxNLocator(4))
        ax.set_title(outcome)
    grid[-1, grid.shape[1] // 2].set_xlabel("upper half minus lower half")
    handles = [
        draw.handle(color=SERIES[1], marker="o", ms=4, lw=1.4, label="decided"),
        draw.handle(color="0.55", marker="o", ms=4, mfc="white", lw=1.4, label="undecided"),
    ]
    draw.legend_above(grid[0, -1], handles, lift=0.07)
    return axes
