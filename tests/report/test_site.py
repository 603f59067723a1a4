"""The report: a site whose links all resolve, that loads nothing from the web and says what each page is of."""

import html
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pandas as pd
import pytest

from actlab import __main__
from actlab.core import files, paper
from actlab.core.records import ROOT
from actlab.report import claims, executed
from actlab.report import site as report
from actlab.studies.claim_rules import PARTS

VOID = {"br", "hr", "img", "input", "link", "meta", "wbr"}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Walked(HTMLParser):
    """A page's ids, links and what it loads; raises where a tag is closed that was not open."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids, self.links, self.loads, self.alts, self.tags = [], [], [], [], Counter()
        self.text, self.script, self.open, self.handlers = "", "", [], []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == [], path

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags[tag] += 1
        self.open += [tag] * (tag not in VOID)
        self.ids += [value for name, value in attributes if name == "id"]
        self.links += [value for name, value in attributes if name == "href" and tag == "a"]
        self.loads += [value for name, value in attributes if name in ("src", "srcset", "data", "poster", "background")]
        self.loads += [value for name, value in attributes if name.endswith("href") and tag != "a"]
        self.alts += [given.get("alt")] * (tag == "img")
        self.handlers += [name for name, value in attributes if name.startswith("on") or "script:" in (value or "")]

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert tag not in VOID and self.open.pop() == tag

    def handle_data(self, data):
        if not {"pre", "code", "style", "script"} & set(self.open):
            self.text += data
        self.script += data if "script" in self.open else ""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> dict[str, Walked]:
    """The committed notebooks as pages, by the path of each."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("notebooks", "figures", "README.md"):
        (root / name).symlink_to(ROOT / name)
    index = report.build("laptop", root / "build" / "laptop" / "report", root)
    return {path: Walked(path) for path in sorted(index.parent.glob("*.html"))}


def test_there_is_a_page_a_notebook_and_an_index(site):
    names = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb") if "." not in path.stem}
    assert {path.stem for path in site} == names | {"index"}


def test_every_link_leads_to_a_file_and_an_anchor_that_are_there(site):
    count = 0
    for path, page in site.items():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "data"):
                continue
            target = path.parent / unquote(parts.path) if parts.path else path
            assert parts.scheme == "" and target.is_file() and target.is_relative_to(path.parent)
            assert not parts.fragment or unquote(parts.fragment) in site[target].ids, f"{path.name}: {link}"
            count += 1
    assert count > 300


def test_no_page_loads_anything_from_the_web_or_runs_a_script(site):
    for path, page in site.items():
        assert all(urlsplit(loaded).scheme in ("", "data") for loaded in page.loads), path.name
        assert not {"iframe", "object", "embed", "base", "form"} & page.tags.keys(), path.name
        assert page.tags["script"] == (path.stem == "index"), path.name  # of the search box, which has a test below
        assert not page.handlers, path.name
        away = path.read_text(encoding="utf-8").replace("http://www.w3.org/1998/Math/MathML", "")
        address = r"https?://[^\s\"'<]*"  # in a link, or in what a notebook prints
        printed = re.findall(address, re.sub(r"<[^>]*>", " ", away))
        assert set(re.findall(address, away)) <= {*page.links, *printed}, path.name
    style = next(iter(site)).parent / "style.css"
    assert not re.search(r"@import|url\(", style.read_text())


def test_the_one_script_searches_a_small_index_of_words_and_reaches_nothing_else(site):
    path, page = next((path, page) for path, page in site.items() if path.stem == "index")
    pages, words = (
        json.loads(re.search(rf"const {name} = (.*);$", page.script, re.MULTILINE)[1].replace(",]", "]"))
        for name in ("pages", "words")
    )
    assert [address for address, _ in pages] == sorted(one.name for one in site if one != path)
    assert len(json.dumps(words)) < 150_000
    for word, notebook in (("holm", "17_claims"), ("gelusine", "06_lab_scores"), ("molecules", "12_molecules")):
        assert [address for address, _ in pages].index(f"{notebook}.html") in words[word]
    assert all(re.fullmatch(r"[\w-]+", word) and word == word.lower() for word in words)
    code = re.sub(r"const (?:pages|words) = .*", "", page.script)
    assert set(re.findall(r"(?:document|box|found|line|link)\.(\w+)", code)) == {
        "getElementById", "createElement", "href", "textContent", "append", "value", "replaceChildren", "hidden",
        "addEventListener",
    }  # fmt: skip
    assert not re.search(r"fetch|import|eval|Function|innerHTML|XMLHttp|window|location|https?:", code)


