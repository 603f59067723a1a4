"""The paper's claims, part by part: its number, ours, and a verdict by a rule of `rules` (all rules ours).

Everything is read off the committed tables of the laptop profile. A verdict speaks of this lab and these data sets; one
on Table 1, or on what the search found in the lab, of the multiverse of labs as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from actlab.core import paper
from actlab.core.records import ROOT
from actlab.scoring import summaries
from actlab.studies.claim_rules import (  # fmt: skip
    ALIKE,
    COUPLED,
    DISCOVERED,
    LABS,
    NAMES,
    NOT,
    PAIRS,
    PARTS,
    POINTWISE,
    SUPPORTED,
    UNDECIDED,
    UNTESTED,
    VARIANTS,
    Part,
)

KINDS = ("images", "algorithms", "molecules")
SPLITS = {"in-distribution": "in distribution", "ood": "OOD"}
TRANSFER = ("downstream.csv", "figure_6.csv", "lab_transfer_agreement.csv")
RAW = "ours, raw scores"  # the panel of Figure 6
RECORDS = {  # what a notebook reads
    "08_constants": "make lab-records", "09_search_arms": "make compare-search", "13_transfer": "make transfer",
    "14_multiverse": "make multiverse",
}  # fmt: skip
HERE = "16_claims"
LATER = "`make transfer`, then notebook 13"  # makes what is not there yet
MULTIVERSE = ("multiverse_shares.png", "14_multiverse")  # stands beside a part's own picture and notebook
OF = {"better": SUPPORTED, "worse": NOT, "undecided": UNDECIDED}  # where the first one is claimed to be better
OF_OTHER = {"worse": SUPPORTED, "better": NOT, "undecided": UNDECIDED}  # where the other one is


@dataclass(frozen=True)
class Found:
    """What came out of a part."""

    paper: str
    ours: str
    n: str
    verdict: str


def table(folder: Path = ROOT / "figures") -> pd.DataFrame:
    """The claims, a row a part.

    Args:
        folder: of the laptop tables.

    Returns:
        Columns number, part, text, paper (its number, where it gives one), ours (95 % intervals in brackets), n,
        verdict (one of `claim_rules.VERDICTS`), rule, change, figure (a file of `folder`, "" where it is not made yet),
        notebook, sources (names of tables of `folder`, spaces between them), statement (of the multiverse's; "" where
        it has none), command. Without the tables of transfer, which take hours, what rests on them is not tested.

    Raises:
        FileNotFoundError: where a table is missing; of transfer's, where some are there and others not.
        ValueError: where a table lacks a row that a rule asks for.
    """
    found = {"1": Found("claimed", "no language model was asked", "", UNTESTED)}
    found |= _search(folder) | _lab(folder) | _transfer(folder) | _constants(folder)
    rows = []
    for part in PARTS:
        said, outcome = asdict(part), found[part.name]
        number = {"number": int(part.name[0]), "part": said.pop("name"), "command": _command(part)}
        said["sources"] = " ".join((*part.sources, LABS) if part.statement else part.sources)
        if outcome.verdict == UNTESTED and not (folder / part.figure).is_file():
            said |= {"figure": ""}
        if outcome.verdict == UNTESTED and not (ROOT / "notebooks" / f"{part.notebook}.ipynb").is_file():
            said |= {"notebook": HERE}
        rows.append(number | said | asdict(outcome))
    columns = ["number", "part", "text", "paper", "ours", "n", "verdict", "rule", "change", "figure", "notebook"]
    return pd.DataFrame(rows)[[*columns, "sources", "statement", "command"]]


def places(row: Any) -> list[tuple[str, str, str]]:
    """Where a row of the table comes from: picture ("" where there is none yet), notebook, command; the own one first.

    Rows that heed the multiverse of labs have its place besides.
    """
    own = (row.figure, row.notebook, row.command)
    return [own, (*MULTIVERSE, command_of(MULTIVERSE[1]))] if row.statement else [own]


def rules(claims: pd.DataFrame, number: int) -> str:
    """A claim's rules, and what would change our mind, in Markdown; parts with the same words stand together."""
    parts = claims[claims["number"] == number]
    lines = []
    for (rule, change), same in parts.groupby(["rule", "change"], sort=False):
        lines.append(f"- **{', '.join(same['part'])}** {rule} *What would change our mind:* {change}")
    return "\n".join(lines)


