"""What notebooks show: one caption, one table, one phrase a row; words from outside are never markup."""

from html.parser import HTMLParser

import nbformat
import numpy as np
import pandas as pd
import pytest
from IPython.display import Markdown
from matplotlib.figure import Figure

from actlab.report import executed, page, site


@pytest.fixture
def shown(monkeypatch) -> list[str]:
    """The Markdown that was shown."""
    texts: list[str] = []
    monkeypatch.setattr(page, "display", lambda what: texts.append(what.data if isinstance(what, Markdown) else what))
    return texts


@pytest.mark.parametrize(
    ("n", "said"),
    [
        (48, "n = 48; "),
        (np.int64(48), "n = 48; "),
        ("48 data sets", "n = 48 data sets; "),
        ({"search": 48, "far": 8}, "n = 48 (search), 8 (far); "),
        (pd.Series({"search": 48, "far": 8}), "n = 48 (search), 8 (far); "),
        ("", ""),
    ],
)
def test_a_caption_names_profile_n_and_method(shown, n, said):
    page.caption("Figure 7", "ReLU is best.", profile="smoke", n=n, method=page.WILSON, ours=True)
    assert shown == [f"**Figure 7** [ours] (smoke profile; {said}95 % Wilson intervals). ReLU is best."]


@pytest.mark.parametrize(
    ("profile", "n", "few"), [("smoke", 8, True), ("laptop", "2 seeds", True), ("laptop", 48, False)]
)
def test_a_caption_says_where_groups_are_too_small_for_their_intervals(shown, profile, n, few):
    page.caption("Figure 7", profile=profile, n=n, method=page.T)
    assert shown == [f"**Figure 7** ({profile} profile; n = {n}; {page.T}{', less over groups of two' * few})."]


def test_a_caption_needs_no_more_than_a_name_and_a_profile(shown):
    page.caption("Figure 7", profile="laptop")
    assert shown == ["**Figure 7** (laptop profile)."]


def test_a_table_names_functions_as_readers_know_them_and_rounds(shown):
    page.table(pd.DataFrame({"function": ["relu", "found"], "loss": [0.12345, np.nan], "n": [1, 2]}), digits=2)
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in shown[0].splitlines()]
    assert rows[0] == ["function", "loss", "n"]
    assert rows[2:] == [["ReLU", "0.12", "1"], ["Found by search", "", "2"]]


# Words as a model, a file or a reader may give them, with what each would be if it were read as markup.
MARKUP = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a<b>c", "&lt;b&gt;", "[here](javascript:alert(1))",
    "![x](https://example.org/x.png)", "https://example.org", "www.example.org", "me@example.org", "**bold**", "_so_",
    "~gone~", "`x` <b>", "``", "$x^2$", "\\(x\\)", "# A heading", "- a list", "1. a list", "[a]: https://example.org",
    "a\n\n<div>", "a\r# b", "```mermaid\n<b>\n```", "a | b", "|---|", "x | <i>y</i>",
]  # fmt: skip


def rendered(markdown):
    """Markdown as the report renders it."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A", metadata={"report": NO_ANCHORS})])
    one = executed.Page("a", notebook, "A", "smoke", True, False, "make", (), {})
    return Walked(site.Markdown(one, [one], {}).convert(markdown))


class Walked(HTMLParser):
    """Some HTML: its tags in order, its links, and the text of its cells, list items or paragraphs."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.texts = [], [], []
        self.feed(text)
        self.texts = [one.strip() for one in self.texts]

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("href", "src")]
        self.texts += [""] * (tag in ("td", "th", "li", "p"))

    def handle_data(self, data):
        if self.texts:
            self.texts[-1] += data


NO_ANCHORS = {"anchors": [], "heading": "A"}
TABLE = {"table", "thead", "tbody", "tr", "th", "td", "code"}


@pytest.mark.parametrize("word", MARKUP)
def test_words_from_outside_stay_words_in_tables_and_phrases(shown, word):
    plain = " ".join(word.split())
    page.table(pd.DataFrame({"author": [word, "grammar"], word: [0.5, 1.0]}))
    found = rendered(shown[0])
    assert (set(found.tags) <= TABLE, found.links) == (True, [])
    assert found.texts == ["author", plain, plain, "0.5", "grammar", "1"]
    found = rendered(page.each(pd.Series({"relu": word, word: "grammar"}), "- {name}: {value}", "\n"))
    assert (set(found.tags) <= {"ul", "li", "code"}, found.links) == (True, [])
    assert found.texts == [f"ReLU: {plain}", f"{plain}: grammar"]
    found = rendered(f"It is {page.names([word, 'relu'])}, {page.code(word)}.")
    assert (set(found.tags) <= {"p", "code"}, found.links) == (True, [])
    assert found.texts == [f"It is {plain}, ReLU, {plain}."]


PLAIN = ["grammar", "add a sine", "swap+insert", "leaky_relu", "0.93 [0.90, 0.96] (2 failed)", "GELU < ReLU", "2 * x"]


@pytest.mark.parametrize("word", PLAIN)
def test_plain_words_are_left_alone(word):
    assert page.words(word) == page.name(word) == word


def test_a_column_of_markup_is_shown_as_such(shown):
    page.table(pd.DataFrame({"formula": ["$x$"], "source": ["$x$"], "program": ["`x | y`"]}), markup=["formula"])
    assert shown[0].splitlines()[2] == "| $x$       | `$x$`    | `x \\| y`  |"


def test_a_program_is_shown_in_one_line_without_what_steers_a_terminal():
    assert page.code("x +\n  \x1b[1m1") == "`x + \\x1b[1m1`"


def test_what_is_saved_is_shown_beside_the_laptop_figure(shown, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "ROOT", tmp_path)
    rows = pd.DataFrame({"function": ["relu"], "loss": [0.12345]})
    page.save_table(rows, "losses", tmp_path, digits=2)
    for profile in ("laptop", "smoke"):
        page.save(Figure(), f"losses_{profile}", rows, tmp_path, profile)
    assert (tmp_path / "losses.csv").read_text() == "function,loss\nrelu,0.12345\n"
    assert {path.suffix for path in tmp_path.glob("losses_laptop.*")} == {".png", ".pdf", ".csv"}
    assert ["ReLU" in shown[0], *shown[1:]] == [
        True,
        "There is no `figures/losses_smoke.png` yet; `make reproduce` draws it.",
    ]


def test_each_row_gives_a_phrase():
    rows = {"function": ["relu", "snake"], "verdict": ["better", "undecided"], "log_ratio": np.log([0.5, 2])}
    compared = pd.DataFrame(rows | {"low": np.log([0.4, 1]), "high": np.log([0.6, 4])}, index=["a", "b"])
    assert (
        page.each(compared, "{index}: {ratio} times {function}'s ({verdict})")
        == "a: 0.50 [0.40, 0.60] times ReLU's (better); b: 2.00 [1.00, 4.00] times Snake's (undecided)"
    )
    assert page.each({"relu": 0.25, "far": 1.0}, "{value:.1f} for {name}", ", ") == "0.2 for ReLU, 1.0 for far"
    assert page.each(compared.iloc[:0], "{function}") == page.names([]) == "none"
    assert page.names(["gelu-sine", "found"]) == "GELUSine, Found by search"


def test_a_tally_counts_each_verdict():
    assert page.tally(pd.Series(["worse", "better", "worse"])) == "1 better, 2 worse"
