import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import hostile
import hostile_jobs
import numpy as np
import pytest

from actlab.activations import program_source
from actlab.core.config import Limits
from actlab.lab.training_view import TrainingView
from actlab.scoring import confinement, forkserver, messages, sandbox
from actlab.scoring.sandbox import Outcome, Sandbox, SandboxError

LIMITS = Limits(memory=300_000_000)
BLIND = TrainingView((1, 2), np.zeros((2, 3, 4)), np.ones((2, 3)), np.full((2, 3, 4), 2.0))
SECRET = "ACTLAB_TEST_SECRET"
SHORT, LONG = 0.3, 30.0  # seconds
LINUX = pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked for in /proc")
ACTIVE = confinement.Confinement(LIMITS.memory).active
MISSING = confinement.Confinement(LIMITS.memory).missing


def needs(*walls):
    missing = [f"no {wall}: {MISSING[wall]}" for wall in walls if wall in MISSING]
    return pytest.mark.skipif(bool(missing), reason="; ".join(missing) or "nothing is missing")


def run(box, source, seconds=LONG, limit=0):
    return box.run("python", {"source": source}, [], seconds, limit)


HONEST = "head = {'sum': float(torch.linspace(-3, 3, 64).exp().sum()), 'modules': len(sys.modules)}"


@pytest.fixture(scope="module")
def box():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SECRET, "hunter2")
        with Sandbox({"search": BLIND}, LIMITS, hostile_jobs) as one:
            yield one


@pytest.fixture(scope="module")
def honest(box):
    return run(box, HONEST), box.run("describe", {"source": program_source("gelu")}, [], LONG, 0)


@pytest.fixture
def unharmed(box, honest, tmp_path, monkeypatch):
    """The fork server, its folder, this folder and two honest answers are the same after the test as before."""
    monkeypatch.chdir(tmp_path)
    started = box._process.pid
    yield
    assert run(box, HONEST) == honest[0]
    assert box._process.pid == started
    assert [file for _, _, files in os.walk(box._scratch.name) for file in files] == []
    assert os.listdir() == []
    assert not os.path.exists("/tmp/actlab-was-here")


def processes(marker):
    """The numbers of the processes of that name."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and (folder / "comm").read_text().strip() == marker:
                found.append(int(folder.name))
        except OSError:  # it ended meanwhile
            continue
    return found


# --- raw Python, as if the language of candidates had been escaped ---


@pytest.mark.parametrize("name", hostile.RAW)
def test_raw_python_is_contained_and_its_end_is_told(name, box, unharmed):
    program = hostile.RAW[name]
    missing = [wall for wall in program.needs if wall in MISSING]
    if missing:
        pytest.skip("; ".join(f"no {wall}: {MISSING[wall]}" for wall in missing))
    outcome = run(box, program.source, SHORT if "ran longer" in program.words else LONG)
    assert outcome.ended == program.ended, outcome
    assert program.words in (outcome.error or "")
    assert outcome.error is None or (outcome.error.isprintable() and len(outcome.error) < 500)


def is_python(source):
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(source, "raw", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return len(source) < 20_000


@needs("seccomp", "limits")
def test_every_program_of_the_first_wall_is_contained_by_the_second_alone(box, honest):
    """The first wall taken away: torch, math and F are the real modules, every builtin is there, nothing is checked."""
    started = box._process.pid
    programs = {name: source for name, source in hostile.REFUSED.items() if is_python(source)}
    assert len(programs) > 180
    for name, source in programs.items():
        whole = (
            f"import math\nimport torch.nn.functional as F\n{source}\nactivation(torch.ones(4, 4, requires_grad=True))"
        )
        text = f"exec(compile({whole!a}, 'raw', 'exec'), globals())"
        outcome = run(box, text, 0.1)
        assert outcome.ended in ("answered", "failed", "killed"), name
        assert box._process.pid == started, name
    assert (run(box, HONEST), box.run("describe", {"source": program_source("gelu")}, [], LONG, 0)) == honest
    assert [file for _, _, files in os.walk(box._scratch.name) for file in files] == []


@needs("seccomp")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of system calls are x86-64's")
def test_every_system_call_that_is_not_on_the_list_is_refused(box, unharmed):
    allowed = {seccomp().resolve_syscall(seccomp().Arch.NATIVE, call) for call in confinement.CALLS} | {234, 302}
    uprobes = {335, 336}  # which the kernel lets past any filter, and answers with SIGILL where no probe is
    source = f"""
for number in range(512):
    if number not in {allowed | uprobes}:
        try: came = call(number, -1, -1, -1, -1, -1, -1)
        except OSError as error: came = error.errno
        if came != 1: head[number] = came
