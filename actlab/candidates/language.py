"""The language of candidates: an allow-list of what a program may be written with, and advice for the rest (ours).

Nothing is run here, and torch is not needed.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
from collections.abc import Iterable
from types import EllipsisType
from typing import NoReturn

from actlab.candidates.static_bounds import MAX_BITS, Bounds, small_power

MAX_INTEGER = 10_000  # of a literal
MAX_LOOPS = 10_000  # steps of loops within loops; at run time, loop steps and calls in one call; items of a list

MODULES = ("torch", "math", "F")
BUILTINS = ("abs", "enumerate", "float", "int", "len", "list", "max", "min", "range", "reversed", "sum", "tuple", "zip")
ITERATORS = ("enumerate", "reversed", "zip")  # their results are used up in one pass, hence would be state
CONSUMERS = ("enumerate", "list", "max", "min", "reversed", "sum", "tuple", "zip")


def words(text: str) -> frozenset[str]:
    """The words of a text, a space or more apart."""
    return frozenset(text.split())


_BOTH = words("""
    abs absolute acos acosh add amax amin aminmax arccos arccosh arcsin arcsinh arctan arctan2 arctanh argmax argmin
    argsort asin asinh atan atan2 atanh broadcast_to ceil chunk clamp clip conj copysign cos cosh cumprod cumsum
    deg2rad detach diff digamma div divide eq erf erfc erfinv exp exp2 expm1 flatten flip floor floor_divide fmax fmin
    fmod frac ge gt heaviside hypot i0 imag isfinite isinf isnan le lerp lgamma log log10 log1p log2 log_softmax
    logaddexp logaddexp2 logical_and logical_not logical_or logical_xor logit logsumexp lt matmul max maximum mean
    median min minimum movedim mul multiply nan_to_num nanmean ne neg negative norm permute pow prod rad2deg real
    reciprocal relu remainder reshape roll round rsqrt sgn sigmoid sign sin sinc sinh softmax split sqrt square
    squeeze std sub subtract sum tan tanh tile transpose true_divide trunc unbind unsqueeze var where xlogy
""")
ATTRIBUTES = words("shape dtype ndim device T mT real imag values indices")  # of a tensor, without a call
# Each has its true gradient, by torch or by `derivatives`; but `detach` has none, and // and `heaviside` say that they
# have none. What steps (comparisons, rounding, places) has the gradient 0.
ALLOWED = {
    "torch": _BOTH
    | words("""
        arange bfloat16 bool cat complex e fft float16 float32 float64 full_like inf linspace ones_like pi polar
        promote_types sort special stack tensor view_as_real zeros_like
    """),
    "torch.fft": words("fft fftfreq fftshift ifft ifftshift irfft rfft rfftfreq"),
    "torch.special": words("bessel_j0 bessel_j1 digamma entr erf erfc erfinv expit gammaln i0 i0e log1p sinc xlogy"),
    "math": words("""
        acos acosh asin asinh atan atan2 atanh cbrt ceil comb copysign cos cosh degrees e erf erfc exp exp2 expm1 fabs
        factorial floor fmod fsum gamma hypot inf isfinite isinf isnan lgamma log log10 log1p log2 pi pow radians sin
        sinh sqrt tan tanh tau trunc
    """),
    "F": words("""
        celu elu gelu hardshrink hardsigmoid hardswish hardtanh layer_norm leaky_relu log_softmax logsigmoid mish
        normalize pad relu relu6 selu sigmoid silu softmax softmin softplus softshrink softsign tanh tanhshrink
        threshold
    """),
    # Of whatever precedes the dot, so that no name here may change a list: sort is a function alone.
    "tensor": _BOTH
    | ATTRIBUTES
    | words("""
        bfloat16 clone contiguous dim double expand expand_as float half is_complex is_floating_point narrow new_full
        new_ones new_tensor new_zeros numel repeat size to type_as unfold view
    """),
}
# Functions of torch of two tensors, where numpy's take a number for one.
PAIRS = words("""
    add arctan2 atan2 complex copysign div divide eq floor_divide fmax fmin fmod ge gt heaviside hypot le logaddexp
    logaddexp2 logical_and logical_or logical_xor lt maximum minimum mul multiply ne polar pow remainder sub subtract
    true_divide xlogy
