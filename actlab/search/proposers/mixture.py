"""Several proposers in one search: one is drawn by weight for each program that is asked for (ours)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from actlab.search.proposers import Brief, Proposal, Proposer


@dataclass(frozen=True)
class Mixture:
    """A proposer made of others, in pairs with their weights: an ask goes to one of them in proportion."""

    parts: Sequence[tuple[Proposer, float]]

    def __post_init__(self) -> None:
        if not self.parts or not all(0 < weight < math.inf for _, weight in self.parts):
            raise ValueError(f"wanted proposers, each with a positive weight; got {self.parts}")

    @property
    def name(self) -> str:
        """All names, with their weights."""
        parts = ", ".join(f"{weight!r} {part.name}" for part, weight in self.parts)
        return f"Mixture({parts})"

    def propose(self, brief: Brief, generator: np.random.Generator) -> Sequence[Proposal]:
        """Each ask's program by the proposer that was drawn for it, which has a generator of its own."""
        weights = np.array([weight for _, weight in self.parts], dtype=float)
        drawn = generator.choice(len(self.parts), size=len(brief.asks), p=weights / weights.sum())
        made: dict[int, Proposal] = {}
        for which, ((part, _), own) in enumerate(zip(self.parts, generator.spawn(len(self.parts)), strict=True)):
            places = np.flatnonzero(drawn == which).tolist()
            if not places:
                continue
            proposals = part.propose(replace(brief, asks=tuple(brief.asks[i] for i in places)), own)
            if len(proposals) != len(places):
                raise ValueError(f"wanted {len(places)} proposals from {part.name}; got {len(proposals)}")
            made |= zip(places, proposals, strict=True)
        return [made[i] for i in range(len(brief.asks))]
