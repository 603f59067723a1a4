"""The canary of the transfer records: tiny jobs of all three benchmarks, whose numbers change when the code's do.

The jobs go through `sweep.run`, as those of the records do, in float64 and on one thread, so that the numbers of
equal code agree to about 1e-13 wherever they run. A record holds shares of what is right, which a slight change leaves
as they were; so the canary also has the weights, the optimiser's moments and the outputs of all linear layers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from actlab.transfer import algorithm_model, algorithms, canary_files, image_files, sweep
from actlab.transfer.algorithms import AlgorithmConfig
from actlab.transfer.images import ImageConfig
from actlab.transfer.molecules import MoleculeConfig
from actlab.transfer.sweep import Job
from actlab.transfer.training import Settings

Value = tuple[str, float | int | str]


def values() -> dict[str, float | int | str]:
    """The canary's numbers by name; torch's default type, its threads and its generator are left as they were."""
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as name:
            return dict(_all(Path(name)))
    finally:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)


def _all(folder: Path) -> Iterator[Value]:
    canary_files.write(folder)
    jobs = _jobs(folder)
    for name, job in jobs.items():
        yield from _ran(name, job, folder)
    # A job of ten batches, each one output of a linear layer: three in each of two epochs, then four in the tests.
    short = replace(jobs["digits"], config=replace(jobs["digits"].config, batch=10, settings=Settings(epochs=2)))
    yield from _interrupted(short, folder)
    yield from _out_of_memory(short, folder)
    yield from _readers(folder)
    yield from _baseline(folder)
    yield from _permutation()


# --- jobs -----------------------------------------------------------------------------------------


# A bias before a batch norm has no gradient but rounding errors, which Adam scales up: a low rate keeps them small.
LOW, DIVERGING = Settings(epochs=2, learning_rate=1e-4), Settings(epochs=2, optimiser="sgd", learning_rate=1e200)
# Models, data sets, optimisers and schedules of all kinds; functions that see their batch, and that do not.
JOBS = {
    "vgg": Job("images", "turbulent", ImageConfig(
        data="Fashion-MNIST", folder="fashion_mnist", side=16, train=24, validation=12, test=8, width=3, blocks=(1, 2),
        batch=4, settings=Settings(epochs=3, learning_rate=3e-2, warmup=1, clip=0.5), seed=3,
    )),
    "resnet": Job("images", "relu", ImageConfig(
        data="CIFAR-10", folder="cifar_10", side=32, train=None, validation=8, test=None, model="resnet", width=2,
        blocks=(1, 1), batch=3, augment=True, shifts=("noise",), severities=(2,), whole=False, seed=1,
        settings=Settings(epochs=2, optimiser="sgd", learning_rate=3e-3, weight_decay=5e-4, warmup=1),
    )),
    "resnet-50": Job("images", "snake", ImageConfig(
        data="ImageNet", folder="imagenet", side=10, train=None, validation=4, test=None, model="resnet-50", width=1,
        blocks=(1, 1), batch=4, augment=True, shifts=("blur",), severities=(3,), seed=2,
        settings=Settings(epochs=2, learning_rate=1e-2),
    )),
    "digits": Job("images", sweep.FOUND, ImageConfig(
        side=28, train=20, validation=10, test=10, width=3, blocks=(1,), batch=4, shifts=("rotation",),
        severities=(1,), settings=Settings(epochs=9, learning_rate=3e-2, patience=1), seed=4,
    )),
    "B3DB": Job("molecules", "qfw", MoleculeConfig(
        folder="b3db", molecules=36, validation=0.2, width=4, layers=2, dropout=0.1, batch=8, settings=LOW, seed=5,
    )),
    "molhiv": Job("molecules", "gelu-sine", MoleculeConfig(
        data="ogbg-molhiv", folder="molhiv", validation=0.25, test=0.25, width=3, layers=1, batch=4, whole=False,
        settings=Settings(epochs=2, optimiser="sgd", learning_rate=1e-2, momentum=0.5), seed=6,
    )),
    "kinds": Job("algorithms", "turbulent", AlgorithmConfig(
        "kinds", folder="clrs", width=4, triplets=2, teacher_forcing=0.5, batch=3, seed=7,
        settings=Settings(epochs=2, learning_rate=2e-3, weight_decay=0.0, clip=1.0),
    )),
    "nodes": Job("algorithms", "gelu", AlgorithmConfig(
        "nodes", folder="clrs", train=4, test=3, width=3, triplets=2, batch=4, whole=False,
        settings=Settings(epochs=1), seed=8,
    )),
}  # fmt: skip
# Of those, the jobs that also run at a rate so high that they diverge, and with which function.
ALSO_DIVERGING = {
    "diverging images": ("resnet", "relu"), "diverging B3DB": ("B3DB", "gelu"), "diverging molhiv": ("molhiv", "gelu"),
    "diverging algorithm": ("nodes", "relu"),
}  # fmt: skip


def _jobs(folder: Path) -> dict[str, Job]:
    jobs = dict(JOBS)
    for name, (known, function) in ALSO_DIVERGING.items():
        config = replace(JOBS[known].config, settings=DIVERGING)
        if name == "diverging B3DB":
            config = replace(config, molecules=None)
        jobs[name] = Job(JOBS[known].benchmark, function, config)
    places = {name: str(folder / job.config.folder) if job.config.folder else "" for name, job in jobs.items()}
    return {name: replace(job, config=replace(job.config, folder=places[name])) for name, job in jobs.items()}


def _ran(name: str, job: Job, folder: Path) -> Iterator[Value]:
    """The numbers of a job: its rows, what its linear layers put out, and what its checkpoint holds."""
    checkpoint = folder / f"{name}.pt"
    with _watched() as seen:
        rows, _ = sweep.run(job, checkpoint)
    yield from _of_rows(name, rows)
    if not name.startswith("diverging"):  # whose layers put out numbers near the largest, or none
        yield from _parts(f"{name}: linear layers", seen)
    if checkpoint.exists():
        yield from _of_checkpoint(name, torch.load(checkpoint, weights_only=True))


def _of_rows(name: str, rows: pd.DataFrame) -> Iterator[Value]:
    for what in ("benchmark", "data", "seed", "metric"):
        yield f"{name}: {what}", ", ".join(map(str, rows[what].unique()))
    yield f"{name}: epochs", ", ".join(map(str, rows["epoch"]))
    for place, row in enumerate(rows.itertuples()):
        where = " ".join(filter(None, (row.split, row.shift, str(row.severity), row.evaluation)))
        yield f"{name}: row {place}, {where}", float(row.value) if row.outcome == "scored" else row.outcome


def _of_checkpoint(name: str, kept: Mapping[str, Any]) -> Iterator[Value]:
    yield f"{name}: best epoch", kept["best_epoch"]
    group = kept["optimiser"]["param_groups"][0]
    yield from ((f"{name}: {key}", group[key]) for key in ("lr", "weight_decay"))
    states = kept["optimiser"]["state"].values()
    moments = {key: [state[key] for state in states] for key in next(iter(states))}
    for key, tensors in {"weights": kept["weights"].values(), "best": kept["best"].values(), **moments}.items():
        yield from _parts(f"{name}: {key}", tensors)


def _parts(name: str, tensors: Iterable[torch.Tensor]) -> Iterator[Value]:
    """The positive and the negative numbers of all tensors, each summed: neither sum loses digits by cancellation.

    A number counts by its place in its tensor, so that numbers cannot change places unseen. All tensors are taken
    together: a bias without a gradient, moved by rounding errors alone, is nothing to the others.
    """
    sums = []
    for tensor in tensors:
        numbers = tensor.detach().double().flatten()
        parts = numbers * torch.arange(1, len(numbers) + 1) / len(numbers)
        sums.append(torch.stack([parts.clamp(min=0).sum(), parts.clamp(max=0).sum()]))
    both = zip(("above 0", "below 0"), torch.stack(sums).sum(dim=0), strict=True)
    yield from ((f"{name}, {sign}", float(value)) for sign, value in both)


@contextmanager
def _watched(at: int = 0, error: Exception | None = None) -> Iterator[list[torch.Tensor]]:
    """Within it the outputs of all linear layers are gathered; the `at`-th of them raises the error."""
    seen: list[torch.Tensor] = []

    def hook(module: nn.Module, given: Any, output: torch.Tensor) -> None:
        if isinstance(module, nn.Linear):
            seen.append(output.detach().clone())
            if len(seen) == at and error is not None:
                raise error

    handle = nn.modules.module.register_module_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


# --- what else a job can meet ---------------------------------------------------------------------


class _Interrupted(Exception):
    """In place of a kill."""


def _interrupted(job: Job, folder: Path) -> Iterator[Value]:
    """The job, interrupted in its second epoch and resumed."""
    try:
        with _watched(5, _Interrupted()):
            sweep.run(job, folder / "interrupted.pt")
    except _Interrupted:
        yield from _ran("interrupted", job, folder)


def _out_of_memory(job: Job, folder: Path) -> Iterator[Value]:
    """The job, where memory runs out in the second epoch, in the tests, and where no benchmark expects it."""
    errors = (MemoryError(), RuntimeError("not enough memory"), RuntimeError("CUDA out of memory"))
    for at, error in zip((4, 9, 5), errors, strict=True):
        name = f"out of memory at {at}"
        with _watched(at, error):
            rows, _ = sweep.run(job, folder / f"{name}.pt")
        yield from _of_rows(name, rows)


def _readers(folder: Path) -> Iterator[Value]:
    """Pictures in layouts that no job reads."""
    canary_files.imagenet(folder / "cifar-parquet", test="test", heights=[14])
    image_files.unpack(folder / "imagenet")
    for name, splits in {
        "parquet": image_files.cifar_10(folder / "cifar-parquet"),
        "class folders": image_files.imagenet(folder / "imagenet"),
    }.items():
        read = [torch.from_numpy(np.array(split.image(place))) for split in splits for place in split.places]
        yield from _parts(f"{name}: pictures", read)
        yield from _parts(f"{name}: labels", [torch.from_numpy(split.targets) for split in splits])


def _baseline(folder: Path) -> Iterator[Value]:
    """What a network has to beat in an algorithm; the other benchmarks' baselines are scikit-learn's."""
    config = AlgorithmConfig("ways", folder=str(folder / "clrs"), width=3, triplets=2, batch=4)
    for name, scores in algorithms.baseline(config, networks=2).items():
        yield from ((f"ways: {name}, {split}", score) for split, score in scores.items())


def _permutation() -> Iterator[Value]:
    """What a permutation is read from: in a score the largest alone counts, whatever the steps before."""
    logits = torch.from_numpy(np.random.default_rng(9).normal(size=(5, 5)))
    yield from _parts("permutation", [algorithm_model.log_sinkhorn(logits, algorithm_model.HARDEN_STEPS).exp()])
