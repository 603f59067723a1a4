"""Figures of images, algorithms and molecules: as in `plotting`, from a tidy table or pictures onto axes."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from actlab.report.figures.style import INK, SERIES, TEXT, _markers, _once, _panels, _want, colour, label


def pictures(axes: np.ndarray, images: Sequence[np.ndarray], rows: Sequence[str], columns: Sequence[str]) -> np.ndarray:
    """Show a grid of pictures, with names at the rows and above the columns.

    Args:
        axes: [rows, columns].
        images: row by row, each [height, width] from 0 (black) to 1, or [height, width, 3].
        rows: names; "" for none.
        columns: names; "" for none.

    Raises:
        ValueError: where there are not as many pictures, or axes, as places.
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
    """Draw quantities of one sample as fields, a panel each: dark is 1 (or the largest), white is 0.

    Args:
        axes: one a panel.
        table: panel, row, column, value.
        labels: by panel, what its rows and its columns are.
    """
    _want("arrays", table, "panel", "row", "column", "value")
    groups = list(table.groupby("panel", sort=False))
    axes = _panels("arrays", axes, len(groups))
    for ax, (name, cells) in zip(axes, groups, strict=True):
        field = cells.pivot(index="row", columns="column", values="value").to_numpy()
        ax.pcolormesh(field, cmap="Greys", vmin=0, edgecolors="0.85", lw=0.3)
        rows, columns = labels[name]
        ax.set(title=name, ylabel=rows, xlabel=columns, ylim=(len(field), 0))
        for axis, count in ((ax.xaxis, field.shape[1]), (ax.yaxis, len(field))):
            shown = np.arange(0, count, 5 if count > 6 else 1)
            axis.set_ticks(shown + 0.5, shown)
    return axes


def forest(
    axes: Axes | np.ndarray,
    table: pd.DataFrame,
    lines: Mapping[str, Mapping[str, float]] | None = None,
    xlabel: str = "score",
) -> np.ndarray:
    """Draw estimates with their intervals, a row a function, a panel a task, a marker a level of it.

    Args:
        axes: one a panel; about 0.2 inches a function; names stand at the left of each row of panels.
        table: panel, level ("" for all where there is one), function, value, low, high.
        lines: by panel, values that are drawn as dashed lines, with their names; the same colour for the same name.
        xlabel: of all panels.
    """
    _want("forest", table, "panel", "level", "function", "value", "low", "high")
    names, levels, groups = _once(table["function"]), _once(table["level"]), list(table.groupby("panel", sort=False))
    axes, markers = _panels("forest", axes, len(groups)), _markers("forest", levels)
    offsets = 0.22 * (np.arange(len(levels)) - (len(levels) - 1) / 2)
    inks = dict(zip(dict.fromkeys(name for panel in (lines or {}).values() for name in panel), SERIES, strict=False))
    for ax, (panel, rows) in zip(axes, groups, strict=True):
        ax.hlines(range(len(names)), 0, 1, color="0.93", lw=0.6, zorder=0, transform=ax.get_yaxis_transform())
        for name, value in (lines or {}).get(panel, {}).items():
            ax.axvline(value, color=inks[name], lw=1.0, ls="--", zorder=1)
        for level, offset, marker in zip(levels, offsets, markers, strict=True):
            part = rows[rows["level"] == level]
            place, inks_of = part["function"].map(names.index) + offset, [colour(name) for name in part["function"]]
            ax.hlines(place, part["low"], part["high"], colors=inks_of, lw=1.2)
            ax.scatter(part["value"], place, s=13, marker=marker, c=inks_of, edgecolors=INK, lw=0.3, zorder=3)
        first = ax.get_subplotspec() is None or ax.get_subplotspec().is_first_col()
        ax.set_yticks(range(len(names)), [label(name) for name in names] if first else [])
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.set(title=panel, ylim=(len(names) - 0.5, -0.5), xlabel=xlabel)
        ax.xaxis.set_major_locator(ticker.MaxNLocator(4, steps=[1, 2, 5, 10]))
    shown = {level: marker for level, marker in zip(levels, markers, strict=True) if level}
    handles = [Line2D([], [], marker=marker, ms=4, lw=0, color=INK, label=level) for level, marker in shown.items()]
    handles += [Line2D([], [], color=ink, lw=1.0, ls="--", label=name) for name, ink in inks.items()]
    if handles:
        axes[0].figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))
    return axes


def curves(axes: Axes | np.ndarray, table: pd.DataFrame, ylabel: str = "validation") -> np.ndarray:
    """Draw validation against epochs, a panel a group or task, a line and a band a function.

    Args:
        axes: one a panel; a legend of all functions stands beneath the figure.
        table: panel, function, epoch (from 0), value, low, high.
        ylabel: of the first panel.
    """
    _want("curves", table, "panel", "function", "epoch", "value", "low", "high")
    groups = list(table.groupby("panel", sort=False))
    axes = _panels("curves", axes, len(groups))
    for ax, (panel, rows) in zip(axes, groups, strict=True):
        for name, part in rows.groupby("function", sort=False):
            epochs = part["epoch"] + 1
            ax.fill_between(epochs, part["low"], part["high"], color=colour(name), alpha=0.2, lw=0)
            ax.plot(epochs, part["value"], color=colour(name), marker="o", ms=2, lw=1.1)
        ax.set(title=panel, xlabel="epochs")
        ax.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    axes[0].set_ylabel(ylabel)
    handles = [Line2D([], [], color=colour(n), marker="o", ms=3, label=label(n)) for n in _once(table["function"])]
    figure = axes[0].figure
    columns = max(1, int(figure.get_figwidth() / 1.35))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.2)
    return axes
