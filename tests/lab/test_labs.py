"""Suites of labs: their strata, that none is another's, and that each lab trains as it does alone."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from actlab import activations
from actlab.core.config import FAMILIES, SUITES, LabConfig, LabsConfig, LabsTaskConfig, TaskConfig, VariantConfig
from actlab.lab import backends, compiled, labs, tasks, variant
from actlab.lab.distribution import Distribution
from actlab.lab.labs import FAR, STRATA
from actlab.studies.multiverse import DESIGNS, jobs

SMALL = LabsTaskConfig(calibration=6, search=12, held_out=6, far=14)


def settings(name, config=SMALL):
    return [lab for _, lab in labs.settings(name, config)]


@pytest.fixture(scope="module")
def suites():
    return {name: labs.suite(name, SMALL) for name in SUITES}


def test_a_suite_has_equal_strata_and_a_task_is_of_its_labs_stratum(suites):
    for name, suite in suites.items():
        strata = list(FAR if name == "far" else STRATA)
        assert list(dict.fromkeys(suite.families)) == strata
        assert set(Counter(suite.families).values()) == {SMALL.each * SMALL.size(name) // len(strata)}
        assert suite.families == tuple(s for s, _ in labs.settings(name, SMALL) for _ in range(SMALL.each))
        assert len(suite.tasks) == len(suite.labels) == len(set(suite.labels)) == SMALL.each * SMALL.size(name)


def test_the_sizes_of_the_default_suites_fill_equal_strata():
    counts = {name: Counter(stratum for stratum, _ in labs.settings(name, LabsTaskConfig())) for name in SUITES}
    assert [(len(count), set(count.values())) for count in counts.values()] == [
        (6, {8}),
        (6, {4}),
        (6, {40}),
        (7, {12}),
    ]


def test_a_lab_lies_in_its_stratum_and_all_else_is_drawn_from_the_distribution():
    usual, ring = Distribution(), Distribution().ring
    for name in ("calibration", "search", "held-out"):
        for stratum, lab in labs.settings(name, SMALL):
            depth, gain = stratum.split(", ")
            assert lab.depth in {"one layer": (1,), "two layers": (2,), "three or four layers": (3, 4)}[depth]
            low, high = {"low gain": (0.5, 1.2), "high gain": (1.2, 3.0)}[gain]
            assert low <= lab.gain <= high
            assert ring.low <= lab.ring <= ring.high and lab.width in usual.width.values
            assert (lab.samples, lab.gelu, lab.tasks) == (256, "tanh", SMALL.each)
            assert set(lab.families) <= set(FAMILIES) and SMALL.each % len(lab.families) == 0


def test_no_lab_is_one_of_another_suite_or_of_the_multiverse():
    config = LabsTaskConfig()
    mine = [lab for name in SUITES for lab in settings(name, config)]
    theirs = [job.settings for job in jobs(DESIGNS["laptop"])]
    assert len({lab.seed for lab in [*mine, *theirs]}) == sum(map(config.size, SUITES)) + len(theirs) == 396 + 100
    assert len({replace(lab, seed=0) for lab in mine}) == len(mine)


def test_suites_of_more_labs_begin_each_stratum_with_the_same_ones():
    few, many = settings("search"), settings("search", replace(SMALL, search=24))
    assert few == [many[4 * stratum + lab] for stratum in range(6) for lab in range(2)]


def arrays(suite):
    blind = suite.blind
    return blind.train_x, blind.train_y, blind.ood_x, suite.ood_y, suite.offset, suite.scale, suite.unit


def test_the_same_config_gives_the_same_bytes_and_another_seed_other_tasks(suites):
    for name in ("search", "far"):
        again = labs.suite(name, LabsTaskConfig(**vars(SMALL)))
        assert [array.tobytes() for array in arrays(again)] == [array.tobytes() for array in arrays(suites[name])]
        assert (again.labs, again.labels, again.blind.dims) == (
            suites[name].labs, suites[name].labels, suites[name].blind.dims,
        )  # fmt: skip
    other = labs.suite("search", replace(SMALL, seed=1))
    assert not np.isclose(other.blind.train_y, suites["search"].blind.train_y).all(axis=1).any()


def test_a_suite_is_its_labs_one_after_the_other(suites):
    for name, held_out in (("search", False), ("held-out", True)):
        parts = [variant.suite(lab, held_out) for lab in settings(name)]
        for array, *own in zip(arrays(suites[name]), *map(arrays, parts), strict=True):
            np.testing.assert_array_equal(array, np.concatenate(own))
        assert suites[name].labs == LabsConfig(tuple(lab.lab for lab in settings(name)))
        assert suites[name].blind.dims == tuple(dim for part in parts for dim in part.blind.dims)


def test_the_far_labs_are_outside_of_the_distribution_in_what_their_kind_says_and_in_nothing_else():
    usual, found = Distribution(), {}
    for kind, lab in labs.settings("far", SMALL):
        found.setdefault(kind, []).append(lab)
    assert all(0.5 <= lab.ring <= 1.0 for lab in found["wider rings"])
    assert all(3.5 <= lab.gain <= 4.5 for lab in found["gains of four"])
    assert all(lab.depth in (5, 6) for lab in found["five or six layers"])
    assert all(lab.width in (96, 128) for lab in found["wide"])
    assert all(lab.families == ("network",) for lab in found["smooth networks"])
    assert all(lab.families == ("spline",) for lab in found["splines"])
    outside = {
        kind: {
            name
            for lab in of
            for name, holds in {
                "ring": usual.ring.low <= lab.ring <= usual.ring.high,
                "gain": usual.gain.low <= lab.gain <= usual.gain.high,
                "depth": lab.depth in usual.depth.values,
                "width": lab.width in usual.width.values,
                "families": set(lab.families) <= set(FAMILIES),
            }.items()
            if not holds
        }
        for kind, of in found.items()
    }
    assert outside == {
        "wider rings": {"ring"}, "gains of four": {"gain"}, "five or six layers": {"depth"}, "wide": {"width"},
        "smooth networks": {"families"}, "splines": {"families"}, "noise": set(),
    }  # fmt: skip


def test_noise_is_on_the_training_targets_of_noisy_labs_alone_in_units_of_their_scale(suites, monkeypatch):
    noisy = suites["far"]
    monkeypatch.setattr(labs, "NOISE", 0.0)
    clean = labs.suite("far", SMALL)
    for place, (ours, theirs) in enumerate(zip(arrays(noisy), arrays(clean), strict=True)):
        if place != 1:
            np.testing.assert_array_equal(ours, theirs)
    noise = (noisy.blind.train_y - clean.blind.train_y) / np.asarray(noisy.unit)[:, None]
    mine = np.array(noisy.families) == "noise"
    assert not noise[~mine].any()
    np.testing.assert_allclose(noise[mine].std(axis=1), 0.3, atol=0.04)  # of 256 points: a standard error of 0.013
    np.testing.assert_allclose(noise[mine].mean(axis=1), 0, atol=0.08)
    assert np.abs(np.corrcoef(noise[mine]) - np.eye(mine.sum())).max() < 0.3  # each task has its own


def test_held_out_and_far_labs_have_other_feynman_equations_than_those_that_select(suites):
    names = {
        name: {label.split(", ")[-1] for label in suite.labels if ", feynman, " in label}
        for name, suite in {name: labs.suite(name, replace(SMALL, each=8)) for name in SUITES}.items()
    }
    assert all(names.values())
    assert not (names["calibration"] | names["search"]) & (names["held-out"] | names["far"])


def test_a_size_that_strata_cannot_share_and_an_unknown_suite_are_refused():
    with pytest.raises(ValueError, match="the search labs: wanted a multiple of 6, for equal strata; got 8"):
        labs.suite("search", replace(SMALL, search=8))
    with pytest.raises(ValueError, match="the far labs: wanted a multiple of 7, for equal strata; got 6"):
        labs.suite("far", replace(SMALL, far=6))
    with pytest.raises(ValueError, match="unknown suite: wanted one of calibration, search, held-out, far; got 'near'"):
        labs.suite("near", SMALL)


# --- the families of far labs ---


def test_a_smooth_network_is_the_sum_of_its_sigmoids():
    made = tasks.smooth_networks(3, np.random.default_rng(5))
    assert [(task.family, task.dim, task.label) for task in made] == [
        ("network", 1, "16 sigmoids of 1"), ("network", 2, "16 sigmoids of 2"), ("network", 1, "16 sigmoids of 1"),
    ]  # fmt: skip
    generator = np.random.default_rng(5)
    for task in made:
        weights, shifts = 3 * generator.standard_normal((16, task.dim)), 3 * generator.standard_normal(16)
        heights, u = generator.standard_normal(16), np.random.default_rng(1).uniform(-1.2, 1.2, (50, task.dim))
        by_hand = [
            sum(h / (1 + np.exp(-(w @ x + s))) for w, s, h in zip(weights, shifts, heights, strict=True)) for x in u
        ]
        np.testing.assert_allclose(task.target(u), by_hand, rtol=1e-12)
        far = task.target(np.full((1, task.dim), 1e6))[0]  # every sigmoid is then 0 or 1
        assert far == pytest.approx(heights[weights.sum(axis=1) > 0].sum())


def test_a_spline_runs_through_its_knots_smoothly_and_is_straight_at_both_ends():
    (task,) = tasks.splines(1, np.random.default_rng(5))
    assert (task.family, task.dim) == ("spline", 1)
    knots, values = -1.4 + 0.4 * np.arange(8), np.random.default_rng(5).normal(size=8)
    np.testing.assert_allclose(task.target(knots[:, None]), values, atol=1e-12)
    assert knots[1] == pytest.approx(-1) and knots[6] == pytest.approx(1)  # the training range, and a knot beyond it
    step = 1e-3
    second = [task.target(np.array([[x - step], [x], [x + step]])) @ [1, -2, 1] / step**2 for x in knots]
    near = [task.target(np.array([[x], [x + step], [x + 2 * step]])) @ [1, -2, 1] / step**2 for x in knots]
    np.testing.assert_allclose(second[1:-1], near[1:-1], atol=0.3)  # its curvature does not jump
    np.testing.assert_allclose([second[0], second[-1]], 0, atol=0.2)
    assert np.abs(second).max() > 5


def test_far_splines_are_never_asked_for_beyond_their_last_knot():
    widest = Distribution().ring.high
    assert 1 + widest < 1.4


# --- training ---


def short(suite_settings):
    return [replace(lab, steps=8, width=8) for lab in suite_settings]


@pytest.fixture(params=backends.BACKENDS)
def backend(request, monkeypatch):
    if request.param == "compiled" and compiled.missing() is not None:
        pytest.skip(f"no compiler: {compiled.missing()}")
    monkeypatch.setenv("ACTLAB_BACKEND", request.param)
    return request.param


@pytest.mark.parametrize("name", ["gelu-sine", "turbulent"])
def test_every_lab_of_a_suite_trains_the_networks_that_it_trains_alone(name, backend, suites):
    function, suite, alone = activations.get(name).activation.function, suites["held-out"], short(settings("held-out"))
    config = LabsConfig(tuple(replace(lab.lab, dtype="float64") for lab in alone))
    used = set()

    def train(start, lab):
        trained = backends.train(function, start, lab)
        used.add(trained.backend)
        return trained

    together = backends.in_labs(backends.labs(suite.blind, config, 0), None, suite.blind.ood_x, train)
    assert used == {backend}
    for place, lab in enumerate(alone):
        own = variant.suite(lab)
        networks = variant.train(function, own, lab, torch.float64)
        x, ood_x = torch.from_numpy(own.blind.train_x), torch.from_numpy(own.blind.ood_x)
        part = slice(4 * place, 4 * place + 4)
        for ours, points, batch in zip(together, (x, ood_x, ood_x), (lab.batch, lab.batch, None), strict=True):
            theirs = networks.predict(points, batch).numpy()
            np.testing.assert_allclose(ours[part], theirs, rtol=1e-9, atol=1e-9)


def test_chosen_tasks_are_trained_as_among_all_in_whatever_order(backend, suites):
    suite, alone = suites["search"], short(settings("search"))
    config = LabsConfig(tuple(replace(lab.lab, dtype="float64") for lab in alone))
    given = backends.labs(suite.blind, config, 0)
    trained = []

    def train(start, lab):
        trained.append((lab, len(start.x)))
        return backends.train(torch.sin, start, lab)

    whole = backends.in_labs(given, None, suite.blind.ood_x, train)
    assert trained == [(lab, 4) for lab in config.labs]
    trained.clear()
    chosen = (47, 3, 13, 0, 12, 3)
    some = backends.in_labs(given, chosen, suite.blind.ood_x, train)
    assert [(config.labs.index(lab), count) for lab, count in trained] == [(0, 3), (3, 2), (11, 1)]
    for ours, theirs in zip(some, whole, strict=True):
        np.testing.assert_allclose(ours, theirs[list(chosen)], rtol=1e-10, atol=1e-12)


def test_a_seed_is_added_to_each_labs_own_and_labs_of_equal_settings_differ_by_it(suites):
    config = LabsConfig((VariantConfig(width=4, seed=3), VariantConfig(width=4, seed=4)))
    blind = labs.suite("search", replace(SMALL, search=6, each=1)).blind
    few = replace(blind, dims=blind.dims[:2], **{n: getattr(blind, n)[:2] for n in ("train_x", "train_y", "ood_x")})
    starts = [[start.networks.weights[1] for _, _, start in backends.labs(few, config, seed)] for seed in (0, 1)]
    assert torch.equal(starts[0][1], starts[1][0])
    assert not torch.equal(starts[0][0], starts[0][1])


def test_one_lab_is_a_suite_of_its_own_with_the_seed_that_is_asked_for():
    blind = tasks.suite("search", TaskConfig(search=4)).blind
    config = LabConfig(width=4, steps=2)
    ((lab, places, start),) = backends.labs(blind, config, 5)
    assert (lab, list(places)) == (config, [0, 1, 2, 3])
    straight = backends.Start.of(blind, config, 5, range(4))
    for ours, theirs in zip(start.networks.tensors, straight.networks.tensors, strict=True):
        assert torch.equal(ours, theirs)


def test_the_shapes_of_labs_have_every_batch_and_every_width_and_all_points_at_once(suites):
    assert backends.shapes(LabConfig(width=8, batch=16), 256) == [(16, 8), (256, 8)]
    lab = VariantConfig(width=8, batch=16)
    several = LabsConfig((lab, replace(lab, width=4), replace(lab, batch=32), replace(lab, width=2)))
    found = backends.shapes(several, 256)
    assert {batch for batch, _ in found} == {16, 32, 256} and {width for _, width in found} == {8, 4, 2}
    assert len(found) == 3


def test_unequal_labs_are_refused():
    lab = VariantConfig()
    with pytest.raises(ValueError, match="wanted equally many tasks of 2 labs; got 5 in all"):
        list(LabsConfig((lab, lab)).parts(5, 0))
    for wrong in ((), (lab, replace(lab, dtype="float64"))):
        with pytest.raises(ValueError, match=f"wanted labs of one device and type; got {len(wrong)} labs"):
            LabsConfig(wrong)
