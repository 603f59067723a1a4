"""Figures of the lab: Figures 2, 4 and 5, Table 1, and how far its scores can be trusted. See `draw`."""

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from actlab.report.figures import draw
from actlab.report.figures.style import BAND, DASHES, INK, SERIES, TEXT, colour, label


def targets(axes: Axes | np.ndarray, curves: pd.DataFrame) -> np.ndarray:
    """Draw Figure 2: one-dimensional targets, with the training range shaded.

    Args:
        axes: one for each pair of family and panel.
        curves: family, panel, u (input), y (standardised target), split ("id" or "ood").
    """
    axes, groups = draw.panels("targets", axes, curves, ["family", "panel"], "u", "y", "split")
    if strange := set(curves["split"]) - {"id", "ood"}:
        raise ValueError(f"targets: wanted splits 'id' and 'ood', got {sorted(strange)}")
    looks = {
        "id": {"color": SERIES[0], "lw": 1.5, "label": "train (ID)"},
        "ood": {"color": SERIES[1], "lw": 1.2, "ls": DASHES, "label": "test (OOD)"},
    }
    for ax, (family, panel), rows in groups:
        rows = rows.sort_values("u")
        train = rows.loc[rows["split"] == "id", "u"]
        ax.axvspan(train.min(), train.max(), color=BAND, lw=0, zorder=0)
        u, y, split = (rows[column].to_numpy() for column in ("u", "y", "split"))
        edges = [0, *(np.flatnonzero(split[1:] != split[:-1]) + 1), len(rows)]
        for start, end in itertools.pairwise(edges):  # one point further, so that the curve is whole
            ax.plot(u[start : end + 1], y[start : end + 1], **looks[split[start]])
        ax.set(title=f"{family} {panel}", xlabel="u", ylabel="y")
    axes[0].legend(handles=[draw.handle(**look) for look in looks.values()], loc="best", handlelength=1.6)
    return axes


def targets_2d(ax: Axes, grid: pd.DataFrame, box: tuple[float, float]) -> Axes:
    """Draw a two-dimensional target of Figure 2 as an image, with the training box outlined.

    Args:
        ax: nearly square.
        grid: u1, u2, y (standardised target) on a full regular grid.
        box: lowest and highest training input of both axes.
    """
    draw.want("targets_2d", grid, "u1", "u2", "y")
    table = grid.pivot(index="u2", columns="u1", values="y")
    if table.isna().any(axis=None):
        raise ValueError("targets_2d: wanted y at every pair of u1 and u2, got a grid with holes")
    reach = float(np.abs(table.to_numpy()).max())
    look = {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach, "shading": "nearest", "rasterized": True}
    image = ax.pcolormesh(table.columns, table.index, table, **look)
    low, side = box[0], box[1] - box[0]
    ax.add_patch(Rectangle((low, low), side, side, fill=False, ec="black", lw=1.2))
    look = {"xytext": (4, -4), "textcoords": "offset points", "va": "top"} | TEXT
    ax.annotate("train", box, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5}, **look)
    ax.set(xlabel="u1", ylabel="u2")  # no fixed aspect: constrained layout does not settle with one and a bar
    ax.figure.colorbar(image, ax=ax, label="y")
    return ax


def calibration(ax: Axes, rings: pd.DataFrame, paper: float, chosen: float) -> Axes:
    """Draw ReLU's OOD loss against the width of the test ring, with a band of 20 % around the paper's loss.

    Args:
        ax: one column wide.
        rings: ring (in half-ranges), ood_mse, low, high.
        paper: ReLU's OOD MSE in the paper.
        chosen: the chosen ring; one of those in the table.
    """
    draw.want("calibration", rings, "ring", "ood_mse", "low", "high")
    if len(frozen := rings[rings["ring"] == chosen]) != 1:
        raise ValueError(f"calibration: wanted the chosen ring among {rings['ring'].tolist()}, got {chosen}")
    ax.axhspan(0.8 * paper, 1.2 * paper, color=BAND, lw=0, zorder=0)
    ax.axhline(paper, color=INK, lw=0.8, ls="--")
    ax.text(0.99, paper, f"paper: {paper:g}", va="bottom", ha="right", transform=ax.get_yaxis_transform(), **TEXT)
    draw.curve(ax, rings, "ring", "ood_mse", colour("relu"), bars={}, marker="o", ms=3.5, label=label("relu"))
    look = {"ms": 9, "mfc": "none", "mec": "black", "mew": 1.0}
    ax.plot(frozen["ring"], frozen["ood_mse"], "o", label=f"chosen: {chosen:g}", **look)
    ax.set(xlabel="ring width (in half-ranges)", ylabel="OOD MSE", yscale="log")
    draw.plain_log(ax.yaxis)
    ax.legend(loc="upper left")
    return ax


