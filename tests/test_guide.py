import re
import shlex

import pytest

from actlab.__main__ import parser
from actlab.core.records import ROOT, Store
from actlab.report.bench import lab

GUIDE = (ROOT / "docs" / "guide.md").read_text()
NAMES = ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
PAGES = {name: (ROOT / name).read_text() for name in NAMES}


def test_the_code_of_the_guide_runs_from_top_to_bottom(capsys, monkeypatch, tmp_path):
    from actlab.activations import registry
    from actlab.scoring import laboratory

    for name in ("bent-sine",):  # what the guide registers, and other tests must not see
        monkeypatch.setitem(registry.REGISTRY, name, None)
        del registry.REGISTRY[name]
    monkeypatch.setattr(laboratory, "Store", lambda: Store(tmp_path))
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


def spans() -> list[str]:
    """What stands as code in the pages: spans between backticks, and the lines of blocks that are not Python."""
    found = []
    for text in PAGES.values():
        blocks = re.findall(r"```(?:sh)?\n(.*?)```", re.sub(r"```python\n.*?```", "", text, flags=re.DOTALL), re.DOTALL)
        found += [line for block in blocks for line in block.splitlines()]
        found += re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return found


def options_of(verb):
    """How the command line reads the options of a verb."""
    return parser(verb).parse_args


def test_every_command_that_the_pages_show_is_one_that_the_command_line_takes():
    commands = [shlex.split(text.split("-m actlab ")[1]) for text in spans() if "-m actlab " in text]
    assert {command[0] for command in commands} == {"check", "score", "search", "show", "transfer", "unpack"}
    for command in commands:
        options_of(command[0])(command)
    rows = re.findall(r"^\|.*?\| `(--.*?)` \|", PAGES["docs/data.md"], re.MULTILINE)
    assert len(rows) == 5
    for row in rows:
        options_of("transfer")(["transfer", *shlex.split(row)])


def test_every_option_that_the_pages_name_is_one_of_the_command_lines(capsys):
    named = {option for text in spans() if text.startswith("--") for option in re.findall(r"--[a-z][a-z-]*", text)}
    shown = ""
    for verb in ("check", "score", "search", "show", "transfer"):
        with pytest.raises(SystemExit):
            options_of(verb)([verb, "--help"])
        shown += capsys.readouterr().out
    assert {"--ask", "--cap", "--replay", "--scheduler", "--data"} <= named
    assert named <= set(re.findall(r"--[a-z][a-z-]*", shown))


def test_every_verb_that_the_pages_name_is_one_of_the_makefiles():
    verbs = set(re.findall(r"^([a-z-]+):.*?## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for text in spans() for name in re.findall(r"^make ([a-z][a-z-]*)(?![\w/:-])", text)}
    assert {"reproduce", "test"} <= named <= verbs
    parts = {part for text in spans() for part in re.findall(r"^make bench BENCH=(\w+)", text)}
    assert parts and parts <= set(lab.PARTS)


def test_every_file_that_the_pages_name_is_there():
    for name in re.findall(r"`((?:\.github|figures|records|docs|tests|notebooks)/[^` ]*)`", "".join(PAGES.values())):
        assert list(ROOT.glob(name)) or "NN_" in name, name


def test_every_link_of_the_pages_leads_to_a_file():
    for page, text in PAGES.items():
        links = re.findall(r"\]\(([^)#]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        links = [link for link in links if not link.startswith("https://")]
        assert links and all((ROOT / page).parent.joinpath(link).is_file() for link in links), page


def test_the_readme_leads_to_every_page():
    assert all(f"]({page})" in PAGES["README.md"] for page in PAGES if page != "README.md")
