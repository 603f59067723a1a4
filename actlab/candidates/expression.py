"""An expression of x as the text of a candidate program, and the expressions that sliders write (ours)."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from actlab.activations import zoo as activations
from actlab.candidates.language import ALLOWED, BUILTINS, PAIRS, Refused


@dataclass(frozen=True)
class Form:
    """The settings of sliders: base(x) + amplitude exp(-decay x^2) sin(frequency x) + slope x [ours]."""

    base: str = "gelu"  # a name in the zoo
    constants: Mapping[str, float] = field(default_factory=dict)  # of the base, where they differ from its own
    amplitude: float = 0.0  # of the wave; 0 leaves it out
    frequency: float = 2.0  # of the wave, radians a unit of x
    decay: float = 0.0  # how fast the wave fades; 0: not at all
    slope: float = 0.0  # of a line; 0 leaves it out


def expression_of(form: Form) -> str:
    """A form as an expression that `source_of` reads, such as `gelu(x) + 0.1*sin(2*x)`; numbers have six digits."""
    constants = "".join(f", {name}={value:g}" for name, value in form.constants.items())
    terms = [f"{form.base.replace('-', '_')}(x{constants})"]
    if form.amplitude:
        fading = f"*exp(-{form.decay:g}*x*x)" if form.decay else ""
        terms.append(f"{form.amplitude:g}*sin({form.frequency:g}*x){fading}")
    if form.slope:
        terms.append(f"{form.slope:g}*x")
    return " + ".join(terms)


def source_of(text: str) -> str:
    """The candidate program of an expression of x; other text is returned as it is. Nothing is run.

    An expression may name torch's functions without `torch.`, and the zoo's with their constants, such as
    `0.5*snake(x, frequency=2) + tanh(x)`; the zoo's are written out. Definitions may stand before or behind it, by
    semicolons or on lines of their own: `x*g; g = sigmoid(2*x)`. It is read as the zoo's formulas are printed, which is
    numpy's way: `maximum(0, x)`, `sqrt(2/pi)`, `roll(x, 1, axis=-1)`, and `std` and `var` of the population.

    Raises:
        Refused: where a function of the zoo is called with other than one argument and its constants as numbers.
    """
    try:
        body = ast.parse(text.strip()).body
        results = [node for node in body if isinstance(node, ast.Expr)]
        if len(results) != 1 or not all(isinstance(node, ast.Expr | ast.Assign) for node in body):
            return text
        zoo = _Homes(body)
        lines = [ast.unparse(zoo.visit(node)) for node in body if isinstance(node, ast.Assign)]
        lines.append(f"return {ast.unparse(zoo.visit(results[0].value))}")
    except (SyntaxError, RecursionError, MemoryError):  # not Python, or deeper than the language allows
        return text
    if zoo.whole is not None:
        return zoo.whole
    helpers = [ast.unparse(node) for node in zoo.helpers.values()]
    return "\n\n".join([*helpers, "\n    ".join(["def activation(x):", *lines])]) + "\n"


_OVER_AXES = {"sum": "sum", "max": "amax", "min": "amin"}  # torch's for Python's, where an axis is named
_HOMES = ("torch", "F", "torch.fft", "torch.special")


class _Homes(ast.NodeTransformer):
    """Puts `torch.` or `F.` before bare names, lifts definitions from the zoo, and says in torch what numpy allows."""

    def __init__(self, body: list[ast.stmt]) -> None:
        self.helpers: dict[str, ast.stmt] = {}  # by name, each before its callers
        self.whole: str | None = None  # the program, where the expression is nothing but a function of the zoo
        self._body, self._lifted = body[0].value if len(body) == 1 else None, {}
        nodes = [node for part in body for node in ast.walk(part)]
        stored = {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
        self._known = {*stored, *(n.arg for n in nodes if isinstance(n, ast.arg)), *BUILTINS}
        self._numbers = {"pi", "e", "inf"} - self._known  # names of numbers, as far as they were read

    def visit_Assign(self, node: ast.Assign) -> ast.stmt:
        if self._is_number(node.value):
            self._numbers |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return node if node.id in self._known else _at_home(node.id, _HOMES)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        of_torch = name or ast.unparse(node.func).removeprefix("torch.")
        named = {keyword.arg for keyword in node.keywords}
        if name in _OVER_AXES and named & {"axis", "dim"}:
            node.func = _at_home(_OVER_AXES[name], _HOMES)
        if name in self._known:
            return self.generic_visit(node)
        if (found := activations.known(name)) and (named or name not in ALLOWED["torch"]):
            return self._of_the_zoo(found, node)
        numbers = [self._is_number(argument) for argument in node.args]
        if name in ALLOWED["math"] and numbers and all(numbers):
            node.func = _at_home(name, ("math",))
        elif of_torch in PAIRS and not named:
            node.args = [_filled(a) if number else a for a, number in zip(node.args, numbers, strict=True)]
        elif of_torch == "where" and numbers[1:] == [True, True]:
            node.args[1] = _filled(node.args[1])
        elif name in ("roll", "flip"):
            node.keywords = [ast.keyword("dims" if k.arg == "axis" else k.arg, k.value) for k in node.keywords]
        elif name in ("std", "var") and not named & {"correction", "unbiased"}:
            node.keywords.append(ast.keyword("correction", ast.Constant(0)))
        return self.generic_visit(node)

    def _of_the_zoo(self, entry: activations.Activation, node: ast.Call) -> ast.expr:
        name = entry.name.replace("-", "_")
        source = activations.program_source(entry.name, **_constants(name, entry, node))
        (argument,) = node.args
        if node is self._body and isinstance(argument, ast.Name) and argument.id == "x":
            self.whole = source
        return ast.Call(ast.Name(self._lift(name, source), ast.Load()), [self.visit(argument)], [])

    def _is_number(self, node: ast.expr) -> bool:
        """Whether an expression is a Python number, as far as can be read off it."""
        match node:
            case ast.Constant(value=value):
                return isinstance(value, int | float)
            case ast.Name(id=name):
                return name in self._numbers
            case ast.UnaryOp(operand=inner):
                return self._is_number(inner)
            case ast.BinOp(left=left, right=right):
                return self._is_number(left) and self._is_number(right)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                is_free = name not in self._known or name in BUILTINS
                return is_free and name in ALLOWED["math"] | {"abs"} and all(map(self._is_number, args))
            case ast.Subscript(value=ast.Attribute(attr="shape")):
                return True
        return False

    def _lift(self, name: str, source: str) -> str:
        """The name of a program's function among the helpers: the zoo's, or with a number where it is there."""
        if source not in self._lifted:
            *private, function = ast.parse(source).body
            count = sum(taken.partition("_no_")[0] == name for taken in self._lifted.values())
            function.name = self._lifted[source] = name if count == 0 else f"{name}_no_{count + 1}"
            self.helpers |= {node.name: node for node in (*private, function)}
        return self._lifted[source]


def _constants(name: str, entry: activations.Activation, call: ast.Call) -> dict[str, float]:
    """The constants in a call of the zoo.

    Raises:
        Refused: where there is not one argument, a constant is no number, or the function does not have it.
    """
    if len(call.args) != 1 or isinstance(call.args[0], ast.Starred):
        raise Refused(f"{len(call.args)} arguments of {name}", call.lineno, f"write {name}(x), constants by name")
    try:
        return entry.settle({keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords})
    except (ValueError, TypeError) as error:
        wanted = ", ".join(entry.constants) or "none"
        raise Refused(f"the constants of {name}", call.lineno, f"write numbers by name; it has {wanted}") from error


def _at_home(name: str, homes: Iterable[str]) -> ast.expr:
    """A name behind the first of some modules which has it; alone where none has."""
    home = next((home for home in homes if name in ALLOWED[home]), None)
    return ast.parse(name if home is None else f"{home}.{name}", mode="eval").body


def _filled(number: ast.expr) -> ast.expr:
    """A number as a tensor of the shape and dtype of x."""
    return ast.Call(ast.parse("torch.full_like", mode="eval").body, [ast.Name("x", ast.Load()), number], [])
