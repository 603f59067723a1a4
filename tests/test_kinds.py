"""What the notebooks show of one kind of task, on records that are written by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from actlab import kinds, transfer
from actlab.benchmarks import Row, table


def run(function, seed, validation, inside, outside, whole=None, outcome="scored"):
    rows = [Row("validation", "accuracy", value, epoch) for epoch, value in enumerate(validation)]
    rows.append(Row("in-distribution", "accuracy", inside, 1, outcome=outcome))
    rows.append(Row("ood", "accuracy", outside, 1, shift="noise", severity=1))
    if whole is not None:
        rows.append(Row("in-distribution", "accuracy", whole, 1, "whole"))
    return table("images", "MNIST-5k", seed, rows).assign(function=function)


@pytest.fixture
def rows():
    return pd.concat([
        run("relu", 0, [0.5, 0.9], 0.90, 0.7), run("relu", 1, [0.7, 0.8], 0.94, 0.6),
        run("turbulent", 0, [0.4, 0.6], 0.80, 0.5, 0.7), run("turbulent", 1, [0.4], np.nan, 0.4, None, "diverged"),
    ], ignore_index=True)  # fmt: skip


def test_a_mean_over_seeds_has_students_interval_and_one_seed_has_none(rows):
    found = kinds.tests(rows).set_index(["function", "split"])
    own = found.loc[("relu", "in-distribution")]
    low, high = stats.t.interval(0.95, 1, loc=0.92, scale=np.std([0.90, 0.94], ddof=1) / np.sqrt(2))
    assert own[["n", "value", "low", "high"]].tolist() == pytest.approx([2, 0.92, low, high])
    alone = found.loc[("turbulent", "in-distribution")]
    assert alone["n"] == 1 and alone["value"] == 0.8 and np.isnan(alone["low"])


def test_a_curve_counts_the_runs_that_came_so_far(rows):
    found = kinds.curves(rows).set_index(["function", "epoch"])
    assert found.loc[("turbulent", 0), "n"] == 2 and found.loc[("turbulent", 1), "n"] == 1
    assert found.loc[("relu", 1), "value"] == pytest.approx(0.85)


def test_a_run_ends_as_the_first_of_its_tests_that_was_not_scored(rows):
    found = kinds.endings(rows).set_index("function")
    assert found.loc["relu"].to_dict() == {"runs": 2, "scored": 2, "OOM": 0, "diverged": 0}
    assert found.loc["turbulent"].to_dict() == {"runs": 2, "scored": 1, "OOM": 0, "diverged": 1}


def test_the_whole_set_is_held_against_batches_where_a_function_sees_its_batch():
    scores = pd.DataFrame({"data": "MNIST-5k", "split": "ood", "function": ["turbulent"] * 3 + ["relu"] * 3,
                           "seed": [0, 1, 2] * 2, "value": [0.5, 0.6, 0.7] * 2, "whole": [0.6, 0.7, 0.9] * 2,
                           "failed": False})  # fmt: skip
    found = kinds.whole_against_batches(scores)
    assert found["function"].tolist() == ["turbulent"]
    assert found.iloc[0][["n", "batches", "difference"]].tolist() == pytest.approx([3, 0.6, 0.4 / 3])


def test_the_drop_is_paired_by_run():
    scores = pd.DataFrame({"data": "B3DB", "function": "relu", "seed": [0, 0, 1, 1],
                           "split": ["in-distribution", "ood"] * 2, "value": [0.9, 0.8, 0.7, 0.4]})  # fmt: skip
    assert kinds.drop(scores).iloc[0][["n", "value"]].tolist() == pytest.approx([2, 0.2])


def compared(verdict="worse", failed=0):
    row = {"task": "MNIST-5k", "split": "ood", "function": "fisg", "other": "relu", "difference": -0.1234,
           "low": -0.2, "high": -0.05, "verdict": verdict, "failed": failed}  # fmt: skip
    return pd.DataFrame([row, {**row, "function": "snake", "verdict": "undecided", "failed": 0}])


def test_a_difference_is_said_with_its_interval_verdict_and_failures():
    found = kinds.differences(compared(failed=2)).set_index("function")["OOD, over ReLU"]
    assert found["FISG"] == "-0.123 [-0.200, -0.050], worse, 2 failed"
    assert found["Snake"] == "-0.123 [-0.200, -0.050]"


def test_verdicts_name_who_is_better_and_worse_and_where():
    said = kinds.verdicts(compared())
    assert said == "Against ReLU OOD, better: none; worse: FISG. All others are undecided."
    assert kinds.decided(compared()).iloc[0].tolist() == ["MNIST-5k", "OOD", "ReLU", "none", "FISG"]


def test_every_function_of_the_design_stands_in_a_group():
    assert set(transfer.FUNCTIONS) == {name for names in kinds.GROUPS.values() for name in names}


def test_a_kind_with_one_seed_has_no_interval_and_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "done", lambda *_: transfer.Design(("relu",), {"images": 1}))
    with pytest.raises(FileNotFoundError):
        kinds.load(transfer.Records(tmp_path))


def test_a_data_set_that_is_not_there_is_one_line_that_says_how_to_get_it():
    lines = kinds.lacking("images").set_index("data")["message"]
    assert lines["CIFAR-10"].startswith("CIFAR-10: wanted") and "came none" in lines["CIFAR-10"]


def test_settings_are_shown_with_the_words_of_the_configuration():
    from actlab.benchmarks import images

    shown = kinds.settings(images.LAPTOP).set_index("setting")
    assert shown.loc["width", "value"] in ("8", 8) and "channels" in shown.loc["width", "what"]
