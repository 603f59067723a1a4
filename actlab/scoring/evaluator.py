"""A candidate's Score: confined workers train and predict, this process judges (paper, section 3; split ours).

Workers hold training data and out-of-distribution inputs; the out-of-distribution targets and the losses stay here.
Nothing that a worker sends is trusted: it is plain data, of the size and form that was asked for, or an outcome. Where
the networks can be compiled (`actlab.lab.backends`), a worker sends the program's list of operations instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache, partial
from typing import Any
from weakref import WeakSet

import numpy as np

from actlab.activations.zoo import program_source
from actlab.candidates.profiling import Description
from actlab.candidates.program import Refused, check
from actlab.core import stats
from actlab.core.config import FitnessConfig, LabConfig, LabsConfig, Limits, TaskConfig
from actlab.lab import backends
from actlab.lab.operations import Unlisted
from actlab.lab.tasks import Suite
from actlab.scoring.pool import Answer, Call, Pool, data_key, perform
from actlab.scoring.sandbox import Outcome

LISTINGS = 4096  # lists of operations that an evaluator keeps


@dataclass(frozen=True)
class Score:
    """How a candidate did on a suite. Losses are mean squared errors in variances of the training target, [tasks].

    `ended` is scored, refused (its source breaks a rule, or it costs too much), failed (it raised, or misbehaved) or
    killed (it was ended from outside, or its process died), with the reason in `error`.
    """

    ended: str
    error: str | None
    fitness: float  # higher is better; minus infinity unless it was scored
    interval: tuple[float, float]  # of the fitness: `stats.mean_interval` over tasks within families
    ood_mse: tuple[float, ...]  # predicted in batches of the training size; counts for the fitness
    ood_mse_whole: tuple[float, ...]  # predicted as one batch
    train_mse: tuple[float, ...]
    families: tuple[str, ...]
    description: dict[str, Any] | None = None  # cost and traits, where asked for

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` gives the same Score back, to the bit."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Score:
        """The Score that `to_dict` wrote."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


@dataclass(frozen=True)
class Finding:
    """What a candidate was found to be before any training: open to train, refused, failed or killed, and why."""

    ended: str
    error: str | None
    description: Description | None


@dataclass(frozen=True)
class Predictions:
    """What a training predicts, [tasks, points] each; or how else it ended, and the `error`."""

    ended: str
    error: str | None = None
    train: np.ndarray | None = None
    ood: np.ndarray | None = None
    ood_whole: np.ndarray | None = None


@dataclass(frozen=True)
class Listing:
    """A program's list of operations at the shapes of a lab; without it, why torch trains the program."""

    steps: Any = None
    why: str | None = None

    @property
    def backend(self) -> str:
        """Who trains the program."""
        return "torch" if self.steps is None else "compiled"


def mse(prediction: np.ndarray, target: np.ndarray, clamp: float) -> np.ndarray:
    """Clamped mean squared error of each task, [tasks, points] -> [tasks]; NaN and infinity count as the clamp."""
    with np.errstate(over="ignore", invalid="ignore"):
        return stats.clamped(np.mean((prediction - target) ** 2, axis=1), clamp)


def contributions(ood_mse: np.ndarray, reference: np.ndarray, config: FitnessConfig) -> np.ndarray:
    """What each task adds to the fitness, [tasks], or each lab of `config.each` tasks, [labs]; their mean is it.

    The losses are clamped, `reference` is ReLU's with the same lab and seed, [tasks]. The aggregate log-ratio is
    log(reference / mse), both floored; clamped-mean is -mse. A lab adds the mean of its tasks, clipped.

    Raises:
        ValueError: where the aggregate is not known.
    """
    if config.aggregate == "log-ratio":
        logs = [stats.mean_log(losses[:, None], config.clamp, config.floor) for losses in (reference, ood_mse)]
        gains = logs[0] - logs[1]
    elif config.aggregate == "clamped-mean":
        gains = -stats.clamped(ood_mse, config.clamp)
    else:
        raise ValueError(f"unknown aggregate: wanted log-ratio or clamped-mean; got {config.aggregate!r}")
    return gains.reshape(-1, config.each).mean(axis=1).clip(-config.clip, config.clip)


