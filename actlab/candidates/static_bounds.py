"""Bounds of whole numbers and of lengths that a candidate program's syntax tree shows, without running it (ours)."""

from __future__ import annotations

import ast
import math
from typing import Any

MAX_BITS = 63  # of an integer that is computed
MAX_CHAIN = 30  # names that stand for one another


class Bounds:
    """Bounds of whole numbers and of lengths, read off a program; None where they depend on more than constants.

    A name may hold whatever is bound to it anywhere in the program, so its bounds are the hull of all bindings.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.bindings: dict[str, list[tuple[str, ast.expr | None]]] = {}  # how ("is" or "in") and what
        self.known: dict[tuple[str, str], Any] = {}
        self.calls: dict[str, list[ast.Call]] = {}
        self.chain = 0
        nodes = list(ast.walk(tree))
        functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
        called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
        # names used other than in a call
        self.values = {n.id for n in nodes if isinstance(n, ast.Name) and id(n) not in called and _is_load(n)}
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                self.calls.setdefault(node.func.id, []).append(node)
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    self._bind(target, "is", node.value)
            elif isinstance(node, ast.For | ast.comprehension):
                self._bind(node.target, "in", node.iter)
            elif isinstance(node, ast.Lambda):
                for argument in ast.walk(node.args):
                    if isinstance(argument, ast.arg):
                        self._note(argument.arg, "is", None)
        for node in functions:
            self._note(node.name, "is", None)
        for node in functions:
            self._bind_arguments(node)

    def _note(self, name: str, how: str, what: ast.expr | None) -> None:
        self.bindings.setdefault(name, []).append((how, what))

    def _bind(self, target: ast.expr, how: str, value: ast.expr | None) -> None:
        if isinstance(target, ast.Name):
            self._note(target.id, how, value)
        elif isinstance(target, ast.Tuple | ast.List):
            parts: list[tuple[str, ast.expr | None]] = [("is", None)] * len(target.elts)
            if how == "is" and isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts):
                parts = [("is", part) for part in value.elts]
            elif how == "in" and is_call(value, "zip") and len(value.args) == len(target.elts):
                parts = [("in", part) for part in value.args]
            elif how == "in" and is_call(value, "enumerate") and len(value.args) == 1 and not value.keywords:
                length = ast.Call(ast.Name("len", ast.Load()), value.args, [])
                parts[0] = "in", ast.Call(ast.Name("range", ast.Load()), [length], [])
            for part, (kind, what) in zip(target.elts, parts, strict=True):
                self._bind(part, kind, what if not isinstance(what, ast.Starred) else None)

    def _bind_arguments(self, node: ast.FunctionDef) -> None:
        """Binds a function's arguments to their defaults and to what its calls give, where it is only called."""
        names = [argument.arg for argument in node.args.args]
        given: dict[str, list[ast.expr]] = {argument.arg: [] for argument in [*node.args.args, *node.args.kwonlyargs]}
        for name, default in zip(names[len(names) - len(node.args.defaults) :], node.args.defaults, strict=True):
            given[name].append(default)
        for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
            given[argument.arg] += [default] if default else []
        plain = node.name not in self.values and len(self.bindings[node.name]) == 1
        for call in self.calls.get(node.name, []):
            plain = plain and not any(isinstance(value, ast.Starred) for value in call.args)
            for name, value in zip(names, call.args, strict=False):
                given[name].append(value)
            for keyword in call.keywords:
                if keyword.arg in given:
                    given[keyword.arg].append(keyword.value)
        for name, values in given.items():
            for value in values if plain and values else [None]:
                self._note(name, "is", value)

    def interval(self, node: ast.expr | None) -> tuple[int, int] | None:
        """The least and the greatest whole number that an expression may be."""
        found = None
        if isinstance(node, ast.Constant) and type(node.value) is int:
            found = node.value, node.value
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            inner = self.interval(node.operand)
            found = inner and (-inner[1], -inner[0])
        elif isinstance(node, ast.BinOp):
            left, right = self.interval(node.left), self.interval(node.right)
            found = left and right and _combined(node.op, left, right)
        elif is_call(node, "len") and len(node.args) == 1:
            length = self.count(node.args[0])
            found = None if length is None else (0, length)
        elif isinstance(node, ast.Name):
            found = self._of_name("interval", node.id)
        return found if found and max(map(abs, found)).bit_length() <= MAX_BITS else None

    def count(self, node: ast.expr | None) -> int | None:
        """The greatest number of items that an expression may have."""
        if isinstance(node, ast.Tuple | ast.List):
            parts = [self.count(n.value) if isinstance(n, ast.Starred) else 1 for n in node.elts]
            return None if None in parts else sum(parts)
        if isinstance(node, ast.ListComp | ast.GeneratorExp):
            parts = [self.count(generator.iter) for generator in node.generators]
            return None if None in parts else min(math.prod(parts), 2**MAX_BITS)
        if isinstance(node, ast.Name):
            return self._of_name("count", node.id)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            return self.count(node.value)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            parts = [self.count(node.left), self.count(node.right)]
            return None if None in parts else sum(parts)
        if is_call(node, "range") and 1 <= len(node.args) <= 3 and not node.keywords:
            return _length([self.interval(argument) for argument in node.args])
        if is_call(node, "enumerate", "reversed", "list", "tuple", "zip") and node.args:
            parts = [self.count(argument) for argument in node.args]
            return None if None in parts else min(parts) if node.func.id == "zip" else parts[0]
        return None

    def items(self, node: ast.expr | None) -> tuple[int, int] | None:
        """The least and the greatest whole number among the items of an expression."""
        if isinstance(node, ast.Tuple | ast.List):
            return _hull([self.interval(n) for n in node.elts])
        if is_call(node, "range") and 1 <= len(node.args) <= 3 and not node.keywords:
            return _hull([(0, 0), *(self.interval(argument) for argument in node.args)])
        if is_call(node, "reversed", "list", "tuple") and node.args:
            return self.items(node.args[0])
        return self._of_name("items", node.id) if isinstance(node, ast.Name) else None

    def _of_name(self, question: str, name: str) -> Any:
        key = question, name
        if key not in self.known:
            self.known[key] = None  # what a name that is bound to itself is
            if self.chain == MAX_CHAIN:
                return None
            self.chain += 1
            found = []
            for how, what in self.bindings.get(name, [("is", None)]):
                if how == "in":
                    found.append(self.items(what) if question == "interval" else None)
                else:
                    found.append(getattr(self, question)(what))
            if question == "count":
                self.known[key] = None if None in found else max(found)
            else:
                self.known[key] = _hull(found)
            self.chain -= 1
        return self.known[key]


