from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from actlab import activations
from actlab.candidates import program
from actlab.core.config import profile
from actlab.core.records import Records, Store
from actlab.lab import tasks
from actlab.scoring import laboratory
from actlab.scoring.laboratory import Laboratory
from actlab.search import runs, selection
from actlab.studies import lab_records, trust

pytestmark = pytest.mark.usefixtures("warm_sandboxes")

SMOKE = profile("smoke")
QUICK = replace(SMOKE, lab=replace(SMOKE.lab, steps=20), search=replace(SMOKE.search, evaluations=6, round_size=6))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="module")
def lab(store):
    with Laboratory(QUICK, workers=1, store=store) as one:
        yield one


@pytest.fixture
def deaf(store, monkeypatch):
    """A laboratory that cannot train: whatever it returns was kept."""
    monkeypatch.setattr(laboratory, "Evaluator", None)
    return Laboratory(QUICK, workers=1, store=store)


def test_scores_come_in_the_order_of_asking_with_every_task_of_every_seed(lab):
    table = lab.scores(["snake", "relu"], "search", seeds=(0, 1))
    assert table.columns.tolist() == laboratory.COLUMNS
    assert table["function"].unique().tolist() == ["snake", "relu"]
    assert table.groupby(["function", "seed"]).size().tolist() == [8] * 4


def test_what_was_scored_is_not_trained_again_and_comes_back_to_the_bit(lab, deaf):
    first = lab.scores(["snake"], "search")
    pd.testing.assert_frame_equal(deaf.scores(["snake"], "search"), first, check_exact=True)
    pd.testing.assert_frame_equal(deaf.scores(["Snake"], "search"), first, check_exact=True)  # the label


def test_a_program_under_another_name_shares_its_record(lab, deaf):
    first = lab.scores(["snake"], "search")
    again = deaf.scores({"mine": activations.program_source("snake")}, "search")
    assert again["ood_mse"].tolist() == first["ood_mse"].tolist()
    assert set(again["function"]) == {"mine"}


@pytest.mark.parametrize(
    ("long", "workers", "order"),
    [
        (0, 1, ["quaternion", "turbulent", "gelu", "relu"]),
        (0, 4, ["gelu", "quaternion", "relu", "turbulent"]),
        (laboratory.LONG, 1, ["gelu", "quaternion", "relu", "turbulent"]),
    ],
)
def test_long_trainings_begin_with_the_costliest_unless_there_is_a_worker_for_each(
    lab, tmp_path, monkeypatch, long, workers, order
):
    submitted, submit = [], lab.evaluator.submit
    monkeypatch.setattr(laboratory, "LONG", long)
    monkeypatch.setattr(lab, "store", Store(tmp_path))
    monkeypatch.setattr(lab, "workers", workers)
    monkeypatch.setattr(lab.evaluator, "submit", lambda *asked: submitted.append(asked[0]) or submit(*asked))
    table = lab.scores(["gelu", "quaternion", "relu", "turbulent"], "search")
    assert submitted == [program.check(activations.program_source(name)).source for name in order]
    assert table["function"].unique().tolist() == ["gelu", "quaternion", "relu", "turbulent"]


