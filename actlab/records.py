"""Where results live and what they were made from: paths anchored on the checkout, tables with provenance."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, is_dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

PACKAGE = Path(__file__).resolve().parent
ROOT = Path(os.environ.get("ACTLAB_ROOT", PACKAGE.parent)).resolve()
BUILD = ROOT / "build"


def figures_folder(profile: str) -> Path:
    """Where a profile's figures go: the committed folder for laptop alone, the build folder for all others."""
    return ROOT / "figures" if profile == "laptop" else BUILD / profile / "figures"


# What this process runs, read as it was imported: a source that is edited meanwhile does not pass for it.
SOURCES = {p.relative_to(PACKAGE).with_suffix("").as_posix(): p.read_bytes() for p in sorted(PACKAGE.rglob("*.py"))}


def code_hash(*modules: str) -> str:
    """Hash of what modules of this package compute: their syntax trees without docstrings, annotations and comments.

    Args:
        modules: by their paths in the package, without ".py", such as "lab" or "proposers/grammar".

    Raises:
        ValueError: where a module is not there.
    """
    if unknown := [module for module in modules if module not in SOURCES]:
        raise ValueError(f"wanted modules of actlab; got {', '.join(map(repr, unknown))}")
    trees = [ast.dump(bare(SOURCES[module].decode())) for module in sorted(modules)]
    return hashlib.sha256("\0".join(trees).encode()).hexdigest()


def bare(source: str) -> ast.Module:
    """The syntax tree of Python source without docstrings and annotations; comments are in no tree."""
    return _Bare().visit(ast.parse(source))


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


def key(description: Mapping[str, Any]) -> str:
    """Hash of a description (dataclasses, numbers, strings, lists, dicts), and of the versions that run it."""
    return digest({**description, "versions": versions()})


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


class Store:
    """Tables on disk, each under the key of the description of what made it, which stands beside it as JSON."""

    def __init__(self, folder: Path = BUILD / "records") -> None:
        self.folder = folder

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
        return pd.read_parquet(path) if path.exists() else None

    def save(self, description: Mapping[str, Any], table: pd.DataFrame) -> None:
        """Writes a table, with description, versions and commit beside it; one that is cut off is never loaded."""
        path = self._path(description)
        path.parent.mkdir(parents=True, exist_ok=True)
        provenance = {**description, "versions": versions(), "commit": commit()}
        text = json.dumps(provenance, sort_keys=True, indent=1, default=_plain)
        path.with_suffix(".json").write_text(text + "\n")
        partial = path.with_suffix(f".{os.getpid()}.partial")
        table.to_parquet(partial)
        partial.replace(path)

    def _path(self, description: Mapping[str, Any]) -> Path:
        name = key(description)
        return self.folder / name[:2] / f"{name}.parquet"


class Shelf:
    """Tables of a long run that are committed together, each under the digest of the description of what made it.

    Unlike a store's, the keys leave out the versions: those that made the tables stand beside them, in `about`. Numbers
    are kept in float32.

    Args:
        folder: of `losses.parquet` and `about.json`; where they are not there, the shelf is empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def about(self) -> dict[str, Any]:
        """Command and versions that made the tables; empty where there are none."""
        path = self.folder / "about.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def load(self, description: Mapping[str, Any]) -> pd.DataFrame | None:
        """The table of that description, or None where there is none."""
        return self._tables.get(digest(description))

    def fill(self, tables: Iterable[tuple[Mapping[str, Any], pd.DataFrame]], about: Mapping[str, Any]) -> int:
        """Writes tables, one a description, in place of all that stood there; a write that is cut off leaves the old.

        Returns:
            How many they are.
        """
        import pandas as pd

        tall = {digest(description): table for description, table in tables}
        whole = pd.concat([table.assign(digest=name) for name, table in tall.items()])
        numbers = whole.select_dtypes("float64").columns
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"losses.{os.getpid()}.partial"
        whole.astype(dict.fromkeys(numbers, "float32")).to_parquet(partial, index=False, compression="zstd")
        partial.replace(self.folder / "losses.parquet")
        text = json.dumps({**about, "versions": versions()}, sort_keys=True, indent=1, default=_plain)
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
