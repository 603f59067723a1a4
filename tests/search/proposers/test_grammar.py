"""The grammar: typed changes of syntax trees, seeded, whose results mostly run."""

import ast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from actlab import activations
from actlab.candidates.program import check, compile_program
from actlab.search.proposers import Ask, Brief, Parent
from actlab.search.proposers.grammar import (
    OPERATORS,
    PRIMITIVES,
    STATISTICS,
    Grammar,
    RandomSampling,
    crossover,
    delete,
    perturb,
    refit,
    swap,
)
from actlab.search.proposers.syntax import Kind, activation, number, sites, size

RELU = Parent(0, "def activation(x):\n    return torch.relu(x)", 0.0)


def rng(seed=0):
    return np.random.default_rng(seed)


def program(expression):
    return f"def activation(x):\n    return {expression}"


def brief(*parents, pointwise=False, inspirations=(), islands=1):
    """An ask for each parent, on one island after another."""
    asks = (Ask(100 + i, parent, i % islands, inspirations) for i, parent in enumerate(parents))
    return Brief(tuple(asks), left=100, evaluations=100, flops=196.0, pointwise=pointwise)


def outcomes(expression, operator, *arguments, draws=60):
    """All results of an operator on a one-line function, over many seeds."""
    found = set()
    for seed in range(draws):
        tree = ast.parse(program(expression))
        if operator(activation(tree), *arguments, np.random.default_rng(seed)):
            found.add(ast.unparse(activation(tree).body[-1].value))
    return found


def evolved(grammar, seed, rounds, per_round=12):
    """Proposals of a search without selection: each round's programs are the parents of the next."""
    parents, made = [RELU], []
    for r in range(rounds):
        rng = np.random.default_rng([seed, r])
        proposals = grammar.propose(brief(*(parents * per_round)[:per_round]), rng)
        made += proposals
        by_id = {parent.id: parent for parent in parents}
        parents = [
            Parent(len(made) + i, p.source, float(rng.random()), by_id[p.parents[0]]) for i, p in enumerate(proposals)
        ]
    return made


def misbehaviour(source):
    """What is wrong with a candidate, or an empty string."""
    function = compile_program(check(source))
    x = torch.linspace(-10, 10, 402).reshape(67, 6).requires_grad_()
    y = function(x)
    if y.shape != x.shape or y.dtype != x.dtype:
        return f"shape {tuple(y.shape)} {y.dtype}"
    (slope,) = torch.autograd.grad(y.sum(), x)
    if not (torch.isfinite(y).all() and torch.isfinite(slope).all()):
        return "not finite"
    stack = torch.linspace(-3, 3, 60, dtype=torch.float64).reshape(3, 10, 2)
    alone = torch.stack([function(model) for model in stack])
    return "" if torch.allclose(torch.func.vmap(function)(stack), alone) else "vmap"


def outcome(source):
    """As `misbehaviour`, for programs that may raise."""
    try:
        return misbehaviour(source)
    except Exception as error:
        return repr(error)


# --- oracle: torch runs what is proposed ---


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_nine_of_ten_proposals_compile_and_run_with_finite_values_and_gradients_and_vmap(batch_statistics):
    proposals = evolved(Grammar(batch_statistics), seed=3, rounds=15)
    wrong = [(reason, p.source) for p in proposals if (reason := outcome(p.source))]
    assert len(wrong) <= len(proposals) / 10, wrong


