"""What the tests of canaries share: which lines of a module a call runs, and how far two sets of numbers are apart."""

import ast
import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from coverage import Coverage

TOLERANCE = 1e-10  # relative; where canaries count as equal


def difference(one: Mapping[str, float | int | str], other: Mapping[str, float | int | str]) -> float:
    """The largest relative difference of two numbers of one name; infinity for other names, words or whole numbers."""
    if one.keys() != other.keys():
        return math.inf
    worst = 0.0
    for name, value in one.items():
        if value == other[name]:
            continue
        if not (isinstance(value, float) and isinstance(other[name], float)):
            return math.inf
        worst = max(worst, abs(value - other[name]) / max(abs(value), abs(other[name])))
    return worst


@dataclass(frozen=True)
class Counted:
    """The functions and methods of a module whose lines count, as `function` or `Class.method`.

    All of them, but for those that are `left_out`; or `only` some. A class stands for its methods.
    """

    left_out: str = ""
    only: str = ""

    def has(self, name: str) -> bool:
        named = {name, name.partition(".")[0]}
        return bool(named & set(self.only.split())) if self.only else not named & set(self.left_out.split())


def inner_lines(source: str, counted: Counted) -> set[int]:
    """The lines of the statements inside of functions that count, without docstrings and raised errors."""
    found: set[int] = set()

    def visit(node: ast.AST, name: str, counts: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                visit(child, child.name, False)
            elif isinstance(child, ast.FunctionDef):
                inner = f"{name}.{child.name}" if name else child.name
                visit(child, inner, counts or counted.has(inner))
            elif not isinstance(child, ast.Raise | ast.Nonlocal):
                words = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
                if counts and isinstance(child, ast.stmt) and not words:
                    found.add(child.lineno)
                visit(child, name, counts)

    visit(ast.parse(source), "", False)
    return found


def coverage(run: Callable[[], object], modules: Mapping[str, Counted]) -> dict[str, tuple[float, list[str]]]:
    """The share of the lines that count which a call runs, of each module, and the text of those that it does not run.

    Args:
        run: the call.
        modules: by their names in actlab, what counts.
    """
    files = {name: importlib.import_module(f"actlab.{name}").__file__ for name in modules}
    measured = Coverage(include=list(files.values()), data_file=None, config_file=False)
    with measured.collect():
        run()
    found = {}
    for name, file in files.items():
        source = Path(file).read_text()
        lines = inner_lines(source, modules[name])
        missed = sorted(lines - set(measured.get_data().lines(file) or ()))
        found[name] = 1 - len(missed) / len(lines), [source.splitlines()[i - 1].strip() for i in missed]
    return found
