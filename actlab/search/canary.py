"""The canary of the search: tiny searches whose trajectories change when the search's code decides something else.

A committed run of a search is valid as long as these numbers are equal to 1e-10 relative, and these words and whole
numbers exactly. The searches are real ones, on archives in a temporary folder; only the sandboxes are left out, since
all programs are our own. A refusal is noted by its line and not by its message, so that rewording one changes no run,
and intervals of means are left out, since they follow from the losses.
"""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from actlab.activations import zoo
from actlab.candidates import profiling
from actlab.candidates.program import Refused, check, compile_program
from actlab.candidates.static_bounds import Bounds
from actlab.core.config import SUITES, FitnessConfig, LabConfig, Profile, SearchConfig, TaskConfig
from actlab.lab import tasks
from actlab.scoring.in_process import InProcess, one_thread, summary
from actlab.search import ablation, racing, selection
from actlab.search.archive import Archive, Entry, Move
from actlab.search.canary_programs import ACCEPTED, BOUNDED, CURVES, LIMITS, MISBEHAVED, PARENTS, REFUSED, SCRIPT
from actlab.search.evolution import search
from actlab.search.proposers import Ask, Brief, Parent, Proposal, Tally
from actlab.search.proposers.grammar import Grammar, RandomSampling
from actlab.search.proposers.mixture import Mixture

PROFILE = Profile(
    "canary",
    tasks=TaskConfig(calibration=4, search=16, held_out=8, far=4, train_points=8, ood_points=8),
    lab=LabConfig(width=3, depth=1, batch=8, steps=4, learning_rate=0.1, dtype="float64"),
    fitness=FitnessConfig(resamples=20),
    search=SearchConfig(evaluations=13, round_size=9, delta=0.3, migrate_every=1, reset_every=2, elites=2, failures=1),
)
DISCRETE = (
    "round", "parents", "island", "cell", "operator", "author", "title", "rationale", "ended", "duplicate_of", "seen",
    "source_hash", "fingerprint",
)  # fmt: skip # of an entry
ARMS_TASKS = replace(PROFILE.tasks, search=8)
CUTS = (31, 25)  # readings of the clock before the search is interrupted: among probes, then among trainings

Values = dict[str, float | int | str]


def values() -> Values:
    """The canary's numbers by name: floats that hold to 1e-10 relative, whole numbers and words that hold exactly."""
    with one_thread(), tempfile.TemporaryDirectory(prefix="actlab-canary-") as name:
        folder = Path(name)
        return _mixed(folder) | _arms(folder) | _proposed() | _races() | _programs() | _curves() | _bounds()


@dataclass(frozen=True)
class _Script:
    """Proposes the programs of `SCRIPT` in turn, from one place on, whatever the parents."""

    name: str = "script"
    start: int = 0

    def propose(self, brief: Brief, generator: np.random.Generator) -> list[Proposal]:
        """The programs after those that the script has brought."""
        first, made = self.start + brief.tallies.get(self.name, Tally()).proposals, []
        for i, ask in enumerate(brief.asks, start=first):
            source = SCRIPT[i % len(SCRIPT)]
            failure = None if source else "nothing came"
            parents = (ask.parent.id, *(other.id for other in ask.inspirations[:1]))
            words = f"line {i}", self.name, f"after {len(ask.failures)}", "\ud800"
            made.append(Proposal(source, parents, *words, failure))
        return made


class _Cut(Exception):
    """Ends a search in the middle of a round."""


class _Clock:
    """Counts how often it is read, and raises after `ticks`."""

    def __init__(self, ticks: int) -> None:
        self.left = ticks

    def __call__(self) -> float:
        self.left -= 1
        if self.left < 0:
            raise _Cut
        return float(self.left)


class _Laboratory:
    """What the final choice and the arms need of a laboratory: a profile, an evaluator, and losses on its suites."""

    def __init__(self, profile: Profile, evaluator: InProcess) -> None:
        self.profile, self.evaluator = profile, evaluator

    def scores(self, programs: Mapping[str, str] | Iterable[str], suite: str) -> pd.DataFrame:
        """Losses as `laboratory.Laboratory.scores` gives them; the columns that are read here."""
        if not isinstance(programs, Mapping):
            programs = {name: zoo.program_source(name) for name in programs}
        parts = []
        for name, source in programs.items():
            score = self.evaluator.submit(source, suite, self.profile.lab).result()
            parts.append(pd.DataFrame({"function": name, "family": score.families, "ood_mse": score.ood_mse}))
        return pd.concat(parts, ignore_index=True)


def _suites(profile: Profile) -> dict[str, tasks.Suite]:
    return {name: tasks.suite(name, profile.tasks) for name in (*SUITES, tasks.INSIDE)}