def results(claims: pd.DataFrame, number: int) -> str:
    """A claim's numbers and verdicts as a table in Markdown."""
    parts = claims[claims["number"] == number]
    return summaries.markdown(parts[["part", "text", "paper", "ours", "n", "verdict"]])


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


def _command(part: Part) -> str:
    if part.name == "1":
        return ".venv/bin/python -m actlab search --profile laptop --proposer grammar=0.5,claude=0.5 --cap 5 --out RUN"
    return command_of(part.notebook)


def command_of(notebook: str) -> str:
    """What makes a notebook's numbers: the verb of its records first, where it reads some that take long."""
    make = f"make build/laptop/notebooks/{notebook}.ipynb"
    return f"{RECORDS[notebook]} && {make}" if notebook in RECORDS else make


# --- the search and the lab -----------------------------------------------------------------------


def _search(folder: Path) -> dict[str, Found]:
    arms = _read(folder, "arms_compared.csv")
    parts = {}
    for part, arm, theirs in (("2a", "in-distribution", "claimed"), ("2b", "random sampling", "not given")):
        row = _one(arms, suite="held-out", arm=arm)
        n = f"{row['seeds']} seeds, {row['n']} data sets"
        parts[part] = Found(theirs, _ratio(row), n, OF_OTHER[row["verdict"]])
    found = _read(folder, "found.csv")
    for part, name in (("3b", "relu"), ("3c", "snake")):
        row = _one(found, function=name)
        parts[part] = _heeding(folder, part, "not given", _ratio(row), row["n"], OF[row["verdict"]])
    relu, gelu = (_one(found, function=name) for name in ("relu", "gelu"))
    ours = f"{summaries.ratio(gelu)} times GELU's loss in the lab, {summaries.ratio(relu)} times ReLU's"
    compared = _downstream(folder)
    elsewhere = None if compared is None else _asked(compared, ["found"], KINDS, ["in-distribution"])
    n, kinds = f"{gelu['n']} data sets", None
    if elsewhere is None:
        ours += f"; {LATER}"
    else:
        kinds, n = list(elsewhere["verdict"]), f"{n}, {_seeds(elsewhere)}"
        ours += f"; in distribution over ReLU: {_listed(elsewhere, 'benchmark')}"
    words, count, labs = _labs(folder, "3a")
    verdict = found_elsewhere(relu["verdict"], gelu["verdict"], kinds, labs)
    return parts | {"3a": Found("claimed", ours + words, f"{n}, {count} labs", verdict)}


def found_elsewhere(relu: str, gelu: str, kinds: Sequence[str] | None, labs: str) -> str:
    """The verdict of 3a.

    Args:
        relu: the verdict against ReLU in the default lab.
        gelu: the same against GELU.
        kinds: those against ReLU on each kind of task.
        labs: what the multiverse says of being ahead of GELU, one of `claim_rules.VERDICTS`.
    """
    if gelu != "better":
        return NOT
    if kinds is None:
        return UNTESTED
    if "worse" in kinds:
        return UNDECIDED if "better" in kinds else NOT
    return SUPPORTED if relu == "better" and "better" in kinds and labs == SUPPORTED else UNDECIDED


