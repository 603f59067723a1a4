"""A run in words and plain data, for `python -m actlab show`: read only, even while a search writes it (ours)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from actlab.core import stats
from actlab.core.config import Profile, fitness_config
from actlab.scoring.commands import command
from actlab.search import runs, selection
from actlab.search.archive import ENDED, ArchiveError, Entry
from actlab.search.proposers.recording import BY_HAND, ENDINGS, replays

MOST = 2**63 - 1  # the largest id that a file can hold


def run(path: Path, bills: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """A run in plain data, from its file alone, with what each author was paid (`bills`, as `runs.authors` takes them).

    Raises:
        ArchiveError: if there is no such file, or it is no run's.
        AnswersError: if the note beside it, of what it replays, cannot be read.
    """
    replayed = replays(path)
    with runs.reading(path) as archive:
        meta, digest = archive.meta(), archive.digest()
        found = runs.Run(archive.entries(), archive.moves())
    if not found.entries:
        return finite({"run": str(path), "settings": meta, "candidates": 0})
    ended = [entry.ended for entry in found.entries[1:]]
    briefs, fitness = {entry.id: _brief(entry) for entry in found.entries}, meta.get("about", {}).get("fitness")
    final = fitness and selection.final(found.entries, found.moves, fitness_config(fitness))
    authors = runs.authors_of(found, bills, replayed)
    report = {
        "run": str(path),
        "settings": meta,
        "candidates": len(ended),
        "rounds": found.entries[-1].round,
        "evaluations": len(runs.trained(found.entries)),
        "ended": {name: ended.count(name) for name in ENDED},
        "best": briefs[selection.leaders(found.entries)[-1].id],
        "final": briefs[final.id] if final else None,
        "islands": [
            {"island": island, "cells": {cell: briefs[id] for cell, id in sorted(cells.items())}}
            for island, cells in enumerate(selection.standing(found.moves))
        ],
        "authors": authors.astype(object).where(authors.notna(), None).to_dict("records"),
        "digest": digest,
    }
    return finite(report | ({"replays": replayed} if replayed else {}))


def program(path: Path, id: int, bill: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One program of a run in plain data, with its line of descent, its moves on the islands and its cost.

    Args:
        path: of the run's file.
        id: of the program; raises ArchiveError if the run has none.
        bill: of the calls that were made for it, as `recording.Recording.bill` gives it.
    """
    if id > MOST:
        raise ArchiveError(f"{path}: wanted the id of one of its programs; got {id}")
    with runs.reading(path) as archive:
        line, moves = archive.lineage(id), archive.moves()
    entry, steps = line[0], [vars(move) for move in moves if move.program == id]
    report = vars(entry) | {"lineage": [_brief(parent) for parent in line[1:]], "moves": steps}
    asks = entry.round > 0 and entry.author not in runs.FREE
    paid = {"replays": replays(path), "bill": bill if bill and (bill["requests"] or bill["calls"]) else None}
    return finite(report | (paid if asks else {}))


