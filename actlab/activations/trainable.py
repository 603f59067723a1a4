"""The zoo's functions as modules whose constants are trained (ours; the paper's are fixed numbers); torch alone."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import nn

from actlab.activations import zoo
from actlab.activations.zoo import Activation, ActivationModule

Device = torch.device | str | int | None


def _leaky_relu(x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x, slope * x)


def _elu(x: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x, alpha * torch.expm1(torch.clamp(x, max=0.0)))


def _softplus(x: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    return F.softplus(beta * x) / beta


# torch's own take their constant as a number, through which no gradient comes.
WRITTEN_OUT = {"leaky-relu": _leaky_relu, "elu": _elu, "softplus": _softplus}
STEPS = {"fisg": ("split",)}  # constants in which the function is a staircase: their gradient is 0 or nothing


class LearnableActivation(ActivationModule):
    """A zoo function with constants that are parameters of the module, scalars under their own names.

    The state dict holds the learned constants, the repr shows all. Weight decay would pull them to 0: give them a
    parameter group of their own without it. `activation` is the entry in the registry.
    """

    def __init__(
        self,
        activation: Activation,
        learned: Iterable[str],
        device: Device = None,
        dtype: torch.dtype | None = None,
        **constants: float,
    ) -> None:
        self.activation = activation
        super().__init__(**constants)
        for key in learned:
            setattr(self, key, nn.Parameter(torch.tensor(getattr(self, key), device=device, dtype=dtype)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The function of x `[batch, ..., features]`, of the same shape and dtype whatever the parameters' is."""
        function = WRITTEN_OUT.get(self.activation.name, self.activation.function)
        return function(x, **{key: getattr(self, key) for key in self._keys}).to(x.dtype)

    def extra_repr(self) -> str:
        """The function's name, its constants, and which are learned."""
        return f"{self.activation.name}, {super().extra_repr()}"


def constants(name: str) -> dict[str, float]:
    """The constants of a zoo function that have a gradient, at the published values.

    Raises:
        ValueError: a name that is not in the registry.
    """
    found = zoo.entry(name)
    return {key: value for key, value in found.constants.items() if key not in STEPS.get(found.name, ())}


def learnable(
    name: str, *learned: str, device: Device = None, dtype: torch.dtype | None = None, **starts: float
) -> LearnableActivation:
    """A zoo function as a module that learns its constants: `learnable("gelu-sine", "amplitude")`.

    Args:
        name: a name in the registry.
        *learned: the constants to learn; by default all that have a gradient.
        device, dtype: of the parameters, as in torch's own modules; float32 by default.
        **starts: where constants start (or stay, if they are not learned); by default at the published values.

    Raises:
        ValueError: a function without constants; a constant that it does not have or that has no gradient; a start
            that is not a finite number.
    """
    entry, smooth = zoo.entry(name), constants(name)
    if not smooth:
        with_constants = ", ".join(other for other, others in zoo.REGISTRY.items() if others.constants)
        raise ValueError(f"wanted a function with constants, of {with_constants}; got {name!r}, which has none")
    if wrong := [key for key in learned if key not in smooth]:
        raise ValueError(f"{entry.name}: wanted constants to learn among [{', '.join(smooth)}], got {wrong[0]!r}")
    return LearnableActivation(entry, learned or smooth, device, dtype, **starts)
