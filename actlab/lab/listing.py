"""Functions as lists of operations, plain data that can be checked and compiled (ours).

`listed` gives the value and the slope of a pointwise function (`actlab.lab.operations`), `listed_with_sums` the value
and the derivative of one that sees its batch (`actlab.lab.batch_statistics`). Both follow the operations that autograd
runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import fx
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from actlab.lab.batch_statistics import PARTS, ROLLS, SUMS, checked_lists
from actlab.lab.operations import MOST, TABLE, TRUTH, Unlisted
from actlab.lab.tracing import CUBIC, SLOPE, Function, joint


def listed(
    function: Callable[..., torch.Tensor], shapes: Iterable[tuple[int, int]], dtype: torch.dtype, constants: int = 0
) -> list[Any]:
    """Value and slope of a pointwise function as a list of operations, and its partial derivatives by constants.

    Args:
        function: of one model's [batch, features], and of its constants.
        shapes: of what it is given; its list is to be the same for all.
        dtype: of what it is given.
        constants: how many it has that are learned.

    Raises:
        Unlisted: where it looks across elements, hangs on the shape, or has an operation that the table lacks.
    """
    first, *others = (torch.zeros(1, *shape, dtype=dtype) for shape in shapes)
    both = _listed(joint(function, first, _simpler(), constants), first, constants)
    for other in others:
        *value, _ = _listed(_forward(function, other, constants), other, constants)
        if value != both[: len(value)]:
            raise Unlisted("wanted the same operations whatever the number of points")
    return both


def listed_with_sums(function: Function, shapes: Sequence[tuple[int, int]], dtype: torch.dtype) -> dict[str, list[Any]]:
    """A function that sees its batch as `actlab.lab.batch_statistics` has it; the arguments are those of `listed`.

    Args:
        function: of one model's [batch, features].
        shapes: of a batch in training, and of all points; one where a batch has them all.
        dtype: of what it is given.

    Raises:
        Unlisted: where it has an operation that the table lacks, or the shapes are not such.
    """
    shapes = [*shapes] * 2 if len(shapes) == 1 else shapes
    if len(shapes) != 2 or shapes[1][0] % shapes[0][0] or shapes[0][1] != shapes[1][1]:
        raise Unlisted(f"wanted sums over batches of one lab that make up all points; got the shapes {shapes}")
    found = {}
    for part, shape in zip(PARTS, shapes, strict=True):
        like = torch.zeros(1, *shape, dtype=dtype)
        found[part] = _listed(joint(function, like, _simpler()), like, 0, _StepsWithSums)
    return checked_lists(found)


def _forward(function: Callable[..., torch.Tensor], like: torch.Tensor, constants: int) -> fx.GraphModule:
    """The first part of `tracing.joint`'s graph."""
    mapped = torch.func.vmap(function)

    def value(d: torch.Tensor, *given: torch.Tensor) -> tuple[torch.Tensor]:
        with torch.enable_grad():
            return (mapped(*(tensor.detach().requires_grad_() for tensor in given)),)

    return make_fx(value, decomposition_table=_simpler())(
        torch.ones_like(like), *(like.clone() for _ in range(1 + constants))
    )


def _listed(module: fx.GraphModule, like: torch.Tensor, constants: int, kind: type[_Steps] | None = None) -> list[Any]:
    steps = (kind or _Steps)(like, constants)
    for node in module.graph.nodes:
        steps.take(node)
    return steps.made


@cache
def _simpler() -> dict[Any, Callable[..., Any]]:
    """Torch's own decompositions into core operations, but for GELU's, whose tanh is slow, and for rolls."""
    kept = ("gelu", "roll")
    return {op: to for op, to in core_aten_decompositions().items() if not any(name in str(op) for name in kept)}


