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
from actlab.transfer.image_data import SEVERITIES, SHIFTS, Splits
from actlab.transfer.image_files import CLASSES, Pictures, mnist_file
from actlab.transfer.interface import channels_last
from actlab.transfer.training import Settings, Trial, cut, draw

if TYPE_CHECKING:
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
    seed: int = 0  # of the run; it names the records, and the caller seeds the generator with it


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
    """The untrained model of a configuration, for pictures of so many channels."""
    shape = (channels_last(activation), channels, CLASSES[config.data], config.width, config.blocks)
    if config.model == "vgg":
        return VGG(*shape)
    if config.model in ("resnet", "resnet-50"):
        return ResNet(*shape, large=config.model == "resnet-50")
    raise ValueError(f"wanted the model vgg, resnet or resnet-50; got {config.model!r}")


def stages(width: int, blocks: Sequence[int]) -> list[tuple[int, int]]:
    """Channels of each stage, doubled from stage to stage up to eight times the first, and its number of blocks."""
    return [(width * min(2**stage, 8), count) for stage, count in enumerate(blocks)]


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
        self.stages, inputs = nn.ModuleList(), channels
        for outputs, count in stages(width, blocks):
            sizes = [inputs, *[outputs] * count]
            self.stages.append(nn.ModuleList(Norm(*pair, 3) for pair in itertools.pairwise(sizes)))
            inputs = outputs
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [batch, classes] of pictures [batch, channels, height, width]."""
        for stage in self.stages:
            for layer in stage:
                x = self.activation(layer(x))
            x = F.max_pool2d(x, 2)
        return self.head(x.mean(dim=(2, 3)))


class Residual(nn.ModuleDict):
    """A residual block: two 3x3 convolutions, or (`bottleneck`) 1x1, 3x3 and 1x1, the last four times as wide.

    The function stands between them and after the addition. The stride is the first 3x3's, as is now usual.
    """

    def __init__(self, activation: Activation, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        if bottleneck:
            outputs = 4 * width
            layers = [Norm(inputs, width, 1), Norm(width, width, 3, stride), Norm(width, outputs, 1)]
        else:
            outputs = width
            layers = [Norm(inputs, width, 3, stride), Norm(width, width, 3)]
        shortcut = Norm(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()
        super().__init__({**dict(zip(("first", "second", "third"), layers, strict=False)), "shortcut": shortcut})
        self.activation, self.outputs = activation, outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's channels, [batch, channels, height, width]."""
        *layers, last, shortcut = self.values()
        inner = x
        for layer in layers:
            inner = self.activation(layer(inner))
        return self.activation(last(inner) + shortcut(x))


class ResNet(nn.Module):
    """A stem, stages of residual blocks, each but the first of stride 2, and a linear layer on the mean over places.

    He, Zhang, Ren and Sun, arXiv 1512.03385. `large` has bottlenecks and ImageNet's stem, 7x7 of stride 2 and a
    maximum; else the stem is one 3x3 convolution.
    """

    def __init__(
        self, activation: Activation, channels: int, classes: int, width: int, blocks: Sequence[int], large: bool
    ) -> None:
        super().__init__()
        self.activation, self.large = activation, large
        self.stem = Norm(channels, width, 7, 2) if large else Norm(channels, width, 3)
        layers, inputs = [], width
        for stage, (size, count) in enumerate(stages(width, blocks)):
            for place in range(count):
                layers.append(Residual(activation, inputs, size, 2 if stage > 0 and place == 0 else 1, large))
                inputs = layers[-1].outputs
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [batch, classes] of pictures [batch, channels, height, width]."""
        x = self.activation(self.stem(x))
        if self.large:
            x = F.max_pool2d(x, 3, 2, padding=1)
        return self.head(self.blocks(x).mean(dim=(2, 3)))


# --- batches --------------------------------------------------------------------------------------

Labelled = tuple[torch.Tensor, torch.Tensor]  # pictures [batch, channels, side, side] from 0 to 1, classes [batch]


class Prepared(Dataset):
    """Batches of pictures as tensors, by the places of their pictures: corrupted, or with `seed` a variant of each."""

    def __init__(
        self, pictures: Pictures, side: int, seed: int | None = None, shift: str = "", severity: int = 0
    ) -> None:
        self.pictures, self.side, self.seed = pictures, side, seed
        self.shift, self.severity = shift, severity

    def __getitems__(self, places: Sequence[int]) -> Labelled:
        """The pictures at these places."""
        images = data_module.tensor([self._picture(place) for place in places])
        labels = torch.from_numpy(self.pictures.at(list(places)).targets)
        return data_module.corrupt(images, places, self.shift, self.severity), labels

    def _picture(self, place: int) -> np.ndarray:
        image = self.pictures.image(place)
        if self.seed is None:
            return data_module.resized(image, self.side)
        return data_module.augmented(image, self.side, np.random.default_rng([self.seed, place]))


def batches(prepared: Prepared, order: np.ndarray, batch: int, workers: int, whole: bool = False) -> DataLoader:
    """The pictures in that order, as `cut` cuts it, read by so many processes."""
    parts = [places.tolist() for places in cut(order, batch, whole)]
    # A generator of its own: else the loader draws from torch's global one.
    return DataLoader(
        prepared, batch_sampler=parts, num_workers=workers, collate_fn=_as_it_is, generator=torch.Generator()
    )


def _as_it_is(batch):
    return batch


class Scale:
    """Brings pixels to mean 0 and variance 1 a channel, over pictures evenly spread over the classes' order."""

    def __init__(self, pictures: Pictures, config: ImageConfig, count: int = 1000) -> None:
        places = np.linspace(0, len(pictures) - 1, min(count, len(pictures))).astype(int)
        images, _ = Prepared(pictures, config.side).__getitems__(places.tolist())
        self.mean = images.mean(dim=(0, 2, 3), keepdim=True).to(config.device)
        self.deviation = images.std(dim=(0, 2, 3), keepdim=True).to(config.device)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """The pictures [batch, channels, height, width], scaled, on the model's device."""
        scaled = (images.to(self.mean.device) - self.mean) / self.deviation
        # The channels last in memory too: what `channels_last` hands to the function is then no copy.
        return scaled.contiguous(memory_format=torch.channels_last)


