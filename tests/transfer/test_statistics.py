"""Statistics of transfer, on records that are written by hand and on the paper's own tables."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from actlab.core import paper, stats
from actlab.transfer import statistics
from actlab.transfer.image_data import CLASSES
from actlab.transfer.interface import COLUMNS

METRICS = {"images": "accuracy", "molecules": "roc_auc", "algorithms": "score"}
SHIFTS = {"images": [("noise", 1), ("noise", 3)], "molecules": [("scaffold", 0)], "algorithms": [("size", 64)]}
DATA = {"MNIST-5k": "images", "B3DB": "molecules", "bfs": "algorithms", "lcs_length": "algorithms"}
KIND = DATA | {"CIFAR-10": "images", "ImageNet": "images", "ogbg-molhiv": "molecules"}
TWO = ("relu", "gelu")


def run(data, function, seed, values, evaluation="batches"):
    """A run's rows: its score in distribution, and then one a shift; without values a failed training."""
    kind = KIND[data]
    places = [("in-distribution", "", 0), *(("ood", *shift) for shift in SHIFTS[kind])]
    if values is None:
        return [(function, kind, data, *places[0], METRICS[kind], "batches", 2, seed, math.nan, "diverged")]
    return [
        (function, kind, data, *place, METRICS[kind], evaluation, 3, seed, value, "scored")
        for place, value in zip(places, values, strict=True)
    ]


def table(*runs):
    return pd.DataFrame([row for rows in runs for row in rows], columns=["function", *COLUMNS])


def alike(data, seeds=1, **values):
    """Runs of functions that have the same values from each of some seeds."""
    return [row for name, of in values.items() for seed in range(seeds) for row in run(data, name, seed, of)]


def many(functions=("relu", "gelu", "snake", "found"), seeds=4, datasets=tuple(DATA)):
    """Random scores around a skill that is 0.02 higher for each function than for the one before it."""
    rng = np.random.default_rng(0)
    return table(
        *(
            run(data, function, seed, 0.5 + 0.02 * skill + 0.01 * rng.standard_normal(1 + len(SHIFTS[KIND[data]])))
            for data in datasets
            for skill, function in enumerate(functions)
            for seed in range(seeds)
        )
    )


@pytest.fixture(scope="module")
def scores():
    return statistics.scores(many())


def picked(frame, **where):
    for name, value in where.items():
        frame = frame[frame[name] == value]
    return frame


# Scores


def test_out_of_distribution_is_the_plain_mean_over_shifts_and_severities():
    rows = table(run("MNIST-5k", "relu", 0, [0.9, 0.8, 0.5]))
    found = statistics.scores(rows)
    columns = ["benchmark", "data", "split", "function", "seed", "value", "whole", "outcome", "failed"]
    assert found.columns.tolist() == columns
    said = found[["split", "value", "outcome", "failed"]].to_numpy().tolist()
    assert said == [["in-distribution", 0.9, "scored", False], ["ood", 0.65, "scored", False]]
    rows.loc[2, ["value", "outcome"]] = [np.nan, "diverged"]  # one test, which counts as chance among the others
    found = statistics.scores(rows)
    assert found["value"].tolist() == [0.9, pytest.approx((0.8 + 0.1) / 2)]
    assert found[["outcome", "failed"]].to_numpy().tolist() == [["scored", False], ["diverged", True]]


def test_a_failed_training_counts_as_chance_in_every_test():
    data = ["MNIST-5k", "CIFAR-10", "ImageNet", "B3DB", "bfs"]
    rows = table(*(alike(d, relu=[0.9] * (1 + len(SHIFTS[KIND[d]])), qfw=None) for d in data))
    lost = picked(statistics.scores(rows), function="qfw")
    worth = {"MNIST-5k": 0.1, "CIFAR-10": 0.1, "ImageNet": 0.001, "B3DB": 0.5, "bfs": 0.0}
    assert lost["value"].tolist() == lost["whole"].tolist() == lost["data"].map(worth).tolist()
    assert lost["failed"].all() and set(lost["outcome"]) == {"diverged"} and len(lost) == 10
    for name, classes in CLASSES.items():
        assert statistics.CHANCE_ON.get(name, statistics.CHANCE["accuracy"]) == 1 / classes


