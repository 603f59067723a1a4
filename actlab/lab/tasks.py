"""The lab's data sets: four families of regression tasks with disjoint train and test ranges (paper, Figure 2).

A task is one continuous function on a box. Inputs are drawn in unit coordinates u, where the training box is
[-1, 1]^d and the out-of-distribution (OOD) ring is the shell 1 < max|u| <= 1 + ring around it. Networks see
x = sqrt(3) u, which has unit variance on the training box, and targets standardised by the training split.
The families are the paper's; every range, degree, frequency and count is [ours], chosen by ReLU's losses alone: its
training loss comes within the paper's 1e-3 to 5e-3 and no family outweighs the others by far. Drafts of the lab had
shown other functions' losses by then; no setting was chosen by their order, and the suites here are fresh draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.polynomial import chebyshev
from scipy import special
from scipy.interpolate import CubicSpline

from actlab.core.config import FAMILIES, SUITES, LabsConfig, TaskConfig
from actlab.lab import feynman
from actlab.lab.training_view import TrainingView

INPUT_SCALE = 3.0**0.5  # a uniform variable on [-1, 1] has variance 1/3
MAX_DIM = 4  # inputs are padded with zeros to this many features
OTHERS = ("network", "spline")  # families that only labs far from the search's have [ours]
INSIDE = "in-distribution"  # the search suite, judged on fresh points of the training box [ours]


@dataclass(frozen=True)
class Task:
    """One data set's function, before sampling.

    `target` maps unit coordinates [points, dim] to raw values [points], inside the training box and out.
    """

    family: str
    label: str
    dim: int
    target: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Suite:
    """A named set of sampled tasks: `blind` for those who train, `ood_y` [tasks, points] for those who judge.

    `ring` is the width of the OOD ring in half-ranges, 0 where the points to judge by lie in the training box;
    `offset` and `scale` [tasks] standardise raw targets. The targets of `blind` are standardised times `unit`.
    """

    name: str
    ring: float
    tasks: tuple[Task, ...]
    blind: TrainingView
    ood_y: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    unit: np.ndarray | float = 1.0  # [tasks], or of all
    labs: LabsConfig | None = None  # in which its tasks are trained, whatever else is asked for

    @property
    def families(self) -> tuple[str, ...]:
        """The family of each task."""
        return tuple(task.family for task in self.tasks)

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each task, unique within the suite."""
        return tuple(f"{i:03d} {task.label}" for i, task in enumerate(self.tasks))

    def target(self, index: int, u: np.ndarray) -> np.ndarray:
        """Standardised target of task `index` at unit coordinates u [points, dim] -> [points]."""
        return (self.tasks[index].target(u) - self.offset[index]) / self.scale[index]


