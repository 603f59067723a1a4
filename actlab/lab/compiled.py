"""The lab's networks by compiled C: one network at a time, whole, in the first caches (ours).

`trainer.c` is compiled once a type and takes networks of any shape; a function is compiled for itself, from its list of
operations alone (`actlab.lab.operations`), and both are kept in build/compiled. Results depend on neither the number of
workers nor on what else is trained; between processors with other vectors, and to `actlab.lab.training`, they differ by
rounding.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actlab.core.config import LabConfig
from actlab.core.records import ROOT
from actlab.lab import batch_statistics, training
from actlab.lab.operations import c_source
from actlab.lab.training import Networks, Start

FLAGS = ["-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared"]
SIZES = {"float32": 4, "float64": 8}
ADAM = ("beta1", "beta2", "eps")  # what the trainer takes of `training.ADAM`


class Uncompiled(RuntimeError):
    """What cannot be compiled here, and why."""


class _Shape(ctypes.Structure):
    _names = ("inputs", "units", "used", "depth", "batch", "constants", "sums", "rolled")
    _fields_ = [(name, ctypes.c_long) for name in _names]


class _Functions(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("act", "forward", "backward")]


@dataclass(frozen=True)
class Act:
    """A compiled function: for batches, and for all points as one, which differ where it sees its batch."""

    batch: _Functions
    whole: _Functions
    sums: int = 0  # that it keeps as arrays
    rolled: int = 0  # tensors that it keeps


@cache
def missing() -> str | None:
    """Why nothing can be compiled here, in one line; None where it can."""
    try:
        for dtype in SIZES:
            _trainer(dtype)
    except Uncompiled as error:
        return str(error)
    return None


def _trainer(dtype: str) -> ctypes.CDLL:
    return _of_adam(dtype, *(training.ADAM[name] for name in ADAM))


@cache
def _of_adam(dtype: str, *values: float) -> ctypes.CDLL:
    adam = "".join(f"#define {name.upper()} {value!r}\n" for name, value in zip(ADAM, values, strict=True))
    return _library(dtype, adam + _text("trainer.c"), "-O3")


@cache
def _text(name: str) -> str:
    return Path(__file__).with_name(name).read_text()


@lru_cache(maxsize=4096)
def _functions(dtype: str, source: str, *names: str) -> _Functions:
    library = _library(dtype, source, "-O2")
    return _Functions(**{name: ctypes.cast(getattr(library, name), ctypes.c_void_p) for name in names})


def _library(dtype: str, source: str, *flags: str) -> ctypes.CDLL:
    """A library of C after `vectors.h`, which is compiled where it is not kept."""
    source = f"#define SINGLE {int(dtype == 'float32')}\n{_text('vectors.h')}{source}"
    about = "\n".join([source, *flags, *FLAGS, *_machine()])
    path = ROOT / "build" / "compiled" / f"{hashlib.sha256(about.encode()).hexdigest()[:32]}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            command = [_machine()[0], *flags, *FLAGS, "-x", "c", "-", "-o", str(made), "-lmvec", "-lm"]
            done = subprocess.run(command, input=source, capture_output=True, text=True)
            if done.returncode:
                said = (done.stderr.strip() or "nothing").splitlines()[0]
                raise Uncompiled(f"wanted a compiler for the lab's C; gcc said: {said}")
            os.replace(made, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise Uncompiled(f"wanted to load the lab's compiled C; the system said: {error}") from error


@cache
def _machine() -> tuple[str, ...]:
    """The compiler, its version, and the processor that it compiles for.

    Raises:
        Uncompiled: where there is no compiler.
    """
    compiler = shutil.which("gcc")
    if compiler is None:
        raise Uncompiled("wanted gcc for the lab's C; there is none")
    version = subprocess.run([compiler, "-dumpfullversion"], capture_output=True, text=True).stdout.strip()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else [platform.processor()]
    kinds = [line for line in lines if line.startswith(("model name", "flags"))] or lines[:1]
    return compiler, version, *sorted(set(kinds))


def compiled(steps: Any, dtype: str, constants: int = 0) -> Act:
    """A function's value and slope, and partial derivatives; or value and derivative of one that sees its batch.

    Args:
        steps: its list of operations, or lists, which are checked.
        dtype: float32 or float64.
        constants: how many it learns.

    Raises:
        Unlisted: where the list is none.
        Uncompiled: where it cannot be compiled here.
    """
    if not isinstance(steps, dict):
        return Act(*[_functions(dtype, c_source(steps, constants), "act")] * 2)
    steps = batch_statistics.checked_lists(steps)
    batch, whole = (_functions(dtype, batch_statistics.c_source(steps[part]), "forward", "backward")
                    for part in batch_statistics.PARTS)  # fmt: skip
    kept = (max(map(count, steps.values())) for count in (batch_statistics.sums, batch_statistics.rolled))
    return Act(batch, whole, *kept)


def train(
    act: Act,
    start: Start,
    config: LabConfig,
    ended: Callable[[], None] = lambda: None,
    notes: np.ndarray | None = None,
    constants: np.ndarray | None = None,
) -> Networks:
    """Networks trained from a start, one by one, by the steps that `actlab.lab.training.fit` takes.

    Args:
        act: of `compiled`, for the type of `config`.
        start: the points, their order, and initial networks.
        config: the lab's settings.
        ended: called before each network; it may raise.
        notes: takes the gradient's L2 norm and the batch's loss, before each step is made; [models, steps, 2].
        constants: the function's learned constants [models, layers, constants], which are trained in place.
    """
    units = _padded(config.width, config.dtype)
    shape = _Shape(
        start.x.shape[-1],
        units,
        config.width,
        config.depth,
        start.index.shape[1],
        _count(constants),
        act.sums,
        act.rolled,
    )
    library, packed = _trainer(config.dtype), _packed(start.networks, shape, constants)
    x, y = (np.ascontiguousarray(tensor.numpy()) for tensor in (start.x, start.y[..., 0]))
    index = np.ascontiguousarray(start.index.numpy(), dtype=np.int64)
    rates = _rates(config, len(index))
    for model in range(len(x)):
        ended()
        arrays = x[model], y[model], index, rates, packed[model], None if notes is None else notes[model]
        status = library.train(
            ctypes.byref(act.batch), ctypes.byref(shape), ctypes.c_long(len(index)), *map(_address, arrays)
        )
        if status:
            raise MemoryError("wanted memory for a network's training; got none")
    if constants is not None:
        constants[:] = _constants(packed, shape)[..., : shape.constants]
    return _unpacked(packed, shape, start.networks)


def predict(
    act: Act, networks: Networks, x: torch.Tensor, constants: np.ndarray | None = None, batch: int | None = None
) -> torch.Tensor:
    """Predictions [models, points] at x [models, points, features] of networks of the same type; else as `train`.

    A function that sees its batch is given `batch` points at a time, as its list wants them, or all at once.
    """
    depth, size = len(networks.weights) - 1, batch or x.shape[1]
    shape = _Shape(x.shape[-1], 0, networks.weights[0].shape[2], depth, size, _count(constants), act.sums, act.rolled)
    functions = act.batch if batch else act.whole
    dtype = str(x.dtype).removeprefix("torch.")
    shape.units = _padded(shape.used, dtype)
    packed, points = _packed(networks, shape, constants), np.ascontiguousarray(x.numpy())
    out = np.empty(points.shape[:2], dtype=points.dtype)
    for model in range(len(points)):
        arrays = points[model], packed[model], out[model]
        status = _trainer(dtype).predict(
            ctypes.byref(functions), ctypes.byref(shape), ctypes.c_long(points.shape[1]), *map(_address, arrays)
        )
        if status:
            raise MemoryError("wanted memory for a network's predictions; got none")
    return torch.from_numpy(out)


def _rates(config: LabConfig, steps: int) -> np.ndarray:
    """Of each step, Adam's rate over the correction of its means, and 1 over the root of that of its squares."""
    count = np.arange(1, steps + 1)
    factors = np.array([training.FACTORS[config.schedule](step, steps) for step in range(steps)])
    means, squares = (1 - training.ADAM[name] ** count for name in ADAM[:2])
    return np.ascontiguousarray(np.stack([config.learning_rate * factors / means, 1 / np.sqrt(squares)], axis=1))


