"""Pictures: VGGs and ResNets with a function wherever ReLU stands, on digits to ImageNet (paper, section 5).

The paper names neither its models nor its settings; all here is ours. Batch norm stands before each activation; in a
residual block the last one stands before the addition, and the activation after it. In evaluation the norms use the
statistics that they gathered in training. Pictures are [batch, channels, height, width]; the function sees
[batch, height, width, channels].
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from actlab.transfer import image_data as data_module
from actlab.transfer.image_data import CLASSES, SEVERITIES, SHIFTS, Pictures, Splits
from actlab.transfer.interface import Row, channels_last, table
from actlab.transfer.training import Settings, attempt, draw, fit, identity, seeded

if TYPE_CHECKING:
    import pandas as pd

    from actlab.transfer.interface import Activation


@dataclass(frozen=True)
class ImageConfig:
    """A data set, a model and how it is trained. All [ours]; the defaults are the laptop's."""

    data: str = "MNIST-5k"  # or "Fashion-MNIST", "CIFAR-10", "ImageNet"
    folder: str = ""  # where the data set's files lie; MNIST-5k needs none
    side: int = 28  # pixels; larger pictures are brought to it
    train: int | None = 3000  # pictures; None: all that validation leaves
    validation: int = 1000  # pictures, out of the training set; they choose the epoch
    test: int | None = 1000  # pictures; None: the data set's whole test set
    split_seed: int = 0  # of the draws above; models of all seeds share one split
    model: str = "vgg"  # or "resnet" (basic blocks), "resnet-50"
    width: int = 8  # channels of the first stage; they double from stage to stage, up to eight times
    blocks: tuple[int, ...] = (1, 1, 2)  # convolutions (vgg) or residual blocks (resnet) a stage
    batch: int = 50  # pictures, in training and where evaluation is in batches; 60 steps an epoch
    augment: bool = False  # moves and mirrors training pictures; digits are no longer digits when mirrored
    settings: Settings = field(default_factory=lambda: Settings(epochs=10, learning_rate=1e-2, warmup=1))
    shifts: tuple[str, ...] = SHIFTS
    severities: tuple[int, ...] = SEVERITIES
    whole: bool = True  # whether the test set is also evaluated as one batch
    workers: int = 0  # processes that read pictures; 0: this one
    device: str = "cpu"
    seed: int = 0  # of the run; it names the records, and whoever calls seeds the generator with it


# Rate and epochs were chosen on validation, with ReLU (seeds 0 to 2: 0.976 to 0.985). Without `whole` a run with ReLU
# took 5 s of one thread of a busy machine; with it 8 s, with Snake 9, with Turbulent 21 and with Symmetric
# Phase-Flipped 51, of which the tests are a quarter to a half.
LAPTOP = ImageConfig()
# Another model on the same pictures: a check, which no profile runs. Records of both have the same data's name.
LAPTOP_RESNET = replace(LAPTOP, model="resnet", blocks=(1, 1, 1))
SMOKE = replace(
    LAPTOP, blocks=(1, 1, 1), train=300, validation=100, test=100, batch=20, shifts=("rotation", "noise"),
    severities=(1,), settings=Settings(epochs=4, learning_rate=1e-2),
)  # fmt: skip
# VGG-16 and a schedule by which it is usually trained on CIFAR-10.
CIFAR_10 = ImageConfig(
    data="CIFAR-10", folder="data/cifar-10", side=32, train=None, validation=5000, test=None, width=64,
    blocks=(2, 2, 3, 3, 3), batch=128, augment=True, workers=4, device="cuda",
    settings=Settings(epochs=200, optimiser="sgd", learning_rate=0.1, weight_decay=5e-4, warmup=5),
)  # fmt: skip
# The same at 28 pixels, with one stage and many epochs fewer, since it is easier.
FASHION_MNIST = replace(
    CIFAR_10, data="Fashion-MNIST", folder="data/fashion-mnist", side=28, blocks=(2, 2, 3, 3),
    settings=replace(CIFAR_10.settings, epochs=60),
)  # fmt: skip
# ResNet-50 and the usual 90 epochs. One batch of 50,000 pictures fits nowhere, so that it is not tried.
IMAGENET = ImageConfig(
    data="ImageNet", folder="data/imagenet", side=224, train=None, validation=50_000, test=None, model="resnet-50",
    width=64, blocks=(3, 4, 6, 3), batch=256, augment=True, workers=16, device="cuda", whole=False,
    settings=Settings(epochs=90, optimiser="sgd", learning_rate=0.1, weight_decay=1e-4, warmup=5),
)  # fmt: skip
PROFILES = {"smoke": (SMOKE,), "laptop": (LAPTOP,), "paper": (FASHION_MNIST, CIFAR_10, IMAGENET)}


