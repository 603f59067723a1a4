"""Statistics against scipy, by hand, and on simulated data whose truth is known."""

import subprocess
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as scipy_stats

from actlab.core import stats

FAMILIES = np.repeat(["feynman", "harmonic", "harmonic-2d", "polynomial"], 50)
quick = settings(max_examples=25, deadline=None)


@pytest.fixture
def generator():
    return np.random.default_rng(0)


# Oracles


def test_an_interval_of_values_that_are_not_skewed_is_students_with_a_degree_of_freedom_less():
    values = np.array([-9.0, -2, -1, 1, 2, 9]) + 5
    ours = stats.mean_interval(values, level=0.9)
    theirs = scipy_stats.t.interval(0.9, 4, loc=5, scale=scipy_stats.sem(values))
    assert (ours.estimate, ours.low, ours.high) == pytest.approx((5, *theirs), rel=1e-5)


def test_an_interval_of_skewed_values_reaches_as_far_as_halls_transformation_on_the_side_of_the_tail(generator):
    values, t = generator.lognormal(size=12), scipy_stats.t.ppf(0.975, 10)
    found, error = stats.mean_interval(values), scipy_stats.sem(values)
    skewness = 12 / 11 * scipy_stats.skew(values, bias=False) / 12**0.5  # of the mean
    assert skewness > 0.2 and found.estimate - found.low == pytest.approx(t * error)
    reached = (found.estimate - found.high) / error
    bent = reached + skewness * reached**2 / 3 + skewness**2 * reached**3 / 27 + skewness / 6
    assert found.high - found.estimate > 1.2 * t * error and bent == pytest.approx(-t)
    mirrored = stats.mean_interval(-values)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_the_cumulants_of_a_mean_are_scipys(generator):
    values = generator.exponential(size=(2, 7))
    mean, variance, third = stats.cumulants([values], [0.5])
    assert mean[0] == pytest.approx(values.mean(axis=1) / 2)
    assert variance[0] == pytest.approx([scipy_stats.kstat(row, 2) / 7 / 4 for row in values])
    assert third[0] == pytest.approx([7 / 6 * scipy_stats.kstat(row, 3) / 49 / 8 for row in values])


def test_the_p_of_a_weighted_mean_is_welchs_and_its_degrees_of_freedom_are_satterthwaites(generator):
    a, b = generator.normal(size=4), generator.normal(1, 3, size=6)
    *_, p_value = stats.weighted_mean([a, b], [1, -1])
    theirs = scipy_stats.ttest_ind(a, b, equal_var=False)
    assert p_value == pytest.approx(theirs.pvalue)
    assert stats.satterthwaite(np.array([a.var(ddof=1) / 4, b.var(ddof=1) / 6]), [3, 5]) == pytest.approx(theirs.df)


def test_stratified_interval_leaves_out_the_differences_between_families(generator):
    values = 100.0 * np.repeat(range(4), 50) + generator.normal(size=200)
    ours = stats.mean_interval(values, FAMILIES)
    within = np.mean([values[family == FAMILIES].var() for family in np.unique(FAMILIES)])
    assert ours.high - ours.low == pytest.approx(2 * 1.96 * np.sqrt(within / 200), rel=0.03)
    plain = stats.mean_interval(values)
    assert plain.high - plain.low > 50 * (ours.high - ours.low)


def test_exact_sign_flip_is_scipys_permutation_test(generator):
    a, b = generator.normal(size=(2, 9))
    theirs = scipy_stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    assert stats.paired_difference(a, b, generator).p_value == pytest.approx(theirs.pvalue)


def test_random_sign_flips_agree_with_the_t_test_on_many_normal_pairs(generator):
    a = generator.normal(0.2, 1, size=100)
    ours = stats.paired_difference(a, np.zeros(100), generator)
    assert ours.p_value == pytest.approx(scipy_stats.ttest_1samp(a, 0).pvalue, abs=0.01)


def test_paired_t_has_scipys_p_and_the_interval_of_a_mean(generator):
    a, b = generator.normal(size=(2, 5))
    ours, interval = stats.paired_t(a, b), stats.mean_interval(a - b)
    assert ours.p_value == pytest.approx(scipy_stats.ttest_rel(a, b).pvalue)
    assert (ours.estimate, ours.low, ours.high) == (interval.estimate, interval.low, interval.high)