_SAME = ("alias", "detach", "expand", "view", "unsqueeze", "squeeze", "_unsafe_view", "_reshape_alias")  # as a tensor
_COPIES = ("clone", "lift_fresh_copy", "lift_fresh", "_to_copy")
_FILLED = {"full": 1, "full_like": 1, "new_full": 2, "scalar_tensor": 0, "fill": 1}  # by which argument
_FILLED_WITH = {"zeros_like": 0.0, "ones_like": 1.0, "new_zeros": 0.0, "new_ones": 1.0, "zeros": 0.0, "ones": 1.0,
                "_efficientzerotensor": 0.0, "empty_permuted": 0.0, "empty_like": 0.0}  # fmt: skip
_NAMES = {"sgn": "sign", "round": "rint"} | {
    f"{kind}_{name}": name for kind in ("logical", "bitwise") for name in ("and", "or", "xor", "not")
}
_OF_TRUTHS = {"mul": "and", "add": "or"}
_SUMS = ("sum", "mean", "var")

Ref = int | float | bool


class _Steps:
    """Operations of a graph, one by one, as the list of `actlab.lab.operations`."""

    def __init__(self, like: torch.Tensor, constants: int) -> None:
        self.like, self.made = like, []
        self._kinds = ["n"] * (1 + constants)
        self._same: dict[fx.Node, fx.Node] = {}  # a node to the first that has the same memory
        self._refs: dict[fx.Node, Ref] = {}  # of those first ones

    def take(self, node: fx.Node) -> None:
        """Adds what a node of the graph does.

        Raises:
            Unlisted: where that is not in the table.
        """
        if node.op == "placeholder":
            self._refs[node] = self._input(len(self._refs))
        elif node.op == "output":
            self.made += [self._held(self.number(self._of(result))) for result in node.args[0]]
        elif node.op == "get_attr":
            self._refs[node] = _single(getattr(node.graph.owning_module, node.target))
        else:
            self._call(node)

    def _input(self, place: int) -> Ref:
        """What a placeholder stands for; d, which comes first, is 1, so that the gradient is the slope."""
        return place - 1 if place else 1.0

    def _call(self, node: fx.Node) -> None:
        if not isinstance(node.target, torch._ops.OpOverload):
            raise Unlisted(f"{node.target} is not in the table")
        full = node.target._schema.name.split("::")[1]
        name, made = full.removesuffix("_"), node.meta["val"]
        if not isinstance(made, torch.Tensor):
            raise Unlisted(f"{name} is not in the table")
        if made.numel() > 1 and not (self._has_axes(made.shape) and self._fits(made.dtype)):
            raise Unlisted(
                f"{name} makes {made.dtype} of {tuple(made.shape[1:])}, where x is {tuple(self.like.shape[1:])}"
            )
        if full in _SAME:
            self._same[node] = self._first(node.args[0])
            return
        ref = self._made(name, node, made.dtype == torch.bool)
        if full.endswith("_"):  # into its first argument's memory
            self._same[node] = self._first(node.args[0])
        self._refs[self._first(node)] = ref

    def _has_axes(self, shape: torch.Size) -> bool:
        return shape == self.like.shape

    def _fits(self, dtype: torch.dtype) -> bool:
        return dtype in (self.like.dtype, torch.bool, torch.int64)

    def _first(self, node: fx.Node) -> fx.Node:
        return self._same.get(node, node)

    def _of(self, argument: Any) -> Ref:
        if isinstance(argument, fx.Node):
            return self._refs[self._first(argument)]
        if isinstance(argument, bool | int | float):
            return argument if isinstance(argument, bool) else float(argument)
        raise Unlisted(f"wanted numbers; got {argument!r}")

    def add(self, name: str, *arguments: Ref) -> int:
        """A step of the table; its arguments are made what the table wants."""
        if name not in TABLE:
            raise Unlisted(f"{name} is not in the table")
        operation = TABLE[name]
        if len(arguments) != len(operation.arguments):
            raise Unlisted(f"{name} with {len(arguments)} arguments is not in the table")
        turned = [
            self.truth(ref) if kind == TRUTH else self.number(ref)
            for ref, kind in zip(arguments, operation.arguments, strict=True)
        ]
        if len(self.made) == MOST:
            raise Unlisted(f"wanted at most {MOST} steps; got more")
        self.made.append([name, *turned])
        self._kinds.append(operation.result)
        return len(self._kinds) - 1

    def _is_truth(self, ref: Ref) -> bool:
        return ref is True or ref is False or (type(ref) is int and self._kinds[ref] == TRUTH)

    def number(self, ref: Ref) -> int | float:
        """The number that something stands for, 1 or 0 for a truth."""
        if isinstance(ref, bool):
            return float(ref)
        if isinstance(ref, float) and not math.isfinite(ref):  # which no list may have
            return self.add("div", 0.0 if math.isnan(ref) else math.copysign(1.0, ref), 0.0)
        return self.add("number", ref) if self._is_truth(ref) else ref

    def truth(self, ref: Ref) -> int:
        """Whether it is not 0."""
        return ref if type(ref) is int and self._is_truth(ref) else self.add("truth", self.number(ref))

    def _held(self, ref: int | float) -> int:
        """A constant as a step."""
        return self.add("add", ref, 0.0) if isinstance(ref, float) else ref

    def _made(self, name: str, node: fx.Node, truth: bool) -> Ref:
        """What an operation makes; `truth`: whether torch makes a bool of it."""
        if name in _FILLED:
            return self._of(node.args[_FILLED[name]])
        if name in _FILLED_WITH:
            return _FILLED_WITH[name]
        if name == "gelu_backward" or name == "gelu":
            return self._gelu(name, node)
        if any(isinstance(argument, list | tuple) for argument in node.args) or name in _SUMS:  # axes
            return self._summed(name, node)
        args = [None if argument is None else self._of(argument) for argument in node.args]
        if name in _COPIES or name == "copy":
            return self.truth(args[-1]) if truth else self.number(args[-1])
        return self._arithmetic(name, args, node.kwargs, truth)

    def _summed(self, name: str, node: fx.Node) -> Ref:
        raise Unlisted(f"{name} is not in the table")

    def _arithmetic(self, name: str, args: list[Any], kwargs: Mapping[str, Any], truth: bool) -> Ref:
        match name, args:
            case (("add" | "sub" | "rsub"), [a, b, *alpha]):
                a, b, name = (b, a, "sub") if name == "rsub" else (a, b, name)
                if (factor := kwargs.get("alpha", *alpha or [1])) != 1:  # of what torch adds or takes away
                    b = self.add("mul", b, self._of(factor))
                return self.add(_OF_TRUTHS[name] if truth else name, a, b)
            case "mul", [a, b] if truth:
                return self.add("and", a, b)
            case ("mul", [float(one), a] | [a, float(one)]) if one == 1:
                return self.number(a)
            case "div", [a, b] if (rounding := kwargs.get("rounding_mode")) is not None:
                return self.add(rounding, self.add("div", a, b))
        return self._function(name, args, kwargs, truth)

    def _function(self, name: str, args: list[Any], kwargs: Mapping[str, Any], truth: bool) -> Ref:
        match name, args:
            case "reciprocal", [a]:
                return self.add("div", 1.0, a)
            case "rsqrt", [a]:
                return self.add("div", 1.0, self.add("sqrt", a))
            case "sigmoid", [a]:
                return self._sigmoid(a)
            case "relu", [a]:
                return self.add("maximum", a, 0.0)
            case "leaky_relu", [a, *slope]:
                return self.add("where", self.add("gt", a, 0.0), a, self.add("mul", a, *(slope or [0.01])))
            case "elu", [a, *rest]:
                alpha, scale, inner = [*rest, 1.0, 1.0, 1.0][:3] if len(rest) < 3 else rest
                low = self.add("mul", self.add("expm1", self.add("mul", a, inner)), alpha * scale)
                return self.add("where", self.add("gt", a, 0.0), self.add("mul", a, scale), low)
            case "hardtanh", [a, *ends]:
                low, high = ends or (-1.0, 1.0)
                return self.add("minimum", self.add("maximum", a, low), high)
            case (("clamp" | "clamp_min" | "clamp_max"), [a, *ends]):
                low, high = (None, *ends) if name == "clamp_max" else (*ends, None, None)[:2]
                low = kwargs.get("min", low)
                high = kwargs.get("max", high)
                a = a if low is None else self.add("maximum", a, low)
                return a if high is None else self.add("minimum", a, high)
            case (("hardshrink_backward" | "softshrink_backward"), [d, a, at]):
                inside = self.add("le", self.add("abs", a), at)
                return self.add("where", inside, 0.0, d)
            case "pow", [a, b]:
                return self._power(a, b)
            case "remainder", [a, b]:
                rest = self.add("fmod", a, b)
                other_sign = self.add("ne", self.add("lt", rest, 0.0), self.add("lt", b, 0.0))
                wrong = self.add("and", self.add("ne", rest, 0.0), other_sign)
                return self.add("where", wrong, self.add("add", rest, b), rest)
            case (("fmax" | "fmin"), [a, b]):
                better = self.add("maximum" if name == "fmax" else "minimum", a, b)
                return self.add("where", self.add("isnan", a), b, self.add("where", self.add("isnan", b), a, better))
            case "where", [c, a, b] if truth:
                c, a, b = map(self.truth, (c, a, b))
                return self.add("or", self.add("and", c, a), self.add("and", self.add("not", c), b))
        return self.add(_NAMES.get(name, name), *args)

    def _sigmoid(self, a: Ref) -> int:
        return self.add("div", 1.0, self.add("add", self.add("exp", self.add("neg", a)), 1.0))

    def _power(self, a: Ref, b: Ref) -> int | float:
        match b:
            case float() if b == 0:
                return 1.0
            case float() if b in (1, 2, 3):
                made = self.number(a)
                for _ in range(int(b) - 1):
                    made = self.add("mul", made, a)
                return made
            case float() if b == 4:
                square = self.add("mul", a, a)
                return self.add("mul", square, square)
            case float() if abs(b) == 0.5:
                root = self.add("sqrt", a)
                return root if b > 0 else self.add("div", 1.0, root)
            case float() if b in (-1, -2):
                return self.add("div", 1.0, a if b == -1 else self.add("mul", a, a))
        return self.add("pow", a, b)

    def _gelu(self, name: str, node: fx.Node) -> int:
        """GELU or its derivative times d; the tanh form as in `_gelu`."""
        *d, x = map(self._of, node.args[:2] if name == "gelu_backward" else node.args[:1])
        if node.kwargs.get("approximate", "none") == "tanh":
            square = self.add("mul", x, x)
            gate = self._sigmoid(self.add("mul", self.add("add", self.add("mul", square, CUBIC), SLOPE), x))
            value = self.add("mul", x, gate)
            if not d:
                return value
            inner = self.add("add", self.add("mul", square, 3 * CUBIC), SLOPE)
            rest = self.add("mul", self.add("mul", value, self.add("sub", 1.0, gate)), inner)
            return self.add("mul", *d, self.add("add", gate, rest))
        both = self.add("add", self.add("erf", self.add("mul", x, math.sqrt(0.5))), 1.0)
        normal = self.add("mul", both, 0.5)
        if not d:
            return self.add("mul", x, normal)
        density = self.add("exp", self.add("mul", self.add("mul", x, x), -0.5))
        rest = self.add("mul", self.add("mul", x, density), 1 / math.sqrt(2 * math.pi))
        return self.add("mul", *d, self.add("add", normal, rest))


