from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from actlab.core import paper
from actlab.core.config import FitnessConfig
from actlab.core.records import ROOT
from actlab.lab.distribution import Distribution
from actlab.studies import claim_rules, multiverse, robustness, trust
from actlab.studies.multiverse import FUNCTIONS
from actlab.studies.robustness import STATEMENTS, TABLE_1, Cube, Statement

PLAIN = (Statement("a < b", ("a",), ("b",)), Statement("a, b < c", ("a", "b"), ("c",)))
ALWAYS = np.tile([[1.0], [2.0], [3.0]], 30)


def made(scores, tasks=4, functions=("a", "b", "c"), each=None):
    """A cube in which every task of a lab has the lab's own score, [functions, labs]."""
    scores = np.asarray(scores, dtype=float)
    values = np.repeat(scores[:, :, None], tasks, axis=2)
    labs = scores.shape[1]
    each = np.full(labs, tasks) if each is None else np.asarray(each)
    return Cube(tuple(functions), np.arange(labs), {"mean": values, "typical": np.log(values)}, scores / 10, each)


class Kept:
    """Records without files."""

    def __init__(self, labs=3, functions=("relu", "gelu"), tasks=4):
        rows = [(lab, f, t, "harmonic", 0.1 * (lab + 1) + t, 0.01 * (i + 1))
                for lab in range(labs) for i, f in enumerate(functions) for t in range(tasks)]  # fmt: skip
        self.losses = pd.DataFrame(rows, columns=["lab", "function", "task", "family", "ood_mse", "train_mse"])
        families = ["harmonic", "harmonic+feynman", "polynomial+harmonic+harmonic2d+feynman"]
        self.labs = pd.DataFrame({"lab": range(labs), "families": families[:labs]})


def test_every_statement_of_the_papers_is_true_of_its_table_1_and_of_functions_that_labs_score():
    for statement in STATEMENTS:
        assert {*statement.better, *statement.worse} <= set(FUNCTIONS)
        if statement.origin == "paper":
            ood = {name: paper.TABLE_1[name].ood for name in (*statement.better, *statement.worse)}
            assert max(ood[n] for n in statement.better) < min(ood[n] for n in statement.worse), statement.words
    assert len({statement.words for statement in STATEMENTS}) == len(STATEMENTS)


def test_the_discovered_and_the_hand_made_have_one_source_each():
    everyone = next(statement for statement in STATEMENTS if statement.words == "Snake < all discovered")
    assert everyone.worse is claim_rules.DISCOVERED and not hasattr(robustness, "DISCOVERED")
    assert set(TABLE_1) == {*claim_rules.DISCOVERED, "gelu", "relu"}
    assert set(multiverse.FUNCTIONS) < {*TABLE_1, *trust.HAND_MADE, "found"}


def test_table_1_is_taken_best_first_as_the_paper_orders_it():
    assert [name for name in paper.lab_order() if name in TABLE_1] == list(TABLE_1)
    assert (TABLE_1[0], TABLE_1[-1]) == ("turbulent", "relu")


def test_a_statements_chance_is_that_of_a_random_order():
    assert [statement.chance for statement in PLAIN] == [1 / 2, 1 / 3]
    by_name = {statement.words: statement.chance for statement in STATEMENTS}
    assert by_name["all discovered < GELU and ReLU"] == pytest.approx(1 / 15)
    assert by_name["Turbulent < the other five"] == pytest.approx(1 / 6)


def test_records_become_a_cube_of_functions_labs_and_tasks():
    cube = robustness.cube(Kept(), FitnessConfig(clamp=2.0, floor=0.15))
    assert cube.functions == ("relu", "gelu") and cube.each.tolist() == [4, 2, 1]
    np.testing.assert_allclose(cube.values["mean"][1, 0], [0.1, 1.1, 2.0, 2.0])
    np.testing.assert_allclose(cube.values["typical"][0, 0], np.log([0.15, 1.1, 2.0, 2.0]))
    np.testing.assert_allclose(cube.train, [[0.01] * 3, [0.02] * 3])


