"""`make report`: a static site from the executed notebooks, with an index by claim, figure and table (ours).

Nothing is run and nothing is fetched: nbconvert renders what the notebooks hold, formulas become MathML, and no page
loads anything but the site's own files. The one script is that of the index's search box. A notebook that was not run
with the profile is shown as it is committed, and its page says so.
"""

from __future__ import annotations

import argparse
import html
import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import jinja2
import pandas as pd
from latex2mathml import converter
from mistune.plugins.table import render_table_cell
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from actlab.core import config, paper, records
from actlab.core.files import write
from actlab.core.jobs import Runner
from actlab.report import claims, executed, readme
from actlab.report.executed import Drawing, Files, NotWritten, Page

TEMPLATES = Path(__file__).resolve().parent / "templates"
MARK = '<meta name="generator" content="actlab.report.site">'  # in every page; what has it may be replaced
NUMBERED = {"figure": 9, "table": 4}  # how many the paper has
NUMBER = re.compile(r"(figure|table)_(\d+)(?:_|$)")
SHOWN = ("text/html", "text/markdown", "image/png", "image/jpeg", "image/svg+xml", "text/latex", "text/plain")


@dataclass(frozen=True)
class Measured:
    """A row of the table of claims, and where its numbers come from."""

    number: int  # of the paper's claim
    cells: tuple[str, ...]  # the claim, the paper's number, ours, the verdict
    places: tuple[tuple[Drawing | None, Page, str], ...]  # picture, notebook and command, the row's own first
    tables: tuple[Drawing, ...]  # that it is read off


def build(profile: str, out: Path, root: Path = records.ROOT, table: pd.DataFrame | None = None) -> Path:
    """Writes the site and returns the path of its index: a page a notebook, figures/, style.css.

    Equal inputs give equal bytes. An earlier report in `out` is replaced. `table` is by default `claims.table` of the
    checkout at `root`.

    Raises:
        NotWritten: no notebook, one that was never executed, something that cannot be shown, or other files in `out`.
    """
    first = out / "index.html"
    if out.exists() and any(out.iterdir()) and not (first.is_file() and MARK in first.read_text(encoding="utf-8")):
        raise NotWritten(f"--out: wanted a new or empty folder, or an earlier report; came other files in {str(out)!r}")
    pages, committed = executed.pages(profile, root), executed.files("laptop", root)
    files = executed.files(profile, root)
    rows = measured(pages, claims.table(root / "figures") if table is None else table)
    texts = {"index.html": index(pages, files, committed, profile, rows)}
    texts |= {f"{page.name}.html": page_html(page, pages, files, committed, profile) for page in pages}
    texts["style.css"] = (TEMPLATES / "style.css").read_text() + HtmlFormatter().get_style_defs(".highlight") + "\n"
    whole = out.resolve()
    partial = whole.with_name(f".{whole.name}.{os.getpid()}.partial")  # nothing of it stays where it cannot be written
    try:
        for one in (*committed.values(), *files.values()):
            for path in one.paths.values():
                (partial / one.folder).mkdir(parents=True, exist_ok=True)
                (partial / one.folder / path.name).write_bytes(records.read_figure(path))
        for name, text in texts.items():
            write(partial / name, text)
        if whole.exists():
            shutil.rmtree(whole)
        partial.replace(whole)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return first


def page_html(
    page: Page, pages: Sequence[Page], files: Mapping[str, Files], committed: Mapping[str, Files], profile: str
) -> str:
    """A notebook as an HTML page, by nbconvert with a template of our own."""
    exporter = HTMLExporter(
        config=Config({"NbConvertBase": {"display_data_priority": list(SHOWN)}}),
        template_name="basic",
        template_file=str(TEMPLATES / "notebook.html.j2"),
        filters={"markdown2html": Markdown(page, pages, committed).convert},
    )
    place = [one.name for one in pages].index(page.name)
    beside = {"previous": pages[place - 1] if place else None, "next": pages[place + 1] if pages[place + 1 :] else None}
    about = {"page": page, "files": files, "profile": profile, "mark": MARK, **beside}
    return exporter.from_notebook_node(page.notebook, {"report": about})[0]


