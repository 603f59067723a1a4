"""Where results live and what they were made from: paths anchored on the checkout, tables with provenance."""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import logging
import math
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = Path(os.environ.get("ACTLAB_ROOT", PACKAGE.parent)).resolve()
BUILD = ROOT / "build"


def figures_folder(profile: str) -> Path:
    """Where a profile's figures go: the committed folder for laptop alone, the build folder for all others."""
    return ROOT / "figures" if profile == "laptop" else BUILD / profile / "figures"


# What this process runs, read as it was imported: a source that is edited meanwhile does not pass for it.
SOURCES = {p.relative_to(PACKAGE).with_suffix("").as_posix(): p.read_bytes() for p in sorted(PACKAGE.rglob("*.py"))}


def code_hash(*modules: str) -> str:
    """Hash of what modules of this package compute, with all that they import from it.

    It is that of their syntax trees without docstrings, annotations and comments; a module's name does not count.

    Args:
        modules: by their paths in the package, without ".py", such as "lab" or "proposers/grammar".

    Raises:
        ValueError: where a module is not there.
    """
    if unknown := [module for module in modules if module not in SOURCES]:
        raise ValueError(f"wanted modules of actlab; got {', '.join(map(repr, unknown))}")
    trees = sorted(_parsed(module, SOURCES[module])[0] for module in closure(*modules))
    return hashlib.sha256("".join(trees).encode()).hexdigest()


def closure(*modules: str) -> set[str]:
    """The modules, and those of this package that they import, wherever in their text, and so on."""
    found, waiting = set(), list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += _parsed(module, SOURCES[module])[1]
    return found


@cache
def _parsed(module: str, source: bytes) -> tuple[str, tuple[str, ...]]:
    """The hash of a module's bare tree, and the modules of this package that it imports."""
    tree, package = ast.parse(source), PACKAGE.name
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    paths = [name.removeprefix(f"{package}.").replace(".", "/") for name in names if name.startswith(f"{package}.")]
    imported = [place for path in paths for place in (path, f"{path}/__init__") if place in SOURCES]
    return hashlib.sha256(ast.dump(_Bare().visit(tree)).encode()).hexdigest(), tuple(imported)


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


def versions() -> dict[str, str]:
    """The versions on which a number may hang."""
    packages = {name: version(name).split("+")[0] for name in ("torch", "numpy", "scipy")}
    return {"python": platform.python_version(), **packages}


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    about = path.stat()
    return _file_hash(path, about.st_size, about.st_mtime_ns)


