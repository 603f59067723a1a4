"""The search: programs are proposed, raced, trained and placed on islands, a round at a time (paper, Figure 1).

What the paper leaves open is [ours]: rounds of a fixed size, islands with cells (`actlab.search.islands`), the race
that a candidate runs against the program whose place it would take (`actlab.search.racing`), the choice of parents. The
state of a search is a function of its archive, so that one that was cut off goes on as if it never was.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from tqdm import tqdm

from actlab.activations.zoo import program_source
from actlab.candidates.program import Refused, check
from actlab.core.config import LabConfig, SearchConfig
from actlab.scoring.evaluator import Evaluator, Pending, Score, contributions
from actlab.search import islands
from actlab.search.archive import Archive, Entry, Move, source_hash
from actlab.search.proposers import Ask, Brief, Failure, Parent, Proposal, Proposer, Tally
from actlab.search.racing import BEHIND, Race, quarters, task_order

BARREN = 20  # rounds in a row that bring nothing new before the search gives up
OPEN = ""  # how a candidate ended, while it has not
LIMITED = ("refused", "killed")  # endings that cost or limits brought: a cheaper spelling of the function may do better
LOOKS_ACROSS = "an element's result changes with another element; write a pointwise function"
ASKS, PROPOSALS, ORDER, RESETS = range(4)  # what a round draws, each from a generator of its own


class SearchStalled(RuntimeError):
    """The proposer brings nothing but duplicates and programs that do not run."""


@dataclass(frozen=True)
class Result:
    """What a search came to."""

    start: Entry  # ReLU
    best: Entry  # by fitness on the suite that selection sees; the earlier one of equals
    evaluations: int  # candidates that were trained, in part or in full
    rounds: int
    digest: str


def search(
    evaluator: Evaluator,
    proposer: Proposer,
    archive: Archive,
    config: SearchConfig,
    lab: LabConfig,
    seed: int,
    progress: bool = True,
    clock: Callable[[], float] = time.time,
    about: Mapping[str, Any] | None = None,
    spent: Callable[[], float] | None = None,
) -> Result:
    """Searches from ReLU until `config.evaluations` candidates are trained; goes on where the archive ends.

    A round asks for `config.round_size` programs, in turn for each island. Those that break a rule, repeat a source,
    fail on the probes or repeat a function there are recorded and cost nothing. The others are trained. With `race`
    they are trained on a quarter of the tasks, then on a half, and dropped as soon as they are surely behind the
    program whose cell they would take. Whoever is trained on all tasks takes its cell if it is better than who stands
    there. Whatever the proposer or the evaluator raises ends the search; the archive then ends with a whole round,
    and what was evaluated since is kept.

    Args:
        evaluator: scores programs; results are recorded in the order of asking, whenever they come.
        proposer: writes programs.
        archive: of this run, open for writing.
        config: of the search.
        lab: of the training.
        seed: of the run; whatever round r draws is seeded by it and by r.
        progress: whether to show a bar, where there is a terminal.
        clock: seconds; kept beside the trajectory, never in it.
        about: whatever else makes the run what it is, such as the tasks; plain data.
        spent: US dollars that the proposer has cost so far, for the bar.

    Raises:
        ArchiveError: where the archive was begun with other settings, seed or proposer.
        ChangedCode: where it was begun by code that searches otherwise.
        SearchStalled: where 20 rounds in a row bring no candidate to train.
        ValueError: where a setting makes no sense, or the proposer brings another number of programs than was asked
            for, or names a parent that is not scored.
    """
    race = _race(config, evaluator)
    archive.begin(
        seed=seed,
        search=asdict(config),
        lab=asdict(lab),
        proposer=proposer.name,
        about=dict(about or {}),
    )
    run = _Run(evaluator, proposer, archive, config, lab, seed, clock, race)
    with tqdm(total=config.evaluations, initial=run.trained, disable=None if progress else True) as bar:

        def advance(best: float) -> None:
            cost = {} if spent is None else {"spent": f"${spent():.2f}"}
            bar.set_postfix(best=f"{best:.4g}", **cost, refresh=False)
            bar.update()

        while not run.is_done:
            run.play_round(advance)
    return Result(archive.entry(0), archive.entry(run.best), run.trained, run.rounds - 1, archive.digest())


def _race(config: SearchConfig, evaluator: Evaluator) -> Race | None:
    """The race that the settings ask for, None where nothing would be seen before the whole suite; refuses nonsense."""
    if not 1 <= config.islands <= config.round_size:
        raise ValueError(f"wanted at least one island, and an ask a round for each; got {config}")
    if config.elites < 1 or not 0 <= config.explore <= 1:
        raise ValueError(f"wanted at least one elite, and a chance to explore from 0 to 1; got {config}")
    if min(config.migrate_every, config.reset_every, config.inspirations, config.failures) < 0:
        raise ValueError(f"wanted no negative numbers of rounds, inspirations and failures; got {config}")
    if config.suite not in evaluator.suites:
        raise ValueError(f"unknown suite: wanted one of {', '.join(evaluator.suites)}; got {config.suite!r}")
    families = evaluator.suites[config.suite].families
    rungs = quarters(len(families), len(set(families)))
    return Race(rungs, config.delta) if config.race and len(rungs) > 1 else None


class _Run:
    """The state of a search, read from the archive, and the one way in which it changes."""

    def __init__(
        self,
        evaluator: Evaluator,
        proposer: Proposer,
        archive: Archive,
        config: SearchConfig,
        lab: LabConfig,
        seed: int,
        clock: Callable[[], float],
        race: Race | None,
    ) -> None:
        self.evaluator, self.proposer, self.archive = evaluator, proposer, archive
        self.config, self.lab, self.seed, self.clock = config, lab, seed, clock
        self.race = race
        self.families = evaluator.suites[config.suite].families
        self.rounds = self.trained = self.size = self.barren = self.best = 0
        self.islands: tuple[islands.Island, ...] = ({},) * config.islands
        self.fitness: dict[int, float] = {}  # of all that are scored
        self.by_hash: dict[str, int] = {}
        self.by_fingerprint: dict[str, int] = {}
        self.failures: list[list[Failure]] = [[] for _ in self.islands]  # each island's latest, the newest first
        self.tallies: dict[str, Tally] = {}
        self.parents: dict[int, Parent] = {}  # of programs that were shown, as they were
        self.rivals: dict[int, np.ndarray] = {}  # what each task adds to their fitness
        moves = {number: list(part) for number, part in groupby(archive.moves(), key=lambda move: move.round)}
        for number, rows in groupby(archive.entries(whole=False), key=lambda entry: entry.round):
            self._note(list(rows), moves.get(number, []))

    @property
    def is_done(self) -> bool:
        return self.rounds > 0 and self.trained >= self.config.evaluations

    def play_round(self, advance: Callable[[float], None]) -> None:
        """Plays the next round and commits it; the first holds ReLU alone. Calls `advance` after each evaluation."""
        if self.rounds == 0:
            rows = self._start()
            self._describe(rows)
            self._train(rows, None)
            if rows[0].ended != "scored":
                raise RuntimeError(f"wanted ReLU to start from; it {rows[0].ended}: {rows[0].error}")
            moves = [Move(0, place, rows[0].cell, 0, "start") for place in range(self.config.islands)]
        else:
            rows = self._proposals()
            self._describe(rows)
            self._train(rows, self.race, advance)
            while self._reopen(rows):
                self._train(rows, self.race, advance)
            moves = self._moves(rows)
        self.archive.add_round(rows, moves)
        self._note(rows, moves)

    def _note(self, rows: Sequence[Entry], moves: Sequence[Move]) -> None:
        """Takes a committed round into the state."""
        trained = sum(row.was_trained for row in rows)
        self.barren = 0 if trained or self.rounds == 0 else self.barren + 1
        self.rounds, self.size, self.trained = self.rounds + 1, self.size + len(rows), self.trained + trained
        self.islands = islands.after(self.islands, moves)
        born = {move.program for move in moves if move.how == "born"}
        for row in rows:
            if row.fitness is not None:
                self.fitness[row.id] = row.fitness
                self.best = min(self.best, row.id, key=lambda id: (-self.fitness[id], id))
            if row.fingerprint or row.ended not in ("refused", "unanswered"):  # other sources have no canonical form
                first = row.id if row.duplicate_of is None else row.duplicate_of
                self.by_hash.setdefault(row.source_hash, first)
                if row.fingerprint and row.ended not in LIMITED:
                    self.by_fingerprint.setdefault(row.fingerprint, first)
            if row.ended in ("refused", "failed", "killed"):
                failure = Failure(row.source, re.sub("0x[0-9a-f]+", "0x...", row.error))  # addresses do not repeat
                latest = [failure, *self.failures[row.island]]
                self.failures[row.island] = latest[: self.config.failures]
            if row.round > 0:
                tally = self.tallies.get(row.author, Tally())
                self.tallies[row.author] = Tally(tally.proposals + 1, tally.successes + (row.id in born))

    def _rng(self, purpose: int) -> np.random.Generator:
        """The round's generator for one of its purposes: how often one draws does not touch the others."""
        return np.random.default_rng([self.seed, self.rounds, purpose])

    def _start(self) -> list[Entry]:
        source = check(program_source("relu")).source
        return [Entry(0, 0, 0, None, source, source_hash(source), None, "start", "", "", "", (), OPEN)]

    def _proposals(self) -> list[Entry]:
        """The round's candidates; those that are no program, break a rule or repeat a source have ended."""
        if self.barren >= BARREN:
            raise SearchStalled(
                f"wanted new programs from {self.proposer.name}; got duplicates, refused or failed ones "
                f"for {BARREN} rounds, after {self.trained} of {self.config.evaluations} evaluations"
            )
        brief = self._brief()
        proposals = self.proposer.propose(brief, self._rng(PROPOSALS))
        if len(proposals) != len(brief.asks):
            raise ValueError(f"wanted {len(brief.asks)} proposals from {self.proposer.name}; got {len(proposals)}")
        seen = dict(self.by_hash)
        return [self._candidate(*pair, seen) for pair in zip(brief.asks, proposals, strict=True)]

    def _candidate(self, ask: Ask, proposal: Proposal, seen: dict[str, int]) -> Entry:
        """A proposal's entry; `seen` has the first program of each source, and takes this one."""
        if not self.fitness.keys() >= set(proposal.parents):
            raise ValueError(f"wanted scored parents from {self.proposer.name}; got {proposal.parents}")
        ended, error, twin = OPEN, None, None
        source = _text(proposal.source)
        if proposal.failure is not None:
            ended, error = "unanswered", _text(proposal.failure)
        else:
            try:
                source = check(proposal.source).source
                twin = seen.setdefault(source_hash(source), ask.id)
            except Refused as refusal:
                ended, error = "refused", str(refusal)
        if twin == ask.id:
            twin = None
        elif twin is not None:
            ended = "duplicate"
        words = map(_text, (proposal.operator, proposal.author, proposal.title, proposal.rationale))
        made = source, source_hash(source), None, *words, tuple(proposal.parents)
        return Entry(ask.id, self.rounds, ask.island, None, *made, ended, twin, error)

    def _brief(self) -> Brief:
        """What the proposer is told: a parent from the island of each ask, and what there is beside it."""
        left, rng, asks = self.config.evaluations - self.trained, self._rng(ASKS), []
        for i in range(min(self.config.round_size, left)):
            place = i % self.config.islands
            island = self.islands[place]
            parent = islands.draw_parent(island, self.fitness, self.config, rng)
            shown = islands.draw_inspirations(island, parent, self.config.inspirations, rng)
            others = tuple(self._parent(id) for id in shown)
            asks.append(Ask(self.size + i, self._parent(parent), place, others, tuple(self.failures[place])))
        flops, tallies = self.evaluator.limits.flops, dict(self.tallies)
        return Brief(tuple(asks), left, self.config.evaluations, flops, self.config.pointwise, tallies)

    def _parent(self, id: int) -> Parent:
        """A scored program, as a proposer is shown it; read from the archive once."""
        if id not in self.parents:
            entry, origin = self.archive.entry(id), None
            if entry.parents:
                before = self.archive.entry(entry.parents[0])
                flops = before.description["flops"]
                origin = Parent(before.id, before.source, before.fitness, cell=before.cell, flops=flops)
            gains, of = self._gains(Score.from_dict(entry.score)), np.array(self.families)
            families = {name: float(gains[of == name].mean()) for name in dict.fromkeys(self.families)}
            words = entry.source, entry.fitness, origin, entry.cell, entry.description["flops"], families
            self.parents[id] = Parent(id, *words)
        return self.parents[id]

    def _describe(self, rows: list[Entry]) -> None:
        """Runs the open candidates on the probes; those that fail or repeat an earlier function end."""
        ready, jobs = {}, {}
        for i, row in enumerate(rows):
            if row.ended == OPEN:
                kept = self.archive.evaluation(row.source_hash, "describe")
                if kept is None:
                    jobs[i] = _Job(self.evaluator.describe(row.source), "describe", self.clock())
                else:
                    ready[i] = kept
        with _cancelling(jobs):
            for i, job in _as_they_come(jobs):
                ready[i] = asdict(job.work.result())
                self.archive.add_evaluation(rows[i].source_hash, job.stage, ready[i], job.asked, self.clock())
        seen = dict(self.by_fingerprint)
        for i, row in enumerate(rows):
            if row.ended == OPEN:
                rows[i] = self._described(row, ready[i], seen)
            elif row.ended == "duplicate" and row.duplicate_of >= rows[0].id:  # of one of this round
                first = rows[row.duplicate_of - rows[0].id].duplicate_of
                rows[i] = row if first is None else replace(row, duplicate_of=first)

    def _described(self, row: Entry, found: Mapping[str, Any], seen: dict[str, int]) -> Entry:
        """A candidate after the probes; `seen` has the first program of each fingerprint, and takes this one."""
        description = found["description"]
        fingerprint = None if description is None else description["fingerprint"]
        place = None if fingerprint is None else islands.cell(description)
        row = replace(row, fingerprint=fingerprint, description=description, cell=place)
        if found["ended"] != "open":
            return replace(row, ended=found["ended"], error=found["error"])
        if self.config.pointwise and not description["traits"]["pointwise"]:
            return replace(row, ended="refused", error=LOOKS_ACROSS)
        if (twin := seen.setdefault(fingerprint, row.id)) != row.id:
            return replace(row, ended="duplicate", duplicate_of=twin)
        return row

    def _reopen(self, rows: list[Entry]) -> bool:
        """Opens the next spelling of each function of the round whose training was killed; whether there is any."""
        killed = {row.id: row.source_hash for row in rows if row.ended == "killed"}
        heirs: dict[int, int] = {}
        for i, row in enumerate(rows):
            if row.source_hash != killed.get(row.duplicate_of, row.source_hash):
                heir = heirs.setdefault(row.duplicate_of, row.id)
                change = {"ended": OPEN, "duplicate_of": None} if heir == row.id else {"duplicate_of": heir}
                rows[i] = replace(row, **change)
        return bool(heirs)

    def _train(self, rows: list[Entry], race: Race | None, advance: Callable[[float], None] | None = None) -> None:
        """Trains the open candidates on one part of the tasks after another, each until it ends, or on all at once."""
        order = task_order(self.families, self._rng(ORDER))
        parts = [("full", None)]
        if race is not None:
            of = f"of round {self.rounds}"  # whose order says which tasks these are
            parts = [(f"tasks {a} to {b} {of}", tuple(order[a:b].tolist())) for a, b in pairwise((0, *race.rungs))]
        scores: dict[int, list[Score]] = {i: [] for i, row in enumerate(rows) if row.ended == OPEN}
        jobs: dict[int, _Job] = {}
        known = (row.fitness for row in rows if row.fitness is not None)
        best = max(self.fitness.get(self.best, -np.inf), *known, -np.inf)

        def go_on(i: int) -> None:
            """Takes what is kept of the candidate's evaluations, and asks for the next one, if there is any."""
            nonlocal best
            while rows[i].ended == OPEN:
                stage, chosen = parts[len(scores[i])]
                kept = self.archive.evaluation(rows[i].source_hash, stage)
                if kept is None:
                    work = self.evaluator.submit(rows[i].source, self.config.suite, self.lab, chosen=chosen)
                    jobs[i] = _Job(work, stage, self.clock())
                    return
                scores[i].append(Score.from_dict(kept))
                rows[i] = self._judged(rows[i], scores[i], [chosen for _, chosen in parts], race)
            best = max(best, -np.inf if rows[i].fitness is None else rows[i].fitness)
            if advance is not None:
                advance(best)

        with _cancelling(jobs):
            for i in scores:
                go_on(i)
            for i, job in _as_they_come(jobs):
                result = job.work.result().to_dict()
                self.archive.add_evaluation(rows[i].source_hash, job.stage, result, job.asked, self.clock())
                go_on(i)

    def _judged(
        self, row: Entry, scores: Sequence[Score], parts: Sequence[tuple[int, ...] | None], race: Race | None
    ) -> Entry:
        """A candidate after some parts of its training: failed, dropped, scored on the whole suite or still open."""
        seen = len(self.families) if race is None else race.rungs[len(scores) - 1]
        if scores[-1].ended != "scored":
            return replace(row, ended=scores[-1].ended, error=scores[-1].error, seen=seen)
        if len(scores) == len(parts):
            score = scores[0]
            if race is not None:
                pairs = list(zip(parts, scores, strict=True))
                score = self.evaluator.joined(pairs, self.config.suite, self.relu)
            return replace(row, ended="scored", fitness=score.fitness, seen=seen, score=score.to_dict())
        chosen = [task for part in parts[: len(scores)] for task in part]
        mine = np.concatenate([self._gains(score, part) for score, part in zip(scores, parts, strict=False)])
        theirs = self._rivals_gains(islands.rival(self.islands[row.island], row.cell))[chosen]
        if race.verdict(mine - theirs) == BEHIND:
            return replace(row, ended="dropped", seen=seen, early=float(mine.mean()))
        return row

    def _rivals_gains(self, id: int) -> np.ndarray:
        """What each task adds to a scored program's fitness; read from the archive once."""
        if id not in self.rivals:
            self.rivals[id] = self._gains(Score.from_dict(self.archive.entry(id).score))
        return self.rivals[id]

    def _gains(self, score: Score, chosen: Sequence[int] | None = None) -> np.ndarray:
        """What each task adds to the fitness; of those chosen alone, where the score is of these."""
        relu = np.array(self.relu.ood_mse)
        reference = relu if chosen is None else relu[list(chosen)]
        return contributions(np.array(score.ood_mse), reference, self.evaluator.config)

    @cached_property
    def relu(self) -> Score:
        """Of the start, on the whole suite."""
        return Score.from_dict(self.archive.entry(0).score)

    def _moves(self, rows: Sequence[Entry]) -> list[Move]:
        """What a round's candidates, and migrations and resets where they are due, change on the islands."""
        scored = [row for row in rows if row.ended == "scored"]
        fitness = self.fitness | {row.id: row.fitness for row in scored}
        state, round = self.islands, self.rounds
        moves = islands.births(state, [(row.id, row.island, row.cell) for row in scored], fitness, round)
        if self._is_due(self.config.migrate_every):
            moves += islands.migrations(islands.after(state, moves), fitness, round)
        if self._is_due(self.config.reset_every):
            moves += islands.resets(islands.after(state, moves), fitness, round, self._rng(RESETS))
        return moves

    def _is_due(self, every: int) -> bool:
        return every > 0 and self.rounds % every == 0


@dataclass(frozen=True)
class _Job:
    """What an evaluator was asked for; when, by the search's clock."""

    work: Future | Pending
    stage: str
    asked: float

    @property
    def future(self) -> Future:
        return self.work if isinstance(self.work, Future) else self.work.future


def _as_they_come(jobs: dict[int, _Job]) -> Iterator[tuple[int, _Job]]:
    """Takes the jobs out as they are done, those too that are added meanwhile."""
    while jobs:
        done, _ = wait([job.future for job in jobs.values()], return_when=FIRST_COMPLETED)
        for i in sorted(i for i, job in jobs.items() if job.future in done):
            yield i, jobs.pop(i)


@contextmanager
def _cancelling(jobs: dict[int, _Job]) -> Iterator[None]:
    """Leaves no work behind: what is not done in the end is not wanted."""
    try:
        yield
    finally:
        for job in jobs.values():
            job.future.cancel()


def _text(words: str) -> str:
    """Whatever came, as text that a file can hold."""
    return words.encode(errors="backslashreplace").decode()
