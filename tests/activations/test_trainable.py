"""Modules with learned constants against the plain functions and finite differences."""

import copy
import pickle

import pytest
import torch

from actlab.activations import REGISTRY, get, names
from actlab.activations.trainable import learnable

WITH_CONSTANTS = [name for name in names() if REGISTRY[name].constants]


def batch(dtype=torch.float64, seed=0):
    return (3 * torch.randn(8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))).to(dtype)


@pytest.mark.parametrize("name", WITH_CONSTANTS)
def test_at_the_published_constants_it_is_the_function_in_value_and_gradient(name):
    x = batch().requires_grad_()
    found, expected = (f(x) for f in (learnable(name, dtype=torch.float64), REGISTRY[name].function))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    slopes = [torch.autograd.grad(y.sum(), x)[0] for y in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", WITH_CONSTANTS)
def test_the_gradient_of_each_constant_agrees_with_finite_differences_of_the_function(name):
    x, weight, step = batch(), batch(seed=1), 1e-6
    module = learnable(name, dtype=torch.float64)
    (module(x) * weight).sum().backward()
    for key, parameter in module.named_parameters():
        value = REGISTRY[name].constants[key]
        right, left = ((get(name)(**{key: value + side})(x) * weight).sum().item() for side in (step, -step))
        assert parameter.grad.item() == pytest.approx((right - left) / (2 * step), rel=1e-5, abs=1e-4), key


def test_all_constants_are_learned_but_where_the_function_only_steps_in_one():
    found = {name: list(dict(learnable(name).named_parameters())) for name in WITH_CONSTANTS}
    assert found == {name: [key for key in REGISTRY[name].constants if key != "split"] for name in WITH_CONSTANTS}
    assert learnable("fisg").fixed == {"split": 0.5}


def test_named_constants_alone_are_learned_from_where_they_are_told_to_start():
    module = learnable("gmtu", "leak", leak=0.3, steepness=2)
    assert dict(module.named_parameters()).keys() == {"leak"}
    assert module.constants == pytest.approx({"steepness": 2.0, "decay": 0.2, "leak": 0.3})
    assert repr(module) == "LearnableActivation(gmtu, steepness=2, decay=0.2, leak=0.3 learned)"


def test_a_few_steps_find_the_amplitude_that_made_the_data_and_leave_the_fixed_constants():
    x, target = batch(torch.float32), get("gmtu")(leak=0.4)(batch(torch.float32))
    module = learnable("gmtu", "leak", "decay")
    optimiser = torch.optim.Adam(module.parameters(), lr=0.03)
    losses = []
    for _ in range(150):
        optimiser.zero_grad()
        loss = torch.nn.functional.mse_loss(module(x), target)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 1e-4 * losses[0]
    assert module.constants == pytest.approx({"steepness": 1.5, "decay": 0.2, "leak": 0.4}, abs=0.01)
    assert get("gmtu")(**module.constants)(x).sub(module(x)).abs().max() < 1e-6  # goes back into a plain module


@pytest.mark.parametrize("copied", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy])
def test_the_state_dict_holds_the_learned_constants_and_brings_them_back(copied):
    module = learnable("gmtu", "leak", leak=0.7)
    assert list(module.state_dict()) == ["leak"]
    other = learnable("gmtu", "leak")
    other.load_state_dict(module.state_dict())
    assert other.constants == module.constants == copied(module).constants
    assert torch.equal(other(batch()), copied(module)(batch()))
    with pytest.raises(RuntimeError, match="leak"):
        learnable("gmtu", "decay").load_state_dict(module.state_dict())


@pytest.mark.parametrize("name", WITH_CONSTANTS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_result_has_the_inputs_shape_and_type_whatever_the_parameters_have(name, dtype):
    module, x = learnable(name), batch(dtype)
    y = module(x)
    assert (y.shape, y.dtype) == (x.shape, dtype)
    y.float().mean().backward()
    for key, parameter in module.named_parameters():
        assert parameter.grad.dtype == torch.float32 and torch.isfinite(parameter.grad), key
    if REGISTRY[name].pointwise:
        assert module(x[0, 0]).dtype == dtype  # a scalar, which a scalar parameter would widen


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: learnable("relu"), r"^wanted a function with constants, of leaky-relu, .*; got 'relu', "),
        (lambda: learnable("gmtu", "leek"), r"^gmtu: wanted constants to learn among \[steepness, .*\], got 'leek'$"),
        (lambda: learnable("fisg", "split"), r"^fisg: wanted constants to learn among \[k, eps\], got 'split'$"),
        (lambda: learnable("gmtu", leek=1.0), r"^gmtu: wanted constants among \[steepness, .*\], got 'leek'$"),
        (lambda: learnable("gelu-sin"), r"^wanted an activation among gelu-sine, .*; got 'gelu-sin'$"),
    ],
)
def test_what_cannot_be_learned_gets_one_line_that_says_what_can(call, message):
    with pytest.raises(ValueError, match=message):
        call()
