"""The paper's claims, part by part: its number, ours, and a verdict by a rule of `claim_rules` (all rules ours).

Everything is read off the committed tables of the laptop profile. A verdict speaks of this lab and these data sets; one
on Table 1, or on what the search found in the lab, of the multiverse of labs as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from actlab.core import paper, records, stats
from actlab.core.records import ROOT
from actlab.scoring import summaries
from actlab.studies.claim_rules import (
    ALIKE,
    COUPLED,
    DISCOVERED,
    LABS,
    NAMES,
    NOT,
    PAIRS,
    PARTS,
    POINTWISE,
    RUNS,
    SUPPORTED,
    UNDECIDED,
    UNTESTED,
    VARIANTS,
)

KINDS = ("images", "algorithms", "molecules")
SPLITS = {"in-distribution": "in distribution", "ood": "OOD"}
TRANSFER = ("downstream", "figure_6", "lab_transfer_agreement")
GENERALITY = ("generality_compared", "generality_winner")
RAW = "ours, raw scores"  # the panel of Figure 6
RECORDS = {  # what a notebook reads
    "08_constants": "make lab-records", "09_search_arms": "make compare-search", "13_transfer": "make transfer",
    "14_multiverse": "make multiverse", "15_generality": "make generality",
}  # fmt: skip
HERE = "17_claims"
SEARCH_WITH_MODEL = (
    ".venv/bin/python -m actlab search --profile laptop --proposer grammar=0.5,claude=0.5 --cap 5 --out RUN"
)
LATER = "`make transfer`, then notebook 13"  # makes what is not there yet
LATER_LABS = "`make generality`, then notebook 15"
MULTIVERSE = ("multiverse_shares.png", "14_multiverse")  # stands beside a part's own picture and notebook
OF = {"better": SUPPORTED, "worse": NOT, "undecided": UNDECIDED}  # where the first one is claimed to be better
OF_OTHER = {"worse": SUPPORTED, "better": NOT, "undecided": UNDECIDED}  # where the other one is


@dataclass(frozen=True)
class Reading:
    """What a part comes to: the paper's number, ours, what ours rests on, and the verdict."""

    paper: str
    ours: str
    n: str
    verdict: str


def table(folder: Path = ROOT / "figures") -> pd.DataFrame:
    """The claims, a row a part, from the laptop tables of a folder.

    Returns:
        Columns number, part, text, paper (its number, where it gives one), ours (95 % intervals in brackets), n,
        verdict (one of `claim_rules.VERDICTS`), rule, change, figure (a file of `folder`, "" where it is not made yet),
        notebook, sources (names of tables of `folder`, spaces between them), statement (of the multiverse's; "" where
        it has none), command. Without the tables of transfer, or of generality, which take hours, what rests on them
        is not tested.

    Raises:
        FileNotFoundError: where a table is missing; of these, where some are there and others not.
        ValueError: where a table lacks a row that a rule asks for.
    """
    readings = {"1": Reading("claimed", "no language model was asked", "", UNTESTED)}
    readings |= _search(folder) | _generality(folder) | _lab(folder) | _transfer(folder) | _constants(folder)
    rows = []
    for part in PARTS:
        row = asdict(part) | {"number": int(part.name[0]), "part": part.name, "command": command_of(part.notebook)}
        row["sources"] = " ".join((*part.sources, LABS) if part.statement else part.sources)
        if part.name == "1":
            row["command"] = SEARCH_WITH_MODEL
        if readings[part.name].verdict == UNTESTED and not (folder / part.figure).is_file():
            row["figure"] = ""
        if readings[part.name].verdict == UNTESTED and not (ROOT / "notebooks" / f"{part.notebook}.ipynb").is_file():
            row["notebook"] = HERE
        rows.append(row | asdict(readings[part.name]))
    columns = ["number", "part", "text", "paper", "ours", "n", "verdict", "rule", "change", "figure", "notebook"]
    return pd.DataFrame(rows)[[*columns, "sources", "statement", "command"]]


def places(row: Any) -> list[tuple[str, str, str]]:
    """A row's picture ("" where there is none yet), notebook and command, and those of the multiverse if it counts."""
    own = (row.figure, row.notebook, row.command)
    return [own, (*MULTIVERSE, command_of(MULTIVERSE[1]))] if row.statement else [own]


def rules(claims: pd.DataFrame, number: int) -> str:
    """A claim's rules, and what would change our mind, in Markdown; parts with the same words stand together."""
    groups = claims[claims["number"] == number].groupby(["rule", "change"], sort=False)["part"]
    lines = (
        f"- **{', '.join(parts)}** {rule} *What would change our mind:* {other}" for (rule, other), parts in groups
    )
    return "\n".join(lines)


