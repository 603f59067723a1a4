"""What a module imports, the hash of what it computes, and the rules for make: no more and no less than that."""

import json
import subprocess
import sys

import pytest

from actlab.core import sources
from actlab.core.records import ROOT
from actlab.core.sources import closure, code_hash, graph, imports

TREE = {
    "__init__": b"", "a/__init__": b"get = face(__name__)", "a/one": b"from actlab.b import three", "a/two": b"",
    "a/deep/four": b"", "b/__init__": b"", "b/three": b"x = 3",
}  # fmt: skip


@pytest.fixture
def tree(monkeypatch):
    """A small package in place of actlab."""
    imports.cache_clear()  # it depends on which modules there are
    monkeypatch.setattr(sources, "SOURCES", dict(TREE))
    yield sources.SOURCES
    imports.cache_clear()


WHOLE_A = {"a/__init__", "a/one", "a/two"}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch, os.path", set()),
        ("import actlab", set()),
        ("from actlab.a import one", {"a/__init__", "a/one"}),
        ("from actlab.a.one import anything", {"a/__init__", "a/one"}),
        ("import actlab.a.two as it", {"a/__init__", "a/two"}),
        ("from actlab.a.deep import four", {"a/__init__", "a/deep/four"}),
        ("from actlab import a", WHOLE_A),
        ("from actlab.a import A", WHOLE_A),
        ("import actlab\nactlab.a.A", WHOLE_A),
        ("def f():\n    from actlab.b import three", {"b/__init__", "b/three"}),
        ("x = 'from actlab import a'", set()),
        ("from torch import a\nother.a.one", set()),
        ("from actlab import b", {"b/__init__"}),  # which has names of its own
    ],
)
def test_a_source_imports_the_modules_that_it_names_and_of_a_package_that_shows_its_modules_all(tree, source, found):
    assert set(imports(source.encode())) == found


def test_a_closure_has_what_is_imported_by_what_is_imported(tree):
    assert closure("a/one") == {"a/one", "b/__init__", "b/three"}
    tree["b/three"] = b"from actlab.a import one, two"  # a circle
    assert closure("a/one") == {"a/one", "b/__init__", "b/three", "a/__init__", "a/two"}


def test_whoever_imports_the_package_of_activations_depends_on_the_zoo():
    assert "activations/zoo" in imports(b"from actlab import activations")
    assert "activations/zoo" in closure(*imports(b"import actlab\nactlab.activations.gelu_sine(x)"))


@pytest.mark.parametrize(("module", "same"), [("a/one", False), ("b/three", False), ("a/two", True)])
def test_the_hash_of_code_changes_when_a_module_that_it_imports_is_edited(tree, module, same):
    before = code_hash("a/one")
    tree[module] += b"\ny = 4"
    assert (code_hash("a/one") == before) is same


def test_the_hash_of_code_does_not_know_where_a_module_lies(tree):
    tree["other"] = tree["b/three"]
    assert code_hash("b/three") == code_hash("other")


def test_a_module_that_is_not_there_is_named(tree):
    with pytest.raises(ValueError, match="wanted modules of actlab; got 'a/five', 'lab'"):
        code_hash("a/five", "b/three", "lab")


SOURCE = "def f(x: int) -> int:\n    'What it is.'\n    return x + len('# no comment')\n"
FIELDS = "class A:\n    a: int = 1\n    b: int = 2\n"


@pytest.mark.parametrize(
    ("source", "old", "new", "same"),
    [
        (SOURCE, "return", "# why\n\n    return", True),
        (SOURCE, "What it is.", "What else it is.", True),
        (SOURCE, "x: int", "x: float", True),
        (SOURCE, " -> int", "", True),
        (SOURCE, "# no comment", "# another text", False),
        (SOURCE, "x + len", "x - len", False),
        (FIELDS, "a: int", "a: float", True),
        (FIELDS, "a: int = 1\n    b: int = 2", "b: int = 2\n    a: int = 1", False),
    ],
)
def test_the_hash_of_code_is_that_of_its_tree_without_docstrings_annotations_and_comments(tree, source, old, new, same):
    tree["one"], tree["other"] = source.encode(), source.replace(old, new).encode()
    assert tree["one"] != tree["other"]
    assert (code_hash("one") == code_hash("other")) is same


def test_a_bare_source_computes_the_same_in_one_layout():
    assert sources.bare(SOURCE + "\n\n# the end\n") == "def f(x):\n    return x + len('# no comment')"


def notebook(path, *cells):
    known = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": "from actlab import a"}, *known]}))
    return path


def test_a_rule_has_the_modules_that_the_code_of_a_notebook_reaches_and_none_for_its_magics(tree, tmp_path):
    second = notebook(tmp_path / "02.ipynb", "1 + 1")
    first = notebook(tmp_path / "01.ipynb", "%matplotlib inline\nfrom actlab.a import one\n!ls", "import numpy")
    assert graph([second, first]) == (
        "$(OUT)/01.ipynb: actlab/a/__init__.py actlab/a/one.py actlab/b/__init__.py actlab/b/three.py\n"
        "$(OUT)/02.ipynb: \n"
    )


def test_make_gets_a_rule_for_every_notebook_from_a_python_without_any_package():
    command = [sys.executable, "-S", "-m", "actlab.core.sources"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = [line.partition(":")[0] for line in printed.splitlines()]
    ours = [path.name for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")) if path.name.count(".") == 1]
    assert targets == [f"$(OUT)/{name}" for name in ours] and len(ours) >= 18
    files = {file for line in printed.splitlines() for file in line.partition(": ")[2].split()}
    assert all((ROOT / file).is_file() for file in files)