def _lab(folder: Path) -> dict[str, Found]:
    compared, six = _read(folder, "comparisons.csv"), _read(folder, "table_1.csv")
    published = {name: row.ood for name, row in paper.TABLE_1.items()}
    parts = {}
    pairs = dict(zip("defghi", PAIRS, strict=True)) | {"b": ("turbulent", "gmtu")}
    for letter, (subject, other) in pairs.items():
        row = _one(compared, subject=subject, function=other)
        theirs = f"{published[subject] / published[other]:.2f}"
        parts[f"4{letter}"] = _heeding(folder, f"4{letter}", theirs, _ratio(row), row["n"], OF[row["verdict"]])
    rows = [_one(compared, subject=name, function="gelu") for name in DISCOVERED]
    verdicts = [row["verdict"] for row in rows]
    ours = f"{verdicts.count('better')} of 4 better, {verdicts.count('worse')} worse in the default lab"
    parts["4a"] = _heeding(folder, "4a", "4 of 4", ours, rows[0]["n"], all_better(verdicts))
    train = [_one(six, suite="held-out", function=name)["train_ratio"] for name in paper.TABLE_1]
    theirs = [row.train for row in paper.TABLE_1.values()]
    spread = max(train) / min(train)
    n, verdict = _one(six, suite="held-out", function="relu")["n"], SUPPORTED if spread <= ALIKE else NOT
    parts["4c"] = _heeding(folder, "4c", f"{max(theirs) / min(theirs):.1f}", f"{spread:.1f}", n, verdict)
    return parts | {"5a": _coupled(folder)}


def all_better(verdicts: Sequence[str]) -> str:
    """The verdict of 4a: supported where all are better, not supported where one is worse."""
    if "worse" in verdicts:
        return NOT
    return SUPPORTED if set(verdicts) == {"better"} else UNDECIDED


def _heeding(folder: Path, name: str, theirs: str, ours: str, n: int, own: str) -> Found:
    """What came out of a part on which the multiverse has a statement: its shares of labs, and a verdict by both."""
    words, count, labs = _labs(folder, name)
    return Found(theirs, ours + words, f"{n} data sets, {count} labs", agreed(own, labs))


def _labs(folder: Path, name: str) -> tuple[str, int, str]:
    """What the multiverse says of a part: its shares of labs in words, how many labs, and its verdict."""
    statement = next(part.statement for part in PARTS if part.name == name)
    labs = _read(folder, f"{LABS}.csv")
    rows = labs[(labs["what"] == statement) & (labs["measure"] == "share of labs")]
    if rows.empty:
        raise ValueError(f"{LABS}.csv: wanted shares of labs of {statement!r}; came none")
    each = [f"{row.value:.0%} [{row.low:.0%}, {row.high:.0%}] ({row.aggregate})" for row in rows.itertuples()]
    words = f"; {statement} in {' and '.join(each)} of the labs"
    if (chance := rows["chance"].iloc[0]) < 0.5:
        words += f", in {chance:.0%} of random orders"
    return words, rows["n"].iloc[0], over_labs(rows)


def over_labs(rows: pd.DataFrame) -> str:
    """The multiverse's verdict: on which side of one half the intervals of a statement's shares of labs all lie."""
    return SUPPORTED if (rows["low"] > 0.5).all() else NOT if (rows["high"] < 0.5).all() else UNDECIDED


def agreed(own: str, labs: str) -> str:
    """The verdict of the default lab where the multiverse has the same; else it is undecided."""
    return own if own == labs else UNDECIDED


def _coupled(folder: Path) -> Found:
    scores = _read(folder, "zoo_scores.csv").rename(columns={"log_low": "low", "log_high": "high"})
    rows = {name: _one(scores, suite="search", function=name) for name in (*COUPLED, *POINTWISE)}
    best, point = (min(names, key=lambda name: rows[name]["log_ratio"]) for names in (COUPLED, POINTWISE))
    known = {name: paper.lab_mean(name) / paper.lab_mean("relu") for name in paper.TABLE_2}
    theirs = [min(known[name] for name in names if name in known) for names in (COUPLED, POINTWISE)]
    ours = ", ".join(f"{NAMES[name]} {summaries.ratio(rows[name])} times ReLU's loss" for name in (best, point))
    verdict = wins(rows[best], rows[point]["log_ratio"])
    return Found(f"{theirs[0]:.2f}, pointwise {theirs[1]:.2f}", ours, f"{rows[best]['n']} data sets", verdict)


