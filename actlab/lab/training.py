"""Trains the small networks of all tasks for one function at once, as one stack of tensors (paper, section 4).

A network is an MLP with `depth` hidden layers; its loss is the mean squared error, its optimiser Adam with a cosine
schedule [ours]. Networks are stacked along a leading axis, [models, batch, features], and the function is mapped over
that axis by `torch.func.vmap`, so that a function that looks across its batch sees one model's batch only.

`fit` is the one training loop. It takes gradients from `recorded`, for speed, or from `by_autograd`, where a study
learns or observes more than weights. In `recorded` the linear layers' backward pass is written out, into buffers that
are made once; the function's passes are recorded (`actlab.lab.tracing`); the last layer, of one output, is no matrix
product; and a stack is as large as the cache bears. What did not help: one call of autograd for all layers, huge pages,
other settings of malloc, flushing denormal numbers, MKL's other instruction sets; and all sums over biases are 1 % of a
step, not worth folding in.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from actlab.core.config import LabConfig
from actlab.lab.tracing import Backward, Forward, Function, record
from actlab.lab.training_view import TrainingView

STACK = 65_536  # values of one layer in one stack; the best of 16 to 200 thousand, whatever the width and the batch
FACTORS: dict[str, Callable[[int, int], float]] = {  # of the learning rate, at a step of so many, by the schedule
    "cosine": lambda step, steps: 0.5 * (1 + math.cos(math.pi * step / steps)),
    "constant": lambda step, steps: 1.0,
}
ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False, "maximize": False}

Gradients = Callable[[torch.Tensor, torch.Tensor], Sequence[torch.Tensor]]  # at a batch's inputs and targets


@dataclass(frozen=True)
class Networks:
    """A stack of MLPs: `weights[l]` [models, inputs, outputs] and `biases[l]` [models, 1, outputs], l = 0 .. depth."""

    weights: tuple[torch.Tensor, ...]
    biases: tuple[torch.Tensor, ...]

    @classmethod
    def of(cls, tensors: Iterable[torch.Tensor]) -> Networks:
        """The networks with these weights and then these biases, as `tensors` gives them."""
        tensors = tuple(tensors)
        return cls(tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :])

    @classmethod
    def joined(cls, stacks: Iterable[Networks]) -> Networks:
        """Several stacks as one."""
        return cls.of(map(torch.cat, zip(*(stack.tensors for stack in stacks), strict=True)))

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All weights, then all biases."""
        return self.weights + self.biases

    def at(self, models: slice | Sequence[int]) -> Networks:
        """The networks at these places."""
        return Networks.of(tensor[models] for tensor in self.tensors)

    def layers(self, functions: Iterable[Function], x: torch.Tensor) -> list[torch.Tensor]:
        """What enters each hidden layer's function, then the prediction: depth + 1 tensors [models, batch, units].

        Args:
            functions: of a whole stack, one a hidden layer.
            x: inputs [models, batch, features].
        """
        first, *rest = zip(self.weights, self.biases, strict=True)
        entering = [torch.baddbmm(first[1], x, first[0])]
        for (weight, bias), function in zip(rest, functions, strict=False):
            entering.append(torch.baddbmm(bias, function(entering[-1]), weight))
        return entering

    def losses(self, functions: Iterable[Function], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Mean squared errors [models] at targets y [models, batch, 1]; the rest as in `layers`."""
        return (self.layers(functions, x)[-1] - y).square().mean(dim=(1, 2))

    def preactivations(self, function: Function, x: torch.Tensor) -> list[torch.Tensor]:
        """As `layers`, with one function of one model's [batch, features] everywhere."""
        return self.layers(itertools.repeat(torch.func.vmap(function)), x)

    def predict(self, function: Function, x: torch.Tensor, batch: int | None = None) -> torch.Tensor:
        """Predictions [models, points] at x [models, points, features], as one batch or `batch` at a time.

        They come back to the device of `x`, wherever the networks are.
        """
        parts = x.to(self.weights[0].device).split(batch or x.shape[1], dim=1)
        with torch.no_grad():
            made = [self.preactivations(function, part)[-1] for part in parts]
        return torch.cat(made, dim=1).squeeze(-1).to(x.device)


def initial_networks(dims: tuple[int, ...], inputs: int, config: LabConfig, seed: int) -> Networks:
    """`torch.nn.Linear`'s initialisation, uniform in +-1/sqrt(inputs of the layer), from a seed of its own a model.

    Weights of the padded inputs exist but never matter, since those inputs are zero.

    Args:
        dims: the number of true inputs of each model; its weights do not depend on how many models follow it.
        inputs: the number of inputs with padding.
        config: the lab's settings.
        seed: of all weights.
    """
    shapes = list(itertools.pairwise([inputs, *[config.width] * config.depth, 1]))
    models = []
    for dim, sequence in zip(dims, np.random.SeedSequence(seed).spawn(len(dims)), strict=True):
        uniform, pairs = np.random.default_rng(sequence).uniform, []
        for layer, (fan_in, fan_out) in enumerate(shapes):
            bound = 1 / math.sqrt(fan_in if layer else dim)
            pairs.append([uniform(-bound, bound, (fan_in, fan_out)), uniform(-bound, bound, (1, fan_out))])
        models.append(list(itertools.chain(*zip(*pairs, strict=True))))
    stacked = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*models, strict=True))
    return Networks.of(tensor.to(config.device, getattr(torch, config.dtype)) for tensor in stacked)


