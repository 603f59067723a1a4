"""The network for CLRS-30: encode, process, decode, a message step for each step of the algorithm, with hints.

It is dm-clrs's "triplet_gmpnn" (Ibarz et al., arXiv 2209.11142) in torch: messages over all pairs of nodes, edges
updated from triplets of nodes (Dudzik and Veličković, 2203.15544), gates, layer norm, predicted hints fed back as
probabilities. The activation stands in all five places where a ReLU does there: before and within the messages' MLP,
on the edges, on the nodes, within the gate. It sees [batch, nodes, nodes, features] on the first three, of which axis
1 holds the senders and axis 2 the receivers, and [batch, nodes, features] on the others.

What is written differently computes the same: layers that read the same tensor are one; all encoders of a location
share a bias; outputs are decoded only after the step at which a sample ends; the maximum over triplets is never laid
out over all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from actlab.benchmarks.algorithm_data import LOCATIONS, Probe, Trajectories

if TYPE_CHECKING:
    from actlab.benchmarks import Activation

Values = Mapping[str, torch.Tensor]  # by the name of the probe

TEMPERATURE = 0.1  # of Sinkhorn's operator, here and below as in dm-clrs
DECODE_STEPS, HARDEN_STEPS = 10, 25


class Network(nn.Module):
    """Predicts an algorithm's outputs, and the hints after each step, from its inputs and its hints at the start."""

    def __init__(
        self,
        probes: Sequence[Probe],
        activation: Activation,
        width: int,
        triplets: int,
        teacher_forcing: float = 0.0,
    ) -> None:
        """Draws the weights from torch's own generator.

        Args:
            probes: of the algorithm.
            activation: x `[batch, ..., features]` -> the same shape.
            width: features of nodes, edges and graph.
            triplets: features of a triplet.
            teacher_forcing: in training, the probability with which a sample's true hints, not the predicted ones,
                are encoded at a step.
        """
        super().__init__()
        inputs, hints, outputs = ([p for p in probes if p.stage == stage] for stage in ("input", "hint", "output"))
        self.inputs, self.hints, self.width, self.teacher_forcing = inputs, hints, width, teacher_forcing
        self.encode_inputs, self.encode_hints = Encoder(inputs, width), Encoder(hints, width)
        self.process = Processor(activation, width, triplets)
        self.decode_hints, self.decode_outputs = Decoder(hints, width), Decoder(outputs, width)

    def forward(self, given: Trajectories) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Logits of the outputs, [batch, ...], and of the hints after each step, [steps, batch, ...].

        Args:
            given: its inputs, lengths and hints at the start; with teacher forcing also the later hints. The outputs
                are not read.
        """
        batch, nodes, device = len(given.lengths), given.nodes, given.lengths.device
        known = {probe.name: soft_truth(probe, given.inputs[probe.name], nodes) for probe in self.inputs}
        inputs = self.encode_inputs(known, nodes)
        hidden = torch.zeros(batch, nodes, self.width, device=device)
        hints = {probe.name: soft_truth(probe, given.hints[probe.name][0], nodes) for probe in self.hints}
        steps: list[dict[str, torch.Tensor]] = []
        outputs: dict[str, torch.Tensor] = {}
        for step in range(given.steps):
            if step > 0:
                hints = {probe.name: soften(probe, steps[-1][probe.name]) for probe in self.hints}
                if self.training and self.teacher_forcing > 0:
                    hints = self._forced(hints, given, step)
            encoded = self.encode_hints(hints, nodes)
            node, edge, graph = (a + b for a, b in zip(inputs, encoded, strict=True))
            before = hidden
            hidden, triplets = self.process(node, edge, graph, hidden)
            read = (torch.cat([node, before, hidden], dim=-1), torch.cat([edge, triplets], dim=-1), graph)
            steps.append(self.decode_hints(*read, noise=False))
            ending = (given.lengths - 2).clamp(min=0) == step
            if ending.any():
                for name, value in self.decode_outputs(*read, noise=self.training).items():
                    here = ending.view(-1, *[1] * (value.ndim - 1))
                    outputs[name] = torch.where(here, value, outputs[name]) if name in outputs else value
        return outputs, {probe.name: torch.stack([values[probe.name] for values in steps]) for probe in self.hints}

    def _forced(self, predicted: Values, given: Trajectories, step: int) -> dict[str, torch.Tensor]:
        """Hints of which some samples' are the true ones."""
        chosen = torch.rand(len(given.lengths), device=given.lengths.device) < self.teacher_forcing
        hints = {}
        for probe in self.hints:
            value = predicted[probe.name]
            true = soft_truth(probe, given.hints[probe.name][step], given.nodes)
            hints[probe.name] = torch.where(chosen.view(-1, *[1] * (value.ndim - 1)), true, value)
        return hints


