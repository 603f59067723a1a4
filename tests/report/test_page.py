"""What notebooks show: one caption, one table, one phrase a row."""

import numpy as np
import pandas as pd
import pytest
from IPython.display import Markdown
from matplotlib.figure import Figure

from actlab.report import page


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
