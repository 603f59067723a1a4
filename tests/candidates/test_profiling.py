"""What is found by running a candidate: its behaviour, its cost, its traits, and whether it is one that is known."""

import contextlib
import dataclasses
import json
import math
import warnings

import pytest
import torch
from candidate_calls import calls
from hypothesis import given, settings
from hypothesis import strategies as st

from actlab import activations
from actlab.candidates.cost import (
    LAB,
    MAX_OPERATIONS,
    PRODUCTS,
    SHAPES,
    SORTS,
    TRANSFORMS,
    UNLISTED,
    WEIGHTS,
    Count,
    flops_an_element,
    probe,
    weight_of,
)
from actlab.candidates.profiling import describe, fingerprint, misbehaviour, traits
from actlab.candidates.program import Refused, check, compile_program
from actlab.core import config
from actlab.core.config import PASSES


def program(expression):
    return f"def activation(x):\n    return {expression}"


def compiled(expression):
    return compile_program(check(program(expression)))


# --- cost ---


def test_cost_is_counted_by_the_documented_weights():
    worked = {  # ReLU 1; sine 8; product and sum 1 each: 0.1 * sin(x) + x
        "F.relu(x)": 1.0,
        "torch.sin(x)": 8.0,
        "x + 0.1 * torch.sin(x)": 10.0,
        "x / (1 + torch.abs(x))": 6.0,
        "x.transpose(0, 1).transpose(0, 1)": 0.0,
        "torch.roll(x, 1, -1)": 1.0,  # what moves elements costs as much as what adds them
        "x ** 2": 1.0,
        "x ** 2.5": 8.0,
        "x - x.sum(dim=0, keepdim=True)": 2.0,  # one an element that is summed
    }
    for expression, cost in worked.items():
        assert flops_an_element(compiled(expression), [(64, 64)]) == cost, expression


def test_a_training_step_costs_its_backward_pass_too():
    worked = {
        "F.relu(x)": 1 + 1,
        "torch.sin(x)": 8 + 8 + 1,  # its cosine, times what comes back
        "torch.tanh(x)": 8 + 4,
        "2.0 * torch.sin(x)": 9 + 1 + 9,
    }
    for expression, cost in worked.items():
        assert flops_an_element(compiled(expression), [(64, 64)], training=True) == cost, expression


def test_matrix_products_sorts_and_transforms_cost_by_their_length():
    # [64, 32]: x @ (x^T x) is twice 2 * 64 * 32 * 32; sorting 32 features takes 2 log2(32) steps an element
    assert flops_an_element(compiled("x @ (x.mT @ x)"), [(64, 32)]) == 2 * 2 * 32
    assert flops_an_element(compiled("torch.sort(x, dim=-1)[0]"), [(32, 32)]) == 2 * 5
    # a real transform there and back: 2.5 log2(32) each, on 17 complex numbers of two parts for 32 real ones
    cost = flops_an_element(compiled("torch.fft.irfft(torch.fft.rfft(x, dim=-1), n=32, dim=-1)"), [(32, 32)])
    assert 2 * 2.5 * 5 <= cost < 2 * 2.5 * 5 * 1.1 + 1


def test_a_loop_costs_each_of_its_steps():
    source = "def activation(x):\n    for _ in range(7):\n        x = torch.sin(x)\n    return x"
    assert flops_an_element(compile_program(check(source)), [(64, 64)]) == 7 * 8.0


def test_operations_on_single_numbers_are_not_free():
    source = (
        "def activation(x):\n    s = x.mean()\n    for _ in range(500):\n        s = torch.sin(s)\n    return x + s"
    )
    cost = flops_an_element(compile_program(check(source)), [(64, 32)])
    assert cost > 500 * 8 * 64 / (64 * 32)


@pytest.mark.parametrize(
    "expression",
    [
        "torch.sin(x) if x.shape[0] == 64 else x",
        "torch.sin(x) if x.shape[-1] == 32 else x",
        "torch.sin(x) if x.ndim > 2 else x",
        "torch.sin(x) if x.dtype == torch.float32 else x",
    ],
)
def test_a_program_that_is_cheap_at_one_shape_or_type_is_not_cheap(expression):
    assert flops_an_element(compiled(expression)) == 8.0


