"""Modules with learned constants against the plain functions and finite differences."""

import copy
import pickle

import pytest
import torch
from torch.nn.utils import parametrize, prune

from actlab.activations import REGISTRY, get, names, registry
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
    x, weight = batch(), batch(seed=1)
    module = learnable(name, dtype=torch.float64)
    (module(x) * weight).sum().backward()
    for key, parameter in module.named_parameters():
        value = REGISTRY[name].constants[key]
        step = min(1e-6, value / 2)  # eps of FISG is no larger
        right, left = ((get(name)(**{key: value + side})(x) * weight).sum().item() for side in (step, -step))
        assert parameter.grad.item() == pytest.approx((right - left) / (2 * step), rel=1e-5, abs=1e-4), key


def test_all_constants_are_learned_but_where_the_function_only_steps_in_one():
    found = {name: list(dict(learnable(name).named_parameters())) for name in WITH_CONSTANTS}
    assert found == {name: [key for key in REGISTRY[name].constants if key != "split"] for name in WITH_CONSTANTS}
    assert learnable("fisg").split == 0.5


def test_named_constants_alone_are_learned_from_where_they_are_told_to_start():
    module = learnable("gmtu", "leak", leak=0.3, steepness=2)
    assert dict(module.named_parameters()).keys() == {"leak"}
    assert module.constants == pytest.approx({"steepness": 2.0, "decay": 0.2, "leak": 0.3})
    assert repr(module) == "LearnableActivation(gmtu, steepness=2.0, decay=0.2, leak=0.3 learned)"


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
        (lambda: learnable("snake", frequency=0), r"^snake: wanted a number other than 0, by which it divides, for "),
    ],
)
def test_what_cannot_be_learned_gets_one_line_that_says_what_can(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- what torch does to a module's parameters ---


class Exp(torch.nn.Module):
    def forward(self, x):
        return torch.exp(x)


def tied(module):
    first, *rest = dict(module.named_parameters())
    for key in rest:
        setattr(module, key, getattr(module, first))
    return module


def parametrised(module):
    for key in list(dict(module.named_parameters())):
        parametrize.register_parametrization(module, key, Exp())
    return module


def pruned(module):
    """The first constant is 0, if that makes sense."""
    (key, *_), limits = dict(module.named_parameters()), module.activation.limits
    amount = 0 if key in limits and not limits[key].holds(0.0) else 1
    prune.l1_unstructured(module, key, amount=amount)
    return module


def frozen(module):
    return module.requires_grad_(False)


def set_by_hand(module):
    """One constant is a parameter that was none before; another is a number that was a parameter."""
    *_, key = dict(module.named_parameters())
    delattr(module, key)
    setattr(module, key, 0.7)
    return module


def wrapped(module):
    return torch.nn.parallel.DistributedDataParallel(module)


@pytest.fixture
def one_process(monkeypatch, tmp_path):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("name", WITH_CONSTANTS)
@pytest.mark.parametrize("done", [tied, parametrised, pruned, frozen, set_by_hand, copy.deepcopy])
def test_whatever_torch_does_to_its_parameters_it_is_the_function_at_the_constants_that_it_shows(name, done):
    starts = {key: value for key, value in REGISTRY[name].constants.items() if key != "split"}
    changed = done(learnable(name, *starts, dtype=torch.float64, **starts))
    expected = get(name)(**changed.constants)
    torch.testing.assert_close(changed(batch()), expected(batch()), rtol=1e-12, atol=1e-12)
    assert all(f"{key}={value:.4g}" in repr(changed) or key == "split" for key, value in changed.constants.items())


def test_two_constants_that_are_tied_have_one_value_and_one_gradient():
    module = tied(learnable("leaky-sqrt-decay", "left", "right", left=0.5, right=0.16, dtype=torch.float64))
    assert module.constants == {"leak": 0.02, "right": 0.5, "left": 0.5} and len(list(module.parameters())) == 1
    x = batch()
    module(x).sum().backward()
    right, left = (get("leaky-sqrt-decay")(right=0.5 + h, left=0.5 + h)(x).sum() for h in (1e-6, -1e-6))
    assert module.left.grad.item() == pytest.approx(((right - left) / 2e-6).item(), rel=1e-6)


def test_a_parametrised_frequency_stays_positive_while_it_is_trained():
    module = parametrised(learnable("snake", dtype=torch.float64))
    before = module.constants["frequency"]
    module(batch()).sum().backward()
    with torch.no_grad():
        for parameter in module.parameters():
            assert parameter.grad != 0
            parameter.sub_(100 * parameter.grad.sign())
    assert 0 < module.constants["frequency"] != before


def test_a_constant_that_was_fixed_is_read_where_it_is_made_a_parameter():
    for module in (learnable("gmtu", "leak"), get("gmtu")()):
        module.decay = torch.nn.Parameter(torch.tensor(0.5))
        torch.testing.assert_close(module(batch()), get("gmtu")(decay=0.5)(batch()))
        assert module.constants["decay"] == 0.5 and "decay=0.5 learned" in repr(module)
        module(batch()).sum().backward()
        assert module.decay.grad != 0


@pytest.mark.parametrize("name", WITH_CONSTANTS)
def test_stacked_and_functional_calls_give_what_each_module_gives(name):
    starts = {key: value for key, value in REGISTRY[name].constants.items() if key != "split"}
    modules = [learnable(name, dtype=torch.float64, **{k: v * f for k, v in starts.items()}) for f in (1.0, 1.25)]
    empty, x = copy.deepcopy(modules[0]).to("meta"), batch()
    state = torch.func.stack_module_state(modules)
    found = torch.func.vmap(lambda *state: torch.func.functional_call(empty, state, (x,)))(*state)
    expected = [get(name)(**module.constants)(x) for module in modules]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-12, atol=1e-12)


def test_on_the_meta_device_it_is_printed_and_gives_shapes():
    with torch.device("meta"):
        module = learnable("gmtu", "leak")
        assert module(torch.randn(3, 2)).shape == (3, 2)
    assert repr(module) == "LearnableActivation(gmtu, steepness=1.5, decay=0.2, leak=[] on meta learned)"
    assert learnable("gmtu", "leak").to_empty(device="cpu").leak.device.type == "cpu"


def test_wrappers_for_several_processes_leave_it_as_it_is(one_process):
    module = learnable("leaky-relu", "slope", slope=0.3)
    for wrapper in (wrapped, torch.nn.DataParallel):
        torch.testing.assert_close(wrapper(module)(batch()), get("leaky-relu")(slope=0.3)(batch()))


def test_no_constant_is_called_as_an_attribute_of_a_module_is():
    def wave(x, training=1.0):
        return training * x

    with pytest.raises(
        ValueError, match=r"^wave: wanted constants that no attribute of a module is called; got 'train"
    ):
        registry.register("Wave", "", "", "")(wave)
    assert "wave" not in REGISTRY
