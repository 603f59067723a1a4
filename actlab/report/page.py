"""What a notebook shows besides its own results: captions and sentences made from records, tables, laptop figures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import Image, Markdown, display
from matplotlib.figure import Figure

from actlab.activations import zoo
from actlab.core import stats
from actlab.core.records import ROOT, read_figure
from actlab.report.figures import style
from actlab.scoring import summaries
from actlab.search.inspect import printable

# How the intervals of a caption were made.
WITHIN = "95 % skewness-corrected t over data sets within families"
PAIRED = "paired by data set, 95 % skewness-corrected t within families, verdicts by Holm's p below 0.05"
WILSON = "95 % Wilson intervals"
T = "95 % skewness-corrected t over seeds"
PAIRED_T = "95 % skewness-corrected paired t over seeds"
CROSSED = "95 % skewness-corrected crossed t over seeds and data sets"
EXACT = "exact values, so no interval"
POINTS = "point estimates without intervals"


def say(text: str) -> None:
    """Shows a sentence, in Markdown; for prose with numbers, which is made from the records that it speaks of."""
    display(Markdown(text))


def caption(what: str, read: str = "", *, profile: str, n: object = "", method: str = "", ours: bool = False) -> None:
    """Shows one paragraph below a figure or a table, or for a result.

    `caption("Figure 7", "ReLU is best.", profile="smoke", n="8 data sets", method=WITHIN)` reads
    **Figure 7** (smoke profile; n = 8 data sets; 95 % skewness-corrected t ..., less over groups of two). ReLU is best.

    That some intervals cover less than 95 % stands behind the method where `n` or `read` speak of two seeds or splits,
    or the profile is smoke, whose search suite has two data sets a family.

    Args:
        what: what is shown or claimed; printed bold.
        read: the sentences that read the result.
        profile: of the records.
        n: what the numbers rest on: a number, a text ("48 data sets, one seed"), or numbers by name.
        method: of the intervals, for example one of this module's; or why there is none.
        ours: not the paper's.
    """
    if isinstance(n, pd.Series | Mapping):
        n = each(n, "{value} ({name})", ", ")
    if "skewness-corrected" in method and (profile == "smoke" or re.search(r"\b2 (seeds|splits)\b", f"{n} {read}")):
        method += f", {stats.FEW}"
    facts = [f"{profile} profile", f"n = {n}" if str(n) else "", method]
    say(f"**{what}**{' [ours]' * ours} ({'; '.join(filter(None, facts))}). {read}".rstrip())


# What Markdown, or MathJax, may read as markup: also an address alone, and what begins a heading or a list.
_MARKUP = re.compile(
    r"[`$\\\r\n]|\*(?=\S)|(?<=\S)\*|(?<!\w)_(?=\S)|(?<=\S)_(?!\w)|~|<(?=[a-z/!?])|&(?=#|\w)|\][(\[]|://|www\.|\w@\w"
    r"|^\s*(?:[#>+-]|\d+[.)])\s|^\s*\[[^]]*\]:",
    re.IGNORECASE,
)


def code(text: str) -> str:
    """A text from outside, such as a program, as a code span of Markdown in one line: nothing in it is markup."""
    line = printable(" ".join(text.split()))
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"`{line or ' '}`"


def words(text: str) -> str:
    """Words as they are, and as `code` where there may be markup in them, unless they are a code span already."""
    return code(text) if _MARKUP.search(text) and not re.fullmatch("`[^`\n]+`", text) else text


def table(rows: pd.DataFrame, digits: int = 4, markup: Sequence[str] = ()) -> None:
    """Shows a table, with functions by the names that readers know and numbers with so many decimals.

    Texts are `words`, but in the columns `markup`, which hold Markdown on purpose.
    """
    shown = rows.map(name)
    shown[list(markup)] = rows[list(markup)]
    say(summaries.markdown(shown.rename(columns=lambda head: words(str(head))), digits))


def save_table(rows: pd.DataFrame, name: str, folder: Path, digits: int = 4) -> None:
    """Shows a table and writes it to a folder, as `style.save_table` does."""
    style.save_table(rows, name, folder)
    table(rows, digits)


def save(fig: Figure, name: str, data: pd.DataFrame, folder: Path, profile: str) -> None:
    """Writes a figure and its data to a folder, as `style.save` does, and shows the committed laptop figure."""
    style.save(fig, name, data, folder)
    committed(name, profile)


def name(value: Any) -> Any:
    """A function of the zoo, or the one found, as readers know it; another text as `words`; anything else as it is."""
    if not isinstance(value, str):
        return value
    known = value in zoo.REGISTRY or value in style.BESIDE_THE_ZOO
    return words(style.label(value) if known else value)


def names(functions: Iterable[str], empty: str = "none") -> str:
    """Functions as readers know them, in one line: `ReLU, GELU`; `empty` where there are none."""
    return ", ".join(map(name, functions)) or empty


def each(rows: pd.DataFrame | pd.Series | Mapping[Any, Any], form: str, sep: str = "; ", empty: str = "none") -> str:
    """The same phrase for every row of a table: `each(compared, "{ratio} times {function}'s ({verdict})")`.

    Args:
        rows: a table, whose columns are the fields, with `index` and, where it has a log_ratio, low and high, `ratio`
            (`0.93 [0.90, 0.96]`); or values by name, whose fields are `name` and `value`.
        form: of the phrase, as for `str.format`; functions are written as readers know them.
        sep: between phrases.
        empty: where there are no rows.
    """
    if isinstance(rows, pd.DataFrame):
        if {"log_ratio", "low", "high"} <= set(rows.columns):
            rows = rows.assign(ratio=[summaries.ratio(row) for row in rows.itertuples()])
        fields = [{"index": key} | row for key, row in zip(rows.index, rows.to_dict("records"), strict=True)]
    else:
        fields = [{"name": key, "value": value} for key, value in rows.items()]
    return sep.join(form.format(**{key: name(value) for key, value in row.items()}) for row in fields) or empty


def tally(values: pd.Series) -> str:
    """How often each value occurs: `3 better, 1 undecided`, in alphabetical order."""
    return each(values.value_counts().sort_index(), "{value} {name}", ", ")


def committed(name: str, profile: str) -> None:
    """Shows the laptop figure of that name as it is committed, beside what another profile just drew."""
    if profile == "laptop":
        return
    path = ROOT / "figures" / f"{name}.png"
    if path.exists():
        say(f"The committed laptop figure, `figures/{name}.png`:")
        display(Image(read_figure(path)))
    else:
        say(f"There is no `figures/{name}.png` yet; `make reproduce` draws it.")
