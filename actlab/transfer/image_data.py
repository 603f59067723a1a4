"""Labelled pictures in splits, as tensors, and graded corruptions of them (all ours); `image_files` reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from actlab.transfer.image_files import CLASSES, READERS, Pictures, mnist_5k

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
    training pictures.

    Raises:
        MissingData: where files are missing.
        Damaged: where a file is not what it should be, such as a picture that is cut off.

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
        inside, outside = READERS[data](Path(folder))
        if test is not None:
            outside = outside.at(stratified(outside.targets, (test,), split_seed)[0])
    held, rest = stratified(inside.targets, (validation,), split_seed + 1)
    if train is not None:
        rest = rest[stratified(inside.targets[rest], (train,), split_seed + 2)[0]]
    inside.at(np.sort(np.concatenate([held, rest]))).check()
    outside.check()
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
