"""What figures share: dots and curves with intervals, rows, panels and legends.

A figure function draws a tidy table on the axes it is given; it computes no statistic and reads no file. Estimates,
intervals and counts are columns, drawn in the order of the rows; an error names a missing column. Axes are one a panel,
and spare ones are hidden; functions return those that they drew on.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D

from actlab.report.figures.style import GUIDE, MARKERS, SERIES, colour, label

Look = dict[str, Any] | None
handle = partial(Line2D, [], [])  # an entry of a legend


def want(figure: str, data: pd.DataFrame, *columns: str) -> None:
    """Raise ValueError if a column that the figure draws is missing, or there is no row."""
    if missing := [column for column in columns if column not in data]:
        raise ValueError(f"{figure}: wanted column {', '.join(map(repr, missing))}; got {', '.join(map(str, data))}")
    if data.empty:
        raise ValueError(f"{figure}: wanted at least one row, got none")


def first_axes(figure: str, axes: Axes | np.ndarray, count: int) -> np.ndarray:
    """Return the first `count` axes, flat, and hide the rest."""
    flat = np.atleast_1d(axes).ravel()
    if flat.size < count:
        raise ValueError(f"{figure}: wanted {count} axes, one a panel; got {flat.size}")
    for spare in flat[count:]:
        spare.set_axis_off()
    return flat[:count]


def panels(
    figure: str, axes: Axes | np.ndarray, table: pd.DataFrame, by: list[str], *columns: str
) -> tuple[np.ndarray, list[tuple[Axes, tuple, pd.DataFrame]]]:
    """Return the axes that are used, and each with its group of rows: (axes, values of the columns `by`, rows).

    Raises:
        ValueError: a column of `by` or `columns` is missing, there is no row, or there are too few axes.
    """
    want(figure, table, *by, *columns)
    groups = list(table.groupby(by, sort=False))
    axes = first_axes(figure, axes, len(groups))
    return axes, [(ax, key, rows) for ax, (key, rows) in zip(axes, groups, strict=True)]


def series(figure: str, values: Iterable, step: float = 1.0) -> list[tuple[Any, float, str, str]]:
    """Return each distinct value with an offset, a marker and a colour; offsets are `step` apart, with mean zero."""
    distinct = list(dict.fromkeys(values))
    if len(distinct) > len(MARKERS):
        raise ValueError(f"{figure}: wanted at most {len(MARKERS)} series in a panel, got {len(distinct)}")
    offsets = step * (np.arange(len(distinct)) - (len(distinct) - 1) / 2)
    return list(zip(distinct, offsets, MARKERS, SERIES, strict=False))


def places(names: Sequence[str], values: Iterable[str], offset: float = 0.0) -> np.ndarray:
    """Return the position of each value's row, shifted by `offset`."""
    return np.array([names.index(value) for value in values]) + offset


def _interval(rows: pd.DataFrame, value: str) -> list[pd.Series]:
    """Return low and high of an estimate: the columns with its name before `_low` and `_high`, or else low and high."""
    return [rows[own if (own := f"{value}_{end}") in rows else end] for end in ("low", "high")]


def dots(
    ax: Axes, rows: pd.DataFrame, place: np.ndarray, value: str, ink: Any = None, width: float = 1.4, **look: Any
) -> PathCollection:
    """Draw the estimates in column `value` as dots on horizontal lines from the low to the high end of their intervals.

    Args:
        ax: where.
        rows: one an estimate.
        place: [rows] heights.
        value: the estimates' column; `_interval` says which are those of the ends.
        ink: one colour or one a row; by default those of the activations in column "function".
        width: of the lines, in points.
        look: of the dots, as for `Axes.scatter`; filled with `ink` by default.
    """
    ink = [colour(name) for name in rows["function"]] if ink is None else ink
    ax.hlines(place, *_interval(rows, value), colors=ink, lw=width)
    return ax.scatter(rows[value], place, **{"c": ink, "zorder": 3} | look)


def curve(
    ax: Axes, rows: pd.DataFrame, x: Any, value: str, ink: str, band: Look = None, bars: Look = None, **look: Any
) -> list[Line2D]:
    """Draw the estimates in column `value` as a line or markers, their intervals as a band or as vertical bars.

    Args:
        ax: where.
        rows: one an estimate, from left to right.
        x: a column, or [rows] positions.
        value: the estimates' column; `_interval` says which are those of the ends.
        ink: the colour of all.
        band: its look, as for `Axes.fill_between`; none by default.
        bars: their look, as for `Axes.vlines`; none by default.
        look: of the line and the markers, as for `Axes.plot`.
    """
    x = rows[x] if isinstance(x, str) else x
    if band is not None:
        ax.fill_between(x, *_interval(rows, value), **{"color": ink, "lw": 0} | band)
    if bars is not None:
        ax.vlines(x, *_interval(rows, value), **{"color": ink} | bars)
    return ax.plot(x, rows[value], color=ink, **look)


def name_rows(
    ax: Axes, names: Sequence[str], guides: bool = False, line: bool = False, ticks: bool = False, shown: bool = True
) -> None:
    """Make a row of each name, the first on top, and write the names at the left if they are to be shown.

    Optional are pale guides along the rows, and the line and the ticks of the axis.
    """
    if guides:
        ax.hlines(range(len(names)), 0, 1, transform=ax.get_yaxis_transform(), **GUIDE)
    ax.set_yticks(range(len(names)), names if shown else [])
    ax.set_ylim(len(names) - 0.5, -0.5)
    if not ticks:
        ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(line)


def legend_above(ax: Axes, handles: Iterable | None = None, lift: float = 0.0) -> Axes:
    """Put a legend, of all that is labelled by default, in a line above the axes; `lift` is a share of their height."""
    handles = ax.get_legend_handles_labels()[0] if handles is None else list(handles)
    spacing = {"columnspacing": 1.2, "handlelength": 1.5, "borderaxespad": 0.2}
    ax.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1 + lift), ncols=len(handles), **spacing)
    return ax


def legend_outside(axes: np.ndarray, where: str, handles: list | None = None, **look: Any) -> np.ndarray:
    """Put one legend beside all panels, by default of what is labelled in the first one."""
    handles = axes[0].get_legend_handles_labels()[0] if handles is None else handles
    axes[0].figure.legend(handles=handles, loc=f"outside {where}", **{"ncols": len(handles)} | look)
    return axes


def legend_beneath(axes: np.ndarray, looks: Mapping[str, dict[str, Any]]) -> np.ndarray:
    """Put a legend of functions, each with the look of its marker, beneath all panels in as many columns as fit."""
    handles = [handle(color=colour(name), label=label(name), **look) for name, look in looks.items()]
    columns = max(1, int(axes[0].figure.get_figwidth() / 1.35))
    return legend_outside(axes, "lower center", handles, ncols=columns, columnspacing=1.2)


def plain_log(axis: Any, digits: tuple[float, ...] = (1.0, 2.0, 5.0)) -> None:
    """Write the ticks of a log axis as plain numbers, at these digits in each decade."""
    axis.set_major_locator(ticker.LogLocator(subs=digits))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def tint(hexadecimal: str, strength: float) -> tuple[float, ...]:
    """Return the colour mixed with white: full at strength 1, the palest that is still visible near 0."""
    return tuple(1 - (0.3 + 0.7 * strength) * (1 - part) for part in to_rgb(hexadecimal))
