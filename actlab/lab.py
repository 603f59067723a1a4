"""Trains the small networks of all tasks for one function at once, as one stack of tensors (paper, section 4).

A network is an MLP with `depth` hidden layers; its loss is the mean squared error, its optimiser Adam with a cosine
schedule [ours]. Networks are stacked along a leading axis, [models, batch, features], and the function is mapped over
that axis by `torch.func.vmap`, so that a function that looks across its batch sees one model's batch only. The linear
layers' backward pass is written out; autograd serves the function alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from actlab.config import LabConfig
from actlab.tasks import Blind

Function = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Networks:
    """A stack of MLPs: `weights[l]` [models, inputs, outputs] and `biases[l]` [models, 1, outputs], l = 0 .. depth."""

    weights: tuple[torch.Tensor, ...]
    biases: tuple[torch.Tensor, ...]

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
        """Predictions [models, points] at x [models, points, features], as one batch or `batch` at a time."""
        points = x.shape[1]
        step = points if batch is None else batch
        with torch.no_grad():
            parts = [self.preactivations(function, x[:, i : i + step])[-1] for i in range(0, points, step)]
        return torch.cat(parts, dim=1).squeeze(-1)


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
        return torch.from_numpy(np.stack(arrays)).to(dtype)

    return Networks(tuple(map(stack, weights)), tuple(map(stack, biases)))


def batches(points: int, config: LabConfig, seed: int) -> torch.Tensor:
    """Indices of each step's points, [steps, batch]: a new order each epoch, the same for all models and functions."""
    if points % config.batch:
        raise ValueError(f"wanted training points in whole batches of {config.batch}; got {points} points")
    generator = np.random.default_rng([seed, 1])
    epochs = -(-config.steps * config.batch // points)
    order = np.concatenate([generator.permutation(points) for _ in range(epochs)])
    return torch.from_numpy(order.reshape(-1, config.batch)[: config.steps])


def train(function: Function, data: Blind, config: LabConfig, seed: int) -> Networks:
    """Networks trained on each task of `data`.

    Args:
        function: the activation, a function of one model's [batch, features].
        data: the tasks; targets of the out-of-distribution points are not in it.
        config: the lab's settings.
        seed: of initial weights and batches: common to all functions, so that their differences are paired.

    Returns:
        One network a task, in order.
    """
    dtype = getattr(torch, config.dtype)
    x, y = torch.from_numpy(data.train_x).to(dtype), torch.from_numpy(data.train_y).to(dtype)
    start = initial_networks(data.dims, x.shape[-1], config, seed)
    index = batches(x.shape[1], config, seed)
    done = []
    for i in range(0, len(data.dims), config.chunk):
        part = slice(i, i + config.chunk)
        networks = Networks(tuple(w[part] for w in start.weights), tuple(b[part] for b in start.biases))
        done.append(_train_chunk(function, x[part], y[part], index, networks, config))
    layers = range(config.depth + 1)
    return Networks(
        tuple(torch.cat([n.weights[layer] for n in done]) for layer in layers),
        tuple(torch.cat([n.biases[layer] for n in done]) for layer in layers),
    )


def _train_chunk(
    function: Function,
    x: torch.Tensor,
    y: torch.Tensor,
    index: torch.Tensor,
    start: Networks,
    config: LabConfig,
) -> Networks:
    """Trains one stack; all of its parameters, and all gradients, are views of one flat tensor each."""
    flat, networks = _flat(start)
    flat_gradient, gradient = _flat(start)
    parameter = torch.nn.Parameter(flat)
    parameter.grad = flat_gradient
    optimiser = torch.optim.Adam([parameter], lr=config.learning_rate, fused=True)
    for step, points in enumerate(index):
        _write_gradient(function, x[:, points], y[:, points, None], networks, gradient)
        optimiser.param_groups[0]["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / len(index)))
        optimiser.step()
    return networks


def _flat(networks: Networks) -> tuple[torch.Tensor, Networks]:
    """A flat copy of all parameters, and the same networks as views of it."""
    tensors = [*networks.weights, *networks.biases]
    flat = torch.cat([t.reshape(-1) for t in tensors])
    views = [part.view_as(t) for part, t in zip(flat.split([t.numel() for t in tensors]), tensors, strict=True)]
    depth = len(networks.weights)
    return flat, Networks(tuple(views[:depth]), tuple(views[depth:]))


def _write_gradient(
    function: Function, x: torch.Tensor, y: torch.Tensor, networks: Networks, gradient: Networks
) -> None:
    """Writes the gradient of the models' batch losses, summed, at x [models, batch, features], y [models, batch, 1]."""
    mapped = torch.func.vmap(function)
    hidden, entering, values = x, [], [x]
    for weight, bias in zip(networks.weights[:-1], networks.biases[:-1], strict=True):
        z = torch.baddbmm(bias, hidden, weight).requires_grad_()
        h = mapped(z)
        hidden = h.detach()
        entering.append((z, h))
        values.append(hidden)
    prediction = torch.baddbmm(networks.biases[-1], hidden, networks.weights[-1])
    delta = (prediction - y).mul_(2 / y.shape[1])
    for layer in reversed(range(len(networks.weights))):
        torch.bmm(values[layer].transpose(1, 2), delta, out=gradient.weights[layer])
        torch.sum(delta, dim=1, keepdim=True, out=gradient.biases[layer])
        if layer:
            z, h = entering[layer - 1]
            (delta,) = torch.autograd.grad(h, z, torch.bmm(delta, networks.weights[layer].transpose(1, 2)))
