"""What helps in the lab, does it help elsewhere? Images, molecules and algorithms in one shape (paper, section 5).

`images`, `molecules` and `algorithms` each have `PROFILES`, the configurations of a profile (one a data set), and
`evaluate(activation, config, generator, checkpoint=None, progress=True)`, which trains one model with that function
wherever a ReLU would stand and returns a table with the columns `COLUMNS`. All that is random comes from `generator`:
the same seed gives the same records on one machine, and the same initial weights and batches for every function.

A function sees `[batch, ..., features]`: axis 0 is the batch, the last axis the features. Of a convolution the
features are its channels, which `channels_last` moves to the end and back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

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
SPLITS = ("validation", "in-distribution", "ood")
EVALUATIONS = ("batches", "whole")
OUTCOMES = ("scored", "OOM", "diverged")


class MissingData(FileNotFoundError):
    """A data set is not where it should be; the message is one line that says how to get it."""

    def __init__(self, name: str, folder: Path | str, wanted: Iterable[str], how: str) -> None:
        """Says what is missing.

        Args:
            name: the data set.
            folder: where it was looked for.
            wanted: the files, or patterns of them, that are missing.
            how: a command, or a sentence, that gets them.
        """
        super().__init__(f"{name}: wanted {', '.join(wanted)} in {folder}; came none. {how}")


@dataclass(frozen=True)
class Row:
    """One measurement of a trained model, before it is known whose.

    Attributes:
        split: "validation" (once an epoch), "in-distribution" (test) or "ood".
        metric: "accuracy", "roc_auc" or "score".
        value: of the metric; NaN where the outcome is not "scored".
        epoch: after which the model was as it is evaluated, from 0.
        evaluation: "batches" of the training size, or "whole": the whole test set as one batch.
        shift: which corruption, rotation or size; "" for none.
        severity: how strong, as the benchmark counts it; 0 for none.
        outcome: "scored", "OOM" or "diverged".
    """

    split: str
    metric: str
    value: float
    epoch: int
    evaluation: str = "batches"
    shift: str = ""
    severity: int = 0
    outcome: str = "scored"


def table(benchmark: str, data: str, seed: int, rows: Iterable[Row]) -> pd.DataFrame:
    """The rows as a table with the columns `COLUMNS`."""
    import pandas as pd

    common = {"benchmark": benchmark, "data": data, "seed": seed}
    return pd.DataFrame([{**common, **asdict(row)} for row in rows], columns=COLUMNS)


def channels_last(activation: Activation) -> Activation:
    """The function for x `[batch, channels, ...]`: it sees the channels on the last axis, and they are put back."""

    def apply(x: torch.Tensor) -> torch.Tensor:
        return activation(x.movedim(1, -1)).movedim(-1, 1)

    return apply
