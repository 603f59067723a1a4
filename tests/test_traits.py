import pytest
import torch

from actlab import activations
from actlab.program import check, compile_program
from actlab.traits import describe, flops_an_element, traits


def program(expression):
    return f"def activation(x):\n    return {expression}"


def test_cost_is_counted_by_the_documented_weights():
    worked = {  # ReLU 1; sine 8; product and sum 1 each: 0.1 * sin(x) + x
        "F.relu(x)": 1.0,
        "torch.sin(x)": 8.0,
        "x + 0.1 * torch.sin(x)": 10.0,
        "x / (1 + torch.abs(x))": 6.0,
        "x.transpose(0, 1).transpose(0, 1)": 0.0,
    }
    for expression, cost in worked.items():
        assert flops_an_element(compile_program(check(program(expression)))) == cost


def test_cost_is_reported_relative_to_relu_and_gelu():
    description = describe(activations.program_source("gelu"))
    assert (description.flops_gelu, description.flops_relu) == (1.0, description.flops)


TRAITS = {
    "relu": (True, "neither", True, False, 0),
    "tanh": (True, "odd", True, True, 0),
    "sine": (True, "odd", False, True, 6),  # slopes change at +-pi/2, +-3 pi/2, +-5 pi/2
    "gelu": (True, "neither", False, False, 1),
    "snake": (True, "neither", True, False, 0),
    "turbulent": (False, "odd", False, False, 12),
    "qfw": (False, "neither", True, False, 0),
    "fisg": (False, "odd", True, False, 0),
}


@pytest.mark.parametrize("name", TRAITS)
def test_traits_of_known_functions(name):
    found = describe(activations.program_source(name)).traits
    assert tuple(found.values()) == TRAITS[name]
    assert list(found) == ["pointwise", "parity", "monotone", "bounded", "oscillations"]


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


def test_an_even_function_is_even():
    assert traits(torch.cos)["parity"] == "even"


@pytest.mark.parametrize("name", activations.names())
def test_the_registry_and_the_traits_agree_on_what_is_pointwise(name):
    description = describe(activations.program_source(name))
    assert description.error is None
    assert description.traits["pointwise"] == activations.REGISTRY[name].pointwise


@pytest.mark.parametrize(
    "spellings",
    [
        ("F.relu(x)", "torch.clamp(x, min=0.0)", "(x + torch.abs(x)) / 2", "torch.where(x > 0, x, 0.0 * x)"),
        ("F.silu(x)", "x * torch.sigmoid(x)", "x / (1 + torch.exp(-x))"),
        ("x - x.mean(dim=0, keepdim=True)", "x - x.sum(dim=0, keepdim=True) / x.shape[0]"),
    ],
)
def test_the_fingerprint_knows_a_function_under_another_spelling(spellings):
    assert len({describe(program(s)).fingerprint for s in spellings}) == 1


def test_the_fingerprints_of_the_zoo_all_differ():
    names = activations.names()
    assert len({describe(activations.program_source(name)).fingerprint for name in names}) == len(names)


def test_a_small_change_of_a_constant_changes_the_fingerprint():
    assert describe(program("torch.sin(1.001 * x)")).fingerprint != describe(program("torch.sin(x)")).fingerprint


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("x.sum()", "wanted the shape and type of x"),
        ("x.to(torch.float32).double().bfloat16()", "wanted the shape and type of x"),
        ("torch.zeros_like(x)", "without a gradient"),
        ("x.detach()", "without a gradient"),
        ("x * 0.0", "got a constant"),
        ("torch.log(x)", "wanted finite values"),
        ("1 / x", "wanted finite values"),
        ("torch.sqrt(torch.abs(x))", "wanted finite values"),
        ("torch.sqrt(torch.abs(x) - 100.0)", "wanted finite values"),
        ("torch.exp(torch.exp(x * x))", "wanted finite values"),
        ("x if x.sum() > 0 else -x", "raised"),
        ("torch.matmul(x, x)", None),
        ("3", "got int"),
    ],
)
def test_what_is_no_activation_is_named(body, error):
    if error is None:
        with pytest.raises(ValueError, match="matmul of torch is not on the allow-list"):
            describe(program(body))
    else:
        description = describe(program(body))
        assert error in description.error
        assert description.fingerprint is None
