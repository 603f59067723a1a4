"""Searches that are killed in a write, in a call of a model and in an evaluation: all come to what was to come.

Run as a script, this file plays searches in children, each of which ends itself by SIGKILL at a moment it is told.
"""

import ctypes
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import anthropic  # noqa: F401 # here, and not first in each child
import messages_server as service
import numpy as np
import pytest
import torch
from messages_server import KEY, asked, serving
from stand_ins import CONFIG, LAB, Fake, play, record

from actlab.core.config import FitnessConfig, LabConfig, SearchConfig, TaskConfig
from actlab.lab import tasks
from actlab.scoring.confinement import die_with_parent
from actlab.scoring.evaluator import Evaluator
from actlab.search.archive import Archive
from actlab.search.evolution import search
from actlab.search.proposers.answers import CapReached, Live, Replayed, client
from actlab.search.proposers.claude import Claude
from actlab.search.proposers.grammar import Grammar
from actlab.search.proposers.models import Usage, read_models
from actlab.search.proposers.recording import Recording

LONGEST = 200  # seconds that a child may take; then it is ended, and the test fails
PR_SET_CHILD_SUBREAPER = 36


def end_now():
    """Ends this process as the system does that is out of memory: no `finally` runs."""
    os.kill(os.getpid(), signal.SIGKILL)


STATEMENTS = {
    "BEGIN": "begin", "COMMIT": "commit", "INSERT INTO programs": "program", "INSERT INTO moves": "move",
    "INSERT INTO evaluations": "evaluation", "INSERT INTO timings": "timing", "INSERT INTO calls": "call",
    "INSERT OR IGNORE INTO answers": "answer", "UPDATE calls": "cost", "UPDATE answers": "ending",
}  # fmt: skip


