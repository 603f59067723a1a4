import math
import os
import signal
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields, replace

import numpy as np
import pytest

from actlab import activations, fitness, stats, tasks
from actlab.config import FitnessConfig, LabConfig, TaskConfig
from actlab.fitness import Evaluator, Score

TASKS = TaskConfig(calibration=8, search=8, held_out=8, far=8)
LAB = LabConfig(steps=30)
CONFIG = FitnessConfig(resamples=200)
SUITES = {name: tasks.suite(name, TASKS) for name in ("search", "far")}
PROGRAMS = {name: activations.program_source(name) for name in ("relu", "gelu", "turbulent", "snake")}


@pytest.fixture(scope="module")
def evaluator():
    with Evaluator(SUITES, CONFIG, workers=2) as one:
        yield one


@pytest.fixture(scope="module")
def scores(evaluator):
    pending = {name: evaluator.submit(source, "search", LAB) for name, source in PROGRAMS.items()}
    return {name: p.result() for name, p in pending.items()}


def test_the_score_is_the_mean_log_ratio_to_relu_over_tasks(scores):
    a, r = np.array(scores["gelu"].ood_mse), np.array(scores["relu"].ood_mse)
    expected = np.mean(np.log(np.maximum(r, CONFIG.floor)) - np.log(np.maximum(a, CONFIG.floor)))
    assert scores["gelu"].fitness == pytest.approx(expected, rel=1e-12)
    low, high = scores["gelu"].interval
    assert low < scores["gelu"].fitness < high


def test_relu_scores_zero_against_itself(scores):
    assert (scores["relu"].fitness, scores["relu"].interval) == (0.0, (0.0, 0.0))


def test_losses_are_those_of_the_lab_run_by_hand(scores):
    suite = SUITES["search"]
    made = fitness.predict(PROGRAMS["turbulent"], suite.blind, LAB, seed=0)
    expected = {
        "ood_mse": ((made.ood - suite.ood_y) ** 2).mean(1),
        "ood_mse_whole": ((made.ood_whole - suite.ood_y) ** 2).mean(1),
        "train_mse": ((made.train - suite.blind.train_y) ** 2).mean(1),
    }
    for name, losses in expected.items():
        np.testing.assert_allclose(getattr(scores["turbulent"], name), losses, rtol=1e-6)


def test_batch_and_whole_set_differ_for_a_function_that_sees_its_batch_alone(scores):
    differs = {n: not np.allclose(s.ood_mse, s.ood_mse_whole, rtol=1e-3) for n, s in scores.items()}
    assert differs == {"relu": False, "gelu": False, "turbulent": True, "snake": False}


def test_scores_are_the_same_to_the_bit_with_one_worker_and_with_two(scores):
    with Evaluator(SUITES, CONFIG, workers=1) as alone:
        again = {name: alone.submit(PROGRAMS[name], "search", LAB).result() for name in reversed(PROGRAMS)}
    assert again == scores


def test_another_seed_and_another_suite_give_other_losses(evaluator, scores):
    other = evaluator.submit(PROGRAMS["gelu"], "search", LAB, seed=1).result()
    far = evaluator.submit(PROGRAMS["gelu"], "far", LAB).result()
    assert len({s.ood_mse for s in (scores["gelu"], other, far)}) == 3


def test_a_score_survives_json_to_the_bit(scores):
    import json

    for score in scores.values():
        assert Score.from_dict(json.loads(json.dumps(score.to_dict()))) == score


def test_the_whole_path_adds_cost_and_traits(evaluator, scores):
    score = evaluator.score(PROGRAMS["turbulent"], "search", LAB)
    assert replace(score, description=None) == scores["turbulent"]
    assert score.description["traits"]["pointwise"] is False
    assert score.description["flops_gelu"] > 1


