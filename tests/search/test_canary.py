"""The search's canary: it repeats, it runs the lines that it stands for, and it notices what changes a decision."""

import json
from collections import Counter

import canaries
import pytest
from canaries import TOLERANCE, Counted, difference

from actlab.candidates import cost, profiling
from actlab.core.records import PROTOCOLS
from actlab.lab import training
from actlab.scoring import evaluator
from actlab.search import canary, islands, racing
from actlab.search.archive import ENDED, HOW
from actlab.search.proposers import grammar

# What does not count: what runs at import, tables of a whole comparison, and what scores the zoo in a laboratory.
COVERED = {
    "search.evolution": Counted(),
    "search.islands": Counted(),
    "search.racing": Counted(),
    "search.archive": Counted(),
    "search.selection": Counted(left_out="by_hand verdicts"),
    "candidates.cost": Counted(),
    "candidates.profiling": Counted(),
    "candidates.program": Counted(left_out="_Names _listed _small _namespace _loaded_torch _call"),
    "candidates.language": Counted(left_out="words"),
    "candidates.static_bounds": Counted(),
    "search.proposers.grammar": Counted(),
    "search.proposers.syntax": Counted(),
    "search.proposers.mixture": Counted(),
    "search.ablation": Counted(only="settings _proposer run"),
}


@pytest.fixture(autouse=True)
def fresh():
    """Nothing that another code computed is remembered."""
    for cached in (evaluator._canonical, profiling._references):
        cached.cache_clear()


@pytest.fixture(scope="module")
def values():
    return PROTOCOLS["search"].run()


def test_two_calls_give_the_same_numbers_and_json_keeps_them(values):
    assert PROTOCOLS["search"].run() == values
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_it_runs_the_lines_that_it_stands_for():
    for name, (share, missed) in canaries.coverage(canary.values, COVERED).items():
        assert share >= 0.95, f"{name}: {share:.1%}, without {missed}"


def test_everything_that_can_happen_to_a_candidate_happens(values):
    entries = [text for name, text in values.items() if name.startswith("mixed") and "; ended " in str(text)]
    assert {entry.split("; ended ")[1].split(";")[0] for entry in entries} == set(ENDED)
    how = Counter(text.split("; ")[-1] for name, text in values.items() if " move " in name)
    assert how.keys() == set(HOW)


def test_the_first_search_is_cut_off_among_probes_and_among_trainings(values):
    cuts = [values[f"cut off {ticks}"] for ticks in canary.CUTS]
    assert cuts == sorted(set(cuts))


MUTATIONS = {
    "rule of placement": lambda patch: patch.setattr(
        islands, "enters", lambda island, name, id, fitness, start=0: fitness[id] >= fitness[start]
    ),
    "order of births": lambda patch: patch.setattr(
        islands, "births", lambda state, born, *more, births=islands.births: births(state, born[::-1], *more)
    ),
    "verdict of a race": lambda patch: patch.setattr(racing.Race, "verdict", lambda race, gains: racing.OPEN),
    "chance of a race": lambda patch: patch.setattr(
        racing.special, "stdtrit", lambda df, p, stdtrit=racing.special.stdtrit: stdtrit(df, p + 1e-6)
    ),
    "weight of an operator": lambda patch: patch.setitem(grammar.OPERATORS, "insert", 5.5),
    "weight of a primitive": lambda patch: patch.setitem(grammar.PRIMITIVES, "torch.sin(A)", 2),
    "cost of a function": lambda patch: patch.setitem(cost.WEIGHTS, "sin", 9.0),
    "epsilon of Adam": lambda patch: patch.setitem(training.ADAM, "eps", 1.1e-8),
}


@pytest.mark.parametrize("change", MUTATIONS)
def test_it_notices_another(change, values, monkeypatch):
    MUTATIONS[change](monkeypatch)
    assert difference(values, PROTOCOLS["search"].run()) > 10 * TOLERANCE


def test_another_size_of_chunks_is_rounding(values, monkeypatch):
    monkeypatch.setattr(training, "_chunk", lambda models, config: 3)
    assert difference(values, PROTOCOLS["search"].run()) < TOLERANCE
