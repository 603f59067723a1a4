"""Style, palette and figures (Figures 1 to 8, Table 1): each function draws a tidy table on axes it is given.

A figure function computes no statistic and reads no file: estimates, intervals and counts come in as columns,
in the order in which they are to be shown, and a missing column is named. Layout and colours are [ours].
"""

import difflib
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Rectangle

ONE_COLUMN = 3.4  # inches
TWO_COLUMNS = 7.0  # inches

# One colour an activation, everywhere. The six of Table 1 and black lie at least 26 CIELAB units apart in
# normal, protanopic and deuteranopic sight.
COLOURS = {
    "relu": "#949494",
    "gelu": "#56b4e9",
    "gelu-sine": "#332288",
    "gelu-sinc": "#882255",
    "gmtu": "#117733",
    "turbulent": "#de8f05",
    "found": "#000000",  # what the search of this project found
    "yours": "#0000ff",  # what a reader wrote
    "leaky-relu": "#bbbbbb",
    "elu": "#a6761d",
    "selu": "#e6ab02",
    "softplus": "#f4a6c8",
    "softsign": "#999933",
    "tanh": "#cc3311",
    "sine": "#009988",
    "silu": "#4477aa",
    "mish": "#77aadd",
    "gelu-erf": "#99ddff",
    "snake": "#ee3377",
    "leaky-sqrt-decay": "#cc6677",
    "qfw": "#aa4499",
    "symmetric-phase-flipped": "#44bb99",
    "fisg": "#bbcc33",
    "quaternion": "#661100",
    "pler": "#6699cc",
}
BESIDE_THE_ZOO = {"found": "Found by search", "yours": "Yours"}  # labels of what is in no registry
SERIES = (
    "#0173b2",
    "#d55e00",
    "#029e73",
    "#cc78bc",
    "#ca9161",
)  # what is no activation; seaborn's colorblind
MARKERS = ("o", "s", "^", "v", "P")
INK = "0.25"
BAND = "0.92"  # the training range, and other ranges

TEXT = {"size": 7, "color": INK}


def use_style() -> None:
    """Set the figure defaults of the project: once in a notebook; legible at print width, one font."""
    sizes = {"font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8, "legend.title_fontsize": 7}
    small = dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 7)
    lines = {
        "lines.linewidth": 1.3,
        "axes.linewidth": 0.7,
        "xtick.major.width": 0.7,
        "ytick.major.width": 0.7,
    }
    rest = {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
        "figure.dpi": 120,
        "pdf.fonttype": 42,  # text stays text
    }
    seaborn.set_theme("paper", "ticks", "colorblind", font="DejaVu Sans", rc=sizes | small | lines | rest)


def colour(name: str) -> str:
    """Return the colour of an activation: a name in the zoo, "found" (by the search) or "yours" (the reader's).

    Raises:
        ValueError: the name has no colour.
    """
    if name not in COLOURS:
        closest = difflib.get_close_matches(str(name), COLOURS, n=len(COLOURS), cutoff=0.0)
        raise ValueError(f"colour: wanted one of {', '.join(closest)}; got {name!r}")
    return COLOURS[name]


def label(name: str) -> str:
    """Return the name of an activation as readers know it, from the zoo; "found" and "yours" are not of the zoo.

    Raises:
        ValueError: the name is not in the zoo.
    """
    colour(name)
    if name in BESIDE_THE_ZOO:
        return BESIDE_THE_ZOO[name]
    from actlab.activations import zoo  # loads torch, so only where a label is drawn

    return zoo.REGISTRY[name].label


def save(fig: Figure, name: str, data: pd.DataFrame, folder: Path) -> tuple[Path, Path, Path]:
    """Write a figure as PNG and PDF, and the CSV that drew it; the same figure gives the same bytes.

    Args:
        fig: the figure, drawn at its print size.
        name: file name without suffix.
        data: the table that was drawn.
        folder: made if it is missing.

    Returns:
        The paths of the PNG, the PDF and the CSV.
    """
    folder.mkdir(parents=True, exist_ok=True)
    png, pdf, csv = (folder / f"{name}.{suffix}" for suffix in ("png", "pdf", "csv"))
    fig.savefig(png, dpi=200, metadata={"Software": None})
    fig.savefig(pdf, metadata={"Creator": None, "Producer": None, "CreationDate": None})
    _write_csv(data, csv)
    return png, pdf, csv


