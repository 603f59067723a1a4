"""The registry of activations: what is known of each, and each as a function, a module or a candidate program.

`zoo` fills it, and shows all that is public here under its own name.
"""

import ast
import difflib
import functools
import inspect
import math
import numbers
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import torch
from torch import nn

FIDELITIES = ("exact", "completed", "reconstructed")
KINDS = ("hand-made", "paper")


class Limit(NamedTuple):
    """Which values of a constant make sense."""

    words: str  # what is wanted, and why
    low: float = -math.inf
    high: float = math.inf
    zero: bool = True  # whether 0 does

    def holds(self, value: float) -> bool:
        """Whether a value makes sense."""
        return self.low <= value <= self.high and (self.zero or value != 0)


DIVISOR = Limit("a number other than 0, by which it divides", zero=False)
ABOVE_0 = Limit("a number above 0, or it may divide by 0", low=0.0, zero=False)
AT_LEAST_0 = Limit("a number from 0, or it leaves the domain of a root or logarithm", low=0.0)
SHARE = Limit("a share from 0 to 1", low=0.0, high=1.0)


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
    limits: Mapping[str, Limit] = field(default_factory=dict, hash=False)  # of constants

    @property
    def constants(self) -> dict[str, float]:
        """The keyword constants of the function with their defaults, in order."""
        _, *parameters = inspect.signature(self.function).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters}

    @functools.cached_property
    def module(self) -> type["ActivationModule"]:
        """Its module class, under the name of the figures: GELUSine. Pickle finds it in the zoo, under that name."""
        title = "".join(word[0].upper() + word[1:] for word in re.findall(r"\w+", self.label))
        body = {"activation": self, "__doc__": self.function.__doc__, "__module__": f"{__package__}.zoo"}
        return type(title or "Unnamed", (ActivationModule,), body)

    @property
    def spellings(self) -> list[str]:
        """The name, the label, and the paper's name where the docstring begins with one, as `_plain` writes them."""
        full, colon, _ = (self.function.__doc__ or "").partition(": ")
        return [plain for text in (self.name, self.label, full if colon else "") if (plain := _plain(text))]

    def settle(self, constants: dict[str, float]) -> dict[str, float]:
        """All constants as floats: those given, and defaults for the rest.

        Raises:
            ValueError: a constant that the function does not have, one that is not a finite number, or one with which
                the function is not a number.
        """
        settled = self.constants
        for key, value in constants.items():
            if key not in settled:
                raise ValueError(f"{self.name}: wanted constants among [{', '.join(settled)}], got {key!r}")
            if not isinstance(value, numbers.Real) or not math.isfinite(value):
                raise ValueError(f"{self.name}: wanted a finite number for {key}, got {value!r}")
            if key in self.limits and not self.limits[key].holds(value):
                raise ValueError(f"{self.name}: wanted {self.limits[key].words}, for {key}; got {value!r}")
            settled[key] = float(value)
        return settled


Function = TypeVar("Function", bound=Callable[..., torch.Tensor])
REGISTRY: dict[str, Activation] = {}


def register(
    label: str,
    latex: str,
    formula: str,
    source: str,
    kind: str = "hand-made",
    fidelity: str = "exact",
    pointwise: bool = True,
    note: str = "",
    limits: Mapping[str, Limit] | None = None,
) -> Callable[[Function], Function]:
    """Decorator that enters a function into `REGISTRY` under its own name, with hyphens for underscores.

    Functions are written in the language of candidates (torch, math and F; no branch on tensor values, nothing in
    place), so that `program_source` can lift them. x is `[batch, ..., features]` of ONE model; `torch.func.vmap` adds
    the axis of models. Arguments are the fields of `Activation`. A function of the same name takes the place of the
    one before. One that is not pointwise is given no tensor without axes, and no empty one, which is its own result.

    Raises:
        ValueError: a kind or a fidelity that is not one of those named above; a label that another function has; a
            constant that a torch module has an attribute of.
    """
    if kind not in KINDS or fidelity not in FIDELITIES:
        raise ValueError(f"wanted one of {KINDS} and one of {FIDELITIES}, got {kind!r} and {fidelity!r}")

    def enter(function: Function) -> Function:
        name = function.__name__.replace("_", "-")
        guarded = function if pointwise else _with_axes(function, name)
        about = latex, formula, source, fidelity, kind, pointwise, note, limits or {}
        entry = Activation(name, label, guarded, *about)
        for other in REGISTRY.values():
            if other.name != name and {_plain(name), _plain(label)} & {*other.spellings}:
                raise ValueError(f"{name}: wanted a name and a label of its own; {other.name} has that of {label!r}")
        if taken := {*entry.constants} & _TAKEN:
            raise ValueError(f"{name}: wanted constants that no attribute of a module is called; got {min(taken)!r}")
        REGISTRY[name] = entry
        return guarded

    return enter


def _with_axes(function: Function, name: str) -> Function:
    """A function of whole tensors where there is a batch to see: no tensor without axes, and no empty one."""

    @functools.wraps(function)
    def guarded(x: torch.Tensor, *constants: float, **named: float) -> torch.Tensor:
        if x.dim() == 0:
            raise ValueError(f"{name}: wanted x [batch, ..., features], whose elements it sees; got one without axes")
        return function(x, *constants, **named) if x.numel() else x.clone()

    return guarded


