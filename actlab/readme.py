"""README's table of claims and sentences in short, made from the committed laptop tables, so that they agree (ours).

python -m actlab.readme writes both anew between their marks in README.md; a test holds that they are up to date.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pandas as pd

from actlab import claims
from actlab.records import ROOT
from actlab.rules import LABS, NOT, SUPPORTED, UNDECIDED

MARKS = ("<!-- claims: made by `make readme` from figures/ -->", "<!-- end of claims -->")
HEAD = ("claim", "paper", "ours [95 % interval]", "verdict", "picture, notebook, command")
MOST = {SUPPORTED: "in most labs", NOT: "in few labs", UNDECIDED: "in neither most nor few, undecided"}
SHORT = ("<!-- in short: made by `make readme` from figures/ -->", "<!-- end of in short -->")


def markdown(table: pd.DataFrame) -> str:
    """The table in Markdown: claim, the paper's number, ours, the verdict; and the picture, the notebook, the command.

    Args:
        table: as `claims.table` returns it.
    """
    rows = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for row in table.itertuples():
        links = []
        for figure, notebook, command in claims.places(row):
            links += [f"[picture](figures/{figure})"] if figure else []
            links += [f"[{notebook[:2]}](notebooks/{notebook}.ipynb)", f"`{command}`"]
        rows.append(f"| {' | '.join(cells(row))} | {' '.join(links)} |")
    return "\n".join(rows)


def cells(row: Any) -> tuple[str, str, str, str]:
    """What a row says: the claim, the paper's number, ours with its n, the verdict."""
    return f"{row.part}. {row.text}", row.paper, f"{row.ours} ({row.n})" if row.n else row.ours, row.verdict


def short(folder: Path = ROOT / "figures") -> str:
    """The sentences of "In short" on the multiverse of labs and on periodicity, from the laptop tables of a folder."""
    labs = pd.read_csv(folder / f"{LABS}.csv")
    tau = labs[labs["measure"] == "tau"]
    found = {name: labs[labs["what"] == f"Found by search < {name}"] for name in ("Snake", "GELU", "ReLU")}
    found = {name: rows[rows["measure"] == "share of labs"] for name, rows in found.items()}
    ahead = [f"ahead of {name} {MOST[claims.over_labs(rows)]} ({_each(rows, '.0%')})" for name, rows in found.items()]
    waves = pd.read_csv(folder / "periodicity.csv").set_index("claim").iloc[:, 0].str.split(" (", regex=False).str[0]
    groups = {word: "; ".join(waves.index[waves == word]) or "none" for word in ("holds", "undecided", "fails")}
    paragraphs = (
        f"**Over {labs['n'].max()} labs drawn at random** ([14](notebooks/14_multiverse.ipynb); 95 % intervals over "
        f"labs) Kendall's tau with the order of Table 1 is {_each(tau, '.2f')}; a random order has 0. The function "
        f"found is {'; '.join(ahead)}.",
        f"**Why a wave?** ([15](notebooks/15_why_periodicity.ipynb)) Of four functions with a wave against GELU this "
        f"holds: {groups['holds']}. Undecided: {groups['undecided']}. This fails: {groups['fails']}.",
    )
    return "\n".join(textwrap.fill(text, 150, break_long_words=False, break_on_hyphens=False) for text in paragraphs)


def _each(rows: pd.DataFrame, form: str) -> str:
    """The value of each aggregate with its interval over labs."""
    each = (f"{row.value:{form}} [{row.low:{form}}, {row.high:{form}}]" for row in rows.itertuples())
    words = (f"{text} by the {aggregate} loss" for text, aggregate in zip(each, rows["aggregate"], strict=True))
    return ", ".join(words)


def updated(text: str, made: str, marks: tuple[str, str] = MARKS) -> str:
    """README's text with what was made between two marks.

    Raises:
        ValueError: where a mark is not there, once each and in order.
    """
    start, end = marks
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(f"README.md: wanted the marks {start} and {end} once each and in order; got others")
    return text[: text.index(start) + len(start)] + f"\n{made}\n" + text[text.index(end) :]


def renewed(text: str, table: pd.DataFrame) -> str:
    """README's text with the table of claims and the sentences in short as the committed tables have them now."""
    return updated(updated(text, markdown(table)), short(), SHORT)


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(renewed(path.read_text(), claims.table()))
