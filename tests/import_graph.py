"""Who imports whom in actlab, read from the syntax trees: for the tests of import order and Makefile."""

import ast
from functools import cache
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module below actlab by its name without the `actlab.`; packages by their own `__init__`."""
    found = {}
    for path in sorted((root / "actlab").rglob("*.py")):
        parts = path.relative_to(root / "actlab").with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found.pop("")  # actlab itself imports nothing of ours before it is asked
    return found


@cache
def imported(source: str, known: frozenset[str]) -> frozenset[str]:
    """The modules of ours that code names: imports at any depth, and attributes such as `actlab.lab.training`."""
    dotted = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            dotted |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"wanted absolute imports; came a relative one: {ast.unparse(node)}"
            dotted |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute):
            dotted.add(ast.unparse(node))
    names = {name.removeprefix("actlab.") for name in dotted if name.startswith("actlab.")}
    prefixes = {".".join(name.split(".")[:i]) for name in names for i in range(1, name.count(".") + 2)}
    return known & prefixes


def graph(root: Path = ROOT) -> dict[str, set[str]]:
    """The modules that each module imports itself; one inside a package needs the package's `__init__`."""
    known = modules(root)
    edges = {}
    for name, path in known.items():
        package = {name.rpartition(".")[0]} & known.keys()
        edges[name] = (imported(path.read_text(), frozenset(known)) | package) - {name}
    return edges


def closure(names: set[str], edges: dict[str, set[str]]) -> set[str]:
    """The names and everything that they import, directly or not."""
    reached, waiting = set(), set(names)
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting |= edges[name] - reached
    return reached


def notebook_imports(path: Path, root: Path = ROOT) -> set[str]:
    """The files of actlab that a notebook depends on, as the Makefile names them."""
    known, edges = modules(root), graph(root)
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    lines = [line for cell in cells for line in cell.splitlines() if not line.lstrip().startswith(("%", "!"))]
    reached = closure(imported("\n".join(lines), frozenset(known)), edges)
    return {str(known[name].relative_to(root)) for name in reached}
