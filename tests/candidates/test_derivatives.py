"""The gradient of every operation of the language against finite differences, at common points and where it is hard."""

import functools
import math
import warnings

import pytest
import scipy.special
import torch
from candidate_calls import calls

from actlab.candidates import derivatives, profiling, program
from actlab.lab import tracing

NONE_BY_DESIGN = {"torch.detach(x)", "(x).detach()"}
REFUSES = {name for name in calls() if "floor_divide" in name or "heaviside" in name or "//" in name}  # torch says so
ROUNDS = {"(x).bfloat16()", "(x).half()", "(x).float()", "(x).to(torch.float32)"}
# Of equal values, one may be taken as the median or the extreme, or all.
TIED = {"torch.median(x)", "(x).median()", "torch.aminmax(x)", "(x).aminmax()"}
STEEP = {"torch.special.entr(x)"}  # -x log x, whose slope at 0 is infinite


@functools.cache
def function(expression):
    """The sum of what a program returns, each element with a weight of its own; None where nothing in it is real."""
    text = f"def activation(x):\n    x, s = x\n    return {expression}\n"
    inner = program.compile_program(program.check(text))

    def weighted(y):
        if isinstance(y, tuple | list):
            found = [part for one in y if (part := weighted(one)) is not None]
            return sum(found) if found else None
        if not isinstance(y, torch.Tensor) or not (y.is_floating_point() or y.is_complex()):
            return None
        y = (torch.view_as_real(y) if y.is_complex() else y).double()
        return (y * torch.linspace(0.3, 1.7, y.numel(), dtype=torch.float64).reshape(y.shape)).sum()

    return lambda x, s: weighted(inner((x, s)))


def slopes(f, x, s):
    """Of x, then of s, along a random direction: autograd's slope, the differences to the right and to the left."""
    along = torch.rand(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    inputs = [x.clone().requires_grad_(), s.clone().requires_grad_()]
    value, step = f(*inputs), 1e-6
    found = torch.autograd.grad(value, inputs, allow_unused=True) if value.requires_grad else (None, None)
    for gradient, move in zip(found, (lambda h: (x + h * along, s), lambda h: (x, s + h * along)), strict=True):
        right, left = (f(*move(h)).item() for h in (step, -step))
        slope = 0.0 if gradient is None else (gradient * along).sum().item()
        yield slope, (right - value.item()) / step, (value.item() - left) / step


def at(x, s):
    return [torch.full((4, 6), float(value), dtype=torch.float64) for value in (x, s)]


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of complex numbers, that one part of them is left out
        yield


def test_every_operation_has_its_true_gradient_or_none_by_design():
    generator, checked = torch.Generator().manual_seed(0), 0
    s = torch.rand(4, 6, dtype=torch.float64, generator=generator) * 0.8 + 0.1
    for expression in calls():
        f, x = function(expression), torch.rand(4, 6, dtype=torch.float64, generator=generator) * 1.8 - 0.9
        if expression in REFUSES:
            with pytest.raises(RuntimeError, match=r"derivative for aten::(floor_divide|heaviside) is not implemented"):
                list(slopes(f, x, s))
            continue
        if f(x, s) is None or expression in ROUNDS:
            continue
        x = x if math.isfinite(f(x, s)) else s  # roots and logarithms
        for slope, right, left in slopes(f, x, s):
            expected = 0.0 if expression in NONE_BY_DESIGN else (right + left) / 2
            assert slope == pytest.approx(expected, rel=1e-5, abs=1e-4), expression
        checked += 1
    assert checked > 250


HARD = {
    "both 0": at(0, 0), "x 0": at(0, 0.5), "both 1": at(1, 1), "x -1": at(-1, 1), "s 0": at(0.3, 0),
    "equal": at(0.3, 0.3), "large": at(1000, 50), "small": at(-1000, 0.5), "edges": at(3, 2), "low edges": at(-3, 0.5),
}  # fmt: skip


@pytest.mark.parametrize("point", HARD)
def test_where_both_one_sided_slopes_are_finite_no_gradient_is_nan_or_outside_of_them(point):
    """At a kink, any slope between the two sides is one; `abs` takes 0, `relu` that of the left."""
    x, s = HARD[point]
    for expression in set(calls()) - NONE_BY_DESIGN - REFUSES - ROUNDS - TIED - STEEP:
        f = function(expression)
        try:
            value = f(x, s)
        except RuntimeError as error:  # an argument outside of its domain
            assert "expected" in str(error).lower(), expression
            continue
        if value is None or not math.isfinite(value):
            continue
        for slope, right, left in slopes(f, x, s):
            if max(abs(right), abs(left)) < 1e3:  # and none is NaN
                close = 1e-3 * (1 + max(abs(right), abs(left)))
                assert min(right, left) - close <= slope <= max(right, left) + close, expression


def test_the_slopes_of_bessel_functions_are_scipys():
    x = torch.tensor([-20.0, -1.0, -1e-8, 0.0, 1e-300, 1.0, 3.0, 40.0], dtype=torch.float64, requires_grad=True)
    for order, own in enumerate((derivatives.bessel_j0, derivatives.bessel_j1)):
        (slope,) = torch.autograd.grad(own(x).sum(), x)
        expected = torch.from_numpy(scipy.special.jvp(order, x.detach().numpy()))
        torch.testing.assert_close(slope, expected, rtol=1e-10, atol=1e-12)
        assert torch.autograd.gradgradcheck(own, x[[0, 1, 5, 6]])


@pytest.mark.parametrize("name", [name for name in derivatives.OWN if name != "torch.linspace"])
def test_functions_with_their_own_gradient_have_torchs_values_in_every_type(name):
    theirs = torch.special if "special" in name else torch
    own, theirs = derivatives.OWN[name], getattr(theirs, name.rpartition(".")[2])
    for dtype in (torch.float64, torch.float32):
        x, y = (3 * torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))).abs().to(dtype)
        inputs = (x,) if "bessel" in name else (x, y[:1])
        assert torch.equal(own(*inputs), theirs(*inputs)) and own(*inputs).dtype == theirs(*inputs).dtype


