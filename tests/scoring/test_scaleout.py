"""A search on a real Dask cluster of this machine, on the loopback, whose processes are killed as a machine dies."""

import time
from dataclasses import replace

import pytest
from dask_cluster import Killer

from actlab import activations
from actlab.core import jobs
from actlab.core.config import FitnessConfig, LabConfig, SearchConfig, TaskConfig
from actlab.lab import tasks
from actlab.scoring.evaluator import Evaluator
from actlab.search.archive import Archive
from actlab.search.evolution import search
from actlab.search.proposers.grammar import Grammar

SUITES = {"search": tasks.suite("search", TaskConfig(search=8))}
LAB = LabConfig(steps=60)
FITNESS = FitnessConfig(resamples=50)
CONFIG = SearchConfig(evaluations=14, round_size=6, islands=2, migrate_every=1, reset_every=2)


def run(evaluator, path, clock=time.time):
    with Archive(path) as archive:
        return search(evaluator, Grammar(), archive, CONFIG, LAB, seed=3, progress=False, clock=clock)


def test_a_worker_is_killed_at_work_and_the_search_ends_as_it_does_here(cluster, tmp_path):
    with Evaluator(SUITES, FITNESS, workers=1) as evaluator:
        alone = run(evaluator, tmp_path / "alone.sqlite")

    with cluster.connect() as executor:
        killer = Killer(executor, threads=1)

        def clock():  # which a search looks at whenever it asks for something, and when it comes
            if killer.killed is None and path.exists() and trained(path) >= 2:
                killer()
            return time.time()

        path = tmp_path / "cluster.sqlite"
        with Evaluator(SUITES, FITNESS, workers=1, executor=executor) as evaluator:
            found = run(evaluator, path, clock)
            assert len(killer.client.nthreads()) == 1
            again = evaluator.submit(activations.program_source("gelu"), "search", LAB).result()
    assert killer.killed
    assert found == alone
    assert again.ended == "scored"


def trained(path):
    with Archive(path, read_only=True) as archive:
        return sum(entry.was_trained for entry in archive.entries())


def test_a_worker_with_other_code_is_told_as_such(cluster, monkeypatch):
    monkeypatch.setattr(jobs, "build", lambda *modules: "another actlab")
    with (
        cluster.connect() as executor,
        Evaluator(SUITES, FITNESS, workers=1, executor=executor) as evaluator,
        pytest.raises(jobs.WorkerError, match=r"runs another actlab; got one that runs actlab [0-9a-f]"),
    ):
        evaluator.submit(activations.program_source("gelu"), "search", replace(LAB, steps=1)).result()
