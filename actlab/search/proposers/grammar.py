"""The offline proposer: typed mutation and crossover of candidates' syntax trees.

All of it is [ours]: the paper (section 3) asks a language model instead. The search starts from ReLU alone.
The primitives below are what a researcher has at hand; none is GELU, Swish or another function of the paper:
those have to be found. Nothing is run here: source goes in, source comes out.
"""

from __future__ import annotations

import ast
import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from actlab.search.proposers import Ask, Brief, Parent, Proposal
from actlab.search.proposers.syntax import SWAPPABLE, activation, called, number, sites, size

T = TypeVar("T")

# A, B, C: expressions; K: a constant of either sign; P: an exponent in [1, 3]. Each with its weight.
PRIMITIVES = {
    "A + B": 3, "A - B": 2, "A * B": 3, "K * A": 2, "A + K": 2, "-A": 1, "A ** 2": 1, "A ** 3": 1,
    "A / (1 + torch.abs(B))": 1, "A / (1 + B ** 2)": 1, "(1 + torch.abs(A)) ** K": 1, "torch.abs(A) ** P": 1,
    "torch.exp(-A ** 2)": 1, "torch.exp(-torch.abs(A))": 1, "torch.exp(torch.clamp(A, -4.0, 4.0))": 1,
    "torch.log1p(torch.abs(A))": 1, "torch.sqrt(1 + A ** 2)": 1, "torch.tanh(A)": 1, "torch.sigmoid(A)": 1,
    "torch.erf(A)": 1, "torch.sin(A)": 1, "torch.cos(A)": 1, "torch.sinc(A)": 1, "F.softplus(A)": 1,
    "torch.abs(A)": 1, "torch.sign(A) * B": 1, "torch.clamp(A, min=K)": 1, "torch.clamp(A, max=K)": 1,
    "torch.maximum(A, B)": 1, "torch.minimum(A, B)": 1, "torch.where(A > K, B, C)": 1,
    "torch.where(A < B, A, C)": 1,
}  # fmt: skip
# Moments over the batch, and over the whole tensor; population variances, safe where the variance is 0.
STATISTICS = {
    "A - B.mean(dim=0, keepdim=True)": 1, "A - B.mean()": 1,
    "A / torch.sqrt(torch.var(B, dim=0, correction=0, keepdim=True) + 1e-06)": 1,
    "A / torch.sqrt(torch.var(B, correction=0) + 1e-06)": 1,
    "A * torch.sqrt(torch.var(B, dim=0, correction=0, keepdim=True) + 1e-06)": 1,
    "A * torch.sigmoid(B.mean(dim=0, keepdim=True))": 1,
    "torch.where(A > B.mean(dim=0, keepdim=True), A, C)": 1,
}  # fmt: skip
OPERATORS = {
    "replace": 3, "insert": 5, "delete": 2, "swap": 2, "perturb": 3, "refit": 2, "crossover": 3,
}  # fmt: skip
AGAIN = 0.3  # chance of a second operator on the same child
ATTEMPTS = 200  # at a child that is new and small enough
AUTHOR = "grammar"