def suite(name: str, config: TaskConfig) -> Suite:
    """The suite of that name, the same to the byte for the same config.

    Calibration and search draw Feynman equations from one pool, held-out and far from the other. The fifth suite,
    "in-distribution", has the tasks and training data of the search suite, judged on fresh points of the training box
    in place of the ring. It is the fitness of a control of the search, and nothing else.

    Raises:
        ValueError: where there is no suite of that name, or its size cannot be shared equally by the families.
    """
    if name == INSIDE:
        return _inside(suite("search", config), config)
    if name not in SUITES:
        raise ValueError(f"unknown suite: wanted one of {', '.join((*SUITES, INSIDE))}; got {name!r}")
    count = config.size(name)
    if count % len(FAMILIES):
        raise ValueError(
            f"the {name} suite: wanted a multiple of {len(FAMILIES)} tasks, for equal families; got {count}"
        )
    generator = np.random.default_rng([config.seed, SUITES.index(name)])
    tasks = draw(count // len(FAMILIES), name in ("held-out", "far"), generator)
    ring = config.ring * (config.far_factor if name == "far" else 1.0)
    return sample(name, tasks, ring, config, generator)


def _inside(base: Suite, config: TaskConfig) -> Suite:
    """The suite with its test points drawn anew, inside of the training box, from a generator of their own."""
    generator = np.random.default_rng([config.seed, len(SUITES)])
    u = np.zeros_like(base.blind.ood_x)
    for task, points in zip(base.tasks, u, strict=True):
        points[:, : task.dim] = generator.uniform(-1, 1, size=(len(points), task.dim))
    y = (_targets(base.tasks, u) - base.offset[:, None]) / base.scale[:, None]
    return replace(base, name=INSIDE, ring=0.0, blind=replace(base.blind, ood_x=u * INPUT_SCALE), ood_y=y)


def draw(
    per_family: int, held_out: bool, generator: np.random.Generator, families: Sequence[str] = FAMILIES
) -> tuple[Task, ...]:
    """`per_family` tasks of each family, families in turn; the Feynman equations are from one of the two pools."""
    makers = {
        "polynomial": polynomials,
        "harmonic": harmonics,
        "harmonic2d": harmonics_2d,
        "feynman": partial(feynman_tasks, feynman.equations(held_out)),
        "network": smooth_networks,
        "spline": splines,
    }
    return tuple(task for family in families for task in makers[family](per_family, generator))


def polynomials(count: int, generator: np.random.Generator) -> list[Task]:
    """Chebyshev series of degree 2 to 4, normal coefficients halved with each degree: steep outside the box. [ours]"""
    degrees = generator.integers(2, 5, size=count)
    coefficients = generator.standard_normal((count, 5)) * 0.5 ** np.arange(5) * (np.arange(5) <= degrees[:, None])
    return [
        Task("polynomial", f"degree {degree}", 1, lambda u, c=c: chebyshev.chebval(u[:, 0], c))
        for degree, c in zip(degrees, coefficients, strict=True)
    ]


def harmonics(count: int, generator: np.random.Generator) -> list[Task]:
    """Sums of three sines with 0.5 to 2 periods across the training range and normal amplitudes. [ours]"""
    return _waves("harmonic", 1, 2.0, count, generator)


def harmonics_2d(count: int, generator: np.random.Generator) -> list[Task]:
    """Sums of three plane waves with 0.5 to 1.25 periods across the training square, in any direction. [ours]"""
    return _waves("harmonic2d", 2, 1.25, count, generator)


def _waves(family: str, dim: int, most: float, count: int, generator: np.random.Generator) -> list[Task]:
    terms = 3
    periods = generator.uniform(0.5, most, size=(count, terms))
    direction = generator.standard_normal((count, terms, dim))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    wave = np.pi * periods[..., None] * direction  # radians a half-range
    phase = generator.uniform(0, 2 * np.pi, size=(count, terms))
    amplitude = generator.standard_normal((count, terms))

    def make(i: int) -> Task:
        k, p, a = wave[i], phase[i], amplitude[i]
        name = "periods " + " ".join(f"{x:.2f}" for x in periods[i])
        return Task(family, name, dim, lambda u: np.sin(u @ k.T + p) @ a)

    return [make(i) for i in range(count)]


def smooth_networks(count: int, generator: np.random.Generator) -> list[Task]:
    """Sums of 16 logistic sigmoids of random slopes and places, in one or two inputs. [ours]"""

    def make(i: int) -> Task:
        dim = 1 + i % 2
        weights, shifts = generator.normal(0, 3, size=(16, dim)), generator.normal(0, 3, size=16)
        heights = generator.normal(size=16)
        return Task("network", f"16 sigmoids of {dim}", dim, lambda u: special.expit(u @ weights.T + shifts) @ heights)

    return [make(i) for i in range(count)]


def splines(count: int, generator: np.random.Generator) -> list[Task]:
    """Natural cubic splines through 8 normal values at equal distances, a knot beyond the training range. [ours]"""
    knots = np.linspace(-1.4, 1.4, 8)
    made = [CubicSpline(knots, generator.normal(size=len(knots)), bc_type="natural") for _ in range(count)]
    return [Task("spline", f"{len(knots)} knots", 1, lambda u, s=spline: s(u[:, 0])) for spline in made]


def feynman_tasks(pool: Sequence[feynman.Equation], count: int, generator: np.random.Generator) -> list[Task]:
    """Feynman equations, each on a random sub-box with 60 to 100 % of its variables' ranges. [ours]

    Equations come in random order without repetition until the pool is used up, then again on new sub-boxes.
    """
    order = np.concatenate([generator.permutation(len(pool)) for _ in range(-(-count // len(pool)))])[:count]
    return [_feynman_task(pool[i], generator) for i in order]


def _feynman_task(equation: feynman.Equation, generator: np.random.Generator) -> Task:
    low, high = np.array(equation.low), np.array(equation.high)
    half = (high - low) / 2 * generator.uniform(0.6, 1.0, size=len(low))
    centre = generator.uniform(low + half, high - half)
    return Task("feynman", equation.name, len(low), lambda u: equation.function(*(centre + half * u).T))


def ring_points(count: int, dim: int, inner: float, outer: float, generator: np.random.Generator) -> np.ndarray:
    """`count` points, uniform in the shell inner < max|u| <= outer of a cube: [count, dim]."""
    radius = (inner**dim + generator.uniform(size=count) * (outer**dim - inner**dim)) ** (1 / dim)
    points = generator.uniform(-1, 1, size=(count, dim))
    face = generator.integers(dim, size=count)
    points[np.arange(count), face] = generator.choice([-1.0, 1.0], size=count)
    return points * radius[:, None]


def _targets(tasks: Sequence[Task], u: np.ndarray) -> np.ndarray:
    """Raw targets [tasks, points] at u [tasks, points, MAX_DIM]; raises ValueError where a target gives others."""
    every = []
    for task, points in zip(tasks, u, strict=True):
        inputs = points[:, : task.dim]
        inputs.flags.writeable = False  # a target that works in place would change the points that are trained on
        y = np.asarray(task.target(inputs))
        if y.shape != (len(points),) or not np.isrealobj(y) or not np.issubdtype(y.dtype, np.number):
            wanted = f"wanted a real target for each of {len(points)} points u {[*inputs.shape]}"
            raise ValueError(f"task {task.label}: {wanted}; got {[*y.shape]} of {y.dtype}")
        every.append(y)
    return np.stack(every)


def sample(
    name: str, tasks: tuple[Task, ...], ring: float, config: TaskConfig, generator: np.random.Generator
) -> Suite:
    """Draws each task's points and standardises them.

    Training points come first from the generator, so that suites that differ in the ring alone train on the same data.

    Raises:
        ValueError: where a task has too many inputs, gives other than one real number a point, is not finite on its
            points, or is constant on its training box but for rounding.
    """
    if wrong := [task for task in tasks if task.dim not in range(1, MAX_DIM + 1)]:
        raise ValueError(f"task {wrong[0].label}: wanted 1 to {MAX_DIM} inputs; got dim = {wrong[0].dim!r}")
    train_u, ood_u = (np.zeros((len(tasks), n, MAX_DIM)) for n in (config.train_points, config.ood_points))
    for task, u in zip(tasks, train_u, strict=True):
        u[:, : task.dim] = generator.uniform(-1, 1, size=(len(u), task.dim))
    for task, u in zip(tasks, ood_u, strict=True):
        u[:, : task.dim] = ring_points(len(u), task.dim, 1.0, 1.0 + ring, generator)
    train_y, ood_y = (_targets(tasks, u) for u in (train_u, ood_u))
    for task, inside, outside in zip(tasks, train_y, ood_y, strict=True):
        if not (np.isfinite(inside).all() and np.isfinite(outside).all()):
            raise ValueError(f"task {task.label}: wanted finite targets inside and around its box; got others")
        if np.ptp(inside) <= 1e-13 * np.abs(inside).max():
            raise ValueError(f"task {task.label}: wanted targets that vary inside its box; got {inside[0]} everywhere")
    offset, scale = train_y.mean(axis=1), train_y.std(axis=1)

    def standard(y: np.ndarray) -> np.ndarray:
        return (y - offset[:, None]) / scale[:, None]

    dims = tuple(task.dim for task in tasks)
    blind = TrainingView(dims, train_u * INPUT_SCALE, standard(train_y), ood_u * INPUT_SCALE)
    return Suite(name, ring, tasks, blind, standard(ood_y), offset, scale)
