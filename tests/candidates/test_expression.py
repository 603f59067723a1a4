"""Expressions as candidate programs: what is typed is what is computed, and what is odd is refused in words."""

import math

import pytest
import torch

from actlab import activations
from actlab.candidates import program
from actlab.candidates.expression import Form, expression_of, source_of

X = torch.linspace(-3, 3, 42, dtype=torch.float64).reshape(6, 7)


def run(text):
    return program.compile_program(program.check(source_of(text)))(X)


def test_an_expression_becomes_a_program_of_one_line():
    assert source_of(" x*sigmoid(2*x) ") == "def activation(x):\n    return x * torch.sigmoid(2 * x)\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("softsign(x) + 0.1*sin(2*pi*x)", X / (1 + X.abs()) + 0.1 * torch.sin(2 * math.pi * X)),
        ("hardtanh(x) - abs(x)", X.clamp(-1, 1) - X.abs()),
        ("torch.sin(x) + F.silu(x) + math.pi", torch.sin(X) + X * torch.sigmoid(X) + math.pi),
        ("x - mean(x, dim=0, keepdim=True)", X - X.mean(dim=0, keepdim=True)),
        ("sum([sin(k*x) for k in range(1, 3)])", torch.sin(X) + torch.sin(2 * X)),
        ("(lambda e: e*e)(x)", X * X),  # e is torch's, too, but not here
        ("real(fft.fft(x)) + 0*x", torch.fft.fft(X).real),
    ],
)
def test_bare_names_mean_torchs_functions(text, wanted):
    torch.testing.assert_close(run(text), wanted)


@pytest.mark.parametrize("name", activations.names())
def test_every_function_of_the_zoo_has_its_name_in_an_expression(name):
    wanted = activations.REGISTRY[name].function
    bare = name.replace("-", "_")
    torch.testing.assert_close(run(f"{bare}(x)"), wanted(X))
    torch.testing.assert_close(run(f"{bare}(0.5*x) + x"), wanted(0.5 * X) + X)


def test_a_lone_function_of_the_zoo_is_its_own_program_and_shares_its_record():
    assert source_of("gelu_sine(x, amplitude=0.3)") == activations.program_source("gelu-sine", amplitude=0.3)


def test_one_function_with_two_sets_of_constants_is_two_functions():
    snake = activations.REGISTRY["snake"].function
    text = "snake(x, frequency=3) - snake(snake(x)) + qfw(x) + turbulent(x)"  # the last two share a helper
    others = activations.REGISTRY["qfw"].function(X) + activations.REGISTRY["turbulent"].function(X)
    torch.testing.assert_close(run(text), snake(X, 3.0) - snake(snake(X)) + others)


def test_a_form_is_what_its_formula_says():
    form = Form("snake", {"frequency": 2.0}, amplitude=0.5, frequency=3.0, decay=0.2, slope=-0.1)
    assert expression_of(form) == "snake(x, frequency=2) + 0.5*sin(3*x)*exp(-0.2*x*x) + -0.1*x"
    wanted = X + torch.sin(2 * X) ** 2 / 2 + 0.5 * torch.sin(3 * X) * torch.exp(-0.2 * X * X) - 0.1 * X
    torch.testing.assert_close(run(expression_of(form)), wanted)


def test_a_form_without_wave_and_line_is_its_base():
    assert source_of(expression_of(Form("leaky-relu"))) == activations.program_source("leaky-relu")


@pytest.mark.parametrize("text", ["def activation(x):\n    return x", "a = 2", "x +", "\0", "-" * 9000 + "x", ""])
def test_what_is_no_expression_stays_as_it_is(text):
    assert source_of(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("snake(x, amplitude=1)", "the constants of snake; write numbers by name; it has frequency"),
        ("snake(x, frequency=x)", "the constants of snake"),
        ("mish(x, **{})", "the constants of mish; write numbers by name; it has none"),
        ("snake(x, 2)", r"2 arguments of snake; write snake\(x\), constants by name"),
        ("snake(*x)", "1 arguments of snake"),
        ("open('a')", "the name open is not defined"),
        ("x.__class__", "__class__"),
        ("+".join(["x"] * 500), "nesting deeper"),
        ("sine + x", "the name sine is not defined"),
    ],
)
def test_what_breaks_a_rule_is_refused_and_says_why(text, reason):
    with pytest.raises(program.Refused, match=reason):
        program.check(source_of(text))
