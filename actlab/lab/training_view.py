"""What a worker is given of a suite of tasks: nothing of what judges it (ours)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TrainingView:
    """What a worker may hold of a suite: training data and OOD inputs, never OOD targets.

    `train_x` [tasks, points, 4] and `ood_x` [tasks, points, 4] are padded with zeros, `train_y` is [tasks, points].
    """

    dims: tuple[int, ...]
    train_x: np.ndarray
    train_y: np.ndarray
    ood_x: np.ndarray