class Pending:
    """A Score to come. `future` is done when the worker is; `result()` waits, judges and returns the Score."""

    def __init__(self, future: Future[Predictions], judge: Callable[[Predictions], Score]) -> None:
        self.future, self._judge = future, judge

    def result(self) -> Score:
        """The Score, computed in this process."""
        return self._judge(self.future.result())


class Evaluator:
    """Scores candidates on suites, side by side, each in a confined process of its own with one thread.

    Args:
        suites: what candidates may be scored on, by name.
        config: how losses become a fitness.
        workers: sandboxes of this process; a Score does not depend on their number.
        limits: what a candidate may cost, and when it is ended.
        without: confinements to leave out, for measurements.
        executor: of threads, processes or a cluster, whose processes have sandboxes of their own (`pool.perform`), in
            place of this one's. It stays open when this evaluator closes.
    """

    def __init__(
        self,
        suites: Mapping[str, Suite],
        config: FitnessConfig,
        workers: int,
        limits: Limits | None = None,
        without: Sequence[str] = (),
        executor: Executor | None = None,
    ) -> None:
        if workers < 1:
            raise ValueError(f"wanted one worker or more; got {workers}")
        self.suites, self.config, self.workers, self.limits = dict(suites), config, workers, limits or Limits()
        self._without, self._keys = tuple(without), {name: data_key(suite.blind) for name, suite in suites.items()}
        data = {self._keys[name]: suite.blind for name, suite in self.suites.items()}
        self._pool = Pool(self.limits, without, data, size=0 if executor else workers)
        self._own, self._executor = ThreadPoolExecutor(workers), executor  # its own threads wait for sandboxes
        self._answers: WeakSet[Answer] = WeakSet()
        self._references: dict[tuple[str, LabConfig, int], Future[Predictions]] = {}
        self._listings: dict[tuple[Any, ...], Listing] = {}  # of the latest programs, by source, shapes and type

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers; what is still queued is dropped, and what is under way is lost."""
        for answer in list(self._answers):
            answer.cancel()
        self._own.shutdown(wait=False, cancel_futures=True)
        self._pool.close()
        self._own.shutdown(wait=True)

    def describe(self, source: str, suite: str | None = None, lab: LabConfig | None = None) -> Future[Finding]:
        """Behaviour, cost, traits and fingerprint of a checked program, found in a sandbox.

        Where it is going to be trained in some lab, what that needs is found in the same process.
        """
        request = {"source": source} | ({} if lab is None else self._asked(suite, lab))
        return self._ask("describe", request, [], self.limits.describe, 0, partial(self._finding, request))

    def _refuse_unknown(self, suite: str) -> None:
        if suite not in self.suites:
            raise ValueError(f"unknown suite: wanted one of {', '.join(self.suites)}; got {suite!r}")

    def _asked(self, suite: str | None, lab: LabConfig) -> dict[str, Any]:
        """What a request for a program's list of operations has, if any program's is asked for here."""
        if suite is not None:
            self._refuse_unknown(suite)
        if backends.excuse(lab) is not None:
            return {}
        points = TaskConfig().ood_points if suite is None else self.suites[suite].ood_y.shape[1]
        own = self._lab(suite, lab)
        return {"shapes": backends.shapes(own, points), "dtype": own.dtype}

    def _lab(self, suite: str | None, lab: LabConfig) -> LabConfig | LabsConfig:
        """The labs of a suite that has its own, in place of the one that was asked for."""
        own = None if suite is None else self.suites[suite].labs
        return lab if own is None else own

    def listing(self, source: str, suite: str | None, lab: LabConfig) -> Listing | None:
        """How a program was, or is to be, trained; None where it was neither described for that nor trained yet."""
        asked = self._asked(suite, lab)
        return self._listings.get(_place(source, asked)) if asked else Listing(why=backends.excuse(lab))

    def _note(self, request: Mapping[str, Any], head: Mapping[str, Any]) -> None:
        """Keeps the list that a worker sent, or why it sent none."""
        if not request.get("shapes"):
            return
        try:
            found = (
                Listing(backends.checked_lists(head["steps"]))
                if "steps" in head
                else Listing(why=_words(head.get("unlisted")))
            )
        except Unlisted as error:
            found = Listing(why=f"its process sent no list of operations: {error}")
        while len(self._listings) >= LISTINGS:
            self._listings.pop(next(iter(self._listings)))
        self._listings[_place(request["source"], request)] = found

    def values(self, source: str, x: np.ndarray, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A program's result and slope at one element of a batch, [points] each, found in a sandbox.

        The element is in the first row and second column and takes the values x [points]; the others are those of
        `batch` [batch, features].

        Raises:
            ValueError: where the program does not give them.
        """
        request, size = {"source": check(source).source}, 16 * len(x)
        outcome = self._ask("values", request, [x, batch], self.limits.describe, size, lambda outcome: outcome).result()
        if outcome.ended != "answered" or [array.shape for array in outcome.arrays] != [x.shape] * 2:
            raise ValueError(f"wanted a program's values at {len(x)} points; it {outcome.ended}: {outcome.error}")
        return outcome.arrays[0], outcome.arrays[1]

    def submit(
        self, source: str, suite: str, config: LabConfig, seed: int = 0, chosen: tuple[int, ...] | None = None
    ) -> Pending:
        """Trains and scores a program on a suite.

        Args:
            source: the program.
            suite: its name.
            config: of the training.
            seed: of initial weights and batches, common to all programs.
            chosen: places of the tasks on which alone it is trained and scored, in this order; all by default. A
                fitness over labs takes `config.each` of them after another as one lab.

        Raises:
            ValueError: where the suite is not one of this evaluator's, or the device is not the CPU.
        """
        if config.device != "cpu":
            raise ValueError(f"wanted device cpu, all that confined processes have; got {config.device}")
        self._refuse_unknown(suite)
        try:
            canonical, relu = _canonical(source), _canonical(program_source("relu"))
        except Refused as refusal:
            done: Future[Predictions] = Future()
            done.set_result(Predictions("refused", str(refusal)))
            return Pending(done, lambda p: self._unscored(p.ended, p.error, suite))
        where = (suite, config, seed)
        reference = self._references.get(where)
        if reference is None or _was_lost(reference):
            reference = self._references[where] = self._predict(relu, *where)
        future = reference if canonical == relu and chosen is None else self._predict(canonical, *where, chosen)
        return Pending(future, lambda p: self._judge(p, reference.result(), suite, chosen))

    def joined(self, parts: Sequence[tuple[tuple[int, ...], Score]], suite: str, reference: Score) -> Score:
        """The Score of a whole suite from those of its parts, each with the places of its tasks.

        All ended as scored; `reference` is ReLU's Score on the whole suite.

        Raises:
            ValueError: where the parts do not make up the suite.
        """
        places = np.concatenate([chosen for chosen, _ in parts])
        if sorted(places) != list(range(len(self.suites[suite].tasks))):
            raise ValueError(f"wanted parts that make up the suite {suite}; got the tasks {places.tolist()}")
        losses = [
            np.concatenate([getattr(score, name) for _, score in parts])[np.argsort(places)]
            for name in ("ood_mse", "ood_mse_whole", "train_mse")
        ]
        return self._summed(*losses, np.array(reference.ood_mse), self.suites[suite].families)

    def score(self, source: str, suite: str, config: LabConfig, seed: int = 0) -> Score:
        """Checks, describes, trains and judges a program; the Score carries its description."""
        try:
            finding = self.describe(check(source).source, suite, config).result()
        except Refused as refusal:
            return self._unscored("refused", str(refusal), suite)
        if finding.ended == "open":
            score = self.submit(source, suite, config, seed).result()
        else:
            score = self._unscored(finding.ended, finding.error, suite)
        return replace(score, description=finding.description and finding.description.to_dict())

    def _ask(
        self,
        job: str,
        request: Mapping[str, Any],
        arrays: Sequence[np.ndarray],
        seconds: float,
        limit: int,
        read: Callable[[Outcome], Any],
        suite: str | None = None,
        steps: Any = None,
    ) -> Answer:
        """Sends a job to a sandbox, here or where the executor reaches; `read` makes the result of its Outcome."""
        key, data = (None, None) if suite is None else (self._keys[suite], self.suites[suite].blind)
        call = Call(job, request, arrays, seconds, limit, self.limits, self._without, key, steps=steps)
        answer = Answer(self._send, call, data, read)
        self._answers.add(answer)
        return answer

    def _send(self, call: Call) -> Future[Outcome | None]:
        if self._executor is None:
            return self._own.submit(self._pool.run, call)
        return self._executor.submit(perform, call)

    def _finding(self, request: Mapping[str, Any], outcome: Outcome) -> Finding:
        if outcome.ended != "answered":
            return Finding(outcome.ended, outcome.error, None)
        try:
            found = _description(outcome.head.get("description"))
        except ValueError as error:
            return Finding("killed", f"sent no description: {error}", None)
        self._note(request, outcome.head)
        if found.error is not None:
            return Finding("failed", found.error, found)
        for cost, most, where in (
            (found.flops, self.limits.flops, ""),
            (found.flops_training, self.limits.training, " with the backward pass"),
        ):
            if cost > most:
                error = f"{cost:.4g} FLOPs an element{where}; write at most {most:g}, as with fewer terms"
                return Finding("refused", error, found)
        return Finding("open", None, found)

    def _predict(
        self, source: str, suite: str, config: LabConfig, seed: int, chosen: tuple[int, ...] | None = None
    ) -> Future[Predictions]:
        target = self.suites[suite]
        tasks = len(target.tasks if chosen is None else chosen)
        shapes = [(tasks, points.shape[1]) for points in (target.blind.train_y, target.ood_y, target.ood_y)]
        request = {"source": source, "suite": self._keys[suite], "seed": seed, "chosen": chosen}
        request["lab"] = asdict(self._lab(suite, config))
        known = self.listing(source, suite, config)
        if known is None:
            request |= self._asked(suite, config)
        seconds, size = self.limits.seconds(self._lab(suite, config), tasks), 8 * sum(map(math.prod, shapes))
        steps = None if known is None else known.steps

        def read(outcome: Outcome) -> Predictions:
            if outcome.ended == "answered":
                self._note(request, outcome.head)
            return _predictions(shapes, outcome)

        return self._ask("predict", request, [], seconds, size, read, suite, steps)

    def _judge(
        self, predictions: Predictions, reference: Predictions, suite: str, chosen: tuple[int, ...] | None = None
    ) -> Score:
        if predictions.ended != "scored":
            return self._unscored(predictions.ended, predictions.error, suite)
        if reference.ended != "scored":
            raise RuntimeError(f"wanted ReLU's losses to compare with; it {reference.ended}: {reference.error}")
        target, clamp = self.suites[suite], self.config.clamp
        which = list(range(len(target.tasks)) if chosen is None else chosen)
        units = np.broadcast_to(target.unit, len(target.tasks))[which, None]
        return self._summed(
            mse(predictions.ood / units, target.ood_y[which], clamp),
            mse(predictions.ood_whole / units, target.ood_y[which], clamp),
            mse(predictions.train / units, target.blind.train_y[which] / units, clamp),
            mse(reference.ood[which] / units, target.ood_y[which], clamp),
            tuple(target.families[i] for i in which),
        )

    def _summed(
        self, ood: np.ndarray, whole: np.ndarray, train: np.ndarray, reference: np.ndarray, families: tuple[str, ...]
    ) -> Score:
        """The Score of losses, [tasks] each; `reference` are ReLU's outside of the training range.

        A family of one task has no known error, so that the interval is then without bounds.
        """
        gains, interval = contributions(ood, reference, self.config), (-math.inf, math.inf)
        groups = families[:: self.config.each]
        if min(map(groups.count, groups)) > 1:
            found = stats.mean_interval(gains, np.array(groups), self.config.level)
            interval = (found.low, found.high)
        losses = (tuple(part.tolist()) for part in (ood, whole, train))
        return Score("scored", None, float(gains.mean()), interval, *losses, families)

    def _unscored(self, ended: str, error: str | None, suite: str) -> Score:
        return Score(ended, error, -math.inf, (-math.inf, -math.inf), (), (), (), self.suites[suite].families)


