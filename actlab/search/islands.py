"""Islands of programs with a cell for each kind of function, and how programs come to stand there (ours).

The paper's search is AlphaEvolve (section 3), which keeps its programs in islands and in MAP-Elites cells and
publishes the rules of neither. Here an island is a table from cells to programs, `{cell: id}`; all that ever happens
to it is a `Move`, and its state is the fold of the moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from actlab.core.config import SearchConfig
from actlab.search.archive import Move

Island: TypeAlias = Mapping[str, int]  # the cells that are taken, each with the id of the program that stands there
COSTS = (1, 2, 4)  # GELUs; half of the zoo costs one at most, and some of it falls between each two
TURNS = (("no turns", 0), ("1 to 3 turns", 3))  # GELU and SiLU turn once, a sine more than three times
PARITY = {"odd": "odd", "even": "even", "neither": "neither odd nor even"}


def cell(description: Mapping[str, Any]) -> str:
    """The cell of a function, in words; from what it costs, how often it turns, what it looks at, and its symmetry.

    The 72 cells are this coarse because a search has hundreds of evaluations, not millions: most cells must be
    contested if they are to hold more than what came first.

    Args:
        description: as `profiling.Description.to_dict` gives it.
    """
    found = description["traits"]
    cost = next((f"up to {most} GELU" for most in COSTS if description["flops_gelu"] <= most), f"over {COSTS[-1]} GELU")
    turns = next((words for words, most in TURNS if found["oscillations"] <= most), f"over {TURNS[-1][1]} turns")
    view = "pointwise" if found["pointwise"] else "across the tensor"
    return f"{cost}, {turns}, {view}, {PARITY[found['parity']]}"


def after(islands: Sequence[Island], moves: Iterable[Move]) -> tuple[Island, ...]:
    """The islands after the moves."""
    state = [dict(island) for island in islands]
    for move in moves:
        if move.program is None:
            state[move.island].clear()
        else:
            state[move.island][move.cell] = move.program
    return tuple(state)


def best(island: Island, fitness: Mapping[int, float]) -> int:
    """The island's best program; the earlier one of equals."""
    return ranked(island, fitness)[0]


def ranked(island: Island, fitness: Mapping[int, float]) -> list[int]:
    """The island's programs, best first; the earlier one of equals."""
    return sorted(island.values(), key=lambda id: (-fitness[id], id))


def draw_parent(
    island: Island, fitness: Mapping[int, float], config: SearchConfig, generator: np.random.Generator
) -> int:
    """A program to build on: from all cells alike with the chance `explore`, else from the island's elites alike."""
    if generator.random() < config.explore:
        choice = [island[name] for name in sorted(island)]
    else:
        choice = ranked(island, fitness)[: config.elites]
    return choice[generator.integers(len(choice))]


def draw_inspirations(island: Island, parent: int, most: int, generator: np.random.Generator) -> list[int]:
    """Up to `most` different programs from cells other than the parent's."""
    others = [island[name] for name in sorted(island) if island[name] != parent]
    return [others[i] for i in generator.permutation(len(others))[:most]]


def rival(island: Island, name: str, start: int = 0) -> int:
    """Whom a program of that cell has to beat: who stands there; else the start of the search, which it must equal."""
    return island.get(name, start)


def enters(island: Island, name: str, id: int, fitness: Mapping[int, float], start: int = 0) -> bool:
    """Whether a scored program takes its cell: better than who stands there, or no worse than the start if nobody does.

    Args:
        island: where it would stand.
        name: of its cell.
        id: its own.
        fitness: of it and of all who stand anywhere.
        start: id of the program that the search started from.
    """
    if name in island:
        return fitness[id] > fitness[island[name]]
    return fitness[id] >= fitness[start]


def births(
    islands: Sequence[Island], candidates: Iterable[tuple[int, int, str]], fitness: Mapping[int, float], round: int
) -> list[Move]:
    """The moves of a round's scored programs, one after another.

    Args:
        islands: at the end of the round before.
        candidates: (id, island, cell) of each, in the order in which they take their cells.
        fitness: by id, theirs included.
        round: the number of the round.
    """
    moves: list[Move] = []
    for id, place, name in candidates:
        if enters(islands[place], name, id, fitness):
            moves.append(Move(round, place, name, id, "born"))
            islands = after(islands, moves[-1:])
    return moves


def migrations(islands: Sequence[Island], fitness: Mapping[int, float], round: int) -> list[Move]:
    """Each island's best is offered to the next one, all at once, in a ring; it takes its cell as a newborn would."""
    if len(islands) < 2:
        return []
    moves = []
    for place, island in enumerate(islands):
        target, migrant = (place + 1) % len(islands), best(island, fitness)
        name = next(name for name, id in island.items() if id == migrant)
        if enters(islands[target], name, migrant, fitness):
            moves.append(Move(round, target, name, migrant, "migrated"))
    return moves


def resets(
    islands: Sequence[Island], fitness: Mapping[int, float], round: int, generator: np.random.Generator
) -> list[Move]:
    """The worse half of the islands, by their best, is emptied; each starts anew from the best of another, drawn."""
    order = sorted(range(len(islands)), key=lambda place: (-fitness[best(islands[place], fitness)], place))
    survivors = order[: len(islands) - len(islands) // 2]
    moves = []
    for place in sorted(set(order) - set(survivors)):
        donor = islands[survivors[generator.integers(len(survivors))]]
        seed = best(donor, fitness)
        name = next(name for name, id in donor.items() if id == seed)
        moves += [Move(round, place, None, None, "reset"), Move(round, place, name, seed, "seeded")]
    return moves
