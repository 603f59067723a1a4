"""What a candidate is, found by running it: behaviour, cost, traits, fingerprint (ours). For workers only."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from actlab.activations import program_source
from actlab.program import Function, check, compile_program

GRID = 10.0  # traits are read off on [-GRID, GRID]
FREE = frozenset(
    """
    view _unsafe_view reshape expand slice select unsqueeze squeeze permute transpose t detach alias clone copy_
    _to_copy lift_fresh cat stack unbind split empty zeros ones zeros_like ones_like full full_like new_zeros
    arange scalar_tensor fill_ roll flip index_select as_strided real imag view_as_real view_as_complex
    constant_pad_nd
    """.split()  # noqa: SIM905
)
_KINDS = {  # FLOPs an output element [ours]; what is not listed, arithmetic and comparisons, is 1
    4.0: """
        div reciprocal sqrt rsqrt remainder fmod var std var_mean std_mean native_layer_norm
    """,
    8.0: """
        exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan atan2 sinh cosh asinh acosh atanh tanh
        sigmoid erf erfc erfinv pow sinc silu softplus elu log_sigmoid_forward logaddexp logsumexp lgamma
        special_i0 special_i0e special_bessel_j0 special_bessel_j1 polar angle
    """,
    12.0: """
        gelu mish _softmax _log_softmax
    """,
    20.0: """
        _fft_r2c _fft_c2r _fft_c2c
    """,
}
WEIGHTS = {name: weight for weight, names in _KINDS.items() for name in names.split()}


@dataclass(frozen=True)
class Description:
    """A candidate's behaviour.

    `fingerprint` is the same for two spellings of one function; `flops` are per element, `flops_relu` and
    `flops_gelu` the same in units of ReLU's and GELU's; `error` says why the candidate is no activation, or is None.
    """

    fingerprint: str | None
    flops: float
    flops_relu: float
    flops_gelu: float
    traits: dict[str, Any]
    error: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def describe(source: str) -> Description:
    """Runs a program on probes and says what it is.

    Args:
        source: a program that `program.check` accepts.

    Returns:
        Its description; with `error`, where it raises, or is not a smooth enough, finite, pure function of x.
    """
    function = compile_program(check(source))
    try:
        error = _misbehaviour(function)
        if error is None:
            flops = flops_an_element(function)
            relu, gelu = _references()
            return Description(_fingerprint(function), flops, flops / relu, flops / gelu, traits(function), None)
    except Exception as raised:  # whatever foreign code raises is its outcome, and is reported
        error = f"raised {type(raised).__name__}: {str(raised).splitlines()[0] if str(raised) else ''}"[:300]
    return Description(None, float("nan"), float("nan"), float("nan"), {}, error)


def _probe(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(7).normal(scale=2.0, size=shape))


def _misbehaviour(function: Function) -> str | None:
    """The first rule of the contract that the function breaks, or None."""
    ends = torch.linspace(-GRID, GRID, 257, dtype=torch.float64)  # 0 is among them
    grid = torch.cat([ends, ends[:1]]).reshape(129, 2)
    for x in (grid, _probe(16, 6), _probe(16, 6).float()):
        before = x.clone()
        x.requires_grad_()
        y = function(x)
        if not isinstance(y, torch.Tensor) or y.shape != x.shape or y.dtype != x.dtype:
            came = f"{tuple(y.shape)} {y.dtype}" if isinstance(y, torch.Tensor) else type(y).__name__
            return f"wanted the shape and type of x, {tuple(x.shape)} {x.dtype}; got {came}"
        if not y.requires_grad:
            return "wanted a result that depends on x differentiably; got one without a gradient"
        (slope,) = torch.autograd.grad(y.sum(), x)
        if not (torch.isfinite(y).all() and torch.isfinite(slope).all()):
            return f"wanted finite values and gradients on [-{GRID:g}, {GRID:g}]; got others"
        if not (slope != 0).any() or (y == y.reshape(-1)[0]).all():
            return "wanted a function that varies; got a constant"
        if not torch.equal(function(x), y):
            return "wanted the same result twice; got two results"
        if not torch.equal(x.detach(), before):
            return "wanted x left as it is; got an in-place change"
    stack = _probe(3, 16, 6)
    if not torch.allclose(torch.func.vmap(function)(stack), torch.stack([function(x) for x in stack]), atol=1e-9):
        return "wanted the same result for a model alone and in a stack under vmap; got two results"
    return None


def traits(function: Function) -> dict[str, Any]:
    """Traits of a function, read off in float64 on a grid: column [points, 1] of [-10, 10], and a random batch.

    `pointwise`: no output changes when another element does. `parity`: odd, even or neither. `monotone`: never falls,
    or never rises. `bounded`: grows by less than 5 % of its range beyond half of the grid. `oscillations`: how often
    the slope changes its sign.
    """
    grid = torch.linspace(-GRID, GRID, 2001, dtype=torch.float64)[:, None]
    y, mirrored = function(grid)[:, 0], function(-grid)[:, 0]
    size = y.abs().max()
    slope = torch.diff(y)
    signs = torch.sign(slope[slope.abs() > 1e-9 * size])
    half = y[500:1501]
    parity = "neither"
    if torch.allclose(y, -mirrored, atol=1e-9 * float(size), rtol=0):
        parity = "odd"
    elif torch.allclose(y, mirrored, atol=1e-9 * float(size), rtol=0):
        parity = "even"
    return {
        "pointwise": _is_pointwise(function),
        "parity": parity,
        "monotone": bool((signs >= 0).all() or (signs <= 0).all()),
        "bounded": bool(y.max() - y.min() < 1.05 * (half.max() - half.min())),
        "oscillations": int((signs[1:] != signs[:-1]).sum()),
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


class _Count(TorchDispatchMode):
    """Adds up the weights of what runs under it. Sums and means cost one FLOP an input element."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name not in FREE:
            tensors = [t for t in (*args, result) if isinstance(t, torch.Tensor)]
            self.flops += WEIGHTS.get(name, 1.0) * max((t.numel() for t in tensors), default=0)
        return result


def flops_an_element(function: Function) -> float:
    """FLOPs of one forward pass an element of x, by the documented `WEIGHTS`, on a [64, 64] batch."""
    x = _probe(64, 64)
    with _Count() as count, torch.no_grad():
        function(x)
    return count.flops / x.numel()


@cache
def _references() -> tuple[float, float]:
    relu, gelu = (compile_program(check(program_source(name))) for name in ("relu", "gelu"))
    return flops_an_element(relu), flops_an_element(gelu)


def _fingerprint(function: Function) -> str:
    """Hash of the values on a grid and on a random batch, to seven digits of their size."""
    digest = hashlib.sha256()
    for x in (torch.linspace(-6, 6, 97, dtype=torch.float64)[:, None], _probe(16, 6)):
        y = function(x)
        scale = 10.0 ** torch.floor(torch.log10(y.abs().max()))
        digest.update((torch.round(y / scale, decimals=7) + 0.0).numpy().tobytes() + str(float(scale)).encode())
    return digest.hexdigest()
