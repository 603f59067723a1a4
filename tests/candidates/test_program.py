"""The candidate language: what is accepted, what is refused and how it is said, and what a program cannot reach."""

import ast
import inspect
import math
import random
import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from candidate_calls import calls
from hypothesis import given, settings
from hypothesis import strategies as st

from actlab import activations
from actlab.candidates.language import ALLOWED, ATTRIBUTES, BUILTINS, KEYWORDS, MAX_LOOPS, POSITIONAL, WORDS
from actlab.candidates.program import MAX_CHARACTERS, Refused, check, compile_program


def body(text, before=""):
    """A program whose activation has these lines, after what stands before it."""
    return before + "def activation(x):\n" + "".join(f"    {line}\n" for line in text.splitlines())


def run(source, x):
    return compile_program(check(source))(x)


# --- accepted ---


@pytest.mark.parametrize("name", activations.names())
def test_every_function_of_the_zoo_is_a_valid_candidate_with_the_same_values(name):
    x = torch.linspace(-3, 3, 60, dtype=torch.float64).reshape(10, 6)
    assert torch.equal(run(activations.program_source(name), x), activations.REGISTRY[name].function(x))


def test_the_canonical_form_drops_imports_comments_docstrings_and_annotations():
    source = '''
"""A module."""
import torch
import torch.nn.functional as F
from torch.nn import functional as F
import math

def activation(x: torch.Tensor) -> torch.Tensor:
    """A docstring."""
    a: float = 0.5
    y = F.relu(x)  # a comment
    return a*y*math.pi
'''
    checked = check(source)
    assert checked.source == "def activation(x):\n    a = 0.5\n    y = F.relu(x)\n    return a * y * math.pi"
    assert check(checked.source) == checked
    x = torch.tensor([-1.0, 2.0])
    assert torch.equal(compile_program(checked)(x), 0.5 * F.relu(x) * math.pi)


SMOOTH = body("return half(x) * torch.sigmoid(x)", "C = (\n    0.5,\n)\n\ndef half(x):\n    return C[0] * x\n\n\n")
AROUND = {
    "fences": f"```python\n{SMOOTH}\n```",
    "fences of another kind": f"~~~\n{SMOOTH}\n~~~",
    "a fence that was cut off": f"```py\n{SMOOTH}",
    "the last fence alone": f"{SMOOTH}\n```\n",
    "words and fences": f"Here it is:\n\n```Python\nimport torch\n{SMOOTH}\n```\n\nIt is `x` itself, for x > 0.",
    "a list": "1. A gate.\n\n   ```python\n"
    + "".join(f"   {line}\n" for line in SMOOTH.split("\n"))
    + "   ```\n2. Done",
    "words alone": f"Sure! Note: it's smooth.\n\nimport torch\n{SMOOTH}\n\nThis works, as it is bounded:\n  - below.\n",
    "lines of another system": f"Here:\n```\n{SMOOTH}\n```".replace("\n", "\r\n"),
    "an example of its use": f"```\n{SMOOTH}\n```\nfor example\n```\nprint(activation(torch.randn(3)))\n```",
    "the program twice": f"```\n{SMOOTH}\n```\nor, again,\n```\n{SMOOTH}\n```",
}


@pytest.mark.parametrize("kind", AROUND)
def test_a_program_is_taken_out_of_what_is_around_it(kind):
    assert check(AROUND[kind]) == check(SMOOTH)


@pytest.mark.parametrize(
    ("source", "line", "rule"),
    [
        (f"Here:\n```\n{body('return x.data')}\n```", 4, "data of a tensor"),  # where it was
        (f"```\n{body('return x')}\n```\nor\n```\n{body('return -x')}\n```", 8, "2 functions named activation"),
        ("def half(x)\n    return x\n" + body("return half(x)"), 1, "not Python"),  # broken code is no prose
        ("C = 0.5 *\n" + body("return C * x"), 1, "not Python"),
        ("print activation\n" + body("return x"), 1, "not Python"),
        ("```\ny = x\n```", 1, "not Python"),
        ("I would rather not define activation.", 1, "not Python"),
    ],
)
def test_what_is_wrong_within_fences_or_prose_is_refused_where_it_is(source, line, rule):
    with pytest.raises(Refused, match=rule) as caught:
        check(source)
    assert caught.value.line == line


def test_the_canonical_form_of_a_searched_program_is_the_recorded_one():
    # it keys records and archives
    source = "def activation(x):\n  a=1e-06\n  return torch.clamp(x+-0.8794,min=1.421)**2/(a+x.var(0,keepdim=True))"
    assert check(source).source == (
        "def activation(x):\n    a = 1e-06\n"
        "    return torch.clamp(x + -0.8794, min=1.421) ** 2 / (a + x.var(0, keepdim=True))"
    )


X = torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(4, 6)
ACCEPTED = {  # what a language model writes: the program, and what it computes
    "a constant of a module": (body("return C * x", "C = math.sqrt(2 / math.pi)\n"), math.sqrt(2 / math.pi) * X),
    "a helper": (body("return half(x)", "def half(x):\n    return x / 2\n"), X / 2),
    "a helper in the function": (body("def half(y):\n    return y / 2\nreturn half(x)"), X / 2),
    "a default": ("def activation(x, a=0.5):\n    return a * x", X / 2),
    "an annotation": ("def activation(x: torch.Tensor) -> torch.Tensor:\n    return 2 * x", 2 * X),
    "a loop": (body("y = x\nfor _ in range(3):\n    y = torch.sin(y)\nreturn y"), X.sin().sin().sin()),
    "a loop over coefficients": (
        body("y = 0.0\nfor k, c in enumerate(C):\n    y = y + c * x ** k\nreturn y", "C = [1.0, 0.5, 0.25]\n"),
        1 + 0.5 * X + 0.25 * X**2,
    ),
    "a loop over pairs": (
        body("return sum(a * torch.sin(w * x) for a, w in zip(A, W))", "A = (1.0, 0.5)\nW = (1, 2)\n"),
        X.sin() + 0.5 * (2 * X).sin(),
    ),
    "a loop within a loop": (
        body("y = x\nfor i in range(3):\n    for j in range(i + 1):\n        y = y + i * j\nreturn y"), X + 1 + 2 + 4
    ),
    "a loop as long as a list": (body("return sum(W[i] * x for i in range(len(W)))", "W = [0.5, 2.0]\n"), 2.5 * X),
    "a count given to a helper": (
        body("return f(x, 3)", "def f(x, terms):\n    return sum(x ** k for k in range(1, terms))\n"), X + X**2
    ),
    "a list that grows": (body("ts = []\nfor k in range(3):\n    ts = [*ts, k * x]\nreturn sum(ts)"), 3 * X),
    "a list of functions": (body("fs = (torch.sin, torch.cos)\nreturn sum(f(x) for f in fs)", ""), None),
    "a comprehension": (body("return torch.stack([x * k for k in (1, 2)]).sum(dim=0)"), 3 * X),
    "a factorial": (body("return sum(x ** k / math.factorial(k) for k in range(4))"), 1 + X + X**2 / 2 + X**3 / 6),
    "a lambda": (body("f = lambda y: y * y\nreturn f(x)"), X * X),
    "a condition over constants": (body("return x if A > 1 else -x", "A = 2\n"), X),
    "an if over constants": (body("if 'none' == 'tanh':\n    return x\nelse:\n    return -x"), -X),
    "torch.where": (body("return torch.where((x > 0) & (x < 1), x, 0.1 * x)"), X.where((X > 0) & (X < 1), 0.1 * X)),
    "rolled neighbours": (body("return x + torch.roll(x, shifts=1, dims=-1)"), X + X.roll(1, -1)),
    "padded neighbours": (
        body("p = F.pad(x, (1, 1), mode='constant', value=0.0)\nreturn p[..., 2:] - p[..., :-2]"),
        F.pad(X, (1, 1))[..., 2:] - F.pad(X, (1, 1))[..., :-2],
    ),
    "moments": (body("return x - x.mean(dim=0, keepdim=True).detach()"), X - X.mean(0)),
    "a deviation": (body("return x / (1 + x.std(dim=-1, keepdim=True, correction=0))"), None),
    "a layer norm": (body("return F.layer_norm(x, x.shape[-1:])"), None),
    "a spectrum": (body("X = torch.fft.rfft(x, dim=-1)\nreturn torch.fft.irfft(X, n=x.shape[-1], dim=-1)"), X),
    "sorting": (body("values, _ = torch.sort(x, dim=-1)\nreturn x + values.detach()"), 2 * X),
    "a maximum": (body("return x - x.max(dim=-1, keepdim=True).values"), X - X.amax(-1, keepdim=True)),
    "products": (body("return x @ (x.mT @ x) / x.shape[0]"), X @ (X.T @ X) / 4),
    "a tensor of constants": (body("w = torch.tensor([0.5, 2.0], dtype=x.dtype)\nreturn w[0] * x + w[1]"), X / 2 + 2),
    "shapes": (body("return x.reshape(*x.shape[:-1], 3, 2).flip(-1).reshape(x.shape)"), None),
    "the tanh form": (body("return F.gelu(x, approximate='tanh')"), F.gelu(X, approximate="tanh")),
    "integer powers": (body("return x * 2 ** 10 / N", "N = 1_000\n"), X * 1.024),
    "infinity": (body("return torch.clamp(x, min=-1.0, max=float('inf'))"), X.clamp(min=-1)),
    "builtins": (body("return abs(x) + max(1, 2) + min(3, 4) + int(2.5) + len((1, 2))"), X.abs() + 9),
}  # fmt: skip


@pytest.mark.parametrize("kind", ACCEPTED)
def test_the_language_has(kind):
    source, value = ACCEPTED[kind]
    y = run(source, X)
    assert y.shape == X.shape
    if value is not None:
        torch.testing.assert_close(y, value, atol=1e-12, rtol=0)


# --- refused ---

