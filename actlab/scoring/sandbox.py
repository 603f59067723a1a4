"""Runs jobs on candidates in confined processes, and says how each ended (ours).

A sandbox has one fork server: a warmed process with an empty environment that forks a child for each job. The child
holds no OOD target, can reach no file, socket or process, and answers with plain data through a pipe. Nothing that
happens to it harms the caller.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from actlab.core.config import Limits
from actlab.lab.training_view import TrainingView
from actlab.scoring import forkserver, messages

LOG = logging.getLogger("actlab.scoring.sandbox")
GRACE = 30.0  # seconds beyond a job's limit after which a silent fork server counts as lost
START = 300.0  # seconds that a fork server may take to start on a busy machine
LIBRARIES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")  # where the system finds what torch links to
SETTINGS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
SETTINGS["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"  # huge pages, where granted: a fork copies fewer tables


class SandboxError(RuntimeError):
    """The sandbox itself does not work, whatever the candidate."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended: answered, with `head` and `arrays`; failed, since the candidate raised; or killed.

    `error` says why it failed or was killed; a kill for time is the one outcome that may not repeat.
    """

    ended: str
    error: str | None = None
    head: Mapping[str, Any] | None = None
    arrays: Sequence[np.ndarray] = ()


class Sandbox:
    """One fork server and its children; runs one job at a time. Starts with the first job; a context manager.

    Args:
        data: the suites' training data and OOD inputs, by name.
        limits: of memory and time.
        jobs: the module whose `warm_up` and `JOBS` the fork server runs.
        fork: whether it forks, where it can; else each job has a new process, which takes seconds.
        without: confinements to leave out, for measurements: limits, seccomp, landlock.
    """

    def __init__(
        self,
        data: Mapping[str, TrainingView],
        limits: Limits,
        jobs: ModuleType,
        fork: bool = True,
        without: Sequence[str] = (),
    ) -> None:
        self.data, self.limits, self.jobs, self.without = data, limits, jobs, tuple(without)
        self.fork = fork and forkserver.CAN_FORK
        self.active: tuple[str, ...] = ()
        self._process: subprocess.Popen | None = None
        self._lock, self._closed = threading.RLock(), False

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Starts the fork server, where none is running; logs in one line which confinements are active.

        Raises:
            SandboxError: where it does not start.
        """
        with self._lock:
            if self._process is None:
                self._start()

    def _start(self) -> None:
        if self._closed:
            raise SandboxError("wanted an open sandbox; this one is closed")
        roots = [_root(forkserver), _root(self.jobs)]
        boot = f"import sys; sys.path[:0] = {roots}; from actlab.scoring.forkserver import main; main()"
        self._scratch = tempfile.TemporaryDirectory(prefix="actlab-")
        self._process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-c", boot],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self._scratch.name,
            env={name: os.environ[name] for name in LIBRARIES if name in os.environ} | SETTINGS,
            start_new_session=True,  # an interrupt at the keyboard is for the caller alone
        )
        if self._closed:  # which is set before `close` looks for a process to end
            self._stop()
            raise SandboxError("wanted an open sandbox; this one is closed")
        suites, arrays = _packed(self.data)
        about = {"jobs": self.jobs.__name__, "suites": suites, "memory": self.limits.memory}
        about |= {"without": self.without, "fork": self.fork}
        try:
            (ready,) = self._ask(messages.pack(about, arrays), START, 1, messages.MAX_HEAD)
        except _Lost as lost:
            raise SandboxError(f"wanted a warmed process for candidates; it {lost} at its start") from lost
        head, _ = messages.unpack(ready)
        self.active = tuple(head["active"])
        missing = "; ".join(f"no {name}: {why}" for name, why in head["missing"].items())
        said = f"sandbox: {', '.join(self.active)}, empty environment" + (f" ({missing})" if missing else "")
        _log_once(said, logging.WARNING if missing else logging.INFO)

    def hold(self, data: Mapping[str, TrainingView]) -> None:
        """Has other data for later jobs; a running fork server is sent what it lacks. A name never changes its data."""
        with self._lock:
            known, self.data = self.data, dict(data)
            if self._process is None:
                return
            about, arrays = _packed({name: blind for name, blind in data.items() if name not in known})
            message = messages.pack({"suites": about, "keep": [name for name in data if name in known]}, arrays)
            with contextlib.suppress(_Lost):  # the next one starts with all of it
                self._ask(message, START, 1, messages.MAX_HEAD)

    def run(
        self, job: str, request: Mapping[str, Any], arrays: Sequence[np.ndarray], seconds: float, limit: int
    ) -> Outcome:
        """Does a job on a candidate, and returns how it ended, whatever the candidate did.

        Args:
            job: its name in the module of jobs.
            request, arrays: plain data for it.
            seconds: of wall-clock time, after which its process group is killed.
            limit: bytes of the answer's arrays.

        Raises:
            SandboxError: where no fork server starts, the system gives no process, or the sandbox is closed meanwhile.
        """
        limit += messages.MAX_HEAD + 1
        try:
            message = messages.pack({**request, "job": job, "seconds": seconds, "limit": limit}, arrays)
        except messages.TooLong as error:  # a program can be short and long in its canonical form
            return Outcome("failed", f"is too long to be sent to a process: {error}")
        with self._lock:
            for attempt in ("first", "last"):
                self.start()
                try:
                    if not self.fork:
                        return _outcome({"how": "answered"}, *self._ask(message, seconds, 1, limit), seconds, limit)
                    how, answer = self._ask(message, seconds + GRACE, 2, limit)
                    return _outcome(messages.unpack(how)[0], answer, seconds, limit)
                except _Lost as lost:
                    if self._closed:
                        raise SandboxError("the sandbox was closed while a candidate ran") from lost
                    if not self.fork and lost.overdue:
                        return Outcome("killed", _OVERDUE.format(seconds))
                    if not self.fork or lost.overdue or attempt == "last":
                        return Outcome("killed", f"its process {lost} before it answered")
                finally:
                    if not self.fork:
                        self._stop()

    def close(self) -> None:
        """Ends the fork server and its child; a job that is under way in another thread is lost."""
        self._closed = True
        self._stop()

    def _ask(self, message: bytes, seconds: float, answers: int, limit: int) -> list[bytes]:
        """Sends a message and reads so many; ends the fork server where they come too late or are too long."""
        process, overdue, why = self._process, threading.Event(), None

        def end() -> None:
            overdue.set()
            _kill(process)

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            forkserver.write(process.stdin, message)
            got = [forkserver.read(process.stdout, limit) for _ in range(answers)]
        except messages.TooLong as error:
            got, why = [None], str(error)
        except (OSError, ValueError) as error:  # a pipe without a reader, or closed by `close`
            got = [None]
            LOG.debug("a fork server was lost: %s", error)
        finally:
            timer.cancel()
        if None not in got:
            return got
        if why is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)  # one that ends by itself says how
        self._stop()
        raise _Lost(process.wait(), overdue.is_set(), why)

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        _kill(process)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # a message that was never read is lost with its reader
                pipe.close()
        self._scratch.cleanup()


