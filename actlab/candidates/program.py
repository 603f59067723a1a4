"""A candidate program: Python source that defines `activation(x)`, checked against an allow-list (rules ours).

`check` reads source and never runs it. `compile_program` runs its top level: that, and the function that it returns,
belong in a confined process. The names that a program can write refer to the listed functions alone, never to a module;
what cannot be bounded by reading (growth of integers, calls within calls) is counted while it runs.
"""

from __future__ import annotations

import ast
import builtins
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NoReturn

import torch
import torch.nn.functional as F

from actlab.candidates.derivatives import OWN
from actlab.candidates.language import ALLOWED, BUILTINS, KEYWORDS, MAX_LOOPS, POSITIONAL, Refused, enforce, short
from actlab.candidates.reading import not_python, parsed, unwrapped
from actlab.candidates.static_bounds import MAX_BITS, small_power

__all__ = ["Program", "Refused", "check", "compile_program"]

Function = Callable[[torch.Tensor], torch.Tensor]

MAX_CHARACTERS = 20_000  # of source
MAX_NODES = 4_000  # of its syntax tree
MAX_DEPTH = 60  # of nesting

IMPORTS = {
    ("import", "torch", None),
    ("import", "math", None),
    ("import", "torch.nn.functional", "F"),
    ("torch.nn", "functional", "F"),
}


@dataclass(frozen=True)
class Program:
    """A checked program in canonical form: no imports, annotations, docstrings or comments."""

    source: str


def check(source: str) -> Program:
    """The program in `source`, apart from fences and prose around it; reads it and runs nothing.

    Raises:
        Refused: at the first place where the source breaks a rule of the candidate language.
    """
    if len(source) > MAX_CHARACTERS:
        raise Refused(f"{len(source)} characters", 1, f"write at most {MAX_CHARACTERS}")
    try:
        tree = parsed(source)
    except Refused:
        if (inner := unwrapped(source)) is None:
            raise
        tree = parsed(inner)
    _bound_size(tree)
    tree.body = [node for node in tree.body if not _is_import(node)]
    tree = _Strip().visit(tree)
    enforce(tree)
    program = Program(ast.unparse(tree))
    if len(program.source) > MAX_CHARACTERS:
        raise Refused(f"{len(program.source)} characters when written plainly", 1, f"write at most {MAX_CHARACTERS}")
    again = parsed(program.source)
    if ast.dump(again) != ast.dump(tree):  # what is run is the canonical text, so it must say what was checked
        raise Refused("a program that reads differently when written anew", 1, "write it more plainly")
    _code(again)
    return program


def compile_program(program: Program) -> Function:
    """The program's function, x -> tensor. Runs the program's top level: call it in a confined process.

    A call of the function raises RuntimeError beyond `MAX_LOOPS` loop steps and calls, OverflowError where an integer
    or a list exceeds its bound.
    """
    work = _Work()
    namespace: dict[str, Any] = {"__builtins__": {**_BUILTINS, "__import__": _loaded_torch}, **_NAMESPACES, **_GUARDS}
    namespace |= {_TICK: work.tick, _STEPS: work.steps}
    exec(_code(ast.parse(program.source)), namespace)
    function = namespace["activation"]

    def activation(x: torch.Tensor) -> torch.Tensor:
        work.left = MAX_LOOPS
        return function(x)

    return activation


# --- reading ---


def _bound_size(tree: ast.AST) -> None:
    count, line, level = 0, 1, [tree]
    for _ in range(MAX_DEPTH):
        count += len(level)
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        line = next((node.lineno for node in level if hasattr(node, "lineno")), line)
        if not level:
            break
    if level:
        raise Refused(f"nesting deeper than {MAX_DEPTH}", line, "give parts of the expression names: a = ...; b = ...")
    if count > MAX_NODES:
        raise Refused(f"{count} syntax nodes", 1, f"write at most {MAX_NODES}")