def test_a_program_without_a_known_cost_begins_and_is_named(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(laboratory, "LONG", 0)
    monkeypatch.setattr(lab, "store", Store(tmp_path))
    with pytest.raises(ValueError, match=r"mine: wanted a program that can be scored; it failed: .*IndexError"):
        lab.scores(
            {"relu": activations.program_source("relu"), "mine": "def activation(x):\n    return x.sum(5)"}, "search"
        )


def test_scores_in_distribution_are_of_the_same_training_and_of_other_points(lab):
    inside, outside = (lab.scores(["snake"], suite) for suite in (tasks.INSIDE, "search"))
    assert inside["train_mse"].tolist() == outside["train_mse"].tolist()
    assert inside["task"].tolist() == outside["task"].tolist()
    assert not set(inside["ood_mse"]) & set(outside["ood_mse"])


def test_the_in_distribution_suite_is_none_of_the_laboratorys_four(lab):
    assert list(lab.suites) == ["calibration", "search", "held-out", "far"]
    assert lab.evaluator.suites.keys() == {*lab.suites, "in-distribution"}


def test_committed_losses_are_taken_from_there_and_a_laboratory_without_them_does_not_see_them(lab, tmp_path):
    (about,) = lab.asked(["snake"], "search").values()
    losses = lab.scores(["snake"], "search").assign(ood_mse=7.0)[list(laboratory.LOSSES)]
    records = Records(tmp_path / "lab", "lab", ["key"], {"losses.parquet": ["key", *laboratory.LOSSES]})
    records.add([(lab_records.Asked(about), {"losses": losses})])
    recorded = Laboratory(QUICK, workers=1, store=lab.store, records=records)
    assert set(recorded.scores(["snake"], "search")["ood_mse"]) == {7.0}
    assert 7.0 not in set(recorded.scores(["snake"], "search", seeds=(1,))["ood_mse"])  # another description
    assert 7.0 not in set(lab.scores(["snake"], "search")["ood_mse"])


def test_some_tasks_alone_are_trained_as_among_all_and_told_apart_from_them(lab, tmp_path):
    places = [1, 2, 5]
    whole = lab.scores(["snake"], "held-out").iloc[places].reset_index(drop=True)
    with Laboratory(QUICK, workers=1, store=Store(tmp_path), only={"held-out": places}) as few:
        part = few.scores(["snake"], "held-out")
        assert part["task"].tolist() == whole["task"].tolist()
        np.testing.assert_allclose(part["ood_mse"], whole["ood_mse"], rtol=1e-4)
        assert len(few.scores(["snake"], "search")) == QUICK.tasks.search  # a suite that is not named is whole
    with Laboratory(QUICK, workers=1, store=Store(tmp_path)) as all_again:
        assert len(all_again.scores(["snake"], "held-out")) == QUICK.tasks.held_out


def test_some_tasks_of_what_was_scored_whole_are_not_trained_again(lab, deaf):
    whole = lab.scores(["snake"], "held-out").iloc[[1, 2, 5]].reset_index(drop=True)
    deaf.only = {"held-out": [1, 2, 5]}
    pd.testing.assert_frame_equal(deaf.scores(["snake"], "held-out"), whole, check_exact=True)


def test_a_learning_rate_is_a_condition_of_its_own(lab):
    table = lab.scores(["gelu"], "search", learning_rates=(1e-3, 1e-2))
    assert table.groupby("learning_rate")["train_mse"].mean().is_monotonic_decreasing


def test_a_program_that_fails_is_named(lab):
    with pytest.raises(ValueError, match=r"mine: wanted a program that can be scored; it failed: .*IndexError"):
        lab.scores({"mine": "def activation(x):\n    return x.sum(5)"}, "search")


def test_calibration_trains_once_and_its_loss_grows_with_the_ring(lab):
    table = trust.calibration(lab, [0.05, 0.5])
    means = table.groupby("ring")[["ood_mse", "train_mse"]].mean()
    assert means["ood_mse"].is_monotonic_increasing
    assert means["train_mse"].nunique() == 1


def test_calibration_and_scoring_agree(lab):
    ring = QUICK.tasks.ring
    by_study = trust.calibration(lab, [ring])["ood_mse"]
    by_scoring = lab.scores(["relu"], "calibration")["ood_mse"]
    np.testing.assert_allclose(by_study, by_scoring, rtol=1e-4)


def test_target_curves_cross_from_the_training_range_into_the_ring():
    suite = tasks.suite("search", QUICK.tasks)
    curves = trust.target_curves(suite, per_family=1)
    assert set(curves.loc[curves["u"].abs() <= 1, "split"]) == {"id"}
    assert set(curves.loc[curves["u"].abs() > 1, "split"]) == {"ood"}
    assert curves["u"].max() == 1 + suite.ring


def test_the_rate_that_is_best_has_the_lowest_training_loss(lab):
    table = trust.tuned_rates(lab, ["gelu", "snake"])
    assert table.groupby("function")["best"].sum().tolist() == [1, 1]
    best = table.loc[table.groupby("function")["log_train"].idxmin()]
    assert best["best"].all()
    scores = trust.tuned_scores(lab, table, "search")
    assert scores["function"].unique().tolist() == ["gelu", "snake"]
    assert set(scores["learning_rate"]) <= set(QUICK.rates)


def test_preactivation_histograms_are_densities_by_layer(lab):
    edges = np.linspace(-50, 50, 101)
    table = trust.preactivations(lab, ["relu"], edges)
    assert table["layer"].unique().tolist() == [1, 2, 3]
    areas = table.groupby("layer")["density"].sum() * np.diff(edges)[0]
    assert areas.tolist() == pytest.approx([1, 1, 1])


def test_a_search_is_read_again_where_it_was_left_and_tells_its_best_so_far(lab, tmp_path):
    path = tmp_path / "run.sqlite"
    first, _ = runs.run_search(lab, 0, path)
    again, _ = runs.run_search(lab, 0, path)
    assert again == first
    best = selection.leaders(runs.entries(path))
    assert best[0].operator == "start"
    assert best[-1].id == first.best.id
    assert [b.fitness for b in best] == sorted(b.fitness for b in best)


def test_other_settings_mean_another_search_file():
    other = replace(QUICK, lab=replace(QUICK.lab, width=8))
    files = {runs.search_file(p, s) for p, s in ((QUICK, 0), (QUICK, 1), (other, 0))}
    assert len(files) == 3