REFUSED = {  # the program, the line, words of the rule, words of the advice
    # syntax
    "while": (body("while True:\n    y = x"), 2, "while", "for k in range(10)"),
    "break": (body("for k in range(3):\n    break"), 3, "break", "range"),
    "try": (body("try:\n    y = x\nexcept ValueError:\n    y = x"), 2, "try", "reported"),
    "raise": (body("raise x"), 2, "raise", "leave it out"),
    "assert": (body("assert x.ndim == 2\nreturn x"), 2, "assert", "leave it out"),
    "with": (body("with torch.no_grad():\n    y = x"), 2, "with", "y.detach()"),
    "class": ("class A:\n    pass\n" + body("return x"), 1, "class", "def helper"),
    "global": (body("global y\nreturn x"), 2, "global", "arguments"),
    "nonlocal": (body("def f():\n    nonlocal y\n    return y\nreturn x"), 3, "nonlocal", "arguments"),
    "an f-string": (body("y = f'{x}'\nreturn x"), 2, "f-string", "leave it out"),
    "the walrus": (body("return (y := x)"), 2, ":=", "line of its own"),
    "match": (body("match x:\n    case 1:\n        return x"), 2, "match", "if over constants"),
    "yield": (body("yield x"), 2, "nothing uses", "return it"),
    "yield beside return": (body("y = yield x\nreturn y"), 2, "yield", "return a value"),
    "async": ("async " + body("return x"), 1, "AsyncFunctionDef", "functions"),
    "await": (body("return await x"), 2, "Await", "expressions"),
    "del": (body("y = x\ndel y\nreturn x"), 3, "del", "leave it out"),
    "pass": (body("pass\nreturn x"), 2, "pass", "leave it out"),
    "a bare value": (body("x.sin()\nreturn x"), 2, "nothing uses", "assign it"),
    "a dictionary": (body("a = {'k': 1}\nreturn x"), 2, "dictionary", "tuple"),
    "a set": (body("a = {1, 2}\nreturn x"), 2, "set", "tuple"),
    "a decorator": ("@F.relu\n" + body("return x"), 2, "decorated", "leave the decorator out"),
    "*args": ("def activation(*x):\n    return x", 1, "*args", "name each"),
    "**kwargs": ("def activation(x, **k):\n    return x", 1, "**kwargs", "name each"),
    "positional arguments alone": ("def activation(x, /):\n    return x", 1, "/", "name each"),
    "no return": (body("y = x"), 1, "activation returns nothing", "return y"),
    "a docstring alone": (body("'''Nothing.'''"), 1, "returns nothing", "return y"),
    "else after for": (body("for k in range(3):\n    y = x\nelse:\n    y = x\nreturn y"), 2, "else", "after the loop"),
    "an annotation without a value": (body("y: float\nreturn x"), 2, "annotation", "name = value"),
    "an import inside": (body("import math\nreturn x"), 2, "import inside", "leave it out"),
    # imports
    "another import": ("import os\n" + body("return x"), 1, "import of os", "only `import torch`"),
    "another name": ("import torch as t\n" + body("return x"), 1, "import of torch as t", "only `import torch`"),
    "a part of torch": ("from torch import load\n" + body("return x"), 1, "import of load", "only"),
    "a listed part of torch": ("from torch import sin\n" + body("return x"), 1, "import of sin", "write torch.sin"),
    "a relative import": ("from .torch.nn import functional as F\n" + body("return x"), 1, "functional", "only"),
    "all of math": ("from math import *\n" + body("return x"), 1, "import of *", "only"),
    "the future": ("from __future__ import annotations\n" + body("return x"), 1, "annotations", "only"),
    # names
    "a builtin": (body("return open('f')"), 2, "open is not defined", "use torch"),
    "eval": (body("return eval('x')"), 2, "eval is not defined", "use torch"),
    "getattr": (body("return getattr(x, 'sin')()"), 2, "getattr is not defined", "use torch"),
    "numpy": (body("return np.sin(x)"), 2, "np is not defined", "torch for tensors"),
    "a module of layers": (body("return nn.ReLU()(x)"), 2, "nn is not defined", "F.gelu"),
    "print": (body("y = print(x)\nreturn x"), 2, "print is not defined", "leave it out"),
    "a name without its module": (body("return sin(x)"), 2, "sin is not defined", "write torch.sin"),
    "a logarithm": (body("return ln(x)"), 2, "ln is not defined", "write torch.log(x)"),
    "a power": (body("return power(x, 2)"), 2, "power is not defined", "write x ** 2"),
    "a mistyped name": (body("scale = 2.0\nreturn scal * x"), 3, "scal is not defined", "write scale"),
    "builtins by name": (body("return __builtins__"), 2, "__builtins__", "use torch"),
    "__debug__": (body("return x if __debug__ else -x"), 2, "__debug__", "use torch"),
    "a guard's name": (body("return __plus__(x, x)"), 2, "__plus__", "use torch"),
    "a guard's name as one's own": (body("__tick__ = 1\nreturn x"), 2, "__tick__", "one _"),
    "a dunder argument": ("def activation(x, __a=1):\n    return x", 1, "__a", "one _"),
    "letters that Python folds": (body("__ｉｍｐｏｒｔ__ = 1\nreturn x"), 2, "__import__", "one _"),
    "letters that are not ASCII": (body("α = 1.0\nreturn α * x"), 2, "\\u03b1", "ASCII"),
    "torch by its folded name": (body("ｔｏｒｃｈ = 1\nreturn x"), 2, "the name torch is taken", "another name"),
    "a name that shadows": (body("torch = 1\nreturn x"), 2, "the name torch is taken", "another name"),
    "a comprehension that shadows": (body("return sum(x for F in (1, 2))"), 2, "the name F is taken", "F_1"),
    "an argument that shadows": (body("f = lambda sum: sum\nreturn f(x)"), 2, "the name sum is taken", "sum_1"),
    "a function that shadows": (body("return x", "def range(n):\n    return n\n"), 1, "range is taken", "range_1"),
    "torch as a value": (body("t = torch\nreturn t.sin(x)"), 2, "torch as a value", "torch.sin(x)"),
    "torch by choice": (body("return (torch if 1 else F).relu(x)"), 2, "torch as a value", "torch.sin(x)"),
    "torch.fft as a value": (body("t = torch.fft\nreturn t.rfft(x)"), 2, "torch.fft as a value", "torch.fft.rfft"),
    "a builtin as a value": (body("f = zip\nreturn x"), 2, "zip as a value", "call it"),
    "a builtin's attribute": (body("return float.fromhex('inf') * x"), 2, "float as a value", "call it"),
    # attributes
    "a private attribute": (body("return x._base"), 2, "_base of a tensor", "another"),
    "a dunder": (body("return x.__class__"), 2, "__class__ of a tensor", "another"),
    "a module's dictionary": (body("return torch.__dict__"), 2, "__dict__ of torch", "another"),
    "a function's globals": (body("return torch.sin.__globals__"), 2, "__globals__ of torch.sin", "write torch.sin"),
    "an own function's globals": (body("return activation.__globals__"), 2, "__globals__", "another"),
    "an in-place method": (body("return x.add_(1)"), 2, "add_ of a tensor", "write x.add()"),
    "an in-place function": (body("return torch.relu_(x)"), 2, "relu_ of torch", "write torch.relu"),
    "data": (body("return x.data"), 2, "data of a tensor", "x.detach()"),
    "a number": (body("return x * x.mean().item()"), 2, "item of a tensor", "stay with tensors"),
    "a hook": (body("return x.register_hook(abs)"), 2, "register_hook", "another"),
    "a resize": (body("return x.resize(3)"), 2, "resize of a tensor", "write x."),
    "a method without a call": (body("return x.sin"), 2, "the method sin without a call", "x.sin()"),
    "appending": (body("t = []\ny = t.append(x)\nreturn x"), 3, "append of a tensor", "[*terms, y]"),
    "formatting": (body("return 'tanh'.format(x)"), 2, "format of a tensor", "another"),
    "joining": (body("return 'tanh'.join(x)"), 2, "join of a tensor", "another"),
    "a function as a method": (body("return x.cat(x)"), 2, "cat of a tensor", "torch.cat"),
    "a file": (body("return torch.load('f')"), 2, "load of torch", "another function"),
    "a seed": (body("y = torch.manual_seed(0)\nreturn x"), 2, "manual_seed of torch", "no randomness"),
    "randomness": (body("return torch.rand_like(x)"), 2, "rand_like of torch", "no randomness"),
    "dropout": (body("return F.dropout(x)"), 2, "dropout of F", "no randomness"),
    "noise in place": (body("return x.normal_()"), 2, "normal_ of a tensor", "no randomness"),
    "memory as it was": (body("return torch.empty_like(x)"), 2, "empty_like of torch", "another function"),
    "running statistics": (body("return F.batch_norm(x, x, x)"), 2, "batch_norm of F", "another function"),
    "the long name of F": (body("return torch.nn.functional.relu(x)"), 2, "nn of torch", "relu"),
    "F's function in torch": (body("return torch.gelu(x)"), 2, "gelu of torch", "write F.gelu"),
    "torch's function in F": (body("return F.sin(x)"), 2, "sin of F", "write torch.sin"),
    "a mistyped function": (body("return torch.sigmiod(x)"), 2, "sigmiod of torch", "torch.sigmoid"),
    "a compiler": (body("return torch.compile(abs)(x)"), 2, "compile of torch", "write torch."),
    "an operator by its name": (body("return torch.ops.aten.add_(x, 1)"), 2, "ops of torch", "another"),
    "einsum's own language": (body("return torch.einsum('ij->ji', x)"), 2, "einsum of torch", "another"),
    # arguments
    "out=": (body("return torch.sin(x, out=x)"), 2, "the keyword out", "take the result"),
    "inplace=": (body("return F.relu(x, inplace=True)"), 2, "the keyword inplace", "take the result"),
    "inplace by its place": (body("return F.relu(x, True)"), 2, "more than 1 positional", "leave the others out"),
    "inplace by its third place": (body("return F.leaky_relu(x, 0.1, True)"), 2, "more than 2", "leave"),
    "inplace by its fourth place": (body("return F.threshold(x, 1, 2, True)"), 2, "more than 3", "leave"),
    "out by its place": (body("return F.normalize(x, 2.0, 1, 1e-12, x)"), 2, "more than 4", "leave"),
    "a norm's out by its place": (body("return torch.norm(x, 2, 0, True, x)"), 2, "more than 4", "leave"),
    "a generator": (body("return torch.sin(x, generator=x)"), 2, "the keyword generator", "leave it out"),
    "a gradient of one's own": (body("return x + torch.tensor(1.0, requires_grad=True)"), 2, "requires_grad", "leave"),
    "a mistyped keyword": (body("return x.mean(keepdimm=True)"), 2, "the keyword keepdimm", "keepdim"),
    "keywords by a dictionary": (body("return torch.sin(x, **x)"), 2, "**", "each keyword"),
    "a keyword that is an argument elsewhere": (
        body("return torch.sin(x, out=x)", "def f(out):\n    return out\n"), 4, "the keyword out", "take the result"
    ),
    # assignment
    "an in-place operator": (body("x += 1\nreturn x"), 2, "in-place +=", "write x = x + 1"),
    "an in-place power": (body("x[0] **= 2\nreturn x"), 2, "in-place **=", "write x[0] = x[0] ** 2"),
    "assignment to an item": (body("x[0] = 1\nreturn x"), 2, "assignment to x[0]", "torch.where"),
    "assignment to an attribute": (body("x.data = 1\nreturn x"), 2, "assignment to x.data", "assign to a name"),
    "a loop that assigns items": (body("for x[0] in (1, 2):\n    y = x\nreturn x"), 2, "assignment to x[0]", "name"),
    "a comprehension that assigns items": (body("y = [0 for x[0] in (1,)]\nreturn x"), 2, "assignment to x[0]", "name"),
    "a loop that assigns attributes": (body("for x.data in (1, 2):\n    y = x\nreturn x"), 2, "attribute data", "name"),
    "the rest of a tuple": (body("a, *b = x\nreturn a"), 2, "assignment to (a, *b)", "assign to a name"),
    "the rest of a tuple in a loop": (body("for a, *b in ((1, 2),):\n    y = x\nreturn x"), 2, "*b", "name"),
    # constants
    "another string": (body("y = 'cuda'\nreturn x.to(y)"), 2, "the string 'cuda'", "tanh"),
    "bytes": (body("y = b'x'\nreturn x"), 2, "constant of type bytes", "numbers"),
    "a complex number": (body("return (1j * x).real"), 2, "type complex", "torch.complex"),
    "a large integer": (body("return x * 123456"), 2, "the integer 123456", "1e6"),
    "an integer of many bits": (body("return x * 0x" + "f" * 6000), 2, "of 24000 bits", "1e6"),
    "an integer of many digits": (body("return x * " + "1" * 5000), 2, "not Python", "mend"),
    "a huge power": (body("return x * 2 ** 9_999"), 2, "the integer power 2 ** 9999", "2.0 ** 100"),
    "a tower of powers": (body("return x * 9 ** 9 ** 9"), 2, "the integer power", "2.0 ** 100"),
    "a power of names": (body("return x * N ** (N - 1)", "N = 100\n"), 3, "the integer power N ** (N - 1)", "2.0"),
    "a shift": (body("return x * (1 << 9_999)"), 2, "<<", "n * 2"),
    # loops
    "a loop over a tensor": (body("for row in x:\n    y = row\nreturn x"), 2, "a loop over x", "range(5)"),
    "a loop as long as a batch": (body("return sum(x for _ in range(x.shape[0]))"), 2, "range(x.shape[0])", "range(5)"),
    "a loop as long as a tensor": (body("return sum(x for _ in range(len(x)))"), 2, "range(len(x))", "range(5)"),
    "a loop whose length changes": (
        body("n = 1\nfor k in range(3):\n    n = n * 2\nreturn sum(x for _ in range(n))"), 5, "range(n)", "range(5)"
    ),
    "loops within loops": (
        body("y = x\nfor i in range(200):\n    for j in range(200):\n        y = y + 1\nreturn y"), 4, "40000", "10000"
    ),
    "loops within a comprehension": (body("return sum(x for i in range(200) for j in range(999))"), 2, "199800", "10"),
    "a comprehension as long as its names say": (
        body("return sum(x for _ in L)", "L = [i for i in range(200) for j in range(200)]\n"), 1, "40000", "10000"
    ),
    "recursion": (body("return f(x)", "def f(x):\n    return f(x)\n"), 1, "f calls itself", "for k in range"),
    "recursion through others": (
        body("return f(x)", "def f(x):\n    return g(x)\ndef g(x):\n    return f(x)\n"), 1, "f calls itself", "for k"
    ),
    "a recursive lambda": (body("f = lambda y: f(y)\nreturn f(x)"), 2, "f calls itself", "for k in range"),
    "an iterator kept": (body("return x", "E = enumerate((1, 2))\n"), 1, "enumerate(...) as a value", "list(enumerate"),
    "an iterator as a default": ("def activation(x, e=zip((1,))):\n    return x", 1, "zip(...) as a value", "list(zip"),
    "an iterator kept by a sum": (body("return x", "E = sum((), zip((1, 2)))\n"), 1, "zip(...) as a value", "list(zip"),
    "a list sorted in place": (body("y = L.sort()\nreturn x", "L = [2, 1]\n"), 3, "sort of a tensor", "torch.sort(x)"),
    "a generator kept": (body("return x", "G = (k for k in range(3))\n"), 1, "a generator as a value", "write a list"),
    "a generator for torch": (body("return torch.stack(x for _ in range(3))[0]"), 2, "a generator as", "a list"),
    "an asynchronous comprehension": (body("return [x async for _ in range(3)]"), 2, "async", "leave it out"),
    # the program
    "no activation": ("def f(x):\n    return x", 1, "0 functions named activation", "in the place of f"),
    "nothing": ("", 1, "0 functions named activation", "once"),
    "two activations": (body("return x") + body("return -x"), 3, "2 functions named activation", "once"),
    "an activation assigned": (body("return x") + "activation = 3", 3, "defined anew", "another name"),
    "an activation within": (body("def activation(y):\n    return y\nreturn x"), 2, "defined anew", "another name"),
    "two arguments": ("def activation(x, y):\n    return x", 1, "other than one tensor", "def activation(x)"),
    "no argument": ("def activation():\n    return 1", 1, "other than one tensor", "def activation(x)"),
    "no Python": ("def activation(x:\n    return x", 1, "not Python", "near `def activation(x:`"),
    "a return outside": (body("return x") + "return 1", 3, "not Python ('return' outside function)", "mend"),
    "an argument twice": ("def activation(x, x=1):\n    return x", 1, "not Python (duplicate argument", "mend"),
    "a null byte": (body("return x") + "\0", 1, "null bytes", "mend"),
    "half a character": (body("return x") + "\ud800", 1, "not Python", "mend"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_the_check_refuses(kind):
    source, line, rule, advice = REFUSED[kind]
    with pytest.raises(Refused) as refusal:
        check(source)
    assert rule in refusal.value.rule
    assert advice in refusal.value.advice
    assert refusal.value.line == line
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 400


DEEP = {
    **{unit: unit * (19_900 // len(unit)) + "x" for unit in ("-", "not ", "(", "[", "{", "f(", "x[", "lambda:", "x.")},
    **{
        unit: unit * (19_900 // len(unit)) + "x"
        for unit in ("x+", "x,", "x if x else ", "*", "x:=", "f'{", "\\\n", "#")
    },
    "levels": "".join(" " * i + "if 1:\n" for i in range(150)),
    "names": "\n".join(f"a{i + 1} = a{i} + a{i}" for i in range(380))
    + "\n"
    + body("return sum(x for _ in range(a380))"),
    "functions": "".join(f"def f{i}(x):\n    return f{i + 1}(x)\n" for i in range(200)) + body("return f0(x)"),
}


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("inside", [False, True])
def test_what_would_exhaust_a_reader_is_refused(kind, inside):
    with pytest.raises(Refused):
        check(body("return " + DEEP[kind][:19_000]) if inside else DEEP[kind])


def test_sources_beyond_the_bounds_are_refused():
    assert check(body("return " + "-" * 50 + "x"))
    for source, rule in (
        (body("return " + "-" * 60 + "x"), "nesting deeper than 60"),
        (body("return (" + ",".join(["x"] * 3000) + ")"), "syntax nodes"),
        ("x = 1\n" * 10_000, "60000 characters"),
    ):
        with pytest.raises(Refused, match=rule):
            check(source)


# --- properties ---

PIECES = [
    *"""def activation(x):|return|x|y|=|+|**|(|)|[|]|,|:|.|torch|F|math|sin|relu_|_base|__class__|for|in|range|lambda|if
    |else|1|9|99999|0.5|'tanh'|'os'|import|while|del|async|await|{|}|*|@|zip|out=x|activation|f'|\\|ｘ|;|#|None|...|1j|b''
    |<<|:=|not|yield""".replace("\n    ", "").split("|"),
    *("\n", "\n    ", "\0", "\ud800", "\ufeff", "\f", "\t", " "),
]


@settings(max_examples=300, deadline=None, database=None)
@given(st.one_of(st.text(max_size=80), st.lists(st.sampled_from(PIECES), max_size=25).map("".join)))
def test_check_refuses_or_accepts_whatever_text_comes(source):
    for text in (source, "def activation(x):\n    y = " + source + "\n    return y"):
        try:
            accepted = check(text)
        except Refused as refusal:
            assert str(refusal).isprintable()
            assert refusal.line >= 1
        else:
            assert check(accepted.source) == accepted


LISTED = frozenset().union(*ALLOWED.values())


@settings(max_examples=150, deadline=None, database=None)
@given(seed=st.integers(0, 2**32))
def test_what_is_accepted_holds_no_attribute_keyword_or_string_that_is_not_listed(seed):
    # accepted programs with one to three of their names, strings or keywords replaced
    rng = random.Random(seed)
    tree = ast.parse(rng.choice([source for source, _ in ACCEPTED.values()]))
    names = [*sorted(LISTED), "_base", "__class__", "data", "add_", "out", "inplace", "torch", "F", "zip", "eval", "x"]
    for _ in range(rng.randint(1, 3)):
        node = rng.choice(
            [n for n in ast.walk(tree) if isinstance(n, ast.Attribute | ast.Name | ast.keyword | ast.arg)]
        )
        field = {ast.Attribute: "attr", ast.Name: "id"}.get(type(node), "arg")
        setattr(node, field, rng.choice(names))
    try:
        canonical = ast.parse(check(ast.unparse(tree)).source)
    except Refused:
        return
    own = {node.arg for node in ast.walk(canonical) if isinstance(node, ast.arg)}
    modules = {"torch", "math", "F"}
    for node in ast.walk(canonical):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            assert node.attr in ALLOWED[owner if re.fullmatch(r"(torch|math|F)(\.\w+)*", owner) else "tensor"]
            assert not node.attr.startswith("_")
            assert not node.attr.endswith("_")
            assert isinstance(node.ctx, ast.Load)
        elif isinstance(node, ast.keyword):
            assert node.arg in KEYWORDS | own | {"start", "strict", "default"}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value in WORDS
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            assert node.id not in modules | {*BUILTINS}


# --- what a program reaches when it runs ---


def namespace():
    """What the names of a program hold."""
    cells = inspect.getclosurevars(compile_program(check(body("return x")))).nonlocals
    return cells["function"].__globals__


def test_a_program_reaches_no_module_and_no_builtin_but_those_listed():
    names = namespace()
    assert set(names["__builtins__"]) == {*BUILTINS, "__import__"}
    assert {name for name in names if not name.startswith("__")} == {"torch", "math", "F", "activation"}
    for where in ("torch", "math", "F"):
        held = vars(names[where])
        assert set(held) == ALLOWED[where]
        assert not any(inspect.ismodule(value) for value in held.values())
        with pytest.raises(AttributeError, match="wanted no change"):
            names[where].sin = None
    assert set(vars(names["torch"].fft)) == ALLOWED["torch.fft"]


def test_a_program_imports_loaded_modules_of_torch_alone():
    imported = namespace()["__builtins__"]["__import__"]
    assert imported("torch") is torch
    for name in ("os", "sys", "torch.not_there", "torchx", ""):
        with pytest.raises(ImportError, match="wanted a loaded module of torch"):
            imported(name)


def test_every_listed_method_is_there_and_none_is_private_or_in_place():
    assert [name for name in ALLOWED["tensor"] - {"values", "indices"} if not hasattr(torch.Tensor, name)] == []
    assert [name for name in LISTED | KEYWORDS if name.startswith("_") or name.endswith("_")] == []
    assert ALLOWED["tensor"] > ATTRIBUTES
    assert ALLOWED["tensor"].isdisjoint(dir([]))  # lists would keep what a call does to them


def test_the_places_of_arguments_stop_before_out_and_inplace():
    for where, module in (("torch", torch), ("F", F)):
        for name in ALLOWED[where]:
            try:
                parameters = list(inspect.signature(getattr(module, name)).parameters)
            except (TypeError, ValueError):  # of torch's C part, or no function
                continue
            listed = next((i for i, p in enumerate(parameters) if p not in KEYWORDS), None)
            assert POSITIONAL.get(f"{where}.{name}") == listed, name


@pytest.mark.filterwarnings("ignore")
def test_no_listed_function_changes_its_tensor_however_it_is_called():
    # by the functions themselves, past the check: the wrappers must hold whatever arguments come
    names = namespace()
    held = [(f"{w}.{n}", f) for w in ("torch", "F") for n, f in vars(names[w]).items() if callable(f)]
    tried = 0
    for full, function in held:
        if isinstance(function, torch.dtype):
            continue
        for arguments in ((), (True,), (1,), (1, True), (1, 2, True), (2.0, 1, 1e-12), (2.0, 0, True), (None,) * 3):
            x = torch.linspace(-2, 2, 24).reshape(4, 6)
            before = x.clone()
            for given_last in ((), (x,)):
                try:
                    function(x, *arguments, *given_last)
                except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, AssertionError):
                    continue
                tried += 1
                assert torch.equal(x, before), (full, arguments)
    assert tried > 250
    x = torch.ones(3)
    for keyword in ({"out": x}, {"inplace": True}):
        with pytest.raises(TypeError, match="that are on the allow-list"):
            names["F"].relu(x, **keyword)


def test_an_alias_of_a_function_takes_no_other_arguments():
    x = torch.ones(3)
    for source in (
        body("f = F.relu\nreturn f(x, True)"),
        body("f = torch.sin\nreturn f(x, out=x)", "def g(out):\n    return out\n"),
    ):
        with pytest.raises(TypeError, match="that are on the allow-list"):
            run(source, x)


def test_every_listed_function_runs_in_a_fresh_process_without_another_import():
    script = """
import sys, torch
from actlab.candidates.program import Program, compile_program
torch.set_num_threads(1)
x = torch.linspace(-0.9, 0.9, 24, dtype=torch.float64).reshape(4, 6)
for source in sys.stdin.read().split("\\0"):
    compile_program(Program(source))(x)
"""
    sources = "\0".join(check(body(f"s = torch.sigmoid(x)\nresult = {c}\nreturn x")).source for c in calls())
    fresh = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], input=sources, capture_output=True, text=True
    )
    assert fresh.returncode == 0, fresh.stderr[-500:]


# --- bounded work ---


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        # calls within calls: 2 ** 40 of them, without a loop
        ("".join(f"def f{i}(x):\n    return f{i + 1}(f{i + 1}(x))\n" for i in range(40))
         + "def f40(x):\n    return x\n" + body("return f0(x)"), RuntimeError, "loop steps and calls"),
        # calls within loops within calls
        (body("y = x\nfor k in range(5000):\n    y = f(1)\nreturn x",
              "def f(x):\n    return sum(k for k in range(5000))\n"), RuntimeError, "loop steps and calls"),
        (body("return f(f, x)", "def f(g, x):\n    return g(g, x)\n"), RecursionError, "recursion"),
        (body("n = 3\nfor k in range(100):\n    n = n * n\nreturn x"), OverflowError, "integers below"),
        (body("n = 3\nfor k in range(100):\n    n = n ** 3\nreturn x"), OverflowError, "integers below"),
        (body("n = 3\nfor k in range(100):\n    n = n + n\nreturn x"), OverflowError, "integers below"),
        (body("t = [1]\nfor k in range(100):\n    t = t + t\nreturn x"), OverflowError, "10000 items"),
        (body("t = [1]\nfor k in range(100):\n    t = [*t, *t]\nreturn x"), OverflowError, "10000 items"),
        (body("t = (1,)\nfor k in range(100):\n    t = 3 * t\nreturn x"), OverflowError, "10000 items"),
        (body("t = 'tanh'\nfor k in range(100):\n    t = t + t\nreturn x"), OverflowError, "10000 items"),
        (body("t = [1] * 100\ny = sum([t for k in range(9999)], t)\nreturn x"), TypeError, "got a list"),
        (body("n = 99\ny = list(range(n * n * n))\nreturn x"), OverflowError, "range of at most 10000"),
        (body("return x * math.factorial(9999)"), OverflowError, "math.factorial of at most 20"),
        (body("return x * math.comb(9999, 5000)"), OverflowError, "math.comb of at most 60"),
        (body("f = lambda y: y\nfor i in range(9999):\n    y = f(f(x))\nreturn x"), RuntimeError, "loop steps"),
    ],
)  # fmt: skip
def test_work_that_no_reading_bounds_is_bounded_while_it_runs(source, error, said):
    with pytest.raises(error, match=said):
        run(source, torch.ones(2))