@dataclass(frozen=True)
class Grammar:
    """Proposes programs by seeded changes of their parents' syntax trees.

    Args:
        batch_statistics: whether moments across the tensor are among the primitives.
        max_nodes: greatest size of a program, in operations and leaves, where no parent is larger.
        max_depth: greatest nesting of an expression, likewise.
    """

    batch_statistics: bool = False
    max_nodes: int = 60
    max_depth: int = 12

    @property
    def name(self) -> str:
        """The proposer and its settings."""
        return repr(self)

    def propose(self, brief: Brief, generator: np.random.Generator) -> list[Proposal]:
        """Programs, each a change of its ask's parent, different from one another and from all that was shown.

        An expression may be crossed over from the ask's inspirations, or, where it has none, from the parents of its
        island's asks.

        Raises:
            ValueError: where a parent defines no `activation`.
        """
        shown = [program for ask in brief.asks for program in (ask.parent, *ask.inspirations)]
        taken = {ast.unparse(ast.parse(source)) for source in {program.source: None for program in shown}}
        table = PRIMITIVES | STATISTICS if self.batch_statistics and not brief.pointwise else PRIMITIVES
        made = []
        for ask in brief.asks:
            neighbours = [other.parent for other in brief.asks if other.island == ask.island]
            made.append(self._child(ask, ask.inspirations or neighbours, table, taken, generator))
        return made

    def _child(
        self,
        ask: Ask,
        partners: Sequence[Parent],
        table: Mapping[str, float],
        taken: set[str],
        rng: np.random.Generator,
    ) -> Proposal:
        parent = ask.parent
        original = ast.parse(parent.source)
        nodes, depth = size(original)
        for _ in range(ATTEMPTS):
            tree, partner = copy.deepcopy(original), _pick(partners, rng)
            operators = [_draw(OPERATORS, rng) for _ in range(1 + int(rng.random() < AGAIN))]
            if not all(self._apply(name, tree, parent, partner, table, rng) for name in operators):
                continue
            source, (new_nodes, new_depth) = ast.unparse(tree), size(tree)
            fits = new_nodes <= max(nodes, self.max_nodes) and new_depth <= max(depth, self.max_depth)
            if fits and source not in taken:
                taken.add(source)
                ids = (parent.id, partner.id) if "crossover" in operators else (parent.id,)
                return Proposal(source, ids, "+".join(operators), AUTHOR)
        return Proposal("", (parent.id,), "none", AUTHOR, failure=f"nothing new in {ATTEMPTS} attempts")

    def _apply(
        self,
        name: str,
        tree: ast.Module,
        parent: Parent,
        partner: Parent,
        table: Mapping[str, float],
        rng: np.random.Generator,
    ) -> bool:
        """Changes the tree in place; False where the operator finds nothing to change."""
        function = activation(tree)
        if name == "refit":
            return refit(tree, parent, rng)
        if name == "perturb":
            return perturb(function, rng)
        if name == "crossover":
            return crossover(function, activation(ast.parse(partner.source)), rng)
        if name == "delete":
            return delete(function, rng)
        if name == "swap":
            return swap(function, rng)
        grower = _Grower(table, _variable(function), rng)
        site = _pick([site for site in sites(function) if site.is_open], rng)
        given = {"A": site.node} if name == "insert" else {}
        site.put(grower.primitive(1, given) if name == "insert" else grower.expression(2))
        return True


@dataclass(frozen=True)
class RandomSampling:
    """Writes whole programs from scratch, by the grammar's own tables; what was found before plays no part.

    The control of a search: whatever the search does better, it owes to selection.

    Args:
        batch_statistics: whether moments across the tensor are among the primitives.
        max_nodes: greatest size of a program, in operations and leaves.
        max_depth: greatest nesting of an expression.
        deepest: each program has its number of primitives within one another drawn from 1 to this.
    """

    batch_statistics: bool = False
    max_nodes: int = 60
    max_depth: int = 12
    deepest: int = 5

    @property
    def name(self) -> str:
        """The proposer and its settings."""
        return repr(self)

    def propose(self, brief: Brief, generator: np.random.Generator) -> list[Proposal]:
        """Programs without parents, different from one another."""
        table = PRIMITIVES | STATISTICS if self.batch_statistics and not brief.pointwise else PRIMITIVES
        grower, taken, made = _Grower(table, "x", generator), set(), []
        for _ in brief.asks:
            for _ in range(ATTEMPTS):
                tree = ast.parse("def activation(x):\n    return x")
                activation(tree).body[-1].value = grower.primitive(int(generator.integers(self.deepest)))
                source, (nodes, depth) = ast.unparse(tree), size(tree)
                if nodes <= self.max_nodes and depth <= self.max_depth and source not in taken:
                    taken.add(source)
                    made.append(Proposal(source, (), "sample", "random sampling"))
                    break
            else:
                failure = f"nothing new in {ATTEMPTS} attempts"
                made.append(Proposal("", (), "none", "random sampling", failure=failure))
        return made


@dataclass(frozen=True)
class _Grower:
    """Draws expressions of x's shape."""

    table: Mapping[str, float]
    variable: str
    rng: np.random.Generator

    def expression(self, depth: int) -> ast.expr:
        """A leaf or a primitive, at most `depth` primitives deep."""
        if depth > 0 and self.rng.random() < 0.7:
            return self.primitive(depth - 1)
        leaf = ast.Name(self.variable, ast.Load())
        return ast.BinOp(self.constant(), ast.Mult(), leaf) if self.rng.random() < 0.3 else leaf

    def primitive(self, depth: int, given: Mapping[str, ast.expr] | None = None) -> ast.expr:
        """A primitive, its letters replaced by what is given, by expressions of `depth` and by constants."""
        tree = ast.parse(_draw(self.table, self.rng), mode="eval")
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        made = dict(given or {})
        for letter in sorted(names & set("ABC") - made.keys()):
            made[letter] = self.expression(depth)
        made |= {"K": self.constant(), "P": number(self.rng.uniform(1, 3))}
        return _Substitution(made).visit(tree).body

    def constant(self) -> ast.expr:
        """Log-normal about 1, a quarter of them negative."""
        return number(math.exp(self.rng.standard_normal()) * (-1 if self.rng.random() < 0.25 else 1))


class _Substitution(ast.NodeTransformer):
    def __init__(self, made: Mapping[str, ast.expr]) -> None:
        self.made = made

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return copy.deepcopy(self.made.get(node.id, node))