"""
    assert len(allowed) == len(confinement.CALLS) + 2
    assert run(box, source).head == {}


def seccomp():
    import pyseccomp

    return pyseccomp


@needs("seccomp")
def test_a_child_holds_one_pipe_and_the_null_device_and_no_more(box, unharmed):
    source = """
for number in range(1024):
    try: head[number] = os.lseek(number, 0, os.SEEK_CUR)
    except OSError as error: head[number] = error.strerror
head = {number: came for number, came in head.items() if came != 'Bad file descriptor'}
"""
    assert run(box, source).head == {"0": 0, "1": 0, "2": 0, "3": "Illegal seek"}


def test_a_child_holds_no_target_and_none_of_what_makes_them(box, unharmed):
    source = """
head['modules'] = [m for m in sys.modules if m.startswith('actlab')]
head['names'] = sorted({name for o in gc.get_objects() if isinstance(o, dict) for name in o if name == 'ood_y'})
head['types'] = sorted({type(o).__name__ for o in gc.get_objects()} & {'Suite', 'Task', 'Evaluator', 'Sandbox'})
head['data'] = {name: sorted(vars(blind)) for name, blind in data.items()}
"""
    head = run(box, source).head
    judges = {"tasks", "feynman", "fitness", "sandbox", "stats", "archive", "evolution", "records"}
    assert {name.removeprefix("actlab.") for name in head["modules"]}.isdisjoint(judges)
    assert "actlab.lab.training" in head["modules"]
    assert (head["names"], head["types"]) == ([], [])
    assert head["data"] == {"search": ["dims", "ood_x", "train_x", "train_y"]}


def test_the_environment_of_the_caller_stays_with_the_caller(box, unharmed):
    assert os.environ[SECRET] == "hunter2"
    head = run(box, "import posix\nhead = {'seen': dict(os.environ), 'c': libc.getenv(b'PATH'), 'argv': sys.argv}").head
    assert head["seen"] == {}
    assert head["c"] == 0
    if Path("/proc/self/environ").exists():
        names = Path(f"/proc/{box._process.pid}/environ").read_bytes()
        assert SECRET.encode() not in names
        assert b"OMP_NUM_THREADS" in names
        assert SECRET.encode() not in Path(f"/proc/{box._process.pid}/cmdline").read_bytes()


@LINUX
def test_no_memory_is_shared_with_the_fork_server_or_the_next_child(box, honest):
    maps = Path(f"/proc/{box._process.pid}/maps").read_text().splitlines()
    assert len(maps) > 100
    assert [line for line in maps if line.split()[1].endswith("s") and "w" in line.split()[1]] == []


def test_nothing_stays_for_the_next_child(box, unharmed):
    assert run(box, "torch.left = sys.left = 1; data['left'] = 1; os.environ['LEFT'] = '1'").ended == "answered"
    source = "head = {'left': [hasattr(torch, 'left'), hasattr(sys, 'left'), 'left' in data, 'LEFT' in os.environ]}"
    assert run(box, source).head == {"left": [False] * 4}


def test_an_answer_of_many_megabytes_comes_whole_where_it_was_asked_for(box, unharmed):
    outcome = run(box, "out = [np.arange(10 ** 6), np.eye(3)]", limit=8 * (10**6 + 9))
    np.testing.assert_array_equal(outcome.arrays[0], np.arange(10**6))
    np.testing.assert_array_equal(outcome.arrays[1], np.eye(3))


def test_a_request_of_many_megabytes_comes_whole(box, unharmed):
    x = np.random.default_rng(0).normal(size=10**6)
    source = "arrays = sys._getframe(1).f_locals['arrays']\nout = [arrays[0] + 1, arrays[1]]"
    outcome = box.run("python", {"source": source}, [x, x[:3]], LONG, 8 * (10**6 + 3))
    np.testing.assert_array_equal(outcome.arrays[0], x + 1)
    np.testing.assert_array_equal(outcome.arrays[1], x[:3])


def test_a_forged_answer_is_taken_for_what_it_says_and_never_run(box, unharmed):
    outcome = run(box, "os.write(3, messages.pack({'a': [1, None]}, [np.ones((2, 2))])); os._exit(0)", limit=32)
    assert outcome == Outcome("answered", None, {"a": [1, None]}, outcome.arrays)
    assert [array.tolist() for array in outcome.arrays] == [[[1.0, 1.0], [1.0, 1.0]]]


# --- the fork server and the sandbox ---


def test_a_message_longer_than_was_asked_for_is_not_read():
    stream = io.BytesIO()
    forkserver.write(stream, b"12345")
    stream.seek(0)
    with pytest.raises(messages.TooLong, match="sent more than 4 bytes"):
        forkserver.read(stream, 4)
    stream.seek(0)
    assert forkserver.read(stream, 5) == b"12345"
    assert forkserver.read(stream, 5) is None  # its end
    assert forkserver.read(io.BytesIO(stream.getvalue()[:-1])) is None  # ended in the middle


def test_a_program_that_is_too_long_to_be_sent_fails_alone(box, unharmed):
    outcome = run(box, "#" * messages.MAX_HEAD)
    assert outcome.ended == "failed"
    assert outcome.error.startswith("is too long to be sent to a process: wanted a head of at most")


@LINUX
def test_a_fork_server_that_is_killed_while_idle_is_replaced_unseen(box, honest):
    idle = box._process
    os.kill(idle.pid, signal.SIGKILL)
    idle.wait()
    assert run(box, HONEST) == honest[0]
    assert box._process.pid != idle.pid


@LINUX
def test_a_caller_that_is_killed_leaves_no_process_and_no_folder(tmp_path):
    source = f"""