def test_records_that_lack_a_loss_or_mix_up_functions_are_refused():
    kept = Kept()
    for losses in (kept.losses.drop(index=5), kept.losses.assign(function=["relu", "gelu"] * 12)):
        kept.losses = losses
        with pytest.raises(ValueError, match=rf"of \(3, 2, 4\) labs, functions and tasks; got {len(losses)} rows"):
            robustness.cube(kept, FitnessConfig())


def test_shares_count_labs_in_which_all_of_the_better_are_below_all_of_the_worse():
    # a < b in labs 0 to 2; in lab 3 they tie; c is above both in labs 0 and 1 alone
    cube = made([[1, 1, 1, 2], [2, 2, 2, 2], [3, 3, 1.5, 1]])
    table = robustness.shares(cube, [PLAIN], resamples=50).set_index(["aggregate", "statement"])
    for aggregate in ("mean", "typical"):
        assert table.loc[aggregate, "share"].to_dict() == {"a < b": 0.75, "a, b < c": 0.5}
    low, high = (0.3006, 0.9544)  # Wilson, 3 of 4
    assert table.loc[("mean", "a < b"), ["low", "high"]].tolist() == pytest.approx([low, high], abs=1e-4)


@pytest.mark.parametrize(
    ("scores", "verdict"),
    [
        (ALWAYS, "in most labs"),
        (ALWAYS[::-1], "in few labs"),
        (np.concatenate([ALWAYS[:, :15], ALWAYS[::-1, :15]], axis=1), "undecided"),
    ],
)
def test_a_share_is_decided_only_beyond_chance_of_a_coin_after_holm(scores, verdict):
    table = robustness.shares(made(scores), [PLAIN], resamples=20)
    assert set(table["verdict"]) == {verdict} and (table["p_holm"] >= table["p"]).all()


def test_tasks_are_redrawn_within_their_lab_and_family():
    # Each family has a value of its own, so that no redrawing within families can change a lab's mean.
    values = np.array([[[1.0, 1, 5, 5], [10, 10, 10, 10], [100, 200, 300, 400]]])
    cube = Cube(("a",), np.arange(3), {"mean": values}, np.ones((1, 3)), np.array([2, 4, 1]))
    for scores in cube.resampled("mean", 0, 20):
        assert set(scores[0]) <= {3.0, 10.0, 250.0}


def test_redrawing_within_labs_widens_the_interval_where_tasks_differ():
    generator = np.random.default_rng(0)
    values = generator.lognormal(size=(2, 30, 12))
    cube = Cube(("a", "b"), np.arange(30), {"mean": values, "typical": np.log(values)}, values[..., 0], np.full(30, 12))
    row = robustness.ratios(cube, PLAIN[:1], resamples=400).iloc[0]
    gaps = np.log(values[0]).mean(axis=1) - np.log(values[1]).mean(axis=1)
    assert row["log_ratio"] == pytest.approx(gaps.mean())
    assert row["low"] < gaps.mean() < row["high"]
    over_labs = 2 * 1.96 * gaps.std(ddof=1) / np.sqrt(30)
    assert row["high"] - row["low"] > 1.2 * over_labs


def test_ratios_are_of_pairs_alone():
    table = robustness.ratios(made([[1, 1], [2, 2], [3, 3]]), PLAIN, resamples=10)
    assert table["statement"].tolist() == ["a < b"]
    assert table["log_ratio"].tolist() == pytest.approx([np.log(0.5)])


def test_taus_are_scipys_ties_included():
    generator = np.random.default_rng(1)
    scores = generator.integers(1, 6, size=(6, 40)).astype(float)
    cube = made(scores, functions=TABLE_1)
    oracle = [scipy.stats.kendalltau(range(6), column).statistic for column in scores.T]
    np.testing.assert_allclose(robustness.taus(cube, "mean"), oracle, atol=1e-12)