class Stroke:
    """Is told each statement of a connection before it runs, and ends the process at one of them.

    Args:
        pattern: of the words for the statements until then, the last one included; all but those above are "other",
            such as the seals before a commit.
        times: how often the pattern has to come.
        torn: the log of a connection, whose latest commit is then cut in two: it was killed while it was written.
    """

    def __init__(self, pattern, times=1, torn=None):
        pattern = pattern.replace(" commit", "( other)* commit")
        self.pattern, self.left, self.torn = re.compile(f"{pattern}$"), times, torn
        self.words, self.sizes = [], []

    def __call__(self, statement):
        word = next((word for start, word in STATEMENTS.items() if statement.startswith(start)), "other")
        if word == "move":
            word = re.search(r"'(\w+)'\)$", statement)[1]  # how
        self.words = [*self.words[-60:], word]
        if self.torn is not None:
            self.sizes = [*self.sizes[-1:], self.torn.stat().st_size]
        if self.pattern.search(" ".join(self.words)):
            self.left -= 1
            if self.left == 0:
                self._end()

    def _end(self):
        if self.torn is not None:
            before, after = self.sizes
            if after > before:  # else it is not the commit that was written, and the child goes on, which is found out
                os.truncate(self.torn, (before + after) // 2)
                end_now()
        else:
            end_now()


def in_child(work):
    """How `work` ended in a child of its own: what it returns, or "killed"; all that it started is gone then."""
    parent = os.getpid()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        die_with_parent(parent)
        torch.set_num_threads(1)  # two threads that are the first to use torch after a fork get in each other's way
        os.write(writing, str(work()).encode())
        os._exit(0)
    os.close(writing)
    status = reaped(child)
    with os.fdopen(reading) as words:
        said = words.read()
    for orphan in iter(lambda: reaped(-1), None):
        assert os.WIFEXITED(orphan) or os.WIFSIGNALED(orphan)
    if os.WIFSIGNALED(status):
        return "killed" if os.WTERMSIG(status) == signal.SIGKILL else f"signal {os.WTERMSIG(status)}"
    return said or "raised"


def reaped(child):
    """The status of a child that has ended, None where there is no child; it is waited for no longer than `LONGEST`."""
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        try:
            found, status = os.waitpid(child, os.WNOHANG)
        except ChildProcessError:
            return None
        if found:
            return status
        time.sleep(0.002)
    raise TimeoutError(f"wanted child {child} to end in {LONGEST} s")


def script(*arguments):
    """What this file says when it is run as a script."""
    command = [sys.executable, __file__, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True, timeout=540)
    return json.loads(done.stdout.splitlines()[-1])


# --- in the middle of a write ---

# Statements, the last of which did not run; and how often they came. The third round migrates, and resets.
STROKES = {
    "between two programs of a round": ("begin program program", 2),
    "between the programs and their moves": ("program born", 2),
    "between two moves of a round": ("born born", 2),
    "between a round's moves and its commit": ("born commit", 2),
    "after a round's commit": ("born commit other", 2),
    "before a migration": ("begin( program)+( born)* migrated", 1),
    "between a migration and the commit": ("migrated commit", 1),
    "after a migration's commit": ("migrated commit other", 1),
    "before a reset": ("(born|migrated) reset", 1),
    "between a reset and what the island starts anew with": ("reset seeded", 1),
    "between a reset and the commit": ("reset seeded commit", 1),
    "after a reset's commit": ("reset seeded commit other", 1),
    "before a result": ("begin evaluation", 30),
    "between a result and its time": ("evaluation timing", 30),
    "between a result's time and the commit": ("timing commit", 30),
    "after a result's commit": ("timing commit other", 30),
    "in the commit of a round": ("born commit other", 3),
    "in the commit of a reset": ("reset seeded commit other", 1),
    "in the commit of a result": ("timing commit other", 40),
}


def play_to(stroke, path):
    pattern, times = STROKES[stroke]
    with Archive(path) as archive, Fake() as evaluator:
        torn = Path(f"{path}-wal") if stroke.startswith("in ") else None
        archive._db.set_trace_callback(Stroke(pattern, times, torn))
        return search(evaluator, Grammar(), archive, CONFIG, LAB, 0, progress=False).digest


def strokes(folder):
    return {name: in_child(lambda name=name: play_to(name, folder / name)) for name in STROKES}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The search that was never killed: its programs and moves, digest and number of evaluations."""
    path = tmp_path_factory.mktemp("whole") / "run"
    result, calls = play(path)
    return record(path), result.digest, len(calls)


@pytest.fixture(scope="module")
def struck(tmp_path_factory):
    folder = tmp_path_factory.mktemp("struck")
    return folder, script("strokes", folder)


@pytest.mark.parametrize("stroke", STROKES)
def test_a_search_killed_in_a_write_leaves_whole_rounds_and_ends_in_the_digest_of_the_one_that_was_not(
    struck, whole, stroke
):
    folder, ended = struck
    assert ended[stroke] == "killed"
    (programs, moves), digest, evaluations = whole
    with Archive(folder / stroke, read_only=True) as archive:
        kept, moved, paid = archive.entries(), archive.moves(), len(archive.timings())
    rounds = 1 + kept[-1].round
    assert kept == [entry for entry in programs if entry.round < rounds] != programs
    assert moved == [move for move in moves if move.round < rounds]
    result, calls = play(folder / stroke)
    assert result.digest == digest
    assert record(folder / stroke) == (programs, moves)
    assert len(calls) == evaluations - paid  # what was kept is not evaluated again


# --- with the lab in its sandboxes and models that are asked ---

SUITES = {"search": tasks.suite("search", TaskConfig(search=8))}
FITNESS = FitnessConfig(resamples=50)
SMALL = LabConfig(steps=2, width=8, depth=2)
ASKING = SearchConfig(evaluations=12, round_size=8, islands=2, migrate_every=2, reset_every=3)
MODEL = read_models()["claude-haiku-5-5"]
CAP, PARALLEL = 0.5, 4
# After how many calls and evaluations a child is killed that goes on with the search, and how many seconds later.
DRAWS = np.random.default_rng(5)
MOMENTS = list(zip(DRAWS.integers(1, 9, 5).tolist(), DRAWS.uniform(0, 0.05, 5).tolist(), strict=True))
# Statements on the recording, the last of which did not run.
BETWEEN = {
    "a call is entered, and not committed": ("call commit", 2),
    "an answer has come, and is not kept": ("begin answer", 1),
    "an answer is kept, and not its cost": ("answer cost", 2),
    "both are kept, and not committed": ("cost commit", 1),
    "an answer is kept, and not judged": ("begin ending", 2),
}


class Watch:
    """Counts what was begun; some seconds after the `begun`-th, the process is ended.

    What is begun after the next few never comes to an end, so that no search is over before.
    """

    def __init__(self, begun, seconds):
        self.begun, self.seconds, self.count = begun, seconds, itertools.count(1)

    def __call__(self):
        number = next(self.count)
        if number == self.begun:
            threading.Timer(self.seconds, end_now).start()
        if number > self.begun + PARALLEL:
            threading.Event().wait(LONGEST)


def watched(watch):
    """The lab and a recording, whose evaluations and calls are counted."""

    class Lab(Evaluator):
        def describe(self, *given, **more):
            watch()
            return super().describe(*given, **more)

        def submit(self, *given, **more):
            watch()
            return super().submit(*given, **more)

    class Books(Recording):
        def reserve(self, *given):
            watch()
            return super().reserve(*given)

    return Lab, Books


class Unheard(Recording):
    """Books in which calls are entered, and no answer: the process ends with as many as may be under way."""

    def reserve(self, *given):
        call = super().reserve(*given)
        self.entered = getattr(self, "entered", 0) + 1
        if self.entered == PARALLEL:
            end_now()
        return call

    def keep(self, *_):
        threading.Event().wait(LONGEST)


def run(path, evaluator, answers):
    claude = Claude(answers, (MODEL,), max_tokens=1000, parallel=PARALLEL)
    with Archive(path) as archive:
        return search(evaluator, claude, archive, ASKING, SMALL, seed=0, progress=False).digest


def ask_and_search(folder, asking, cap=CAP, lab=Evaluator, books=Recording, stroke=None):
    """Goes on with the search of a folder; its digest, or "cap"."""
    with books(folder / "run.answers") as recording, lab(SUITES, FITNESS, 1) as evaluator:
        if stroke is not None:
            recording._db.set_trace_callback(Stroke(*stroke))
        try:
            return run(folder / "run", evaluator, Live(asking, recording, (MODEL,), cap))
        except CapReached:
            return "cap"


def search_and_kill(folder, url):
    """Plays one search in children that are killed, one after another; how each ended, and what was spent then."""
    if sys.platform == "linux":  # so that whatever a child leaves behind is ours to find
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    told, asking = [], client(KEY, url, timeout=LONGEST)

    def note(name, **how):
        ended = in_child(lambda: ask_and_search(folder, asking, **how))
        with Recording(folder / "run.answers", read_only=True) as recording:
            told.append((name, ended, recording.spent()))

    note("no answer is heard", books=Unheard)
    note("the cap leaves less than a call", cap=1.1 * told[0][2])
    for name, stroke in BETWEEN.items():
        note(name, stroke=stroke)
    for begun, seconds in MOMENTS:
        lab, books = watched(Watch(begun, seconds))
        note(f"{begun} begun", lab=lab, books=books)
    note("to the end")
    return told


def respond(body, _):
    """A service whose answers follow from the request."""
    words = asked(body)
    id = int(words.split()[1])
    if id % 5 == 0 and "Once more" not in words:
        return service.message(service.text("I think"), stop="end_turn")
    if id % 7 == 0:
        return service.message(stop="refusal")
    source = f"def activation(x):\n    return torch.relu(x) + {id / 1000} * torch.sin(x)"
    return service.message(service.rewrite(source))


@pytest.fixture(scope="module")
def evaluator():
    with Evaluator(SUITES, FITNESS, 1) as one:
        yield one


@pytest.fixture(scope="module")
def unkilled(evaluator, tmp_path_factory):
    """The search that was never killed: its digest, and the requests that it took."""
    folder = tmp_path_factory.mktemp("unkilled")
    with (
        serving(respond) as server, client(KEY, server.url, timeout=LONGEST) as asking,
        Recording(folder / "run.answers") as recording,
    ):  # fmt: skip
        return run(folder / "run", evaluator, Live(asking, recording, (MODEL,), CAP)), server.requests


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The search that was killed again and again: its folder, how its parts ended, and the requests that it took."""
    folder = tmp_path_factory.mktemp("killed")
    with serving(respond) as server:
        return folder, script("search", folder, server.url), server.requests


def test_a_search_with_models_in_the_lab_itself_ends_in_the_digest_of_the_one_that_was_not_killed(killed, unkilled):
    *steps, (_, digest, _) = killed[1]
    assert digest == unkilled[0]
    ends = [(name, ended) for name, ended, _ in steps]
    assert ends.pop(1) == ("the cap leaves less than a call", "cap")
    assert [ended for _, ended in ends] == ["killed"] * (1 + len(BETWEEN) + len(MOMENTS)), ends


def test_its_books_hold_all_that_it_was_billed_and_count_lost_calls_in_full(killed, unkilled):
    folder, steps, requests = killed
    with Recording(folder / "run.answers", read_only=True) as recording:
        calls, spent = recording.calls(), recording.spent()
    price = MODEL.cost(Usage(100, 50))  # of each answer of the server
    lost = calls["usd"].isna()
    assert lost.sum() >= PARALLEL + 3  # those that nobody heard, and one for each kill before a commit
    assert len(unkilled[1]) == (~lost).sum()  # as many were answered and kept
    assert spent == pytest.approx(price * (~lost).sum() + calls.loc[lost, "reserved"].sum())
    assert price * len(requests) <= spent <= CAP
    assert [spent for *_, spent in steps] == sorted(spent for *_, spent in steps)
    assert steps[0][2] == steps[1][2]  # a cap that leaves less than a call sends none


def test_it_asks_for_nothing_that_it_has_kept(killed, unkilled):
    folder, _, requests = killed
    with Recording(folder / "run.answers", read_only=True) as recording:
        lost = recording.calls()["usd"].isna().sum()
    times = Counter(map(asked, requests))
    assert times.keys() == set(map(asked, unkilled[1]))
    assert sum(times.values()) - len(times) <= lost


def test_its_recording_replays_to_the_same_digest(killed, unkilled, evaluator, tmp_path):
    with Recording(killed[0] / "run.answers", read_only=True) as recording:
        assert run(tmp_path / "run", evaluator, Replayed(recording)) == unkilled[0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, folder, *rest = sys.argv[1:]
    print(json.dumps({"strokes": strokes, "search": search_and_kill}[what](Path(folder), *rest)))
