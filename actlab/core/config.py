"""The settings of a run: what is trained, on what, for how long, in three named profiles (ours but where said).

The paper publishes none of its lab's settings (paper, section 4), so each default here is ours and carries its reason.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any, ClassVar

SUITES = ("calibration", "search", "held-out", "far")
FAMILIES = ("polynomial", "harmonic", "harmonic2d", "feynman")
DTYPES = ("float32", "float64")  # of networks
SCHEDULES = ("cosine", "constant")  # of a learning rate: it falls to 0 along a cosine, or stays
PASSES = (
    3  # forward passes that a step of training counts as: a backward pass costs about two, by the usual rule [ours]
)


@dataclass(frozen=True)
class TaskConfig:
    """How the synthetic data sets are drawn. All [ours]; only `ring` is calibrated to a number of the paper's."""

    calibration: int = 48  # tasks; they set ring, fitness and the control's learning rates; no claim rests on them
    search: int = 48  # tasks; 48 tasks of one seed rank functions far better than 12 of four
    held_out: int = 200  # tasks; same families, other draws, and Feynman equations kept for this alone
    far: int = 200  # tasks; as held-out, drawn anew, with a ring twice as wide
    train_points: int = 256  # points a task; dense enough in four variables, four batches an epoch
    ood_points: int = 256  # points a task, a multiple of the batch
    ring: float = 0.07  # calibrated: width of the out-of-distribution ring, in half-ranges of the training box
    far_factor: float = 2.0  # the far suite's ring over `ring`
    seed: int = 20260205  # of the tasks; the paper's date

    def size(self, suite: str) -> int:
        """Number of tasks of a suite."""
        return int(getattr(self, suite.replace("-", "_")))


@dataclass(frozen=True)
class LabConfig:
    """How one function's networks are trained. All [ours]."""

    width: int = 32  # units a hidden layer; ReLU's training loss is then 2e-3, inside the paper's 1e-3 to 5e-3
    depth: int = 3  # hidden layers
    batch: int = 64  # points a training step; also the batch in which batch statistics are evaluated
    steps: int = 1000  # training steps
    learning_rate: float = 1e-3  # Adam's own default; falls to 0 over `steps` along a cosine
    chunk: int | None = None  # networks trained in one stack, or what suits the cache; changes rounding alone
    dtype: str = "float32"
    device: str = "cpu"  # the reference; on "cuda" all networks are one stack, and rounding differs
    schedule: ClassVar[str] = "cosine"
    gain: ClassVar[float] = 1.0  # on all initial weights, over torch's own initialisation

    def __post_init__(self) -> None:
        for name in ("width", "depth", "batch", "steps", *(["chunk"] if self.chunk is not None else [])):
            if not isinstance(value := getattr(self, name), Integral) or value < 1:
                raise ValueError(f"{name}: wanted a whole number from 1; got {value!r}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate: wanted a finite number above 0; got {self.learning_rate}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype: wanted one of {', '.join(DTYPES)}; got {self.dtype!r}")
        if self.device.startswith("cuda") and self.dtype != "float32":
            # There torch's fused Adam takes its count of steps for float32, whatever the type of the parameters.
            raise ValueError(f"dtype: wanted float32 with device {self.device}; got {self.dtype!r}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule: wanted one of {', '.join(SCHEDULES)}; got {self.schedule!r}")
        if not 0 < self.gain < math.inf:
            raise ValueError(f"gain: wanted a finite number above 0; got {self.gain}")

    @property
    def work(self) -> int:
        """Values that a network computes in its training: steps, points and units."""
        return self.steps * self.batch * self.width * self.depth

    def parts(self, tasks: int, seed: int) -> Iterator[tuple[LabConfig, int, Sequence[int]]]:
        """The labs of a suite of so many tasks, each with its seed and the places of its tasks: this one alone."""
        yield self, seed, range(tasks)


