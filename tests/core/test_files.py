"""Files are written whole or not at all, and what is read is what was written."""

import json
import re
import resource
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from actlab.core import files, records
from actlab.core.files import Damaged
from actlab.core.records import PROTOCOLS, ROOT, Family, Records, Store
from actlab.report import cards, claims, readme
from actlab.report.figures import style

FIGURES = ROOT / "figures"
TABLE = pd.DataFrame({"function": ["relu", "gelu"] * 40, "value": range(80)})
ABOUT = {"family": "lab", "seed": 0}


def half(data):
    return data[: len(data) // 2]


def flipped(data):
    return data[:-9] + bytes([data[-9] ^ 4]) + data[-8:]


DAMAGES = {
    "cut in the middle": half, "three bytes short": lambda data: data[:-3], "a flipped bit": flipped,
    "null bytes": lambda data: bytes(len(data)), "empty": lambda data: b"", "a line more": lambda data: data + b"x\n",
    "a page of HTML": lambda data: b"<!DOCTYPE html>\n<html></html>", "gone": None,
}  # fmt: skip


def damage(path, how):
    if DAMAGES[how] is None:
        path.unlink()
    else:
        path.write_bytes(DAMAGES[how](path.read_bytes()))


@pytest.fixture(autouse=True)
def canary(monkeypatch):
    monkeypatch.setattr(Family, "values", lambda self: {"loss": 0.1})


# --- writing ---


@contextmanager
def room(size):
    """Within it no file can grow beyond so many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WRITERS = {
    "figure": lambda folder: style.save(plt.figure(), "curve", TABLE, folder),
    "table": lambda folder: style.save_table(TABLE, "curve", folder),
    "text": lambda folder: files.write(folder / "curve.md", "x" * 5000),
    "records": lambda folder: kept(folder).add([(job("gelu"), {"losses": TABLE})]),
}


def job(function):
    return SimpleNamespace(identity={"function": function}, key=function)


def kept(folder):
    return Records(folder, "lab", ["function"], {"losses.csv": ["function", "value"]})


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if "lock" not in path.name}


@pytest.mark.parametrize(
    ("what", "size"), [("figure", 200), ("figure", 2600), ("table", 700), ("text", 300), ("records", 600)]
)
def test_what_does_not_fit_on_the_disk_leaves_the_old_files_and_nothing_else(tmp_path, what, size):
    style.save_table(TABLE.head(2), "curve", tmp_path)
    for suffix in ("png", "pdf"):
        files.write(tmp_path / f"curve.{suffix}", "old", noted=True)
    kept(tmp_path).add([(job("relu"), {"losses": TABLE.head(2)})])
    before = contents(tmp_path)
    with room(size), pytest.raises(OSError, match="File too large"):
        WRITERS[what](tmp_path)
    assert contents(tmp_path) == before
    plt.close("all")


def test_a_kill_at_any_step_leaves_files_that_pass_for_whole(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in ("a.csv", "a.md")]
    replaced, steps = Path.replace, 0
    for step in range(1, 20):
        for path in paths:
            files.write(path, "old", noted=True)
        with monkeypatch.context() as cut:
            left = [step]

            def replace(self, target, left=left):
                left[0] -= 1
                return replaced(self, target) if left[0] else 1 / 0

            cut.setattr(Path, "replace", replace)
            try:
                with files.writing(*paths, noted=True) as partials:
                    for partial in partials:
                        partial.write_text("new")
                break
            except ZeroDivisionError:
                steps += 1
        assert {files.read(path, "") for path in paths} <= {b"old", b"new"}
    assert steps == 4  # the manifest, two files, the manifest
    assert [files.read(path, "") for path in paths] == [b"new"] * 2
    assert files.manifest(tmp_path).keys() == {"a.csv", "a.md"}


# --- figures and tables ---


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("suffix", ["png", "pdf", "csv", "md"])
def test_a_figures_file_that_is_not_as_it_was_written_is_one_line_that_says_how_to_make_it_anew(tmp_path, suffix, how):
    path = tmp_path / f"curve.{suffix}"
    files.write(path, TABLE.to_csv(), noted=True)
    assert records.read_figure(path) == TABLE.to_csv().encode()
    damage(path, how)
    with pytest.raises(Damaged) as caught:
        records.read_figure(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: wanted ") and "; came " in said and "makes it anew" in said and "\n" not in said


def test_a_file_that_no_manifest_notes_and_a_damaged_manifest_are_told_by_name(tmp_path):
    path = tmp_path / "bench_lab.csv"
    path.write_text("a\n1\n")
    with pytest.raises(Damaged, match=r"bench_lab.csv: wanted its size and its SHA-256 in manifest.json.*make bench"):
        records.table(tmp_path, "bench_lab")
    files.note(tmp_path)
    assert records.table(tmp_path, "bench_lab")["a"].tolist() == [1]
    (tmp_path / "manifest.json").write_text('{"bench_lab.csv": "4 by')
    with pytest.raises(Damaged, match=r"manifest.json: wanted a JSON object; came 23 bytes that start with 7b 22"):
        records.table(tmp_path, "bench_lab")


@pytest.fixture
def figures(tmp_path):
    """A folder with the committed tables and their manifest."""
    for path in [*FIGURES.glob("*.csv"), FIGURES / "manifest.json"]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


READERS = {
    "the table of claims": (
        claims.table,
        "arms_compared comparisons table_3 parting found figure_6",
    ),
    "the answer": (readme.answer, "found authors table_3 downstream"),
    "the findings": (readme.findings, "periodicity comparisons_thousand lab_transfer_agreement learned_constants"),
    "the cards": (cards.evidence, "comparisons table_1 zoo_scores downstream"),
    "costs": (cards.costs, "bench_functions"),
    "labs": (cards.labs, "table_3"),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_table_that_lacks_its_last_bytes_changes_no_word_and_is_named(figures, reader):
    read, names = READERS[reader]
    for name in names.split():
        path = figures / f"{name}.csv"
        whole = path.read_bytes()
        path.write_bytes(whole[:-3])
        with pytest.raises(Damaged, match=rf"/{name}.csv: wanted {len(whole)} bytes.*; came {len(whole) - 3} bytes"):
            read(figures)
        path.write_bytes(whole)


def test_every_committed_figure_table_and_record_is_noted_as_it_is():
    folders = [FIGURES, *(path for path in (ROOT / "records").iterdir() if path.is_dir())]
    for folder in folders:
        there = {path.name for path in folder.iterdir() if "lock" not in path.name} - {"manifest.json"}
        assert files.manifest(folder).keys() == there, f"{folder}: what makes its files notes them"
        for name in there:
            files.read(folder / name, "make reproduce")


def test_tables_are_read_where_they_are_known_to_be_whole_and_nowhere_else():
    readers = re.compile(r"read_csv|read_parquet")
    found = {path.relative_to(ROOT / "actlab").as_posix() for path in (ROOT / "actlab").rglob("*.py")
             if readers.search(path.read_text())}  # fmt: skip
    assert found == {"core/records.py", "transfer/molecule_data.py"}  # that one reads data sets, and checks them
    notebooks = (path for path in (ROOT / "notebooks").glob("*.ipynb") if readers.search(path.read_text()))
    assert list(notebooks) == []


# --- the cache ---


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("part", ["??/*.parquet", "??/*.json", "canaries/lab-*.json", "canaries/manifest.json"])
def test_a_damaged_file_of_the_cache_is_made_anew(tmp_path, monkeypatch, caplog, part, how):
    Store(tmp_path).save(ABOUT, TABLE)
    (path,) = tmp_path.glob(part)
    damage(path, how)
    if part.startswith("canaries"):  # which other code made, so that it is read
        (beside,) = tmp_path.glob("??/*.json")
        old = PROTOCOLS["lab"].mark()
        monkeypatch.setattr(Family, "mark", lambda self: "0" * 12)
        assert json.loads(beside.read_text())["mark"] == old
    store, made = Store(tmp_path), []
    again = store.get(ABOUT, lambda: made.append(1) or TABLE)
    assert made == [1]
    pd.testing.assert_frame_equal(again, TABLE)
    pd.testing.assert_frame_equal(Store(tmp_path).load(ABOUT), TABLE)
    assert all("\n" not in line.getMessage() for line in caplog.records)


def test_a_damaged_canary_of_the_cache_is_run_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "BUILD", tmp_path)
    runs = []
    monkeypatch.setattr(Family, "run", lambda self: runs.append(1) or {"loss": 0.1})
    for how in [None, *DAMAGES]:
        if how is not None:
            damage(tmp_path / "canaries" / "lab-1.json", how)
        records._values.cache_clear()
        assert records._values("lab", "1") == {"loss": 0.1}
    records._values.cache_clear()
    assert records._values("lab", "1") == {"loss": 0.1} and len(runs) == 1 + len(DAMAGES)
    records._values.cache_clear()


# --- records ---


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", ["jobs.csv", "losses.csv", "curves.parquet", "about.json", "manifest.json"])
def test_a_damaged_file_of_records_is_one_line_and_nothing_is_written_over_it(tmp_path, name, how):
    tables = {"losses.csv": ["function", "value"], "curves.parquet": ["function", "value"]}
    run = Records(tmp_path / "run", "lab", ["function"], tables)
    run.add([(job("relu"), {"losses": TABLE, "curves": TABLE})])
    run.note({"command": "make it"})
    damage(tmp_path / "run" / name, how)
    before = contents(tmp_path / "run")
    again = Records(tmp_path / "run", "lab", ["function"], tables)
    with pytest.raises((Damaged, FileNotFoundError)) as caught:
        _ = again.jobs, again.table("losses"), again.table("curves"), again.about
    said = str(caught.value)
    assert str(tmp_path / "run") in said and "wanted" in said and "\n" not in said
    if name not in ("about.json", "manifest.json"):
        assert "the same run makes all of it anew" in said
        with pytest.raises(Damaged):
            again.add([(job("relu"), {"losses": TABLE, "curves": TABLE})])
        assert contents(tmp_path / "run") == before