def save_table(table: pd.DataFrame, name: str, folder: Path) -> tuple[Path, Path]:
    """Write a table as CSV (ten significant digits) and as Markdown (four; text as it is).

    Returns:
        The paths of the CSV and the Markdown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    csv, markdown = folder / f"{name}.csv", folder / f"{name}.md"
    _write_csv(table, csv)
    rows = [list(map(str, table.columns)), ["---"] * table.shape[1]]
    rows += [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    markdown.write_text("".join(f"| {' | '.join(row)} |\n" for row in rows), encoding="utf-8")
    return csv, markdown


def _write_csv(data: pd.DataFrame, path: Path) -> None:
    data.to_csv(path, index=False, float_format="%.10g", lineterminator="\n", encoding="utf-8")


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.4g}"
    return str(value).replace("|", "\\|")


def loop_diagram(ax: Axes, steps: pd.DataFrame) -> Axes:
    """Draw Figure 1, the search as a loop of its components, clockwise from the top left.

    Args:
        ax: two columns wide and about 2.4 inches high.
        steps: component, role (a phrase), module, counts (of the run that is shown), in the loop's order;
            at least four.
    """
    _want("loop_diagram", steps, "component", "role", "module", "counts")
    if len(steps) < 4:
        raise ValueError(f"loop_diagram: wanted at least 4 components for a loop, got {len(steps)}")
    above = (len(steps) + 1) // 2
    height, gap = 0.38, 0.07
    boxes = [*_row(above, gap), *reversed(_row(len(steps) - above, gap))]
    for number, ((left, width), step) in enumerate(zip(boxes, steps.itertuples(), strict=True)):
        bottom = 1 - height if number < above else 0.0
        shape = FancyBboxPatch(
            (left, bottom),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.02",
            fc="0.97",
            ec=INK,
            lw=0.8,
        )
        ax.add_patch(shape)
        lines = (
            (step.component, {"weight": "bold", "size": 9}),
            (step.role, {"size": 7}),
            (step.module, {"size": 6.5, "family": "monospace", "color": "0.4"}),
            (step.counts, {"size": 7, "color": SERIES[0]}),
        )
        for share, (text, look) in zip((0.83, 0.6, 0.38, 0.17), lines, strict=True):
            ax.text(left + width / 2, bottom + share * height, text, ha="center", va="center", **look)
    for start, end in _loop_arrows(boxes, above, height):
        ax.annotate(
            "",
            end,
            start,
            arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.2, "shrinkA": 0, "shrinkB": 0},
        )
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.02, 1.02))
    ax.set_axis_off()
    return ax


def _row(count: int, gap: float) -> list[tuple[float, float]]:
    """Return the left edge and width of each of `count` equal boxes from 0 to 1."""
    width = (1 - gap * (count - 1)) / count
    return [(number * (width + gap), width) for number in range(count)]


def _loop_arrows(
    boxes: list[tuple[float, float]], above: int, height: float
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return start and end of the arrows: along the top, down at the right, back below, up at the left."""
    top, bottom = 1 - height / 2, height / 2
    along = [((a + w, top), (b, top)) for (a, w), (b, _) in itertools.pairwise(boxes[:above])]
    back = [((a, bottom), (b + w, bottom)) for (a, _), (b, w) in itertools.pairwise(boxes[above:])]
    right, left = (boxes[place][0] + boxes[place][1] / 2 for place in (above - 1, 0))
    return [*along, ((right, 1 - height), (right, height)), *back, ((left, height), (left, 1 - height))]


def targets(axes: Axes | np.ndarray, curves: pd.DataFrame) -> np.ndarray:
    """Draw Figure 2: one-dimensional targets, a panel each; the training range is shaded.

    Args:
        axes: one for each pair of family and panel; spare ones are hidden.
        curves: family, panel, u (input), y (standardised target), split ("id" or "ood").
    """
    _want("targets", curves, "family", "panel", "u", "y", "split")
    if strange := set(curves["split"]) - {"id", "ood"}:
        raise ValueError(f"targets: wanted splits 'id' and 'ood', got {sorted(strange)}")
    looks = {
        "id": {"color": SERIES[0], "lw": 1.5},
        "ood": {"color": SERIES[1], "lw": 1.2, "ls": (0, (3, 1.2))},
    }
    groups = list(curves.groupby(["family", "panel"], sort=False))
    axes = _panels("targets", axes, len(groups))
    for ax, ((family, panel), rows) in zip(axes, groups, strict=True):
        rows = rows.sort_values("u")
        train = rows.loc[rows["split"] == "id", "u"]
        ax.axvspan(train.min(), train.max(), color=BAND, lw=0, zorder=0)
        u, y, split = (rows[column].to_numpy() for column in ("u", "y", "split"))
        edges = [0, *(np.flatnonzero(split[1:] != split[:-1]) + 1), len(rows)]
        for start, end in itertools.pairwise(edges):  # one point further, so that the curve is whole
            ax.plot(u[start : end + 1], y[start : end + 1], **looks[split[start]])
        ax.set(title=f"{family} {panel}", xlabel="u", ylabel="y")
    handles = [
        Line2D([], [], **looks["id"], label="train (ID)"),
        Line2D([], [], **looks["ood"], label="test (OOD)"),
    ]
    axes[0].legend(handles=handles, loc="best", handlelength=1.6)
    return axes


def targets_2d(ax: Axes, grid: pd.DataFrame, box: tuple[float, float]) -> Axes:
    """Draw a two-dimensional target of Figure 2 as an image, with the train box outlined.

    Args:
        ax: nearly square.
        grid: u1, u2, y (standardised target) on a full regular grid.
        box: lowest and highest train input of both axes.
    """
    _want("targets_2d", grid, "u1", "u2", "y")
    table = grid.pivot(index="u2", columns="u1", values="y")
    if table.isna().any(axis=None):
        raise ValueError("targets_2d: wanted y at every pair of u1 and u2, got a grid with holes")
    reach = float(np.abs(table.to_numpy()).max())
    look = {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach, "shading": "nearest", "rasterized": True}
    image = ax.pcolormesh(table.columns, table.index, table, **look)
    ax.add_patch(Rectangle((box[0], box[0]), box[1] - box[0], box[1] - box[0], fill=False, ec="black", lw=1.2))
    inside = {"xytext": (4, -4), "textcoords": "offset points", "va": "top"}
    plate = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    ax.annotate("train", (box[0], box[1]), bbox=plate, **inside, **TEXT)
    ax.set(xlabel="u1", ylabel="u2")  # no fixed aspect: constrained layout does not settle with one and a bar
    ax.figure.colorbar(image, ax=ax, label="y")
    return ax