# --- encoders -------------------------------------------------------------------------------------


class Encoder(nn.Module):
    """Some probes' values -> features of nodes, edges and graph: a linear map of channels for each location."""

    def __init__(self, probes: Sequence[Probe], width: int) -> None:
        super().__init__()
        self.probes, self.width = probes, width
        self.maps = nn.ModuleDict()
        for location in LOCATIONS:
            deviations = [
                deviation
                for probe in probes
                if place(probe) == location
                for deviation in [_deviation(probe, width)] * channels(probe)
            ]
            if deviations:
                self.maps[location] = linear(len(deviations), width)
                with torch.no_grad():
                    self.maps[location].weight.mul_(torch.tensor(deviations) * math.sqrt(len(deviations)))

    def forward(self, values: Values, nodes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """[batch, nodes, width], [batch, nodes, nodes, width] and [batch, width] of values as `soft_truth` has them."""
        some = next(iter(values.values()))
        shapes = {"node": (nodes,), "edge": (nodes, nodes), "graph": ()}
        encoded = []
        for location, shape in shapes.items():
            if location in self.maps:
                columns = [column for p in self.probes if place(p) == location for column in _columns(p, values)]
                encoded.append(self.maps[location](torch.cat(columns, dim=-1)))
            else:
                encoded.append(some.new_zeros(some.shape[0], *shape, self.width))
        return tuple(encoded)


def place(probe: Probe) -> str:
    """Where a probe's values are features: pointers of nodes on the edges, others where they stand."""
    if probe.location == "graph" and probe.pointer:
        raise ValueError(f"{probe.name}: wanted no pointer of the whole graph, as in CLRS-30; came one")
    return "edge" if probe.pointer else probe.location


def channels(probe: Probe) -> int:
    """How many channels a probe has: two of an edge's pointers, one for each end."""
    return 2 if probe.pointer and probe.location == "edge" else probe.classes or 1


def _deviation(probe: Probe, width: int) -> float:
    """Of the initial weights, as in dm-clrs: small for scalar hints, else by the number of inputs."""
    small = probe.stage == "hint" and probe.type == "scalar"
    return 1 / math.sqrt(width if small else probe.classes or 1)


def _columns(probe: Probe, values: Values) -> Iterable[torch.Tensor]:
    value = values[probe.name]
    if probe.pointer and probe.location == "edge":
        return value.mean(dim=1).unsqueeze(-1), value.mean(dim=2).unsqueeze(-1)
    return (value if probe.type == "categorical" else value.unsqueeze(-1),)


def soft_truth(probe: Probe, value: torch.Tensor, nodes: int) -> torch.Tensor:
    """A true value in the form of a predicted one that is fed back: pointers as one-hot vectors."""
    return F.one_hot(value, nodes).float() if probe.type == "pointer" else value


def soften(probe: Probe, logits: torch.Tensor) -> torch.Tensor:
    """A predicted hint as it is fed back: probabilities, scalars as they are.

    Raises:
        ValueError: for a permutation, which no hint of CLRS-30 is.
    """
    if probe.type == "scalar":
        return logits
    if probe.type == "mask":
        return torch.sigmoid(logits)
    if probe.type == "permutation_pointer":
        raise ValueError(f"{probe.name}: wanted no permutation among the hints, as in CLRS-30; came one")
    return torch.softmax(logits, dim=-1)


def harden(probe: Probe, logits: torch.Tensor) -> torch.Tensor:
    """A prediction in the form of a truth: 0 or 1, the likeliest place, the index of a node."""
    if probe.type == "scalar":
        return logits
    if probe.type == "mask":
        return (logits > 0).float()
    if probe.type == "pointer":
        return logits.argmax(dim=-1)
    if probe.type == "permutation_pointer":
        logits = log_sinkhorn(logits, HARDEN_STEPS)
    return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).float()