def batches(points: int, config: LabConfig, seed: int) -> torch.Tensor:
    """Indices of each step's points, [steps, batch]: a new order each epoch, the same for all models and functions."""
    if points % config.batch:
        raise ValueError(f"wanted training points in whole batches of {config.batch}; got {points} points")
    generator = np.random.default_rng([seed, 1])
    epochs = -(-config.steps * config.batch // points)
    order = np.concatenate([generator.permutation(points) for _ in range(epochs)])
    return torch.from_numpy(order.reshape(-1, config.batch)[: config.steps])


@dataclass(frozen=True)
class Start:
    """Where a training begins: points x [models, points, features] and y [models, points, 1], and initial networks.

    `index` [steps, batch] has the places of each step's points.
    """

    x: torch.Tensor
    y: torch.Tensor
    index: torch.Tensor
    networks: Networks

    @classmethod
    def of(cls, data: TrainingView, config: LabConfig, seed: int, chosen: Sequence[int]) -> Start:
        """The start on the tasks at some places, as tensors on the device of `config`.

        Raises:
            ValueError: where the device is CUDA's and there is none.
        """
        if config.device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"wanted device {config.device}; this torch has no CUDA device: use device='cpu'")
        dtype, places = getattr(torch, config.dtype), list(chosen)
        x, y = (torch.from_numpy(a[places]).to(config.device, dtype) for a in (data.train_x, data.train_y[..., None]))
        networks = initial_networks(data.dims, x.shape[-1], config, seed).at(places)
        networks = Networks(tuple(weight * config.gain for weight in networks.weights), networks.biases)
        return cls(x, y, batches(x.shape[1], config, seed).to(config.device), networks)

    def at(self, models: slice | Sequence[int]) -> Start:
        """The start of the networks at these places."""
        return Start(self.x[models], self.y[models], self.index, self.networks.at(models))


def train(
    function: Function, data: TrainingView, config: LabConfig, seed: int, chosen: Sequence[int] | None = None
) -> Networks:
    """Networks trained on each task of `data`.

    Args:
        function: the activation, a function of one model's [batch, features].
        data: the tasks.
        config: the lab's settings.
        seed: of initial weights and batches: common to all functions, so that their differences are paired.
        chosen: places of the tasks to train on, all by default; a task's network does not depend on the others.

    Returns:
        One network a chosen task, in order, on the device of `config`.

    Raises:
        ValueError: where the device is CUDA's and there is none.
    """
    return train_from(
        function, Start.of(data, config, seed, range(len(data.dims)) if chosen is None else chosen), config
    )


def train_from(function: Function, whole: Start, config: LabConfig) -> Networks:
    """As `train`, from a start."""
    chunk = _chunk(len(whole.x), config)
    passes, done = {}, []
    for i in range(0, len(whole.x), chunk):
        start = whole.at(slice(i, i + chunk))
        shape = len(start.x), config.batch, config.width
        if shape not in passes:
            passes[shape] = record(function, start.x.new_zeros(shape))
        networks, parameters, gradients = recorded(*passes[shape], start.networks, config.batch)
        fit(parameters, gradients, start, config)
        done.append(networks)
    return Networks.joined(done)


