import re

from actlab.records import ROOT

GUIDE = (ROOT / "docs" / "guide.md").read_text()


def test_the_code_of_the_guide_runs_from_top_to_bottom(capsys, monkeypatch, tmp_path):
    from actlab import laboratory

    monkeypatch.setattr(laboratory.Store, "__init__", lambda self: setattr(self, "folder", tmp_path))
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    for block in blocks:
        exec(compile(block, "docs/guide.md", "exec", dont_inherit=True), names)
    assert len(blocks) == 5
    printed = capsys.readouterr().out
    assert "scored" in printed and "in-distribution" in printed and "torch.sin(" in printed
    assert set(names["losses"]["family"]) == {"polynomial", "harmonic", "harmonic2d", "feynman"}
    assert names["records"].loc[names["records"]["split"] == "in-distribution", "value"].item() > 0.5
    assert all(p.grad is not None for p in names["trained"].parameters())
    assert names["found"].evaluations == 3


def test_every_verb_that_the_guide_names_is_one_of_the_makefiles():
    verbs = set(re.findall(r"^([a-z-]+):.*?## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z][a-z-]*)[ `]", GUIDE))
    assert named and named <= verbs


def test_every_file_that_the_guide_names_is_there():
    for name in re.findall(r"`((?:actlab|\.github|figures|records|docs|tests)/[^` ]*)`", GUIDE):
        assert (ROOT / name).exists(), name
