"""On a GPU the lab and the benchmarks train what they train on the processor, but for rounding and torch's own draws.

Nothing else tests it: all of this is skipped where torch sees no CUDA device.
"""

from dataclasses import replace

import molecule_files as files
import numpy as np
import pytest
import torch

from actlab import activations
from actlab.core.config import profile
from actlab.lab import reference, tasks, training
from actlab.report.bench import costs
from actlab.studies import constants
from actlab.transfer import algorithms, images, molecules

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA device", allow_module_level=True)

LAB = replace(profile("smoke").lab, steps=50)
SUITE = tasks.suite("held-out", profile("smoke").tasks)
OOD_X = torch.from_numpy(SUITE.blind.ood_x).float()
DEVICES = ("cpu", "cuda")


@pytest.mark.parametrize("name", ["tanh", "gelu-sine", "turbulent", "quaternion"])
def test_the_labs_networks(name):
    function, x = activations.REGISTRY[name].function, OOD_X
    trained = [training.train(function, SUITE.blind, replace(LAB, device=device), 0) for device in DEVICES]
    assert {t.device.type for t in (*trained[1].weights, *trained[1].biases)} == {"cuda"}
    one, other = (networks.predict(function, x) for networks in trained)
    torch.testing.assert_close(other, one, rtol=0, atol=1e-3)


def test_the_labs_networks_are_the_naive_loops():
    config, x = replace(LAB, device="cuda"), OOD_X
    stacked = training.train(torch.tanh, SUITE.blind, config, 0).predict(torch.tanh, x)
    for place, net in enumerate(reference.train(torch.tanh, SUITE.blind, LAB, 0)):
        with torch.no_grad():
            alone = net(x[place, :, : SUITE.blind.dims[place]])[:, 0]
        torch.testing.assert_close(stacked[place], alone, rtol=0, atol=1e-3)


def test_learned_constants():
    one, other = (
        constants.train("gmtu", True, SUITE.blind, replace(LAB, device=device), 0, [2, 5]).constants
        for device in DEVICES
    )
    for key, values in one.items():
        torch.testing.assert_close(other[key].cpu(), values, rtol=0, atol=1e-4)


def benchmark(kind, tmp_path):
    """A kind of benchmark, and its smallest configuration, which draws nothing on the device."""
    if kind is images:
        return images.SMOKE
    if kind is algorithms:
        return algorithms.SMOKE[0]
    folder = str(files.write_b3db(tmp_path / "b3db"))
    return replace(molecules.SMOKE, folder=folder, molecules=None, readout_dropout=0.0)


@pytest.mark.parametrize("kind", [images, algorithms, molecules], ids=lambda kind: kind.__name__.split(".")[-1])
@pytest.mark.parametrize("name", ["gelu-sine", "turbulent"])
def test_a_benchmarks_scores(kind, name, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    config, function = benchmark(kind, tmp_path), activations.REGISTRY[name].function
    config = replace(config, settings=replace(config.settings, epochs=1))
    tables = []
    for device in DEVICES:
        generator = np.random.default_rng(0)
        tables.append(kind.evaluate(function, replace(config, device=device), generator, progress=False))
    one, other = tables
    assert set(other["outcome"]) == {"scored"}
    same = [column for column in one if column != "value"]
    assert one[same].equals(other[same])
    # A score counts cases, and a case at the border falls either way.
    np.testing.assert_allclose(other["value"], one["value"], rtol=0, atol=0.05)


def test_a_step_of_the_molhiv_model_is_timed():
    row = costs.hours(profile("paper"), quick=True).iloc[0]
    assert row["gpu_ms_a_step"] > 0 and row["measured_gpu_hours"] > 0
    assert torch.cuda.get_device_name() in row["gpu"]
