"""What goes with generality: found where it is there, on the half that did not show it, and not where it is not."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from actlab.activations import zoo
from actlab.core import config
from actlab.core.records import Store
from actlab.scoring.laboratory import Laboratory
from actlab.studies import correlates, generality

pytestmark = pytest.mark.usefixtures("quick_canaries")

SMOKE = config.profile("smoke")


@pytest.fixture(scope="module")
def drawn():
    """The settings of the laptop's held-out labs, with their strata."""
    laptop = config.profile("laptop")
    strata = [one for one, _ in generality.labs.settings("held-out", config.over_labs(laptop).tasks)]
    return correlates.settings(laptop).query("suite == 'held-out'").assign(stratum=strata)


def gaps(drawn, ahead):
    """Log ratios of a function that is ahead in some labs."""
    return drawn[["suite", "lab", "stratum"]].assign(gap=np.where(ahead, -0.2, 0.1), fit=0.0)


def test_settings_are_those_of_every_judged_lab_and_of_its_stratum(drawn):
    table = correlates.settings(SMOKE)
    assert Counter(table["suite"]) == {"held-out": 12, "far": 14}
    of_one = drawn["stratum"].str.startswith("one layer")
    assert len(drawn) == 240 and drawn.loc[of_one, "depth"].eq(1).all() and drawn.loc[~of_one, "depth"].gt(1).all()


def test_features_are_numbers_and_say_which_families_a_lab_has(drawn):
    table = correlates.features(drawn)
    first = drawn.iloc[0]
    assert table.iloc[0]["gain"] == first["gain"] and table.isin([0, 1])["with feynman"].all()
    assert [name for name in config.FAMILIES if table.iloc[0][f"with {name}"]] == first["families"].split(", ")
    assert table["constant rate"].sum() == (drawn["schedule"] == "constant").sum() > 0


def test_a_tree_finds_the_setting_that_decides_and_says_so_of_labs_that_it_was_not_grown_on(drawn):
    right, ends = correlates.deciding(gaps(drawn, drawn["depth"] > 1), drawn.drop(columns="stratum"))
    tree, common = (row._asdict() for row in right.itertuples())
    assert (tree["guess"], tree["right"], tree["n"]) == ("the tree", 1.0, 120)
    assert common["right"] == pytest.approx(2 / 3)
    assert dict(zip(ends["labs"], ends["share"], strict=True)) == {"depth <= 1.5": 0.0, "depth > 1.5": 1.0}
    assert ends[["first", "n"]].sum().tolist() == [120, 120]


def test_a_tree_of_labs_that_no_setting_tells_apart_is_no_better_than_the_commoner_answer(drawn):
    ahead = np.random.default_rng(0).random(len(drawn)) < 0.7
    right, ends = correlates.deciding(gaps(drawn, ahead), drawn.drop(columns="stratum"))
    tree, common = right["right"]
    assert tree < common + 0.05
    assert ends["first"].ge(correlates.LEAF).all() and ends["share"].between(ends["low"], ends["high"]).all()


def test_where_it_is_always_ahead_the_tree_asks_nothing(drawn):
    right, ends = correlates.deciding(gaps(drawn, drawn["depth"] > 0), drawn.drop(columns="stratum"))
    assert ends["labs"].tolist() == ["all"] and right["right"].tolist() == [1.0, 1.0]


def test_an_end_of_a_tree_says_only_the_last_of_what_it_asks_of_a_setting_in_each_direction(drawn):
    between = (drawn["gain"] > 0.8) & (drawn["gain"] < 1.6)
    _, ends = correlates.deciding(gaps(drawn, between), drawn.drop(columns="stratum"))
    (words,) = ends.loc[ends["ahead"] > 0.9, "labs"]
    assert words.count("gain >") == words.count("gain <=") == 1


def made(generator, groups=("zoo",) * 30 + ("over labs",) * 8):
    """Functions whose generality is their slope, in ranks; the other properties are noise."""
    table = pd.DataFrame({name: generator.standard_normal(len(groups)) for name in correlates.PROPERTIES})
    return table.assign(group=groups, generality=table["slope at 0"] ** 3)


def test_a_hypothesis_of_one_half_of_the_functions_is_tested_on_the_other():
    found = correlates.hypotheses(made(np.random.default_rng(3))).set_index("property")
    slope, rest = found.loc["slope at 0"], found.drop(index="slope at 0")
    assert (slope["hypothesis"], slope["first"], slope["spearman"], slope["verdict"]) == ("more", 1.0, 1.0, "holds")
    assert slope["n"] == 19 and (rest["verdict"] == "undecided").all()
    assert (found["p_holm"] >= found["p"]).all()


def test_a_hypothesis_fails_where_the_other_half_goes_the_other_way():
    table = made(np.random.default_rng(2))
    first = generality.half(table["group"].to_numpy(), np.random.default_rng(0))
    table.loc[~first, "generality"] *= -1
    found = correlates.hypotheses(table, seed=0).set_index("property").loc["slope at 0"]
    assert (found["hypothesis"], found["spearman"], found["verdict"]) == ("more", -1.0, "fails")


def test_properties_are_those_of_known_functions_and_of_pointwise_ones_alone(warm_sandboxes, tmp_path):
    programs = {name: zoo.program_source(name) for name in ("relu", "gelu", "snake", "tanh", "turbulent")}
    with Laboratory(SMOKE, 1, Store(tmp_path)) as laboratory:
        found = correlates.properties(laboratory, programs).set_index("function")
    assert list(found.index) == ["relu", "gelu", "snake", "tanh"]
    assert found.loc["gelu", "slope at 0"] == pytest.approx(0.5, abs=1e-6)
    assert found.loc["gelu", "curvature at 0"] == pytest.approx(np.sqrt(2 / np.pi), rel=0.02)  # of x Phi(x)
    assert found.loc["snake", "curvature at 0"] == pytest.approx(2, rel=0.02)  # of x + sin(x)^2
    growth = found[["growth at the left", "growth at the right"]]
    np.testing.assert_allclose(growth.loc["relu"], [0, 1], atol=1e-9)
    np.testing.assert_allclose(growth.loc["tanh"], [0, 0], atol=1e-3)
    assert found["changes of slope"].to_dict() == {"relu": 0, "gelu": 1, "snake": 0, "tanh": 0}