def test_the_labs_own_shapes_are_among_those_that_are_counted():
    lab, tasks = config.LabConfig(), config.TaskConfig()
    assert {(lab.batch, lab.width), (tasks.ood_points, lab.width)} <= set(SHAPES)
    assert (lab.batch, lab.width) == LAB


def test_views_are_free_but_not_without_number():
    source = "def activation(x):\n    y = x\n    for _ in range({}):\n        y = y.mT\n    return x + y"
    assert flops_an_element(compile_program(check(source.format(100)))) == 1.0
    many = compile_program(check(source.format(MAX_OPERATIONS + 2)))
    with pytest.raises(RuntimeError, match=f"at most {MAX_OPERATIONS} tensor operations"):
        flops_an_element(many)
    more = compile_program(check(source.format(PASSES * MAX_OPERATIONS)))
    assert flops_an_element(many, training=True) > 0
    with pytest.raises(RuntimeError, match=f"at most {PASSES * MAX_OPERATIONS} tensor operations"):
        flops_an_element(more, training=True)


@pytest.mark.filterwarnings("ignore")
def test_every_operation_that_a_program_can_reach_has_a_weight_and_changes_nothing():
    x = torch.linspace(-0.9, 0.9, 24, dtype=torch.float64).reshape(4, 6)
    before, reached = x.clone(), set()
    for call in calls():
        source = f"def activation(x):\n    s = torch.sigmoid(x)\n    return {call}"
        x.requires_grad_()
        with Count() as count:
            result = compile_program(check(source))(x)
            results = [result] if isinstance(result, torch.Tensor) else result if isinstance(result, tuple) else []
            results = [y.abs() for y in results if isinstance(y, torch.Tensor) and y.requires_grad]
            with contextlib.suppress(RuntimeError):  # what has no derivative
                torch.autograd.grad([y.sum() for y in results], x, allow_unused=True) if results else None
        x = x.detach()
        assert torch.equal(x, before), call
        special = {*SORTS, *TRANSFORMS, *PRODUCTS}
        seen = {name for name, _ in count.ran}
        assert not [name for name in seen - special if weight_of(name) == UNLISTED], call
        reached |= seen
    assert len(reached & WEIGHTS.keys()) > 100
    assert max(WEIGHTS.values()) < UNLISTED


def test_cost_is_reported_relative_to_relu_and_gelu():
    description = describe(activations.program_source("gelu"))
    assert (description.flops_gelu, description.flops_relu) == (1.0, description.flops)


def test_the_budget_is_what_the_costliest_function_of_the_paper_costs():
    costs = {n: describe(activations.program_source(n)).flops for n in activations.names(kind="paper")}
    assert config.Limits().flops == math.ceil(max(costs.values()))
    assert max(costs, key=costs.get) == "symmetric-phase-flipped"


def test_the_zoo_is_within_the_budget_of_training_and_a_costly_backward_pass_is_not():
    limits = config.Limits()
    costs = [describe(activations.program_source(name)).flops_training for name in activations.names()]
    assert 0.5 * limits.training < max(costs) < limits.training
    found = describe(program("sum([x / (k + torch.abs(x)) for k in range(1, 27)])"))
    assert found.flops < limits.flops
    assert found.flops_training > limits.training


# --- traits ---

TRAITS = {
    "relu": (True, "neither", True, False, 0, "constant 0", "linear 1"),
    "leaky-relu": (True, "neither", True, False, 0, "linear 0.01", "linear 1"),
    "elu": (True, "neither", True, False, 0, "constant -1", "linear 1"),
    "softsign": (True, "odd", True, True, 0, "constant -1", "constant 1"),
    "tanh": (True, "odd", True, True, 0, "constant -1", "constant 1"),
    # slopes change at +-pi/2, +-3 pi/2, +-5 pi/2
    "sine": (True, "odd", False, True, 6, "oscillating", "oscillating"),
    "gelu": (True, "neither", False, False, 1, "constant 0", "linear 1"),
    "gelu-sine": (True, "neither", False, False, 3, "oscillating", "linear 1"),
    "gmtu": (True, "odd", False, False, 4, "linear 0.1", "linear 0.1"),
    "snake": (True, "neither", True, False, 0, "linear 1", "linear 1"),
    "turbulent": (False, "odd", False, False, 12, "sublinear", "sublinear"),
    "qfw": (False, "neither", True, False, 0, "linear 0.02", "linear 0.02"),
    "symmetric-phase-flipped": (False, "odd", False, True, 186, "constant 0", "constant 0"),
}