def _mixed(folder: Path) -> Values:
    """A search with everything that happens to candidates, cut off once, and what is chosen from it."""
    grammar = Grammar(batch_statistics=True)
    proposer = Mixture(((grammar, 4.0), (RandomSampling(), 1.0), (_Script(), 5.0)))
    found: Values = {}
    with InProcess(_suites(PROFILE), PROFILE.fitness, 1) as evaluator, Archive(folder / "mixed.sqlite") as archive:
        settings = {"config": PROFILE.search, "lab": PROFILE.lab, "seed": 3, "progress": False}
        for ticks in CUTS:
            with suppress(_Cut):
                search(evaluator, proposer, archive, **settings, clock=_Clock(ticks))
            found[f"cut off {ticks}"] = f"{len(archive.entries())} programs, {len(archive.timings())} evaluations"
        result = search(evaluator, proposer, archive, **settings, spent=lambda: 0.0)
        found |= {"evaluations": result.evaluations, "rounds": result.rounds, "best": result.best.id}
        entries, moves = archive.entries(), archive.moves()
        found |= _record("mixed", archive) | _tables(archive, result.best.id)
        found |= _choice(_Laboratory(PROFILE, evaluator), entries, moves)
        found |= _pointwise(folder, evaluator)
    return found


def _pointwise(folder: Path, evaluator: InProcess) -> Values:
    """A search without races that refuses functions that look across the tensor."""
    config = replace(PROFILE.search, evaluations=2, islands=1, race=False, pointwise=True, suite="far")
    proposer = Mixture(((Grammar(batch_statistics=True), 1.0), (_Script(start=6), 2.0)))
    with Archive(folder / "pointwise.sqlite") as archive:
        search(evaluator, proposer, archive, config, PROFILE.lab, 1, progress=False)
        return _record("pointwise", archive)


def _record(run: str, archive: Archive) -> Values:
    """A text for what is discrete about each entry and move of a run, and the floats of entries."""
    found: Values = {f"{run} move {i}": "; ".join(map(str, astuple(move))) for i, move in enumerate(archive.moves())}
    for entry in archive.entries():
        name, told = f"{run} {entry.id}", vars(entry)
        found[name] = "; ".join(f"{word} {told[word]}" for word in DISCRETE)
        found |= {f"{name} {word}": told[word] for word in ("fitness", "early") if told[word] is not None}
        if entry.score is not None:
            found |= summary(f"{name} losses", np.array(entry.score["ood_mse"]))
    return found


def _tables(archive: Archive, best: int) -> Values:
    programs, moved = archive.programs(), archive.moves_table()
    return {
        "lineage": " ".join(str(entry.id) for entry in archive.lineage(best)),
        "tables": f"{programs.shape} {moved.shape} {' '.join(programs.columns)} {' '.join(moved.columns)}",
        "meta": " ".join(archive.meta()),
    }


def _choice(laboratory: _Laboratory, entries: list[Entry], moves: list[Move]) -> Values:
    """What is chosen from a run, and what it is worth elsewhere."""
    leaders, elites = selection.leaders(entries), selection.elites(entries, moves)
    table = selection.shortlist(entries, moves, laboratory.profile.fitness)
    found: Values = {
        "leaders": " ".join(str(entry.id) for entry in leaders),
        "elites": " ".join(str(entry.id) for entry in elites),
        "final": selection.final(entries, moves, laboratory.profile.fitness).id,
        "shortlist": table[["id", "qualifies", "nodes"]].to_csv(index=False),
    }
    found |= _columns("shortlist", table, ("fitness", "behind", "error", "flops"))
    latest = leaders[-2:]
    held_out, steps = selection.held_out_fitness(laboratory, latest), selection.overfit_steps(laboratory, latest)
    found["parting"] = steps[["id", "before", "parts"]].to_csv(index=False)
    found |= _columns("worth", held_out, ("held_out",)) | _columns("parting", steps, ("search", "held_out"))
    fitness = np.array([3.0, 1.0, 2.0, 5.0])
    told = selection.agreement(pd.DataFrame({"fitness": fitness, "held_out": fitness**2 % 7}))
    none = selection.agreement(pd.DataFrame({"fitness": fitness[:3], "held_out": fitness[:3]}))
    return found | {"spearman": told.spearman.estimate, "kendall": told.kendall.estimate, "few": str(none)}


def _columns(name: str, table: pd.DataFrame, columns: Iterable[str]) -> Values:
    return {key: value for column in columns for key, value in summary(f"{name} {column}", table[column]).items()}


def _arms(folder: Path) -> Values:
    """One evaluation by each arm of the comparison, and a second one where the first best is the only parent."""
    found: Values = {}
    for arm in ablation.ARMS:
        own = ablation.settings(replace(PROFILE, tasks=ARMS_TASKS), arm, 2 if arm.name == "hill climbing" else 1)
        with InProcess(_suites(own), own.fitness, 1) as evaluator:
            outcome = ablation.run(_Laboratory(own, evaluator), own, arm, 1, folder / f"{arm.name}.sqlite")
            with Archive(folder / f"{arm.name}.sqlite") as archive:
                found |= _record(arm.name, archive)
        found[f"{arm.name} final"] = outcome.final.id
        found |= {f"{arm.name} trace {i}": best for i, best in enumerate(outcome.trace)}
        found[f"{arm.name} proposer"] = ablation._proposer(own, arm).name
    return found