@pytest.mark.parametrize(
    ("source", "ended", "error"),
    [
        ("def activation(x):\n    return open('f')", "refused", "open is not defined"),
        ("def activation(x):\n    return x.sum(5)", "failed", "IndexError"),
    ],
)
def test_a_program_that_does_not_run_ends_as_an_outcome_and_harms_no_other(evaluator, scores, source, ended, error):
    score = evaluator.submit(source, "search", LAB).result()
    assert (score.ended, score.fitness, score.ood_mse) == (ended, -math.inf, ())
    assert error in score.error
    assert evaluator.score(source, "search", LAB).ended == ended
    assert evaluator.submit(PROGRAMS["snake"], "search", LAB).result() == scores["snake"]


def test_nan_infinite_and_huge_losses_count_as_the_clamp():
    prediction = np.array([[0.0, 1.0], [np.nan, 0.0], [np.inf, 0.0], [1e200, 0.0]])
    losses = fitness.mse(prediction, np.zeros((4, 2)), clamp=10.0)
    assert losses.tolist() == [0.5, 10.0, 10.0, 10.0]


def test_a_diverging_candidate_scores_the_clamp_and_not_infinity(evaluator):
    score = evaluator.submit("def activation(x):\n    return 1e15 * x ** 3", "search", LAB).result()
    assert score.ended == "scored"
    assert max(score.ood_mse) == CONFIG.clamp
    assert math.isfinite(score.fitness)


def test_the_clamped_mean_is_minus_the_mean_loss():
    losses = np.array([0.5, 30.0])
    parts = fitness.contributions(losses, losses, replace(CONFIG, aggregate="clamped-mean"))
    assert parts.tolist() == [-0.5, -10.0]
    assert parts.mean() == -stats.clamped_mean(losses, CONFIG.clamp)


def test_the_log_ratio_per_task_has_the_mean_that_stats_gives():
    generator = np.random.default_rng(0)
    a, r = generator.uniform(1e-5, 20, size=(2, 9))
    assert fitness.contributions(a, r, CONFIG).mean() == pytest.approx(
        -stats.mean_log_ratio(a, r, CONFIG.clamp, CONFIG.floor)
    )


def test_unknown_names_are_answered_with_those_that_exist(evaluator):
    with pytest.raises(ValueError, match="wanted one of search, far; got 'serach'"):
        evaluator.submit(PROGRAMS["relu"], "serach", LAB)
    with pytest.raises(ValueError, match="wanted log-ratio or clamped-mean; got 'mean'"):
        fitness.contributions(np.ones(2), np.ones(2), replace(CONFIG, aggregate="mean"))
    with pytest.raises(ValueError, match="wanted one worker or more; got 0"):
        Evaluator(SUITES, CONFIG, workers=0)


def test_a_worker_is_given_no_ood_targets(monkeypatch):
    given = {}
    monkeypatch.setattr(fitness, "ProcessPoolExecutor", lambda *args, **kwargs: given.update(kwargs))
    Evaluator(SUITES, CONFIG, workers=1)._pool()
    (data,) = given["initargs"]
    assert {type(blind) for blind in data.values()} == {tasks.Blind}
    assert [f.name for f in fields(tasks.Blind)] == ["dims", "train_x", "train_y", "ood_x"]


def test_after_an_interrupt_ended_the_workers_others_take_their_place():
    with Evaluator(SUITES, CONFIG, workers=1) as alone:
        ended = alone._pool().submit(os.kill, alone._pool().submit(os.getpid).result(), signal.SIGINT)
        with pytest.raises(BrokenProcessPool):
            ended.result()
        assert alone.describe(PROGRAMS["relu"]).result().error is None


def test_a_reference_that_was_lost_with_its_worker_is_trained_again(scores):
    with Evaluator(SUITES, CONFIG, workers=1) as alone:
        process = alone._pool().submit(os.getpid).result()
        lost = alone.submit(PROGRAMS["relu"], "search", replace(LAB, steps=100_000))
        os.kill(process, signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            lost.result()
        alone._references = {("search", LAB, 0): lost.future}
        assert alone.submit(PROGRAMS["gelu"], "search", LAB).result() == scores["gelu"]
