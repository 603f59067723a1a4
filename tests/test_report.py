"""The report: a site whose links all resolve, that loads nothing from the web and says what each page is of."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from actlab import executed, readme, report
from actlab.records import ROOT

VOID = {"br", "hr", "img", "input", "link", "meta", "wbr"}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Walked(HTMLParser):
    """A page's ids, links and what it loads; raises where a tag is closed that was not open."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids, self.links, self.loads, self.alts, self.tags = [], [], [], [], Counter()
        self.text, self.open = "", []
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

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert tag not in VOID and self.open.pop() == tag

    def handle_data(self, data):
        if not {"pre", "code", "style"} & set(self.open):
            self.text += data


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
            if parts.scheme in ("https", "data"):
                continue
            target = path.parent / unquote(parts.path) if parts.path else path
            assert parts.scheme == "" and target.is_file() and target.is_relative_to(path.parent)
            assert not parts.fragment or unquote(parts.fragment) in site[target].ids, f"{path.name}: {link}"
            count += 1
    assert count > 300


def test_no_page_loads_anything_from_the_web_or_runs_a_script(site):
    for path, page in site.items():
        assert all(urlsplit(loaded).scheme in ("", "data") for loaded in page.loads), path.name
        assert not {"script", "iframe", "object", "embed", "base", "form"} & page.tags.keys(), path.name
        away = path.read_text(encoding="utf-8").replace("http://www.w3.org/1998/Math/MathML", "")
        address = r"https?://[^\s\"'<]*"  # in a link, or in what a notebook prints
        printed = re.findall(address, re.sub(r"<[^>]*>", " ", away))
        assert set(re.findall(address, away)) <= {*page.links, *printed}, path.name
    style = next(iter(site)).parent / "style.css"
    assert not re.search(r"@import|url\(", style.read_text())


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


def test_every_claim_of_the_readme_has_its_number_picture_place_csv_and_command(site):
    about = (ROOT / "README.md").read_text()
    groups = report.measured(executed.pages("laptop", ROOT), about)
    claims = about.split(readme.MARKS[0])[1].split(readme.MARKS[1])[0].strip().splitlines()[2:]
    text = next(path for path in site if path.stem == "index").read_text()
    rows = [row for group in groups for row in group.rows]
    for row, claim in zip(rows, claims, strict=True):
        assert all(f" {words} " in claim for words in row) and len(row) >= 3
    for group in groups:
        assert group.picture.picture and group.tables and group.page.command.endswith(f"{group.page.name}.ipynb")
        for one in group.tables:
            assert f'href="{one.page}.html#{one.name}"' in text and f'href="figures/{one.name}.csv"' in text
        assert f'src="figures/{group.picture.name}.png"' in text and group.page.command in text


def test_every_committed_figure_and_table_is_in_the_index(site):
    links = next(page.links for path, page in site.items() if path.stem == "index")
    for path in (ROOT / "figures").glob("*.csv"):
        assert f"figures/{path.name}" in links


def test_what_bears_on_the_papers_claims_is_drawn_or_still_to_come():
    drawn = {one.name for page in executed.pages("laptop", ROOT) for one in page.drawings}
    assert list(report.EVIDENCE) == [claim.number for claim in report.paper.CLAIMS]
    for names in report.EVIDENCE.values():
        assert all(name in drawn or report.NUMBER.match(name) for name in names)


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
    start, end = readme.MARKS
    row = "| it holds | 1.00 | 2.00 [1, 3] | [01](notebooks/01_one.ipynb) |"
    (root / "README.md").write_text(f"{start}\n| claim | paper | ours | notebook |\n|---|---|---|---|\n{row}\n{end}")
    return root


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
    one, two = executed.pages("paper", root)
    assert (one.profile, one.ran, one.changed, two.ran) == ("paper", True, False, False)
    assert one.command == "make build/paper/notebooks/01_one.ipynb PROFILE=paper"
    index = report.build("paper", tmp_path / "out", root).read_text()
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
    report.build("laptop", tmp_path / "out", checkout(tmp_path))
    one, two = (Walked(tmp_path / "out" / f"{name}.html") for name in ("01_one", "02_two"))
    assert {"02_two.html#Deep", "figures/rows.csv", "https://a.b"} <= set(one.links)
    assert "the readme ()" in one.text and "README.md" not in "".join(one.links)
    assert {"claim-4", "figure_2", "rows", "more", "The-verdict-on-claim-4"} <= set(one.ids)
    assert two.ids == ["Is-it-deep?", "Deep", "Deep-2"]
    assert "this page is still" in one.text and "FloatSlider" not in one.text
    assert f"data:image/png;base64,{PIXEL}" in one.loads


def test_two_builds_are_equal_and_the_second_replaces_the_first(tmp_path):
    root, out = checkout(tmp_path / "a"), tmp_path / "out"
    report.build("laptop", out, root)
    first = {path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    (out / "00_gone.html").write_text("a page of a notebook that was renamed")
    report.build("laptop", out, root)
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
        with pytest.raises(report.Refused, match="wanted a new or empty folder, or an earlier report; came other"):
            report.build("laptop", out, root)
        assert (out / name).read_text() == "mine"


def test_without_executed_notebooks_it_says_what_runs_them(tmp_path, monkeypatch, capsys):
    (tmp_path / "notebooks").mkdir()
    with pytest.raises(report.Refused, match=r"wanted notebooks in .*; came none"):
        executed.pages("laptop", tmp_path)
    root = checkout(tmp_path / "a")
    path = root / "notebooks" / "01_one.ipynb"
    path.write_text(path.read_text().replace('"execution_count": 2', '"execution_count": null'))
    with pytest.raises(report.Refused, match=r"01_one.ipynb: wanted an executed notebook.*make reproduce runs them"):
        report.build("laptop", tmp_path / "out", root)
    assert not (tmp_path / "out").exists()


def test_the_command_line_writes_the_site_or_refuses_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "build", lambda profile, out: out / f"{profile}.html")
    assert report.main(["--profile", "smoke", "--out", str(tmp_path)]) == 0
    assert report.main([]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == str(tmp_path / "smoke.html")
    assert second.endswith("build/laptop/report/laptop.html")

    def refuse(profile, out):
        raise report.Refused("wanted this; came that")

    monkeypatch.setattr(report, "build", refuse)
    assert report.main([]) == 2
    assert capsys.readouterr().err == "wanted this; came that\n"


def test_what_cannot_be_shown_is_refused_by_its_name(tmp_path):
    with pytest.raises(report.Refused, match=r"wanted LaTeX that latex2mathml knows; came '\\\\frob\{x\}'"):
        report.mathml(r"\frob{x}", "inline")
    pages = executed.pages("laptop", checkout(tmp_path))
    markdown = report.Markdown(pages[0], pages, {})
    with pytest.raises(report.Refused, match=r"wanted a file of figures/; came 'https://a.b/c.png'"):
        markdown.convert("![c](https://a.b/c.png)")
    with pytest.raises(report.Refused, match=r"README.md: wanted the marks"):
        report.index(pages, {}, {}, "laptop", "no claims")
    start, end = readme.MARKS
    with pytest.raises(report.Refused, match="wanted a notebook of 01_one, 02_two in each row; came"):
        report.index(pages, {}, {}, "laptop", f"{start}\n| claim |\n|---|\n| [09](notebooks/09_gone.ipynb) |\n{end}")
