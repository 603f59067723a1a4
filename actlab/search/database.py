"""A file of ours in SQLite: made, checked and read as one, written by whole transactions, its faults named (ours)."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, TypeVar

D = TypeVar("D", bound="DatabaseFile")


class DatabaseFile:
    """A file, open; a context manager. A kind of file is a class that says what it holds.

    Args:
        path: of the file; made where it is missing, unless it is only to be read.
        read_only: changes nothing.

    Raises:
        Exception: of the class's `ERROR`, where the file is missing, damaged, something else, or of another schema.
    """

    NOUN: ClassVar[str]  # what is wanted, such as "a run's file"
    KIND: ClassVar[str]  # in short, such as "a run"
    APPLICATION: ClassVar[int]  # in the file's header
    SCHEMA: ClassVar[int]
    TABLES: ClassVar[tuple[str, ...]]  # statements that make an empty file one of this kind
    ERROR: ClassVar[type[Exception]]

    def __init__(self, path: str | Path, read_only: bool = False) -> None:
        self.path, self.read_only = Path(path), read_only
        self._lock = threading.RLock()
        if self.path.is_dir():
            raise self._wanted("a folder")
        if read_only and not self.path.is_file():
            raise self.ERROR(f"{self.path}: wanted {self.NOUN}; found none")
        if read_only and not self.path.stat().st_size:
            raise self._wanted("an empty file")
        if not self.path.parent.is_dir():
            raise self.ERROR(f"{self.path}: wanted a folder to put it in; {self.path.parent} is none")
        with contextlib.ExitStack() as opened:
            self._open(opened)
            self._opened = opened.pop_all()

    def __enter__(self: D) -> D:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._opened.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Whatever is read within is of one moment, whoever writes meanwhile."""
        with self._lock:
            if self._db.in_transaction:  # of a caller
                yield
                return
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.execute("COMMIT")

    def _open(self, opened: contextlib.ExitStack) -> None:
        """Connects and checks; whatever is to be undone when the file closes goes on the stack."""
        uri = f"{self.path.resolve().as_uri()}?mode={'rw' if self.read_only else 'rwc'}"
        with self._damage_named():
            self._connect(opened, uri, self.read_only)

    def _connect(self, opened: contextlib.ExitStack, uri: str, read_only: bool) -> None:
        """A connection whose transactions are begun by hand, for all threads.

        A reader has to undo what a killed writer left half done, as SQLite does by itself: hence `rw` for both.
        """
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30, check_same_thread=False)
        self._db = opened.enter_context(contextlib.closing(connection))
        self._db.execute(f"PRAGMA query_only = {int(read_only)}")
        self._check(read_only)

    def _check(self, read_only: bool) -> None:
        """Refuses what is no file of this kind, and makes a new one of an empty file."""
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (schema,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not (application or tables or read_only):
            with self._writing():
                for statement in self.TABLES:
                    self._db.execute(statement)
                self._fill()
                self._db.execute(f"PRAGMA application_id = {self.APPLICATION}")
                self._db.execute(f"PRAGMA user_version = {self.SCHEMA}")
            return
        if application != self.APPLICATION:
            raise self._wanted("another SQLite database")
        if schema != self.SCHEMA:
            age = "newer" if schema > self.SCHEMA else "older"
            wanted = f"wanted {self.KIND} of schema {self.SCHEMA}; got the {age} schema {schema}"
            raise self.ERROR(f"{self.path}: {wanted}")
        (report,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if report != "ok":
            raise self._damaged(report.splitlines()[-1])

    def _fill(self) -> None:
        """Writes what a new file holds, if anything."""

    @contextlib.contextmanager
    def _writing(self, durably: bool = True) -> Iterator[None]:
        """A transaction: all that is written within, or nothing; no thread comes between.

        It survives the process, and, if `durably`, the machine: that waits for the disk, tens of milliseconds on some.
        """
        with self._lock:
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durably else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextlib.contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def _damaged(self, how: object) -> Exception:
        return self._wanted(f"a damaged or foreign one ({how})")

    def _wanted(self, came: str) -> Exception:
        return self.ERROR(f"{self.path}: wanted {self.NOUN}; got {came}")
