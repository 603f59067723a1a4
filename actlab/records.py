"""Where results live and what they were made from: paths anchored on the checkout, tables with provenance."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, is_dataclass
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


def source_hash(*modules: str) -> str:
    """Hash of the source of modules of this package, such as "lab" or "proposers/grammar"; changes when a line does.

    Raises:
        FileNotFoundError: where a module is not there.
    """
    digest = hashlib.sha256()
    for module in sorted(modules):
        digest.update(module.encode() + b"\0" + (PACKAGE / f"{module}.py").read_bytes() + b"\0")
    return digest.hexdigest()


def key(**parts: Any) -> str:
    """Hash of a description (dataclasses, numbers, strings, lists, dicts) with torch's and numpy's versions."""
    parts["versions"] = {name: version(name).split("+")[0] for name in ("torch", "numpy")}
    text = json.dumps(parts, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"wanted numbers, strings, lists, dicts or dataclasses in a record's description; got {value!r}")


class Store:
    """Tables on disk, each under the key of what made it, with that description beside it as JSON."""

    def __init__(self, folder: Path = BUILD / "records") -> None:
        self.folder = folder

    def load(self, key: str) -> pd.DataFrame | None:
        """The table under a key, or None where there is none."""
        import pandas as pd

        path = self._path(key)
        return pd.read_parquet(path) if path.exists() else None

    def save(self, key: str, table: pd.DataFrame, **description: Any) -> None:
        """Writes a table and its description; a write that is cut off leaves nothing that `load` would take."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(description, sort_keys=True, indent=1, default=_plain)
        path.with_suffix(".json").write_text(text + "\n")
        partial = path.with_suffix(f".{os.getpid()}.partial")
        table.to_parquet(partial)
        partial.replace(path)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.parquet"
