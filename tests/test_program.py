import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from actlab import activations
from actlab.program import Refused, check, compile_program


@pytest.mark.parametrize("name", activations.names())
def test_every_function_of_the_zoo_is_a_valid_candidate_with_the_same_values(name):
    program = check(activations.program_source(name))
    x = torch.linspace(-3, 3, 60, dtype=torch.float64).reshape(10, 6)
    assert torch.equal(compile_program(program)(x), activations.REGISTRY[name].function(x))


def test_the_canonical_form_drops_imports_comments_docstrings_and_annotations():
    source = '''
"""A module."""
import torch
import torch.nn.functional as F
import math

def activation(x: torch.Tensor) -> torch.Tensor:
    """A docstring."""
    y = F.relu(x)  # a comment
    return y*math.pi
'''
    program = check(source)
    assert program.source == "def activation(x):\n    y = F.relu(x)\n    return y * math.pi"
    assert check(program.source) == program
    x = torch.tensor([-1.0, 2.0])
    assert torch.equal(compile_program(program)(x), F.relu(x) * torch.pi)


ACCEPTED = {
    "a helper": "def half(x):\n    return x / 2\ndef activation(x):\n    return half(x)",
    "a constant": "A = 0.5\ndef activation(x):\n    return A * x",
    "a default": "def activation(x, a=0.5):\n    return a * x",
    "a loop": "def activation(x):\n    y = x\n    for i in range(3):\n        y = torch.sin(y)\n    return y",
    "a comprehension": "def activation(x):\n    return sum(torch.sin(k * x) for k in range(1, 4))",
    "a lambda": "def activation(x):\n    f = lambda y: y * y\n    return f(x)",
    "a condition over constants": "A = 2\ndef activation(x):\n    return x if A > 1 else -x",
    "neighbours": "def activation(x):\n    return x + torch.roll(x, 1, -1)",
    "moments": "def activation(x):\n    return x - x.mean(dim=0, keepdim=True).detach()",
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_the_language_has(kind):
    x = torch.ones(4, 2)
    assert compile_program(check(ACCEPTED[kind]))(x).shape == x.shape


BODY = "def activation(x):\n    {}\n    return x"
REFUSED = {
    "another import": ("import os\n" + BODY.format("pass"), 1, "import of os"),
    "import from": ("from torch import load\n" + BODY.format("y = x"), 1, "import of load"),
    "an in-place method": (BODY.format("y = x.add_(1)"), 2, "add_ of a tensor"),
    "an in-place operator": (BODY.format("x += 1"), 2, "AugAssign"),
    "a private attribute": (BODY.format("y = x._base"), 2, "_base"),
    "a dunder": (BODY.format("y = x.__class__"), 2, "__class__"),
    "a dunder name": (BODY.format("y = __builtins__"), 2, "__builtins__"),
    "a builtin": (BODY.format("y = open('f')"), 2, "open is not defined"),
    "eval": (BODY.format("y = eval('1')"), 2, "eval is not defined"),
    "a file": (BODY.format("y = torch.load('f')"), 2, "load of torch"),
    "a seed": (BODY.format("y = torch.manual_seed(0)"), 2, "manual_seed of torch"),
    "randomness": (BODY.format("y = torch.rand_like(x)"), 2, "rand_like of torch"),
    "dropout": (BODY.format("y = F.dropout(x)"), 2, "dropout of F"),
    "a module": (BODY.format("y = torch.nn.functional.relu(x)"), 2, "functional of torch.nn"),
    "a class": ("class A:\n    pass\n" + BODY.format("y = x"), 1, "ClassDef"),
    "while": (BODY.format("while True:\n        y = x"), 2, "While"),
    "try": (BODY.format("try:\n        y = x\n    except ValueError:\n        y = x"), 2, "Try"),
    "with": (BODY.format("with torch.no_grad():\n        y = x"), 2, "With"),
    "global": (BODY.format("global y"), 2, "Global"),
    "an f-string": (BODY.format("y = f'{x}'"), 2, "JoinedStr"),
    "a decorator": ("@F.relu\ndef activation(x):\n    return x", 2, "decorated"),
    "assignment to an item": (BODY.format("x[0] = 1"), 2, "assignment to an item"),
    "assignment to an attribute": (BODY.format("x.data = 1"), 2, "assignment"),
    "a name that shadows": (BODY.format("torch = 1"), 2, "the name torch"),
    "a huge integer": (BODY.format("y = 2 ** 99999999"), 2, "the integer 99999999"),
    "bytes": (BODY.format("y = b'x'"), 2, "constant of type bytes"),
    "no activation": ("def f(x):\n    return x", 1, "0 functions named activation"),
    "two arguments": ("def activation(x, y):\n    return x", 1, "other than one tensor"),
    "no Python": ("def activation(x:\n    return x", 1, "not Python"),
    "a null byte": ("def activation(x):\n    return x\0", 1, "not Python"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_the_check_refuses(kind):
    source, line, rule = REFUSED[kind]
    with pytest.raises(Refused) as refusal:
        check(source.replace("    pass\n    return", "    return"))
    assert rule in refusal.value.rule
    assert refusal.value.line == line
    assert refusal.value.advice
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "source",
    [
        "def activation(x):\n    return " + "-" * 500 + "x",
        "def activation(x):\n    return " + "+".join(["x"] * 3000),
        "x = 1\n" * 10_000,
        "def activation(x):\n    return " + "(" * 5000 + "x" + ")" * 5000,
    ],
    ids=["deep", "wide", "long", "parser"],
)
def test_sources_beyond_the_bounds_are_refused(source):
    with pytest.raises(Refused, match=r"nesting|nodes|characters|not Python"):
        check(source)


def test_a_program_reaches_no_builtins_but_those_listed():
    namespace = compile_program(check("def activation(x):\n    return x")).__globals__
    assert "open" not in namespace["__builtins__"]
    assert "eval" not in namespace["__builtins__"]


def test_a_program_does_not_hang_on_what_its_process_ran_before():
    program = "def activation(x):\n    return torch.where(x > 0, torch.clamp(x, min=1.0), 0.1 * x)"
    script = f"""
import torch
from actlab.program import check, compile_program
print(compile_program(check({program!r}))(torch.tensor([-1.0, 0.5, 2.0])).tolist())
"""
    fresh = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert fresh.stdout.strip() == str(torch.tensor([-0.1, 1.0, 2.0]).tolist())