def test_a_function_that_sees_its_batch_has_a_score_on_the_whole_set_and_others_have_the_same_twice():
    rows = table(
        alike("MNIST-5k", relu=[0.9, 0.8, 0.6], qfw=[0.9, 0.8, 0.6]),
        run("MNIST-5k", "qfw", 0, [0.7, 0.5, 0.3], "whole"),
    )
    np.testing.assert_allclose(statistics.scores(rows)["whole"], [0.9, 0.7, 0.7, 0.4])
    partly = statistics.scores(rows.drop(index=rows.index[-1]))
    np.testing.assert_allclose(partly["whole"], [0.9, 0.7, 0.7, np.nan])
    both = [run("B3DB", "qfw", 0, [0.8, 0.7], evaluation) for evaluation in ("batches", "whole")]
    failed = statistics.scores(table(*both, run("B3DB", "qfw", 1, None)))
    assert failed["whole"].tolist() == [0.8, 0.5, 0.7, 0.5]


def test_validation_is_left_out_and_functions_come_in_the_order_asked_for():
    rows = many(("gelu", "relu", "snake"), seeds=1)
    extra = rows.iloc[:1].assign(split="validation", value=np.nan)
    found = statistics.scores(pd.concat([rows, extra]), ("relu", "gelu"))
    assert found["function"].tolist() == ["relu", "gelu"] * 8
    assert found["data"].unique().tolist() == ["MNIST-5k", "B3DB", "bfs", "lcs_length"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: pd.concat([rows, rows.iloc[:1]]), "each test of a run once; came twice: 1 rows, .* relu, seed 0"),
        (lambda rows: rows.iloc[1:], "3 tests in batches of each of 4 runs .* the first relu from seed 0 with 2"),
        (lambda rows: rows[rows["function"] + rows["seed"].astype(str) != "gelu0"], "first gelu from seed 0 with 0"),
        (lambda rows: rows[rows["split"] != "ood"], "tests in-distribution and ood of images, MNIST-5k"),
        (lambda rows: rows.assign(value=np.nan), "finite values where the outcome is scored"),
        (lambda rows: rows.assign(metric="loss"), "metrics among accuracy, roc_auc, score; .* metric loss"),
        (
            lambda rows: pd.concat([rows, table(alike("B3DB", relu=None, gelu=None))]),
            "wanted a run that could be tested on B3DB; all failed",
        ),
    ],
)
def test_tests_that_lack_or_come_twice_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        statistics.scores(change(many(TWO, seeds=2, datasets=["MNIST-5k"])))


def test_a_function_without_records_is_named():
    with pytest.raises(ValueError, match="the first qfw from seed 0 with 0"):
        statistics.scores(many(seeds=2), ("relu", "qfw"))


def test_algorithms_are_one_task_by_seed_and_then_each_its_own():
    rows = table(
        alike("bfs", 2, relu=[0.8, 0.6]), run("lcs_length", "relu", 0, [0.4, 0.2]), run("lcs_length", "relu", 1, None)
    )
    found = picked(statistics.tasks(statistics.scores(rows)), split="ood")
    assert found[["task", "planned", "seed", "value", "failed"]].to_numpy().tolist() == [
        ["mean of 2 algorithms", True, 0, 0.4, 0],
        ["mean of 2 algorithms", True, 1, 0.3, 1],
        ["bfs", False, 0, 0.6, 0],
        ["bfs", False, 1, 0.6, 0],
        ["lcs_length", False, 0, 0.2, 0],
        ["lcs_length", False, 1, 0.0, 1],
    ]


def test_algorithms_of_different_seeds_are_refused(scores):
    with pytest.raises(ValueError, match="wanted the same seeds on each of 2 data sets of algorithms"):
        statistics.tasks(scores[~((scores["data"] == "bfs") & (scores["seed"] == 1))])


