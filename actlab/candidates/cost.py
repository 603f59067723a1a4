"""What a candidate costs, in floating-point operations an element, counted by running it (ours)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from actlab.candidates.language import words
from actlab.candidates.program import Function
from actlab.core.config import PASSES

SHAPES = ((64, 32), (64, 64), (256, 32), (16, 5, 24))  # of x, where cost is counted; the greatest counts
LAB = SHAPES[0]  # the lab's own, [batch, width]
MAX_OPERATIONS = 2_000  # of tensors in one call, views too: each takes time to start, which no count of FLOPs shows

# FLOPs an element of the largest tensor that an operation reads or writes [ours]. Views are free; what moves or makes
# elements costs as much as what adds them; a function of torch's own costs about what its series does.
VIEWS = words("""
    alias as_strided detach diagonal expand lift_fresh permute real imag select slice split split_with_sizes squeeze t
    transpose unbind unfold unsqueeze view view_as_real view_as_complex _conj _neg_view _reshape_alias _unsafe_view
    is_same_size _local_scalar_dense resolve_conj resolve_neg promote_types
""")
_KINDS = {
    1.0: """
        abs add sub rsub mul neg sgn sign relu where maximum minimum fmax fmin clamp clamp_min clamp_max threshold
        hardtanh leaky_relu ceil floor round trunc frac heaviside copysign conj_physical deg2rad rad2deg
        eq ne lt le gt ge isnan isinf isfinite logical_and logical_or logical_xor logical_not bitwise_and bitwise_or
        bitwise_xor bitwise_not sum mean prod amax amin max min aminmax argmax argmin nansum any all cumsum cumprod
        clone copy_ _to_copy cat stack roll flip index index_select gather constant_pad_nd reflection_pad1d
        reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d repeat empty
        empty_like empty_strided zeros zeros_like ones ones_like full full_like new_empty new_empty_strided new_zeros
        new_ones new_full fill_ fill zero_ arange linspace scalar_tensor complex nan_to_num lerp addcmul addcdiv
        softshrink hardshrink masked_fill fft_fftfreq fft_rfftfreq
        threshold_backward hardtanh_backward leaky_relu_backward softshrink_backward hardshrink_backward slice_backward
        select_backward unfold_backward reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward
        replication_pad1d_backward replication_pad2d_backward replication_pad3d_backward scatter scatter_add index_add
        _efficientzerotensor
    """,
    2.0: "square hardsigmoid hardswish hardsigmoid_backward hardswish_backward linalg_vector_norm",
    4.0: """
        div reciprocal sqrt rsqrt remainder fmod floor_divide var std var_mean std_mean native_layer_norm hypot
        sigmoid_backward tanh_backward logit_backward native_layer_norm_backward _softmax_backward_data
    """,
    8.0: """
        exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan atan2 sinh cosh asinh acosh atanh tanh
        sigmoid erf erfc erfinv pow sinc silu softplus elu celu selu log_sigmoid_forward logit logaddexp logaddexp2
        logsumexp polar angle xlogy elu_backward silu_backward softplus_backward log_sigmoid_backward
    """,
    12.0: "gelu mish _softmax _log_softmax _log_softmax_backward_data special_entr",
    16.0: """
        lgamma digamma polygamma i0 special_i0 special_i0e special_i1 special_i1e special_bessel_j0 special_bessel_j1
        gelu_backward mish_backward
    """,
}
WEIGHTS = {name: weight for weight, names in _KINDS.items() for name in names.split()}
UNLISTED = 20.0  # FLOPs an element of an operation that has no weight: more than any that has
SORTS = ("sort", "median", "nanmedian", "topk", "kthvalue")  # 2 log2(n) an element
TRANSFORMS = ("_fft_r2c", "_fft_c2r", "_fft_c2c")  # 5 log2(n) a complex element, half of it a real one
PRODUCTS = ("mm", "bmm", "mv", "dot", "addmm", "baddbmm", "vdot")  # 2 m n k
_SIZED = {*TRANSFORMS, "arange", "linspace", "fft_fftfreq", "fft_rfftfreq"}  # take sizes among their numbers
LEAST = 64  # elements that any operation but a view counts as: one on a single number takes its time, too
_SQUARES = {0.5: 4.0, -0.5: 4.0, 1.0: 1.0, 2.0: 1.0, 3.0: 2.0, -1.0: 4.0, -2.0: 5.0}  # powers that are no power


def probe(*shape: int, scale: float = 2.0, shift: float = 0.0) -> torch.Tensor:
    """Normal numbers of a shape in float64, always the same."""
    return torch.from_numpy(np.random.default_rng([7, *shape]).normal(shift, scale, size=shape))


class Count(TorchDispatchMode):
    """Adds up what runs under it, by the documented weights; at most so many operations."""

    def __init__(self, most: int = MAX_OPERATIONS) -> None:
        super().__init__()
        self.flops, self.operations, self.most = 0.0, 0, most
        self.ran: list[tuple[str, tuple[float, ...]]] = []  # operations that are no views, with the numbers they take

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        if self.operations > self.most:
            raise RuntimeError(f"wanted at most {self.most} tensor operations in one call; got more")
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name not in VIEWS:
            given = [] if name in _SIZED else [*args, *(args[1] if name == "roll" else [])]
            self.ran.append((name, tuple(number for number in given if isinstance(number, int | float))))
            self.flops += _flops(name, args, result)
        return result


def weight_of(name: str) -> float:
    """FLOPs an element of an operation."""
    return WEIGHTS.get(name, WEIGHTS.get(name.removesuffix("_"), UNLISTED))


def _flops(name: str, args: Sequence, result: Any) -> float:
    inputs = _tensors(args)
    tensors = [*inputs, *_tensors([result])]
    if name in PRODUCTS:
        inner = inputs[-1].shape[-2] if inputs[-1].dim() > 1 else inputs[-1].shape[-1]
        return max(2.0 * inner * result.numel(), LEAST)
    if name in TRANSFORMS:
        points = max(t.numel() * (2 if t.is_complex() else 1) for t in tensors)  # two real ones a complex one
        return 2.5 * math.log2(max(2, *(s for t in tensors for s in t.shape))) * max(points, LEAST)
    weight = weight_of(name)
    if name in SORTS:
        weight = 2.0 * math.log2(max(2, max(inputs[0].shape, default=1)))
    elif name == "pow" and len(args) > 1 and isinstance(args[1], int | float):
        weight = _SQUARES.get(float(args[1]), weight)
    # a complex operation is about four real ones
    return weight * max([LEAST, *(t.numel() * (4 if t.is_complex() else 1) for t in tensors)])


def _tensors(values: Any) -> list[torch.Tensor]:
    """The tensors among values, and in lists of them."""
    found = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def flops_an_element(function: Function, shapes: Sequence[tuple[int, ...]] = SHAPES, training: bool = False) -> float:
    """FLOPs of a forward pass an element of x, by the documented weights: the most over shapes of x and types.

    With `training`, those of the backward pass are added. Raises RuntimeError where a call takes more than
    `MAX_OPERATIONS` operations, or both passes take more than `PASSES` times as many.
    """
    costs = []
    for shape in shapes:
        for dtype in (torch.float64, torch.float32):
            x = probe(*shape).to(dtype).requires_grad_(training)
            ones = torch.ones_like(x)
            with Count(MAX_OPERATIONS * (PASSES if training else 1)) as count, torch.set_grad_enabled(training):
                y = function(x)
                if training:
                    torch.autograd.grad(y, x, ones)
            costs.append(count.flops / x.numel())
    return max(costs)