@pytest.mark.parametrize("name", TRAITS)
def test_traits_of_known_functions(name):
    found = describe(activations.program_source(name)).traits
    assert tuple(found.values()) == TRAITS[name]
    assert list(found) == ["pointwise", "parity", "monotone", "bounded", "oscillations", "left", "right"]


ENDS = {
    "torch.atan(x)": ("constant -1.57", "constant 1.57"),
    "2.0 * x + 3.0": ("linear 2", "linear 2"),
    "torch.abs(x)": ("linear -1", "linear 1"),
    "torch.sqrt(1 + x * x)": ("linear -1", "linear 1"),
    "x * torch.abs(x)": ("superlinear", "superlinear"),
    "torch.exp(x)": ("constant 0", "superlinear"),
    "torch.sign(x) * torch.log1p(torch.abs(x))": ("sublinear", "sublinear"),
    "torch.sqrt(1 + torch.abs(x))": ("sublinear", "sublinear"),
    "x * torch.sin(x)": ("swinging", "swinging"),
    "x + torch.sin(x)": ("linear 1", "linear 1"),
    "F.silu(x) + 0.1 * torch.sin(2 * x)": ("oscillating", "linear 1"),  # a wave that looks smooth at one distance
    "torch.cos(x) + F.relu(x)": ("oscillating", "linear 1"),
    "x * torch.exp(-x * x)": ("constant 0", "constant 0"),
    "1e-6 * torch.tanh(x)": ("constant -1e-06", "constant 1e-06"),
    # spelled so that it overflows far out
    "(torch.exp(x) - torch.exp(-x)) / (torch.exp(x) + torch.exp(-x))": ("constant -1", "constant 1"),
    "x * torch.exp(x) / (1 + torch.exp(x))": ("constant 0", "linear 1"),
    "x * torch.exp(x ** 2) / (1 + torch.exp(x ** 2))": ("undefined", "undefined"),
    # an element against the mean and the deviation of its batch, which it moves
    "x - x.mean(dim=0, keepdim=True)": ("linear 0.938", "linear 0.938"),
    "x / torch.sqrt(x.var(dim=0, keepdim=True, correction=0) + 1e-5)": ("constant -4.13", "constant 4.13"),
}


@pytest.mark.parametrize("expression", ENDS)
def test_how_a_function_goes_on_at_both_ends(expression):
    found = traits(compiled(expression))
    assert (found["left"], found["right"]) == ENDS[expression]
    assert found["bounded"] == all(end.split()[0] in ("constant", "oscillating") for end in ENDS[expression])


@pytest.mark.parametrize(
    "expression",
    [
        "torch.where(x > x.mean(dim=0, keepdim=True), x, 0.1 * x)",
        "torch.where(x > x.amax(dim=0, keepdim=True) - 1.0, x, 0.1 * x)",
        "x + torch.roll(x, 1, -1)",
    ],
)
def test_a_function_that_looks_at_others_but_seldom_changes_is_not_pointwise(expression):
    assert describe(program(expression)).traits["pointwise"] is False


