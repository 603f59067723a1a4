"""The zoo against torch, formulas written out in numpy, and finite differences."""

import ast
import importlib
import inspect
import itertools
import math
import pickle
import sys
import typing
from pathlib import Path

import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.mathtext import MathTextParser

from actlab import activations
from actlab.activations import REGISTRY, get, names, program_source, tables
from actlab.activations.trainable import learnable

ALL = names()
POINTWISE = names(pointwise=True)
COUPLED = names(pointwise=False)
DTYPES = [torch.float64, torch.float32, torch.bfloat16]
GRID = np.linspace(-6, 6, 241) + 1e-3  # off the kinks, and across the seams of _sinc at 0.05


def normal(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def derivatives(function, x):
    """Value, first and second derivative of a pointwise function."""
    x = x.clone().requires_grad_()
    value = function(x)
    (first,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    return value.detach(), first.detach(), second


# --- oracles: torch's own functions --------------------------------------------------------------


TORCHS = {
    **{"relu": torch.nn.ReLU(), "leaky-relu": torch.nn.LeakyReLU(), "elu": torch.nn.ELU(), "selu": torch.nn.SELU()},
    **{"softplus": torch.nn.Softplus(), "softsign": torch.nn.Softsign(), "tanh": torch.nn.Tanh()},
    **{"silu": torch.nn.SiLU(), "mish": torch.nn.Mish(), "gelu": torch.nn.GELU(approximate="tanh")},
    "gelu-erf": torch.nn.GELU(),
}


@pytest.mark.parametrize("name", TORCHS)
def test_hand_made_functions_are_torchs_modules_with_their_default_constants(name):
    x = torch.cat([normal(100) * 5, torch.tensor([0.0, -50.0, 50.0], dtype=torch.float64)])
    torch.testing.assert_close(REGISTRY[name].function(x), TORCHS[name](x), rtol=1e-15, atol=1e-15)


def test_gelu_is_the_tanh_form_and_gelu_erf_the_other():
    x = torch.tensor([2.0], dtype=torch.float64)
    assert activations.gelu(x).item() == pytest.approx(1.9545976940877752, abs=1e-14)  # x/2 (1 + tanh ...)
    assert activations.gelu_erf(x).item() == pytest.approx(1.9544997361036416, abs=1e-14)  # x Phi(x)


# --- oracles: the formulas, written out in numpy -------------------------------------------------


def np_gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def np_sigmoid(x):
    return 1 / (1 + np.exp(-x))


def np_turbulent(x):
    z = (x - x.mean()) / (x.std() + 1e-6)
    return np.sign(x) * np.log(1 + 0.5 * np.abs(x)) + 0.2 * np.exp(-(z**2) / 2) * np.sin(2 * x)


def np_qfw(x):
    mean, std = x.mean(axis=0), x.std(axis=0)
    slope = np.where(x >= mean, 0.08, 0.02)
    return x * (0.02 + 1 / (1 + slope * np.abs(x - mean) ** (1 + np.exp(-std))))


def np_symmetric_phase_flipped(x):
    p, n = np.roll(x, 1, axis=-1), np.roll(x, -1, axis=-1)
    u = (x / 10) ** 2
    meta, amp = 1 + 2 * u * np.exp(-u / 1.5), 2 * u * np.exp(-u / 2)
    energy, lap = x**2 + (p**2 + n**2) / 4, x - (p + n) / 2
    a = np_sigmoid(2 * (energy - 100) / 100 + 5 * (lap / 10) ** 2)
    disrupt = (1 - a) * 0.2 * np.sin(15 * x) + a * 0.8 * np.sin(40 * x + 5 * lap)
    phase = x + 0.5 * x**2 * np.sign(x) / 10 + disrupt + 2 * (0.5 * p - n) / 10
    detail, g = amp * np.sin(phase), np.exp(-((np.abs(x) / 20) ** 4))
    plus = 10 * np.tanh((g * x + meta * detail) / 10)
    minus = 10 * np.tanh((g * x - meta * detail) / 10)
    return np.where(np.cos(50 * (x / 10) ** 3 + 0.5 * np.sin(25 * x / 10)) > 0, plus, minus)


def np_fisg(x):
    """The transform as sums of cosines and sines; conjugation turns the sign of the high band's sines."""
    n = x.shape[-1]
    frequencies, places = np.arange(n // 2 + 1), np.arange(n)
    angle = 2 * np.pi * np.outer(frequencies, places) / n
    real, imaginary = x @ np.cos(angle).T, -x @ np.sin(angle).T
    high = frequencies >= math.floor(0.5 * (n // 2 + 1))
    size = np.hypot(real, imaginary)
    gate = np.exp(-(size * high).sum(-1) / (size.sum(-1) + 1e-6))[:, None]
    weight = np.where((frequencies == 0) | (2 * frequencies == n), 1, 2) / n
    mirrored = np.where(high, -imaginary, imaginary)
    y = (weight * real) @ np.cos(angle) - (weight * mirrored) @ np.sin(angle)
    return gate * x + (1 - gate) * y


def np_quaternion(x):
    """With complex numbers and numpy's own Chebyshev polynomials, for A = B = 0.5, Bf = 2, Cf = 3."""
    chebyshev = [np.polynomial.chebyshev.Chebyshev.basis(degree) for degree in range(5)]
    y = np.sin(8 * x) ** 2
    cr = 0.1 * chebyshev[4](np.tanh(x))
    ci = (0.2 + 0.4 * (1 - y)) * chebyshev[3](np.tanh(2 * x))
    d = (0.1 + 0.2 * y) * chebyshev[2](np.tanh(1.5 * x))
    q = 0.5 * x**2 * np.exp(-0.5 * (x - cr) ** 2) * np.exp(1j * 2 * 0.5 * ci * (x - cr))
    qj = 0.5 * 0.5 * x**2 * np.exp(-0.5 * (x - d) ** 2) * np.sin(3 * x + ci)
    qk = 0.5 * 0.5 * x**2 * np.exp(-0.5 * (x + d) ** 2) * np.cos(2 * x - cr)
    return x * (1 - (q.real - 0.2 * q.imag - 0.15 * qj - 0.15 * qk))


def np_pler(x):
    state, reference = np_sigmoid(x), np.full_like(x, 0.3)
    weight = 2 / (1 + x**2 / 4) - 1  # 1 at 0, 0 at 2, towards -1
    for _ in range(3):
        state, reference = 3.8 * state * (1 - state), 3.8 * reference * (1 - reference)
        state = np.clip((1 - weight) * state + weight * reference, 0, 1)
    return x * state


NUMPY = {
    "sine": np.sin,
    "snake": lambda x: x + np.sin(x) ** 2,
    "gelu-sine": lambda x: np_gelu(x) + 0.1 * np.sin(x),
    "gelu-sinc": lambda x: np_gelu(x) * (1 + 0.5 * np.sinc(x)),
    "gmtu": lambda x: np.tanh(1.5 * x) * np.exp(-0.2 * x**2) + 0.1 * x,
    "leaky-sqrt-decay": lambda x: x * (0.02 + 1 / np.sqrt(1 + np.where(x >= 0, 0.16, 0.04) * x**2)),
    "turbulent": np_turbulent,
    "qfw": np_qfw,
    "symmetric-phase-flipped": np_symmetric_phase_flipped,
    "fisg": np_fisg,
    "quaternion": np_quaternion,
    "pler": np_pler,
}


@pytest.mark.parametrize("name", NUMPY)
@pytest.mark.parametrize("shape", [(9, 6), (8, 7)])
def test_formulas_agree_with_numpy(name, shape):
    x = normal(*shape).numpy() * 4
    result = REGISTRY[name].function(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(result, NUMPY[name](x), rtol=1e-12, atol=1e-12)


def test_every_function_of_the_paper_has_a_numpy_oracle():
    assert set(names(kind="paper")) <= set(NUMPY)


FORMULA_WORDS = {
    **{word: getattr(np, word) for word in ("pi", "abs", "arange", "clip", "conj", "cos", "exp", "expm1", "floor")},
    **{word: getattr(np, word) for word in ("log1p", "logaddexp", "maximum", "mean", "minimum", "roll", "sign")},
    **{word: getattr(np, word) for word in ("sin", "sinc", "sqrt", "std", "sum", "tanh", "where")},
    "erf": scipy.special.erf,
    "gelu": np_gelu,
    "irfft": np.fft.irfft,
    "rfft": np.fft.rfft,
    "sigmoid": np_sigmoid,
}


@pytest.mark.parametrize("name", ALL)
def test_the_formula_as_text_says_what_the_function_does(name):
    x = normal(9, 6, seed=1).numpy() * 3
    result, *definitions = REGISTRY[name].formula.split("; ")
    scope = FORMULA_WORDS | {"x": x}
    for definition in definitions:
        exec(definition, scope)
    expected = eval(result, scope)
    np.testing.assert_allclose(REGISTRY[name].function(torch.from_numpy(x)).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_the_latex_is_drawn_by_matplotlib(name):
    MathTextParser("path").parse(f"${REGISTRY[name].latex}$")


# --- oracles: derivatives ------------------------------------------------------------------------


@pytest.mark.parametrize("name", POINTWISE)
def test_derivatives_agree_with_finite_differences(name):
    function, x, step = REGISTRY[name].function, torch.from_numpy(GRID), 1e-5
    if name == "pler":  # leave out the neighbourhoods of the points where the clip begins to hold
        clipped = [b for a, b in itertools.pairwise(GRID) if (np_pler(a) == 0) != (np_pler(b) == 0)]
        x = x[[min(abs(g - c) for c in clipped) > 0.2 for g in GRID]]
    value, first, second = derivatives(function, x)
    value_right, first_right, _ = derivatives(function, x + step)
    value_left, first_left, _ = derivatives(function, x - step)
    torch.testing.assert_close(first, (value_right - value_left) / (2 * step), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(second, (first_right - first_left) / (2 * step), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(value, function(x))


@pytest.mark.parametrize("name", ["turbulent", "qfw", "symmetric-phase-flipped"])
def test_gradients_of_coupled_functions_agree_with_finite_differences(name):
    x = (normal(4, 5) * 2).requires_grad_()
    assert torch.autograd.gradcheck(REGISTRY[name].function, x, eps=1e-6, atol=1e-6)


def test_the_gradient_of_fisg_takes_its_gate_as_a_constant():
    x, direction = normal(4, 5) * 2, normal(4, 5, seed=1)
    sizes = torch.fft.rfft(x).abs()  # three bins, of which the last two are high
    gate = torch.exp(-sizes[:, 1:].sum(-1, keepdim=True) / (sizes.sum(-1, keepdim=True) + 1e-6))
    spectrum = torch.fft.rfft(direction)
    mirrored = torch.fft.irfft(torch.cat([spectrum[:, :1], spectrum[:, 1:].conj()], -1), n=5)
    jacobian = torch.func.jacrev(activations.fisg)(x)
    moved = torch.einsum("bfcg,cg->bf", jacobian, direction)
    torch.testing.assert_close(moved, gate * direction + (1 - gate) * mirrored)


def sinc_by_quadrature(x, order):
    """sinc(x) and its derivatives as integrals of cos(pi x t) over t in [0, 1]: nothing cancels near 0."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    t, weights = np.pi * (nodes + 1) / 2, weights / 2
    waves = [np.cos(np.outer(x, t)), -t * np.sin(np.outer(x, t)), -(t**2) * np.cos(np.outer(x, t))]
    return waves[order] @ weights


def test_our_sinc_and_its_derivatives_agree_with_an_integral_on_both_sides_of_the_seam():
    x = np.concatenate([np.geomspace(1e-9, 3, 60), np.array([0.0, 0.0499999, 0.05, 0.0500001])])
    x = np.concatenate([x, -x])
    found = derivatives(activations._sinc, torch.from_numpy(x))
    for order, tolerance in enumerate([1e-14, 1e-12, 1e-11]):
        np.testing.assert_allclose(found[order].numpy(), sinc_by_quadrature(x, order), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_our_sinc_has_the_derivatives_0_and_minus_pi_squared_thirds_at_0_also_under_vmap(dtype):
    zero = torch.zeros(3, dtype=dtype)
    first = torch.func.vmap(torch.func.grad(activations._sinc))
    second = torch.func.vmap(torch.func.grad(torch.func.grad(activations._sinc)))
    torch.testing.assert_close(first(zero), zero, rtol=0, atol=0)
    torch.testing.assert_close(second(zero), zero - math.pi**2 / 3, rtol=4 * torch.finfo(dtype).eps, atol=0)


# --- worked examples -----------------------------------------------------------------------------

AT_ZERO = {  # value and slope; relu, leaky-relu and selu have a kink there, and torch takes the left slope
    "relu": (0, 0),
    "leaky-relu": (0, 0.01),
    "elu": (0, 1),
    "selu": (0, 1.0507009873554805 * 1.6732632423543772),
    "softplus": (math.log(2), 0.5),
    "softsign": (0, 1),
    "tanh": (0, 1),
    "sine": (0, 1),
    "silu": (0, 0.5),
    "mish": (0, 0.6),  # tanh(log 2) = (4 - 1)/(4 + 1)
    "gelu": (0, 0.5),
    "gelu-erf": (0, 0.5),
    "snake": (0, 1),
    "gelu-sine": (0, 0.6),  # 0.5 + 0.1
    "gelu-sinc": (0, 0.75),  # 0.5 (1 + 0.5)
    "gmtu": (0, 1.6),  # 1.5 + 0.1
    "leaky-sqrt-decay": (0, 1.02),
    "quaternion": (0, 1),
    "pler": (0, 0.9018),  # the reference after three steps: 0.3, 0.798, 0.6125, 0.9018
}


def test_the_table_at_zero_names_every_pointwise_function():
    assert list(AT_ZERO) == POINTWISE, "add to AT_ZERO above, in the zoo's order, NAME: (value, slope) at 0"


@pytest.mark.parametrize("name", AT_ZERO)
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_value_and_slope_at_zero_are_those_of_the_formula(name, zero):
    value, slope, _ = derivatives(REGISTRY[name].function, torch.tensor([zero], dtype=torch.float64))
    tolerance = 1e-4 if name == "pler" else 1e-14
    assert (value.item(), slope.item()) == pytest.approx(AT_ZERO[name], abs=tolerance)


@pytest.mark.parametrize(
    ("name", "slope"),
    [
        ("turbulent", 0.9),  # 0.5 + 0.2 * 2
        ("qfw", 1.02),  # 0.02 + 1, since |x - b| = 0
        ("symmetric-phase-flipped", 1.0),  # M tanh(x/M), its detail being 0
    ],
)
def test_slope_at_zero_of_coupled_functions_at_the_mean_of_a_balanced_batch(name, slope):
    x = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
    jacobian = torch.func.jacrev(REGISTRY[name].function)(x)
    assert jacobian[1, 0, 1, 0].item() == pytest.approx(slope, abs=1e-6)


def test_turbulent_takes_mean_and_deviation_over_the_whole_tensor():
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]], dtype=torch.float64)  # mean 3, variance (4 + 1 + 9)/4 = 3.5
    z = (2.0 - 3.0) / (math.sqrt(3.5) + 1e-6)
    expected = math.log(2.0) + 0.2 * math.exp(-z * z / 2) * math.sin(4.0)
    assert activations.turbulent(x)[0, 1].item() == pytest.approx(expected, abs=1e-15)


def test_qfw_takes_mean_and_deviation_over_the_batch_axis():
    x = torch.tensor([[1.0, 10.0], [3.0, 10.0]], dtype=torch.float64)  # first column: mean 2, deviation 1
    v = 1 + math.exp(-1.0)
    expected = [
        [1.0 * (0.02 + 1 / (1 + 0.02 * 1.0**v)), 10 * 1.02],  # below the mean; at the mean
        [3.0 * (0.02 + 1 / (1 + 0.08 * 1.0**v)), 10 * 1.02],
    ]
    torch.testing.assert_close(activations.qfw(x), torch.tensor(expected, dtype=torch.float64))


def test_fisg_leaves_low_frequencies_alone_and_reverses_the_phase_of_high_ones():
    place = 2 * math.pi * torch.arange(8, dtype=torch.float64) / 8
    low, high = torch.sin(place), torch.sin(3 * place)  # bins 1 and 3 of 5, split at 2
    torch.testing.assert_close(activations.fisg(low[None]), low[None])
    share = 1 / math.e  # all of |F| is high: the gate is exp(-1), and the mirrored sine is -sine
    expected = (share - (1 - share)) * high[None]
    torch.testing.assert_close(activations.fisg(high[None]), expected, atol=1e-6, rtol=0)


def test_pler_locks_at_small_inputs_and_collapses_to_zero_at_large_ones():
    state = [activations.pler(torch.tensor([x], dtype=torch.float64)).item() / x for x in (0.01, 4.0, -50.0)]
    assert state == pytest.approx([0.9018, 0, 0], abs=1e-3)


def test_the_function_found_by_search_can_be_called_but_is_in_no_list_of_the_zoo():
    x = torch.tensor([-2.0, 0.0, 1.0], dtype=torch.float64)
    expected = [-math.sin(2) - 4, 0, math.sin(1) - 1]
    torch.testing.assert_close(activations.found(x), torch.tensor(expected, dtype=torch.float64))
    assert "found" not in REGISTRY


def test_a_module_calls_its_function_and_shows_its_constants():
    x = normal(4, 3)
    module = get("gelu-sine")(amplitude=0.2)
    assert repr(module) == "GELUSine(amplitude=0.2)"
    assert repr(get("relu")()) == "ReLU()"
    assert torch.equal(module(x), activations.gelu_sine(x, amplitude=0.2))
    assert torch.equal(get("gelu-sine")()(x), activations.gelu_sine(x, amplitude=0.1))
    assert issubclass(get("gelu-sine"), torch.nn.Module)


def test_a_program_has_its_constants_as_assignments_and_its_helpers_above_it():
    assert program_source("gelu-sine", amplitude=0.25) == (
        "def activation(x):\n"
        "    amplitude = 0.25\n"
        "    return F.gelu(x, approximate='tanh') + amplitude * torch.sin(x)\n"
    )
    assert [line for line in program_source("gelu-sinc").splitlines() if line.startswith("def ")] == [
        "def _sinc(x):",
        "def activation(x):",
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: get("gelu-sin"), r"^wanted an activation among gelu-sine, .*; got 'gelu-sin'$"),
        (lambda: program_source("swish"), r"^wanted an activation among .*silu.*; got 'swish'$"),
        (lambda: get("gmtu")(leek=0.2), r"^gmtu: wanted constants among \[steepness, .*\], got 'leek'$"),
        (lambda: program_source("relu", slope=1), r"^relu: wanted constants among \[\], got 'slope'$"),
        (
            lambda: get("snake")(frequency=0),
            r"^snake: wanted a number other than 0, by which it divides, for frequency",
        ),
        (lambda: program_source("pler", radius=0), r"^pler: wanted a number other than 0, .*, for radius; got 0$"),
        (lambda: get("fisg")(split=1.5), r"^fisg: wanted a share from 0 to 1, for split; got 1.5$"),
        (lambda: activations.fisg(torch.tensor(1.0)), r"^fisg: wanted x \[batch, ..., features\], .* without axes$"),
        (lambda: get("gmtu")(leak=math.nan), r"^gmtu: wanted a finite number for leak, got nan$"),
        (lambda: get("gmtu")(leak="0.2"), r"^gmtu: wanted a finite number for leak, got '0.2'$"),
        (lambda: names(kind="papers"), r"^wanted kind in \('hand-made', 'paper'\), got 'papers'$"),
        (
            lambda: activations.register("", "", "", "", kind="paper", fidelity="sure"),
            r"^wanted one of .*'reconstructed'\), got 'paper' and 'sure'$",
        ),
    ],
)
def test_what_is_unknown_gets_one_line_that_says_what_was_wanted(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: get("gelu-sine")(0.2), r"constants by name, .*: get\('gelu-sine'\)\(amplitude=0.2\)\(x\); got 0.2$"),
        (lambda: get("GMTU")(2, 1), r"^gmtu: .*\(steepness=2, decay=1, leak=0.1\)\(x\); got 2$"),
        (lambda: get("relu")(torch.ones(1)), r"^relu: wanted .*: get\('relu'\)\(\)\(x\); got tensor"),
    ],
)
def test_constants_without_their_names_are_told_what_to_write(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize("name", [name for name in ALL if REGISTRY[name].constants])
def test_a_constant_gives_finite_values_or_is_refused(name):
    x = torch.linspace(-6, 6, 60, dtype=torch.float64).reshape(10, 6)
    for key in REGISTRY[name].constants:
        for value in (-2.0, -1.0, -0.5, 0.0, 1e-3, 0.5, 1.0, 2.0):
            limit = REGISTRY[name].limits.get(key)
            if limit is None or limit.holds(value):
                inputs = x.clone().requires_grad_()
                y = get(name)(**{key: value})(inputs)
                (slope,) = torch.autograd.grad(y.sum(), inputs)
                assert torch.isfinite(y).all() and torch.isfinite(slope).all(), (key, value)
            else:
                with pytest.raises(ValueError, match=f"^{name}: wanted a .*, for {key}; got {value}$"):
                    get(name)(**{key: value})


HAND_MADE = "relu leaky-relu elu selu softplus softsign tanh sine silu mish gelu gelu-erf snake"
OF_THE_PAPER = "gelu-sine gelu-sinc gmtu leaky-sqrt-decay quaternion pler turbulent qfw symmetric-phase-flipped fisg"


def test_the_registry_holds_the_zoo():
    assert " ".join(ALL) == f"{HAND_MADE} {OF_THE_PAPER}", "add the new name to HAND_MADE above, in the zoo's order"
    assert names(kind="hand-made") == names(kind="hand-made", pointwise=True) == HAND_MADE.split()
    assert names(kind="paper") == OF_THE_PAPER.split()
    assert COUPLED == ["turbulent", "qfw", "symmetric-phase-flipped", "fisg"]
    fidelity = {name: entry.fidelity for name, entry in REGISTRY.items() if entry.fidelity != "exact"}
    assert fidelity == {"quaternion": "reconstructed", "pler": "reconstructed", "fisg": "completed"}
    assert all("[ours]" in REGISTRY[name].note for name in fidelity)
    assert len({entry.label for entry in REGISTRY.values()}) == len(ALL)


def listed(source):
    """The literal tuples, lists and sets of a module that hold five names of the zoo or more."""
    literals = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Tuple | ast.List | ast.Set)]
    named = [[part.value for part in node.elts if isinstance(part, ast.Constant)] for node in literals]
    return [found for found in named if len(set(found) & set(ALL)) >= 5]


def test_one_list_says_which_function_stands_in_which_table():
    every = (tables.TABLE_1, tables.HAND_MADE, tables.MULTIVERSE, tables.DOWNSTREAM, tables.CONSTANTS)
    assert {name for names in every for name in names} <= {*ALL, tables.FOUND}
    package = Path(tables.__file__).parents[1]
    found = {path.relative_to(package).as_posix(): listed(path.read_text()) for path in package.rglob("*.py")}
    papers = {"core/paper.py", "studies/claim_rules.py"}  # numbers and claims, which name the functions of the paper
    assert {path for path, lists in found.items() if lists} - papers == {"activations/tables.py"}
    for page in ("CONTRIBUTING.md", "docs/guide.md"):
        assert "`activations/tables.py`" in (package.parent / page).read_text()


# --- properties ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0,), (0, 3, 4), (2, 0, 3)])
def test_an_empty_batch_has_an_empty_result_and_an_empty_gradient(name, shape):
    x = torch.zeros(shape, requires_grad=True)
    y = REGISTRY[name].function(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.shape == gradient.shape == shape


@pytest.mark.parametrize("name", ALL)
def test_in_half_precision_values_and_slopes_are_finite_as_far_as_the_type_goes(name):
    for far in (200.0, 300.0, 1e3, 1e4, 6e4):
        x = torch.tensor([[far, -far, 1.0], [0.0, -2.0, far / 2]], dtype=torch.float16, requires_grad=True)
        y = REGISTRY[name].function(x)
        (slope,) = torch.autograd.grad(y.float().sum(), x)
        assert y.dtype == torch.float16, "give back the type of x"
        finite = torch.isfinite(y).all() and torch.isfinite(slope).all()
        assert finite, f"at {far:g}: add @in_float32 over the function if a step inside leaves the type's range"


@pytest.mark.parametrize("name", POINTWISE)
@pytest.mark.parametrize("dtype", DTYPES)
def test_value_and_two_derivatives_are_finite_at_0_and_far_out_in_the_dtype_of_the_input(name, dtype):
    x = torch.tensor([-50.0, -1e-3, -0.0, 0.0, 1e-3, 50.0], dtype=dtype)
    for result in derivatives(REGISTRY[name].function, x):
        assert result.dtype == dtype
        assert torch.isfinite(result).all()


BATCHES = {
    "random": lambda dtype: normal(6, 3, 5, dtype=dtype),
    "constant": lambda dtype: torch.full((6, 5), 0.3, dtype=dtype),
    "zero": lambda dtype: torch.zeros(6, 5, dtype=dtype),
    "constant along the batch": lambda dtype: normal(1, 5, dtype=dtype).repeat(6, 1),
    "of one": lambda dtype: normal(1, 5, dtype=dtype),
    "of one element": lambda dtype: normal(1, 1, dtype=dtype),
    "far out": lambda dtype: normal(6, 5, dtype=dtype) * 50,
}


@pytest.mark.parametrize("name", COUPLED)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("stacked", [False, True])
def test_coupled_functions_and_their_gradients_are_finite_on_every_batch(name, dtype, batch, stacked):
    function = torch.func.vmap(REGISTRY[name].function) if stacked else REGISTRY[name].function
    x = BATCHES[batch](dtype)
    x = (torch.stack([x, x]) if stacked else x).requires_grad_()
    y = function(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert (y.shape, y.dtype, gradient.dtype) == (x.shape, dtype, dtype)
    assert torch.isfinite(y).all()
    assert torch.isfinite(gradient).all()


TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 0.04}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", DTYPES)
def test_vmap_over_models_equals_a_loop_over_models_in_value_and_gradient(name, dtype):
    function = REGISTRY[name].function
    scale = torch.tensor([0.5, 1.0, 2.0], dtype=dtype)[:, None, None]  # models whose statistics differ
    x = (normal(3, 8, 6, dtype=dtype) * scale).requires_grad_()
    weight = normal(3, 8, 6, dtype=dtype, seed=1)
    stacked = torch.func.vmap(function)(x)
    looped = torch.stack([function(model) for model in x])
    tolerance = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    torch.testing.assert_close(stacked, looped, **tolerance)
    (gradient,) = torch.autograd.grad((stacked * weight).sum(), x)
    (expected,) = torch.autograd.grad((looped * weight).sum(), x)
    torch.testing.assert_close(gradient, expected, **tolerance)
    inner = torch.func.vmap(torch.func.grad(lambda model, w: (function(model) * w).sum()))(x.detach(), weight)
    torch.testing.assert_close(inner, expected, **tolerance)


@pytest.mark.parametrize("name", ALL)
def test_pointwise_says_whether_one_element_moves_the_others(name):
    x = normal(5, 6)
    moved = x.clone()
    moved[0, 0] += 0.7
    others = torch.ones(5, 6, dtype=torch.bool)
    others[0, 0] = False
    function = REGISTRY[name].function
    assert torch.equal(function(x)[others], function(moved)[others]) == REGISTRY[name].pointwise


@pytest.mark.parametrize("name", ALL)
def test_the_input_is_left_as_it_was(name):
    x = normal(4, 5)
    before = x.clone()
    REGISTRY[name].function(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", ALL)
def test_a_module_survives_pickle_with_its_constants(name):
    constants = {key: value * 1.25 for key, value in REGISTRY[name].constants.items()}
    module = get(name)(**constants)
    copy = pickle.loads(pickle.dumps(module))
    assert type(copy) is type(module)
    assert copy.constants == constants


def test_the_package_shows_its_functions_and_its_readers():
    assert {"gelu_sine", "found", "get", "names", "program_source", "registry", "zoo"} <= set(dir(activations))


def test_every_public_function_has_types_which_an_editor_reads():
    public = [getattr(activations, name) for name in dir(activations)] + [learnable]
    functions = [function for function in public if inspect.isfunction(function)]
    assert len(functions) > len(ALL)
    for function in functions:
        hints = typing.get_type_hints(function)
        assert set(hints) == {*inspect.signature(function).parameters, "return"}, function
    assert typing.get_type_hints(activations.fisg)["split"] is float


def test_module_classes_are_listed_under_the_names_of_the_figures():
    classes = {name: value for name in dir(activations) if isinstance(value := getattr(activations, name), type)}
    of_functions = {name: c for name, c in classes.items() if hasattr(c, "activation")}
    assert set(of_functions.values()) == {get(name) for name in ALL}
    assert all(c.__name__ == name and getattr(activations.zoo, name) is c for name, c in of_functions.items())
    assert {"GELUSine", "GELUSinc", "GMTU", "QFW", "LeakySqrtDecay", "PhaseFlipped", "ReLU"} <= set(of_functions)


@pytest.mark.parametrize("name", ALL)
def test_a_name_is_read_in_any_case_with_any_signs_and_as_the_label(name):
    label = REGISTRY[name].label
    spellings = [name.upper(), name.replace("-", "_"), name.replace("-", ""), name.title().replace("-", " "), label]
    for spelling in [*spellings, label.lower(), label.replace(" ", ""), get(name).__name__]:
        assert get(spelling) is get(name), spelling
        assert program_source(spelling) == program_source(name)


def test_a_name_is_read_as_the_paper_writes_it():
    written = [
        "GELU-Sinc-Perturbation",
        "Quaternion-Inspired",
        "Fourier-Informed Spectral Gating",
        "Symmetric Phase-Flipped",
    ]
    assert [get(name).activation.name for name in written] == [
        "gelu-sinc",
        "quaternion",
        "fisg",
        "symmetric-phase-flipped",
    ]


def test_a_pickle_of_version_0_1_is_read():
    assert pickle.loads(b"\x80\x04cactlab.activations.zoo\nGeluSine\n.") is get("gelu-sine")


@pytest.fixture
def registered():
    """Registers functions and takes them out again."""
    before = dict(REGISTRY)
    yield lambda function, label="Bent", **more: activations.register(label, "", "x", "a test", **more)(function)
    REGISTRY.clear()
    REGISTRY.update(before)


def test_a_function_that_is_registered_again_takes_the_place_of_the_one_before(registered):
    for factor in (2.0, 3.0):

        def bent(x, a=factor):
            """Bent."""
            return a * x

        registered(bent)
        module = get("bent")()
        assert module.constants == {"a": factor} and module(torch.ones(1)).item() == factor
        assert activations.Bent is get("Bent") and learnable("bent").constants == {"a": factor}
        assert pickle.loads(pickle.dumps(module))(torch.ones(1)).item() == factor


def test_a_module_that_is_loaded_again_gives_its_new_source(registered, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for factor in (2, 3_000):
        (tmp_path / "of_mine.py").write_text(f"def bent_again(x):\n    return {factor} * x\n")
        importlib.invalidate_caches()
        module = importlib.reload(sys.modules["of_mine"]) if factor > 2 else importlib.import_module("of_mine")
        registered(module.bent_again)
        assert program_source("bent-again") == f"def activation(x):\n    return {factor} * x\n"
    del sys.modules["of_mine"]


def bent(x):
    """Bent."""
    return 2 * x


@pytest.mark.parametrize("label", ["GELU", "gelu sine", "GELU-Sinc-Perturbation"])
def test_a_label_is_of_one_function(registered, label):
    with pytest.raises(ValueError, match=r"^bent: wanted a name and a label of its own; gelu\S* has that of '"):
        registered(bent, label)


def test_the_module_has_no_other_attributes():
    with pytest.raises(AttributeError, match=r"wanted one of .*, gelu_sine, .*; came 'Swish'"):
        _ = activations.Swish


def run(source):
    scope = {"torch": torch, "math": math, "F": F}
    exec(compile(source, "<program>", "exec"), scope)
    return scope["activation"]


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(factors=st.lists(st.floats(0.5, 1.5), min_size=5, max_size=5), seed=st.integers(0, 99))
def test_a_program_gives_the_functions_values_to_the_bit_at_any_constants(name, factors, seed):
    defaults = REGISTRY[name].constants
    constants = {key: value * factor for (key, value), factor in zip(defaults.items(), factors, strict=False)}
    x = normal(7, 6, seed=seed) * 3
    assert torch.equal(run(program_source(name))(x), REGISTRY[name].function(x))
    assert torch.equal(run(program_source(name, **constants))(x), REGISTRY[name].function(x, **constants))


FORBIDDEN = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.While, ast.Try, ast.With, ast.AugAssign)


@pytest.mark.parametrize("name", ALL)
def test_a_program_is_in_the_language_of_candidates(name):
    tree = ast.parse(program_source(name))
    nodes = list(ast.walk(tree))
    assert not [node for node in nodes if isinstance(node, FORBIDDEN)]
    assert not [node for node in nodes if isinstance(node, ast.Attribute) and node.attr.startswith("_")]
    assert not [node for node in nodes if isinstance(node, ast.arg) and node.annotation]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    assert not [node for node in functions if ast.get_docstring(node) or node.decorator_list or node.returns]
    loaded = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)} | {node.name for node in functions}
    assert loaded - bound <= {"torch", "math", "F", "range"}


@pytest.mark.parametrize("name", ALL)
def test_every_constant_matters(name):
    x = normal(8, 6) * 3
    function = REGISTRY[name].function
    for key, value in REGISTRY[name].constants.items():
        assert not torch.equal(function(x), function(x, **{key: value * 1.5})), key