def _is_load(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Load)


def is_call(node: ast.expr | None, *names: str) -> bool:
    """Whether a node calls one of the functions of these names."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def _hull(intervals: list[tuple[int, int] | None]) -> tuple[int, int] | None:
    if not intervals or None in intervals:
        return None
    return min(low for low, _ in intervals), max(high for _, high in intervals)


def _combined(operator: ast.operator, left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int] | None:
    """The bounds of a + b, a - b, a * b, a // b and a ** b, at the corners of their operands' bounds."""
    pairs = [(a, b) for a in left for b in right]
    if isinstance(operator, ast.Add):
        return left[0] + right[0], left[1] + right[1]
    if isinstance(operator, ast.Sub):
        return left[0] - right[1], left[1] - right[0]
    if isinstance(operator, ast.Mult):
        return min(a * b for a, b in pairs), max(a * b for a, b in pairs)
    if isinstance(operator, ast.FloorDiv) and right[0] > 0:
        return min(a // b for a, b in pairs), max(a // b for a, b in pairs)
    if isinstance(operator, ast.Pow) and min(left[0], right[0]) >= 0 and small_power(left[1], right[1]):
        return min(a**b for a, b in pairs), max(a**b for a, b in pairs)
    return None


def small_power(base: int, exponent: int) -> bool:
    """Whether the power of two whole numbers stays below 2 ** 63; computes it only where it is not much more."""
    if (base.bit_length() - 1) * exponent > MAX_BITS:
        return False
    return exponent < 0 or (base**exponent).bit_length() <= MAX_BITS


def _length(bounds: list[tuple[int, int] | None]) -> int | None:
    """The greatest length of a range whose arguments have these bounds."""
    if None in bounds:
        return None
    if len(bounds) == 1:
        bounds = [(0, 0), *bounds]
    start, stop = bounds[:2]
    step = bounds[2] if len(bounds) == 3 else (1, 1)
    if step[0] > 0:
        return max(0, -(-(stop[1] - start[0]) // step[0]))
    if step[1] < 0:
        return max(0, -(-(start[1] - stop[0]) // -step[1]))
    return None