# --- models ---------------------------------------------------------------------------------------


def build(activation: Activation, config: ImageConfig, channels: int) -> nn.Module:
    """The untrained model of a configuration, for pictures of so many channels.

    Raises:
        ValueError: where the model is not known.
    """
    classes, function = CLASSES[config.data], channels_last(activation)
    if config.model == "vgg":
        return VGG(function, channels, classes, config.width, config.blocks)
    if config.model == "resnet":
        return ResNet(function, channels, classes, config.width, config.blocks, Basic, large=False)
    if config.model == "resnet-50":
        return ResNet(function, channels, classes, config.width, config.blocks, Bottleneck, large=True)
    raise ValueError(f"wanted the model vgg, resnet or resnet-50; got {config.model!r}")


def widths(width: int, stages: int) -> list[int]:
    """Channels of each stage: doubled from stage to stage, up to eight times the first."""
    return [width * min(2**stage, 8) for stage in range(stages)]


class Norm(nn.Sequential):
    """A convolution without bias and a batch norm; the activation, where there is one, follows it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        super().__init__(convolution, nn.BatchNorm2d(outputs))


class VGG(nn.Module):
    """Stages of 3x3 convolutions, each stage halved by a maximum, then one linear layer on the mean over places.

    Simonyan and Zisserman, arXiv 1409.1556; one linear layer instead of three, as is usual for small pictures.
    """

    def __init__(self, activation: Activation, channels: int, classes: int, width: int, blocks: Sequence[int]) -> None:
        super().__init__()
        self.activation = activation
        outputs = widths(width, len(blocks))
        sizes = [[size] * count for size, count in zip(outputs, blocks, strict=True)]
        before = iter(itertools.chain([channels], *sizes))
        self.stages = nn.ModuleList(nn.ModuleList(Norm(next(before), n, 3) for n in stage) for stage in sizes)
        self.head = nn.Linear(outputs[-1], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [batch, classes] of pictures [batch, channels, height, width]."""
        for stage in self.stages:
            for layer in stage:
                x = self.activation(layer(x))
            x = F.max_pool2d(x, 2)
        return self.head(x.mean(dim=(2, 3)))