def _address(array: np.ndarray | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


def _padded(units: int, dtype: str) -> int:
    """The next multiple of 64 bytes."""
    whole = 64 // SIZES[dtype]
    return -(-units // whole) * whole


def _count(constants: np.ndarray | None) -> int:
    return 0 if constants is None else constants.shape[-1]


def _blocks(shape: _Shape) -> list[tuple[int, int]]:
    """Rows and columns of each tensor of a network as `trainer.c` has them, weights and biases in turn."""
    hidden = [(shape.inputs if layer == 0 else shape.units, shape.units) for layer in range(shape.depth)]
    pairs = [[block, (1, shape.units)] for block in hidden]
    return [*itertools.chain(*pairs), (1, shape.units), (1, 1)]


def _packed(networks: Networks, shape: _Shape, constants: np.ndarray | None) -> np.ndarray:
    """Networks as `trainer.c` has them, [models, numbers]."""
    tensors = [*itertools.chain(*zip(networks.weights, networks.biases, strict=True))]
    tensors[-2] = tensors[-2].transpose(1, 2)  # of one output: a row
    blocks = _blocks(shape)
    dtype = tensors[0].numpy().dtype
    weights = sum(rows * columns for rows, columns in blocks[:-1]) + _padded(1, str(dtype))
    packed = np.zeros((len(tensors[0]), weights + shape.depth * _padded(shape.constants, str(dtype))), dtype)
    for tensor, part in zip(tensors, _parts(packed, blocks), strict=True):
        part[:, : tensor.shape[1], : tensor.shape[2]] = tensor.numpy()
    if constants is not None:
        _constants(packed, shape)[..., : shape.constants] = constants
    return packed


def _constants(packed: np.ndarray, shape: _Shape) -> np.ndarray:
    """A view of each layer's constants, with their padding, [models, layers, numbers]."""
    each = _padded(shape.constants, str(packed.dtype))
    return packed[:, packed.shape[1] - shape.depth * each :].reshape(len(packed), shape.depth, each)


def _parts(packed: np.ndarray, blocks: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """Views of each tensor, [models, rows, columns]."""
    ends = np.cumsum([rows * columns for rows, columns in blocks])
    return [
        packed[:, end - rows * columns : end].reshape(len(packed), rows, columns)
        for end, (rows, columns) in zip(ends, blocks, strict=True)
    ]


def _unpacked(packed: np.ndarray, shape: _Shape, like: Networks) -> Networks:
    parts = [torch.from_numpy(part) for part in _parts(packed, _blocks(shape))]
    parts[-2] = parts[-2].transpose(1, 2)
    sizes = [*itertools.chain(*zip(like.weights, like.biases, strict=True))]
    cut = [part[:, : size.shape[1], : size.shape[2]].contiguous() for part, size in zip(parts, sizes, strict=True)]
    return Networks(tuple(cut[::2]), tuple(cut[1::2]))