class _StepsWithSums(_Steps):
    """The same as the lists of `actlab.lab.batch_statistics`: d is an input, and there are sums."""

    def __init__(self, like: torch.Tensor, constants: int) -> None:
        super().__init__(like, constants)
        self._kinds = ["n", "n"]
        self._along = {0: {"c", "r"}, 1: {"c", "r"}}  # the axes along which a step varies

    def _input(self, place: int) -> Ref:
        return 1 - place  # d comes first

    def add(self, name: str, *arguments: Ref) -> int:
        if name in SUMS or name in ROLLS:
            self.made.append([name, *map(self.number, arguments)])
            self._kinds.append("n")
            self._along[place := len(self._kinds) - 1] = set(SUMS.get(name, "cr"))
        else:
            place = super().add(name, *arguments)
            steps = [argument for argument in self.made[-1][1:] if type(argument) is int]
            self._along[place] = set().union(*(self._along[step] for step in steps))
        return place

    def _has_axes(self, shape: torch.Size) -> bool:
        rows, columns = self.like.shape[1:]
        return shape in ((1, rows, columns), (1, 1, columns), (1, columns), (1, rows, 1), (1, rows))

    def _call(self, node: fx.Node) -> None:
        target = node.target
        if isinstance(target, torch._ops.OpOverload) and target._schema.name == "aten::select":
            if node.args[0].meta["val"].numel() > 1:
                raise Unlisted("select of more than one number is not in the table")
            self._same[node] = self._first(node.args[0])
            return
        super()._call(node)
        # As many rows as columns: a shape alone does not tell along which of them a sum varies.
        made, ref = node.meta["val"], self._of(node)
        along = self._along[ref] if type(ref) is int else set()
        if made.shape != self.like.shape and made.numel() > 1:
            asked = [{"c"}, {"r"}] if made.ndim == 2 else [{"c"} if made.shape[1] == 1 else {"r"}]
            if not any(along <= axis for axis in asked):
                raise Unlisted(f"{target} on sums along different axes is not in the table")

    def _summed(self, name: str, node: fx.Node) -> Ref:
        """A sum, a mean or a variance over axes, or a roll."""
        source = node.args[0].meta["val"]
        if name == "roll":
            return self._rolled(source, *node.args)
        if name not in _SUMS:
            return super()._summed(name, node)
        given = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        asked = range(source.ndim) if given is None or given == [] else given
        axes = {axis % source.ndim for axis in asked}
        axes = {axis for axis in axes if source.shape[axis] > 1}
        ref = self.number(self._of(node.args[0]))
        if axes and source.shape != self.like.shape:
            raise Unlisted(f"{name} over what was summed before is not in the table")
        kind = {frozenset((1, 2)): "sum", frozenset((1,)): "sum_rows", frozenset((2,)): "sum_columns"}
        count = float(math.prod(source.shape[axis] for axis in axes))

        def mean(of: Ref, divisor: float) -> Ref:
            total = self.add(kind[frozenset(axes)], of) if axes else of
            return total if divisor == 1 else self.add("div", total, divisor)

        if name == "sum":
            return mean(ref, 1.0)
        if name == "mean":
            return mean(ref, count)
        correction = node.kwargs.get("correction")
        distance = self.add("sub", ref, mean(ref, count))
        return mean(self.add("mul", distance, distance), count - (1.0 if correction is None else float(correction)))

    def _rolled(self, source: torch.Tensor, of: fx.Node, shifts: Sequence[int], axes: Sequence[int] = ()) -> Ref:
        """A tensor of all elements, rolled around one axis after another."""
        if source.shape != self.like.shape:
            raise Unlisted("a roll of what was summed is not in the table")
        ref = self.number(self._of(of))
        for shift, axis in zip(shifts, axes, strict=True):
            name = ("models", "rows", "columns")[axis % source.ndim]
            along = self._along[ref] if type(ref) is int else set()
            if name[0] not in along:  # it is the same all along that axis
                continue
            if len(along) < 2:
                raise Unlisted("a roll of what was summed is not in the table")
            ref = self.add(f"roll_{name}", ref, float(shift))
        return ref


def _single(tensor: torch.Tensor) -> float | bool:
    """The number that a constant tensor is."""
    if tensor.numel() != 1 or tensor.is_complex():
        raise Unlisted(f"wanted single numbers for constants; got a tensor {tuple(tensor.shape)}")
    return tensor.item() if tensor.dtype == torch.bool else float(tensor.item())
