"""README's answer and table, and the full account of docs/claims.md, made from the committed laptop tables (ours).

`make readme` writes them anew between their marks; a test holds that they are up to date.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from actlab.core import records, stats
from actlab.core.files import write
from actlab.core.jobs import Runner
from actlab.core.records import ROOT
from actlab.report import claims
from actlab.scoring import summaries
from actlab.studies.claim_rules import LABS, NAMES, NOT, SUPPORTED, UNDECIDED, VERDICTS

FIGURES = ROOT / "figures"
MARKS = ("<!-- make-readme:claims -->", "<!-- end:claims -->")  # of the table, in README.md and in docs/claims.md
ANSWER = ("<!-- make-readme:answer -->", "<!-- end:answer -->")  # README's bullets
FINDINGS = ("<!-- make-readme:findings -->", "<!-- end:findings -->")  # those of docs/claims.md
HEAD = ("claim", "paper", "ours [95 % interval]", "verdict", "picture, notebook, command")
MOST = {SUPPORTED: "most labs", NOT: "few labs", UNDECIDED: "an undecided share of labs"}


@dataclass(frozen=True)
class Line:
    """A row of README's table: one claim in short."""

    claim: str
    part: str = ""  # whose numbers and verdict are shown; "" where each of `beside` has a verdict of its own
    piece: int = 0  # which of the part's results, which semicolons separate
    without: str = ""  # the beginning of that piece, which the row's claim already says
    beside: Mapping[str, str] = field(default_factory=dict)  # parts whose numbers are shown too, with their names
    notebooks: tuple[str, ...] = ()  # in place of the parts' own


LINES = (
    Line("1. A language model's mutations let a search explore all of Python", "1"),
    Line("2a. Selecting by OOD loss beats selecting by in-distribution loss: typical ratio of the latter to the former",
         "2a"),
    Line("3a. Small synthetic data sets suffice: downstream score of the function found minus ReLU's", "3a", piece=1,
         without="in distribution over ReLU: ", notebooks=("05_search", "13_transfer")),
    Line("4a. In the lab, all discovered functions of Table 1 beat GELU: typical ratios to it", "4a",
         beside={f"4{letter}": NAMES[name] for letter, name in zip("efgh", claims.DISCOVERED, strict=True)}),
    Line("4b. Turbulent is the best of them: its typical ratio to GMTU", "4b"),
    Line("5a. In the lab, functions that see other elements of their tensor beat pointwise ones", "5a"),
    Line("5b. On images they fail: accuracy minus ReLU's", "5b"),
    Line("6b. GELU-Sinc is the best overall downstream", "6b"),
    Line("7. Published constants beat most random draws of the same form: share beaten",
         beside={"7a": "GMTU", "7b": "GELUSine", "7c": "GELU-Sinc", "7d": "Turbulent"}),
    Line("8. Better lab scores go with worse transfer: Spearman's correlation", "8"),
)  # fmt: skip


# --- the tables of claims -------------------------------------------------------------------------


def markdown(table: pd.DataFrame) -> str:
    """All parts of all claims (`claims.table`) in Markdown, with pictures, notebooks and commands."""
    rows = []
    for row in table.itertuples():
        links = []
        for figure, notebook, command in claims.places(row):
            links += [f"[picture](../figures/{figure})"] if figure else []
            links += [_notebook(notebook, "../"), f"`{command}`"]
        rows.append((*cells(row), " ".join(links)))
    return _lines(HEAD, rows)


def cells(row: Any) -> tuple[str, str, str, str]:
    """What a row says: the claim, the paper's number, ours with its n, the verdict."""
    return f"{row.part}. {row.text}", row.paper, f"{row.ours} ({row.n})" if row.n else row.ours, row.verdict


def brief(table: pd.DataFrame) -> str:
    """README's table in Markdown: a row each of `LINES`, and below it how many parts have which verdict."""
    parts = table.set_index("part")
    counts = table["verdict"].value_counts().reindex(VERDICTS, fill_value=0)
    words = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    all_of_them = f"All {len(table)} parts of the claims: {words}. Verdicts on the lab need the random labs to agree."
    rows = _lines((*HEAD[:4], "notebook"), [_brief_cells(line, parts) for line in LINES])
    return f"{rows}\n\n{all_of_them}"