""")
KEYWORDS = words("""
    alpha append approximate axis base beta bias chunks condition correction decimals descending destination device
    dim dim0 dim1 dimension dims dtype end eps exponent fill_value input keepdim keepdims lambd max max_val min min_val
    mode n nan negative_slope neginf norm normalized_shape other p pad posinf prepend repeats rounding_mode shape
    shifts size source split_size split_size_or_sections stable start step steps tensor tensors threshold unbiased
    value weight
""")
# In torch's C part `out` is a keyword; in its Python part `inplace` and `out` may also come by their place.
POSITIONAL = {"torch.norm": 4, "F.normalize": 4} | dict.fromkeys(("F.hardtanh", "F.threshold"), 3)
POSITIONAL |= dict.fromkeys(("F.celu", "F.elu", "F.leaky_relu", "F.log_softmax", "F.softmax", "F.softmin"), 2)
POSITIONAL |= dict.fromkeys(("F.hardsigmoid", "F.hardswish", "F.mish", "F.relu", "F.relu6", "F.selu", "F.silu"), 1)
WORDS = ("tanh", "none", "floor", "trunc", "ortho", "forward", "backward", "constant", "reflect", "replicate",
         "circular", "inf", "-inf")  # fmt: skip # the strings: values of approximate=, rounding_mode=, norm=, mode=


class Refused(ValueError):
    """A program that breaks a rule: which `rule`, on which `line`, and the `advice` what to write instead."""

    def __init__(self, rule: str, line: int, advice: str) -> None:
        super().__init__(f"line {line}: {rule}; {advice}")
        self.rule, self.line, self.advice = rule, line, advice


def short(what: ast.AST | str, length: int = 50) -> str:
    """Source text in one line of printable characters, cut where it is long."""
    if isinstance(what, ast.AST):
        numbers = [n.value for n in ast.walk(what) if isinstance(n, ast.Constant) and isinstance(n.value, int)]
        huge = any(n.bit_length() > 999 for n in numbers)  # which str() itself refuses
        what = "a huge number" if huge else ast.unparse(what)
    line = " ".join(what.split())
    text = "".join(c if c.isascii() and c.isprintable() else ascii(c)[1:-1] for c in line)
    return text if len(text) <= length else text[: length - 3] + "..."


def enforce(tree: ast.Module) -> None:
    """Checks a tree without imports, docstrings and annotations.

    Raises:
        Refused: at the first place that breaks a rule.
    """
    _Rules(tree).visit(tree)
    _refuse_recursion(tree)
    _refuse_other_activations(tree)


_NODES = {
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.For, ast.Lambda, ast.IfExp, ast.If,
    ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.keyword, ast.Attribute, ast.Subscript, ast.Slice,
    ast.Name, ast.Constant, ast.Tuple, ast.List, ast.ListComp, ast.GeneratorExp, ast.comprehension, ast.Starred,
    ast.Load, ast.Store, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult,
    ast.BitAnd, ast.BitOr, ast.BitXor, ast.Invert, ast.Not, ast.UAdd, ast.USub, ast.And, ast.Or,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Is, ast.IsNot, ast.In, ast.NotIn,
}  # fmt: skip
_SYNTAX = {  # by the name of the node: what it is, what to write instead
    "While": ("while", "loop over a constant range: `for k in range(10):`"),
    "Break": ("break", "loop over as many steps as are wanted: `for k in range(3):`"),
    "Continue": ("continue", "write what is left under an if over constants"),
    "Try": ("try", "leave it out: what raises is reported"),
    "Raise": ("raise", "leave it out"),
    "Assert": ("assert", "leave it out: shape, dtype and values are checked"),
    "With": ("with", "leave it out; for no gradient write y.detach()"),
    "ClassDef": ("class", "write functions: `def helper(x):`"),
    "Global": ("global", "give values to functions as arguments, and return results"),
    "Nonlocal": ("nonlocal", "give values to functions as arguments, and return results"),
    "JoinedStr": ("an f-string", "leave it out: text does nothing here"),
    "Import": ("an import inside a block", "leave it out: torch, math and F are there"),
    "Pass": ("pass", "leave it out, with what it stands in"),
    "Expr": ("a value that nothing uses", "assign it to a name, return it, or leave it out; comments begin with #"),
    "Delete": ("del", "leave it out"),
    "Dict": ("a dictionary", "write a tuple, or a name for each value: a, b = 0.5, 1.5"),
    "DictComp": ("a dictionary", "write a list: [f(k) for k in range(3)]"),
    "Set": ("a set", "write a tuple: (1, 2)"),
    "SetComp": ("a set", "write a list: [f(k) for k in range(3)]"),
    "NamedExpr": ("the operator :=", "write the assignment in a line of its own: y = ..."),
    "AnnAssign": ("an annotation without a value", "write name = value, or leave it out"),
    "Match": ("match", "use if over constants"),
    "Yield": ("yield", "return a value"),
    "LShift": ("the operator <<", "write n * 2"),
    "RShift": ("the operator >>", "write n // 2"),
}
_NO_TARGETS = {  # of assignments
    ast.Subscript: "assign to a name; choose elements by torch.where",
    ast.Starred: "give each part a name: a, b = ...",
}
_RANDOM = re.compile(r"rand|normal$|bernoulli|dropout|multinomial|poisson|seed|uniform|exponential|shuffle|Generator")
_TO_NUMBERS = words("item tolist numpy cpu data")


class _Rules(ast.NodeVisitor):
    """Refuses each node, name, attribute, keyword, string and loop that is not on the allow-list."""

    def __init__(self, tree: ast.Module) -> None:
        nodes = list(ast.walk(tree))
        self.parameters = {node.arg for node in nodes if isinstance(node, ast.arg)}
        self.bound = self.parameters | {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
        self.bound |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        self.bounds = Bounds(tree)
        self.called: set[int] = set()  # ids of what stands before the brackets of a call
        self.passed: set[int] = set()  # ids of expressions that are iterated where they stand
        self.line, self.steps = 1, 1

    def visit(self, node: ast.AST) -> None:
        """Refuses what is not on the list of syntax, then whatever the node's own rule refuses."""
        self.line = getattr(node, "lineno", self.line)
        if isinstance(node, ast.AugAssign):
            target, value = short(node.target, 20), short(node.value, 20)
            operator = ast.unparse(ast.BinOp(ast.Name("a"), node.op, ast.Name("b"))).split()[1]
            self._refuse(node, f"in-place {operator}=", f"write {target} = {target} {operator} {value}")
        if type(node) not in _NODES:
            name = type(node).__name__
            default = name, "use functions, assignments, `for k in range(3):`, if over constants, and expressions"
            name = name.removeprefix("Async").removesuffix("Star").removesuffix("From")
            rule, advice = _SYNTAX.get(name, default)
            self._refuse(node, f"{rule} is not part of the candidate language", advice)
        if type(node) in _NO_TARGETS and not isinstance(node.ctx, ast.Load):
            self._refuse(node, f"assignment to {short(node)}", _NO_TARGETS[type(node)])
        super().visit(node)

    def _refuse(self, node: ast.AST, rule: str, advice: str) -> NoReturn:
        raise Refused(rule, getattr(node, "lineno", self.line), advice)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.decorator_list:
            self._refuse(node, f"decorated function {short(node.name)}", "leave the decorator out")
        self._bind(node, node.name)
        self.generic_visit(node)
        if not any(isinstance(n, ast.Return) and not _is_none(n.value) for n in ast.walk(node)):
            self._refuse(node, f"the function {short(node.name)} returns nothing", "end it with `return y`")

    def visit_arguments(self, node: ast.arguments) -> None:
        if node.posonlyargs or node.vararg or node.kwarg:
            self._refuse(node, "/, *args or **kwargs among the arguments", "name each argument: def f(x, a, b):")
        self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> None:
        self._bind(node, node.arg)

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._bind(node, node.id)
        elif node.id in MODULES:
            self._refuse(node, f"{node.id} as a value", f"call one of its functions, as in {_EXAMPLES[node.id]}")
        elif node.id in BUILTINS:
            if id(node) not in self.called:
                self._refuse(node, f"{node.id} as a value", f"call it: {node.id}(...)")
        elif node.id not in self.bound or not _NAME.fullmatch(node.id):
            self._refuse(node, f"the name {short(node.id)} is not defined", _advice_for_name(node.id, self.bound))

    def _bind(self, node: ast.AST, name: str) -> None:
        if name in MODULES or name in BUILTINS:
            self._refuse(node, f"the name {name} is taken", f"choose another name, such as {name}_1")
        if not _NAME.fullmatch(name):
            advice = "write ASCII letters, digits and _, with one _ in front at most, as in alpha_1"
            self._refuse(node, f"the name {short(name)}", advice)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._refuse(node, f"assignment to the attribute {short(node.attr)}", "assign to a name: y = ...")
        path = _path(node)
        if path is not None:
            self._module_attribute(node, path)
            return
        self.visit(node.value)
        if node.attr not in ALLOWED["tensor"]:
            self._refuse(node, f"{short(node.attr)} of a tensor is not on the allow-list", _advice_for_method(node))
        if node.attr not in ATTRIBUTES and id(node) not in self.called:
            self._refuse(node, f"the method {node.attr} without a call", f"call it: x.{node.attr}()")

    def _module_attribute(self, node: ast.Attribute, path: list[str]) -> None:
        where = path[0]
        for name in path[1:]:
            if where not in ALLOWED:
                self._refuse(node, f"{short(name)} of {where} is not on the allow-list", f"write {where} alone")
            if name not in ALLOWED[where]:
                advice = _advice_for_function(where, name, path[-1])
                self._refuse(node, f"{short(name)} of {where} is not on the allow-list", advice)
            where = f"{where}.{name}"
        if where in ALLOWED:
            self._refuse(node, f"{where} as a value", f"call one of its functions, as in {_EXAMPLES[where]}")

    def visit_Call(self, node: ast.Call) -> None:
        self.called.add(id(node.func))
        path = _path(node.func) if isinstance(node.func, ast.Attribute) else None
        builtin = node.func.id if isinstance(node.func, ast.Name) and node.func.id in BUILTINS else None
        if builtin in ITERATORS and id(node) not in self.passed:
            self._refuse(node, f"{builtin}(...) as a value", f"it is used up in one pass: write list({short(node)})")
        if builtin in CONSUMERS:
            # sum's second argument is a value that it may return as it came
            self.passed |= {id(argument) for argument in (node.args if builtin == "zip" else node.args[:1])}
        known = {"start", "strict", "default"} if builtin else KEYWORDS
        if isinstance(node.func, ast.Name) and not builtin:
            known = known | self.parameters
        for keyword in node.keywords:
            if keyword.arg not in known:
                rule = f"the keyword {short(keyword.arg or '**')} is not on the allow-list"
                self._refuse(keyword, rule, _advice_for_keyword(keyword.arg))
        full = ".".join(path or ())
        if len(node.args) > (limit := POSITIONAL.get(full, math.inf)):
            advice = "leave the others out: nothing is changed in place"
            self._refuse(node, f"more than {limit} positional arguments of {full}", advice)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            for part in ast.walk(target):
                if not isinstance(part, ast.Name | ast.Tuple | ast.List | ast.expr_context):
                    self._refuse(node, f"assignment to {short(target)}", _NO_TARGETS[ast.Subscript])
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        if node.orelse:
            self._refuse(node, "else after for", "write it after the loop")
        self._loop(node, node.iter)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._loop(node, *(part.iter for part in node.generators))

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        if id(node) not in self.passed:
            self._refuse(node, "a generator as a value", "it is used up in one pass: write a list, [... for ...]")
        self.visit_ListComp(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        if node.is_async:
            self._refuse(node.iter, "async is not part of the candidate language", "leave it out")
        self.generic_visit(node)

    def _loop(self, node: ast.AST, *over: ast.expr) -> None:
        """Checks a loop over some expressions, one within another, in the steps of the loops around it."""
        outside = self.steps
        for iterated in over:
            self.passed.add(id(iterated))
            if (count := self.bounds.count(iterated)) is None:
                advice = "loop over a range or a tuple of constants: `for k in range(5):`"
                self._refuse(node, f"a loop over {short(iterated)}", advice)
            self.steps *= max(count, 1)
            if self.steps > MAX_LOOPS:
                self._refuse(node, f"{self.steps} steps of loops within one another", f"stay within {MAX_LOOPS}")
        self.generic_visit(node)
        self.steps = outside

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Pow):
            base, exponent = self.bounds.interval(node.left), self.bounds.interval(node.right)
            if base and exponent and not small_power(max(map(abs, base)), exponent[1]):
                advice = f"stay below 2 ** {MAX_BITS}, or write a float: 2.0 ** 100"
                self._refuse(node, f"the integer power {short(node)}", advice)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, str):
            if value not in WORDS:
                self._refuse(node, f"the string {short(repr(value))}", f"the strings are {', '.join(WORDS)}")
        elif isinstance(value, int) and abs(value) > MAX_INTEGER:
            digits = str(value) if value.bit_length() < 100 else f"of {value.bit_length()} bits"
            self._refuse(node, f"the integer {digits}", f"stay within {MAX_INTEGER}, or write a float, as in 1e6")
        elif isinstance(value, complex):
            self._refuse(
                node, f"a constant of type complex, {value}", "write torch.complex(torch.zeros_like(x), x) for 1j * x"
            )
        elif not isinstance(value, int | float | EllipsisType | None):
            self._refuse(node, f"a constant of type {type(value).__name__}", "use numbers")