def calibration(ax: Axes, rings: pd.DataFrame, paper: float, chosen: float, tolerance: float = 0.2) -> Axes:
    """Draw ReLU's OOD loss against the width of the ring, the paper's loss and the ring that was chosen.

    Args:
        ax: one column wide.
        rings: ring (in half-ranges), ood_mse, low, high.
        paper: ReLU's OOD MSE in the paper.
        chosen: the ring that was frozen; one of those in the table.
        tolerance: half-width of the band that was aimed at, as a share of the paper's number.
    """
    _want("calibration", rings, "ring", "ood_mse", "low", "high")
    ax.axhspan(paper * (1 - tolerance), paper * (1 + tolerance), color=BAND, lw=0, zorder=0)
    ax.axhline(paper, color=INK, lw=0.8, ls="--")
    ax.text(0.99, paper, f"paper: {paper:g}", va="bottom", ha="right", transform=ax.get_yaxis_transform(), **TEXT)
    ax.vlines(rings["ring"], rings["low"], rings["high"], color=colour("relu"))
    ax.plot(rings["ring"], rings["ood_mse"], marker="o", ms=3.5, color=colour("relu"), label=label("relu"))
    frozen = rings[rings["ring"] == chosen]
    if len(frozen) != 1:
        raise ValueError(f"calibration: wanted the chosen ring among {rings['ring'].tolist()}, got {chosen}")
    ax.plot(
        frozen["ring"],
        frozen["ood_mse"],
        "o",
        ms=9,
        mfc="none",
        mec="black",
        mew=1.0,
        label=f"chosen: {chosen:g}",
    )
    ax.set(xlabel="ring width (in half-ranges)", ylabel="OOD MSE", yscale="log")
    _plain_log(ax.yaxis)
    ax.legend(loc="upper left")
    return ax


def search_trace(ax: Axes, trace: pd.DataFrame) -> Axes:
    """Draw Figure 3 as the run's own trace: all candidates, the best so far, and its worth on held-out tasks.

    Args:
        ax: two columns wide.
        trace: evaluation (0 for the start), fitness of that candidate (NaN or -inf where it was not scored), search
            (best so far), held_out, low, high (that best on held-out tasks), pointwise (whether that best is), parts
            (whether that candidate is a new best that is surely worse on held-out tasks than the one before).
            Candidates beneath the axis are drawn as triangles on its edge.
    """
    _want("search_trace", trace, "evaluation", "fitness", "search", "held_out", "low", "high", "pointwise", "parts")
    evaluation = trace["evaluation"]
    ends = trace[["search", "held_out", "low", "high"]].to_numpy()
    bottom, top = ends[np.isfinite(ends)].min(), ends[np.isfinite(ends)].max()
    margin = 0.25 * (top - bottom) or 0.1
    _candidates(ax, trace[np.isfinite(trace["fitness"])], bottom - margin)
    ax.fill_between(evaluation, trace["low"], trace["high"], step="post", color=SERIES[1], alpha=0.2, lw=0)
    ax.step(evaluation, trace["held_out"], where="post", color=SERIES[1])
    ax.step(evaluation, trace["search"], where="post", color=SERIES[0])
    flags = _flags(ax, trace[trace["parts"]], "evaluation", "held_out")
    across = ~trace["pointwise"].to_numpy(dtype=bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], across, [False]]).astype(int))).reshape(-1, 2)
    spans = [(evaluation.iloc[first], evaluation.iloc[min(after, len(across) - 1)]) for first, after in edges]
    for first, after in spans:
        ax.axvspan(first, after, color="0.93", lw=0, zorder=0)
    for first, after in sorted(spans, key=lambda span: span[0] - span[1])[:1]:  # the widest speaks for all
        ax.text((first + after) / 2, 1.0, "not pointwise", va="bottom", ha="center",
                transform=ax.get_xaxis_transform(), **TEXT)  # fmt: skip
    ax.set(xlabel="evaluations", ylabel="fitness (higher is better)", ylim=(bottom - margin, top + margin / 3))
    handles = [
        Line2D([], [], marker="o", ms=2.4, lw=0, color="0.6", label="candidates"),
        Line2D([], [], color=SERIES[0], label="best: search"),
        Line2D([], [], color=SERIES[1], label="best: held-out"),
    ]
    _legend_above(ax, [*handles, *flags], lift=0.07)
    return ax


def _flags(ax: Axes, parted: pd.DataFrame, x: str, y: str) -> list[Line2D]:
    """Draw a ring where the score that selection sees and the worth elsewhere part; none where they never do."""
    if parted.empty:
        return []
    look = {"marker": "o", "ms": 9, "mfc": "none", "mec": SERIES[1], "mew": 1.4, "lw": 0, "label": "parts"}
    return ax.plot(parted[x], parted[y], zorder=5, **look)


def _candidates(ax: Axes, scored: pd.DataFrame, floor: float) -> None:
    """Draw each scored candidate as a faint point, those under `floor` as triangles on the lower edge."""
    faint = {"color": "0.6", "lw": 0, "ms": 2.4, "zorder": 1}
    beneath = scored["fitness"] < floor
    ax.plot(scored["evaluation"][~beneath], scored["fitness"][~beneath], marker="o", **faint)
    edge = np.full(beneath.sum(), 0.015)
    ax.plot(scored["evaluation"][beneath], edge, marker="v", transform=ax.get_xaxis_transform(), **faint)


