"""What confines a process that runs a candidate: resource limits, seccomp and Landlock, where available (ours).

A confined process can compute, and write to a pipe that is already open. It cannot open a file or a socket, start a
process or a thread, signal another process, or map executable memory; its memory and CPU time are limited. It needs no
file, since the process that forks it has loaded whatever a candidate can reach.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

try:
    import resource
except ImportError:  # Windows
    resource = None

FILES = 16  # open files
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36
# System calls that computing, allocating, writing to an open pipe and ending need: everything else is refused.
CALLS = """
    read write writev close lseek fstat brk mmap munmap mremap mprotect madvise futex sched_yield sched_getaffinity
    getcpu clock_gettime clock_getres gettimeofday getrusage getpid gettid getppid getuid geteuid getgid getegid
    getrandom rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack set_robust_list rseq restart_syscall exit exit_group
""".split()  # noqa: SIM905
PROT_EXEC = 4
MADV_HWPOISON = 100  # this advice and those beyond it break pages on purpose, where root asks


def memory_in_use() -> int | None:
    """Bytes of address space of this process; None where the system does not say."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else None


class Confinement:
    """The confinements of this system, prepared once; `apply` then takes about two milliseconds in a forked child.

    `missing` has the reason for each that is not active.

    Args:
        memory: bytes that the confined process may allocate beyond what this one holds now.
        without: parts to leave out, of limits, seccomp and landlock; for measurements and tests.
    """

    def __init__(self, memory: int, without: Sequence[str] = ()) -> None:
        self.memory, self.missing = memory, dict.fromkeys(without, "left out")
        self._parts: dict[str, Callable[[], None]] = {}  # what applies each, in the order in which they are applied
        for name, prepare in (("landlock", _landlock), ("seccomp", _seccomp)):
            try:
                if name not in self.missing:
                    self._parts[name] = prepare()
            except _Unavailable as reason:
                self.missing[name] = str(reason)
        if resource is None:
            self.missing.setdefault("limits", "this system has no resource limits")

    @property
    def active(self) -> tuple[str, ...]:
        """The parts that are applied, of limits, seccomp and landlock."""
        return tuple(name for name in ("limits", "seccomp", "landlock") if name not in self.missing)

    def apply(self, seconds: float) -> None:
        """Confines this process, for good; the kernel ends it after so many `seconds` of CPU time from now on."""
        if "limits" in self.active:
            used, processor = memory_in_use(), math.ceil(time.process_time() + seconds) + 1
            limits = {"CORE": 0, "FSIZE": 0, "NOFILE": FILES, "NPROC": 0, "CPU": processor}
            limits |= {"AS": used + self.memory} if used is not None else {}
            for name, limit in limits.items():
                _lower(getattr(resource, f"RLIMIT_{name}"), limit)
            prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # a limit of 0 keeps no core from a program that collects them
        for apply in self._parts.values():
            apply()

    def try_out(self) -> None:
        """Applies each part in a forked child of its own; one that the system refuses there becomes missing."""
        for name, apply in list(self._parts.items()):
            if not _works(apply):
                self.missing[name] = "this system refuses it"
                del self._parts[name]


def _works(apply: Callable[[], None]) -> bool:
    """Whether a forked child can apply a confinement."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            apply()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def die_with_parent(parent: int) -> None:
    """Has the kernel end this process with the one that forked it, where it can; `parent` is that one's number."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def prctl(*arguments: int) -> None:
    """Linux's system call of that name; nothing elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(*arguments)


def _lower(which: int, limit: int) -> None:
    _, hard = resource.getrlimit(which)
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(which, (limit, limit))


class _Unavailable(Exception):
    """Why this system lacks a part."""


def _imported(package: str, part: str) -> ModuleType:
    if sys.platform != "linux":
        raise _Unavailable(f"{part} is Linux's")
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise _Unavailable(f"the package {package} is not installed") from error


def _landlock() -> Callable[[], None]:
    """No file may be opened, made, removed or renamed."""
    landlock = _imported("landlock", "Landlock")
    try:
        landlock.landlock_abi_version()
    except landlock.LandlockError as error:
        raise _Unavailable("this kernel has no Landlock") from error

    def apply() -> None:
        rules = landlock.Ruleset()
        rules.apply()
        os.close(rules._fd)  # which the package leaves open

    return apply


def _seccomp() -> Callable[[], None]:
    """Only `CALLS`; no executable memory; signals to this very process alone."""
    try:
        seccomp = _imported("pyseccomp", "seccomp")
    except (OSError, RuntimeError) as error:
        raise _Unavailable("the library libseccomp is not installed") from error

    def apply() -> None:
        rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
        data = seccomp.Arg(2, seccomp.MASKED_EQ, PROT_EXEC, 0)
        only = {"mmap": [data], "mprotect": [data], "madvise": [seccomp.Arg(2, seccomp.LT, MADV_HWPOISON)]}
        for call in CALLS:
            rules.add_rule(seccomp.ALLOW, call, *only.get(call, ()))
        rules.add_rule(seccomp.ALLOW, "tgkill", seccomp.Arg(0, seccomp.EQ, os.getpid()))
        rules.add_rule(seccomp.ALLOW, "prlimit64", seccomp.Arg(2, seccomp.EQ, 0))
        rules.load()

    return apply
