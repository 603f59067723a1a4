"""Where a job on a candidate runs: in warm sandboxes, of this process or of those that an executor reaches (ours).

A program that can be listed (`actlab.lab.operations`) is not trained in its sandbox, which may not make machine code:
the sandbox gives its list, and the pool checks that and trains.

A call is plain data and carries no OOD target. The process in which it arrives has a pool of its own, warm until that
process ends; suites are sent once to each, under the hash of their data. Other code or other versions than the
caller's are refused, since their numbers would differ. A fault of the system, such as a lost worker, does not count
against the candidate: the call is sent once more, and then raises.
"""

from __future__ import annotations

import atexit
import hashlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from actlab.core import jobs
from actlab.core.config import LabConfig, LabsConfig, Limits, lab_config
from actlab.core.jobs import WorkerError
from actlab.lab.training_view import TrainingView
from actlab.scoring.sandbox import Outcome, Sandbox, SandboxError

if TYPE_CHECKING:
    from actlab.lab.backends import Labs

LOG = logging.getLogger("actlab.scoring.pool")
HELD = 8  # suites that a process keeps for its sandboxes; an older one is sent again


RUNS = ("scoring/pool", "scoring/worker")  # what a call runs, wherever it does


def data_key(blind: TrainingView) -> str:
    """SHA-256 of a suite's blind data, hexadecimal: its name in every sandbox."""
    digest = hashlib.sha256(repr(blind.dims).encode())
    for array in (blind.train_x, blind.train_y, blind.ood_x):
        digest.update(repr((array.shape, array.dtype.str)).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Call:
    """A job on a candidate, as it travels: plain data that can be pickled, and no OOD target."""

    job: str  # its name in the module of jobs
    request: Mapping[str, Any]
    arrays: Sequence[np.ndarray]
    seconds: float  # of wall-clock time, after which it is killed
    limit: int  # bytes of the answer's arrays
    limits: Limits
    without: tuple[str, ...] = ()  # confinements to leave out, for measurements
    suite: str | None = None  # the key of the data that it needs
    data: TrainingView | None = None  # that data, where the process that was asked first lacked it
    steps: Any = None  # the program's list of operations, where the caller has it
    number: int = 0  # no two calls are equal: some executors answer equal ones once
    build: str = ""  # the caller's


class Pool:
    """Sandboxes of one kind, shared by the threads of a process; as many as there are jobs at a time.

    Args:
        limits: of memory and time.
        without: confinements to leave out.
        data: suites' blind data by key; more may come with the calls.
        size: sandboxes that are made at once; each starts with its first job.
    """

    def __init__(
        self, limits: Limits, without: Sequence[str] = (), data: Mapping[str, TrainingView] | None = None, size: int = 0
    ) -> None:
        self.limits, self.without, self.data = limits, tuple(without), dict(data or {})
        self._lock, self._closed = threading.Lock(), False
        self._latest: tuple[Any, Labs] | None = None
        self.sandboxes: list[Sandbox] = []
        self._idle = [self._made() for _ in range(size)][::-1]  # the last one used is the next one used

    def run(self, call: Call) -> Outcome | None:
        """Runs a call's job in an idle sandbox, or trains what it can list; None where this process lacks the data.

        Raises:
            SandboxError: where the sandbox does not work, whatever the candidate, or the pool is closed.
            WorkerError: where this process cannot compile, as the caller's can.
        """
        outcome = None if call.steps is not None else self._sandboxed(call)
        if call.steps is None and (outcome is None or outcome.ended != "answered" or "steps" not in outcome.head):
            return outcome
        steps = outcome.head["steps"] if call.steps is None else call.steps
        return outcome if call.job != "predict" else self._trained(replace(call, steps=steps))

    def _trained(self, call: Call) -> Outcome | None:
        """Trains a program by its list of operations, which comes from a process that is not trusted."""
        from actlab.lab import backends  # with the first training: a scheduler, which trains nothing, needs no torch
        from actlab.lab.compiled import Uncompiled
        from actlab.lab.operations import Unlisted

        until = time.monotonic() + call.seconds
        with self._lock:
            data = self._held(call)
        if data is None:
            return None

        def ended() -> None:
            if self._closed:
                raise SandboxError("the pool was closed while a candidate was trained")
            if time.monotonic() > until:
                raise TimeoutError

        config, seed, chosen = lab_config(call.request["lab"]), call.request["seed"], call.request["chosen"]
        try:
            made = backends.in_labs(
                self._labs(call.suite, data, config, seed),
                chosen,
                data.ood_x,
                lambda start, lab: backends.by_steps(call.steps, start, lab, ended=ended),
            )
        except Unlisted as error:
            return Outcome("killed", f"sent no list of operations: {error}")
        except TimeoutError:
            return Outcome("killed", f"ran longer than its {call.seconds:g} s")
        except Uncompiled as error:
            raise WorkerError(str(error)) from error
        return Outcome("answered", None, {"steps": call.steps}, made)

    def _labs(self, suite: str, data: TrainingView, config: LabConfig | LabsConfig, seed: int) -> Labs:
        """Where trainings on a suite begin; the latest is kept, since a search asks for it again and again."""
        key = suite, config, seed
        latest = self._latest
        if latest is None or latest[0] != key:
            from actlab.lab import backends

            self._latest = latest = key, backends.labs(data, config, seed)
        return latest[1]

    def _sandboxed(self, call: Call) -> Outcome | None:
        """A call's job in an idle sandbox; None where this process lacks the data."""
        with self._lock:
            sandbox, data = self._taken(call), dict(self.data)
        if sandbox is None:
            return None
        try:
            if call.suite is not None and call.suite not in sandbox.data:
                sandbox.hold(data)
            return sandbox.run(call.job, call.request, call.arrays, call.seconds, call.limit)
        finally:
            with self._lock:
                self._idle.append(sandbox)

    def close(self) -> None:
        """Ends the sandboxes; what is under way is lost."""
        with self._lock:
            self._closed, ended = True, list(self.sandboxes)
        for sandbox in ended:
            sandbox.close()

    def _taken(self, call: Call) -> Sandbox | None:
        """An idle sandbox, best one that holds the call's data, or a new one; None where the data is not here."""
        if self._closed:
            raise SandboxError("wanted an open pool of sandboxes; this one is closed")
        self._held(call)
        for sandbox in reversed(self._idle):
            if call.suite is None or call.suite in sandbox.data:
                self._idle.remove(sandbox)
                return sandbox
        if call.suite is not None and call.suite not in self.data:
            return None
        return self._idle.pop() if self._idle else self._made()

    def _held(self, call: Call) -> TrainingView | None:
        """The data that a call needs, which it may bring; None where it is not here."""
        if call.data is not None:
            self.data.pop(call.suite, None)
            self.data[call.suite] = call.data  # as the latest
            for key in list(self.data)[:-HELD]:
                del self.data[key]
        return self.data.get(call.suite)

    def _made(self) -> Sandbox:
        from actlab.scoring import worker  # with the first sandbox: a scheduler, which makes none, needs no torch

        sandbox = Sandbox(dict(self.data), self.limits, worker, without=self.without)
        self.sandboxes.append(sandbox)
        return sandbox


@cache
def _pool(process: int, memory: int, without: tuple[str, ...]) -> Pool:
    """The pool of this process for calls of other processes; warm until it ends, and never that of a fork's parent."""
    made = Pool(Limits(memory=memory), without)
    atexit.register(lambda: made.close() if os.getpid() == process else None)
    return made


def perform(call: Call) -> Outcome | None:
    """Runs a call in the process where it arrived; None where that process lacks the data.

    Raises:
        WorkerError, SandboxError: where it runs other code or versions than the caller, or no sandbox works there.
    """
    jobs.same_build(call.build, *RUNS)
    return _pool(os.getpid(), call.limits.memory, call.without).run(call)


_NUMBERS = itertools.count(1)


class Answer(Future):
    """The result of a call, as `read` makes it of the Outcome; a future that `concurrent.futures.wait` takes.

    Args:
        submit: sends a call at once and returns the executor's future.
        call: without data.
        data: what it needs, for a process that lacks it.
        read: turns the Outcome into the result.
    """

    def __init__(
        self, submit: Callable[[Call], Future], call: Call, data: TrainingView | None, read: Callable[[Outcome], Any]
    ) -> None:
        super().__init__()
        self._submit, self._data, self._read, self._unwanted = submit, data, read, False
        self._sent: Future[Outcome | None] | None = None
        self._send(replace(call, build=jobs.build(*RUNS)), False)

    def result(self, timeout: float | None = None) -> Any:
        """The result, read from the Outcome.

        Raises:
            SandboxError, WorkerError: where the system failed twice, whatever the candidate.
        """
        return self._read(super().result(timeout))

    def cancel(self) -> bool:
        """Drops the call, unless it runs already; returns whether it was dropped."""
        self._unwanted = True
        return self.cancelled() or (self._sent is not None and self._sent.cancel())

    def _send(self, call: Call, again: bool, fault: BaseException | None = None) -> None:
        try:
            self._sent = self._submit(replace(call, number=next(_NUMBERS)))
        except RuntimeError as closed:  # the executor takes no more
            self.set_exception(fault or closed)
            return
        self._sent.add_done_callback(partial(self._came, call, again))

    def _came(self, call: Call, again: bool, sent: Future) -> None:
        """Takes the answer to a call that was sent, and sends it once more where the system failed or data is lacking.

        `again`: whether this was the second try after a fault.
        """
        if sent.cancelled():
            if self._unwanted:
                super().cancel()
                self.set_running_or_notify_cancel()
            else:
                self.set_exception(_explained(CancelledError()))
        elif (fault := sent.exception()) is not None:
            if again or self._unwanted or isinstance(fault, WorkerError | BrokenExecutor | ImportError):
                self.set_exception(_explained(fault))
            else:
                LOG.warning("a job is sent once more, since the system failed: %s", fault)
                self._send(call, True, _explained(fault))
        elif (outcome := sent.result()) is not None:
            self.set_result(outcome)
        elif call.data is None and self._data is not None:
            self._send(replace(call, data=self._data), again)
        else:
            self.set_exception(WorkerError(f"wanted a worker that takes the data {call.suite}; got one that lacks it"))


def _explained(fault: BaseException) -> BaseException:
    return fault if isinstance(fault, SandboxError) else jobs.explained(fault)
