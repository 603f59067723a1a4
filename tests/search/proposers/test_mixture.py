"""Several proposers in one search: each ask goes to one of them, by its weight."""

from collections import Counter

import numpy as np
import pytest

from actlab.search.proposers import Ask, Brief, Parent, Proposal
from actlab.search.proposers.grammar import Grammar, RandomSampling
from actlab.search.proposers.mixture import Mixture

RELU = Parent(0, "def activation(x):\n    return torch.relu(x)", 0.0)


def brief(asks):
    return Brief(tuple(Ask(10 + i, RELU) for i in range(asks)), left=7, evaluations=50, flops=196.0)


class Named:
    """A proposer that answers with its name, the ask and a random number, and keeps what it was told."""

    def __init__(self, name, draws=1, extra=0):
        self.name, self.draws, self.extra, self.briefs = name, draws, extra, []

    def propose(self, brief, generator):
        self.briefs.append(brief)
        made = []
        for ask in brief.asks:
            source = f"{self.name} {ask.id} {generator.random(self.draws)[0]}"
            made.append(Proposal(source, (), "", self.name))
        return made + made[:1] * self.extra


def test_answers_come_in_the_order_of_the_asks_whoever_gives_them():
    one, two = Named("one"), Named("two")
    made = Mixture([(one, 1), (two, 1)]).propose(brief(20), np.random.default_rng(0))
    assert [int(proposal.source.split()[1]) for proposal in made] == list(range(10, 30))
    assert {proposal.author for proposal in made} == {"one", "two"}
    for part in (one, two):
        (told,) = part.briefs
        assert [ask.id for ask in told.asks] == [10 + i for i, made in enumerate(made) if made.author == part.name]
        assert (told.left, told.evaluations, told.flops) == (7, 50, 196.0)


def test_asks_are_shared_by_weight():
    made = Mixture([(Named("one"), 3), (Named("two"), 1)]).propose(brief(4000), np.random.default_rng(0))
    count = Counter(proposal.author for proposal in made)
    assert abs(count["one"] - 3000) < 4 * np.sqrt(4000 * 0.75 * 0.25)


def test_whoever_is_not_drawn_is_not_asked():
    rare = Named("rare")
    Mixture([(Named("usual"), 1), (rare, 1e-9)]).propose(brief(50), np.random.default_rng(0))
    assert rare.briefs == []


def test_a_mixture_repeats_and_what_one_draws_does_not_touch_the_other():
    def of_two(draws):
        parts = [(Named("one", draws), 1.0), (Named("two"), 1.0)]
        made = Mixture(parts).propose(brief(20), np.random.default_rng(0))
        return [proposal for proposal in made if proposal.author == "two"]

    assert of_two(1) == of_two(1) == of_two(5)


def test_the_name_tells_all_names_and_weights():
    mixture = Mixture([(Grammar(), 0.5), (RandomSampling(max_nodes=20), 2.0)])
    parts = f"0.5 {Grammar().name}, 2.0 {RandomSampling(max_nodes=20).name}"
    assert mixture.name == f"Mixture({parts})"


def test_mixtures_nest():
    inner = Mixture([(Named("one"), 1.0), (Named("two"), 1.0)])
    made = Mixture([(inner, 1.0), (Grammar(), 1.0)]).propose(brief(30), np.random.default_rng(0))
    assert {proposal.author for proposal in made} == {"one", "two", "grammar"}


@pytest.mark.parametrize("weights", [(), (0.0,), (1.0, -1.0), (float("nan"),), (float("inf"), 1.0)])
def test_weights_that_are_no_positive_numbers_are_refused(weights):
    with pytest.raises(ValueError, match="wanted proposers, each with a positive weight"):
        Mixture([(Named(str(i)), weight) for i, weight in enumerate(weights)])


def test_a_part_that_brings_another_number_of_programs_is_named():
    with pytest.raises(ValueError, match="wanted 3 proposals from one; got 4"):
        Mixture([(Named("one", extra=1), 1.0)]).propose(brief(3), np.random.default_rng(0))
