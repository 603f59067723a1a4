"""The final choice and what it rests on: worked examples written out, and the wall between the suites."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from actlab import activations
from actlab.core.config import FitnessConfig, profile
from actlab.core.records import Store
from actlab.scoring.evaluator import contributions
from actlab.scoring.laboratory import Laboratory
from actlab.search import selection
from actlab.search.archive import Entry, Move, source_hash

pytestmark = pytest.mark.usefixtures("warm_sandboxes")

SMOKE = profile("smoke")
QUICK = replace(SMOKE, lab=replace(SMOKE.lab, steps=20), tasks=replace(SMOKE.tasks, held_out=8))
CONFIG = FitnessConfig()
RELU_SOURCE = activations.program_source("relu")
RELU = (0.1,) * 4  # ReLU's loss on four tasks
SINE = "def activation(x):\n    return torch.sin(x)"
LONG = "def activation(x):\n    return torch.sin(x) + 0.0"
CUBE = "def activation(x):\n    return x ** 3"


def entry(id, gains, source=SINE, flops=8.0, ended="scored", **more):
    """A program whose tasks add these gains to its fitness."""
    losses = [reference * float(np.exp(-gain)) for reference, gain in zip(RELU, gains, strict=True)]
    scored = ended == "scored"
    about = {"id": id, "round": min(id, 1), "island": 0, "cell": "a", "source": source, "fingerprint": str(id)}
    about |= {"operator": "grow", "author": "grammar", "title": "", "rationale": ""}
    about |= {"source_hash": source_hash(source), "parents": (0,) if id else (), "ended": ended, "duplicate_of": None}
    about |= {"error": None, "fitness": float(np.mean(gains)) if scored else None, "seen": 4, "early": None}
    about |= {"score": {"ood_mse": losses} if scored else None, "description": {"flops": flops}}
    return Entry(**about | more)


def held(*ids):
    """Moves after which each of these programs holds a cell of its own."""
    return [Move(1, 0, f"cell {id}", id, "born") for id in ids]


START = entry(0, [0, 0, 0, 0])
BEST = entry(3, [1.0, 1.0, 1.0, 1.0], flops=30.0)
# The best is ahead by 0.1 on average; the differences 0.4, 0.2, 0, -0.2 have a standard error of 0.129.
NEAR = entry(1, [0.6, 0.8, 1.0, 1.2], flops=20.0)
# Behind by 0.1 on every task: no error at all.
FAR = entry(2, [0.9, 0.9, 0.9, 0.9], flops=5.0)


def test_leaders_are_the_programs_that_were_the_best_when_they_were_scored():
    run = [START, entry(1, [0.4] * 4), entry(2, [0.3] * 4), entry(3, [9.0] * 4, ended="dropped"), entry(4, [0.6] * 4)]
    assert [e.id for e in selection.leaders(run)] == [0, 1, 4]


def test_a_program_that_ties_with_the_best_does_not_lead():
    assert [e.id for e in selection.leaders([START, entry(1, [0.4] * 4), entry(2, [0.4] * 4)])] == [0, 1]


def test_elites_hold_a_cell_at_the_end_or_led_once():
    run = [START, entry(1, [0.4] * 4), entry(2, [0.3] * 4), entry(3, [0.2] * 4), entry(4, [0.6] * 4)]
    moves = [
        Move(0, 0, "a", 0, "start"),
        Move(1, 0, "a", 1, "born"),
        Move(1, 0, "b", 2, "born"),
        Move(1, 1, "b", 3, "born"),
        Move(2, 0, None, None, "reset"),
        Move(2, 0, "a", 4, "seeded"),
    ]
    assert [e.id for e in selection.elites(run, moves)] == [0, 1, 3, 4]


def test_gains_are_what_the_tasks_add_to_the_fitness():
    np.testing.assert_allclose(selection.gains(NEAR, START, CONFIG), [0.6, 0.8, 1.0, 1.2])


def test_the_error_is_that_of_the_mean_paired_difference():
    table = selection.shortlist([START, NEAR, FAR, BEST], held(1, 2, 3), CONFIG).set_index("id")
    assert table.loc[1, "behind"] == pytest.approx(0.1)
    assert table.loc[1, "error"] == pytest.approx(np.std([0.4, 0.2, 0, -0.2], ddof=1) / 2)
    assert table.loc[2, "error"] == pytest.approx(0, abs=1e-12)
    assert table["qualifies"].to_dict() == {1: True, 3: True, 2: False, 0: False}
    assert (table.loc[3, "behind"], table.loc[3, "error"]) == (0, 0)


def test_among_those_that_cannot_be_told_from_the_best_the_cheapest_is_chosen():
    assert selection.final([START, NEAR, FAR, BEST], held(1, 2, 3), CONFIG).id == 1


def test_a_cheap_program_that_is_surely_behind_is_not_chosen():
    assert selection.final([START, FAR, BEST], held(2, 3), CONFIG).id == 3


def test_a_program_that_lost_its_cell_and_never_led_is_not_chosen():
    first = replace(BEST, id=1)
    later = replace(NEAR, id=3)
    assert selection.final([START, first, later], held(3), CONFIG).id == 3
    assert selection.final([START, first, later], held(1), CONFIG).id == 1


def test_at_equal_cost_the_smaller_program_is_chosen_and_then_the_older():
    long = replace(NEAR, source=LONG)
    small, twin = replace(NEAR, id=2, source=SINE), replace(NEAR, id=4, source=SINE)
    run = [START, long, small, BEST, twin]
    assert selection.shortlist(run, held(1, 2, 3, 4), CONFIG)["id"].tolist() == [2, 4, 1, 3, 0]


def test_a_choice_is_made_from_the_run_alone():
    run, moves = [START, NEAR, FAR, BEST], held(1, 2, 3)
    assert selection.final(iter(run), iter(moves), CONFIG) == selection.final(run, moves, CONFIG)
    needed = selection.final.__code__.co_varnames[: selection.final.__code__.co_argcount]
    assert needed == ("entries", "moves", "config")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Laboratory(QUICK, workers=2, store=Store(tmp_path_factory.mktemp("records"))) as one:
        yield one


def held_out_gains(lab, source):
    losses = [lab.scores({"one": which}, "held-out")["ood_mse"].to_numpy() for which in (source, RELU_SOURCE)]
    return contributions(*losses, QUICK.fitness)


LED = [
    replace(START, source=RELU_SOURCE),
    entry(1, [0.2] * 4, source=SINE),
    entry(2, [0.3] * 4, source=CUBE),
    entry(3, [0.4] * 4, source=LONG),
]


def test_held_out_fitness_is_the_evaluators_score_with_its_interval(lab):
    table = selection.held_out_fitness(lab, LED[:2])
    expected = lab.evaluator.submit(SINE, "held-out", QUICK.lab).result()
    assert table.index.tolist() == [0, 1]
    assert table.loc[0].tolist() == [0, 0, 0]
    assert table.loc[1, "held_out"] == pytest.approx(expected.fitness)
    assert (table.loc[1, "low"], table.loc[1, "high"]) == pytest.approx(expected.interval)


def test_a_new_best_that_is_surely_worse_elsewhere_is_flagged(lab):
    table = selection.overfit_steps(lab, LED).set_index("id")
    assert table["before"].to_dict() == {1: 0, 2: 1, 3: 2}
    np.testing.assert_allclose(table["search"], [0.2, 0.1, 0.1])
    expected = np.mean(held_out_gains(lab, CUBE) - held_out_gains(lab, SINE))
    assert table.loc[2, "held_out"] == pytest.approx(expected)
    assert table["low"].le(table["held_out"]).all() and table["held_out"].le(table["high"]).all()
    assert table["parts"].tolist() == (table["high"] < 0).tolist()
    assert table["parts"].nunique() == 2  # the cube loses to the sine, and then the sine wins


def test_a_run_without_a_new_best_has_no_overfit_step(lab):
    assert selection.overfit_steps(lab, LED[:1]).empty


def test_agreement_is_the_rank_correlation_of_the_two_scores():
    scores = pd.DataFrame({"fitness": [0.0, 0.2, 0.3, 0.4], "held_out": [4.0, 3.0, 2.0, 1.0]})
    assert selection.agreement(scores).spearman.estimate == pytest.approx(-1)
    assert selection.agreement(scores.head(3)) is None  # too few to tell


def test_the_best_hand_made_function_is_chosen_on_the_search_suite(lab):
    table = selection.by_hand(lab)
    assert set(table["function"]) == set(activations.names(kind="hand-made"))
    assert set(table["suite"]) == {"search"}
    assert table["log_ratio"].is_monotonic_increasing


def test_the_verdicts_meet_those_that_were_named_beforehand_under_one_correction(lab):
    table = selection.verdicts(lab, LED[1])
    best = selection.by_hand(lab)["function"].iloc[0]
    assert table["function"].tolist() == list(dict.fromkeys(["relu", "gelu", "gelu-sinc", best]))
    assert set(table["n"]) == {QUICK.tasks.held_out}
    assert table["p_holm"].min() >= min(1, len(table) * table["p"].min()) - 1e-12
    assert table.loc[0, "log_ratio"] == pytest.approx(-np.mean(held_out_gains(lab, SINE)))
