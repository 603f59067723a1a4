"""Jobs whose worker dies, or who wait for each other; a module of its own, which workers can import."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from actlab.core.records import PROTOCOLS, Family, Records


@dataclass(frozen=True)
class Task:
    """A square that is worked out, whose process may end before: by a signal, always or in its first try alone.

    Attributes:
        number: to be squared.
        folder: of the log, and of what tells that a job has begun.
        signal: that kills the process.
        tries: after so many it is killed no more.
        after: names of jobs that must have begun before.
        sleeps: whether the first try does not end by itself.
    """

    number: int
    folder: Path
    signal: int = 0
    tries: int = 100
    after: tuple[str, ...] = ()
    sleeps: bool = False

    def __str__(self):
        return f"job {self.number}"

    @property
    def identity(self):
        return {"number": self.number}

    @property
    def key(self):
        return PROTOCOLS["lab"].key(self.identity)[:12]


def said(folder):
    """What jobs have said so far, a word or two a line."""
    log = folder / "log"
    return log.read_text().splitlines() if log.exists() else []


def say(folder, words):
    with (folder / "log").open("a") as log:
        log.write(f"{words}\n")


def wait_for(true, seconds=120):
    """Waits until something is true, which it returns."""
    ends = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < ends
        time.sleep(0.02)
    return found


def square(task):
    """Number, process and threads."""
    say(task.folder, f"begin {task.number}")
    wait_for(lambda: set(task.after) <= set(said(task.folder)))
    tried = said(task.folder).count(f"begin {task.number}")
    if task.signal and tried <= task.tries:
        os.kill(os.getpid(), task.signal)
    if task.sleeps and tried == 1:
        say(task.folder, f"pid {os.getpid()}")
        time.sleep(600)
    say(task.folder, f"end {task.number}")
    return task.number**2, os.getpid(), torch.get_num_threads()


def lost(task):
    """What counts where a job was lost."""
    return None, None, None


def entered(task):
    """As `Runner.complete` wants it."""
    value, _, _ = square(task)
    return {"squares": pd.DataFrame({"value": [value]})}, f"came to {value}"


def squares(folder):
    """Records of such jobs."""
    return Records(folder / "run", "lab", ["number"], {"squares.csv": ["number", "value"]})


def no_canary():
    """For a process that is begun by a test: the lab's own canary takes seconds."""
    Family.values = lambda self: {}