def test_what_notebooks_are_called_cannot_end_the_script(tmp_path):
    root = checkout(tmp_path)
    source = root / "notebooks" / "02_two.ipynb"
    source.write_text(source.read_text().replace("Is it deep?", "Is </script><script>it()</script> deep?"))
    index = report.build("laptop", tmp_path / "out", root, TABLE)
    assert Walked(index).tags["script"] == 1 and "it()<" not in index.read_text()


def test_the_first_screen_has_a_line_a_claim_with_its_verdicts(site):
    text = next(path for path in site if path.stem == "index").read_text()
    first = text.split('<ul class="verdicts">')[1].split("</ul>")[0].strip().splitlines()
    assert text.index('<ul class="verdicts">') < text.index("<p>")
    table = claims.table()
    assert len(first) == len(paper.CLAIMS) == 8
    for line, claim in zip(first, paper.CLAIMS, strict=True):
        assert f'<a href="#claim-{claim.number}">{claim.number}. ' in line
        counts = table.loc[table["number"] == claim.number, "verdict"].value_counts()
        for verdict, count in counts.items():
            assert (verdict if counts.sum() == 1 else f"{count} {verdict}") in line.split("<strong>")[1]


def test_ids_are_there_once_and_pictures_have_words(site):
    for path, page in site.items():
        assert [name for name, count in Counter(page.ids).items() if count > 1] == [], path.name
        assert all(page.alts), path.name


def test_every_formula_is_mathml(site):
    formulas = 0
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            shown = [cell.source] if cell.cell_type == "markdown" else []
            shown += [output.get("data", {}).get("text/markdown", "") for output in cell.get("outputs", [])]
            formulas += sum(len(re.findall(r"\$[^$\n]+\$", text)) for text in shown)
    assert sum(page.tags["math"] for page in site.values()) == formulas > 30
    for path, page in site.items():
        assert "$" not in page.text and "\\" not in page.text, path.name


def drawn(part):
    """Whether the picture of a part is there; those of a long run that goes on are not."""
    return (ROOT / "figures" / part.figure).exists()


def test_every_claim_has_its_words_and_its_own_picture_place_tables_and_commands(site):
    rows = report.measured(executed.pages("laptop", ROOT), claims.table())
    about = (ROOT / "docs" / "claims.md").read_text()
    text = next(path for path in site if path.stem == "index").read_text()
    assert len(rows) == len(PARTS)
    for row, made, part in zip(rows, claims.table().itertuples(), PARTS, strict=True):
        assert f"| {' | '.join(row.cells)} |" in about
        if not drawn(part):
            assert made.verdict == claims.UNTESTED
            continue
        places = zip(row.places, claims.places(made), strict=True)
        for (picture, page, command), (figure, notebook, wanted) in places:
            assert (picture.name + ".png", page.name, command) == (figure, notebook, wanted) and picture.picture
            assert f"<code>{html.escape(command)}</code>" in text and f'href="figures/{picture.name}.png"' in text
            assert f"`{command}`" in about
        assert row.tables and {one.name for one in row.tables} >= set(part.sources)
        assert f'src="figures/{row.places[0][0].name}.png"' in text
        for one in row.tables:
            assert f'href="{one.page}.html#{one.name}"' in text and f'href="figures/{one.name}.csv"' in text


def test_every_table_that_claims_are_read_off_is_named_in_its_part(monkeypatch):
    read, original = set(), claims.records.table
    monkeypatch.setattr(claims.records, "table", lambda folder, name: read.add(name) or original(folder, name))
    table = claims.table()
    named = {name for sources in table["sources"] for name in sources.split()}
    assert read == named - {"authors", *claims.GENERALITY}  # what bears on the claims that are not tested


def test_nothing_that_exists_is_said_not_to_be_drawn_yet(site):
    text = next(path for path in site if path.stem == "index").read_text()
    assert "drawn here yet" not in text
    for kind, count in report.NUMBERED.items():
        for number in range(1, count + 1):
            part = text.split(f'<h3 id="{kind}-{number}">')[1].split("<h3")[0]
            assert f'href="figures/{kind}_{number}.csv"' in part, (kind, number)


