"""Statistics against scipy, by hand, and on simulated data whose truth is known."""

import subprocess
import sys

import numpy as np
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


def simulated(generator, functions, tasks, seeds, function=1.0, task=1.0, interaction=1.0, residual=1.0):
    """Return [functions, tasks, seeds] normal values with these variances."""
    return (
        generator.normal(0, function**0.5, (functions, 1, 1))
        + generator.normal(0, task**0.5, (1, tasks, 1))
        + generator.normal(0, interaction**0.5, (functions, tasks, 1))
        + generator.normal(0, residual**0.5, (functions, tasks, seeds))
    )


# Oracles


def test_bootstrap_mean_is_scipys_percentile_bootstrap(generator):
    values = generator.lognormal(size=80)
    ours = stats.bootstrap_mean(values, generator, resamples=20_000)
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=generator
    ).confidence_interval
    assert ours.estimate == values.mean()
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.01)


def test_stratified_interval_leaves_out_the_differences_between_families(generator):
    values = 100.0 * np.repeat(range(4), 50) + generator.normal(size=200)
    ours = stats.bootstrap_mean(values, generator, strata=FAMILIES)
    within = np.mean([values[family == FAMILIES].var() for family in np.unique(FAMILIES)])
    assert ours.high - ours.low == pytest.approx(2 * 1.96 * np.sqrt(within / 200), rel=0.03)
    plain = stats.bootstrap_mean(values, generator)
    assert plain.high - plain.low > 50 * (ours.high - ours.low)


def test_strata_may_be_of_different_sizes_and_in_any_order(generator):
    values, strata = np.array([1.0, 10, 3, 20, 5]), np.array(["b", "a", "b", "a", "b"])
    ours = stats.bootstrap_mean(values, generator, strata, level=0.999999)
    assert (ours.low, ours.high) == pytest.approx(((3 * 1 + 2 * 10) / 5, (3 * 5 + 2 * 20) / 5), abs=0.01)


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


def test_paired_t_is_scipys(generator):
    a, b = generator.normal(size=(2, 5))
    ours, theirs = stats.paired_t(a, b), scipy_stats.ttest_rel(a, b)
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval()))


def test_a_crossed_difference_is_scipys_paired_t_over_runs_where_tasks_do_not_differ(generator):
    a, b = generator.normal(size=(2, 5))
    ours = stats.crossed_difference(np.tile(a[:, None], 12), np.tile(b[:, None], 12), FAMILIES[:100:9])
    theirs = scipy_stats.ttest_rel(a, b)
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval()))


def test_a_crossed_difference_is_scipys_t_over_tasks_where_runs_do_not_differ(generator):
    a, b = generator.normal(size=(2, 12))
    ours, theirs = stats.crossed_difference(np.tile(a, (5, 1)), b), scipy_stats.ttest_rel(a, b)
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval()))


def crossed(generator, runs, tasks, run=1.0, task=1.0, residual=1.0):
    """Return [runs, tasks] normal values with these variances, whose families differ by far, mean 0."""
    values = simulated(generator, runs, tasks, 1, run, task, residual, 0)[..., 0]
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
        assert (found.p_value < 0.05) == (not found.low <= 0 <= found.high)
        hits.append(found.low <= 0 <= found.high)
    assert 0.925 <= np.mean(hits) <= 0.985  # two standard errors around 0.95 are 0.022; without components, above


def test_a_bootstrap_over_five_runs_would_not_cover():
    generator, hits = np.random.default_rng(1), []
    for _ in range(400):
        means = crossed(generator, 5, 40).mean(axis=1)
        found = stats.bootstrap_mean(means, generator, resamples=300)
        hits.append(found.low <= 0 <= found.high)
    assert np.mean(hits) < 0.88


def test_probability_of_improvement_has_scipys_wilson_interval():
    a, b = np.arange(40.0), np.where(np.arange(40) < 29, 100.0, -1.0)
    theirs = scipy_stats.binomtest(29, 40).proportion_ci(method="wilson")
    ours = stats.probability_of_improvement(a, b)
    assert (ours.estimate, ours.low, ours.high) == pytest.approx((29 / 40, theirs.low, theirs.high))


