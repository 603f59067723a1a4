import re
import shlex

from actlab.records import ROOT

GUIDE = (ROOT / "docs" / "guide.md").read_text()


def test_the_code_of_the_guide_runs_from_top_to_bottom(capsys, monkeypatch, tmp_path):
    from actlab import activations, laboratory

    monkeypatch.setattr(activations, "REGISTRY", dict(activations.REGISTRY))
    monkeypatch.setattr(laboratory.Store, "__init__", lambda self: setattr(self, "folder", tmp_path))
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    for block in blocks:
        exec(compile(block, "docs/guide.md", "exec", dont_inherit=True), names)
    assert len(blocks) == 6
    printed = capsys.readouterr().out
    assert "scored" in printed and "in-distribution" in printed and "torch.sin(" in printed
    assert set(names["losses"]["family"]) == {"polynomial", "harmonic", "harmonic2d", "feynman"}
    assert names["records"].loc[names["records"]["split"] == "in-distribution", "value"].item() > 0.5
    assert all(p.grad is not None for p in names["trained"].parameters())
    assert "BentSine(a=0.2)" in printed and "bent-sine, a=0.1 learned" in printed
    assert all(p.grad is not None for p in names["waves"][2].parameters())
    assert names["found"].evaluations == 3


def printed_by_the_package(quoted):
    """Whether a message, with ... or words in capitals where values stand, is a text of the package's sources."""
    files = [ROOT / "Makefile", *sorted((ROOT / "actlab").rglob("*.py"))]
    sources = re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text() for path in files))  # texts over several lines
    parts = re.split(r"\.\.\.|\b(?:FILES|FOLDER|HOW)\b", quoted)
    return re.search(r"[^\n]{0,60}?".join(map(re.escape, parts)), sources) is not None


def test_every_message_that_the_troubleshooting_quotes_is_one_that_is_printed():
    table = GUIDE.partition("## When something goes wrong")[2]
    rows = [re.split(r" \| ", line)[0] for line in table.splitlines() if line.startswith("| ")]
    quoted = [a or b for row in rows for a, b in re.findall(r"``(.+?)``|`([^`]+)`", row)]
    messages = [text for text in quoted if " " in text]
    assert len(messages) >= 10
    assert [text for text in messages if not printed_by_the_package(text)] == []
    assert not printed_by_the_package("... is lacking ...; make transfer makes them")


def test_every_command_of_the_guide_is_one_that_the_command_line_takes():
    from actlab.__main__ import _parser

    commands = re.findall(r"^\.venv/bin/python -m actlab (.+)$", GUIDE, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        assert _parser().parse_args(shlex.split(command)).command in ("search", "show")
    options = set(re.findall(r"`(--[a-z]+)", GUIDE))
    shown = {option for action in _actions(_parser()) for option in action.option_strings}
    assert {"--ask", "--cap", "--replay", "--scheduler"} <= options <= shown


def _actions(parser):
    (commands,) = [action for action in parser._actions if action.choices and action.dest == "command"]
    return [action for command in commands.choices.values() for action in command._actions]


def test_every_verb_that_the_guide_names_is_one_of_the_makefiles():
    verbs = set(re.findall(r"^([a-z-]+):.*?## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z][a-z-]*)[ `]", GUIDE))
    assert named and named <= verbs


def test_every_file_that_the_guide_names_is_there():
    for name in re.findall(r"`((?:actlab|\.github|figures|records|docs|tests)/[^` ]*)`", GUIDE):
        assert (ROOT / name).exists(), name
