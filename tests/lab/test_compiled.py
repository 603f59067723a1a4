"""Compiled training against the reference, in all shapes of the multiverse; and what hangs on nothing it should not."""

import itertools
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from actlab.activations import zoo
from actlab.candidates.program import check, compile_program
from actlab.core.config import SCHEDULES, LabConfig, TaskConfig, VariantConfig
from actlab.core.records import ROOT
from actlab.lab import backends, compiled, tasks, training
from actlab.lab.distribution import Distribution
from actlab.lab.listing import listed
from actlab.lab.operations import Unlisted
from actlab.lab.training import Networks, Start
from actlab.search.proposers import Ask, Brief, Parent
from actlab.search.proposers.grammar import RandomSampling

pytestmark = pytest.mark.skipif(compiled.missing() is not None, reason=f"no compiler: {compiled.missing()}")

SUITE = tasks.suite("search", TaskConfig(search=8))
POINTWISE = [name for name in zoo.names() if zoo.REGISTRY[name].pointwise]
LABS = Distribution()
SHAPES = list(itertools.zip_longest(LABS.depth.values, LABS.batch.values, LABS.width.values, fillvalue=32))


def function_of(name):
    return zoo.REGISTRY[name].function


def start_of(config, chosen=range(8), seed=0):
    return Start.of(SUITE.blind, config, seed, chosen)


def trained(function, config, start):
    steps = listed(function, backends.shapes(config, start.x.shape[1]), getattr(torch, config.dtype))
    return backends.by_steps(steps, start, config)


def worst(ours, theirs):
    return max(float((a - b).abs().max()) for a, b in zip(ours.tensors, theirs.tensors, strict=True))


@pytest.mark.parametrize("name", POINTWISE)
def test_every_pointwise_function_of_the_zoo_trains_as_the_reference_in_all_shapes_of_the_multiverse(name):
    for depth, batch, width in SHAPES:
        config = LabConfig(width, depth, batch, steps=100, dtype="float64")
        start = start_of(config, [0, 3, 6])
        ours = trained(function_of(name), config, start).networks
        assert worst(ours, training.train_from(function_of(name), start, config)) < 1e-10


@pytest.mark.parametrize(("width", "depth", "batch", "dtype"), [
    (1, 1, 1, "float32"), (7, 2, 32, "float64"), (20, 3, 4, "float32"), (50, 2, 64, "float64"), (33, 5, 16, "float32"),
])  # fmt: skip
def test_any_width_depth_and_batch_will_do(width, depth, batch, dtype):
    for schedule in SCHEDULES:
        config = VariantConfig(width, depth, batch, steps=30, dtype=dtype, schedule=schedule, gain=1.5)
        start = start_of(config, [1, 2])
        networks = Networks.of(tensor.clone() for tensor in start.networks.tensors)
        # A cosine is not 0 at the padding's 0.
        gradients = training.by_autograd(
            networks.tensors, lambda x, y, n=networks: n.losses(itertools.repeat(torch.cos), x, y)
        )
        training.fit(networks.tensors, gradients, replace(start, networks=networks), config)
        ours = trained(torch.cos, config, start)
        assert worst(ours.networks, networks) < {"float32": 1e-4, "float64": 1e-12}[dtype]
        x = torch.from_numpy(SUITE.blind.ood_x[:2]).to(start.x.dtype)
        near = {"float32": 1e-4, "float64": 1e-12}[dtype]
        torch.testing.assert_close(ours.predict(x), networks.predict(torch.cos, x), rtol=near, atol=near)


def test_a_network_does_not_depend_on_the_others_and_the_same_start_gives_the_same_bits():
    config = LabConfig(steps=50)
    whole = trained(zoo.snake, config, start_of(config)).networks
    again = trained(zoo.snake, config, start_of(config)).networks
    alone = trained(zoo.snake, config, start_of(config, [5])).networks
    assert all(torch.equal(a, b) for a, b in zip(whole.tensors, again.tensors, strict=True))
    assert all(torch.equal(a[5:6], b) for a, b in zip(whole.tensors, alone.tensors, strict=True))


def test_the_start_is_left_as_it_was():
    config = LabConfig(steps=3)
    start = start_of(config)
    before = [tensor.clone() for tensor in start.networks.tensors]
    assert worst(trained(zoo.relu, config, start).networks, start.networks) > 0
    assert all(torch.equal(a, b) for a, b in zip(before, start.networks.tensors, strict=True))


