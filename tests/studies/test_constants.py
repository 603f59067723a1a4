"""Training with learned constants agrees with the lab where they are fixed, and with a plain module where they move."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from actlab import activations
from actlab.activations.trainable import learnable
from actlab.core.config import profile
from actlab.core.records import Store
from actlab.lab import reference, tasks, training
from actlab.scoring import evaluator
from actlab.scoring.laboratory import Laboratory
from actlab.studies import constants

pytestmark = pytest.mark.usefixtures("warm_sandboxes")

SMOKE = profile("smoke")
SMALL = replace(SMOKE.lab, width=8, depth=2, steps=12, dtype="float64")
SUITE = tasks.suite("held-out", SMOKE.tasks)
ARMS = ("fixed", "learned")
every_function = pytest.mark.parametrize("name", constants.FUNCTIONS)


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory):
    with Laboratory(replace(SMOKE, lab=SMALL), 1, Store(tmp_path_factory.mktemp("store"))) as one:
        yield one


@pytest.fixture(scope="module")
def found(laboratory):
    return constants.study(laboratory, ["gmtu", "snake"])


def plain(name, task, config):
    """One network as a reader would write it first, its activations modules of `learnable`; trained by plain Adam."""
    dim = SUITE.blind.dims[task]
    start = training.initial_networks(SUITE.blind.dims, tasks.MAX_DIM, config, 0)
    layers = reference.network(torch.relu, start, task, dim)
    net = nn.Sequential(
        *(learnable(name, dtype=torch.float64) if isinstance(layer, reference.Wrapped) else layer for layer in layers)
    )
    x = torch.from_numpy(SUITE.blind.train_x[task, :, :dim])
    y = torch.from_numpy(SUITE.blind.train_y[task, :, None])
    reference.fit(net, x, y, training.batches(len(x), config, 0), config.learning_rate)
    return net


def worked_losses():
    """Of two tasks of each of two families; learned losses are a half and a quarter of the fixed ones."""
    rows = [
        ("gmtu", arm, "held-out", 0, family, f"{family} {task}", loss * (1 if arm == "fixed" else factor), 0.02)
        for arm in ARMS
        for family, factor in (("polynomial", 0.5), ("harmonic", 0.25))
        for task, loss in enumerate((0.4, 2.0))
    ]
    columns = ["function", "constants", "suite", "seed", "family", "task", "ood_mse", "train_mse"]
    return pd.DataFrame(rows, columns=columns)


@every_function
def test_with_fixed_constants_the_networks_are_those_of_the_lab(name):
    chosen = [0, 5, 6]
    wanted = training.train(activations.REGISTRY[name].function, SUITE.blind, SMALL, seed=3, chosen=chosen)
    trained = constants.train(name, False, SUITE.blind, SMALL, 3, chosen)
    ours, theirs = (n.weights + n.biases for n in (trained.networks, wanted))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    published = activations.REGISTRY[name].constants
    assert {key: value.unique().tolist() for key, value in trained.constants.items()} == {
        key: [value] for key, value in published.items()
    }


@every_function
def test_with_learned_constants_each_network_is_a_plain_one_of_learnable_modules(name):
    trained = constants.train(name, True, SUITE.blind, SMALL, 0, [5, 6])
    for place, task in enumerate((5, 6)):
        net = plain(name, task, SMALL)
        torch.testing.assert_close(trained.networks.weights[-1][place].T, net[-1].weight, rtol=1e-8, atol=1e-10)
        for layer, module in enumerate((net[1], net[3])):
            for key, parameter in module.named_parameters():
                value = trained.constants[key][layer, place].item()
                assert value == pytest.approx(parameter.item(), rel=1e-10), (key, layer)
                assert abs(value - activations.REGISTRY[name].constants[key]) > 1e-4, (key, layer)


def test_the_first_step_is_adams_against_the_gradient_that_autograd_has():
    one = replace(SMALL, steps=1)
    trained = constants.train("gelu-sine", True, SUITE.blind, one, 0, [5])
    net = plain("gelu-sine", 5, one)  # its gradients are those of its one step, at the start
    for layer, module in enumerate((net[1], net[3])):
        gradient = module.amplitude.grad.item()
        wanted = 0.1 - one.learning_rate * gradient / (abs(gradient) + 1e-8)
        assert trained.constants["amplitude"][layer, 0].item() == pytest.approx(wanted, rel=1e-10)


def test_a_network_does_not_hang_on_those_beside_it():
    both = constants.train("snake", True, SUITE.blind, SMALL, 0, [2, 7])
    alone = constants.train("snake", True, SUITE.blind, SMALL, 0, [7])
    torch.testing.assert_close(both.constants["frequency"][:, 1:], alone.constants["frequency"], rtol=1e-10, atol=0)
    torch.testing.assert_close(both.networks.weights[0][1:], alone.networks.weights[0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "message"), [("turbulent", "wanted a pointwise function"), ("gelu", "wanted a function with constants")]
)
def test_what_cannot_be_trained_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        constants.train(name, True, SUITE.blind, SMALL, 0, [0])


def test_a_study_holds_every_function_arm_task_layer_and_constant(found):
    n = len(SUITE.tasks)
    assert found.losses.groupby(["function", "constants"]).size().to_dict() == {
        (name, arm): n for name in ("gmtu", "snake") for arm in ARMS
    }
    assert found.values.groupby(["function", "constant", "layer"]).size().to_dict() == {
        (name, constant, layer): n
        for name, constant in (("gmtu", "steepness"), ("gmtu", "decay"), ("gmtu", "leak"), ("snake", "frequency"))
        for layer in (1, 2)
    }
    starts = found.values.drop_duplicates(["function", "constant"]).set_index("constant")["start"].to_dict()
    assert starts == {"steepness": 1.5, "decay": 0.2, "leak": 0.1, "frequency": 1.0}


def test_its_losses_and_values_are_those_of_the_networks(found):
    for arm in ARMS:
        trained = constants.train("gmtu", arm == "learned", SUITE.blind, SMALL, 0, [6])
        with torch.no_grad():
            made = [trained.predict(torch.from_numpy(x[[6]])).numpy()
                    for x in (SUITE.blind.ood_x, SUITE.blind.train_x)]  # fmt: skip
        targets = SUITE.ood_y[[6]], SUITE.blind.train_y[[6]]
        wanted = [evaluator.mse(*pair, SMOKE.fitness.clamp).item() for pair in zip(made, targets, strict=True)]
        rows = found.losses.query("function == 'gmtu' and constants == @arm and task == @SUITE.labels[6]")
        assert rows[["ood_mse", "train_mse"]].iloc[0].tolist() == pytest.approx(wanted, rel=1e-7)
    rows = found.values.query("function == 'gmtu' and task == @SUITE.labels[6] and layer == 2").set_index("constant")
    for key, values in trained.constants.items():
        assert rows.loc[key, "value"] == pytest.approx(values[1, 0].item(), rel=1e-9)


def test_networks_with_fixed_constants_have_the_labs_losses(laboratory):
    scored = laboratory.scores(["snake"], "held-out")["ood_mse"]
    assert constants.fixed(laboratory, "snake", range(1, 5)) == pytest.approx(scored[1:5].to_numpy(), rel=1e-7)


def test_other_stacks_and_processes_give_the_same_numbers_again(found, laboratory, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "STACK", 8 * SMALL.batch * SMALL.width)  # two stacks, so that processes are worth it
    with Laboratory(laboratory.profile, 2, Store(tmp_path)) as other:
        again = constants.study(other, ["snake"])
    for part in constants.PARTS:
        ours = getattr(again, part)
        theirs = getattr(found, part).query("function == 'snake'").reset_index(drop=True)
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-7)


def test_what_was_found_before_is_not_trained_again(found, laboratory, monkeypatch):
    monkeypatch.setattr(constants, "train", None)
    again = constants.study(laboratory, ["snake"])
    assert again.values.equals(found.values.query("function == 'snake'").reset_index(drop=True))
    with pytest.raises(TypeError):  # another seed is another study
        constants.study(laboratory, ["snake"], seed=1)


def test_the_ratios_of_a_worked_example():
    row = constants.compared(worked_losses(), SMOKE.fitness).iloc[0]
    assert (row["function"], row["n"]) == ("gmtu", 4)
    assert row["log_ratio"] == pytest.approx(-1.5 * math.log(2))  # the mean of -log 2 and -log 4
    assert (row["low"], row["high"]) == pytest.approx((row["log_ratio"],) * 2)  # no spread within a family
    assert row["p"] == row["p_holm"] == 2 / 16  # all four gaps have one sign: 2 of 16 flips are as far from 0
    assert row["verdict"] == "undecided"
    assert row[["train_ratio", "train_low", "train_high"]].tolist() == [0, 0, 0]


def test_the_ratios_by_family_of_a_worked_example():
    table = constants.by_family(worked_losses(), SMOKE.fitness)
    assert list(table.columns) == ["polynomial", "harmonic"]
    np.testing.assert_allclose(table.loc["gmtu"], [0.5, 0.25])


def test_quartiles_of_a_worked_example():
    values = pd.DataFrame({"value": [0.1, 0.2, 0.3, 0.4, 0.9]}).assign(
        function="gelu-sine", constant="amplitude", layer=1, start=0.1
    )
    wanted = {"function": "gelu-sine", "constant": "amplitude", "layer": 1, "start": 0.1, "n": 5, "low": 0.2,
              "median": 0.3, "high": 0.4}  # fmt: skip
    assert constants.quartiles(values).to_dict("records") == [pytest.approx(wanted)]
