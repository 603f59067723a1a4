"""Trains and tests one model of a benchmark: optimiser, schedule, early stopping, checkpoints, outcomes (all ours)."""

from __future__ import annotations

import hashlib
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from actlab.core import records
from actlab.transfer.interface import Row, table

if TYPE_CHECKING:
    import pandas as pd

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


class Diverged(ArithmeticError):
    """A loss or a validation is not a finite number."""


@dataclass(frozen=True)
class Fit:
    """How a training went. The model then has the weights of `epoch`."""

    history: tuple[float, ...]  # the validation of each epoch; higher is better
    epoch: int  # the best of them, the first of equals; -1 where no epoch ended
    outcome: str  # "scored", "OOM" or "diverged"

    def rows(self, metric: str) -> list[Row]:
        """A row an epoch and, where training failed, one that stands for the tests that could not be made."""
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


def cut(order: np.ndarray, batch: int, whole: bool = False) -> list[np.ndarray]:
    """The places in that order, `batch` at a time; the last ones fewer, or left out where batches are to be `whole`."""
    end = len(order) // batch * batch if whole else len(order)
    return [order[start : start + batch] for start in range(0, end, batch)]


def run_name(activation: Activation, config: Any) -> str:
    """What a checkpoint and the run that resumes it share: the function's values and the settings, save the folder."""
    probe = torch.from_numpy(np.random.default_rng(0).normal(scale=3.0, size=(8, 3, 16)))
    values = hashlib.sha256(activation(probe.to(torch.get_default_dtype())).detach().numpy().tobytes()).hexdigest()
    return records.PROTOCOLS["transfer"].key({"activation": values, "config": {**asdict(config), "folder": ""}})


# --- a benchmark's run ----------------------------------------------------------------------------


class Trial(ABC):
    """The data of one configuration, a model for it and its score: what a benchmark fills in, and `evaluate` runs.

    The constructor, of a configuration and a generator, loads the data and draws what all epochs share. A configuration
    is a dataclass with at least `settings`, `whole` and `seed`. A part is a batch, or says which samples it has.
    """

    benchmark: ClassVar[str]  # its name and its score's, as in the records
    metric: ClassVar[str]
    data: str  # the data set's name
    validation: Iterable[Any]  # the parts of the validation set

    @abstractmethod
    def build(self, activation: Activation) -> nn.Module:
        """The untrained model on its device, its weights drawn from torch's own generator."""

    @abstractmethod
    def batches(self, epoch: int, generator: np.random.Generator) -> Iterable[Any]:
        """The training batches of an epoch, counted from 0, drawn with the generator."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> torch.Tensor:
        """The loss on a batch, a scalar."""

    @abstractmethod
    def score(self, model: nn.Module, parts: Iterable[Any]) -> float:
        """The score on some parts, each of which is one batch of the model; higher is better."""

    @abstractmethod
    def tests(self) -> Iterator[tuple[str, int, Iterable[Any]]]:
        """Shift, severity and parts of each test set; the one in distribution has no shift."""

    def join(self, parts: list[Any]) -> Any:
        """The parts as one."""
        return np.concatenate(parts)

    @classmethod
    def evaluate(
        cls,
        activation: Activation,
        config: Any,
        generator: np.random.Generator,
        checkpoint: Path | None = None,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Trains one model and scores it in distribution and out of it.

        The same generator gives the same records on one machine, and the same initial weights and batches for every
        function.

        Args:
            activation: x `[batch, ..., features]` -> the same shape; stands wherever ReLU would.
            config: the benchmark's: data set, model and training.
            generator: of all that is random: initial weights, batches, dropout and the order of test samples.
            checkpoint: where training keeps its state, and goes on from.
            progress: whether a terminal shows a bar.

        Returns:
            A row for each epoch's validation, then one for each test set and evaluation; the columns are
            `interface.COLUMNS`. Where training failed, one row with its outcome stands for the tests.

        Raises MissingData where the data set is not there.
        """
        seed = draw(generator)
        trial = cls(config, generator)
        with seeded(seed):
            model = trial.build(activation)

        def validate(model: nn.Module) -> float:
            return trial.score(model, trial.validation)

        name = run_name(activation, config)
        fitted = fit(model, trial.batches, trial.loss, validate, config.settings, generator, checkpoint, name, progress)
        rows = fitted.rows(cls.metric)
        if fitted.outcome == "scored":
            rows += trial._tested(model, config.whole, fitted.epoch)
        return table(cls.benchmark, trial.data, config.seed, rows)

    def _tested(self, model: nn.Module, whole: bool, epoch: int) -> Iterator[Row]:
        for shift, severity, parts in self.tests():
            sources = {"batches": parts}
            if whole:
                parts = list(parts)
                sources = {"batches": parts, "whole": [self.join(parts)]}
            for evaluation, source in sources.items():
                value, outcome = attempt(lambda source=source: self.score(model, source))
                split = "ood" if shift else "in-distribution"
                yield Row(split, self.metric, value, epoch, evaluation, shift, severity, outcome)


