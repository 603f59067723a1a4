"""Figures of the search: Figures 1 and 3, its programs and islands, and comparisons of searches. See `draw`."""

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from actlab.report.figures import draw
from actlab.report.figures.style import GUIDE, INK, SERIES, TEXT, colour, label

SCORES = {  # of an elite elsewhere, by its column: the ends of its interval, its flag, and the axis
    "held_out": ("low", "high", "parts", "fitness on the held-out suite"),
    "accuracy": ("accuracy_low", "accuracy_high", "accuracy_parts", "accuracy on test pictures"),
}
_HEIGHT = 0.38  # of a box in the loop


def loop_diagram(ax: Axes, steps: pd.DataFrame) -> Axes:
    """Draw Figure 1, the search as a loop of its components, clockwise from the top left.

    Columns: component, role (a phrase), module, counts (of the run that is shown); at least four rows.
    """
    draw.want("loop_diagram", steps, "component", "role", "module", "counts")
    if len(steps) < 4:
        raise ValueError(f"loop_diagram: wanted at least 4 components for a loop, got {len(steps)}")
    above = (len(steps) + 1) // 2
    boxes = [*_boxes(above, 1 - _HEIGHT), *reversed(_boxes(len(steps) - above, 0.0))]
    looks = {
        "component": (0.83, {"weight": "bold", "size": 9}),
        "role": (0.6, {"size": 7}),
        "module": (0.38, {"size": 6.5, "family": "monospace", "color": "0.4"}),
        "counts": (0.17, {"size": 7, "color": SERIES[0]}),
    }
    shape = {"boxstyle": "round,pad=0,rounding_size=0.02", "fc": "0.97", "ec": INK, "lw": 0.8}
    for (left, bottom, width), (_, step) in zip(boxes, steps.iterrows(), strict=True):
        ax.add_patch(FancyBboxPatch((left, bottom), width, _HEIGHT, **shape))
        for column, (height, look) in looks.items():
            ax.text(
                left + width / 2,
                bottom + height * _HEIGHT,
                step[column],
                ha="center",
                va="center",
                parse_math=False,
                **look,
            )
    arrow = {"arrowstyle": "-|>", "color": INK, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    for box, after in zip(boxes, [*boxes[1:], boxes[0]], strict=True):
        ax.annotate("", *_arrow(box, after), arrowprops=arrow)
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.02, 1.02))
    ax.set_axis_off()
    return ax


def _boxes(count: int, bottom: float, gap: float = 0.07) -> list[tuple[float, float, float]]:
    """Return left edge, bottom and width of each of `count` equal boxes from 0 to 1."""
    width = (1 - gap * (count - 1)) / count
    return [(number * (width + gap), bottom, width) for number in range(count)]


def _arrow(box: tuple[float, float, float], after: tuple[float, float, float]) -> list[tuple[float, float]]:
    """Return tip and tail of the arrow from a box to the one after it: along the row, or between the rows."""
    (left, bottom, width), (left_after, bottom_after, width_after) = box, after
    if bottom == bottom_after:
        ends = (left_after, left + width) if left < left_after else (left_after + width_after, left)
        return [(x, bottom + _HEIGHT / 2) for x in ends]
    if bottom > bottom_after:
        return [(left + width / 2, y) for y in (_HEIGHT, 1 - _HEIGHT)]
    return [(left_after + width_after / 2, y) for y in (1 - _HEIGHT, _HEIGHT)]


def search_trace(ax: Axes, trace: pd.DataFrame) -> Axes:
    """Draw Figure 3 as the run's own trace: all candidates, the best so far, and its fitness on held-out tasks.

    Candidates below the axis are triangles on its edge. Shades mark where the best is not pointwise.

    Columns: evaluation (0 for the start), fitness of that candidate (NaN or -inf where it was not scored), search (best
    so far), held_out, low, high (that best on held-out tasks), pointwise (whether that best is), parts (whether that
    candidate is a new best whose held-out fitness is surely lower than the previous one's).
    """
    draw.want("search_trace", trace, "evaluation", "fitness", "search", "held_out", "low", "high", "pointwise", "parts")
    evaluation = trace["evaluation"]
    ends = trace[["search", "held_out", "low", "high"]].to_numpy()
    bottom, top = ends[np.isfinite(ends)].min(), ends[np.isfinite(ends)].max()
    margin = 0.25 * (top - bottom) or 0.1
    faint = {"color": "0.6", "lw": 0, "ms": 2.4, "zorder": 1}
    scored = trace[np.isfinite(trace["fitness"])]
    beneath = scored["fitness"] < bottom - margin
    ax.plot(scored["evaluation"][~beneath], scored["fitness"][~beneath], marker="o", label="candidates", **faint)
    edge = np.full(beneath.sum(), 0.015)
    ax.plot(scored["evaluation"][beneath], edge, marker="v", transform=ax.get_xaxis_transform(), **faint)
    ax.fill_between(evaluation, trace["low"], trace["high"], step="post", color=SERIES[1], alpha=0.2, lw=0)
    ax.step(evaluation, trace["search"], where="post", color=SERIES[0], label="best: search", zorder=2.1)
    ax.step(evaluation, trace["held_out"], where="post", color=SERIES[1], label="best: held-out")
    _flags(ax, trace[trace["parts"]], "evaluation", "held_out")
    _shades(ax, evaluation.to_numpy(), ~trace["pointwise"].to_numpy(dtype=bool))
    ax.set(xlabel="evaluations", ylabel="fitness (higher is better)", ylim=(bottom - margin, top + margin / 3))
    return draw.legend_above(ax, lift=0.07)