def functions(axes: Axes | np.ndarray, curves: pd.DataFrame) -> np.ndarray:
    """Draw Figure 4: a panel a function, its value and, thin, its slope.

    Args:
        axes: one a function; spare ones are hidden.
        curves: function, x, y, slope.
    """
    _want("functions", curves, "function", "x", "y", "slope")
    groups = list(curves.groupby("function", sort=False))
    axes = _panels("functions", axes, len(groups))
    for ax, (name, rows) in zip(axes, groups, strict=True):
        ax.axhline(0, color="0.8", lw=0.6, zorder=0)
        ax.axvline(0, color="0.8", lw=0.6, zorder=0)
        ax.plot(rows["x"], rows["slope"], color=colour(name), lw=0.8, ls=(0, (3, 1.2)), label="slope")
        ax.plot(rows["x"], rows["y"], color=colour(name), lw=1.6, label="value")
        ax.set(title=label(name), xlabel="x")
    axes[0].legend(loc="best", handlelength=1.6)
    return axes


def preactivations(axes: Axes | np.ndarray, histograms: pd.DataFrame) -> np.ndarray:
    """Draw Figure 5: histograms of the pre-activations of trained models, a panel a function, a line a layer.

    Args:
        axes: one a function; spare ones are hidden.
        histograms: function, layer, bin_left, bin_right, density.
    """
    _want("preactivations", histograms, "function", "layer", "bin_left", "bin_right", "density")
    groups = list(histograms.groupby("function", sort=False))
    axes = _panels("preactivations", axes, len(groups))
    for ax, (name, rows) in zip(axes, groups, strict=True):
        layers = list(rows.groupby("layer", sort=True))
        for number, (layer, bins) in enumerate(layers, start=1):
            bins = bins.sort_values("bin_left")
            edges = [*bins["bin_left"], bins["bin_right"].iloc[-1]]
            shade = _tint(colour(name), number / len(layers))
            ax.stairs(bins["density"], edges, color=shade, lw=1.3, label=f"layer {layer}")
        ax.set(title=label(name), xlabel="pre-activation", ylabel="density", ylim=(0, None))
        ax.legend(loc="upper right", handlelength=1.2)
    return axes


def random_constants(ax: Axes, draws: pd.DataFrame, relu: float, beaten: Mapping[str, str]) -> Axes:
    """Draw Figure 7: for each form, the loss of random constants and of those that the paper's search wrote.

    Args:
        ax: two columns wide.
        draws: form (name in the zoo), draw (number), ood_mse, discovered (whether these are the paper's
            constants), low, high (interval of the discovered; NaN for single draws).
        relu: ReLU's OOD MSE on the same tasks.
        beaten: by form, what to write at the right, such as "beats 83 % of 60".
    """
    _want("random_constants", draws, "form", "draw", "ood_mse", "discovered", "low", "high")
    forms = _once(draws["form"])
    if missing := set(forms) - set(beaten):
        raise ValueError(f"random_constants: wanted the share beaten for each form, got none for {sorted(missing)}")
    ax.axvline(relu, color=colour("relu"), lw=1.0, ls="--", zorder=0)
    for place, form in enumerate(forms):
        rows = draws[draws["form"] == form]
        random, written = rows[~rows["discovered"].astype(bool)], rows[rows["discovered"].astype(bool)]
        scatter = place + 0.5 * ((random["draw"] * 0.6180339887) % 1 - 0.5)  # even, and the same every time
        ax.plot(random["ood_mse"], scatter, "o", ms=2.6, mec="none", alpha=0.45, color=colour(form))
        ax.hlines([place] * len(written), written["low"], written["high"], color="black", lw=1.2, zorder=3)
        marks = [place] * len(written)
        ax.plot(written["ood_mse"], marks, "D", ms=5.5, mec="black", mew=0.9, color=colour(form), zorder=4)
        ax.text(1.01, place, beaten[form], va="center", transform=ax.get_yaxis_transform(), **TEXT)
    ax.set(xscale="log", xlabel="OOD MSE (lower is better)", ylim=(len(forms) - 0.5, -0.5))
    ax.set_yticks(range(len(forms)), [label(form) for form in forms])
    _plain_log(ax.xaxis)
    handles = [
        Line2D([], [], marker="o", ms=2.6, lw=0, mec="none", color="0.5", label="random constants"),
        Line2D([], [], marker="D", ms=5.5, mfc="0.7", mec="black", color="black", lw=1.2, label="the paper's"),
        Line2D([], [], color=colour("relu"), ls="--", lw=1.0, label=label("relu")),
    ]
    _legend_above(ax, handles)
    return ax


def sweep(ax: Axes, losses: pd.DataFrame, discovered: float, function: str = "gelu-sine") -> Axes:
    """Draw Figure 8 [ours]: the loss of one form as its constant is swept.

    Args:
        ax: one column wide.
        losses: constant, estimate, low, high.
        discovered: the constant in the paper.
        function: name in the zoo of the form.
    """
    _want("sweep", losses, "constant", "estimate", "low", "high")
    ax.fill_between(losses["constant"], losses["low"], losses["high"], color=colour(function), alpha=0.15, lw=0)
    ax.plot(losses["constant"], losses["estimate"], marker="o", ms=3.2, color=colour(function))
    _mark(ax, discovered, f"the paper's {discovered:g}")
    ax.set(xlabel=f"constant in {label(function)}", ylabel="OOD MSE (lower is better)")
    return ax


