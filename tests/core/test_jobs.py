"""The runner of jobs, with workers that are killed, runs that are interrupted, and executors that fail."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from job_cases import Task, entered, lost, said, square, squares, wait_for

from actlab.core import jobs
from actlab.core.jobs import Runner, WorkerError, as_they_come, connect, same_build

pytestmark = pytest.mark.usefixtures("quick_canaries")


@pytest.fixture
def told():
    return []


def numbers(ran):
    return {job.number: result[0] for job, result in ran}


def test_one_worker_is_this_process_and_runs_jobs_in_order(tmp_path):
    threads = torch.get_num_threads()
    try:
        ran = list(Runner(1).run([Task(n, tmp_path) for n in (3, 1, 2)], square))
    finally:
        torch.set_num_threads(threads)
    assert [(job.number, result) for job, result in ran] == [(n, (n * n, os.getpid(), 1)) for n in (3, 1, 2)]
    assert list(Runner(1).run([], square)) == list(Runner(2).run([], square)) == []


def test_two_workers_are_two_other_processes_of_one_thread_and_begin_jobs_in_order(tmp_path):
    both = ("begin 0", "begin 1")
    ran = list(Runner(2).run([Task(n, tmp_path, after=both) for n in range(5)], square))
    assert numbers(ran) == {n: n * n for n in range(5)}
    pids = {result[1] for _, result in ran}
    assert len(pids) == 2 and os.getpid() not in pids and {result[2] for _, result in ran} == {1}
    assert [line for line in said(tmp_path) if line[:5] == "begin"][2:] == ["begin 2", "begin 3", "begin 4"]


def test_no_number_of_workers_means_one_a_core_but_no_more_than_jobs(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "cores", lambda: 7)
    asked = []
    monkeypatch.setattr(jobs, "_here", lambda waiting, work, workers, *_: asked.append(workers) or ())
    for count in (3, 9):
        list(Runner().run([Task(n, tmp_path) for n in range(count)], square))
    assert asked == [3, 7]


@pytest.mark.parametrize("workers", [-1, -2])
def test_fewer_workers_than_none_are_refused(workers):
    with pytest.raises(ValueError, match=f"wanted 0 workers or more; got {workers}"):
        Runner(workers)


def test_an_error_of_a_job_ends_the_run(tmp_path):
    for runner in (Runner(1), Runner(2)):
        with pytest.raises(TypeError, match="unsupported operand"):
            list(runner.run([Task("two", tmp_path), Task("three", tmp_path)], square))


def test_jobs_that_ran_when_a_worker_died_run_again_each_alone_and_the_others_go_on(tmp_path, told):
    dies = Task(0, tmp_path, signal.SIGKILL, tries=1, after=("begin 1",))
    tasks = [dies, Task(1, tmp_path, sleeps=True), Task(2, tmp_path), Task(3, tmp_path)]
    ran = list(Runner(2, tell=told.append).run(tasks, square))
    assert numbers(ran) == {n: n * n for n in range(4)}
    assert told == ["a worker died; alone again: job 0; job 1"]
    log = [line for line in said(tmp_path) if not line.startswith("pid")]
    assert sorted(log[:2]) == ["begin 0", "begin 1"]
    assert log[2:6] == ["begin 0", "end 0", "begin 1", "end 1"]
    assert sorted(log[6:]) == ["begin 2", "begin 3", "end 2", "end 3"]


def test_a_job_that_the_system_kills_twice_alone_is_lost_and_the_others_go_on(tmp_path, told):
    tasks = [Task(0, tmp_path), Task(1, tmp_path, signal.SIGKILL), Task(2, tmp_path)]
    ran = list(Runner(2, tell=told.append).run(tasks, square, lost))
    assert numbers(ran) == {0: 0, 1: None, 2: 4}
    words = "killed by the system twice with no other job of this run beside it (signal 9): counts as out of memory"
    assert told[-1] == f"job 1: {words}"
    assert said(tmp_path).count("begin 1") == 3


@pytest.mark.parametrize(
    ("by", "words"),
    [(signal.SIGKILL, "job 0: killed by the system twice .* the same command goes on with the others"),
     (signal.SIGABRT, "job 0: wanted a worker that ends; it died with status -6, alone")],
)  # fmt: skip
def test_a_job_that_cannot_be_done_ends_the_run_in_one_line(tmp_path, by, words):
    with pytest.raises(WorkerError, match=words) as error:
        list(Runner(2).run([Task(0, tmp_path, by), Task(1, tmp_path)], square, None if by == signal.SIGKILL else lost))
    assert "\n" not in str(error.value)


def test_of_the_jobs_that_records_lack_each_is_entered_and_told_before_it_is_given(tmp_path, told):
    run, tasks = squares(tmp_path), [Task(n, tmp_path) for n in range(3)]
    for job in Runner(1, tell=told.append).complete(run, tasks[:1], entered):
        assert squares(tmp_path).jobs["number"].tolist() == [job.number] and told == ["job 0: came to 0"]
    assert list(Runner(1, tell=told.append).complete(squares(tmp_path), tasks, entered)) == tasks[1:]
    assert squares(tmp_path).table("squares")["value"].tolist() == [0, 1, 4]
    assert said(tmp_path).count("begin 0") == 1


def test_two_workers_write_what_one_writes(tmp_path):
    files = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        list(Runner(workers).complete(squares(folder), [Task(n, folder) for n in range(4)], entered))
        files.append({path.name: path.read_bytes() for path in (folder / "run").glob("*.csv")})
    assert files[0] == files[1] and files[0].keys() == {"jobs.csv", "squares.csv"}


def test_whoever_stops_taking_results_leaves_no_worker_and_no_job_half_entered(tmp_path):
    def stop(line):
        if line.startswith("job"):
            wait_for(lambda: pids(tmp_path))
            raise KeyboardInterrupt

    tasks = [Task(0, tmp_path, after=("begin 1",)), Task(1, tmp_path, sleeps=True), Task(2, tmp_path)]
    with pytest.raises(KeyboardInterrupt) as stopped:
        list(Runner(2, tell=stop).complete(squares(tmp_path), tasks, entered))
    wait_for(lambda: gone(*pids(tmp_path)))  # while the error, and with it the frames of the run, is still held
    assert stopped.traceback and squares(tmp_path).jobs["number"].tolist() == [0]


SCRIPT = """
import sys
from pathlib import Path
from types import SimpleNamespace
if __name__ == "__main__":
    from job_cases import Task, entered, no_canary, squares
    from actlab.core.jobs import Runner
    no_canary()
    folder = Path(sys.argv[1])
    tasks = [Task(0, folder), Task(1, folder, sleeps=True), Task(2, folder)]
    list(Runner(2).complete(squares(folder), tasks, entered))
