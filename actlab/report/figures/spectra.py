"""Figures on what networks learn by frequency: curves, spectra, gradients in training, and the sweep of an amplitude.

As in `plotting`: a function draws a tidy table on the axes that it is given, computes no statistic and reads no file.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from actlab.report.figures.style import BAND, INK, TEXT, _panels, _plain_log, _want, colour, label

DASHES = (0, (3, 1.2))
FORMS = {
    "gelu-sine": {"color": colour("gelu-sine"), "marker": "o", "label": "GELU + a sin x (GELUSine)"},
    "gelu-tanh": {"color": INK, "marker": "s", "ls": DASHES, "label": "GELU + a tanh x (control)"},
}


def beyond(axes: Axes | np.ndarray, curves: pd.DataFrame, reach: float = 4.0) -> np.ndarray:
    """Draw single networks' predictions across the training range, shaded, and beyond it; a panel a task.

    Args:
        axes: one a task; spare ones are hidden.
        curves: function, family, task, u, prediction, target.
        reach: of the vertical axis, in standard deviations of the target.
    """
    _want("beyond", curves, "function", "family", "task", "u", "prediction", "target")
    groups = list(curves.groupby("task", sort=False))
    axes = _panels("beyond", axes, len(groups))
    for ax, (_, rows) in zip(axes, groups, strict=True):
        ax.axvspan(-1, 1, color=BAND, lw=0, zorder=0)
        for name, one in rows.groupby("function", sort=False):
            ax.plot(one["u"], one["prediction"], color=colour(name), lw=1.2, label=label(name))
        target = one.sort_values("u")
        ax.plot(target["u"], target["target"], color="black", lw=1.0, ls=DASHES, label="target")
        ax.set(title=rows["family"].iloc[0], xlabel="u (half-ranges)", ylim=(-reach, reach))
    axes[0].set_ylabel("standardised target")
    handles = axes[0].get_legend_handles_labels()[0]
    axes[0].figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), columnspacing=1.0,
                          handlelength=1.3)  # fmt: skip
    return axes


def spectra(axes: Axes | np.ndarray, table: pd.DataFrame, band: float) -> np.ndarray:
    """Draw mean spectra with intervals, a panel a function: predictions and targets, inside the range and beyond it.

    Args:
        axes: one a function; spare ones are hidden.
        table: function, where (inside, beyond), signal (prediction, target), periods, estimate, low, high.
        band: its upper end, in periods; marked by a dotted line.
    """
    _want("spectra", table, "function", "where", "signal", "periods", "estimate", "low", "high")
    groups = list(table.groupby("function", sort=False))
    axes = _panels("spectra", axes, len(groups))
    dashes = {"inside": "-", "beyond": DASHES}
    for ax, (name, rows) in zip(axes, groups, strict=True):
        for (signal, where), one in rows.groupby(["signal", "where"], sort=False):
            target = signal == "target"
            look = {"color": "black" if target else colour(name), "zorder": 1 if target else 2}
            ax.fill_between(one["periods"], one["low"], one["high"], alpha=0.07 if target else 0.18, lw=0, **look)
            ax.plot(one["periods"], one["estimate"], ls=dashes[where], lw=0.7 if target else 1.6, **look)
        ax.axvline(band, color=INK, lw=0.7, ls=":", zorder=0)
        ax.set(title=label(name), yscale="log", xlim=(1, rows["periods"].max()))
        ax.set_xticks([1, *range(4, int(rows["periods"].max()) + 1, 4)])
        ax.yaxis.set_major_locator(LogLocator(numticks=5))
        ax.yaxis.set_minor_locator(NullLocator())
    handles = [
        Line2D([], [], color=ink, ls=dashes[where], lw=lw, label=f"{words}, {where}")
        for ink, lw, words in (("0.55", 1.6, "prediction"), ("black", 0.7, "target"))
        for where in dashes
    ]
    axes[0].figure.legend(handles=handles, loc="outside upper center", ncols=4, handlelength=2.2)
    return axes


def gradients(axes: Axes | np.ndarray, table: pd.DataFrame, titles: Mapping[str, str]) -> np.ndarray:
    """Draw what is noted in training against the step, with intervals, a panel a quantity and a line a function.

    Args:
        axes: one a quantity; spare ones are hidden.
        table: function, quantity, step (from 1), estimate, low, high.
        titles: by quantity, in the order of the panels.
    """
    _want("gradients", table, "function", "quantity", "step", "estimate", "low", "high")
    axes = _panels("gradients", axes, len(titles))
    for ax, (quantity, title) in zip(axes, titles.items(), strict=True):
        chosen = table[table["quantity"] == quantity]
        for name, rows in chosen.groupby("function", sort=False):
            ax.fill_between(rows["step"], rows["low"], rows["high"], color=colour(name), alpha=0.13, lw=0)
            ax.plot(rows["step"], rows["estimate"], color=colour(name), lw=1.2, label=label(name))
        ax.set(xscale="log", yscale="log", xlabel="training step", title=title)
        _plain_log(ax.yaxis, (1.0,) if chosen["high"].max() > 100 * chosen["low"].min() else (1.0, 3.0))
    handles = axes[0].get_legend_handles_labels()[0]
    axes[0].figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handlelength=1.3)
    return axes


def amplitude(axes: Axes | np.ndarray, table: pd.DataFrame, titles: Mapping[str, str], discovered: float) -> np.ndarray:
    """Draw measures against the amplitude as ratios to GELU, a panel a measure and a line a form.

    Args:
        axes: one a measure; spare ones are hidden.
        table: form (of `FORMS`), amplitude, measure, estimate (a ratio), low, high.
        titles: by measure, in the order of the panels.
        discovered: the paper's amplitude.
    """
    _want("amplitude", table, "form", "amplitude", "measure", "estimate", "low", "high")
    if strange := set(table["form"]) - set(FORMS):
        raise ValueError(f"amplitude: wanted forms among {', '.join(FORMS)}; got {', '.join(sorted(strange))}")
    axes = _panels("amplitude", axes, len(titles))
    for ax, (measure, title) in zip(axes, titles.items(), strict=True):
        ax.axhline(1, color=colour("gelu"), lw=1.0, ls="--", zorder=0)
        ax.axvline(discovered, color=INK, lw=0.8, ls=":", zorder=0)
        rows = table[table["measure"] == measure]
        for form, one in rows.groupby("form", sort=False):
            ax.fill_between(one["amplitude"], one["low"], one["high"], color=FORMS[form]["color"], alpha=0.15, lw=0)
            ax.plot(one["amplitude"], one["estimate"], ms=3, lw=1.2, **FORMS[form])
        ax.set(title=title, xlabel="amplitude a")
        if rows["high"].max() > 4 * rows["low"].min():  # else a linear axis says the same with better ticks
            ax.set_yscale("log")
            _plain_log(ax.yaxis)
    axes[0].text(discovered, 0.98, f" {discovered:g}", va="top", transform=axes[0].get_xaxis_transform(), **TEXT)
    axes[0].set_ylabel("ratio to GELU")
    axes[0].figure.legend(handles=axes[0].get_legend_handles_labels()[0], loc="outside upper center", ncols=2)
    return axes