@dataclass(frozen=True)
class LabsTaskConfig:
    """How labs are drawn whose tasks make a suite: as many labs a suite as `size` says, in equal strata. All [ours].

    No lab is one that another study drew: they have a seed of their own.
    """

    calibration: int = 48  # labs; they set the fitness; no claim rests on them
    search: int = 24  # labs; 24 order functions well enough to choose, by the reliability on the calibration labs
    held_out: int = 240  # labs; other draws, and Feynman equations kept for this and far alone
    far: int = 84  # labs outside of the distribution, on purpose
    each: int = 4  # tasks a lab; labs differ more than tasks within a lab
    seed: int = 20261128

    def size(self, suite: str) -> int:
        """Number of labs of a suite."""
        return int(getattr(self, suite.replace("-", "_")))


@dataclass(frozen=True)
class VariantConfig(LabConfig):
    """A lab among others: it has a schedule, a gain and a seed of its own. [ours]"""

    schedule: str = "cosine"
    gain: float = 1.0
    seed: int = 0  # of initial weights and batches


@dataclass(frozen=True)
class LabsConfig:
    """Several labs in which a function is trained; the suite has the tasks of each in turn, equally many. [ours]"""

    labs: tuple[VariantConfig, ...]

    def __post_init__(self) -> None:
        if not self.labs or len({(lab.device, lab.dtype) for lab in self.labs}) > 1:
            raise ValueError(f"wanted labs of one device and type; got {len(self.labs)} labs")

    @property
    def device(self) -> str:
        """Of all labs."""
        return self.labs[0].device

    @property
    def dtype(self) -> str:
        """Of all labs."""
        return self.labs[0].dtype

    @property
    def work(self) -> int:
        """The most of any lab."""
        return max(lab.work for lab in self.labs)

    def parts(self, tasks: int, seed: int) -> Iterator[tuple[LabConfig, int, Sequence[int]]]:
        """The labs, each with its seed, to which `seed` is added, and the places of its tasks."""
        if tasks % len(self.labs):
            raise ValueError(f"wanted equally many tasks of {len(self.labs)} labs; got {tasks} in all")
        each = tasks // len(self.labs)
        for place, lab in enumerate(self.labs):
            yield lab, lab.seed + seed, range(place * each, (place + 1) * each)


def lab_config(data: Mapping[str, Any]) -> LabConfig | LabsConfig:
    """The inverse of `asdict`, also after JSON."""
    if "labs" in data:
        return LabsConfig(tuple(VariantConfig(**lab) for lab in data["labs"]))
    return LabConfig(**data)


@dataclass(frozen=True)
class FitnessConfig:
    """How a candidate's losses become one number, against fixed references and never against the population. [ours]"""

    aggregate: str = "log-ratio"  # minus the mean log ratio to ReLU's loss, or "clamped-mean": minus the mean
    clamp: float = 10.0  # of a task's MSE, in variances of its training target; NaN and infinity count as this
    floor: float = 1e-3  # of a loss under the logarithm: what is below half of ReLU's training loss is fit, not shape
    level: float = 0.95  # of the interval over tasks
    resamples: int = 2000  # counts for nothing now; the keys of records hold it
    each: ClassVar[int] = 1  # tasks that add one number to the fitness
    clip: ClassVar[float] = math.inf


@dataclass(frozen=True)
class LabsFitnessConfig(FitnessConfig):
    """A fitness over labs: the mean of what each lab adds, which is its mean log ratio, clipped. [ours]"""

    each: int = 1  # tasks of a lab
    clip: float = 10.0  # of what a lab adds, either way; beyond what clamp and floor let it be, since no clip and no
    # reference made the order of functions on the calibration labs more reliable (records/generality/reliability.csv)


def fitness_config(data: Mapping[str, Any]) -> FitnessConfig:
    """The inverse of `asdict`, also after JSON."""
    return LabsFitnessConfig(**data) if "clip" in data else FitnessConfig(**data)


