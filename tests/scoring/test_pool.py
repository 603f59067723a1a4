import multiprocessing
import os
import pickle
import signal
import socket
import sys
import threading
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from actlab import activations
from actlab.candidates.program import check
from actlab.core import jobs
from actlab.core.config import FitnessConfig, LabConfig, Limits, TaskConfig, profile
from actlab.core.jobs import WorkerError
from actlab.lab import tasks
from actlab.lab.training_view import TrainingView
from actlab.scoring import pool, worker
from actlab.scoring.evaluator import Evaluator
from actlab.scoring.laboratory import Laboratory
from actlab.scoring.pool import Answer, Call, Pool
from actlab.scoring.sandbox import Outcome, Sandbox, SandboxError

SUITES = {name: tasks.suite(name, TaskConfig(search=8, far=8)) for name in ("search", "far")}
LAB = LabConfig(steps=5)
CONFIG = FitnessConfig(resamples=50)
PROGRAMS = [activations.program_source(name) for name in ("relu", "gelu", "turbulent")]
CALL = Call("describe", {"source": "def activation(x):\n    return x"}, [], 30.0, 0, Limits())
DATA = TrainingView((1,), np.ones((1, 2, 4)), np.ones((1, 2)), np.ones((1, 2, 4)))
DONE = Outcome("answered", None, {})


class Pickling(ThreadPoolExecutor):
    """Sends what it is given as bytes, as an executor of processes does, to this process; keeps the calls."""

    def __init__(self):
        super().__init__(1)
        self.calls: list[Call] = []
        self.sent = b""

    def submit(self, fn, call):
        self.calls.append(call)
        self.sent += pickle.dumps((fn, call))
        return super().submit(lambda sent: perform_pickled(*pickle.loads(sent)), pickle.dumps((fn, call)))


def perform_pickled(fn, call):
    return pickle.loads(pickle.dumps(fn(call)))


class Script:
    """Answers the calls that it is sent, in order: an Outcome or None is the answer, an exception is raised."""

    def __init__(self, *answers):
        self.answers, self.calls = list(answers), []

    def __call__(self, call):
        self.calls.append(call)
        future, answer = Future(), self.answers.pop(0)
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        return future


def answer(script, data=None):
    return Answer(script, replace(CALL, suite=None if data is None else pool.data_key(data)), data, lambda came: came)


@pytest.fixture(scope="module")
def here():
    """Findings, scores and values, found by this process's own sandboxes."""
    with Evaluator(SUITES, CONFIG, workers=1) as evaluator:
        return everything(evaluator)


def everything(evaluator):
    pending = [evaluator.submit(source, suite, LAB) for suite in SUITES for source in PROGRAMS]
    part = evaluator.submit(PROGRAMS[1], "search", LAB, chosen=(1, 6)).result()
    values, _ = evaluator.values(PROGRAMS[1], np.linspace(-1, 1, 5), np.ones((4, 3)))
    found = repr([evaluator.describe(source).result() for source in PROGRAMS])
    return found, [p.result() for p in pending], part, values.tobytes()


def test_an_executor_gives_the_same_results_to_the_bit_and_gets_the_data_of_a_suite_but_once(here):
    with Pickling() as executor, Evaluator(SUITES, CONFIG, workers=1, executor=executor) as evaluator:
        assert everything(evaluator) == here
        assert evaluator.score("def activation(x):\n    return x.sum(5)", "search", LAB).ended == "failed"
        asked = len(executor.calls)
        assert everything(evaluator) == here
    assert executor.calls[0].data is None
    assert not [call for call in executor.calls[asked:] if call.data is not None]
    assert len({call.number for call in executor.calls}) == len(executor.calls)


def test_what_is_sent_holds_the_training_data_and_no_ood_target():
    with Pickling() as executor:
        limits = Limits(memory=10**9)  # sandboxes of another kind, hence without data
        with Evaluator(SUITES, CONFIG, workers=1, limits=limits, executor=executor) as evaluator:
            evaluator.submit(PROGRAMS[0], "search", LAB).result()
    suite = SUITES["search"]
    assert suite.blind.train_y.tobytes() in executor.sent
    assert suite.ood_y.tobytes() not in executor.sent
    assert suite.ood_y[0].tobytes() not in executor.sent


