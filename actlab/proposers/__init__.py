"""Who writes candidates: the protocol of a search, and what passes between the two (paper, Figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Parent:
    """A scored program that a proposer may build on."""

    id: int  # in the archive
    source: str  # canonical
    fitness: float  # higher is better
    origin: Parent | None = None  # the program that it was itself made from; its own origin is left out


@dataclass(frozen=True)
class Proposal:
    """A candidate as it is proposed: unchecked source, and where it came from."""

    source: str
    parents: tuple[int, ...]  # ids; the first is the one that was changed, hence the line of descent
    operator: str  # what the proposer did, in its own words


class Proposer(Protocol):
    """Writes candidates. A class with these two members is a proposer."""

    @property
    def name(self) -> str:
        """The proposer with every setting that matters: a run goes on only under the name it began with."""
        ...

    def propose(self, parents: Sequence[Parent], n: int, generator: np.random.Generator) -> list[Proposal]:
        """Exactly `n` proposals, a function of the arguments alone.

        Args:
            parents: chosen by the search, one for each proposal in turn; the others may serve as partners.
            n: number of proposals; one that could not be made is returned as a source that the check refuses.
            generator: the only source of randomness.
        """
        ...
