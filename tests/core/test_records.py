"""What is kept comes back, under what was asked, as long as the code that made it would make it again."""

import json
import math
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest

from actlab.core import files, records, sources
from actlab.core.config import PROFILES, LabConfig, profile
from actlab.core.records import PROTOCOLS, ROOT, ChangedCode, Family, Records, Store

ABOUT = {"family": "lab", "seed": 0, "lab": LabConfig()}


@dataclass(frozen=True)
class Job:
    """One of a run: a function from a seed, for so many steps."""

    function: str
    seed: int
    steps: int = 1

    @property
    def identity(self):
        return {"function": self.function, "seed": self.seed}

    @property
    def key(self):
        return PROTOCOLS["lab"].key(vars(self))[:12]


def kept(folder):
    tables = {"losses.csv": ["function", "seed", "value"], "curves.parquet": ["function", "seed", "step", "loss"]}
    return Records(folder / "run", "lab", ["function", "seed"], tables)


def rows(value):
    return {
        "losses": pd.DataFrame({"value": [value]}),
        "curves": pd.DataFrame({"step": [0, 1], "loss": [2 * value, value]}),
    }


def made(*jobs):
    return [(job, rows(0.1 + job.seed + job.steps)) for job in jobs]


def texts(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "lock" not in path.name}


JOBS = [Job("gelu", 1), Job("gelu", 0), Job("relu", 0), Job("NA", 0)]


@pytest.fixture(autouse=True)
def canary(monkeypatch):
    """A canary of the lab whose numbers a test may set, in place of the real one."""
    numbers = {"loss": 0.1, "word": "scored"}
    monkeypatch.setattr(Family, "values", lambda self: dict(numbers))
    return numbers


@pytest.fixture
def edit(monkeypatch):
    """Turns the code of the lab's canary into other code."""
    return lambda: monkeypatch.setitem(sources.SOURCES, PROTOCOLS["lab"].canary, b"other = 1\n")


@pytest.mark.parametrize("name", PROFILES)
def test_the_laptops_figures_and_records_are_committed_and_all_others_go_to_the_build_folder(name):
    base = ROOT if name == "laptop" else ROOT / "build" / name
    assert records.figures_folder(name) == base / "figures"
    assert records.records_folder("transfer", name) == base / "records" / "transfer"


def test_an_unknown_profile_is_answered_with_those_that_exist():
    with pytest.raises(ValueError, match="unknown profile: wanted one of smoke, laptop, paper; got 'latop'"):
        profile("latop")


def test_a_key_changes_with_every_part_of_what_was_asked_and_with_the_protocol_alone():
    family, whole = PROTOCOLS["lab"], {"lab": LabConfig(), "seed": 0}
    keys = {
        family.key(whole), family.key(whole | {"lab": LabConfig(steps=5)}), family.key(whole | {"seed": 1}),
        replace(family, protocol=2).key(whole), PROTOCOLS["search"].key(whole),
    }  # fmt: skip
    assert len(keys) == 5
    assert family.key({"seed": 0, "lab": LabConfig()}) in keys


def test_a_description_that_is_no_plain_data_is_refused():
    with pytest.raises(TypeError, match="wanted numbers, strings, lists, dicts or dataclasses"):
        records.digest({"function": print})


