"""A candidate's Score: worker processes train and predict, this process judges (paper, section 3; split ours).

Workers hold training data and out-of-distribution inputs. The out-of-distribution targets stay here, with the losses.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from multiprocessing import connection
from typing import Any

import numpy as np
import torch

from actlab import lab, stats, traits
from actlab.activations import program_source
from actlab.config import FitnessConfig, LabConfig
from actlab.program import Refused, check, compile_program
from actlab.tasks import Blind, Suite


@dataclass(frozen=True)
class Score:
    """How a candidate did on a suite. Losses are mean squared errors in variances of the training target, [tasks].

    `ended` is scored, refused (its source breaks a rule) or failed (it raised), with the reason in `error`. `ood_mse`
    predicts in batches of the training size, and counts for the fitness; `ood_mse_whole` predicts the whole set as
    one batch. `fitness` is higher for better candidates, minus infinity for those that did not end well, and
    `interval` is its bootstrap interval over tasks. `description` has the cost and the traits, where asked for.
    """

    ended: str
    error: str | None
    fitness: float
    interval: tuple[float, float]
    ood_mse: tuple[float, ...]
    ood_mse_whole: tuple[float, ...]
    train_mse: tuple[float, ...]
    families: tuple[str, ...]
    description: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` gives the same Score back, to the bit."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Score:
        """The Score that `to_dict` wrote."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


@dataclass(frozen=True)
class Predictions:
    """What a worker returns, [tasks, points] each, or only the `error` that the candidate raised."""

    train: np.ndarray | None = None
    ood: np.ndarray | None = None
    ood_whole: np.ndarray | None = None
    error: str | None = None


def predict(source: str, data: Blind, config: LabConfig, seed: int) -> Predictions:
    """Trains a candidate on every task and predicts: the worker's part. `source` must have been checked."""
    dtype = getattr(torch, config.dtype)
    try:
        function = compile_program(check(source))
        networks = lab.train(function, data, config, seed)
        train_x, ood_x = torch.from_numpy(data.train_x).to(dtype), torch.from_numpy(data.ood_x).to(dtype)
        return Predictions(
            networks.predict(function, train_x, config.batch).double().numpy(),
            networks.predict(function, ood_x, config.batch).double().numpy(),
            networks.predict(function, ood_x).double().numpy(),
        )
    except Exception as raised:  # whatever foreign code raises is its outcome, and is reported
        return Predictions(error=f"raised {type(raised).__name__}: {str(raised)[:300]}")


def mse(prediction: np.ndarray, target: np.ndarray, clamp: float) -> np.ndarray:
    """Clamped mean squared error of each task, [tasks, points] -> [tasks]; NaN and infinity count as the clamp."""
    with np.errstate(over="ignore", invalid="ignore"):
        return stats.clamped(np.mean((prediction - target) ** 2, axis=1), clamp)


def contributions(ood_mse: np.ndarray, reference: np.ndarray, config: FitnessConfig) -> np.ndarray:
    """What each task adds to the fitness, [tasks]; the fitness is their mean.

    Args:
        ood_mse: the candidate's clamped losses, [tasks].
        reference: ReLU's, of the same lab and seed, [tasks].
        config: which aggregate: log-ratio is log(reference / mse), both floored; clamped-mean is -mse.

    Raises:
        ValueError: where the aggregate is not known.
    """
    if config.aggregate == "log-ratio":
        logs = [stats.mean_log(losses[:, None], config.clamp, config.floor) for losses in (reference, ood_mse)]
        return logs[0] - logs[1]
    if config.aggregate == "clamped-mean":
        return -stats.clamped(ood_mse, config.clamp)
    raise ValueError(f"unknown aggregate: wanted log-ratio or clamped-mean; got {config.aggregate!r}")


class Pending:
    """A Score to come. `future` is done when the worker is; `result()` waits, judges and returns the Score."""

    def __init__(self, future: Future[Predictions], judge: Callable[[Predictions], Score]) -> None:
        self.future, self._judge = future, judge

    def result(self) -> Score:
        """The Score; computed in this process from the worker's predictions."""
        return self._judge(self.future.result())