def finite(value: Any) -> Any:
    """Plain data with None for each NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _brief(entry: Entry) -> dict[str, Any]:
    """An entry of a list of programs; the cost is None if it is not known."""
    about = {"id": entry.id, "fitness": entry.fitness, "operator": entry.operator, "author": entry.author}
    return about | {"flops_gelu": runs.found(entry, "flops_gelu"), "source": entry.source}


def run_text(report: Mapping[str, Any]) -> str:
    """A run for people to read, without characters that may steer a terminal."""
    search = report["settings"].get("search", {})
    if not report["candidates"]:
        return printable(f"{report['run']}: nothing was proposed yet")
    settings, final = report["settings"], report["final"]
    lines = [
        f"{report['run']}: {report['evaluations']} of {search.get('evaluations', '?')} evaluations, "
        f"{report['candidates']} candidates in {report['rounds']} rounds",
        f"proposer: {settings.get('proposer', '?')}; seed {settings.get('seed', '?')}",
        f"settings: {', '.join(f'{name} {value}' for name, value in search.items())}",
        f"ended: {', '.join(f'{count} {name}' for name, count in report['ended'].items() if count)}",
        _line("best", report["best"]),
        _line("final choice", final) if final else "final choice: the run does not tell its fitness",
    ]
    for one in report["islands"]:
        held = len(one["cells"])
        lines.append(f"island {one['island']}: {held} cell{'s' * (held != 1)}")
        lines += [f"  {_line(cell, brief)}" for cell, brief in one["cells"].items()]
    for row in report["authors"]:
        cost = "unknown cost" if row["usd"] is None else f"{row['tokens']} tokens, {row['usd']:.4f} USD"
        lines.append(
            f"author {row['author']}: {row['proposals']} proposals, {row['trained']} trained, {row['successes']} took "
            f"a cell, {row['gain']:.4f} added to the best; {cost}; answers: {_whose(row['answers'])}"
        )
    lines += _replayed(report.get("replays", []))
    if "answers" in report:
        lines.append(f"answers: {_whose(report['answers']['origin'])}; {report['answers']['spent']:.4f} USD")
        for row in report["answers"]["models"]:
            endings = ", ".join(f"{row[ending]} {ending}" for ending in ENDINGS)
            lines.append(f"  {row['model']}: {row['requests']} requests: {endings}; {_paid(row)}")
    return printable("\n".join([*lines, f"digest: {report['digest']}"]))


def search_text(report: Mapping[str, Any], path: Path, profile: Profile) -> str:
    """What a search found, against what, and what to type next, without characters that may steer a terminal.

    Args:
        report: of the verb `search`.
        path: of the run's file.
        profile: that was searched.
    """
    final, held_out = report["final"], report["held_out"]
    lines = [
        f"{report['evaluations']} candidates were trained from ReLU on. The final choice is program {final['id']}:",
        f"    {runs.one_line(final['source'])}",
        f"search suite: {_fitness(final)}; the best was program {report['best']['id']}, {_fitness(report['best'])}",
    ]
    if "ended" in held_out:
        came = f"{held_out['ended']}: {held_out['error']}"
    else:
        low, high = ("?" if end is None else f"{end:.4f}" for end in held_out["interval"])
        of = f"over {held_out['tasks']} tasks of profile {profile.name}"
        came = f"{_fitness(held_out)} [{low}, {high}] {of}; mean OOD MSE {held_out['ood_mse']:.4g}"
    lines.append(f"held-out suite, which selection never sees: {came}")
    if profile.fitness.aggregate == "log-ratio":
        lines.append("fitness is the mean of log(ReLU's OOD loss / its own): above 0 is better than ReLU")
    if "spent" in report:
        lines.append(f"answers: {_whose(report['answers'])}; {report['spent']:.4f} USD")
    next_ = [("islands and authors", ["show", path]), ("lineage and source", ["show", path, "--program", final["id"]])]
    lines += [f"{what}: {command(*words)}" for what, words in next_]
    return printable("\n".join([*lines, f"digest: {report['digest']}"]))


def _whose(origin: str) -> str:
    """Where answers came from, with a warning if no model gave them."""
    return f"{origin}: no model's output" if BY_HAND in origin else origin


def _replayed(recordings: Iterable[Mapping[str, str]]) -> list[str]:
    return [f"replayed from {one['recording']}: {_whose(one['origin'])}" for one in recordings]


def _paid(bill: Mapping[str, Any]) -> str:
    """Calls, tokens and US dollars of a bill."""
    cached = "" if bill["cached"] is None else f", {bill['cached']:.0%} of it from the cache"
    into = bill["input"] + bill["cache_write"] + bill["cache_read"]
    tokens = f"{into} tokens in{cached}, {bill['output']} out"
    return f"{bill['calls']} calls, {bill['retried']} retried; {tokens}; {bill['usd']:.4f} USD"


def program_text(report: Mapping[str, Any]) -> str:
    """A program for people to read, without characters that may steer a terminal."""
    by = f" by {report['author']}" if report["author"] else ""
    lines = [f"program {report['id']}: {report['operator']}{by}, round {report['round']}, island {report['island']}"]
    lines += [f"{name}: {report[name]}" for name in ("title", "rationale", "cell", "error") if report[name]]
    twin = "" if report["duplicate_of"] is None else f" of {report['duplicate_of']}"
    lines.append(f"{report['ended']}{twin}; {_fitness(report)}")
    if report["description"] is not None and report["description"]["traits"]:
        traits = ", ".join(f"{name} {value}" for name, value in report["description"]["traits"].items())
        lines.append(f"{_cost(report['description'])}; {traits}")
    if report["score"] is not None:
        losses, ends = report["score"]["ood_mse"], [end for end in report["score"]["interval"] if end is not None]
        few = stats.few_words(Counter(report["score"]["families"]).values())
        interval = f"; 95 % interval of the fitness [{ends[0]:.4f}, {ends[1]:.4f}]{few}" if len(ends) == 2 else ""
        lines.append(f"mean OOD MSE {sum(losses) / len(losses):.4g} over {len(losses)} tasks{interval}")
    lines += [f"round {move['round']}, island {move['island']}: {move['how']} ({move['cell']})"
              for move in report["moves"]]  # fmt: skip
    lines += [_line("made from", brief) for brief in report["lineage"]]
    lines += _replayed(report.get("replays", []))
    if bill := report.get("bill"):
        lines.append(f"cost: {_paid(bill)}; answers: {_whose(bill['origin'])}")
    elif "bill" in report and not report["replays"]:
        lines.append("cost: unknown")
    return printable("\n".join([*lines, "", report["source"]]))


def _line(what: str, brief: Mapping[str, Any]) -> str:
    return f"{what}: {brief['id']}, {_fitness(brief)}, {_cost(brief)}: {runs.one_line(brief['source'])}"


def _cost(report: Mapping[str, Any]) -> str:
    return "no known cost" if report["flops_gelu"] is None else f"{report['flops_gelu']:.3g} times GELU's FLOPs"


def _fitness(report: Mapping[str, Any]) -> str:
    return "no fitness" if report["fitness"] is None else f"fitness {report['fitness']:.4f}"


def printable(text: str) -> str:
    """A text whose unprintable characters, which may steer a terminal, are escaped; line breaks and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