def _chunk(models: int, config: LabConfig) -> int:
    """Networks in one stack: on a GPU all, else equal shares of at most `STACK` values a layer unless it is set."""
    if config.device != "cpu":
        return models
    return config.chunk or -(-models // stacks(models, config))


def stacks(models: int, config: LabConfig) -> int:
    """The number of stacks that hold at most `STACK` values a layer."""
    return -(-models * config.batch * config.width // STACK)


@torch.no_grad()
def fit(
    parameters: Sequence[torch.Tensor],
    gradients: Gradients,
    start: Start,
    config: LabConfig,
    hook: Callable[[Sequence[torch.Tensor]], None] = lambda gradients: None,
) -> None:
    """Trains one stack by Adam; the plain loop that judges this one is in `actlab.lab.reference`.

    Args:
        parameters: what is learned, changed in place.
        gradients: those of the models' batch losses, summed, by each parameter.
        start: the points, and their order.
        config: the lab's settings.
        hook: called with the gradients at each step, before the parameters change.
    """
    factor, steps = FACTORS[config.schedule], len(start.index)
    means, squares = ([torch.zeros_like(tensor) for tensor in parameters] for _ in range(2))
    counts = [tensor.new_zeros(()) for tensor in parameters]
    step = 0
    for epoch in start.index.split(start.x.shape[1] // config.batch):
        # The epoch's points in their order: one copy, of which a step takes a view.
        parts = (a.index_select(1, epoch.reshape(-1)).unflatten(1, epoch.shape).unbind(1) for a in (start.x, start.y))
        for x, y in zip(*parts, strict=True):
            found = gradients(x, y)
            hook(found)
            torch._foreach_add_(counts, 1)
            rate = config.learning_rate * factor(step, steps)
            # What torch.optim.Adam(fused=True) calls, without its bookkeeping, which is a tenth of it.
            torch._fused_adam_(parameters, found, means, squares, [], counts, lr=rate, **ADAM)
            step += 1


def by_autograd(
    parameters: Sequence[torch.Tensor], losses: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> Gradients:
    """Gradients of the sum of `losses(x, y)` by parameters, which may be any tensors that it is made from."""

    @torch.enable_grad()
    def gradients(x: torch.Tensor, y: torch.Tensor) -> Sequence[torch.Tensor]:
        for parameter in parameters:
            parameter.requires_grad_()
        found = torch.autograd.grad(losses(x, y).sum(), parameters)
        for parameter in parameters:
            parameter.requires_grad_(False)
        return [gradient.contiguous() for gradient in found]  # Adam reads memory, whatever the strides

    return gradients


def _views(flat: torch.Tensor, networks: Networks) -> Networks:
    """A flat tensor of as many values as `networks` have, as networks of their shapes."""
    parts = flat.split([tensor.numel() for tensor in networks.tensors])
    return Networks.of(part.view_as(tensor) for part, tensor in zip(parts, networks.tensors, strict=True))


def recorded(
    forward: Forward, backward: Backward, start: Networks, batch: int
) -> tuple[Networks, list[torch.Tensor], Gradients]:
    """Copies of networks, their parameters as one flat tensor, and what writes its gradient into buffers made once.

    Args:
        forward: the recorded pass of the function, on [models, batch, units].
        backward: the other.
        start: what is copied.
        batch: points a step.
    """
    flat = torch.cat([tensor.reshape(-1) for tensor in start.tensors])
    flat_gradient = torch.empty_like(flat)
    networks, gradient = _views(flat, start), _views(flat_gradient, start)
    entering = [w.new_empty(len(w), batch, w.shape[2]) for w in networks.weights[:-1]]
    # Two, in turn: the function's backward pass may return what it was given.
    buffers = [torch.empty_like(entering[0]) for _ in range(2)]
    transposed = [w.transpose(1, 2) for w in networks.weights]
    last = gradient.weights[-1].transpose(1, 2)
    scale = 2 / batch  # of the mean squared error's derivative

    def gradients(x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
        hidden, kept = [x], []
        for z, weight, bias in zip(entering, networks.weights, networks.biases, strict=False):
            h, *rest = forward(torch.baddbmm(bias, hidden[-1], weight, out=z))
            hidden.append(h)
            kept.append(rest)
        # MKL's matrix product with one column costs four times the sum.
        error = torch.mul(hidden[-1], transposed[-1], out=buffers[0]).sum(-1, keepdim=True)
        error.add_(networks.biases[-1]).sub_(y).mul_(scale)
        torch.bmm(error.transpose(1, 2), hidden[-1], out=last)
        torch.sum(error, dim=1, keepdim=True, out=gradient.biases[-1])
        arriving = torch.mul(error, transposed[-1], out=buffers[0])
        for layer in reversed(range(len(entering))):
            (delta,) = backward(arriving, *kept.pop())
            torch.bmm(hidden[layer].transpose(1, 2), delta, out=gradient.weights[layer])
            torch.sum(delta, dim=1, keepdim=True, out=gradient.biases[layer])
            if layer:
                arriving = torch.bmm(delta, transposed[layer], out=buffers[arriving is buffers[0]])
        return [flat_gradient]

    return networks, [flat], gradients
