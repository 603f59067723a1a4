"""README's table of claims, made from the committed laptop tables, so that the two cannot differ (ours).

python -m actlab.readme writes the table anew between the two marks in README.md; a test holds that it is up to date.
"""

from __future__ import annotations

import pandas as pd

from actlab import claims
from actlab.records import ROOT

MARKS = ("<!-- claims: made by `make readme` from figures/ -->", "<!-- end of claims -->")


def markdown(table: pd.DataFrame) -> str:
    """The table in Markdown: claim, the paper's number, ours, the verdict; and the picture, the notebook, the command.

    Args:
        table: as `claims.table` returns it.
    """
    rows = ["| claim | paper | ours [95 % interval] | verdict | picture, notebook, command |", "|---|---|---|---|---|"]
    for row in table.itertuples():
        ours = f"{row.ours} ({row.n})" if row.n else row.ours
        links = [f"[picture](figures/{row.figure})"] if row.figure else []
        links += [f"[{row.notebook[:2]}](notebooks/{row.notebook}.ipynb)", f"`{row.command}`"]
        rows.append(f"| {row.part}. {row.text} | {row.paper} | {ours} | {row.verdict} | {' '.join(links)} |")
    return "\n".join(rows)


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
    path.write_text(updated(path.read_text(), markdown(claims.table())))
