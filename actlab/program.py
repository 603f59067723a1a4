"""A candidate program: Python source that defines `activation(x)`, checked against an allow-list (rules ours).

`check` reads source and never runs it. `compile_program` and `describe` run it, so they belong in a worker process.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import EllipsisType

import torch
import torch.nn.functional as F

Function = Callable[[torch.Tensor], torch.Tensor]

MAX_CHARACTERS = 20_000  # of source
MAX_NODES = 4_000  # of its syntax tree
MAX_DEPTH = 60  # of nesting
MAX_INTEGER = 10_000  # of a literal, hence of a loop

IMPORTS = {
    ("import", "torch", None): "torch",
    ("import", "math", None): "math",
    ("import", "torch.nn.functional", "F"): "F",
    ("torch.nn", "functional", "F"): "F",
}
BUILTINS = {f.__name__: f for f in (abs, enumerate, float, int, len, list, max, min, range, reversed, sum, tuple, zip)}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SHARED = _words("""
    abs acos acosh arctan asin asinh atan atan2 atanh cat ceil clamp clip complex conj cos cosh cumsum deg2rad
    detach diff erf erfc erfinv exp exp2 expm1 flip floor fmod frac full_like hypot imag isfinite isinf isnan
    lerp lgamma log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or logical_xor logit
    logsumexp maximum mean median minimum mul neg norm nan_to_num ones_like polar pow prod real reciprocal relu
    remainder roll round rsqrt sigmoid sign sin sinc sinh softmax sqrt square stack std sub sum tan tanh trunc
    var where xlogy zeros_like add div amax amin argsort sort unsqueeze squeeze movedim arange tensor
    view_as_real eq ne lt le gt ge nanmean heaviside copysign aminmax linspace
""")
ALLOWED = {
    "torch": _SHARED | _words("fft special pi e inf float32 float64 bfloat16 float16 bool promote_types"),
    "torch.fft": _words("rfft irfft fft ifft rfftfreq fftfreq fftshift ifftshift"),
    "torch.special": _words("erf erfc expit log1p sinc xlogy entr i0 i0e bessel_j0 bessel_j1"),
    "math": frozenset(n for n in dir(math) if not n.startswith("_")) - _words("factorial comb perm prod"),
    "F": _words("""
        relu relu6 leaky_relu elu selu celu gelu silu mish softplus softsign tanh sigmoid logsigmoid hardtanh
        hardsigmoid hardswish softmax log_softmax tanhshrink softshrink hardshrink threshold normalize
        layer_norm pad
    """),
    "tensor": _SHARED
    | _words("""
        shape dtype ndim device dim size numel T mT float double bfloat16 half to type_as transpose permute
        reshape view expand expand_as unbind narrow chunk split flatten contiguous clone new_zeros new_ones
        new_full max min new_tensor is_complex is_floating_point broadcast_to
    """),
}
_NODES = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.For, ast.Lambda, ast.IfExp, ast.If,
    ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.keyword, ast.Attribute, ast.Subscript, ast.Slice,
    ast.Name, ast.Constant, ast.Tuple, ast.List, ast.ListComp, ast.GeneratorExp, ast.comprehension, ast.Starred,
    ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context,
)  # fmt: skip


class Refused(ValueError):
    """A program that breaks a rule: which `rule`, on which `line`, and the `advice` what to write instead."""

    def __init__(self, rule: str, line: int, advice: str) -> None:
        super().__init__(f"line {line}: {rule}; {advice}")
        self.rule, self.line, self.advice = rule, line, advice


@dataclass(frozen=True)
class Program:
    """A checked program in canonical form: no imports, annotations, docstrings or comments."""

    source: str


def check(source: str) -> Program:
    """The program that `source` holds.

    Raises:
        Refused: where the source breaks a rule of the candidate language.
    """
    if len(source) > MAX_CHARACTERS:
        raise Refused(f"{len(source)} characters", 1, f"write at most {MAX_CHARACTERS}")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Refused(f"not Python ({error})", getattr(error, "lineno", 1) or 1, "mend the syntax") from error
    _bound_size(tree)
    tree.body = [node for node in tree.body if not _is_import(node)]
    _strip(tree)
    _Rules(tree).visit(tree)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "activation"]
    if len(functions) != 1:
        raise Refused(f"{len(functions)} functions named activation", 1, "define `def activation(x):` once")
    arguments = functions[0].args
    if len(arguments.args) - len(arguments.defaults) > 1 or not arguments.args or arguments.kwonlyargs:
        raise Refused("activation takes other than one tensor", functions[0].lineno, "write `def activation(x):`")
    return Program(ast.unparse(tree))


def compile_program(program: Program) -> Function:
    """The program's function. Runs the program's top level: call it in a worker only."""
    # torch's C code imports through the caller's builtins; no program can write that name
    builtins = {**BUILTINS, "__import__": __import__}
    namespace: dict = {"__builtins__": builtins, "torch": torch, "math": math, "F": F}
    exec(compile(program.source, "<candidate>", "exec"), namespace)
    return namespace["activation"]


def _bound_size(tree: ast.AST) -> None:
    count, level = 0, [tree]
    for _ in range(MAX_DEPTH):
        count += len(level)
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            break
    if level:
        raise Refused(f"nesting deeper than {MAX_DEPTH}", level[0].lineno if hasattr(level[0], "lineno") else 1,
                      "name intermediate results")  # fmt: skip
    if count > MAX_NODES:
        raise Refused(f"{count} syntax nodes", 1, f"write at most {MAX_NODES}")


def _is_import(node: ast.stmt) -> bool:
    if isinstance(node, ast.Import):
        keys = [("import", alias.name, alias.asname) for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        keys = [(node.module, alias.name, alias.asname) for alias in node.names]
    else:
        return False
    for key in keys:
        if key not in IMPORTS:
            raise Refused(
                f"import of {key[1]}",
                node.lineno,
                "only torch, math and `import torch.nn.functional as F` are there",
            )
    return True


def _strip(tree: ast.Module) -> None:
    """Removes docstrings and annotations, which do nothing."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.Module | ast.FunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Return(ast.Name("None", ast.Load()), lineno=1, col_offset=0)]