def test_random_orders_have_the_taus_that_theory_gives():
    random = robustness.random_taus()
    assert random.sum() == pytest.approx(1)
    assert len(random) == 16 and random.index[0] == -1 and random.index[-1] == 1
    variance = (random.index.to_numpy() ** 2 * random).sum()
    assert variance == pytest.approx(2 * (2 * 6 + 5) / (9 * 6 * 5))


ORDER, UP = np.array([[3.0], [6], [1], [5], [2], [4]]), np.arange(1.0, 7)[:, None]


@pytest.mark.parametrize(
    ("scores", "tau", "among"),
    [
        (np.tile(UP, 8), 1, 1),
        (np.tile(ORDER, 8), scipy.stats.kendalltau(range(6), ORDER).statistic, 1),  # with each other, not the paper
        (np.concatenate([np.tile(UP, 10), np.tile(UP[::-1], 10)], axis=1), 0, (2 * 45 - 100) / 190),
    ],
)
def test_labs_agree_with_the_paper_and_with_each_other(scores, tau, among):
    row = robustness.agreement(made(scores, functions=TABLE_1), resamples=50).iloc[0]
    assert (row["tau"], row["among"]) == pytest.approx((tau, among))
    if tau == 1:
        assert (row["above"], row["among_low"], row["p"]) == pytest.approx((1, 1, 2 / 2**8))


def settings_table(count=40):
    return pd.DataFrame([vars(Distribution().draw(i)) for i in range(count)]).assign(
        families=lambda table: ["+".join(families) for families in table["families"]]
    )


def test_every_setting_splits_the_labs_in_two():
    table = settings_table()
    masks = robustness.upper(table, Distribution())
    assert len(masks) == 12 + 4
    np.testing.assert_array_equal(masks["width > 32"], table["width"].isin([48, 64]))
    np.testing.assert_array_equal(masks["input scale > 1"], table["input_scale"] > 1)
    np.testing.assert_array_equal(masks["gelu: erf"], table["gelu"] == "erf")
    np.testing.assert_array_equal(masks["with harmonic"], ["harmonic" in f.split("+") for f in table["families"]])
    assert all(0 < mask.sum() < len(table) for mask in masks.values())