def test_the_work_of_a_module_is_bounded_too():
    source = "L = [k for k in range(6000)]\nM = [k for k in range(6000)]\n" + body("return x")
    with pytest.raises(RuntimeError, match="loop steps and calls"):
        compile_program(check(source))


def test_each_call_has_the_whole_bound_of_work():
    function = compile_program(check(body(f"y = 0\nfor k in range({MAX_LOOPS - 10}):\n    y = k\nreturn x + y")))
    for _ in range(3):
        assert float(function(torch.zeros(()))) == MAX_LOOPS - 11


def test_numbers_within_the_bounds_are_exact():
    source = body("return x + (2 ** 62 - 2 ** 61 * 2) + sum([3 ** 2, 2 ** -1, 2.0 ** 3, (-2) ** 3]) + len([1, 2] * 3)")
    assert float(run(source, torch.zeros((), dtype=torch.float64))) == 9 + 0.5 + 8 - 8 + 6


def test_a_program_keeps_no_state_from_call_to_call():
    function = compile_program(
        check(body("ts = [*T, 1.0]\nfor _ in range(3):\n    ts = ts + T\nreturn x * len(ts)", "T = [2.0]\n"))
    )
    assert [float(function(torch.ones(()))) for _ in range(3)] == [5.0] * 3


def test_checking_runs_nothing():
    source = "A = 1 / 0\n" + body("return x")
    with pytest.raises(ZeroDivisionError):
        compile_program(check(source))


def test_a_short_source_whose_canonical_form_is_long_is_refused():
    source = "def activation(x):\n" + "".join(" " * i + "if 1:\n" for i in range(1, 50)) + " " * 50 + "return x;" * 1200
    assert len(source) < MAX_CHARACTERS
    with pytest.raises(Refused, match="characters when written plainly; write at most 20000"):
        check(source)
