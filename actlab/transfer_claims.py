"""The paper's claims 5 and 6 about transfer, as statements that planned comparisons decide (section 5; rules ours).

A statement on several comparisons holds where all have the wanted verdict, fails where one has the opposite, and is
undecided otherwise. One that says "may" holds where one has it, and fails where all have the opposite.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from actlab import downstream, plotting

VARIANTS = ("gelu", "gelu-sine", "gelu-sinc")  # GELU and its periodic variants
BEST = "gelu-sinc"  # the best of the paper's Figure 6
OPPOSITE = {"better": "worse", "worse": "better"}
SPLITS = {"in-distribution": "in distribution", "ood": "OOD"}
COLUMNS = ["claim", "statement", "verdict", "better", "worse", "undecided", "evidence"]


def judged(
    compared: pd.DataFrame, over_relu: pd.DataFrame, over_best: pd.DataFrame, coupled: Sequence[str]
) -> pd.DataFrame:
    """The statements with their verdicts.

    Args:
        compared: as `downstream.against` returns it, with ReLU among the references.
        over_relu: as `downstream.overall` returns it, against ReLU.
        over_best: the same against `BEST`.
        coupled: functions that see other elements of their tensor, Turbulent among them.

    Returns:
        Columns claim (its number in the paper's list), statement, verdict (holds, fails, undecided, or not tested:
        without a comparison), better, worse and undecided (how many comparisons came out so), evidence (up to six are
        written out with their intervals: differences of scores in claim 5, mean log ratios of them in claim 6).
    """
    planned = compared[compared["planned"] & (compared["other"] == "relu")]
    planned = planned.rename(columns={"difference": "value"})
    kinds = {kind: planned[planned["benchmark"] == kind] for kind in ("images", "algorithms")}
    images, algorithms = (part[part["function"].isin(coupled)] for part in kinds.values())
    rows = [
        _row(5, f"{plotting.label(name)} is worse than ReLU on images", images[images["function"] == name], "worse")
        for name in coupled
    ]
    rows.append(_row(5, f"All {len(coupled)} of these are worse than ReLU on images", images, "worse"))
    may = "One that sees other elements is better than ReLU on algorithms, in or out of distribution"
    rows.append(_row(5, may, algorithms, "better", may=True))
    turbulent = planned[planned["function"] == "turbulent"]
    rows.append(_row(5, "Turbulent is worse than ReLU on every task and split", turbulent, "worse"))
    for name in VARIANTS:
        mean = over_relu[over_relu["function"] == name]
        rows.append(_row(6, f"{plotting.label(name)} is better than ReLU in the mean over kinds", mean, "better"))
    best = f"{plotting.label(BEST)} is better than every other function in the mean over kinds"
    flipped = over_best.assign(verdict=over_best["verdict"].replace(OPPOSITE), value=-over_best["value"])
    flipped = flipped.assign(low=-over_best["high"], high=-over_best["low"])
    rows.append(_row(6, best, flipped, "better"))
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(claim: int, statement: str, comparisons: pd.DataFrame, wanted: str, may: bool = False) -> tuple:
    verdicts = comparisons["verdict"].tolist()
    counts = [verdicts.count(word) for word in COLUMNS[3:6]]
    evidence = ""
    if len(comparisons) <= 6:
        effects = downstream.intervals(comparisons, "value", form="+.3f")
        evidence = "; ".join(map("".join, zip(_places(comparisons), effects, strict=True)))
    return claim, statement, _verdict(verdicts, wanted, may), *counts, evidence


def _verdict(verdicts: Sequence[str], wanted: str, may: bool) -> str:
    if not verdicts:
        return "not tested"
    is_so, is_opposite = (any, all) if may else (all, any)
    if is_so(verdict == wanted for verdict in verdicts):
        return "holds"
    return "fails" if is_opposite(verdict == OPPOSITE[wanted] for verdict in verdicts) else "undecided"


def _places(comparisons: pd.DataFrame) -> list[str]:
    """Where each was made; nothing for a mean over kinds."""
    if "task" not in comparisons:
        return [""] * len(comparisons)
    return [f"{row.task}, {SPLITS[row.split]}: " for row in comparisons.itertuples()]


def decided(compared: pd.DataFrame) -> pd.DataFrame:
    """Which functions are better and which worse: columns task, split, against, better, worse, as readers know them."""
    rows = []
    for (task, split, other), part in compared.groupby(["task", "split", "other"], sort=False):
        names = part["function"].map(plotting.label)
        words = (", ".join(names[part["verdict"] == verdict]) or "none" for verdict in ("better", "worse"))
        rows.append((task, SPLITS[split], plotting.label(other), *words))
    return pd.DataFrame(rows, columns=["task", "split", "against", "better", "worse"])