def test_rank_correlations_are_scipys_with_ties(generator):
    a, b = generator.integers(6, size=(2, 20)).astype(float)
    ours = stats.rank_correlation(a, b, generator, resamples=200)
    assert ours.spearman.estimate == pytest.approx(scipy_stats.spearmanr(a, b).statistic)
    assert ours.kendall.estimate == pytest.approx(scipy_stats.kendalltau(a, b).statistic)


def test_bootstrapped_rank_correlations_are_scipys_on_the_same_resamples(generator):
    a, b = generator.normal(size=(2, 8))
    picks = np.random.default_rng(5).integers(8, size=(300, 8))
    ours = stats.rank_correlation(a, b, np.random.default_rng(5), resamples=300)
    theirs = [scipy_stats.kendalltau(a[row], b[row]).statistic for row in picks]
    assert (ours.kendall.low, ours.kendall.high) == pytest.approx(tuple(np.quantile(theirs, (0.025, 0.975))))


# Worked examples


def test_interval_reads_as_a_table_cell():
    interval = stats.Interval(0.0519, 0.04712, 0.05777, 200, "bootstrap")
    assert f"{interval:.3f}" == interval.text() == "0.052 [0.047, 0.058]"
    assert f"{interval}" == "0.0519 [0.0471, 0.0578]"
    assert interval.text(1) == "0.1 [0.0, 0.1]"


def test_interval_says_how_it_was_made(generator):
    ours = stats.paired_difference(np.arange(200.0), np.ones(200), generator, FAMILIES, resamples=500)
    assert ours.n == 200
    assert ours.method == (
        "paired 95% percentile bootstrap over 200 values in 4 strata, 500 resamples; p from 500 random sign flips"
    )


def test_holm_of_four_p_values():
    # sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, made monotone: .02 .03 .06 .06
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_equal_arms_have_no_difference(generator):
    same = np.ones(30)
    assert stats.paired_difference(same, same, generator).p_value == 1
    assert stats.paired_t(same, same).p_value == 1
    assert stats.crossed_difference(np.ones((3, 4)), np.ones(4)).p_value == 1
    assert stats.probability_of_improvement(same, same).estimate == 0.5


def test_five_pairs_that_all_agree_reach_two_in_thirty_two(generator):
    assert stats.paired_difference([1.0, 2, 3, 4, 5], np.zeros(5), generator).p_value == 2 / 32


def test_aggregates_of_two_functions_on_three_tasks():
    losses = [[0.1, 0.4, np.nan], [0.2, 1e32, 0.001]]
    # clamped at 1: [.1 .4 1] and [.2 1 .001]; floored at .01 as well: [.1 .4 1] and [.2 1 .01]
    assert stats.clamped_mean(losses, 1) == pytest.approx([1.5 / 3, 1.201 / 3])
    assert stats.mean_log(losses, 1, 0.01) == pytest.approx([np.log(0.04) / 3, np.log(0.002) / 3])
    ratio = stats.mean_log_ratio(losses, [0.2, 0.4, np.inf], 1, 0.01)
    assert ratio == pytest.approx([np.log(0.5) / 3, np.log(2.5 * 0.01) / 3])
    # ranks by task: 1 2, 1 2, 2 1
    assert stats.mean_rank(losses, 1) == pytest.approx([4 / 3, 5 / 3])


def test_losses_at_the_clamp_tie_in_rank():
    assert stats.mean_rank([[5.0], [np.inf], [-np.inf], [0.5]], clamp=2) == pytest.approx([3, 3, 3, 1])


def test_variance_components_of_a_design_small_enough_for_paper():
    # cells 1 5 / 5 9: mean squares of function and task 4 * (4 + 4) = 32, of cells 0, of seeds 8 / 4 = 2
    found = stats.variance_components([[[0, 2], [4, 6]], [[4, 6], [8, 10]]])
    assert found == stats.VarianceComponents(8, 8, 0, 2, (2, 2, 2), ("function x task",))
    assert found.shares() == pytest.approx(
        {"function": 8 / 18, "task": 8 / 18, "function x task": 0, "residual": 2 / 18}
    )