"""


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_interrupted_or_killed_leaves_what_is_done_and_no_worker(tmp_path, by):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it runs in the background ignore it
    (tmp_path / "main.py").write_text(SCRIPT)
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    process = subprocess.Popen(
        [sys.executable, tmp_path / "main.py", tmp_path], env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE
    )
    wait_for(lambda: pids(tmp_path) and len(squares(tmp_path).jobs) == 2)
    process.send_signal(by)
    process.communicate(timeout=60)
    assert process.returncode in (-by, 1, 130)
    wait_for(lambda: gone(*pids(tmp_path)))
    assert squares(tmp_path).jobs["number"].tolist() == [0, 2]
    tasks = [Task(n, tmp_path) for n in range(3)]
    assert squares(tmp_path).missing(tasks) == [tasks[1]]


def pids(folder):
    return [int(line.split()[1]) for line in said(folder) if line.startswith("pid")]


def gone(*processes):
    return not any(os.path.exists(f"/proc/{pid}") for pid in processes)


# --- what runs where ---


def test_a_worker_with_another_build_is_refused_with_both_named(monkeypatch):
    here = jobs.build("core/stats")
    same_build(here, "core/stats")
    assert here == jobs.build.__wrapped__("core/stats") != jobs.build("core/config")
    words = r"wanted a worker that runs actlab 0; got one that runs actlab [0-9a-f]{12}, "
    with pytest.raises(WorkerError, match=words):
        same_build("actlab 0", "core/stats")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "OTHER")
    assert jobs.build.__wrapped__("core/stats") != here


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "", "²", "１"])
def test_a_count_is_a_whole_number_from_1(text):
    assert jobs.count("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match=f"wanted a whole number from 1; got '{text}'"):
        jobs.count(text)


def test_what_is_done_comes_first_and_what_is_added_meanwhile_comes_too():
    futures = {name: Future() for name in "abcd"}
    waiting = {name: (futures[name], name) for name in "abc"}
    coming = as_they_come(waiting, lambda item: item[0])
    for name in "ba":
        futures[name].set_result(None)
    assert next(coming)[0] == "a"  # of two at once the one that was put in first
    waiting["d"] = (futures["d"], "d")
    assert next(coming) == ("b", (futures["b"], "b"))
    futures["d"].set_result(None)
    assert next(coming)[0] == "d" and waiting.keys() == {"c"}
    futures["c"].set_result(None)
    assert [key for key, _ in coming] == ["c"]


@pytest.fixture
def any_build(monkeypatch):
    """Work that is no part of actlab can be sent."""
    monkeypatch.setattr(jobs, "build", lambda *modules: "the build")


def test_an_executor_runs_jobs_in_place_of_workers_one_at_a_time_in_a_process(any_build):
    at_once, most = [], []

    def work(number):
        at_once.append(number)
        most.append(len(at_once))
        time.sleep(0.01)
        at_once.remove(number)
        return threading.current_thread().name

    with ThreadPoolExecutor(3) as executor:
        ran = dict(Runner(1, executor).run(range(6), work))
    assert ran.keys() == set(range(6)) and max(most) == 1 and threading.current_thread().name not in ran.values()


class Fails(Executor):
    """Its first job ends with an error, the others do not end."""

    def __init__(self, error):
        self.error, self.futures = error, []

    def submit(self, *call):
        self.futures.append(Future())
        if len(self.futures) == 1:
            self.futures[0].set_exception(self.error)
        return self.futures[-1]


@pytest.mark.parametrize(
    ("error", "words"),
    [(None, "a worker was lost or failed: KilledWorker: Attempted to run task 'job 0' on 4 different workers, but all"),
     (CancelledError("lost"), "the executor dropped a job; its scheduler was lost, or it was closed: CancelledError"),
     (ModuleNotFoundError("No module named 'actlab'"), "wanted actlab, as it is here, on every worker; one cannot"),
     (WorkerError("wanted a worker that runs this"), "^wanted a worker that runs this$")],
)  # fmt: skip
def test_a_fault_of_a_cluster_is_one_line_and_drops_the_other_jobs(any_build, error, words):
    if error is None:
        worker = SimpleNamespace(address="tcp://127.0.0.1:1")
        error = pytest.importorskip("distributed").scheduler.KilledWorker("job 0", worker, 3)
    executor = Fails(error)
    with pytest.raises(WorkerError, match=words) as raised:
        list(Runner(1, executor).run(range(3), square))
    assert "\n" not in str(raised.value)
    assert [future.cancelled() for future in executor.futures] == [False, True, True]


def test_an_error_of_a_job_on_a_cluster_is_the_jobs_own(any_build):
    with pytest.raises(KeyError, match="wrong"):
        list(Runner(1, Fails(KeyError("wrong"))).run(range(3), square))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:PORT", "127.0.0.1:PORT"])
def test_no_scheduler_is_one_clear_line(address):
    pytest.importorskip("distributed")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = address.replace("PORT", str(listening.getsockname()[1]))
    with pytest.raises(WorkerError, match=f"wanted a Dask scheduler at {address}; none answered within 1 s"):
        connect(address, seconds=1).__enter__()


def test_without_dask_the_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(WorkerError, match=r"--scheduler wants dask; install it with: pip install 'actlab\[cluster\]'"):
        connect("tcp://127.0.0.1:1").__enter__()
