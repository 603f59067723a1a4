"""The network for CLRS-30: encode, process, decode, a message step for each step of the algorithm, with hints.

It is dm-clrs's "triplet_gmpnn" (Ibarz et al., arXiv 2209.11142) in torch: messages over all pairs of nodes, edges
updated from triplets of nodes (Dudzik and Veličković, 2203.15544), gates, layer norm, predicted hints fed back as
probabilities. The activation stands in all five places where a ReLU does there: before and within the messages' MLP,
on the edges, on the nodes, within the gate. It sees [batch, nodes, nodes, features] on the first three, of which axis
1 holds the senders and axis 2 the receivers, and [batch, nodes, features] on the others.

What is written differently computes the same: layers that read the same tensor are one; all encoders of a location
share a bias; features of edges are read through the few channels that they are linear in; triplets are formed only
where a decoder reads edges, and their maximum is never laid out over all of them; outputs are decoded only after the
step at which a sample ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from actlab.transfer.algorithm_data import LOCATIONS, STAGES, Probe, Trajectories
from actlab.transfer.algorithm_scores import Values

if TYPE_CHECKING:
    from actlab.transfer.interface import Activation

TEMPERATURE = 0.1  # of Sinkhorn's operator, here and below as in dm-clrs
DECODE_STEPS, HARDEN_STEPS = 10, 25


class Network(nn.Module):
    """Predicts an algorithm's outputs, and the hints after each step, from its inputs and its hints at the start."""

    def __init__(
        self, probes: Sequence[Probe], activation: Activation, width: int, triplets: int, teacher_forcing: float = 0.0
    ) -> None:
        """Draws the weights from torch's own generator.

        Args:
            probes: of the algorithm.
            activation: x `[batch, ..., features]` -> the same shape.
            width, triplets: features of nodes, edges and graph, and of a triplet.
            teacher_forcing: in training, the probability with which a sample's true hints, not the predicted ones,
                are encoded at a step.
        """
        super().__init__()
        self.inputs, self.hints, outputs = ([p for p in probes if p.stage == stage] for stage in STAGES)
        self.width, self.teacher_forcing = width, teacher_forcing
        self.encode_inputs, self.encode_hints = Encoder(self.inputs, width), Encoder(self.hints, width)
        self.process = Processor(activation, width, triplets)
        self.decode_hints, self.decode_outputs = Decoder(self.hints, width), Decoder(outputs, width)

    def forward(self, given: Trajectories) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Logits of the outputs, [batch, ...], and of the hints after each step, [steps, batch, ...].

        The outputs that are `given` are not read, and of the hints those at the start alone but for teacher forcing.
        """
        batch, nodes, device = len(given.lengths), given.nodes, given.lengths.device
        known = {p.name: soft_truth(p, given.inputs[p.name], nodes) for p in self.inputs}
        inputs = self.encode_inputs(known, nodes)
        hidden = torch.zeros(batch, nodes, self.width, device=device)
        hints = {p.name: soft_truth(p, given.hints[p.name][0], nodes) for p in self.hints}
        steps: list[dict[str, torch.Tensor]] = []
        outputs: dict[str, torch.Tensor] = {}
        for step in range(given.steps):
            if step > 0:
                hints = {probe.name: soften(probe, steps[-1][probe.name]) for probe in self.hints}
                if self.training and self.teacher_forcing > 0:
                    hints = self._forced(hints, given, step)
            encoded = self.encode_hints(hints, nodes)
            node, edge, graph = (a + b for a, b in zip(inputs, encoded, strict=True))
            ending = (given.lengths - 2).clamp(min=0) == step
            ends = bool(ending.any())
            edges_read = self.decode_hints.reads_edges or (ends and self.decode_outputs.reads_edges)
            before = hidden
            hidden, triplets = self.process(node, edge, graph, hidden, edges_read)
            read = (torch.cat([node, before, hidden], dim=-1), edge, triplets, graph)
            steps.append(self.decode_hints(*read, noise=False))
            if ends:
                for name, value in self.decode_outputs(*read, noise=self.training).items():
                    outputs[name] = _where(ending, value, outputs[name]) if name in outputs else value
        return outputs, {probe.name: torch.stack([values[probe.name] for values in steps]) for probe in self.hints}

    def _forced(self, predicted: Values, given: Trajectories, step: int) -> dict[str, torch.Tensor]:
        """Hints of which some samples' are the true ones."""
        chosen = torch.rand(len(given.lengths), device=given.lengths.device) < self.teacher_forcing
        return {
            p.name: _where(chosen, soft_truth(p, given.hints[p.name][step], given.nodes), predicted[p.name])
            for p in self.hints
        }


