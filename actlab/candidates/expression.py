"""An expression of x as the text of a candidate program, and the expressions that sliders write (ours)."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from actlab.activations import zoo as activations
from actlab.candidates.language import ALLOWED, BUILTINS, Refused


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
    `0.5*snake(x, frequency=2) + tanh(x)`; the zoo's are written out.

    Raises:
        Refused: where a function of the zoo is called with other than one argument and its constants as numbers.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text
    zoo = _Homes(tree)
    try:
        result = ast.unparse(zoo.visit(tree.body))
    except RecursionError:  # deeper than the language allows
        return text
    if zoo.whole is not None:
        return zoo.whole
    helpers = [ast.unparse(node) for node in zoo.helpers.values()]
    return "\n\n".join([*helpers, f"def activation(x):\n    return {result}"]) + "\n"


class _Homes(ast.NodeTransformer):
    """Puts `torch.` or `F.` before bare names, and lifts definitions from the zoo."""

    def __init__(self, tree: ast.Expression) -> None:
        self.helpers: dict[str, ast.stmt] = {}  # by name, each before its callers
        self.whole: str | None = None  # the program, where the expression is nothing but a function of the zoo
        self._body, self._lifted = tree.body, {}
        nodes = list(ast.walk(tree))
        stored = {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
        self._known = {*stored, *(n.arg for n in nodes if isinstance(n, ast.arg)), *BUILTINS}

    def visit_Name(self, node: ast.Name) -> ast.expr:
        home = next((home for home in ("torch", "F") if node.id in ALLOWED[home]), None)
        if home is None or node.id in self._known:
            return node
        return ast.Attribute(ast.Name(home, ast.Load()), node.id, ast.Load())

    def visit_Call(self, node: ast.Call) -> ast.expr:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        in_torch = name in ALLOWED["torch"] and not node.keywords
        if name in self._known or in_torch or name.replace("_", "-") not in activations.REGISTRY:
            return self.generic_visit(node)
        source = activations.program_source(name.replace("_", "-"), **_constants(name, node))
        (argument,) = node.args
        if node is self._body and isinstance(argument, ast.Name) and argument.id == "x":
            self.whole = source
        return ast.Call(ast.Name(self._lift(name, source), ast.Load()), [self.visit(argument)], [])

    def _lift(self, name: str, source: str) -> str:
        """The name of a program's function among the helpers: the zoo's, or with a number where it is there."""
        if source not in self._lifted:
            *private, function = ast.parse(source).body
            count = sum(taken.partition("_no_")[0] == name for taken in self._lifted.values())
            function.name = self._lifted[source] = name if count == 0 else f"{name}_no_{count + 1}"
            self.helpers |= {node.name: node for node in (*private, function)}
        return self._lifted[source]


def _constants(name: str, call: ast.Call) -> dict[str, float]:
    """The constants in a call of the zoo.

    Raises:
        Refused: where there is not one argument, a constant is no number, or the function does not have it.
    """
    if len(call.args) != 1 or isinstance(call.args[0], ast.Starred):
        raise Refused(f"{len(call.args)} arguments of {name}", call.lineno, f"write {name}(x), constants by name")
    entry = activations.REGISTRY[name.replace("_", "-")]
    try:
        return entry.settle({keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords})
    except (ValueError, TypeError) as error:
        wanted = ", ".join(entry.constants) or "none"
        raise Refused(f"the constants of {name}", call.lineno, f"write numbers by name; it has {wanted}") from error
