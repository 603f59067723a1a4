import math

import pytest
import torch
import torch.nn.functional as F

from actlab import activations
from actlab.lab import tracing


def mapped_by_autograd(function, z, d):
    z = z.detach().requires_grad_()
    value = torch.func.vmap(function)(z)
    return value.detach(), torch.autograd.grad(value, z, d)[0]


def tensors(shape=(3, 16, 8), dtype=torch.float64, scale=2.0):
    generator = torch.Generator().manual_seed(0)
    return tuple(scale * torch.randn(shape, dtype=dtype, generator=generator) for _ in range(2))


def constants(x):
    return x * torch.linspace(0.5, 1.5, 8, dtype=x.dtype) + torch.tensor([0.25]).to(x) * torch.ones_like(x)


def identity(x):
    return x


def piecewise(x):
    return torch.where(x > 0, torch.round(x).detach() * x, torch.sort(x, dim=0).values)


def product(x):
    return x * torch.prod(torch.tanh(x), dim=-1, keepdim=True)


def gelu_of_gelu_and_mean(x):
    y = F.gelu(x, approximate="tanh")
    return F.gelu(y, approximate="tanh") + F.gelu(x - x.mean(dim=0), approximate="tanh") + F.gelu(x)


ALL = {name: entry.function for name, entry in activations.REGISTRY.items()}
OURS = {f.__name__: f for f in (constants, identity, piecewise, product, gelu_of_gelu_and_mean)}
WITH_GELU = ("gelu", "gelu-sine", "gelu-sinc", "gelu_of_gelu_and_mean")


@pytest.mark.parametrize("name", [*ALL, *OURS])
def test_recorded_passes_are_what_autograd_does_and_stay_so(name):
    function, (z, d) = (ALL | OURS)[name], tensors()
    forward, backward = tracing.record(function, torch.zeros_like(z))
    for scale in (1.0, 0.5):  # no value of the recording or of the call before may live on
        value, *kept = forward(scale * z)
        (gradient,) = backward(d, *kept)
        expected = mapped_by_autograd(function, scale * z, d)
        near = {"rtol": 1e-12, "atol": 1e-13} if name in (*WITH_GELU, "product") else {"rtol": 0, "atol": 0}
        torch.testing.assert_close((value, gradient), expected, **near)


@pytest.mark.parametrize("dtype, near", [(torch.float64, 1e-14), (torch.float32, 5e-6)])
def test_the_rewritten_gelu_is_gelu_far_out_too(dtype, near):
    z = torch.linspace(-40, 40, 3201, dtype=dtype).reshape(1, -1, 1)
    forward, backward = tracing.record(activations.gelu, z)
    value, *kept = forward(z)
    (gradient,) = backward(torch.ones_like(z), *kept)
    expected = mapped_by_autograd(activations.gelu, z.double(), torch.ones_like(z).double())
    torch.testing.assert_close((value.double(), gradient.double()), expected, rtol=near, atol=near)


def test_the_rewriting_leaves_no_tanh_form_and_lets_the_erf_form_stand():
    module = tracing.make_fx(lambda x: F.gelu(x, approximate="tanh") + F.gelu(x))(torch.zeros(2, 3))
    tracing._rewrite_gelu(module.graph)
    calls = [node for node in module.graph.nodes if node.target is torch.ops.aten.gelu.default]
    assert len(calls) == 1 and calls[0].kwargs == {}


def test_gelus_value_and_slope_at_one_are_the_formulas():
    forward, backward = tracing.record(activations.gelu, torch.zeros(1, 1, 1, dtype=torch.float64))
    value, *kept = forward(torch.ones(1, 1, 1, dtype=torch.float64))
    inner = math.sqrt(2 / math.pi) * 1.044715
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715)
    assert value.item() == pytest.approx((1 + math.tanh(inner)) / 2, rel=1e-14)
    expected = (1 + math.tanh(inner)) / 2 + (1 - math.tanh(inner) ** 2) * slope / 2
    assert backward(torch.ones(1, 1, 1, dtype=torch.float64), *kept)[0].item() == pytest.approx(expected, rel=1e-14)


def test_a_slope_of_zero_everywhere_is_recorded_too():
    z, d = tensors()
    forward, backward = tracing.record(torch.round, z)
    value, *kept = forward(z)
    assert torch.equal(value, torch.round(z)) and torch.equal(backward(d, *kept)[0], torch.zeros_like(z))


def test_each_model_sees_its_own_batch_alone():
    z, d = tensors()
    forward, backward = tracing.record(activations.turbulent, z)
    value, *kept = forward(z)
    (gradient,) = backward(d, *kept)
    for model in range(len(z)):
        x = z[model].clone().requires_grad_()
        alone = activations.turbulent(x)
        torch.testing.assert_close(value[model], alone.detach(), rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(gradient[model], torch.autograd.grad(alone, x, d[model])[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "function, got",
    [
        (lambda x: x.mean(0), r"\(8,\) torch.float64"),
        (lambda x: x.float(), r"\(16, 8\) torch.float32"),
    ],
)
def test_a_result_of_another_shape_or_dtype_is_refused(function, got):
    with pytest.raises(ValueError, match=rf"wanted a result like x, \(16, 8\) torch.float64; got {got}"):
        tracing.record(function, tensors()[0])
