"""What images, molecules and algorithms share: one form of records, and of what a function sees (paper, section 5).

Each of the three modules has `PROFILES`, the configurations of a profile (one a data set), and
`evaluate(activation, config, generator, checkpoint=None, progress=True)`, which trains one model with that function in
place of ReLU and returns a table with the columns `COLUMNS`; `training.Trial` does what is the same in all of them.

A function sees `[batch, ..., features]`: axis 0 is the batch, the last axis the features. The features of a
convolution are its channels, which `channels_last` moves to the end and back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actlab.core.files import Damaged

if TYPE_CHECKING:
    import pandas as pd
    import torch

    Activation = Callable[[torch.Tensor], torch.Tensor]

COLUMNS = [
    "benchmark",
    "data",
    "split",
    "shift",
    "severity",
    "metric",
    "evaluation",
    "epoch",
    "seed",
    "value",
    "outcome",
]


class MissingData(FileNotFoundError):
    """A data set is not where it should be; the message is one line that says how to get it."""

    def __init__(self, name: str, folder: Path | str, wanted: Iterable[str], how: str) -> None:
        """Says which data set and which files (or patterns) are missing in which folder, and how to get them."""
        super().__init__(f"{name}: wanted {', '.join(wanted)} in {folder}; came none. {how}")


def within(path: Path | str, what: str, values: Any, low: int, high: int | np.ndarray) -> np.ndarray:
    """Values of a file, of any shape, as whole numbers (int64).

    Raises:
        Damaged: unless each is a whole number from `low` to `high`; names the file and `what` they are.
    """
    array = np.asarray(values)
    whole = array.dtype.kind in "iuf"
    good = (array >= low) & (array <= high) & (array == np.floor(array)) if whole else np.zeros(array.shape, bool)
    if not good.all():
        raise Damaged(
            f"{path}: wanted {what} from {low} to {_first(np.broadcast_to(high, array.shape), ~good)}; "
            f"came {_first(array, ~good)}"
        )
    return array.astype(np.int64)


def _first(array: np.ndarray, chosen: np.ndarray) -> str:
    """The first chosen value of an array, as Python writes it."""
    return repr(array[chosen].tolist()[0])


@dataclass(frozen=True)
class Row:
    """One measurement of a trained model, without the model's name."""

    split: str  # "validation" (once an epoch), "in-distribution" (test) or "ood"
    metric: str  # "accuracy", "roc_auc" or "score"
    value: float  # NaN where the outcome is not "scored"
    epoch: int  # whose weights the model had, from 0
    evaluation: str = "batches"  # of the training size; or "whole": the whole test set as one batch
    shift: str = ""  # which corruption, rotation or size; "" for none
    severity: int = 0  # how strong, as the benchmark counts it; 0 for none
    outcome: str = "scored"  # or "OOM", "diverged"


def table(benchmark: str, data: str, seed: int, rows: Iterable[Row]) -> pd.DataFrame:
    """The rows as a table with the columns `COLUMNS`."""
    import pandas as pd

    common = {"benchmark": benchmark, "data": data, "seed": seed}
    return pd.DataFrame([{**common, **asdict(row)} for row in rows], columns=COLUMNS)


def channels_last(activation: Activation) -> Activation:
    """The function for x `[batch, channels, ...]`: it sees the channels on the last axis, and they are put back."""
    return lambda x: activation(x.movedim(1, -1)).movedim(-1, 1)