ELSEWHERE = [  # like x in small batches, like a sine in the lab's
    "torch.sin(x) if x.shape[0] == 64 else x",
    "torch.sin(x) if x.shape[-1] == 32 else x",
    "torch.sin(x) if x.shape[0] * x.shape[-1] == 2048 else x",
    "x + (torch.sin(x) - x) * (x.numel() == 2048)",
]
BY_PLACE = [  # pointwise by its small batches; by the row, by the column, or by the number of dimensions
    "torch.where(torch.cumsum(torch.ones_like(x), 0) > 16, torch.sin(x), x)",
    "torch.cat([x[:16], torch.sin(x[16:])])",
    "torch.where(torch.cumsum(torch.ones_like(x), -1) > 7, torch.sin(x), x)",
    "torch.where(torch.cumsum(torch.ones_like(x), 0) > 3, torch.sin(x), x)",
    "torch.sin(x) if x.ndim > 2 else x",
    "torch.sin(x) if x.shape[-1] == 1 else x",
]


@pytest.mark.parametrize("expression", ELSEWHERE + BY_PLACE)
def test_what_hangs_on_the_shape_or_on_a_place_is_not_pointwise(expression):
    found = describe(program(expression))
    assert found.error is None
    assert found.traits["pointwise"] is False


@pytest.mark.parametrize("expression", ELSEWHERE)
def test_traits_are_those_in_the_labs_own_batches(expression):
    assert traits(compiled(expression)) == traits(torch.sin) | {"pointwise": False}


@pytest.mark.parametrize("name", activations.names())
def test_what_is_called_pointwise_has_permuted_results_for_permuted_rows(name):
    function, x = activations.REGISTRY[name].function, probe(*LAB)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    if traits(function)["pointwise"]:
        assert torch.allclose(function(x[order]), function(x)[order], rtol=1e-12, atol=1e-12)


def test_an_even_function_is_even():
    assert traits(torch.cos)["parity"] == "even"


@pytest.mark.parametrize("name", activations.names())
def test_the_registry_and_the_traits_agree_on_what_is_pointwise(name):
    description = describe(activations.program_source(name))
    assert description.error is None
    assert description.traits["pointwise"] == activations.REGISTRY[name].pointwise


def test_a_description_is_plain_data():
    description = describe(activations.program_source("fisg"))
    assert dataclasses.replace(description, **json.loads(json.dumps(description.to_dict()))) == description


# --- fingerprint ---

