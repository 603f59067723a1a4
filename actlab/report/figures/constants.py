"""Figure 9 [ours]: what it changes to learn a function's constants, and where they go.

As in `plotting`: a function draws a tidy table on the axes that it is given, computes no statistic and reads no file.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from actlab.report.figures.style import INK, _legend_above, _markers, _names_at_left, _once, _tint, _want, colour, label


def learned_ratio(ax: Axes, table: pd.DataFrame) -> Axes:
    """Draw Figure 9's first panel: OOD loss with learned constants over that with fixed ones, a row a function.

    Args:
        ax: the first is on top; a dashed line marks equal losses.
        table: function, ratio, low, high, train (the same ratio of training loss; a cross, without an interval).
    """
    _want("learned_ratio", table, "function", "ratio", "low", "high", "train")
    names = _once(table["function"])
    ax.axvline(1, color=INK, lw=0.9, ls="--", zorder=0)
    for place, row in enumerate(table.itertuples()):
        ax.hlines(place, row.low, row.high, color=colour(row.function), lw=1.6)
        ax.plot(row.ratio, place, "o", ms=4.5, color=colour(row.function))
        ax.plot(row.train, place, "x", ms=4.5, mew=1.1, color=colour(row.function))
    ax.set_xlabel("MSE, learned over fixed constants")
    _names_at_left(ax, names)
    handles = [
        Line2D([], [], marker="o", ms=4.5, color="0.5", lw=1.6, label="OOD"),
        Line2D([], [], marker="x", ms=4.5, mew=1.1, color="0.5", lw=0, label="training"),
    ]
    _legend_above(ax, handles)
    return ax


def learned_values(ax: Axes, table: pd.DataFrame) -> Axes:
    """Draw Figure 9's second panel: where constants that are learned end, a row a constant and a mark a layer.

    Args:
        ax: the first constant is on top.
        table: function, constant, layer (from 1), start, low, median, high (quartiles over networks).
    """
    _want("learned_values", table, "function", "constant", "layer", "start", "low", "median", "high")
    layers = sorted(table["layer"].unique())
    markers = _markers("learned_values", layers)
    rows = list(table.groupby(["function", "constant"], sort=False))
    for place, ((name, _), each) in enumerate(rows):
        ax.vlines(each["start"].iloc[0], place - 0.4, place + 0.4, color="black", lw=1.4, zorder=3)
        for row in each.itertuples():
            number = layers.index(row.layer)
            y = place + 0.5 * ((number + 0.5) / len(layers) - 0.5)
            shade = _tint(colour(name), (number + 1) / len(layers))
            ax.hlines(y, row.low, row.high, color=shade, lw=1.3)
            ax.plot(row.median, y, markers[number], ms=3.4, mec="none", color=shade, zorder=4)
    ax.set_yticks(range(len(rows)), [f"{label(name)}: {constant}" for (name, constant), _ in rows])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set(xlabel="constant", ylim=(len(rows) - 0.5, -0.5))
    handles = [
        Line2D([], [], marker="|", ms=9, mew=1.4, lw=0, color="black", label="published"),
        *(
            Line2D([], [], marker=marker, ms=3.4, mec="none", color=_tint("#555555", (i + 1) / len(layers)), lw=1.3,
                   label=f"layer {layer}")
            for i, (layer, marker) in enumerate(zip(layers, markers, strict=True))
        ),
    ]  # fmt: skip
    _legend_above(ax, handles)
    return ax