# --- training -------------------------------------------------------------------------------------


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
    weights. The checkpoint is kept when training ends; the caller may delete it. An epoch that fails is
    not kept: the same call tries it again, with more memory perhaps.

    Args:
        model: on its device, with its initial weights; in training mode during a step and else in evaluation mode.
        batches, loss: as in `Trial`.
        validate: the model's score on the validation set, higher is better; called without gradients.
        settings: of the optimiser and the schedule.
        generator: of everything that is random here.
        checkpoint: a file, written after each epoch; where it exists, training goes on from it. None: none is kept.
        name: of the run, as `run_name` gives it; a checkpoint of another name is refused.
        progress: whether a terminal shows a bar.

    Raises ValueError where the checkpoint is of another run, or the optimiser is not known.
    """
    seed = draw(generator)
    optimiser = _optimiser(model, settings)
    state = _State(model, optimiser, f"{name}:{seed}")
    if checkpoint is not None and checkpoint.exists():
        state.load(checkpoint)
    hidden = None if progress else True
    with tqdm(total=settings.epochs, initial=len(state.history), desc="epochs", disable=hidden) as bar:
        while not state.over(settings):
            try:
                score = _epoch(model, optimiser, batches, loss, validate, settings, seed, len(state.history))
            except Diverged:
                state.outcome = "diverged"
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                state.outcome = "OOM"
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


def _optimiser(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    common = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(model.parameters(), **common)
    if settings.optimiser == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=settings.momentum, nesterov=True, **common)
    raise ValueError(f"wanted the optimiser adamw or sgd; got {settings.optimiser!r}")


def _epoch(model, optimiser, batches, loss, validate, settings, seed, epoch) -> float:
    """Trains for one epoch and returns its validation. Raises Diverged where a loss or the validation is not finite."""
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

    KEPT = ("history", "best", "best_epoch")

    def __init__(self, model: nn.Module, optimiser: torch.optim.Optimizer, run: str) -> None:
        self.model, self.optimiser, self.run = model, optimiser, run
        self.history: list[float] = []
        self.best: dict[str, torch.Tensor] | None = None
        self.best_epoch = -1
        self.outcome = "scored"

    def over(self, settings: Settings) -> bool:
        """Whether training failed, has all its epochs, or has not become better for too long."""
        epochs = len(self.history)
        tired = settings.patience is not None and epochs > 0 and epochs - 1 - self.best_epoch >= settings.patience
        return self.outcome != "scored" or epochs >= settings.epochs or tired

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
        mark = records.Canaries(path.parent / "canaries").keep("transfer")
        states = {"weights": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        kept = {name: getattr(self, name) for name in self.KEPT}
        torch.save({"run": self.run, "mark": mark, **states, **kept}, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Takes over a checkpoint.

        Raises ValueError where it is of another run; ChangedCode where it was made by code that computes something
        else.
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
        vars(self).update({name: kept[name] for name in self.KEPT})


def out_of_memory(error: Exception) -> bool:
    """Whether torch or numpy say that memory ran out; the CPU's allocator raises a plain RuntimeError for it."""
    words = ("can't allocate memory", "not enough memory")  # on Linux, elsewhere
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or any(text in str(error) for text in words)


def attempt(measure: Callable[[], float]) -> tuple[float, str]:
    """A value and its outcome: NaN and "OOM" where memory ran out, NaN and "diverged" where it is not finite."""
    try:
        with torch.no_grad():
            value = float(measure())
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return math.nan, "OOM"
    return (value, "scored") if math.isfinite(value) else (math.nan, "diverged")
