"""Executed notebooks: what each draws, with which profile, and whether its source was edited since (for the report).

What a notebook draws is read off its calls of `style.save` and `style.save_table`, so nothing is listed twice.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

SUFFIXES = ("png", "pdf", "csv")
WIDGET = "application/vnd.jupyter.widget-view+json"
NO_WIDGET = "*(A control stands here when the notebook is open in Jupyter; this page is still.)*"


class NotWritten(ValueError):
    """The site cannot be written; one line says what was wanted and what came."""


@dataclass(frozen=True)
class Drawing:
    """A figure or a table that a notebook saves under a name, which is also its anchor in the page."""

    name: str
    page: str  # the notebook's name
    cell: int  # place of the first cell that saves it
    title: str  # the heading above that cell
    picture: bool  # whether it is drawn; else it is a table alone


@dataclass(frozen=True)
class Page:
    """An executed notebook, and what is said of it."""

    name: str
    notebook: nbformat.NotebookNode  # `metadata.report` of a cell: its anchors, and the heading above it
    title: str
    profile: str  # of its outputs
    ran: bool  # with the profile that was asked for; else it is the committed notebook
    changed: bool  # whether the source was edited after the run
    command: str  # runs the notebook with the profile that was asked for
    drawings: tuple[Drawing, ...]
    claims: dict[int, str]  # anchors by number of those of the paper's claims that a heading names


@dataclass(frozen=True)
class Files:
    """The files of a figure or a table."""

    profile: str  # that drew them
    folder: str  # in the site
    paths: dict[str, Path]  # by suffix


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook of a file, in today's format.

    Raises:
        ValueError: the file holds none: it is empty, has the marks of a merge, or lacks parts of a notebook.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except (ValueError, AttributeError, KeyError, TypeError, nbformat.ValidationError) as error:
        came = f"another ({str(error).splitlines()[0]})" if path.stat().st_size else "an empty one"
        raise ValueError(f"{path}: wanted a notebook's file; came {came}") from error
    return notebook


def pages(profile: str, root: Path) -> list[Page]:
    """The checkout's notebooks in order, each as in build/`profile`/notebooks, else as it is committed.

    Raises:
        NotWritten: there is none, or one was never executed.
    """
    sources = [path for path in sorted((root / "notebooks").glob("*.ipynb")) if "." not in path.stem]  # no .failed
    if not sources:
        raise NotWritten(f"wanted notebooks in {root / 'notebooks'}; came none")
    return [_page(source, root / "build" / profile / "notebooks" / source.name, profile) for source in sources]


def _page(source: Path, executed: Path, profile: str) -> Page:
    ran = executed.is_file()
    notebook = read(executed if ran else source)
    if any(cell.cell_type == "code" and cell.source.strip() and not cell.execution_count for cell in notebook.cells):
        wanted = f"an executed notebook, here or as build/{profile}/notebooks/{source.name}"
        raise NotWritten(f"{source.name}: wanted {wanted}; came cells that never ran (make reproduce runs them)")
    drawings, claims = _mark(notebook, source.stem)
    used = _profile(notebook) or (profile if ran else "not given")
    return Page(
        name=source.stem,
        notebook=notebook,
        title=re.match(r"#* *(.*)", notebook.cells[0].source)[1],
        profile=used,
        ran=ran,
        changed=ran and _sources(notebook) != _sources(read(source)),
        command=f"make build/{profile}/notebooks/{source.name}" + (f" PROFILE={profile}" * (profile != "laptop")),
        drawings=drawings,
        claims=claims,
    )


def _mark(notebook: nbformat.NotebookNode, name: str) -> tuple[tuple[Drawing, ...], dict[int, str]]:
    """Writes into each cell its anchors and its heading, and puts words for controls; returns what was found."""
    drawings: dict[str, Drawing] = {}
    claims: dict[int, str] = {}
    heading = name
    for place, cell in enumerate(notebook.cells):
        new = {number: f"claim-{number}" for number in claims_named(cell) if number not in claims}
        claims |= new
        anchors = list(new.values())
        if cell.cell_type == "markdown":
            heading = [heading, *re.findall(r"^#+ +(.*)$", cell.source, re.MULTILINE)][-1].replace("`", "")
        for drawn, picture in saved(cell):
            if drawn not in drawings:
                anchors.append(drawn)
                drawings[drawn] = Drawing(drawn, name, place, heading, picture)
            elif picture:
                drawings[drawn] = replace(drawings[drawn], picture=True)
        for output in cell.get("outputs", []):
            if WIDGET in output.get("data", {}):
                output["data"] = nbformat.from_dict({"text/markdown": NO_WIDGET})
        cell.metadata["report"] = {"anchors": anchors, "heading": heading}
    return tuple(drawings.values()), claims


def saved(cell: nbformat.NotebookNode) -> Iterator[tuple[str, bool]]:
    """The names that a cell saves drawings under, and whether each is a picture (or a table alone)."""
    if cell.cell_type != "code":
        return
    for node in ast.walk(ast.parse(TransformerManager().transform_cell(cell.source))):
        if isinstance(node, ast.Call):
            function = ast.unparse(node.func).split(".")[-1]
            given = [*node.args[1:2], *(word.value for word in node.keywords if word.arg == "name")]
            if function in ("save", "save_table") and given and isinstance(given[0], ast.Constant):
                yield given[0].value, function == "save"


def claims_named(cell: nbformat.NotebookNode) -> list[int]:
    """The numbers N of headings, or of lines that open in bold, with "Claim N" in a cell or in what it shows."""
    return sorted({int(number) for number in re.findall(r"(?im)^(?:#+ |\*\*).*?\bclaim (\d+)\b", prose(cell))})


def prose(cell: nbformat.NotebookNode) -> str:
    """The Markdown of a cell, or of what it shows."""
    shown = [output.get("data", {}).get("text/markdown", "") for output in cell.get("outputs", [])]
    return "\n".join([cell.source, *shown] if cell.cell_type == "markdown" else shown)


def files(profile: str, root: Path) -> dict[str, Files]:
    """The files of every figure and table by name; what the profile did not draw comes from the committed figures/."""
    found = _files("laptop", "figures", root / "figures")
    if profile != "laptop":
        found |= _files(profile, f"figures/{profile}", root / "build" / profile / "figures")
    return dict(sorted(found.items()))


def _files(profile: str, folder: str, where: Path) -> dict[str, Files]:
    paths = [path for suffix in SUFFIXES for path in where.glob(f"*.{suffix}")]
    names = {path.stem for path in paths}
    return {name: Files(profile, folder, {p.suffix[1:]: p for p in paths if p.stem == name}) for name in names}


def _profile(notebook: nbformat.NotebookNode) -> str | None:
    """The profile in a notebook's parameters, as injected or else as written; None where they name none."""
    tagged = {"parameters", "injected-parameters"}
    cells = [cell.source for cell in notebook.cells if tagged & set(cell.metadata.get("tags", []))]
    return [None, *re.findall(r"^profile *= *[\"'](\w+)[\"']", "\n".join(cells), re.MULTILINE)][-1]


def _sources(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
