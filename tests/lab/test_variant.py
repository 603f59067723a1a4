from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from actlab import activations
from actlab.core.config import FAMILIES, SCHEDULES
from actlab.lab import training, variant
from actlab.lab.variant import Settings

TINY = Settings(
    ring=0.07, input_scale=1.0, target_scale=1.0, width=8, depth=2, learning_rate=1e-3, gain=1.0, schedule="cosine",
    steps=10, batch=16, samples=32, families=FAMILIES, gelu="tanh", tasks=4, seed=3,
)  # fmt: skip


def train(name, settings):
    return variant.train(activations.get(name).activation.function, variant.suite(settings), settings).networks


def losses(settings, *names, clamp=10.0):
    functions = {name: activations.get(name).activation.function for name in names}
    return variant.losses(settings, functions, clamp).set_index("function")


@pytest.mark.parametrize("name", ["gelu-sine", "turbulent", "relu"])
def test_with_the_default_labs_settings_it_trains_the_default_labs_networks(name):
    ours = train(name, TINY)
    theirs = training.train(activations.get(name).activation.function, variant.suite(TINY).blind, TINY.lab, TINY.seed)
    start = training.initial_networks(variant.suite(TINY).blind.dims, 4, TINY.lab, TINY.seed)
    for a, b, before in zip(ours.weights + ours.biases, theirs.weights + theirs.biases,
                            start.weights + start.biases, strict=True):  # fmt: skip
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        assert not torch.equal(a, before)


def test_the_gain_multiplies_initial_weights_and_no_biases():
    still = replace(TINY, learning_rate=1e-12, gain=3.0)
    start = training.initial_networks(variant.suite(still).blind.dims, 4, still.lab, still.seed)
    networks = train("relu", still)
    for ours, before in zip(networks.weights, start.weights, strict=True):
        torch.testing.assert_close(ours, 3 * before)
    for ours, before in zip(networks.biases, start.biases, strict=True):
        torch.testing.assert_close(ours, before)


def test_scales_multiply_what_networks_see_and_not_what_they_are_judged_by():
    plain, scaled = variant.suite(TINY), variant.suite(replace(TINY, input_scale=0.5, target_scale=3.0))
    np.testing.assert_array_equal(scaled.blind.train_x, plain.blind.train_x * 0.5)
    np.testing.assert_array_equal(scaled.blind.ood_x, plain.blind.ood_x * 0.5)
    np.testing.assert_array_equal(scaled.blind.train_y, plain.blind.train_y * 3.0)
    np.testing.assert_array_equal(scaled.ood_y, plain.ood_y)


def test_losses_are_in_variances_of_the_target_whatever_its_scale():
    still = replace(TINY, learning_rate=1e-12, target_scale=1e4)  # predictions are then as good as 0
    np.testing.assert_allclose(losses(still, "relu")["train_mse"], 1, atol=1e-3)
    ood_y = variant.suite(still).ood_y
    found = losses(still, "relu", clamp=1e3)["ood_mse"]
    np.testing.assert_allclose(found, (ood_y**2).mean(axis=1), atol=1e-2)


def test_the_rate_falls_to_zero_along_a_cosine_or_stays():
    cosine, constant = ([training.FACTORS[name](step, 10) for step in (0, 5, 10)] for name in SCHEDULES)
    np.testing.assert_allclose(cosine, [1, 0.5, 0], atol=1e-12)
    assert constant == [1, 1, 1]
    assert not torch.equal(train("relu", TINY).weights[0], train("relu", replace(TINY, schedule="constant")).weights[0])


def test_tasks_are_of_the_chosen_families_alone_and_equally_many_of_each():
    given = variant.suite(replace(TINY, families=("harmonic", "feynman"), tasks=6))
    assert given.families == ("harmonic",) * 3 + ("feynman",) * 3
    assert given.blind.train_x.shape == (6, 32, 4)


def test_the_ring_and_the_seed_are_the_settings():
    wide = variant.suite(replace(TINY, ring=0.2))
    reach = np.abs(wide.blind.ood_x).max() / 3**0.5
    assert 1.15 < reach <= 1.2
    other = variant.suite(replace(TINY, seed=4))
    assert not np.array_equal(other.blind.train_y, wide.blind.train_y)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"families": ("harmonic", "images")}, r"wanted some of polynomial, .*; got harmonic, images"),
        ({"families": ()}, "got none"),
        ({"tasks": 5}, "wanted a multiple of 4 families; got 5"),
        ({"schedule": "linear"}, "schedule: wanted one of cosine, constant; got 'linear'"),
        ({"gelu": "relu"}, "gelu: wanted tanh or erf; got 'relu'"),
    ],
)
def test_settings_that_no_lab_can_have_are_refused(change, told):
    with pytest.raises(ValueError, match=told):
        replace(TINY, **change)


def test_the_form_of_gelu_is_the_labs_and_other_functions_keep_theirs():
    tanh, erf = (losses(replace(TINY, gelu=form), "gelu", "gelu-erf", "gelu-sine") for form in ("tanh", "erf"))
    columns = ["ood_mse", "train_mse"]
    np.testing.assert_array_equal(erf.loc["gelu", columns], erf.loc["gelu-erf", columns])
    assert (tanh.loc["gelu", "train_mse"].to_numpy() != erf.loc["gelu", "train_mse"].to_numpy()).any()
    np.testing.assert_array_equal(tanh.loc["gelu-sine", columns], erf.loc["gelu-sine", columns])


def test_a_functions_losses_do_not_hang_on_the_others():
    alone, among = losses(TINY, "gelu"), losses(TINY, "relu", "turbulent", "gelu")
    pd.testing.assert_frame_equal(alone, among.loc[["gelu"]])
    assert among.index.tolist() == ["relu"] * 4 + ["turbulent"] * 4 + ["gelu"] * 4
    assert among["task"].tolist() == [0, 1, 2, 3] * 3


def test_what_diverges_counts_as_the_clamp():
    functions = {"exploding": lambda x: torch.exp(200 * x * x)}
    table = variant.losses(replace(TINY, input_scale=3.0), functions, 7.5)
    assert (table["ood_mse"] <= 7.5).all() and (table["ood_mse"] == 7.5).any()