def scores(
    ax: Axes,
    table: pd.DataFrame,
    xlabel: str = "OOD MSE (lower is better)",
    notes: Mapping[str, str] | None = None,
) -> Axes:
    """Draw Table 1 as dots with intervals, names at the left, the paper's numbers as hollow diamonds.

    Args:
        ax: one or two columns wide, about 0.25 inches a row.
        table: function, estimate, low, high, paper (NaN where it has none; it gives no interval), and maybe
            suite (or family): one marker each, side by side in the row.
        xlabel: what is measured.
        notes: by function, a word after its name, such as "calibrated".
    """
    _want("scores", table, "function", "estimate", "low", "high", "paper")
    names = _once(table["function"])
    suites = _once(table["suite"]) if "suite" in table else [""]
    offsets = 0.22 * (np.arange(len(suites)) - (len(suites) - 1) / 2)
    ax.hlines(range(len(names)), 0, 1, color="0.93", lw=0.6, zorder=0, transform=ax.get_yaxis_transform())
    for suite, offset, marker in zip(suites, offsets, _markers("scores", suites), strict=True):
        rows = table[table["suite"] == suite] if "suite" in table else table
        place = rows["function"].map(names.index) + offset
        colours = [colour(name) for name in rows["function"]]
        ax.hlines(place, rows["low"], rows["high"], colors=colours, lw=1.4)
        ax.scatter(rows["estimate"], place, s=16, marker=marker, c=colours, zorder=3)
    known = table.dropna(subset="paper").drop_duplicates("function")
    place = known["function"].map(names.index)
    ax.scatter(known["paper"], place, s=26, marker="D", facecolors="none", edgecolors="black", lw=0.8, zorder=4)
    handles = [
        Line2D([], [], marker=marker, ms=4, lw=1.4, color=INK, label=suite or "ours, with interval")
        for suite, marker in zip(suites, MARKERS, strict=False)
    ]
    if len(known):
        handles.append(Line2D([], [], marker="D", ms=4.5, mfc="none", mec="black", lw=0, label="paper"))
    _names_at_left(ax, names, notes)
    ax.set_xlabel(xlabel)
    _legend_above(ax, handles)
    return ax


def reliability(ax: Axes, table: pd.DataFrame) -> Axes:
    """Draw how the reliability of a ranking grows with the number of tasks, a line an aggregate.

    Args:
        ax: one column wide.
        table: aggregate, tasks (number), reliability, low, high.
    """
    _want("reliability", table, "aggregate", "tasks", "reliability", "low", "high")
    groups = list(table.groupby("aggregate", sort=False))
    markers = _markers("reliability", groups)
    for number, ((name, rows), marker) in enumerate(zip(groups, markers, strict=True)):
        rows = rows.sort_values("tasks")
        aside = rows["tasks"] * 1.025 ** (number - (len(groups) - 1) / 2)  # intervals side by side
        ax.vlines(aside, rows["low"], rows["high"], color=SERIES[number], lw=1.0)
        ax.plot(aside, rows["reliability"], marker=marker, ms=3.5, color=SERIES[number], label=name)
    ax.set(xscale="log", xlabel="tasks", ylabel="reliability of ranks")
    ax.set_ylim(min(0.0, table["low"].min()), 1.02)
    ax.set_xticks(sorted(set(table["tasks"])), [f"{tasks:g}" for tasks in sorted(set(table["tasks"]))])
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.legend(loc="lower right")
    return ax


def variance(ax: Axes, table: pd.DataFrame) -> Axes:
    """Draw the shares of the variance of log loss as bars with intervals.

    Args:
        ax: one column wide.
        table: component, share (0 to 1), low, high.
    """
    _want("variance", table, "component", "share", "low", "high")
    place = range(len(table))
    ax.barh(place, table["share"], height=0.6, color=SERIES[0], alpha=0.55)
    ax.hlines(place, table["low"], table["high"], color="black", lw=1.2)
    ax.set_yticks(place, list(table["component"]))
    ax.set(xlabel="share of variance", ylim=(len(table) - 0.5, -0.5), xlim=(0, max(1.0, table["high"].max())))
    ax.xaxis.set_major_formatter(ticker.PercentFormatter(1.0, decimals=0))
    return ax


