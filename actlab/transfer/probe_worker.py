"""The work of the probe in a confined process: train a tiny VGG with a program, and name test pictures' classes (ours).

Nothing here, and nothing that is imported here, loads a data set: training pictures with their classes and test
pictures without them come with the request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from actlab.activations import zoo
from actlab.candidates.program import check, compile_program
from actlab.lab.training_view import TrainingView
from actlab.transfer import image_files, images
from actlab.transfer.interface import channels_last
from actlab.transfer.training import Settings

if TYPE_CHECKING:
    from actlab.transfer.interface import Activation

Answer = tuple[dict[str, Any], list[np.ndarray]]
NO_CLASS = -1  # the answer where a logit is not finite, and of a network that came to nothing


@dataclass(frozen=True)
class ProbeConfig:
    """The pictures, the network and its training. All [ours]."""

    data: str = "MNIST-5k"
    pool: int = 2  # pixels that are averaged along each side: 14 of 28 are left, for a quarter of the time
    train: int = 1000  # pictures
    validation: int = 1000  # pictures, on which epochs and rate were chosen with ReLU alone; else they are not used
    test: int = 2000  # pictures
    split_seed: int = 0  # of the draws above, and of the order of the test pictures
    width: int = 8  # channels of the VGG's first stage
    blocks: tuple[int, ...] = (1, 1, 1)  # its convolutions a stage
    batch: int = 25  # pictures, in training and in the test
    epochs: int = 8  # the last one counts: nothing is stopped early
    learning_rate: float = 1e-2  # AdamW's at its highest, as in `images`
    seeds: int = 3  # of initial weights and batches
    seconds: float = 300.0  # of wall-clock time, after which a training is ended; far above the costliest function's


def predict(function: Activation, config: ProbeConfig, seed: int, *arrays: np.ndarray) -> np.ndarray | None:
    """What a network with that function, trained on some pictures, says of others.

    Args:
        function: stands wherever ReLU would; sees [batch, height, width, channels].
        config: of the network and its training.
        seed: of initial weights and batches.
        *arrays: training pictures [n, 1, side, side] with mean 0 and variance 1, their classes [n], and the test
            pictures [m, 1, side, side].

    Returns:
        Classes [m], `NO_CLASS` where a logit is not finite; None where a loss was not.
    """
    pictures, classes, test = (torch.from_numpy(array).float() for array in arrays)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = images.VGG(channels_last(function), 1, image_files.CLASSES[config.data], config.width, config.blocks)
    if not _train(model, pictures, classes.long(), config, seed):
        return None
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(part) for part in test.split(config.batch)])
    return torch.where(torch.isfinite(logits).all(dim=1), logits.argmax(dim=1), NO_CLASS).numpy()


def _train(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, config: ProbeConfig, seed: int) -> bool:
    """Trains the network, in batches that are whole; whether every loss was finite."""
    settings = Settings(config.epochs, learning_rate=config.learning_rate, warmup=1)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=settings.weight_decay)
    for epoch in range(config.epochs):
        optimiser.param_groups[0]["lr"] = settings.rate(epoch)
        order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(len(x)))
        for places in order[: len(x) // config.batch * config.batch].split(config.batch):
            optimiser.zero_grad()
            loss = F.cross_entropy(model(x[places]), y[places])
            if not torch.isfinite(loss):
                return False
            loss.backward()
            optimiser.step()
    return True


def classify(request: Mapping[str, Any], arrays: Sequence[np.ndarray], data: Mapping[str, TrainingView]) -> Answer:
    """The job of a sandbox: `predict` with a program, and how it `ended`, scored or diverged.

    The request has `source`, `config` (the fields of a ProbeConfig) and `seed`; the sandbox's data is not used.
    """
    function, config = compile_program(check(request["source"])), ProbeConfig(**request["config"])
    classes = predict(function, config, request["seed"], *arrays)
    return ({"ended": "diverged"}, []) if classes is None else ({"ended": "scored"}, [classes])


def warm_up() -> None:
    """Trains with the zoo once, so that what torch loads late is loaded: a confined process can load nothing more."""
    torch.set_num_threads(1)
    torch.backends.mkldnn.set_flags(False)  # oneDNN writes machine code as it goes, which confinement forbids
    arrays = [np.random.default_rng(0).normal(size=(4, 1, 4, 4)), np.arange(4.0), np.zeros((4, 1, 4, 4))]
    config = asdict(ProbeConfig(batch=2, epochs=1, width=2, blocks=(1, 1)))
    for name in zoo.names():
        classify({"source": zoo.program_source(name), "config": config, "seed": 0}, arrays, {})


JOBS = {"classify": classify}
