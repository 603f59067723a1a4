"""What a candidate is, found by running it: behaviour, cost, traits, fingerprint (ours). For a confined process only.

Everything here is measured on a few probes, and a program that recognises them could be another function in training.
Probes therefore come in several shapes, types and sizes, and behaviour, traits and fingerprint are read in batches of
the lab's own shape, too.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np
import torch

from actlab.activations.zoo import program_source
from actlab.candidates.cost import LAB, SHAPES, Count, flops_an_element, probe
from actlab.candidates.program import Function, check, compile_program

GRID = 10.0  # traits are read off on [-GRID, GRID]


@dataclass(frozen=True)
class Description:
    """A candidate's behaviour."""

    fingerprint: str | None  # the same for two spellings of one function
    flops: float  # of a forward pass, per element
    flops_training: float  # of a forward and a backward pass
    flops_relu: float  # in units of ReLU's
    flops_gelu: float  # in units of GELU's
    traits: dict[str, Any]
    error: str | None  # why the candidate is no activation

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def describe(source: str, shapes: Sequence[tuple[int, ...]] = SHAPES) -> Description:
    """Runs a program on probes and describes it.

    Its cost is counted on x of some `shapes`; the first is the lab's own. The description has an `error` where it
    raises, or is not a smooth enough, finite, pure function of x.

    Raises:
        Refused: where `check` does not accept it.
    """
    program = check(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # so that the result does not depend on the caller's filters
            function = compile_program(program)
            error = misbehaviour(function, shapes)
            if error is None:
                flops, training = (flops_an_element(function, shapes, both) for both in (False, True))
                relu, gelu = _references(tuple(shapes))
                read, found = fingerprint(function, shapes[0]), traits(function, shapes[0])
                return Description(read, flops, training, flops / relu, flops / gelu, found, None)
    except Exception as raised:  # whatever foreign code raises is its outcome, and is reported
        error = _explained(raised)
    return Description(None, math.nan, math.nan, math.nan, math.nan, {}, error)


_HINTS = {  # what torch or Python says: what to write instead
    r"Boolean value of Tensor|data-dependent control flow|ambiguous": (
        "no branch on tensor values: write torch.where(x > 0, a, b) for if, torch.maximum for max, & and | for and, or"
    ),
    r"must be Tensor, not (int|float)": (
        "a number where torch wants a tensor: write torch.clamp(x, min=0) for max(0, x), math.sqrt(2) for torch.sqrt(2)"
    ),
    r"bitwise_\w+.* not implemented": "write x ** 2 for a power; ^, & and | are logic",
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


def _grid() -> torch.Tensor:
    ends = torch.linspace(-GRID, GRID, 257, dtype=torch.float64)  # 0 is among them
    return torch.cat([ends, ends[:1]]).reshape(129, 2)


def misbehaviour(function: Function, shapes: Sequence[tuple[int, ...]] = SHAPES) -> str | None:
    """The first rule of the contract that a function breaks, with advice, or None.

    With and without gradients (training and evaluation), in float64 and float32, on a grid over [-10, 10], on batches
    [batch, features] and [batch, ..., features], some of other `shapes`, the lab's first; and in a stack under vmap.

    Raises:
        Exception: whatever the function raises on a batch of the first probes, [batch, features].
    """
    x, lab = probe(16, 6), probe(*shapes[0])
    first = [_grid(), x, x.float()]
    for i, given in enumerate([*first, probe(5, 4, 6), lab, lab.float(), *(probe(*shape) for shape in shapes[1:])]):
        try:
            error = _misbehaviour_on(function, given)
        except Exception as raised:
            if i < len(first):
                raise
            return (
                f"wanted any [batch, ..., features]; came {tuple(given.shape)}, and it "
                f"{_explained(raised)}; name axes from the ends: dim=0 is the batch, dim=-1 the features, y.mT swaps"
            )
        if error is not None:
            return error if i < len(first) else f"{error}; x was {tuple(given.shape)}"
    found = (
        rule(function, *y.shape) for y in (x, lab) for rule in (_misbehaviour_in_float32, _misbehaviour_in_a_stack)
    )
    return next((error for error in found if error is not None), None)


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


def _misbehaviour_in_float32(function: Function, *shape: int) -> str | None:
    """Results in both types should agree; rounding may make a few elements differ."""
    x = probe(*shape)
    with torch.no_grad():
        wide, narrow = function(x), function(x.float()).double()
    off = (wide - narrow).abs() > 0.01 * wide.abs().clamp(min=float(wide.abs().mean()))
    if off.double().mean() > 0.1:
        return (
            "wanted about the same function in float32 and in float64; got two; leave out what hangs on the type, "
            "differences of nearly equal numbers, and waves of large arguments"
        )
    return None


def _misbehaviour_in_a_stack(function: Function, *shape: int) -> str | None:
    stack = probe(3, *shape)
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


@cache
def _references(shapes: tuple[tuple[int, ...], ...]) -> tuple[float, float]:
    relu, gelu = (compile_program(check(program_source(name))) for name in ("relu", "gelu"))
    return flops_an_element(relu, shapes), flops_an_element(gelu, shapes)


# --- traits ---


def traits(function: Function, lab: tuple[int, ...] = LAB) -> dict[str, Any]:
    """Traits of a function in float64, on a grid, a column [points, 1] of [-10, 10], and on a random batch.

    Where the lab's batches, of the shape `lab`, show another function than those, the traits are read in them.

    `pointwise`: no output changes when another element does, and an element has one value wherever it is, in batches of
    any shape. `parity`: odd, even or neither. `monotone`: never falls, or never rises. `bounded`: both ends are.
    `oscillations`: how often the slope changes its sign. `left` and `right`: what an element's result does as it goes
    to minus and plus infinity, the other elements of a batch held: constant and linear with the limit or slope to three
    digits, oscillating (bounded), sublinear, superlinear, swinging (oscillates and grows), or undefined where it is not
    finite.
    """
    grid = _column()
    with torch.no_grad():
        pointwise, alike = _view(function, lab)
        read, batch = (function, probe(16, 6)) if alike else (partial(_elsewhere, function, lab), probe(*lab))
        y, mirrored = read(grid)[:, 0], read(-grid)[:, 0]
        left, right = (_end(function, batch, side, float(y.abs().max())) for side in (-1.0, 1.0))
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


def _column() -> torch.Tensor:
    return torch.linspace(-GRID, GRID, 2001, dtype=torch.float64)[:, None]


@lru_cache(maxsize=1)  # traits and fingerprint ask for it
def _view(function: Function, lab: tuple[int, ...]) -> tuple[bool, bool]:
    """Whether a function is pointwise, and whether the lab's batches show the function that the other probes do."""
    pointwise = _is_pointwise(function, lab)
    return pointwise, pointwise or _is_one(function, lab)


def _is_pointwise(function: Function, lab: tuple[int, ...]) -> bool:
    """Whether no output changes when another element moves, by a little or far, or when elements change their places.

    Places are changed in every probe, to those in batches of the lab's shape: their rows, columns and numbers.
    """
    for x in (probe(16, 6), probe(*lab)):
        y = function(x)
        for row, column in ((0, 0), (7, 2), (15, 5)):
            others = torch.ones_like(x, dtype=torch.bool)
            others[row, column] = False
            for step in (-100.0, -10.0, -1.0, 1.0, 10.0, 100.0):
                moved = x.clone()
                moved[row, column] += step
                if not torch.equal(function(moved)[others], y[others]):
                    return False
    probes = [_column(), *_batches(), *(probe(*shape) for shape in SHAPES), probe(16, 6)]
    return all(_close(function(x), _elsewhere(function, lab, x)) for x in probes)


def _elsewhere(function: Function, shape: tuple[int, ...], x: torch.Tensor) -> torch.Tensor:
    """A function's values at the elements of x, which are shuffled into batches of a shape; the last is filled up."""
    order = torch.from_numpy(np.random.default_rng(3).permutation(x.numel()))
    count = -(-x.numel() // math.prod(shape)) * math.prod(shape)
    places = order[torch.arange(count) % x.numel()]
    values = torch.stack([function(part) for part in x.reshape(-1)[places].reshape(-1, *shape)])
    return torch.empty_like(x).reshape(-1).scatter(0, order, values.reshape(-1)[: x.numel()]).reshape(x.shape)


def _is_one(function: Function, lab: tuple[int, ...]) -> bool:
    """Whether batches of the lab's shape show the function that smaller probes do, though it may look across them.

    Copies of a batch that fill a larger one have its values, as with means and variances. Or the same operations run
    by the same numbers, as with sorts, products and spectra, and exchanged rows and columns matter in both or neither.
    """
    small, large = probe(16, 6), probe(*lab)
    whole = [math.lcm(*sizes) for sizes in zip(small.shape, lab, strict=True)]
    for x in (small, large, probe(lab[0], 1)):
        times = [size // own for size, own in zip(whole, x.shape, strict=True)]
        if not _close(function(x.repeat(times)), function(x).repeat(times)):
            return _run(function, small) == _run(function, large)
    return True


def _run(function: Function, x: torch.Tensor) -> tuple[Any, ...]:
    """What runs, and whether exchanged rows, and columns, have exchanged results."""
    with Count() as count:
        y = function(x)
    return count.ran, *(_close(function(x.flip(axis)), y.flip(axis)) for axis in (0, 1))


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-6, atol=1e-9 * _size(one), equal_nan=True)


_STEPS = torch.tensor([1 + (k * 0.6180339887498949) % 1 for k in range(12)], dtype=torch.float64).sort().values


def _end(function: Function, x: torch.Tensor, side: float, size: float) -> str:
    """What one element's result in x does as it goes to `side` times infinity; `size` is the function's on the grid.

    It is read at twelve places in [d, 2 d] and in [d / 10, d / 5]. Where a spelling overflows, as exp(x) / (1 + exp(x))
    does, a nearer distance d is taken.
    """
    row, column = 3, 4

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


def fingerprint(function: Function, lab: tuple[int, ...] = LAB) -> str:
    """Hash of a function's values in float64, to `RESOLUTION`: equal for two spellings of one function.

    Values are rounded relative to the greatest in their band of |x|, or in their batch. Any rounding has edges, where
    the last bit of a value decides; here for values within about 1e-9 of a step. Simple functions take no round values
    at the probes, which are generic numbers, and round values such as 0, 1/2 and 1 are not at an edge.

    A batch of the lab's shape is among them where it shows another function than the other probes.
    """
    with torch.no_grad():
        column, *batches = _batches()
        y = function(column)
        parts = [y[(low < column.abs()) & (column.abs() < high)] for low, high in itertools.pairwise(BANDS)]
        least = NOTHING * max(map(_size, parts[:-1]))  # all but the outermost band, where powers are huge
        batches += [] if _view(function, lab)[1] else [probe(*lab)]
        parts += [function(batch).reshape(-1) for batch in batches]
    return hashlib.sha256(b"".join(_rounded(part, least) for part in parts)).hexdigest()


def _batches() -> list[torch.Tensor]:
    """What a fingerprint is read on: a column of all bands, on both sides of 0, and batches."""
    generator = np.random.default_rng(11)
    column = np.concatenate([generator.uniform(low, high, 24) for low, high in itertools.pairwise(BANDS)])
    batches = (probe(*shape, scale=scale, shift=shift) for shape, scale, shift in _BATCHES)
    return [torch.from_numpy(np.concatenate([column, -column]))[:, None], *batches]


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
