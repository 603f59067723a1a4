import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from actlab import activations
from actlab.core import files, paper
from actlab.core.config import FAMILIES, SUITES, FitnessConfig, profile
from actlab.core.records import ROOT, Store
from actlab.lab import tasks
from actlab.scoring import laboratory, summaries
from actlab.scoring.laboratory import Laboratory
from actlab.search import racing
from actlab.search.racing import Plan, Race
from actlab.studies import trust

pytestmark = pytest.mark.usefixtures("warm_sandboxes")

SMOKE = profile("smoke")
TASKS = SMOKE.tasks
FITNESS = FitnessConfig()


def summary(losses):
    """A summary of one suite with these mean losses by function; the log ratios are made to disagree with them."""
    table = pd.DataFrame({"function": list(losses), "ood_mse": list(losses.values())})
    return table.assign(ood_low=table["ood_mse"] - 1, ood_high=table["ood_mse"] + 1, train_mse=0.0,
                        log_ratio=-table["ood_mse"])  # fmt: skip


DRAWN = {"relu": 9.0, "gmtu": 2.0, "gmtu#0": 1.0, "gmtu#1": 3.0, "gmtu#2": 4.0, "gmtu#3": 5.0}


def test_the_reliability_of_functions_in_the_same_order_on_every_task_is_one():
    scores = np.outer([1.0, 2.0, 3.0, 4.0], np.linspace(0.1, 0.4, 8))
    table = trust.reliability(scores, ["a"] * 4 + ["b"] * 4, FITNESS, seed=0, splits=20)
    assert table["tasks"].unique().tolist() == [2, 4]  # one task a family in a part, and two
    np.testing.assert_allclose(table[["reliability", "low", "high", "stepped_up"]], 1)
    assert table["beats_clamped_mean"].tolist() == [0.5] * 8  # ties count half


def test_one_hard_task_upsets_the_clamped_mean_and_not_the_log_ratio():
    scores = np.outer([1.0, 1.1, 1.2, 1.3], np.full(24, 0.1))
    scores[:, 0] = [9.0, 5.0, 7.0, 3.0]
    table = trust.reliability(scores, ["a"] * 24, FITNESS, seed=0, splits=50)
    half = table[table["tasks"] == 12].set_index("aggregate")
    assert half.loc["clamped-mean", "reliability"] == pytest.approx(-0.8)  # its order is the hard task's
    assert half.loc["mean-rank", "reliability"] == pytest.approx(1)
    assert half.loc["log-ratio", "reliability"] > 0
    assert half.loc["log-ratio", "beats_clamped_mean"] > 0.5


def test_mean_log_and_mean_log_ratio_rank_alike():
    scores = np.random.default_rng(0).lognormal(size=(6, 16))
    ranks = {name: np.argsort(way(scores)).tolist() for name, way in trust.aggregates(FITNESS).items()}
    assert ranks["mean-log"] == ranks["log-ratio"]
    assert trust.aggregates(FITNESS)["log-ratio"](scores)[0] == 0


def test_random_constants_lie_within_their_spread_with_their_sign_and_repeat():
    drawn = trust.random_constants(40, seed=1, spread=3.0)
    assert drawn == trust.random_constants(40, seed=1, spread=3.0) != trust.random_constants(40, spread=3.0)
    assert list(drawn)[:3] == ["gmtu", "gmtu#0", "gmtu#1"] and len(drawn) == len(set(drawn.values())) == 4 * 41
    assert {name.partition("#")[0] for name in drawn} == set(paper.FIGURE_7)
    amplitudes = [float(re.search(r"amplitude = (\S+)", drawn[f"gelu-sine#{i}"])[1]) for i in range(40)]
    factors = np.array(amplitudes) / activations.REGISTRY["gelu-sine"].constants["amplitude"]
    assert 1 / 3 - 1e-3 < factors.min() < 0.6 and 1.7 < factors.max() < 3 + 1e-3


@pytest.mark.parametrize("spread", [0.0, 0.5, -4.0, float("inf"), float("nan")])
def test_a_spread_that_is_no_factor_is_refused(spread):
    with pytest.raises(ValueError, match="spread: wanted a finite factor from 1; got"):
        trust.random_constants(1, spread=spread)


def test_more_draws_leave_the_earlier_ones_as_they_were():
    few, more = trust.random_constants(2), trust.random_constants(3)
    assert few.items() < more.items() and len(more) == len(few) + len(paper.FIGURE_7)


def test_each_function_stands_at_the_rate_that_is_best():
    rates = pd.DataFrame([("a", 0.1, False), ("a", 0.3, True), ("b", 0.1, True), ("c", 0.3, True)],
                         columns=["function", "learning_rate", "best"])  # fmt: skip
    assert trust.own_rates(rates) == {0.3: ["a", "c"], 0.1: ["b"]}


