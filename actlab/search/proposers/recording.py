"""What models answered and what it cost: one SQLite file beside a run's archive (ours).

An answer is kept under the hash of its request as soon as it arrives, so that nothing is asked twice. Each call is
entered at the most that it may cost before it is sent, and at its true cost once that is known: a call that never
ended counts in full.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actlab.candidates.language import short
from actlab.core.files import write
from actlab.search.database import DatabaseFile
from actlab.search.proposers.models import Usage

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
LIVE, BY_HAND = "live", "hand-written"
ENDINGS = ("answered", "refused", "truncated", "malformed", "failed")
TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    f"""CREATE TABLE answers (
        hash TEXT PRIMARY KEY, candidate INTEGER NOT NULL, model TEXT NOT NULL, request TEXT NOT NULL,
        stop TEXT NOT NULL, content TEXT NOT NULL, error TEXT, ending TEXT CHECK (ending IN {ENDINGS}))""",
    """CREATE TABLE calls (
        id INTEGER PRIMARY KEY, hash TEXT NOT NULL, candidate INTEGER NOT NULL, model TEXT NOT NULL,
        asked REAL NOT NULL, reserved REAL NOT NULL, usd REAL, outcome TEXT,
        input INTEGER NOT NULL DEFAULT 0, output INTEGER NOT NULL DEFAULT 0,
        cache_write INTEGER NOT NULL DEFAULT 0, cache_read INTEGER NOT NULL DEFAULT 0)""",
)
TOKENS = ("input", "output", "cache_write", "cache_read")
ANSWER = ("hash", "candidate", "model", "request", "stop", "content", "error", "ending")
CALL = ("hash", "candidate", "model", "asked", "reserved", "usd", "outcome", *TOKENS)
PAID = "COALESCE(SUM(COALESCE(usd, reserved)), 0.0)"  # over calls; those without a known end at their worst case
SUMS = {"calls": "COUNT(*)", "retried": "COALESCE(SUM(COALESCE(outcome, '') != 'answered'), 0)"}
SUMS |= {part: f"COALESCE(SUM({part}), 0)" for part in TOKENS} | {"usd": PAID}
EMPTY = ("error", "ending", "usd", "outcome")  # columns that may hold nothing
HEADER = "actlab recording"
MOST = 10**12  # of tokens, dollars, seconds and ids: far above what occurs, far below SQLite's largest integer
DEPTH = 50  # of lists and objects within each other; an answer to our tools has three


class AnswersError(RuntimeError):
    """No answer can be had as things are: one line that says what was wanted and what came."""


@dataclass(frozen=True)
class Answer:
    """What came for a request."""

    hash: str  # of the request
    stop: str  # the service's reason to stop, or "failed": it takes no such request
    content: tuple[dict[str, Any], ...] = ()  # blocks, as the service sent them
    error: str | None = None  # why there is none


def canonical(request: Mapping[str, Any]) -> str:
    """A request as one line of JSON in ASCII, equal for equal requests."""
    return json.dumps(request, sort_keys=True, separators=(",", ":"))


def request_hash(request: Mapping[str, Any]) -> str:
    """SHA-256 of a request's canonical text, hexadecimal."""
    return hashlib.sha256(canonical(request).encode()).hexdigest()


def blocks(content: Any) -> tuple[dict[str, Any], ...] | None:
    """The content of a message: blocks, each with its type, that nest no deeper than `DEPTH`; else None."""
    if not isinstance(content, list) or _is_deep(content):
        return None
    if not all(isinstance(block, dict) and isinstance(block.get("type"), str) for block in content):
        return None
    return tuple(content)