def results(claims: pd.DataFrame, number: int) -> str:
    """A claim's numbers and verdicts as a table in Markdown."""
    return summaries.markdown(claims.loc[claims["number"] == number, ["part", "text", "paper", "ours", "n", "verdict"]])


def pictures(claims: pd.DataFrame, number: int) -> list[str]:
    """The files of a claim's pictures, once each; a part whose picture is not made yet has none."""
    rows = claims[claims["number"] == number].itertuples()
    return list(dict.fromkeys(figure for row in rows for figure, *_ in places(row) if figure))


def show(claims: pd.DataFrame, number: int, folder: Path) -> None:
    """Shows a claim in a notebook: its rules, its results and its pictures, which are files of `folder`."""
    from IPython.display import Image, display

    from actlab.report import page  # loads torch, which the readme does without

    page.say(rules(claims, number))
    page.say(results(claims, number))
    for name in pictures(claims, number):
        display(Image(folder / name))


def command_of(notebook: str) -> str:
    """What makes a notebook's numbers: the verb of its records first, where it reads some that take long."""
    make = f"make build/laptop/notebooks/{notebook}.ipynb"
    return f"{RECORDS[notebook]} && {make}" if notebook in RECORDS else make


# --- verdicts -------------------------------------------------------------------------------------


def decided(supported: bool, refuted: bool) -> str:
    """The verdict by what supports a part and what refutes it, which counts first."""
    return NOT if refuted else SUPPORTED if supported else UNDECIDED


def above(low: Any, high: Any, aim: float = 0.5) -> str:
    """The verdict where an interval, or each of several, has to lie above an aim; refuted where all lie below it."""
    return decided(np.all(low > aim), np.all(high < aim))


def below(low: Any, high: Any, aim: float) -> str:
    """The verdict where an interval has to lie below an aim."""
    return above(-high, -low, -aim)


BY_WORDS = {  # a part's verdict by those of its comparisons, which are read as a list
    "2c": lambda words: decided(set(words) == {"better"}, "worse" in words),
    "4a": lambda words: decided(set(words) == {"better"}, "worse" in words),
    "5b": lambda words: decided(set(words) == {"worse"}, "worse" not in words),
    "5d": lambda words: decided("worse" in words, "better" in words),
    "6a": lambda words: decided("better" in words, "worse" in words),
}


def found_elsewhere(relu: str, gelu: str, kinds: Sequence[str] | None, labs: str) -> str:
    """The verdict of 3a, by the comparisons with ReLU and GELU in the default lab and with ReLU on each kind of task.

    `labs` is the verdict of the multiverse on being ahead of GELU; `kinds` is None before the tasks were run.
    """
    if gelu != "better":
        return NOT
    if kinds is None:
        return UNTESTED
    helps = "better" in kinds
    if "worse" in kinds:
        return UNDECIDED if helps else NOT
    return decided(relu == "better" and helps and labs == SUPPORTED, refuted=False)


def best_overall(raw: pd.DataFrame, name: str) -> str:
    """The verdict of 6b, from columns value, low and high by function; ReLU, the reference, has no width of its own."""
    own, others, relu = raw.loc[name], raw.drop([name, "relu"]), raw.loc["relu", "value"]
    behind = own["high"] < relu or (others["low"] > own["value"]).any()
    return decided(own["low"] > max(others["value"].max(), relu), behind)


# --- the search and the lab -----------------------------------------------------------------------


def _search(folder: Path) -> dict[str, Reading]:
    arms, found = records.table(folder, "arms_compared"), records.table(folder, "found")
    parts = {}
    for part, arm, theirs in (("2a", "in-distribution", "claimed"), ("2b", "random sampling", "not given")):
        row = _one(arms, suite="held-out", arm=arm)
        n = f"{row['seeds']} seeds, {row['n']} data sets"
        parts[part] = Reading(theirs, _ratio(row), n, OF_OTHER[row["verdict"]])
    relu, gelu, snake = (_one(found, function=name) for name in ("relu", "gelu", "snake"))
    for part, row in (("3b", relu), ("3c", snake)):
        parts[part] = _with_labs(folder, part, "not given", _ratio(row), row["n"], OF[row["verdict"]])
    ours = f"{summaries.ratio(gelu)} times GELU's loss in the lab, {summaries.ratio(relu)} times ReLU's"
    n, kinds = f"{gelu['n']} data sets", None
    if (compared := _downstream(folder)) is None:
        ours += f"; {LATER}"
    else:
        elsewhere = _asked(compared, ["found"], KINDS, ["in-distribution"])
        kinds, n = list(elsewhere["verdict"]), f"{n}, {_seeds(elsewhere)}"
        ours += f"; in distribution over ReLU: {_listed(elsewhere, 'benchmark')}"
    words, count, labs = _labs(folder, "3a")
    verdict = found_elsewhere(relu["verdict"], gelu["verdict"], kinds, labs)
    return parts | {"3a": Reading("claimed", ours + words, f"{n}, {count} labs", verdict)}