def test_what_bears_on_a_claim_is_what_its_parts_are_read_off_and_drawn_in(site):
    text = next(path for path in site if path.stem == "index").read_text()
    for number in range(1, 9):
        part = text.split(f'<li id="claim-{number}"')[1].split("</ul></li>")[0]
        for one in PARTS:
            if one.name[0] == str(number) and drawn(one):
                assert all(f"#{name}" in part for name in (*one.sources, one.figure.removesuffix(".png")))


def test_every_committed_figure_and_table_is_in_the_index(site):
    links = next(page.links for path, page in site.items() if path.stem == "index")
    for path in (ROOT / "figures").glob("*.csv"):
        assert f"figures/{path.name}" in links


SAVES = """import numpy as np
plotting.save(fig, "figure_2", table[["a", "b"]], folder)
plotting.save_table(rows, "rows", folder)
save_table(rows, name="more", folder=folder)
page.committed("figure_2", profile)"""
PROSE = """## The verdict on claim 4

$x^2$, [two](02_two.ipynb#Deep), [the data](../figures/rows.csv), [the readme](../README.md), [web](https://a.b)."""


def checkout(root: Path, profile: str = "smoke") -> Path:
    """A checkout of two executed notebooks, a README with one claim, and the files of one figure and one table."""
    v4 = nbformat.v4
    picture = v4.new_output("display_data", {"image/png": PIXEL + "\n"})
    control = v4.new_output("display_data", {executed.WIDGET: {"model_id": "1"}, "text/plain": "FloatSlider()"})
    one = [
        v4.new_markdown_cell("# Does it hold?", id="a"),
        v4.new_code_cell(f"profile = {profile!r}", id="b", metadata={"tags": ["parameters"]}, execution_count=1),
        v4.new_markdown_cell(PROSE, id="c"),
        v4.new_code_cell(SAVES, id="d", execution_count=2, outputs=[picture, control]),
        v4.new_code_cell("%matplotlib inline\nplotting.save_table(again, 'rows', folder)", id="e", execution_count=3),
    ]
    two = [v4.new_markdown_cell("# Is it deep?\n\n## Deep\n\n## Deep", id="a")]
    for name, cells in {"01_one": one, "02_two": two}.items():
        (root / "notebooks").mkdir(parents=True, exist_ok=True)
        nbformat.write(v4.new_notebook(cells=cells), root / "notebooks" / f"{name}.ipynb")
    (root / "figures").mkdir()
    for name in ("figure_2.png", "figure_2.csv", "rows.csv", "bench_lab.csv", "rows.md"):
        (root / "figures" / name).write_text(f"laptop's {name}")
    files.note(root / "figures")
    return root


CLAIM = {"number": 4, "part": "4a", "text": "it holds", "paper": "1.00", "ours": "2.00 [1, 3]", "n": ""}
CLAIM |= {"verdict": "supported", "figure": "figure_2.png", "notebook": "01_one", "sources": "rows"}
CLAIM |= {"statement": "", "command": "make one"}
TABLE = pd.DataFrame([CLAIM])


def test_a_row_of_claims_that_names_what_no_notebook_draws_is_refused(tmp_path):
    pages = executed.pages("laptop", checkout(tmp_path))
    (row,) = report.measured(pages, TABLE)
    picture, page, command = row.places[0]
    assert (picture.name, page.name, command, [one.name for one in row.tables]) == (
        "figure_2", "01_one", "make one", ["rows"],
    )  # fmt: skip
    for other in ({"figure": "gone.png"}, {"notebook": "gone"}, {"sources": "rows gone"}):
        with pytest.raises(report.NotWritten, match="claim 4a: wanted a notebook, or what one draws; came 'gone'"):
            report.measured(pages, TABLE.assign(**other))


def run(root: Path, name: str, profile: str) -> None:
    """Writes what a run of a notebook with a profile would have left."""
    notebook = nbformat.read(root / "notebooks" / f"{name}.ipynb", as_version=4)
    injected = nbformat.v4.new_code_cell(f'# Parameters\nprofile = "{profile}"\n', id="p", execution_count=4)
    injected.metadata.tags = ["injected-parameters"]
    notebook.cells.insert(2, injected)
    folder = root / "build" / profile / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")


