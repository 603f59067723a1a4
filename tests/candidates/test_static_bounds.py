"""Bounds read off syntax trees, against what Python computes."""

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actlab.candidates.static_bounds import MAX_BITS, Bounds, small_power

NUMBERS = st.integers(-12, 12).map(str)
EXPRESSIONS = st.recursive(
    NUMBERS | st.sampled_from(["a", "b", "k"]),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "**"]), inner).map(
        lambda parts: "({} {} {})".format(*parts)
    ),
    max_leaves=5,
)


def last(source):
    """The bounds of a program, and its last assignment's value."""
    tree = ast.parse(source)
    return Bounds(tree), tree.body[-1].value


@settings(max_examples=300, deadline=None, database=None)
@given(a=NUMBERS, b=NUMBERS, text=EXPRESSIONS)
def test_an_expression_of_whole_numbers_lies_within_its_bounds_at_every_step_of_a_loop(a, b, text):
    source = f"a = {a}\nb = a - {b}\nfor k in range(4):\n    values = {text}\nn = {text}"
    bounds, node = last(source)
    interval = bounds.interval(node)
    if interval is not None:
        for k in range(4):
            try:
                value = eval(text, {"a": int(a), "b": int(a) - int(b), "k": k})
            except ZeroDivisionError:
                continue
            assert interval[0] <= value <= interval[1]


@settings(max_examples=300, deadline=None, database=None)
@given(st.lists(st.integers(-40, 40), min_size=1, max_size=3).filter(lambda bounds: bounds[2:] != [0]))
def test_the_length_of_a_range_is_exact(arguments):
    bounds, node = last(f"n = range({', '.join(map(str, arguments))})")
    assert bounds.count(node) == len(range(*arguments))


COUNTS = {
    "n = (1, 2, *(3, 4))": 4,
    "A = [0.5, 1.5]\nn = A + A + [1]": 5,
    "A = [0.5, 1.5]\nn = A[1:]": 2,  # a bound: slices are not followed
    "A = [0.5, 1.5]\nn = enumerate(A)": 2,
    "A = [0.5, 1.5]\nn = zip(A, range(9))": 2,
    "A = [0.5, 1.5]\nA = [1]\nn = reversed(A)": 2,  # whichever was bound last
    "N = 3\nn = [i for i in range(N) for j in range(N - 1)]": 6,
    "for i in range(5):\n    x = 1\nn = range(i + 1)": 6,  # the end of a range counts as one of its items
    "A = (1, 2, 3)\nn = range(len(A))": 3,
    "for i, a in enumerate((7, 8)):\n    x = 1\nn = range(i)": 2,
    "def f(x, m=3):\n    return m\ny = f(1)\nn = range(m)": 3,
    "def f(x, m):\n    return m\ny = f(1, 4) + f(2, m=6)\nn = range(m)": 6,
    "def f(x, m):\n    return m\ng = f\ny = f(1, 4)\nn = range(m)": None,  # g may be called with anything
    "def f(x, m):\n    return m\ny = f(*z)\nn = range(m)": None,
    "def f(x, m):\n    return m\nn = range(m)": None,
    "f = lambda m: m\nn = range(m)": None,
    "n = x": None,
    "n = range(x.shape[0])": None,
    "n = range(1, 5, k)": None,
    "m = 1\nm = m + 1\nn = range(m)": None,
    "n = range(True)": None,
    "for () in enumerate((7, 8)):\n    x = 1\nn = range(i)": None,
    "n = list(x)": None,
    "n = (1, *x)": None,
    "n = zip(*x)": None,
}


@pytest.mark.parametrize("source", COUNTS)
def test_the_number_of_items_is_bounded_where_constants_bound_it(source):
    bounds, node = last(source)
    assert bounds.count(node) == COUNTS[source]


@settings(max_examples=200, deadline=None, database=None)
@given(st.integers(0, 200), st.integers(-5, 200))
def test_a_small_power_is_one_below_two_to_the_63rd(base, exponent):
    assert small_power(base, exponent) == (exponent < 0 or base**exponent < 2**MAX_BITS)


def test_a_huge_power_is_not_computed():
    assert not small_power(2, 10**12)
    assert not small_power(10**9, 10**9)
    assert small_power(1, 10**12)