def _packed(data: Mapping[str, TrainingView]) -> tuple[dict[str, tuple[int, ...]], list[np.ndarray]]:
    """The suites as a message has them."""
    arrays = [array for blind in data.values() for array in (blind.train_x, blind.train_y, blind.ood_x)]
    return {name: blind.dims for name, blind in data.items()}, arrays


def _root(module: ModuleType) -> str:
    """The folder from which a module is imported by its name."""
    return str(Path(module.__file__).resolve().parents[module.__name__.count(".")])


_log_once = cache(lambda said, level: LOG.log(level, said))  # for however many sandboxes


class _Lost(Exception):
    """A fork server that ended, or was ended, before it answered."""

    def __init__(self, status: int, overdue: bool, why: str | None) -> None:
        super().__init__("was silent for too long" if overdue else why or _ended(status))
        self.overdue = overdue


_OVERDUE = "ran longer than its {:g} s, and was ended with its process group"


def _outcome(how: Mapping[str, Any], answer: bytes, seconds: float, limit: int) -> Outcome:
    """How a job ended, from what the fork server says of the child and from the child's bytes."""
    match how:
        case {"how": "time"}:
            return Outcome("killed", _OVERDUE.format(seconds))
        case {"how": "host", "why": str(why)}:
            raise SandboxError(f"wanted a process for a candidate; this system gave none: {why}")
        case {"how": "output"}:
            return Outcome("killed", f"sent more than {limit} bytes")
        case {"how": "ended", "status": int(status)}:
            return Outcome("killed", f"its process {_ended(status)} before it answered")
    try:
        head, arrays = messages.unpack(answer)
    except messages.Malformed as error:
        return Outcome("killed", f"sent no answer that can be read: {error}")
    match head:
        case {"raised": "memory"}:
            return Outcome("failed", "wanted more memory than it may have")
        case {"raised": str(words)}:
            return Outcome("failed", "raised " + "".join(c if c.isprintable() else "?" for c in words[:400]))
    return Outcome("answered", None, head, arrays)


def _ended(status: int) -> str:
    """How a process ended, from its return code, which is negative for a signal."""
    if status >= 0:
        return f"left with exit status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
    return f"was ended by signal {name}"


def _kill(process: subprocess.Popen) -> None:
    """Ends a fork server's process group; its child, in a group of its own, dies with it."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