def wins(best: pd.Series, aim: float) -> str:
    """The verdict of 5a, from the interval low to high of a log ratio, and another function's estimate."""
    return NOT if best["low"] > aim else SUPPORTED if best["high"] < aim else UNDECIDED


def _constants(folder: Path) -> dict[str, Found]:
    beaten = _read(folder, "constants_beaten.csv")
    parts = {}
    for letter, form in zip("abcd", paper.FIGURE_7, strict=True):
        row = _one(beaten, form=form)
        _, low, high = map(float, re.findall(r"[\d.]+", row["ood_mse"]))
        verdict = SUPPORTED if low > 0.5 else NOT if high < 0.5 else UNDECIDED
        parts[f"7{letter}"] = Found("most", row["ood_mse"], f"{row['draws']} draws", verdict)
    return parts


# --- transfer -------------------------------------------------------------------------------------


def _transfer(folder: Path) -> dict[str, Found]:
    scores = {name: row.cifar10_accuracy for name, row in paper.TABLE_2.items()}
    listed = [name for name in COUPLED if name in scores]
    clrs = [paper.TABLE_2[name].clrs30_score > paper.TABLE_2["relu"].clrs30_score for name in listed]
    theirs = {
        "5b": f"{sum(scores[name] < scores['relu'] for name in listed)} of {len(listed)} worse",
        "5c": f"{sum(clrs)} of {len(clrs)} better",
        "5d": "{} of {} tasks better".format(*_ahead("turbulent")),
        "6a": "{} of {} tasks better".format(*map(sum, zip(*map(_ahead, VARIANTS), strict=True))),
        "6b": f"first of {len(paper.FIGURE_6)}",
        "8": f"{_paper_agreement():.2f}",
    }
    compared = _downstream(folder)
    if compared is None:
        beside = {"8": f"; {_parting(folder)}"}
        return {part: Found(number, LATER + beside.get(part, ""), "", UNTESTED) for part, number in theirs.items()}
    ours = _images_and_algorithms(compared) | _everywhere(compared, _read(folder, "figure_6.csv")) | _order(folder)
    return {part: Found(number, *ours[part]) for part, number in theirs.items()}


def _images_and_algorithms(compared: pd.DataFrame) -> dict[str, tuple[str, str, str]]:
    images = _asked(compared, COUPLED, ["images"], ["in-distribution"])
    either = _asked(compared, COUPLED, ["algorithms"], list(SPLITS))
    inside = either[either["split"] == "in-distribution"]
    bad, helped = (images["verdict"] == "worse").sum(), either[either["verdict"] == "better"]["function"].nunique()
    top = either.loc[[either["difference"].idxmax()]]
    return {
        "5b": (f"{bad} of 4 worse: {_listed(images, 'function')}", _seeds(images), fail_on_images(images["verdict"])),
        "5c": (
            f"{helped} of 4 better; the best is {NAMES[top['function'].item()]}, {_listed(top, 'split')}",
            _seeds(either), may_help(inside["verdict"], either["verdict"]),
        ),
    }  # fmt: skip


def fail_on_images(verdicts: Sequence[str]) -> str:
    """The verdict of 5b: supported where all are worse, not supported where none is."""
    worse = [verdict == "worse" for verdict in verdicts]
    return SUPPORTED if all(worse) else UNDECIDED if any(worse) else NOT


def may_help(inside: Sequence[str], either: Sequence[str]) -> str:
    """The verdict of 5c: supported where one is better, not supported where all are worse in distribution."""
    if "better" in list(either):
        return SUPPORTED
    return NOT if set(inside) == {"worse"} else UNDECIDED


