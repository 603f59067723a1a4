"""A profile's search, run or read: where its file is, what it found, and how it came there (paper, Figure 3)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from actlab.archive import Archive, Entry
from actlab.config import Profile
from actlab.evolution import Result, search
from actlab.laboratory import SCORING, Laboratory
from actlab.proposers.grammar import Grammar
from actlab.records import BUILD, key, source_hash

SEARCHING = (*SCORING, "traits", "proposers/__init__", "proposers/grammar", "proposers/syntax", "evolution")


def search_file(profile: Profile, seed: int) -> Path:
    """Where a profile's search is kept: another file for other settings or other code."""
    parts = {"tasks": profile.tasks, "lab": profile.lab, "fitness": profile.fitness, "search": profile.search}
    name = key(kind="search", seed=seed, code=source_hash(*SEARCHING), **parts)[:12]
    return BUILD / profile.name / "search" / f"{name}.sqlite"


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
            about={"tasks": asdict(profile.tasks), "fitness": asdict(profile.fitness)},
        )
    return result, path


def best_so_far(path: Path) -> list[Entry]:
    """The programs of a run that were the best when they were scored, in order; the last is what it found."""
    with Archive(path, read_only=True) as archive:
        entries = [entry for entry in archive.entries() if entry.ended == "scored"]
    best: list[Entry] = []
    for entry in entries:
        if not best or entry.fitness > best[-1].fitness:
            best.append(entry)
    return best
