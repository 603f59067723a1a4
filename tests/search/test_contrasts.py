"""Statistics of the comparison of searches, on losses that are written by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from actlab.core import config, stats
from actlab.search import contrasts
from actlab.search.ablation import Comparison

FITNESS = config.profile("smoke").fitness
SUITE = "held-out"


def written(shifts, seeds=5, noise=0.02):
    """A comparison whose arms have these mean log ratios to the search, with a little noise by seed and task."""
    rng, rows = np.random.default_rng(0), []
    tasks = [(family, f"{i:03d}") for i, family in enumerate(config.FAMILIES * 10)]
    base = np.exp(rng.normal(-2, 0.3, len(tasks)))
    for arm, shift in shifts.items():
        for seed in range(seeds):
            losses = base * np.exp(shift + noise * rng.standard_normal(len(tasks)))
            rows += [(arm, seed, "final", SUITE, *task, loss, 1e-3) for task, loss in zip(tasks, losses, strict=True)]
    columns = ["suite", "family", "task", "ood_mse", "train_mse"]
    relu = [("relu", SUITE, *task, 2 * loss, 1e-3) for task, loss in zip(tasks, base, strict=True)]
    losses, references = pd.DataFrame(rows, columns=["arm", "seed", "pick", *columns]), pd.DataFrame(relu)
    return Comparison(losses, references.set_axis(["function", *columns], axis=1), None, None, {})


def test_each_arm_is_compared_with_the_search_and_corrected_by_holm():
    table = contrasts.differences(written({"search": 0.0, "a": 0.5, "b": -0.5, "c": 0.0}), SUITE, FITNESS)
    assert table["arm"].tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(table["log_ratio"], [0.5, -0.5, 0.0], atol=0.01)
    assert (table["low"] < table["log_ratio"]).all() and (table["log_ratio"] < table["high"]).all()
    assert table["verdict"].tolist() == ["worse", "better", "undecided"]
    np.testing.assert_array_equal(table["p_holm"], stats.holm(table["p"]))
    assert table[["seeds", "n"]].to_numpy().tolist() == [[5, 40]] * 3


def test_rows_in_any_order_give_the_same_differences():
    one = written({"search": 0.0, "a": 0.1})
    mixed = replace(one, losses=one.losses.sample(frac=1, random_state=0).sort_values("arm", ascending=False))
    first, second = (contrasts.differences(which, SUITE, FITNESS) for which in (one, mixed))
    pd.testing.assert_frame_equal(first, second)


def test_losses_below_the_floor_count_as_the_floor():
    one = written({"search": -20.0, "a": -30.0})
    assert contrasts.differences(one, SUITE, FITNESS)["log_ratio"].tolist() == [0]


def test_arms_beside_a_function_have_ratios_to_it_and_no_verdict():
    table = contrasts.differences(written({"search": 0.0, "a": 0.5}), SUITE, FITNESS, ["relu"])
    assert table[["arm", "other"]].to_numpy().tolist() == [["search", "relu"], ["a", "relu"]]
    np.testing.assert_allclose(table["log_ratio"], [-np.log(2), 0.5 - np.log(2)], atol=0.01)
    assert "verdict" not in table


def test_the_best_of_each_run_are_compared_apart_and_without_a_verdict():
    final, best = written({"search": 0.0, "a": 0.5}), written({"search": 0.0, "a": -0.25})
    losses = pd.concat([final.losses, best.losses.assign(pick="best")], ignore_index=True)
    both = replace(final, losses=losses.sample(frac=1, random_state=0).sort_values("arm", ascending=False))
    alone = contrasts.differences(final, SUITE, FITNESS)
    pd.testing.assert_frame_equal(contrasts.differences(both, SUITE, FITNESS), alone)
    table = contrasts.differences(both, SUITE, FITNESS, pick="best")
    wanted = contrasts.differences(best, SUITE, FITNESS).drop(columns=["p_holm", "verdict"])
    pd.testing.assert_frame_equal(table, wanted)
    np.testing.assert_allclose(table["log_ratio"], [-0.25], atol=0.01)
    for table in (contrasts.by_seed, contrasts.by_family):
        pd.testing.assert_frame_equal(table(both, SUITE, FITNESS), table(final, SUITE, FITNESS), check_like=True)


def test_each_seed_has_its_mean_over_tasks_and_functions_have_no_seed():
    one = written({"search": 0.0, "a": 0.5}, seeds=3, noise=0)
    snake = one.references.assign(function="snake", ood_mse=one.references["ood_mse"] / 4)
    table = contrasts.by_seed(replace(one, references=pd.concat([one.references, snake])), SUITE, FITNESS)
    runs = table[table["seed"].notna()]
    assert runs[["arm", "seed"]].to_numpy().tolist() == [[arm, seed] for arm in ("search", "a") for seed in range(3)]
    np.testing.assert_allclose(runs["log_ratio"], [-np.log(2)] * 3 + [0.5 - np.log(2)] * 3)
    assert table[table["seed"].isna()]["arm"].tolist() == ["snake"]
    assert table["log_ratio"].iloc[-1] == pytest.approx(-np.log(4))


def test_each_family_has_its_own_mean():
    one = written({"search": 0.0, "a": 0.0}, noise=0)
    waves = (one.losses["arm"] == "a") & (one.losses["family"] == "harmonic")
    one.losses.loc[waves, "ood_mse"] *= np.exp(0.3)
    table = contrasts.by_family(one, SUITE, FITNESS).set_index("arm")
    assert table.columns.tolist() == list(config.FAMILIES)
    np.testing.assert_allclose(table.loc["search"], -np.log(2))
    np.testing.assert_allclose(table.loc["a"], np.where(table.columns == "harmonic", 0.3, 0) - np.log(2))


def test_plain_means_stand_beside_the_ratios_and_unequal_fits_are_marked():
    one = written({"search": 0.0, "a": 0.5, "b": 0.5}, noise=0)
    one.losses["train_mse"] = one.losses["arm"].map({"search": 1e-3, "a": 1.9e-3, "b": 4e-4})
    table = contrasts.differences(one, SUITE, FITNESS)
    means = one.losses.groupby("arm")["ood_mse"].mean()
    np.testing.assert_allclose(table["mse_difference"], [means["a"] - means["search"], means["b"] - means["search"]])
    assert (table["mse_low"] < table["mse_difference"]).all() and (table["mse_difference"] < table["mse_high"]).all()
    assert table["unequal_fit"].tolist() == [False, True]


def test_a_task_that_a_run_lacks_is_missed():
    one = written({"search": 0.0, "a": 0.1})
    with pytest.raises(ValueError, match="wanted a loss of every run on every task of the suite held-out"):
        contrasts.differences(replace(one, losses=one.losses.iloc[1:]), SUITE, FITNESS)
    with pytest.raises(ValueError, match="of the suite far; got 0 losses"):
        contrasts.differences(one, "far", FITNESS)
