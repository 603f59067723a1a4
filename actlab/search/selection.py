"""What a search found: its elites, the final choice among them, and their fitness on held-out tasks (ours).

The choice is made by a rule that was stated beforehand, from the scores that the search selected on and nothing else.
Functions that look at other suites take programs that are already chosen.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from actlab.activations import zoo
from actlab.core import stats
from actlab.core.config import FitnessConfig
from actlab.scoring import summaries
from actlab.scoring.evaluator import contributions
from actlab.scoring.laboratory import Laboratory
from actlab.search import islands
from actlab.search.archive import Entry, Move
from actlab.search.proposers import syntax

REFERENCES = ("relu", "gelu", "gelu-sinc")  # compared with the final choice, as is the best hand-made function


def leaders(entries: Iterable[Entry]) -> list[Entry]:
    """The programs of a run that were the best when they were scored, in order; the last is its best."""
    best: list[Entry] = []
    for entry in entries:
        if entry.ended == "scored" and (not best or entry.fitness > best[-1].fitness):
            best.append(entry)
    return best


def standing(moves: Iterable[Move]) -> tuple[islands.Island, ...]:
    """The islands after these moves, which are all from the start of a run."""
    moves = list(moves)
    return islands.after([{}] * (1 + max(move.island for move in moves)), moves)


def elites(entries: Iterable[Entry], moves: Iterable[Move]) -> list[Entry]:
    """The programs that hold a cell of an island at the end, and all that were the best at some time, by id."""
    entries = list(entries)
    kept = {id for island in standing(moves) for id in island.values()}
    kept |= {entry.id for entry in leaders(entries)}
    return [entry for entry in entries if entry.id in kept]


def gains(entry: Entry, start: Entry, config: FitnessConfig) -> np.ndarray:
    """What each task that the search selected on adds to a program's fitness, [tasks]."""
    losses, reference = (np.array(which.score["ood_mse"]) for which in (entry, start))
    return contributions(losses, reference, config)


def shortlist(entries: Iterable[Entry], moves: Iterable[Move], config: FitnessConfig) -> pd.DataFrame:
    """The elites of a run as the rule of the final choice sees them; the final choice is the first row.

    The rule: among the elites within one standard error of the best, the fewest FLOPs, then the fewest nodes of the
    syntax tree, then the first that was asked for. The error is that of the mean paired difference to the best, over
    the tasks that the search selected on; it takes no account of their families, which can only make it wider.

    Returns:
        Columns id, fitness, behind (the best's fitness minus its own), error (the standard error of that), qualifies,
        flops (an element), nodes; those that qualify first, in the order of the rule, and then the others, best first.
    """
    entries = list(entries)
    start, rows = entries[0], []
    best = gains(leaders(entries)[-1], start, config)
    for entry in elites(entries, moves):
        behind = best - gains(entry, start, config)
        mean, error = float(behind.mean()), float(behind.std(ddof=1) / np.sqrt(behind.size))
        cost = entry.description["flops"], syntax.size(ast.parse(entry.source))[0]
        rows.append((entry.id, entry.fitness, mean, error, mean <= error, *cost))
    table = pd.DataFrame(rows, columns=["id", "fitness", "behind", "error", "qualifies", "flops", "nodes"])
    near = table[table["qualifies"]].sort_values(["flops", "nodes", "id"])
    others = table[~table["qualifies"]].sort_values(["fitness", "id"], ascending=[False, True])
    return pd.concat([near, others], ignore_index=True)


def final(entries: Iterable[Entry], moves: Iterable[Move], config: FitnessConfig) -> Entry:
    """The final choice of a run, by the rule of `shortlist`; a function of its scores alone."""
    entries = list(entries)
    chosen = shortlist(entries, moves, config)["id"].iloc[0]
    return next(entry for entry in entries if entry.id == chosen)


def held_out_fitness(laboratory: Laboratory, programs: Iterable[Entry], suite: str = "held-out") -> pd.DataFrame:
    """Fitness of programs on a suite that selection never sees.

    Returns:
        Columns held_out, low, high (`stats.mean_interval` over data sets within families), indexed by programs' ids.
    """
    found, families = _gains_on(laboratory, programs, suite)
    config, rows = laboratory.profile.fitness, {}
    for id, values in found.items():
        mean = stats.mean_interval(values, families, config.level)
        rows[id] = {"held_out": mean.estimate, "low": mean.low, "high": mean.high}
    return pd.DataFrame.from_dict(rows, orient="index")


def overfit_steps(laboratory: Laboratory, programs: Sequence[Entry], suite: str = "held-out") -> pd.DataFrame:
    """Each new best of a run, of its leaders in order, against the one before, on a suite that selection does not see.

    Returns:
        Columns id, before (the best until then), search (how much the fitness rose), held_out (the mean paired
        difference to the one before over the suite's data sets), low, high (`stats.mean_interval` within families, each
        pair by itself), parts: whether it is an overfit step, that is, the interval lies below zero.
    """
    found, families = _gains_on(laboratory, programs, suite)
    config, rows = laboratory.profile.fitness, []
    for before, entry in pairwise(programs):
        gap = stats.mean_interval(found[entry.id] - found[before.id], families, config.level)
        rise = entry.fitness - before.fitness
        rows.append((entry.id, before.id, rise, gap.estimate, gap.low, gap.high, gap.high < 0))
    return pd.DataFrame(rows, columns=["id", "before", "search", "held_out", "low", "high", "parts"])


def agreement(scores: pd.DataFrame) -> stats.RankCorrelation | None:
    """Rank correlation of programs' fitness and held_out, two columns; bootstrap over programs; None if under four."""
    if len(scores) < 4:
        return None
    return stats.rank_correlation(scores["fitness"], scores["held_out"], np.random.default_rng(0))


def by_hand(laboratory: Laboratory) -> pd.DataFrame:
    """The hand-made functions of the zoo on the search suite, as `summaries.summary` has them; the best first."""
    losses = laboratory.scores(zoo.names(kind="hand-made"), "search")
    return summaries.summary(losses, laboratory.profile.fitness).sort_values("log_ratio", ignore_index=True)


def verdicts(laboratory: Laboratory, found: Entry) -> pd.DataFrame:
    """The final choice against functions that were named beforehand, held-out, as `summaries.comparisons` has them.

    These are ReLU, GELU, GELU-Sinc-Perturbation and the best hand-made function, which is chosen on the search suite,
    like the final choice, so that neither was chosen on the held-out suite. All are one family for Holm's correction.
    """
    others = list(dict.fromkeys([*REFERENCES, by_hand(laboratory)["function"].iloc[0]]))
    programs = {name: zoo.program_source(name) for name in others} | {"found": found.source}
    return summaries.comparisons(laboratory.scores(programs, "held-out"), "found", others, laboratory.profile.fitness)


def _gains_on(
    laboratory: Laboratory, programs: Iterable[Entry], suite: str
) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """What each task or lab of a suite adds to the programs' fitness there, by id; and the family of each."""
    relu = laboratory.scores(["relu"], suite)
    losses = laboratory.scores({str(entry.id): entry.source for entry in programs}, suite)
    reference, config = relu["ood_mse"].to_numpy(), laboratory.profile.fitness
    parts = losses.groupby("function", sort=False)["ood_mse"]
    found = {int(name): contributions(part.to_numpy(), reference, config) for name, part in parts}
    return found, relu["family"].to_numpy()[:: config.each]
