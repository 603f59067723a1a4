"""Figures of what networks learn by frequency [ours]: spectra, gradients, the sweep of an amplitude. See `draw`."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from actlab.report.figures import draw
from actlab.report.figures.style import BAND, DASHES, INK, TEXT, colour, label

FORMS = {
    "gelu-sine": {"ink": colour("gelu-sine"), "marker": "o", "label": "GELU + a sin x (GELUSine)"},
    "gelu-tanh": {"ink": INK, "marker": "s", "ls": DASHES, "label": "GELU + a tanh x (control)"},
}


def beyond(axes: Axes | np.ndarray, curves: pd.DataFrame) -> np.ndarray:
    """Draw single networks' predictions within the training range, shaded, and beyond it; a panel a task.

    Columns: function, family, task, u, prediction, target.
    """
    columns = ("function", "family", "u", "prediction", "target")
    axes, groups = draw.panels("beyond", axes, curves, ["task"], *columns)
    for ax, _, rows in groups:
        ax.axvspan(-1, 1, color=BAND, lw=0, zorder=0)
        for name, one in rows.groupby("function", sort=False):
            ax.plot(one["u"], one["prediction"], color=colour(name), lw=1.2, label=label(name))
        target = one.sort_values("u")
        ax.plot(target["u"], target["target"], color="black", lw=1.0, ls=DASHES, label="target")
        ax.set(title=rows["family"].iloc[0], xlabel="u (half-ranges)", ylim=(-4, 4))
    axes[0].set_ylabel("standardised target")
    return draw.legend_outside(axes, "upper center", columnspacing=1.0, handlelength=1.3)


def spectra(axes: Axes | np.ndarray, table: pd.DataFrame, band: float) -> np.ndarray:
    """Draw mean spectra of predictions and targets with intervals, within the range and beyond it; a panel a function.

    Args:
        axes: one a function.
        table: function, where (inside, beyond), signal (prediction, target), periods, estimate, low, high.
        band: the upper end of the targets' band, in periods; marked by a dotted line.
    """
    columns = ("where", "signal", "periods", "estimate", "low", "high")
    axes, groups = draw.panels("spectra", axes, table, ["function"], *columns)
    dashes = {"inside": "-", "beyond": DASHES}
    for ax, (name,), rows in groups:
        looks = {"prediction": (colour(name), 2, 0.18, 1.6), "target": ("black", 1, 0.07, 0.7)}
        for (signal, where), one in rows.groupby(["signal", "where"], sort=False):
            ink, order, alpha, width = looks[signal]
            shade = {"alpha": alpha, "zorder": order}
            draw.curve(ax, one, "periods", "estimate", ink, band=shade, ls=dashes[where], lw=width, zorder=order)
        ax.axvline(band, color=INK, lw=0.7, ls=":", zorder=0)
        ax.set(title=label(name), yscale="log", xlim=(1, rows["periods"].max()))
        ax.set_xticks([1, *range(4, int(rows["periods"].max()) + 1, 4)])
        ax.yaxis.set_major_locator(LogLocator(numticks=5))
        ax.yaxis.set_minor_locator(NullLocator())
    handles = [
        draw.handle(color=ink, ls=dashes[where], lw=lw, label=f"{signal}, {where}")
        for ink, lw, signal in (("0.55", 1.6, "prediction"), ("black", 0.7, "target"))
        for where in dashes
    ]
    return draw.legend_outside(axes, "upper center", handles, handlelength=2.2)


def gradients(axes: Axes | np.ndarray, table: pd.DataFrame, titles: Mapping[str, str]) -> np.ndarray:
    """Draw quantities recorded in training against the step, with intervals: a panel a quantity, a line a function.

    Args:
        axes: one a quantity.
        table: function, quantity, step (from 1), estimate, low, high.
        titles: by quantity, in the order of the panels.
    """
    draw.want("gradients", table, "function", "quantity", "step", "estimate", "low", "high")
    axes = draw.first_axes("gradients", axes, len(titles))
    for ax, (quantity, title) in zip(axes, titles.items(), strict=True):
        chosen = table[table["quantity"] == quantity]
        for name, rows in chosen.groupby("function", sort=False):
            draw.curve(ax, rows, "step", "estimate", colour(name), band={"alpha": 0.13}, lw=1.2, label=label(name))
        ax.set(xscale="log", yscale="log", xlabel="training step", title=title)
        draw.plain_log(ax.yaxis, (1.0,) if chosen["high"].max() > 100 * chosen["low"].min() else (1.0, 3.0))
    return draw.legend_outside(axes, "upper center", handlelength=1.3)


def amplitude(axes: Axes | np.ndarray, table: pd.DataFrame, titles: Mapping[str, str], discovered: float) -> np.ndarray:
    """Draw measures against the amplitude as ratios to GELU, a panel a measure and a line a form.

    Args:
        axes: one a measure.
        table: form (of `FORMS`), amplitude, measure, estimate (a ratio), low, high.
        titles: by measure, in the order of the panels.
        discovered: the paper's amplitude.
    """
    draw.want("amplitude", table, "form", "amplitude", "measure", "estimate", "low", "high")
    if strange := set(table["form"]) - set(FORMS):
        raise ValueError(f"amplitude: wanted forms among {', '.join(FORMS)}; got {', '.join(sorted(strange))}")
    axes = draw.first_axes("amplitude", axes, len(titles))
    for ax, (measure, title) in zip(axes, titles.items(), strict=True):
        ax.axhline(1, color=colour("gelu"), lw=1.0, ls="--", zorder=0)
        ax.axvline(discovered, color=INK, lw=0.8, ls=":", zorder=0)
        rows = table[table["measure"] == measure]
        for form, one in rows.groupby("form", sort=False):
            draw.curve(ax, one, "amplitude", "estimate", band={"alpha": 0.15}, ms=3, lw=1.2, **FORMS[form])
        ax.set(title=title, xlabel="amplitude a")
        if rows["high"].max() > 4 * rows["low"].min():  # else a linear axis says the same with better ticks
            ax.set_yscale("log")
            draw.plain_log(ax.yaxis)
    axes[0].text(discovered, 0.98, f" {discovered:g}", va="top", transform=axes[0].get_xaxis_transform(), **TEXT)
    axes[0].set_ylabel("ratio to GELU")
    return draw.legend_outside(axes, "upper center")
