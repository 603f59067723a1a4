"""Training with gradient norms agrees with the lab's and the plain one; powers of known waves; records of a study."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from actlab import activations
from actlab.core.config import profile
from actlab.core.records import Store
from actlab.lab import reference, tasks, training
from actlab.scoring import evaluator
from actlab.scoring.laboratory import Laboratory
from actlab.studies import spectra

pytestmark = pytest.mark.usefixtures("warm_sandboxes")

SMOKE = profile("smoke")
SMALL = replace(SMOKE.lab, width=8, depth=2, steps=10, dtype="float64")
SUITE = tasks.suite("held-out", SMOKE.tasks)
GRID = (np.arange(spectra.POINTS) + 0.5) / spectra.POINTS  # of a stretch of length 1


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory):
    return Laboratory(replace(SMOKE, lab=SMALL), 1, Store(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def found(laboratory):
    return spectra.study(laboratory, ["gelu", "gelu-tanh@0.5"], per_family=3)


def test_training_gives_the_networks_of_the_lab_whatever_the_stacks(monkeypatch):
    chosen, function = [0, 5, 6], activations.gelu_sine
    wanted = training.train(function, SUITE.blind, SMALL, seed=3, chosen=chosen)
    monkeypatch.setattr(training, "STACK", 2 * SMALL.batch * SMALL.width)  # two models, and one
    networks, gradients, losses = spectra.train(function, SUITE.blind, SMALL, 3, chosen)
    for ours, theirs in zip(networks.weights + networks.biases, wanted.weights + wanted.biases, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
    assert gradients.shape == losses.shape == (3, SMALL.steps)


def test_the_first_norm_and_loss_are_those_of_the_plain_network():
    function = activations.snake
    _, gradients, losses = spectra.train(function, SUITE.blind, SMALL, 0, [0, 1])
    start = training.initial_networks(SUITE.blind.dims, tasks.MAX_DIM, SMALL, 0)
    points = training.batches(SUITE.blind.train_x.shape[1], SMALL, 0)[0]
    net = reference.network(function, start, 1, 1)
    x, y = (torch.from_numpy(a[1, points]) for a in (SUITE.blind.train_x[..., :1], SUITE.blind.train_y[..., None]))
    loss = nn.functional.mse_loss(net(x), y)
    loss.backward()
    norm = torch.cat([p.grad.ravel() for p in net.parameters()]).norm()
    assert losses[1, 0] == pytest.approx(loss.item(), rel=1e-12)
    assert gradients[1, 0] == pytest.approx(norm.item(), rel=1e-10)


def test_a_wave_has_its_power_at_its_frequency():
    wave = 3 * np.sin(2 * np.pi * 10 * GRID + 0.4)
    power = spectra.power(wave)
    assert power.shape == (spectra.POINTS // 2 + 1,)
    assert power.argmax() == 10
    assert power[9:12].sum() == pytest.approx(4.5, rel=0.01)  # half of its amplitude's square
    assert power[13:].sum() < 1e-3


def test_a_straight_line_has_no_power():
    assert spectra.power(5 - 40 * GRID).max() < 1e-20


def test_the_control_has_gelusines_slope_at_zero_and_turns_back_nowhere():
    x = torch.tensor([0.0], dtype=torch.float64, requires_grad=True)
    slopes = [torch.autograd.grad(f(x, 0.7).sum(), x)[0].item() for f in (spectra.gelu_tanh, activations.gelu_sine)]
    assert slopes == pytest.approx([1.2, 1.2])
    far = torch.linspace(0, 12, 99, dtype=torch.float64)
    added = spectra.gelu_tanh(far, 0.7) - activations.gelu(far)
    assert (added.diff() >= 0).all()
    assert added.max() <= 0.7 + 1e-12


def test_two_names_of_one_function_are_one():
    assert spectra.subject("gelu-sine")[1] == spectra.subject("gelu-sine@0.1")[1]
    assert spectra.subject("gelu-sine@0.2")[1] == {"form": "gelu-sine", "amplitude": 0.2}
    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(spectra.subject("gelu-sine@0")[0](x), activations.gelu(x))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("turbulent", "wanted a pointwise function"),
        ("gelu@0.5", "gelu: wanted constants among"),
        ("Turbulent", "wanted a pointwise function"),
        ("gelu-cosine", "wanted an activation among .*; got 'gelu-cosine'"),
    ],
)
def test_what_cannot_be_studied_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        spectra.subject(name)


def test_a_study_holds_every_function_and_task(found):
    bins, stretches = spectra.POINTS // 2 + 1, len(spectra.STRETCHES)
    assert len(found.power) == 2 * 6 * stretches * bins
    assert found.losses.groupby(["function", "family"]).size().to_dict() == {
        (name, family): 3 for name in ("gelu", "gelu-tanh@0.5") for family in spectra.FAMILIES
    }
    assert found.curves.groupby(["function", "family"])["task"].nunique().eq(1).all()
    assert np.isfinite(found.power[["prediction", "error", "target"]]).all(axis=None)
    target = found.power.pivot(index=["task", "stretch", "periods"], columns="function", values="target")
    assert target["gelu"].equals(target["gelu-tanh@0.5"])


def test_it_takes_the_last_tasks_of_each_family(found):
    labels = [label for label, family in zip(SUITE.labels, SUITE.families, strict=True) if family == "polynomial"]
    taken = found.losses.loc[found.losses["family"] == "polynomial", "task"].unique().tolist()
    assert taken == labels[1:]  # three of four


def test_its_losses_are_those_that_the_lab_judges_by(found, laboratory):
    first = SUITE.families.index("harmonic") + 1
    networks = training.train(activations.gelu, SUITE.blind, SMALL, seed=0, chosen=[first])
    ood = networks.predict(activations.gelu, torch.from_numpy(SUITE.blind.ood_x[[first]])).numpy()
    wanted = evaluator.mse(ood, SUITE.ood_y[[first]], SMOKE.fitness.clamp)
    row = found.losses[(found.losses["function"] == "gelu") & (found.losses["task"] == SUITE.labels[first])]
    assert row["ring_mse"].item() == pytest.approx(wanted.item(), rel=1e-7)


def test_its_curves_are_the_task_across_all_stretches(found):
    one = found.curves[(found.curves["function"] == "gelu") & (found.curves["family"] == "harmonic")]
    assert one["u"].is_monotonic_increasing
    assert (one["u"].min(), one["u"].max()) == pytest.approx((-3 + 1 / 256, 3 - 1 / 256))
    place = SUITE.labels.index(one["task"].iloc[0])
    np.testing.assert_allclose(one["target"], SUITE.target(place, one["u"].to_numpy()[:, None]))


def test_spans_of_steps_begin_with_the_first_alone_and_hold_geometric_means(found):
    one = found.steps[(found.steps["function"] == "gelu") & (found.steps["family"] == "harmonic")]
    assert one["step"].unique().tolist()[:2] == [1, 2]
    place = SUITE.families.index("harmonic") + 1
    _, gradients, _ = spectra.train(activations.gelu, SUITE.blind, SMALL, 0, [place])
    spans = one[one["task"] == SUITE.labels[place]].set_index("step")["gradient"]
    assert spans[1] == pytest.approx(gradients[0, 0])
    last = spans.index[-1]
    assert spans[last] == pytest.approx(np.exp(np.log(gradients[0, last - 1 :]).mean()))


def test_what_was_found_before_is_not_trained_again(found, laboratory, monkeypatch):
    monkeypatch.setattr(spectra, "train", None)
    again = spectra.study(laboratory, ["gelu"], per_family=3)
    assert again.steps.equals(found.steps[found.steps["function"] == "gelu"].reset_index(drop=True))
    with pytest.raises(TypeError):  # fewer tasks are another study
        spectra.study(laboratory, ["gelu"], per_family=2)