def _generality(folder: Path) -> dict[str, Reading]:
    """Parts on labs that no search has seen; not tested where nothing of them is there yet."""
    if not _there(folder, GENERALITY):
        return {part: Reading("not given", LATER_LABS, "", UNTESTED) for part in ("2c", "3d", "3e")}
    compared, winner = (records.table(folder, name) for name in GENERALITY)
    if (so_far := compared["n"].min()) < RUNS:
        ours = f"{so_far} of {RUNS} runs an arm"
        return {part: Reading("not given", ours, "", UNTESTED) for part in ("2c", "3d", "3e")}
    rows = pd.DataFrame([_one(compared, suite="held-out", against=arm) for arm in ("default lab", "random sampling")])
    words = zip(summaries.intervals(rows, "difference", form="+.2f"), rows["against"], strict=True)
    ours = ", ".join(f"{value} ({arm})" for value, arm in words)
    verdict = BY_WORDS["2c"](list(rows["verdict"]))
    parts = {"2c": Reading("not given", ours, f"{rows['n'].iloc[0]} runs an arm", verdict)}
    for part, name in (("3d", "gelu"), ("3e", "snake")):
        row = _one(winner, reference=name, suite="held-out", stratum="all")
        share = stats.bracketed(row["share"], row["low"], row["high"], ".0%")
        ratio = stats.bracketed(*np.exp(row[["log_ratio", "ratio_low", "ratio_high"]].astype(float)))
        sides = np.array([row["low"] > 0.5, row["ratio_high"] < 0]), np.array([row["high"] < 0.5, row["ratio_low"] > 0])
        ours = f"ahead in {share} of labs; typical ratio {ratio}"
        parts[part] = Reading("not given", ours, f"{row['n']} labs", decided(*map(np.all, sides)))
    return parts


def _lab(folder: Path) -> dict[str, Reading]:
    compared, six = records.table(folder, "comparisons"), records.table(folder, "table_1")
    parts = {}
    for letter, (subject, other) in zip("bdefghi", (("turbulent", "gmtu"), *PAIRS), strict=True):
        row = _one(compared, subject=subject, function=other)
        theirs = f"{paper.TABLE_1[subject].ood / paper.TABLE_1[other].ood:.2f}"
        parts[f"4{letter}"] = _with_labs(folder, f"4{letter}", theirs, _ratio(row), row["n"], OF[row["verdict"]])
    rows = [_one(compared, subject=name, function="gelu") for name in DISCOVERED]
    words = [row["verdict"] for row in rows]
    ours = f"{words.count('better')} of 4 better, {words.count('worse')} worse in the default lab"
    parts["4a"] = _with_labs(folder, "4a", "4 of 4", ours, rows[0]["n"], BY_WORDS["4a"](words))
    train = [_one(six, suite="held-out", function=name) for name in paper.TABLE_1]
    losses = [row.train for row in paper.TABLE_1.values()], [row["train_ratio"] for row in train]
    theirs, spread = (max(each) / min(each) for each in losses)
    verdict = decided(supported=True, refuted=spread > ALIKE)
    parts["4c"] = _with_labs(folder, "4c", f"{theirs:.1f}", f"{spread:.1f}", train[0]["n"], verdict)
    return parts | {"5a": _coupled(folder)}


def _with_labs(folder: Path, name: str, theirs: str, ours: str, n: int, own: str) -> Reading:
    """A part on which the multiverse has a statement: its share of labs besides, and a verdict if both say the same."""
    words, count, labs = _labs(folder, name)
    return Reading(theirs, ours + words, f"{n} data sets, {count} labs", own if own == labs else UNDECIDED)


def _labs(folder: Path, name: str) -> tuple[str, int, str]:
    """What the multiverse says of a part: its shares of labs in words, how many labs, and its verdict."""
    statement = next(part.statement for part in PARTS if part.name == name)
    rows = shares(records.table(folder, LABS), statement)
    values = zip(summaries.intervals(rows, "value", form=".0%"), rows["aggregate"], strict=True)
    words = f"; {statement} in {' and '.join(f'{value} ({by})' for value, by in values)} of the labs"
    if (chance := rows["chance"].iloc[0]) < 0.5:
        words += f", in {chance:.0%} of random orders"
    return words, rows["n"].iloc[0], above(rows["low"], rows["high"])