def _proposed() -> Values:
    """What the grammar makes of programs with statements, helpers and moments, and of steps of their constants."""
    asks = []
    for i in range(45):
        before, source = PARENTS[i % len(PARENTS)]
        origin = Parent(2 * i, before, 0.1 * (i % 2)) if before else None
        parent, other = Parent(2 * i + 1, source, 0.05, origin), Parent(500, PARENTS[2][1], 0.0)
        asks.append(Ask(i, parent, i % 3, (other,) * (i % 4 == 0)))
    small = Brief((Ask(0, Parent(0, PARENTS[-1][1], 0.0)),), 1, 1, 196.0)
    proposers = {"grammar": Grammar(batch_statistics=True), "sampling": RandomSampling(batch_statistics=True)}
    found: Values = {}
    for name, proposer in proposers.items():
        made = proposer.propose(replace(small, asks=tuple(asks)), np.random.default_rng(2))
        found |= {f"{name} {i}": f"{one.operator} {one.parents}\n{one.source}" for i, one in enumerate(made)}
    (made,) = RandomSampling(max_nodes=1, deepest=1).propose(small, np.random.default_rng(1))
    return found | {"sampling of one node": f"{made.operator} {made.source} {made.failure is not None}"}


def _races() -> Values:
    """Bounds, verdicts and the study of plans, on gains that are drawn."""
    rng = np.random.default_rng(8)
    full = rng.normal(size=(6, 16)) + np.linspace(-1, 1, 6)[:, None]
    full[0] = 0.0
    short, families = full + 0.3 * rng.normal(size=full.shape), ("a", "b", "b", "a") * 4
    race = racing.Race(racing.quarters(16, 2), 0.2)
    found: Values = {f"quarters {tasks}": str(racing.quarters(tasks, 4)) for tasks in (3, 4, 8, 17, 48)}
    found["order"] = str(racing.task_order(families, np.random.default_rng(4)).tolist())
    for seen in race.rungs:
        low, high = race.bounds(full[:, :seen])
        found |= summary(f"low {seen}", low) | summary(f"high {seen}", high)
        found[f"verdicts {seen}"] = " ".join(race.verdict(gains[:seen]) for gains in full)
    found |= summary("rise", racing.rise(short, full))
    found |= summary("risk", racing.risk(full, families, race, np.random.default_rng(5), orders=20))
    plans = [racing.Plan("all"), racing.Plan("screen", keep=0.5), racing.Plan("margin", margin=0.1)]
    plans.append(racing.Plan("race", race=race))
    for better in (full, -np.abs(full)):
        table = racing.study(better, short, 0.1, families, plans, np.random.default_rng(6), 4, round_size=2)
        for column in table.columns.drop(["plan", "saved_low", "saved_high"]):
            found |= summary(f"study {column} {better is full}", np.nan_to_num(table[column].to_numpy(float), nan=-1.0))
    return found


def _programs() -> Values:
    """What the language takes and refuses, and what programs compute; how those end that go beyond a limit."""
    x = torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(4, 6)
    found: Values = {}
    for name, source in ACCEPTED.items():
        program = check(source)
        found[f"canonical {name}"] = program.source
        found |= summary(f"computed {name}", compile_program(program)(x))
    for source in REFUSED:
        try:
            found[f"checked {source[:60]!r}"] = check(source).source
        except Refused as refusal:
            found[f"checked {source[:60]!r}"] = f"refused on line {refusal.line}"
    for source in LIMITS:
        try:
            found |= summary(f"ran {source!r}", compile_program(check(source))(x))
        except (RuntimeError, OverflowError, TypeError) as raised:
            found[f"ran {source!r}"] = type(raised).__name__
    return found


def _curves() -> Values:
    """Costs, traits and fingerprints; and which programs are no activations."""
    found: Values = {}
    for source in CURVES:
        about = profiling.describe(source)
        found[f"traits {source}"] = "; ".join(f"{key} {value}" for key, value in about.traits.items())
        found[f"fingerprint {source}"] = str(about.fingerprint)
        found |= {f"flops {source}": about.flops, f"in GELUs {source}": about.flops_gelu}
    for source in MISBEHAVED:
        found[f"misbehaves {source}"] = str(profiling.describe(source).error is not None)
    return found


def _bounds() -> Values:
    """Bounds of the last assignment of small programs."""
    found: Values = {}
    for source in BOUNDED:
        tree = ast.parse(source)
        bounds, value = Bounds(tree), tree.body[-1].value
        found[f"bounds {source}"] = f"{bounds.interval(value)} {bounds.count(value)} {bounds.items(value)}"
    return found
