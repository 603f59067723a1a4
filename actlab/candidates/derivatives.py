"""Functions of torch for candidates, with the derivatives that torch lacks (ours).

torch has no derivative of Bessel functions and cuts the graph at them without a message, as it does at the ends of
`linspace`. At 0, its gradients of `hypot` and of `xlogy` are NaN, and its gradient of `polar` is 0. The values are
torch's to the bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def _with_gradient(function: Callable, gradient: Callable[..., Any]) -> Callable:
    """The function with a gradient of its own: of d, the sum's derivative by the result, and the inputs; one each."""

    class Own(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*inputs: Tensor) -> Tensor:
            return function(*inputs)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, d: Tensor) -> Any:
            return gradient(d, *ctx.saved_tensors)

    @functools.wraps(function)
    def call(*inputs: Any, **named: Any) -> Tensor:
        inputs = (*inputs, *(named.pop(name) for name in ("input", "other") if name in named))
        if named or not all(isinstance(one, Tensor) for one in inputs):  # numbers, whose gradient nobody asks for
            return function(*inputs, **named)
        return Own.apply(*torch.broadcast_tensors(*inputs))

    return call


def _or_1(x: Tensor) -> Tensor:
    """A divisor: x, but 1 where x is 0."""
    return torch.where(x == 0, 1.0, x)


def _of_j1(d: Tensor, x: Tensor) -> Tensor:
    return d * (bessel_j0(x) - torch.where(x == 0, 0.5, bessel_j1(x) / _or_1(x)))


def _of_hypot(d: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    length = _or_1(hypot(x, y))
    return d * (x / length), d * (y / length)


def _of_xlogy(d: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    logarithm = torch.where((x == 0) & (y <= 0), 0.0, torch.log(y))
    return d * logarithm, d * torch.where(x == 0, 0.0, x / y)


def _of_polar(d: Tensor, length: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    turn = torch.complex(torch.cos(angle), torch.sin(angle))
    along = d.conj() * turn
    return along.real, -length * along.imag


bessel_j0 = _with_gradient(torch.special.bessel_j0, lambda d, x: -d * bessel_j1(x))
bessel_j1 = _with_gradient(torch.special.bessel_j1, _of_j1)
hypot = _with_gradient(torch.hypot, _of_hypot)
xlogy = _with_gradient(torch.xlogy, _of_xlogy)
polar = _with_gradient(torch.polar, _of_polar)


def linspace(start: float, end: float, *rest: Any, **named: Any) -> Tensor:
    """torch's, of numbers.

    Raises:
        TypeError: an end that is a tensor, through which no gradient would come.
    """
    if isinstance(start, Tensor) or isinstance(end, Tensor):
        advice = "write a + (b - a) * torch.linspace(0, 1, n), through which a gradient comes"
        raise TypeError(f"wanted numbers as the ends of torch.linspace; got a tensor: {advice}")
    return torch.linspace(start, end, *rest, **named)


OWN = {
    "torch.hypot": hypot,
    "torch.linspace": linspace,
    "torch.polar": polar,
    "torch.xlogy": xlogy,
    "torch.special.bessel_j0": bessel_j0,
    "torch.special.bessel_j1": bessel_j1,
    "torch.special.xlogy": xlogy,
}
