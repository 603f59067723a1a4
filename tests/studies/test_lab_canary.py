"""The lab's canary: it repeats, it runs the lines that it stands for, and it notices what changes a number."""

import dataclasses
import json
import math

import canaries
import numpy as np
import pytest
import torch
from canaries import TOLERANCE, Counted, difference

from actlab.candidates import profiling
from actlab.core import stats
from actlab.core.records import PROTOCOLS
from actlab.lab import feynman, tasks, training
from actlab.scoring import evaluator
from actlab.studies import lab_canary as canary

# What does not count: what runs at import, a sandbox's own plumbing, and studies that need a whole laboratory.
COVERED = {
    "lab.feynman": Counted(left_out="_equations"),
    "lab.tasks": Counted(left_out="smooth_networks splines"),  # in the canary of generality
    "lab.tracing": Counted(),
    "lab.training": Counted(left_out=""),
    "scoring.worker": Counted(left_out="warm_up"),
    "scoring.evaluator": Counted(left_out="Score Evaluator._send"),
    "core.stats": Counted(only="clamped log_losses mean_log"),
    "studies.constants": Counted(only="Trained train _predicted _tables"),
    "studies.spectra": Counted(left_out="study"),
    "studies.trust": Counted(only="_histograms"),
}


@pytest.fixture(autouse=True)
def fresh():
    """Nothing that another code computed is remembered."""
    for cached in (evaluator._canonical, profiling._references):
        cached.cache_clear()


@pytest.fixture(scope="module")
def values():
    return PROTOCOLS["lab"].run()


def test_two_calls_give_the_same_numbers_and_json_keeps_them(values):
    assert PROTOCOLS["lab"].run() == values
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_it_leaves_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    with canary.one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_it_runs_the_lines_that_it_stands_for():
    for name, (share, missed) in canaries.coverage(canary.values, COVERED).items():
        assert share >= 0.95, f"{name}: {share:.1%}, without {missed}"


def test_every_equation_and_every_suite_is_in_it(values):
    assert {f"equation {equation.name} sum" for equation in feynman.EQUATIONS} <= values.keys()
    assert all(f"relu {suite} 1 0 ood_mse" in values for suite in canary.suites())
    assert values["explodes ood_mse"] == 8 * canary.FITNESS.clamp


def other_schedule(monkeypatch):
    cos = math.cos
    monkeypatch.setattr(training.math, "cos", lambda angle: cos(1.000001 * angle))


def other_equation(monkeypatch):
    one = feynman.EQUATIONS[17]
    changed = dataclasses.replace(one, function=lambda *x: one.function(*x) * (1 + 1e-8))
    monkeypatch.setattr(feynman, "EQUATIONS", (*feynman.EQUATIONS[:17], changed, *feynman.EQUATIONS[18:]))


def other_batches(monkeypatch):
    true = training.batches
    monkeypatch.setattr(training, "batches", lambda points, config, seed: true(points, config, seed + 1))


def other_clamp(monkeypatch):
    monkeypatch.setattr(evaluator, "mse", lambda p, y, clamp: stats.clamped(np.mean((p - y) ** 2, axis=1), 2 * clamp))


MUTATIONS = {
    "Adam's epsilon": lambda patch: patch.setitem(training.ADAM, "eps", 1.1e-8),
    "Adam's first beta": lambda patch: patch.setitem(training.ADAM, "beta1", 0.9 + 1e-6),
    "Adam's second beta": lambda patch: patch.setitem(training.ADAM, "beta2", 0.999 + 1e-6),
    "the schedule": other_schedule,
    "the batches' seed": other_batches,
    "the clamp": other_clamp,
    "an equation": other_equation,
    "the scale of inputs": lambda patch: patch.setattr(tasks, "INPUT_SCALE", 1.7320508),
    "a constant of GELU": lambda patch: patch.setattr("actlab.lab.tracing.CUBIC", 0.0714),
}


@pytest.mark.parametrize("change", MUTATIONS)
def test_it_notices_another(change, values, monkeypatch):
    MUTATIONS[change](monkeypatch)
    assert difference(values, PROTOCOLS["lab"].run()) > 10 * TOLERANCE


def test_another_size_of_chunks_is_rounding(values, monkeypatch):
    monkeypatch.setattr(training, "_chunk", lambda models, config: 2)
    assert difference(values, PROTOCOLS["lab"].run()) < TOLERANCE