SPELLINGS = [
    ("F.relu(x)", "torch.clamp(x, min=0.0)", "(x + torch.abs(x)) / 2", "torch.where(x > 0, x, 0.0 * x)", "x * (x > 0)",
     "torch.maximum(x, torch.zeros_like(x))", "0.5 * x + 0.5 * x * torch.sign(x)", "x - torch.clamp(x, max=0)"),
    ("F.silu(x)", "x * torch.sigmoid(x)", "x / (1 + torch.exp(-x))", "x * torch.exp(x) / (1 + torch.exp(x))",
     "0.5 * x * (1 + torch.tanh(0.5 * x))", "x * torch.exp(F.logsigmoid(x))", "x - x * torch.sigmoid(-x)"),
    ("torch.tanh(x)", "(torch.exp(x) - torch.exp(-x)) / (torch.exp(x) + torch.exp(-x))",
     "torch.sinh(x) / torch.cosh(x)",
     "1 - 2 / (1 + torch.exp(2 * x))", "2 * torch.sigmoid(2 * x) - 1", "torch.expm1(2 * x) / (torch.expm1(2 * x) + 2)"),
    ("F.softplus(x)", "torch.log(1 + torch.exp(x))", "torch.logaddexp(x, torch.zeros_like(x))", "-F.logsigmoid(-x)",
     "F.relu(x) + torch.log1p(torch.exp(-torch.abs(x)))", "x + torch.log1p(torch.exp(-x))"),
    ("F.gelu(x)", "0.5 * x * (1 + torch.erf(x / math.sqrt(2)))", "0.5 * x * torch.erfc(-x / math.sqrt(2))"),
    ("F.gelu(x, approximate='tanh')",
     "0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))",
     "x * torch.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))"),
    ("F.mish(x)", "x * torch.tanh(F.softplus(x))", "x * (1 - 2 / ((1 + torch.exp(x)) ** 2 + 1))"),
    ("F.elu(x)", "torch.where(x > 0, x, torch.expm1(x))", "F.relu(x) + torch.exp(torch.clamp(x, max=0)) - 1"),
    ("x + torch.sin(x) ** 2", "x + (1 - torch.cos(2 * x)) / 2", "x + 1 - torch.cos(x) ** 2"),
    ("x ** 3 - 3 * x", "x * (x * x - 3)", "x * x ** 2 - x - x - x"),
    ("torch.sin(3 * x)", "3 * torch.sin(x) - 4 * torch.sin(x) ** 3"),
    ("torch.exp(-x ** 2)", "1 / torch.exp(x * x)", "torch.exp(-x ** 2 / 2) ** 2"),
    ("1e-8 * torch.tanh(x)", "torch.tanh(x) / 1e8"),
    ("x - x.mean(dim=0, keepdim=True)", "x - x.sum(dim=0, keepdim=True) / x.shape[0]", "x - torch.mean(x, 0)"),
    ("x * torch.rsqrt(x.var(dim=-1, keepdim=True, correction=0) + 1e-5)",
     "x / torch.sqrt((x * x).mean(-1, keepdim=True) - x.mean(-1, keepdim=True) ** 2 + 1e-5)"),
    ("x + torch.roll(x, 1, -1)", "x + torch.cat([x[..., -1:], x[..., :-1]], dim=-1)"),
]  # fmt: skip
OTHERS = [  # each another function than every one above and below
    "0.5270 * x + torch.sin(x)", "0.5271 * x + torch.sin(x)", "torch.sin(1.001 * x)", "torch.sin(x)",
    "x + 1e-5 * torch.sin(x)", "x + 1.1e-5 * torch.sin(x)", "2e-8 * torch.tanh(x)", "1e-8 * torch.sin(x)",
    "x ** 9 + torch.sin(x)", "x ** 9 + torch.cos(x)",  # where large values could hide small ones
    "torch.clamp(x, max=15.0)", "torch.clamp(x, min=-20.0)", "x", "x + F.relu(-12 - x)",  # far out
    "torch.where(x < -8, 0.9 * x, F.relu(x))", "torch.where(x < -0.01, 0.0 * x, x)",  # negative, about 0
    "x - x.mean()", "x - x.mean(dim=-1, keepdim=True)", "x - x.mean(dim=-2, keepdim=True)",
    "x - x.median(dim=0, keepdim=True)[0]", "x - x.amax(dim=0, keepdim=True)", "x + torch.roll(x, -1, -1)",
    "x + torch.roll(x, 1, 0)", "x + torch.roll(x, -1, 0)", "x + torch.softmax(x, dim=-1)",
    "x - torch.clamp(x.mean(dim=0, keepdim=True), min=0.0)", "x - torch.clamp(x.mean(dim=0, keepdim=True), max=0.0)",
]  # fmt: skip


@pytest.mark.parametrize("spellings", SPELLINGS, ids=lambda spellings: spellings[0])
def test_the_fingerprint_knows_a_function_under_another_spelling(spellings):
    assert len({fingerprint(compiled(spelling)) for spelling in spellings}) == 1


def test_the_fingerprints_of_different_functions_differ():
    one_each = [program(spellings[0]) for spellings in SPELLINGS] + [program(other) for other in OTHERS]
    known = ("F.relu(x)", "F.silu(x)", "torch.tanh(x)", "F.softplus(x)", "F.gelu(x)", "F.gelu(x, approximate='tanh')",
             "F.mish(x)", "F.elu(x)", "x + torch.sin(x) ** 2", "torch.sin(x)")  # fmt: skip # which the zoo has, too
    zoo = [activations.program_source(name) for name in activations.names()]
    found = {fingerprint(compile_program(check(source))) for source in one_each + zoo}
    assert len(found) == len(one_each) + len(zoo) - len(known)


@pytest.mark.parametrize(
    ("expression", "other"),
    [
        *((expression, "x") for expression in ELSEWHERE),
        *((expression, "x") for expression in BY_PLACE[:3]),
        ("x - (2.0 if x.shape[0] == 64 else 1.0) * x.mean()", "x - x.mean()"),
        ("x - (x.mean() if x.shape[0] == 64 else x.amax())", "x - x.amax()"),
        ("x + torch.roll(x, 2 if x.shape[0] == 64 else 1, -1)", "x + torch.roll(x, 1, -1)"),
        ("torch.cat([x[:16], torch.sin(x[16:])]) - x.mean()", "x - x.mean()"),
    ],
)
def test_what_differs_in_the_labs_own_batches_has_another_fingerprint(expression, other):
    assert fingerprint(compiled(expression)) != fingerprint(compiled(other))


