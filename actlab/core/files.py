"""Files that are written whole or not at all, and known to be whole when they are read (ours)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"  # size and hash of the files of its folder, by name


class Damaged(ValueError):
    """A file is damaged, or not what it should be; one line: the file, what was wanted and what came."""


# --- writing --------------------------------------------------------------------------------------


@contextmanager
def writing(*paths: Path, noted: bool = False) -> Iterator[list[Path]]:
    """A block that writes files of one folder: where to write each. At its end they take the places of the old ones.

    Where it raises, as on a full disk, the old files stay, and nothing else is left.

    Args:
        paths: of the files; their folder is made where it lacks.
        noted: whether the folder's manifest notes them, so that `read` tells whether they are whole.
    """
    folder = paths[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    partials = [path.with_name(f"{path.name}.{os.getpid()}.partial") for path in paths]
    try:
        yield partials
        if not noted:
            _replace(partials, paths)
            return
        new = {path.name: mark(partial.read_bytes()) for path, partial in zip(paths, partials, strict=True)}
        with locked(folder / ".manifest.lock"):
            noted = manifest(folder)
            # Until all are in place, each may be as it was: a kill leaves no file that passes for damaged.
            old = {_before(path.name): mark(path.read_bytes()) for path in paths if path.exists()}
            whole = {name: value for name, value in old.items() if value in noted.values()}
            _write_manifest(folder, noted | whole | new)
            _replace(partials, paths)
            _write_manifest(folder, {name: value for name, value in (noted | new).items() if name not in old})
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)


def _replace(partials: list[Path], paths: tuple[Path, ...]) -> None:
    for partial, path in zip(partials, paths, strict=True):
        partial.replace(path)


def _before(name: str) -> str:
    return f"{name}, before"


def _write_manifest(folder: Path, marks: Mapping[str, str]) -> None:
    write(folder / MANIFEST, json.dumps(marks, sort_keys=True, indent=0) + "\n")


def write(path: Path, text: str, noted: bool = False) -> None:
    """Writes a file of text (UTF-8) as `writing` does."""
    with writing(path, noted=noted) as (partial,):
        partial.write_text(text, encoding="utf-8")


def note(folder: Path) -> None:
    """Writes the manifest of a folder anew, of its files as they are: after a merge, or an edit that was meant."""
    known = (path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST and path.name[0] != ".")
    _write_manifest(folder, {path.name: mark(path.read_bytes()) for path in known})


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other processes that want the same lock, a file, waiting; it ends with the process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=600, isolation_level=None)) as lock:  # on every system
        lock.execute("BEGIN IMMEDIATE")
        yield


# --- reading --------------------------------------------------------------------------------------


def mark(data: bytes) -> str:
    """Size and SHA-256 of what a file holds, as a manifest has them."""
    return f"{len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}"


def manifest(folder: Path) -> dict[str, str]:
    """The marks of a folder's files by name, as its manifest notes them; none where there is no manifest."""
    path = folder / MANIFEST
    return json_object(path, path.read_bytes()) if path.exists() else {}


def drop_damaged_manifest(folder: Path) -> None:
    """Removes the manifest of a folder where it is damaged: what it noted is then no longer known to be whole."""
    try:
        manifest(folder)
    except Damaged:
        (folder / MANIFEST).unlink()


def read(path: Path, remedy: str) -> bytes:
    """What a file holds, as its folder's manifest notes it.

    Raises:
        Damaged: where it was not written so: it was damaged, or edited by hand; says the `remedy`.
    """
    while True:
        noted = manifest(path.parent)
        data = path.read_bytes() if path.exists() else b""
        wanted = [noted[name] for name in (path.name, _before(path.name)) if name in noted]
        if mark(data) in wanted:
            return data
        if manifest(path.parent) == noted:  # else another process wrote it meanwhile
            wanted = wanted[0] if wanted else f"its size and its SHA-256 in {MANIFEST}"
            raise Damaged(f"{path}: wanted {wanted}; came {mark(data)}. {remedy}")


def json_object(path: Path, data: bytes) -> dict[str, Any]:
    """The JSON object that a file holds; raises Damaged where it holds none."""
    with reading(path, "a JSON object"):
        found = json.loads(data)
        if not isinstance(found, dict):
            raise TypeError(f"JSON of another type, {type(found).__name__}")
    return found


@contextmanager
def reading(path: Path | str, wanted: str, data: bytes | None = None) -> Iterator[None]:
    """A block that parses one file: whatever its parser raises becomes Damaged, with the file, `wanted` and what came.

    What the system refuses (an OSError with a number) and memory that runs out stay as they are. `data` is what is
    parsed where that is a part of a file, whose place `path` then tells.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, Damaged | MemoryError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        why = re.sub(r"<[^<>]* at 0x[0-9a-f]+>", "it", next(iter(str(error).splitlines()), type(error).__name__))
        raise Damaged(f"{path}: wanted {wanted}; came {contents(path, data)} ({why})") from error


SIGNS = {
    rb"\Z": "an empty file",
    rb"version https://git-lfs": "a pointer of Git LFS (`git lfs pull` fetches the file itself)",
    rb"\s*<(!doctype html|html)": "a page of HTML",
    rb"\x00\x05\x16[\x00\x07]": "an AppleDouble file, which macOS writes beside the file itself",
    rb"\x00+\Z": "null bytes",
}


def contents(path: Path | str, data: bytes | None = None) -> str:
    """What a damaged file, or a part of one, holds: a few words, by how it starts."""
    path = Path(path)
    if data is None and not path.is_file():
        return "a folder" if path.is_dir() else "none"
    if data is None:
        with path.open("rb") as file:
            start, size = file.read(512), path.stat().st_size
    else:
        start, size = data[:512], len(data)
    known = (words for sign, words in SIGNS.items() if re.match(sign, start, re.IGNORECASE))
    return next(known, f"{size} bytes that start with {start[:4].hex(' ')}")


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    about = path.stat()
    return _file_hash(path, about.st_size, about.st_mtime_ns)


@cache
def _file_hash(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
