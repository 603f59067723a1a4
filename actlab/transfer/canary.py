"""The canary of the transfer records: tiny jobs of all three benchmarks, whose numbers change when the code's do.

The jobs go through `sweep.run`, as those of the records do, in float64 and on one thread, so that the numbers of
equal code agree to about 1e-13 wherever they run. A record holds shares of what is right, which a slight change leaves
as they were; so the canary also has the weights, the optimiser's moments and all that linear layers put out on the way.
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

from actlab.transfer import algorithm_model, algorithms, canary_files, image_data, images, molecules, sweep
from actlab.transfer.sweep import Job
from actlab.transfer.training import Settings

Values = dict[str, float | int | str]


def values() -> Values:
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


def _all(folder: Path) -> Iterator[tuple[str, float | int | str]]:
    canary_files.write(folder)
    for name, job in _jobs(folder).items():
        yield from _ran(name, job, folder)
    yield from _interrupted(folder)
    yield from _out_of_memory(folder)
    yield from _readers(folder)
    yield from _baseline(folder)
    yield from _permutation()


# --- jobs -----------------------------------------------------------------------------------------


def _jobs(folder: Path) -> dict[str, Job]:
    """Models, data sets, optimisers and schedules of all kinds; functions that see their batch, and that do not."""
    return {**_of_images(folder), **_of_molecules(folder), **_of_algorithms(folder)}


DIVERGING = Settings(epochs=2, optimiser="sgd", learning_rate=1e200)


def _of_images(folder: Path) -> dict[str, Job]:
    vgg = images.ImageConfig(
        data="Fashion-MNIST", folder=str(folder / "fashion_mnist"), side=16, train=24, validation=12, test=8,
        width=3, blocks=(1, 2), batch=4, settings=Settings(epochs=3, learning_rate=3e-2, warmup=1, clip=0.5), seed=3,
    )  # fmt: skip
    resnet = images.ImageConfig(
        data="CIFAR-10", folder=str(folder / "cifar_10"), side=32, train=None, validation=8, test=None,
        model="resnet", width=2, blocks=(1, 1), batch=3, augment=True, shifts=("noise",), severities=(2,), whole=False,
        settings=Settings(epochs=2, optimiser="sgd", learning_rate=3e-3, weight_decay=5e-4, warmup=1), seed=1,
    )  # fmt: skip
    bottleneck = images.ImageConfig(
        data="ImageNet", folder=str(folder / "imagenet"), side=10, train=None, validation=4, test=None,
        model="resnet-50", width=1, blocks=(1, 1), batch=4, augment=True, shifts=("blur",), severities=(3,),
        settings=Settings(epochs=2, learning_rate=1e-2), seed=2,
    )  # fmt: skip
    digits = images.ImageConfig(
        side=28, train=20, validation=10, test=10, width=3, blocks=(1,), batch=4, shifts=("rotation",),
        severities=(1,), settings=Settings(epochs=9, learning_rate=3e-2, patience=1), seed=4,
    )  # fmt: skip
    return {
        "vgg": Job("images", "turbulent", vgg),
        "resnet": Job("images", "relu", resnet),
        "resnet-50": Job("images", "snake", bottleneck),
        "digits": Job("images", sweep.FOUND, digits),
        "diverging images": Job("images", "relu", replace(resnet, settings=DIVERGING)),
    }


def _of_molecules(folder: Path) -> dict[str, Job]:
    # A bias before a batch norm has no gradient but rounding errors, which Adam scales up: a low rate keeps them small.
    low = Settings(epochs=2, learning_rate=1e-4)
    b3db = molecules.MoleculeConfig(
        folder=str(folder / "b3db"), molecules=36, validation=0.2, width=4, layers=2, dropout=0.1, batch=8,
        settings=low, seed=5,
    )  # fmt: skip
    molhiv = molecules.MoleculeConfig(
        data="ogbg-molhiv", folder=str(folder / "molhiv"), validation=0.25, test=0.25, width=3, layers=1, batch=4,
        whole=False, settings=Settings(epochs=2, optimiser="sgd", learning_rate=1e-2, momentum=0.5), seed=6,
    )  # fmt: skip
    return {
        "B3DB": Job("molecules", "qfw", b3db),
        "molhiv": Job("molecules", "gelu-sine", molhiv),
        "diverging B3DB": Job("molecules", "gelu", replace(b3db, settings=DIVERGING, molecules=None)),
        "diverging molhiv": Job("molecules", "gelu", replace(molhiv, settings=DIVERGING)),
    }


def _of_algorithms(folder: Path) -> dict[str, Job]:
    kinds = algorithms.AlgorithmConfig(
        "kinds", folder=str(folder / "clrs"), width=4, triplets=2, teacher_forcing=0.5, batch=3,
        settings=Settings(epochs=2, learning_rate=2e-3, weight_decay=0.0, clip=1.0), seed=7,
    )  # fmt: skip
    nodes = algorithms.AlgorithmConfig(
        "nodes", folder=str(folder / "clrs"), train=4, test=3, width=3, triplets=2, batch=4, whole=False,
        settings=Settings(epochs=1), seed=8,
    )  # fmt: skip
    return {
        "kinds": Job("algorithms", "turbulent", kinds),
        "nodes": Job("algorithms", "gelu", nodes),
        "diverging algorithm": Job("algorithms", "relu", replace(nodes, settings=DIVERGING)),
    }


def _ran(name: str, job: Job, folder: Path) -> Iterator[tuple[str, float | int | str]]:
    """The numbers of a job: its rows, what its linear layers put out, and what its checkpoint holds."""
    checkpoint = folder / f"{name}.pt"
    with _watched() as seen:
        rows, _ = sweep.run(job, checkpoint)
    yield from _of_rows(name, rows)
    if not name.startswith("diverging"):  # whose layers put out numbers near the largest, or none
        yield from _parts(f"{name}: linear layers", seen)
    if checkpoint.exists():
        yield from _of_checkpoint(name, torch.load(checkpoint, weights_only=True))


def _of_rows(name: str, rows: pd.DataFrame) -> Iterator[tuple[str, float | str]]:
    for what in ("benchmark", "data", "seed", "metric"):
        yield f"{name}: {what}", ", ".join(map(str, rows[what].unique()))
    yield f"{name}: epochs", ", ".join(map(str, rows["epoch"]))
    for place, row in enumerate(rows.itertuples()):
        where = " ".join(filter(None, (row.split, row.shift, str(row.severity), row.evaluation)))
        yield f"{name}: row {place}, {where}", float(row.value) if row.outcome == "scored" else row.outcome


def _of_checkpoint(name: str, kept: Mapping[str, Any]) -> Iterator[tuple[str, float | int]]:
    yield f"{name}: best epoch", kept["best_epoch"]
    group = kept["optimiser"]["param_groups"][0]
    yield from ((f"{name}: {key}", group[key]) for key in ("lr", "weight_decay"))
    states = kept["optimiser"]["state"].values()
    moments = {key: [state[key] for state in states] for key in next(iter(states))}
    for key, tensors in {"weights": kept["weights"].values(), "best": kept["best"].values(), **moments}.items():
        yield from _parts(f"{name}: {key}", tensors)


def _parts(name: str, tensors: Iterable[torch.Tensor]) -> Iterator[tuple[str, float]]:
    """The positive and the negative numbers of all tensors, each summed: neither sum loses digits by cancellation.

    A number counts by its place in its tensor, so that numbers cannot change places unseen. All tensors are taken
    together: a bias without a gradient, moved by rounding errors alone, is nothing to the others.
    """
    sums = torch.stack([_sums(tensor) for tensor in tensors]).sum(dim=0)
    yield from ((f"{name}, {sign}", float(value)) for sign, value in zip(("above 0", "below 0"), sums, strict=True))


def _sums(tensor: torch.Tensor) -> torch.Tensor:
    numbers = tensor.detach().double().flatten()
    parts = numbers * torch.arange(1, len(numbers) + 1) / len(numbers)
    return torch.stack([parts.clamp(min=0).sum(), parts.clamp(max=0).sum()])


@contextmanager
def _watched(at: int = 0, error: Exception | None = None) -> Iterator[list[torch.Tensor]]:
    """Within it the outputs of all linear layers are gathered, as `_sums`; the `at`-th of them raises the error."""
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
    """Stands for a kill."""


def _short(folder: Path) -> Job:
    """A job of ten batches, each one output of a linear layer: three in each of two epochs, then four in the tests."""
    job = _of_images(folder)["digits"]
    return replace(job, config=replace(job.config, batch=10, settings=Settings(epochs=2)))


def _interrupted(folder: Path) -> Iterator[tuple[str, float | int | str]]:
    """A job that is interrupted in its second epoch, and goes on."""
    job, name = _short(folder), "interrupted"
    try:
        with _watched(5, _Interrupted()):
            sweep.run(job, folder / f"{name}.pt")
    except _Interrupted:
        yield from _ran(name, job, folder)


def _out_of_memory(folder: Path) -> Iterator[tuple[str, float | str]]:
    """Jobs whose memory runs out in the second epoch, in the tests, and where no benchmark expects it."""
    errors = (MemoryError(), RuntimeError("not enough memory"), RuntimeError("CUDA out of memory"))
    for at, error in zip((4, 9, 5), errors, strict=True):
        name = f"out of memory at {at}"
        with _watched(at, error):
            rows, _ = sweep.run(_short(folder), folder / f"{name}.pt")
        yield from _of_rows(name, rows)


def _readers(folder: Path) -> Iterator[tuple[str, float]]:
    """Pictures in layouts that no job reads."""
    canary_files.imagenet(folder / "cifar-parquet", test="test", heights=[14])
    image_data.unpack(folder / "imagenet")
    for name, (train, test) in {
        "parquet": image_data.cifar_10(folder / "cifar-parquet"),
        "class folders": image_data.imagenet(folder / "imagenet"),
    }.items():
        read = [torch.from_numpy(np.array(split.image(place))) for split in (train, test) for place in split.places]
        yield from _parts(f"{name}: pictures", read)
        yield from _parts(f"{name}: labels", [torch.from_numpy(split.targets) for split in (train, test)])


def _baseline(folder: Path) -> Iterator[tuple[str, float]]:
    """What a network has to beat in an algorithm; the other benchmarks' baselines are scikit-learn's."""
    config = algorithms.AlgorithmConfig("ways", folder=str(folder / "clrs"), width=3, triplets=2, batch=4)
    for name, scores in algorithms.baseline(config, networks=2).items():
        yield from ((f"ways: {name}, {split}", score) for split, score in scores.items())


def _permutation() -> Iterator[tuple[str, float]]:
    """What a permutation is read from: in a score the largest alone counts, whatever the steps before."""
    logits = torch.from_numpy(np.random.default_rng(9).normal(size=(5, 5)))
    yield from _parts("permutation", [algorithm_model.log_sinkhorn(logits, algorithm_model.HARDEN_STEPS).exp()])
