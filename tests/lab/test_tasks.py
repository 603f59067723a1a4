from dataclasses import replace

import numpy as np
import pytest
import torch

from actlab import activations
from actlab.core import paper
from actlab.core.config import FAMILIES, SUITES, LabConfig, TaskConfig
from actlab.lab import feynman, tasks, training
from actlab.scoring.evaluator import mse

SMALL = TaskConfig(calibration=8, search=8, held_out=16, far=16)


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_has_equal_families_in_the_size_that_was_asked_for(name):
    suite = tasks.suite(name, SMALL)
    assert [suite.families.count(f) for f in FAMILIES] == [SMALL.size(name) // 4] * 4
    assert len(set(suite.labels)) == len(suite.tasks)


def test_the_laptop_suites_have_48_search_tasks_and_200_held_out_and_far():
    config = TaskConfig()
    assert [len(tasks.suite(name, config).tasks) for name in SUITES] == [48, 48, 200, 200]


def unit(x):
    return np.asarray(x) / tasks.INPUT_SCALE


@pytest.mark.parametrize("name", SUITES)
def test_training_inputs_fill_the_box_and_ood_inputs_the_ring_around_it_and_they_never_meet(name):
    suite = tasks.suite(name, SMALL)
    inside, outside = np.abs(unit(suite.blind.train_x)).max(-1), np.abs(unit(suite.blind.ood_x)).max(-1)
    assert inside.max() <= 1 < outside.min()
    assert outside.max() <= 1 + suite.ring + 1e-12
    assert inside.max() > 0.98
    assert outside.max() > 1 + 0.9 * suite.ring


def test_the_far_ring_is_twice_as_wide():
    assert tasks.suite("far", SMALL).ring == 2 * tasks.suite("held-out", SMALL).ring


def test_inputs_beyond_a_tasks_variables_are_zero():
    suite = tasks.suite("search", SMALL)
    for i, task in enumerate(suite.tasks):
        for x in (suite.blind.train_x[i], suite.blind.ood_x[i]):
            assert not x[:, task.dim :].any()
            assert x[:, : task.dim].any(axis=0).all()


def test_training_inputs_and_targets_are_standardised():
    suite = tasks.suite("held-out", TaskConfig())
    np.testing.assert_allclose(suite.blind.train_y.mean(1), 0, atol=1e-10)
    np.testing.assert_allclose(suite.blind.train_y.std(1), 1, atol=1e-10)
    assert suite.blind.train_x[:, :, 0].std() == pytest.approx(1, abs=0.01)


def test_a_task_is_one_continuous_function_across_the_edge_of_its_box():
    suite = tasks.suite("far", SMALL)
    for i, task in enumerate(suite.tasks):
        u = np.random.default_rng(i).uniform(-1, 1, size=(50, task.dim))
        u[:, 0] = 1.0
        step = np.zeros(task.dim)
        step[0] = 1e-9
        np.testing.assert_allclose(suite.target(i, u - step), suite.target(i, u + step), atol=1e-6)


def test_samples_lie_on_the_target_that_the_suite_gives():
    suite = tasks.suite("search", SMALL)
    for i, task in enumerate(suite.tasks):
        u = unit(suite.blind.ood_x[i, :, : task.dim])
        np.testing.assert_allclose(suite.target(i, u), suite.ood_y[i], atol=1e-9)


def test_suites_repeat_to_the_byte_and_differ_from_one_another():
    def content(suite):
        return b"".join(a.tobytes() for a in (suite.blind.train_x, suite.blind.train_y, suite.blind.ood_x, suite.ood_y))

    first = {name: content(tasks.suite(name, SMALL)) for name in SUITES}
    assert first == {name: content(tasks.suite(name, SMALL)) for name in SUITES}
    assert len(set(first.values())) == 4
    assert content(tasks.suite("search", replace(SMALL, seed=1))) != first["search"]


def test_training_data_do_not_hang_on_the_ring():
    narrow, wide = (tasks.suite("calibration", replace(SMALL, ring=ring)) for ring in (0.05, 0.5))
    np.testing.assert_array_equal(narrow.blind.train_x, wide.blind.train_x)
    np.testing.assert_array_equal(narrow.blind.train_y, wide.blind.train_y)


def test_held_out_and_far_draw_equations_that_search_and_calibration_never_see():
    pools = {name: {t.label for t in tasks.suite(name, TaskConfig()).tasks if t.family == "feynman"} for name in SUITES}
    seen, kept = pools["calibration"] | pools["search"], pools["held-out"] | pools["far"]
    assert not seen & kept
    assert kept == {e.name for e in feynman.equations(held_out=True)}


def test_blind_data_hold_no_ood_targets():
    suite = tasks.suite("search", SMALL)
    arrays = [v for v in vars(suite.blind).values() if isinstance(v, np.ndarray)]
    assert not any(a.shape == suite.ood_y.shape and np.allclose(a, suite.ood_y) for a in arrays)


def test_ring_points_are_uniform_in_the_shell_of_a_square():
    points = tasks.ring_points(40_000, 2, 1.0, 1.5, np.random.default_rng(0))
    size = np.abs(points).max(1)
    corner = ((np.abs(points) > 1).all(1)).mean()  # four squares of side 0.5 in a shell of area 9 - 4
    assert corner == pytest.approx(4 * 0.25 / 5, abs=0.01)
    assert (size <= 1.25).mean() == pytest.approx((1.25**2 - 1) / (1.5**2 - 1), abs=0.01)


def test_the_in_distribution_suite_has_the_search_suites_tasks_and_training_data_to_the_byte():
    inside, base = tasks.suite(tasks.INSIDE, SMALL), tasks.suite("search", SMALL)
    assert inside.labels == base.labels and inside.families == base.families
    for name in ("train_x", "train_y"):
        assert getattr(inside.blind, name).tobytes() == getattr(base.blind, name).tobytes()
    np.testing.assert_array_equal(inside.offset, base.offset)
    np.testing.assert_array_equal(inside.scale, base.scale)


def test_the_in_distribution_suite_is_judged_on_fresh_points_all_over_the_training_box():
    suite = tasks.suite(tasks.INSIDE, SMALL)
    assert (suite.name, suite.ring) == ("in-distribution", 0)
    for i, task in enumerate(suite.tasks):
        u, trained = unit(suite.blind.ood_x[i, :, : task.dim]), unit(suite.blind.train_x[i, :, : task.dim])
        assert 0.9 < np.abs(u).max() <= 1
        assert np.abs(u.mean(0)).max() < 0.2  # of 256 uniform points, whose mean has a standard error of 0.036
        assert not (u[:, None] == trained[None]).all(-1).any()
        assert not suite.blind.ood_x[i, :, task.dim :].any()
        np.testing.assert_allclose(suite.target(i, u), suite.ood_y[i], atol=1e-9)


def test_the_in_distribution_suite_repeats_to_the_byte_and_is_none_of_the_four():
    first, again = (tasks.suite(tasks.INSIDE, SMALL) for _ in range(2))
    assert first.blind.ood_x.tobytes() == again.blind.ood_x.tobytes()
    assert first.ood_y.tobytes() == again.ood_y.tobytes()
    assert tasks.INSIDE not in SUITES
    other = tasks.suite(tasks.INSIDE, replace(SMALL, seed=1))
    assert not np.array_equal(first.blind.ood_x, other.blind.ood_x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tasks.suite("heldout", SMALL), "wanted one of .*, far, in-distribution; got 'heldout'"),
        (lambda: tasks.suite("search", replace(SMALL, search=10)), "wanted a multiple of 4 tasks.*got 10"),
    ],
)
def test_a_wrong_suite_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_frozen_ring_brings_relu_within_20_percent_of_the_papers_loss_on_the_calibration_suite():
    suite, config = tasks.suite("calibration", TaskConfig()), LabConfig()
    networks = training.train(activations.relu, suite.blind, config, seed=0)
    x = torch.from_numpy(suite.blind.ood_x).float()
    loss = mse(networks.predict(activations.relu, x).double().numpy(), suite.ood_y, clamp=10.0).mean()
    wanted = paper.table_1().set_index("function").loc["relu", "ood_mse"]
    assert abs(loss / wanted - 1) < 0.2