def test_what_a_notebook_draws_is_read_off_its_source(tmp_path):
    one, two = executed.pages("laptop", checkout(tmp_path))
    title = "The verdict on claim 4"
    assert one.drawings == (
        executed.Drawing("figure_2", "01_one", 3, title, picture=True),
        executed.Drawing("rows", "01_one", 3, title, picture=False),
        executed.Drawing("more", "01_one", 3, title, picture=False),
    )
    assert (one.title, one.claims, one.command) == (
        "Does it hold?", {4: "claim-4"}, "make build/laptop/notebooks/01_one.ipynb",
    )  # fmt: skip
    assert (two.drawings, two.claims, two.profile) == ((), {}, "not given")


def test_a_page_says_with_which_profile_it_ran_and_whether_it_was_edited_since(tmp_path):
    root = checkout(tmp_path)
    run(root, "01_one", "paper")
    (root / "build" / "paper" / "figures").mkdir()
    (root / "build" / "paper" / "figures" / "rows.csv").write_text("paper's rows")
    files.note(root / "build" / "paper" / "figures")
    one, two = executed.pages("paper", root)
    assert (one.profile, one.ran, one.changed, two.ran) == ("paper", True, False, False)
    assert one.command == "make build/paper/notebooks/01_one.ipynb PROFILE=paper"
    index = report.build("paper", tmp_path / "out", root, TABLE).read_text()
    assert "Profile paper: 1 of 2 notebooks were run with it." in index
    assert "Run with profile paper." in (tmp_path / "out" / "01_one.html").read_text()
    assert "Not run with profile paper" in (tmp_path / "out" / "02_two.html").read_text()
    figures = tmp_path / "out" / "figures"
    assert (figures / "paper" / "rows.csv").read_text() == "paper's rows"
    assert (figures / "rows.csv").read_text() == "laptop's rows.csv"  # what README's table is made from
    assert (figures / "figure_2.csv").read_text() == "laptop's figure_2.csv"
    assert 'href="figures/paper/rows.csv">CSV</a>\n' in index
    assert 'href="figures/figure_2.csv">CSV</a> (profile laptop)' in index

    source = root / "notebooks" / "01_one.ipynb"
    source.write_text(source.read_text().replace("Does it hold?", "Does it still hold?"))
    assert executed.pages("paper", root)[0].changed
    assert not executed.pages("laptop", root)[0].changed  # the committed one is its own source


def test_links_stay_in_the_site_and_headings_have_ids_of_their_own(tmp_path):
    report.build("laptop", tmp_path / "out", checkout(tmp_path), TABLE)
    one, two = (Walked(tmp_path / "out" / f"{name}.html") for name in ("01_one", "02_two"))
    assert {"02_two.html#Deep", "figures/rows.csv", "https://a.b"} <= set(one.links)
    assert "the readme ()" in one.text and "README.md" not in "".join(one.links)
    assert {"claim-4", "figure_2", "rows", "more", "The-verdict-on-claim-4"} <= set(one.ids)
    assert two.ids == ["Is-it-deep?", "Deep", "Deep-2"]
    assert "this page is still" in one.text and "FloatSlider" not in one.text
    assert f"data:image/png;base64,{PIXEL}" in one.loads


FOREIGN = """<script>alert(1)</script> <img src=x onerror=alert(1)> [here](javascript:alert(1)) [there][1]

<iframe src="https://a.b"></iframe>

```mermaid
</pre><script>alert(2)</script>
```

[1]: vbscript:alert(1)
"""


def test_what_notebooks_hold_reaches_the_pages_as_text_never_as_a_script(tmp_path):
    root, v4 = checkout(tmp_path), nbformat.v4
    path = root / "notebooks" / "02_two.ipynb"
    notebook = nbformat.read(path, as_version=4)
    frame = pd.DataFrame({"<b>author</b>": ["<script>alert(3)</script>"]})
    outputs = [
        v4.new_output("stream", text=FOREIGN),
        v4.new_output("display_data", {"text/markdown": FOREIGN}),
        v4.new_output("execute_result", {"text/html": frame.to_html(), "text/plain": str(frame)}),
        v4.new_output("execute_result", {"text/plain": FOREIGN}),
        v4.new_output("display_data", {"text/latex": FOREIGN}),
        v4.new_output("error", ename="A", evalue="b", traceback=[FOREIGN]),
    ]
    notebook.cells.append(v4.new_markdown_cell(FOREIGN, id="x"))
    notebook.cells.append(v4.new_code_cell("1", id="y", execution_count=1, outputs=outputs))
    nbformat.write(notebook, path)
    table = TABLE.assign(text=FOREIGN, ours=FOREIGN, paper=FOREIGN)
    report.build("laptop", tmp_path / "out", root, table)
    for name in ("index", "02_two"):
        page = Walked(tmp_path / "out" / f"{name}.html")
        assert not {"iframe", "b"} & page.tags.keys()
        assert page.tags["script"] == (name == "index")  # its own, of the search
        assert [one for one in (*page.links, *page.loads) if re.match("javascript|vbscript|x", one)] == []
        assert page.text.count("<script>alert(1)</script>") >= 2


