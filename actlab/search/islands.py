"""Islands of programs with a cell for each kind of function, and how programs enter and leave them (ours).

The paper's search is AlphaEvolve (section 3), which keeps its programs in islands and in MAP-Elites cells and does not
publish the rules of either. Here an island is a table from cells to programs, `{cell: id}`; every change of it is a
`Move`, and its state is the fold of the moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from actlab.core.config import SearchConfig
from actlab.search.archive import Move

Island: TypeAlias = Mapping[str, int]  # the cells that are held, each with its program's id
COSTS = (1, 2, 4)  # GELUs; half of the zoo costs one at most, and some of it falls between each two
TURNS = (("no turns", 0), ("1 to 3 turns", 3))  # GELU and SiLU turn once, a sine more than three times
PARITY = {"odd": "odd", "even": "even", "neither": "neither odd nor even"}


def cell(description: Mapping[str, Any]) -> str:
    """The cell of a function, in words, from its `profiling.Description.to_dict`: by cost, turns, pointwise, parity.

    The 72 cells are this coarse because a search has hundreds of evaluations, not millions: most cells must be
    contested if they are to hold more than what came first.
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


def ranked(island: Island, fitness: Mapping[int, float]) -> list[int]:
    """The island's programs, best first; the earlier one of equals."""
    return sorted(island.values(), key=lambda id: (-fitness[id], id))


def champion(island: Island, fitness: Mapping[int, float]) -> tuple[str, int]:
    """The island's best program and its cell, as (cell, id); the earlier one of equals."""
    return min(island.items(), key=lambda item: (-fitness[item[1]], item[1]))


def draw_parent(
    island: Island, fitness: Mapping[int, float], config: SearchConfig, generator: np.random.Generator
) -> int:
    """A program to build on, drawn uniformly: with probability `explore` from all cells, else from the elites."""
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
    """The program that a candidate must beat: the cell's occupant; else the start, which it must equal."""
    return island.get(name, start)


def enters(island: Island, name: str, id: int, fitness: Mapping[int, float], start: int = 0) -> bool:
    """Whether a scored program takes a cell: it beats the occupant, or is no worse than the start if there is none."""
    if name in island:
        return fitness[id] > fitness[island[name]]
    return fitness[id] >= fitness[start]


def births(
    islands: Sequence[Island], candidates: Iterable[tuple[int, int, str]], fitness: Mapping[int, float], round: int
) -> list[Move]:
    """The moves of a round's scored programs, one after another, by (id, island, cell) in the order given."""
    moves: list[Move] = []
    for id, place, name in candidates:
        if enters(islands[place], name, id, fitness):
            moves.append(Move(round, place, name, id, "born"))
            islands = after(islands, moves[-1:])
    return moves


def migrations(islands: Sequence[Island], fitness: Mapping[int, float], round: int) -> list[Move]:
    """Each island's best is offered to the next one in a ring, all at once; it takes its cell as a newborn would."""
    if len(islands) < 2:
        return []
    moves = []
    for place, island in enumerate(islands):
        target, (name, migrant) = (place + 1) % len(islands), champion(island, fitness)
        if enters(islands[target], name, migrant, fitness):
            moves.append(Move(round, target, name, migrant, "migrated"))
    return moves


def resets(
    islands: Sequence[Island], fitness: Mapping[int, float], round: int, generator: np.random.Generator
) -> list[Move]:
    """The worse half of the islands, by their best, is emptied and seeded with the best of one of the others, drawn."""
    order = sorted(range(len(islands)), key=lambda place: (-fitness[champion(islands[place], fitness)[1]], place))
    survivors = order[: len(islands) - len(islands) // 2]
    moves = []
    for place in sorted(set(order) - set(survivors)):
        name, seed = champion(islands[survivors[generator.integers(len(survivors))]], fitness)
        moves += [Move(round, place, None, None, "reset"), Move(round, place, name, seed, "seeded")]
    return moves