def test_draws_are_told_from_the_discovered_constants_and_from_other_functions():
    table = trust.by_form(summary(DRAWN))
    assert table["form"].tolist() == ["gmtu"] * 5
    assert table["draw"].tolist() == [0, 1, 2, 3, 4]
    assert table["discovered"].tolist() == [True, False, False, False, False]
    assert table["low"].notna().tolist() == table["discovered"].tolist()


def test_the_share_beaten_counts_the_draws_with_a_higher_loss():
    draws = trust.by_form(summary(DRAWN))
    share = trust.beaten(draws, "ood_mse")["gmtu"]
    assert (share.estimate, share.n) == (0.75, 4)
    assert 0 < share.low < 0.75 < share.high < 1
    assert trust.beaten(draws, "log_ratio")["gmtu"].estimate == 0.25


def test_means_come_in_the_order_of_the_rows_with_intervals_around_them():
    losses = pd.DataFrame({"ring": [2, 2, 2, 2, 1, 1, 1, 1], "family": list("aabb") * 2,
                           "ood_mse": [1.0, 3.0, 2.0, 6.0, 5.0, 5.0, 7.0, 7.0], "train_mse": 0.5})  # fmt: skip
    table = trust.means(losses, "ring")
    assert table[["ring", "n", "ood_mse"]].to_numpy().tolist() == [[2, 4, 3], [1, 4, 6]]
    assert table.loc[0, "low"] < 3 < table.loc[0, "high"]
    assert (table.loc[1, "low"], table.loc[1, "high"]) == (6, 6)  # nothing varies within its families


def test_the_overview_counts_every_suite():
    table = trust.overview({name: tasks.suite(name, TASKS) for name in SUITES})
    assert table["suite"].tolist() == list(SUITES)
    assert table["tasks"].tolist() == [8, 8, 16, 16]
    assert (table[list(FAMILIES)].sum(axis=1) == table["tasks"]).all()
    assert table["ring"].tolist() == [TASKS.ring] * 3 + [TASKS.ring * TASKS.far_factor]


def test_a_grid_has_the_targets_values_out_to_the_rings_edge():
    suite = tasks.suite("search", replace(TASKS, ring=0.5))
    index = suite.families.index("harmonic2d")
    grid = trust.target_grid(suite, index, points=4)
    assert grid["u1"].unique().tolist() == grid["u2"].unique().tolist() == [-1.5, -0.5, 0.5, 1.5]
    np.testing.assert_array_equal(grid["y"], suite.target(index, grid[["u1", "u2"]].to_numpy()))


# --- racing, on a few functions that are hardly trained ---

QUICK = replace(SMOKE, lab=replace(SMOKE.lab, steps=20))
ZOO = ("relu", "snake", "softplus", "gmtu")
MEASURED = ("relu", "tanh", "gelu")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="module")
def raced(store):
    with Laboratory(QUICK, workers=1, store=store) as lab:
        return trust.racing(lab, ZOO, np.random.default_rng(0), MEASURED, orders=30, tie_orders=50)


def kept(which, store, names=ZOO, suite="search"):
    """Gains over ReLU [functions, tasks] and families, from what a laboratory of that profile has kept."""
    losses = Laboratory(which, workers=1, store=store).scores(names, suite)
    ratios = -summaries.log_ratios(losses, which.fitness)["log_ratio"].to_numpy()
    return ratios.reshape(len(names), -1), losses["family"].tolist()[: TASKS.size(suite)]


def test_the_margin_is_what_all_but_delta_of_the_pairs_rise_by_on_the_calibration_suite(raced, store, monkeypatch):
    monkeypatch.setattr(laboratory, "Evaluator", None)  # so that all of this was kept
    short, full = (
        kept(replace(QUICK, lab=replace(QUICK.lab, steps=steps)), store, MEASURED, "calibration")[0].mean(axis=1)
        for steps in (2, 20)
    )
    change = full - short
    rises = [a - b for i, a in enumerate(change) for j, b in enumerate(change) if i != j]
    margins = raced[0].set_index("plan")["margin"]
    np.testing.assert_allclose(margins["margin over steps"], np.quantile(rises, 0.95), rtol=1e-12)
    assert margins.drop("margin over steps").isna().all() and (margins["margin over steps"] > 0).all()


