"""Trains one model of a benchmark: optimiser, schedule, early stopping, checkpoints, and how it ended (all ours)."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from actlab.core import records
from actlab.transfer.interface import Row

if TYPE_CHECKING:
    from actlab.transfer.interface import Activation

LARGEST = 2**63  # of a seed


@dataclass(frozen=True)
class Settings:
    """How a model is trained. All [ours]; a benchmark's profiles say why they differ from these."""

    epochs: int = 20
    optimiser: str = "adamw"  # or "sgd", with Nesterov's momentum
    learning_rate: float = 1e-3  # at its highest; after the warm-up it falls along a cosine, a step an epoch
    weight_decay: float = 1e-4  # of all parameters
    momentum: float = 0.9  # of "sgd" alone
    warmup: int = 0  # epochs over which the learning rate rises in equal steps
    patience: int | None = None  # epochs without a better validation after which training stops; None: never
    clip: float | None = None  # of the gradient's norm; None: not clipped

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        if epoch < self.warmup:
            return self.learning_rate * (epoch + 1) / self.warmup
        done = (epoch - self.warmup) / (self.epochs - self.warmup)
        return self.learning_rate * (1 + math.cos(math.pi * done)) / 2


class OutOfMemory(MemoryError):
    """A model did not fit into memory."""


class Diverged(ArithmeticError):
    """A loss or a validation is not a finite number."""


@dataclass(frozen=True)
class Fit:
    """How a training went. The model then has the weights of `epoch`.

    Attributes:
        history: the validation of each epoch; higher is better.
        epoch: the best of them, the first of equals; -1 where no epoch ended.
        outcome: "scored", "OOM" or "diverged".
    """

    history: tuple[float, ...]
    epoch: int
    outcome: str

    def rows(self, metric: str) -> list[Row]:
        """A row an epoch and, where training failed, one that stands for the test that could not be made."""
        rows = [Row("validation", metric, value, epoch) for epoch, value in enumerate(self.history)]
        if self.outcome != "scored":
            rows.append(Row("in-distribution", metric, math.nan, len(self.history), outcome=self.outcome))
        return rows


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within it torch's own generator, of initial weights and dropout, starts at `seed`; after it all is as before."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def draw(generator: np.random.Generator) -> int:
    """A seed, drawn."""
    return int(generator.integers(LARGEST))


def identity(activation: Activation, config: Any) -> str:
    """What a checkpoint must share with the run that goes on from it: the function and the settings.

    Args:
        activation: known by its values at some points, [8, 3, 16].
        config: the benchmark's, a dataclass; without the folder of its data, which does not matter.
    """
    probe = torch.from_numpy(np.random.default_rng(0).normal(scale=3.0, size=(8, 3, 16)))
    values = hashlib.sha256(activation(probe.to(torch.get_default_dtype())).detach().numpy().tobytes()).hexdigest()
    return records.PROTOCOLS["transfer"].key({"activation": values, "config": config})


def fit(
    model: nn.Module,
    batches: Callable[[int, np.random.Generator], Iterable[Any]],
    loss: Callable[[nn.Module, Any], torch.Tensor],
    validate: Callable[[nn.Module], float],
    settings: Settings,
    generator: np.random.Generator,
    checkpoint: Path | None = None,
    name: str = "",
    progress: bool = True,
) -> Fit:
    """Trains `model` in place and leaves it, in evaluation mode, with the weights of its best epoch.

    One number is drawn from `generator`, whether the training starts or goes on; from it and the number of the epoch
    come the epoch's batches and torch's own generator (of dropout). So a run that was killed goes on to the same
    weights. The checkpoint is kept when training ends; whoever keeps the records may delete it. An epoch that fails is
    not kept: the same call tries it again, with more memory perhaps.

    Args:
        model: on its device, with its initial weights, in training mode during a step and else in evaluation mode.
        batches: the training batches of an epoch (counted from 0), drawn with the generator that it is given.
        loss: of the model on a batch, a scalar.
        validate: the model's score on the in-distribution validation set, higher is better; called without gradients.
        settings: of the optimiser and the schedule.
        generator: of everything that is random here.
        checkpoint: a file, written after each epoch; where it exists, training goes on from it. None: none is kept.
        name: of the run, as `identity` gives it; a checkpoint of another name is refused.
        progress: whether a terminal shows a bar.

    Raises:
        ValueError: where the checkpoint is of another run, or the optimiser is not known.
    """
    seed = draw(generator)
    optimiser = _optimiser(model, settings)
    state = _State(model, optimiser, f"{name}:{seed}")
    if checkpoint is not None and checkpoint.exists():
        state.load(checkpoint)
    with tqdm(
        total=settings.epochs, initial=len(state.history), desc="epochs", disable=None if progress else True
    ) as bar:
        while not _over(state, settings):
            try:
                with memory_errors():
                    score = _epoch(model, optimiser, batches, loss, validate, settings, seed, len(state.history))
            except OutOfMemory:
                state.outcome = "OOM"
            except Diverged:
                state.outcome = "diverged"
            else:
                state.add(score)
                bar.update()
                bar.set_postfix(validation=f"{max(state.history):.4f}")
                if checkpoint is not None:
                    state.save(checkpoint)
    if state.best is not None:
        model.load_state_dict(state.best)
    model.eval()
    return Fit(tuple(state.history), state.best_epoch, state.outcome)


