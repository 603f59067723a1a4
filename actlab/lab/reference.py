"""The lab as a reader would write it first, tasks in a loop, `nn.Sequential` and Adam: judge of the fast one (ours)."""

from __future__ import annotations

import math

import torch
from torch import nn

from actlab.core.config import LabConfig
from actlab.lab import training
from actlab.lab.tracing import Function
from actlab.lab.training_view import TrainingView


class Wrapped(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The function's value."""
        return self.function(x)


def network(function: Function, start: training.Networks, model: int, dim: int) -> nn.Sequential:
    """One MLP with the weights of model `model`, and inputs without padding."""
    layers = []
    for depth, (weight, bias) in enumerate(zip(start.weights, start.biases, strict=True)):
        weight = weight[model, :dim] if depth == 0 else weight[model]
        linear = nn.Linear(*weight.shape, dtype=weight.dtype)
        with torch.no_grad():
            linear.weight.copy_(weight.T)
            linear.bias.copy_(bias[model, 0])
        layers += [linear, Wrapped(function)]
    return nn.Sequential(*layers[:-1])


def train(
    function: Function, data: TrainingView, config: LabConfig, seed: int, fused: bool = False
) -> list[nn.Sequential]:
    """One trained network a task; the arguments are those of `training.train`, and whether Adam is fused."""
    dtype = getattr(torch, config.dtype)
    start = training.initial_networks(data.dims, data.train_x.shape[-1], config, seed)
    index = training.batches(data.train_x.shape[1], config, seed)
    nets = [network(function, start, model, dim) for model, dim in enumerate(data.dims)]
    for net, dim, x, y in zip(nets, data.dims, data.train_x, data.train_y, strict=True):
        points = torch.from_numpy(x[:, :dim]).to(dtype), torch.from_numpy(y[:, None]).to(dtype)
        fit(net, *points, index, config.learning_rate, fused)
    return nets


def fit(
    net: nn.Module, x: torch.Tensor, y: torch.Tensor, index: torch.Tensor, rate: float, fused: bool = False
) -> None:
    """Trains one network by Adam on its batches, `index` `[steps, batch]`, with the lab's schedule of the rate."""
    optimiser = torch.optim.Adam(net.parameters(), lr=rate, fused=fused)
    for step, points in enumerate(index):
        optimiser.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / len(index))) / 2
        optimiser.zero_grad()
        nn.functional.mse_loss(net(x[points]), y[points]).backward()
        optimiser.step()
