"""A function's forward and backward pass as straight lists of operations (ours), for the lab's inner loop.

`record` gives two lists of tensor operations, recorded once a shape under `torch.func.vmap` and then run without vmap's
and autograd's bookkeeping: 0.2 to 0.3 ms for each layer, model stack and step there. The operations are those that
autograd runs, in its order, so the results are equal to the bit; but for GELU's tanh form, which is rewritten and equal
to rounding. `actlab.lab.listing` makes plain data of the same passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from operator import getitem
from typing import Any

import torch
from torch import fx
from torch.fx.experimental.proxy_tensor import make_fx

Function = Callable[[torch.Tensor], torch.Tensor]
Forward = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]
Backward = Callable[..., tuple[torch.Tensor]]

aten = torch.ops.aten


def record(function: Function, like: torch.Tensor) -> tuple[Forward, Backward]:
    """The passes of a function that is mapped over the first axis.

    Args:
        function: of one model's [batch, features].
        like: any tensor of the shape [models, batch, features], dtype and device to come; its values do not matter.

    Returns:
        `forward(z)`, which gives (value, *kept), and `backward(d, *kept)`, which gives (gradient,): the sums of the
        value's derivatives by z, weighted with d. Both may return an argument itself.

    Raises:
        ValueError: where the value has another shape or dtype than z; whatever the function raises comes through.
    """
    module = joint(function, like)
    _rewrite_gelu(module.graph)
    d, z, *body, output = module.graph.nodes
    value, gradient = output.args[0]
    # Cut where d comes in, so that no operation changes its place among those that write into a tensor.
    cut = next((i for i, node in enumerate(body) if d in node.all_input_nodes), len(body))
    before, after = [z, *body[:cut]], body[cut:]
    needed = {gradient}.union(*(node.all_input_nodes for node in after))
    kept = [node for node in before if node in needed]
    return _part(module, [z], before[1:], [value, *kept]), _part(module, [d, *kept], after, [gradient])


def joint(
    function: Callable[..., torch.Tensor],
    like: torch.Tensor,
    simpler: Mapping[Any, Callable[..., Any]] | None = None,
    constants: int = 0,
) -> fx.GraphModule:
    """Both passes as one graph, of (d, z, *constants) to (value, *gradients), in `simpler` operations if there are any.

    Constants are of the shape of z, so that their gradients are those of each element.
    """
    mapped = torch.func.vmap(function)

    def both(d: torch.Tensor, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.enable_grad():
            z, *others = (tensor.detach().requires_grad_() for tensor in given)
            value = mapped(z, *others)
            if (value.shape, value.dtype) != (z.shape, z.dtype):
                wanted, got = (f"{tuple(t.shape[1:])} {t.dtype}" for t in (z, value))
                raise ValueError(f"wanted a result like x, {wanted}; got {got}")
            return value.detach(), *torch.autograd.grad(value, [z, *others], d)

    return make_fx(both, decomposition_table=simpler)(
        torch.ones_like(like), *(like.clone() for _ in range(1 + constants))
    )


def _part(module: fx.GraphModule, inputs: list[fx.Node], body: list[fx.Node], outputs: Sequence[fx.Node]) -> Callable:
    graph = fx.Graph()
    copies = {node: graph.placeholder(node.name) for node in inputs}
    for node in body:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in outputs))
    return fx.GraphModule(module, graph).forward


def _rewrite_gelu(graph: fx.Graph) -> None:
    """Lets GELU's backward pass use what its forward pass knows; torch's own computes a slow tanh in each."""
    known: dict[fx.Node, tuple[fx.Node, ...]] = {}
    for node in graph.nodes:
        if node.kwargs.get("approximate") != "tanh":
            continue
        if node.target is aten.gelu.default:
            x = node.args[0]
            with graph.inserting_before(node):
                result = graph.call_function(_gelu, (x,))
                value, *known[x] = (graph.call_function(getitem, (result, i)) for i in range(3))
            node.replace_all_uses_with(value)
            graph.erase_node(node)
        elif node.target is aten.gelu_backward.default and node.args[1] in known:
            node.target, node.args, node.kwargs = _gelu_backward, (*node.args, *known[node.args[1]]), {}


SLOPE = 2 * math.sqrt(2 / math.pi)
CUBIC = 0.044715 * SLOPE


def _gelu(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x sigmoid(u), u = SLOPE x + CUBIC x^3, which is x (1 + tanh(u/2)) / 2; and x^2 and the sigmoid."""
    square = x * x
    gate = (square * CUBIC).add_(SLOPE).mul_(x).sigmoid_()
    return x * gate, square, gate


def _gelu_backward(d: torch.Tensor, x: torch.Tensor, square: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    value = x * gate
    return torch.addcmul(gate, value.addcmul_(value, gate, value=-1), (square * (3 * CUBIC)).add_(SLOPE)).mul_(d)
