"""The Feynman equations: worked examples, boxes that may be widened, pools that do not leak."""

import ast
import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from actlab.lab import feynman
from actlab.lab.feynman import EQUATIONS, Equation, equations

BY_NAME = {equation.name: equation for equation in EQUATIONS}
each_equation = pytest.mark.parametrize("equation", EQUATIONS, ids=lambda equation: equation.name)

# How many variables the benchmark's equation has, for those that are reduced here.
# fmt: off
BENCHMARK_VARIABLES = {
    "I.12.11": 5, "I.13.12": 5, "I.15.10": 3, "I.15.3x": 4, "I.16.6": 3, "I.32.17": 6,
    "I.40.1": 6, "I.41.16": 5, "I.44.4": 5, "II.11.17": 6, "II.11.20": 5, "II.11.3": 5,
    "II.35.18": 5, "II.35.21": 5, "III.14.14": 5, "III.19.51": 5, "III.4.33": 4, "III.8.54": 3,
    "III.9.52": 6,
}
# fmt: on


def inputs(equation: Equation, u: np.ndarray) -> np.ndarray:
    """The variables at unit coordinates u [points, variables]; the box is [-1, 1] in each."""
    low, high = np.array(equation.low), np.array(equation.high)
    return ((low + high) / 2 + (high - low) / 2 * u).T


def values(equation: Equation, u: np.ndarray) -> np.ndarray:
    return equation.function(*inputs(equation, u))


def uniform(equation: Equation, points: int, width: float = 1.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-width, width, (points, len(equation.variables)))