# --- evaluation -----------------------------------------------------------------------------------


def load(config: ImageConfig) -> Splits:
    """The data set of a configuration, in its splits. Raises MissingData where it is not there."""
    return data_module.load(config.data, config.folder, config.train, config.validation, config.test, config.split_seed)


def data_file(config: ImageConfig) -> Path | None:
    """The file that the data set is read from; None where it is a folder that the user names."""
    return mnist_file() if config.data == "MNIST-5k" else None


class Images(Trial):
    """Accuracy on clean and on corrupted test pictures.

    Validation and test pictures come in an order that is drawn once, classes mixed, so that functions which see their
    batch see such batches as in training.
    """

    benchmark, metric = "images", "accuracy"

    def __init__(self, config: ImageConfig, generator: np.random.Generator) -> None:
        self.config, self.data, self.splits = config, config.data, load(config)
        self.order = generator.permutation(len(self.splits.test))
        self.scale = Scale(self.splits.train, config)
        held = self.splits.validation
        mixed = np.random.default_rng(config.split_seed).permutation(len(held))
        self.validation = batches(Prepared(held, config.side), mixed, config.batch, config.workers)

    def build(self, activation: Activation) -> nn.Module:
        """`build`, for the data set's channels."""
        model = build(activation, self.config, self.scale.mean.shape[1])
        return model.to(self.config.device, memory_format=torch.channels_last)

    def batches(self, epoch: int, generator: np.random.Generator) -> DataLoader:
        """All training pictures in whole batches, augmented where the configuration says so."""
        config, train = self.config, self.splits.train
        training = Prepared(train, config.side, draw(generator) if config.augment else None)
        return batches(training, generator.permutation(len(train)), config.batch, config.workers, whole=True)

    def loss(self, model: nn.Module, batch: Labelled) -> torch.Tensor:
        """The cross-entropy."""
        images, labels = batch
        return F.cross_entropy(model(self.scale(images)), labels.to(self.config.device))

    def score(self, model: nn.Module, parts: Iterable[Labelled]) -> float:
        """The accuracy."""
        return accuracy(model, self.scale, parts)

    def tests(self) -> Iterator[tuple[str, int, DataLoader]]:
        """The test pictures, clean and with each corruption."""
        config = self.config
        for shift, severity in [("", 0), *itertools.product(config.shifts, config.severities)]:
            prepared = Prepared(self.splits.test, config.side, None, shift, severity)
            yield shift, severity, batches(prepared, self.order, config.batch, config.workers)

    def join(self, parts: Sequence[Labelled]) -> Labelled:
        """All pictures and classes as one batch."""
        return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))


evaluate = Images.evaluate


def accuracy(model: nn.Module, scale: Scale, parts: Iterable[Labelled]) -> float:
    """The share of pictures whose greatest logit is their class's, all logits being finite."""
    right = total = 0
    for images, labels in parts:
        logits = model(scale(images))
        hit = (logits.argmax(dim=1) == labels.to(logits.device)) & torch.isfinite(logits).all(dim=1)
        right, total = right + int(hit.sum()), total + len(labels)
    return right / total


def baseline(config: ImageConfig) -> dict[str, float]:
    """Test accuracy of plain scikit-learn classifiers on the same splits' pixels, from 0 to 1; settings are ours."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    splits = load(config)
    (x, y), (x_test, y_test) = (_flat(pictures, config.side) for pictures in (splits.train, splits.test))
    models = {"SVC": SVC(C=10.0), "logistic regression": LogisticRegression(C=0.01, max_iter=1000)}
    return {name: float(model.fit(x, y).score(x_test, y_test)) for name, model in models.items()}


def _flat(pictures: Pictures, side: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = Prepared(pictures, side).__getitems__(range(len(pictures)))
    return images.flatten(1).numpy(), labels.numpy()
