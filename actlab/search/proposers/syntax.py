"""Reads candidates' syntax trees for the grammar: where expressions stand and what may replace them (ours).

Two conventions keep changed programs finite. An integer is structure (`1 + torch.abs(A)`, `A ** 2`, `dim=0`) and stays;
a float is a constant and may change. An expression inside a function that may overflow (in a denominator, a root, an
exponential) is guarded, that is, left as it is, except inside a square or a bounded function.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from actlab.candidates.language import words

BOUNDED = words("tanh sigmoid erf sin cos sinc sign softsign clamp hardtanh")
SWAPPABLE = words("tanh sigmoid erf sin cos sinc abs relu softplus")
GROWING = words("exp expm1 exp2 log log2 log10 log1p sqrt rsqrt reciprocal pow asin acos atanh")
SPREAD = words("var std")
REDUCING = SPREAD | words("mean sum amax amin")
ELEMENTWISE = BOUNDED | SWAPPABLE | GROWING | words("where maximum minimum square atan sinh cosh tan detach")
ELEMENTWISE |= words("elu selu silu gelu mish leaky_relu floor ceil round")


class Kind(IntEnum):
    """What an expression holds; of several operands, the greatest kind is the result's."""

    NUMBER = 0  # does not depend on x
    STATISTIC = 1  # depends on x, but need not have its shape
    OPAQUE = 2  # depends on x in a way not followed here, such as a helper's result
    FULL = 3  # depends on x and has its shape


@dataclass(frozen=True)
class Site:
    """A place where an expression stands: the field of a node, or an item of it."""

    holder: ast.AST
    field: str
    index: int | None
    kind: Kind
    guarded: bool

    @property
    def node(self) -> ast.expr:
        """The expression at this place."""
        value = getattr(self.holder, self.field)
        return value if self.index is None else value[self.index]

    def put(self, node: ast.expr) -> None:
        """Puts another expression there."""
        if self.index is None:
            setattr(self.holder, self.field, node)
        else:
            getattr(self.holder, self.field)[self.index] = node

    @property
    def is_tensor(self) -> bool:
        """Whether numbers of x's shape stand there, no truth values."""
        return self.kind == Kind.FULL and not isinstance(self.node, ast.Compare | ast.BoolOp)

    @property
    def is_open(self) -> bool:
        """Whether any other expression of x's shape may stand there instead."""
        return self.is_tensor and not self.guarded

    @property
    def is_constant(self) -> bool:
        """Whether this place holds a float that may change; one below 1e-4 only guards a division."""
        return _is_float(self.node) and not 0 < abs(self.value) < 1e-4

    @property
    def value(self) -> float:
        """The float at this place."""
        node = self.node
        return -node.operand.value if isinstance(node, ast.UnaryOp) else node.value

    def put_value(self, value: float) -> None:
        """Puts a float there, within the limits of the place: guarded ones keep their sign, exponents are small."""
        low, high = 1e-3, 10.0 if self.guarded else 1e3
        if self.field == "right" and isinstance(self.holder.op, ast.Pow):
            # abs(A) ** p has a finite slope at 0 for p >= 1 alone
            low, high = (1.0 if isinstance(self.holder.left, ast.Call) else 0.1), 4.0
        sign = self.value if self.guarded and self.value else value
        self.put(number(math.copysign(min(max(abs(value), low), high), sign)))


def number(value: float) -> ast.expr:
    """The expression of a constant, to 4 significant digits."""
    literal = ast.Constant(abs(float(f"{value:.4g}")))
    return ast.UnaryOp(ast.USub(), literal) if value < 0 else literal


