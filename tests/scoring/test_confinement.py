import os
import subprocess
import sys
from pathlib import Path

import pytest

from actlab.scoring import confinement
from actlab.scoring.confinement import Confinement

resource = pytest.importorskip("resource")
HERE = Confinement(10**9)
needs_seccomp = pytest.mark.skipif("seccomp" not in HERE.active, reason=HERE.missing.get("seccomp", ""))
needs_landlock = pytest.mark.skipif("landlock" not in HERE.active, reason=HERE.missing.get("landlock", ""))


def confined(after, memory=10**9, without=(), seconds=5.0, before=""):
    """What a process prints that confines itself and then runs `after`; numpy and torch are not needed for that."""
    source = (
        f"import os, sys, ctypes, resource, time\nfrom actlab.scoring.confinement import Confinement\n"
        f"walls = Confinement({memory}, {tuple(without)!r})\n{before}\nwalls.apply({seconds})\n{after}\n"
        "sys.stdout.flush(); os._exit(0)"
    )
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)


def test_what_is_left_out_is_told_as_missing():
    walls = Confinement(10**9, without=("limits", "seccomp", "landlock"))
    assert walls.active == ()
    assert walls.missing == {"limits": "left out", "seccomp": "left out", "landlock": "left out"}


def test_every_part_is_active_or_missing_with_its_reason():
    assert set(HERE.active) | set(HERE.missing) == {"limits", "seccomp", "landlock"}
    assert not set(HERE.active) & set(HERE.missing)
    assert all(HERE.missing.values())