import sys, tempfile
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
tempfile.tempdir = {str(tmp_path)!r}
import hostile_jobs
from actlab.core.config import Limits
from actlab.scoring.sandbox import Sandbox
box = Sandbox({{}}, Limits(), hostile_jobs)
box.start()
print(box._process.pid, flush=True)
box.run('python', {{'source': 'while True: pass'}}, [], 600, 0)
"""
    caller = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    with caller:
        started = int(caller.stdout.readline())
        caller.kill()
    gone(started)
    until(lambda: os.listdir(tmp_path) == [])


def until(true):
    """Waits for what must come; a minute is the longest."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def gone(number):
    """Waits until a process has ended."""

    def ended():
        try:
            return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    until(ended)


@LINUX
def test_closing_ends_the_fork_server_and_a_child_that_is_under_way():
    box = Sandbox({}, LIMITS, hostile_jobs)
    box.start()
    came = []

    def ask():
        with pytest.raises(SandboxError) as error:
            run(box, "while True: pass")
        came.append(str(error.value))

    thread = threading.Thread(target=ask)
    thread.start()
    started = box._process.pid
    listed = Path(f"/proc/{started}/task/{started}/children")
    until(lambda: busy(listed))
    (child, *_) = listed.read_text().split()
    scratch = box._scratch.name
    box.close()
    thread.join()
    assert came == ["the sandbox was closed while a candidate ran"]
    gone(started)
    gone(int(child))
    assert not os.path.exists(scratch)
    with pytest.raises(SandboxError, match="wanted an open sandbox; this one is closed"):
        run(box, HONEST)


def busy(listed):
    """Whether a child has computed for a while."""
    spent = [
        Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11] for child in listed.read_text().split()
    ]
    return any(int(ticks) > 5 for ticks in spent)