@pytest.mark.parametrize(
    ("dim", "target", "message"),
    [
        (1, lambda u: np.full(len(u), 0.1), r"vary inside its box; got 0.1 everywhere$"),
        (1, lambda u: 0.3 * u[:, 0] - 0.3 * u[:, 0] + 0.1, r"vary inside its box; got 0.1 everywhere$"),
        (1, lambda u: 1e6 + 1e-12 * u[:, 0], r"vary inside its box; got 1000000.0 everywhere$"),
        (1, lambda u: np.zeros(len(u)), r"vary inside its box; got 0.0 everywhere$"),
        (
            1,
            lambda u: np.stack([u[:, 0], u[:, 0]], axis=1),
            r"each of 64 points u \[64, 1\]; got \[64, 2\] of float64$",
        ),
        (2, lambda u: u, r"each of 64 points u \[64, 2\]; got \[64, 2\] of float64$"),
        (1, lambda u: 0.5, r"each of 64 points u \[64, 1\]; got \[\] of float64$"),
        (1, lambda u: u[:7, 0], r"got \[7\] of float64$"),
        (1, lambda u: None, r"got \[\] of object$"),
        (1, lambda u: u[:, 0] * 1j, r"wanted a real target .*; got \[64\] of complex128$"),
        (1, lambda u: np.array(["a"] * len(u)), r"got \[64\] of <U1$"),
        (
            1,
            lambda u: np.where(u[:, 0] > 0.5, np.nan, u[:, 0]),
            r"wanted finite targets inside and around its box; got others$",
        ),
        (
            1,
            lambda u: np.where(abs(u[:, 0]) > 1, np.inf, u[:, 0]),
            r"wanted finite targets inside and around its box; ",
        ),
        (7, lambda u: u[:, 0], r"wanted 1 to 4 inputs; got dim = 7$"),
        (0, lambda u: np.arange(len(u)), r"wanted 1 to 4 inputs; got dim = 0$"),
        (1.5, lambda u: u[:, 0], r"wanted 1 to 4 inputs; got dim = 1.5$"),
    ],
)
def test_a_task_of_ones_own_that_cannot_be_trained_on_is_named_with_what_it_gave(dim, target, message):
    config = replace(SMALL, train_points=64, ood_points=32)
    mine = tasks.Task("mine", "wave", dim, target)
    with pytest.raises(ValueError, match=f"^task wave: .*{message}"):
        tasks.sample("mine", (mine,), 0.1, config, np.random.default_rng(0))


def test_a_target_cannot_change_the_points_that_are_trained_on():
    def works_in_place(u):
        u *= 2
        return u[:, 0]

    with pytest.raises(ValueError, match="read-only"):
        tasks.sample("mine", (tasks.Task("mine", "wave", 1, works_in_place),), 0.1, SMALL, np.random.default_rng(0))


def test_a_small_wave_on_a_large_constant_is_a_task_and_so_are_whole_numbers():
    large = tasks.Task("mine", "large", 1, lambda u: 1e6 + np.sin(u[:, 0]))
    whole = tasks.Task("mine", "whole", 4, lambda u: (u[:, 0] > 0).astype(int))
    suite = tasks.sample("mine", (large, whole), 0.1, SMALL, np.random.default_rng(0))
    assert np.allclose(suite.blind.train_y.std(axis=1), 1)