def perturb(function: ast.FunctionDef, rng: np.random.Generator) -> bool:
    """Multiplies one constant or several by log-normal factors; one in ten changes its sign, where it may."""
    constants = [site for site in sites(function) if site.is_constant]
    if not constants:
        return False
    first = rng.integers(len(constants))
    for i, site in enumerate(constants):
        if i == first or rng.random() < 1 / len(constants):
            factor = math.exp(0.3 * rng.standard_normal()) * (-1 if rng.random() < 0.1 else 1)
            site.put_value(factor * site.value if site.value else 0.1 * rng.standard_normal())
    return True


def refit(tree: ast.Module, parent: Parent, rng: np.random.Generator) -> bool:
    """A step of a line search along what a program changed in its own parent, where that was constants alone.

    If the change raised the fitness, a further step the same way; else a shorter one, or one the other way.
    """
    if parent.origin is None:
        return False
    origin = ast.parse(parent.origin.source)
    now = [site for site in sites(activation(tree)) if site.is_constant]
    old = [site.value for site in sites(activation(origin)) if site.is_constant]
    steps = [site.value - value for site, value in zip(now, old, strict=False)]
    if not any(steps) or _without_constants(tree) != _without_constants(origin):
        return False
    improved = parent.fitness > parent.origin.fitness
    length = 1 + math.exp(0.5 * rng.standard_normal()) if improved else rng.uniform(-1, 0.5)
    for site, value, step in zip(now, old, steps, strict=True):
        if step:
            site.put_value(value + length * step)
    return True


def _without_constants(tree: ast.Module) -> str:
    bare = copy.deepcopy(tree)
    for site in sites(activation(bare)):
        if site.is_constant:
            site.put(number(1.0))
    return ast.unparse(bare)


def delete(function: ast.FunctionDef, rng: np.random.Generator) -> bool:
    """Puts one of its own parts in the place of an expression."""
    found, pairs = sites(function), []
    for site in found:
        if site.is_open:
            inside = {id(node) for node in ast.walk(site.node) if node is not site.node}
            pairs += [(site, part.node) for part in found if part.is_tensor and id(part.node) in inside]
    if not pairs:
        return False
    site, part = _pick(pairs, rng)
    site.put(part)
    return True


def swap(function: ast.FunctionDef, rng: np.random.Generator) -> bool:
    """Puts another operator, comparison or function of the same type in the place of one."""
    changes = []
    for site in sites(function):
        node = site.node
        if isinstance(node, ast.Compare):
            changes += [(node.ops, 0, new()) for new in (ast.Gt, ast.Lt) if not isinstance(node.ops[0], new)]
        if site.guarded:
            continue
        arithmetic = (ast.Add, ast.Sub, ast.Mult)
        if isinstance(node, ast.BinOp) and isinstance(node.op, arithmetic):
            changes += [(vars(node), "op", new()) for new in arithmetic if not isinstance(node.op, new)]
        for family in (SWAPPABLE, {"maximum", "minimum"}):
            if called(node) in family:
                changes += [(vars(node), "func", _function(new)) for new in sorted(family - {called(node)})]
    if not changes:
        return False
    holder, place, new = _pick(changes, rng)
    holder[place] = new
    return True


def _function(name: str) -> ast.expr:
    module = ast.Name("F" if name == "softplus" else "torch", ast.Load())
    return ast.Attribute(module, name, ast.Load())


def crossover(function: ast.FunctionDef, donor: ast.FunctionDef, rng: np.random.Generator) -> bool:
    """Puts an expression of the donor, one that needs its argument alone, in the place of one's own."""
    known = {_variable(donor), "torch", "F", "math"}
    parts = []
    for site in sites(donor):
        names = {node.id for node in ast.walk(site.node) if isinstance(node, ast.Name)}
        if site.is_tensor and names <= known and not isinstance(site.node, ast.Name):
            parts.append(site.node)
    if not parts:
        return False
    renamed = {_variable(donor): ast.Name(_variable(function), ast.Load())}
    part = _Substitution(renamed).visit(copy.deepcopy(_pick(parts, rng)))
    _pick([site for site in sites(function) if site.is_open], rng).put(part)
    return True


def _variable(function: ast.FunctionDef) -> str:
    return function.args.args[0].arg


def _pick(options: Sequence[T], rng: np.random.Generator) -> T:
    return options[rng.integers(len(options))]


def _draw(weights: Mapping[str, float], rng: np.random.Generator) -> str:
    return list(weights)[rng.choice(len(weights), p=_normalised(weights.values()))]


def _normalised(weights: Iterable[float]) -> np.ndarray:
    array = np.array(list(weights), dtype=float)
    return array / array.sum()
