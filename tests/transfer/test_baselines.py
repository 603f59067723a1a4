"""Plain answers beside a function, on scores that are written by hand."""

import pandas as pd
import pytest

from actlab.core.records import ROOT, Store
from actlab.transfer import algorithms, baselines


def scores(values, split="ood"):
    return pd.DataFrame({"data": "B3DB", "function": "relu", "split": split, "seed": range(len(values)),
                         "value": values})  # fmt: skip


def answers(values, seeds, split="ood"):
    return pd.DataFrame({"data": "B3DB", "answer": "forest", "split": split, "seed": seeds, "value": values})


@pytest.mark.parametrize(("floor", "verdict"), [(0.5, "above"), (0.95, "below"), (0.81, "level")])
def test_a_score_is_above_a_floor_where_its_interval_leaves_0_out(floor, verdict):
    found = baselines.beside(scores([0.80, 0.81, 0.83]), answers([floor], [pd.NA])).iloc[0]
    assert found["verdict"] == verdict and found["n"] == 3
    assert found["difference"] == pytest.approx(0.44 / 3 + 2 / 3 - floor)


def test_a_floor_that_hangs_on_the_seed_is_paired_with_it():
    found = baselines.beside(scores([0.9, 0.5, 0.7]), answers([0.8, 0.6, 0.4], [0, 2, 1])).iloc[0]
    assert found["difference"] == pytest.approx((0.1 + 0.1 + 0.1) / 3) and found["verdict"] == "above"


def test_two_scores_of_an_answer_that_should_have_one_are_refused():
    with pytest.raises(ValueError, match="wanted one score of forest on B3DB, ood; got 2"):
        baselines.beside(scores([0.9, 0.5]), answers([0.8, 0.6], [pd.NA, pd.NA]))


def test_a_floor_is_computed_once_and_then_kept(tmp_path, monkeypatch):
    config = algorithms.SMOKE[0]
    first = baselines.score(config, "algorithms", Store(tmp_path), networks=1)
    assert set(first["answer"]) == {"constant", "untrained"} and first["value"].between(0, 1).all()
    monkeypatch.setattr(algorithms, "baseline", None)
    pd.testing.assert_frame_equal(baselines.score(config, "algorithms", Store(tmp_path), networks=1), first)


def committed(kind):
    return pd.read_csv(ROOT / "figures" / f"{kind}_floor.csv")


def test_relu_is_above_or_level_with_the_plain_classifiers_on_the_laptops_images_and_molecules():
    said = {kind: committed(kind).groupby("answer")["verdict"].agg(set).to_dict() for kind in ("images", "molecules")}
    assert said == {
        "images": {"SVC": {"above"}, "logistic regression": {"above"}},
        "molecules": {"random forest": {"level"}, "logistic regression": {"above"}},
    }
    assert (pd.concat(map(committed, said))["n"] == 10).all()


def test_relu_is_above_or_level_with_an_untrained_network_and_a_constant_answer_on_every_algorithm():
    table = committed("algorithms")
    assert len(table) == len(algorithms.LAPTOP) * 4 and set(table["answer"]) == {"constant", "untrained"}
    level = table[table["verdict"] == "level"]
    assert set(table["verdict"]) == {"above", "level"} and (table["low"] > 0).equals(table["verdict"] == "above")
    assert set(level["split"]) == {"ood"} and set(level["data"]) == {"insertion_sort", "lcs_length"} and len(level) == 3