class _Rules(ast.NodeVisitor):
    """Refuses each node that is not on the allow-list."""

    def __init__(self, tree: ast.Module) -> None:
        self.bound = {
            node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        self.bound |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        self.bound |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}

    def visit(self, node: ast.AST) -> None:
        if not isinstance(node, _NODES):
            self._refuse(node, f"{type(node).__name__} is not part of the candidate language",
                         "use functions, assignments, for over range, and expressions")  # fmt: skip
        super().visit(node)

    def _refuse(self, node: ast.AST, rule: str, advice: str) -> None:
        raise Refused(rule, getattr(node, "lineno", 1), advice)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.decorator_list or node.args.vararg or node.args.kwarg:
            self._refuse(node, "decorated or variadic function", "write a plain function with named arguments")
        self.visit_Name(ast.Name(node.name, ast.Store(), lineno=node.lineno))
        self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> None:
        self.visit_Name(ast.Name(node.arg, ast.Store(), lineno=node.lineno))

    def visit_Name(self, node: ast.Name) -> None:
        reserved = {"torch", "math", "F", *BUILTINS}
        if node.id.startswith("__") or (isinstance(node.ctx, ast.Store) and node.id in reserved):
            self._refuse(node, f"the name {node.id}", "choose another name")
        if isinstance(node.ctx, ast.Load) and node.id not in self.bound | reserved:
            self._refuse(node, f"the name {node.id} is not defined", f"use torch, math, F or {', '.join(BUILTINS)}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        owner = ast.unparse(node.value) if isinstance(node.value, ast.Name | ast.Attribute) else "tensor"
        allowed = ALLOWED.get(owner, ALLOWED["tensor"])
        if not isinstance(node.ctx, ast.Load):
            self._refuse(node, f"assignment to the attribute {node.attr}", "assign to a name")
        if node.attr not in allowed:
            where = owner if owner.split(".")[0] in ("torch", "math", "F") else "a tensor"
            hint = "in-place methods change x" if node.attr.endswith("_") else "use another function"
            self._refuse(node, f"{node.attr} of {where} is not on the allow-list", hint)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if not all(isinstance(n, ast.Name | ast.Tuple | ast.List | ast.expr_context) for n in ast.walk(target)):
                self._refuse(
                    node,
                    "assignment to an item or attribute",
                    "assign to a name; use torch.where or torch.cat",
                )
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        if node.orelse:
            self._refuse(node, "else after for", "leave it out")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, int) and abs(node.value) > MAX_INTEGER:
            self._refuse(node, f"the integer {node.value}", f"stay within {MAX_INTEGER}, or write a float")
        if not isinstance(node.value, int | float | str | EllipsisType | None) or (
            isinstance(node.value, str) and len(node.value) > 20
        ):
            self._refuse(node, f"a constant of type {type(node.value).__name__}", "use numbers")
