"""A card for each function, to read before using it: formula, source, cost, precision, where it helped (ours).

It reads the committed tables and measures only rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from actlab.activations import trainable, zoo
from actlab.core import records
from actlab.report import page
from actlab.report.figures import lab as figures
from actlab.report.figures import style
from actlab.scoring import summaries

COLUMNS = ["function", "where", "other", "n", "effect", "verdict", "note"]
TRANSFER = "downstream"  # `statistics.against`; missing until `make transfer` has run
COSTS = "bench_functions"  # `make bench BENCH=functions`
LABS = "table_3"  # the multiverse
NEAR = {"value_off": 0.01, "slope_off": 0.025}  # how far off float32 a short type may be and still count as near it
NO_ONNX = {"fisg": "no: torch converts no complex numbers, which the Fourier transform gives"}
SPLITS = {"in-distribution": "in distribution", "ood": "out of distribution"}
VERDICTS = {"better": "Helped", "worse": "Did not help", "undecided": "Undecided"}


def evidence(folder: Path) -> pd.DataFrame:
    """Where each function of the zoo helped and where it did not, from the tables of a folder.

    From the lab: the planned comparisons on the held-out suite (`comparisons.csv`); every function against ReLU on the
    far suite (`table_1.csv`), and on the search suite those that have no planned comparison (`zoo_scores.csv`). From
    elsewhere: the planned comparisons of transfer, if their table exists.

    Returns:
        Columns function, where, other (which it was compared with), n (data sets of the lab, or seeds), effect (with
        its 95 % interval: a ratio of losses in the lab, a difference of scores elsewhere), verdict (better, worse,
        undecided: planned comparisons by Holm's p below 0.05, all others by the interval alone) and note.
    """
    planned = records.table(folder, "comparisons").rename(columns={"function": "other", "subject": "function"})
    fit = np.where(planned["unequal_fit"], "unequal fit", "")
    parts = [planned.assign(where="lab, held-out suite", note=fit, effect=planned.apply(_ratio, axis=1))]
    parts.append(_against_relu(records.table(folder, "table_1").query("suite == 'far'")))
    alone = records.table(folder, "zoo_scores").query("suite == 'search'")
    parts.append(_against_relu(alone[~alone["function"].isin(planned["function"])]))
    if has_transfer(folder):
        parts.append(_elsewhere(records.table(folder, TRANSFER)))
    table = pd.concat([part[COLUMNS] for part in parts], ignore_index=True)
    return table[table["function"].isin(zoo.REGISTRY)].reset_index(drop=True)


def has_transfer(folder: Path) -> bool:
    """Whether there is a table of comparisons on images, molecules and algorithms."""
    return (folder / f"{TRANSFER}.csv").exists()


def _ratio(row: pd.Series) -> str:
    return f"{summaries.ratio(row)} of {style.label(row.other)}'s loss"


def _against_relu(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `summaries.summary` except ReLU's; verdicts by intervals that are not corrected."""
    table = table[table["function"] != "relu"].rename(columns={"log_low": "low", "log_high": "high"})
    side = np.select([table["high"] < 0, table["low"] > 0], ["better", "worse"], "undecided")
    note = np.where(summaries.unequal(table["train_ratio"]), "not corrected, unequal fit", "not corrected")
    table = table.assign(where="lab, " + table["suite"] + " suite", other="relu", verdict=side, note=note)
    return table.assign(effect=table.apply(_ratio, axis=1))


def _elsewhere(table: pd.DataFrame) -> pd.DataFrame:
    """The planned rows of `statistics.against`."""
    table = table[table["planned"]]
    gains = zip(summaries.intervals(table, "difference", form="+.3f"), table["other"].map(style.label), strict=True)
    effect = [f"{gain} over {other}" for gain, other in gains]
    note = np.where(table["failed"] > 0, table["failed"].astype(str) + " failed, counted as chance", "")
    return table.assign(where=table["task"] + ", " + table["split"].map(SPLITS), effect=effect, note=note)


def costs(folder: Path) -> pd.DataFrame | None:
    """The measured times of forward and backward passes (`bench.lab.functions`); None where there are none.

    Beside its columns: both_gelu, the two passes together over GELU's, by medians, with both_least and both_most, which
    bound it by taking the least, or the most, of both passes' ratios.
    """
    if not (folder / f"{COSTS}.csv").exists():
        return None
    table = records.table(folder, COSTS)
    gelu = table[table["function"] == "gelu"].set_index("shape").loc[table["shape"], ["forward_us", "backward_us"]]
    share = (gelu["forward_us"] / gelu.sum(axis=1)).to_numpy()  # of the forward pass in GELU's own time
    for end in ("gelu", "least", "most"):
        table[f"both_{end}"] = share * table[f"forward_{end}"] + (1 - share) * table[f"backward_{end}"]
    return table


def labs(folder: Path) -> pd.DataFrame:
    """In what share of the multiverse's labs a function's loss is below another's; pairs of functions alone."""
    table = records.table(folder, LABS)
    return table[(table["measure"] == "share of labs") & table["what"].str.fullmatch(r"[\w-]+ < [\w-]+")]


def card(
    name: str, evidence: pd.DataFrame, costs: pd.DataFrame | None, labs: pd.DataFrame, rounding: pd.DataFrame
) -> str:
    """What is known of a function of the zoo, in Markdown, from what the functions of these names give.

    `rounding` is in bfloat16. Raises ValueError for a name that is not in the zoo.
    """
    entry = zoo.entry(name)
    name = entry.name
    latex = entry.latex.replace("|", r"\vert ")
    learned = [f"{key} = {value:g}" for key, value in trainable.constants(name).items()]
    lines = [f"### {page.words(entry.label)}", "", f"$${latex}$$", ""]
    lines.append(f"- `{name}`, {entry.fidelity}: {page.words(entry.source)}. {page.words(entry.note)}".strip())
    lines.append(f"- **Can be learned**: {', '.join(learned) or 'nothing, it has no constants'}.")
    lines.append(f"- **Cost**: {_cost(name, costs)}.")
    lines.append(f"- **In bfloat16**: {_short(rounding[rounding['function'] == name].iloc[0])}.")
    own = evidence[evidence["function"] == name]
    found = {word: own[own["verdict"] == verdict] for verdict, word in VERDICTS.items()}
    lines += [f"- **{word}**: {_told(rows)}." for word, rows in found.items() if len(rows) or word == "Helped"]
    if told := _over_labs(labs[labs["what"].str.startswith(f"{style.label(name)} < ")]):
        lines.append(f"- **In labs drawn at random**: {told}.")
    if not entry.pointwise:
        lines.append("- **Watch**: a result depends on what else is in the tensor, in evaluation as in training.")
    return "\n".join(lines)


def _cost(name: str, costs: pd.DataFrame | None) -> str:
    if costs is None:
        return f"not measured; `make bench BENCH=functions` writes `{COSTS}`"
    rows = costs[costs["function"] == name]
    ratios = (
        summaries.intervals(rows, f"{way}_gelu", f"{way}_least", f"{way}_most", ".2g")
        for way in ("both", "forward", "backward")
    )
    parts = zip(rows["shape"], *ratios, strict=True)
    words = [f"{both} times GELU's on {shape} (forward {there}, backward {back})" for shape, both, there, back in parts]
    return "; ".join(words) or "not measured"


def _short(row: pd.Series) -> str:
    """How close to float32 a function is in a short type, and what to do if it is not."""
    off = f"off float32 by up to {row.value_off:.1%} of the largest value and {row.slope_off:.1%} of the largest slope"
    if not (row.finite and row.finite_far):
        return f"not finite everywhere; {off}"
    if all(row[column] <= near for column, near in NEAR.items()):
        return f"finite, {off}"
    return f"finite but **inaccurate**, {off}; compute in float32 and cast back"


def _over_labs(rows: pd.DataFrame) -> str:
    """Shares of labs in which a function has the lower loss, by other function and aggregate."""
    told = []
    for statement, part in rows.groupby("what", sort=False):
        part = part.assign(share=summaries.intervals(part, "value", form=".0%"))
        shares = page.each(part, "{share} ({aggregate})", " and ")
        told.append(f"below {statement.split(' < ')[1]}'s loss in {shares} of {part['n'].iloc[0]}")
    return "; ".join(told)


def _told(rows: pd.DataFrame) -> str:
    """Each place with its comparisons and their notes, or that there are none."""
    told = []
    for where, part in rows.groupby("where", sort=False):
        each = (row.effect + (f" ({row.note})" if row.note else "") for row in part.itertuples())
        told.append(f"{where}: {', '.join(each)} (n = {part['n'].iloc[0]})")
    return "; ".join(told) or "in no comparison that was made of it"


def show(cards: Mapping[str, str], curves: pd.DataFrame) -> None:
    """Shows each function's card in a notebook; below it value and slope, from columns function, x, y, slope."""
    for name, text in cards.items():
        page.say(text)
        _, ax = plt.subplots(figsize=(style.ONE_COLUMN, 1.5))
        figures.functions(ax, curves[curves["function"] == name])
        plt.show()


def against(evidence: pd.DataFrame, where: str, other: str) -> str:
    """Which functions helped against another in one place, and which did not: half a sentence."""
    rows = evidence[(evidence["where"] == where) & (evidence["other"] == other)]
    return "; ".join(f"{word}: {page.names(rows.loc[rows['verdict'] == word, 'function'])}" for word in VERDICTS)


def rounding(names: Iterable[str], dtype: torch.dtype, reach: float = 8.0, far: float = 1e4) -> pd.DataFrame:
    """The errors of a short type: each function in it and in float32, on the same inputs, which are exact in both.

    Args:
        reach: inputs are spread evenly up to it, in a batch of 64 rows and 33 columns in shuffled order.
        far: size of further inputs, which are tried for finite results.

    Returns:
        Columns function, value_off and slope_off (the largest difference as a share of the largest magnitude in
        float32), finite and finite_far (whether all values and slopes are, within reach and at `far`), kept (whether
        shape and type are the input's).
    """
    order = torch.randperm(64 * 33, generator=torch.Generator().manual_seed(0))
    x = torch.linspace(-reach, reach, 64 * 33)[order].reshape(64, 33).to(dtype)
    outside = torch.tensor([[far, -far, 1.0], [0.0, -2.0, far / 2]], dtype=dtype)
    rows = []
    for name in (zoo.entry(name).name for name in names):
        function = zoo.entry(name).function
        short, exact, distant = (_value_and_slope(function, z) for z in (x, x.float(), outside))
        off = [((a.float() - b).abs().max() / b.abs().max()).item() for a, b in zip(short, exact, strict=True)]
        finite, finite_far = (all(bool(torch.isfinite(z).all()) for z in found) for found in (short, distant))
        kept = (short[0].shape, short[0].dtype) == (x.shape, dtype)
        rows.append((name, *off, finite, finite_far, kept))
    return pd.DataFrame(rows, columns=["function", "value_off", "slope_off", "finite", "finite_far", "kept"])


def exports(names: Iterable[str]) -> pd.DataFrame:
    """Whether functions leave Python: as programs of `torch.export`, for batches of any size, and from there as ONNX.

    Returns:
        Columns function, off (the program's largest difference from the function, on a batch of another size), onnx
        (yes, or why not; tests compare where ONNX is installed).
    """
    x, other = torch.linspace(-3, 3, 8 * 33).reshape(8, 33), torch.linspace(-3, 3, 5 * 33).reshape(5, 33)
    rows = []
    for name in (zoo.entry(name).name for name in names):
        module, sizes = zoo.get(name)(), {0: torch.export.Dim("batch", min=2)}
        program = torch.export.export(module, (x,), dynamic_shapes=(sizes,)).module()
        off = (program(other) - module(other)).abs().max().item()
        rows.append((name, off, NO_ONNX.get(name, "yes")))
    return pd.DataFrame(rows, columns=["function", "off", "onnx"])


def _value_and_slope(function, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.clone().requires_grad_()
    y = function(x)
    return y.detach(), torch.autograd.grad(y.sum(), x)[0]
