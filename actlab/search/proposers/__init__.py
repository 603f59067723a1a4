"""Who writes candidates: the protocol of a search, and what passes between the two (paper, Figure 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Parent:
    """A scored program that a proposer may build on."""

    id: int  # in the archive
    source: str  # canonical
    fitness: float  # higher is better; ReLU has 0 with the log-ratio
    origin: Parent | None = None  # the program that it was itself made from; its own origin is left out
    cell: str = ""  # where it stands in its island, in words
    flops: float = float("nan")  # an element
    families: Mapping[str, float] = field(default_factory=dict)  # what each family of tasks adds to the fitness


@dataclass(frozen=True)
class Failure:
    """A candidate that did not come through, and why."""

    source: str
    error: str


@dataclass(frozen=True)
class Ask:
    """One program that is asked for."""

    id: int  # the candidate's, in the archive: no two asks of a run are equal
    parent: Parent  # to build on
    island: int = 0
    inspirations: tuple[Parent, ...] = ()  # from other cells of the island; a proposer may mix them in
    failures: tuple[Failure, ...] = ()  # the island's latest


@dataclass(frozen=True)
class Tally:
    """What one author has brought so far."""

    proposals: int = 0
    successes: int = 0  # programs that took a cell


@dataclass(frozen=True)
class Brief:
    """What a search tells its proposer about a round; all of it follows from the archive."""

    asks: tuple[Ask, ...]
    left: int  # evaluations that remain, this round's included
    evaluations: int  # of the whole search
    flops: float  # the budget of a program, an element
    pointwise: bool = False  # whether programs that look across the tensor are refused
    tallies: Mapping[str, Tally] = field(default_factory=dict)  # by author, of the rounds before


@dataclass(frozen=True)
class Proposal:
    """A candidate as it is proposed: unchecked source, and where it came from."""

    source: str
    parents: tuple[int, ...]  # ids; the first is the one that was changed, hence the line of descent
    operator: str  # what the proposer did, in its own words
    author: str = ""  # who wrote it: the grammar, a model; tallies are kept by author
    title: str = ""  # the program's name, where its author gave one
    rationale: str = ""
    failure: str | None = None  # why there is no program; the source is then what came instead, if anything


class Proposer(Protocol):
    """Writes candidates; any class with these two members is one. To add a proposer:

    1. Copy `actlab/search/proposers/mixture.py`, the shortest one; make the class a frozen dataclass of its settings.
    2. `name` returns `repr(self)`, or any text that differs whenever a setting that changes a result does.
    3. `propose` returns `Proposal(source, (ask.parent.id,), "what was done", "who did it")` for each of `brief.asks`.
    4. All chance comes from `generator`; anything from outside is recorded and replayed (`proposers.answers`).
    5. Pass it to `actlab.search.runs.run_search`, and try it in `tests/search/proposers/test_yours.py`.
    """

    @property
    def name(self) -> str:
        """The proposer with every setting that matters; a run can only be resumed under the name it began with."""
        ...

    def propose(self, brief: Brief, generator: np.random.Generator) -> Sequence[Proposal]:
        """One proposal for each ask, in their order: a function of the arguments and of recorded answers alone.

        The generator is the only source of randomness. Source need not be valid: the search takes it out of fences and
        prose, checks it, and records what it refuses.
        """
        ...