def functions(axes: Axes | np.ndarray, curves: pd.DataFrame) -> np.ndarray:
    """Draw Figure 4, a panel a function: its value and, thin, its slope; columns function, x, y, slope."""
    axes, groups = draw.panels("functions", axes, curves, ["function"], "x", "y", "slope")
    for ax, (name,), rows in groups:
        ax.axhline(0, color="0.8", lw=0.6, zorder=0)
        ax.axvline(0, color="0.8", lw=0.6, zorder=0)
        ax.plot(rows["x"], rows["slope"], color=colour(name), lw=0.8, ls=DASHES, label="slope")
        ax.plot(rows["x"], rows["y"], color=colour(name), lw=1.6, label="value")
        ax.set(title=label(name), xlabel="x")
    axes[0].legend(loc="best", handlelength=1.6)
    return axes


def preactivations(axes: Axes | np.ndarray, histograms: pd.DataFrame) -> np.ndarray:
    """Draw Figure 5: histograms of the pre-activations of trained models, a panel a function, a line a layer.

    Columns: function, layer, bin_left, bin_right, density.
    """
    columns = ("layer", "bin_left", "bin_right", "density")
    axes, groups = draw.panels("preactivations", axes, histograms, ["function"], *columns)
    for ax, (name,), rows in groups:
        layers = list(rows.groupby("layer"))
        for number, (layer, bins) in enumerate(layers, start=1):
            bins = bins.sort_values("bin_left")
            edges = [*bins["bin_left"], bins["bin_right"].iloc[-1]]
            shade = draw.tint(colour(name), number / len(layers))
            ax.stairs(bins["density"], edges, color=shade, lw=1.3, label=f"layer {layer}")
        ax.set(title=label(name), xlabel="pre-activation", ylabel="density", ylim=(0, None))
        ax.legend(loc="upper right", handlelength=1.2)
    return axes


def scores(
    ax: Axes, table: pd.DataFrame, xlabel: str = "OOD MSE (lower is better)", notes: Mapping[str, str] | None = None
) -> Axes:
    """Draw Table 1 as dots with intervals, a row a function, with the paper's numbers as hollow diamonds.

    Args:
        ax: one or two columns wide, about 0.25 inches a row.
        table: function, estimate, low, high, paper (which gives no interval; NaN where it has none), and optionally
            suite (or family), a marker each.
        xlabel: what is measured.
        notes: by function, a word after its name, such as "calibrated".
    """
    draw.want("scores", table, "function", "estimate", "low", "high", "paper")
    names, notes = list(table["function"].unique()), notes or {}
    table = table if "suite" in table else table.assign(suite="ours, with interval")
    draw.name_rows(ax, [label(name) + (f" ({notes[name]})" if name in notes else "") for name in names], guides=True)
    handles = []
    for suite, offset, marker, _ in draw.series("scores", table["suite"], 0.22):
        rows = table[table["suite"] == suite]
        draw.dots(ax, rows, draw.places(names, rows["function"], offset), "estimate", marker=marker, s=16)
        handles.append(draw.handle(marker=marker, ms=4, lw=1.4, color=INK, label=suite))
    if len(known := table.dropna(subset="paper").drop_duplicates("function")):
        look = {"s": 26, "marker": "D", "facecolors": "none", "edgecolors": "black", "lw": 0.8, "zorder": 4}
        ax.scatter(known["paper"], draw.places(names, known["function"]), **look)
        handles.append(draw.handle(marker="D", ms=4.5, mfc="none", mec="black", lw=0, label="paper"))
    ax.set_xlabel(xlabel)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(5))  # beside long names, more would run together
    return draw.legend_above(ax, handles)


def reliability(ax: Axes, table: pd.DataFrame) -> Axes:
    """Draw how the reliability of a ranking grows with the number of tasks, a line an aggregate.

    Columns: aggregate, tasks (number), reliability, low, high.
    """
    draw.want("reliability", table, "aggregate", "tasks", "reliability", "low", "high")
    for name, offset, marker, ink in draw.series("reliability", table["aggregate"]):
        rows = table[table["aggregate"] == name].sort_values("tasks")
        beside = rows["tasks"] * 1.025**offset  # intervals side by side
        draw.curve(ax, rows, beside, "reliability", ink, bars={"lw": 1.0}, marker=marker, ms=3.5, label=name)
    counts = sorted(set(table["tasks"]))
    ax.set(xscale="log", xlabel="tasks", ylabel="reliability of ranks", ylim=(min(0.0, table["low"].min()), 1.02))
    ax.set_xticks(counts, [f"{count:g}" for count in counts])
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.legend(loc="lower right")
    return ax