def test_dependability_of_the_prototypes_designs():
    # variances measured on a prototype of this lab; the first is 0.09 / (0.09 + 1.39/12 + 0.25/48)
    components = stats.VarianceComponents(0.09, 0.0, 1.39, 0.25, (20, 12, 8), ())
    assert stats.dependability(components, tasks=12, seeds=4) == pytest.approx(0.426, abs=1e-3)
    assert stats.dependability(components, tasks=48, seeds=1) == pytest.approx(0.725, abs=1e-3)
    assert stats.dependability(components, tasks=100, seeds=1) == pytest.approx(0.846, abs=1e-3)


def test_spearman_brown_doubles_a_half():
    assert stats.spearman_brown(0.6, 2) == pytest.approx(0.75)
    assert stats.spearman_brown(-0.6, 2) == -0.6


# Simulated data with a known truth


def test_bootstrap_interval_covers_the_mean_as_often_as_it_says(generator):
    intervals = [stats.bootstrap_mean(sample, generator, resamples=1000) for sample in generator.normal(size=(300, 60))]
    assert 0.91 <= np.mean([interval.low <= 0 <= interval.high for interval in intervals]) <= 0.98


def test_variance_components_find_the_ones_that_were_put_in(generator):
    truth = {"function": 0.5, "task": 2.0, "interaction": 1.0, "residual": 0.25}
    runs = [stats.variance_components(simulated(generator, 20, 24, 3, **truth)) for _ in range(100)]
    for name, variance in truth.items():
        assert np.mean([getattr(run, name) for run in runs]) == pytest.approx(variance, rel=0.1)


def test_jackknife_intervals_cover_the_shares_of_a_lab_like_ours(generator):
    truth = {"function": 0.09, "task": 1.0, "function x task": 1.0, "residual": 0.25}
    runs = [stats.variance_shares(simulated(generator, 20, 20, 2, function=0.09, residual=0.25)) for _ in range(150)]
    for name, variance in truth.items():
        share = variance / sum(truth.values())
        assert np.mean([run[name].estimate for run in runs]) == pytest.approx(share, abs=0.03)
        assert np.mean([run[name].low <= share <= run[name].high for run in runs]) >= 0.85


def test_stepped_up_reliability_is_what_the_variance_components_predict(generator):
    values = simulated(generator, 60, 40, 1, function=0.1)[..., 0]
    components = stats.variance_components(np.stack([values, values], axis=-1))
    found = stats.split_half_reliability(values, lambda x: x.mean(axis=1), generator)
    assert found.whole.n == 40 and found.halves.n == 20
    assert found.whole.estimate == pytest.approx(stats.dependability(components, 40, 1), abs=0.05)


def test_reliability_is_one_without_noise_and_none_with_noise_alone(generator):
    order = np.tile(np.arange(8.0)[:, None], 12)
    sure = stats.split_half_reliability(order, lambda x: x.mean(axis=1), generator, splits=20)
    assert sure.correlations == pytest.approx(np.ones(20))
    noise = stats.split_half_reliability(generator.normal(size=(40, 100)), stats_mean, generator)
    assert abs(noise.halves.estimate) < 0.3


def stats_mean(losses):
    """Return the mean of [functions, columns], as an aggregate."""
    return losses.mean(axis=1)


def test_seeds_agree_where_only_tasks_differ(generator):
    values = simulated(generator, 10, 6, 8, function=0, residual=1e-9)
    by_seed = stats.split_half_reliability(values, stats_mean, generator, splits=20, unit="seeds")
    by_task = stats.split_half_reliability(values, stats_mean, generator, splits=20)
    assert by_seed.halves.estimate > 0.99 > 0.6 > by_task.halves.estimate
    assert (by_seed.halves.n, by_seed.whole.n) == (4, 8)


@pytest.mark.parametrize(("fraction", "size"), [(0.5, 100), (0.1, 20)])
def test_halves_are_disjoint_and_balanced_over_families(generator, fraction, size):
    seen = []

    def spy(columns):
        seen.append(columns[0].astype(int))
        return np.arange(3.0)

    tasks = np.tile(np.arange(200.0), (3, 1))
    stats.split_half_reliability(tasks, spy, generator, splits=4, strata=FAMILIES, fraction=fraction)
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert first.size == second.size == np.union1d(first, second).size / 2 == size
        assert np.unique(FAMILIES[first], return_counts=True)[1].tolist() == [size / 4] * 4
    assert seen[0].tolist() != seen[2].tolist()