def test_a_crossed_difference_is_a_paired_one_where_only_runs_or_only_tasks_differ(generator):
    a, b = generator.lognormal(size=(2, 5))
    over_runs = stats.crossed_difference(np.tile(a[:, None], 12), np.tile(b[:, None], 12), FAMILIES[:100:9])
    c, d = generator.lognormal(size=(2, 12))
    for ours, pair in ((over_runs, (a, b)), (stats.crossed_difference(np.tile(c, (5, 1)), d), (c, d))):
        wanted = stats.paired_t(*pair)
        assert (ours.low, ours.high, ours.p_value) == pytest.approx((wanted.low, wanted.high, wanted.p_value))


def crossed(generator, runs, tasks, run=1.0, task=1.0, residual=1.0):
    """Return [runs, tasks] normal values with these variances, whose families differ by far, mean 0."""
    values = generator.normal(0, run**0.5, (runs, 1)) + generator.normal(0, task**0.5, (1, tasks))
    values = values + generator.normal(0, residual**0.5, (runs, tasks))
    return values + np.repeat([5.0, -5.0, 3.0, -3.0], tasks // 4)


def test_a_crossed_difference_has_the_variance_of_a_large_design_that_is_known(generator):
    values = crossed(generator, 400, 800, run=0.5, task=3.0, residual=4.0)
    found = stats.crossed_difference(values, np.zeros(800), np.repeat(FAMILIES, 4))
    known = 0.5 / 400 + 3.0 / 800 + 4.0 / (400 * 800)  # families are fixed and count for nothing
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * known**0.5, rel=0.06)


@pytest.mark.parametrize("variances", [(1, 1, 1), (0.01, 1, 1), (0.05, 0.01, 1), (1, 0, 0.01), (0, 0, 1)])
def test_a_crossed_difference_over_five_runs_covers_as_often_as_it_says(variances):
    generator, hits = np.random.default_rng(1), []
    for _ in range(400):
        found = stats.crossed_difference(crossed(generator, 5, 40, *variances), np.zeros(40), FAMILIES[::5])
        hits.append((found.low <= 0 <= found.high, found.p_value >= 0.05))
        assert hits[-1][0] >= hits[-1][1]  # the interval holds for skewed values too, so it is never the shorter one
    ours, students = np.mean(hits, axis=0)
    assert 0.925 <= students <= 0.985 and students <= ours <= 0.995  # two standard errors around 0.95 are 0.022


def test_shares_have_scipys_wilson_interval_whether_counted_or_compared():
    a, b = np.arange(40.0), np.where(np.arange(40) < 29, 100.0, -1.0)
    theirs = scipy_stats.binomtest(29, 40)
    ends = theirs.proportion_ci(method="wilson")
    for ours in (stats.probability_of_improvement(a, b), stats.share(29, 40)):
        assert (ours.estimate, ours.low, ours.high, ours.n) == pytest.approx((29 / 40, ends.low, ends.high, 40))
    assert stats.share(29, 40).p_value == theirs.pvalue


def test_rank_correlations_and_their_intervals_are_scipys_with_ties(generator):
    a, b = generator.integers(3, size=(2, 7)).astype(float)
    ours = stats.rank_correlation(a, b, np.random.default_rng(5), resamples=400)
    picks = np.random.default_rng(5).integers(7, size=(400, 7))
    picks = [row for row in picks if np.ptp(a[row]) and np.ptp(b[row])]
    assert len(picks) < 400  # a resample in which all tie is left out
    for found, theirs in ((ours.spearman, scipy_stats.spearmanr), (ours.kendall, scipy_stats.kendalltau)):
        assert found.estimate == pytest.approx(theirs(a, b).statistic)
        drawn = [theirs(a[row], b[row]).statistic for row in picks]
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))))


# Worked examples


def test_an_interval_reads_as_a_table_cell_and_makes_a_tables_columns():
    interval = stats.Interval(0.0519, 0.04712, 0.05777, 200, "bootstrap")
    assert f"{interval:.3f}" == stats.bracketed(0.0519, 0.04712, 0.05777, ".3f") == "0.052 [0.047, 0.058]"
    assert f"{interval}" == "0.0519 [0.0471, 0.0578]"
    assert interval.columns("mean") == {"mean": 0.0519, "low": 0.04712, "high": 0.05777}
    assert list(interval.columns("mse", "mse_")) == ["mse", "mse_low", "mse_high"]