@dataclass(frozen=True)
class Limits:
    """What a candidate may cost, and when it is ended. All [ours]; far above what an honest one needs."""

    flops: float = 196.0  # an element, forward; what the paper's costliest function, Symmetric Phase-Flipped, needs
    memory: int = 2_000_000_000  # bytes, beyond what its process holds when it starts
    describe: float = 30.0  # seconds of wall-clock time on the probes
    start: float = 30.0  # seconds that any training may take, whatever its size
    step: float = 1e-6  # seconds more for each step, task, point and unit: ten times the costliest function's

    @property
    def training(self) -> float:
        """FLOPs an element of a forward and a backward pass [ours].

        The limit was chosen after the zoo's costs were known: of 588, its costliest function needs 361.
        """
        return PASSES * self.flops

    def seconds(self, lab: LabConfig | LabsConfig, tasks: int) -> float:
        """Wall-clock time after which a training is ended."""
        return self.start + self.step * lab.work * tasks


@dataclass(frozen=True)
class SearchConfig:
    """How the evolutionary search spends its evaluations. All [ours]."""

    evaluations: int = 200  # candidates that are trained, in part or in full; duplicates and refused programs are free
    round_size: int = 12  # proposals asked for at once; fixed, so that workers do not change the run
    suite: str = "search"  # what selection sees, and nothing else; "in-distribution" tests the paper's main claim
    race: bool = True  # whether training ends once a candidate is surely behind the program whose place it would take
    delta: float = 0.05  # the race's chance to drop a candidate that is better than that one
    islands: int = 3  # populations that meet only by migration
    migrate_every: int = 5  # rounds; each island's best is then offered to the next one; 0: never
    reset_every: int = 12  # rounds; the worse half of the islands then starts anew from a better one's best; 0: never
    explore: float = 0.5  # chance that a parent is drawn from all cells of its island, in place of its elites
    elites: int = 8  # the island's best programs, that other parents are drawn from
    inspirations: int = 3  # programs from other cells of the island that are shown beside a parent
    failures: int = 2  # latest failed programs of the island that are shown, with what was wrong
    pointwise: bool = False  # whether programs that look across the tensor are refused


@dataclass(frozen=True)
class Profile:
    """A named scale of the whole reproduction."""

    name: str
    tasks: TaskConfig | LabsTaskConfig = field(default_factory=TaskConfig)
    lab: LabConfig = field(default_factory=LabConfig)  # of suites that are not drawn from labs
    fitness: FitnessConfig = field(default_factory=FitnessConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    limits: Limits = field(default_factory=Limits)
    seeds: int = 8  # lab seeds in the study of trust
    draws: int = 64  # random constants a form (Figure 7)
    sweep: int = 11  # constants of GELUSine (Figure 8, ours)
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)  # learning rates of the control


_LAPTOP = Profile("laptop")
_SMOKE = Profile(
    "smoke",
    tasks=replace(_LAPTOP.tasks, calibration=8, search=8, held_out=16, far=16),
    lab=replace(_LAPTOP.lab, steps=100),
    search=replace(_LAPTOP.search, evaluations=24, round_size=8),
    seeds=2,
    draws=4,
    sweep=5,
    rates=(1e-3, 1e-2),
)
_PAPER = Profile(
    "paper",
    tasks=replace(_LAPTOP.tasks, calibration=1000, search=1000, held_out=1000, far=1000),
    search=replace(_LAPTOP.search, evaluations=2000),
    sweep=21,
)
PROFILES = {profile.name: profile for profile in (_SMOKE, _LAPTOP, _PAPER)}


def over_labs(given: Profile) -> Profile:
    """The profile with fitness and suites over labs, in place of the default lab's; smoke has few labs."""
    few = {"calibration": 12, "search": 6, "held_out": 12, "far": 14} if given.name == "smoke" else {}
    fitness = LabsFitnessConfig(each=LabsTaskConfig.each)
    return replace(given, tasks=LabsTaskConfig(**few), fitness=fitness)


def profile(name: str) -> Profile:
    """The profile of that name; another name raises a ValueError which lists them."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile: wanted one of {', '.join(PROFILES)}; got {name!r}")
    return PROFILES[name]


def cores() -> int:
    """The number of processors that this process may use, hence of one-thread workers."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