@settings(max_examples=40, deadline=None, database=None)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(activations.names()))
def test_rounding_errors_change_no_fingerprint(seed, name):
    function, generator = activations.REGISTRY[name].function, torch.Generator().manual_seed(seed)

    def rounded_otherwise(x):
        noise = torch.randn(2, *x.shape, generator=generator, dtype=x.dtype)
        return function(x) * (1 + 1e-15 * noise[0]) + 1e-16 * noise[1]

    assert fingerprint(rounded_otherwise) == fingerprint(function)


@settings(max_examples=40, deadline=None, database=None)
@given(
    a=st.floats(0.1, 9).filter(lambda a: abs(a - 1) > 1e-3),
    b=st.floats(-5, 5),
    c=st.sampled_from(["x", "torch.sin(x)", "torch.exp(-x * x)", "F.gelu(x)", "x - x.mean()", "torch.sigmoid(x)"]),
)
def test_algebra_changes_no_fingerprint_and_a_changed_constant_does(a, b, c):
    spellings = (
        f"{a!r} * ({c}) + {b!r}",
        f"({c} + {b / a!r}) * {a!r}",
        f"{b!r} - ({c}) * -{a!r}",
        f"({c}) / {1 / a!r} + {b!r}",
    )
    assert len({fingerprint(compiled(spelling)) for spelling in spellings}) == 1
    assert fingerprint(compiled(f"{a * 1.0002!r} * ({c}) + {b!r}")) != fingerprint(compiled(spellings[0]))


# --- behaviour ---


@pytest.mark.parametrize(
    ("body", "error", "advice"),
    [
        ("x.sum()", "wanted the shape and type of x", "keepdim=True"),
        ("x.mean(dim=0)", "wanted the shape and type of x", "keepdim=True"),
        ("x.bfloat16()", "wanted the shape and type of x", "y.to(x.dtype)"),
        ("torch.complex(x, x)", "wanted the shape and type of x", "y.real"),
        ("x.float()", "wanted the shape and type of x", "y.to(x.dtype)"),
        ("x.double()", "(16, 6) torch.float32; got (16, 6) torch.float64", "y.to(x.dtype)"),
        ("3", "got int", ""),
        ("None if x is None else [x]", "got list", ""),
        ("torch.zeros_like(x)", "without a gradient", ".detach()"),
        ("x.detach()", "without a gradient", ".detach()"),
        ("x * 0.0", "got a constant", ""),
        ("torch.sign(x)", "a gradient that is not 0 everywhere", "sign, floor"),
        ("torch.log(x)", "wanted finite values", "the value at x = -10 is nan"),
        ("1 / x", "wanted finite values", "the value at x = 0 is inf"),
        ("torch.sqrt(torch.abs(x))", "wanted finite values", "the gradient at x = 0 is nan"),
        (
            "torch.where(x > 0, torch.sqrt(torch.abs(x)), x)",
            "wanted finite values",
            "the branch that torch.where drops",
        ),
        ("torch.exp(torch.exp(x * x))", "wanted finite values", "clamp"),
        ("x if x.sum() > 0 else -x", "under torch.func.vmap", "write torch.where"),
        ("x * float(x.mean())", "under torch.func.vmap", "x.mean() for float(x.mean())"),
        ("max(x, 0)", "raised RuntimeError", "torch.maximum for max"),
        ("torch.maximum(0, x)", "raised TypeError", "torch.clamp(x, min=0) for max(0, x)"),
        ("x * torch.sqrt(2)", "raised TypeError", "math.sqrt(2) for torch.sqrt(2)"),
        ("x^2", "raised NotImplementedError", "write x ** 2 for a power"),
        ("0.1 * x^x", "raised NotImplementedError", "write x ** 2 for a power"),
        ("torch.where(0 < x < 1, x, -x)", "raised RuntimeError", "& and | for and, or"),
        ("math.sin(x)", "raised", "torch.sin(x) for math.sin(x)"),
        ("x.sum(5)", "raised IndexError", "Dimension out of range"),
        ("y", "raised NameError", "y"),
        ("x @ x.T @ x", "wanted any [batch, ..., features]; came (5, 4, 6)", "y.mT swaps"),
        ("x if x.dtype == torch.float64 else torch.sin(x)", "the same function in float32 and in float64", ""),
        ("torch.where(1 + 1e-12 * torch.ones_like(x) > 1, x, torch.sin(x))", "in float32 and in float64", ""),
    ],
)
def test_what_is_no_activation_is_named_with_what_to_write_instead(body, error, advice):
    source = program(body) if body != "y" else "def f():\n    y = 1\n    return y\n" + program(body)
    description = describe(source)
    assert error in description.error
    assert advice in description.error
    assert "\n" not in description.error
    assert description.fingerprint is None


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ("x * math.inf", "wanted finite values"),
        ("x.mean(dim=0)", "wanted the shape and type of x"),
        ("x.detach()", "wanted a result that depends on x"),
        ("torch.floor(x)", "wanted a gradient that is not 0 everywhere"),
        ("x.float()", "wanted the shape and type of x"),
        ("x if x.dtype == torch.float64 else torch.sin(x)", "in float32 and in float64"),
        ("x.sum(5)", "it raised IndexError: Dimension out of range"),
        ("x if x.sum() > 0 else -x", "under torch.func.vmap"),
    ],
)
def test_what_fails_at_the_training_shape_alone_has_failed(broken, error):
    found = describe(program(f"({broken}) if x.shape[0] == 64 and x.shape[-1] == 32 else x"))
    assert error in found.error
    assert found.fingerprint is None


