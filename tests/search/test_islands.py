"""Islands: what a cell holds, who enters it, and what migration and reset do; each a function of the moves."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actlab import activations
from actlab.candidates import profiling
from actlab.core.config import SearchConfig
from actlab.search import islands
from actlab.search.archive import Move

FITNESS = {0: 0.0, 1: 0.1, 2: 0.2, 3: 0.3, 4: 0.3, 5: -0.1}
ISLAND = {"a": 0, "b": 3, "c": 2, "d": 4}


def rng(seed=0):
    return np.random.default_rng(seed)


def described(cost=1.0, turns=0, pointwise=True, parity="neither"):
    return {"flops_gelu": cost, "traits": {"oscillations": turns, "pointwise": pointwise, "parity": parity}}


# --- worked examples ---


@pytest.mark.parametrize(
    "name, words",
    [
        ("relu", "up to 1 GELU, no turns, pointwise, neither odd nor even"),
        ("gelu", "up to 1 GELU, 1 to 3 turns, pointwise, neither odd nor even"),
        ("sine", "up to 1 GELU, over 3 turns, pointwise, odd"),
        ("turbulent", "up to 4 GELU, over 3 turns, across the tensor, odd"),
    ],
)
def test_the_cells_of_the_zoo(name, words):
    assert islands.cell(profiling.describe(activations.program_source(name)).to_dict()) == words


def test_cells_part_at_one_two_and_four_gelus_and_at_no_turn_and_three():
    costs = [islands.cell(described(cost)).split(", ")[0] for cost in (0.1, 1, 1.01, 2, 2.01, 4, 4.01)]
    assert costs == ["up to 1 GELU"] * 2 + ["up to 2 GELU"] * 2 + ["up to 4 GELU"] * 2 + ["over 4 GELU"]
    turns = [islands.cell(described(turns=turns)).split(", ")[1] for turns in (0, 1, 3, 4)]
    assert turns == ["no turns", "1 to 3 turns", "1 to 3 turns", "over 3 turns"]


def test_every_combination_of_traits_has_a_cell_of_its_own():
    kinds = [(c, t, p, s) for c in (1, 2, 4, 8) for t in (0, 2, 9) for p in (True, False)
             for s in ("odd", "even", "neither")]  # fmt: skip
    assert len({islands.cell(described(*kind)) for kind in kinds}) == len(kinds) == 72


def test_the_islands_are_the_fold_of_the_moves():
    moves = [
        Move(0, 0, "a", 0, "start"),
        Move(0, 1, "a", 0, "start"),
        Move(1, 0, "b", 1, "born"),
        Move(2, 0, "b", 2, "born"),  # takes the place of 1
        Move(2, 1, "b", 2, "migrated"),
        Move(3, 1, None, None, "reset"),
        Move(3, 1, "b", 2, "seeded"),
    ]
    before = ({}, {})
    assert islands.after(before, moves[:5]) == ({"a": 0, "b": 2}, {"a": 0, "b": 2})
    assert islands.after(before, moves) == ({"a": 0, "b": 2}, {"b": 2})
    assert before == ({}, {})


def test_the_best_is_the_earlier_one_of_equals():
    assert islands.champion(ISLAND, FITNESS) == ("b", 3)
    assert islands.ranked(ISLAND, FITNESS) == [3, 4, 2, 0]


def test_whoever_is_better_takes_a_cell_and_whoever_equals_relu_an_empty_one():
    assert islands.rival(ISLAND, "b") == 3
    assert islands.rival(ISLAND, "e") == 0
    assert not islands.enters(ISLAND, "b", 4, FITNESS)  # a tie
    assert islands.enters(ISLAND, "c", 4, FITNESS)
    assert islands.enters(ISLAND, "e", 0, FITNESS)
    assert not islands.enters(ISLAND, "e", 5, FITNESS)


def test_births_are_placed_in_order_so_that_two_may_take_one_cell_after_another():
    moves = islands.births(({"a": 0}, {"a": 0}), [(1, 0, "b"), (2, 0, "b"), (3, 1, "a"), (5, 1, "b")], FITNESS, 7)
    assert moves == [Move(7, 0, "b", 1, "born"), Move(7, 0, "b", 2, "born"), Move(7, 1, "a", 3, "born")]


def test_each_islands_best_is_offered_to_the_next_one_all_at_once():
    state = ({"a": 0, "b": 1}, {"a": 3}, {"c": 4})
    assert islands.migrations(state, FITNESS, 5) == [
        Move(5, 1, "b", 1, "migrated"),
        Move(5, 2, "a", 3, "migrated"),
        Move(5, 0, "c", 4, "migrated"),
    ]
    assert islands.migrations(({"a": 3}, {"a": 1}), FITNESS, 5) == [Move(5, 1, "a", 3, "migrated")]  # 1 is not better
    assert islands.migrations(({"a": 3},), FITNESS, 5) == []


def test_the_worse_half_is_emptied_and_seeded_from_one_of_the_others():
    state = ({"a": 1}, {"a": 0, "b": 3}, {"a": 0}, {"a": 2}, {"a": 0})
    seeds = set()
    for seed in range(60):
        moves = islands.resets(state, FITNESS, 9, rng(seed))
        assert [(move.island, move.how) for move in moves] == [(2, "reset"), (2, "seeded"), (4, "reset"), (4, "seeded")]
        assert all(move.round == 9 for move in moves)
        seeds.add((moves[1].cell, moves[1].program))
    assert seeds == {("a", 1), ("b", 3), ("a", 2)}
    assert islands.resets(state[:1], FITNESS, 9, rng()) == []


def test_of_islands_with_equal_bests_the_later_ones_are_emptied():
    moves = islands.resets(({"a": 0}, {"a": 0}, {"a": 0}), FITNESS, 1, rng())
    assert {move.island for move in moves} == {2}


def test_parents_come_from_all_cells_or_from_the_elites_by_the_chance_to_explore():
    config = SearchConfig(explore=0.4, elites=2)
    drawn = Counter(islands.draw_parent(ISLAND, FITNESS, config, rng(seed)) for seed in range(4000))
    expected = {0: 0.1, 2: 0.1, 3: 0.4, 4: 0.4}  # 0.4 / 4 cells, and 0.6 / 2 elites
    assert drawn.keys() == expected.keys()
    for id, chance in expected.items():
        assert drawn[id] / 4000 == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / 4000))
    always = replace(config, explore=0.0, elites=1)
    assert {islands.draw_parent(ISLAND, FITNESS, always, rng(seed)) for seed in range(50)} == {3}


def test_inspirations_are_others_of_the_island_as_many_as_there_are():
    drawn = [islands.draw_inspirations(ISLAND, 3, 2, rng(seed)) for seed in range(100)]
    assert {len(set(ids)) for ids in drawn} == {2}
    assert set().union(*drawn) == {0, 2, 4}
    assert sorted(islands.draw_inspirations(ISLAND, 3, 9, rng())) == [0, 2, 4]
    assert islands.draw_inspirations({"a": 0}, 0, 3, rng()) == []


def test_draws_do_not_depend_on_the_order_in_which_cells_were_taken():
    backwards = dict(reversed(ISLAND.items()))
    for seed in range(50):
        assert islands.draw_parent(ISLAND, FITNESS, SearchConfig(), rng(seed)) == islands.draw_parent(
            backwards, FITNESS, SearchConfig(), rng(seed)
        )
        assert islands.draw_inspirations(ISLAND, 3, 2, rng(seed)) == islands.draw_inspirations(
            backwards, 3, 2, rng(seed)
        )


# --- properties ---


@st.composite
def histories(draw):
    """Rounds of a search: (fitness by id, what each round's scored programs are), with cells and islands."""
    count = draw(st.integers(1, 4))
    sizes = draw(st.lists(st.integers(0, 6), min_size=1, max_size=12))
    fitness, rounds = {0: 0.0}, []
    for size in sizes:
        made = []
        for _ in range(size):
            id = len(fitness)
            fitness[id] = draw(st.integers(-2, 6)) / 4
            made.append((id, draw(st.integers(0, count - 1)), draw(st.sampled_from("abcd"))))
        rounds.append(made)
    return count, fitness, rounds


@settings(max_examples=200, deadline=None, database=None)
@given(histories(), st.integers(0, 2**32))
def test_whatever_happens_islands_hold_programs_that_are_no_worse_than_relu_in_their_own_cells(history, seed):
    count, fitness, rounds = history
    own = {0: "a"} | {id: name for made in rounds for id, _, name in made}
    start = [Move(0, place, "a", 0, "start") for place in range(count)]
    state, moves = islands.after(({},) * count, start), start
    for number, made in enumerate(rounds, start=1):
        best = max(fitness[id] for island in state for id in island.values())
        born = islands.births(state, made, fitness, number)
        grown = islands.after(state, born)
        for id, place, name in made:  # whoever was scored stands there, or somebody who is as good, or it was too bad
            assert fitness[id] < 0 or fitness[grown[place][name]] >= fitness[id]
        migrated = islands.migrations(grown, fitness, number)
        mixed = islands.after(grown, migrated)
        reset = islands.resets(mixed, fitness, number, rng(seed))
        state = islands.after(mixed, reset)
        moves = [*moves, *born, *migrated, *reset]
        assert all(state)  # none is empty
        assert all(own[id] == name and fitness[id] >= 0 for island in state for name, id in island.items())
        assert max(fitness[id] for island in state for id in island.values()) >= best  # the best is never lost
    assert islands.after(({},) * count, moves) == state
