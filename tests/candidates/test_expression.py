"""Expressions as candidate programs: what is typed is what is computed, and what is odd is refused in words."""

import contextlib
import math

import pytest
import torch

from actlab import activations
from actlab.candidates import program
from actlab.candidates.expression import Form, expression_of, source_of
from actlab.candidates.language import ALLOWED, PAIRS

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


@pytest.mark.parametrize("name", activations.names())
def test_every_formula_of_the_zoo_runs_as_it_is_printed(name):
    """It has the function's values, slopes and dtype; no x is at a corner, where a slope is a choice."""
    entry = activations.REGISTRY[name]
    typed = program.compile_program(program.check(source_of(entry.formula)))
    for dtype in (torch.float64, torch.float32):
        x = torch.randn(6, 7, dtype=dtype, generator=torch.Generator().manual_seed(0)).requires_grad_()
        results = [function(x) for function in (typed, entry.function)]
        torch.testing.assert_close(*results)
        if dtype is torch.float64:
            slopes = [torch.autograd.grad(result.sum(), x)[0] for result in results]
            torch.testing.assert_close(*slopes, atol=1e-6, rtol=1e-5)


def full(value):
    return torch.full_like(X, value)


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_a_number_stands_for_a_tensor_in_every_function_of_two(name):
    function = getattr(torch, name)
    for text in (f"{name}(2, x)", f"torch.{name}(2, x)"):
        torch.testing.assert_close(run(text), function(full(2), X), equal_nan=True)
    torch.testing.assert_close(run(f"{name}(x, -(3/2))"), function(X, full(-1.5)), equal_nan=True)


def test_every_function_of_two_tensors_takes_a_number_for_one():
    def takes_two(name):
        with contextlib.suppress(TypeError, RuntimeError, IndexError):
            return getattr(torch, name)(X, full(1)).shape == X.shape
        return False

    ends = {"clamp", "clip", "max", "min"}  # whose second argument may be a number in torch, too
    assert {name for name in ALLOWED["torch"] if takes_two(name)} - ends == PAIRS


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("x*g; g = sigmoid(2*x)", X * torch.sigmoid(2 * X)),
        ("g = sigmoid(2*x)\nh = x + 0\nh*g", X * torch.sigmoid(2 * X)),
        ("x*f(1) - c; f = lambda k: 2*k; c = sqrt(2/pi)", 2 * X - math.sqrt(2 / math.pi)),
        ("maximum(c, x); c = 2 - sqrt(4)", torch.relu(X)),
        ("where(x >= 0, 0.1, 0.2)", torch.where(X >= 0, full(0.1), full(0.2))),
        ("x - std(x)", X - X.std(correction=0)),
        ("x - var(x, axis=0)", X - X.var(dim=0, correction=0)),
        ("x - std(x, unbiased=True)", X - X.std()),
        ("x - torch.std(x)", X - X.std()),
        ("x - sum(x, axis=-1, keepdims=True)", X - X.sum(dim=-1, keepdim=True)),
        ("x - max(x, axis=0)", X - X.amax(dim=0)),
        ("roll(x, 1, axis=-1) + flip(x, axis=(0,))", torch.roll(X, 1, -1) + X.flip(0)),
        ("irfft(rfft(x), 7)", X),
        ("x*floor(n/2); n = x.shape[-1]", 3 * X),
        ("x*exp(1) + abs(-2)", X * math.e + 2),
        ("maximum(pi, x); pi = 0*x", torch.relu(X)),  # a name that is taken is no number
    ],
)
def test_expressions_are_read_as_numpy_reads_them(text, wanted):
    torch.testing.assert_close(run(text), wanted)


def test_a_lone_function_of_the_zoo_is_its_own_program_and_shares_its_record():
    assert source_of("gelu_sine(x, amplitude=0.3)") == activations.program_source("gelu-sine", amplitude=0.3)


def test_one_function_with_two_sets_of_constants_is_two_functions():
    snake = activations.REGISTRY["snake"].function
    text = "snake(x, frequency=3) - snake(snake(x)) + qfw(x) + turbulent(x)"  # the last two share a helper
    others = activations.REGISTRY["qfw"].function(X) + activations.REGISTRY["turbulent"].function(X)
    torch.testing.assert_close(run(text), snake(X, 3.0) - snake(snake(X)) + others)


@pytest.mark.parametrize("text", ["GELUSine(x)", "gelusine(x)", "Gelu_Sine(x, amplitude=0.1)"])
def test_functions_of_the_zoo_are_read_in_any_spelling(text):
    assert source_of(text) == source_of("gelu_sine(x)") == activations.program_source("gelu-sine")
    assert torch.equal(run("PhaseFlipped(x) + Tanh(x)"), activations.symmetric_phase_flipped(X) + torch.tanh(X))


def test_a_form_is_what_its_formula_says():
    form = Form("snake", {"frequency": 2.0}, amplitude=0.5, frequency=3.0, decay=0.2, slope=-0.1)
    assert expression_of(form) == "snake(x, frequency=2) + 0.5*sin(3*x)*exp(-0.2*x*x) + -0.1*x"
    wanted = X + torch.sin(2 * X) ** 2 / 2 + 0.5 * torch.sin(3 * X) * torch.exp(-0.2 * X * X) - 0.1 * X
    torch.testing.assert_close(run(expression_of(form)), wanted)


def test_a_form_without_wave_and_line_is_its_base():
    assert source_of(expression_of(Form("leaky-relu"))) == activations.program_source("leaky-relu")


@pytest.mark.parametrize(
    "text",
    [
        "def activation(x):\n    return x",
        "a = 2",
        "a = 2; b = 3",
        "x; x",
        "x +",
        "x; a: int = 2",
        "\0",
        "-" * 9000 + "x",
        "",
    ],
)
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