def test_several_data_sets_of_pictures_are_tasks_of_their_own():
    pictures = ("CIFAR-10", "ImageNet")
    scores = statistics.scores(table(*(alike(data, 2, relu=[0.8, 0.6, 0.4], qfw=None) for data in pictures)))
    found = statistics.tasks(scores)
    assert found["planned"].all() and set(found["task"]) == set(pictures)
    columns = statistics.table_2(scores).set_index("function").columns[4:].tolist()
    assert columns == [f"{data}, {split}" for data in pictures for split in ("in-distribution", "OOD")]
    mean = picked(statistics.log_ratios(scores, floor=1e-4), task="mean", function="qfw").iloc[0]
    wanted = [np.log(0.1 / 0.8), np.log(0.1 / 0.5), np.log(0.001 / 0.8), np.log(0.001 / 0.5)]
    assert (mean["value"], mean["n"]) == (pytest.approx(np.mean(wanted)), 4)


def test_molhivs_score_out_of_distribution_is_the_official_test_alone():
    rows = table(*(run(data, "relu", 0, [0.8, 0.7]) for data in ("ogbg-molhiv", "B3DB")))
    other = rows[rows["split"] == "ood"].assign(shift="scaffold-validation", value=0.1)
    found = picked(statistics.scores(pd.concat([rows, other])), split="ood").set_index("data")["value"]
    assert found["ogbg-molhiv"] == 0.7  # 0.4 would be the mean with the scaffolds that ogb validates on
    assert found["B3DB"] == pytest.approx(0.4)  # whose shifts all count


# Comparisons


def test_comparisons_are_paired_by_seed_and_corrected_over_the_planned_ones(scores):
    found = statistics.against(scores)
    planned = found[found["planned"]]
    assert len(planned) == 3 * 2 * 3 * 2  # other functions, references, kinds, splits
    assert set(planned["task"]) == {"MNIST-5k", "B3DB", "mean of 2 algorithms"}
    np.testing.assert_array_equal(planned["p_holm"], stats.holm(planned["p"]))
    rest = found[~found["planned"]]
    assert set(rest["task"]) == {"bfs", "lcs_length"}
    assert rest["p_holm"].isna().all() and set(rest["verdict"]) == {""} and found.index.is_monotonic_increasing
    one = picked(found, task="B3DB", split="ood", function="found", other="gelu").iloc[0]
    a, b = (picked(scores, data="B3DB", split="ood", function=name)["value"] for name in ("found", "gelu"))
    theirs = scipy_stats.ttest_rel(a.to_numpy(), b.to_numpy())
    wanted = stats.mean_interval(a.to_numpy() - b.to_numpy())
    np.testing.assert_allclose(one[["low", "high"]].astype(float), [wanted.low, wanted.high])
    assert (one["p"], one["n"]) == (pytest.approx(theirs.pvalue), 4)


def test_a_clear_winner_is_better_and_the_loser_worse():
    rng, centres = np.random.default_rng(0), {"relu": 0.7, "gelu": 0.8}
    noisy = [run("B3DB", n, seed, c + 0.001 * rng.standard_normal(2)) for n, c in centres.items() for seed in range(6)]
    found = statistics.against(statistics.scores(table(*noisy))).set_index(["split", "function"]).loc["ood"]
    assert found.loc["gelu", ["verdict", "improvement"]].tolist() == ["better", 1.0]
    assert found.loc["relu", ["verdict", "improvement"]].tolist() == ["worse", 0.0]
    assert found.loc["gelu", "difference"] == pytest.approx(0.1, abs=0.002)


def test_equal_scores_are_undecided_and_a_constant_gap_has_the_sign_flips_p():
    rows = alike("B3DB", 5, relu=[0.7, 0.7], gelu=[0.7, 0.7], snake=[0.8, 0.8])
    scores = statistics.scores(table(rows))
    found = statistics.against(scores, ["relu"]).set_index(["split", "function"])
    same, gap = found.loc[("ood", "gelu")], found.loc[("ood", "snake")]
    assert same[["difference", "low", "high", "p", "verdict", "improvement"]].tolist() == [0, 0, 0, 1, "undecided", 0.5]
    assert gap["p"] == 2**-4 and gap["verdict"] == "undecided"
    np.testing.assert_allclose(gap[["difference", "low", "high"]].astype(float), 0.1)
    assert not found.drop(columns=["verdict"]).isna().any(axis=None)
    overall = statistics.overall(scores).set_index("function")
    assert overall["p"].to_dict() == {"snake": 2**-4, "gelu": 1}
    assert overall.loc["snake", ["value", "low", "high"]].tolist() == pytest.approx([math.log(8 / 7)] * 3)