def test_a_text_is_written_whole_or_the_old_one_stays(tmp_path, monkeypatch):
    path = tmp_path / "new" / "table.csv"
    files.write(path, "first")
    with monkeypatch.context() as cut:
        cut.setattr(Path, "replace", lambda self, target: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            files.write(path, "second")
    assert path.read_text() == "first"
    files.write(path, "second")
    assert path.read_text() == "second"


# --- canaries ---


@pytest.mark.parametrize(
    ("numbers", "stands"),
    [({}, True), ({"loss": 0.1 * (1 + 1e-12)}, True), ({"loss": 0.1 * (1 + 1e-9)}, False), ({"word": "killed"}, False),
     ({"loss": math.nan}, False), ({"more": 1.0}, True)],
)  # fmt: skip
def test_what_other_code_made_is_taken_as_long_as_its_canary_is_equal(tmp_path, canary, edit, caplog, numbers, stands):
    Store(tmp_path / "store").save(ABOUT, pd.DataFrame({"mse": [1.0]}))
    kept(tmp_path).add(made(JOBS[0]))
    edit()
    canary.update(numbers)
    assert (Store(tmp_path / "store").load(ABOUT) is not None) is stands
    if stands:
        assert kept(tmp_path).missing(JOBS[:2]) == [JOBS[1]]
        return
    assert "lab: the canary" in caplog.text and caplog.text.count("\n") == 1
    for asked in (kept(tmp_path).demand, lambda: kept(tmp_path).missing(JOBS)):
        with pytest.raises(ChangedCode, match=r"lab: the canary .*raise the family's protocol \(1\)"):
            asked()


def test_the_same_code_asks_no_canary(tmp_path, monkeypatch):
    Store(tmp_path).save(ABOUT, pd.DataFrame({"mse": [1.0]}))
    kept(tmp_path).add(made(JOBS[0]))
    monkeypatch.setattr(Family, "values", lambda self: 1 / 0)
    assert Store(tmp_path).load(ABOUT)["mse"].tolist() == [1.0]
    assert kept(tmp_path).missing(JOBS[:1]) == []


def test_records_of_two_makers_carry_both_marks_and_are_demanded_of_both(tmp_path, canary, edit):
    kept(tmp_path).add(made(JOBS[0]))
    edit()
    both = kept(tmp_path)
    both.add(made(JOBS[1]))
    assert both.jobs["mark"].nunique() == len(list((tmp_path / "canaries").glob("lab-*.json"))) == 2
    both.demand()
    canary["loss"] = 0.2
    with pytest.raises(ChangedCode):  # the first maker's is compared with the canary of now
        both.demand()


def test_a_drift_is_the_largest_relative_difference_and_infinite_where_words_differ():
    then = {"a": 2.0, "b": math.nan, "c": "word", "d": 0.0, "e": math.inf}
    assert records.drift(then, dict(then)) == 0.0
    assert records.drift(then, then | {"a": 2.0002}) == pytest.approx(1e-4, rel=1e-3)
    for change in ({"gelu search 1 0 low": 1.0}, {"worth high sum": 1.0}, {"study saved_low False size": 1.0}):
        assert records.drift(then, then | change) == 0.0  # an interval of a mean, which no record holds
    for change in ({"c": "other"}, {"b": 1.0}, {"e": -math.inf}):
        assert records.drift(then, then | change) == math.inf


def test_a_canary_that_has_grown_is_compared_on_its_old_names_and_one_that_has_lost_a_name_is_another():
    then, grown = {"a": 2.0, "b": "word"}, {"a": 2.0, "b": "word", "low 16 sum": 1.0, "c": math.nan, "d": "new"}
    assert records.drift(then, grown) == 0.0
    assert records.drift(then, grown | {"a": 2.0002}) == pytest.approx(1e-4, rel=1e-3)
    assert records.drift(then, grown | {"b": "other"}) == math.inf
    assert records.drift(grown, then) == math.inf
    assert records.drift({**then, "worth high sum": 1.0}, then) == 0.0  # an interval of a mean may go


# --- the store ---


def test_a_table_comes_back_to_the_bit_with_its_provenance_beside_it(tmp_path):
    table = pd.DataFrame({"family": ["a", "b"], "mse": [0.1 + 0.2, 1e-300]})
    store = Store(tmp_path)
    assert store.load(ABOUT) is None
    store.save(ABOUT, table)
    pd.testing.assert_frame_equal(store.load(ABOUT), table, check_exact=True)
    (beside,) = tmp_path.glob("??/*.json")
    provenance = json.loads(beside.read_text())
    assert provenance["lab"]["steps"] == LabConfig().steps
    assert provenance.keys() == {"family", "seed", "lab", "mark", "commit", "file", "hash"}
    maker = store.canaries.read("lab", provenance["mark"])
    assert maker.keys() == {"protocol", "code", "versions", "values"}
    assert maker["versions"].keys() == {"python", "torch", "numpy", "scipy"}


def test_what_is_kept_is_not_computed_again(tmp_path):
    store, calls = Store(tmp_path), []
    for _ in range(2):
        store.get(ABOUT, lambda: calls.append(1) or pd.DataFrame({"mse": [1.0]}))
    assert calls == [1]


def test_a_write_that_was_cut_off_is_not_taken_for_a_record(tmp_path, monkeypatch):
    store, table = Store(tmp_path), pd.DataFrame({"mse": [1.0]})
    monkeypatch.setattr(pd.DataFrame, "to_parquet", lambda self, path: path.write_bytes(b"PAR1") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.save(ABOUT, table)
    assert store.load(ABOUT) is None


# --- the records of a run ---


def test_jobs_and_their_rows_come_back_in_the_order_of_their_identities(tmp_path):
    kept(tmp_path).add(made(*JOBS))
    again = kept(tmp_path)
    order = [JOBS[3], JOBS[1], JOBS[0], JOBS[2]]
    asked = pd.DataFrame([{**job.identity, "key": job.key, "mark": PROTOCOLS["lab"].mark()} for job in order])
    pd.testing.assert_frame_equal(again.jobs, asked)
    losses = pd.DataFrame([{**job.identity, "value": 1.1 + job.seed} for job in order])
    pd.testing.assert_frame_equal(again.table("losses"), losses)
    assert again.table("curves")["step"].tolist() == [0, 1] * 4
    assert again.missing([*JOBS, Job("relu", 1)]) == [Job("relu", 1)]


def test_numbers_are_kept_in_nine_digits_and_in_float32_and_failures_as_nothing(tmp_path):
    losses, curves = pd.DataFrame({"value": [1 / 3, math.nan]}), pd.DataFrame({"step": [0], "loss": [0.1]})
    kept(tmp_path).add([(JOBS[0], {"losses": losses, "curves": curves})])
    assert (tmp_path / "run/losses.csv").read_text() == "function,seed,value\ngelu,1,0.333333333\ngelu,1,\n"
    assert pd.read_parquet(tmp_path / "run/curves.parquet")["loss"].dtype == "float32"
    curves, losses = kept(tmp_path).table("curves"), kept(tmp_path).table("losses")
    assert curves["loss"].dtype == "float64" and curves["loss"][0] == pytest.approx(0.1, rel=1e-7)
    assert losses["value"].isna().tolist() == [False, True]


def test_a_job_that_is_asked_otherwise_takes_the_place_of_the_old_one_and_of_no_other(tmp_path):
    run, other = kept(tmp_path), Job("gelu", 0, steps=7)
    run.add(made(*JOBS))
    before = run.table("losses")
    assert run.missing([*JOBS, other]) == [other]
    run.add(made(other))
    assert run.missing([*JOBS, other]) == [JOBS[1]]
    changed = (before["function"] == "gelu") & (before["seed"] == 0)
    pd.testing.assert_frame_equal(run.table("losses"), before.assign(value=before["value"].where(~changed, 7.1)))
    assert len(run.table("curves")) == 2 * len(JOBS)


def test_the_files_do_not_depend_on_the_order_in_which_jobs_end(tmp_path):
    kept(tmp_path / "a").add(made(*JOBS))
    for job in reversed(JOBS):
        kept(tmp_path / "b").add(made(job))
    assert texts(tmp_path / "a") == texts(tmp_path / "b")


@pytest.mark.parametrize("file", ["losses.csv", "curves.parquet", "jobs.csv"])
def test_a_write_that_is_cut_off_leaves_the_old_file_and_a_job_that_does_not_count(tmp_path, monkeypatch, file):
    kept(tmp_path / "whole").add(made(*JOBS))
    kept(tmp_path / "cut").add(made(*JOBS[:2]))
    before, whole = texts(tmp_path / "cut"), Path.replace

    def replace(self, target):
        return 1 / 0 if target.name == file else whole(self, target)

    with monkeypatch.context() as cut:
        cut.setattr(Path, "replace", replace)
        with pytest.raises(ZeroDivisionError):
            kept(tmp_path / "cut").add(made(*JOBS[2:]))
    assert texts(tmp_path / "cut")[file] == before[file]
    again = kept(tmp_path / "cut")
    assert again.missing(JOBS) == JOBS[2:]
    again.add(made(*JOBS[2:]))
    now = {name: text for name, text in texts(tmp_path / "cut").items() if not name.endswith(".partial")}
    assert now == texts(tmp_path / "whole")


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from actlab.core.records import Family
Family.values = lambda self: {}
from test_records import Job, kept, made
run = kept(Path(sys.argv[2]))
run.table("losses")
print("ready", flush=True)
sys.stdin.readline()
for seed in range(20):
    run.add(made(Job(sys.argv[3], seed)))
"""


def test_two_processes_that_add_to_one_folder_lose_nothing(tmp_path):
    command = [sys.executable, "-c", WRITER, str(Path(__file__).parent), str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    writers = [subprocess.Popen([*command, name], **pipes) for name in ("relu", "gelu")]
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 2
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    wanted = [Job(name, seed) for name in ("gelu", "relu") for seed in range(20)]
    one = kept(tmp_path)
    assert one.jobs["key"].tolist() == [job.key for job in wanted]
    assert len(one.table("losses")) == 40 and len(one.table("curves")) == 80


def test_a_mark_and_a_key_that_read_as_numbers_stay_text(tmp_path, monkeypatch):
    monkeypatch.setattr(Family, "mark", lambda self: "3e4971315396")
    monkeypatch.setattr(Family, "key", lambda self, about: "000123456789")
    kept(tmp_path).add(made(JOBS[0]))
    assert kept(tmp_path).jobs[["key", "mark"]].to_numpy().tolist() == [["000123456789", "3e4971315396"]]
    assert kept(tmp_path).missing(JOBS[:1]) == []


def test_tables_may_be_written_whole_in_the_place_of_the_old_ones(tmp_path):
    for value in (1.0, 2.0):
        kept(tmp_path).add([(JOBS[0], {})], {"losses": pd.DataFrame({"of": ["all"], "value": [value]})})
        assert kept(tmp_path).table("losses").to_numpy().tolist() == [["all", value]]
    assert len(kept(tmp_path).jobs) == 1


def test_a_run_that_has_not_ended_has_its_jobs_and_says_what_it_lacks(tmp_path):
    run = kept(tmp_path)
    assert run.jobs.empty and run.table("curves").columns.tolist() == ["function", "seed", "step", "loss"]
    assert run.missing(JOBS) == JOBS
    with pytest.raises(FileNotFoundError, match=r"run: wanted about.json, which a run writes at its end; found none"):
        _ = run.about
    run.add(made(JOBS[0]))
    run.note({"command": "make it", "lab": LabConfig()})
    about = kept(tmp_path).about
    assert about["command"] == "make it" and about["lab"]["steps"] == LabConfig().steps
    assert about["versions"].keys() == {"python", "torch", "numpy", "scipy"}
    assert about["marks"] == [PROTOCOLS["lab"].mark()]