def _where(samples: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """One tensor for these samples [batch], the other for the rest."""
    return torch.where(samples.view(-1, *[1] * (one.ndim - 1)), one, other)


# --- encoders -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edges:
    """Features of edges as what they are linear in: `columns` `weight`^T + `bias`, [..., width]."""

    columns: torch.Tensor  # the probes' channels, [..., channels]
    weight: torch.Tensor  # of the encoders, [width, channels]
    bias: torch.Tensor  # [width]

    def __add__(self, other: Edges) -> Edges:
        """The sum of the features of both."""
        columns, weight = torch.cat([self.columns, other.columns], -1), torch.cat([self.weight, other.weight], -1)
        return Edges(columns, weight, self.bias + other.bias)

    def read(self, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """A linear map of the features, [..., outputs]; `weight` is [outputs, width]."""
        return F.linear(self.columns, weight @ self.weight, weight @ self.bias + bias)


class Encoder(nn.Module):
    """Some probes' values -> features of nodes, edges and graph: a linear map of channels for each location."""

    def __init__(self, probes: Sequence[Probe], width: int) -> None:
        super().__init__()
        self.probes, self.width = probes, width
        self.maps = nn.ModuleDict()
        for location in LOCATIONS:
            own = [(_deviation(p, width), channels(p)) for p in probes if place(p) == location]
            deviations = [deviation for deviation, count in own for _ in range(count)]
            if deviations:
                self.maps[location] = linear(len(deviations), width)
                with torch.no_grad():
                    self.maps[location].weight.mul_(torch.tensor(deviations) * math.sqrt(len(deviations)))

    def forward(self, values: Values, nodes: int) -> tuple[torch.Tensor, Edges, torch.Tensor]:
        """[batch, nodes, width], [batch, nodes, nodes, width] and [batch, width] of values as `soft_truth` has them."""
        some = next(iter(values.values()))
        encoded = []
        for location, shape in {"node": (nodes,), "edge": (nodes, nodes), "graph": ()}.items():
            columns = [column for p in self.probes if place(p) == location for column in _columns(p, values[p.name])]
            joined = torch.cat([some.new_zeros(some.shape[0], *shape, 0), *columns], dim=-1)
            if columns:
                weight, bias = self.maps[location].weight, self.maps[location].bias
            else:
                weight, bias = some.new_zeros(self.width, 0), some.new_zeros(self.width)
            encoded.append(Edges(joined, weight, bias) if location == "edge" else F.linear(joined, weight, bias))
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


def _columns(probe: Probe, value: torch.Tensor) -> Iterator[torch.Tensor]:
    if probe.pointer and probe.location == "edge":
        yield from (value.mean(dim=1).unsqueeze(-1), value.mean(dim=2).unsqueeze(-1))
    else:
        yield value if probe.type == "categorical" else value.unsqueeze(-1)


def soft_truth(probe: Probe, value: torch.Tensor, nodes: int) -> torch.Tensor:
    """A true value in the form of a predicted one that is fed back: pointers as one-hot vectors."""
    return F.one_hot(value, nodes).to(torch.get_default_dtype()) if probe.type == "pointer" else value


def soften(probe: Probe, logits: torch.Tensor) -> torch.Tensor:
    """A predicted hint as it is fed back: probabilities, scalars as they are. No hint of CLRS-30 is a permutation."""
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
        return (logits > 0).to(logits.dtype)
    if probe.type == "pointer":
        return logits.argmax(dim=-1)
    if probe.type == "permutation_pointer":
        logits = log_sinkhorn(logits, HARDEN_STEPS)
    return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)


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
        self, node: torch.Tensor, edge: Edges, graph: torch.Tensor, hidden: torch.Tensor, triplets: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """New hidden features [batch, nodes, width] and, where wanted, features of edges from `triplets`; else None.

        Args:
            node, graph, hidden: [batch, nodes, width], [batch, width] and [batch, nodes, width] of the step before.
            edge: [batch, nodes, nodes, width].
            triplets: whether the features of edges from triplets [batch, nodes, nodes, width] are wanted.
        """
        act = self.activation
        receiver, sender, own, gate, *corners = self.of_nodes(torch.cat([node, hidden], dim=-1))
        whole, whole_triplets = (value.unsqueeze(1) for value in self.of_graph(graph))
        weights, biases = (p.split(self.of_edges.sizes) for p in (self.of_edges.map.weight, self.of_edges.map.bias))
        pairs = None
        if triplets:
            corners[2] = corners[2] + whole_triplets
            pairs = act(self.of_triplets(_triplets(corners, edge, weights[1:], biases[1:])))

        messages = (receiver + whole).unsqueeze(1) + sender.unsqueeze(2) + edge.read(weights[0], biases[0])
        messages = highest(self.second(act(self.first(act(messages)))))
        to_node, to_gate = self.of_messages(messages)
        new = self.norm(act(own + to_node))
        opened = torch.sigmoid(self.gate(act(gate + to_gate)))
        return new * opened + hidden * (1 - opened), pairs


def _triplets(
    corners: Sequence[torch.Tensor], edge: Edges, weights: Sequence[torch.Tensor], biases: Sequence[torch.Tensor]
) -> torch.Tensor:
    """max over i of one[i] + two[j] + three[k] + (i, j) + (i, k) + (j, k), as [batch, j, k, triplets]."""
    # Nodes first and samples beside features, so that sums run over long rows.
    one, two, three = (corner.transpose(0, 1) for corner in corners)
    turned = Edges(edge.columns.permute(1, 2, 0, 3).contiguous(), edge.weight, edge.bias)
    one_two, one_three, two_three = (turned.read(w, b) for w, b in zip(weights, biases, strict=True))
    best = max_plus(one.unsqueeze(1) + one_two, one_three)
    return (best + (two.unsqueeze(1) + three + two_three)).permute(2, 0, 1, 3)


# --- maxima ---------------------------------------------------------------------------------------

# torch's own gradients of the first two make masks of bools; masks of floats take a third to a tenth of their time on
# a CPU.


class _Highest(torch.autograd.Function):
    """x.amax(dim=1), its gradient shared alike by equals."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        best = x.amax(dim=1)
        ctx.save_for_backward(x, best)
        return best

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> torch.Tensor:
        x, best = ctx.saved_tensors
        same = torch.eq(x, best.unsqueeze(1), out=torch.empty_like(x))
        return same.mul_((grad / same.sum(dim=1)).unsqueeze(1))


class _Larger(torch.autograd.Function):
    """torch.maximum(x, y), its gradient shared alike by equals."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, y)
        return torch.maximum(x, y)

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = ctx.saved_tensors
        to_x = (x - y).sign_().add_(1).mul_(0.5).mul_(grad)
        return to_x.sum_to_size(x.shape), (grad - to_x).sum_to_size(y.shape)


class _MaxPlus(torch.autograd.Function):
    """max over i of a[i, j, ...] + b[i, k, ...], as [j, k, ...]; of equal sums the first counts for the gradient.

    The sums are made for one i at a time: all of them would be 2 GB for a batch of 32 at 64 nodes and 8 features.
    """

    @staticmethod
    def forward(ctx, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        learning = any(ctx.needs_input_grad)
        best = a[0].unsqueeze(1) + b[0]
        sums, later, which = torch.empty_like(best), torch.empty_like(best), torch.zeros_like(best)
        for i in range(1, len(a)):
            torch.add(a[i].unsqueeze(1), b[i], out=sums)
            if learning:
                torch.maximum(which, torch.gt(sums, best, out=later).mul_(i), out=which)
            torch.maximum(best, sums, out=best)
        if learning:
            ctx.save_for_backward(which.long())
        return best

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        (which,) = ctx.saved_tensors
        to_a, to_b = torch.zeros_like(grad), torch.zeros_like(grad)  # as many i as j or k
        # a[i, j] gathers over k, so that k stands where i does; likewise b[i, k] over j.
        to_a.scatter_add_(1, which, grad)
        to_b.scatter_add_(0, which, grad)
        return to_a.transpose(0, 1), to_b


highest, larger, max_plus = _Highest.apply, _Larger.apply, _MaxPlus.apply


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
        self, node: torch.Tensor, edge: Edges, triplets: torch.Tensor | None, graph: torch.Tensor, noise: bool
    ) -> dict[str, torch.Tensor]:
        """Logits by name: [batch, ...] as the truth, with places for a one-hot vector and for a pointer.

        Args:
            node, edge, graph: [batch, nodes, 3 width], [batch, nodes, nodes, width] and [batch, width].
            triplets: as `edge`; needed where `reads_edges` is so.
            noise: whether permutations get Gumbel noise, as in training.
        """
        nodes, edges = iter(self.of_nodes(node)), iter(self._read_edges(edge, triplets))
        graphs, most = iter(self.of_graph(graph)), iter(self.of_most(node.amax(dim=1)))
        logits = {}
        for probe in self.probes:
            if probe.location == "node" and probe.pointer:
                one, two, between = next(nodes), next(nodes), next(edges)
                pairs = larger(two.unsqueeze(2) + between, one.unsqueeze(1))
                value = self.last[probe.name](pairs).squeeze(-1).transpose(1, 2)
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

    @property
    def reads_edges(self) -> bool:
        """Whether some probe is a pointer or stands on edges."""
        return bool(self.of_edges.sizes)

    def _read_edges(self, edge: Edges, triplets: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """`of_edges` of both, side by side."""
        if not self.reads_edges:
            return ()
        layer, width = self.of_edges.map, len(edge.bias)
        value = edge.read(layer.weight[:, :width], layer.bias) + F.linear(triplets, layer.weight[:, width:])
        return value.split(self.of_edges.sizes, dim=-1)


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