def shares(labs: pd.DataFrame, statement: str) -> pd.DataFrame:
    """The shares of labs in which a statement of the multiverse holds, a row an aggregate of losses."""
    rows = labs[(labs["what"] == statement) & (labs["measure"] == "share of labs")]
    if rows.empty:
        raise ValueError(f"{LABS}.csv: wanted shares of labs of {statement!r}; came none")
    return rows


def _coupled(folder: Path) -> Reading:
    scores = records.table(folder, "zoo_scores").rename(columns={"log_low": "low", "log_high": "high"})
    known = {name: paper.lab_mean(name) / paper.lab_mean("relu") for name in paper.TABLE_2}
    groups = [[_one(scores, suite="search", function=name) for name in names] for names in (COUPLED, POINTWISE)]
    best, point = (min(rows, key=lambda row: row["log_ratio"]) for rows in groups)
    theirs = [min(known[name] for name in names if name in known) for names in (COUPLED, POINTWISE)]
    ours = ", ".join(f"{NAMES[row['function']]} {summaries.ratio(row)} times ReLU's loss" for row in (best, point))
    verdict = below(best["low"], best["high"], point["log_ratio"])
    return Reading(f"{theirs[0]:.2f}, pointwise {theirs[1]:.2f}", ours, f"{best['n']} data sets", verdict)


def _constants(folder: Path) -> dict[str, Reading]:
    beaten = records.table(folder, "constants_beaten")
    parts = {}
    for letter, form in zip("abcd", paper.FIGURE_7, strict=True):
        row = _one(beaten, form=form)
        _, low, high = map(float, re.findall(r"[\d.]+", row["ood_mse"]))
        parts[f"7{letter}"] = Reading("most", row["ood_mse"], f"{row['draws']} draws", above(low, high))
    return parts


# --- transfer -------------------------------------------------------------------------------------


def _transfer(folder: Path) -> dict[str, Reading]:
    relu, listed = paper.TABLE_2["relu"], [paper.TABLE_2[name] for name in COUPLED if name in paper.TABLE_2]
    worse = sum(row.cifar10_accuracy < relu.cifar10_accuracy for row in listed)
    theirs = {
        "5b": f"{worse} of {len(listed)} worse",
        "5c": f"{sum(row.clrs30_score > relu.clrs30_score for row in listed)} of {len(listed)} better",
        "5d": "{} of {} tasks better".format(*_ahead("turbulent")),
        "6a": "{} of {} tasks better".format(*map(sum, zip(*map(_ahead, VARIANTS), strict=True))),
        "6b": f"first of {len(paper.FIGURE_6)}",
        "8": f"{_paper_agreement():.2f}",
    }
    compared = _downstream(folder)
    if compared is None:
        ours = dict.fromkeys(theirs, (LATER, "", UNTESTED)) | {"8": (f"{LATER}; {_overfit(folder)}", "", UNTESTED)}
    else:
        ours = (
            _images_and_algorithms(compared) | _everywhere(compared, records.table(folder, "figure_6")) | _order(folder)
        )
    return {part: Reading(number, *ours[part]) for part, number in theirs.items()}


def _images_and_algorithms(compared: pd.DataFrame) -> dict[str, tuple[str, str, str]]:
    images = _asked(compared, COUPLED, ["images"], ["in-distribution"])
    bad = list(images["verdict"])
    either = _asked(compared, COUPLED, ["algorithms"], list(SPLITS))
    helped = either.loc[either["verdict"] == "better", "function"].nunique()
    all_worse = set(either.loc[either["split"] == "in-distribution", "verdict"]) == {"worse"}
    top = either.loc[[either["difference"].idxmax()]]
    best = f"{helped} of 4 better; the best is {NAMES[top['function'].item()]}, {_listed(top, 'split')}"
    return {
        "5b": (f"{bad.count('worse')} of 4 worse: {_listed(images, 'function')}", _seeds(images), BY_WORDS["5b"](bad)),
        "5c": (best, _seeds(either), decided(helped > 0, all_worse and not helped)),
    }