def _everywhere(compared: pd.DataFrame, raw: pd.DataFrame) -> dict[str, tuple[str, str, str]]:
    raw = raw[(raw["panel"] == RAW) & (raw["task"] == "mean") & (raw["split"] == "both")].set_index("function")
    parts = {}
    for part, functions in (("5d", ["turbulent"]), ("6a", VARIANTS)):
        rows = _asked(compared, functions, KINDS, list(SPLITS))
        better, worse = ((rows["verdict"] == word).sum() for word in ("better", "worse"))
        over = ", ".join(f"{NAMES[name]} {_score(_row(raw, name))}" for name in functions)
        verdict = nowhere(rows["verdict"]) if part == "5d" else do_well(rows["verdict"])
        ours = f"{better} of {len(rows)} better, {worse} worse; times ReLU's score, mean over kinds: {over}"
        parts[part] = (ours, _seeds(rows), verdict)
    own = _row(raw, "gelu-sinc")
    place, first = (raw["value"] > own["value"]).sum() + 1, raw["value"].idxmax()
    ours = f"{_score(own)} times ReLU's score, place {place} of {len(raw)}"
    if place > 1:
        ours += f"; first is {NAMES.get(first, first)} at {_score(raw.loc[first])}"
    return parts | {"6b": (ours, f"{own['n']:.0f} trainings a function", best_overall(raw, "gelu-sinc"))}


def nowhere(verdicts: Sequence[str]) -> str:
    """The verdict of 5d: not supported where one is better, supported where none is and one is worse."""
    if "better" in list(verdicts):
        return NOT
    return SUPPORTED if "worse" in list(verdicts) else UNDECIDED


def do_well(verdicts: Sequence[str]) -> str:
    """The verdict of 6a: not supported where one is worse, supported where none is and one is better."""
    if "worse" in list(verdicts):
        return NOT
    return SUPPORTED if "better" in list(verdicts) else UNDECIDED


def best_overall(raw: pd.DataFrame, name: str) -> str:
    """The verdict of 6b, from columns value, low and high by function; ReLU, the reference, has no width of its own."""
    own, others = raw.loc[name], raw.drop([name, "relu"])
    if own["low"] > max(others["value"].max(), raw.loc["relu", "value"]):
        return SUPPORTED
    below = own["high"] < raw.loc["relu", "value"]
    return NOT if below or (others["low"] > own["value"]).any() else UNDECIDED


def _order(folder: Path) -> dict[str, tuple[str, str, str]]:
    agreed = _read(folder, "lab_transfer_agreement.csv")
    row = _one(agreed, functions="all", suite="search", task="mean", split="both")
    low, high = row["spearman_low"], row["spearman_high"]
    ours = f"{row['spearman']:+.2f} [{low:+.2f}, {high:+.2f}]; {_parting(folder)}"
    return {"8": (ours, f"{row['n']} functions", SUPPORTED if high < 0 else NOT if low > 0 else UNDECIDED)}


def _parting(folder: Path) -> str:
    parts = _read(folder, "parting.csv")["parts"]
    said = f"{parts.sum()} of {len(parts)} new bests of the search are surely worse on held-out data sets"
    digits = _read(folder, "parting_pictures.csv")["parts"]
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


def _read(folder: Path, name: str) -> pd.DataFrame:
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: wanted a table of the laptop profile, made by make reproduce; came none")
    return pd.read_csv(path)


def _downstream(folder: Path) -> pd.DataFrame | None:
    """Planned comparisons with ReLU; None where nothing of transfer is there yet."""
    if not any((folder / name).is_file() for name in TRANSFER):
        return None
    compared, *_ = (_read(folder, name) for name in TRANSFER)
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


def _row(table: pd.DataFrame, name: str) -> pd.Series:
    return _one(table.reset_index(), function=name)


def _ratio(row: pd.Series) -> str:
    return summaries.ratio(row) + (", unequal fit" if row["unequal_fit"] else "")


def _score(row: pd.Series) -> str:
    return summaries.ratio(row.rename({"value": "log_ratio"}))


def _listed(rows: pd.DataFrame, by: str) -> str:
    """Differences of scores from ReLU's, each with its interval and verdict."""
    words = [NAMES.get(name, SPLITS.get(name, name)) for name in rows[by]]
    return ", ".join(
        f"{word} {row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        for word, row in zip(words, rows.itertuples(), strict=True)
    )


def _seeds(rows: pd.DataFrame) -> str:
    low, high = rows["n"].min(), rows["n"].max()
    return f"{low} seeds" if low == high else f"{low} to {high} seeds"