def test_failures_of_both_sides_are_counted():
    rows = table(*(alike(data, 2, relu=[0.8, 0.6], fisg=None) for data in ("bfs", "lcs_length")))
    found = statistics.against(statistics.scores(rows), ["relu", "fisg"])
    unit = picked(found, planned=True, split="ood").set_index("function")
    assert unit[["failed", "other_failed"]].to_numpy().tolist() == [[4, 0], [0, 4]]
    assert unit["difference"].tolist() == [-0.6, 0.6]


@pytest.mark.parametrize("call", [statistics.against, lambda scores: statistics.log_ratios(scores, "gelu")])
def test_a_reference_without_scores_is_named(scores, call):
    with pytest.raises(ValueError, match="wanted scores of gelu; came relu, snake, found"):
        call(scores[scores["function"] != "gelu"])


# Figure 6


def test_figure_6_of_the_papers_table_2_has_its_order_and_its_axis():
    found = statistics.figure_6(statistics.paper_means())
    assert tuple(found["function"].unique()) == paper.FIGURE_6
    assert found["value"].agg(["min", "max"]).tolist() == pytest.approx(paper.FIGURE_6_AXIS, abs=0.02)
    assert found["task"].unique().tolist() == [*statistics.PAPER_TASKS.values(), "mean"]


def test_figure_6_of_three_scores_is_worked_by_hand():
    # mean 2, standard deviation 1: z = -1, 0, 1 and s = 1, 2, 3; on the second task all are equal
    rows = [("a", "", name, value) for name, value in (("x", 1.0), ("relu", 2.0), ("y", 3.0))]
    rows += [("b", "", name, 0.5) for name in ("x", "relu", "y")]
    found = statistics.figure_6(pd.DataFrame(rows, columns=["task", "split", "function", "value"]))
    np.testing.assert_allclose(picked(found, task="a")["value"], np.log([1 / 2, 1, 3 / 2]))
    np.testing.assert_allclose(picked(found, task="b")["value"], 0)
    np.testing.assert_allclose(picked(found, task="mean")["value"], np.log([1 / 2, 1, 3 / 2]) / 2)


def test_figure_6_wants_every_score_and_its_reference(scores):
    means = statistics.means(scores)
    with pytest.raises(ValueError, match="wanted a finite score of each function on each task"):
        statistics.figure_6(means.iloc[1:])
    with pytest.raises(ValueError, match="wanted scores of silu"):
        statistics.figure_6(means, "silu")


def test_log_ratios_of_a_task_are_a_paired_t_over_seeds(scores):
    found = statistics.log_ratios(scores)
    one = picked(found, task="MNIST-5k", split="ood", function="found").iloc[0]
    f, relu = (picked(scores, data="MNIST-5k", split="ood", function=name)["value"] for name in ("found", "relu"))
    wanted = stats.paired_t(np.log(f), np.log(relu))
    found_here = one[["n", "value", "low", "high", "p"]].tolist()
    assert found_here == pytest.approx([4, wanted.estimate, wanted.low, wanted.high, wanted.p_value])
    own = picked(found, function="relu")
    assert (own[["value", "low", "high"]] == 0).all(axis=None) and (own["p"] == 1).all()
    assert found["function"].unique().tolist() == ["relu", "gelu", "snake", "found"]  # as their skills rise
    assert set(found["task"]) == {"MNIST-5k", "B3DB", "mean of 2 algorithms", "mean"}


