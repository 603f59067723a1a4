import math
import os
import signal
import time
from concurrent.futures import CancelledError, Future
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import torch

from actlab import activations
from actlab.core import stats
from actlab.core.config import FitnessConfig, LabConfig, Limits, TaskConfig
from actlab.lab import tasks, training
from actlab.scoring import evaluator as fitness
from actlab.scoring import worker
from actlab.scoring.evaluator import Evaluator, Score
from actlab.scoring.sandbox import Outcome, SandboxError

TASKS = TaskConfig(calibration=8, search=8, held_out=8, far=8)
LAB = LabConfig(steps=30)
CONFIG = FitnessConfig(resamples=200)
SUITES = {name: tasks.suite(name, TASKS) for name in ("search", "far")}
PROGRAMS = {name: activations.program_source(name) for name in ("relu", "gelu", "turbulent", "snake", "fisg")}


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
    function = activations.turbulent
    networks = training.train(function, suite.blind, LAB, seed=0)
    x, ood_x = (torch.from_numpy(part).float() for part in (suite.blind.train_x, suite.blind.ood_x))
    expected = {
        "ood_mse": ((networks.predict(function, ood_x, LAB.batch).numpy() - suite.ood_y) ** 2).mean(1),
        "ood_mse_whole": ((networks.predict(function, ood_x).numpy() - suite.ood_y) ** 2).mean(1),
        "train_mse": ((networks.predict(function, x, LAB.batch).numpy() - suite.blind.train_y) ** 2).mean(1),
    }
    for name, losses in expected.items():
        np.testing.assert_allclose(getattr(scores["turbulent"], name), losses, rtol=1e-6)


def test_batch_and_whole_set_differ_for_a_function_that_sees_its_batch_alone(scores):
    differs = {n: not np.allclose(s.ood_mse, s.ood_mse_whole, rtol=1e-3) for n, s in scores.items()}
    assert differs == {"relu": False, "gelu": False, "turbulent": True, "snake": False, "fisg": False}


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


def test_a_worker_is_given_no_ood_targets(evaluator):
    for sandbox in evaluator._pool.sandboxes:
        assert {type(blind) for blind in sandbox.data.values()} == {tasks.TrainingView}
    assert [f.name for f in fields(tasks.TrainingView)] == ["dims", "train_x", "train_y", "ood_x"]


def test_isolation_changes_no_bit_of_a_score(scores):
    suite = SUITES["search"]
    with Evaluator(SUITES, CONFIG, workers=1, without=("limits", "seccomp", "landlock")) as open_:
        assert open_.submit(PROGRAMS["fisg"], "search", LAB).result() == scores["fisg"]
    request = {"source": PROGRAMS["fisg"], "suite": "search", "lab": asdict(LAB), "seed": 0}  # torch trains it in both
    _, (_, here, _) = worker.predict(request, [], {"search": suite.blind})
    assert tuple(fitness.mse(here, suite.ood_y, CONFIG.clamp)) == scores["fisg"].ood_mse


def test_a_candidate_over_the_budget_is_refused_before_it_trains(scores):
    with Evaluator(SUITES, CONFIG, workers=1, limits=Limits(flops=11)) as thrifty:
        score = thrifty.score(PROGRAMS["gelu"], "search", LAB)
        assert (score.ended, score.ood_mse) == ("refused", ())
        assert "12 FLOPs an element; write at most 11" in score.error
        assert score.description["flops"] == 12
        assert thrifty.score(PROGRAMS["relu"], "search", LAB).ended == "scored"


def test_a_candidate_over_its_time_is_killed_and_the_next_one_scores_as_ever(scores):
    with Evaluator(SUITES, CONFIG, workers=1, limits=Limits(start=0.5, step=0)) as hasty:
        score = hasty.submit(PROGRAMS["turbulent"], "search", replace(LAB, steps=100_000)).result()
        assert (score.ended, score.fitness) == ("killed", -math.inf)
        assert score.error == "ran longer than its 0.5 s, and was ended with its process group"
        assert hasty.submit(PROGRAMS["gelu"], "search", LAB).result() == scores["gelu"]


def test_a_fork_server_that_dies_is_replaced_and_its_candidate_tried_again(scores):
    with Evaluator(SUITES, CONFIG, workers=1) as alone:
        alone._pool.sandboxes[0].start()
        under_way = alone.submit(PROGRAMS["gelu"], "search", LAB)
        os.killpg(alone._pool.sandboxes[0]._process.pid, signal.SIGKILL)
        assert under_way.result() == scores["gelu"]


def test_what_was_closed_under_way_ends_with_an_error():
    evaluator = Evaluator(SUITES, CONFIG, workers=1)
    lost = evaluator.submit(PROGRAMS["relu"], "search", replace(LAB, steps=100_000))
    while not evaluator._pool.sandboxes[0].active:
        time.sleep(0.01)
    evaluator.close()
    with pytest.raises((SandboxError, CancelledError)):
        lost.result()


def test_no_score_is_given_without_relus_losses(monkeypatch, evaluator):
    ended = fitness.Predictions("killed", "ran longer than its 1 s")
    with pytest.raises(RuntimeError, match=r"wanted ReLU's losses to compare with; it killed: ran longer than its 1 s"):
        evaluator._judge(fitness.Predictions("scored"), ended, "search")