class Recording(DatabaseFile):
    """A file of answers and of calls, open; a context manager. Threads may share it.

    Args:
        path: of the file; made if missing, unless `read_only`. JSON lines, as `export` writes them, can only be read.
        read_only: change nothing.
        origin: of a new file: "live", or "hand-written" for fixtures, which are never a model's output.

    Raises:
        AnswersError: if the file is missing, damaged, something else, or of another schema.
    """

    NOUN, KIND, ERROR, TABLES = "a recording", "a recording", AnswersError, TABLES
    APPLICATION, SCHEMA = 0x61637472, SCHEMA  # "actr"

    def __init__(self, path: str | Path, read_only: bool = False, origin: str = LIVE) -> None:
        if origin not in (LIVE, BY_HAND):
            raise ValueError(f"wanted the origin {LIVE!r} or {BY_HAND!r}; got {origin!r}")
        self._origin = origin  # of a new file
        super().__init__(path, read_only)

    def _open(self, opened: contextlib.ExitStack) -> None:
        if not (self.path.is_file() and self.path.read_bytes()[:1] == b"{"):
            super()._open(opened)
        elif not self.read_only:
            raise AnswersError(f"{self.path}: wanted a recording to write to; got JSON lines, which are only read")
        else:
            with self._damage_named():
                self._connect(opened, "file::memory:", read_only=False)
                self._load()
        with self._damage_named():
            origin = self.meta().get("origin")
        if origin not in (LIVE, BY_HAND):
            raise self._damaged(f"wanted the origin {LIVE} or {BY_HAND}; got {short(repr(origin))}")

    def _fill(self) -> None:
        self._insert("meta", ("key", "value"), [("origin", self._origin)])

    @property
    def origin(self) -> str:
        """Where the answers come from: "live" or "hand-written"."""
        return self.meta()["origin"]

    def meta(self) -> dict[str, str]:
        """The origin; if it is live, also the address of the service and the run that asked."""
        return dict(self._rows("SELECT key, value FROM meta ORDER BY key"))

    def note(self, key: str, value: str) -> None:
        """Notes something of the recording; what was noted first stays."""
        with self._writing():
            self._insert("meta", ("key", "value"), [(key, value)], "INSERT OR IGNORE")

    def bind(self, run: str, candidates: Iterable[int]) -> None:
        """Notes the run that is answered; what its answers cost is counted here and nowhere else.

        Raises AnswersError if the recording is of another run, or lacks the answers for some of these candidates, which
        models wrote for it until now.
        """
        with self._writing():
            if self.meta().get("run", run) != run:
                raise AnswersError(
                    f"{self.path}: wanted the recording of this run; got that of another one: name a new file"
                )
            missing = sorted(set(candidates) - {id for (id,) in self._rows("SELECT candidate FROM answers")})
            if missing:
                raise AnswersError(
                    f"{self.path}: wanted the recording that this run began with, since the cap counts what stands "
                    f"there; this one lacks the answers for {len(missing)} of its programs, first {missing[0]}"
                )
            self._insert("meta", ("key", "value"), [("run", run)], "INSERT OR IGNORE")

    # --- answers ---

    def find(self, hash: str) -> Answer | None:
        """The kept answer to a request, or None."""
        rows = self._rows("SELECT stop, content, error FROM answers WHERE hash = ?", (hash,))
        return self._answer(hash, *rows[0]) if rows else None

    def _answer(self, hash: str, stop: Any, content: Any, error: Any) -> Answer:
        try:
            found = blocks(json.loads(content))
        except (TypeError, ValueError, RecursionError):
            found = None
        if found is None or not isinstance(stop, str) or not isinstance(error, str | None):
            raise self._damaged(f"the answer to request {hash} is none")
        return Answer(hash, stop, found, error)

    def keep(
        self,
        request: Mapping[str, Any],
        answer: Answer,
        candidate: int,
        call: int | None = None,
        usd: float | None = 0.0,
        usage: Usage | None = None,
    ) -> None:
        """Keeps an answer and, in the same transaction, the cost and tokens of its call.

        `call` is its id, as `reserve` gave it; a cost of None leaves it at its worst case.
        """
        row = (answer.hash, candidate, request["model"], canonical(request), answer.stop, json.dumps(answer.content))
        with self._writing():
            self._insert("answers", ANSWER, [(*row, answer.error, None)], "INSERT OR IGNORE")
            if call is not None:
                self._settle(call, "answered", usd, usage or Usage())

    def judge(self, hash: str, ending: str) -> None:
        """Notes how an answer ended, once it was read: one of `ENDINGS`."""
        if not self.read_only:
            with self._writing():
                self._db.execute("UPDATE answers SET ending = ? WHERE hash = ?", (ending, hash))

    # --- money ---

    def reserve(self, hash: str, candidate: int, model: str, worst: float, cap: float, asked: float) -> int | None:
        """Enters a call at its worst case, before it is sent; returns its id, or None if it may pass the cap.

        Worst case and cap, of all calls of the file, are in US dollars; the time of asking is in seconds of a clock.
        """
        with self._writing():
            if self.spent() + worst > cap:
                return None
            query = "INSERT INTO calls (hash, candidate, model, asked, reserved) VALUES (?, ?, ?, ?, ?)"
            return self._db.execute(query, (hash, candidate, model, asked, worst)).lastrowid

    def settle(self, call: int, outcome: str, usd: float | None) -> None:
        """Enters how a call that brought no answer ended, and its cost; None leaves it at its worst case."""
        with self._writing():
            self._settle(call, outcome, usd, Usage())

    def _settle(self, call: int, outcome: str, usd: float | None, usage: Usage) -> None:
        counts = ", ".join(f"{part} = ?" for part in TOKENS)
        query = f"UPDATE calls SET outcome = ?, usd = COALESCE(?, reserved), {counts} WHERE id = ?"
        self._db.execute(query, (outcome, usd, *astuple(usage), call))

    def spent(self) -> float:
        """US dollars: what was paid, and the worst case of each call whose end is not known."""
        ((total,),) = self._rows(f"SELECT {PAID} FROM calls")
        return total

    def bill(self, candidate: int | None = None) -> dict[str, Any]:
        """What the calls for one candidate, or for all, brought and cost.

        Returns:
            requests (that are answered), calls, retried (of them, those that brought nothing), tokens, usd, cached
            (the share of the input tokens that was read from the cache; None without any) and origin.
        """
        return self._bill() if candidate is None else self._bill("candidate", candidate)

    def summary(self) -> list[dict[str, Any]]:
        """What each model brought and cost, one a row, by name.

        `requests` ended as `answered`, `refused`, `truncated`, `malformed` or `failed`, or are not judged yet. The
        rest is as `bill` has it.
        """
        rows, ended = [], "SELECT ending, COUNT(*) FROM answers WHERE model = ? GROUP BY ending"
        with self.reading():
            for (model,) in self._rows("SELECT model FROM answers UNION SELECT model FROM calls ORDER BY model"):
                bill, counts = self._bill("model", model), dict(self._rows(ended, (model,)))
                endings = {ending: counts.get(ending, 0) for ending in ENDINGS}
                rows.append({"model": model, "requests": bill["requests"], **endings, **bill})
        return rows

    def _bill(self, column: str = "1", value: Any = 1) -> dict[str, Any]:
        """As `bill`, of the answers and calls with a value in a column."""
        where = f"WHERE {column} = ?"
        with self.reading():
            ((requests,),) = self._rows(f"SELECT COUNT(*) FROM answers {where}", (value,))
            (sums,) = self._rows(f"SELECT {', '.join(SUMS.values())} FROM calls {where}", (value,))
            origin = self.origin
        bill = dict(zip(SUMS, sums, strict=True))
        into = bill["input"] + bill["cache_write"] + bill["cache_read"]
        return {"requests": requests, **bill, "cached": bill["cache_read"] / into if into else None, "origin": origin}

    def calls(self) -> pd.DataFrame:
        """All calls as a table, one a row, in the order of asking; `usd` is empty while the end is not known."""
        import pandas as pd

        return pd.DataFrame(self._rows(f"SELECT {', '.join(CALL)} FROM calls ORDER BY id"), columns=list(CALL))

    # --- as text ---

    def export(self, path: str | Path) -> None:
        """Writes the recording as JSON lines: a header with its origin, then an answer or a call a line."""
        with self.reading():
            rows: list[dict[str, Any]] = [{HEADER: SCHEMA, **self.meta()}]
            for row in self._rows(f"SELECT {', '.join(ANSWER)} FROM answers ORDER BY candidate, rowid"):
                entry = dict(zip(ANSWER, row, strict=True))
                rows.append({"answer": entry | {name: json.loads(entry[name]) for name in ("request", "content")}})
            calls = self._rows(f"SELECT {', '.join(CALL)} FROM calls ORDER BY id")
        rows += [{"call": dict(zip(CALL, row, strict=True))} for row in calls]
        write(Path(path), _lines(rows))

    def _load(self) -> None:
        """Fills an empty file in memory from JSON lines."""
        try:
            lines = self.path.read_text().splitlines()
        except UnicodeDecodeError as error:
            raise self._damaged(error) from error
        header, *rows = map(self._object, lines)
        known = header.pop(HEADER, None) == SCHEMA and header.get("origin") in (LIVE, BY_HAND)
        if not known or not all(map(_is_text, header.values())):
            raise AnswersError(f"{self.path}: wanted the header of a recording of schema {SCHEMA}; got another")
        with self._writing():
            self._insert("meta", ("key", "value"), header.items(), "INSERT OR REPLACE")
            for row in rows:
                self._load_row(row)

    def _load_row(self, row: Mapping[str, Any]) -> None:
        match row:
            case {"answer": {"hash": hash, "request": dict() as request, "content": list() as content, **rest}}:
                if request_hash(request) != hash:
                    raise self._damaged(f"a request and its hash {hash} do not agree")
                if blocks(content) is None:
                    raise self._damaged(f"the answer to request {hash} is none")
                values = {"hash": hash, "request": canonical(request), "content": json.dumps(content), **rest}
                table, names = "answers", ANSWER
            case {"call": dict() as values}:
                table, names = "calls", CALL
            case _:
                raise self._damaged("a line that holds neither an answer nor a call")
        if set(values) != set(names):
            raise self._damaged(f"wanted {', '.join(names)} in a line; got {', '.join(values)}")
        for name in names:
            if not _is_kept(name, values[name]):
                raise self._damaged(f"{name} in a line is {short(repr(values[name]))}")
        self._insert(table, names, [[values[name] for name in names]])

    def _object(self, line: str) -> dict[str, Any]:
        value = self._json(line)
        if not isinstance(value, dict) or _is_deep(value):
            raise self._damaged(f"a line that is no JSON object, or nests deeper than {DEPTH} lists and objects")
        return value


