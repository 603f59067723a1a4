"""The notebook runner: equal bytes from equal runs, nothing half done, and a proof that nbval compares."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import papermill
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from papermill.exceptions import PapermillExecutionError

from actlab import __main__
from actlab.core import sources
from actlab.report import executed, run_notebooks, site

ROOT = Path(__file__).resolve().parents[2]
STRIP = (
    "--keep-output",
    "--keep-count",
    "--keep-id",
    "--extra-keys",
    "metadata.papermill cell.metadata.papermill cell.metadata.execution",
)
PARAMETERS = 'profile = "smoke"\ncount = 3'


def write(path: Path, *sources: str, parameters: str = PARAMETERS) -> Path:
    """A notebook with a parameters cell, a code cell a source, and a last cell that nbval checks."""
    v4 = nbformat.v4
    cells = [
        v4.new_markdown_cell("# Does it run?", id="title"),
        v4.new_code_cell(parameters, id="parameters", metadata={"tags": ["parameters"]}),
        *(v4.new_code_cell(source, id=f"cell-{place}") for place, source in enumerate(sources)),
    ]
    cells[-1].metadata["tags"] = ["nbval-check-output"]
    notebook = v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def texts(path: Path) -> list[str]:
    """What each code cell prints."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return ["".join(output.get("text", "") for output in cell.outputs) for cell in cells]


def strips_clean(path: Path) -> bool:
    """Whether nbstripout, with the Makefile's options, finds nothing to take out."""
    command = [sys.executable, "-m", "nbstripout", "--verify", *STRIP, str(path)]
    return subprocess.run(command, capture_output=True).returncode == 0


def nbval(path: Path) -> subprocess.CompletedProcess:
    """Runs nbval on one notebook as `make test` does."""
    options = ["-c", str(ROOT / "pyproject.toml"), f"--rootdir={path.parent}", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, "--nbval-lax", "--nbval-current-env", str(path)]
    return subprocess.run(command, capture_output=True, text=True, cwd=path.parent)


PICTURE = """import os, sys
from pathlib import Path
import matplotlib.pyplot as plt

print(profile, count, type(count).__name__)
print(sys.executable, Path.cwd().name)
fig, ax = plt.subplots()
_ = ax.plot(range(count))"""
ORDER_OF_A_SET = "print({chr(97 + place) for place in range(20)})\nPath('ran').touch()"