@pytest.mark.parametrize(
    ("module", "part", "reason"),
    [
        ("pyseccomp", "seccomp", "the package pyseccomp is not installed"),
        ("landlock", "landlock", "the package landlock is not installed"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="these are Linux's")
def test_a_package_that_is_missing_is_named_and_the_other_parts_hold(module, part, reason, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    walls = Confinement(10**9)
    assert walls.missing == {**HERE.missing, part: reason}
    assert set(walls.active) == set(HERE.active) - {part}


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_on_another_system_what_is_linuxs_is_missing(system, monkeypatch):
    monkeypatch.setattr(sys, "platform", system)
    assert Confinement(10**9).missing == {"seccomp": "seccomp is Linux's", "landlock": "Landlock is Linux's"}


def test_a_kernel_without_landlock_is_told(monkeypatch):
    landlock = pytest.importorskip("landlock")

    def refuse():
        raise landlock.LandlockError("no")

    monkeypatch.setattr(landlock, "landlock_abi_version", refuse)
    assert Confinement(10**9).missing["landlock"] == "this kernel has no Landlock"


def test_a_system_without_resource_limits_is_told(monkeypatch):
    monkeypatch.setattr(confinement, "resource", None)
    assert Confinement(10**9).missing["limits"] == "this system has no resource limits"


def test_limits_are_set_for_good():
    names = ("CORE", "FSIZE", "NOFILE", "NPROC", "CPU", "AS")
    before = "from actlab.scoring import confinement\nused = confinement.memory_in_use() or 0"
    after = f"print([resource.getrlimit(getattr(resource, 'RLIMIT_' + n)) for n in {names}], used)"
    came = confined(after, without=("seccomp", "landlock"), before=before).stdout
    limits, used = eval(came.rpartition(" ")[0]), int(came.rpartition(" ")[2])
    assert limits[:4] == [(0, 0), (0, 0), (confinement.FILES,) * 2, (0, 0)]
    assert limits[4][0] == limits[4][1] in (6, 7)  # and what the process had spent before
    if used:
        assert abs(limits[5][0] - used - 10**9) < 10**8


def test_processor_time_counts_from_the_confinement_on():
    spend, more = (f"while time.process_time() < {seconds}: pass" for seconds in (0.7, 1.3))
    came = confined(f"{more}\nprint('there')", without=("seccomp", "landlock"), before=spend, seconds=0.0)
    assert (came.stdout, came.returncode) == ("there\n", 0)


def test_processor_time_ends_what_hears_no_signal():
    deaf = "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)"
    came = confined("while True: pass", without=("seccomp", "landlock"), before=deaf, seconds=0.1)
    assert came.returncode == -9


def test_memory_beyond_the_limit_cannot_be_had_and_below_it_can():
    after = "a = bytearray(5 * 10 ** 8)\ntry: bytearray(10 ** 9)\nexcept MemoryError: print('no more')"
    assert confined(after).stdout == "no more\n"


@pytest.mark.skipif(sys.platform != "linux", reason="cores are collected by Linux")
def test_no_core_is_left_even_where_a_program_collects_them():
    assert confined("print(ctypes.CDLL(None).prctl(3))", without=("seccomp", "landlock")).stdout == "0\n"


@needs_seccomp
def test_a_call_that_is_not_on_the_list_is_refused_and_those_on_it_are_not():
    after = "print(time.time() > 0, len(os.urandom(3)))\ntry: os.fork()\nexcept OSError as e: print(e.errno)"
    assert confined(after, without=("landlock",)).stdout == "True 3\n1\n"


@needs_seccomp
def test_a_signal_may_go_to_the_process_itself_alone():
    after = (
        f"import signal\ntry: os.kill({os.getpid()}, 0)\nexcept OSError as e: print(e.errno, flush=True)\nos.abort()"
    )
    came = confined(after)
    assert (came.stdout, came.returncode) == ("1\n", -6)


@needs_seccomp
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of system calls are x86-64's")
@pytest.mark.parametrize("advice", [100, 101, 2**32 + 100])
def test_no_page_can_be_broken_on_purpose(advice):
    ask = f"libc = ctypes.CDLL(None, use_errno=True)\nlibc.syscall(28, 1, 0, ctypes.c_long({advice}))"
    assert confined(ask + "\nprint(ctypes.get_errno())").stdout == "1\n"


@needs_landlock
def test_no_file_can_be_opened_and_no_descriptor_is_left(tmp_path):
    after = (
        f"for mode in ('r', 'w'):\n try: open({str(tmp_path / 'f')!r}, mode)\n except OSError as e: print(e.errno)\n"
        "held = []\nfor n in range(20):\n try: held.append(os.fstat(n) and n)\n except OSError: pass\nprint(held)"
    )
    (tmp_path / "f").write_text("kept")
    assert confined(after, without=("seccomp",)).stdout == "13\n13\n[0, 1, 2]\n"
    assert (tmp_path / "f").read_text() == "kept"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="memory is read in /proc")
def test_memory_in_use_grows_with_what_is_mapped():
    import mmap

    before = confinement.memory_in_use()
    with mmap.mmap(-1, 10**8):
        assert confinement.memory_in_use() - before >= 10**8


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does it on Linux alone")
def test_a_process_dies_with_its_parent_and_at_once_where_that_one_is_gone():
    source = "from actlab.scoring.confinement import die_with_parent\n"
    source += f"die_with_parent({os.getpid() + 10**6})\nprint('alive')"
    came = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)
    assert (came.stdout, came.returncode) == ("", 1)
    source = f"from actlab.scoring.confinement import die_with_parent\ndie_with_parent({os.getpid()})\nprint('alive')"
    came = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)
    assert (came.stdout, came.returncode) == ("alive\n", 0)


def test_a_part_that_the_system_refuses_is_missing_and_said_to_be(monkeypatch):
    def refuse():
        raise OSError("not here")

    monkeypatch.setattr(confinement, "_seccomp", lambda: refuse)
    monkeypatch.setattr(confinement, "_landlock", lambda: lambda: None)
    walls = Confinement(10**9)
    assert {"seccomp", "landlock"} <= set(walls.active)
    walls.try_out()
    assert walls.missing["seccomp"] == "this system refuses it"
    assert "landlock" in walls.active