def rate_control(ax: Axes, table: pd.DataFrame) -> Axes:
    """Draw each function's loss at the common learning rate and at its own, joined.

    Args:
        ax: one column wide, about 0.3 inches a row.
        table: function, fixed, fixed_low, fixed_high, tuned, tuned_low, tuned_high.
    """
    columns = [f"{rate}{end}" for rate in ("fixed", "tuned") for end in ("", "_low", "_high")]
    _want("rate_control", table, "function", *columns)
    names = _once(table["function"])
    colours = [colour(name) for name in table["function"]]
    place = table["function"].map(names.index)
    ax.hlines(place, 0, 1, color="0.93", lw=0.6, zorder=0, transform=ax.get_yaxis_transform())
    for rate, aside, faces in (("fixed", -0.14, "white"), ("tuned", 0.14, colours)):
        ax.hlines(place + aside, table[f"{rate}_low"], table[f"{rate}_high"], colors=colours, lw=1.2)
        ax.scatter(table[rate], place + aside, s=18, c=faces, edgecolors=colours, lw=1.0, zorder=3)
    for row, y in zip(table.itertuples(), place, strict=True):
        ax.plot([row.fixed, row.tuned], [y - 0.14, y + 0.14], color="0.6", lw=0.7, zorder=2)
    handles = [
        Line2D([], [], marker="o", ms=4, mfc="white", mec=INK, color=INK, lw=1.2, label="common rate"),
        Line2D([], [], marker="o", ms=4, color=INK, lw=1.2, label="own rate"),
    ]
    _names_at_left(ax, names)
    ax.set(xscale="log", xlabel="OOD MSE (lower is better)")
    _plain_log(ax.xaxis, (1.0, 3.0))
    _legend_above(ax, handles)
    return ax


def _want(figure: str, data: pd.DataFrame, *columns: str) -> None:
    """Raise ValueError where a column that the figure draws is missing, or there is nothing to draw."""
    if missing := [column for column in columns if column not in data]:
        raise ValueError(f"{figure}: wanted column {', '.join(map(repr, missing))}; got {', '.join(map(str, data))}")
    if data.empty:
        raise ValueError(f"{figure}: wanted at least one row, got none")


def _panels(figure: str, axes: Axes | np.ndarray, count: int) -> np.ndarray:
    """Return the first `count` axes, flat, and hide the rest."""
    flat = np.atleast_1d(axes).ravel()
    if flat.size < count:
        raise ValueError(f"{figure}: wanted {count} axes, one a panel; got {flat.size}")
    for spare in flat[count:]:
        spare.set_axis_off()
    return flat[:count]


def _markers(figure: str, groups: list) -> tuple[str, ...]:
    if len(groups) > len(MARKERS):
        raise ValueError(f"{figure}: wanted at most {len(MARKERS)} series in a panel, got {len(groups)}")
    return MARKERS[: len(groups)]


def _once(values: pd.Series) -> list:
    """Return the values in the order of their first appearance."""
    return list(dict.fromkeys(values))


def _names_at_left(ax: Axes, names: list[str], notes: Mapping[str, str] | None = None) -> None:
    """Write the functions' names down the left side, the first on top."""
    notes = notes or {}
    texts = [f"{label(name)} ({notes[name]})" if name in notes else label(name) for name in names]
    ax.set_yticks(range(len(names)), texts)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(5))  # beside long names, more would run together


def _legend_above(ax: Axes, handles: Iterable[Line2D], lift: float = 0.0) -> None:
    """Put the legend over the axes, in one line, hiding nothing; `lift` is a share of their height."""
    handles = list(handles)
    spacing = {"columnspacing": 1.2, "handlelength": 1.5, "borderaxespad": 0.2}
    ax.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1 + lift), ncols=len(handles), **spacing)


def _mark(ax: Axes, x: float, text: str) -> None:
    """Draw a dotted line down at `x` and write above it what happens there."""
    ax.axvline(x, color=INK, lw=0.9, ls=":")
    ax.text(x, 1.0, text, va="bottom", ha="center", transform=ax.get_xaxis_transform(), **TEXT)


def _plain_log(axis, digits: tuple[float, ...] = (1.0, 2.0, 5.0)) -> None:
    """Write the ticks of a log axis as plain numbers, at these digits in each decade."""
    axis.set_major_locator(ticker.LogLocator(subs=digits))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def _tint(hexadecimal: str, strength: float) -> tuple[float, ...]:
    """Return the colour mixed with white; full at strength 1, the palest that is still visible near 0."""
    return tuple(1 - (0.3 + 0.7 * strength) * (1 - part) for part in to_rgb(hexadecimal))


