"""What a notebook shows besides its own results: sentences made from records, and the committed laptop figure.

And the zoo's curves (Figure 4), which are no results of the lab: they need no training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import torch
from IPython.display import Image, Markdown, display

from actlab import activations
from actlab.records import ROOT


def say(text: str) -> None:
    """Shows a sentence, in Markdown; for prose with numbers, which is made from the records that it speaks of."""
    display(Markdown(text))


def committed(name: str, profile: str) -> None:
    """Shows the laptop figure of that name as it is committed, beside what another profile just drew."""
    if profile == "laptop":
        return
    path = ROOT / "figures" / f"{name}.png"
    if path.exists():
        say(f"The committed laptop figure, `figures/{name}.png`:")
        display(Image(path))
    else:
        say(f"There is no `figures/{name}.png` yet; `make reproduce` draws it.")


def curves(names: Iterable[str], x: np.ndarray, batch: np.ndarray) -> pd.DataFrame:
    """Value and slope of zoo functions at one element of a batch, whose other elements stay as they are (Figure 4).

    So a function that sees other elements has a curve too, in that batch; for the others the batch does not matter.
    [ours]

    Args:
        names: zoo functions.
        x: values of the element in the first row and second column, [points]; no mirror image of itself, as the
            first column is to a Fourier transform.
        batch: [batch, features]; all other elements.

    Returns:
        Columns function, x, y, slope (as autograd has it, of that element's result along that element); float64.
    """
    stay, points, parts = torch.from_numpy(batch).double(), torch.from_numpy(x).double(), []
    moves = torch.zeros_like(stay, dtype=torch.bool)
    moves[0, 1] = True
    for name in names:
        function = activations.REGISTRY[name].function

        def element(value: torch.Tensor, function: Callable = function) -> torch.Tensor:
            return function(torch.where(moves, value, stay))[0, 1]

        slope, y = torch.func.vmap(torch.func.grad_and_value(element))(points)
        parts.append(pd.DataFrame({"function": name, "x": x, "y": y.numpy(), "slope": slope.numpy()}))
    return pd.concat(parts, ignore_index=True)
