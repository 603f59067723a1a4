"""The search: programs are proposed, screened, trained and selected, a round at a time (paper, Figure 1).

What the paper leaves open is [ours]: rounds of a fixed size, two stages of evaluation, the choice of parents.
The state of a search is a function of its archive, so that one that was cut off goes on as if it never was.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from tqdm import tqdm

from actlab.activations import program_source
from actlab.archive import Archive, Entry, source_hash
from actlab.config import LabConfig, SearchConfig
from actlab.fitness import Evaluator, Score, contributions
from actlab.program import Refused, check
from actlab.proposers import Parent, Proposer
from actlab.racing import BEHIND, Race, task_order

SUITE = "search"  # the only suite that selection ever sees
BARREN = 20  # rounds in a row that bring nothing new before the search gives up
OPEN = ""  # how a candidate ended, while it has not


class SearchStalled(RuntimeError):
    """The proposer brings nothing but duplicates and programs that do not run."""


@dataclass(frozen=True)
class Result:
    """What a search came to."""

    start: Entry  # ReLU
    best: Entry  # by fitness on the search suite; the earlier one of equals
    evaluations: int  # candidates that were screened
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
) -> Result:
    """Searches from ReLU until `config.evaluations` candidates are screened; goes on where the archive ends.

    A round has `config.round_size` proposals. Those that break a rule, repeat a source, fail on the probes or
    repeat a function there are recorded and cost nothing. The others are trained for `screen_fraction` of the
    steps, with a schedule of their own; of these, the better `keep_fraction` of the round is trained in full
    and may become parents. With `rungs` they race instead: they are trained in full on a part of the tasks after
    another, until they are surely behind the incumbent (`actlab.racing`).

    Args:
        evaluator: scores programs; results are recorded in the order of asking, whenever they come.
        proposer: writes programs.
        archive: of this run, open for writing.
        config: of the search.
        lab: of the full training.
        seed: of the proposals; the generator of round r is seeded by (seed, r).
        progress: whether to show a bar, where there is a terminal.
        clock: seconds; kept beside the trajectory, never in it.
        about: whatever else makes the run what it is, such as the tasks; plain data.

    Raises:
        ArchiveError: where the archive was begun with other settings, seed, proposer or versions.
        SearchStalled: where 20 rounds in a row bring no candidate to screen.
    """
    if min(config.round_size, config.tournament, config.elites, config.incumbent) < 1:
        raise ValueError(f"wanted a round size, tournament, number of elites and incumbent of at least 1; got {config}")
    if config.rungs and Race(config.rungs, config.delta).rungs[-1] != len(evaluator.suites[SUITE].families):
        tasks = len(evaluator.suites[SUITE].families)
        raise ValueError(f"wanted rungs up to the suite's {tasks} tasks; got {config.rungs}")
    packages = {name: version(name) for name in ("torch", "numpy")}
    archive.begin(
        seed=seed,
        search=asdict(config),
        lab=asdict(lab),
        proposer=proposer.name,
        versions={"python": platform.python_version(), **packages},
        about=dict(about or {}),
    )
    run = _Run(evaluator, proposer, archive, config, lab, seed, clock)
    with tqdm(total=config.evaluations, initial=run.screened, disable=None if progress else True) as bar:
        while not run.is_done:
            run.play_round()
            bar.set_postfix(best=f"{run.ranking[0].fitness:.4g}")
            bar.update(run.screened - bar.n)
    best = archive.entry(run.ranking[0].id)
    return Result(archive.entry(0), best, run.screened, run.rounds - 1, archive.digest())


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
    ) -> None:
        self.evaluator, self.proposer, self.archive = evaluator, proposer, archive
        self.config, self.lab, self.seed, self.clock = config, lab, seed, clock
        self.rounds = self.screened = self.size = self.barren = 0
        self.ranking: list[Entry] = []  # all that are scored, best first
        self.by_id: dict[int, Entry] = {}  # the same
        self.by_hash: dict[str, int] = {}
        self.by_fingerprint: dict[str, int] = {}
        for _, rows in groupby(archive.entries(), key=lambda entry: entry.round):
            self._note(list(rows))

    @property
    def is_done(self) -> bool:
        return self.rounds > 0 and self.screened >= self.config.evaluations

    def play_round(self) -> None:
        """Plays the next round and commits it; the first holds ReLU alone, scored in full."""
        rows = self._start() if self.rounds == 0 else self._proposals()
        self._describe(rows)
        if self.rounds > 0 and self.config.rungs:
            self._race(rows)
        else:
            if self.rounds > 0:
                self._screen(rows)
            self._train(rows)
        if self.rounds == 0 and rows[0].ended != "scored":
            raise RuntimeError(f"wanted ReLU to start from; it {rows[0].ended}: {rows[0].error}")
        self.archive.add_round(rows)
        self._note(rows)

    def _note(self, rows: Sequence[Entry]) -> None:
        """Takes a committed round into the state."""
        screened = [row for row in rows if row.was_screened]
        scored = [replace(row, score=None, description=None) for row in rows if row.ended == "scored"]
        self.rounds, self.size = self.rounds + 1, self.size + len(rows)
        self.screened += len(screened)
        self.barren = 0 if screened or rows[0].round == 0 else self.barren + 1
        self.by_id |= {row.id: row for row in scored}
        self.ranking = sorted([*self.ranking, *scored], key=lambda row: (-row.fitness, row.id))
        for row in rows:
            if row.ended != "refused" or row.fingerprint:  # a source that breaks a rule has no canonical form
                first = row.id if row.duplicate_of is None else row.duplicate_of
                self.by_hash.setdefault(row.source_hash, first)
                if row.fingerprint:
                    self.by_fingerprint.setdefault(row.fingerprint, first)

    def _start(self) -> list[Entry]:
        source = check(program_source("relu")).source
        return [Entry(0, 0, source, source_hash(source), None, "start", (), OPEN)]

    def _proposals(self) -> list[Entry]:
        """The round's candidates; those that break a rule or repeat a source have ended."""
        if self.barren >= BARREN:
            raise SearchStalled(
                f"wanted new programs from {self.proposer.name}; got duplicates, refused or failed ones "
                f"for {BARREN} rounds, after {self.screened} of {self.config.evaluations} evaluations"
            )
        n = min(self.config.round_size, self.config.evaluations - self.screened)
        rng = np.random.default_rng([self.seed, self.rounds])
        proposals = self.proposer.propose(self._parents(n, rng), n, rng)
        if len(proposals) != n:
            raise ValueError(f"wanted {n} proposals from {self.proposer.name}; got {len(proposals)}")
        rows, seen = [], dict(self.by_hash)
        for id, proposal in enumerate(proposals, start=self.size):
            ended, error, twin = OPEN, None, None
            try:
                source = check(proposal.source).source
                twin = seen.setdefault(source_hash(source), id)
            except Refused as refusal:
                source = proposal.source.encode(errors="backslashreplace").decode()  # whatever came, as text
                ended, error = "refused", str(refusal)
            if twin == id:
                twin = None
            elif twin is not None:
                ended = "duplicate"
            made = source_hash(source), None, proposal.operator, proposal.parents
            rows.append(Entry(id, self.rounds, source, *made, ended, twin, error))
        return rows

    def _parents(self, n: int, rng: np.random.Generator) -> list[Parent]:
        """`n` parents: half of the time one of the elites, else the best of a tournament among all scored."""
        chosen = []
        for _ in range(n):
            if rng.random() < 0.5:
                rank = rng.integers(min(self.config.elites, len(self.ranking)))
            else:
                rank = min(rng.integers(len(self.ranking), size=self.config.tournament))
            row = self.ranking[rank]
            before = self.by_id[row.parents[0]] if row.parents else None
            origin = None if before is None else Parent(before.id, before.source, before.fitness)
            chosen.append(Parent(row.id, row.source, row.fitness, origin))
        return chosen

    def _describe(self, rows: list[Entry]) -> None:
        """Runs the open candidates on the probes; those that fail or repeat an earlier function end."""
        waiting = {}
        for i, row in enumerate(rows):
            if row.ended == OPEN and self.archive.evaluation(row.source_hash, "describe") is None:
                waiting[i] = self.evaluator.describe(row.source), self.clock()
        for i, (future, asked) in waiting.items():
            result = asdict(future.result())
            self.archive.add_evaluation(rows[i].source_hash, "describe", result, asked, self.clock())
        seen = dict(self.by_fingerprint)
        for i, row in enumerate(rows):
            if row.ended == OPEN:
                found = self.archive.evaluation(row.source_hash, "describe")
                described = found["description"]
                fingerprint = None if described is None else described["fingerprint"]
                rows[i] = row = replace(row, fingerprint=fingerprint, description=described)
                if found["ended"] != "open":
                    rows[i] = replace(row, ended=found["ended"], error=found["error"])
                elif (twin := seen.setdefault(row.fingerprint, row.id)) != row.id:
                    rows[i] = replace(row, ended="duplicate", duplicate_of=twin)
            elif row.ended == "duplicate" and row.duplicate_of >= rows[0].id:  # of one of this round
                first = rows[row.duplicate_of - rows[0].id].duplicate_of
                rows[i] = row if first is None else replace(row, duplicate_of=first)

    def _screen(self, rows: list[Entry]) -> None:
        """Trains the open candidates briefly; ends those that fail, drops the worse part of the others."""
        steps = max(1, round(self.lab.steps * self.config.screen_fraction))
        scores = self._scores(rows, "screen", replace(self.lab, steps=steps))
        good = [i for i in scores if scores[i].ended == "scored"]
        keep = math.ceil(round(self.config.keep_fraction * len(good), 9))
        best = sorted(good, key=lambda i: (-scores[i].fitness, i))[:keep]
        for i, score in scores.items():
            if score.ended != "scored":
                rows[i] = replace(rows[i], ended=score.ended, error=score.error)
            else:
                ended = OPEN if i in best else "dropped"
                rows[i] = replace(rows[i], ended=ended, screen_fitness=score.fitness)

    def _train(self, rows: list[Entry]) -> None:
        """Trains the open candidates in full."""
        for i, score in self._scores(rows, "full", self.lab).items():
            fitness = score.fitness if score.ended == "scored" else None
            rows[i] = replace(rows[i], ended=score.ended, error=score.error, fitness=fitness, score=score.to_dict())

    def _race(self, rows: list[Entry]) -> None:
        """Trains the open candidates on a part of the tasks after another; drops those surely behind the incumbent."""
        race, families = Race(self.config.rungs, self.config.delta), self.evaluator.suites[SUITE].families
        order = task_order(families, np.random.default_rng([self.seed, self.rounds, 1]))
        relu = Score.from_dict(self.archive.entry(0).score)

        def gains(score: Score, chosen: Sequence[int]) -> np.ndarray:
            return contributions(np.array(score.ood_mse), np.array(relu.ood_mse)[list(chosen)], self.evaluator.config)

        rank = min(self.config.incumbent, len(self.ranking))
        incumbent = self.archive.entry(self.ranking[rank - 1].id)
        theirs = gains(Score.from_dict(incumbent.score), range(len(families)))[order]
        parts: dict[int, list[tuple[tuple[int, ...], Score]]] = {}
        for start, seen in pairwise((0, *race.rungs)):
            chosen = tuple(order[start:seen].tolist())
            for i, score in self._scores(rows, f"tasks {start} to {seen}", self.lab, chosen).items():
                if score.ended != "scored":
                    rows[i] = replace(rows[i], ended=score.ended, error=score.error)
                    continue
                parts.setdefault(i, []).append((chosen, score))
                mine = np.concatenate([gains(score, chosen) for chosen, score in parts[i]])
                if seen < race.rungs[-1] and race.verdict(mine - theirs[:seen]) == BEHIND:
                    rows[i] = replace(rows[i], ended="dropped", screen_fitness=float(mine.mean()))
        for i, row in enumerate(rows):
            if row.ended == OPEN:
                score = self.evaluator.joined(parts[i], SUITE, relu)
                rows[i] = replace(row, ended="scored", fitness=score.fitness, score=score.to_dict())

    def _scores(
        self, rows: Sequence[Entry], stage: str, lab: LabConfig, chosen: tuple[int, ...] | None = None
    ) -> dict[int, Score]:
        """Scores of the open candidates, by their place in the round; each is kept as soon as it is there."""
        scores: dict[int, Score] = {}
        pending = {}
        for i, row in enumerate(rows):
            if row.ended == OPEN:
                kept = self.archive.evaluation(row.source_hash, stage)
                if kept is not None:
                    scores[i] = Score.from_dict(kept)
                else:
                    score = self.evaluator.submit(row.source, SUITE, lab, chosen=chosen)
                    pending[score.future] = i, score, self.clock()
        try:
            while pending:
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=lambda future: pending[future][0]):
                    i, score, asked = pending.pop(future)
                    scores[i] = score.result()
                    self.archive.add_evaluation(rows[i].source_hash, stage, scores[i].to_dict(), asked, self.clock())
        finally:
            for future in pending:  # an interrupted search leaves no work behind
                future.cancel()
        return dict(sorted(scores.items()))
