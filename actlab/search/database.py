"""A kind of SQLite file, such as a run or a recording: opened, checked, read, written in whole transactions (ours)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

# What is wrong with the system, not with the file: a full disk, a file that another process holds or that may not be
# written, and so on.
SYSTEM = (
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM,
)  # fmt: skip
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
SEALS = "CREATE TABLE IF NOT EXISTS seals (part TEXT PRIMARY KEY, rows INTEGER NOT NULL, sha256 TEXT NOT NULL)"


class DatabaseFile:
    """An open file; a context manager that threads may share. A subclass is a kind of file and says what it holds.

    The file is made if it is missing, unless `read_only`. Raises the class's `ERROR` if it is damaged, of another kind,
    of another schema, or missing.

    Each transaction writes the number of rows and the SHA-256 of each table into the table `seals`, which is compared
    when the file is opened, so that a flipped bit is found. A file that was made before there were seals gets them with
    its next transaction.
    """

    NOUN: ClassVar[str]  # what is wanted, such as "a run's file"
    KIND: ClassVar[str]  # in short, such as "a run"
    APPLICATION: ClassVar[int]  # in the file's header
    SCHEMA: ClassVar[int]
    TABLES: ClassVar[tuple[str, ...]]  # statements that turn an empty file into one of this kind
    GROWS: ClassVar[bool] = False  # whether rows are only added, each with a higher rowid, so that old ones stay hashed
    ERROR: ClassVar[type[Exception]]

    def __init__(self, path: str | Path, read_only: bool = False) -> None:
        self.path, self.read_only = Path(path), read_only
        self._lock = threading.RLock()
        self._seals: dict[str, tuple[int, int, Any]] = {}  # by table: last rowid, rows, hash
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
        ((report,),) = self._rows("PRAGMA integrity_check(1)")
        if report != "ok":
            raise self._damaged(report.splitlines()[-1])
        with self.reading():
            if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'seals'"):
                return
            found, kept = self._hashed(), self._rows("SELECT part, rows, sha256 FROM seals ORDER BY part")
        if (came := self._marks(found)) != kept:
            part = next((row[0] for row in came if row not in kept), "seals")
            raise self._damaged(f"what {part} holds and its hash do not agree")
        self._seals = found if self.GROWS else {}

    def _fill(self) -> None:
        """Writes what a new file holds, if anything."""

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, self._damage_named(False):
            return self._db.execute(query, values).fetchall()

    def _insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], verb: str = "INSERT") -> None:
        marks = ", ".join("?" * len(columns))
        self._db.executemany(f"{verb} INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)

    @contextlib.contextmanager
    def _writing(self, durably: bool = True) -> Iterator[None]:
        """A transaction: all that is written in the block, or nothing; other threads wait.

        It survives the process, and, if `durably`, the machine, which waits for the disk (up to tens of milliseconds).
        """
        with self._lock, self._damage_named(False):
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durably else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute(SEALS)
                seals = self._hashed()
                self._insert("seals", ("part", "rows", "sha256"), self._marks(seals), "INSERT OR REPLACE")
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have ended it
                    self._db.execute("ROLLBACK")
                raise
            self._seals = seals if self.GROWS else {}

    def _hashed(self) -> dict[str, tuple[int, int, Any]]:
        """By table: the last rowid, the number of rows, the hash of statement and rows, old ones read once."""
        found = {}
        for statement in self.TABLES:
            table = statement.split()[2]
            made = self._db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
            last, count, sha256 = self._seals.get(table, (-1, 0, hashlib.sha256(repr(made).encode())))
            sha256 = sha256.copy()
            for row in self._db.execute(f"SELECT rowid, * FROM {table} WHERE rowid > ? ORDER BY rowid", (last,)):
                last, count = row[0], count + 1
                sha256.update(repr(row).encode())
            found[table] = (last, count, sha256)
        return found

    @staticmethod
    def _marks(seals: dict[str, tuple[int, int, Any]]) -> list[tuple[str, int, str]]:
        return sorted((table, count, sha256.hexdigest()) for table, (_, count, sha256) in seals.items())

    def _json(self, text: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._damaged(error) from error

    @contextlib.contextmanager
    def _damage_named(self, opening: bool = True) -> Iterator[None]:
        """Names the file where the system fails, or where it is damaged: while it is opened, by any other error too."""
        try:
            yield
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter where SQLite quotes what is damaged
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in SYSTEM:
                raise self.ERROR(
                    f"{self.path}: wanted to read and write {self.NOUN}; the system says: {error}"
                ) from error
            if opening or code in DAMAGE:
                raise self._damaged(error) from error
            raise

    def _damaged(self, how: object) -> Exception:
        return self._wanted(f"a damaged or foreign one ({next(iter(str(how).splitlines()), 'no reason')})")

    def _wanted(self, came: str) -> Exception:
        return self.ERROR(f"{self.path}: wanted {self.NOUN}; got {came}")
