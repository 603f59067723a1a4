"""The program database: all candidates of a search, one SQLite file a run (paper, Figure 1; layout [ours]).

One process writes at a time; any number may read. The candidates of a round are written in one transaction with the
moves on the islands; the result of an evaluation is kept as soon as it is known, so that a killed run loses at most
what was in flight. Nothing is ever deleted, so every line of descent stays. While a run is written, and after it was
killed, its latest part is in a file with the ending -wal beside it; the next process to open the run merges the two.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
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
EVALUATION = ("source_hash", "stage", "result")
TIMING = ("source_hash", "stage", "asked", "finished")


class ArchiveError(RuntimeError):
    """A run file that cannot be used as asked: one line that says what was wanted and what came."""


@dataclass(frozen=True)
class Entry:
    """One candidate, as it is recorded."""

    id: int  # in the order of asking; 0 is the start of the search
    round: int
    island: int  # that it was asked for
    cell: str | None  # its cell of the grid; None if it was not described
    source: str  # canonical; as it was proposed if it was refused or is no program
    source_hash: str
    fingerprint: str | None  # of its values on probes; None if it was not run or misbehaved
    operator: str  # what the proposer did
    author: str  # who proposed it, such as the grammar or a model
    title: str
    rationale: str
    parents: tuple[int, ...]  # the first is the line of descent; none if it was written from scratch
    ended: str  # one of `ENDED`: refused by the check, dropped from the race, ...
    duplicate_of: int | None = None
    error: str | None = None
    fitness: float | None = None  # of the training on the whole suite; higher is better
    seen: int | None = None  # tasks that it was trained on, to the end or until it failed
    early: float | None = None  # if it was dropped: the mean of what these tasks would add to its fitness
    score: dict[str, Any] | None = None  # of the training on the whole suite
    description: dict[str, Any] | None = None  # cost and traits

    @property
    def was_trained(self) -> bool:
        """Whether it was trained at all and so cost an evaluation; the start is free."""
        return self.round > 0 and self.fingerprint is not None and self.ended not in UNTRAINED


@dataclass(frozen=True)
class Move:
    """A change of an island's cells."""

    round: int
    island: int
    cell: str | None  # that the program takes; None if the island is emptied
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

    A writer makes the file if it is missing, and leaves an empty file `PATH.lock` beside it. With `read_only` nothing
    is changed or locked, so that a running search can be watched.

    Raises:
        ArchiveError: if the file is damaged, is something else, has another schema, or is being written by
            another process; with `read_only`, also if it is missing.
    """

    NOUN, KIND, ERROR, TABLES = "a run's file", "a run", ArchiveError, TABLES
    APPLICATION = 0x61637461  # "acta"
    GROWS = True
    SCHEMA = 3  # 2 knew no islands, 1 no killed candidates

    def _open(self, opened: contextlib.ExitStack) -> None:
        if not self.read_only:
            opened.enter_context(_lock(self.path))
        super()._open(opened)
        if not self.read_only:  # one write to the disk a commit; SQLite's usual journal has several
            with self._damage_named():
                self._db.execute("PRAGMA journal_mode = WAL")

    def begin(self, **meta: Any) -> None:
        """Notes what is asked of the run, or, if it was begun before, makes sure that it is the same.

        The protocol, code, versions and canary of the search that begins it are noted beside that.

        Raises:
            ArchiveError: if the run was begun with something else; names the first part that differs.
            ChangedCode: if it was begun by code that computes something else.
        """
        meta["protocol"] = PROTOCOLS["search"].protocol
        wanted = {key: json.loads(json.dumps(value)) for key, value in meta.items()}
        found = self.meta()
        if not found:
            wanted["made"] = PROTOCOLS["search"].made() | {"values": PROTOCOLS["search"].values()}
            with self._writing():
                rows = [(key, json.dumps(value, sort_keys=True)) for key, value in wanted.items()]
                self._insert("meta", ("key", "value"), rows)
            return
        for name, want, came in _differences("", wanted, found):
            raise ArchiveError(f"{self.path}: wanted a run with {name} = {want!r}; got one with {came!r}")
        self.demand()

    def meta(self) -> dict[str, Any]:
        """What was asked of the run when it was begun; empty before that."""
        rows = self._rows("SELECT key, value FROM meta WHERE key != 'made' ORDER BY key")
        return {key: self._json(text) for key, text in rows}

    def demand(self) -> None:
        """Raises ChangedCode if this code would search otherwise than the code that began the run."""
        rows, family = self._rows("SELECT value FROM meta WHERE key = 'made'"), PROTOCOLS["search"]
        made = self._json(rows[0][0]) if rows else {}
        values = made.pop("values", {})
        if made != family.made() and (found := drift(values, family.values())) > TOLERANCE:
            raise ChangedCode(f"{self.path}: {changed('search', found)}")

    def add_round(self, entries: Sequence[Entry], moves: Sequence[Move] = ()) -> None:
        """Writes all candidates of a round and the moves that came of it, in order; or nothing."""
        rows = []
        for entry in entries:
            values = vars(entry)
            packed = {name: json.dumps(values[name]) for name in JSON_COLUMNS if values[name] is not None}
            rows.append(tuple((values | packed).values()))
        with self._writing():
            self._insert("programs", COLUMNS, rows)
            self._insert("moves", MOVE_COLUMNS, [astuple(move) for move in moves])

    def add_evaluation(
        self, source_hash: str, stage: str, result: Mapping[str, Any], asked: float, finished: float
    ) -> None:
        """Keeps the result of one evaluation, and when it was asked for and came (in seconds of a clock)."""
        with self._writing(durably=False):
            self._insert("evaluations", EVALUATION, [(source_hash, stage, json.dumps(result))])
            self._insert("timings", TIMING, [(source_hash, stage, asked, finished)])

    def evaluation(self, source_hash: str, stage: str) -> dict[str, Any] | None:
        """The kept result of an evaluation, or None."""
        rows = self._rows("SELECT result FROM evaluations WHERE source_hash = ? AND stage = ?", (source_hash, stage))
        return self._json(rows[0][0]) if rows else None

    def entries(self, whole: bool = True) -> list[Entry]:
        """All candidates, by id; unless `whole`, without scores and descriptions, which take long to read."""
        names = [name if whole or name not in ("score", "description") else "NULL" for name in COLUMNS]
        return [self._entry(row) for row in self._rows(f"SELECT {', '.join(names)} FROM programs ORDER BY id")]

    def entry(self, id: int) -> Entry:
        """One candidate; raises ArchiveError if the run has no such id."""
        rows = self._rows(f"SELECT {', '.join(COLUMNS)} FROM programs WHERE id = ?", (id,))
        if not rows:
            ((count,),) = self._rows("SELECT count(*) FROM programs")
            raise ArchiveError(f"{self.path}: wanted one of {count} programs, counted from 0; got {id!r}")
        return self._entry(rows[0])

    def moves(self) -> list[Move]:
        """All moves, in order; the islands follow from them (`actlab.search.islands.after`)."""
        return [Move(*row) for row in self._rows(f"SELECT {', '.join(MOVE_COLUMNS)} FROM moves ORDER BY number")]

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
        """All moves as a table, one a row, with the columns of `Move`; <NA> if no program took a cell."""
        import pandas as pd

        table = pd.DataFrame([vars(move) for move in self.moves()], columns=list(MOVE_COLUMNS))
        return table.astype({"program": "Int64"})

    def timings(self) -> pd.DataFrame:
        """When each evaluation was asked for and came: source_hash, stage, asked, finished (seconds)."""
        import pandas as pd

        return pd.DataFrame(self._rows(f"SELECT {', '.join(TIMING)} FROM timings ORDER BY rowid"), columns=list(TIMING))

    def digest(self) -> str:
        """SHA-256 of the trajectory: programs and who wrote them, islands, cells, scores, endings, moves; no times."""
        entries = self.entries()
        for entry in entries:
            if entry.score is not None:
                entry.score.pop("interval", None)  # follows from the losses
        kept = [name for name in COLUMNS if name not in OUTSIDE_DIGEST]
        rows = [[getattr(entry, name) for name in kept] for entry in entries]
        rows += [astuple(move) for move in self.moves()]
        lines = (json.dumps(row, sort_keys=True).encode() + b"\n" for row in rows)
        return hashlib.sha256(b"".join(lines)).hexdigest()

    def _entry(self, row: Iterable[Any]) -> Entry:
        values = dict(zip(COLUMNS, row, strict=True))
        for name in JSON_COLUMNS:
            values[name] = None if values[name] is None else self._json(values[name])
        if source_hash(values["source"]) != values["source_hash"]:
            raise self._damaged(f"the source of program {values['id']} and its hash do not agree")
        return Entry(**values | {"parents": tuple(values["parents"])})


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Holds the run for one writer: a transaction on an empty file beside it, which ends with its process."""
    with contextlib.closing(sqlite3.connect(f"{path}.lock", isolation_level=None, timeout=0)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise ArchiveError(f"{path}: wanted to lock it; the system says: {error}") from error
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