def variance(ax: Axes, table: pd.DataFrame) -> Axes:
    """Draw the shares of the variance of log loss as bars with intervals; columns component, share, low, high."""
    draw.want("variance", table, "component", "share", "low", "high")
    place = range(len(table))
    ax.barh(place, table["share"], height=0.6, color=SERIES[0], alpha=0.55)
    ax.hlines(place, table["low"], table["high"], color="black", lw=1.2)
    draw.name_rows(ax, list(table["component"]), line=True, ticks=True)
    ax.set(xlabel="share of variance", xlim=(0, max(1.0, table["high"].max())))
    ax.xaxis.set_major_formatter(ticker.PercentFormatter(1.0, decimals=0))
    return ax


def rate_control(ax: Axes, table: pd.DataFrame) -> Axes:
    """Draw each function's loss at the common learning rate and at its own, joined by a line.

    Args:
        ax: about 0.3 inches a row.
        table: function, fixed, fixed_low, fixed_high, tuned, tuned_low, tuned_high; a row a function.
    """
    columns = [f"{rate}{end}" for rate in ("fixed", "tuned") for end in ("", "_low", "_high")]
    draw.want("rate_control", table, "function", *columns)
    place, colours, handles = np.arange(len(table)), [colour(name) for name in table["function"]], []
    draw.name_rows(ax, [label(name) for name in table["function"]], guides=True)
    for rate, offset, face, words in (("fixed", -0.14, "white", "common rate"), ("tuned", 0.14, None, "own rate")):
        look = {"c": face or colours, "edgecolors": colours, "s": 18, "lw": 1.0}
        draw.dots(ax, table, place + offset, rate, width=1.2, **look)
        handles.append(draw.handle(marker="o", ms=4, color=INK, mfc=face or INK, lw=1.2, label=words))
    ax.plot([table["fixed"], table["tuned"]], [place - 0.14, place + 0.14], color="0.6", lw=0.7, zorder=2)
    ax.set(xscale="log", xlabel="OOD MSE (lower is better)")
    draw.plain_log(ax.xaxis, (1.0, 3.0))
    return draw.legend_above(ax, handles)


def racing(axes: Axes | np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Draw what plans to stop early save and risk, with intervals: a row a plan, a marker a rank of the incumbent.

    Args:
        axes: two that share their rows; for the shares of steps saved and of better candidates dropped.
        table: plan, incumbent (rank), and saved, dropped, each with _low and _high; shares, NaN where undefined.
    """
    titles = {"saved": "steps saved", "dropped": "better candidates dropped"}
    columns = [f"{name}{end}" for name in titles for end in ("", "_low", "_high")]
    draw.want("racing", table, "plan", "incumbent", *columns)
    axes, plans = draw.first_axes("racing", axes, len(titles)), list(table["plan"].unique())
    for ax, (name, text) in zip(axes, titles.items(), strict=True):
        draw.name_rows(ax, plans, line=True, ticks=True)
        for rank, offset, marker, ink in draw.series("racing", table["incumbent"], 0.24):
            rows = table[table["incumbent"] == rank].dropna(subset=name)
            words = "against the best" if rank == 1 else f"against number {rank}"
            place = draw.places(plans, rows["plan"], offset)
            draw.dots(ax, rows, place, name, ink, marker=marker, s=16, label=words)
        least = min(0, table[f"{name}_low"].min())  # a short training that drops nobody costs more than it saves
        ax.set(xlabel=f"share of {text}", xlim=(least - 0.03, 1.03))
        ax.xaxis.set_major_formatter(ticker.PercentFormatter(1.0, decimals=0))
    draw.legend_above(axes[-1])
    return axes


def growth(axes: Axes | np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Draw what a training step costs as one setting grows, a panel each; dotted where it grows in proportion.

    Columns: setting, value, ms_per_step (a median), ms_least, ms_most (the range of what was measured).
    """
    axes, groups = draw.panels("growth", axes, table, ["setting"], "value", "ms_per_step", "ms_least", "ms_most")
    for ax, (setting,), rows in groups:
        rows = rows.rename(columns={"ms_least": "low", "ms_most": "high"})
        value, last = rows["value"].to_numpy(), rows.iloc[-1]
        ax.plot(value, last["ms_per_step"] * value / last["value"], color=INK, lw=0.8, ls=":")
        draw.curve(ax, rows, "value", "ms_per_step", SERIES[0], bars={"lw": 1.4}, marker="o", ms=3)
        ax.set(xlabel=setting, xscale="log", yscale="log", xticks=value, xticklabels=value)
        ax.xaxis.set_minor_locator(ticker.NullLocator())
    axes[0].set_ylabel("ms a step")
    draw.plain_log(axes[0].yaxis)
    return axes
