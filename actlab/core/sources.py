"""The package's own source: what modules import, a hash of what they compute, and the Makefile's graph.

    python -m actlab.core.sources   # what each notebook imports, as rules for make

Nothing is imported but Python's own library, since make asks before there is an environment.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]

# What this process runs, read as it was imported: a source that is edited meanwhile does not pass for it.
SOURCES = {p.relative_to(PACKAGE).with_suffix("").as_posix(): p.read_bytes() for p in sorted(PACKAGE.rglob("*.py"))}

TEXTS = {p.relative_to(PACKAGE).as_posix(): p.read_bytes() for p in sorted(PACKAGE.rglob("*.[ch]"))}  # C, by path


def code_hash(*modules: str) -> str:
    """Hash of what modules of this package compute, with all that they import from it.

    It is that of their syntax trees without docstrings, annotations and comments, and of the C that they name; a
    module's name does not count, but where it is imported.

    Args:
        modules: by their paths in the package, without ".py", such as "core/stats".

    Raises:
        ValueError: where a module is not there.
    """
    if unknown := [module for module in modules if module not in SOURCES]:
        raise ValueError(f"wanted modules of actlab; got {', '.join(map(repr, unknown))}")
    found = closure(*modules)
    hashes = [_tree_hash(SOURCES[module]) for module in found]
    hashes += [hashlib.sha256(TEXTS[path]).hexdigest() for path in named(found)]
    return hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest()


def named(modules: Iterable[str]) -> list[str]:
    """The files of C that modules name, by their paths in the package."""
    sources = [SOURCES[module] for module in modules]
    return [path for path in TEXTS if any(f'"{Path(path).name}"'.encode() in source for source in sources)]


def closure(*modules: str) -> set[str]:
    """The modules, and those of this package that they import, wherever in their text, and so on."""
    found, waiting = set(), list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += imports(SOURCES[module])
    return found


@cache
def imports(source: bytes) -> tuple[str, ...]:
    """The modules of this package that a source imports; where it takes a whole package, all that this shows.

    What is imported for an editor's types alone does not count.
    """
    dotted: set[str] = set()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            dotted.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            dotted.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            dotted.add(ast.unparse(node))
    found: set[str] = set()
    for name in dotted:
        root, *parts = name.split(".")
        if root != PACKAGE.name:
            continue
        # The longest part of it that is a module or a package; what follows is a name in that.
        while parts and not {"/".join(parts), "/".join([*parts, "__init__"])} & SOURCES.keys():
            parts.pop()
        place = "/".join(parts)
        inside = [module for module in SOURCES if module.rpartition("/")[0] == place]
        shows = b"face(__name__" in SOURCES.get(f"{place}/__init__", b"")  # what its modules have, not names of its own
        found.update([place] if place in SOURCES else inside if shows else [f"{place}/__init__"])
        found.update(f"{'/'.join(parts[:i])}/__init__" for i in range(1, len(parts)))
    return tuple(sorted(found & SOURCES.keys()))


@cache
def _tree_hash(source: bytes) -> str:
    return hashlib.sha256(ast.dump(_Bare().visit(ast.parse(source))).encode()).hexdigest()


class _Bare(ast.NodeTransformer):
    """Takes out of a tree what says something to readers alone."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)  # a field of a dataclass stays one
        return super().generic_visit(node)


def bare(source: str) -> str:
    """Python source as it is without docstrings, annotations and comments, in one layout."""
    return ast.unparse(_Bare().visit(ast.parse(source)))


def notebook_modules(path: Path) -> set[str]:
    """The modules of this package on which a notebook depends, by their paths; ValueError if it is no notebook."""
    try:
        cells = [cell["source"] for cell in json.loads(path.read_bytes())["cells"] if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: wanted a notebook's file; came another ({error!r})") from error
    lines = [line for cell in cells for line in "".join(cell).splitlines() if not line.lstrip().startswith(("%", "!"))]
    return closure(*imports("\n".join(lines).encode()))


def graph(notebooks: Iterable[Path], package: str = "actlab") -> str:
    """Rules for make: each executed notebook stands on the modules that it imports, by their paths from the root."""
    rules = []
    for path in sorted(notebooks):
        modules = sorted(notebook_modules(path))
        files = " ".join(f"{package}/{file}" for file in (*(f"{module}.py" for module in modules), *named(modules)))
        rules.append(f"$(OUT)/{path.name}: {files}\n")
    return "".join(rules)


if __name__ == "__main__":
    found = (PACKAGE.parent / "notebooks").glob("*.ipynb")
    try:
        print(graph(path for path in found if not path.name.endswith((".failed.ipynb", ".partial.ipynb"))), end="")
    except ValueError as error:
        sys.exit(f"actlab.core.sources: {error}")