def test_interval_says_how_it_was_made(generator):
    ours = stats.paired_difference(np.arange(200.0), np.ones(200), generator, FAMILIES, flips=500)
    assert ours.n == 200
    assert ours.method == "paired 95% skewness-corrected t over 200 values in 4 strata; p from 500 random sign flips"


def test_an_interval_of_losses_does_not_reach_below_0(generator):
    losses = generator.lognormal(0, 2, size=4)
    plain, cut = stats.mean_interval(losses), stats.mean_interval(losses, least=0)
    assert plain.low < 0 == cut.low and (cut.estimate, cut.high) == (plain.estimate, plain.high)


def test_an_interval_over_groups_of_two_says_that_it_covers_less():
    assert stats.mean_interval([1.0, 2, 4, 3], ["a", "a", "b", "b"]).method.endswith(f"in 2 strata, {stats.FEW}")
    assert stats.FEW in stats.paired_t([1.0, 2], [3.0, 5]).method
    assert stats.FEW in stats.crossed_difference([[1.0, 2, 5], [2, 5, 7]], np.zeros(3)).method
    assert stats.FEW not in stats.mean_interval([1.0, 2, 4]).method and stats.few_words([12, 3]) == ""


def test_holm_of_four_p_values():
    # sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, made monotone: .02 .03 .06 .06
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_verdicts_are_by_the_side_of_the_effect_and_holms_p():
    table = pd.DataFrame({"share": [0.9, 0.6, 0.1], "p": [0.01, 0.04, 0.02], "n": 5}, index=[7, 8, 9])
    found = stats.decided(table, "share", "few", "most", null=0.5)
    assert found.columns.tolist() == ["share", "p", "p_holm", "verdict", "n"]
    assert found["p_holm"].tolist() == pytest.approx([0.03, 0.04, 0.04])
    assert found["verdict"].tolist() == ["most", "most", "few"] and list(table) == ["share", "p", "n"]
    loose = stats.decided(table.assign(p=[0.001, 0.04, 0.03], share=[-1.0, 1.0, 2.0]), "share")
    assert loose["verdict"].tolist() == ["better", "undecided", "undecided"]  # p of 0.001, 0.06 and 0.06


def test_equal_arms_have_no_difference(generator):
    same = np.ones(30)
    assert stats.paired_difference(same, same, generator).p_value == 1
    assert stats.paired_t(same, same).p_value == 1
    assert stats.crossed_difference(np.ones((3, 4)), np.ones(4)).p_value == 1
    assert stats.probability_of_improvement(same, same).estimate == 0.5


def test_five_pairs_that_all_agree_reach_two_in_thirty_two(generator):
    assert stats.paired_difference([1.0, 2, 3, 4, 5], np.zeros(5), generator).p_value == 2 / 32
    assert stats.paired_t(np.full(5, 0.8), np.full(5, 0.7)).p_value == 2 / 32  # where Student's p would be 0


def test_aggregates_of_two_functions_on_three_tasks():
    losses = [[0.1, 0.4, np.nan], [0.2, 1e32, 0.001]]
    # clamped at 1: [.1 .4 1] and [.2 1 .001]; floored at .01 as well: [.1 .4 1] and [.2 1 .01]
    assert stats.clamped_mean(losses, 1) == pytest.approx([1.5 / 3, 1.201 / 3])
    assert stats.log_losses(losses, 1, 0.01) == pytest.approx(np.log([[0.1, 0.4, 1], [0.2, 1, 0.01]]))
    assert stats.mean_log(losses, 1, 0.01) == pytest.approx([np.log(0.04) / 3, np.log(0.002) / 3])
    ratio = stats.mean_log_ratio(losses, [0.2, 0.4, np.inf], 1, 0.01)
    assert ratio == pytest.approx([np.log(0.5) / 3, np.log(2.5 * 0.01) / 3])
    # ranks by task: 1 2, 1 2, 2 1
    assert stats.mean_rank(losses, 1) == pytest.approx([4 / 3, 5 / 3])


