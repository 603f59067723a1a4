"""A real Dask cluster of this machine, on the loopback, whose workers a test may kill as a machine dies."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from actlab.core import jobs


class Cluster:
    """A scheduler, and workers of one thread and of two, without nannies that would start new ones."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, []
        file = folder / "scheduler.json"
        self._start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", file)
        until = time.monotonic() + 120
        while not (file.exists() and file.read_text()):
            assert time.monotonic() < until, (folder / "errors.txt").read_text()
            time.sleep(0.05)
        self.address = json.loads(file.read_text())["address"]
        for threads in (1, 2):
            self._work(threads)

    def _start(self, module: str, *arguments) -> None:
        with (self.folder / "errors.txt").open("ab") as log:
            command = [sys.executable, "-m", module, *map(str, arguments), "--no-dashboard"]
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder))

    def _work(self, threads: int) -> None:
        worker = "distributed.cli.dask_worker"
        self._start(worker, self.address, "--no-nanny", "--nthreads", threads, "--local-directory", self.folder)

    @contextmanager
    def connect(self):
        """An executor over both workers; where a test killed one, a new one takes its place."""
        with jobs.connect(self.address, seconds=120) as executor:
            if self.died:
                for threads in {1, 2} - set(executor._client.nthreads().values()):
                    self._work(threads)
            executor._client.wait_for_workers(2, timeout=120)
            yield executor

    @property
    def died(self) -> int:
        """How many of its processes have ended so far."""
        return sum(process.poll() is not None for process in self.processes)

    def close(self) -> None:
        """Ends all of them."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()


class Killer:
    """Kills a worker, once, as soon as it is called while both are at work.

    Args:
        executor: of `Cluster.connect`.
        threads: of the worker.
    """

    def __init__(self, executor, threads: int) -> None:
        self.client, self.killed = executor._client, None
        (self.address,) = [worker for worker, count in self.client.nthreads().items() if count == threads]
        self.pid = self.client.run(os.getpid)[self.address]

    def __call__(self, *_) -> None:
        at_work = [worker for worker, tasks in self.client.processing().items() if tasks]
        if self.killed is None and len(at_work) == 2:
            self.killed = self.pid
            os.kill(self.pid, signal.SIGKILL)
