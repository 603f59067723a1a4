"""Claims on transfer, judged from comparisons that are written by hand."""

import pandas as pd
import pytest

from actlab import transfer_claims

COUPLED = ("turbulent", "fisg")
OTHERS = ("relu", "gelu", "gelu-sine", "snake")


def planned(verdicts, functions=COUPLED):
    """Comparisons with ReLU and GELU of each function on two kinds and two splits, by default undecided."""
    rows = [
        (kind, task, split, planned, name, other, -0.1, -0.2, 0.0, verdicts.get((name, kind, split), "undecided"))
        for kind, task, planned in (("images", "MNIST-5k", True), ("algorithms", "mean of 5 algorithms", True),
                                    ("algorithms", "bfs", False))
        for split in ("in-distribution", "ood")
        for name in functions
        for other in ("relu", "gelu")
    ]  # fmt: skip
    names = ["benchmark", "task", "split", "planned", "function", "other", "difference", "low", "high", "verdict"]
    table = pd.DataFrame(rows, columns=names)
    # Neither another reference nor a single algorithm decides.
    return table.assign(verdict=table["verdict"].where(table["planned"] & (table["other"] == "relu"), "better"))


def overall(verdicts, functions=OTHERS, other="gelu-sinc"):
    table = pd.DataFrame({"function": list(functions), "other": other, "value": 0.1, "low": 0.0, "high": 0.3})
    return table.assign(verdict=[verdicts.get(name, "undecided") for name in functions])


def judged(compared=None, over_relu=None, over_best=None):
    variants = overall({}, transfer_claims.VARIANTS, "relu")
    found = transfer_claims.judged(
        planned({}) if compared is None else compared,
        variants if over_relu is None else over_relu,
        overall({}) if over_best is None else over_best,
        COUPLED,
    )
    return found.set_index("statement")


def test_the_statements_are_of_claims_5_and_6_and_nothing_decides_itself():
    found = judged()
    assert found["claim"].tolist() == [5] * 5 + [6] * 4
    assert set(found["verdict"]) == {"undecided"}


@pytest.mark.parametrize(
    ("inside", "outside", "verdict"),
    [
        ("worse", "worse", "holds"),
        ("worse", "undecided", "undecided"),
        ("worse", "better", "fails"),
        ("undecided", "better", "fails"),
    ],
)
def test_a_function_fails_on_images_where_it_is_worse_on_both_splits(inside, outside, verdict):
    verdicts = {("fisg", "images", "in-distribution"): inside, ("fisg", "images", "ood"): outside}
    found = judged(planned(verdicts))
    assert found.loc["FISG is worse than ReLU on images", "verdict"] == verdict
    assert found.loc["Turbulent is worse than ReLU on images", "verdict"] == "undecided"
    both = found.loc["All 2 of these are worse than ReLU on images"]
    assert both["verdict"] == ("fails" if verdict == "fails" else "undecided")
    assert both[["better", "worse", "undecided"]].sum() == 4


def test_may_help_holds_where_one_is_better_and_fails_where_all_are_worse():
    statement = "One that sees other elements is better than ReLU on algorithms, in or out of distribution"
    places = [(name, "algorithms", split) for name in COUPLED for split in ("in-distribution", "ood")]
    worse = dict.fromkeys(places, "worse")
    assert judged(planned(worse)).loc[statement, "verdict"] == "fails"
    assert judged(planned(worse | {places[0]: "undecided"})).loc[statement, "verdict"] == "undecided"
    assert judged(planned(worse | {places[0]: "better"})).loc[statement, "verdict"] == "holds"


def test_turbulent_is_judged_on_every_planned_task_with_its_numbers_written_out():
    places = [("turbulent", kind, split) for kind in ("images", "algorithms") for split in ("in-distribution", "ood")]
    found = judged(planned(dict.fromkeys(places, "worse"))).loc["Turbulent is worse than ReLU on every task and split"]
    assert found["verdict"] == "holds"
    assert found["evidence"].startswith("MNIST-5k, in distribution: -0.100 [-0.200, +0.000]; MNIST-5k, OOD: ")
    assert "bfs" not in found["evidence"]


def test_the_best_is_best_where_every_other_function_is_worse():
    statement = "GELU-Sinc is better than every other function in the mean over kinds"
    found = judged(over_best=overall(dict.fromkeys(OTHERS, "worse"))).loc[statement]
    assert (found["verdict"], found["better"]) == ("holds", 4)
    assert found["evidence"].startswith("-0.100 [-0.300, -0.000]; ")  # seen from the best's side
    one = dict.fromkeys(OTHERS, "worse")
    assert judged(over_best=overall(one | {"snake": "better"})).loc[statement, "verdict"] == "fails"
    assert judged(over_best=overall(one | {"snake": "undecided"})).loc[statement, "verdict"] == "undecided"


def test_a_kind_without_records_is_not_tested():
    compared = planned({})
    found = judged(compared[compared["benchmark"] != "images"])
    assert found.loc["FISG is worse than ReLU on images", ["verdict", "evidence"]].tolist() == ["not tested", ""]


def test_functions_that_are_decided_are_listed_by_place_and_reference():
    compared = planned({("fisg", "images", "ood"): "worse", ("turbulent", "images", "ood"): "worse"})
    found = transfer_claims.decided(compared).set_index(["task", "split", "against"])
    assert found.loc[("MNIST-5k", "OOD", "ReLU")].tolist() == ["none", "Turbulent, FISG"]
    assert found.loc[("MNIST-5k", "in distribution", "ReLU")].tolist() == ["none", "none"]
    assert found.loc[("bfs", "OOD", "GELU")].tolist() == ["Turbulent, FISG", "none"]
