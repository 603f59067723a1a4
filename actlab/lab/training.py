"""Trains the small networks of all tasks for one function at once, as one stack of tensors (paper, section 4).

A network is an MLP with `depth` hidden layers; its loss is the mean squared error, its optimiser Adam with a cosine
schedule [ours]. Networks are stacked along a leading axis, [models, batch, features], and the function is mapped over
that axis by `torch.func.vmap`, so that a function that looks across its batch sees one model's batch only.

For speed the linear layers' backward pass is written out, into buffers that are made once; the function's passes are
recorded (`actlab.lab.tracing`); the last layer, of one output, is no matrix product; and a stack is as large as the
cache bears. What did not help: one call of autograd for all layers, huge pages, other settings of malloc, flushing
denormal numbers, MKL's other instruction sets; and all sums over biases are 1 % of a step, not worth folding in.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from actlab.core.config import LabConfig
from actlab.lab.tracing import Backward, Forward, Function, record
from actlab.lab.training_view import Blind

STACK = 65_536  # values of one layer in one stack; the best of 16 to 200 thousand, whatever the width and the batch


@dataclass(frozen=True)
class Networks:
    """A stack of MLPs: `weights[l]` [models, inputs, outputs] and `biases[l]` [models, 1, outputs], l = 0 .. depth."""

    weights: tuple[torch.Tensor, ...]
    biases: tuple[torch.Tensor, ...]

    def at(self, models: slice | Sequence[int]) -> Networks:
        """The networks at these places."""
        return Networks(tuple(w[models] for w in self.weights), tuple(b[models] for b in self.biases))

    def preactivations(self, function: Function, x: torch.Tensor) -> list[torch.Tensor]:
        """What enters each hidden layer's function, then the prediction: depth + 1 tensors [models, batch, units].

        Args:
            function: the activation, of one model's [batch, features].
            x: inputs [models, batch, features].
        """
        mapped, entering, h = torch.func.vmap(function), [], x
        for weight, bias in zip(self.weights, self.biases, strict=True):
            if entering:
                h = mapped(entering[-1])
            entering.append(torch.baddbmm(bias, h, weight))
        return entering

    def predict(self, function: Function, x: torch.Tensor, batch: int | None = None) -> torch.Tensor:
        """Predictions [models, points] at x [models, points, features], as one batch or `batch` at a time.

        They come back to the device of `x`, wherever the networks are.
        """
        points, home = x.shape[1], x.device
        x = x.to(self.weights[0].device)
        step = points if batch is None else batch
        with torch.no_grad():
            parts = [self.preactivations(function, x[:, i : i + step])[-1] for i in range(0, points, step)]
        return torch.cat(parts, dim=1).squeeze(-1).to(home)


def initial_networks(dims: tuple[int, ...], inputs: int, config: LabConfig, seed: int) -> Networks:
    """`torch.nn.Linear`'s initialisation, uniform in +-1/sqrt(inputs of the layer), from a seed of its own a model.

    Weights of the padded inputs exist but never matter, since those inputs are zero.

    Args:
        dims: the number of true inputs of each model, [models].
        inputs: the number of inputs with padding.
        config: the lab's settings.
        seed: of all weights; a model's weights do not depend on how many models follow it.
    """
    dtype = getattr(torch, config.dtype)
    sizes = [inputs, *[config.width] * config.depth, 1]
    shapes = list(itertools.pairwise(sizes))
    generators = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(len(dims))]
    weights: list[list[np.ndarray]] = [[] for _ in shapes]
    biases: list[list[np.ndarray]] = [[] for _ in shapes]
    for dim, generator in zip(dims, generators, strict=True):
        for layer, (fan_in, fan_out) in enumerate(shapes):
            bound = 1 / math.sqrt(dim if layer == 0 else fan_in)
            weights[layer].append(generator.uniform(-bound, bound, size=(fan_in, fan_out)))
            biases[layer].append(generator.uniform(-bound, bound, size=(1, fan_out)))

    def stack(arrays: list[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(arrays)).to(config.device, dtype)

    return Networks(tuple(map(stack, weights)), tuple(map(stack, biases)))


def batches(points: int, config: LabConfig, seed: int) -> torch.Tensor:
    """Indices of each step's points, [steps, batch]: a new order each epoch, the same for all models and functions."""
    if points % config.batch:
        raise ValueError(f"wanted training points in whole batches of {config.batch}; got {points} points")
    generator = np.random.default_rng([seed, 1])
    epochs = -(-config.steps * config.batch // points)
    order = np.concatenate([generator.permutation(points) for _ in range(epochs)])
    return torch.from_numpy(order.reshape(-1, config.batch)[: config.steps])


def train(
    function: Function, data: Blind, config: LabConfig, seed: int, chosen: Sequence[int] | None = None
) -> Networks:
    """Networks trained on each task of `data`.

    Args:
        function: the activation, a function of one model's [batch, features].
        data: the tasks; targets of the out-of-distribution points are not in it.
        config: the lab's settings.
        seed: of initial weights and batches: common to all functions, so that their differences are paired.
        chosen: places of the tasks to train on, all by default; a task's network does not hang on the others.

    Returns:
        One network a chosen task, in order, on the device of `config`.

    Raises:
        ValueError: where the device is CUDA's and there is none.
    """
    _want_device(config.device)
    dtype = getattr(torch, config.dtype)
    models = list(range(len(data.dims)) if chosen is None else chosen)
    x, y = (torch.from_numpy(a[models]).to(config.device, dtype) for a in (data.train_x, data.train_y[..., None]))
    start = initial_networks(data.dims, x.shape[-1], config, seed).at(models)
    index = batches(x.shape[1], config, seed).to(config.device)
    chunk = _chunk(len(models), config)
    passes, done = {}, []
    for i in range(0, len(models), chunk):
        part = slice(i, i + chunk)
        like = x.new_zeros(len(x[part]), config.batch, config.width)
        if like.shape not in passes:
            passes[like.shape] = record(function, like)
        done.append(_train_chunk(*passes[like.shape], x[part], y[part], index, start.at(part), config))
    layers = range(config.depth + 1)
    return Networks(
        tuple(torch.cat([n.weights[layer] for n in done]) for layer in layers),
        tuple(torch.cat([n.biases[layer] for n in done]) for layer in layers),
    )


def _want_device(device: str) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"wanted device {device}; this torch has no CUDA device: use device='cpu'")