def test_the_mean_over_two_kinds_has_the_p_of_welchs_difference(scores):
    scores = scores[scores["benchmark"].isin(["images", "molecules"])]
    scores = scores[~((scores["benchmark"] == "images") & (scores["seed"] == 3))]  # three seeds and four
    found = picked(statistics.log_ratios(scores), task="mean", function="found").iloc[0]
    runs = []
    for benchmark in ("images", "molecules"):
        logs = np.log(picked(scores, benchmark=benchmark).pivot(index="function", columns=["split", "seed"])["value"])
        gap = logs.loc["found"] - logs.loc["relu"]
        runs.append((gap["in-distribution"] + gap["ood"]).to_numpy() / 2)  # both splits come from the same run
    welch = scipy_stats.ttest_ind(runs[0], -runs[1], equal_var=False)
    wanted = stats.weighted_mean(runs, [0.5, 0.5])[1:3]
    assert found[["low", "high"]].tolist() == pytest.approx([float(end) for end in wanted])
    assert found["p"] == pytest.approx(welch.pvalue)
    assert (found["n"], found["split"]) == (7, "both")
    assert found["value"] == pytest.approx((runs[0].mean() + runs[1].mean()) / 2)


def test_functions_are_judged_overall_by_holm_and_the_best_comes_first(scores):
    found = statistics.overall(scores, "gelu")
    assert found["function"].tolist() == ["found", "snake", "relu"]  # as their skills fall
    assert found["verdict"].tolist()[0::2] == ["better", "worse"]
    np.testing.assert_array_equal(found["p_holm"], stats.holm(found["p"]))
    mean = picked(statistics.log_ratios(scores, "gelu"), task="mean").set_index("function")["value"]
    np.testing.assert_allclose(found["value"], mean[found["function"]])


def test_scores_below_the_floor_count_as_the_floor_and_are_counted():
    rows = table(alike("bfs", 3, relu=[0.5, 0.5]), alike("bfs", 2, fisg=[0.5, 0.5]), run("bfs", "fisg", 2, None))
    found = picked(statistics.log_ratios(statistics.scores(rows), floor=0.02), function="fisg")
    np.testing.assert_allclose(found["value"], np.log(0.02 / 0.5) / 3)
    said = found[["task", "split", "floored"]].to_numpy().tolist()
    assert said == [["bfs", "in-distribution", 1], ["bfs", "ood", 1], ["mean", "both", 2]]


def test_the_detail_has_single_algorithms_and_the_mean_of_each_split(scores):
    plain, detail = (statistics.log_ratios(scores, detail=detail) for detail in (False, True))
    plain, places = ({*zip(t["task"], t["split"], strict=True)} for t in (plain, detail))
    extra = {(task, split) for task in ("bfs", "lcs_length", "mean") for split in statistics.SPLITS}
    assert places == plain | extra and not plain & extra
    mean = picked(detail, task="mean", function="found").set_index("split")["value"]
    assert mean["both"] == pytest.approx((mean["in-distribution"] + mean["ood"]) / 2)


def test_a_single_seed_is_too_few_for_an_interval():
    with pytest.raises(ValueError, match="at least 2 seeds of each kind, got 1"):
        statistics.log_ratios(statistics.scores(many(seeds=1)))


# The lab's order


def test_functions_that_the_lab_prefers_transfer_with_a_positive_sign(scores):
    lab = {"held-out": {"relu": 0.0, "gelu": -0.1, "snake": -0.2, "found": -0.3, "sine": -9.0}}
    lab["far"] = {name: -loss for name, loss in lab["held-out"].items()}
    pairs = statistics.pairs(lab, scores)
    assert pairs["function"].unique().tolist() == ["relu", "gelu", "snake", "found"]  # sine has no score
    found = statistics.agreement(pairs)
    assert len(found) == 2 * (3 * 2 + 3)
    mean = picked(found, task="mean", split="both").set_index("suite")
    assert mean["spearman"].tolist() == mean["kendall"].tolist() == [1, -1]
    assert mean["n"].tolist() == [4, 4]
    assert ((found["spearman_low"] <= found["spearman"]) & (found["spearman"] <= found["spearman_high"])).all()