def test_processes_that_share_nothing_give_the_same_results(here):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        smoke = replace(profile("smoke"), tasks=TaskConfig(8, 8, 8, 8), fitness=CONFIG)
        with Laboratory(smoke, executor=executor) as laboratory:
            scores = [laboratory.evaluator.submit(source, "search", LAB).result() for source in PROGRAMS]
        assert executor.submit(len, "open").result() == 4  # an executor outlives who used it
    assert scores == here[1][:3]


def test_a_call_from_other_code_is_refused_with_both_builds_named(monkeypatch):
    with pytest.raises(WorkerError, match=r"runs actlab 0; got one that runs actlab [0-9a-f]{12}, "):
        pool.perform(replace(CALL, build="actlab 0"))
    assert "torch 2." in jobs.build(*pool.RUNS)


def test_other_instructions_of_the_processor_are_another_build(monkeypatch):
    here = jobs.build.__wrapped__(*pool.RUNS)
    assert here == jobs.build(*pool.RUNS)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "OTHER")
    assert jobs.build.__wrapped__(*pool.RUNS) != here
    script = Script(WorkerError("wanted a worker that runs actlab 0"), DONE)
    with pytest.raises(WorkerError, match="actlab 0"):
        answer(script).result()
    assert len(script.calls) == 1  # another worker would say the same


def test_a_fault_of_the_system_is_met_with_one_more_try_and_then_raised(caplog):
    assert answer(Script(SandboxError("no process"), DONE)).result() is DONE
    assert "a job is sent once more, since the system failed: no process" in caplog.text
    script = Script(OSError("the worker died"), OSError("died again"), DONE)
    with pytest.raises(WorkerError, match="a worker was lost or failed: OSError: died again"):
        answer(script).result()
    assert [call.request for call in script.calls] == [CALL.request] * 2
    with pytest.raises(SandboxError, match="still none"):
        answer(Script(SandboxError("none"), SandboxError("still none"))).result()


def test_a_worker_without_actlab_is_told_as_such_and_not_asked_again():
    script = Script(ModuleNotFoundError("No module named 'actlab'"))
    with pytest.raises(
        WorkerError, match=r"wanted actlab, as it is here, on every worker; .* No module named 'actlab'"
    ):
        answer(script).result()


def test_data_is_sent_to_a_worker_that_lacks_it_even_after_a_fault():
    script = Script(None, SandboxError("no process"), DONE)
    assert answer(script, DATA).result() is DONE
    assert [call.data for call in script.calls] == [None, DATA, DATA]
    with pytest.raises(WorkerError, match="wanted a worker that takes the data"):
        answer(Script(None, None), DATA).result()


def test_a_call_that_is_dropped_is_cancelled_and_one_that_the_executor_drops_is_an_error():
    inner = []

    def keep(call):
        inner.append(Future())
        return inner[-1]

    ours, theirs, under_way = (Answer(keep, CALL, None, repr) for _ in range(3))
    inner[2].set_running_or_notify_cancel()
    assert (ours.cancel(), under_way.cancel()) == (True, False)
    inner[1].cancel()
    inner[1].set_running_or_notify_cancel()
    inner[2].set_result(DONE)
    assert wait([ours, theirs, under_way], timeout=5).not_done == set()
    with pytest.raises(CancelledError):
        ours.result()
    with pytest.raises(WorkerError, match="the executor dropped a job"):
        theirs.result()
    assert under_way.result() == repr(DONE)


def test_an_executor_that_takes_no_more_is_an_error_and_not_a_wait():
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with Evaluator(SUITES, CONFIG, workers=1, executor=executor) as evaluator, pytest.raises(RuntimeError):
        evaluator.describe(PROGRAMS[0]).result()


