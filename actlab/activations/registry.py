"""The registry of activations: what is known of each, and each as a function, a module or a candidate program.

`zoo` fills it, and shows all that is public here under its own name.
"""

import ast
import difflib
import functools
import inspect
import math
import numbers
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

FIDELITIES = ("exact", "completed", "reconstructed")
KINDS = ("hand-made", "paper")


@dataclass(frozen=True)
class Activation:
    """One entry of the registry."""

    name: str  # key in `REGISTRY`, with hyphens
    label: str  # in figures and tables
    function: Callable[..., torch.Tensor]  # x `[batch, ..., features]` of one model -> the same shape and dtype
    latex: str  # the formula in the part of LaTeX that matplotlib also reads, without dollar signs
    formula: str  # as text that Python reads: the result; then definitions in order, by semicolons
    source: str  # of the formula
    fidelity: str  # "exact", "completed" (a few constants are ours) or "reconstructed" (much is ours)
    kind: str  # "hand-made" or "paper"
    pointwise: bool  # whether an element of the result depends on that element of x alone
    note: str  # what the paper leaves open and how it is settled here; "" where it leaves nothing open

    @property
    def constants(self) -> dict[str, float]:
        """The keyword constants of the function with their defaults, in order."""
        _, *parameters = inspect.signature(self.function).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters}

    def settle(self, constants: dict[str, float]) -> dict[str, float]:
        """All constants as floats: those given, and defaults for the rest.

        Raises:
            ValueError: a constant that the function does not have, or one that is not a finite number.
        """
        settled = self.constants
        for key, value in constants.items():
            if key not in settled:
                raise ValueError(f"{self.name}: wanted constants among [{', '.join(settled)}], got {key!r}")
            if not isinstance(value, numbers.Real) or not math.isfinite(value):
                raise ValueError(f"{self.name}: wanted a finite number for {key}, got {value!r}")
            settled[key] = float(value)
        return settled


REGISTRY: dict[str, Activation] = {}


def register(label, latex, formula, source, kind="hand-made", fidelity="exact", pointwise=True, note=""):
    """Decorator that enters a function into `REGISTRY` under its own name, with hyphens for underscores.

    Functions are written in the language of candidates (torch, math and F; no branch on tensor values, nothing in
    place), so that `program_source` can lift them. x is `[batch, ..., features]` of ONE model; `torch.func.vmap` adds
    the axis of models. Arguments are the fields of `Activation`.

    Raises:
        ValueError: a kind or a fidelity that is not one of those named above.
    """
    if kind not in KINDS or fidelity not in FIDELITIES:
        raise ValueError(f"wanted one of {KINDS} and one of {FIDELITIES}, got {kind!r} and {fidelity!r}")

    def enter(function):
        name = function.__name__.replace("_", "-")
        REGISTRY[name] = Activation(name, label, function, latex, formula, source, fidelity, kind, pointwise, note)
        return function

    return enter


def names(kind: str | None = None, pointwise: bool | None = None) -> list[str]:
    """Names in the registry's order, of one kind and of pointwise or coupled functions alone where asked for.

    Raises:
        ValueError: a kind that is neither "hand-made" nor "paper".
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"wanted kind in {KINDS}, got {kind!r}")
    entries = (entry for entry in REGISTRY.values() if kind is None or entry.kind == kind)
    return [entry.name for entry in entries if pointwise is None or entry.pointwise == pointwise]


def _entry(name: str) -> Activation:
    """The registry's entry, or a ValueError that names what there is, the closest name first."""
    if name not in REGISTRY:
        closest = difflib.get_close_matches(str(name), REGISTRY, n=len(REGISTRY), cutoff=0.0)
        raise ValueError(f"wanted an activation among {', '.join(closest)}; got {name!r}")
    return REGISTRY[name]


class ActivationModule(nn.Module):
    """A function of the registry as a module; its constants are set at construction and shown by its repr.

    Raises:
        ValueError: a constant that the function does not have, or one that is not a finite number.
    """

    activation: Activation

    def __init__(self, **constants: float) -> None:
        super().__init__()
        self.constants = self.activation.settle(constants)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The function of x `[batch, ..., features]`, of the same shape and dtype."""
        return self.activation.function(x, **self.constants)

    def extra_repr(self) -> str:
        """The constants, as in a call."""
        return ", ".join(f"{key}={value}" for key, value in self.constants.items())


@functools.cache
def get(name: str) -> type[ActivationModule]:
    """The module class of a function: `get("gelu-sine")(amplitude=0.2)` is a module.

    Raises:
        ValueError: a name that is not in the registry.
    """
    entry = _entry(name)
    # Pickle looks for the class in the zoo, whose import fills the registry.
    body = {"activation": entry, "__doc__": entry.function.__doc__, "__module__": f"{__package__}.zoo"}
    return type(_class_name(name), (ActivationModule,), body)


def _class_name(name: str) -> str:
    return name.title().replace("-", "")  # GeluSine for gelu-sine


def __getattr__(attribute: str) -> type[ActivationModule]:
    """The module classes by their class names, here and in `zoo`."""
    for name in REGISTRY:
        if _class_name(name) == attribute:
            return get(name)
    raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")


def program_source(name: str, **constants: float) -> str:
    """A function as a candidate program: its private helpers, then `activation(x)` that begins with its constants.

    It is lifted from the module that defines the function; `constants` are those that differ from the defaults.

    Raises:
        ValueError: an unknown name or constant, or a constant that is not a finite number.
    """
    entry = _entry(name)
    settled, definitions = entry.settle(constants), _definitions(entry.function.__module__)
    target = ast.parse(ast.unparse(definitions[entry.function.__name__])).body[0]
    target.name, target.decorator_list = "activation", []
    target.args.args, target.args.defaults = target.args.args[:1], []
    target.body[:0] = [ast.parse(f"{key} = {value!r}").body[0] for key, value in settled.items()]
    return "\n\n".join(ast.unparse(node) for node in [*_helpers(target, definitions), target]) + "\n"


@functools.cache
def _definitions(module: str) -> dict[str, ast.FunctionDef]:
    """A module's top-level functions as syntax trees, without docstrings and annotations."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in functions.values():
        node.returns = None
        node.body = node.body[ast.get_docstring(node) is not None :]
        for argument in node.args.args:
            argument.annotation = None
    return functions


def _helpers(target: ast.FunctionDef, definitions: dict[str, ast.FunctionDef]) -> list[ast.FunctionDef]:
    """The private functions that a function calls, and those that they call, each before its callers."""
    found: dict[str, ast.FunctionDef] = {}
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and node.id.startswith("_") and node.id in definitions:
            helper = definitions[node.id]
            found |= {inner.name: inner for inner in _helpers(helper, definitions)} | {helper.name: helper}
    return list(found.values())