@lru_cache(maxsize=1024)  # a race asks for the same program several times
def _canonical(source: str) -> str:
    return check(source).source


def _place(source: str, request: Mapping[str, Any]) -> tuple[Any, ...]:
    return source, *map(tuple, request["shapes"]), request["dtype"]


def _words(said: Any) -> str:
    """A worker's words, in printable characters."""
    return "".join(c if c.isprintable() else "?" for c in str(said)[:200])


def _predictions(shapes: Sequence[tuple[int, int]], outcome: Outcome) -> Predictions:
    """What a training predicted, where it has the shapes that were asked for."""
    if outcome.ended != "answered":
        return Predictions(outcome.ended, outcome.error)
    if (came := [array.shape for array in outcome.arrays]) != shapes:
        return Predictions("killed", f"sent no predictions: wanted shapes {shapes}; got {came}")
    return Predictions("scored", None, *outcome.arrays)


_TRAITS = {"pointwise": bool, "parity": str, "monotone": bool, "bounded": bool, "oscillations": int, "left": str,
           "right": str}  # fmt: skip # as `profiling.traits` gives them


def _description(head: Any) -> Description:
    """The description that a worker sent.

    Raises:
        ValueError: where it is none; says what was wanted.
    """
    names = [field.name for field in fields(Description)]
    if not isinstance(head, dict) or sorted(head) != sorted(names):
        raise ValueError(f"wanted {', '.join(names)}; got other fields")
    found = Description(**head)
    costs = found.flops, found.flops_training, found.flops_relu, found.flops_gelu
    if found.error is not None:
        if not isinstance(found.error, str) or found.fingerprint is not None or found.traits != {}:
            raise ValueError("wanted an error alone; got more")
        said = "".join(c if c.isprintable() else "?" for c in found.error[:1000])
        return Description(None, math.nan, math.nan, math.nan, math.nan, {}, said)
    if not all(type(cost) is float and 0 <= cost < math.inf for cost in costs):
        raise ValueError("wanted numbers of FLOPs; got something else")
    if not isinstance(found.fingerprint, str) or not re.fullmatch("[0-9a-f]{64}", found.fingerprint):
        raise ValueError("wanted a fingerprint of 64 hexadecimal digits; got something else")
    if not isinstance(found.traits, dict) or {n: type(v) for n, v in found.traits.items()} != _TRAITS:
        raise ValueError(f"wanted the traits {', '.join(_TRAITS)}; got others")
    if not all(v.isprintable() and len(v) < 40 for v in found.traits.values() if isinstance(v, str)):
        raise ValueError("wanted traits in a few words; got others")
    return found


def _was_lost(future: Future) -> bool:
    """Whether predictions will never come, since the workers were ended or the request was dropped."""
    ended = future.done() and not future.cancelled()
    return future.cancelled() or (ended and (future.exception() is not None or future.result().ended == "killed"))
