"""The search: programs are proposed, raced, trained and placed on islands, a round at a time (paper, Figure 1).

What the paper leaves open is [ours]: rounds of a fixed size, islands with cells (`actlab.search.islands`), a race of
each candidate against the program whose cell it would take (`actlab.search.racing`), the choice of parents. The state
of a search is a function of its archive, so that an interrupted search resumes exactly where it stopped.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from tqdm import tqdm

from actlab.activations.zoo import program_source
from actlab.candidates.program import Refused, check
from actlab.core.config import LabConfig, Profile, SearchConfig
from actlab.core.jobs import as_they_come
from actlab.scoring.evaluator import Evaluator, Pending, Score, contributions
from actlab.search import islands
from actlab.search.archive import Archive, Entry, Move, source_hash
from actlab.search.proposers import Ask, Brief, Failure, Parent, Proposal, Proposer, Tally
from actlab.search.racing import BEHIND, Race, quarters, task_order

BARREN = 20  # rounds in a row that bring nothing new before the search gives up
OPEN = ""  # the ending of a candidate that has not ended yet
LIMITED = ("refused", "killed")  # endings due to cost or limits: a cheaper spelling of the function may do better
LOOKS_ACROSS = "an element's result changes with another element; write a pointwise function"
BAR = "{percentage:3.0f}%|{bar}| {n:.1f}/{total_fmt} evaluations [{elapsed}<{remaining}{postfix}]"
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
    """Searches from ReLU until `config.evaluations` candidates are trained; resumes at the end of the archive.

    A round asks for `config.round_size` programs, in turn for each island. Those that break a rule, repeat a source,
    fail on the probes or repeat a function there are recorded and cost nothing. The others are trained; with `race`, on
    a quarter of the tasks and then on a half, and dropped as soon as they are surely behind the program whose cell they
    would take. A candidate that was trained on all tasks takes its cell if it is better than the program there. An
    exception of the proposer or the evaluator ends the search; the archive then ends with a whole round, and what was
    evaluated since is kept.

    Args:
        evaluator: scores programs; results are recorded in the order of asking, whenever they come.
        proposer: writes programs.
        archive: of this run, open for writing.
        config: of the search.
        lab: of the training.
        seed: of the run; the draws of round r are seeded by it and by r.
        progress: whether to show a bar, if there is a terminal.
        clock: seconds; kept beside the trajectory, never in it.
        about: anything else that identifies the run, such as the tasks; plain data.
        spent: US dollars that the proposer has cost so far, for the bar.

    Raises:
        ArchiveError: if the archive was begun with other settings, seed or proposer.
        ChangedCode: if it was begun by code that searches otherwise.
        SearchStalled: if 20 rounds in a row bring no candidate to train.
        ValueError: if a setting makes no sense, or the proposer brings another number of programs than was asked
            for, or names a parent that is not scored.
    """
    race = _race(config, evaluator)
    settings = {"search": asdict(config), "lab": asdict(lab), "about": dict(about or {})}
    archive.begin(seed=seed, proposer=proposer.name, **settings)
    run = _Run(evaluator, proposer, archive, config, lab, seed, clock, race)
    usual = {"total": config.evaluations, "initial": run.trained, "bar_format": BAR, "miniters": 0}
    with tqdm(**usual, disable=None if progress else True) as bar:

        def advance(best: float, share: float) -> None:
            cost = {} if spent is None else {"spent": f"${spent():.2f}"}
            bar.set_postfix(best=f"{best:.4g}", **cost, refresh=False)
            bar.update(share)

        while run.rounds == 0 or run.trained < config.evaluations:
            run.play_round(advance)
    return Result(archive.entry(0), archive.entry(run.best), run.trained, run.rounds - 1, archive.digest())


def about(profile: Profile) -> dict[str, Any]:
    """What makes a run what it is beside the search, the lab, the seed and the proposer, as its file keeps it."""
    return {name: asdict(getattr(profile, name)) for name in ("tasks", "fitness", "limits")}


def _race(config: SearchConfig, evaluator: Evaluator) -> Race | None:
    """The race that the settings ask for, None if it would have one part only; refuses settings without sense."""
    counts = config.migrate_every, config.reset_every, config.inspirations, config.failures
    for holds, words in (
        (1 <= config.islands <= config.round_size, "at least one island, and an ask a round for each"),
        (config.elites >= 1 and 0 <= config.explore <= 1, "at least one elite, and a chance to explore from 0 to 1"),
        (min(counts) >= 0, "no negative numbers of rounds, inspirations and failures"),
    ):
        if not holds:
            raise ValueError(f"wanted {words}; got {config}")
    if config.suite not in evaluator.suites:
        raise ValueError(f"unknown suite: wanted one of {', '.join(evaluator.suites)}; got {config.suite!r}")
    families = _units(evaluator, config)
    rungs = quarters(len(families), len(set(families)))
    return Race(rungs, config.delta) if config.race and len(rungs) > 1 else None


def _units(evaluator: Evaluator, config: SearchConfig) -> tuple[str, ...]:
    """The family of each task that adds to a fitness, or of each lab of several."""
    return evaluator.suites[config.suite].families[:: evaluator.config.each]


@dataclass
class _Run:
    """The state of a search, read from the archive, and the one way in which it changes."""

    evaluator: Evaluator
    proposer: Proposer
    archive: Archive
    config: SearchConfig
    lab: LabConfig
    seed: int
    clock: Callable[[], float]
    race: Race | None

    def __post_init__(self) -> None:
        self.families = _units(self.evaluator, self.config)
        self.rounds = self.trained = self.size = self.barren = self.best = 0
        self.islands: tuple[islands.Island, ...] = ({},) * self.config.islands
        self.fitness: dict[int, float] = {}  # of all that are scored
        self.by_hash: dict[str, int] = {}
        self.by_fingerprint: dict[str, int] = {}
        self.failures: list[list[Failure]] = [[] for _ in self.islands]  # each island's latest, the newest first
        self.tallies: dict[str, Tally] = {}
        self.parents: dict[int, Parent] = {}  # of programs that were shown, as they were
        self.gains: dict[int, np.ndarray] = {}  # what each task adds to the fitness of a program
        moves = {number: list(part) for number, part in groupby(self.archive.moves(), key=lambda move: move.round)}
        for number, rows in groupby(self.archive.entries(whole=False), key=lambda entry: entry.round):
            self._note(list(rows), moves.get(number, []))

    def play_round(self, advance: Callable[[float, float], None]) -> None:
        """Plays the next round and commits it; the first holds ReLU alone.

        Calls `advance` with the best fitness, and the share of an evaluation that is done, after each part of a race.
        """
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
        """Updates the state by a committed round."""
        trained = sum(row.was_trained for row in rows)
        self.barren = 0 if trained or self.rounds == 0 else self.barren + 1
        self.rounds, self.size, self.trained = self.rounds + 1, self.size + len(rows), self.trained + trained
        self.islands = islands.after(self.islands, moves)
        born = {move.program for move in moves if move.how == "born"}
        for row in rows:
            if row.fitness is not None:
                self.fitness[row.id] = row.fitness
                self.best = min(self.best, row.id, key=lambda id: (-self.fitness[id], id))
            if row.fingerprint or row.ended not in ("refused", "unanswered"):  # else not canonical
                first = row.id if row.duplicate_of is None else row.duplicate_of
                self.by_hash.setdefault(row.source_hash, first)
                if row.fingerprint and row.ended not in LIMITED:
                    self.by_fingerprint.setdefault(row.fingerprint, first)
            if row.ended in ("refused", "failed", "killed"):
                failure = Failure(row.source, re.sub("0x[0-9a-f]+", "0x...", row.error))  # addresses do not repeat
                self.failures[row.island] = [failure, *self.failures[row.island]][: self.config.failures]
            if row.round > 0:
                tally = self.tallies.get(row.author, Tally())
                self.tallies[row.author] = Tally(tally.proposals + 1, tally.successes + (row.id in born))

    def _rng(self, purpose: int) -> np.random.Generator:
        """The round's generator for one of its purposes, whose draws do not affect those for the others."""
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
        ended, error, twin, source = OPEN, None, None, _text(proposal.source)
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
            gains, of = self._gains_of(id), np.array(self.families)
            families = {name: float(gains[of == name].mean()) for name in dict.fromkeys(self.families)}
            words = entry.source, entry.fitness, origin, entry.cell, entry.description["flops"], families
            self.parents[id] = Parent(id, *words)
        return self.parents[id]

    def _evaluate(
        self,
        rows: Sequence[Entry],
        stages: Mapping[int, str],
        ask: Callable[[int], Future | Pending],
        take: Callable[[int, dict[str, Any]], str | None],
    ) -> None:
        """Evaluates candidates side by side, from the first stage of each; kept results are not computed again.

        `ask` starts the evaluation of the candidate at a place, `take` takes its result and returns the next stage.
        """
        jobs: dict[int, tuple[Future | Pending, str, float]] = {}  # what was asked for, which stage, and when

        def go_on(i: int, stage: str | None) -> None:
            while stage is not None:
                kept = self.archive.evaluation(rows[i].source_hash, stage)
                if kept is None:
                    jobs[i] = ask(i), stage, self.clock()
                    return
                stage = take(i, kept)

        try:
            for i, stage in stages.items():
                go_on(i, stage)
            for i, (work, stage, asked) in as_they_come(jobs, lambda job: _future(job[0])):
                came = work.result()
                result = came.to_dict() if isinstance(came, Score) else asdict(came)
                self.archive.add_evaluation(rows[i].source_hash, stage, result, asked, self.clock())
                go_on(i, take(i, result))
        finally:  # leaves no work behind
            for work, *_ in jobs.values():
                _future(work).cancel()

    def _describe(self, rows: list[Entry]) -> None:
        """Runs the open candidates on the probes; those that fail or repeat an earlier function end."""
        found: dict[int, dict[str, Any]] = {}
        stages = {i: "describe" for i, row in enumerate(rows) if row.ended == OPEN}

        def ask(i: int) -> Future:
            return self.evaluator.describe(rows[i].source, self.config.suite, self.lab)

        self._evaluate(rows, stages, ask, found.__setitem__)
        seen = dict(self.by_fingerprint)
        for i, row in enumerate(rows):
            if row.ended == OPEN:
                rows[i] = self._described(row, found[i], seen)
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
        """Opens the next spelling of each function of the round whose training was killed; False if there is none."""
        killed = {row.id: row.source_hash for row in rows if row.ended == "killed"}
        heirs: dict[int, int] = {}
        for i, row in enumerate(rows):
            if row.source_hash != killed.get(row.duplicate_of, row.source_hash):
                heir = heirs.setdefault(row.duplicate_of, row.id)
                change = {"ended": OPEN, "duplicate_of": None} if heir == row.id else {"duplicate_of": heir}
                rows[i] = replace(row, **change)
        return bool(heirs)

    def _train(self, rows: list[Entry], race: Race | None, advance: Callable | None = None) -> None:
        """Trains the open candidates on one part of the tasks after another, each until it ends, or on all at once."""
        order = task_order(self.families, self._rng(ORDER))
        parts = [("full", None)]
        if race is not None:
            of = f"of round {self.rounds}"  # whose order says which tasks these are
            parts = [(f"tasks {a} to {b} {of}", self._tasks(order[a:b])) for a, b in pairwise((0, *race.rungs))]
        scores: dict[int, list[Score]] = {i: [] for i, row in enumerate(rows) if row.ended == OPEN}
        known = (row.fitness for row in rows if row.fitness is not None)
        best = max(self.fitness.get(self.best, -np.inf), *known, -np.inf)

        def ask(i: int) -> Future | Pending:
            chosen = parts[len(scores[i])][1]
            return self.evaluator.submit(rows[i].source, self.config.suite, self.lab, chosen=chosen)

        def share(count: int) -> float:
            return race.rungs[count - 1] / len(self.families) if count else 0.0

        def take(i: int, result: dict[str, Any]) -> str | None:
            nonlocal best
            scores[i].append(Score.from_dict(result))
            rows[i] = self._judged(rows[i], scores[i], [chosen for _, chosen in parts], race)
            best = max(best, -np.inf if rows[i].fitness is None else rows[i].fitness)
            count, is_open = len(scores[i]), rows[i].ended == OPEN
            if advance is not None:
                advance(best, (share(count) if is_open else 1.0) - share(count - 1))
            return parts[count][0] if is_open else None

        self._evaluate(rows, dict.fromkeys(scores, parts[0][0]), ask, take)

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
        each = self.evaluator.config.each
        chosen = [part[i] // each for part in parts[: len(scores)] for i in range(0, len(part), each)]
        mine = np.concatenate([self._gains(score, part) for score, part in zip(scores, parts, strict=False)])
        theirs = self._gains_of(islands.rival(self.islands[row.island], row.cell))[chosen]
        if race.verdict(mine - theirs) == BEHIND:
            return replace(row, ended="dropped", seen=seen, early=float(mine.mean()))
        return row

    def _tasks(self, units: np.ndarray) -> tuple[int, ...]:
        """The places of the tasks of what adds to a fitness: tasks themselves, or labs of several."""
        each = self.evaluator.config.each
        return tuple((units[:, None] * each + np.arange(each)).ravel().tolist())

    def _gains_of(self, id: int) -> np.ndarray:
        """What each task, or lab, adds to a scored program's fitness; read from the archive once."""
        if id not in self.gains:
            self.gains[id] = self._gains(Score.from_dict(self.archive.entry(id).score))
        return self.gains[id]

    def _gains(self, score: Score, chosen: Sequence[int] | None = None) -> np.ndarray:
        """What each task adds to the fitness; only of the chosen tasks, if the score is of these."""
        relu = np.array(self.relu.ood_mse)
        reference = relu if chosen is None else relu[list(chosen)]
        return contributions(np.array(score.ood_mse), reference, self.evaluator.config)

    @cached_property
    def relu(self) -> Score:
        """Of the start, on the whole suite."""
        return Score.from_dict(self.archive.entry(0).score)

    def _moves(self, rows: Sequence[Entry]) -> list[Move]:
        """The changes of the islands by a round's candidates, and by migrations and resets if they are due."""
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


def _future(work: Future | Pending) -> Future:
    return work if isinstance(work, Future) else work.future


def _text(words: str) -> str:
    """Any string, as text that can be written to a file."""
    return words.encode(errors="backslashreplace").decode()