def test_equal_runs_give_equal_bytes_whatever_surrounds_them(tmp_path, monkeypatch):
    source = write(tmp_path / "source" / "essay.ipynb", PICTURE, ORDER_OF_A_SET)
    one, two = tmp_path / "one" / "essay.ipynb", tmp_path / "two" / "other.ipynb"
    run_notebooks.run(source, one, {"profile": "laptop", "count": 5})

    # another folder, backend and hash seed, and a user's kernelspec of the same name that cannot start
    decoy = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    decoy.parent.mkdir(parents=True)
    decoy.write_text(json.dumps({"argv": ["/nonexistent"], "display_name": "decoy", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.chdir(tmp_path)
    run_notebooks.run(Path("source/essay.ipynb"), Path("two/other.ipynb"), {"profile": "laptop", "count": 5})

    assert one.read_bytes() == two.read_bytes()
    assert b"image/png" in one.read_bytes()
    assert texts(one)[2].startswith(f"laptop 5 int\n{sys.executable} source\n")
    assert strips_clean(one)
    # dated before what it did, so that a source edited during the run is newer
    assert two.stat().st_mtime_ns < (tmp_path / "source" / "ran").stat().st_mtime_ns
    assert sorted(path.name for path in two.parent.iterdir()) == ["other.ipynb"]


def test_refreshing_twice_changes_nothing_more(tmp_path):
    source = write(tmp_path / "essay.ipynb", "print(profile, count)")
    run_notebooks.refresh(source)
    once = source.read_bytes()
    assert __main__.main(["notebooks", "refresh", str(source)]) == 0
    assert source.read_bytes() == once
    assert texts(source) == ["", "smoke 3\n"]
    assert strips_clean(source)


def test_a_failing_cell_leaves_the_old_output_and_keeps_what_ran(tmp_path, capsys):
    source = write(tmp_path / "essay.ipynb", "print('before')", "raise ValueError('wanted 1; came 2')")
    output = tmp_path / "out" / "essay.ipynb"
    output.parent.mkdir()
    output.write_text("an earlier run")
    assert __main__.main(["notebooks", "run", str(source), str(output), "-p", "count", "4"]) == 1
    failed = tmp_path / "out" / "essay.failed.ipynb"
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"{source}: cell [4] raised ValueError: wanted 1; came 2; what ran is kept as {failed}"
    assert output.read_text() == "an earlier run"
    assert "before\n" in texts(failed)
    assert not strips_clean(failed)  # as papermill left it
    assert sorted(path.name for path in output.parent.iterdir()) == ["essay.failed.ipynb", "essay.ipynb"]


@pytest.mark.parametrize(
    ("last", "said"),
    [("import sys; sys.exit(0)", "cell [3] ended Python (SystemExit)"), ("exit()", "cell [3] ended Python (exit)"),
     ("import os, time; time.sleep(0.5); os._exit(0)", "the kernel was killed, or died, in cell [3]")],
)  # fmt: skip
def test_a_notebook_that_ends_early_is_never_whole_and_keeps_what_ran(tmp_path, capsys, last, said):
    source = write(tmp_path / "essay.ipynb", "print('before', flush=True)", last, "print('never')")
    output = tmp_path / "{out}" / "essay.ipynb"  # papermill formats paths
    assert __main__.main(["notebooks", "run", str(source), str(output)]) == 1
    failed = run_notebooks.failed_path(output)
    assert capsys.readouterr() == ("", f"{source}: {said}; what ran is kept as {failed}\n")
    assert texts(failed)[1] == "before\n"
    assert list(output.parent.iterdir()) == [failed]


def test_a_cell_that_may_end_python_by_its_tag_does_not_stop_the_notebook():
    cell = nbformat.v4.new_code_cell("", execution_count=1, metadata={"tags": ["raises-exception"]})
    run_notebooks._went_on(cell, 0, {"content": {"status": "error", "ename": "SystemExit"}})
    cell.metadata.tags = []
    with pytest.raises(run_notebooks.Stopped):
        run_notebooks._went_on(cell, 0, {"content": {"status": "error", "ename": "SystemExit"}})


def test_a_notebook_without_a_kernelspec_or_a_language_runs_with_its_parameters(tmp_path):
    source = write(tmp_path / "essay.ipynb", "print(profile, count)")
    bare = nbformat.read(source, as_version=4)
    bare.metadata.clear()
    nbformat.write(bare, source)
    run_notebooks.run(source, tmp_path / "out.ipynb", {"count": "07"})
    assert texts(tmp_path / "out.ipynb")[-1] == "smoke 7\n"


DAMAGED = {
    "empty": b"", "conflict": b'{\n<<<<<<< ours\n "cells": []\n=======\n}', "list": b"[]", "object": b"{}",
    "bytes": b"\xff\xfe", "no cells": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
    "half a cell": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code"}]}',
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_notebook_is_one_line_that_names_it_for_the_runner_the_report_and_the_makefile(
    tmp_path, capsys, monkeypatch, kind
):
    path = tmp_path / "notebooks" / "01_essay.ipynb"
    path.parent.mkdir()
    path.write_bytes(DAMAGED[kind])
    assert __main__.main(["notebooks", "run", str(path), str(tmp_path / "out.ipynb")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"actlab notebooks: {path}: wanted a notebook's file; came ") and said.count("\n") == 1
    monkeypatch.setattr(site, "build", lambda profile, out: executed.pages(profile, tmp_path))
    assert __main__.main(["report", "--out", str(tmp_path / "site")]) == 2
    assert capsys.readouterr().err == said.replace("actlab notebooks", "actlab report")
    with pytest.raises(ValueError, match=f"{path}: wanted a notebook's file") as error:
        sources.graph([path])
    assert "\n" not in str(error.value)
    assert path.read_bytes() == DAMAGED[kind] and list(tmp_path.iterdir()) == [path.parent]


def test_a_success_removes_the_remains_of_a_failure(tmp_path, monkeypatch):
    source = write(tmp_path / "essay.ipynb", "1")
    output = tmp_path / "out.ipynb"
    run_notebooks.failed_path(output).write_text("an earlier failure")
    executed = nbformat.read(source, as_version=4)

    def fake(notebook, partial, **options):
        nbformat.write(executed, partial)
        return executed

    monkeypatch.setattr(papermill, "execute_notebook", fake)
    run_notebooks.run(source, output, {})
    assert output.exists()
    assert not run_notebooks.failed_path(output).exists()


def test_ctrl_c_leaves_no_output_and_no_remains(tmp_path, monkeypatch, capsys):
    source = write(tmp_path / "essay.ipynb", "1")

    def interrupted(notebook, partial, **options):
        Path(partial).write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(papermill, "execute_notebook", interrupted)
    assert __main__.main(["notebooks", "run", str(source), str(tmp_path / "out.ipynb")]) == 130
    assert capsys.readouterr().err.splitlines() == [f"{source}: interrupted; {tmp_path / 'out.ipynb'} was not written"]
    assert [path.name for path in tmp_path.iterdir()] == ["essay.ipynb"]


ENDLESS = """import os, time
from pathlib import Path

Path("kernel").write_text(str(os.getpid()))
time.sleep(60)"""


def test_a_killed_run_leaves_no_output(tmp_path):
    source = write(tmp_path / "essay.ipynb", ENDLESS)
    output = tmp_path / "out.ipynb"
    runner = subprocess.Popen([sys.executable, "-m", "actlab", "notebooks", "run", str(source), str(output)])
    kernel = tmp_path / "kernel"
    deadline = time.monotonic() + 60
    while not (kernel.exists() and kernel.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    runner.kill()
    runner.wait()
    with contextlib.suppress(ProcessLookupError):  # a kernel without its parent ends by itself
        os.kill(int(kernel.read_text()), signal.SIGKILL)
    assert not output.exists()
    assert (tmp_path / "out.partial.ipynb").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "cuont", "4"], "parameter of essay.ipynb: wanted count, live, profile, rates; came 'cuont'"),
        (["-p", "seed", "4", "-p", "seed", "5"], "parameter 'seed': wanted one value; came '4' and '5'"),
        (["-p", "count", "-1e-3"], "essay.ipynb: count: wanted int, as in 3; came '-1e-3'"),
        (["-p", "count", "null"], "essay.ipynb: count: wanted int, as in 3; came 'null'"),
        (["-p", "count", "true"], "essay.ipynb: count: wanted int, as in 3; came 'true'"),
        (["-p", "live", "no"], "essay.ipynb: live: wanted bool, as in False; came 'no'"),
        (["-p", "rates", "1"], "essay.ipynb: rates: wanted list, as in [1.0, 2.0]; came '1'"),
    ],
)
def test_a_wrong_parameter_gets_one_line_and_exit_status_2(tmp_path, capsys, arguments, message):
    source = write(tmp_path / "essay.ipynb", "1", parameters=f"{PARAMETERS}\nlive = False\nrates = [1.0, 2.0]")
    assert __main__.main(["notebooks", "run", str(source), str(tmp_path / "out.ipynb"), *arguments]) == 2
    assert capsys.readouterr().err.splitlines() == [f"actlab notebooks: {message}"]
    assert [path.name for path in tmp_path.iterdir()] == ["essay.ipynb"]


def test_a_missing_notebook_gets_one_line_and_exit_status_2(tmp_path, capsys):
    missing = tmp_path / "none.ipynb"
    assert __main__.main(["notebooks", "refresh", str(missing)]) == 2
    wanted = f"actlab notebooks: notebook: wanted an existing .ipynb file; came {str(missing)!r}\n"
    assert capsys.readouterr().err == wanted


def test_the_errors_are_told_apart(tmp_path):
    with pytest.raises(run_notebooks.WrongCall, match="wanted count, profile; came 'seed'"):
        run_notebooks.run(write(tmp_path / "essay.ipynb", "1"), tmp_path / "out.ipynb", {"seed": 1})
    assert not issubclass(PapermillExecutionError, run_notebooks.WrongCall)


def test_nbval_compares_the_checked_cell_and_a_changed_value_fails(tmp_path):
    source = write(tmp_path / "essay.ipynb", "print('loss 0.25')")
    run_notebooks.refresh(source)
    passed = nbval(source)
    assert passed.returncode == 0, passed.stdout
    assert re.search(r"^=+ 2 passed", passed.stdout, re.MULTILINE)

    changed = nbformat.read(source, as_version=4)
    changed.cells[-1].outputs[0].text = "loss 0.26\n"
    nbformat.write(changed, source)
    failed = nbval(source)
    assert failed.returncode == 1
    assert "loss 0.26" in failed.stdout


VALUES = {"3": 3, "007": 7, "1e-3": 1e-3, "-1e-3": -1e-3, "True": True, "false": False, "None": None, "null": None,
          "[1, 2]": [1, 2], "laptop": "laptop", "a b": "a b"}  # fmt: skip


def test_a_typed_value_is_a_literal_where_it_reads_as_one():
    assert [run_notebooks.literal(text) for text in VALUES] == list(VALUES.values())


READ = [("0.5", "3", 3.0), ("0.5", "-1e-3", -1e-3), ("0", "007", 7), ("True", "false", False), ("True", "TRUE", True),
        ("'smoke'", "007", "007"), ("'smoke'", "null", "null"), ("None", "true", True), ("None", "-x", "-x"),
        ("[0.5]", "[1, 2]", [1, 2]), ("some()", "null", None)]  # fmt: skip


def test_a_typed_parameter_has_the_type_of_its_default_whatever_it_begins_with(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(run_notebooks, "run", lambda notebook, output, parameters: given.update(parameters))
    words = [word for place, (_, text, _) in enumerate(READ) for word in ("-p", f"p{place}", text)]
    for call in (["x.ipynb", "out.ipynb", *words], [*words, "x.ipynb", "out.ipynb"]):
        assert __main__.main(["notebooks", "run", *call]) == 0
        assert list(given.values()) == [text for _, text, _ in READ]
    for default, text, value in READ:
        read = run_notebooks.typed("p", default, text)
        assert (read, type(read)) == (value, type(value))


def test_streams_are_merged_in_linear_time_as_nbclient_merges_them():
    stream = nbformat.v4.new_output
    for text in ("a\rb\r\rc\r\nd\n\re\r", "\r", "", "ab\n\n", "\n\r\r\n", "\rx"):
        (one,) = run_notebooks.merged([stream("stream", name="stdout", text=part) for part in (text[:3], text[3:])])
        assert one.text == re.sub(r".*\r(?=[^\n])", "", text)
    shown = stream("display_data", {"text/plain": "1"})
    names = [("stderr", "1"), ("stdout", "2"), ("stderr", "3")]
    found = run_notebooks.merged([shown, *(stream("stream", name=n, text=t) for n, t in names), shown])
    assert [(o.get("name"), o.get("text")) for o in found] == [
        (None, None), ("stdout", "2"), ("stderr", "13"), (None, None),
    ]  # fmt: skip
    long = stream("stream", name="stdout", text="x" * 3_000_000)  # hours, were it quadratic
    assert run_notebooks.merged([long])[0].text == "x" * 3_000_000


@settings(max_examples=30, deadline=None)
@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.text())
def test_every_value_survives_being_typed(value):
    assert run_notebooks.literal(repr(value)) == value


def test_a_notebook_makes_the_records_it_needs_and_two_runs_draw_the_same_bytes(tmp_path):
    notebook = ROOT / "notebooks" / "06_lab_scores.ipynb"  # reads the search of another notebook
    drawn = []
    for root in (tmp_path / "first", tmp_path / "second"):
        for name in ("gpu_lab", "canaries"):  # which need a GPU
            shutil.copytree(ROOT / "records" / name, root / "records" / name)
        (root / "figures").mkdir()
        for name in ("comparisons.csv", "manifest.json"):  # of the laptop profile
            shutil.copy(ROOT / "figures" / name, root / "figures")
        command = [sys.executable, "-m", "actlab", "notebooks", "run", str(notebook), str(root / "out.ipynb")]
        done = subprocess.run(command, env={**os.environ, "ACTLAB_ROOT": str(root)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        figures = root / "build" / "smoke" / "figures"
        drawn.append({path.name: path.read_bytes() for path in sorted(figures.iterdir())})
        drawn[-1]["notebook"] = (root / "out.ipynb").read_bytes()
    assert {"table_1.csv", "table_1.png", "table_1.pdf", "table_1.md", "comparisons.csv"} <= drawn[0].keys()
    assert drawn[0] == drawn[1]
