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
from functools import partial
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
from actlab.search.evolution import Result, search
from actlab.search.proposers import Brief, Proposal, Proposer
from actlab.search.proposers.grammar import AUTHOR, Grammar
from actlab.search.proposers.recording import TOKENS, Recording, replays

FREE = (AUTHOR, "random sampling")  # authors that ask nobody


def search_file(profile: Profile, seed: int) -> Path:
    """Where a profile's search is kept: another file for other settings."""
    about = {"kind": "search", "seed": seed}
    about |= {"tasks": profile.tasks, "lab": profile.lab, "fitness": profile.fitness, "search": profile.search}
    about |= {"limits": profile.limits}
    return BUILD / profile.name / "search" / f"{PROTOCOLS['search'].key(about)[:12]}.sqlite"


def run_search(
    laboratory: Laboratory,
    seed: int,
    path: Path | None = None,
    proposer: Proposer | None = None,
    spent: Callable[[], float] | None = None,
    bind: Callable[[str, Mapping[int, str]], None] | None = None,
) -> tuple[Result, Path]:
    """The profile's search from ReLU; goes on where an earlier call was cut off.

    Args:
        laboratory: whose profile is searched, and whose workers train.
        seed: of the run.
        path: of the run's file; by default where `search_file` says, which is the grammar's alone.
        proposer: writes programs; the offline grammar by default.
        spent: US dollars that the proposer has cost so far, for the progress bar.
        bind: is told the run's name and its authors by id, before anything is proposed; raises where the proposer's
            answers are of another run (`answers.Answers.bind`).
    """
    profile, evaluator = laboratory.profile, laboratory.evaluator
    if proposer is not None and path is None:
        raise ValueError(f"wanted a file for the run of {proposer.name}; got none")
    proposer = proposer or Grammar(batch_statistics=not profile.search.pointwise)
    path = path or search_file(profile, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Archive(path) as archive:
        if bind is not None:
            proposer = _Bound(proposer, partial(_bind, bind, _name(profile, seed, proposer), archive))
        result = search(
            evaluator,
            proposer,
            archive,
            profile.search,
            profile.lab,
            seed,
            about={
                "tasks": asdict(profile.tasks),
                "fitness": asdict(profile.fitness),
                "limits": asdict(profile.limits),
            },
            spent=spent,
        )
    return result, path


def result(path: Path) -> Result:
    """What a run came to, or as much of it as is there, read from its file."""
    with reading(path) as archive:
        every, digest = _run(archive).entries, archive.digest()
    return Result(every[0], selection.leaders(every)[-1], len(trained(every)), every[-1].round, digest)


def settings(path: Path, profile: Profile) -> tuple[Profile, int]:
    """The profile with what a run made of its search and its limits; and the run's seed.

    Raises:
        ValueError: where the run was made with another profile's data sets, training or fitness: its scores and what
            is scored now could not be set side by side.
        ChangedCode: where it was made by code that searches otherwise.
    """
    with reading(path) as archive:
        meta = archive.meta()
        archive.demand()
    about = meta.get("about", {})
    wanted = {name: asdict(getattr(profile, name)) for name in ("tasks", "lab", "fitness")}
    came = {**about, "lab": meta.get("lab")}
    for name, value in wanted.items():
        if came.get(name) != json.loads(json.dumps(value)):
            raise ValueError(f"{path}: wanted a run with the {name} of profile {profile.name}, as of now; got another")
    search, limits = SearchConfig(**meta["search"]), Limits(**about["limits"])
    return replace(profile, search=search, limits=limits), meta["seed"]


def bills(path: Path, record: Path | None = None) -> list[dict[str, Any]]:
    """What each model brought and was paid, as `recording.Recording.summary` has it; nothing without a recording.

    Args:
        path: of the run.
        record: its recording; by default the one that a search leaves beside its run, if there is one.
    """
    beside = path.with_name(f"{path.name}.answers")
    if record is None and not beside.exists():
        return []
    with Recording(record or beside, read_only=True) as recording:
        return recording.summary()


def _name(profile: Profile, seed: int, proposer: Proposer) -> str:
    """A name of a run, the same wherever its file lies: the hash of what it is begun with."""
    parts = {name: asdict(getattr(profile, name)) for name in ("tasks", "lab", "fitness", "search", "limits")}
    about = {"seed": seed, "proposer": proposer.name, **parts}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


class _Bound:
    """A proposer whose answers are bound to the run when it is first asked: its file is then found to be right."""

    def __init__(self, proposer: Proposer, bind: Callable[[], None]) -> None:
        self.name, self._proposer, self._bind, self._is_bound = proposer.name, proposer, bind, False

    def propose(self, brief: Brief, generator: np.random.Generator) -> Sequence[Proposal]:
        if not self._is_bound:
            self._bind()
            self._is_bound = True
        return self._proposer.propose(brief, generator)


def _bind(bind: Callable[[str, Mapping[int, str]], None], name: str, archive: Archive) -> None:
    bind(name, {entry.id: entry.author for entry in archive.entries(whole=False)})


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
    """A run's file, open to be read as it is at one moment, whoever writes meanwhile.

    Raises:
        ArchiveError: where there is no such file, or it is no run's.
    """
    with Archive(path, read_only=True) as archive, archive.reading():
        yield archive


def read(path: Path) -> Run:
    """A run, or as much of it as is there.

    Raises:
        ArchiveError: where there is no such file, it is no run's, or nothing was written to it yet.
    """
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
    """The candidates that were trained, in part or in full, hence cost an evaluation; without the start."""
    return [entry for entry in candidates if entry.was_trained]


def loop(path: Path, profile: Profile) -> pd.DataFrame:
    """The search as a loop of its components, with a run's counts (Figure 1).

    Returns:
        Columns component, role, module, counts; in the loop's order, as `figures.search.loop_diagram` wants them.
    """
    run = read(path)
    ended = [entry.ended for entry in run.entries]
    tried, barred = trained(run.entries), sum(e.fingerprint is None and e.ended == "failed" for e in run.entries)
    race = "drops who is surely behind" if profile.search.race else "none: all are trained in full"
    who = "changes syntax trees of parents" if run.authors == ["grammar"] else ", ".join(run.authors)
    rows = [
        ("Database", f"{profile.search.islands} islands of cells, nothing lost", "search.archive, search.islands",
         f"{len(ended)} programs with ReLU"),
        ("Proposer", who, "search.proposers", f"{len(ended) - 1} proposals in {run.entries[-1].round} rounds"),
        ("Check", "rules, probes, nothing twice", "candidates.program, candidates.profiling",
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
    """The run against its evaluations: each candidate, the best so far and its worth on held-out tasks (Figure 3).

    Returns:
        One row an evaluation, from 0 for ReLU. Columns evaluation, id, fitness (NaN where a race dropped the
        candidate), best (its id), search, held_out, low, high, pointwise (of that best), parts (whether the candidate
        is a new best that `selection.parting` flags).
    """
    every = entries(path)
    best = selection.leaders(every)
    worth, leaders, leader, rows = selection.worth(laboratory, best), {e.id for e in best}, every[0], []
    flags = flagged(selection.parting(laboratory, best))
    for evaluation, entry in enumerate([every[0], *trained(every)]):
        leader = entry if entry.id in leaders else leader
        row = {"evaluation": evaluation, "id": entry.id, "fitness": entry.fitness, "best": leader.id}
        of_best = {"search": leader.fitness, **worth.loc[leader.id], "pointwise": _trait(leader, "pointwise")}
        rows.append(row | of_best | {"parts": entry.id in flags})
    return pd.DataFrame(rows).astype({"fitness": float})


def transfer(laboratory: Laboratory, path: Path) -> pd.DataFrame:
    """Every elite of a run: what it is worth on the search suite and on as many held-out tasks (Figure 3).

    These are the first tasks of each family of the held-out suite. [ours]: a run has more elites than new bests, and
    two axes of as many tasks each are equally sure.

    Returns:
        Columns id, fitness, held_out, low, high, flops_gelu, led (whether it was the best in its time), final
        (whether it is the final choice), parts (whether it is a new best that `selection.parting` flags), program (in
        one line); by id.
    """
    run = read(path)
    kept, best = selection.elites(run.entries, run.moves), selection.leaders(run.entries)
    led, flags = {entry.id for entry in best}, flagged(selection.parting(laboratory, best))
    chosen = selection.final(run.entries, run.moves, laboratory.profile.fitness).id
    how = laboratory.workers, laboratory.store, laboratory.executor
    with Laboratory(laboratory.profile, *how, only={"held-out": _first(laboratory)}) as smaller:
        worth, rows = selection.worth(smaller, kept), []
    for entry in kept:
        row = {"id": entry.id, "fitness": entry.fitness, **worth.loc[entry.id]}
        row |= {"flops_gelu": entry.description["flops_gelu"], "led": entry.id in led, "final": entry.id == chosen}
        rows.append(row | {"parts": entry.id in flags, "program": one_line(entry.source)})
    return pd.DataFrame(rows)


def _first(laboratory: Laboratory) -> list[int]:
    """Places of the first held-out tasks of each family, as many as the search suite has of it."""
    families = np.array(laboratory.suites["held-out"].families)
    sizes = Counter(laboratory.suites["search"].families)
    return sorted(int(i) for family, size in sizes.items() for i in np.flatnonzero(families == family)[:size])


def flagged(parting: pd.DataFrame) -> list[int]:
    """The new bests at which search and worth elsewhere part: ids, from a table as `selection.parting` has it."""
    return parting.loc[parting["parts"], "id"].tolist()


def lineage(path: Path, id: int) -> pd.DataFrame:
    """The programs from the start to one of a run, each made from the one before.

    Returns:
        Columns generation, id, operator, fitness, pointwise, oscillations, flops_gelu, program (in one line); missing
        values for a program that was not trained, or not described.
    """
    with reading(path) as archive:
        line = archive.lineage(id)[::-1]
    rows = [
        {
            "generation": generation,
            "id": entry.id,
            "operator": entry.operator,
            "fitness": entry.fitness,
            "pointwise": _trait(entry, "pointwise"),
            "oscillations": _trait(entry, "oscillations"),
            "flops_gelu": (entry.description or {}).get("flops_gelu"),
            "program": one_line(entry.source),
        }
        for generation, entry in enumerate(line)
    ]
    return pd.DataFrame(rows)


def tree(path: Path, final: int) -> pd.DataFrame:
    """Who was made from whom among a run's scored programs, laid out so that no two lines cross.

    A program stands over the middle of what was made from it. One that was made from nothing is a root. Where a parent
    was not scored, the nearest program before it that was takes its place.

    Args:
        path: of the run.
        final: id of the program whose line is marked, a scored one.

    Returns:
        Columns id, parent (an id, or missing), generation, place (along the row of its generation), fitness, island,
        line (whether it is on the way from a root to the marked one); by id.
    """
    every = {entry.id: entry for entry in entries(path)}
    scored = {id: entry for id, entry in every.items() if entry.ended == "scored"}
    above = {id: _scored_before(entry, every) for id, entry in scored.items()}
    children: dict[int | None, list[int]] = {None: []}
    for id, parent in above.items():
        children.setdefault(parent, []).append(id)
    generation: dict[int, int] = {}
    for id, parent in above.items():  # a parent is older than its children
        generation[id] = 0 if parent is None else generation[parent] + 1
    place: dict[int, float] = {}
    for leaf in [id for id in _depth_first(children) if id not in children]:
        place[leaf] = float(len(place))
    for id in reversed(scored):
        if id in children:
            place[id] = (place[children[id][0]] + place[children[id][-1]]) / 2
    line, last = {final}, above[final]
    while last is not None:
        line.add(last)
        last = above[last]
    rows = [(id, above[id], generation[id], place[id], e.fitness, e.island, id in line) for id, e in scored.items()]
    table = pd.DataFrame(rows, columns=["id", "parent", "generation", "place", "fitness", "island", "line"])
    return table.astype({"parent": "Int64"})


def _scored_before(entry: Entry, every: Mapping[int, Entry]) -> int | None:
    """The nearest scored program on the line of descent before one, or None."""
    while entry.parents:
        entry = every[entry.parents[0]]
        if entry.ended == "scored":
            return entry.id
    return None


def _depth_first(children: Mapping[int | None, Sequence[int]]) -> Iterator[int]:
    waiting = list(reversed(children[None]))
    while waiting:
        id = waiting.pop()
        yield id
        waiting += reversed(children.get(id, ()))


def over_time(path: Path) -> pd.DataFrame:
    """The islands after each round.

    Returns:
        Columns round, island, best (the best fitness among its occupants; NaN where it is empty), cells (how many are
        held), event ("reset" where it started anew in that round, "migrated" where a newcomer took a cell, else "").
    """
    run = read(path)
    fitness, rows = {entry.id: entry.fitness for entry in run.entries}, []
    for round in range(run.entries[-1].round + 1):
        how = {(move.island, move.how) for move in run.moves if move.round == round}
        standing = selection.standing(move for move in run.moves if move.round <= round)
        for island, cells in enumerate(standing):
            event = next((name for name in ("reset", "migrated") if (island, name) in how), "")
            best = max((fitness[id] for id in cells.values()), default=math.nan)
            rows.append({"round": round, "island": island, "best": best, "cells": len(cells), "event": event})
    return pd.DataFrame(rows)


def authors(path: Path, bills: Iterable[Mapping[str, Any]] = (), free: Iterable[str] = FREE) -> pd.DataFrame:
    """What each author brought for its cost.

    Args:
        path: of the run.
        bills: of the authors that were paid, as `recording.Recording.summary` has them.
        free: authors that ask nobody, hence cost nothing.

    Returns:
        Columns author, proposals, trained, successes (programs that took a cell), gain (what its new bests added to
        the best fitness), tokens, usd, answers; by what they gained. Who was paid and has no program in the run yet is
        there. Tokens and usd are missing where they are not known: there is no bill, the author is not free, and no
        answers were replayed, which costs nothing. Answers says where they came from: "live", "hand-written" (which is
        no model's output), either with "replayed, " before it, "unknown", or "asks nobody".
    """
    return authors_of(read(path), bills, replays(path), free)


def authors_of(
    run: Run,
    bills: Iterable[Mapping[str, Any]] = (),
    replayed: Sequence[Mapping[str, str]] = (),
    free: Iterable[str] = FREE,
) -> pd.DataFrame:
    """What each author of a run that was read brought for its cost, as `authors` has it.

    Args:
        replayed: the recordings that the run took answers from, as `recording.replays` has them.
    """
    taken = {move.program for move in run.moves if move.how == "born"}
    rises = {after.id: after.fitness - before.fitness for before, after in pairwise(selection.leaders(run.entries))}
    costs, free, rows = {bill["model"]: bill for bill in bills}, set(free), []
    for author in dict.fromkeys([*run.authors, *costs]):
        own = [entry for entry in run.entries if entry.round > 0 and entry.author == author]
        tokens, usd, answers = _cost(costs.get(author), replayed, author in free)
        rows.append(
            {
                "author": author,
                "proposals": len(own),
                "trained": len(trained(own)),
                "successes": sum(entry.id in taken for entry in own),
                "gain": sum(rises.get(entry.id, 0.0) for entry in own),
                "tokens": tokens,
                "usd": usd,
                "answers": answers,
            }
        )
    columns = ["author", "proposals", "trained", "successes", "gain", "tokens", "usd", "answers"]
    table = pd.DataFrame(rows, columns=columns).astype({"tokens": "Int64", "usd": float})
    return table.sort_values(["gain", "author"], ascending=[False, True], ignore_index=True)


def _cost(
    bill: Mapping[str, Any] | None, replayed: Sequence[Mapping[str, str]], is_free: bool
) -> tuple[int | None, float | None, str]:
    """An author's tokens and US dollars, None where they are not known, and where its answers came from."""
    if bill is None and is_free:
        return 0, 0.0, "asks nobody"
    origins = [f"replayed, {recording['origin']}" for recording in replayed]
    if bill is not None:
        tokens, usd = sum(bill[part] for part in TOKENS), bill["usd"]
        origins += [] if bill["origin"] in {recording["origin"] for recording in replayed} else [bill["origin"]]
    else:
        tokens, usd = (0, 0.0) if replayed else (None, None)
    return tokens, usd, "; ".join(dict.fromkeys(origins)) or "unknown"


def rediscovered(laboratory: Laboratory, path: Path) -> pd.DataFrame:
    """The zoo's functions that a run came upon, told by their values, which two spellings share.

    Returns:
        Columns function, id, ended, fitness and program; the first of each function, in order, ReLU included.
    """
    zoo = laboratory.descriptions(activations.names())
    names = dict(zip(zoo["fingerprint"], zoo["function"], strict=True))
    first = [e for e in entries(path) if e.fingerprint in names and e.ended != "duplicate"]
    rows = [(names[e.fingerprint], e.id, e.ended, e.fitness, one_line(e.source)) for e in first]
    return pd.DataFrame(rows, columns=["function", "id", "ended", "fitness", "program"])


def one_line(source: str) -> str:
    """What a program's `activation` returns, where that is all it does; else the whole source in one line."""
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):  # refused, hence shown as it came
        match ast.parse(source).body:
            case [ast.FunctionDef(body=[ast.Return(value=ast.expr() as value)])]:
                return ast.unparse(value)
    return "; ".join(line.strip() for line in source.splitlines() if line.strip())


def _trait(entry: Entry, name: str) -> bool | int | None:
    return ((entry.description or {}).get("traits") or {}).get(name)