def test_two_builds_are_equal_and_the_second_replaces_the_first(tmp_path):
    root, out = checkout(tmp_path / "a"), tmp_path / "out"
    report.build("laptop", out, root, TABLE)
    first = {path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    (out / "00_gone.html").write_text("a page of a notebook that was renamed")
    report.build("laptop", out, root, TABLE)
    assert {path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()} == first
    assert {str(path) for path in first} == {
        "index.html", "01_one.html", "02_two.html", "style.css",
        "figures/figure_2.png", "figures/figure_2.csv", "figures/rows.csv", "figures/bench_lab.csv",
    }  # fmt: skip


def test_remains_of_failed_runs_are_no_pages(tmp_path):
    root = checkout(tmp_path)
    (root / "notebooks" / "01_one.failed.ipynb").write_text("half a notebook")
    assert [page.name for page in executed.pages("laptop", root)] == ["01_one", "02_two"]


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    root, out = checkout(tmp_path / "a"), tmp_path / "out"
    out.mkdir()
    for name in ("notes.txt", "index.html"):
        (out / name).write_text("mine")
        with pytest.raises(report.NotWritten, match="wanted a new or empty folder, or an earlier report; came other"):
            report.build("laptop", out, root, TABLE)
        assert (out / name).read_text() == "mine"


def test_a_damaged_figure_is_named_and_leaves_the_earlier_report(tmp_path):
    root, out = checkout(tmp_path / "a"), tmp_path / "out"
    report.build("laptop", out, root, TABLE)
    before = {path: path.read_bytes() for path in tmp_path.glob("out/**/*.*")}
    (root / "figures" / "figure_2.png").write_text("laptop's fig")
    with pytest.raises(files.Damaged, match=r"figure_2.png: wanted 21 bytes.*; came 12 bytes"):
        report.build("laptop", out, root, TABLE)
    assert {path: path.read_bytes() for path in tmp_path.glob("out/**/*.*")} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "out"]


def test_without_executed_notebooks_it_says_what_runs_them(tmp_path, monkeypatch, capsys):
    (tmp_path / "notebooks").mkdir()
    with pytest.raises(report.NotWritten, match=r"wanted notebooks in .*; came none"):
        executed.pages("laptop", tmp_path)
    root = checkout(tmp_path / "a")
    path = root / "notebooks" / "01_one.ipynb"
    path.write_text(path.read_text().replace('"execution_count": 2', '"execution_count": null'))
    with pytest.raises(report.NotWritten, match=r"01_one.ipynb: wanted an executed notebook.*make reproduce runs them"):
        report.build("laptop", tmp_path / "out", root, TABLE)
    assert not (tmp_path / "out").exists()


def test_the_command_line_writes_the_site_or_refuses_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "build", lambda profile, out: out / f"{profile}.html")
    assert __main__.main(["report", "--profile", "smoke", "--out", str(tmp_path)]) == 0
    assert __main__.main(["report"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == str(tmp_path / "smoke.html")
    assert second.endswith("build/laptop/report/laptop.html")

    def refuse(profile, out):
        raise report.NotWritten("wanted this; came that")

    monkeypatch.setattr(report, "build", refuse)
    assert __main__.main(["report"]) == 2
    assert capsys.readouterr().err == "actlab report: wanted this; came that\n"


def test_what_cannot_be_shown_is_refused_by_its_name(tmp_path):
    with pytest.raises(report.NotWritten, match=r"wanted LaTeX that latex2mathml knows; came '\\\\frob\{x\}'"):
        report.mathml(r"\frob{x}", "inline")
    pages = executed.pages("laptop", checkout(tmp_path))
    markdown = report.Markdown(pages[0], pages, {})
    with pytest.raises(report.NotWritten, match=r"wanted a file of figures/; came 'https://a.b/c.png'"):
        markdown.convert("![c](https://a.b/c.png)")