def test_the_plans_are_replayed_over_gains_in_full_and_after_a_tenth_of_the_steps(raced, store, monkeypatch):
    monkeypatch.setattr(laboratory, "Evaluator", None)  # so that all of this was kept
    full, families = kept(QUICK, store)
    short, _ = kept(replace(QUICK, lab=replace(QUICK.lab, steps=2)), store)
    race, generator = Race((4, 8)), np.random.default_rng(0)
    margin = raced[0]["margin"].max()
    plans = [Plan("all in full"), Plan("screen", keep=0.5), Plan("margin over steps", margin=margin)]
    plans += [Plan("race over tasks", race=race)]
    about = {"margin": [np.nan, np.nan, margin, np.nan]}
    expected = [
        racing.study(full, short, 0.1, families, plans, generator, 30, 8, elites).assign(incumbent=elites, **about)
        for elites in (1, 8)
    ]
    pd.testing.assert_frame_equal(raced[0], pd.concat(expected, ignore_index=True))
    dropped, again = (racing.risk(full, families, race, generator, 50) for _ in range(2))
    np.testing.assert_array_equal(raced[1][["dropped", "again"]], np.column_stack([dropped, again]))


def test_the_screens_saving_is_its_arithmetic_and_training_all_saves_nothing(raced):
    saved = raced[0].set_index(["plan", "incumbent"])["saved"]
    assert saved["all in full"].tolist() == [0, 0]
    np.testing.assert_allclose(saved["screen"], 1 - (0.1 * 3 + 2) / 3)  # two of three go on


def test_every_tie_has_its_pair_and_an_interval_around_the_fresh_share(raced):
    ties = raced[1]
    assert list(zip(ties["function"], ties["rival"], strict=True))[:4] == [
        ("relu", "snake"),
        ("relu", "softplus"),
        ("relu", "gmtu"),
        ("snake", "relu"),
    ]
    assert len(ties) == 4 * 3
    assert (ties["low"] <= ties["again"]).all() and (ties["again"] <= ties["high"]).all()
    assert (ties["high"] > ties["low"]).all() and ties["orders"].unique().tolist() == [50]


def test_the_same_generator_gives_the_same_tables_and_nothing_is_trained_again(raced, store, monkeypatch):
    monkeypatch.setattr(laboratory, "Evaluator", None)
    again = trust.racing(Laboratory(QUICK, workers=1, store=store), ZOO, np.random.default_rng(0), MEASURED, 30, 50)
    for one, other in zip(again, raced, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


@pytest.mark.parametrize("functions, measured", [(["snake", "relu"], ["relu"]), (["relu"], ["snake", "relu"])])
def test_races_that_do_not_begin_with_relu_are_refused(functions, measured):
    with pytest.raises(ValueError, match=r"begin with relu.*; got snake, relu"):
        trust.racing(Laboratory(QUICK, workers=1), functions, np.random.default_rng(0), measured)


def test_a_table_stands_beside_the_committed_one_of_the_laptop_where_there_is_one(tmp_path, monkeypatch):
    table, other = pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})
    monkeypatch.setattr(trust, "figures_folder", lambda profile: tmp_path / profile)
    assert list(trust.beside("b", "smoke", table)) == ["smoke"]
    (tmp_path / "laptop").mkdir()
    other.to_csv(tmp_path / "laptop" / "b.csv", index=False)
    files.note(tmp_path / "laptop")
    found = trust.beside("b", "smoke", table)
    assert list(found) == ["smoke", "laptop"]
    assert found["smoke"] is table and found["laptop"].equals(other)
    alone = trust.beside("b", "laptop", table)
    assert list(alone) == ["laptop"] and alone["laptop"] is table


def test_in_the_committed_laptop_replays_the_race_keeps_its_delta_and_saves_a_third_where_the_screen_does_not_keep_it():
    table = pd.read_csv(ROOT / "figures" / "racing.csv").set_index("plan")
    delta = profile("laptop").search.delta
    assert (table.loc["race over tasks", "dropped_high"] < delta).all()
    assert (table.loc["screen", "dropped_low"] > delta).all()
    assert (table.loc["race over tasks", "saved_low"] > 1 / 3).all()
    assert (table.loc["race over tasks", "same_winner_low"] > 0.99).all()
    assert sorted(table.loc["race over tasks", "incumbent"]) == [1, 8]


def test_the_committed_ties_are_those_of_the_committed_plans_and_keep_delta_in_the_mean():
    folder, delta = ROOT / "figures", profile("laptop").search.delta
    plans, path = pd.read_csv(folder / "racing.csv"), folder / "racing_ties.csv"
    assert path.exists() == ("margin over steps" in set(plans["plan"]))  # one run writes both
    if path.exists():
        ties, zoo = pd.read_csv(path), activations.names()
        pairs = [(a, b) for a in zoo for b in zoo if a != b]
        again = "run `make build/laptop/notebooks/03_trust.ipynb` and commit figures/racing_ties.csv"
        assert list(zip(ties["function"], ties["rival"], strict=True)) == pairs, again
        assert ties["again"].between(ties["low"], ties["high"]).all() and ties["again"].mean() < delta
