from dataclasses import replace

import numpy as np
import pytest
import torch

from actlab import activations
from actlab.core.config import LabConfig, TaskConfig
from actlab.lab import reference as naive
from actlab.lab import tasks, tracing, training

TASKS = replace(TaskConfig(), calibration=8)
LAB = LabConfig(dtype="float64", steps=100)


@pytest.fixture(scope="module")
def data():
    return tasks.suite("calibration", TASKS).blind


def smooth_neighbour(x):
    return torch.tanh(x) + 0.3 * torch.sin(torch.roll(x, 1, -1) - torch.roll(x, -1, -1))


def shifted(x):
    return x + 0.1


COUPLED = {
    "GELU": activations.gelu,
    "pointwise": activations.gelu_sine,
    "a slope that is no computation": shifted,
    "batch statistics": activations.qfw,
    "tensor statistics": activations.turbulent,
    "Fourier transform": activations.fisg,
    "smooth neighbours": smooth_neighbour,
}


@pytest.mark.parametrize("chunk", [3, None])
@pytest.mark.parametrize("kind", COUPLED)
def test_the_stacked_lab_agrees_with_the_naive_loop_after_100_steps(data, kind, chunk):
    function, config = COUPLED[kind], replace(LAB, chunk=chunk)
    networks = training.train(function, data, config, seed=3)
    x = torch.from_numpy(data.ood_x)
    batched, whole = networks.predict(function, x, config.batch), networks.predict(function, x)
    for model, net in enumerate(naive.train(function, data, config, seed=3)):
        inputs = x[model, :, : data.dims[model]]
        with torch.no_grad():
            expected = torch.cat([net(part) for part in inputs.split(config.batch)])[:, 0]
            torch.testing.assert_close(batched[model], expected, rtol=0, atol=1e-10)
            torch.testing.assert_close(whole[model], net(inputs)[:, 0], rtol=0, atol=1e-10)