def _is_float(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and isinstance(node.value, float)


def activation(tree: ast.Module) -> ast.FunctionDef:
    """The function `activation` of a parsed program; raises ValueError if it defines none."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "activation":
            return node
    raise ValueError(f"wanted a program that defines activation(x); got {ast.unparse(tree)!r}")


def size(tree: ast.AST) -> tuple[int, int]:
    """Operations and leaves in a program, and their deepest nesting; names of functions do not count."""
    parts, own = [size(child) for child in _children(tree)], int(isinstance(tree, ast.expr))
    return own + sum(nodes for nodes, _ in parts), own + max((depth for _, depth in parts), default=0)


def _children(node: ast.AST) -> list[ast.AST]:
    """The parts of a node; of what a call calls, only the tensor whose method it is."""
    children = [child for child in ast.iter_child_nodes(node) if child is not getattr(node, "func", None)]
    receiver = _receiver(node.func) if isinstance(node, ast.Call) else None
    return children if receiver is None else [*children, receiver]


def sites(function: ast.FunctionDef) -> list[Site]:
    """All places of expressions in a function's own assignments and returns, outer ones first."""
    return list(_statement_sites(function.body, {function.args.args[0].arg: Kind.FULL}))


def _statement_sites(body: list[ast.stmt], kinds: dict[str, Kind]) -> Iterator[Site]:
    """As `sites`; notes in `kinds` what each assigned name holds."""
    for statement in body:
        if isinstance(statement, ast.Return) and statement.value is not None:
            yield Site(statement, "value", None, Kind.FULL, False)  # by the contract, whatever it looks like
            yield from list(_expression_sites(statement, "value", None, False, kinds))[1:]
        elif isinstance(statement, ast.Assign):
            yield from _expression_sites(statement, "value", None, False, kinds)
            truth = isinstance(statement.value, ast.Compare | ast.BoolOp)
            kind = Kind.OPAQUE if truth else kind_of(statement.value, kinds)
            for target in statement.targets:
                names = [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]
                kinds |= dict.fromkeys(names, kind if isinstance(target, ast.Name) else Kind.OPAQUE)
        elif isinstance(statement, ast.For | ast.If):
            yield from _statement_sites(statement.body + statement.orelse, kinds)


def _expression_sites(
    holder: ast.AST, field: str, index: int | None, guarded: bool, kinds: dict[str, Kind]
) -> Iterator[Site]:
    node = Site(holder, field, index, Kind.NUMBER, guarded).node
    yield Site(holder, field, index, kind_of(node, kinds), guarded)
    for child, name, position, inner in _operands(node, guarded):
        yield from _expression_sites(child, name, position, inner, kinds)


def _operands(node: ast.expr, guarded: bool) -> Iterator[tuple[ast.AST, str, int | None, bool]]:
    """The place of each operand of an expression, and whether it is guarded; none for a form not followed here."""
    match node:
        case ast.BinOp(op=op, right=right):
            power = isinstance(op, ast.Pow)
            exponent = right.value if isinstance(right, ast.Constant) else None
            fractional = power and not isinstance(exponent, int)
            yield node, "left", None, fractional or (guarded and not (power and exponent == 2))
            yield node, "right", None, guarded or power or isinstance(op, ast.Div | ast.FloorDiv | ast.Mod)
        case ast.UnaryOp() if not _is_float(node):
            yield node, "operand", None, guarded
        case ast.Compare():
            yield node, "left", None, False
            yield from ((node, "comparators", i, False) for i in range(len(node.comparators)))
        case ast.Tuple():
            yield from ((node, "elts", i, guarded) for i in range(len(node.elts)))
        case ast.Call():
            name = _callee(node.func)
            inner = name in GROWING or (guarded and name not in BOUNDED | SWAPPABLE | SPREAD)
            if _receiver(node.func) is not None:
                yield node.func, "value", None, inner
            yield from ((node, "args", i, inner or (name == "clamp" and i > 0)) for i in range(len(node.args)))
            yield from ((keyword, "value", None, True) for keyword in node.keywords)


def kind_of(node: ast.expr, kinds: dict[str, Kind]) -> Kind:
    """What an expression holds, given what the names in it hold."""
    if isinstance(node, ast.Name):
        return kinds.get(node.id, Kind.NUMBER)
    if isinstance(node, ast.BinOp | ast.UnaryOp | ast.Compare | ast.Call):
        parts = [part.value if isinstance(part, ast.keyword) else part for part in _children(node)]
        operands = [kind_of(part, kinds) for part in parts if isinstance(part, ast.expr)]
        kind = max(operands, default=Kind.NUMBER)
        if not isinstance(node, ast.Call) or kind == Kind.NUMBER or _callee(node.func) in ELEMENTWISE:
            return kind
        return Kind.STATISTIC if _callee(node.func) in REDUCING else Kind.OPAQUE
    names = [kinds.get(part.id, Kind.NUMBER) for part in ast.walk(node) if isinstance(part, ast.Name)]
    return Kind.OPAQUE if max(names, default=Kind.NUMBER) > Kind.NUMBER else Kind.NUMBER


def _receiver(func: ast.expr) -> ast.expr | None:
    """The tensor whose method is called; None for a function of a module, and for a helper."""
    if not isinstance(func, ast.Attribute):
        return None
    root = func.value
    while isinstance(root, ast.Attribute):
        root = root.value
    return None if isinstance(root, ast.Name) and root.id in ("torch", "F", "math") else func.value


def _callee(func: ast.expr) -> str:
    """The name of a torch function or method; empty for a helper, lest its name be taken for torch's."""
    return func.attr if isinstance(func, ast.Attribute) else ""


def called(node: ast.expr) -> str:
    """The name of the torch function that an expression calls; empty for all else, even a method."""
    return _callee(node.func) if isinstance(node, ast.Call) and _receiver(node.func) is None else ""
