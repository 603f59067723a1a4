"""The program database: all candidates of a search, one SQLite file a run (paper, Figure 1; layout [ours]).

One process writes at a time; any number may read. The candidates of a round are written in one transaction;
the result of an evaluation is kept the moment it is known, so that a killed run loses at most what was in
flight. Nothing is ever deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

APPLICATION = 0x61637461  # "acta", in the file's header
SCHEMA = 2  # 1 knew no killed candidates
ENDED = ("scored", "dropped", "duplicate", "refused", "failed", "killed")
TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    f"""CREATE TABLE programs (
        id INTEGER PRIMARY KEY, round INTEGER NOT NULL, source TEXT NOT NULL, source_hash TEXT NOT NULL,
        fingerprint TEXT, operator TEXT NOT NULL, parents TEXT NOT NULL,
        ended TEXT NOT NULL CHECK (ended IN {ENDED}), duplicate_of INTEGER REFERENCES programs (id),
        error TEXT, screen_fitness REAL, fitness REAL, score TEXT, description TEXT)""",
    """CREATE TABLE evaluations (
        source_hash TEXT NOT NULL, stage TEXT NOT NULL, result TEXT NOT NULL,
        PRIMARY KEY (source_hash, stage))""",
    """CREATE TABLE timings (
        source_hash TEXT NOT NULL, stage TEXT NOT NULL, asked REAL NOT NULL, finished REAL NOT NULL)""",
)


class ArchiveError(RuntimeError):
    """A run file that cannot be used as asked: one line that says what was wanted and what came."""


@dataclass(frozen=True)
class Entry:
    """One candidate, as it is recorded."""

    id: int  # in the order of asking; 0 is the start of the search
    round: int
    source: str  # canonical; as it was proposed, where it was refused
    source_hash: str
    fingerprint: str | None  # of its values on probes; None where it was not run or misbehaved
    operator: str  # what the proposer did
    parents: tuple[int, ...]  # the first is the line of descent
    ended: str  # scored, dropped (by the screening), duplicate, refused (by the check), failed or killed
    duplicate_of: int | None = None
    error: str | None = None
    screen_fitness: float | None = None
    fitness: float | None = None  # of the full training; higher is better
    score: dict[str, Any] | None = None  # of the full training
    description: dict[str, Any] | None = None  # cost and traits

    @property
    def was_screened(self) -> bool:
        """Whether it was trained at all, hence cost an evaluation; the start did not."""
        return self.round > 0 and self.fingerprint is not None and self.ended not in ("duplicate", "refused")


COLUMNS = tuple(field.name for field in fields(Entry))
JSON_COLUMNS = ("parents", "score", "description")
OUTSIDE_DIGEST = ("error", "description")  # words may carry addresses; a description follows from the source


def source_hash(source: str) -> str:
    """SHA-256 of a program's source, hexadecimal."""
    return hashlib.sha256(source.encode()).hexdigest()