def test_two_threads_of_the_caller_take_turns(box, unharmed):
    came = {}

    def ask(number):
        came[number] = run(box, f"head = {{'number': {number}}}").head["number"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert came == {number: number for number in range(6)}


def test_a_fork_server_that_cannot_start_is_the_callers_error(monkeypatch):
    monkeypatch.setattr(sandbox.sys, "executable", "/bin/false")
    with (
        Sandbox({}, LIMITS, hostile_jobs) as box,
        pytest.raises(SandboxError, match="left with exit status 1 at its start"),
    ):
        box.start()


# --- each wall alone; and no fork ---


@LINUX
def test_a_stalled_childs_whole_family_is_ended_where_seccomp_is_missing():
    """Children, grandchildren that left the session, and their children: all of them die when the time is over."""
    marker = f"actlab-{os.getpid()}"
    source = f"""
libc.prctl(15, {marker!r}.encode())
for k in range(3):
    if os.fork() == 0:
        os.setsid()
        for n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)
        if os.fork() == 0: os.setsid()
        break
while True: time.sleep(1)
"""
    with Sandbox({}, LIMITS, hostile_jobs, without=("seccomp", "limits", "landlock")) as box:
        assert run(box, hostile.RAW["sends a pickle"].source).ended == "killed"
        came = []
        thread = threading.Thread(target=lambda: came.append(run(box, source, 1.5)))
        thread.start()
        until(lambda: len(processes(marker)) == 7 or not thread.is_alive())
        assert thread.is_alive()
        thread.join()
        assert came == [Outcome("killed", "ran longer than its 1.5 s, and was ended with its process group")]
        assert processes(marker) == []
        leaves = f"libc.prctl(15, {marker!r}.encode())\nif os.fork() == 0:\n os.setsid()\n while True: time.sleep(1)"
        outcome = run(box, leaves, 0.5)
        assert outcome.ended == "killed"  # the one that stayed holds the pipe
        assert processes(marker) == []
        closes = leaves.replace("os.setsid()", "os.setsid(); os.close(3)")
        assert run(box, closes).ended == "answered"
        assert processes(marker) == []
        kills = run(box, "os.kill(os.getppid(), signal.SIGKILL)\nwhile True: pass")
        assert kills.ended == "killed"
        assert "SIGKILL" in kills.error


def test_limits_alone_hold_memory_files_and_time_and_not_root(tmp_path, caplog):
    sandbox._log_once.cache_clear()
    with (
        caplog.at_level(logging.INFO, "actlab.scoring.sandbox"),
        Sandbox({}, LIMITS, hostile_jobs, without=("seccomp", "landlock")) as box,
    ):
        assert run(box, "bytearray(10 ** 12)").error == "wanted more memory than it may have"
        assert run(box, f"open({str(tmp_path / 'f')!r}, 'w').write('x' * 10 ** 5)").ended == "failed"
        assert (tmp_path / "f").stat().st_size == 0
        assert "Too many open files" in run(box, "a = [open('/dev/null') for _ in range(99)]").error
        assert run(box, "while True: pass", SHORT).ended == "killed"
        forks = run(box, "number = os.fork()\nif number == 0: os._exit(0)\nos.waitpid(number, 0)")
        assert forks.ended == ("answered" if os.geteuid() == 0 else "failed")
        assert box.active == ("fork", "limits")
    (record,) = [record for record in caplog.records if record.name == "actlab.scoring.sandbox"]
    assert record.levelno == logging.WARNING
    assert record.message.startswith("sandbox: fork, limits, empty environment (no seccomp: left out; no landlock:")


@needs("landlock")
def test_landlock_alone_lets_no_file_be_read_written_made_or_removed(tmp_path):
    (tmp_path / "kept").write_text("as it was")
    with Sandbox({}, LIMITS, hostile_jobs, without=("seccomp", "limits")) as box:
        kept, new = str(tmp_path / "kept"), str(tmp_path / "new")
        for attempt in (
            f"open({kept!r}).read()", f"open({kept!r}, 'w')", f"open({kept!r}, 'a')", f"os.truncate({kept!r}, 0)",
            f"os.unlink({kept!r})", f"os.rename({kept!r}, {new!r})", f"os.link({kept!r}, {new!r})",
            f"open({new!r}, 'w')", f"os.mkdir({new!r})", f"os.symlink('/etc', {new!r})", f"os.mkfifo({new!r})",
            f"os.listdir({str(tmp_path)!r})", "open('/etc/passwd')", "open('here', 'w')",
            "os.execv('/bin/true', ['true'])",
        ):  # fmt: skip
            outcome = run(box, attempt)
            assert outcome.ended == "failed", attempt
            assert "Permission denied" in outcome.error or "cross-device" in outcome.error, attempt
    assert os.listdir(tmp_path) == ["kept"]
    assert (tmp_path / "kept").read_text() == "as it was"


@needs("seccomp")
def test_seccomp_alone_lets_no_file_process_or_socket_be_had(tmp_path):
    with Sandbox({}, LIMITS, hostile_jobs, without=("landlock", "limits")) as box:
        for attempt in ("open('/etc/passwd')", f"open({str(tmp_path / 'f')!r}, 'w')", "os.fork()", "socket.socket()",
                        "os.kill(os.getppid(), 9)", "os.unlink('f')"):  # fmt: skip
            assert run(box, attempt).error.startswith("raised PermissionError"), attempt
    assert os.listdir(tmp_path) == []


def test_without_fork_each_job_has_a_process_and_the_same_walls():
    forged = "for n in range(3, 16):\n try: os.write(n, {!r})\n except OSError: pass\nos._exit(0)"
    cases = {
        "[os.write(n, b'flood' * 10 ** 5) for n in (0, 1, 2)]\nhead = {'a': 1}": ("answered", ""),
        "while True: pass": ("killed", "ran longer than its 1 s, and was ended with its process group"),
        forged.format((2).to_bytes(8, "little") + b"x\n"): ("killed", "sent no answer that can be read: wanted JSON"),
    }
    with Sandbox({}, LIMITS, hostile_jobs, fork=False) as box:
        for source, (ended, words) in cases.items():
            outcome = run(box, source, 1.0)
            assert outcome.ended == ended, (source, outcome)
            assert words in (outcome.error or "")
            assert outcome.head == ({"a": 1} if ended == "answered" else None)
            assert box._process is None
        assert box.active == ("one process a candidate", *ACTIVE)


def test_a_system_that_gives_no_process_is_no_fault_of_the_candidates(monkeypatch):
    def refuse(dir):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(forkserver.tempfile, "mkdtemp", refuse)
    how, answer = forkserver._in_child(None, {"seconds": 1.0, "limit": 1}, [], {}, None, None)
    assert answer == b""
    with pytest.raises(SandboxError, match=r"this system gave none: .*No space left"):
        sandbox._outcome(how, answer, 1.0, 1)
