"""What labs are drawn from: each setting by itself, from a stated range (ours)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from actlab.core.config import FAMILIES, SCHEDULES
from actlab.lab.variant import Settings


@dataclass(frozen=True)
class Range:
    """Numbers between two, each factor as likely as the next (log-uniform)."""

    low: float
    high: float

    def __str__(self) -> str:
        return " to ".join(f"{end:.0f}" if end >= 100 else f"{end:.3g}" for end in (self.low, self.high))

    def draw(self, generator: np.random.Generator) -> float:
        """One of them, to three significant digits, so that tables show what was used."""
        return float(f"{math.exp(generator.uniform(math.log(self.low), math.log(self.high))):.3g}")

    @property
    def middle(self) -> float:
        """The median."""
        return math.sqrt(self.low * self.high)


@dataclass(frozen=True)
class Levels:
    """An even number of values in order, equally likely."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))

    def draw(self, generator: np.random.Generator) -> Any:
        """One of them."""
        return self.values[generator.integers(len(self.values))]

    @property
    def middle(self) -> Any:
        """The largest of the lower half."""
        return self.values[len(self.values) // 2 - 1]


@dataclass(frozen=True)
class Distribution:
    """What labs are drawn from: every setting by itself, none by what it does to the order of functions. All [ours].

    The ranges lie around the default lab's settings and were narrowed by ReLU's losses alone, in 40 labs that are not
    among the first 1000: their medians are within a factor of two of the paper's, training and OOD.
    """

    ring: Range = Range(0.02, 0.25)  # half-ranges; 0.07 in the default lab
    input_scale: Range = Range(1 / 3, 3.0)  # standard deviations; 1 in the default lab
    target_scale: Range = Range(1 / 3, 3.0)  # standard deviations; 1 in the default lab
    width: Levels = Levels((16, 32, 48, 64))
    depth: Levels = Levels((1, 2, 3, 4))
    learning_rate: Range = Range(1e-3, 2e-2)  # higher than the default lab's 1e-3, since the runs are shorter
    gain: Range = Range(0.5, 3.0)  # times torch's own; 1.7 is LeCun's scale and 2.4 He's
    schedule: Levels = Levels(SCHEDULES)
    steps: Range = Range(250, 1000)
    batch: Levels = Levels((16, 32, 64, 128))
    samples: Levels = Levels((128, 256, 512, 1024))
    gelu: Levels = Levels(("tanh", "erf"))
    tasks: int = 24  # shared equally by the lab's families
    counts: tuple[int, ...] = (1, 2, 3, 4)  # of families, equally likely
    seed: int = 20260205  # the paper's date

    @property
    def drawn(self) -> dict[str, Range | Levels]:
        """What is drawn, by the setting; families are drawn besides."""
        return {name: kind for name, kind in vars(self).items() if isinstance(kind, Range | Levels)}

    @property
    def words(self) -> dict[str, str]:
        """What each setting is drawn from, in words; the families are the last."""
        numbers = "one to four" if len(self.counts) == len(FAMILIES) else ", ".join(map(str, self.counts))
        several = f"{numbers} of {', '.join(FAMILIES)}, each number and then each choice as likely"
        return {name.replace("_", " "): str(kind) for name, kind in self.drawn.items()} | {"families": several}

    def draw(self, *lab: int) -> Settings:
        """The settings of a lab by its number, or numbers: how many families, then which, then all others in order."""
        generator = np.random.default_rng([self.seed, *lab])
        count = self.counts[generator.integers(len(self.counts))]
        chosen = sorted(generator.choice(len(FAMILIES), count, replace=False))
        drawn = {name: kind.draw(generator) for name, kind in self.drawn.items()}
        drawn["steps"] = int(drawn["steps"])
        seed = int(generator.integers(2**31))
        return Settings(**drawn, families=tuple(FAMILIES[i] for i in chosen), tasks=self.tasks, seed=seed)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Distribution:
        """The inverse of `asdict`, also after JSON."""
        kinds = {k: v if not isinstance(v, dict) else Range(**v) if "low" in v else Levels(tuple(v["values"]))
                 for k, v in data.items()}  # fmt: skip
        return cls(**kinds | {"counts": tuple(kinds.get("counts", cls.counts))})