def _is_import(node: ast.stmt) -> bool:
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return False
    whence = "import" if isinstance(node, ast.Import) else "." * node.level + (node.module or "")
    for name, alias in ((part.name, part.asname) for part in node.names):
        if (whence, name, alias) not in IMPORTS:
            home = {"torch.nn.functional": "F"}.get(whence, whence)
            advice = "only `import torch`, `import math` and `import torch.nn.functional as F` are there"
            if name in ALLOWED.get(home, ()) or (whence, name) == ("torch", "Tensor"):
                advice = f"write {home}.{name} where it is used"
            renamed = f" as {alias}" if alias else ""
            raise Refused(f"import of {short(name + renamed)}", node.lineno, advice)
    return True


class _Strip(ast.NodeTransformer):
    """Removes docstrings and annotations, which do nothing."""

    def visit(self, node: ast.AST) -> ast.AST:
        """What is left of a node, after its children."""
        node = self.generic_visit(node)
        match node:
            case ast.Module(body=[ast.Expr(value=ast.Constant()), *body]):
                node.body = body
            case ast.FunctionDef(body=[ast.Expr(value=ast.Constant()), *body]):
                node.body = body or [ast.Return(ast.Constant(None), lineno=node.lineno, col_offset=0)]
            case ast.AnnAssign(value=ast.expr()):  # the rules refuse one without a value
                return ast.copy_location(ast.Assign([node.target], node.value), node)
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        return node


# --- running ---


class _Work:
    """Counts loop steps and calls of functions, so that no program runs on for ever."""

    def __init__(self) -> None:
        self.left = MAX_LOOPS

    def tick(self) -> bool:
        """Counts one step; True, so that it can stand in an expression."""
        self.left -= 1
        if self.left < 0:
            raise RuntimeError(f"wanted at most {MAX_LOOPS} loop steps and calls of functions in one call; got more")
        return True

    def steps(self, items: Iterable) -> Iterator:
        """The items, each counted."""
        for item in items:
            self.tick()
            yield item


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise OverflowError(f"wanted integers below 2 ** {MAX_BITS}; got more: write floats, as in 2.0 * n")
    if isinstance(value, list | tuple | str) and len(value) > MAX_LOOPS:
        raise OverflowError(f"wanted at most {MAX_LOOPS} items; got {len(value)}")
    return value


def _add(a: Any, b: Any) -> Any:
    return a + b if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor) else _bounded(a + b)


def _multiply(a: Any, b: Any) -> Any:
    if not isinstance(a, torch.Tensor) and not isinstance(b, torch.Tensor):
        for items, times in ((a, b), (b, a)):
            if isinstance(items, list | tuple | str) and isinstance(times, int) and len(items) * times > MAX_LOOPS:
                raise OverflowError(f"wanted at most {MAX_LOOPS} items; got {len(items)} times {times}")
        return _bounded(_bounded(a) * _bounded(b))
    return a * b


def _power(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int) and not small_power(abs(a), b):
        raise OverflowError(f"wanted integers below 2 ** {MAX_BITS}; got {a} ** {b}: write a float, as in 2.0 ** 100")
    return a**b


def _sum(items: Iterable, start: Any = 0) -> Any:
    if not isinstance(start, int | float | complex | torch.Tensor):
        raise TypeError(f"wanted numbers or tensors to add up; got a {type(start).__name__}: write a + b")
    return sum(items, start)


def _range(*bounds: int) -> range:
    made = range(*bounds)
    if len(made) > MAX_LOOPS:
        raise OverflowError(f"wanted a range of at most {MAX_LOOPS}; got {len(made)}")
    return made


_BUILTINS = {name: getattr(builtins, name) for name in BUILTINS} | {"range": _range, "sum": _sum}
# Names of what runs unseen: none is one that a program may write.
_TICK, _STEPS, _DISPLAY = "__tick__", "__steps__", "__display__"
_OPERATORS = {ast.Add: "__plus__", ast.Mult: "__times__", ast.Pow: "__power__"}
_GUARDS = {"__plus__": _add, "__times__": _multiply, "__power__": _power, _DISPLAY: _bounded}


