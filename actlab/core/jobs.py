"""The one runner of long jobs, over processes of this machine or a cluster's: progress, resume, dead workers (ours).

A job is plain data that can be pickled, and `work` is a function that turns it into a result. Results arrive as jobs
end and are kept one by one, so that an interrupted run can be resumed. Every worker has one thread, so that numbers
do not depend on where a job ran.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from actlab.core.config import cores
from actlab.core.records import Records, versions
from actlab.core.sources import code_hash

if TYPE_CHECKING:
    import pandas as pd

LOG = logging.getLogger("actlab.jobs")
WATCH = 10.0  # seconds between looks at whether workers, here or of a cluster, are still there

K, V, J, R = TypeVar("K", bound=Hashable), TypeVar("V"), TypeVar("J"), TypeVar("R")


class WorkerError(RuntimeError):
    """A worker, or what reaches it, does not work, whatever the job."""


@cache
def build(*modules: str) -> str:
    """The code, the versions and the instructions that make the numbers, in words; equal where these are to be equal.

    Args:
        modules: what is run, by paths in the package. The same versions sum in another order with wider vectors.
    """
    import torch

    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    with _PARSING:
        return f"actlab {code_hash(*modules)[:12]}, {names}, {torch.backends.cpu.get_cpu_capability()}"


_PARSING = threading.Lock()  # Python 3.11's parser of syntax trees fails at times where two threads use it at once


def same_build(wanted: str, *modules: str) -> None:
    """Makes sure that this process has the build of who sent a job.

    Raises:
        WorkerError: where it has another one.
    """
    if wanted != build(*modules):
        raise WorkerError(f"wanted a worker that runs {wanted}; got one that runs {build(*modules)}")


def count(text: str) -> int:
    """A whole number from 1, as an option of a command has it."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"wanted a whole number from 1; got {text!r}")
    return int(text)


def as_they_come(waiting: MutableMapping[K, V], future: Callable[[V], Future] = lambda item: item) -> Iterator:
    """Takes out what is done, as (key, item), those too that are added meanwhile; of several at once the first first.

    Args:
        waiting: items by key.
        future: of an item.
    """
    while waiting:
        done, _ = wait([future(item) for item in waiting.values()], return_when=FIRST_COMPLETED)
        for key in [key for key, item in waiting.items() if future(item) in done]:
            yield key, waiting.pop(key)


# --- running --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Runner:
    """Where jobs run, and who is told of it.

    Attributes:
        workers: one-thread processes here; 0 for one a core, 1 for this process itself.
        executor: reaches other processes in their place, such as `connect`'s.
        tell: is given a line when a job is done, or a worker died.
    """

    workers: int = 0
    executor: Executor | None = None
    tell: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"wanted 0 workers or more; got {self.workers}")

    def run(self, jobs: Sequence[J], work: Callable[[J], R], lost: Callable[[J], R] | None = None) -> Iterator:
        """Jobs and their results, as they end.

        Here, jobs that ran when a worker died run again, each alone in a process of its own. On a cluster the scheduler
        gives them to other workers.

        Args:
            jobs: in the order in which they are begun.
            work: a function of a module, which each worker imports, or a partial of one.
            lost: the result of a job that the system killed twice while it ran alone; without it that is an error.

        Raises:
            WorkerError: where a worker died, or cannot do the work; what was yielded until then is done.
        """
        workers = min(self.workers or cores(), max(len(jobs), 1))
        if self.executor is not None:
            yield from _elsewhere(jobs, work, self.executor)
        elif workers == 1:
            _one_thread()  # as in a worker: other sums of the same numbers would be other results
            for job in jobs:
                yield job, work(job)
        else:
            yield from _here(list(jobs), work, workers, self.tell, lost)

    def complete(
        self,
        records: Records,
        wanted: Sequence[J],
        work: Callable[[J], tuple[Mapping[str, pd.DataFrame], str]],
        lost: Callable[[J], tuple[Mapping[str, pd.DataFrame], str]] | None = None,
    ) -> Iterator[J]:
        """Runs the jobs that records lack and enters each as it ends; yields it then.

        Args:
            records: of the run.
            wanted: all of its jobs.
            work: the tables of a job, as `Records.add` takes them, and what it came to in a few words.
            lost: the same for a job that was lost; see `run`.

        Raises:
            ChangedCode: where the records there are of code that computes something else.
        """
        lacking = records.missing(wanted)
        with tqdm(total=len(wanted), initial=len(wanted) - len(lacking), desc="jobs", disable=None) as bar:
            for job, (tables, words) in self.run(lacking, work, lost):
                records.add([(job, tables)])
                bar.update()
                self.tell(f"{job}: {words}")
                yield job


def _here(waiting: list, work: Callable, workers: int, tell: Callable[[str], None], lost: Callable | None) -> Iterator:
    while waiting:
        running: dict[Future, Any] = {}
        for job, result in _together(waiting, work, workers, running):
            yield job, result
        if running:
            tell(f"a worker died; alone again: {'; '.join(map(str, running.values()))}")
        for job in running.values():
            yield job, _alone(job, work, tell, lost)