def test_the_setting_that_turns_an_outcome_is_found_and_no_other():
    generator = np.random.default_rng(0)
    masks = {f"setting {i}": np.arange(80) // 2**i % 2 == 1 for i in range(4)}
    scores = generator.lognormal(sigma=0.1, size=(6, 80))
    scores[TABLE_1.index("gelu-sine")] *= np.where(masks["setting 2"], 2.0, 1.0)
    table = robustness.effects(made(scores, functions=TABLE_1), masks, [robustness.OUTCOMES])
    part = table[table["outcome"] == "GELUSine / GELU"].set_index("setting")
    assert part.loc["setting 2", "difference"] == pytest.approx(np.log(2), abs=0.1)
    assert part["verdict"].to_dict() == {**dict.fromkeys(masks, "undecided"), "setting 2": "raises"}
    assert table["difference"].between(table["low"], table["high"]).all()
    np.testing.assert_array_less(table["p"] - 1e-12, table["p_holm"])


def test_the_function_found_and_turbulent_against_gelu_are_among_the_outcomes():
    every = robustness.OUTCOMES | robustness.LATER_OUTCOMES
    assert {("turbulent", "gelu"), ("gelu", "relu"), ("found", "snake")} <= set(every.values())
    assert {name for pair in every.values() if pair for name in pair} <= set(FUNCTIONS)


def test_outcomes_and_statements_that_were_added_later_are_corrected_by_themselves():
    generator = np.random.default_rng(0)
    cube = made(generator.lognormal(size=(len(FUNCTIONS), 40)), functions=FUNCTIONS)
    masks = {f"setting {i}": np.arange(40) // 2**i % 2 == 1 for i in range(2)}
    effects = robustness.effects(cube, masks)
    planned = robustness.effects(cube, masks, [robustness.OUTCOMES])
    pd.testing.assert_frame_equal(effects[effects["outcome"].isin(robustness.OUTCOMES)], planned)
    assert effects["among"].unique().tolist() == [2 * len(robustness.OUTCOMES), 2 * len(robustness.LATER_OUTCOMES)]
    shares, first = robustness.shares(cube, resamples=5), robustness.shares(cube, [STATEMENTS], resamples=5)
    early = shares[shares["among"] == len(STATEMENTS)].reset_index(drop=True)
    pd.testing.assert_frame_equal(early, first)
    assert len(shares) == len(first) + 2 * len(robustness.LATER)
    assert shares["among"].unique().tolist() == [len(STATEMENTS), len(robustness.LATER)]


def test_outcomes_that_a_setting_turns_are_drawn_with_all_their_settings():
    rows = [("tau", "a", "undecided"), ("tau", "b", "lowers"), ("A / B", "a", "undecided"), ("A / B", "b", "undecided")]
    effects = pd.DataFrame(rows, columns=["outcome", "setting", "verdict"])
    assert robustness.turned(effects)["setting"].tolist() == ["a", "b"]
    committed = pd.read_csv(ROOT / "figures" / "multiverse_settings.csv")
    drawn = pd.read_csv(ROOT / "figures" / "multiverse_effects.csv")
    decided = committed[committed["verdict"] != "undecided"]
    assert set(drawn["outcome"]) == set(decided["outcome"]) >= {"GELU-Sinc / GELU", "GMTU / GELU"}


def test_table_3_has_shares_ratios_and_tau_each_with_its_interval():
    generator = np.random.default_rng(0)
    cube = made(generator.lognormal(size=(len(FUNCTIONS), 12)), functions=FUNCTIONS)
    shares, ratios = robustness.shares(cube, resamples=5), robustness.ratios(cube, resamples=5)
    agreed = robustness.agreement(cube, resamples=20)
    table = robustness.table_3(cube, shares, ratios, agreed)
    assert table["measure"].value_counts().to_dict() == {
        "share of labs": len(shares) + 1, "log ratio of losses": len(ratios), "tau": 2
    }  # fmt: skip
    assert (table["n"] == 12).all() and table[["value", "low", "high"]].notna().all(axis=None)
    row = table[table["what"] == "training losses alike"].iloc[0]
    assert row["value"] == robustness.alike(cube).mean() and row["low"] <= row["value"] <= row["high"]
    tau = table[table["measure"] == "tau"].set_index("aggregate").loc["mean", ["value", "low", "high"]]
    assert tau.tolist() == agreed.iloc[0][["tau", "low", "high"]].tolist()


def test_a_setting_whose_half_is_one_lab_is_refused():
    cube = made(np.ones((6, 4)), functions=TABLE_1)
    with pytest.raises(ValueError, match="wanted 2 labs or more in each half; got fewer, of 4: depth > 2"):
        robustness.effects(cube, {"width > 32": np.arange(4) > 1, "depth > 2": np.arange(4) > 2})


def test_labs_like_the_papers_have_relus_losses_within_a_factor():
    row = paper.TABLE_1["relu"]
    cube = made([[row.ood, row.ood * 2.9, row.ood * 3.1, row.ood]], functions=("relu",))
    cube = replace(cube, train=np.array([[row.train, row.train / 2.9, row.train, row.train * 4]]))
    assert robustness.paper_like(cube).tolist() == [True, True, False, False]
    some = cube.at(robustness.paper_like(cube))
    assert some.labs.tolist() == [0, 1] and some.scores("mean").shape == (1, 2)


def test_training_losses_are_alike_within_a_factor_of_three():
    train = np.ones((6, 2))
    train[4] = [2.9, 3.1]
    assert robustness.alike(replace(made(np.ones((6, 2)), functions=TABLE_1), train=train)).tolist() == [True, False]
    papers = [row.train for row in paper.TABLE_1.values()]
    assert max(papers) < 3 * min(papers)