def _shades(ax: Axes, evaluation: np.ndarray, across: np.ndarray) -> None:
    """Shade each stretch where the best is not pointwise, and say so over the widest."""
    edges = np.flatnonzero(np.diff([False, *across, False])).reshape(-1, 2)
    spans = [(evaluation[start], evaluation[min(end, len(across) - 1)]) for start, end in edges]
    for start, end in spans:
        ax.axvspan(start, end, color=GUIDE["color"], lw=0, zorder=0)
    if spans:
        middle = sum(max(spans, key=lambda span: span[1] - span[0])) / 2
        look = {"va": "bottom", "ha": "center", "transform": ax.get_xaxis_transform()} | TEXT
        ax.text(middle, 1.0, "not pointwise", **look)


def _flags(ax: Axes, flagged: pd.DataFrame, x: str, y: str) -> None:
    """Draw a ring around each new best that is surely worse on unseen tasks than the one before it."""
    if len(flagged):
        look = {"ms": 9, "mfc": "none", "mec": SERIES[1], "mew": 1.4, "zorder": 5, "label": "parts"}
        ax.plot(flagged[x], flagged[y], "o", **look)


def transfer(ax: Axes, elites: pd.DataFrame, score: str = "held_out") -> Axes:
    """Draw the elites' fitness on the search suite against a score elsewhere, with its intervals.

    Elites that were the best in their time are joined. Rings mark those that are surely worse elsewhere than the best
    before them.

    Args:
        ax: a little wider than one column, nearly square.
        elites: fitness, the score, its interval and its flag (`SCORES`), led (whether it was the best in its time), in
            that order, and final (whether it is the final choice).
        score: held_out, where a dotted line marks equal fitness; or accuracy.
    """
    low, high, parts, text = SCORES[score]
    draw.want("transfer", elites, "fitness", score, low, high, parts, "led", "final")
    if score == "held_out":
        least = elites[["fitness", "held_out"]].to_numpy().min()
        ax.axline((least, least), slope=1, color=INK, lw=0.8, ls=":", zorder=0)
    led, final = elites["led"], elites["final"]
    ax.plot(elites["fitness"][led], elites[score][led], color=SERIES[0], lw=0.7, zorder=1)
    looks = {
        "holds a cell": (~led & ~final, "0.6", "o", 3),
        "was the best": (led & ~final, SERIES[0], "s", 3.5),
        "final choice": (final, "black", "D", 5),
    }
    bars = {"lw": 0.8, "alpha": 0.7}
    for name, (which, ink, marker, size) in looks.items():
        draw.curve(ax, elites[which], "fitness", score, ink, bars=bars, lw=0, label=name, marker=marker, ms=size)
    _flags(ax, elites[elites[parts]], "fitness", score)
    ax.set(xlabel="fitness on the search suite", ylabel=text)
    return draw.legend_above(ax)


def tree(ax: Axes, programs: pd.DataFrame) -> Axes:
    """Draw which program was made from which: a generation a row, the root on top, the final choice's line in black.

    Columns: id, parent (an id, or missing), generation, place (along the row), fitness (one colour below 0), line
    (whether it belongs to the final choice's line).
    """
    draw.want("tree", programs, "id", "parent", "generation", "place", "fitness", "line")
    if strange := set(programs["parent"].dropna()) - set(programs["id"]):
        raise ValueError(f"tree: wanted parents that are among the programs; got {sorted(map(int, strange))}")
    by_id = {row.id: row for row in programs.itertuples()}
    for row in by_id.values():
        parent = row if pd.isna(row.parent) else by_id[row.parent]
        if parent is not row:
            ink = {"color": "black", "lw": 1.4, "zorder": 2} if row.line else {"color": "0.8", "lw": 0.6, "zorder": 1}
            ax.plot([parent.place, row.place], [parent.generation, row.generation], **ink)
        if row.line:
            side, shift = ("right", -4) if parent.place > row.place else ("left", 4)
            look = {"xytext": (shift, 6), "textcoords": "offset points", "ha": side, "va": "center"} | TEXT
            ax.annotate(f"{row.id}", (row.place, row.generation), **look)
    rows = programs.sort_values("line")
    look = {"edgecolors": np.where(rows["line"], "black", "none"), "lw": 0.9, "zorder": 3}
    look |= {"cmap": "viridis", "vmin": 0.0, "vmax": max(rows["fitness"].max(), 0.1)}
    spots = ax.scatter(rows["place"], rows["generation"], np.where(rows["line"], 26, 12), rows["fitness"], **look)
    ax.figure.colorbar(spots, ax=ax, label="fitness", extend="min", pad=0.01)
    ax.yaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    ax.set(ylabel="generation", xticks=[], ylim=(programs["generation"].max() + 0.5, -0.7))
    ax.spines["bottom"].set_visible(False)
    return ax


