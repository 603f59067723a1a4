"""What a candidate is, found by running it: behaviour, cost, traits, fingerprint (ours). For a confined process only.

Everything here is measured on a few probes, and a program that recognises them could be another function in training.
Probes therefore come in several shapes, types and sizes, the lab's own among them.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from actlab.activations.zoo import program_source
from actlab.candidates.program import Function, check, compile_program

GRID = 10.0  # traits are read off on [-GRID, GRID]
SHAPES = ((64, 32), (64, 64), (256, 32), (16, 5, 24))  # of x, where cost is counted; the greatest counts
MAX_OPERATIONS = 2_000  # of tensors in one call, views too: each takes time to start, which no count of FLOPs shows

# FLOPs an element of the largest tensor that an operation reads or writes [ours]. Views are free; what moves or makes
# elements costs as much as what adds them; a function of torch's own costs about what its series does.
VIEWS = frozenset(
    """
    alias as_strided detach diagonal expand lift_fresh permute real imag select slice split split_with_sizes squeeze t
    transpose unbind unfold unsqueeze view view_as_real view_as_complex _conj _neg_view _reshape_alias _unsafe_view
    is_same_size _local_scalar_dense resolve_conj resolve_neg promote_types
    """.split()  # noqa: SIM905
)
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
    """,
    2.0: "square hardsigmoid hardswish linalg_vector_norm",
    4.0: """
        div reciprocal sqrt rsqrt remainder fmod floor_divide var std var_mean std_mean native_layer_norm hypot
    """,
    8.0: """
        exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan atan2 sinh cosh asinh acosh atanh tanh
        sigmoid erf erfc erfinv pow sinc silu softplus elu celu selu log_sigmoid_forward logit logaddexp logaddexp2
        logsumexp polar angle xlogy
    """,
    12.0: "gelu mish _softmax _log_softmax special_entr",
    16.0: "lgamma digamma i0 special_i0 special_i0e special_bessel_j0 special_bessel_j1",
}
WEIGHTS = {name: weight for weight, names in _KINDS.items() for name in names.split()}
UNLISTED = 20.0  # FLOPs an element of an operation that has no weight: more than any that has
SORTS = ("sort", "median", "nanmedian", "topk", "kthvalue")  # 2 log2(n) an element
TRANSFORMS = ("_fft_r2c", "_fft_c2r", "_fft_c2c")  # 5 log2(n) a complex element, half of it a real one
PRODUCTS = ("mm", "bmm", "mv", "dot", "addmm", "baddbmm", "vdot")  # 2 m n k
LEAST = 64  # elements that any operation but a view counts as: one on a single number takes its time, too
_SQUARES = {0.5: 4.0, -0.5: 4.0, 1.0: 1.0, 2.0: 1.0, 3.0: 2.0, -1.0: 4.0, -2.0: 5.0}  # powers that are no power