def test_a_function_that_jumps_has_the_naive_loops_gradients_in_one_step(data):
    function = activations.symmetric_phase_flipped
    networks = training.initial_networks(data.dims, data.train_x.shape[-1], LAB, seed=3)
    x, y = torch.from_numpy(data.train_x[:, :64]), torch.from_numpy(data.train_y[:, :64, None])
    passes = tracing.record(function, torch.zeros(len(x), 64, LAB.width, dtype=x.dtype))
    *_, gradients = training.recorded(*passes, networks, batch=64)
    gradient = training._views(*gradients(x, y), networks)
    for model, dim in enumerate(data.dims):
        net = naive.network(function, networks, model, dim)
        torch.nn.functional.mse_loss(net(x[model, :, :dim]), y[model]).backward()
        for layer, linear in enumerate(net[::2]):
            ours = gradient.weights[layer][model].T
            ours = ours[:, :dim] if layer == 0 else ours
            torch.testing.assert_close(ours, linear.weight.grad, rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(gradient.biases[layer][model, 0], linear.bias.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("width, batch, depth", [(64, 64, 1), (32, 256, 2), (128, 32, 4)])
def test_the_lab_agrees_with_the_naive_loop_at_other_sizes(data, width, batch, depth):
    config = replace(LAB, width=width, batch=batch, depth=depth, steps=10, chunk=5)
    networks = training.train(activations.gelu, data, config, seed=1)
    predicted = networks.predict(activations.gelu, torch.from_numpy(data.ood_x))
    for model, net in enumerate(naive.train(activations.gelu, data, config, seed=1)):
        with torch.no_grad():
            expected = net(torch.from_numpy(data.ood_x[model, :, : data.dims[model]]))[:, 0]
        torch.testing.assert_close(predicted[model], expected, rtol=0, atol=1e-10)


def test_the_chunk_changes_no_result_beyond_rounding(data):
    x = torch.from_numpy(data.ood_x).float()
    configs = [replace(LAB, dtype="float32", chunk=chunk) for chunk in (1, 3, None)]
    first, *others = (training.train(activations.qfw, data, c, seed=0).predict(activations.qfw, x) for c in configs)
    for other in others:
        torch.testing.assert_close(first, other, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "models, width, batch, chunk",
    [(48, 32, 64, 24), (48, 64, 64, 16), (8, 32, 64, 8), (48, 128, 256, 2), (3, 999, 999, 1)],
)
def test_stacks_are_equal_shares_that_fit_the_cache_and_a_gpu_gets_all(models, width, batch, chunk):
    config = replace(LAB, width=width, batch=batch)
    assert training._chunk(models, config) == chunk
    assert training._chunk(models, replace(config, chunk=5)) == 5
    assert training._chunk(models, replace(config, chunk=5, dtype="float32", device="cuda")) == models


def test_a_tasks_network_does_not_hang_on_the_tasks_beside_it(data):
    whole = training.train(activations.qfw, data, LAB, seed=2)
    part = training.train(activations.qfw, data, LAB, seed=2, chosen=[5, 0, 3])
    for some, every in zip((*part.weights, *part.biases), (*whole.weights, *whole.biases), strict=True):
        torch.testing.assert_close(some, every[[5, 0, 3]], rtol=0, atol=1e-10)


@pytest.mark.parametrize("chunk", [2, None])
def test_a_part_of_the_tasks_agrees_with_the_naive_loops_networks_of_these_tasks(data, chunk):
    chosen, config = [5, 0, 3], replace(LAB, chunk=chunk)
    function, x = activations.qfw, torch.from_numpy(data.ood_x[chosen])
    predicted = training.train(function, data, config, seed=2, chosen=chosen).predict(function, x, config.batch)
    nets = naive.train(function, data, config, seed=2)
    for place, model in enumerate(chosen):
        inputs = x[place, :, : data.dims[model]]
        with torch.no_grad():
            expected = torch.cat([nets[model](part) for part in inputs.split(config.batch)])[:, 0]
        torch.testing.assert_close(predicted[place], expected, rtol=0, atol=1e-10)


def test_a_function_without_a_gradient_is_refused_with_autograds_words(data):
    with pytest.raises(RuntimeError, match="does not require grad"):
        training.train(lambda x: x.detach().sin(), data, replace(LAB, steps=1), seed=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_refused_with_advice(data):
    with pytest.raises(ValueError, match=r"wanted device cuda:0; .* no CUDA device: use device='cpu'"):
        training.train(torch.tanh, data, replace(LAB, dtype="float32", device="cuda:0"), seed=0)


def test_every_tensor_of_a_training_is_on_the_configured_device(data):
    # The meta device holds no values, and refuses to meet a tensor of another device.
    networks = training.train(activations.gelu, data, replace(LAB, device="meta", steps=5, chunk=3), seed=0)
    assert {t.device.type for t in (*networks.weights, *networks.biases)} == {"meta"}
    assert [tuple(w.shape) for w in networks.weights] == [(8, 4, 32), (8, 32, 32), (8, 32, 32), (8, 32, 1)]


def test_training_lowers_the_loss(data):
    start = training.initial_networks(data.dims, data.train_x.shape[-1], LAB, seed=0)
    trained = training.train(activations.gelu, data, LAB, seed=0)
    x, y = torch.from_numpy(data.train_x), torch.from_numpy(data.train_y)
    losses = [((n.predict(activations.gelu, x) - y) ** 2).mean(1) for n in (start, trained)]
    assert (losses[1] < losses[0]).all()


def test_the_same_seed_trains_the_same_networks_to_the_bit_and_another_seed_others(data):
    config = replace(LAB, dtype="float32", steps=20)
    a, b, c = (training.train(activations.gelu, data, config, seed) for seed in (1, 1, 2))
    assert all(torch.equal(x, y) for x, y in zip(a.weights, b.weights, strict=True))
    assert not torch.equal(a.weights[0], c.weights[0])


def test_a_models_initial_weights_do_not_hang_on_the_number_of_models():
    few, many = (training.initial_networks(dims, 4, LAB, seed=5) for dims in ((1, 2), (1, 2, 4, 3)))
    assert all(torch.equal(w, v[:2]) for w, v in zip(few.weights, many.weights, strict=True))


def test_initial_weights_are_torchs_own_uniform_range_for_the_true_number_of_inputs():
    networks = training.initial_networks((1, 4), 4, replace(LAB, width=512), seed=0)
    bounds = [float(w.abs().max()) for w in networks.weights[0]]
    assert bounds == pytest.approx([1.0, 0.5], rel=0.01)
    reference = torch.nn.Linear(512, 512).weight.detach()
    assert float(networks.weights[1].std()) == pytest.approx(float(reference.std()), rel=0.01)


def test_every_epoch_shows_every_point_once():
    index = training.batches(256, replace(LAB, steps=8), seed=0).numpy()
    assert index.shape == (8, 64)
    for epoch in (index[:4], index[4:]):
        assert sorted(epoch.ravel()) == list(range(256))
    assert not np.array_equal(index[:4], index[4:])


def test_points_that_do_not_fill_whole_batches_are_refused():
    with pytest.raises(ValueError, match="whole batches of 64; got 100"):
        training.batches(100, LAB, seed=0)


def test_preactivations_are_what_enters_each_layer(data):
    networks = training.initial_networks(data.dims, 4, LAB, seed=0)
    x = torch.from_numpy(data.train_x[:, :5])
    entering = networks.preactivations(torch.tanh, x)
    assert [tuple(z.shape) for z in entering] == [(8, 5, 32)] * 3 + [(8, 5, 1)]
    torch.testing.assert_close(entering[0], x @ networks.weights[0] + networks.biases[0])
    torch.testing.assert_close(entering[1], torch.tanh(entering[0]) @ networks.weights[1] + networks.biases[1])