def islands(axes: Axes | np.ndarray, rounds: pd.DataFrame) -> np.ndarray:
    """Draw the islands over time: the best fitness and the number of occupied cells, a line an island.

    Args:
        axes: two, for the best fitness and the cells.
        rounds: round, island, best (NaN where it is empty), cells, event: "migrated" where a newcomer took a cell,
            "reset" where the island was restarted, else "".
    """
    draw.want("islands", rounds, "round", "island", "best", "cells", "event")
    axes = draw.first_axes("islands", axes, 2)
    events = {"migrated": ("^", 4.5, "a newcomer took a cell"), "reset": ("X", 5.5, "started anew")}
    for ax, (column, text) in zip(axes, {"best": "best fitness", "cells": "cells held"}.items(), strict=True):
        for number, (island, rows) in enumerate(rounds.groupby("island")):
            ink = SERIES[number % len(SERIES)]
            ax.plot(rows["round"], rows[column], color=ink, drawstyle="steps-post", label=f"island {island}")
            for event, (marker, size, _) in events.items():
                at = rows[rows["event"] == event]
                ax.plot(at["round"], at[column], marker, ms=size, color=ink, mec="white", mew=0.5, zorder=3)
        ax.set(xlabel="round", ylabel=text)
        ax.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    axes[1].yaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    draw.legend_above(axes[0])
    seen = [look for event, look in events.items() if event in set(rounds["event"])]
    handles = [draw.handle(marker=marker, ms=size, color=INK, lw=0, label=words) for marker, size, words in seen]
    if handles:
        draw.legend_above(axes[1], handles)
    return axes


def arms(axes: Axes | np.ndarray, table: pd.DataFrame, runs: pd.DataFrame) -> np.ndarray:
    """Draw the results of searches, a panel a suite: the mean with its interval over a point a run.

    Dashed lines are functions, among them ReLU at 0, to which all ratios are.

    Args:
        axes: one a suite, which share their rows.
        table: arm, suite, log_ratio, low, high.
        runs: arm, seed, suite, log_ratio; without a seed, and with a function's name as the arm, a dashed line.
    """
    draw.want("arms", runs, "arm", "seed", "suite", "log_ratio")
    axes, groups = draw.panels("arms", axes, table, ["suite"], "arm", "log_ratio", "low", "high")
    names = list(table["arm"].unique())
    for ax, (suite,), rows in groups:
        points = runs[runs["suite"] == suite]
        single, functions = points[points["seed"].notna()], points[points["seed"].isna()]
        lines = {"relu": 0.0} | dict(zip(functions["arm"], functions["log_ratio"], strict=True))
        for name, ratio in lines.items():
            ax.axvline(ratio, color=colour(name), lw=0.9, ls="--", zorder=0, label=label(name))
        ax.scatter(single["log_ratio"], draw.places(names, single["arm"], 0.22), s=9, color="0.6", zorder=2)
        draw.dots(ax, rows, draw.places(names, rows["arm"]), "log_ratio", ink=SERIES[0], s=18)
        draw.name_rows(ax, names, line=True)
        ax.set(title=suite, xlabel="mean log ratio of OOD loss to ReLU's")
    draw.legend_above(axes[-1], lift=0.12)
    return axes


def traces(ax: Axes, table: pd.DataFrame) -> Axes:
    """Draw the best fitness so far against evaluations: a thin line a run, a thick one for the mean of an arm's runs.

    Columns: arm, seed, evaluation, fitness, mean (of the arm's runs at that evaluation).
    """
    draw.want("traces", table, "arm", "seed", "evaluation", "fitness", "mean")
    handles = []
    for arm, _, marker, ink in draw.series("traces", table["arm"]):
        rows = table[table["arm"] == arm]
        for _, one in rows.groupby("seed"):
            ax.plot(one["evaluation"], one["fitness"], color=ink, lw=0.5, alpha=0.45, drawstyle="steps-post")
        mean = rows.drop_duplicates("evaluation")
        look = {"color": ink, "lw": 1.6, "marker": marker, "ms": 4}
        every = max(1, len(mean) // 6)
        ax.plot(mean["evaluation"], mean["mean"], drawstyle="steps-post", markevery=every, **look)
        handles.append(draw.handle(label=arm, **look))
    ax.set(xlabel="evaluations", ylabel="best fitness so far")
    return draw.legend_above(ax, handles)
