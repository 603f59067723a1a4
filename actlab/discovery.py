"""A profile's search, run or read: what it found, and how it came there (paper, Figures 1 and 3; tables [ours])."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from actlab import activations, stats
from actlab.archive import ENDED, Archive, Entry
from actlab.config import Profile
from actlab.evolution import Result, search
from actlab.fitness import contributions
from actlab.laboratory import SCORING, Laboratory
from actlab.proposers.grammar import Grammar
from actlab.records import BUILD, code_hash, key

SEARCHING = (
    *SCORING,
    "activations",
    "traits",
    "proposers/__init__",
    "proposers/grammar",
    "proposers/syntax",
    "evolution",
    "racing",
)


def search_file(profile: Profile, seed: int) -> Path:
    """Where a profile's search is kept: another file for other settings or other code."""
    about = {"kind": "search", "seed": seed, "code": code_hash(*SEARCHING)}
    about |= {"tasks": profile.tasks, "lab": profile.lab, "fitness": profile.fitness, "search": profile.search}
    about |= {"limits": profile.limits}
    return BUILD / profile.name / "search" / f"{key(about)[:12]}.sqlite"


def run_search(laboratory: Laboratory, seed: int, path: Path | None = None) -> tuple[Result, Path]:
    """The profile's search from ReLU with the grammar; goes on where an earlier call was cut off."""
    profile = laboratory.profile
    path = path or search_file(profile, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Archive(path) as archive:
        result = search(
            laboratory.evaluator,
            Grammar(batch_statistics=profile.search.batch_statistics),
            archive,
            profile.search,
            profile.lab,
            seed,
            about={
                "tasks": asdict(profile.tasks),
                "fitness": asdict(profile.fitness),
                "limits": asdict(profile.limits),
                "code": code_hash(*SEARCHING),
            },
        )
    return result, path


def entries(path: Path) -> list[Entry]:
    """All candidates of a run, in the order of asking; the first is ReLU."""
    with Archive(path, read_only=True) as archive:
        return archive.entries()


def screened(candidates: Iterable[Entry]) -> list[Entry]:
    """The candidates that were trained at all, hence cost an evaluation; without the start."""
    return [entry for entry in candidates if entry.was_screened]


def best_so_far(path: Path) -> list[Entry]:
    """The programs of a run that were the best when they were scored, in order; the last is what it found."""
    best: list[Entry] = []
    for entry in entries(path):
        if entry.ended == "scored" and (not best or entry.fitness > best[-1].fitness):
            best.append(entry)
    return best


def loop(path: Path, profile: Profile) -> pd.DataFrame:
    """The search as a loop of its components, with a run's counts (Figure 1).

    Returns:
        Columns component, role, module, counts; in the loop's order, as `plotting.loop_diagram` wants them.
    """
    all_of_it = entries(path)
    ended = [entry.ended for entry in all_of_it]
    tried, barred = screened(all_of_it), sum(e.fingerprint is None and e.ended == "failed" for e in all_of_it)
    part = f"{profile.search.screen_fraction:.0%} of the steps, worse half dropped"
    if profile.search.keep_fraction != 0.5:
        part = f"{profile.search.screen_fraction:.0%} of the steps, {profile.search.keep_fraction:.0%} kept"
    if profile.search.rungs:
        part = f"races at {', '.join(map(str, profile.search.rungs))} tasks"
    full = sum(entry.score is not None for entry in all_of_it[1:])
    rows = [
        ("Database", "programs, parents, scores", "actlab.archive", f"{len(ended)} programs with ReLU"),
        ("Proposer", "changes syntax trees of parents", "actlab.proposers.grammar",
         f"{len(ended) - 1} proposals in {all_of_it[-1].round} rounds"),
        ("Check", "rules, probes, nothing twice", "actlab.program, actlab.traits",
         f"{ended.count('refused') + barred} stopped, {ended.count('duplicate')} duplicates"),
        ("Screening", part, "actlab.evolution", f"{len(tried)} screened, {ended.count('dropped')} dropped"),
        ("Training", f"{profile.tasks.search} small networks, {profile.lab.steps} steps", "actlab.lab",
         f"{full} trained in full"),
        ("Fitness", "loss outside the training range", "actlab.fitness",
         f"{len(best_so_far(path)) - 1} times a new best"),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["component", "role", "module", "counts"])


def endings(path: Path) -> pd.DataFrame:
    """How candidates ended, by what made them: columns operator, scored, dropped, duplicate, refused, failed, total.

    A child of two operators counts under "two at once"; the last row is the sum. The start is left out.
    """
    made = [("two at once" if "+" in e.operator else e.operator, e.ended) for e in entries(path) if e.round > 0]
    table = pd.DataFrame(made, columns=["operator", "ended"])
    counts = pd.crosstab(table["operator"], table["ended"]).reindex(columns=ENDED, fill_value=0)
    counts.loc["all"] = counts.sum()
    return counts.assign(total=counts.sum(axis=1)).rename_axis(columns=None).reset_index()


def held_out(laboratory: Laboratory, programs: Iterable[Entry]) -> pd.DataFrame:
    """Fitness of a run's programs on the held-out suite, which selection never sees.

    Returns:
        Columns held_out, low, high (bootstrap over data sets within families), indexed by the programs' ids.
    """
    config = laboratory.profile.fitness
    sources = {str(entry.id): entry.source for entry in programs}
    losses = laboratory.scores(sources, "held-out")
    relu = laboratory.scores(["relu"], "held-out")["ood_mse"].to_numpy()
    rows = {}
    for name, part in losses.groupby("function", sort=False):
        gains, rng = contributions(part["ood_mse"].to_numpy(), relu, config), np.random.default_rng(0)
        found = stats.bootstrap_mean(gains, rng, part["family"], config.level, config.resamples)
        rows[int(name)] = {"held_out": found.estimate, "low": found.low, "high": found.high}
    return pd.DataFrame.from_dict(rows, orient="index")


def trace(laboratory: Laboratory, path: Path) -> pd.DataFrame:
    """The run against its evaluations: each candidate, the best so far and its worth on held-out tasks (Figure 3).

    Returns:
        One row an evaluation, from 0 for ReLU. Columns evaluation, id, fitness (NaN where the screening dropped the
        candidate), best (its id), search, held_out, low, high, pointwise (of that best).
    """
    every, best = entries(path), best_so_far(path)
    worth, leaders, leader, rows = held_out(laboratory, best), {entry.id for entry in best}, every[0], []
    for evaluation, entry in enumerate([every[0], *screened(every)]):
        leader = entry if entry.id in leaders else leader
        row = {"evaluation": evaluation, "id": entry.id, "fitness": entry.fitness, "best": leader.id}
        of_best = {"search": leader.fitness, **worth.loc[leader.id], "pointwise": _trait(leader, "pointwise")}
        rows.append(row | of_best)
    return pd.DataFrame(rows).astype({"fitness": float})


def lineage(path: Path) -> pd.DataFrame:
    """The programs from ReLU to the best one, each made from the one before.

    Returns:
        Columns generation, id, operator, fitness, pointwise, oscillations, flops_gelu, program (in one line).
    """
    with Archive(path, read_only=True) as archive:
        line = archive.lineage(best_so_far(path)[-1].id)[::-1]
    rows = [
        {
            "generation": generation,
            "id": entry.id,
            "operator": entry.operator,
            "fitness": entry.fitness,
            "pointwise": _trait(entry, "pointwise"),
            "oscillations": _trait(entry, "oscillations"),
            "flops_gelu": entry.description["flops_gelu"],
            "program": one_line(entry.source),
        }
        for generation, entry in enumerate(line)
    ]
    return pd.DataFrame(rows)


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
    match ast.parse(source).body:
        case [ast.FunctionDef(body=[ast.Return(value=value)])]:
            return ast.unparse(value)
    return "; ".join(line.strip() for line in source.splitlines())


def _trait(entry: Entry, name: str) -> bool | int:
    return entry.description["traits"][name]
