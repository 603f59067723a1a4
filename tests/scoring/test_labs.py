"""A score over labs: what each lab adds, in whatever parts, on whatever backend and at any number of workers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from actlab import activations
from actlab.activations import zoo
from actlab.candidates.program import check
from actlab.core import config, stats
from actlab.core.config import FitnessConfig, LabConfig, LabsFitnessConfig
from actlab.core.records import PROTOCOLS, Store
from actlab.lab import compiled, labs, variant
from actlab.scoring import laboratory
from actlab.scoring.evaluator import Evaluator, Predictions, contributions
from actlab.scoring.laboratory import Laboratory
from actlab.studies import generality_canary as tiny

pytestmark = pytest.mark.usefixtures("warm_sandboxes")

TASKS, FITNESS, LAB = tiny.TASKS, LabsFitnessConfig(each=4), LabConfig()
PROGRAMS = {name: check(zoo.program_source(name)).source for name in ("relu", "snake", "fisg")}


@pytest.fixture(scope="module")
def suites():
    return {name: tiny.small(name) for name in ("search", "held-out")}


@pytest.fixture(scope="module")
def evaluator(suites):
    with Evaluator(suites, FITNESS, 1) as one:
        yield one


@pytest.fixture(scope="module")
def scores(evaluator):
    pending = {name: evaluator.submit(source, "search", LAB) for name, source in PROGRAMS.items()}
    return {name: one.result() for name, one in pending.items()}


def test_a_lab_adds_the_mean_log_ratio_of_its_tasks_clipped_on_either_side():
    fitness = LabsFitnessConfig(each=2, clip=1.0, clamp=10.0, floor=0.01)
    relu = np.array([1.0, 1.0, 1.0, 4.0, 0.5, 1.0])
    ours = np.array([0.25, 1.0, 10.0, 400.0, 0.001, 0.01])
    # log 4 / 2; (log 1/10 + log 4/10) / 2, the second loss clamped, is below -1; (log 50 + log 100) / 2 is above 1
    np.testing.assert_allclose(contributions(ours, relu, fitness), [np.log(2), -1.0, 1.0])
    free = contributions(ours, relu, replace(fitness, clip=np.inf))
    np.testing.assert_allclose(free, [np.log(2), np.log(0.04) / 2, np.log(5000) / 2])
    each = contributions(ours, relu, replace(fitness, each=1, clip=np.inf))
    np.testing.assert_allclose(each.reshape(3, 2).mean(axis=1), free)


def test_a_task_is_its_own_lab_and_is_not_clipped_where_the_fitness_is_over_tasks():
    found = contributions(np.array([1e-3, 1.0]), np.array([1.0, 1.0]), FitnessConfig())
    np.testing.assert_allclose(found, [np.log(1000), 0])


@pytest.mark.parametrize("name", PROGRAMS)
def test_losses_are_those_of_each_lab_by_itself_in_variances_of_its_targets(name, suites, evaluator):
    score = evaluator.submit(PROGRAMS[name], "held-out", LAB).result()
    alone = [replace(lab, steps=8, batch=64, width=8) for _, lab in labs.settings("held-out", TASKS)]
    assert max(abs(np.log(lab.target_scale)) for lab in alone) > 0.5
    functions = {name: activations.get(name).activation.function}
    table = pd.concat([variant.losses(lab, functions, FITNESS.clamp, torch.float64) for lab in alone])
    for losses in ("ood_mse", "train_mse"):
        np.testing.assert_allclose(getattr(score, losses), table[losses], rtol=1e-8)
    assert score.families == suites["held-out"].families


def test_the_fitness_is_the_mean_over_labs_of_what_they_add(scores):
    ours, relu = (np.array(scores[name].ood_mse) for name in ("snake", "relu"))
    logs = np.log(np.maximum(relu, FITNESS.floor)) - np.log(np.maximum(ours, FITNESS.floor))
    by_lab = np.clip([logs[4 * lab : 4 * lab + 4].mean() for lab in range(6)], -1, 1)
    assert scores["snake"].fitness == pytest.approx(by_lab.mean(), rel=1e-12)
    assert scores["relu"].fitness == 0


def test_the_interval_is_over_labs_within_strata_and_has_no_bounds_where_a_stratum_has_one_lab(scores):
    assert scores["snake"].interval == (-np.inf, np.inf)
    twelve = tiny.small("search", replace(TASKS, search=12))
    with Evaluator({"search": twelve}, FITNESS, 1) as evaluator:
        score = evaluator.submit(PROGRAMS["snake"], "search", LAB).result()
        relu = evaluator.submit(PROGRAMS["relu"], "search", LAB).result()
    gains = contributions(np.array(score.ood_mse), np.array(relu.ood_mse), FITNESS)
    strata = [stratum for stratum, _ in labs.settings("search", replace(TASKS, search=12))]
    found = stats.mean_interval(gains, np.array(strata), FITNESS.level)
    assert score.interval == (found.low, found.high)
    assert found.low < score.fitness < found.high


@pytest.mark.parametrize("name", PROGRAMS)
def test_tasks_in_any_order_across_labs_have_the_losses_that_they_have_among_all(name, evaluator, scores):
    chosen = (23, 0, 5, 22, 4, 1, 13, 12)
    some = evaluator.submit(PROGRAMS[name], "search", LAB, chosen=chosen).result()
    for losses in ("ood_mse", "ood_mse_whole", "train_mse"):
        np.testing.assert_allclose(
            getattr(some, losses), np.array(getattr(scores[name], losses))[list(chosen)], rtol=1e-9
        )


@pytest.mark.parametrize("name", PROGRAMS)
def test_parts_of_whole_labs_in_any_order_make_up_the_score(name, evaluator, scores):
    parts = tiny.PARTS
    found = [(part, evaluator.submit(PROGRAMS[name], "search", LAB, chosen=part).result()) for part in parts]
    joined = evaluator.joined(found, "search", scores["relu"])
    assert joined.fitness == pytest.approx(scores[name].fitness, rel=1e-9)
    np.testing.assert_allclose(joined.ood_mse, scores[name].ood_mse, rtol=1e-9)
    gains = contributions(np.array(scores[name].ood_mse), np.array(scores["relu"].ood_mse), FITNESS)
    assert found[0][1].fitness == pytest.approx(gains[[2, 0]].mean(), rel=1e-9)


def test_one_worker_and_two_give_the_same_scores_to_the_bit(suites, scores):
    with Evaluator(suites, FITNESS, 2) as two:
        pending = {name: two.submit(PROGRAMS[name], "search", LAB) for name in reversed(PROGRAMS)}
        assert {name: one.result() for name, one in pending.items()} == scores


@pytest.mark.skipif(compiled.missing() is not None, reason=f"no compiler: {compiled.missing()}")
def test_what_cannot_be_listed_is_trained_by_torch_and_both_backends_agree(suites, evaluator, scores, monkeypatch):
    backends = {name: evaluator.listing(source, "search", LAB).backend for name, source in PROGRAMS.items()}
    assert backends == {"relu": "compiled", "snake": "compiled", "fisg": "torch"}
    monkeypatch.setenv("ACTLAB_BACKEND", "torch")
    with Evaluator(suites, FITNESS, 1) as other:
        for name, source in PROGRAMS.items():
            score = other.submit(source, "search", LAB).result()
            for losses in ("ood_mse", "ood_mse_whole", "train_mse"):
                np.testing.assert_allclose(getattr(score, losses), getattr(scores[name], losses), rtol=1e-9)


def test_the_settings_that_are_asked_for_do_not_count_where_a_suite_has_labs(evaluator, scores):
    other = evaluator.submit(PROGRAMS["snake"], "search", LabConfig(steps=3, width=5, learning_rate=0.1)).result()
    assert other == scores["snake"]
    assert evaluator.submit(PROGRAMS["snake"], "search", LAB, seed=1).result().ood_mse != scores["snake"].ood_mse


def test_a_program_is_listed_in_the_type_of_the_labs(evaluator):
    assert evaluator._asked("search", LAB)["dtype"] == "float64"
    assert evaluator._asked(None, LAB)["dtype"] == "float32"


def test_predictions_of_scaled_targets_are_judged_in_variances(suites):
    plain = replace(suites["search"], unit=1.0)
    triple = replace(plain, unit=np.full(24, 3.0), blind=replace(plain.blind, train_y=3 * plain.blind.train_y))
    generator = np.random.default_rng(0)
    made = [generator.normal(size=(24, 256)) for _ in range(6)]
    with Evaluator({"plain": plain, "triple": triple}, FITNESS, 1) as evaluator:
        for chosen in (None, (4, 5, 6, 7, 0, 1, 2, 3)):
            some = slice(None) if chosen is None else list(chosen)
            ours, relu = ([part[some] for part in made[:3]], made[3:])
            once = evaluator._judge(
                Predictions("scored", None, *ours), Predictions("scored", None, *relu), "plain", chosen
            )
            thrice = evaluator._judge(
                Predictions("scored", None, *(3 * part for part in ours)),
                Predictions("scored", None, *(3 * part for part in relu)),
                "triple",
                chosen,
            )
            assert thrice.fitness == pytest.approx(once.fitness, rel=1e-12)
            for losses in ("ood_mse", "ood_mse_whole", "train_mse"):
                np.testing.assert_allclose(getattr(thrice, losses), getattr(once, losses), rtol=1e-12)
    np.testing.assert_allclose(once.train_mse, ((made[0] - plain.blind.train_y) ** 2).mean(axis=1)[list(chosen)])


# --- the laboratory ---


@pytest.fixture
def over(tmp_path, suites):
    profile = replace(config.over_labs(config.profile("smoke")), tasks=TASKS)
    with Laboratory(profile, workers=1, store=Store(tmp_path)) as one:
        vars(one)["suites"] = suites
        yield one


def test_a_laboratory_over_labs_has_the_four_suites_of_labs():
    profile = replace(config.over_labs(config.profile("smoke")), tasks=TASKS)
    with Laboratory(profile, workers=1) as one:
        assert list(one.suites) == list(config.SUITES) == list(one.evaluator.suites)
        assert one.suites["far"].families == labs.suite("far", TASKS).families
        assert one.evaluator.config == LabsFitnessConfig(each=4)


def test_losses_over_labs_are_kept_under_the_canary_that_runs_labs(over, scores, monkeypatch):
    table = over.scores(["snake"], "search")
    assert tuple(table["ood_mse"]) == scores["snake"].ood_mse
    assert table["family"].tolist() == list(scores["snake"].families)
    (description,) = over.asked(["snake"], "search").values()
    assert description["family"] == "generality"
    assert over.store.load(description) is not None
    monkeypatch.setattr(laboratory, "Evaluator", None)
    with Laboratory(over.profile, store=over.store) as deaf:
        pd.testing.assert_frame_equal(deaf.scores(["snake"], "search"), table, check_exact=True)
    (other,) = Laboratory(replace(over.profile, tasks=replace(TASKS, seed=1))).asked(["snake"], "search").values()
    (default,) = Laboratory(config.profile("smoke")).asked(["snake"], "search").values()
    assert default["family"] == "lab"
    keys = {PROTOCOLS[one["family"]].key(one) for one in (description, other, default)}
    assert len(keys) == 3


def test_labs_have_learning_rates_of_their_own(over):
    with pytest.raises(ValueError, match=r"wanted no learning rates over labs, which have their own; got \(0.1,\)"):
        over.scores(["snake"], "search", learning_rates=(0.1,))
