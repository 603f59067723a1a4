"""The canary of generality: it repeats, it runs the lines that it stands for, and it notices other labs and scores."""

import json
from dataclasses import replace

import canaries
import pytest
import torch
from canaries import TOLERANCE, Counted, difference

from actlab.core.records import PROTOCOLS
from actlab.lab import backends, compiled, labs, tasks, training
from actlab.lab.distribution import Distribution, Range
from actlab.scoring import evaluator
from actlab.studies import generality
from actlab.studies import generality_canary as canary

COVERED = {
    "lab.labs": Counted(),
    "lab.tasks": Counted(only="smooth_networks splines"),
    "lab.distribution": Counted(only="Range.draw Levels.draw Distribution.draw"),
    "lab.backends": Counted(only="labs in_labs shapes predictions"),
    "scoring.evaluator": Counted(only="Evaluator._lab"),
}


@pytest.fixture(scope="module")
def values():
    return PROTOCOLS["generality"].run()


def test_two_calls_give_the_same_numbers_and_json_keeps_them(values):
    assert PROTOCOLS["generality"].run() == values
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_it_leaves_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    PROTOCOLS["generality"].run()
    assert torch.get_num_threads() == before


def test_it_runs_the_lines_that_it_stands_for():
    for name, (share, missed) in canaries.coverage(canary.values, COVERED).items():
        assert share >= 0.95, f"{name}: {share:.1%}, without {missed}"


def test_every_suite_and_every_kind_of_lab_is_in_it(values):
    words = " ".join(str(value) for value in values.values())
    assert all(f"'{stratum}'" in words for stratum in (*labs.STRATA, *labs.FAR))
    assert {name.partition(" ")[0] for name in values} >= {"calibration", "search", "held-out", "far"}


@pytest.mark.skipif(compiled.missing() is not None, reason=f"no compiler: {compiled.missing()}")
def test_both_backends_give_its_numbers(values, monkeypatch):
    monkeypatch.setenv("ACTLAB_BACKEND", "torch")
    assert 0 < difference(values, PROTOCOLS["generality"].run()) < TOLERANCE


def other_stratum(patch):
    patch.setitem(labs.STRATA, "one layer, low gain", ((1,), Range(0.5, 1.3)))


def other_ring(patch):
    patch.setitem(labs.FAR, "wider rings", ({"ring": Range(0.5, 1.1)}, lambda lab: lab))


def other_clip(patch):
    true = evaluator.contributions
    patch.setattr(evaluator, "contributions", lambda ood, relu, config: true(ood, relu, replace(config, clip=0.21)))


def other_splines(patch):
    true = tasks.splines
    patch.setattr(tasks, "splines", lambda count, generator: [
        replace(task, target=lambda u, f=task.target: f(u * (1 + 1e-8))) for task in true(count, generator)
    ])  # fmt: skip


def other_seeds(patch):
    true = backends.Start.of
    patch.setattr(backends.Start, "of", lambda data, lab, seed, chosen: true(data, lab, seed + 1, chosen))


MUTATIONS = {
    "range of a stratum": other_stratum,
    "kind of far lab": other_ring,
    "clip": other_clip,
    "noise": lambda patch: patch.setattr(labs, "NOISE", 0.3 * (1 + 1e-8)),
    "spline": other_splines,
    "seed of a lab's networks": other_seeds,
    "form of constants": lambda patch: patch.setattr(generality, "tuned_source", lambda form, a, b: generality.check(
        f"def activation(x):\n    return x + {a:.2g} * torch.sin({b + 0.1:.2g} * x) ** 2"
    ).source),
    "range of rates": lambda patch: patch.setattr(labs, "Distribution", other_rates),
    "schedule": lambda patch: patch.setattr(
        training, "FACTORS", dict.fromkeys(training.FACTORS, training.FACTORS["constant"])
    ),
}  # fmt: skip


def other_rates(**given):
    return Distribution(learning_rate=Range(1e-3, 2.1e-2), **given)


@pytest.mark.parametrize("change", MUTATIONS)
def test_it_notices_another(change, values, monkeypatch):
    MUTATIONS[change](monkeypatch)
    assert difference(values, PROTOCOLS["generality"].run()) > 10 * TOLERANCE
