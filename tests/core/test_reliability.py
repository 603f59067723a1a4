"""Reliability of a ranking, by hand and on simulated data whose truth is known."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from actlab.core import reliability

FAMILIES = np.repeat(["feynman", "harmonic", "harmonic-2d", "polynomial"], 50)
PARTS = {"function": 0.09, "task": 1.0, "interaction": 1.0, "residual": 0.25}  # variances of a lab like ours


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def mean(losses):
    """Return the mean of [functions, columns], as an aggregate."""
    return losses.mean(axis=1)


def simulated(generator, functions, tasks, seeds, function=1.0, task=1.0, interaction=1.0, residual=1.0):
    """Return [functions, tasks, seeds] normal values with these variances."""
    return (
        generator.normal(0, function**0.5, (functions, 1, 1))
        + generator.normal(0, task**0.5, (1, tasks, 1))
        + generator.normal(0, interaction**0.5, (functions, tasks, 1))
        + generator.normal(0, residual**0.5, (functions, tasks, seeds))
    )


def test_variance_components_of_a_design_small_enough_for_paper():
    # cells 1 5 / 5 9: mean squares of function and task 4 * (4 + 4) = 32, of cells 0, of seeds 8 / 4 = 2
    values = [[[0, 2], [4, 6]], [[4, 6], [8, 10]]]
    assert reliability.variance_components(values) == reliability.VarianceComponents(8, 8, 0, 2, (2, 2, 2))
    three = np.concatenate([values, np.mean(values, axis=1, keepdims=True)], axis=1)  # a third task, between the two
    shares = reliability.variance_shares(three)
    assert list(shares) == ["function", "task", "function x task", "residual"]
    assert sum(share.estimate for share in shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(("tasks", "seeds", "wanted"), [(12, 4, 0.426), (48, 1, 0.725), (100, 1, 0.846)])
def test_dependability_of_the_prototypes_designs(tasks, seeds, wanted):
    # variances measured on a prototype of this lab; the first is 0.09 / (0.09 + 1.39/12 + 0.25/48)
    components = reliability.VarianceComponents(0.09, 0.0, 1.39, 0.25, (20, 12, 8))
    assert reliability.dependability(components, tasks, seeds) == pytest.approx(wanted, abs=1e-3)


def test_spearman_brown_doubles_a_half():
    assert reliability.spearman_brown(0.6, 2) == pytest.approx(0.75)
    assert reliability.spearman_brown(-0.6, 2) == -0.6


def test_variance_components_find_the_ones_that_were_put_in(generator):
    truth = {"function": 0.5, "task": 2.0, "interaction": 1.0, "residual": 0.25}
    runs = [reliability.variance_components(simulated(generator, 20, 24, 3, **truth)) for _ in range(100)]
    for name, variance in truth.items():
        assert np.mean([getattr(run, name) for run in runs]) == pytest.approx(variance, rel=0.1)


def test_jackknife_intervals_cover_the_shares_of_a_lab_like_ours(generator):
    runs = [reliability.variance_shares(simulated(generator, 20, 20, 2, **PARTS)) for _ in range(150)]
    for name, variance in zip(runs[0], PARTS.values(), strict=True):
        share = variance / sum(PARTS.values())
        assert np.mean([run[name].estimate for run in runs]) == pytest.approx(share, abs=0.03)
        assert np.mean([run[name].low <= share <= run[name].high for run in runs]) >= 0.85


def test_stepped_up_reliability_is_what_the_variance_components_predict(generator):
    values = simulated(generator, 60, 40, 1, function=0.1)[..., 0]
    components = reliability.variance_components(np.stack([values, values], axis=-1))
    found = reliability.split_half(values, mean, generator)
    assert found.whole.n == 40 and found.halves.n == 20
    assert found.whole.estimate == pytest.approx(reliability.dependability(components, 40, 1), abs=0.05)


def test_reliability_is_one_without_noise_and_none_with_noise_alone(generator):
    order = np.tile(np.arange(8.0)[:, None], 12)
    assert reliability.split_half(order, mean, generator, splits=20).correlations == pytest.approx(np.ones(20))
    noise = reliability.split_half(generator.normal(size=(40, 100)), mean, generator)
    assert abs(noise.halves.estimate) < 0.3


def test_seeds_agree_where_only_tasks_differ(generator):
    values = simulated(generator, 10, 6, 8, function=0, residual=1e-9)
    by_seed = reliability.split_half(values, mean, generator, splits=20, unit="seeds")
    by_task = reliability.split_half(values, mean, generator, splits=20)
    assert by_seed.halves.estimate > 0.99 > 0.6 > by_task.halves.estimate
    assert (by_seed.halves.n, by_seed.whole.n) == (4, 8)


@pytest.mark.parametrize(("fraction", "size"), [(0.5, 100), (0.1, 20)])
def test_halves_are_disjoint_balanced_over_families_and_correlated_by_scipy(generator, fraction, size):
    seen, scores = [], generator.normal(size=(8, 10))

    def spy(columns):
        seen.append(columns[0].astype(int))
        return scores[:, len(seen)]

    tasks = np.tile(np.arange(200.0), (8, 1))
    found = reliability.split_half(tasks, spy, generator, splits=4, strata=FAMILIES, fraction=fraction)
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert first.size == second.size == np.union1d(first, second).size / 2 == size
        assert np.unique(FAMILIES[first], return_counts=True)[1].tolist() == [size / 4] * 4
    assert seen[0].tolist() != seen[2].tolist()
    theirs = [spearmanr(scores[:, i], scores[:, i + 1]).statistic for i in (1, 3, 5, 7)]
    assert found.correlations == pytest.approx(theirs)


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (lambda g: reliability.variance_components(np.ones((3, 4, 1))), "at least 2 of each, got shape"),
        (lambda g: reliability.variance_shares(np.ones((3, 2, 2))), "at least 3 tasks"),
        (lambda g: reliability.split_half(np.ones((4, 4)), mean, g), "all functions tie"),
        (lambda g: reliability.split_half(np.ones((4, 4)), mean, g, unit="seeds"), "to split seeds"),
        (lambda g: reliability.split_half(np.ones((4, 4)), mean, g, fraction=0.7), "at most 0.5 .* got 0.7 of 4"),
        (lambda g: reliability.dependability(None, 0, 1), "one task and one seed, got 0 and 1"),
    ],
)
def test_what_cannot_be_computed_is_refused_with_what_was_wanted(generator, call, wanted):
    with pytest.raises(ValueError, match=wanted):
        call(generator)
