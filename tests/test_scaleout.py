"""The multiverse and the transfer on a real Dask cluster, one of whose workers is killed: the same bytes as here."""

from dataclasses import replace

import pytest
from dask_cluster import Cluster, Killer

from actlab.core import jobs
from actlab.core.jobs import Runner, WorkerError
from actlab.studies import multiverse
from actlab.transfer import sweep

pytestmark = pytest.mark.usefixtures("quick_canaries")

LABS = multiverse.jobs(replace(multiverse.DESIGNS["smoke"], labs=12, functions=("relu", "gelu", "turbulent")))
TRAININGS = sweep.jobs("smoke", sweep.Design(("relu", "gelu"), dict.fromkeys(sweep.BENCHMARKS, 1)))


def labs(folder, runner):
    multiverse.explore(LABS, multiverse.LabRecords(folder / "run"), runner)


def trainings(folder, runner):
    sweep.compare(TRAININGS, sweep.records(folder / "run"), folder / "checkpoints", runner)


def texts(folder):
    return {path.name: path.read_bytes() for path in (folder / "run").glob("*.csv")}


@pytest.mark.parametrize(("run", "threads"), [(labs, 2), (trainings, 1)])
def test_a_worker_is_killed_at_work_and_the_records_are_those_of_a_run_here(cluster, tmp_path, run, threads):
    run(tmp_path / "here", Runner(2))  # in processes of its own, since other tests set what torch computes with
    with cluster.connect() as executor:
        killer = Killer(executor, threads)
        run(tmp_path / "cluster", Runner(executor=executor, tell=killer))
        assert killer.killed and len(killer.client.nthreads()) == 1
    here, there = texts(tmp_path / "here"), texts(tmp_path / "cluster")
    assert len(here) >= 3 and there == here


@pytest.mark.parametrize("run", [labs, trainings])
def test_a_worker_with_other_code_is_told_as_such_and_nothing_is_entered(cluster, tmp_path, monkeypatch, run):
    monkeypatch.setattr(jobs, "build", lambda *modules: "another actlab")
    told = r"wanted a worker that runs another actlab; got one that runs actlab [0-9a-f]{12}, python 3"
    with cluster.connect() as executor, pytest.raises(WorkerError, match=told):
        run(tmp_path, Runner(executor=executor))
    assert not texts(tmp_path)


def test_a_scheduler_that_is_lost_ends_the_run_in_one_line_and_what_is_entered_stays(tmp_path):
    pytest.importorskip("distributed")
    own = Cluster(tmp_path)
    try:
        with own.connect() as executor, pytest.raises(WorkerError, match="its scheduler was lost") as lost:
            labs(tmp_path, Runner(executor=executor, tell=lambda line: own.processes[0].kill()))
    finally:
        own.close()
    assert "\n" not in str(lost.value)
    there = multiverse.LabRecords(tmp_path / "run")
    assert 1 <= len(there.jobs) < len(LABS)
    assert len(there.missing(LABS)) == len(LABS) - len(there.jobs)