def test_nearly_all_pointwise_programs_of_the_grammar_can_be_compiled():
    relu = Parent(0, zoo.program_source("relu"), 0.0, 1.0, {})
    brief = Brief(tuple(Ask(i, relu) for i in range(300)), left=300, evaluations=300, flops=196.0, pointwise=True)
    programs = [made.source for made in RandomSampling().propose(brief, np.random.default_rng(1)) if not made.failure]
    refused = {}
    for source in programs:
        try:
            listed(compile_program(check(source)), [(64, 32)], torch.float32)
        except Unlisted as error:
            refused[source] = str(error)
    assert len(programs) > 290
    assert len(refused) < 0.05 * len(programs), refused


def test_notes_are_the_gradients_norm_and_the_batchs_loss_before_each_step():
    config, start = LabConfig(width=5, depth=2, steps=3, dtype="float64"), None
    start, notes = start_of(config, [4]), np.zeros((1, 3, 2))
    steps = listed(torch.sin, backends.shapes(config, 256), torch.float64)
    backends.by_steps(steps, start, config, notes=notes)
    networks = start.networks
    for tensor in networks.tensors:
        tensor.requires_grad_()
    first = start.index[0]
    loss = networks.losses(itertools.repeat(torch.sin), start.x[:, first], start.y[:, first]).sum()
    norm = sum(g.square().sum() for g in torch.autograd.grad(loss, networks.tensors)).sqrt()
    np.testing.assert_allclose(notes[0, 0], [float(norm), float(loss.detach())], rtol=1e-12)


def run(code, **environment):
    given = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True)


TRAINS = """
import logging, torch
logging.basicConfig(format="%(message)s")
from actlab.activations import zoo
from actlab.core.config import LabConfig, TaskConfig
from actlab.lab import backends, tasks
from actlab.lab.training import Start
data, config = tasks.suite("search", TaskConfig(search=4)).blind, LabConfig(8, 1, steps=2)
for _ in range(2):
    made = backends.train(zoo.relu, Start.of(data, config, 0, [0]), config)
print(made.backend, "|", made.why)
"""


def test_torch_trains_where_it_is_asked_for_and_one_line_says_so():
    done = run(TRAINS, ACTLAB_BACKEND="torch")
    assert done.stdout == "torch | ACTLAB_BACKEND=torch asks for it\n"
    assert done.stderr == "torch trains the lab's networks: ACTLAB_BACKEND=torch asks for it\n"


def test_torch_trains_where_there_is_no_compiler_and_one_line_says_so(tmp_path):
    done = run(TRAINS, PATH=str(tmp_path), ACTLAB_ROOT=str(tmp_path))
    assert done.stdout == "torch | wanted gcc for the lab's C; there is none\n"
    assert done.stderr == "torch trains the lab's networks: wanted gcc for the lab's C; there is none\n"


def test_a_compiler_that_fails_is_told_in_one_line(tmp_path):
    compiler = tmp_path / "gcc"
    compiler.write_text("#!/bin/sh\necho 'gcc: no space left' >&2\nexit 1\n")
    compiler.chmod(0o755)
    done = run(TRAINS, PATH=f"{tmp_path}:/usr/bin:/bin", ACTLAB_ROOT=str(tmp_path))
    assert done.stdout == "torch | wanted a compiler for the lab's C; gcc said: gcc: no space left\n"


def test_another_backend_than_there_is_is_refused():
    done = run(TRAINS, ACTLAB_BACKEND="cuda")
    assert done.stderr.splitlines()[-1] == "ValueError: ACTLAB_BACKEND: wanted one of compiled, torch; got 'cuda'"


def test_a_function_that_cannot_be_listed_is_trained_by_torch_and_the_reason_is_kept():
    config = LabConfig(8, 1, steps=3)
    made = backends.train(zoo.fisg, start_of(config, [0]), config)
    theirs = training.train_from(zoo.fisg, start_of(config, [0]), config)
    assert made.backend == "torch" and "_fft_r2c makes torch.complex64" in made.why
    assert worst(made.networks, theirs) == 0


def test_what_was_compiled_is_kept_and_not_compiled_again(tmp_path):
    code = TRAINS + "import os; print(sorted(p.name for p in (backends.compiled.ROOT / 'build/compiled').iterdir()))"
    first = run(code, ACTLAB_ROOT=str(tmp_path))
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "build/compiled").iterdir()}
    second = run(code, ACTLAB_ROOT=str(tmp_path))
    assert first.stdout == second.stdout and len(kept) == 3  # two trainers, and ReLU
    assert kept == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "build/compiled").iterdir()}