FOUND = {"pointwise": True, "parity": "odd", "monotone": True, "bounded": False, "oscillations": 0, "left": "linear 1",
         "right": "linear 1"}  # fmt: skip
COSTS = ("flops", "flops_training", "flops_relu", "flops_gelu")
HONEST = {"fingerprint": "0f" * 32, **dict.fromkeys(COSTS, 1.0), "traits": FOUND, "error": None}


@pytest.mark.parametrize(
    "lie",
    [{"flops": "1"}, {"flops": True}, {"flops": math.nan}, {"flops_relu": -1.0}, {"flops_training": math.inf},
     {"traits": []}, {"error": 3},
     {"error": "both"}, {"fingerprint": None}, {"fingerprint": "\ud800"}, {"fingerprint": "0F" * 32}, {"more": 1},
     {"traits": FOUND | {"more": True}}, {"traits": FOUND | {"left": "\x1b[2J"}}, {"traits": FOUND | {"bounded": 1}},
     {"traits": FOUND | {"right": "linear " * 9}}],
)  # fmt: skip
def test_a_description_is_not_taken_on_trust(lie, monkeypatch):
    with Evaluator(SUITES, CONFIG, workers=1) as evaluator:
        monkeypatch.setattr(evaluator._pool, "run", lambda _: Outcome("answered", None, {"description": HONEST}))
        assert evaluator.describe("source").result().ended == "open"
        monkeypatch.setattr(
            evaluator._pool, "run", lambda _: Outcome("answered", None, {"description": {**HONEST, **lie}})
        )
        finding = evaluator.describe("source").result()
        assert (finding.ended, finding.description) == ("killed", None)


def test_a_costly_backward_pass_is_refused_as_a_costly_forward_pass_is(monkeypatch, evaluator):
    for costs, words in (
        ({"flops": 196.5}, "196.5 FLOPs an element; write at most 196,"),
        ({"flops_training": 588.5}, "588.5 FLOPs an element with the backward pass; write at most 588,"),
        ({"flops": 196.0, "flops_training": 588.0}, None),
    ):
        head = {"description": HONEST | costs}
        monkeypatch.setattr(evaluator._pool, "run", lambda _, head=head: Outcome("answered", None, head))
        finding = evaluator.describe("source").result()
        assert finding.ended == ("open" if words is None else "refused")
        assert words is None or finding.error.startswith(words)


def test_an_error_from_a_worker_is_shown_in_printable_characters(monkeypatch, evaluator):
    nothing = {"fingerprint": None, **dict.fromkeys(COSTS, math.nan), "traits": {}}
    outcome = Outcome("answered", None, {"description": {**nothing, "error": "no\x1b[2J\n"}})
    monkeypatch.setattr(evaluator._pool, "run", lambda _: outcome)
    assert evaluator.describe("source").result().error == "no?[2J?"


def test_predictions_of_another_shape_are_no_predictions(monkeypatch):
    with Evaluator(SUITES, CONFIG, workers=1) as evaluator:
        outcome = Outcome("answered", None, {}, [np.zeros((8, 256))] * 2)
        monkeypatch.setattr(evaluator._pool, "run", lambda _: outcome)
        predictions = evaluator._predict("source", "search", LAB, 0).result()
        assert predictions.ended == "killed"
        assert "wanted shapes" in predictions.error


def test_the_scores_of_parts_make_up_the_score_of_the_suite(evaluator, scores):
    parts = [(3, 1, 7, 6), (0, 2, 5, 4)]  # each family once or more, in any order
    found = [(part, evaluator.submit(PROGRAMS["turbulent"], "search", LAB, chosen=part).result()) for part in parts]
    assert found[0][1].families == tuple(SUITES["search"].families[i] for i in parts[0])
    joined, whole = evaluator.joined(found, "search", scores["relu"]), scores["turbulent"]
    for name in ("ood_mse", "ood_mse_whole", "train_mse", "interval", "fitness"):
        np.testing.assert_allclose(getattr(joined, name), getattr(whole, name), rtol=1e-4)
    with pytest.raises(ValueError, match="wanted parts that make up the suite search; got the tasks"):
        evaluator.joined(found[:1], "search", scores["relu"])


def test_a_part_with_one_task_of_a_family_has_an_interval_without_bounds(evaluator):
    score = evaluator.submit(PROGRAMS["gelu"], "search", LAB, chosen=(0, 2, 4, 6)).result()
    assert score.interval == (-math.inf, math.inf)
    assert math.isfinite(score.fitness)


def test_another_device_is_refused_since_a_confined_process_has_none(evaluator):
    with pytest.raises(ValueError, match=r"wanted device cpu, all that confined processes have; got cuda"):
        evaluator.submit(PROGRAMS["gelu"], "search", replace(LAB, device="cuda"))


def test_a_reference_that_was_killed_is_trained_again(scores, evaluator):
    killed = Future()
    killed.set_result(fitness.Predictions("killed", "ran longer than its 1 s"))
    evaluator._references["search", LAB, 0] = killed
    assert evaluator.submit(PROGRAMS["gelu"], "search", LAB).result() == scores["gelu"]