class Archive:
    """A run's file, open; a context manager.

    Args:
        path: of the file; made where it is missing, unless it is only to be read. A writer leaves an empty
            file with the ending .lock beside it.
        read_only: changes nothing and takes no lock, so that a running search can be watched.

    Raises:
        ArchiveError: where the file is damaged, is something else, has another schema, or is being written by
            another process; with `read_only`, also where it is not there.
    """

    def __init__(self, path: str | Path, read_only: bool = False) -> None:
        self.path, self.read_only = Path(path), read_only
        if read_only and not self.path.is_file():
            raise ArchiveError(f"{self.path}: wanted a run's file; found none")
        if not self.path.parent.is_dir():
            raise ArchiveError(f"{self.path}: wanted a folder to put it in; {self.path.parent} is none")
        with contextlib.ExitStack() as opened:
            if not read_only:
                opened.enter_context(_lock(self.path))
            with self._damage_named():
                self._db = opened.enter_context(contextlib.closing(_connect(self.path, read_only)))
                self._check_file()
            self._opened = opened.pop_all()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file and gives the lock back."""
        self._opened.close()

    def begin(self, **meta: Any) -> None:
        """Notes what the run is made of, or, where it was begun before, makes sure that it is the same.

        Raises:
            ArchiveError: where the run was begun with something else; names the first part that differs.
        """
        wanted = {key: json.loads(json.dumps(value)) for key, value in meta.items()}
        found = self.meta()
        if not found:
            with self._writing():
                rows = [(key, json.dumps(value, sort_keys=True)) for key, value in wanted.items()]
                self._db.executemany("INSERT INTO meta VALUES (?, ?)", rows)
            return
        for name, want, came in _differences("", wanted, found):
            raise ArchiveError(f"{self.path}: wanted a run with {name} = {want!r}; got one with {came!r}")

    def meta(self) -> dict[str, Any]:
        """What the run was begun with; empty before that."""
        rows = self._db.execute("SELECT key, value FROM meta ORDER BY key")
        return {key: self._json(text) for key, text in rows}

    def add_round(self, entries: Sequence[Entry]) -> None:
        """Writes all candidates of a round, or none of them."""
        rows = []
        for entry in entries:
            values = {name: getattr(entry, name) for name in COLUMNS}
            packed = {name: json.dumps(values[name]) for name in JSON_COLUMNS if values[name] is not None}
            rows.append(values | packed)
        marks = ", ".join(f":{name}" for name in COLUMNS)
        with self._writing():
            self._db.executemany(f"INSERT INTO programs ({', '.join(COLUMNS)}) VALUES ({marks})", rows)

    def add_evaluation(
        self, source_hash: str, stage: str, result: Mapping[str, Any], asked: float, finished: float
    ) -> None:
        """Keeps the result of one evaluation, and when it was asked for and came, in seconds of a clock."""
        key = (source_hash, stage)
        with self._writing():
            self._db.execute("INSERT INTO evaluations VALUES (?, ?, ?)", (*key, json.dumps(result)))
            self._db.execute("INSERT INTO timings VALUES (?, ?, ?, ?)", (*key, asked, finished))

    def evaluation(self, source_hash: str, stage: str) -> dict[str, Any] | None:
        """The kept result of an evaluation, or None."""
        query = "SELECT result FROM evaluations WHERE source_hash = ? AND stage = ?"
        row = self._db.execute(query, (source_hash, stage)).fetchone()
        return None if row is None else self._json(row[0])

    def entries(self) -> list[Entry]:
        """All candidates, by id."""
        rows = self._db.execute(f"SELECT {', '.join(COLUMNS)} FROM programs ORDER BY id")
        return [self._entry(row) for row in rows]

    def entry(self, id: int) -> Entry:
        """One candidate.

        Raises:
            ArchiveError: where the run has no such id.
        """
        row = self._db.execute(f"SELECT {', '.join(COLUMNS)} FROM programs WHERE id = ?", (id,)).fetchone()
        if row is None:
            (count,) = self._db.execute("SELECT count(*) FROM programs").fetchone()
            raise ArchiveError(f"{self.path}: wanted one of {count} programs, counted from 0; got {id!r}")
        return self._entry(row)

    def lineage(self, id: int) -> list[Entry]:
        """A candidate, the one that it was made from, and so on to the start of the search."""
        line = [self.entry(id)]
        while line[-1].parents:
            line.append(self.entry(line[-1].parents[0]))
        return line

    def programs(self) -> pd.DataFrame:
        """All candidates as a table, one a row, with the columns of `Entry`."""
        import pandas as pd

        return pd.DataFrame([vars(entry) for entry in self.entries()], columns=list(COLUMNS))

    def timings(self) -> pd.DataFrame:
        """When each evaluation was asked for and came: source_hash, stage, asked, finished (seconds)."""
        import pandas as pd

        columns = ["source_hash", "stage", "asked", "finished"]
        rows = self._db.execute(f"SELECT {', '.join(columns)} FROM timings ORDER BY rowid").fetchall()
        return pd.DataFrame(rows, columns=columns)

    def digest(self) -> str:
        """SHA-256 of the trajectory: programs, parents, operators, scores and how each ended; no times."""
        kept = [name for name in COLUMNS if name not in OUTSIDE_DIGEST]
        digest = hashlib.sha256()
        for entry in self.entries():
            row = [getattr(entry, name) for name in kept]
            digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
        return digest.hexdigest()

    def _check_file(self) -> None:
        """Refuses what is no run's file, and makes a new one of an empty file."""
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (schema,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not (application or tables or self.read_only):
            with self._writing():
                for statement in TABLES:
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA application_id = {APPLICATION}")
                self._db.execute(f"PRAGMA user_version = {SCHEMA}")
            return
        if application != APPLICATION:
            raise ArchiveError(f"{self.path}: wanted a run's file; got another SQLite database")
        if schema != SCHEMA:
            age = "newer" if schema > SCHEMA else "older"
            raise ArchiveError(f"{self.path}: wanted a run of schema {SCHEMA}; got the {age} schema {schema}")
        (report,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if report != "ok":
            raise self._damaged(report.splitlines()[-1])

    @contextlib.contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction: all that is written within, or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _entry(self, row: Iterable[Any]) -> Entry:
        values = dict(zip(COLUMNS, row, strict=True))
        for name in JSON_COLUMNS:
            values[name] = None if values[name] is None else self._json(values[name])
        if source_hash(values["source"]) != values["source_hash"]:
            raise self._damaged(f"the source of program {values['id']} and its hash do not agree")
        return Entry(**values | {"parents": tuple(values["parents"])})

    def _json(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise self._damaged(error) from error

    def _damaged(self, how: object) -> ArchiveError:
        return ArchiveError(f"{self.path}: wanted a run's file; got a damaged or foreign one ({how})")


def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
    """A connection whose transactions are begun by hand; a commit waits for the disk, hence survives all.

    A reader has to undo what a killed writer left half done, as SQLite does by itself: hence `rw` for both.
    """
    uri = f"{path.resolve().as_uri()}?mode={'rw' if read_only else 'rwc'}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA query_only = {int(read_only)}")
    return connection


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Holds the run for one writer: a transaction on an empty file beside it, which ends with its process."""
    with contextlib.closing(sqlite3.connect(f"{path}.lock", isolation_level=None, timeout=0)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise ArchiveError(f"{path}: wanted to write it alone; another process is writing it") from error
        yield


def _differences(name: str, wanted: Any, found: Any) -> Iterator[tuple[str, Any, Any]]:
    """The leaves in which two nested descriptions differ: (dotted name, wanted, found)."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in sorted(wanted.keys() | found.keys()):
            inner = f"{name}.{key}" if name else key
            yield from _differences(inner, wanted.get(key), found.get(key))
    elif wanted != found:
        yield name, wanted, found
