"""Where a job on a candidate runs: in warm sandboxes, of this process or of those that an executor reaches (ours).

A call is plain data and carries no OOD target. Whatever process it arrives in has a pool of its own, which stays warm
until that process ends; suites travel once to each, under the hash of their data. Other code or other versions than
the caller's are refused, since their numbers would differ. A fault of the system, such as a worker that was lost, is
never the candidate's: the call is sent once more, and then raises.
"""

from __future__ import annotations

import atexit
import hashlib
import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np

from actlab.core.config import Limits
from actlab.core.records import code_hash, versions
from actlab.lab.training_view import TrainingView
from actlab.scoring.sandbox import Outcome, Sandbox, SandboxError

LOG = logging.getLogger("actlab.scoring.pool")
HELD = 8  # suites that a process keeps for its sandboxes; an older one is sent again
WATCH = 10.0  # seconds between looks at whether a cluster has any worker left


class PoolError(RuntimeError):
    """The executor, or a process behind it, does not work, whatever the candidate."""


@cache
def build() -> str:
    """The code, the versions and the instructions that make the numbers, in words.

    Equal where the numbers are to be equal: the same versions sum in another order where they have wider vectors.
    """
    import torch  # here, for those who only import this module; who scores, or runs a call, has it anyway

    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    return (
        f"actlab {code_hash('scoring/pool', 'scoring/worker')[:12]}, {names}, {torch.backends.cpu.get_cpu_capability()}"
    )


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
        self.sandboxes: list[Sandbox] = []
        self._idle = [self._made() for _ in range(size)][::-1]  # the one that was last at work is the first to go on

    def run(self, call: Call) -> Outcome | None:
        """Runs a call's job in an idle sandbox; None where the data that it needs is not here.

        Raises:
            SandboxError: where the sandbox does not work, whatever the candidate, or the pool is closed.
        """
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
        """An idle sandbox, one that holds the call's data where there is one, or a new one; None without that data."""
        if self._closed:
            raise SandboxError("wanted an open pool of sandboxes; this one is closed")
        if call.data is not None:
            self.data.pop(call.suite, None)
            self.data[call.suite] = call.data  # as the latest
            for key in list(self.data)[:-HELD]:
                del self.data[key]
        for i in reversed(range(len(self._idle))):
            if call.suite is None or call.suite in self._idle[i].data:
                return self._idle.pop(i)
        if call.suite is not None and call.suite not in self.data:
            return None
        return self._idle.pop() if self._idle else self._made()

    def _made(self) -> Sandbox:
        from actlab.scoring import worker  # with the first sandbox: a scheduler, which makes none, needs no torch

        sandbox = Sandbox(dict(self.data), self.limits, worker, without=self.without)
        self.sandboxes.append(sandbox)
        return sandbox


class _Here:
    """The pools of a process that an executor reaches, by what their sandboxes are; they end with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[tuple[int, int, tuple[str, ...]], Pool] = {}

    def pool(self, call: Call) -> Pool:
        kind = os.getpid(), call.limits.memory, call.without  # a fork's parent's sandboxes are not the fork's
        with self._lock:
            if kind not in self._pools:
                self._pools[kind] = Pool(call.limits, call.without)
            return self._pools[kind]

    def close(self) -> None:
        for (process, *_), pool in self._pools.items():
            if process == os.getpid():
                pool.close()

    def forked(self) -> None:
        self._lock = threading.Lock()  # the other may be held by a thread that is not here


_HERE = _Here()  # the one thing that outlives a call: a sandbox takes seconds to start
atexit.register(_HERE.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_HERE.forked)


def perform(call: Call) -> Outcome | None:
    """Runs a call in the process where it arrived; None where that process lacks the data.

    Raises:
        PoolError: where that process runs other code or other versions than the caller.
        SandboxError: where no sandbox works there.
    """
    if call.build != build():
        raise PoolError(f"wanted a worker that runs {call.build}; got one that runs {build()}")
    return _HERE.pool(call).run(call)


_NUMBERS = itertools.count(1)


class Answer(Future):
    """What a call will come to, as `read` makes it of the Outcome; a future that `concurrent.futures.wait` knows.

    Args:
        submit: sends a call, at once, and gives the executor's future.
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
        self._send(replace(call, build=build()), False)

    def result(self, timeout: float | None = None) -> Any:
        """The result, read from the Outcome.

        Raises:
            SandboxError, PoolError: where the system failed twice, whatever the candidate.
        """
        return self._read(super().result(timeout))

    def cancel(self) -> bool:
        """Drops the call, where it is not under way; whether it was."""
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
        """Takes what came of a call that was sent; sends it `again` but once."""
        if sent.cancelled():
            if self._unwanted:
                super().cancel()
                self.set_running_or_notify_cancel()
            else:
                self.set_exception(PoolError("the executor dropped a job; its scheduler was lost, or it was closed"))
        elif (fault := sent.exception()) is not None:
            if again or self._unwanted or isinstance(fault, PoolError | BrokenExecutor | ImportError):
                self.set_exception(_explained(fault))
            else:
                LOG.warning("a job is sent once more, since the system failed: %s", fault)
                self._send(call, True, _explained(fault))
        elif (outcome := sent.result()) is not None:
            self.set_result(outcome)
        elif call.data is None and self._data is not None:
            self._send(replace(call, data=self._data), again)
        else:
            self.set_exception(PoolError(f"wanted a worker that takes the data {call.suite}; got one that lacks it"))


def _explained(fault: BaseException) -> BaseException:
    """The fault of the system in one line, with its cause."""
    if isinstance(fault, PoolError | SandboxError):
        return fault
    what = "a worker was lost or failed"
    if isinstance(fault, ImportError):
        what = "wanted actlab, as it is here, on every worker; one cannot import it"
    explained = PoolError(f"{what}: {type(fault).__name__}: {fault}")
    explained.__cause__ = fault
    return explained


@contextmanager
def connect(scheduler: str, seconds: float = 10.0) -> Iterator[Executor]:
    """An executor over the workers of a Dask cluster.

    Args:
        scheduler: its address, tcp://HOST:PORT.
        seconds: to wait for its answer, and for a first worker.

    Raises:
        PoolError: where dask is not installed, nothing answers there, or no worker comes.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise PoolError("--scheduler wants dask; install it with: pip install 'actlab[cluster]'") from error
    try:
        client = Client(scheduler, timeout=seconds, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise PoolError(f"wanted a Dask scheduler at {scheduler}; none answered within {seconds:g} s") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=seconds)
        except TimeoutError as error:
            raise PoolError(f"wanted a worker at {scheduler}; none came within {seconds:g} s") from error
        ended = threading.Event()
        watch = threading.Thread(target=_watch, args=(client, scheduler, ended), daemon=True)
        watch.start()
        try:
            yield client.get_executor(pure=False)
        finally:
            ended.set()
            watch.join()


def _watch(client: Any, scheduler: str, ended: threading.Event) -> None:
    """Says so where a cluster has lost its last worker: its jobs wait until another one comes."""
    while not ended.wait(WATCH):
        if client.status == "running" and not client.nthreads():
            LOG.warning("no worker is left at %s; the search waits for one", scheduler)
