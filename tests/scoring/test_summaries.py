import numpy as np
import pandas as pd
import pytest

from actlab.core.config import FitnessConfig
from actlab.scoring import summaries

CONFIG = FitnessConfig()


def losses(functions, suite="search", seeds=(0,)):
    """Eight tasks in two families; a function's losses are its factor times the task's."""
    base = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    rows = [
        {
            "function": name,
            "suite": suite,
            "seed": seed,
            "learning_rate": 1e-3,
            "family": "harmonic" if task < 4 else "feynman",
            "task": f"{task:03d}",
            "ood_mse": factor * base[task] * (1 + seed),
            "ood_mse_whole": 2 * factor * base[task],
            "train_mse": 0.001 * factor,
        }
        for name, factor in functions.items()
        for seed in seeds
        for task in range(8)
    ]
    return pd.DataFrame(rows)


TWO = {"relu": 1.0, "gelu": 0.5}


def test_the_matrix_is_functions_by_tasks_by_seeds_whatever_the_order_of_the_rows():
    table = losses(TWO, seeds=(0, 1))
    array = summaries.matrix(table)
    assert array.shape == (2, 8, 2)
    assert array[:, 3, 1].tolist() == [0.8, 0.4]
    shuffled = pd.concat([table.iloc[:1], table.iloc[1:16].iloc[::-1], table.iloc[16:]])
    again = summaries.matrix(shuffled)
    assert sorted(again[0].ravel()) == sorted(array[0].ravel())


def test_a_matrix_with_a_hole_or_of_two_suites_is_refused():
    with pytest.raises(ValueError, match="wanted every function on every task and seed"):
        summaries.matrix(losses(TWO).iloc[1:])
    with pytest.raises(ValueError, match="wanted losses on one suite; got search, far"):
        summaries.matrix(pd.concat([losses(TWO), losses(TWO, "far")]))


def test_a_function_with_half_of_relus_loss_has_a_log_ratio_of_minus_log_2_everywhere():
    table = summaries.summary(losses(TWO), CONFIG).set_index("function")
    assert table.loc["gelu", ["log_ratio", "log_low", "log_high"]].tolist() == pytest.approx([-np.log(2)] * 3)
    assert table.loc["relu", "log_ratio"] == 0
    assert table.loc["gelu", "ood_mse"] == pytest.approx(0.225)
    assert table.loc["gelu", "ood_low"] < 0.225 < table.loc["gelu", "ood_high"]
    assert table.loc["gelu", ["n", "whole_mse", "train_mse"]].tolist() == pytest.approx([8, 0.45, 0.0005])


def test_log_ratios_want_their_reference():
    with pytest.raises(ValueError, match="wanted losses of relu; got gelu"):
        summaries.log_ratios(losses({"gelu": 1.0}), CONFIG)


def test_families_are_averaged_by_themselves():
    table = summaries.families(losses(TWO))
    assert table.columns.tolist() == ["function", "suite", "harmonic", "feynman"]
    assert table.iloc[0].tolist() == ["relu", "search", pytest.approx(0.25), pytest.approx(0.65)]


def test_planned_comparisons_are_paired_corrected_and_marked_where_fit_is_unequal():
    table = summaries.comparisons(losses({"found": 0.5, "relu": 1.0, "snake": 0.25, "gelu": 0.5}), "found",
                               ["relu", "snake", "gelu"], CONFIG)  # fmt: skip
    by = table.set_index("function")
    assert by["verdict"].tolist() == ["better", "worse", "undecided"]
    assert by["log_ratio"].tolist() == pytest.approx([-np.log(2), np.log(2), 0])
    assert (by["p_holm"] >= by["p"]).all()
    assert by.loc["relu", "p_holm"] == pytest.approx(3 * 2 / 256)  # all 256 flips of 8 signs, three comparisons
    assert by["unequal_fit"].tolist() == [False, False, False]
    far = summaries.comparisons(losses({"found": 0.1, "relu": 1.0}), "found", ["relu"], CONFIG)
    assert far["unequal_fit"].tolist() == [True]


def test_a_win_at_a_training_loss_of_less_than_half_is_noted_and_so_is_the_calibrated_row():
    table = summaries.notes(summaries.summary(losses({"relu": 1.0, "gelu": 0.9, "snake": 0.3, "sine": 3.0}), CONFIG))
    assert dict(zip(table["function"], table["note"], strict=True)) == {
        "relu": "calibrated", "gelu": "", "snake": "wins at unequal fit", "sine": "",
    }  # fmt: skip
    assert table["train_ratio"].tolist() == pytest.approx([1.0, 0.9, 0.3, 3.0])


def test_the_batch_effect_is_the_whole_set_over_the_batches():
    effect = summaries.batch_effect(losses({"relu": 0.5}), CONFIG)
    assert effect["log_ratio"].tolist() == pytest.approx([np.log(2)])
    assert (effect["batches"].item(), effect["whole"].item()) == pytest.approx((0.225, 0.45))


def test_all_pairs_of_a_plan_are_one_family_for_holm():
    table = losses({"a": 0.5, "b": 0.5, "relu": 1.0})
    alone = summaries.planned(table, [("a", "relu")], CONFIG)
    both = summaries.planned(table, [("a", "relu"), ("b", "relu")], CONFIG)
    assert both["p_holm"].iloc[0] == pytest.approx(2 * alone["p_holm"].item())


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [(["better", "better"], "holds"), (["better", "undecided"], "is undecided"), (["undecided", "worse"], "fails")],
)
def test_a_claim_holds_where_all_are_better_and_fails_where_one_is_worse(verdicts, said):
    assert summaries.claim(pd.DataFrame({"verdict": verdicts})) == said


def test_estimates_are_written_with_their_intervals():
    row = pd.Series({"log_ratio": np.log(0.5), "low": np.log(0.25), "high": 0.0})
    assert summaries.ratio(row) == "0.50 [0.25, 1.00]"
    rows = pd.DataFrame({"a": [0.123, -1.0], "low": [0.1, -2.0], "high": [0.2, 0.5]})
    assert summaries.intervals(rows, "a") == ["0.12 [0.10, 0.20]", "-1.00 [-2.00, 0.50]"]
    assert summaries.intervals(rows, "a", form="+.1f")[0] == "+0.1 [+0.1, +0.2]"


def test_table_4_has_every_function_suite_and_family_with_both_losses_and_their_intervals():
    table = summaries.by_family(pd.concat([losses(TWO), losses(TWO, "far")], ignore_index=True))
    assert len(table) == 2 * 2 * 2 and (table["n"] == 4).all()
    row = table.set_index(["suite", "function", "family"]).loc[("far", "gelu", "harmonic")]
    assert row["ood_mse"] == pytest.approx(0.125) and row["ood_low"] < 0.125 < row["ood_high"]
    assert row[["train_mse", "train_low", "train_high"]].tolist() == pytest.approx([0.0005] * 3)
    cell = summaries.written(table).iloc[0]
    assert cell["ood loss"].startswith("0.25 [0, 0.") and cell["train loss"] == "0.001 [0.001, 0.001]"


def test_a_bar_in_a_cell_or_a_head_of_a_table_is_text():
    table = pd.DataFrame({"a|b": ["abs(x) | y", "z"], "n": [0.12345, 2]})
    assert summaries.markdown(table, 2).splitlines()[::2] == [
        r"| a\|b        |    n |",
        r"| abs(x) \| y | 0.12 |",
    ]
