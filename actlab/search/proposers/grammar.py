"""The offline proposer: typed mutation and crossover of candidates' syntax trees.

All of it is [ours]: the paper (section 3) asks a language model instead. The primitives below are common ones; none is
GELU, Swish or another function of the paper, so that a search from ReLU has to find those. No program is run here.
"""

from __future__ import annotations

import ast
import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from actlab.search.proposers import Brief, Parent, Proposal
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
OPERATORS = {"replace": 3, "insert": 5, "delete": 2, "swap": 2, "perturb": 3, "refit": 2, "crossover": 3}
ARITHMETIC = (ast.Add, ast.Sub, ast.Mult)
AGAIN = 0.3  # chance of a second operator on the same child
ATTEMPTS = 200  # at a child that is new and small enough
NOTHING = f"nothing new in {ATTEMPTS} attempts"
AUTHOR = "grammar"


@dataclass(frozen=True)
class _Sized:
    """What the proposers here share: a table of primitives, and limits on a program's size."""

    batch_statistics: bool = False  # whether moments across the tensor are among the primitives
    max_nodes: int = 60  # of a program: operations and leaves
    max_depth: int = 12  # of nested expressions

    @property
    def name(self) -> str:
        """The proposer and its settings."""
        return repr(self)

    def _table(self, brief: Brief) -> Mapping[str, float]:
        return PRIMITIVES | STATISTICS if self.batch_statistics and not brief.pointwise else PRIMITIVES

    def _taken(self, tree: ast.Module, taken: set[str], at_least: tuple[int, int] = (0, 0)) -> str | None:
        """The source of a program that is new and fits the limits, which is then taken; else None."""
        source, (nodes, depth) = ast.unparse(tree), size(tree)
        fits = nodes <= max(at_least[0], self.max_nodes) and depth <= max(at_least[1], self.max_depth)
        if not fits or source in taken:
            return None
        taken.add(source)
        return source


@dataclass(frozen=True)
class Grammar(_Sized):
    """Proposes programs by changes of their parents' syntax trees; may exceed a limit if the parent does."""

    def propose(self, brief: Brief, generator: np.random.Generator) -> list[Proposal]:
        """Programs, each a change of its ask's parent, different from one another and from all that was shown.

        An expression may be crossed over from the ask's inspirations, or, if it has none, from the parents of its
        island's asks. Raises ValueError if a parent defines no `activation`.
        """
        shown = {program.source for ask in brief.asks for program in (ask.parent, *ask.inspirations)}
        taken = {ast.unparse(ast.parse(source)) for source in shown}
        made = []
        for ask in brief.asks:
            neighbours = [other.parent for other in brief.asks if other.island == ask.island]
            made.append(self._child(ask.parent, ask.inspirations or neighbours, self._table(brief), taken, generator))
        return made

    def _child(
        self,
        parent: Parent,
        partners: Sequence[Parent],
        table: Mapping[str, float],
        taken: set[str],
        rng: np.random.Generator,
    ) -> Proposal:
        original = ast.parse(parent.source)
        for _ in range(ATTEMPTS):
            tree, partner = copy.deepcopy(original), _pick(partners, rng)
            operators = [_draw(OPERATORS, rng) for _ in range(1 + int(rng.random() < AGAIN))]
            if all(self._apply(name, tree, parent, partner, table, rng) for name in operators):
                source = self._taken(tree, taken, size(original))
                if source is not None:
                    ids = (parent.id, partner.id) if "crossover" in operators else (parent.id,)
                    return Proposal(source, ids, "+".join(operators), AUTHOR)
        return Proposal("", (parent.id,), "none", AUTHOR, failure=NOTHING)

    def _apply(
        self,
        name: str,
        tree: ast.Module,
        parent: Parent,
        partner: Parent,
        table: Mapping[str, float],
        rng: np.random.Generator,
    ) -> bool:
        """Changes the tree in place; False if the operator finds nothing to change."""
        function = activation(tree)
        match name:
            case "refit":
                return refit(tree, parent, rng)
            case "crossover":
                return crossover(function, activation(ast.parse(partner.source)), rng)
            case "perturb" | "delete" | "swap":
                return {"perturb": perturb, "delete": delete, "swap": swap}[name](function, rng)
        grower = _Grower(table, _variable(function), rng)
        site = _pick([site for site in sites(function) if site.is_open], rng)
        site.put(grower.primitive(1, {"A": site.node}) if name == "insert" else grower.expression(2))
        return True


@dataclass(frozen=True)
class RandomSampling(_Sized):
    """Writes whole programs from scratch, by the grammar's own tables; what was found before plays no part.

    It is the control of a search, whose advantage over it is due to selection.
    """

    deepest: int = 5  # the number of nested primitives of a program is drawn from 1 to this

    def propose(self, brief: Brief, generator: np.random.Generator) -> list[Proposal]:
        """Programs without parents, different from one another."""
        grower, taken = _Grower(self._table(brief), "x", generator), set()
        return [self._sample(grower, taken) for _ in brief.asks]

    def _sample(self, grower: _Grower, taken: set[str]) -> Proposal:
        for _ in range(ATTEMPTS):
            tree = ast.parse("def activation(x):\n    return x")
            activation(tree).body[-1].value = grower.primitive(int(grower.rng.integers(self.deepest)))
            source = self._taken(tree, taken)
            if source is not None:
                return Proposal(source, (), "sample", "random sampling")
        return Proposal("", (), "none", "random sampling", failure=NOTHING)


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
    """Multiplies one constant or several by log-normal factors; one in ten changes its sign if it may."""
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
    """A step of a line search along the change of a program from its parent, if only constants were changed.

    If the change raised the fitness, it goes further the same way; else back, or the other way.
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
    """Replaces an expression by one of its own parts."""
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
    """Replaces an operator, comparison or function by another one of the same type."""
    changes = []
    for site in sites(function):
        node = site.node
        if isinstance(node, ast.Compare):
            changes += [(node.ops, 0, new()) for new in (ast.Gt, ast.Lt) if not isinstance(node.ops[0], new)]
        if site.guarded:
            continue
        if isinstance(node, ast.BinOp) and isinstance(node.op, ARITHMETIC):
            changes += [(vars(node), "op", new()) for new in ARITHMETIC if not isinstance(node.op, new)]
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
    """Replaces an expression by one of the donor that uses the donor's argument and no other variable."""
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
    shares = np.array(list(weights.values()), dtype=float)
    return list(weights)[rng.choice(len(weights), p=shares / shares.sum())]
