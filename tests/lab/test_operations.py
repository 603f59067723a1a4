"""Lists of operations: what is refused, and that each operation's C computes what torch does, with its slope."""

import ctypes
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from actlab.lab import compiled
from actlab.lab.listing import listed
from actlab.lab.operations import MOST, TABLE, Unlisted, c_source, checked

needs_compiler = pytest.mark.skipif(compiled.missing() is not None, reason=f"no compiler: {compiled.missing()}")


def test_a_list_becomes_c_and_nothing_else_does():
    steps = [["mul", 0, 0.5], ["gt", 0, 0.0], ["where", 2, 1, -0.25], 3, 1]
    source = c_source(steps)
    assert "const vec s1 = s0 * K(0.5);" in source
    assert "const lanes s2 = s0 > K(0.0);" in source
    assert "const vec s3 = PICK(s2, s1, K(-0.25));" in source
    assert "*(loose *)(value + i) = s3;" in source and "*(loose *)(slope + i) = s1;" in source


HOSTILE = {
    "an unknown operation": ([["system", 0], 1, 1], "an operation of the table"),
    "text for an operation": (["add", 1, 1], "an operation of the table"),
    "text for an argument": ([["neg", "0; system()"], 1, 1], "earlier steps and constants"),
    "a cycle": ([["neg", 1], 1, 1], "earlier steps and constants"),
    "an undefined value": ([["neg", 7], 1, 1], "earlier steps and constants"),
    "a number of a step below 0": ([["neg", -1], 1, 1], "earlier steps and constants"),
    "a shape": ([["neg", [64, 32]], 1, 1], "earlier steps and constants"),
    "a NaN": ([["add", 0, math.nan], 1, 1], "finite constants"),
    "an infinity": ([["add", 0, math.inf], 1, 1], "finite constants"),
    "a wrong arity": ([["add", 0], 1, 1], "wants 2 arguments; got 1"),
    "a truth where a number is wanted": ([["lt", 0, 0.0], ["neg", 1], 2, 2], "wants a number; got a truth"),
    "a number where a truth is wanted": ([["not", 0], 1, 1], "wants a truth; got a number"),
    "a truth as a result": ([["lt", 0, 0.0], 1, 1], "wants a number; got a truth"),
    "a bool for a step": ([["neg", True], 1, 1], "earlier steps and constants"),
    "a bool as a result": ([["neg", 0], True, 1], "2 numbers of steps"),
    "a million steps": ([["neg", 0]] * 1_000_000 + [1, 1], f"1 to {MOST} steps"),
    "no steps": ([0, 0], "1 to"),
    "no list": ({"steps": 1}, "1 to"),
    "nothing": (None, "1 to"),
    "a step without a name": ([[], 1, 1], "an operation of the table"),
    "results that are constants": ([["neg", 0], 1.0, 1], "2 numbers of steps"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_list_of_the_tables_operations_is_refused_with_the_reason(kind):
    steps, reason = HOSTILE[kind]
    with pytest.raises(Unlisted, match=reason):
        checked(steps)
    with pytest.raises(Unlisted, match=reason):
        c_source(steps)


_OF_F = """
    celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 selu sigmoid silu
    softplus softshrink softsign tanh tanhshrink
""".split()  # noqa: SIM905
_OF_TORCH = """
    abs asinh atan cos cosh deg2rad erf erfc exp exp2 expm1 frac rad2deg sign sin sinc sinh square tanh reciprocal
""".split()  # noqa: SIM905


def of(name, inner, outer=lambda x, y: y):
    function = getattr(torch, name)
    return lambda x: outer(x, function(inner(x)))


FUNCTIONS = {
    **{name: getattr(F, name) for name in _OF_F},
    **{name: getattr(torch, name) for name in _OF_TORCH},
    **{name: of(name, lambda x: x.abs() + 1.1) for name in ("acosh", "log", "log10", "log1p", "log2", "rsqrt", "sqrt")},
    **{name: of(name, lambda x: x / 10) for name in ("acos", "asin", "atanh", "tan")},
    **{name: of(name, lambda x: x, lambda x, y: x * y) for name in ("ceil", "floor", "round", "trunc", "isnan")},
    "gelu, tanh": lambda x: F.gelu(x, approximate="tanh"),
    "clamp": lambda x: torch.clamp(x, -1, 2),
    "clamp from below": lambda x: torch.clamp(x, min=-0.3),
    "clamp from above": lambda x: torch.clamp(x, max=0.4),
    "threshold": lambda x: F.threshold(x, 0.1, 20.0),
    "leaky relu of a slope": lambda x: F.leaky_relu(x, 0.3),
    "elu of a scale": lambda x: F.elu(x, 0.7),
    "atan2": lambda x: torch.atan2(x, x * x + 1),
    "hypot": lambda x: torch.hypot(x, x + 1),
    "logaddexp": lambda x: torch.logaddexp(x, -x),
    "xlogy": lambda x: torch.xlogy(x, x * x + 2),
    "fmod": lambda x: torch.fmod(x, 0.7),
    "remainder": lambda x: torch.remainder(x, 0.7),
    "remainder of a tensor": lambda x: torch.remainder(x, -x * x - 1),
    "division to the floor": lambda x: x + torch.div(x, 0.7, rounding_mode="floor"),
    "lerp": lambda x: torch.lerp(x, -x, 0.3),
    "power": lambda x: (x.abs() + 1) ** x,
    "powers": lambda x: x**2 + x**3 - (x.abs() + 1) ** -0.5 + (x.abs() + 1) ** -2 + (x.abs() + 1) ** 1.7 + x**0,
    "power of 2": lambda x: 2.0**x,
    "copysign": lambda x: torch.copysign(x * x, x),
    "maximum": lambda x: torch.maximum(x, -x * 0.5),
    "minimum": lambda x: torch.minimum(x, -x * 0.5),
    "fmax": lambda x: torch.fmax(x, -x),
    "fmin": lambda x: torch.fmin(x, -x),
    "truths": lambda x: torch.where((x > 0) & ~(x < 1) | (x == 2) ^ (x >= -1), x, -x),
    "truths of numbers": lambda x: torch.where(torch.logical_not(torch.floor(x)), x, -x),
    "numbers of truths": lambda x: (x > 0) * x + (x > 1).to(x.dtype) + (x != 0).to(x.dtype),
    "alpha": lambda x: torch.add(x, torch.sin(x), alpha=0.3) - torch.sub(x, torch.cos(x), alpha=2),
    "rsub": lambda x: torch.rsub(x, torch.sin(x), alpha=3.0),
    "a constant tensor": lambda x: x * torch.tensor(0.5) + torch.full_like(x, 2.0) - torch.ones_like(x),
    "constants that are not finite": lambda x: torch.clamp(x, max=math.inf) + torch.where(x < 9, x, math.nan),
    "nan_to_num": lambda x: torch.nan_to_num(x) * x,
    "lgamma": lambda x: x + torch.lgamma(x.abs() + 1).detach(),
}  # fmt: skip


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_values_and_slopes_are_those_of_torch(name, dtype):
    kind, near = getattr(torch, dtype), {"float32": 2e-5, "float64": 1e-12}[dtype]
    if name == "hardsigmoid":
        near = max(near, 1e-7)  # torch's own gradient takes 1/6 from float32, whatever the type
    x = torch.linspace(-4, 4, 64, dtype=kind).reshape(4, 16).requires_grad_()
    steps = listed(FUNCTIONS[name], [(64, 32), (256, 32)], kind)
    y = FUNCTIONS[name](x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    arrays = [np.ascontiguousarray(x.detach().numpy())] + [np.empty((4, 16), dtype) for _ in range(2)]
    kinds = [ctypes.c_void_p] * 2 + [ctypes.c_long] + [ctypes.c_void_p] * 3 + [ctypes.c_long]
    act, (z, *made) = ctypes.CFUNCTYPE(None, *kinds)(compiled.compiled(steps, dtype).batch.act), arrays
    act(z.ctypes.data, None, x.numel(), *(array.ctypes.data for array in made), None, 0)
    for ours, theirs in zip(arrays[1:], (y, slope), strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=near, atol=near)


def test_all_operations_of_the_table_are_tried():
    used = set()
    for function in FUNCTIONS.values():
        used |= {step[0] for step in listed(function, [(64, 32)], torch.float64)[:-2]}
    assert used == TABLE.keys()


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x - x.mean(), "mean is not in the table"),
        (lambda x: x - x.mean(dim=0, keepdim=True), "mean makes torch.float32 of"),
        (lambda x: torch.cumsum(x, 0), "cumsum is not in the table"),
        (lambda x: x * x.shape[0], "the same operations whatever the number of points"),
        (lambda x: (x.double() * 2).to(x.dtype), "_to_copy makes torch.float64"),
        (lambda x: x * torch.special.bessel_j0(x), "bessel_j0"),
        (lambda x: x * torch.tensor([1.0] * 32), "single numbers"),
        (lambda x: torch.softmax(x, -1), "is not in the table|makes"),
    ],
)
def test_what_is_not_pointwise_or_not_in_the_table_is_left_to_torch_with_the_reason(function, reason):
    with pytest.raises(Unlisted, match=reason):
        listed(function, [(64, 32), (256, 32)], torch.float32)
