"""Functions that see their batch, compiled: their networks are torch's, and no other list comes through."""

import re
from dataclasses import replace

import pytest
import torch

from actlab.activations import zoo
from actlab.candidates.program import check, compile_program
from actlab.core.config import LabConfig, TaskConfig
from actlab.lab import backends, batch_statistics, compiled, tasks, training
from actlab.lab.listing import listed_with_sums
from actlab.lab.operations import MOST, Unlisted
from actlab.lab.training import Start
from actlab.search.proposers.grammar import STATISTICS

needs_compiler = pytest.mark.skipif(compiled.missing() is not None, reason=f"no compiler: {compiled.missing()}")
SUITE = tasks.suite("search", TaskConfig(search=4))
SHAPES = [(64, 32), (256, 32)]
IDENTITY = {"batch": [["neg", 0], 2, 1], "whole": [["neg", 0], 2, 1]}


def function_of(expression):
    return compile_program(check(f"def activation(x):\n    return {expression}"))


def programs():
    """Each statistic of the grammar's table, and others."""
    made = [re.sub(r"\b[ABC]\b", "x", statistic) for statistic in STATISTICS]
    made += [
        "x - x.mean(dim=-1, keepdim=True)",
        "x * torch.std(x)",
        "x + x.sum(dim=1, keepdim=True)",
        "F.relu(x) - x.sum()",
    ]
    made += ["torch.where(x > x.mean(), x.mean(dim=0, keepdim=True), torch.sin(x) * x.var(dim=0, keepdim=True))"]
    # Sums of sums, along one axis and then along the other, and a result that is the same for all elements.
    made += ["x - (x * x.mean(dim=0, keepdim=True)).mean(dim=-1, keepdim=True)", "x * 0 + torch.tanh(x.mean())"]
    # Neighbours along either axis and along both, of the input, of what was computed and of what was rolled before.
    made += ["x * torch.roll(x, 1, -1)", "torch.sin(x) + torch.roll(torch.roll(x * x, -3, 0), 2, 1)"]
    made += ["x * torch.roll(x, (2, -40), (0, 1)) + torch.roll(x * x, -1, 1) * torch.roll(x * x, 1, 1).mean()"]
    return made


NAMES = ("turbulent", "qfw", "symmetric-phase-flipped")
FUNCTIONS = {name: zoo.REGISTRY[name].function for name in NAMES} | {
    expression: function_of(expression) for expression in programs()
}


@needs_compiler
@pytest.mark.parametrize("name", FUNCTIONS)
def test_networks_and_predictions_are_those_of_torch(name):
    function = FUNCTIONS[name]
    whole = LabConfig(8, 2, 256, steps=5)  # a batch of all points
    for config in (LabConfig(steps=5), LabConfig(20, 2, 32, steps=5), LabConfig(16, 2, 16, steps=5), whole):
        config = replace(config, dtype="float64")
        start = Start.of(SUITE.blind, config, 0, [0, 3])
        steps, why = backends.steps_of(function, config, start.x.shape[1])
        assert why is None and isinstance(steps, dict)
        made, wanted = backends.by_steps(steps, start, config), training.train_from(function, start, config)
        for ours, theirs in zip(made.networks.tensors, wanted.tensors, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)
        x = torch.from_numpy(SUITE.blind.ood_x[[0, 3]])
        for batch in (config.batch, None):
            torch.testing.assert_close(made.predict(x, batch), wanted.predict(function, x, batch), rtol=1e-6, atol=1e-6)


def test_a_mean_of_a_batch_is_a_sum_of_rows_over_their_number():
    def centred(x):
        return x - x.mean(dim=0, keepdim=True)

    found = listed_with_sums(centred, SHAPES, torch.float32)
    assert found["batch"][:3] == [["sum_rows", 0], ["div", 2, 64.0], ["sub", 0, 3]]
    assert found["whole"][:3] == [["sum_rows", 0], ["div", 2, 256.0], ["sub", 0, 3]]
    assert found["batch"][-2] == 4  # the value


