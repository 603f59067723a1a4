"""Bounds of whole numbers and of lengths that a candidate program's syntax tree shows, without running it (ours)."""

from __future__ import annotations

import ast
import math
from collections import defaultdict
from operator import add, floordiv, mul, sub
from typing import Any

MAX_BITS = 63  # of an integer that is computed
MAX_CHAIN = 30  # names that stand for one another

Interval = tuple[int, int]  # the least and the greatest whole number


class Bounds:
    """Bounds of whole numbers and of lengths, read off a program; None where they depend on more than constants.

    A name may hold whatever is bound to it anywhere in the program, so its bounds are the hull of all bindings.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.bindings: dict[str, list[tuple[str, ast.expr | None]]] = defaultdict(list)  # how ("is" or "in") and what
        self.known: dict[tuple[str, str], Any] = {}
        self.calls: dict[str, list[ast.Call]] = defaultdict(list)
        self.chain = 0
        nodes = list(ast.walk(tree))
        functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
        called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
        self.values: set[str] = set()  # names used other than in a call
        for node in nodes:
            match node:
                case ast.Name(ctx=ast.Load()) if id(node) not in called:
                    self.values.add(node.id)
                case ast.Call(func=ast.Name(id=name)):
                    self.calls[name].append(node)
                case ast.Assign():
                    for target in node.targets:
                        self._bind(target, "is", node.value)
                case ast.For() | ast.comprehension():
                    self._bind(node.target, "in", node.iter)
                case ast.Lambda():
                    for argument in ast.walk(node.args):
                        if isinstance(argument, ast.arg):
                            self.bindings[argument.arg].append(("is", None))
        for node in functions:
            self.bindings[node.name].append(("is", None))
        for node in functions:
            self._bind_arguments(node)

    def _bind(self, target: ast.expr, how: str, value: ast.expr | None) -> None:
        if isinstance(target, ast.Name):
            self.bindings[target.id].append((how, value))
        elif isinstance(target, ast.Tuple | ast.List):
            length = len(target.elts)
            parts: list[tuple[str, ast.expr | None]] = [("is", None)] * length
            match how, value:
                case "is", ast.Tuple(elts=items) | ast.List(elts=items) if len(items) == length:
                    parts = [("is", part) for part in items]
                case "in", ast.Call(func=ast.Name(id="zip"), args=items) if len(items) == length:
                    parts = [("in", part) for part in items]
                case "in", ast.Call(func=ast.Name(id="enumerate"), args=[_] as items, keywords=[]) if parts:
                    count = ast.Call(ast.Name("len", ast.Load()), items, [])
                    parts[0] = "in", ast.Call(ast.Name("range", ast.Load()), [count], [])
            for part, (kind, what) in zip(target.elts, parts, strict=True):
                self._bind(part, kind, what if not isinstance(what, ast.Starred) else None)

    def _bind_arguments(self, node: ast.FunctionDef) -> None:
        """Binds a function's arguments to their defaults and to what its calls give, where it is only called."""
        names, keyword_only = ([argument.arg for argument in n] for n in (node.args.args, node.args.kwonlyargs))
        defaults = node.args.defaults
        given: dict[str, list[ast.expr]] = {name: [] for name in (*names, *keyword_only)}
        found = [*zip(names[len(names) - len(defaults) :], defaults, strict=True)]
        found += [(name, default) for name, default in zip(keyword_only, node.args.kw_defaults, strict=True) if default]
        plain = node.name not in self.values and len(self.bindings[node.name]) == 1
        for call in self.calls.get(node.name, []):
            plain = plain and not any(isinstance(value, ast.Starred) for value in call.args)
            found += zip(names, call.args, strict=False)
            found += [(keyword.arg, keyword.value) for keyword in call.keywords if keyword.arg in given]
        for name, value in found:
            given[name].append(value)
        for name, values in given.items():
            self.bindings[name] += [("is", value) for value in (values if plain and values else [None])]

    def interval(self, node: ast.expr | None) -> Interval | None:
        """The least and the greatest whole number that an expression may be."""
        found = None
        match node:
            case ast.Constant(value=value) if type(value) is int:
                found = value, value
            case ast.UnaryOp(op=ast.USub()):
                inner = self.interval(node.operand)
                found = inner and (-inner[1], -inner[0])
            case ast.BinOp():
                left, right = self.interval(node.left), self.interval(node.right)
                found = left and right and _combined(node.op, left, right)
            case ast.Call(func=ast.Name(id="len"), args=[items]):
                length = self.count(items)
                found = None if length is None else (0, length)
            case ast.Name(id=name):
                found = self._of_name("interval", name)
        return found if found and max(map(abs, found)).bit_length() <= MAX_BITS else None

    def count(self, node: ast.expr | None) -> int | None:
        """The greatest number of items that an expression may have."""
        match node:
            case ast.Tuple() | ast.List():
                return _all_of(sum, [self.count(n.value) if isinstance(n, ast.Starred) else 1 for n in node.elts])
            case ast.ListComp() | ast.GeneratorExp():
                steps = _all_of(math.prod, [self.count(generator.iter) for generator in node.generators])
                return steps and min(steps, 2**MAX_BITS)
            case ast.Name(id=name):
                return self._of_name("count", name)
            case ast.Subscript(slice=ast.Slice()):
                return self.count(node.value)
            case ast.BinOp(op=ast.Add()):
                return _all_of(sum, [self.count(node.left), self.count(node.right)])
            case ast.Call(func=ast.Name(id="range"), args=[_] | [_, _] | [_, _, _], keywords=[]):
                return _length([self.interval(argument) for argument in node.args])
            case ast.Call(func=ast.Name(id="zip"), args=[_, *_]):
                return _all_of(min, [self.count(argument) for argument in node.args])
            case ast.Call(func=ast.Name(id="enumerate" | "reversed" | "list" | "tuple"), args=[_, *_]):
                return _all_of(max, [self.count(argument) for argument in node.args])
        return None

    def items(self, node: ast.expr | None) -> Interval | None:
        """The least and the greatest whole number among the items of an expression."""
        match node:
            case ast.Tuple() | ast.List():
                return _hull([self.interval(n) for n in node.elts])
            case ast.Call(func=ast.Name(id="range"), args=[_] | [_, _] | [_, _, _], keywords=[]):
                return _hull([(0, 0), *(self.interval(argument) for argument in node.args)])
            case ast.Call(func=ast.Name(id="reversed" | "list" | "tuple"), args=[items, *_]):
                return self.items(items)
            case ast.Name(id=name):
                return self._of_name("items", name)
        return None

    def _of_name(self, question: str, name: str) -> Any:
        """The answer of `interval`, `count` or `items` for all that is bound to a name."""
        key = question, name
        if key not in self.known:
            self.known[key] = None  # for a name that is bound to itself
            if self.chain == MAX_CHAIN:
                return None
            self.chain += 1
            found = []
            for how, what in self.bindings.get(name, [("is", None)]):
                if how == "is":
                    found.append(getattr(self, question)(what))
                else:
                    found.append(self.items(what) if question == "interval" else None)
            self.known[key] = _all_of(max, found) if question == "count" else _hull(found)
            self.chain -= 1
        return self.known[key]