class Evaluator:
    """Scores candidates on suites, side by side in one-thread worker processes that stay warm.

    Args:
        suites: what candidates may be scored on, by name.
        config: how losses become a fitness.
        workers: processes; a Score does not depend on their number.
    """

    def __init__(self, suites: Mapping[str, Suite], config: FitnessConfig, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"wanted one worker or more; got {workers}")
        self.suites, self.config, self.workers = dict(suites), config, workers
        self._executor: Executor | None = None  # started with the first program
        self._references: dict[tuple[str, LabConfig, int], Future[Predictions]] = {}

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers; what is still queued is dropped."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def describe(self, source: str) -> Future[traits.Description]:
        """Behaviour, cost, traits and fingerprint of a checked program, found in a worker."""
        return self._run(traits.describe, source)

    def submit(self, source: str, suite: str, config: LabConfig, seed: int = 0) -> Pending:
        """Trains and scores a program on a suite; `seed` sets initial weights and batches, common to all programs.

        Raises:
            ValueError: where the suite is not one of this evaluator's.
        """
        if suite not in self.suites:
            raise ValueError(f"unknown suite: wanted one of {', '.join(self.suites)}; got {suite!r}")
        try:
            canonical = check(source).source
        except Refused as refusal:
            done: Future[Predictions] = Future()
            done.set_result(Predictions(error=str(refusal)))
            return Pending(done, lambda p: self._unscored("refused", p.error, suite))
        where = (suite, config, seed)
        if where not in self._references or _was_lost(self._references[where]):
            self._references[where] = self._predict(check(program_source("relu")).source, *where)
        reference = self._references[where]
        future = reference if canonical == check(program_source("relu")).source else self._predict(canonical, *where)
        return Pending(future, lambda p: self._judge(p, reference.result(), suite))

    def score(self, source: str, suite: str, config: LabConfig, seed: int = 0) -> Score:
        """The whole path of a program: check, describe, train, judge; the Score carries its description."""
        try:
            description = self.describe(check(source).source).result()
        except Refused as refusal:
            return self._unscored("refused", str(refusal), suite)
        if description.error is not None:
            return replace(self._unscored("failed", description.error, suite), description=description.to_dict())
        return replace(self.submit(source, suite, config, seed).result(), description=description.to_dict())

    def _predict(self, source: str, suite: str, config: LabConfig, seed: int) -> Future[Predictions]:
        return self._run(_predict_here, source, suite, config, seed)

    def _run(self, work: Callable[..., Any], *arguments: Any) -> Future:
        """Queues work; where the workers were ended, as by an interrupt, others take their place."""
        try:
            return self._pool().submit(work, *arguments)
        except BrokenProcessPool:
            self._executor = None
            return self._pool().submit(work, *arguments)

    def _pool(self) -> Executor:
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                self.workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=({name: suite.blind for name, suite in self.suites.items()},),
            )
        return self._executor

    def _judge(self, predictions: Predictions, reference: Predictions, suite: str) -> Score:
        if predictions.error is not None:
            return self._unscored("failed", predictions.error, suite)
        target, clamp = self.suites[suite], self.config.clamp
        ood = mse(predictions.ood, target.ood_y, clamp)
        parts = contributions(ood, mse(reference.ood, target.ood_y, clamp), self.config)
        interval = stats.bootstrap_mean(
            parts,
            np.random.default_rng(0),
            strata=np.array(target.families),
            level=self.config.level,
            resamples=self.config.resamples,
        )
        return Score(
            "scored",
            None,
            float(parts.mean()),
            (float(interval.low), float(interval.high)),
            tuple(ood.tolist()),
            tuple(mse(predictions.ood_whole, target.ood_y, clamp).tolist()),
            tuple(mse(predictions.train, target.blind.train_y, clamp).tolist()),
            target.families,
        )

    def _unscored(self, ended: str, error: str | None, suite: str) -> Score:
        return Score(ended, error, -math.inf, (-math.inf, -math.inf), (), (), (), self.suites[suite].families)


def _was_lost(future: Future) -> bool:
    """Whether what was asked for will never come, since the workers were ended or the request was dropped."""
    return future.cancelled() or (future.done() and future.exception() is not None)


_DATA: dict[str, Blind] = {}  # of a worker process: what its initialiser was given


def _start_worker(data: dict[str, Blind]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupted worker ends at once and in silence
    torch.set_num_threads(1)
    _DATA.update(data)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever: it ends itself."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _predict_here(source: str, suite: str, config: LabConfig, seed: int) -> Predictions:
    return predict(source, _DATA[suite], config, seed)