@pytest.mark.parametrize(
    ("expression", "shapes", "reason"),
    [
        ("torch.cumsum(x, 0)", SHAPES, "cumsum"),
        ("x + torch.roll(x, 1)", SHAPES, "view makes"),
        ("x + torch.roll(x.mean(dim=0, keepdim=True), 1, 1)", SHAPES, "a roll of what was summed"),
        ("x + torch.roll(x.mean(dim=0).expand(64, 32), 1, 1)", SHAPES, "a roll of what was summed|makes"),
        ("x.max() * x", SHAPES, "makes torch.float32 of"),
        ("x - (x.mean(dim=0) + x.mean(dim=1))", [(32, 32), (256, 32)], "sums along different axes"),
        ("x - x.mean(dim=0)[:, None]", [(32, 32), (256, 32)], "sums along different axes|is not in the table"),
        ("x - x.mean()", [(64, 32), (200, 32)], "that make up all points"),
        ("x - x.mean()", [*SHAPES, (16, 32)], "batches of one lab"),
        ("x - x.mean()", [(16, 16), (256, 32)], "batches of one lab"),
        ("x - x.mean(dim=0, keepdim=True).mean()", SHAPES, "over what was summed before"),
        ("x - x.mean(dim=0, keepdim=True) * x[:1, :1]", SHAPES, "is not in the table|makes"),
    ],
)
def test_what_is_no_list_with_sums_is_refused_with_the_reason(expression, shapes, reason):
    with pytest.raises(Unlisted, match=reason):
        listed_with_sums(function_of(expression), shapes, torch.float32)


HOSTILE = {
    "other parts": ({"batch": [["neg", 0], 2, 1]}, "lists for batch and whole"),
    "a list of another kind": ([["neg", 0], 1, 1], "lists for batch and whole"),
    "an unknown operation": (IDENTITY | {"whole": [["system", 0], 2, 2]}, "wanted an operation of the table"),
    "a cycle": (IDENTITY | {"whole": [["sum", 2], 2, 2]}, "earlier steps"),
    "a sum of an axis": (IDENTITY | {"whole": [["sum", 0, 1.0], 2, 2]}, "sum wants 1 arguments; got 2"),
    "a sum of truths": (IDENTITY | {"whole": [["lt", 0, 1.0], ["sum", 2], 3, 3]}, "wants a number; got a truth"),
    "a roll by a step": (IDENTITY | {"whole": [["roll_rows", 0, 0], 2, 2]}, "wants a whole number"),
    "a roll by a part": (IDENTITY | {"whole": [["roll_rows", 0, 0.5], 2, 2]}, "wants a whole number"),
    "a long roll": (IDENTITY | {"whole": [["roll_columns", 0, 1e9], 2, 2]}, "wants a whole number up to 4096"),
    "a roll of a sum": (
        IDENTITY | {"whole": [["sum_rows", 0], ["roll_columns", 2, 1.0], 3, 3]},
        "varies along both axes",
    ),
    "a roll of a number": (IDENTITY | {"whole": [["roll_columns", 1.0, 1.0], 2, 2]}, "varies along both axes"),
    "a NaN": (IDENTITY | {"whole": [["sum", float("nan")], 2, 2]}, "finite constants"),
    "words": (IDENTITY | {"whole": [["sum", "z[0]; abort()"], 2, 2]}, "earlier steps and constants"),
    "a million steps": (IDENTITY | {"whole": [["sum", 0]] * 1_000_000 + [2, 2]}, f"wanted 1 to {MOST} steps"),
    "many passes": (
        IDENTITY | {"whole": [["sum", place + (place > 0)] for place in range(70)] + [71, 71]},
        "in all passes; got 70 in 71 passes",
    ),
    "an undefined value": (IDENTITY | {"whole": [["sum", 0], 3, 2]}, "the results"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_other_lists_are_refused_with_the_reason(kind):
    steps, reason = HOSTILE[kind]
    with pytest.raises(Unlisted, match=reason):
        batch_statistics.checked_lists(steps)


@needs_compiler
def test_units_beyond_those_in_use_count_for_nothing():
    config = LabConfig(5, 1, 8, steps=5, dtype="float64")  # of eight units in a line, three are not in use
    start = Start.of(SUITE.blind, config, 0, [0])

    def shifted(x):  # exp of an unused unit's 0 would be 1
        return torch.exp(x) - torch.exp(x).mean() + torch.roll(torch.exp(x), 2, 1) * torch.roll(x, -1, 1)

    steps, _ = backends.steps_of(shifted, config, start.x.shape[1])
    wanted = training.train_from(shifted, start, config)
    for ours, theirs in zip(backends.by_steps(steps, start, config).networks.tensors, wanted.tensors, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
