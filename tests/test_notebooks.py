"""The form of the committed notebooks: essays whose checked cells nbval really compares."""

import ast
import re
import statistics
from pathlib import Path

import nbformat
import pytest

from actlab.core import config
from actlab.studies import multiverse
from actlab.transfer import sweep

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = (
    "01_quickstart",
    "02_synthetic_lab",
    "03_trust",
    "04_zoo",
    "05_search",
    "06_lab_scores",
    "07_preactivations",
    "08_constants",
    "09_search_arms",
    "10_images",
    "11_algorithms",
    "12_molecules",
    "13_transfer",
    "14_multiverse",
    "15_generality",
    "16_why_periodicity",
    "17_claims",
    "18_take_home",
    "19_explorer",
)
pytestmark = pytest.mark.parametrize("name", NOTEBOOKS)


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def code_cells(name: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(name).cells if cell.cell_type == "code"]


def lines_of(cell: nbformat.NotebookNode) -> int:
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def outputs_text(cell: nbformat.NotebookNode) -> str:
    """Everything that a cell shows as text; pictures are left out."""
    shown = []
    for output in cell.outputs:
        shown += [output.get("text", ""), *output.get("traceback", [])]
        data = output.get("data", {})
        shown += [str(content) for kind, content in data.items() if not kind.startswith("image/")]
    return "\n".join(shown)


def test_it_is_a_valid_notebook_for_this_python(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.nbformat == 4
    assert notebook.nbformat_minor >= 5  # cell ids, which make equal runs equal files
    assert notebook.metadata.kernelspec.name == "python3"


def test_it_opens_with_a_question(name):
    first = read(name).cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# .*\?$", first.source.splitlines()[0])


def test_it_closes_with_prose(name):
    assert read(name).cells[-1].cell_type == "markdown"


def test_one_cell_holds_the_parameters_as_literals_of_the_smoke_profile(name):
    (cell,) = [cell for cell in code_cells(name) if "parameters" in tags(cell)]
    statements = ast.parse(cell.source).body
    values = {}
    for statement in statements:
        assert isinstance(statement, ast.Assign), f"wanted NAME = literal; came {ast.unparse(statement)}"
        (target,) = statement.targets
        values[target.id] = ast.literal_eval(statement.value)
    assert values["profile"] == "smoke"


def test_it_carries_no_injected_cell(name):
    assert not [cell for cell in read(name).cells if "injected-parameters" in tags(cell)]


def test_its_cells_are_short(name):
    lengths = [lines_of(cell) for cell in code_cells(name)]
    assert statistics.median(lengths) <= 6
    assert max(lengths) <= 20


def test_it_has_six_words_of_prose_a_line_of_code(name):
    words = sum(len(cell.source.split()) for cell in read(name).cells if cell.cell_type == "markdown")
    lines = sum(lines_of(cell) for cell in code_cells(name))
    assert words >= 6 * lines


def test_its_last_code_cell_holds_the_checks(name):
    cells = read(name).cells
    last = max(place for place, cell in enumerate(cells) if cell.cell_type == "code")
    before = next(cell for cell in reversed(cells[:last]) if cell.cell_type == "markdown")
    headings = re.findall(r"^#+ (.*)$", before.source, re.MULTILINE)
    assert headings and headings[-1].startswith("Checks")
    assert "nbval-check-output" in tags(cells[last])
    assert "assert " in cells[last].source


def test_nbval_compares_its_checked_cells(name):
    # A cell without a count is skipped, and one without a text output has nothing to compare.
    for cell in code_cells(name):
        if "nbval-check-output" in tags(cell):
            assert cell.execution_count is not None
            assert outputs_text(cell).strip()


def test_it_was_run_from_top_to_bottom(name):
    counts = [cell.execution_count for cell in code_cells(name)]
    assert counts == list(range(1, len(counts) + 1))


def test_its_outputs_show_no_machine_and_no_warning(name):
    for cell in code_cells(name):
        text = outputs_text(cell)
        assert not re.search(r"\b0x[0-9a-f]{6,}", text), "an object's address"
        assert str(ROOT) not in text
        assert not re.search(r"(?<![\w.])/(home|root|Users|tmp|var|opt|usr|mnt)/", text), "a machine's path"
        assert not [output for output in cell.outputs if output.output_type == "error"]
        assert not [output for output in cell.outputs if output.get("name") == "stderr"]
        assert not [output for output in cell.outputs if "image/svg+xml" in output.get("data", {})]


STALE = ("says otherwise", "There is no `figures/", "other settings than today's")  # said of files that have moved on


def test_its_outputs_are_of_the_files_that_are_here(name):
    for cell in code_cells(name):
        assert not [words for words in STALE if words in outputs_text(cell)]


NUMBERS = {  # words before which prose may count, and what they count
    "draws a form": config.profile("laptop").draws,
    "(?:random )?labs (?:are drawn|at random)": multiverse.DESIGNS["laptop"].labs,
    "functions on images, molecules and algorithms": len(sweep.FUNCTIONS),
}
SMALL = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen")
WORDS = {word: number for number, word in enumerate(SMALL, 2)}
WORDS |= {"sixteen": 16, "eighteen": 18, "thirty": 30, "forty": 40, "fifty": 50, "sixty-four": 64, "hundred": 100}


def test_what_its_prose_counts_is_what_the_settings_say(name):
    prose = " ".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown").lower()
    for words, count in NUMBERS.items():
        for found in re.findall(rf"\b(\d+|{'|'.join(WORDS)}) {words}", prose):
            assert WORDS.get(found, found) in (count, str(count)), f"{found} {words}: wanted {count}"


def test_it_is_stripped_of_what_differs_between_equal_runs(name):
    notebook = read(name)
    assert "papermill" not in notebook.metadata
    for cell in notebook.cells:
        assert not {"papermill", "execution"} & cell.metadata.keys()


def test_it_is_committed_with_nothing_unknown_beside_it(name):
    found = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    leftovers = {stem for stem in found if stem.endswith((".failed", ".partial"))}
    assert name in found
    assert found - leftovers == set(NOTEBOOKS)
