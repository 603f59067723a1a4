"""A search on a real Dask cluster of this machine, on the loopback, whose processes are killed as a machine dies."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from actlab import activations
from actlab.core.config import FitnessConfig, LabConfig, SearchConfig, TaskConfig
from actlab.lab import tasks
from actlab.scoring import pool
from actlab.scoring.evaluator import Evaluator
from actlab.search.archive import Archive
from actlab.search.evolution import search
from actlab.search.proposers.grammar import Grammar

pytest.importorskip("distributed")
SUITES = {"search": tasks.suite("search", TaskConfig(search=8))}
LAB = LabConfig(steps=60)
FITNESS = FitnessConfig(resamples=50)
CONFIG = SearchConfig(evaluations=14, round_size=6, islands=2, migrate_every=1, reset_every=2)
SCHEDULER = "distributed.cli.dask_scheduler"
WORKER = "distributed.cli.dask_worker"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a scheduler with two workers, of one thread and of two, without nannies that start new ones."""
    folder, processes = tmp_path_factory.mktemp("cluster"), []
    file, errors = folder / "scheduler.json", folder / "errors.txt"

    def start(*arguments):
        with errors.open("ab") as log:
            command = [sys.executable, "-m", *arguments, "--no-dashboard"]
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=folder))

    try:
        start(SCHEDULER, "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        until = time.monotonic() + 60
        while not (file.exists() and file.read_text()):
            assert time.monotonic() < until, errors.read_text()
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        for threads in ("1", "2"):
            start(WORKER, address, "--no-nanny", "--nthreads", threads, "--local-directory", str(folder))
        yield address
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def run(evaluator, path, clock=time.time):
    with Archive(path) as archive:
        return search(evaluator, Grammar(), archive, CONFIG, LAB, seed=3, progress=False, clock=clock)


def test_a_worker_is_killed_at_work_and_the_search_ends_as_it_does_here(cluster, tmp_path):
    with Evaluator(SUITES, FITNESS, workers=1) as evaluator:
        alone = run(evaluator, tmp_path / "alone.sqlite")
    killed = []

    with pool.connect(cluster, seconds=60) as executor:
        client = executor._client
        client.wait_for_workers(2, timeout=60)
        processes = client.run(os.getpid)

        def clock():  # which a search looks at whenever it asks for something, and when it comes
            busy = {address: tasks for address, tasks in client.processing().items() if tasks}
            if not killed and len(busy) == 2 and path.exists() and trained(path) >= 2:
                killed.append(next(iter(busy)))
                os.kill(processes[killed[0]], signal.SIGKILL)
            return time.time()

        path = tmp_path / "cluster.sqlite"
        with Evaluator(SUITES, FITNESS, workers=1, executor=executor) as evaluator:
            found = run(evaluator, path, clock)
            assert len(client.nthreads()) == 1
            again = evaluator.submit(activations.program_source("gelu"), "search", LAB).result()
    assert killed
    assert found == alone
    assert again.ended == "scored"


def trained(path):
    with Archive(path, read_only=True) as archive:
        return sum(entry.was_trained for entry in archive.entries())


def test_a_worker_with_other_code_is_told_as_such(cluster, monkeypatch):
    monkeypatch.setattr(pool, "build", lambda: "another actlab")
    with (
        pool.connect(cluster, seconds=60) as executor,
        Evaluator(SUITES, FITNESS, workers=1, executor=executor) as evaluator,
        pytest.raises(pool.PoolError, match=r"runs another actlab; got one that runs actlab [0-9a-f]"),
    ):
        evaluator.submit(activations.program_source("gelu"), "search", replace(LAB, steps=1)).result()