def _chunk(models: int, config: LabConfig) -> int:
    """Networks in one stack: on a GPU all, else equal shares of at most `STACK` values a layer unless it is set."""
    if config.device != "cpu":
        return models
    return config.chunk or -(-models // -(-models * config.batch * config.width // STACK))


@torch.no_grad()
def _train_chunk(
    forward: Forward,
    backward: Backward,
    x: torch.Tensor,
    y: torch.Tensor,
    index: torch.Tensor,
    start: Networks,
    config: LabConfig,
) -> Networks:
    """Trains one stack; all of its parameters, and all gradients, are views of one flat tensor each."""
    (flat, networks), (flat_gradient, gradient) = _flat(start), _flat(start)
    write_gradient = _Gradient(forward, backward, networks, gradient, config.batch)
    mean, square, count = torch.zeros_like(flat), torch.zeros_like(flat), flat.new_zeros(())
    step = 0
    for epoch in index.split(x.shape[1] // config.batch):
        # The epoch's points in their order: one copy, of which a step takes a view.
        steps = (a.index_select(1, epoch.reshape(-1)).unflatten(1, epoch.shape).unbind(1) for a in (x, y))
        for batch_x, batch_y in zip(*steps, strict=True):
            write_gradient(batch_x, batch_y)
            count += 1
            rate = config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / len(index)))
            # What torch.optim.Adam(fused=True) calls, without its bookkeeping, which is a tenth of it.
            torch._fused_adam_([flat], [flat_gradient], [mean], [square], [], [count], lr=rate, **_ADAM)
            step += 1
    return networks


_ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False, "maximize": False}


def _flat(networks: Networks) -> tuple[torch.Tensor, Networks]:
    """A flat copy of all parameters, and the same networks as views of it."""
    tensors = [*networks.weights, *networks.biases]
    flat = torch.cat([t.reshape(-1) for t in tensors])
    views = [part.view_as(t) for part, t in zip(flat.split([t.numel() for t in tensors]), tensors, strict=True)]
    depth = len(networks.weights)
    return flat, Networks(tuple(views[:depth]), tuple(views[depth:]))


class _Gradient:
    """Writes the gradient of the models' batch losses, summed, into `gradient`; its buffers are made once.

    Args:
        forward: the recorded pass of the function, on [models, batch, units].
        backward: the other.
        networks: whose weights and biases change between calls.
        gradient: of the same shapes.
        batch: points a step.
    """

    def __init__(
        self, forward: Forward, backward: Backward, networks: Networks, gradient: Networks, batch: int
    ) -> None:
        self.forward, self.backward, self.networks, self.gradient = forward, backward, networks, gradient
        self.entering = [w.new_empty(len(w), batch, w.shape[2]) for w in networks.weights[:-1]]
        # Two, in turn: the function's backward pass may return what it was given.
        self.arriving = [torch.empty_like(self.entering[0]) for _ in range(2)]
        self.transposed = [w.transpose(1, 2) for w in networks.weights]
        self.last = gradient.weights[-1].transpose(1, 2)
        self.scale = 2 / batch  # of the mean squared error's derivative

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """At x [models, batch, features] and y [models, batch, 1]."""
        networks, gradient, hidden, kept = self.networks, self.gradient, [x], []
        for z, weight, bias in zip(self.entering, networks.weights, networks.biases, strict=False):
            h, *rest = self.forward(torch.baddbmm(bias, hidden[-1], weight, out=z))
            hidden.append(h)
            kept.append(rest)
        # MKL's matrix product with one column costs four times the sum.
        error = torch.mul(hidden[-1], self.transposed[-1], out=self.arriving[0]).sum(-1, keepdim=True)
        error.add_(networks.biases[-1]).sub_(y).mul_(self.scale)
        torch.bmm(error.transpose(1, 2), hidden[-1], out=self.last)
        torch.sum(error, dim=1, keepdim=True, out=gradient.biases[-1])
        arriving = torch.mul(error, self.transposed[-1], out=self.arriving[0])
        for layer in reversed(range(len(self.entering))):
            (delta,) = self.backward(arriving, *kept.pop())
            torch.bmm(hidden[layer].transpose(1, 2), delta, out=gradient.weights[layer])
            torch.sum(delta, dim=1, keepdim=True, out=gradient.biases[layer])
            if layer:
                other = self.arriving[arriving is self.arriving[0]]
                arriving = torch.bmm(delta, self.transposed[layer], out=other)