def _brief_cells(line: Line, parts: pd.DataFrame) -> tuple[str, ...]:
    named = {name: parts.loc[part] for part, name in line.beside.items()}
    own = [parts.loc[line.part]] if line.part else []
    shown = own or list(named.values())
    ours = [row["ours"].split("; ")[line.piece].removeprefix(line.without) for row in own]
    beside = ", ".join(f"{name} {row['ours'].split('; ')[0]}" for name, row in named.items())
    by = {word: ", ".join(name for name, row in named.items() if row["verdict"] == word) for word in VERDICTS}
    verdict = own[0]["verdict"] if own else "; ".join(f"{word}: {names}" for word, names in by.items() if names)
    notebooks = line.notebooks or dict.fromkeys(notebook for row in shown for _, notebook, _ in claims.places(row))
    theirs = ", ".join(dict.fromkeys(row["paper"] for row in shown))
    return line.claim, theirs, "; ".join(filter(None, (*ours, beside))), verdict, " ".join(map(_notebook, notebooks))


def _lines(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    first, *rest = (f"| {' | '.join(row)} |" for row in (head, *rows))
    return "\n".join((first, "|---" * len(head) + "|", *rest))


def _notebook(name: str, base: str = "") -> str:
    return f"[{name[:2]}]({base}notebooks/{name}.ipynb)"


# --- sentences ------------------------------------------------------------------------------------


def answer(folder: Path = FIGURES) -> str:
    """README's answer in bullets, from the laptop tables of a folder; a test holds its words against them."""
    found = records.table(folder, "found", index_col="function")
    relu, snake = (summaries.ratio(found.loc[name]) for name in ("relu", "snake"))
    trained, labs = records.table(folder, "authors")["trained"].sum(), records.table(folder, LABS)
    tau, ahead = labs[labs["measure"] == "tau"], claims.shares(labs, "Found by search < GELU")
    (tau_mean, tau_typical), (ahead_mean, ahead_typical) = (
        summaries.intervals(rows.set_index("aggregate").loc[["mean", "typical"]], "value", form=form)
        for rows, form in ((tau, ".2f"), (ahead, ".0%"))
    )
    return _bullets(
        "In our lab, none of GELUSine, GELU-Sinc, GMTU and Turbulent beats GELU by *typical ratio*: the geometric "
        "mean, over held-out data sets, of the ratio of two OOD losses. Turbulent, the paper's best, has the highest "
        "loss of the six functions in Table 1.",
        f"Our search, of {trained} programs from ReLU, found `sin(x)-x²`. Its typical ratio to ReLU is {relu}, but at "
        "*unequal fit*: the training losses differ more than twofold. It is not distinguishable from Snake, the "
        f"hand-made `x+sin²(x)`: {snake}.",
        f"Settings matter, and the paper's are unpublished. Over {tau['n'].max()} labs with random settings, Kendall's "
        f"tau with Table 1's order is {tau_mean} by mean loss and {tau_typical} by geometric mean; the function found "
        f"beats GELU in {ahead_mean} and {ahead_typical} of them.",
        "On digits, molecules and algorithms, no function is better than ReLU or GELU after Holm's correction. The one "
        f"found here loses accuracy on digits: {_found_over_relu(folder, 'images')} against ReLU.",
        "Whether selecting by OOD loss helps, and whether lab scores predict transfer, remains undecided.",
    )


def findings(folder: Path = FIGURES) -> str:
    """The findings beside the claims, in bullets, from the laptop tables of a folder."""
    return _bullets(*_over_labs(folder), _why_a_wave(folder), _more_data(folder), *_elsewhere(folder),
                    _learned(folder))  # fmt: skip


def _over_labs(folder: Path) -> tuple[str, str]:
    labs = records.table(folder, LABS)
    shares = {name: claims.shares(labs, f"Found by search < {name}") for name in ("Snake", "GELU", "ReLU")}
    most = {name: MOST[claims.above(rows["low"], rows["high"])] for name, rows in shares.items()}
    ahead = "; ".join(f"{name} in {most[name]} ({_each(rows, '.0%')})" for name, rows in shares.items())
    return (
        f"**{labs['n'].max()} labs drawn at random** ({_notebook('14_multiverse', '../')}; 95 % intervals over labs). "
        f"Kendall's tau with the order of Table 1 is {_each(labs[labs['measure'] == 'tau'], '.2f')}; a random order "
        "has 0.",
        f"**The function found, over these labs**: its loss is lower than that of {ahead}.",
    )


def _why_a_wave(folder: Path) -> str:
    """The hypotheses of notebook 16 by what became of them; the first column of verdicts is against GELU."""
    waves = records.table(folder, "periodicity", index_col="claim").iloc[:, 0].str.split(" (", regex=False).str[0]
    holds, undecided, fails = (
        "; ".join(waves.index[waves == word]) or "none" for word in ("holds", "undecided", "fails")
    )
    return (
        f"**Why a wave?** ({_notebook('16_why_periodicity', '../')}) Four functions with a wave were compared with "
        f"GELU. Hypotheses that hold: {holds}. Undecided: {undecided}. Fail: {fails}."
    )


def _more_data(folder: Path) -> str:
    """Whether the verdicts of the default lab replicate on more data sets of the same lab."""
    few, many = (
        records.table(folder, name, index_col=["subject", "function"])["verdict"]
        for name in ("comparisons", "comparisons_thousand")
    )
    told, open_ = few[few != "undecided"], few[few == "undecided"]
    return (
        f"**A thousand other data sets of the same lab** ({_notebook('06_lab_scores', '../')}, `make paper-lab`, on a "
        f"GPU): {(many[told.index] == told).sum()} of the {len(told)} verdicts replicate, and "
        f"{(many[open_.index] != 'undecided').sum()} of the {len(open_)} undecided comparisons becomes decided."
    )


def _elsewhere(folder: Path) -> tuple[str, ...]:
    agreed = records.table(folder, "lab_transfer_agreement")
    row = agreed.query("functions == 'all' and suite == 'held-out' and task == 'mean' and split == 'both'").iloc[0]
    spearman = stats.bracketed(row["spearman"], row["spearman_low"], row["spearman_high"])
    return (
        f"**Downstream** ({_notebook('13_transfer', '../')}): no function is better than ReLU or GELU after Holm's "
        "correction. The four functions that see other elements of their tensor are worse than ReLU on digits. The "
        "function found is worse than ReLU on digits and, by its interval before correction, on molecules "
        f"({_found_over_relu(folder, 'molecules')}).",
        "**Does the lab's order carry over?** Undecided: Spearman's correlation of the held-out suite with the "
        f"downstream tasks is {spearman} over {row['n']} functions.",
    )


def _found_over_relu(folder: Path, kind: str) -> str:
    """How far the function found is from ReLU on a kind of task in distribution, with its interval."""
    rows = records.table(folder, "downstream")
    rows = rows.query("function == 'found' and other == 'relu' and benchmark == @kind and split == 'in-distribution'")
    (words,) = summaries.intervals(rows, "difference", form=".3f")
    return words


def _learned(folder: Path) -> str:
    """Constants that are learned with the weights, against the published ones."""
    learned = records.table(folder, "learned_constants", index_col="function").sort_values("log_ratio")
    clear, rest = (
        ", ".join(f"{NAMES[name]} {summaries.ratio(row)}" for name, row in rows.iterrows())
        for rows in (learned[learned["high"] < 0], learned[learned["high"] >= 0])
    )
    return (
        f"**Learned constants** ({_notebook('08_constants', '../')}, [figure 9](../figures/figure_9.png)). Constants "
        "that are trained with the weights give a lower loss on the held-out data sets than the published ones for "
        f"{clear} (typical ratios, one training each); the interval includes 1 for {rest}. The training losses fall "
        "too, and by more than the OOD losses except for Snake."
    )


def _each(rows: pd.DataFrame, form: str) -> str:
    """The value of each aggregate with its interval over labs."""
    values = zip(summaries.intervals(rows, "value", form=form), rows["aggregate"], strict=True)
    return ", ".join(f"{value} by the {aggregate} loss" for value, aggregate in values)


def _bullets(*texts: str) -> str:
    return "\n".join(f"- {text}" for text in texts)


# --- writing --------------------------------------------------------------------------------------


def updated(text: str, made: str, marks: tuple[str, str] = MARKS) -> str:
    """A page's text with what was made between two marks; raises ValueError unless each stands once and in order."""
    start, end = marks
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(f"wanted the marks {start} and {end} once each and in order; got others")
    return text[: text.index(start) + len(start)] + f"\n{made}\n" + text[text.index(end) :]


def renewed(text: str, table: pd.DataFrame) -> str:
    """README's text with the answer and the table as the committed tables have them now."""
    return updated(updated(text, brief(table)), answer(), ANSWER)


def in_full(text: str, table: pd.DataFrame) -> str:
    """The text of docs/claims.md with the whole table and the findings as the committed tables have them now."""
    return updated(updated(text, markdown(table)), findings(), FINDINGS)


def options(parser: argparse.ArgumentParser) -> None:
    """Adds no options."""


def main(given: argparse.Namespace, runner: Runner) -> int:
    """Writes README.md and docs/claims.md anew."""
    table = claims.table()
    for name, made in (("README.md", renewed), ("docs/claims.md", in_full)):
        path = ROOT / name
        write(path, made(path.read_text(), table))
    return 0
