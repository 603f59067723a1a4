"""README's table of claims, made from the committed laptop tables, so that the two cannot differ (ours).

python -m actlab.readme writes the table anew between the two marks in README.md; a test holds that it is up to date.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from actlab import paper, plotting, tables
from actlab.records import ROOT

MARKS = ("<!-- claims: made by `make readme` from figures/ -->", "<!-- end of claims -->")
PAIRS = (  # subject and other of the lab's claims, in the paper's order
    ("gelu", "relu"),
    ("gelu-sine", "gelu"),
    ("gelu-sinc", "gelu"),
    ("gmtu", "gelu"),
    ("turbulent", "relu"),
    ("turbulent", "gmtu"),
)
NOTEBOOKS = {
    "search": "05_search", "scores": "06_lab_scores", "constants": "08_constants", "arms": "09_search_arms",
}  # fmt: skip
ARMS = {  # controls of the search, in words
    "in-distribution": "loss of selecting inside the training range over selecting outside",
    "random sampling": "loss of random sampling over the search, at equal evaluations",
}


def claims(folder: Path) -> str:
    """The table in Markdown: claim, the paper's number, ours with its interval, and the notebook.

    Args:
        folder: of the laptop tables comparisons.csv, found.csv, arms_compared.csv and constants_beaten.csv.

    Raises:
        FileNotFoundError: where one of the tables is missing.
    """
    rows = ["| claim | paper | ours [95 % interval] | notebook |", "|---|---|---|---|"]
    compared = pd.read_csv(folder / "comparisons.csv").set_index(["subject", "function"], drop=False)
    published = paper.table_1().set_index("function")["ood_mse"]
    for subject, other in PAIRS:
        claim = f"loss of {plotting.label(subject)} over {plotting.label(other)}"
        theirs = f"{published[subject] / published[other]:.2f}"
        rows.append(_row(claim, theirs, _verdict(compared.loc[(subject, other)]), "scores"))
    found = pd.read_csv(folder / "found.csv")
    hand_made = found[~found["function"].isin(published.index)]
    for row in (found[found["function"] == "relu"].iloc[0], *(row for _, row in hand_made.iterrows())):
        claim = f"loss of the function found by search over {plotting.label(row['function'])}"
        rows.append(_row(claim, "not given", _verdict(row), "search"))
    arms = pd.read_csv(folder / "arms_compared.csv").set_index(["suite", "arm"], drop=False)
    rows += [_row(claim, "not given", _verdict(arms.loc[("held-out", arm)]), "arms") for arm, claim in ARMS.items()]
    for row in pd.read_csv(folder / "constants_beaten.csv").itertuples():
        claim = f"share of random constants that {plotting.label(row.form)}'s own beat"
        rows.append(_row(claim, "most", f"{row.ood_mse} of {row.draws}", "constants"))
    return "\n".join(rows)


def _row(claim: str, theirs: str, ours: str, notebook: str) -> str:
    name = NOTEBOOKS[notebook]
    return f"| {claim} | {theirs} | {ours} | [{name[:2]}](notebooks/{name}.ipynb) |"


def _verdict(row: pd.Series) -> str:
    fit = ", unequal fit" if row["unequal_fit"] else ""
    return f"{tables.ratio(row)}: {row['verdict']}{fit}"


def updated(text: str, table: str) -> str:
    """README's text with the table between the marks.

    Raises:
        ValueError: where a mark is not there, once each and in order.
    """
    start, end = MARKS
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(f"README.md: wanted the marks {start} and {end} once each and in order; got others")
    return text[: text.index(start) + len(start)] + f"\n{table}\n" + text[text.index(end) :]


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(updated(path.read_text(), claims(ROOT / "figures")))
