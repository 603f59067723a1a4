"""The program database: all candidates of a search, one SQLite file a run (paper, Figure 1; layout [ours]).

One process writes at a time; any number may read. The candidates of a round are written in one transaction, with
the moves by which programs took, and islands lost, their cells; the result of an evaluation is kept the moment it is
known, so that a killed run loses at most what was in flight. Nothing is ever deleted: a program that lost its cell
stays, and so does every line of descent through it. While a run is written, and after it was killed, the latest part
stands in a file with the ending -wal beside it; whoever opens the run next puts the two together.
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

from actlab.core.records import PROTOCOLS, TOLERANCE, ChangedCode, changed, drift
from actlab.search.database import DatabaseFile

if TYPE_CHECKING:
    import pandas as pd

ENDED = ("scored", "dropped", "duplicate", "refused", "failed", "killed", "unanswered")
UNTRAINED = ("duplicate", "refused", "unanswered")  # endings that cost no evaluation, whatever was found before
HOW = ("start", "born", "migrated", "reset", "seeded")
TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    f"""CREATE TABLE programs (
        id INTEGER PRIMARY KEY, round INTEGER NOT NULL, island INTEGER NOT NULL, cell TEXT,
        source TEXT NOT NULL, source_hash TEXT NOT NULL, fingerprint TEXT, operator TEXT NOT NULL,
        author TEXT NOT NULL, title TEXT NOT NULL, rationale TEXT NOT NULL, parents TEXT NOT NULL,
        ended TEXT NOT NULL CHECK (ended IN {ENDED}), duplicate_of INTEGER REFERENCES programs (id),
        error TEXT, fitness REAL, seen INTEGER, early REAL, score TEXT, description TEXT)""",
    f"""CREATE TABLE moves (
        number INTEGER PRIMARY KEY, round INTEGER NOT NULL, island INTEGER NOT NULL, cell TEXT,
        program INTEGER REFERENCES programs (id), how TEXT NOT NULL CHECK (how IN {HOW}),
        CHECK ((cell IS NULL) = (how = 'reset') AND (program IS NULL) = (how = 'reset')))""",
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
    island: int  # that it was asked for
    cell: str | None  # where it belongs among the functions of its kind; None where it was not described
    source: str  # canonical; as it was proposed, where it was refused or is no program
    source_hash: str
    fingerprint: str | None  # of its values on probes; None where it was not run or misbehaved
    operator: str  # what the proposer did
    author: str  # who proposed it, such as the grammar or a model
    title: str
    rationale: str
    parents: tuple[int, ...]  # the first is the line of descent; none, where it was written from scratch
    ended: str  # scored, dropped (from the race), duplicate, refused (by the check), failed, killed or unanswered
    duplicate_of: int | None = None
    error: str | None = None
    fitness: float | None = None  # of the training on the whole suite; higher is better
    seen: int | None = None  # tasks that it was trained on, to the end or until it failed
    early: float | None = None  # mean of what these tasks would add to its fitness, where it was dropped
    score: dict[str, Any] | None = None  # of the training on the whole suite
    description: dict[str, Any] | None = None  # cost and traits

    @property
    def was_trained(self) -> bool:
        """Whether it was trained at all, hence cost an evaluation; the start did not."""
        return self.round > 0 and self.fingerprint is not None and self.ended not in UNTRAINED


@dataclass(frozen=True)
class Move:
    """A change of who stands in the cells of an island."""

    round: int
    island: int
    cell: str | None  # that the program takes, whoever stood there; None where the island is emptied
    program: int | None  # id; None likewise
    how: str  # start, born, migrated (from the island before), reset (the island is emptied) or seeded (thereafter)


COLUMNS = tuple(field.name for field in fields(Entry))
JSON_COLUMNS = ("parents", "score", "description")
MOVE_COLUMNS = tuple(field.name for field in fields(Move))
OUTSIDE_DIGEST = ("error", "description")  # words may carry addresses; a description follows from the source


def source_hash(source: str) -> str:
    """SHA-256 of a program's source, hexadecimal."""
    return hashlib.sha256(source.encode()).hexdigest()