# Properties


losses_of_four = arrays(float, (4, 6), elements=st.floats(0, 10) | st.sampled_from([np.nan, np.inf, 1e32]))


@quick
@given(losses_of_four)
def test_nan_and_infinity_count_as_the_clamp(losses):
    plain = np.where(np.isfinite(losses), losses, 3.0)
    assert np.array_equal(stats.clamped_mean(losses, 3.0), stats.clamped_mean(plain, 3.0))
    assert np.array_equal(stats.mean_rank(losses, 3.0), stats.mean_rank(plain, 3.0))
    assert np.array_equal(stats.mean_log(losses, 3.0, 0.1), stats.mean_log(plain, 3.0, 0.1))
    assert np.all(stats.clamped_mean(losses, 3.0) <= 3.0)


@quick
@given(losses_of_four)
def test_a_reference_ranks_zero_against_itself(losses):
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


def test_slices_only_save_memory(generator, monkeypatch):
    values = generator.normal(size=50)
    monkeypatch.setattr(stats, "SLICE", 50 * 300)
    ours = stats.bootstrap_mean(values, generator, resamples=10_000)
    assert ours.high - ours.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(50), rel=0.05)


# Refusals


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (lambda g: stats.bootstrap_mean([1.0, np.inf], g), "2 finite values .* 1 not finite"),
        (lambda g: stats.bootstrap_mean([1.0, 2.0, 3.0], g, ["a", "a", "b"]), "each stratum, got 2, 1"),
        (lambda g: stats.bootstrap_mean([1.0, 2.0], g, level=95), "level between 0 and 1, .* got 95"),
        (lambda g: stats.bootstrap_mean([1.0, 2.0], g, ["a"]), "each of 2 units"),
        (lambda g: stats.paired_difference([1.0, 2.0], [1.0, 2.0, 3.0], g), "pairs, got 2 and 3"),
        (lambda g: stats.holm([0.1, 1.2]), "between 0 and 1"),
        (lambda g: stats.crossed_difference(np.ones((2, 3)), np.ones(2)), r"shapes \(2, 3\) and \(2,\)"),
        (lambda g: stats.crossed_difference(np.ones((1, 3)), np.ones(3)), "at least 2 runs .* got 1 and 3"),
        (lambda g: stats.crossed_difference(np.ones((2, 3)), np.ones(3), ["a", "a", "b"]), "got 2 and 2, 1"),
        (lambda g: stats.crossed_difference(np.full((2, 3), np.nan), np.ones(3)), "finite values"),
        (lambda g: stats.mean_log([1.0], clamp=1, floor=2), "0 < floor < clamp"),
        (lambda g: stats.mean_log_ratio(np.ones((2, 3)), np.ones(2), 2, 0.1), r"\(3,\), got \(2,\)"),
        (lambda g: stats.variance_components(np.ones((3, 4, 1))), "at least 2 of each, got shape"),
        (lambda g: stats.variance_shares(np.ones((3, 2, 2))), "at least 3 tasks"),
        (lambda g: stats.split_half_reliability(np.ones((4, 4)), stats_mean, g), "all functions tie"),
        (
            lambda g: stats.split_half_reliability(np.ones((4, 4)), stats_mean, g, unit="seeds"),
            "to split seeds",
        ),
        (lambda g: stats.split_half_reliability(np.ones((4, 4)), stats_mean, g, fraction=0.7), "at most 0.5"),
        (lambda g: stats.rank_correlation(np.ones(5), np.arange(5), g), "not all tied"),
    ],
)
def test_what_cannot_be_computed_is_refused_with_what_was_wanted(generator, call, wanted):
    with pytest.raises(ValueError, match=wanted):
        call(generator)


def test_stats_imports_nothing_heavy():
    heavy = "{'torch', 'pandas', 'matplotlib', 'seaborn'}"
    code = f"import sys, actlab.core.stats; sys.exit(', '.join({heavy} & sys.modules.keys()) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
