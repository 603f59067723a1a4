"""Style and colours of all figures, and the files that they are saved in. Layout and colours are [ours]."""

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from actlab.core import files

ONE_COLUMN = 3.4  # inches
TWO_COLUMNS = 7.0  # inches

# One colour for each activation in all figures. The six of Table 1 and black are at least 26 CIELAB units apart in
# normal, protanopic and deuteranopic vision.
COLOURS = {
    "relu": "#949494", "gelu": "#56b4e9", "gelu-sine": "#332288", "gelu-sinc": "#882255", "gmtu": "#117733",
    "turbulent": "#de8f05", "found": "#000000", "yours": "#0000ff", "leaky-relu": "#bbbbbb", "elu": "#a6761d",
    "selu": "#e6ab02", "softplus": "#f4a6c8", "softsign": "#999933", "tanh": "#cc3311", "sine": "#009988",
    "silu": "#4477aa", "mish": "#77aadd", "gelu-erf": "#99ddff", "snake": "#ee3377", "leaky-sqrt-decay": "#cc6677",
    "qfw": "#aa4499", "symmetric-phase-flipped": "#44bb99", "fisg": "#bbcc33", "quaternion": "#661100",
    "pler": "#6699cc",
}  # fmt: skip
BESIDE_THE_ZOO = {"found": "Found by search", "yours": "Yours"}  # by this project's search; written by the reader
SERIES = ("#0173b2", "#d55e00", "#029e73", "#cc78bc", "#ca9161")  # of what is no activation; seaborn's colorblind
MARKERS = ("o", "s", "^", "v", "P")
INK = "0.25"
BAND = "0.92"  # the training range, and other ranges
GUIDE = {"color": "0.93", "lw": 0.6, "zorder": 0}  # along a row, or between groups
DASHES = (0, (3, 1.2))
TEXT = {"size": 7, "color": INK}


def use_style() -> None:
    """Set the figure defaults of the project, once in a notebook: legible at print width, one font."""
    sizes = {"font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8, "legend.title_fontsize": 7}
    small = dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 7)
    lines = {"lines.linewidth": 1.3, "axes.linewidth": 0.7, "xtick.major.width": 0.7, "ytick.major.width": 0.7}
    frame = {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
    rest = {"figure.constrained_layout.use": True, "figure.dpi": 120, "pdf.fonttype": 42}  # 42: text stays text
    seaborn.set_theme("paper", "ticks", "colorblind", font="DejaVu Sans", rc=sizes | small | lines | frame | rest)


def colour(name: str) -> str:
    """Return the colour of an activation: of the zoo, "found" (by the search) or "yours" (written by the reader)."""
    if name not in COLOURS:
        from actlab.activations import zoo  # loads torch, so only for another spelling

        name = zoo.entry(name).name
    if name not in COLOURS:
        raise ValueError(f"colour: wanted a line for {name} in `COLOURS` of {__name__}; there is none")
    return COLOURS[name]


def label(name: str) -> str:
    """Return the name of an activation as readers know it; names as for `colour`."""
    if name in BESIDE_THE_ZOO:
        return BESIDE_THE_ZOO[name]
    from actlab.activations import zoo  # loads torch, so only when a label is drawn

    return zoo.entry(name).label


def save(fig: Figure, name: str, data: pd.DataFrame, folder: Path) -> tuple[Path, Path, Path]:
    """Write a figure at its print size as PNG and PDF, and the data that it shows as CSV: all or none; return paths.

    The same figure gives the same bytes. The folder is created if it is missing; its manifest notes the files.
    """
    paths = png, pdf, csv = tuple(folder / f"{name}.{suffix}" for suffix in ("png", "pdf", "csv"))
    with files.writing(*paths, noted=True) as (to_png, to_pdf, to_csv):
        fig.savefig(to_png, format="png", dpi=200, metadata={"Software": None})
        fig.savefig(to_pdf, format="pdf", metadata={"Creator": None, "Producer": None, "CreationDate": None})
        _write_csv(data, to_csv)
    return png, pdf, csv


def save_table(table: pd.DataFrame, name: str, folder: Path) -> tuple[Path, Path]:
    """Write a table as CSV (ten significant digits) and as Markdown (four; text unchanged), both or none; return paths.

    The folder's manifest notes both.
    """
    csv, markdown = folder / f"{name}.csv", folder / f"{name}.md"
    rows = [list(map(str, table.columns)), ["---"] * table.shape[1]]
    rows += [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    with files.writing(csv, markdown, noted=True) as (to_csv, to_markdown):
        _write_csv(table, to_csv)
        to_markdown.write_text("".join(f"| {' | '.join(row)} |\n" for row in rows), encoding="utf-8")
    return csv, markdown


def _write_csv(data: pd.DataFrame, path: Path) -> None:
    data.to_csv(path, index=False, float_format="%.10g", lineterminator="\n", encoding="utf-8")


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.4g}"
    return str(value).replace("|", "\\|")