@pytest.fixture
def unstarted(monkeypatch):
    """Sandboxes that answer at once, without a process; gives the sandbox of each job."""
    used = []

    def run(sandbox, *_):
        used.append(sandbox)
        return DONE

    monkeypatch.setattr(Sandbox, "run", run)
    return used


def test_the_sandbox_that_was_last_at_work_goes_on(unstarted):
    shared = Pool(Limits(), size=2)
    for _ in range(3):
        shared.run(CALL)
    assert len(set(unstarted)) == 1
    assert len(shared.sandboxes) == 2


def test_a_sandbox_is_given_the_data_that_a_call_needs(unstarted):
    shared, needs = Pool(Limits()), replace(CALL, suite="a suite")
    assert shared.run(needs) is None
    assert shared.run(CALL) is DONE
    assert shared.run(replace(needs, data=DATA)) is DONE
    assert shared.run(needs) is shared.run(CALL) is DONE
    assert shared.sandboxes == [unstarted[0]]
    assert set(unstarted) == {unstarted[0]}
    assert dict(unstarted[0].data) == {"a suite": DATA}
    for i in range(pool.HELD):
        shared.run(replace(CALL, suite=f"suite {i}", data=DATA))
    assert shared.run(needs) is None  # the one that came first is forgotten first
    shared.close()
    with pytest.raises(SandboxError, match="this one is closed"):
        shared.run(CALL)


def test_no_scheduler_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    said = f"wanted a Dask scheduler at tcp://127.0.0.1:{port}; none answered within 1 s"
    with pytest.raises(WorkerError, match=said), jobs.connect(f"tcp://127.0.0.1:{port}", seconds=1):
        pass


def test_without_dask_the_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(WorkerError, match=r"pip install 'actlab\[cluster\]'"), jobs.connect("tcp://127.0.0.1:1"):
        pass


def test_a_fork_server_that_runs_takes_new_data_lets_go_of_old_and_keeps_what_it_holds():
    blind, other = SUITES["search"].blind, SUITES["far"].blind
    request = {"source": check(PROGRAMS[1]).source, "lab": asdict(LAB), "seed": 0}

    def ended(suite):
        outcome = box.run("predict", request | {"suite": suite}, [], 30.0, 10**6)
        return outcome.error or outcome.arrays[1].tobytes()

    with Sandbox({"a": blind}, Limits(), worker) as box:
        first = ended("a")
        server = box._process.pid
        box.hold({"a": blind, "b": other})
        box.hold({"b": other, "c": blind})
        assert ended("c") == first != ended("b")
        assert "KeyError" in ended("a")
        assert box._process.pid == server
        os.killpg(server, signal.SIGKILL)
        box.hold({"b": other, "c": blind, "d": blind})
        assert ended("d") == first


def test_a_fork_talks_to_no_sandbox_of_its_parent_and_ends_none(monkeypatch):
    at_exit = []
    monkeypatch.setattr(pool.atexit, "register", at_exit.append)
    process, memory = os.getpid(), 10**9 + 1
    ours, theirs = pool._pool(process, memory, ()), pool._pool(-1, memory, ())
    assert pool._pool(process, memory, ()) is ours
    assert len({ours, theirs, pool._pool(process, memory, ("seccomp",))}) == 3
    monkeypatch.setattr(os, "getpid", lambda: -1)
    for close in at_exit:
        close()
    assert (ours._closed, theirs._closed) == (False, True)


def test_a_cluster_without_any_worker_is_spoken_of(monkeypatch, caplog):
    class Client:
        status, left = "running", [{"tcp://127.0.0.1:1": 1}, {}]

        def nthreads(self):
            found = self.left.pop(0)
            if not self.left:
                ended.set()
            return found

    ended = threading.Event()
    monkeypatch.setattr(jobs, "WATCH", 0.001)
    jobs._watch(Client(), "tcp://127.0.0.1:8786", ended)
    assert caplog.messages == ["no worker is left at tcp://127.0.0.1:8786; the run waits for one"]