class _Guard(ast.NodeTransformer):
    """Puts counters into loops and functions, bounds into what grows, and our gradients into methods."""

    def visit(self, node: ast.AST) -> ast.AST:
        """A node with its guard, after its children."""
        node = self.generic_visit(node)
        match node:
            case ast.BinOp() if type(node.op) in _OPERATORS:
                return _call(_OPERATORS[type(node.op)], node.left, node.right)
            case ast.Call(func=ast.Attribute(value=x, attr=name)) if f"torch.{name}" in OWN and not _is_module(x):
                node.func, node.args = ast.Attribute(ast.Name("torch", ast.Load()), name, ast.Load()), [x, *node.args]
            case ast.For() | ast.comprehension():
                node.iter = _call(_STEPS, node.iter)
            case ast.FunctionDef():
                node.body = [ast.Expr(_call(_TICK)), *node.body]
            case ast.Lambda():
                node.body = ast.BoolOp(ast.And(), [_call(_TICK), node.body])
            case ast.List(ctx=ast.Load()) | ast.Tuple(ctx=ast.Load()):
                grows = any(isinstance(n, ast.Starred) for n in node.elts)
                return _call(_DISPLAY, node) if grows else node
        return node


def _is_module(node: ast.expr) -> bool:
    return ast.unparse(node) in {"torch", "torch.special", "math"}


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def _code(tree: ast.Module) -> Any:
    """Python's code of a checked tree, which it changes; Refused where Python itself refuses the tree."""
    guarded = ast.fix_missing_locations(_Guard().visit(tree))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of a number that is called, which raises when it runs
            return compile(guarded, "<candidate>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise not_python(error) from error


class _Names:
    """What one of the names torch, math and F refers to; it cannot be changed."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.__dict__.update(names)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"wanted no change of a candidate's names; got one of {name}")


def _listed(function: Callable, name: str, limit: int | None) -> Callable:
    """The function without its arguments that are not on the list, however it is called."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if (limit is not None and len(args) > limit) or not KEYWORDS.issuperset(kwargs):
            raise TypeError(f"wanted arguments of {name} that are on the allow-list; got others")
        return function(*args, **kwargs)

    return call


def _small(function: Callable, name: str, greatest: int) -> Callable:
    """A function of whole numbers that grows fast, up to where its result stays below 2 ** 63."""

    def call(n: int, *k: int) -> int:
        if n > greatest:
            raise OverflowError(f"wanted math.{name} of at most {greatest}; got {n}: math.gamma(n + 1.0) is n!")
        return function(n, *k)

    return call


_GREATEST = {"factorial": 20, "comb": 60}  # arguments whose result stays below 2 ** 63


def _namespace(where: str, module: ModuleType) -> _Names:
    names = {}
    for name in ALLOWED[where]:
        full, found = f"{where}.{name}", OWN.get(f"{where}.{name}", getattr(module, name))
        if full in ALLOWED:
            found = _namespace(full, found)
        elif where == "math" and name in _GREATEST:
            found = _small(found, name, _GREATEST[name])
        elif where != "math" and callable(found) and not isinstance(found, torch.dtype):
            found = _listed(found, full, POSITIONAL.get(full))
        names[name] = found
    return _Names(names)


_NAMESPACES = {name: _namespace(name, module) for name, module in (("torch", torch), ("math", math), ("F", F))}


def _loaded_torch(name: str, *_: object, **__: object) -> ModuleType:
    """An import for torch's C code, which asks the caller's builtins for it; no program can write its name."""
    if name.partition(".")[0] != "torch" or name not in sys.modules:
        raise ImportError(f"wanted a loaded module of torch; got {name}")
    return sys.modules[name]