def _together(waiting: list, work: Callable, workers: int, running: dict[Future, Any]) -> Iterator:
    """Takes jobs out of `waiting`; where a worker dies, whosever job it had, those that ran are left in `running`."""
    with _processes(workers) as pool:
        broken = False
        while (waiting or running) and not broken:
            # No more than there are workers, so that a job which is cut off has begun.
            while waiting and len(running) < workers and not broken:
                try:
                    running[pool.submit(work, waiting[0])] = waiting[0]
                except BrokenProcessPool:
                    broken = True
                else:
                    waiting.pop(0)
            done, _ = wait(running, WATCH, return_when=FIRST_COMPLETED)
            if not done:
                # Python 3.11 begins to watch a process that a second job starts at the next event alone: this is one.
                # Without it, a death before any other job has ended is never seen.
                try:
                    pool.submit(int)
                except BrokenProcessPool:
                    broken = True
            for future in done:
                if isinstance(future.exception(), BrokenProcessPool):
                    broken = True
                else:
                    yield running.pop(future), future.result()


def _alone(job: J, work: Callable[[J], R], tell: Callable[[str], None], lost: Callable[[J], R] | None) -> R:
    """A job's result from a process of its own; where that is killed twice, what `lost` says.

    Only SIGKILL counts, which the kernel sends where memory runs out, be it another program's doing. Sent twice by
    hand, it would count too.
    """
    for _ in range(2):
        with _processes(1) as pool:
            future = pool.submit(work, job)
            (process,) = pool._processes.values()
            if not isinstance(future.exception(), BrokenProcessPool):
                return future.result()
            process.join()
        if process.exitcode != -signal.SIGKILL:
            raise WorkerError(f"{job}: wanted a worker that ends; it died with status {process.exitcode}, alone")
    why = "killed by the system twice with no other job of this run beside it (signal 9)"
    if lost is None:
        raise WorkerError(f"{job}: {why}, for its memory perhaps; the same command goes on with the others")
    tell(f"{job}: {why}: counts as out of memory")
    return lost(job)


@contextmanager
def _processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Warm processes of one thread each, killed where the block is left by an error or an interruption."""
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin)
    try:
        yield pool
    except BaseException:
        for process in list(pool._processes.values()):
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _begin() -> None:
    """Makes a worker one that has one thread and does not outlive who started it, however that one ended."""
    _one_thread()
    threading.Thread(target=_end_with, args=(parent_process(),), daemon=True).start()


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


# --- a cluster ------------------------------------------------------------------------------------


def _elsewhere(jobs: Sequence[J], work: Callable[[J], R], executor: Executor) -> Iterator[tuple[J, R]]:
    module = getattr(work, "func", work).__module__.partition(".")[2].replace(".", "/")
    running = {i: executor.submit(_sent, build(module), module, work, job) for i, job in enumerate(jobs)}
    try:
        for i, future in as_they_come(running):
            try:
                yield jobs[i], future.result()
            except (CancelledError, ImportError) as error:
                raise explained(error) from error
            except Exception as error:
                if type(error).__name__ == "KilledWorker":  # distributed's, which only a cluster's user has
                    raise explained(error) from error
                raise
    finally:
        for future in running.values():
            future.cancel()


_ALONE = threading.Lock()  # torch's global generator, and its number of threads, are a process's


def _sent(wanted: str, module: str, work: Callable[[J], R], job: J) -> R:
    """A job in a cluster's worker, which may have several threads: one job at a time."""
    same_build(wanted, module)
    with _ALONE:
        _one_thread()
        return work(job)


def explained(fault: BaseException) -> BaseException:
    """A fault of the system in one line, with its cause."""
    if isinstance(fault, WorkerError):
        return fault
    what = "a worker was lost or failed"
    if isinstance(fault, ImportError):
        what = "wanted actlab, as it is here, on every worker; one cannot import it"
    elif isinstance(fault, CancelledError):
        what = "the executor dropped a job; its scheduler was lost, or it was closed"
    found = WorkerError(f"{what}: {type(fault).__name__}: {fault}")
    found.__cause__ = fault
    return found


@contextmanager
def connect(scheduler: str, seconds: float = 10.0) -> Iterator[Executor]:
    """An executor over the workers of a Dask cluster.

    Args:
        scheduler: its address, tcp://HOST:PORT.
        seconds: to wait for its answer, and for a first worker.

    Raises:
        WorkerError: where dask is not installed, nothing answers there, or no worker comes.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise WorkerError("--scheduler wants dask; install it with: pip install 'actlab[cluster]'") from error
    try:
        client = Client(scheduler, timeout=seconds, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise WorkerError(f"wanted a Dask scheduler at {scheduler}; none answered within {seconds:g} s") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=seconds)
        except TimeoutError as error:
            raise WorkerError(f"wanted a worker at {scheduler}; none came within {seconds:g} s") from error
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
            LOG.warning("no worker is left at %s; the run waits for one", scheduler)
