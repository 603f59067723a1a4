"""A kind of SQLite file, such as a run or a recording: opened, checked, read, written in whole transactions (ours)."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self


class DatabaseFile:
    """An open file; a context manager that threads may share. A subclass is a kind of file and says what it holds.

    The file is made if it is missing, unless `read_only`. Raises the class's `ERROR` if it is damaged, of another kind,
    of another schema, or missing.
    """

    NOUN: ClassVar[str]  # what is wanted, such as "a run's file"
    KIND: ClassVar[str]  # in short, such as "a run"
    APPLICATION: ClassVar[int]  # in the file's header
    SCHEMA: ClassVar[int]
    TABLES: ClassVar[tuple[str, ...]]  # statements that turn an empty file into one of this kind
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._opened.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """A block whose reads all see the file as it is at one moment, even while another process writes."""
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
        """Connects and checks; what has to be undone when the file closes goes on the stack."""
        uri = f"{self.path.resolve().as_uri()}?mode={'rw' if self.read_only else 'rwc'}"
        with self._damage_named():
            self._connect(opened, uri, self.read_only)

    def _connect(self, opened: contextlib.ExitStack, uri: str, read_only: bool) -> None:
        """Opens a connection for all threads, whose transactions are begun by hand, and checks or fills the file.

        Readers open it as `rw` too, since SQLite has to undo what a killed writer left unfinished.
        """
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30, check_same_thread=False)
        self._db = opened.enter_context(contextlib.closing(connection))
        self._db.execute(f"PRAGMA query_only = {int(read_only)}")
        (application,), (schema,) = self._rows("PRAGMA application_id") + self._rows("PRAGMA user_version")
        if not (application or read_only or self._rows("SELECT 1 FROM sqlite_master")):
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
        ((report,),) = self._rows("PRAGMA quick_check(1)")
        if report != "ok":
            raise self._damaged(report.splitlines()[-1])

    def _fill(self) -> None:
        """Writes what a new file holds, if anything."""

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def _insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], verb: str = "INSERT") -> None:
        marks = ", ".join("?" * len(columns))
        self._db.executemany(f"{verb} INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)

    @contextlib.contextmanager
    def _writing(self, durably: bool = True) -> Iterator[None]:
        """A transaction: all that is written in the block, or nothing; other threads wait.

        It survives the process, and, if `durably`, the machine, which waits for the disk (up to tens of milliseconds).
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

    def _json(self, text: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._damaged(error) from error

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