_NAME = re.compile(r"_?[A-Za-z][A-Za-z0-9_]*|_", re.ASCII)
_EXAMPLES = {
    "torch": "torch.sin(x)", "math": "math.sqrt(2)", "F": "F.gelu(x)", "torch.fft": "torch.fft.rfft(x, dim=-1)",
    "torch.special": "torch.special.i0(x)",
}  # fmt: skip
_ELSEWHERE = {  # what a name that is not there most often means
    "np": "use torch for tensors and math for numbers", "numpy": "use torch for tensors and math for numbers",
    "nn": "use functions, not modules, as in F.gelu(x)", "functional": "write F, as in F.gelu(x)",
    "print": "leave it out", "pow": "write x ** 2", "round": "write torch.round(x), or math.floor(a + 0.5)",
    "isinstance": "leave it out: x is a tensor", "map": "write [f(k) for k in range(3)]",
    "filter": "write [k for k in range(3) if k > 0]", "set": "write a tuple", "dict": "write a tuple",
    "ln": "write torch.log(x)", "power": "write x ** 2",
    "Tensor": "write torch.Tensor in an annotation, or leave it out",
}  # fmt: skip


def _is_none(node: ast.expr | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def _path(node: ast.expr) -> list[str] | None:
    """The names of torch.fft.rfft, one by one; None where the first is no module."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *names[::-1]] if isinstance(node, ast.Name) and node.id in MODULES else None


def _nearest(name: str, among: Iterable[str], before: str = "") -> str:
    longer = sorted(other for other in among if other.startswith(f"{name}_"))
    close = longer[:3] or difflib.get_close_matches(name, sorted(among), n=3, cutoff=0.75)
    return " or ".join(before + c for c in close)


def _advice_for_name(name: str, bound: set[str]) -> str:
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    homes = [f"{where}.{name}" for where in ("torch", "F", "math") if name in ALLOWED[where]]
    near = homes[0] if homes else _nearest(name, bound | {*MODULES, *BUILTINS})
    return f"write {near}" if near else f"assign it first, or use torch, math, F or {', '.join(BUILTINS)}"


def _advice_for_function(where: str, name: str, last: str) -> str:
    homes = [w for w in ("torch", "F", "torch.special", "math") if last in ALLOWED[w] and w != where]
    if _RANDOM.search(last.rstrip("_")):
        return "a candidate is a pure function of x: no randomness"
    if homes:
        return f"write {homes[0]}.{last}"
    if name.rstrip("_") in ALLOWED[where]:
        return f"write {where}.{name.rstrip('_')}, which changes nothing in place"
    near = _nearest(name, ALLOWED[where], where + ".")
    return f"write {near}" if near else f"use another function, as in {_EXAMPLES[where]}"


def _advice_for_method(node: ast.Attribute) -> str:
    name = node.attr
    if name.rstrip("_") in ALLOWED["tensor"]:
        return f"write x.{name.rstrip('_')}(), as in-place methods change x"
    if _RANDOM.search(name.rstrip("_")):
        return "a candidate is a pure function of x: no randomness"
    if name in ("append", "extend", "insert"):
        return "write terms = [*terms, y], or a list: [f(k) for k in range(3)]"
    homes = [where for where in ("torch", "F") if name in ALLOWED[where]]
    if homes:
        return f"write {homes[0]}.{name}(x)"
    if name in _TO_NUMBERS:
        return "stay with tensors; for a value without a gradient write x.detach()"
    near = _nearest(name, ALLOWED["tensor"], "x.")
    return f"write {near}" if near else "use another method, or a function of torch or F"


def _advice_for_keyword(name: str | None) -> str:
    if name is None:
        return "write each keyword: f(x, a=1)"
    if name in ("out", "inplace"):
        return "leave it out, and take the result: y = f(x)"
    near = _nearest(name, KEYWORDS)
    return f"leave it out, or write {near}" if near else "leave it out"


def _refuse_recursion(tree: ast.Module) -> None:
    """Refuses functions that name themselves, or one another in a circle."""
    uses: dict[str, set[str]] = {}
    lines: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names, body = [node.name], node
        elif isinstance(node, ast.Assign) and any(isinstance(n, ast.Lambda) for n in ast.walk(node.value)):
            names, body = [n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)], node.value
        else:
            continue
        used = {n.id for n in ast.walk(body) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        for name in names:
            uses.setdefault(name, set()).update(used)
            lines.setdefault(name, node.lineno)
    for name in uses:
        reached, fresh = set(), {name}
        while fresh:
            fresh = {u for f in fresh for u in uses[f] if u in uses} - reached
            reached |= fresh
        if name in reached:
            raise Refused(f"the function {short(name)} calls itself", lines[name],
                          "write a loop: `for k in range(5):`")  # fmt: skip


def _refuse_other_activations(tree: ast.Module) -> None:
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    named = [node for node in functions if node.name == "activation"]
    if len(named) != 1:
        advice = "define `def activation(x):` once"
        if functions and not named:
            advice = f"define `def activation(x):`, perhaps in the place of {short(functions[-1].name)}"
        raise Refused(f"{len(named)} functions named activation", named[1].lineno if named else 1, advice)
    for node in ast.walk(tree):
        name = node.arg if isinstance(node, ast.arg) else node.id if isinstance(node, ast.Name) else None
        name = node.name if isinstance(node, ast.FunctionDef) and node is not named[0] else name
        if name == "activation" and not isinstance(getattr(node, "ctx", None), ast.Load):
            raise Refused("activation is defined anew", node.lineno, "choose another name, such as y")
    arguments = named[0].args
    if len(arguments.args) - len(arguments.defaults) > 1 or not arguments.args or arguments.kwonlyargs:
        raise Refused("activation takes other than one tensor", named[0].lineno, "write `def activation(x):`")
