"""Figures of images, algorithms and molecules. See `draw`."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes

from actlab.report.figures import draw
from actlab.report.figures.style import INK, SERIES, TEXT, colour, label


def pictures(axes: np.ndarray, images: Sequence[np.ndarray], rows: Sequence[str], columns: Sequence[str]) -> np.ndarray:
    """Show a grid of pictures, with names at the rows and above the columns.

    Args:
        axes: [rows, columns].
        images: row by row, each [height, width] from 0 (black) to 1, or [height, width, 3].
        rows: names; "" for none.
        columns: names; "" for none.

    Raises:
        ValueError: the number of pictures, or of axes, is not the grid's.
    """
    places = len(rows) * len(columns)
    grid = np.atleast_2d(axes)
    if len(images) != places or grid.shape != (len(rows), len(columns)):
        wanted = f"{places} pictures and axes [{len(rows)}, {len(columns)}]"
        raise ValueError(f"pictures: wanted {wanted}; got {len(images)} and {list(grid.shape)}")
    for ax, image in zip(grid.ravel(), images, strict=True):
        ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for ax, name in zip(grid[:, 0], rows, strict=True):
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
    for ax, name in zip(grid[0], columns, strict=True):
        ax.set_title(name, fontsize=TEXT["size"])
    return axes


def arrays(axes: Axes | np.ndarray, table: pd.DataFrame, labels: Mapping[str, tuple[str, str]]) -> np.ndarray:
    """Draw quantities of one sample as fields, a panel each: black is the largest value, white is 0.

    Args:
        axes: one a panel.
        table: panel, row, column, value.
        labels: by panel, what its rows and its columns are.
    """
    axes, groups = draw.panels("arrays", axes, table, ["panel"], "row", "column", "value")
    for ax, (name,), cells in groups:
        field = cells.pivot(index="row", columns="column", values="value").to_numpy()
        ax.pcolormesh(field, cmap="Greys", vmin=0, edgecolors="0.85", lw=0.3)
        ax.set(title=name, ylabel=labels[name][0], xlabel=labels[name][1], ylim=(len(field), 0))
        for axis, count in ((ax.xaxis, field.shape[1]), (ax.yaxis, len(field))):
            shown = np.arange(0, count, 5 if count > 6 else 1)
            axis.set_ticks(shown + 0.5, shown)
    return axes


def forest(
    axes: Axes | np.ndarray, table: pd.DataFrame, lines: Mapping[str, dict] | None = None, xlabel: str = "score"
) -> np.ndarray:
    """Draw estimates with their intervals, a row a function, a panel a task, a marker a level of it.

    Args:
        axes: one a panel, about 0.2 inches a function; names are at the left of each row of panels.
        table: panel, level ("" for all where there is one), function, value, low, high.
        lines: by panel, values to draw as dashed lines, by name; one colour for each name.
        xlabel: of all panels.
    """
    axes, groups = draw.panels("forest", axes, table, ["panel"], "level", "function", "value", "low", "high")
    names, lines, levels = list(table["function"].unique()), lines or {}, draw.series("forest", table["level"], 0.22)
    inks = dict(zip(dict.fromkeys(name for panel in lines.values() for name in panel), SERIES, strict=False))
    for ax, (panel,), rows in groups:
        draw.name_rows(ax, [label(name) for name in names], guides=True, shown=ax.get_subplotspec().is_first_col())
        for name, value in lines.get(panel, {}).items():
            ax.axvline(value, color=inks[name], lw=1.0, ls="--", zorder=1)
        for level, offset, marker, _ in levels:
            part = rows[rows["level"] == level]
            look = {"marker": marker, "s": 13, "edgecolors": INK, "lw": 0.3}
            draw.dots(ax, part, draw.places(names, part["function"], offset), "value", width=1.2, **look)
        ax.set(title=panel, xlabel=xlabel)
        ax.xaxis.set_major_locator(ticker.MaxNLocator(4, steps=[1, 2, 5, 10]))
    shown = {level: marker for level, _, marker, _ in levels if level}
    handles = [draw.handle(marker=marker, ms=4, lw=0, color=INK, label=level) for level, marker in shown.items()]
    handles += [draw.handle(color=ink, lw=1.0, ls="--", label=name) for name, ink in inks.items()]
    if handles:
        draw.legend_outside(axes, "upper right", handles)
    return axes


def curves(axes: Axes | np.ndarray, table: pd.DataFrame, ylabel: str = "validation") -> np.ndarray:
    """Draw validation against epochs, a panel a group or task, a line and a band a function.

    Args:
        axes: one a panel; a legend is beneath the figure.
        table: panel, function, epoch (from 0), value, low, high.
        ylabel: of the first panel.
    """
    axes, groups = draw.panels("curves", axes, table, ["panel"], "function", "epoch", "value", "low", "high")
    for ax, (panel,), rows in groups:
        for name, part in rows.groupby("function", sort=False):
            look = {"band": {"alpha": 0.2}, "marker": "o", "ms": 2, "lw": 1.1}
            draw.curve(ax, part, part["epoch"] + 1, "value", colour(name), **look)
        ax.set(title=panel, xlabel="epochs")
        ax.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    axes[0].set_ylabel(ylabel)
    return draw.legend_beneath(axes, {name: {"marker": "o", "ms": 3} for name in table["function"]})