def growth(axes: Axes | np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Draw what a training step costs as one setting grows, a panel each; dotted where it grows in proportion.

    Args:
        axes: one for each setting; spare ones are hidden.
        table: setting, value, ms_per_step (a median), ms_least, ms_most (what is measured lies between, a line each).
    """
    _want("growth", table, "setting", "value", "ms_per_step", "ms_least", "ms_most")
    groups = list(table.groupby("setting", sort=False))
    axes = _panels("growth", axes, len(groups))
    for ax, (setting, rows) in zip(axes, groups, strict=True):
        value, ms = rows["value"].to_numpy(), rows["ms_per_step"].to_numpy()
        ax.plot(value, ms[-1] * value / value[-1], color=INK, lw=0.8, ls=":")
        ax.plot(value, ms, "o-", ms=3, color=SERIES[0])
        ax.vlines(value, rows["ms_least"], rows["ms_most"], color=SERIES[0], lw=1.4)
        ax.set(xlabel=setting, xscale="log", yscale="log", xticks=value, xticklabels=value)
        ax.xaxis.set_minor_locator(ticker.NullLocator())
    axes[0].set_ylabel("ms a step")
    _plain_log(axes[0].yaxis)
    return axes


def racing(axes: Axes | np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Draw what plans save and what they risk, with intervals: a row a plan, a marker a rank of the incumbent.

    Args:
        axes: two that share their rows; for the shares of steps saved and of better candidates dropped.
        table: plan, incumbent (rank), and saved, dropped, each with _low and _high; shares, NaN where none came.
    """
    panels = {"saved": "steps saved", "dropped": "better candidates dropped"}
    _want("racing", table, "plan", "incumbent", *(f"{name}{end}" for name in panels for end in ("", "_low", "_high")))
    axes = _panels("racing", axes, len(panels))
    plans, ranks = _once(table["plan"]), _once(table["incumbent"])
    asides = 0.24 * (np.arange(len(ranks)) - (len(ranks) - 1) / 2)
    for ax, (name, text) in zip(axes, panels.items(), strict=True):
        for rank, aside, marker, ink in zip(ranks, asides, _markers("racing", ranks), SERIES, strict=False):
            rows = table[table["incumbent"] == rank].dropna(subset=name)
            place = rows["plan"].map(plans.index) + aside
            words = "against the best" if rank == 1 else f"against number {rank}"
            ax.hlines(place, rows[f"{name}_low"], rows[f"{name}_high"], color=ink, lw=1.4)
            ax.scatter(rows[name], place, s=16, marker=marker, color=ink, zorder=3, label=words)
        ax.set_yticks(range(len(plans)), plans)
        least = min(0, table[f"{name}_low"].min())  # a short training that drops nobody costs more than it saves
        ax.set(xlabel=f"share of {text}", xlim=(least - 0.03, 1.03), ylim=(len(plans) - 0.5, -0.5))
        ax.xaxis.set_major_formatter(ticker.PercentFormatter(1.0, decimals=0))
    _legend_above(axes[-1], axes[-1].get_legend_handles_labels()[0])
    return axes


WORTHS = {  # of an elite elsewhere, by its column: those of its interval, that of its flag, and the axis
    "held_out": ("low", "high", "parts", "fitness on the held-out suite"),
    "accuracy": ("accuracy_low", "accuracy_high", "accuracy_parts", "accuracy on test pictures"),
}


def transfer(ax: Axes, elites: pd.DataFrame, worth: str = "held_out") -> Axes:
    """Draw score against transferability: fitness on the search suite and, with intervals, worth elsewhere.

    Args:
        ax: a little wider than one column, nearly square.
        elites: fitness, the columns of `worth`, its interval and its flag (`WORTHS`), led (whether it was the best in
            its time) and final (whether it is the final choice); those that led are joined in the order of the rows.
            The flag marks a new best that is surely worth less than the one before it.
        worth: held_out, where a dotted line says where the two are equal; or accuracy, which has another unit.
    """
    low, high, parts, text = WORTHS[worth]
    _want("transfer", elites, "fitness", worth, low, high, parts, "led", "final")
    if worth == "held_out":
        ends = elites[["fitness", "held_out"]].to_numpy()
        ax.axline((ends.min(), ends.min()), slope=1, color=INK, lw=0.8, ls=":", zorder=0)
    led = elites[elites["led"]]
    ax.plot(led["fitness"], led[worth], color=SERIES[0], lw=0.7, zorder=1)
    looks = {
        "holds a cell": (~elites["led"] & ~elites["final"], {"color": "0.6", "marker": "o", "ms": 3}),
        "was the best": (elites["led"] & ~elites["final"], {"color": SERIES[0], "marker": "s", "ms": 3.5}),
        "final choice": (elites["final"], {"color": "black", "marker": "D", "ms": 5}),
    }
    for name, (which, look) in looks.items():
        rows = elites[which]
        ax.vlines(rows["fitness"], rows[low], rows[high], color=look["color"], lw=0.8, alpha=0.7)
        ax.plot(rows["fitness"], rows[worth], lw=0, label=name, **look)
    _flags(ax, elites[elites[parts]], "fitness", worth)
    ax.set(xlabel="fitness on the search suite", ylabel=text)
    _legend_above(ax, ax.get_legend_handles_labels()[0])
    return ax


def tree(ax: Axes, programs: pd.DataFrame) -> Axes:
    """Draw who was made from whom: a generation a row, the root on top, the final choice's line in black.

    Args:
        ax: two columns wide and about 3.5 inches high.
        programs: id, parent (an id, or missing), generation, place (along the row), fitness (what lies below 0 has
            one colour), line (whether it belongs to the final choice's line).
    """
    _want("tree", programs, "id", "parent", "generation", "place", "fitness", "line")
    spots = programs.set_index("id")[["place", "generation", "line"]]
    children = programs.dropna(subset="parent")
    if strange := set(children["parent"]) - set(spots.index):
        raise ValueError(f"tree: wanted parents that are among the programs; got {sorted(map(int, strange))}")
    for child in children.itertuples():
        parent = spots.loc[child.parent]
        ink = {"color": "black", "lw": 1.4, "zorder": 2} if child.line else {"color": "0.8", "lw": 0.6, "zorder": 1}
        ax.plot([parent["place"], child.place], [parent["generation"], child.generation], **ink)
    rows = programs.sort_values("line")
    edges = np.where(rows["line"], "black", "none")
    look = {"cmap": "viridis", "vmin": 0.0, "vmax": max(rows["fitness"].max(), 0.1), "zorder": 3, "lw": 0.9}
    sizes = np.where(rows["line"], 26, 12)
    dots = ax.scatter(rows["place"], rows["generation"], sizes, rows["fitness"], edgecolors=edges, **look)
    for row in programs[programs["line"]].itertuples():
        comes_from_the_right = not pd.isna(row.parent) and spots.loc[row.parent]["place"] > row.place
        side, shift = ("right", -4) if comes_from_the_right else ("left", 4)
        spot, offset = (row.place, row.generation), {"xytext": (shift, 6), "textcoords": "offset points"}
        ax.annotate(f"{row.id}", spot, ha=side, va="center", **offset, **TEXT)
    ax.figure.colorbar(dots, ax=ax, label="fitness", extend="min", pad=0.01)
    ax.yaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    ax.set(ylabel="generation", xticks=[], ylim=(programs["generation"].max() + 0.5, -0.7))
    ax.spines["bottom"].set_visible(False)
    return ax


def islands(axes: Axes | np.ndarray, rounds: pd.DataFrame) -> np.ndarray:
    """Draw the islands over time: the best fitness and the number of held cells, a line an island.

    Args:
        axes: two, for the best fitness and the cells.
        rounds: round, island, best (NaN where it is empty), cells, event: "migrated" where a newcomer took a cell,
            "reset" where the island started anew, else "".
    """
    _want("islands", rounds, "round", "island", "best", "cells", "event")
    axes = _panels("islands", axes, 2)
    groups = list(rounds.groupby("island"))
    events = {"migrated": ("^", 4.5, "a newcomer took a cell"), "reset": ("X", 5.5, "started anew")}
    for ax, (column, text) in zip(axes, {"best": "best fitness", "cells": "cells held"}.items(), strict=True):
        for number, (island, rows) in enumerate(groups):
            ink = SERIES[number % len(SERIES)]
            ax.plot(rows["round"], rows[column], color=ink, drawstyle="steps-post", label=f"island {island}")
            for event, (marker, size, _) in events.items():
                at = rows[rows["event"] == event]
                ax.plot(at["round"], at[column], marker, ms=size, color=ink, mec="white", mew=0.5, zorder=3)
        ax.set(xlabel="round", ylabel=text)
        ax.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    axes[1].yaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    handles = [
        Line2D([], [], marker=marker, ms=size, color=INK, lw=0, label=words)
        for event, (marker, size, words) in events.items()
        if (rounds["event"] == event).any()
    ]
    _legend_above(axes[0], axes[0].get_legend_handles_labels()[0])
    if handles:
        _legend_above(axes[1], handles)
    return axes


def arms(axes: Axes | np.ndarray, table: pd.DataFrame, runs: pd.DataFrame) -> np.ndarray:
    """Draw what arms of a comparison came to, a panel a suite: the mean with its interval over a point a run.

    Dashed lines are functions, among them the one that all ratios are to, at 0.

    Args:
        axes: one a suite, which share their rows.
        table: arm, suite, log_ratio, low, high.
        runs: arm, seed, suite, log_ratio; without a seed, and with a function's name as the arm, a dashed line.
    """
    _want("arms", table, "arm", "suite", "log_ratio", "low", "high")
    _want("arms", runs, "arm", "seed", "suite", "log_ratio")
    suites, names = _once(table["suite"]), _once(table["arm"])
    axes = _panels("arms", axes, len(suites))
    for ax, suite in zip(axes, suites, strict=True):
        rows, points = table[table["suite"] == suite], runs[(runs["suite"] == suite)]
        single, functions = points[points["seed"].notna()], points[points["seed"].isna()]
        lines = {"relu": 0.0} | dict(zip(functions["arm"], functions["log_ratio"], strict=True))
        for function, ratio in lines.items():
            ax.axvline(ratio, color=colour(function), lw=0.9, ls="--", zorder=0, label=label(function))
        place = rows["arm"].map(names.index)
        ax.scatter(single["log_ratio"], single["arm"].map(names.index) + 0.22, s=9, color="0.6", zorder=2)
        ax.hlines(place, rows["low"], rows["high"], color=SERIES[0], lw=1.4)
        ax.scatter(rows["log_ratio"], place, s=18, color=SERIES[0], zorder=3)
        ax.set_yticks(range(len(names)), names)
        ax.tick_params(axis="y", length=0)
        ax.set(title=suite, ylim=(len(names) - 0.5, -0.5), xlabel="mean log ratio of OOD loss to ReLU's")
    _legend_above(axes[-1], axes[-1].get_legend_handles_labels()[0], lift=0.12)
    return axes


def traces(ax: Axes, table: pd.DataFrame) -> Axes:
    """Draw the best fitness so far against evaluations: a thin line a run, a thick one for the mean of an arm's runs.

    Args:
        ax: where.
        table: arm, seed, evaluation, fitness, mean (of the arm's runs at that evaluation).
    """
    _want("traces", table, "arm", "seed", "evaluation", "fitness", "mean")
    groups = list(table.groupby("arm", sort=False))
    handles = []
    for (arm, rows), ink, marker in zip(groups, SERIES, _markers("traces", groups), strict=False):
        for _, one in rows.groupby("seed"):
            ax.plot(one["evaluation"], one["fitness"], color=ink, lw=0.5, alpha=0.45, drawstyle="steps-post")
        mean = rows.drop_duplicates("evaluation")
        every = max(1, len(mean) // 6)
        look = {"color": ink, "lw": 1.6, "marker": marker, "ms": 4}
        ax.plot(mean["evaluation"], mean["mean"], drawstyle="steps-post", markevery=every, **look)
        handles.append(Line2D([], [], label=arm, **look))
    ax.set(xlabel="evaluations", ylabel="best fitness so far")
    _legend_above(ax, handles)
    return ax