def test_transfer_of_a_task_is_its_mean_score_and_over_kinds_that_of_standardised_ones(scores):
    pairs = statistics.pairs({"far": dict.fromkeys(scores["function"], 0.0)}, scores)
    one = picked(pairs, task="MNIST-5k", split="ood").set_index("function")["transfer"]
    assert one["gelu"] == pytest.approx(picked(scores, data="MNIST-5k", split="ood", function="gelu")["value"].mean())
    wide = statistics.means(scores).pivot(index="function", columns=["task", "split"], values="value")
    wanted = ((wide - wide.mean()) / wide.std()).mean(axis=1)
    both = picked(pairs, task="mean", split="both").set_index("function")
    np.testing.assert_allclose(both["transfer"], wanted[both.index])
    assert ((both["low"] < both["transfer"]) & (both["transfer"] < both["high"])).all()


def test_functions_can_be_chosen_and_need_a_loss_and_a_score(scores):
    lab = {"far": {"relu": 0.0, "gelu": 1.0, "snake": 2.0}}
    assert set(statistics.pairs(lab, scores, ["gelu", "relu"])["function"]) == {"relu", "gelu"}
    for name, lacking in (("found", "losses of found on far"), ("sine", "scores of sine")):
        with pytest.raises(ValueError, match=f"wanted {lacking}"):
            statistics.pairs(lab, scores, ["relu", name])


def test_in_the_papers_own_numbers_functions_that_the_lab_prefers_do_not_transfer():
    found = statistics.agreement(statistics.paper_pairs()).iloc[0]
    assert found["spearman"] == pytest.approx(-0.74, abs=0.005)
    assert found["n"] == 8
    assert found["spearman_low"] < found["spearman"] < found["spearman_high"]


# Table 2


def test_table_2_has_the_papers_columns_and_ours_under_our_own_data_sets():
    rows = many(("relu", "snake"), seeds=2)
    lost = (rows["data"] == "bfs") & (rows["function"] == "snake") & (rows["seed"] == 1)
    scores = statistics.scores(pd.concat([rows[~lost], table(run("bfs", "snake", 1, None))]))
    found = statistics.table_2(scores).set_index("function")
    assert found.columns.tolist() == [
        "paper: CIFAR-10 accuracy", "paper: CLRS-30 score", "paper: ogbg-molhiv AUC", "paper: ImageNet top-1",
        "MNIST-5k, in-distribution", "MNIST-5k, OOD", "B3DB, in-distribution", "B3DB, OOD",
        "CLRS, mean of 2 algorithms, n=16", "CLRS, mean of 2 algorithms, n=64",
    ]  # fmt: skip
    assert found.index.tolist() == [*paper.TABLE_2, "snake"]
    assert found.loc["pler"].dropna().tolist() == ["OOM", "0.891", "OOM", "OOM"]
    assert found.loc["snake"].isna().tolist() == [True] * 4 + [False] * 6
    values = picked(scores, data="B3DB", split="ood", function="relu")["value"]
    wanted = stats.mean_interval(values)
    assert found.loc["relu", "B3DB, OOD"] == f"{values.mean():.3f} [{wanted.low:.3f}, {wanted.high:.3f}]"
    assert found.loc["snake", "CLRS, mean of 2 algorithms, n=64"].endswith("] (1 failed)")


def test_failed_runs_stand_beside_the_papers_runs_out_of_memory():
    rows = table(
        alike("bfs", 2, relu=[0.5, 0.5], fisg=[0.5, 0.5]), alike("lcs_length", 2, relu=[0.5, 0.5]),
        run("lcs_length", "fisg", 0, [0.5, 0.5]), run("lcs_length", "fisg", 1, None),
    )  # fmt: skip
    assert statistics.failures(statistics.scores(rows)).to_numpy().tolist() == [
        ["quaternion", "ImageNet top-1: OOM", "not run"],
        ["fisg", "none", "lcs_length: 1 of 2 diverged"],
        ["pler", "CIFAR-10 accuracy: OOM, ogbg-molhiv AUC: OOM, ImageNet top-1: OOM", "not run"],
    ]
