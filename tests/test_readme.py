import pytest

from actlab import readme
from actlab.records import ROOT


def test_the_readmes_claims_are_those_of_the_committed_tables():
    text = (ROOT / "README.md").read_text()
    assert readme.updated(text, readme.claims(ROOT / "figures")) == text, "make readme writes the table anew"


def test_every_claim_has_the_papers_number_ours_with_an_interval_and_a_notebook_that_is_there():
    rows = [row.strip("| ").split(" | ") for row in readme.claims(ROOT / "figures").splitlines()[2:]]
    assert len(rows) >= 8
    for _, _, ours, notebook in rows:
        assert "[" in ours
        assert "]" in ours
        assert (ROOT / notebook[notebook.index("(") + 1 : -1]).is_file()


def test_a_ratio_is_read_off_the_paper_by_hand():
    table = readme.claims(ROOT / "figures")
    assert "| loss of GELU over ReLU | 0.85 |" in table  # 78.8 / 93.1
    assert "| loss of Turbulent over ReLU | 0.32 |" in table  # 29.8 / 93.1


def test_a_readme_without_its_marks_is_refused():
    start, end = readme.MARKS
    with pytest.raises(ValueError, match="wanted the marks"):
        readme.updated(f"{end}\n{start}", "")
    assert readme.updated(f"a\n{start}\nold\n{end}\nb", "new") == f"a\n{start}\nnew\n{end}\nb"