class Basic(nn.Module):
    """A residual block of two 3x3 convolutions; the function stands between them and after the addition."""

    expansion = 1

    def __init__(self, activation: Activation, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.activation = activation
        self.first, self.second = Norm(inputs, width, 3, stride), Norm(width, width, 3)
        self.shortcut = Norm(inputs, width, 1, stride) if stride > 1 or inputs != width else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's channels, [batch, channels, height, width]."""
        return self.activation(self.second(self.activation(self.first(x))) + self.shortcut(x))


class Bottleneck(nn.Module):
    """A residual block of 1x1, 3x3 and 1x1 convolutions; the stride is the 3x3's, as is now usual."""

    expansion = 4

    def __init__(self, activation: Activation, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.activation = activation
        outputs = width * self.expansion
        self.first, self.second = Norm(inputs, width, 1), Norm(width, width, 3, stride)
        self.third = Norm(width, outputs, 1)
        self.shortcut = Norm(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's channels, [batch, channels, height, width]."""
        inner = self.activation(self.second(self.activation(self.first(x))))
        return self.activation(self.third(inner) + self.shortcut(x))


class ResNet(nn.Module):
    """A stem, stages of residual blocks, each but the first of stride 2, and a linear layer on the mean over places.

    He, Zhang, Ren and Sun, arXiv 1512.03385. `large` has ImageNet's stem, 7x7 of stride 2 and a maximum; else it is
    one 3x3 convolution.
    """

    def __init__(
        self,
        activation: Activation,
        channels: int,
        classes: int,
        width: int,
        blocks: Sequence[int],
        block: type[Basic | Bottleneck],
        large: bool,
    ) -> None:
        super().__init__()
        self.activation, self.large = activation, large
        self.stem = Norm(channels, width, 7, 2) if large else Norm(channels, width, 3)
        layers, inputs = [], width
        for stage, (size, count) in enumerate(zip(widths(width, len(blocks)), blocks, strict=True)):
            for place in range(count):
                layers.append(block(activation, inputs, size, 2 if stage > 0 and place == 0 else 1))
                inputs = size * block.expansion
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [batch, classes] of pictures [batch, channels, height, width]."""
        x = self.activation(self.stem(x))
        if self.large:
            x = F.max_pool2d(x, 3, 2, padding=1)
        return self.head(self.blocks(x).mean(dim=(2, 3)))


# --- batches --------------------------------------------------------------------------------------


class Prepared(Dataset):
    """Batches of pictures as tensors, by the places of their pictures; a variant of each with `seed`."""

    def __init__(
        self, pictures: Pictures, side: int, seed: int | None = None, shift: str = "", severity: int = 0
    ) -> None:
        self.pictures, self.side, self.seed = pictures, side, seed
        self.shift, self.severity = shift, severity

    def __getitems__(self, places: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures [batch, channels, side, side] from 0 to 1, corrupted if so asked, and labels [batch]."""
        images = data_module.tensor([self._picture(place) for place in places])
        labels = torch.tensor([self.pictures.label(place) for place in places])
        return data_module.corrupt(images, places, self.shift, self.severity), labels

    def _picture(self, place: int) -> np.ndarray:
        image = self.pictures.image(place)
        if self.seed is None:
            return data_module.resized(image, self.side)
        return data_module.augmented(image, self.side, np.random.default_rng([self.seed, place]))


def batches(prepared: Prepared, order: np.ndarray, batch: int, workers: int, whole_only: bool = False) -> DataLoader:
    """The pictures in that order, `batch` at a time, the last ones fewer, or left out with `whole_only`."""
    end = len(order) // batch * batch if whole_only else len(order)
    parts = [order[start : start + batch].tolist() for start in range(0, end, batch)]
    # A generator of its own: else the loader draws from torch's global one.
    return DataLoader(
        prepared, batch_sampler=parts, num_workers=workers, collate_fn=_as_it_is, generator=torch.Generator()
    )


def _as_it_is(batch):
    return batch


@dataclass(frozen=True)
class Scale:
    """What brings pixels to mean 0 and variance 1 a channel, on the model's device."""

    mean: torch.Tensor
    deviation: torch.Tensor

    @classmethod
    def of(cls, pictures: Pictures, config: ImageConfig, count: int = 1000) -> Scale:
        """That of the first `count` pictures, evenly spread over the classes' order."""
        places = np.linspace(0, len(pictures) - 1, min(count, len(pictures))).astype(int)
        images, _ = Prepared(pictures, config.side).__getitems__(places.tolist())
        mean, deviation = images.mean(dim=(0, 2, 3), keepdim=True), images.std(dim=(0, 2, 3), keepdim=True)
        return cls(mean.to(config.device), deviation.to(config.device))

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """The pictures [batch, channels, height, width], scaled."""
        scaled = (images.to(self.mean.device) - self.mean) / self.deviation
        # The channels last in memory too: what `channels_last` hands to the function is then no copy.
        return scaled.contiguous(memory_format=torch.channels_last)


# --- evaluation -----------------------------------------------------------------------------------


def evaluate(
    activation: Activation,
    config: ImageConfig,
    generator: np.random.Generator,
    checkpoint: Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Trains one model and measures its accuracy, on clean and on corrupted test pictures.

    A picture whose logits are not all finite counts as wrong. The test pictures come in an order that is drawn once,
    classes mixed, so that functions which see their batch see such batches as in training.

    Args:
        activation: x `[batch, height, width, channels]` -> the same shape; stands wherever ReLU would.
        config: the data set, the model and its training.
        generator: of initial weights, batches and the order of the test pictures.
        checkpoint: where training keeps its state, and goes on from.
        progress: whether a terminal shows a bar.

    Returns:
        A row for each epoch's validation, then one for each test set and evaluation; the columns are
        `interface.COLUMNS`. Where training failed, one row with its outcome stands for the tests.

    Raises:
        MissingData: where the data set is not there.
    """
    splits = load(config)
    seed, order = draw(generator), generator.permutation(len(splits.test))
    scale = Scale.of(splits.train, config)
    with seeded(seed):
        model = build(activation, config, scale.mean.shape[1])
    model.to(config.device, memory_format=torch.channels_last)

    def drawn(epoch: int, epoch_generator: np.random.Generator) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
        training = Prepared(splits.train, config.side, draw(epoch_generator) if config.augment else None)
        shuffled = epoch_generator.permutation(len(splits.train))
        return batches(training, shuffled, config.batch, config.workers, whole_only=True)

    def loss(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        images, labels = batch
        return F.cross_entropy(model(scale(images)), labels.to(config.device))

    # Mixed once, as the test pictures are.
    mixed = np.random.default_rng(config.split_seed).permutation(len(splits.validation))

    def validate(model: nn.Module) -> float:
        held = Prepared(splits.validation, config.side)
        return accuracy(model, scale, batches(held, mixed, config.batch, config.workers))

    name = run_name(activation, config)
    fitted = fit(model, drawn, loss, validate, config.settings, generator, checkpoint, name, progress)
    rows = fitted.rows("accuracy")
    if fitted.outcome == "scored":
        rows += _tests(model, scale, splits.test, order, config, fitted.epoch)
    return table("images", config.data, config.seed, rows)


def run_name(activation: Activation, config: ImageConfig) -> str:
    """What `evaluate` calls a run, by the function and the configuration but for its folder."""
    return identity(activation, replace(config, folder=""))


def data_file(config: ImageConfig) -> Path | None:
    """The file that the data set is read from; None where it is a folder that the user names."""
    return data_module.mnist_file() if config.data == "MNIST-5k" else None


def load(config: ImageConfig) -> Splits:
    """The data set of a configuration, in its splits.

    Raises:
        MissingData: where it is not there.
    """
    return data_module.load(config.data, config.folder, config.train, config.validation, config.test, config.split_seed)


def accuracy(model: nn.Module, scale: Scale, loader: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """The share of pictures whose greatest logit is their class's, all logits being finite."""
    right = total = 0
    for images, labels in loader:
        logits = model(scale(images))
        hit = (logits.argmax(dim=1) == labels.to(logits.device)) & torch.isfinite(logits).all(dim=1)
        right, total = right + int(hit.sum()), total + len(labels)
    return right / total


def _tests(
    model: nn.Module, scale: Scale, test: Pictures, order: np.ndarray, config: ImageConfig, epoch: int
) -> Iterator[Row]:
    shifted = itertools.product(config.shifts, config.severities)
    for shift, severity in [("", 0), *shifted]:
        loader = batches(Prepared(test, config.side, None, shift, severity), order, config.batch, config.workers)
        if config.whole:
            parts = list(loader)
            whole = [tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))]
            sources = {"batches": parts, "whole": whole}
        else:
            sources = {"batches": loader}
        for evaluation, source in sources.items():
            value, outcome = attempt(lambda source=source: accuracy(model, scale, source))
            split = "ood" if shift else "in-distribution"
            yield Row(split, "accuracy", value, epoch, evaluation, shift, severity, outcome)


def baseline(config: ImageConfig) -> dict[str, float]:
    """Test accuracy of plain scikit-learn classifiers on the same splits' pixels, from 0 to 1, with settings of ours.

    Raises:
        MissingData: where the data set is not there.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    splits = load(config)
    (x, y), (x_test, y_test) = (_flat(pictures, config.side) for pictures in (splits.train, splits.test))
    models = {"SVC": SVC(C=10.0), "logistic regression": LogisticRegression(C=0.01, max_iter=1000)}
    return {name: float(model.fit(x, y).score(x_test, y_test)) for name, model in models.items()}


def _flat(pictures: Pictures, side: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = Prepared(pictures, side).__getitems__(range(len(pictures)))
    return images.flatten(1).numpy(), labels.numpy()