def in_float32(function: Function) -> Function:
    """Decorator: the function computed in float32 where x is in a shorter type, which its inner steps need."""

    @functools.wraps(function)
    def wide(x: torch.Tensor, *constants: float, **named: float) -> torch.Tensor:
        return function(x.to(torch.promote_types(x.dtype, torch.float32)), *constants, **named).to(x.dtype)

    return wide


def names(kind: str | None = None, pointwise: bool | None = None) -> list[str]:
    """Names in the registry's order, of one kind and of pointwise or coupled functions alone where asked for.

    Raises:
        ValueError: a kind that is neither "hand-made" nor "paper".
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"wanted kind in {KINDS}, got {kind!r}")
    entries = (entry for entry in REGISTRY.values() if kind is None or entry.kind == kind)
    return [entry.name for entry in entries if pointwise is None or entry.pointwise == pointwise]


def entry(name: str) -> Activation:
    """A function's entry, however its name is written: gelu-sine, gelu_sine, GELUSine, or the label of the figures.

    Raises:
        ValueError: a name that is not in the registry; says what there is, the closest name first.
    """
    if found := known(name):
        return found
    closest = difflib.get_close_matches(str(name), REGISTRY, n=len(REGISTRY), cutoff=0.0)
    raise ValueError(f"wanted an activation among {', '.join(closest)}; got {name!r}")


def known(name: str) -> Activation | None:
    """What `entry` gives, or None where there is none."""
    spelled = (found for found in REGISTRY.values() if _plain(str(name)) in found.spellings)
    return REGISTRY.get(name) or next(spelled, None)


def _plain(text: str) -> str:
    """Letters and digits alone, in lower case."""
    return "".join(filter(str.isalnum, text.casefold()))


class ActivationModule(nn.Module):
    """A function of the registry as a module, whose constants are its attributes, as numbers or parameters.

    What is done to an attribute by torch or by hand (a parametrisation, a tie, pruning) is what the function gets.

    Raises:
        TypeError: constants without their names.
        ValueError: a constant that the function does not have, or one that makes no sense.
    """

    activation: Activation

    def __init__(self, *unnamed: object, **constants: float) -> None:
        super().__init__()
        settled, name = self.activation.settle(constants), self.activation.name
        if unnamed:
            meant = settled | {k: v for k, v in zip(settled, unnamed, strict=False) if isinstance(v, numbers.Real)}
            call = f"get({name!r})({', '.join(f'{key}={value}' for key, value in meant.items())})"
            raise TypeError(f"{name}: wanted constants by name, and x for the module: {call}(x); got {unnamed[0]!r}")
        self._keys = tuple(settled)
        for key, value in settled.items():
            setattr(self, key, value)

    @property
    def constants(self) -> dict[str, float]:
        """All constants as they are now, in the function's order: what `get(name)(**constants)` takes."""
        values = {key: getattr(self, key) for key in self._keys}
        return {key: value.item() if isinstance(value, torch.Tensor) else value for key, value in values.items()}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The function of x `[batch, ..., features]`, of the same shape and dtype."""
        return self.activation.function(x, **{key: getattr(self, key) for key in self._keys})

    def extra_repr(self) -> str:
        """The constants, as in a call, and which are learned."""
        return ", ".join(f"{key}={_shown(getattr(self, key))}" for key in self._keys)


# Names that constants cannot have: attributes of modules, and arguments of what makes them.
_TAKEN = {*dir(nn.Module()), *dir(ActivationModule), "activation", "device", "dtype", "name"}


def _shown(constant: float | torch.Tensor) -> str:
    """A constant's value; of a tensor also where it has no single one, as on the meta device."""
    if not isinstance(constant, torch.Tensor):
        return str(constant)
    known = type(constant.detach()) is torch.Tensor and constant.numel() == 1 and not constant.is_meta
    return f"{constant.item():.4g} learned" if known else f"{[*constant.shape]} on {constant.device} learned"


def get(name: str) -> type[ActivationModule]:
    """The module class of a function: `get("gelu-sine")(amplitude=0.2)` is a module.

    Raises:
        ValueError: a name that is not in the registry.
    """
    return entry(name).module


def __getattr__(attribute: str) -> type[ActivationModule]:
    """The module classes by their class names, here and in `zoo`, in any case: pickles of version 0.1 have GeluSine."""
    if attribute[:1].isupper():
        for found in REGISTRY.values():
            if attribute.lower() in (found.module.__name__.lower(), found.name.replace("-", "")):
                return found.module
    raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")


def program_source(name: str, **constants: float) -> str:
    """A function as a candidate program: its private helpers, then `activation(x)` that begins with its constants.

    It is lifted from the module that defines the function; `constants` are those that differ from the defaults.

    Raises:
        ValueError: an unknown name or constant, or a constant that is not a finite number.
    """
    found = entry(name)
    settled = found.settle(constants)
    definitions = _definitions(inspect.getsource(sys.modules[found.function.__module__]))
    target = ast.parse(ast.unparse(definitions[found.function.__name__])).body[0]
    target.name, target.decorator_list = "activation", []
    target.args.args, target.args.defaults = target.args.args[:1], []
    target.body[:0] = [ast.parse(f"{key} = {value!r}").body[0] for key, value in settled.items()]
    return "\n\n".join(ast.unparse(node) for node in [*_helpers(target, definitions), target]) + "\n"


@functools.cache
def _definitions(source: str) -> dict[str, ast.FunctionDef]:
    """The top-level functions of a module's source as syntax trees, without docstrings and annotations."""
    tree = ast.parse(source)
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