def test_they_run_in_a_stack_of_models_and_in_the_labs_recorded_passes():
    body = "x * torch.special.bessel_j0(x) + torch.polar(torch.exp(x), x).imag"
    body += " + torch.hypot(x, 1 + x) + torch.xlogy(x, x * x + 1)"
    activation = program.compile_program(program.check(f"def activation(x):\n    return {body}\n"))
    z, d = torch.randn(2, 3, 8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    forward, backward = tracing.record(activation, z)
    value, *kept = forward(z)
    inputs = z.clone().requires_grad_()
    expected = torch.stack([activation(one) for one in inputs])
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(backward(d, *kept)[0], torch.autograd.grad(expected, inputs, d)[0])


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        (
            "torch.linspace(0.0, x.mean(), 6) * x",
            "wanted numbers as the ends of torch.linspace; got a tensor: write a + ",
        ),
        ("x // 2.0 + x", "write torch.floor"),
        ("torch.heaviside(x, x) * x", "torch.where(x > 0, 1.0, 0.0) for a step"),
        ("torch.tensor(x) * x", "detach"),
        ("torch.full_like(x, x.mean()) * x", "must be Number"),
    ],
)
def test_what_would_cut_the_graph_says_so(body, advice):
    assert advice in profiling.describe(f"def activation(x):\n    return {body}\n").error


@pytest.mark.parametrize("name", ["hypot", "xlogy"])
def test_methods_have_the_gradients_of_the_functions(name):
    function = program.compile_program(program.check(f"def activation(x):\n    return (0 * x).{name}(0 * x) + x\n"))
    x = torch.ones(3, requires_grad=True)
    assert torch.equal(torch.autograd.grad(function(x).sum(), x)[0], torch.ones(3))
