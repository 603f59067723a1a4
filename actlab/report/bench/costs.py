"""What the whole downstream comparison would take on one GPU: estimated from seconds a step, measured here (ours).

A training step of each of the paper profile's models is timed on one thread of this machine, with ReLU, on random
pictures, on B3DB's molecules and on the committed trajectories, and scaled to a GPU by rates of float32 matrix
products: measured here, assumed there. A step of many small operations waits for their launches instead: these are
counted, and the longer of the two times is taken. Where torch sees a GPU, the same steps are timed on it besides. Left
out are tests, validation, loading, the optimiser, functions costlier than ReLU, and the 24 algorithms whose samples are
not committed: the mean of the six stands for them, though some have many more steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm import tqdm

from actlab.core.config import Profile
from actlab.transfer import algorithms, images, molecules, sweep
from actlab.transfer.algorithm_scores import loss

# [ours] What one GPU keeps up over a training of such models: a third of what recent ones do in float32 (TF32).
GPU_TFLOPS = 10.0
# [ours] How long a GPU waits for one operation of torch's to be launched from Python, a usual figure.
LAUNCH_SECONDS = 10e-6
NO_LAUNCH = ("empty", "new_empty", "_unsafe_view")  # operations that only allocate, or look at the same numbers
# Training pictures and molecules of the full data sets, as their publishers count them.
TRAINING = {"Fashion-MNIST": 60_000, "CIFAR-10": 50_000, "ImageNet": 1_281_167, "ogbg-molhiv": 32_901}


@dataclass(frozen=True)
class Timed:
    """A training step that can be timed."""

    data: str  # the data set's name
    step: Callable[[], None]  # forward and backward, without the optimiser, which is cheap beside them
    scale: float  # by how much the paper profile's batch is larger than the one of `step`
    steps: int  # of one training
    trainings: int = 1  # of the data set for one function and seed
    models: int = 1  # how many steps `step` performs, one of each of so many models; their mean counts


def hours(which: Profile, quick: bool = False) -> pd.DataFrame:
    """Estimated hours of `make transfer PROFILE=paper` on one GPU, a row a data set.

    `which`, which every part of the bench has, is not used; `quick` times only the smallest model, once.

    Returns:
        Columns data, cpu_seconds_a_step (at the paper profile's batch, on one thread), steps (of one training),
        trainings (of all functions and seeds), operations (of torch's in a step, forward and backward), products_ms and
        launches_ms (what a step takes on the GPU by either), gpu_hours_a_training (by the longer) and gpu_hours (of
        all trainings), estimates all four; gpu_ms_a_step and measured_gpu_hours (of all trainings), of this machine's
        GPU, and its name: NaN and empty without one.
    """
    design, rate, rows = sweep.DESIGNS["paper"], _products(1 if quick else 5), []
    for timed in tqdm(list(_timed(quick)), desc="hours", disable=None):
        timed.step()
        seconds = timed.scale * median(_seconds(timed.step) for _ in range(1 if quick else 3)) / timed.models
        count = operations(timed.step) / timed.models
        products, launches = seconds * rate / (GPU_TFLOPS * 1e12), count * LAUNCH_SECONDS
        one = max(products, launches) * timed.steps / 3600
        trainings = timed.trainings * len(design.functions) * max(design.seeds.values())
        row = {"data": timed.data, "cpu_seconds_a_step": seconds, "steps": timed.steps, "trainings": trainings}
        row |= {"operations": round(count), "products_ms": products * 1e3, "launches_ms": launches * 1e3}
        rows.append({**row, "gpu_hours_a_training": one, "gpu_hours": one * trainings})
    table = pd.DataFrame(rows)
    found = torch.cuda.is_available()
    table["gpu_ms_a_step"] = _gpu_ms(quick) if found else math.nan
    table["measured_gpu_hours"] = table["gpu_ms_a_step"] * table["steps"] * table["trainings"] / 3.6e6
    return table.assign(gpu=f"{torch.cuda.get_device_name()}, torch {torch.__version__}" if found else "")


def _gpu_ms(quick: bool, steps: int = 20) -> list[float]:
    """Milliseconds of a step of each data set's model on the GPU, at the paper profile's batch."""
    found = []
    for timed in _timed(quick, "cuda"):
        for _ in range(3):  # what is loaded late is loaded
            timed.step()
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(steps):
            timed.step()
        torch.cuda.synchronize()
        found.append((time.perf_counter() - started) / steps / timed.models * timed.scale * 1e3)
    return found


def operations(step: Callable[[], None]) -> int:
    """How many operations of torch's a step calls, forward and backward, that a GPU would launch something for.

    Views and bare allocations launch nothing. An operation may launch more than one kernel: it counts once.
    """
    with _Counted() as counted:
        step()
    return counted.count


class _Counted(TorchDispatchMode):
    """Counts operations while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not (func.is_view or func.overloadpacket.__name__.startswith(NO_LAUNCH))
        return func(*args, **(kwargs or {}))


def _seconds(step: Callable[[], None]) -> float:
    """Seconds that this thread computes, without what other processes take from it."""
    started = time.thread_time()
    step()
    return time.thread_time() - started


def _products(repeats: int, side: int = 1024) -> float:
    """Operations a second of a float32 matrix product on one thread."""
    a = torch.ones(side, side)
    a @ a
    return 2 * side**3 / median(_seconds(lambda: a @ a) for _ in range(repeats))


def _timed(quick: bool, device: str = "cpu") -> Iterator[Timed]:
    if quick:
        yield _graphs(device)
        return
    for config in images.PROFILES["paper"]:
        yield _pictures(config, 8 if device == "cpu" else config.batch, device)
    yield _graphs(device)
    yield _trajectories(device)


def _backward(model: nn.Module, value: Callable[[], torch.Tensor]) -> Callable[[], None]:
    def step() -> None:
        model.zero_grad(set_to_none=True)
        value().backward()

    return step


def _pictures(config: images.ImageConfig, batch: int = 8, device: str = "cpu") -> Timed:
    channels = 1 if config.data == "Fashion-MNIST" else 3
    model = images.build(F.relu, config, channels).to(device, memory_format=torch.channels_last).train()
    x = torch.rand(batch, channels, config.side, config.side).to(device, memory_format=torch.channels_last)
    labels = torch.arange(batch, device=device) % images.CLASSES[config.data]
    step = _backward(model, lambda: F.cross_entropy(model(x), labels))
    steps = config.settings.epochs * ((TRAINING[config.data] - config.validation) // config.batch)
    return Timed(config.data, step, config.batch / batch, steps)


def _graphs(device: str = "cpu") -> Timed:
    """B3DB's molecules in the place of molhiv's, which need not be there; both are drug-like."""
    config = next(config for config in molecules.PROFILES["paper"] if config.data == "ogbg-molhiv")
    known, split = molecules.load(replace(molecules.LAPTOP, seed=0))
    model = molecules.build(F.relu, config, known).to(device).train()
    batch = known.batch(split.train[: config.batch], device)
    step = _backward(model, lambda: F.binary_cross_entropy_with_logits(model(batch), batch.labels))
    used = math.floor(TRAINING[config.data] * (1 - config.validation - config.test))
    return Timed(config.data, step, 1.0, config.settings.epochs * (used // config.batch))


def _trajectories(device: str = "cpu") -> Timed:
    """The mean over the committed algorithms in the place of all thirty, of which some have many more steps."""
    thirty = {config.algorithm: config for config in algorithms.PROFILES["paper"]}
    steps = []
    for laptop in algorithms.COMMITTED:
        config = thirty[laptop]
        samples = algorithms.load(replace(config, folder=algorithms.AlgorithmConfig().folder))["train"]
        network = algorithms.build(F.relu, config, samples.probes).to(device).train()
        places = np.arange(config.batch)
        batch = samples.batch(places, samples.random_positions(places, np.random.default_rng(0)), device)
        steps.append(_backward(network, lambda n=network, b=batch, s=samples: loss(s.probes, b, *n(b))))

    def step() -> None:
        for one in steps:
            one()

    epochs = next(iter(thirty.values())).settings.epochs
    return Timed("CLRS-30", step, 1.0, epochs * (1000 // 32), len(thirty), len(steps))
