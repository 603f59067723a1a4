"""A profile's search, run or read: what it found, and how it came there (paper, Figures 1 and 3; tables [ours])."""

from __future__ import annotations

import ast
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from actlab.activations import zoo as activations
from actlab.core.config import FitnessConfig, Limits, Profile, SearchConfig
from actlab.core.records import BUILD, PROTOCOLS
from actlab.scoring.laboratory import Laboratory
from actlab.search import selection
from actlab.search.archive import ENDED, Archive, ArchiveError, Entry, Move
from actlab.search.evolution import Result, about, search
from actlab.search.proposers import Brief, Proposal, Proposer
from actlab.search.proposers.grammar import AUTHOR, Grammar
from actlab.search.proposers.recording import TOKENS, Recording, replays

FREE = (AUTHOR, "random sampling")  # authors that ask nobody


def search_file(profile: Profile, seed: int) -> Path:
    """Where a profile's search is kept: another file for other settings."""
    asked = {name: getattr(profile, name) for name in ("tasks", "lab", "fitness", "search", "limits")}
    key = PROTOCOLS["search"].key({"kind": "search", "seed": seed, **asked})
    return BUILD / profile.name / "search" / f"{key[:12]}.sqlite"


def run_search(
    laboratory: Laboratory,
    seed: int,
    path: Path | None = None,
    proposer: Proposer | None = None,
    spent: Callable[[], float] | None = None,
    bind: Callable[[str, Mapping[int, str]], None] | None = None,
) -> tuple[Result, Path]:
    """The profile's search from ReLU; resumes an earlier call that was interrupted.

    Args:
        laboratory: its profile is searched, on its workers.
        seed: of the run.
        path: of the run's file; by default that of `search_file`, which is for the grammar alone.
        proposer: writes programs; the offline grammar by default.
        spent: US dollars that the proposer has cost so far, for the progress bar.
        bind: is called with the run's name and its authors by id before anything is proposed; raises if the
            proposer's answers are of another run (`answers.Answers.bind`).
    """
    profile = laboratory.profile
    if proposer is not None and path is None:
        raise ValueError(f"wanted a file for the run of {proposer.name}; got none")
    proposer = proposer or Grammar(batch_statistics=not profile.search.pointwise)
    path = path or search_file(profile, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Archive(path) as archive:
        if bind is not None:
            proposer = _Bound(proposer, bind, _name(profile, seed, proposer), archive)
        evaluator, own = laboratory.evaluator, (profile.search, profile.lab, seed)
        return search(evaluator, proposer, archive, *own, about=about(profile), spent=spent), path


def result(path: Path) -> Result:
    """The result of a run, or of as much of it as is there, read from its file."""
    with reading(path) as archive:
        every, digest = _run(archive).entries, archive.digest()
    return Result(every[0], selection.leaders(every)[-1], len(trained(every)), every[-1].round, digest)


def settings(path: Path, profile: Profile) -> tuple[Profile, int]:
    """The profile with the search and the limits of a run; and the run's seed.

    Raises:
        ValueError: if the run was made with another profile's data sets, training or fitness: its scores could not
            be compared with new ones.
        ChangedCode: if it was made by code that searches otherwise.
    """
    with reading(path) as archive:
        meta = archive.meta()
        archive.demand()
    came = {**meta.get("about", {}), "lab": meta.get("lab")}
    for name in ("tasks", "lab", "fitness"):
        if came.get(name) != json.loads(json.dumps(asdict(getattr(profile, name)))):
            raise ValueError(f"{path}: wanted a run with the {name} of profile {profile.name}, as of now; got another")
    return replace(profile, search=SearchConfig(**meta["search"]), limits=Limits(**came["limits"])), meta["seed"]


def bills(path: Path, record: Path | None = None) -> list[dict[str, Any]]:
    """What each model brought and cost, as `recording.Recording.summary` gives it; empty without a recording.

    By default the recording is the one that a search leaves beside its run.
    """
    beside = path.with_name(f"{path.name}.answers")
    if record is None and not beside.exists():
        return []
    with Recording(record or beside, read_only=True) as recording:
        return recording.summary()


def _name(profile: Profile, seed: int, proposer: Proposer) -> str:
    """A name of a run, the same wherever its file lies: the hash of its settings."""
    parts = about(profile) | {"lab": asdict(profile.lab), "search": asdict(profile.search)}
    text = json.dumps({"seed": seed, "proposer": proposer.name, **parts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class _Bound:
    """A proposer that binds its answers to the run when it is first asked: the run's file is then known to be right."""

    def __init__(
        self, proposer: Proposer, bind: Callable[[str, Mapping[int, str]], None], run: str, archive: Archive
    ) -> None:
        self.name, self._proposer, self._is_bound = proposer.name, proposer, False
        self._bind = lambda: bind(run, {entry.id: entry.author for entry in archive.entries(whole=False)})

    def propose(self, brief: Brief, generator: np.random.Generator) -> Sequence[Proposal]:
        if not self._is_bound:
            self._bind()
            self._is_bound = True
        return self._proposer.propose(brief, generator)


@dataclass(frozen=True)
class Run:
    """A run as it was read: its candidates by id, and what happened on its islands, in order."""

    entries: list[Entry]
    moves: list[Move]

    @property
    def authors(self) -> list[str]:
        """Who proposed, in the order of their first proposal."""
        return list(dict.fromkeys(entry.author for entry in self.entries if entry.round > 0))


@contextmanager
def reading(path: Path) -> Iterator[Archive]:
    """A run's file, open to be read as it is at one moment; raises ArchiveError if it is missing or no run's."""
    with Archive(path, read_only=True) as archive, archive.reading():
        yield archive


def read(path: Path) -> Run:
    """A run, or as much of it as is there; raises ArchiveError if there is no such file, or nothing in it yet."""
    with reading(path) as archive:
        return _run(archive)


def _run(archive: Archive) -> Run:
    run = Run(archive.entries(), archive.moves())
    if not run.entries:
        wanted = "wanted a run with programs; got one that has not trained ReLU yet, its start"
        raise ArchiveError(f"{archive.path}: {wanted}")
    return run


def entries(path: Path) -> list[Entry]:
    """All candidates of a run, in the order of asking; the first is ReLU."""
    return read(path).entries


def final(path: Path, config: FitnessConfig) -> Entry:
    """The final choice of a run, by the rule of `selection.shortlist`."""
    run = read(path)
    return selection.final(run.entries, run.moves, config)


def trained(candidates: Iterable[Entry]) -> list[Entry]:
    """The candidates that were trained, in part or in full, and so cost an evaluation; without the start."""
    return [entry for entry in candidates if entry.was_trained]


def loop(path: Path, profile: Profile) -> pd.DataFrame:
    """The search as a loop of its components, with a run's counts (Figure 1): component, role, module, counts."""
    run = read(path)
    ended = [entry.ended for entry in run.entries]
    tried, barred = trained(run.entries), sum(e.fingerprint is None and e.ended == "failed" for e in run.entries)
    race = "drops who is surely behind" if profile.search.race else "none: all are trained in full"
    who = "changes syntax trees of parents" if run.authors == ["grammar"] else ", ".join(run.authors)
    rows = [
        ("Database", f"{profile.search.islands} islands of cells, nothing lost", "search.archive, search.islands",
         f"{len(ended)} programs with ReLU"),
        ("Proposer", who, "search.proposers", f"{len(ended) - 1} proposals in {run.entries[-1].round} rounds"),
        ("Check", "rules, probes, nothing twice", "candidates",
         f"{ended.count('refused') + barred} stopped, {ended.count('duplicate')} duplicates"),
        ("Race", race, "search.racing", f"{len(tried)} started, {ended.count('dropped')} dropped"),
        ("Training", f"{profile.tasks.search} small networks, {profile.lab.steps} steps", "lab.training",
         f"{ended.count('scored') - 1} trained in full"),
        ("Fitness", "loss outside the training range", "scoring.evaluator",
         f"{len(selection.leaders(run.entries)) - 1} times a new best"),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["component", "role", "module", "counts"])


def endings(path: Path) -> pd.DataFrame:
    """How candidates ended, by what made them: columns operator, those of `archive.ENDED`, total.

    A child of two operators counts under "two at once"; the last row is the sum. The start is left out.
    """
    made = [("two at once" if "+" in e.operator else e.operator, e.ended) for e in entries(path) if e.round > 0]
    table = pd.DataFrame(made, columns=["operator", "ended"])
    counts = pd.crosstab(table["operator"], table["ended"]).reindex(columns=ENDED, fill_value=0)
    counts.loc["all"] = counts.sum()
    return counts.assign(total=counts.sum(axis=1)).rename_axis(columns=None).reset_index()


def trace(laboratory: Laboratory, path: Path) -> pd.DataFrame:
    """The run against its evaluations: each candidate, the best so far and its held-out fitness (Figure 3).

    Returns:
        One row an evaluation, from 0 for ReLU. Columns evaluation, id, fitness (NaN if a race dropped the candidate),
        best (its id), search, held_out, low, high, pointwise (of that best), parts (whether the candidate is an
        overfit step).
    """
    every = entries(path)
    best = selection.leaders(every)
    held_out, flags = selection.held_out_fitness(laboratory, best), flagged(selection.overfit_steps(laboratory, best))
    leaders, leader, rows = {entry.id for entry in best}, every[0], []
    for evaluation, entry in enumerate([every[0], *trained(every)]):
        leader = entry if entry.id in leaders else leader
        row = {"evaluation": evaluation, "id": entry.id, "fitness": entry.fitness, "best": leader.id}
        of_best = {"search": leader.fitness, **held_out.loc[leader.id], "pointwise": found(leader, "pointwise")}
        rows.append(row | of_best | {"parts": entry.id in flags})
    return pd.DataFrame(rows).astype({"fitness": float})


def transfer(laboratory: Laboratory, path: Path) -> pd.DataFrame:
    """Every elite of a run: its fitness on the search suite and on as many held-out tasks (Figure 3).

    These are the first tasks of each family of the held-out suite. [ours]: a run has more elites than new bests, and
    two axes of as many tasks each are equally sure.

    Returns:
        Columns id, fitness, held_out, low, high, flops_gelu, led (whether it was the best in its time), final
        (whether it is the final choice), parts (whether it is an overfit step), program (in one line); by id.
    """
    run = read(path)
    kept, best = selection.elites(run.entries, run.moves), selection.leaders(run.entries)
    led, flags = {entry.id for entry in best}, flagged(selection.overfit_steps(laboratory, best))
    chosen = selection.final(run.entries, run.moves, laboratory.profile.fitness).id
    how = laboratory.workers, laboratory.store, laboratory.executor
    with Laboratory(laboratory.profile, *how, only={"held-out": _first(laboratory)}) as smaller:
        held_out, rows = selection.held_out_fitness(smaller, kept), []
    for entry in kept:
        row = {
            "id": entry.id,
            "fitness": entry.fitness,
            **held_out.loc[entry.id],
            "flops_gelu": found(entry, "flops_gelu"),
        }
        row |= {"led": entry.id in led, "final": entry.id == chosen, "parts": entry.id in flags}
        rows.append(row | {"program": one_line(entry.source)})
    return pd.DataFrame(rows)


def _first(laboratory: Laboratory) -> list[int]:
    """Places of the first held-out tasks of each family, as many as the search suite has of it."""
    families = np.array(laboratory.suites["held-out"].families)
    sizes = Counter(laboratory.suites["search"].families)
    return sorted(int(i) for family, size in sizes.items() for i in np.flatnonzero(families == family)[:size])


def flagged(steps: pd.DataFrame) -> list[int]:
    """The ids of the overfit steps in a table as `selection.overfit_steps` gives it."""
    return steps.loc[steps["parts"], "id"].tolist()


def lineage(path: Path, id: int) -> pd.DataFrame:
    """The programs from the start to one of a run, each made from the one before.

    Returns:
        Columns generation, id, operator, fitness, pointwise, oscillations, flops_gelu, program (in one line); values
        are missing if a program was not trained, or not described.
    """
    with reading(path) as archive:
        line = archive.lineage(id)[::-1]
    told = "pointwise", "oscillations", "flops_gelu"
    rows = [
        (i, e.id, e.operator, e.fitness, *(found(e, name) for name in told), one_line(e.source))
        for i, e in enumerate(line)
    ]
    return pd.DataFrame(rows, columns=["generation", "id", "operator", "fitness", *told, "program"])


def tree(path: Path, final: int) -> pd.DataFrame:
    """Who was made from whom among a run's scored programs, laid out so that no two lines cross.

    A program is placed over the middle of its children. One that was made from nothing is a root. If a parent was not
    scored, the nearest scored ancestor takes its place.

    Returns:
        Columns id, parent (an id, or missing), generation, place (along the row of its generation), fitness, island,
        line (whether it is on the way from a root to the program `final`); by id.
    """
    scored, above, nearest = [], {}, {None: None}  # nearest: the program itself if it was scored, else an ancestor
    for entry in entries(path):  # a parent is older than its children
        nearest[entry.id] = nearest[next(iter(entry.parents), None)]
        if entry.ended == "scored":
            scored.append(entry)
            above[entry.id], nearest[entry.id] = nearest[entry.id], entry.id
    lines: dict[int | None, tuple[int, ...]] = {None: ()}  # from a root to each program
    children: dict[int | None, list[int]] = {}
    for id, parent in above.items():
        lines[id] = (*lines[parent], id)
        children.setdefault(parent, []).append(id)
    leaves = sorted((id for id in above if id not in children), key=lines.__getitem__)
    place = {leaf: float(i) for i, leaf in enumerate(leaves)}
    for id in reversed(above):
        if id in children:
            place[id] = (place[children[id][0]] + place[children[id][-1]]) / 2
    rows = [
        (e.id, above[e.id], len(lines[e.id]) - 1, place[e.id], e.fitness, e.island, e.id in lines[final])
        for e in scored
    ]
    table = pd.DataFrame(rows, columns=["id", "parent", "generation", "place", "fitness", "island", "line"])
    return table.astype({"parent": "Int64"})


def over_time(path: Path) -> pd.DataFrame:
    """The islands after each round.

    Returns:
        Columns round, island, best (the best fitness on it; NaN if it is empty), cells (how many are held), event
        ("reset" if it was reset in that round, "migrated" if a program from another island took a cell, else "").
    """
    run = read(path)
    fitness, rows = {entry.id: entry.fitness for entry in run.entries}, []
    for round in range(run.entries[-1].round + 1):
        how = {(move.island, move.how) for move in run.moves if move.round == round}
        for island, cells in enumerate(selection.standing(move for move in run.moves if move.round <= round)):
            event = next((name for name in ("reset", "migrated") if (island, name) in how), "")
            best = max((fitness[id] for id in cells.values()), default=math.nan)
            rows.append({"round": round, "island": island, "best": best, "cells": len(cells), "event": event})
    return pd.DataFrame(rows)


def authors(path: Path, bills: Iterable[Mapping[str, Any]] = (), free: Iterable[str] = FREE) -> pd.DataFrame:
    """What each author brought for its cost.

    Args:
        path: of the run.
        bills: of the authors that were paid, as `recording.Recording.summary` gives them.
        free: authors that call no service and so cost nothing.

    Returns:
        Columns author, proposals, trained, successes (programs that took a cell), gain (what its new bests added to
        the best fitness), tokens, usd, answers; by gain. An author that was paid is listed even if the run has no
        program of it yet. Tokens and usd are missing if they are unknown: there is no bill, the author is not free, and
        no answers were replayed, which costs nothing. Answers says where they came from: "live", "hand-written" (which
        is no model's output), either with "replayed, " before it, "unknown", or "asks nobody".
    """
    return authors_of(read(path), bills, replays(path), free)


def authors_of(
    run: Run,
    bills: Iterable[Mapping[str, Any]] = (),
    replayed: Sequence[Mapping[str, str]] = (),
    free: Iterable[str] = FREE,
) -> pd.DataFrame:
    """As `authors`, of a run that was read and the recordings that it took answers from (`recording.replays`)."""
    taken = {move.program for move in run.moves if move.how == "born"}
    rises = {after.id: after.fitness - before.fitness for before, after in pairwise(selection.leaders(run.entries))}
    costs, free, rows = {bill["model"]: bill for bill in bills}, set(free), []
    for author in dict.fromkeys([*run.authors, *costs]):
        own = [entry for entry in run.entries if entry.round > 0 and entry.author == author]
        successes, gain = sum(e.id in taken for e in own), sum(rises.get(e.id, 0.0) for e in own)
        cost = _cost(costs.get(author), replayed, author in free)
        rows.append((author, len(own), len(trained(own)), successes, gain, *cost))
    columns = ["author", "proposals", "trained", "successes", "gain", "tokens", "usd", "answers"]
    table = pd.DataFrame(rows, columns=columns).astype({"tokens": "Int64", "usd": float})
    return table.sort_values(["gain", "author"], ascending=[False, True], ignore_index=True)


def _cost(
    bill: Mapping[str, Any] | None, replayed: Sequence[Mapping[str, str]], is_free: bool
) -> tuple[int | None, float | None, str]:
    """An author's tokens and US dollars, None if they are unknown, and where its answers came from."""
    if bill is None and is_free:
        return 0, 0.0, "asks nobody"
    known = [recording["origin"] for recording in replayed]
    origins = [f"replayed, {origin}" for origin in known]
    if bill is None:
        tokens, usd = (0, 0.0) if replayed else (None, None)
    else:
        tokens, usd = sum(bill[part] for part in TOKENS), bill["usd"]
        origins += [] if bill["origin"] in known else [bill["origin"]]
    return tokens, usd, "; ".join(dict.fromkeys(origins)) or "unknown"


def rediscovered(laboratory: Laboratory, path: Path) -> pd.DataFrame:
    """The zoo's functions that a run found, recognised by their values, which two spellings share; ReLU included.

    Returns:
        Columns function, id, ended, fitness and program, in the order of asking.
    """
    zoo = laboratory.descriptions(activations.names())
    names = dict(zip(zoo["fingerprint"], zoo["function"], strict=True))
    first = [e for e in entries(path) if e.fingerprint in names and e.ended != "duplicate"]
    rows = [(names[e.fingerprint], e.id, e.ended, e.fitness, one_line(e.source)) for e in first]
    return pd.DataFrame(rows, columns=["function", "id", "ended", "fitness", "program"])


def one_line(source: str) -> str:
    """The expression that a program's `activation` returns, if that is all it does; else the whole source in a line."""
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):  # refused programs are shown as they came
        match ast.parse(source).body:
            case [ast.FunctionDef(body=[ast.Return(value=ast.expr() as value)])]:
                return ast.unparse(value)
    return "; ".join(line.strip() for line in source.splitlines() if line.strip())


def found(entry: Entry, name: str) -> Any:
    """What the probes found of a program, its `flops_gelu` or a trait; None if it was not described."""
    description = entry.description or {}
    return (description | (description.get("traits") or {})).get(name)