class Archive(DatabaseFile):
    """A run's file, open; a context manager.

    Args:
        path: of the file; made where it is missing, unless it is only to be read. A writer leaves an empty
            file with the ending .lock beside it.
        read_only: changes nothing and takes no lock, so that a running search can be watched.

    Raises:
        ArchiveError: where the file is damaged, is something else, has another schema, or is being written by
            another process; with `read_only`, also where it is not there.
    """

    NOUN, KIND, ERROR, TABLES = "a run's file", "a run", ArchiveError, TABLES
    APPLICATION = 0x61637461  # "acta"
    SCHEMA = 3  # 2 knew no islands, 1 no killed candidates

    def _open(self, opened: contextlib.ExitStack) -> None:
        if not self.read_only:
            opened.enter_context(_lock(self.path))
        super()._open(opened)
        if not self.read_only:  # one write to the disk a commit, where SQLite's usual journal has several
            with self._damage_named():
                self._db.execute("PRAGMA journal_mode = WAL")

    def begin(self, **meta: Any) -> None:
        """Notes what is asked of the run, or, where it was begun before, makes sure that it is the same.

        The protocol, code, versions and canary of the search that begins it are noted beside that.

        Raises:
            ArchiveError: where the run was begun with something else; names the first part that differs.
            ChangedCode: where it was begun by code that computes something else.
        """
        meta["protocol"] = PROTOCOLS["search"].protocol
        wanted = {key: json.loads(json.dumps(value)) for key, value in meta.items()}
        found = self.meta()
        if not found:
            wanted["made"] = PROTOCOLS["search"].made() | {"values": PROTOCOLS["search"].values()}
            with self._writing():
                rows = [(key, json.dumps(value, sort_keys=True)) for key, value in wanted.items()]
                self._db.executemany("INSERT INTO meta VALUES (?, ?)", rows)
            return
        for name, want, came in _differences("", wanted, found):
            raise ArchiveError(f"{self.path}: wanted a run with {name} = {want!r}; got one with {came!r}")
        self.demand()

    def meta(self) -> dict[str, Any]:
        """What was asked of the run as it was begun; empty before that."""
        rows = self._db.execute("SELECT key, value FROM meta WHERE key != 'made' ORDER BY key")
        return {key: self._json(text) for key, text in rows}

    def demand(self) -> None:
        """Makes sure that this code would search as the code did that began the run.

        Raises:
            ChangedCode: where the canary of the search has moved since.
        """
        row = self._db.execute("SELECT value FROM meta WHERE key = 'made'").fetchone()
        made, family = {} if row is None else self._json(row[0]), PROTOCOLS["search"]
        values = made.pop("values", {})
        if made != family.made() and (found := drift(values, family.values())) > TOLERANCE:
            raise ChangedCode(f"{self.path}: {changed('search', found)}")

    def add_round(self, entries: Sequence[Entry], moves: Sequence[Move] = ()) -> None:
        """Writes all candidates of a round and the moves that came of it, in order; or nothing."""
        rows = []
        for entry in entries:
            values = {name: getattr(entry, name) for name in COLUMNS}
            packed = {name: json.dumps(values[name]) for name in JSON_COLUMNS if values[name] is not None}
            rows.append(values | packed)
        marks = ", ".join(f":{name}" for name in COLUMNS)
        with self._writing():
            self._db.executemany(f"INSERT INTO programs ({', '.join(COLUMNS)}) VALUES ({marks})", rows)
            changes = [tuple(getattr(move, name) for name in MOVE_COLUMNS) for move in moves]
            self._db.executemany(f"INSERT INTO moves ({', '.join(MOVE_COLUMNS)}) VALUES (?, ?, ?, ?, ?)", changes)

    def add_evaluation(
        self, source_hash: str, stage: str, result: Mapping[str, Any], asked: float, finished: float
    ) -> None:
        """Keeps the result of one evaluation, and when it was asked for and came, in seconds of a clock."""
        key = (source_hash, stage)
        with self._writing(durably=False):
            self._db.execute("INSERT INTO evaluations VALUES (?, ?, ?)", (*key, json.dumps(result)))
            self._db.execute("INSERT INTO timings VALUES (?, ?, ?, ?)", (*key, asked, finished))

    def evaluation(self, source_hash: str, stage: str) -> dict[str, Any] | None:
        """The kept result of an evaluation, or None."""
        query = "SELECT result FROM evaluations WHERE source_hash = ? AND stage = ?"
        row = self._db.execute(query, (source_hash, stage)).fetchone()
        return None if row is None else self._json(row[0])

    def entries(self, whole: bool = True) -> list[Entry]:
        """All candidates, by id; without scores and descriptions, which take long to read, where not `whole`."""
        names = [name if whole or name not in ("score", "description") else "NULL" for name in COLUMNS]
        rows = self._db.execute(f"SELECT {', '.join(names)} FROM programs ORDER BY id")
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

    def moves(self) -> list[Move]:
        """All moves, in order; who stands where follows from them (`actlab.search.islands.after`)."""
        rows = self._db.execute(f"SELECT {', '.join(MOVE_COLUMNS)} FROM moves ORDER BY number")
        return [Move(*row) for row in rows]

    def lineage(self, id: int) -> list[Entry]:
        """A candidate, the one that it was made from, and so on to the start or to one written from scratch."""
        line = [self.entry(id)]
        while line[-1].parents:
            line.append(self.entry(line[-1].parents[0]))
        return line

    def programs(self) -> pd.DataFrame:
        """All candidates as a table, one a row, with the columns of `Entry`."""
        import pandas as pd

        return pd.DataFrame([vars(entry) for entry in self.entries()], columns=list(COLUMNS))

    def moves_table(self) -> pd.DataFrame:
        """All moves as a table, one a row, with the columns of `Move`; a program that there is not is <NA>."""
        import pandas as pd

        table = pd.DataFrame([vars(move) for move in self.moves()], columns=list(MOVE_COLUMNS))
        return table.astype({"program": "Int64"})

    def timings(self) -> pd.DataFrame:
        """When each evaluation was asked for and came: source_hash, stage, asked, finished (seconds)."""
        import pandas as pd

        columns = ["source_hash", "stage", "asked", "finished"]
        rows = self._db.execute(f"SELECT {', '.join(columns)} FROM timings ORDER BY rowid").fetchall()
        return pd.DataFrame(rows, columns=columns)

    def digest(self) -> str:
        """SHA-256 of the trajectory: programs and who wrote them, islands, cells, scores, endings, moves; no times."""
        kept = [name for name in COLUMNS if name not in OUTSIDE_DIGEST]
        digest = hashlib.sha256()
        for entry in self.entries():
            row = [getattr(entry, name) for name in kept]
            digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
        for move in self.moves():
            digest.update(json.dumps([getattr(move, name) for name in MOVE_COLUMNS]).encode() + b"\n")
        return digest.hexdigest()

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
