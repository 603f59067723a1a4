"""Figures 7 to 9: random constants, the sweep of one, and learned constants. See `draw`."""

from collections.abc import Mapping

import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes

from actlab.report.figures import draw
from actlab.report.figures.style import INK, TEXT, colour, label


def random_constants(ax: Axes, draws: pd.DataFrame, relu: float, beaten: Mapping[str, str]) -> Axes:
    """Draw Figure 7: for each form, the loss of random constants and of those that the paper's search found.

    Args:
        ax: two columns wide.
        draws: form (name in the zoo), draw (number), ood_mse, discovered (whether these are the paper's constants),
            low, high (interval of the discovered; NaN for single draws).
        relu: ReLU's OOD MSE on the same tasks.
        beaten: by form, what to write at the right, such as "beats 83 % of 60".
    """
    draw.want("random_constants", draws, "form", "draw", "ood_mse", "discovered", "low", "high")
    forms, discovered = list(draws["form"].unique()), draws["discovered"].astype(bool)
    if missing := set(forms) - set(beaten):
        raise ValueError(f"random_constants: wanted the share beaten for each form, got none for {sorted(missing)}")
    draw.name_rows(ax, [label(form) for form in forms], line=True, ticks=True)
    ax.axvline(relu, color=colour("relu"), lw=1.0, ls="--", zorder=0)
    for place, form in enumerate(forms):
        random = draws[(draws["form"] == form) & ~discovered]
        scatter = place + 0.5 * ((random["draw"] * 0.6180339887) % 1 - 0.5)  # even, and the same every time
        ax.plot(random["ood_mse"], scatter, "o", ms=2.6, mec="none", alpha=0.45, color=colour(form))
        ax.text(1.01, place, beaten[form], va="center", transform=ax.get_yaxis_transform(), **TEXT)
    written = draws[discovered]
    place, faces = draw.places(forms, written["form"]), [colour(form) for form in written["form"]]
    look = {"marker": "D", "s": 5.5**2, "c": faces, "edgecolors": "black", "lw": 0.9}
    draw.dots(ax, written, place, "ood_mse", ink="black", width=1.2, **look)
    ax.set(xscale="log", xlabel="OOD MSE (lower is better)")
    draw.plain_log(ax.xaxis)
    handles = [
        draw.handle(marker="o", ms=2.6, lw=0, mec="none", color="0.5", label="random constants"),
        draw.handle(marker="D", ms=5.5, mfc="0.7", mec="black", color="black", lw=1.2, label="the paper's"),
        draw.handle(color=colour("relu"), ls="--", lw=1.0, label=label("relu")),
    ]
    return draw.legend_above(ax, handles)


def sweep(ax: Axes, losses: pd.DataFrame, discovered: float) -> Axes:
    """Draw Figure 8 [ours]: the loss of GELUSine as its constant is swept.

    Args:
        ax: one column wide.
        losses: constant, estimate, low, high.
        discovered: the constant in the paper.
    """
    draw.want("sweep", losses, "constant", "estimate", "low", "high")
    draw.curve(ax, losses, "constant", "estimate", colour("gelu-sine"), band={"alpha": 0.15}, marker="o", ms=3.2)
    ax.axvline(discovered, color=INK, lw=0.9, ls=":")
    look = {"va": "bottom", "ha": "center", "transform": ax.get_xaxis_transform()} | TEXT
    ax.text(discovered, 1.0, f"the paper's {discovered:g}", **look)
    ax.set(xlabel=f"constant in {label('gelu-sine')}", ylabel="OOD MSE (lower is better)")
    return ax


def learned_ratio(ax: Axes, table: pd.DataFrame) -> Axes:
    """Draw Figure 9's first panel [ours]: the loss with learned constants over that with fixed ones.

    Args:
        ax: a row a function, the first on top; a dashed line marks equal losses.
        table: function, ratio (of OOD losses), low, high, train (ratio of training losses; a cross without interval).
    """
    draw.want("learned_ratio", table, "function", "ratio", "low", "high", "train")
    place, colours = range(len(table)), [colour(name) for name in table["function"]]
    draw.name_rows(ax, [label(name) for name in table["function"]])
    ax.axvline(1, color=INK, lw=0.9, ls="--", zorder=0)
    draw.dots(ax, table, place, "ratio", width=1.6, s=4.5**2, lw=1.0)
    ax.scatter(table["train"], place, c=colours, marker="x", s=4.5**2, lw=1.1)
    ax.set_xlabel("MSE, learned over fixed constants")
    ax.xaxis.set_major_locator(ticker.MaxNLocator(5))
    handles = [
        draw.handle(marker="o", ms=4.5, color="0.5", lw=1.6, label="OOD"),
        draw.handle(marker="x", ms=4.5, mew=1.1, color="0.5", lw=0, label="training"),
    ]
    return draw.legend_above(ax, handles)


def learned_values(ax: Axes, table: pd.DataFrame) -> Axes:
    """Draw Figure 9's second panel [ours]: the values of learned constants, a row a constant and a marker a layer.

    Args:
        ax: the first constant is on top.
        table: function, constant, layer (from 1), start, low, median, high (quartiles over networks).
    """
    draw.want("learned_values", table, "function", "constant", "layer", "start", "low", "median", "high")
    rows = [f"{label(row.function)}: {row.constant}" for row in table.itertuples()]
    names, layers = list(dict.fromkeys(rows)), sorted(table["layer"].unique())
    draw.name_rows(ax, names)
    place = draw.places(names, rows)
    ax.vlines(table["start"], place - 0.4, place + 0.4, color="black", lw=1.4, zorder=3)
    handles = [draw.handle(marker="|", ms=9, mew=1.4, lw=0, color="black", label="published")]
    for layer, offset, marker, _ in draw.series("learned_values", layers, 0.5 / len(layers)):
        here, strength = table["layer"] == layer, (layers.index(layer) + 1) / len(layers)
        inks = [draw.tint(colour(name), strength) for name in table.loc[here, "function"]]
        look = {"ink": inks, "width": 1.3, "marker": marker, "edgecolors": "none", "zorder": 4}
        draw.dots(ax, table[here], place[here] + offset, "median", s=3.4**2, **look)
        look = {"marker": marker, "ms": 3.4, "mec": "none", "color": draw.tint("#555555", strength), "lw": 1.3}
        handles.append(draw.handle(label=f"layer {layer}", **look))
    ax.set_xlabel("constant")
    return draw.legend_above(ax, handles)