@cache
def _file_hash(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(description: Mapping[str, Any]) -> str:
    """Hash of a description, the same on every machine."""
    text = json.dumps(description, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"wanted numbers, strings, lists, dicts or dataclasses in a record's description; got {value!r}")


def write(path: Path, text: str) -> None:
    """Writes a file of text, in a folder that is made where it lacks; one that is cut off leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text)
    partial.replace(path)


@cache
def commit() -> str | None:
    """The checkout's commit, with a + where files differ from it; None where there is no checkout."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def bare(source: str) -> str:
    """Python source as it is without docstrings, annotations and comments, in one layout."""
    return ast.unparse(_Bare().visit(ast.parse(source)))


# --- what still stands --------------------------------------------------------------------------

LOG = logging.getLogger("actlab.core.records")
TOLERANCE = 1e-10  # relative; in float64 vector widths and chunks move a canary by 2e-16, a beta of Adam's by 4e-9


@dataclass(frozen=True)
class Family:
    """Records of one kind, which a change of the code changes together.

    A record is kept under what was asked, never under the code that answered. Whether other code would still give the
    same answer is told by the family's canary: a tiny run of that code, whose numbers are kept beside the records.
    """

    name: str
    protocol: int  # part of every key; raised by hand where the meaning of the records changes, which makes all anew
    canary: str  # module of this package whose `values()` is that run; the family's code is what it imports

    def key(self, description: Mapping[str, Any]) -> str:
        """Hash of what was asked, as plain data or dataclasses."""
        return digest({**description, "family": self.name, "protocol": self.protocol})

    def made(self) -> dict[str, Any]:
        """The code and the versions of this process, which stand beside records as their origin."""
        return {"protocol": self.protocol, "code": code_hash(self.canary), "versions": versions()}

    def mark(self) -> str:
        """Twelve digits for `made`."""
        return digest({"family": self.name, **self.made()})[:12]

    def run(self) -> dict[str, Any]:
        """The canary's numbers and words, made now."""
        _RUNNING.add(self.canary)
        try:
            return importlib.import_module(f"{PACKAGE.name}.{self.canary.replace('/', '.')}").values()
        finally:
            _RUNNING.discard(self.canary)

    def values(self) -> dict[str, Any]:
        """The canary's numbers and words, made once by each code and versions; none within the canary itself."""
        return {} if self.canary in _RUNNING else _values(self.name, self.mark())


PROTOCOLS = {
    family.name: family
    for family in (
        Family("lab", 1, "scoring/canary"),
        Family("multiverse", 1, "studies/canary"),
        Family("search", 1, "search/canary"),
        Family("transfer", 1, "transfer/canary"),
    )
}


@cache
def _values(family: str, mark: str) -> dict[str, Any]:
    path = BUILD / "canaries" / f"{family}-{mark}.json"
    if not path.exists():
        write(path, json.dumps(PROTOCOLS[family].run(), indent=0) + "\n")
    return json.loads(path.read_text())


_RUNNING: set[str] = set()  # canaries under way, whose own checkpoints need none


def drift(then: Mapping[str, Any], now: Mapping[str, Any]) -> float:
    """The largest relative difference between two runs of a canary; infinity where words or names differ."""
    if then.keys() != now.keys():
        return math.inf
    largest = 0.0
    for name, old in then.items():
        new = now[name]
        if isinstance(old, str) or isinstance(new, str) or not (math.isfinite(old) and math.isfinite(new)):
            largest = max(largest, 0.0 if str(old) == str(new) else math.inf)
        elif old != new:
            largest = max(largest, abs(new - old) / max(abs(old), abs(new)))
    return largest


class ChangedCode(RuntimeError):
    """The code computes something else than what made the records."""


class Canaries:
    """The canaries of those who made the records of a folder, one file a family and maker, `FAMILY-MARK.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, family: str) -> str:
        """Writes what this process is, where it is not there yet, and returns its mark."""
        path = self._path(family, PROTOCOLS[family].mark())
        if not path.exists() and PROTOCOLS[family].canary not in _RUNNING:
            about = PROTOCOLS[family].made() | {"values": PROTOCOLS[family].values()}
            write(path, json.dumps(about, indent=0, sort_keys=True) + "\n")
        return PROTOCOLS[family].mark()

    def read(self, family: str, mark: str) -> dict[str, Any]:
        """Protocol, code and versions of a maker, and the values of its canary."""
        return json.loads(self._path(family, mark).read_text())

    def drift(self, family: str, mark: str) -> float:
        """How far this process's canary is from a maker's; 0 without a run where it is the same code and versions."""
        if mark == PROTOCOLS[family].mark():
            return 0.0
        if not self._path(family, mark).exists():
            return math.inf
        return drift(self.read(family, mark)["values"], PROTOCOLS[family].values())

    def stand(self, family: str, marks: Iterable[str]) -> bool:
        """Whether what these makers wrote is what this process would write; says so in a line where it is not."""
        found = max((self.drift(family, mark) for mark in marks), default=0.0)
        if found > TOLERANCE:
            LOG.warning("%s", changed(family, found))
        return found <= TOLERANCE

    def demand(self, family: str, marks: Iterable[str]) -> None:
        """The same, for records that nobody makes anew unasked.

        Raises:
            ChangedCode: where they do not stand.
        """
        found = max((self.drift(family, mark) for mark in marks), default=0.0)
        if found > TOLERANCE:
            raise ChangedCode(changed(family, found))

    def _path(self, family: str, mark: str) -> Path:
        return self.folder / f"{family}-{mark}.json"


def changed(family: str, by: float) -> str:
    """What to do where a family's canary has moved."""
    how = "is another one" if math.isinf(by) else f"moved by {by:.1g}"
    return (
        f"{family}: the canary {how}, so this code computes something else than what made the records: mend it, or "
        f"raise the family's protocol ({PROTOCOLS[family].protocol}) to have them made anew"
    )


# --- stores ---------------------------------------------------------------------------------------


class Store:
    """Tables on disk, each under what was asked, the `family` of `PROTOCOLS` among it, which stands beside it as JSON.

    What was made by code that computed something else, as its canary tells, is not there.
    """

    def __init__(self, folder: Path = BUILD / "records") -> None:
        self.folder, self.canaries = folder, Canaries(folder / "canaries")

    def get(self, description: Mapping[str, Any], compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The table of that description: as it was kept, else computed and kept."""
        table = self.load(description)
        if table is None:
            table = compute()
            self.save(description, table)
        return table

    def load(self, description: Mapping[str, Any]) -> pd.DataFrame | None:
        """The table of that description, or None where there is none."""
        import pandas as pd

        path = self._path(description)
        if not path.exists():
            return None
        mark = json.loads(path.with_suffix(".json").read_text())["mark"]
        return pd.read_parquet(path) if self.canaries.stand(description["family"], [mark]) else None

    def save(self, description: Mapping[str, Any], table: pd.DataFrame) -> None:
        """Writes a table, with description, mark and commit beside it; one that is cut off is never loaded."""
        path = self._path(description)
        path.parent.mkdir(parents=True, exist_ok=True)
        provenance = {**description, "mark": self.canaries.keep(description["family"]), "commit": commit()}
        text = json.dumps(provenance, sort_keys=True, indent=1, default=_plain)
        path.with_suffix(".json").write_text(text + "\n")
        partial = path.with_suffix(f".{os.getpid()}.partial")
        table.to_parquet(partial)
        partial.replace(path)

    def _path(self, description: Mapping[str, Any]) -> Path:
        name = PROTOCOLS[description["family"]].key(description)
        return self.folder / name[:2] / f"{name}.parquet"


class Shelf:
    """Tables of a long run that are committed together, each under what was asked; numbers are kept in float32.

    Args:
        folder: of `losses.parquet` and `about.json`; where they are not there, the shelf is empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.canaries = folder, Canaries(folder.parent / "canaries")

    @property
    def about(self) -> dict[str, Any]:
        """Command, versions and marks of what made the tables; empty where there are none."""
        path = self.folder / "about.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def load(self, description: Mapping[str, Any]) -> pd.DataFrame | None:
        """The table of that description, or None where there is none.

        Raises:
            ChangedCode: where the code here computes something else than what made it.
        """
        table = self._tables.get(PROTOCOLS[description["family"]].key(description))
        if table is not None:
            self.canaries.demand(description["family"], self.about["marks"])
        return table

    def fill(self, tables: Iterable[tuple[Mapping[str, Any], pd.DataFrame]], about: Mapping[str, Any]) -> int:
        """Writes tables of one family, in place of all that stood there; a write that is cut off leaves the old.

        Returns:
            How many they are.
        """
        import pandas as pd

        tall, families = {}, set()
        for description, table in tables:
            families.add(description["family"])
            tall[PROTOCOLS[description["family"]].key(description)] = table
        whole = pd.concat([table.assign(digest=name) for name, table in tall.items()])
        numbers = whole.select_dtypes("float64").columns
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"losses.{os.getpid()}.partial"
        whole.astype(dict.fromkeys(numbers, "float32")).to_parquet(partial, index=False, compression="zstd")
        partial.replace(self.folder / "losses.parquet")
        marks = [self.canaries.keep(family) for family in sorted(families)]
        text = json.dumps({**about, "versions": versions(), "marks": marks}, sort_keys=True, indent=1, default=_plain)
        write(self.folder / "about.json", text + "\n")
        vars(self).pop("_tables", None)
        return len(tall)

    @cached_property
    def _tables(self) -> dict[str, pd.DataFrame]:
        import pandas as pd

        path = self.folder / "losses.parquet"
        if not path.exists():
            return {}
        whole = pd.read_parquet(path)
        numbers = whole.select_dtypes("float32").columns
        parts = whole.astype(dict.fromkeys(numbers, "float64")).groupby("digest", sort=False)
        return {name: part.drop(columns="digest").reset_index(drop=True) for name, part in parts}