@dataclass(frozen=True)
class Description:
    """A candidate's behaviour."""

    fingerprint: str | None  # the same for two spellings of one function
    flops: float  # per element
    flops_relu: float  # in units of ReLU's
    flops_gelu: float  # in units of GELU's
    traits: dict[str, Any]
    error: str | None  # why the candidate is no activation

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def describe(source: str, shapes: Sequence[tuple[int, ...]] = SHAPES) -> Description:
    """Runs a program on probes and describes it.

    Its cost is counted on x of some `shapes`, which should include those of its training. The description has an
    `error` where it raises, or is not a smooth enough, finite, pure function of x.

    Raises:
        Refused: where `check` does not accept it.
    """
    program = check(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # so that the result does not depend on the caller's filters
            function = compile_program(program)
            error = misbehaviour(function)
            if error is None:
                flops = flops_an_element(function, shapes)
                relu, gelu = _references(tuple(shapes))
                found = traits(function)
                return Description(fingerprint(function), flops, flops / relu, flops / gelu, found, None)
    except Exception as raised:  # whatever foreign code raises is its outcome, and is reported
        error = _explained(raised)
    return Description(None, float("nan"), float("nan"), float("nan"), {}, error)


_HINTS = {  # what torch or Python says: what to write instead
    r"Boolean value of Tensor|data-dependent control flow|ambiguous": (
        "no branch on tensor values: write torch.where(x > 0, a, b) for if, torch.maximum for max, & and | for and, or"
    ),
    r"\.item\(\)|only one element tensors|must be real number, not Tensor|converted to Python scalar": (
        "no numbers out of tensors: write torch.sin(x) for math.sin(x), x.mean() for float(x.mean())"
    ),
    r"derivative for \S+ is not implemented": (
        "write torch.floor(x / 2) for x // 2, torch.where(x > 0, 1.0, 0.0) for a step"
    ),
    r"recursion": "write a loop: `for k in range(5):`",
    r"dynamic shape|nonzero|data-dependent": "the result's shape must not depend on values: write torch.where",
}


def _explained(raised: Exception, where: str = "") -> str:
    """What was raised, in one line, with a hint where there is one."""
    text = " ".join(str(raised).split())
    hint = next((f"; {hint}" for said, hint in _HINTS.items() if re.search(said, text)), "")
    return f"raised {type(raised).__name__}{where}: {text[:200]}{hint}"


# --- behaviour ---


def _probe(*shape: int, scale: float = 2.0, shift: float = 0.0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([7, *shape]).normal(shift, scale, size=shape))


def _grid() -> torch.Tensor:
    ends = torch.linspace(-GRID, GRID, 257, dtype=torch.float64)  # 0 is among them
    return torch.cat([ends, ends[:1]]).reshape(129, 2)


def misbehaviour(function: Function) -> str | None:
    """The first rule of the contract that a function breaks, with advice, or None.

    With and without gradients (training and evaluation), in float64 and float32, on a grid over [-10, 10], on batches
    [batch, features] and [batch, ..., features], and in a stack under vmap.

    Raises:
        Exception: whatever the function raises on a batch [batch, features].
    """
    x = _probe(16, 6)
    for probe in (_grid(), x, x.float(), _probe(5, 4, 6)):
        try:
            error = _misbehaviour_on(function, probe)
        except Exception as raised:
            if probe.dim() == 2:
                raise
            return (
                f"wanted any [batch, ..., features]; came {tuple(probe.shape)}, and it "
                f"{_explained(raised)}; name axes from the ends: dim=0 is the batch, dim=-1 the features, y.mT swaps"
            )
        if error is not None:
            return error
    return _misbehaviour_in_float32(function, x) or _misbehaviour_in_a_stack(function)


def _misbehaviour_on(function: Function, x: torch.Tensor) -> str | None:
    before = x.clone()
    x = x.clone().requires_grad_()
    y, wanted = function(x), f"wanted the shape and type of x, {tuple(x.shape)} {x.dtype}; got"
    if not isinstance(y, torch.Tensor):
        return f"{wanted} {type(y).__name__}"
    if y.shape != x.shape or y.dtype != x.dtype:
        hint = "return y.real of a complex result" if y.is_complex() else "return y.to(x.dtype)"
        if y.shape != x.shape:
            hint = "keep a statistic's axis by keepdim=True, and use it beside x"
        return f"{wanted} {tuple(y.shape)} {y.dtype}; {hint}"
    if not y.requires_grad:
        return "wanted a result that depends on x differentiably; got one without a gradient; use x without .detach()"
    (slope,) = torch.autograd.grad(y.sum(), x, allow_unused=True)
    if slope is None:
        return "wanted a result that depends on x differentiably; got one whose gradient does not reach x"
    for values, what in ((y.detach(), "value"), (slope, "gradient")):
        if not torch.isfinite(values).all():
            place = (~torch.isfinite(values)).nonzero()[0]
            at, came = float(before[tuple(place)]), float(values[tuple(place)])
            return (
                f"wanted finite values and gradients on [-{GRID:g}, {GRID:g}]; got others: the {what} at x = {at:.4g} "
                f"is {came}; guard divisions, roots and logarithms, as in torch.sqrt(x * x + 1e-6), and clamp "
                "exponents; the branch that torch.where drops must be finite, too"
            )
    if (y == y.reshape(-1)[0]).all():
        return "wanted a function that varies; got a constant"
    if not (slope != 0).any():
        return "wanted a gradient that is not 0 everywhere; got 0, as of sign, floor, round and comparisons"
    with torch.no_grad():
        function(2 * before)
        function(before[:-1].clone())
        again = function(before.clone())
    if not (torch.equal(function(x), y) and torch.equal(again, y)):
        return "wanted the same result twice, in training and in evaluation; got two results"
    if not torch.equal(x.detach(), before):
        return "wanted x left as it is; got an in-place change"
    return None


def _misbehaviour_in_float32(function: Function, x: torch.Tensor) -> str | None:
    """Results in both types should agree; rounding may make a few elements differ."""
    with torch.no_grad():
        wide, narrow = function(x), function(x.float()).double()
    off = (wide - narrow).abs() > 0.01 * wide.abs().clamp(min=float(wide.abs().mean()))
    if off.double().mean() > 0.1:
        return (
            "wanted about the same function in float32 and in float64; got two; leave out what hangs on the type, "
            "differences of nearly equal numbers, and waves of large arguments"
        )
    return None


def _misbehaviour_in_a_stack(function: Function) -> str | None:
    stack = _probe(3, 16, 6)
    inputs = [stack.clone().requires_grad_() for _ in range(2)]
    alone = torch.stack([function(x) for x in inputs[0]])
    try:
        together = torch.func.vmap(function)(inputs[1])
    except Exception as raised:
        return f"wanted a function that runs in a stack of models, under torch.func.vmap; it {_explained(raised)}"
    slopes = [torch.autograd.grad(y.sum(), x)[0] for y, x in zip((alone, together), inputs, strict=True)]
    for one, other in ((alone, together), slopes):
        if not torch.allclose(one, other, atol=1e-9):
            return "wanted the same result for a model alone and in a stack under vmap; got two results"
    return None


# --- cost ---


class _Count(TorchDispatchMode):
    """Adds up what runs under it, by the documented weights."""

    def __init__(self) -> None:
        super().__init__()
        self.flops, self.operations = 0.0, 0
        self.seen: set[str] = set()  # names of operations that are no views

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        if self.operations > MAX_OPERATIONS:
            raise RuntimeError(f"wanted at most {MAX_OPERATIONS} tensor operations in one call; got more")
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name not in VIEWS:
            self.seen.add(name)
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


def flops_an_element(function: Function, shapes: Sequence[tuple[int, ...]] = SHAPES) -> float:
    """FLOPs of one forward pass an element of x, by the documented weights: the most over shapes of x and types.

    Raises:
        RuntimeError: where a call takes more than `MAX_OPERATIONS` operations.
    """
    costs = []
    for shape in shapes:
        for dtype in (torch.float64, torch.float32):
            x = _probe(*shape).to(dtype)
            with _Count() as count, torch.no_grad():
                function(x)
            costs.append(count.flops / x.numel())
    return max(costs)


@cache
def _references(shapes: tuple[tuple[int, ...], ...]) -> tuple[float, float]:
    relu, gelu = (compile_program(check(program_source(name))) for name in ("relu", "gelu"))
    return flops_an_element(relu, shapes), flops_an_element(gelu, shapes)


# --- traits ---


def traits(function: Function) -> dict[str, Any]:
    """Traits of a function in float64, on a grid, a column [points, 1] of [-10, 10], and on a random batch.

    `pointwise`: no output changes when another element does. `parity`: odd, even or neither. `monotone`: never falls,
    or never rises. `bounded`: both ends are. `oscillations`: how often the slope changes its sign. `left` and `right`:
    what an element's result does as it goes to minus and plus infinity, the other elements of a batch held: constant
    and linear with the limit or slope to three digits, oscillating (bounded), sublinear, superlinear, swinging
    (oscillates and grows), or undefined where it is not finite.
    """
    grid = torch.linspace(-GRID, GRID, 2001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        y, mirrored = function(grid)[:, 0], function(-grid)[:, 0]
        left, right = (_end(function, side, float(y.abs().max())) for side in (-1.0, 1.0))
        pointwise = _is_pointwise(function)
    size, slope = y.abs().max(), torch.diff(y)
    signs = torch.sign(slope[slope.abs() > 1e-9 * size])
    mirrors = (("odd", -mirrored), ("even", mirrored))
    parities = [name for name, other in mirrors if torch.allclose(y, other, atol=1e-9 * float(size), rtol=0)]
    return {
        "pointwise": pointwise,
        "parity": (*parities, "neither")[0],
        "monotone": bool((signs >= 0).all() or (signs <= 0).all()),
        "bounded": all(end.startswith("constant") or end == "oscillating" for end in (left, right)),
        "oscillations": int((signs[1:] != signs[:-1]).sum()),
        "left": left,
        "right": right,
    }


def _is_pointwise(function: Function) -> bool:
    """Whether no output changes when another element moves, by a little or far, in several places."""
    x = _probe(16, 6)
    y = function(x)
    for row, column in ((0, 0), (7, 2), (15, 5)):
        others = torch.ones_like(x, dtype=torch.bool)
        others[row, column] = False
        for step in (-100.0, -10.0, -1.0, 1.0, 10.0, 100.0):
            moved = x.clone()
            moved[row, column] += step
            if not torch.equal(function(moved)[others], y[others]):
                return False
    return True


_STEPS = torch.tensor([1 + (k * 0.6180339887498949) % 1 for k in range(12)], dtype=torch.float64).sort().values


def _end(function: Function, side: float, size: float) -> str:
    """What one element's result does as it goes to `side` times infinity; `size` is the function's on the grid.

    It is read at twelve places in [d, 2 d] and in [d / 10, d / 5]. Where a spelling overflows, as exp(x) / (1 + exp(x))
    does, a nearer distance d is taken.
    """
    x, row, column = _probe(16, 6), 3, 4

    def along(distance: float) -> torch.Tensor:
        results = []
        for step in _STEPS:
            moved = x.clone()
            moved[row, column] = side * distance * step
            results.append(function(moved)[row, column])
        return torch.stack(results)

    for distance in (1e6, 1e4, 300.0, 50.0):
        near, far = along(distance / 10), along(distance)
        if torch.isfinite(near).all() and torch.isfinite(far).all():
            return _trend(distance * _STEPS, near, far, size, side)
    return "undefined"


def _trend(places: torch.Tensor, near: torch.Tensor, far: torch.Tensor, size: float, side: float) -> str:
    """A name for how values go on, given those at `places` from 0 and those at a tenth of that distance."""
    scale = max(float(far.abs().max()), 1e-3 * size)
    if float(far.max() - far.min()) <= 1e-3 * scale and abs(float(far.mean() - near.mean())) <= 1e-2 * scale:
        limit = float(far.mean())
        return f"constant {0.0 if abs(limit) <= 1e-3 * size else limit:.3g}"
    slopes, rests = zip(*(_line(p, v) for p, v in ((places / 10, near), (places, far))), strict=True)
    rise = abs(slopes[1]) * float(places[-1] - places[0])
    if rise > 0 and rests[1] <= 0.02 * rise and abs(slopes[1] - slopes[0]) <= 0.02 * abs(slopes[1]):
        return f"linear {side * slopes[1]:.3g}"
    turns = [torch.sign(torch.diff(values)) for values in (near, far)]
    if sum(int((signs[1:] != signs[:-1]).sum()) for signs in turns) >= 3:  # at one distance a wave may look smooth
        return "oscillating" if scale <= 2 * max(float(near.abs().max()), size) else "swinging"
    return "superlinear" if abs(slopes[1]) > abs(slopes[0]) else "sublinear"


def _line(places: torch.Tensor, values: torch.Tensor) -> tuple[float, float]:
    """Slope of the least-squares line, and the greatest distance from it."""
    p, v = places - places.mean(), values - values.mean()
    slope = (p * v).sum() / (p * p).sum()
    return float(slope), float((v - slope * p).abs().max())


# --- fingerprint ---

RESOLUTION = 1e-6  # of the greatest value in a band: functions that differ by less everywhere are one
NOTHING = 1e-8  # of the greatest value: a band that holds less holds rounding errors
BANDS = (0.0, 0.5, 2.0, 5.0, 10.0, 25.0)  # of |x|; each has its own scale, so that no large value hides small ones
_BATCHES: tuple[tuple[tuple[int, ...], float, float], ...] = (
    ((16, 6), 2.0, 0.0), ((16, 6), 0.5, -1.0), ((9, 7), 6.0, 1.0), ((4, 5, 6), 2.0, 0.3),
)  # fmt: skip # shapes, scales, shifts


def fingerprint(function: Function) -> str:
    """Hash of a function's values in float64, to `RESOLUTION`: equal for two spellings of one function.

    Values are rounded relative to the greatest in their band of |x|, or in their batch. Any rounding has edges, where
    the last bit of a value decides; here for values within about 1e-9 of a step. Simple functions take no round values
    at the probes, which are generic numbers, and round values such as 0, 1/2 and 1 are not at an edge.
    """
    generator = np.random.default_rng(11)
    column = np.concatenate([generator.uniform(low, high, 24) for low, high in itertools.pairwise(BANDS)])
    x = torch.from_numpy(np.concatenate([column, -column]))[:, None]
    with torch.no_grad():
        y = function(x)
        parts = [y[(low < x.abs()) & (x.abs() < high)] for low, high in itertools.pairwise(BANDS)]
        parts += [function(_probe(*shape, scale=scale, shift=shift)).reshape(-1) for shape, scale, shift in _BATCHES]
    least = NOTHING * max(map(_size, parts[: -len(_BATCHES) - 1]))  # all but the outermost band, where powers are huge
    return hashlib.sha256(b"".join(_rounded(part, least) for part in parts)).hexdigest()


def _size(values: torch.Tensor) -> float:
    """The greatest absolute value among those that are finite."""
    return float(torch.where(torch.isfinite(values), values, 0.0).abs().max())


def _rounded(values: torch.Tensor, least: float) -> bytes:
    """Values in steps of their greatest size, and that size in steps of its logarithm; what is not finite by name."""
    scale = max(_size(values), least) or 1.0
    steps = torch.floor(values / scale / RESOLUTION + _EDGE)
    steps = torch.nan_to_num(steps, nan=1e15, posinf=2e15, neginf=-2e15)
    return steps.to(torch.int64).numpy().tobytes() + str(math.floor(math.log(scale) / RESOLUTION + _EDGE)).encode()


_EDGE = 0.6371  # where 0 stands between the edges of its step; not 1/2, where decimals such as 0.1234565 would fall