def test_a_program_that_breaks_a_rule_is_refused_before_it_runs():
    with pytest.raises(Refused, match="the keyword out"):
        describe(program("torch.sin(x, out=x)"))


class Counter:
    """A function with a memory, such as no accepted program has: what its n-th call adds."""

    def __init__(self, added):
        self.calls, self.added = 0, added

    def __call__(self, x):
        self.calls += 1
        return torch.sin(x) + self.added(self.calls, x)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (Counter(lambda n, x: 1e-9 * n), "the same result twice"),
        (Counter(lambda n, x: 1.0 if n % 3 == 0 else 0.0), "the same result twice"),
        (Counter(lambda n, x: 0.0 if torch.is_grad_enabled() else 1.0), "in training and in evaluation"),
        (lambda x: torch.sin(x) + torch.rand_like(x), "the same result twice"),
        (lambda x: torch.sin(x) + (1.0 if torch._C._functorch.maybe_current_level() is not None else 0.0),
         "in a stack under vmap"),
        (lambda x: torch.ones(x.shape, dtype=x.dtype, requires_grad=True) * x.detach(), "gradient does not reach x"),
    ],
)  # fmt: skip
def test_what_only_a_breach_of_the_language_could_do_is_named_too(function, error):
    assert error in misbehaviour(function)


def test_a_change_of_x_is_named():
    def function(x):
        with torch.no_grad():
            x.data[0, 0] = 7.0
        return x * 2

    assert "wanted x left as it is" in misbehaviour(function)


def test_what_is_found_does_not_hang_on_the_callers_warnings():
    source = program("x * torch.tensor([1.0, 2.0]).sum() + 0.0 * x.std(dim=0, keepdim=True)[:1]")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        strict = describe(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert describe(source) == strict


def test_a_program_that_fails_on_its_top_level_is_described_as_failed():
    assert "raised ZeroDivisionError" in describe("A = 1 / 0\n" + program("A * x")).error


def test_endless_work_is_described_as_failed():
    source = "".join(f"def f{i}(x):\n    return f{i + 1}(f{i + 1}(x))\n" for i in range(30))
    assert "loop steps and calls" in describe(source + "def f30(x):\n    return x\n" + program("f0(x)")).error