def _over(state: _State, settings: Settings) -> bool:
    epochs = len(state.history)
    tired = settings.patience is not None and epochs - 1 - state.best_epoch >= settings.patience and epochs > 0
    return state.outcome != "scored" or epochs >= settings.epochs or tired


def _optimiser(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    common = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(model.parameters(), **common)
    if settings.optimiser == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=settings.momentum, nesterov=True, **common)
    raise ValueError(f"wanted the optimiser adamw or sgd; got {settings.optimiser!r}")


def _epoch(model, optimiser, batches, loss, validate, settings, seed, epoch) -> float:
    """Trains for one epoch and returns its validation.

    Raises:
        Diverged: where a loss or the validation is not finite.
    """
    for group in optimiser.param_groups:
        group["lr"] = settings.rate(epoch)
    generator = np.random.default_rng([seed, epoch])
    model.train()
    with seeded(draw(generator)):
        for batch in batches(epoch, generator):
            optimiser.zero_grad(set_to_none=True)
            value = loss(model, batch)
            if not math.isfinite(value.item()):
                raise Diverged(f"epoch {epoch}: wanted a finite loss; came {value.item()}")
            value.backward()
            if settings.clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            optimiser.step()
        model.eval()
        with torch.no_grad():
            score = float(validate(model))
    if not math.isfinite(score):
        raise Diverged(f"epoch {epoch}: wanted a finite validation; came {score}")
    return score


class _State:
    """What a training that was killed needs in order to go on."""

    def __init__(self, model: nn.Module, optimiser: torch.optim.Optimizer, run: str) -> None:
        self.model, self.optimiser, self.run = model, optimiser, run
        self.history: list[float] = []
        self.best: dict[str, torch.Tensor] | None = None
        self.best_epoch = -1
        self.outcome = "scored"

    def add(self, score: float) -> None:
        """Enters an epoch's validation, and keeps the weights where it is the best."""
        self.history.append(score)
        if self.best_epoch < 0 or score > self.history[self.best_epoch]:
            self.best_epoch = len(self.history) - 1
            self.best = {key: value.detach().clone() for key, value in self.model.state_dict().items()}

    def save(self, path: Path) -> None:
        """Writes the checkpoint; one that is cut off never takes the place of a whole one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        kept = {
            "run": self.run,
            "mark": records.Canaries(path.parent / "canaries").keep("transfer"),
            "weights": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": self.history,
            "best": self.best,
            "best_epoch": self.best_epoch,
        }
        torch.save(kept, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Takes over a checkpoint.

        Raises:
            ValueError: where it is of another run.
            ChangedCode: where it was made by code that computes something else.
        """
        device = next(self.model.parameters()).device
        kept = torch.load(path, map_location=device, weights_only=True)
        if kept["run"] != self.run:
            raise ValueError(
                f"{path}: wanted a checkpoint of this function, configuration and seed; came another's. "
                "Name another file, or delete it"
            )
        records.Canaries(path.parent / "canaries").demand("transfer", [kept["mark"]])
        self.model.load_state_dict(kept["weights"])
        self.optimiser.load_state_dict(kept["optimiser"])
        self.history, self.best, self.best_epoch = kept["history"], kept["best"], kept["best_epoch"]


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turns every way in which torch and numpy say that memory ran out into `OutOfMemory`."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(str(error)) from error
    except RuntimeError as error:
        # The CPU's allocator raises a plain RuntimeError; it says the one on Linux, the other elsewhere.
        if "can't allocate memory" in str(error) or "not enough memory" in str(error):
            raise OutOfMemory(str(error)) from error
        raise


def attempt(measure: Callable[[], float]) -> tuple[float, str]:
    """A value and its outcome: NaN and "OOM" where memory ran out, NaN and "diverged" where it is not finite."""
    try:
        with memory_errors(), torch.no_grad():
            value = float(measure())
    except OutOfMemory:
        return math.nan, "OOM"
    return (value, "scored") if math.isfinite(value) else (math.nan, "diverged")
