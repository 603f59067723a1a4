"""The fork server: a warmed process that forks a child for each candidate, watches it, and ends it (ours).

It holds training data and OOD inputs: no OOD target, no environment, no file but its two pipes. It passes on the bytes
that a child answers and never reads them. Where a system has no fork, it does one job itself, and the sandbox starts
another.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from actlab.lab.training_view import TrainingView
from actlab.scoring import messages
from actlab.scoring.confinement import PR_SET_CHILD_SUBREAPER, Confinement, die_with_parent, prctl

CAN_FORK = sys.platform == "linux"  # macOS has fork, but neither waitid for it nor a way for a child to die with it
LENGTH = 8  # bytes of the size before each message between the sandbox and the fork server
CANNOT_ALLOCATE = ("can't allocate memory", "cannot allocate memory", "not enough memory", "bad_alloc")  # torch's words


def read(stream: BinaryIO, limit: int | None = None) -> bytes | None:
    """The next message of a stream; None at its end.

    Raises:
        messages.TooLong: where it has more than `limit` bytes.
    """
    head = stream.read(LENGTH)
    if len(head) < LENGTH:
        return None
    size = int.from_bytes(head, "little")
    if limit is not None and size > limit:
        raise messages.TooLong(f"sent more than {limit} bytes")
    body = stream.read(size)
    return body if len(body) == size else None


def write(stream: BinaryIO, message: bytes) -> None:
    """Writes a message to a stream."""
    stream.write(len(message).to_bytes(LENGTH, "little"))
    stream.write(message)
    stream.flush()


def main() -> None:
    """Serves one sandbox over standard input and output, until that is closed."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    _to_null(0, 1)
    os.environ.clear()
    head, arrays = messages.unpack(read(requests))
    jobs = importlib.import_module(head["jobs"])
    jobs.warm_up()
    os.environ.clear()  # what torch put there
    data = _suites(head["suites"], arrays)
    confinement = Confinement(head["memory"], head["without"])
    can_fork = head["fork"] and CAN_FORK
    if can_fork:
        confinement.try_out()
    active = ["fork" if can_fork else "one process a candidate", *confinement.active]
    write(answers, messages.pack({"active": active, "missing": confinement.missing}))
    if can_fork:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    gc.collect()
    gc.freeze()
    while (request := read(requests)) is not None:
        head, arrays = messages.unpack(request)
        if "suites" in head:
            data = {name: data[name] for name in head["keep"]} | _suites(head["suites"], arrays)
            write(answers, messages.pack({}))
            continue
        if not can_fork:  # this process is the candidate's from here on
            _to_null(2)
            confinement.apply(head["seconds"])
            write(answers, _work(jobs, head, arrays, data))
            return
        how, answer = _in_child(jobs, head, arrays, data, confinement, requests)
        write(answers, messages.pack(how))
        write(answers, answer)
    _leave()


def _suites(about: Mapping[str, Any], arrays: list[np.ndarray]) -> dict[str, TrainingView]:
    parts = iter(arrays)
    return {name: TrainingView(tuple(dims), next(parts), next(parts), next(parts)) for name, dims in about.items()}


def _in_child(
    jobs: ModuleType,
    request: Mapping[str, Any],
    arrays: list[np.ndarray],
    data: Mapping[str, TrainingView],
    confinement: Confinement,
    sandbox: BinaryIO,
) -> tuple[dict[str, Any], bytes]:
    """Forks, confines and watches; returns how the child ended, and the bytes that it wrote."""
    server, started = os.getpid(), time.monotonic()
    try:
        scratch = tempfile.mkdtemp(dir=os.getcwd())
        reading, writing = os.pipe()
        child = os.fork()
    except OSError as error:  # of this machine, not of the candidate
        return {"how": "host", "why": str(error)}, b""
    if child == 0:
        status = 70
        try:
            os.setsid()
            die_with_parent(server)
            os.chdir(scratch)
            if (score := Path("/proc/self/oom_score_adj")).exists():  # out of memory, the kernel ends this one first
                score.write_text("1000")
            _to_null(0, 1, 2)
            os.dup2(writing, 3)
            os.closerange(4, os.sysconf("SC_OPEN_MAX"))  # no descriptor is left but the null device's and the pipe
            confinement.apply(request["seconds"])
            answer = memoryview(_work(jobs, request, arrays, data))
            while answer:
                answer = answer[os.write(3, answer) :]
            status = 0
        finally:
            os._exit(status)  # never back into the parent's code
    os.close(writing)
    try:
        how, answer = _watch(child, reading, started + request["seconds"], request["limit"], sandbox)
    finally:
        os.close(reading)
        _end(child)
        shutil.rmtree(scratch, ignore_errors=True)
    return how, answer


def _watch(child: int, reading: int, until: float, limit: int, sandbox: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """Gathers what the child writes, at most `limit` bytes, until it ends or its time is over."""
    parts, size = [], 0
    watched = select.poll()
    watched.register(reading, select.POLLIN)
    watched.register(sandbox, 0)  # a sandbox that is gone hangs up
    while True:
        left = until - time.monotonic()
        ready = dict(watched.poll(max(0.0, left) * 1000))
        if sandbox.fileno() in ready:
            _end(child)
            _leave()
            os._exit(0)
        if not ready or left < 0:  # a pipe that is never empty buys no time
            return {"how": "time"}, b""
        part = os.read(reading, 1 << 20)
        if not part:
            break
        parts.append(part)
        size += len(part)
        if size > limit:
            return {"how": "output"}, b""
    while (status := os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG)) is None:
        if time.monotonic() > until:  # it closed its pipe and goes on
            return {"how": "time"}, b""
        time.sleep(0.0005)
    code = status.si_status if status.si_code == os.CLD_EXITED else -status.si_status
    if code != 0:
        return {"how": "ended", "status": code}, b""
    return {"how": "answered"}, b"".join(parts)


def _end(child: int) -> None:
    """Ends the child's whole group and the orphans that this process inherits; leaves no process and no zombie."""
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:  # it made no group yet, or all of it has ended
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    children = Path(f"/proc/self/task/{os.getpid()}/children")  # where the system lists them
    while orphans := [int(number) for number in children.read_text().split()] if children.exists() else []:
        for orphan in orphans:
            os.kill(orphan, signal.SIGKILL)
        for orphan in orphans:
            os.waitpid(orphan, 0)


def _leave() -> None:
    """Removes this process's empty folders, since the sandbox that would have done so is gone."""
    with contextlib.suppress(OSError):  # the sandbox was there first, or the folder is not empty
        here = Path.cwd()
        for folder in (*here.iterdir(), here):
            folder.rmdir()


def _work(
    jobs: ModuleType, request: Mapping[str, Any], arrays: list[np.ndarray], data: Mapping[str, TrainingView]
) -> bytes:
    """The answer to a request, or the error that the candidate raised."""
    try:
        return messages.pack(*jobs.JOBS[request["job"]](request, arrays, data))
    except BaseException as raised:  # whatever foreign code raises is its outcome, and is reported
        words = " ".join(str(raised)[:1000].split())[:300]
        if isinstance(raised, MemoryError) or any(sign in words.lower() for sign in CANNOT_ALLOCATE):
            return messages.pack({"raised": "memory"})
        return messages.pack({"raised": f"{type(raised).__name__}: {words}"})


def _to_null(*descriptors: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


if __name__ == "__main__":
    main()