def note_replay(run: Path, recording: Recording) -> None:
    """Notes in a file beside a run that it takes answers from a recording, once for each of them."""
    row, noted = {"recording": recording.path.name, **recording.meta()}, replays(run)
    if row not in noted:
        write(_replays_file(run), _lines([*noted, row]))


def replays(run: Path) -> list[dict[str, str]]:
    """The recordings that a run took answers from: the name and the `Recording.meta` of each; none for a live run.

    Raises AnswersError if the file beside the run that says so is damaged.
    """
    path = _replays_file(run)
    if not path.exists():
        return []
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    except (ValueError, RecursionError) as error:
        raise AnswersError(f"{path}: wanted the recordings of a run, one a line; got other text") from error
    wanted = {"recording", "origin"}
    if not all(isinstance(row, dict) and wanted <= row.keys() and all(map(_is_text, row.values())) for row in rows):
        raise AnswersError(f"{path}: wanted the name and the origin of a recording in each line; got others")
    return rows


def _replays_file(run: Path) -> Path:
    return run.with_name(f"{run.name}.replays")


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)


def _is_deep(value: Any) -> bool:
    """Whether plain data nests deeper than `DEPTH`."""
    level = [value]
    for _ in range(DEPTH):
        parts = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [part for some in parts for part in some]
    return bool(level)


def _is_text(value: Any) -> bool:
    """Whether it is a text that can be written to a file, unlike half of a character."""
    return isinstance(value, str) and value == value.encode("utf-8", "replace").decode()


def _is_kept(name: str, value: Any) -> bool:
    """Whether a column may hold a value that came from outside."""
    if value is None:
        return name in EMPTY
    if name in ("candidate", "asked", "reserved", "usd", *TOKENS):
        types = (int, float) if name in ("asked", "reserved", "usd") else (int,)
        return type(value) in types and 0 <= value <= MOST
    return _is_text(value)