def test_losses_at_the_clamp_tie_in_rank():
    assert stats.mean_rank([[5.0], [np.inf], [-np.inf], [0.5]], clamp=2) == pytest.approx([3, 3, 3, 1])


# Properties


losses_of_four = arrays(float, (4, 6), elements=st.floats(0, 10) | st.sampled_from([np.nan, np.inf, 1e32]))


@quick
@given(losses_of_four)
def test_nan_and_infinity_count_as_the_clamp_and_a_reference_has_a_ratio_of_zero(losses):
    plain = np.where(np.isfinite(losses), losses, 3.0)
    for aggregate in (stats.clamped_mean, stats.mean_rank, lambda x, clamp: stats.mean_log(x, clamp, 0.1)):
        assert np.array_equal(aggregate(losses, 3.0), aggregate(plain, 3.0))
    assert np.all(stats.clamped_mean(losses, 3.0) <= 3.0)
    assert stats.mean_log_ratio(losses, losses[2], 3.0, 0.1)[2] == 0


@quick
@given(arrays(float, st.integers(1, 8), elements=st.floats(0, 1)))
def test_holm_never_lowers_a_p_value_nor_changes_the_order(p):
    adjusted = stats.holm(p)
    assert np.all((adjusted >= p) & (adjusted <= 1) & (adjusted <= p.size * p + 1e-12))
    assert np.all(np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0)


@quick
@given(st.integers(0, 2**32 - 1))
def test_the_same_generator_gives_the_same_interval(seed):
    values = np.random.default_rng(seed).normal(size=20)
    first, second = (stats.paired_difference(values, values[::-1], np.random.default_rng(seed)) for _ in range(2))
    assert first == second and first.low <= first.estimate <= first.high


def test_batches_only_save_memory(generator, monkeypatch):
    a, b = generator.normal(size=(2, 50))
    calls = (partial(stats.paired_difference, flips=1000), partial(stats.rank_correlation, resamples=1000))
    whole = [call(a, b, np.random.default_rng(1)) for call in calls]
    monkeypatch.setattr(stats, "BATCH", 50 * 300)
    assert [call(a, b, np.random.default_rng(1)) for call in calls] == whole


# Refusals


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (lambda g: stats.mean_interval([1.0, np.inf]), "2 finite values .* 1 not finite"),
        (lambda g: stats.mean_interval([1.0, 2.0, 3.0], ["a", "a", "b"]), "each stratum, got 2, 1"),
        (lambda g: stats.mean_interval([1.0, 2.0], level=95), "level between 0 and 1, .* got 95"),
        (lambda g: stats.mean_interval([1.0, 2.0], ["a"]), "each of 2 units"),
        (lambda g: stats.paired_difference([1.0, 2.0], [1.0, 2.0, 3.0], g), "pairs, got 2 and 3"),
        (lambda g: stats.holm([0.1, 1.2]), "between 0 and 1"),
        (lambda g: stats.crossed_difference(np.ones((2, 3)), np.ones(2)), r"shapes \(2, 3\) and \(2,\)"),
        (lambda g: stats.crossed_difference(np.ones((1, 3)), np.ones(3)), "at least 2 runs .* got 1 and 3"),
        (lambda g: stats.crossed_difference(np.ones((2, 3)), np.ones(3), ["a", "a", "b"]), "got 2 and 2, 1"),
        (lambda g: stats.crossed_difference(np.full((2, 3), np.nan), np.ones(3)), "finite values"),
        (lambda g: stats.mean_log([1.0], clamp=1, floor=2), "0 < floor < clamp"),
        (lambda g: stats.mean_log_ratio(np.ones((2, 3)), np.ones(2), 2, 0.1), r"\(3,\), got \(2,\)"),
        (lambda g: stats.rank_correlation(np.ones(5), np.arange(5), g), "not all tied"),
    ],
)
def test_what_cannot_be_computed_is_refused_with_what_was_wanted(generator, call, wanted):
    with pytest.raises(ValueError, match=wanted):
        call(generator)


@pytest.mark.parametrize("module", ["stats", "reliability"])
def test_statistics_of_arrays_import_nothing_heavy(module):
    heavy = "{'torch', 'pandas', 'matplotlib', 'seaborn'}"
    code = f"import sys, actlab.core.{module}; sys.exit(', '.join({heavy} & sys.modules.keys()) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