class Markdown(IPythonRenderer):
    """Renders one page's Markdown: formulas as MathML, an id a heading, links that stay in the site, HTML as text."""

    def __init__(self, page: Page, pages: Sequence[Page], committed: Mapping[str, Files]) -> None:
        super().__init__(allow_harmful_protocols=False, exclude_anchor_links=True)
        self.pages = {one.name for one in pages}
        self.figures = {path.name for one in committed.values() for path in one.paths.values()}
        self.ids = Counter(anchor for cell in page.notebook.cells for anchor in cell.metadata["report"]["anchors"])

    def convert(self, source: str) -> str:
        """The HTML of a cell's source, or of a Markdown output."""
        return MarkdownWithMath(renderer=self).render(source)

    def block_mermaidjs(self, code: str) -> str:
        """A diagram's text: the site has no script that draws it."""
        return self.block_code(code)

    def table_cell(self, text: str, align: str | None = None, head: bool = False) -> str:
        """A cell, whose code may have an escaped |, as GitHub and Jupyter read it."""
        return render_table_cell(self, text.replace(r"\|", "|"), align, head)

    def inline_math(self, body: str) -> str:
        """A formula in a line."""
        return mathml(body, "inline")

    def block_math(self, body: str) -> str:
        """A formula on a line of its own."""
        return mathml(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        """A formula in an environment."""
        return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        """A heading with the id that Jupyter gives it, and a number behind where the page has that id already."""
        name = re.sub(r"<[^>]+>", "", text).strip().replace(" ", "-").replace('"', "")
        self.ids[name] += 1
        anchor = name if self.ids[name] == 1 else f"{name}-{self.ids[name]}"
        return f'<h{level} id="{anchor}">{text}</h{level}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """A link to a page, a figure or the web; for any other file of the checkout, its path."""
        target = self._target(url)
        return super().link(text, target, title) if target else f"{text} (<code>{html.escape(url)}</code>)"

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """A picture of figures/, or one that the Markdown holds itself; any other is refused."""
        target = self._target(url) or ""
        if not target.startswith(("data:", "figures/")):
            raise NotWritten(f"a picture in a notebook: wanted a file of figures/; came {url!r}")
        return super().image(text, target, title)

    def _target(self, url: str) -> str | None:
        """Where a notebook's link leads in the site; None where the site has no such file."""
        parts = urlsplit(url)
        if parts.scheme or not parts.path:
            return url
        path = Path(unquote(parts.path))
        if path.suffix == ".ipynb" and path.stem in self.pages:
            return f"{quote(path.stem)}.html" + (f"#{parts.fragment}" if parts.fragment else "")
        if path.parent.name == "figures" and path.name in self.figures:
            return f"figures/{quote(path.name)}"
        return None


def mathml(latex: str, display: str) -> str:
    """A formula (LaTeX without dollars) as MathML, `inline` or `block`, which browsers draw without a script.

    Raises:
        NotWritten: it holds a command that latex2mathml does not know.
    """
    drawn = converter.convert(latex, display=display)
    if "\\" in drawn:
        raise NotWritten(f"formula: wanted LaTeX that latex2mathml knows; came {latex!r}")
    return drawn


def index(
    pages: Sequence[Page], files: Mapping[str, Files], committed: Mapping[str, Files], profile: str,
    rows: Sequence[Measured],
) -> str:  # fmt: skip
    """The first page: claims, figures and tables, each with its place, picture, CSV and command.

    `files` are those of the figures and tables by name, as the profile drew them where it did; the table of claims,
    whose rows `measured` gives, is made from the `committed` ones.
    """
    drawings = _drawings(pages)
    numbered = {(kind, 1 + number): [] for kind, count in NUMBERED.items() for number in range(count)}
    for name, one in sorted(drawings.items()):
        if match := NUMBER.match(name):
            numbered.setdefault((match[1], int(match[2])), []).append(one)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template("index.html.j2").render(
        mark=MARK,
        paper=paper,
        profile=profile,
        pages={page.name: page for page in pages},
        files=files,
        committed=committed,
        drawings=drawings,
        numbered=numbered,
        ours={page.name: [one for one in page.drawings if not NUMBER.match(one.name)] for page in pages},
        beside=[name for name in files if name not in drawings],
        evidence={number: _evidence([row for row in rows if row.number == number]) for number in range(1, 9)},
        head=readme.HEAD,
        measured=rows,
        verdicts={number: _verdicts([row for row in rows if row.number == number]) for number in range(1, 9)},
        words=words(pages),
    )


def words(pages: Sequence[Page]) -> dict[str, list[int]]:
    """The words of the pages' prose, three letters or more and in lower case, each with the places of its pages."""
    found: dict[str, set[int]] = {}
    for place, page in enumerate(pages):
        text = " ".join(executed.prose(cell) for cell in page.notebook.cells)
        text = re.sub(r"\$[^$\n]+\$|\]\([^)]*\)|<[^>]*>", " ", text)  # formulas, addresses, tags
        for word in re.findall(r"[^\W\d_][\w-]+\w", text.lower()):
            found.setdefault(word, set()).add(place)
    return {word: sorted(places) for word, places in sorted(found.items())}


def _verdicts(rows: Sequence[Measured]) -> str:
    """The verdicts on a claim's parts in a few words: that of its one part, or how many have which."""
    counts = Counter(sorted((row.cells[-1] for row in rows), key=[*readme.VERDICTS].index))
    return ", ".join(verdict if len(rows) == 1 else f"{count} {verdict}" for verdict, count in counts.items())


def measured(pages: Sequence[Page], table: pd.DataFrame) -> list[Measured]:
    """The rows of the table of claims with their pictures, notebooks, commands and tables.

    Raises:
        NotWritten: a row names a notebook, a picture or a table that is not there.
    """
    by_name, drawings = {page.name: page for page in pages}, _drawings(pages)
    found = []
    for row in table.itertuples():
        places, sources = claims.places(row), row.sources.split()
        names = [*(notebook for _, notebook, _ in places), *(Path(f).stem for f, *_ in places if f), *sources]
        if lacking := [name for name in names if name not in by_name and name not in drawings]:
            raise NotWritten(f"claim {row.part}: wanted a notebook, or what one draws; came {lacking[0]!r}")
        own = tuple((drawings.get(Path(figure).stem), by_name[name], command) for figure, name, command in places)
        found.append(Measured(row.number, readme.cells(row), own, tuple(drawings[name] for name in sources)))
    return found


def _drawings(pages: Sequence[Page]) -> dict[str, Drawing]:
    """What the notebooks draw, by name; a name that is drawn twice is the first one's."""
    return {one.name: one for page in reversed(pages) for one in reversed(page.drawings)}


def _evidence(rows: Sequence[Measured]) -> list[Drawing]:
    """What bears on a claim: the pictures and the tables of its rows, once each."""
    pictures = [picture for row in rows for picture, *_ in row.places if picture]
    return list(dict.fromkeys([*pictures, *(one for row in rows for one in row.tables)]))


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's own options."""
    parser.add_argument("--out", type=Path, help="build/PROFILE/report by default")


def main(given: argparse.Namespace, runner: Runner) -> str:
    """Writes the static site from a profile's executed notebooks."""
    profile = config.profile(given.profile).name
    return str(build(profile, given.out or records.BUILD / profile / "report"))