def _everywhere(compared: pd.DataFrame, raw: pd.DataFrame) -> dict[str, tuple[str, str, str]]:
    raw = raw[(raw["panel"] == RAW) & (raw["task"] == "mean") & (raw["split"] == "both")]
    raw = raw.set_index("function", drop=False)
    parts = {}
    for part, functions in (("5d", ["turbulent"]), ("6a", VARIANTS)):
        rows = _asked(compared, functions, KINDS, list(SPLITS))
        words = list(rows["verdict"])
        over = ", ".join(f"{NAMES[name]} {_score(_one(raw, function=name))}" for name in functions)
        counts = f"{words.count('better')} of {len(words)} better, {words.count('worse')} worse"
        ours = f"{counts}; times ReLU's score, mean over kinds: {over}"
        parts[part] = (ours, _seeds(rows), BY_WORDS[part](words))
    own = _one(raw, function="gelu-sinc")
    place, first = (raw["value"] > own["value"]).sum() + 1, raw["value"].idxmax()
    ours = f"{_score(own)} times ReLU's score, place {place} of {len(raw)}"
    if place > 1:
        ours += f"; first is {NAMES.get(first, first)} at {_score(raw.loc[first])}"
    return parts | {"6b": (ours, f"{own['n']:.0f} trainings a function", best_overall(raw, "gelu-sinc"))}


def _order(folder: Path) -> dict[str, tuple[str, str, str]]:
    agreed = records.table(folder, "lab_transfer_agreement")
    row = _one(agreed, functions="all", suite="search", task="mean", split="both")
    found = row["spearman"], row["spearman_low"], row["spearman_high"]
    ours = "{:+.2f} [{:+.2f}, {:+.2f}]".format(*found)
    return {"8": (f"{ours}; {_overfit(folder)}", f"{row['n']} functions", below(*found[1:], 0))}


def _overfit(folder: Path) -> str:
    """How many new bests of the search are overfit steps: surely worse on held-out data sets, and on digits."""
    steps, digits = (records.table(folder, name)["parts"] for name in ("parting", "parting_pictures"))
    said = f"{steps.sum()} of {len(steps)} new bests of the search are surely worse on held-out data sets"
    return f"{said}, {digits.sum()} on digits"


def _ahead(name: str) -> tuple[int, int]:
    """On how many of Table 2's four tasks a function is ahead of ReLU, and of how many. [derived]"""
    table = paper.table_2(numeric=True).set_index("function").iloc[:, :4]
    return int((table.loc[name] > table.loc["relu"]).sum()), table.shape[1]


def _paper_agreement() -> float:
    """Spearman's correlation of lab score and downstream rank over the functions of Figure 6. [derived]"""
    lab = pd.Series([-paper.lab_mean(name) for name in paper.FIGURE_6])
    return lab.rank().corr(pd.Series(range(len(lab))))


# --- reading and writing --------------------------------------------------------------------------


def _there(folder: Path, names: Sequence[str]) -> bool:
    """Whether any of these tables is there."""
    return any((folder / f"{name}.csv").is_file() for name in names)


def _downstream(folder: Path) -> pd.DataFrame | None:
    """Planned comparisons with ReLU; None where nothing of transfer is there yet."""
    if not _there(folder, TRANSFER):
        return None
    compared, *_ = (records.table(folder, name) for name in TRANSFER)
    return compared[compared["planned"].astype(bool) & (compared["other"] == "relu")]


def _asked(
    compared: pd.DataFrame, functions: Sequence[str], kinds: Sequence[str], splits: Sequence[str]
) -> pd.DataFrame:
    """The comparisons that a rule asks for, every one of them, in this order."""
    keys = pd.MultiIndex.from_product([functions, kinds, splits], names=["function", "benchmark", "split"])
    rows = compared.set_index(keys.names)
    if lacking := [key for key in keys if list(rows.index).count(key) != 1]:
        raise ValueError(f"downstream.csv: wanted {len(keys)} comparisons with ReLU once each; lacking {lacking[0]}")
    return rows.loc[keys].reset_index()


def _one(table: pd.DataFrame, **wanted: str) -> pd.Series:
    rows = table[(table[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    if len(rows) != 1:
        raise ValueError(f"wanted one row with {wanted}; came {len(rows)}")
    return rows.iloc[0]


def _ratio(row: pd.Series) -> str:
    return summaries.ratio(row) + (", unequal fit" if row["unequal_fit"] else "")


def _score(row: pd.Series) -> str:
    return summaries.ratio(row.rename({"value": "log_ratio"}))


def _listed(rows: pd.DataFrame, by: str) -> str:
    """Differences of scores from ReLU's, each with its interval."""
    words = (NAMES.get(name, SPLITS.get(name, name)) for name in rows[by])
    return ", ".join(map(" ".join, zip(words, summaries.intervals(rows, "difference", form="+.3f"), strict=True)))


def _seeds(rows: pd.DataFrame) -> str:
    low, high = rows["n"].min(), rows["n"].max()
    return f"{low} seeds" if low == high else f"{low} to {high} seeds"