# --- the processor --------------------------------------------------------------------------------


class Processor(nn.Module):
    """One step of messages: new hidden features of the nodes, and features of the edges from triplets."""

    def __init__(self, activation: Activation, width: int, triplets: int) -> None:
        super().__init__()
        self.activation, self.width = activation, width
        # Sender, receiver, node itself, gate; then the three corners of a triplet.
        self.of_nodes = Split(2 * width, [width] * 4 + [triplets] * 3)
        self.of_edges = Split(width, [width] + [triplets] * 3)
        self.of_graph = Split(width, [width, triplets])
        self.of_triplets = linear(triplets, width)
        self.first, self.second = linear(width, width), linear(width, width)  # the MLP of messages
        self.of_messages = Split(width, [width, width])  # for the node, for its gate
        self.norm = nn.LayerNorm(width)
        self.gate = linear(width, width)
        nn.init.constant_(self.gate.bias, -3.0)  # nearly closed at first

    def forward(
        self, node: torch.Tensor, edge: torch.Tensor, graph: torch.Tensor, hidden: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """[batch, nodes, width] and [batch, nodes, nodes, width], from the encoded features and the hidden ones.

        Args:
            node: [batch, nodes, width].
            edge: [batch, nodes, nodes, width].
            graph: [batch, width].
            hidden: [batch, nodes, width], of the step before.
        """
        act = self.activation
        receiver, sender, own, gate, one, two, three = self.of_nodes(torch.cat([node, hidden], dim=-1))
        between, one_two, one_three, two_three = self.of_edges(edge)
        whole, whole_triplets = self.of_graph(graph)

        # max over i of one[i] + two[j] + three[k] + (i, j) + (i, k) + (j, k) + whole.
        best = max_plus(one.unsqueeze(2) + one_two, one_three)
        rest = two.unsqueeze(2) + three.unsqueeze(1) + two_three + whole_triplets[:, None, None]
        triplets = act(self.of_triplets(best + rest))

        messages = receiver.unsqueeze(1) + sender.unsqueeze(2) + between + whole[:, None, None]
        messages = self.second(act(self.first(act(messages)))).amax(dim=1)
        to_node, to_gate = self.of_messages(messages)
        new = self.norm(act(own + to_node))
        opened = torch.sigmoid(self.gate(act(gate + to_gate)))
        return new * opened + hidden * (1 - opened), triplets


def max_plus(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """max over i of a[batch, i, j, f] + b[batch, i, k, f], as [batch, j, k, f].

    The sums are made for one i at a time: all of them would be 2 GB for a batch of 32 at 64 nodes and 8 features. Of
    equal sums the first counts for the gradient.
    """
    return _MaxPlus.apply(a, b)


class _MaxPlus(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        learning = any(ctx.needs_input_grad)
        best = a[:, 0].unsqueeze(2) + b[:, 0].unsqueeze(1)
        which = torch.zeros_like(best, dtype=torch.int16) if learning else None
        for i in range(1, a.shape[1]):
            sums = a[:, i].unsqueeze(2) + b[:, i].unsqueeze(1)
            if learning:
                which.masked_fill_(sums > best, i)
            torch.maximum(best, sums, out=best)
        if learning:
            ctx.save_for_backward(which)
            ctx.nodes = a.shape[1]
        return best

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        which = ctx.saved_tensors[0].long()
        batch, j, k, features = grad.shape
        # a[i, j] gathers over k, so that k stands where i does; likewise b[i, k] over j.
        to_a = grad.new_zeros(batch, ctx.nodes, j, features)
        to_a.scatter_add_(1, which.transpose(1, 2), grad.transpose(1, 2))
        to_b = grad.new_zeros(batch, ctx.nodes, k, features)
        to_b.scatter_add_(1, which, grad)
        return to_a, to_b


# --- decoders -------------------------------------------------------------------------------------


class Decoder(nn.Module):
    """Features of nodes, edges and graph -> logits of some probes."""

    def __init__(self, probes: Sequence[Probe], width: int) -> None:
        super().__init__()
        self.probes = probes
        sizes = [_sizes(probe, width) for probe in probes]
        self.of_nodes, self.of_edges, self.of_graph, self.of_most = (
            Split(inputs, [size for own in sizes for size in own[part]])
            for part, inputs in enumerate((3 * width, 2 * width, width, 3 * width))
        )
        self.last = nn.ModuleDict({probe.name: linear(width, 1) for probe in probes if probe.pointer})

    def forward(
        self, node: torch.Tensor, edge: torch.Tensor, graph: torch.Tensor, noise: bool
    ) -> dict[str, torch.Tensor]:
        """Logits by name: [batch, ...] as the truth, with places for a one-hot vector and for a pointer.

        Args:
            node: [batch, nodes, 3 width].
            edge: [batch, nodes, nodes, 2 width].
            graph: [batch, width].
            noise: whether permutations get Gumbel noise, as in training.
        """
        nodes, edges = iter(self.of_nodes(node)), iter(self.of_edges(edge))
        graphs, most = iter(self.of_graph(graph)), iter(self.of_most(node.amax(dim=1)))
        logits = {}
        for probe in self.probes:
            if probe.location == "node" and probe.pointer:
                one, two, between = next(nodes), next(nodes), next(edges)
                pairs = torch.maximum(one.unsqueeze(2), (two.unsqueeze(2) + between).transpose(1, 2))
                value = self.last[probe.name](pairs).squeeze(-1)
                if probe.type == "permutation_pointer":
                    value = log_sinkhorn(value + gumbel(value) if noise else value, DECODE_STEPS)
            elif probe.location == "node":
                value = next(nodes)
            elif probe.location == "edge":
                value = next(nodes).unsqueeze(2) + next(nodes).unsqueeze(1) + next(edges)
                if probe.pointer:
                    ends = torch.maximum(value.unsqueeze(3), next(nodes)[:, None, None])
                    value = self.last[probe.name](ends).squeeze(-1)
            else:
                value = next(most) + next(graphs)
            logits[probe.name] = value if probe.pointer or probe.type == "categorical" else value.squeeze(-1)
        return logits


def _sizes(probe: Probe, width: int) -> tuple[list[int], list[int], list[int], list[int]]:
    """What a probe's decoder reads of nodes, edges, graph and the greatest of the nodes."""
    size = probe.classes or 1
    if probe.location == "node":
        return ([width] * 2, [width], [], []) if probe.pointer else ([size], [], [], [])
    if probe.location == "edge":
        return ([width] * 3, [width], [], []) if probe.pointer else ([size] * 2, [size], [], [])
    return [], [], [size], [size]


def gumbel(like: torch.Tensor) -> torch.Tensor:
    """Standard Gumbel noise in that shape, from torch's own generator (Mena et al., arXiv 1802.08665)."""
    return -torch.log(-torch.log(torch.rand_like(like) + 1e-12) + 1e-12)


def log_sinkhorn(logits: torch.Tensor, steps: int) -> torch.Tensor:
    """Logarithm of a nearly doubly stochastic matrix [..., n, n] with an empty diagonal: nobody precedes itself."""
    x = logits / TEMPERATURE - 1e6 * torch.eye(logits.shape[-1], device=logits.device)
    for _ in range(steps):
        x = torch.log_softmax(torch.log_softmax(x, dim=-1), dim=-2)
    return x


# --- layers ---------------------------------------------------------------------------------------


class Split(nn.Module):
    """Linear maps of one tensor, computed as one: [..., inputs] -> [..., size] for each of `sizes`."""

    def __init__(self, inputs: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.map = linear(inputs, sum(sizes)) if sizes else None

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The outputs, in order."""
        return self.map(x).split(self.sizes, dim=-1) if self.map is not None else ()


def linear(inputs: int, outputs: int) -> nn.Linear:
    """dm-haiku's initialisation: normal of deviation 1/sqrt(inputs), cut at two deviations; biases 0."""
    layer = nn.Linear(inputs, outputs)
    deviation = 1 / math.sqrt(inputs)
    nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
    nn.init.zeros_(layer.bias)
    return layer