@pytest.mark.parametrize("template", [*PRIMITIVES, *STATISTICS])
def test_every_primitive_of_x_runs_with_a_finite_gradient(template):
    letters = {"A": "x", "B": "torch.sin(x)", "C": "2.0 * x", "K": "0.5", "P": "1.5"}
    tree = ast.parse(template, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in letters:
            node.id = letters[node.id]
    assert misbehaviour(program(ast.unparse(tree))) == ""


# --- worked examples ---


def test_no_primitive_is_a_function_that_the_search_is_to_find():
    trees = [ast.parse(template) for template in PRIMITIVES | STATISTICS]
    named = {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert "sigmoid" in named
    assert named.isdisjoint({"gelu", "silu", "mish", "elu", "selu", "hardswish", "leaky_relu", "relu"})


def test_swap_changes_one_operator_function_or_comparison_and_leaves_guarded_ones_alone():
    assert outcomes("x + 2.0 * x", swap) == {"x - 2.0 * x", "x * (2.0 * x)", "x + (2.0 + x)", "x + (2.0 - x)"}
    assert outcomes("torch.maximum(x, -x)", swap) == {"torch.minimum(x, -x)"}
    assert outcomes("torch.where(x > 0.5, x, -x)", swap) == {"torch.where(x < 0.5, x, -x)"}
    assert "F.softplus(x)" in outcomes("torch.relu(x)", swap)
    assert outcomes("torch.sqrt(1 + x ** 2)", swap) == set()


def test_delete_puts_a_part_in_the_place_of_the_whole_and_never_a_truth_value():
    assert outcomes("torch.tanh(x * torch.sin(x))", delete) == {
        "torch.tanh(torch.sin(x))",
        "torch.tanh(x)",
        "torch.tanh(x * x)",
        "x * torch.sin(x)",
        "torch.sin(x)",
        "x",
    }
    assert outcomes("torch.where(x > 0.5, -x, x)", delete) == {"-x", "x", "torch.where(x > 0.5, x, x)"}


def test_crossover_takes_parts_that_need_the_argument_alone_and_renames_it():
    donor = activation(ast.parse("def activation(z):\n    w = torch.sin(z)\n    return w + torch.cos(z)"))
    assert outcomes("torch.tanh(x)", crossover, donor) == {
        "torch.sin(x)",
        "torch.cos(x)",
        "torch.tanh(torch.sin(x))",
        "torch.tanh(torch.cos(x))",
    }


def test_perturb_changes_floats_alone_and_keeps_the_sign_of_guarded_ones():
    for text in outcomes("-0.5 * x ** 2 / torch.sqrt(0.25 + x ** 2) + x.mean(dim=0) * 1e-06", perturb):
        places = sites(activation(ast.parse(program(text))))
        first, second = [site.value for site in places if site.is_constant]
        assert second > 0
        assert (first, second) != (-0.5, 0.25)
        tail = text.replace(f"{abs(first)}", "A").replace(f"{second}", "B").removeprefix("-")
        assert tail == "A * x ** 2 / torch.sqrt(B + x ** 2) + x.mean(dim=0) * 1e-06"


def test_exponents_stay_where_the_slope_at_zero_is_finite():
    found = outcomes("torch.abs(x) ** 1.05", perturb, draws=200)
    exponents = [float(text.split("** ")[1]) for text in found]
    assert min(exponents) == 1.0
    assert max(exponents) > 1.2


def refitted(now, before, improved, draws=200):
    parent = Parent(2, program(now), 1.0 if improved else -1.0, Parent(1, program(before), 0.0))
    found = []
    for seed in range(draws):
        tree = ast.parse(parent.source)
        if refit(tree, parent, np.random.default_rng(seed)):
            found.append([site.value for site in sites(activation(tree)) if site.is_constant])
    return np.array(found)


def test_refit_steps_further_where_the_change_improved_the_fitness():
    first, second = refitted("0.6 * x + 0.3", "0.5 * x + 0.5", improved=True).T
    assert (first > 0.6).all()
    assert (second[first < 0.7] < 0.3).all()
    np.testing.assert_allclose(second[first < 0.7], 0.5 - 2 * (first[first < 0.7] - 0.5), atol=1e-3)


def test_refit_steps_back_where_the_change_did_harm():
    first = refitted("0.6 * x", "0.5 * x", improved=False).ravel()
    assert first.min() >= 0.4
    assert first.max() <= 0.55
    assert first.min() < 0.5 < first.max()


def test_refit_does_nothing_where_more_than_constants_changed_or_nothing_did():
    assert len(refitted("0.6 * torch.sin(x)", "0.5 * x", improved=True)) == 0
    assert len(refitted("0.6 * x", "0.6 * x", improved=True)) == 0
    assert not refit(ast.parse(RELU.source), RELU, np.random.default_rng(0))


def test_what_an_expression_holds_is_followed_through_assignments():
    source = """def activation(x):
    a = 0.5
    m = x.mean(dim=0, keepdim=True)
    inside = x < m
    spectrum = torch.fft.rfft(x)
    y = torch.where(inside, a * x, m)
    return y"""
    kinds = {}
    for site in sites(activation(ast.parse(source))):
        kinds.setdefault(ast.unparse(site.node), site.kind)
    assert kinds["a"] == Kind.NUMBER
    assert kinds["x.mean(dim=0, keepdim=True)"] == kinds["m"] == Kind.STATISTIC
    assert kinds["inside"] == kinds["torch.fft.rfft(x)"] == Kind.OPAQUE
    assert kinds["torch.where(inside, a * x, m)"] == kinds["y"] == Kind.FULL


def test_size_counts_operations_and_leaves_but_no_names_of_functions():
    assert size(ast.parse(program("torch.tanh(x) + x.mean(dim=0)"))) == (6, 3)


@pytest.mark.parametrize("value, text", [(0.123456, "0.1235"), (-2.0, "-2.0"), (12345.0, "12340.0")])
def test_constants_have_four_significant_digits(value, text):
    assert ast.unparse(number(value)) == text


def test_a_parent_without_an_activation_is_an_error_that_says_so():
    with pytest.raises(ValueError, match=r"wanted a program that defines activation\(x\)"):
        Grammar().propose(brief(Parent(0, "def f(x):\n    return x", 0.0)), np.random.default_rng(0))


def test_every_ask_is_answered_by_a_change_of_its_own_parent():
    parents = [Parent(i, program(f"torch.tanh({i}.5 * x)"), 0.0) for i in range(8)]
    proposals = Grammar().propose(brief(*parents), np.random.default_rng(0))
    assert [proposal.parents[0] for proposal in proposals] == list(range(8))
    assert {(proposal.author, proposal.failure) for proposal in proposals} == {("grammar", None)}


def crossed(asked, draws=20):
    """Partners of crossover, by the ask's place."""
    found = {}
    for seed in range(draws):
        for place, proposal in enumerate(Grammar().propose(asked, np.random.default_rng(seed))):
            if "crossover" in proposal.operator:
                found.setdefault(place, set()).add(proposal.parents[1])
    return found


def test_partners_are_the_inspirations_of_an_ask():
    others = Parent(7, program("torch.sin(x)"), 0.0), Parent(8, program("torch.cos(x)"), 0.0)
    parents = [RELU] * 8
    assert set().union(*crossed(brief(*parents, inspirations=others)).values()) == {7, 8}
    for ask, proposal in zip(parents, Grammar().propose(brief(*parents, inspirations=others), rng()), strict=True):
        assert proposal.parents[0] == ask.id


def test_partners_are_the_parents_of_the_same_island_where_there_are_no_inspirations():
    parents = [Parent(i, program(f"torch.tanh({i}.5 * x)"), 0.0) for i in range(6)]
    found = crossed(brief(*parents, islands=2), draws=60)
    assert found == {i: {i % 2, i % 2 + 2, i % 2 + 4} for i in range(6)}


def test_a_search_for_pointwise_programs_is_brought_no_statistics():
    for proposer in (Grammar(batch_statistics=True), RandomSampling(batch_statistics=True)):
        made = [proposer.propose(brief(*[RELU] * 60, pointwise=pointwise), rng()) for pointwise in (True, False)]
        seen = [sum(".mean(" in p.source or "torch.var(" in p.source for p in proposals) for proposals in made]
        assert seen[0] == 0
        assert seen[1] > 5


def test_where_nothing_new_is_found_there_is_no_program_and_a_reason():
    tiny = Grammar(max_nodes=1, max_depth=1)
    made = tiny.propose(brief(*[Parent(3, program("x"), 0.0)] * 40), rng())
    (failure,) = {proposal.failure for proposal in made if proposal.failure}
    assert failure == "nothing new in 200 attempts"
    assert {(p.parents, p.source) for p in made if p.failure} == {((3,), "")}
    (none,) = RandomSampling(max_nodes=1).propose(brief(RELU), rng())
    assert (none.failure, none.parents) == ("nothing new in 200 attempts", ())


# --- random sampling ---


def test_random_programs_have_no_parents_and_do_not_depend_on_what_is_shown():
    other = Parent(5, program("torch.sin(x)"), 1.0)
    one, two = (RandomSampling().propose(brief(*[shown] * 20), rng(3)) for shown in (RELU, other))
    assert one == two
    assert {(p.parents, p.operator, p.author) for p in one} == {((), "sample", "random sampling")}
    assert len({p.source for p in one}) == 20
    assert not any("relu" in p.source for p in one)


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_nine_of_ten_random_programs_compile_and_run(batch_statistics):
    proposals = RandomSampling(batch_statistics).propose(brief(*[RELU] * 150), rng(1))
    wrong = [(reason, p.source) for p in proposals if (reason := outcome(p.source))]
    assert len(wrong) <= len(proposals) / 10, wrong
    assert all(check(p.source).source == p.source for p in proposals)
    sizes = [size(ast.parse(p.source)) for p in proposals]
    assert max(nodes for nodes, _ in sizes) <= 60 and max(depth for _, depth in sizes) <= 12
    assert min(nodes for nodes, _ in sizes) <= 4 and max(nodes for nodes, _ in sizes) >= 20


# --- properties ---


@settings(max_examples=8, deadline=None, database=None)
@given(seed=st.integers(0, 2**32), batch_statistics=st.booleans())
def test_proposals_are_seeded_canonical_checked_new_and_bounded(seed, batch_statistics):
    grammar = Grammar(batch_statistics, max_nodes=25, max_depth=8)
    proposals = evolved(grammar, seed, rounds=4)
    assert proposals == evolved(grammar, seed, rounds=4)
    for proposal in proposals:
        assert check(proposal.source).source == proposal.source
        nodes, depth = size(ast.parse(proposal.source))
        assert nodes <= 25
        assert depth <= 8
        assert set(proposal.operator.split("+")) <= OPERATORS.keys()
        assert batch_statistics or ".mean" not in proposal.source
    for first in range(0, len(proposals), 12):
        assert len({p.source for p in proposals[first : first + 12]}) == 12


@settings(max_examples=3, deadline=None, database=None)
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("name", activations.names())
def test_every_function_of_the_zoo_can_be_a_parent_and_its_helpers_stay(name, seed):
    source = check(activations.program_source(name)).source
    proposals = Grammar().propose(brief(*[Parent(0, source, 0.0), RELU] * 3), np.random.default_rng(seed))
    helpers = [node for node in ast.parse(source).body if getattr(node, "name", "") != "activation"]
    for proposal in proposals[::2]:
        tree = ast.parse(check(proposal.source).source)
        kept = [node for node in tree.body if getattr(node, "name", "") != "activation"]
        assert [ast.dump(node) for node in kept] == [ast.dump(node) for node in helpers]
        assert proposal.source != source


# --- recorded result ---


def test_the_first_proposals_of_seed_0_are_the_recorded_ones():
    proposals = Grammar().propose(brief(*[RELU] * 4), np.random.default_rng(0))
    assert [(p.operator, p.source.removeprefix("def activation(x):\n    return ")) for p in proposals] == [
        ("replace", "0.5803 * x"),
        ("replace", "torch.erf(torch.tanh(x))"),
        ("swap", "torch.cos(x)"),
        ("swap", "torch.tanh(x)"),
    ]