def corners(equation: Equation, width: float) -> np.ndarray:
    return width * np.array(list(itertools.product((-1.0, 1.0), repeat=len(equation.variables))))


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("I.41.16", lambda omega: omega**3 / (np.pi**2 * (np.exp(omega) - 1))),
        ("II.35.18", lambda B: 1 / (np.exp(B) + np.exp(-B))),
        ("III.14.14", lambda Volt: np.exp(Volt) - 1),
        ("III.4.33", lambda omega, T: omega / (np.exp(omega / T) - 1)),
        ("III.4.32", lambda h, omega, kb, T: 1 / (np.exp(h * omega / (2 * np.pi * kb * T)) - 1)),
        ("III.9.52", lambda omega: np.sin(omega / 2) ** 2 / (omega / 2) ** 2),
        (
            "I.32.17",
            lambda Ef, r, omega, omega_0: 4 * np.pi * Ef**2 * r**2 * omega**4 / (3 * (omega**2 - omega_0**2) ** 2),
        ),
    ],
)
def test_what_is_written_for_accuracy_is_the_benchmarks_formula(name, plain):
    equation = BY_NAME[name]
    u = uniform(equation, 2000, width=1.75)
    expected = plain(*inputs(equation, u))
    np.testing.assert_allclose(values(equation, u), expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


@each_equation
def test_a_formula_uses_exactly_the_variables(equation):
    tree = ast.walk(ast.parse(equation.formula, mode="eval"))
    used = {node.id for node in tree if isinstance(node, ast.Name)}
    assert used - {*feynman._FUNCTIONS} == set(equation.variables)
    assert not set(equation.fixed) & set(equation.variables)


@pytest.mark.parametrize(
    ("name", "at", "expected"),
    [
        ("I.6.20a", (0.0,), 0.3989422804014327),  # 1 / sqrt(2 pi)
        ("III.14.14", (np.log(2.0),), 1.0),  # e^ln2 - 1
        ("III.19.51", (1.0,), -0.5),  # the ground state of hydrogen, in hartree
        ("III.9.52", (0.0,), 1.0),  # the limit of (sin x / x)^2, without a division by zero
        ("III.9.52", (np.pi,), 4 / np.pi**2),  # sin^2(pi/2) / (pi/2)^2
        ("I.12.5", (2.0, 3.0), 6.0),
        ("I.16.6", (0.5, 0.5), 0.8),  # 1 / 1.25
        ("I.10.7", (1.2, 3.0, 5.0), 1.5),  # 1.2 / 0.8
        ("I.15.3x", (1.0, 0.6, 0.5), 0.875),  # (1 - 0.3) / 0.8
        ("I.27.6", (2.0, 1.0, 2.0), 1.0),  # 1 / (1/2 + 1/2)
        ("I.30.3", (1.0, 2.0, np.pi / 2), 2.0),  # sin^2(pi/2) / sin^2(pi/4)
        ("I.37.4", (1.0, 4.0, 0.0), 9.0),  # 1 + 4 + 2 * 2
        ("I.37.4", (1.0, 4.0, np.pi), 1.0),  # 1 + 4 - 2 * 2
        ("I.8.14", (0.0, 3.0, 0.0, 4.0), 5.0),
        ("I.13.4", (2.0, 1.0, 2.0, 2.0), 9.0),  # 2 * (1 + 4 + 4) / 2
        ("I.18.4", (1.0, 0.0, 3.0, 4.0), 3.0),  # 12 / 4
        ("III.4.32", (2 * np.pi, np.log(3.0), 1.0, 1.0), 0.5),  # 1 / (3 - 1)
    ],
)
def test_worked_example(name, at, expected):
    assert BY_NAME[name].function(*(np.array(x) for x in at)) == pytest.approx(expected, rel=1e-12)


def test_there_are_sixty_nine_equations_with_one_to_four_variables():
    assert Counter(len(equation.variables) for equation in EQUATIONS) == {1: 7, 2: 12, 3: 22, 4: 28}
    assert len(BY_NAME) == len(EQUATIONS) == 69


def test_names_are_volume_chapter_and_equation():
    for name in BY_NAME:
        volume, chapter, number = name.split(".")
        assert volume in ("I", "II", "III") and chapter.isdigit() and number.rstrip("abtx").isdigit()


def test_reduced_equations_account_for_every_variable_of_the_benchmark():
    reduced = {e.name: len(e.variables) + len(e.fixed) for e in EQUATIONS if e.fixed}
    assert reduced == BENCHMARK_VARIABLES


def test_pools_split_the_table_and_have_the_same_mix_to_within_one():
    search, held_out = equations(held_out=False), equations(held_out=True)
    assert len(search) == 34 and len(held_out) == 35
    assert {e.name for e in search} | {e.name for e in held_out} == set(BY_NAME)
    assert not {e.name for e in search} & {e.name for e in held_out}
    assert Counter(len(e.variables) for e in search) == {1: 3, 2: 6, 3: 11, 4: 14}
    assert Counter(len(e.variables) for e in held_out) == {1: 4, 2: 6, 3: 11, 4: 14}


def test_pools_alternate_within_each_number_of_variables_held_out_first():
    for count in range(1, 5):
        flags = [e.held_out for e in EQUATIONS if len(e.variables) == count]
        assert flags == [i % 2 == 0 for i in range(len(flags))]


@each_equation
def test_boxes_have_a_positive_width_in_every_variable(equation):
    assert len(equation.variables) == len(equation.low) == len(equation.high)
    assert len(set(equation.variables)) == len(equation.variables)
    assert all(low < high for low, high in zip(equation.low, equation.high, strict=True))


@each_equation
def test_values_are_finite_and_bounded_in_the_box_widened_by_three_quarters(equation):
    inside = values(equation, uniform(equation, 2000))
    wide = values(equation, np.concatenate([uniform(equation, 20_000, width=1.75), corners(equation, 1.75)]))
    assert np.isfinite(wide).all()  # a root or logarithm of a negative number warns, which is an error here
    # a pole in the widened box would go to infinity; the steepest corner is I.32.17's, at 290
    assert np.abs(wide - inside.mean()).max() < 400 * inside.std()


def second_differences(y: np.ndarray, stride: int) -> np.ndarray:
    """Largest second difference along each row of y at a spacing of `stride` points."""
    return np.abs(y[:, 2 * stride :] - 2 * y[:, stride:-stride] + y[:, : -2 * stride]).max(axis=1)


def bends_smoothly(function, dims: int) -> bool:
    """Whether second differences shrink with the square of the spacing, on chords of the widened box.

    They shrink fourfold where a function is smooth, twofold at a kink and not at all at a jump.
    """
    generator = np.random.default_rng(1)
    ends = generator.uniform(-1.75, 1.75, (2, 60, 1, dims))
    points = ends[0] + np.linspace(0, 1, 4001)[:, None] * (ends[1] - ends[0])
    y = function(points.reshape(-1, dims)).reshape(60, -1)
    return bool((second_differences(y, 4) >= 3 * second_differences(y, 2) - 1e-9 * np.abs(y).max()).all())


@each_equation
def test_values_bend_smoothly_in_the_widened_box(equation):
    assert bends_smoothly(lambda u: values(equation, u), len(equation.variables))


def test_the_smoothness_check_finds_a_kink_and_a_jump():
    assert not bends_smoothly(lambda u: np.abs(u[:, 0] - 0.3) + u[:, 1] ** 2, 2)
    assert not bends_smoothly(lambda u: 0.01 * np.sign(u[:, 0]) + u[:, 1] ** 2, 2)


@each_equation
def test_every_variable_matters_and_the_target_is_no_plane(equation):
    u = uniform(equation, 4000)
    y = values(equation, u)
    variance = y.var()
    for j in range(u.shape[1]):
        shuffled = u.copy()
        shuffled[:, j] = np.random.default_rng(2).permutation(u[:, j])
        assert ((values(equation, shuffled) - y) ** 2).mean() / 2 > 0.02 * variance  # total Sobol index
    design = np.column_stack([np.ones(len(u)), u])
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    assert residual.var() > 0.01 * variance


@each_equation
def test_target_varies_over_the_smallest_box_the_lab_draws(equation):
    small = values(equation, uniform(equation, 2000, width=0.6))
    assert small.std() > 0.1 * values(equation, uniform(equation, 2000)).std()


def test_no_equation_is_another_one_in_a_different_dress():
    """Largest correlation over every permutation and reflection of the variables, each on its own box."""
    worst = {}
    for count in range(1, 5):
        group = [e for e in EQUATIONS if len(e.variables) == count]
        u = uniform(group[0], 500)
        plain = np.stack([_unit(values(e, u)) for e in group])
        largest = np.zeros((len(group), len(group)))
        for order in itertools.permutations(range(count)):
            for sign in itertools.product((-1, 1), repeat=count):
                moved = np.stack([_unit(values(e, u[:, order] * sign)) for e in group])
                largest = np.maximum(largest, np.abs(plain @ moved.T))
        np.fill_diagonal(largest, 0.0)
        worst[count] = largest.max()
    # m g z under other letters would be 1; the closest are monotone curves and products that bend alike
    assert max(worst.values()) < 0.996, worst


def _unit(y: np.ndarray) -> np.ndarray:
    return (y - y.mean()) / (y.std() * np.sqrt(len(y)))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(EQUATIONS), array_shapes(max_dims=3, max_side=4), st.integers(0, 2**32 - 1))
def test_functions_are_elementwise_on_any_shape(equation, shape, seed):
    columns = inputs(equation, uniform(equation, int(np.prod(shape)), seed=seed))
    shaped = equation.function(*(column.reshape(shape) for column in columns))
    assert shaped.shape == shape
    np.testing.assert_allclose(shaped.ravel(), [equation.function(*row) for row in columns.T], rtol=1e-12)