def _all_of(function: Any, values: list[int | None]) -> int | None:
    return None if None in values else function(values)


def _hull(intervals: list[Interval | None]) -> Interval | None:
    if not intervals or None in intervals:
        return None
    return min(low for low, _ in intervals), max(high for _, high in intervals)


_OPERATORS = {ast.Add: add, ast.Sub: sub, ast.Mult: mul, ast.FloorDiv: floordiv, ast.Pow: pow}


def _combined(operator: ast.operator, left: Interval, right: Interval) -> Interval | None:
    """The bounds of a + b, a - b, a * b, a // b and a ** b, at the corners of their operands' bounds."""
    unknown = type(operator) not in _OPERATORS or (isinstance(operator, ast.FloorDiv) and right[0] <= 0)
    if isinstance(operator, ast.Pow):
        unknown = min(left[0], right[0]) < 0 or not small_power(left[1], right[1])
    corners = [] if unknown else [_OPERATORS[type(operator)](a, b) for a in left for b in right]
    return None if unknown else (min(corners), max(corners))


def small_power(base: int, exponent: int) -> bool:
    """Whether the power of two whole numbers stays below 2 ** 63; computes it only where it is not much more."""
    if (base.bit_length() - 1) * exponent > MAX_BITS:
        return False
    return exponent < 0 or (base**exponent).bit_length() <= MAX_BITS


def _length(bounds: list[Interval | None]) -> int | None:
    """The greatest length of a range whose arguments have these bounds."""
    if None in bounds:
        return None
    if len(bounds) == 1:
        bounds = [(0, 0), *bounds]
    start, stop, step = (*bounds, (1, 1))[:3]
    if step[0] > 0:
        return max(0, -(-(stop[1] - start[0]) // step[0]))
    if step[1] < 0:
        return max(0, -(-(start[1] - stop[0]) // -step[1]))
    return None
