import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

from actlab import activations
from actlab.__main__ import main
from actlab.candidates import program
from actlab.core import files
from actlab.core.jobs import Runner
from actlab.core.records import ROOT
from actlab.transfer import images, sweep, training
from actlab.transfer.interface import MissingData, Row, table

pytestmark = pytest.mark.usefixtures("quick_canaries")


@dataclass(frozen=True)
class Config:
    data: str = "dice"
    folder: str = ""
    sides: int = 6
    whole: bool = True
    device: str = "cpu"
    seed: int = 0


class Dice:
    """A benchmark that throws dice in place of training, and counts its calls."""

    PROFILES: ClassVar = {"laptop": (Config(), Config("coins", sides=2))}

    def __init__(self):
        self.called, self.loaded, self.folders, self.error = [], [], [], None

    def data_file(self, config):
        return None

    def load(self, config):
        self.loaded.append(config.data)
        self.folders.append(config.folder)
        if config.data == "none":
            raise MissingData("none", "data/none", ["none.npz"], "make none")

    def evaluate(self, activation, config, generator, checkpoint=None, progress=True):
        if self.error:
            raise self.error
        self.called.append((config.data, config.seed, config.whole))
        value = float(generator.integers(config.sides)) + float(activation(torch.tensor([1.0]))[0]) / 3
        rows = [Row("validation", "accuracy", value, 0), Row("in-distribution", "accuracy", value, 0)]
        if config.whole:
            rows.append(Row("in-distribution", "accuracy", value, 0, "whole"))
        return table("images", config.data, config.seed, rows)


@pytest.fixture
def dice(monkeypatch):
    fake = Dice()
    monkeypatch.setattr(sweep, "_module", lambda name: fake)
    return fake


DESIGN = sweep.Design(("relu", "turbulent"), {"images": 2})


def wanted(design=DESIGN):
    return sweep.jobs("laptop", design, ["images"])


def test_functions_meet_all_data_sets_of_a_seed_before_the_next_seed_begins(dice):
    order = [(job.seed, job.data, job.function) for job in wanted()]
    assert order == [(s, d, f) for s in range(2) for d in ("dice", "coins") for f in ("relu", "turbulent")]


def test_only_functions_that_see_their_batch_are_evaluated_on_the_whole_test_set(dice, tmp_path):
    records = sweep.records(tmp_path)
    sweep.compare(wanted(), records, tmp_path, Runner(1))
    rows = records.table("images")
    assert set(rows.loc[rows["evaluation"] == "whole", "function"]) == {"turbulent"}
    assert len(rows) == 4 * 2 + 4 * 3


def test_jobs_that_are_in_the_records_are_not_run_again(dice, tmp_path):
    sweep.compare(wanted(), sweep.records(tmp_path), tmp_path, Runner(1))
    before = (tmp_path / "images.csv").read_bytes()
    dice.called.clear()
    sweep.compare(wanted(), sweep.records(tmp_path), tmp_path, Runner(1))
    assert dice.called == []
    more = sweep.Design(DESIGN.functions, {"images": 3})
    sweep.compare(wanted(more), sweep.records(tmp_path), tmp_path, Runner(1))
    assert {seed for _, seed, _ in dice.called} == {2}
    assert (tmp_path / "images.csv").read_bytes() != before


def test_other_settings_replace_a_jobs_rows_and_leave_the_others(dice, tmp_path):
    records = sweep.records(tmp_path)
    sweep.compare(wanted(), records, tmp_path, Runner(1))
    kept, keys = records.table("images"), records.jobs.set_index("data")["key"]
    other = [replace(job, config=replace(job.config, sides=600)) for job in wanted() if job.data == "dice"]
    assert records.missing(other) == other
    sweep.compare(other, records, tmp_path, Runner(1))
    now = records.table("images")
    assert len(now) == len(kept)
    coins = kept["data"] == "coins"
    pd.testing.assert_frame_equal(now[now["data"] == "coins"], kept[coins], check_index_type=False)
    assert not set(records.jobs.set_index("data").loc["dice", "key"]) & set(keys["dice"])


def test_a_key_tells_functions_seeds_and_settings_apart_but_not_folders(dice):
    jobs = wanted()
    assert len({job.key for job in jobs}) == len(jobs)
    moved = replace(jobs[0], config=replace(jobs[0].config, folder="elsewhere"))
    assert moved.key == jobs[0].key


def test_the_same_seed_means_the_same_draws_for_every_function(dice, tmp_path):
    records = sweep.records(tmp_path)
    sweep.compare(wanted(sweep.Design(("relu", "gelu"), {"images": 1})), records, tmp_path, Runner(1))
    values = sweep.of(records, wanted(sweep.Design(("relu", "gelu"), {"images": 1})))
    thrown = values[values["split"] == "validation"].pivot(index="data", columns="function", values="value")
    one = torch.tensor(1.0)
    off = {name: float(activations.REGISTRY[name].function(one)) / 3 for name in ("relu", "gelu")}
    assert np.allclose(thrown["relu"] - off["relu"], thrown["gelu"] - off["gelu"])


def test_records_that_lack_a_job_name_it_and_the_command(dice, tmp_path):
    records = sweep.records(tmp_path)
    sweep.compare(wanted()[:3], records, tmp_path, Runner(1))
    told = r"wanted 8 jobs; 5 are lacking, the first of them images, coins, turbulent, seed 0; `make transfer`"
    with pytest.raises(FileNotFoundError, match=told):
        sweep.of(records, wanted())
    assert set(sweep.of(records, wanted()[:3])["data"]) == {"dice", "coins"}


def test_what_is_done_is_told_by_whole_seeds(dice, tmp_path):
    records = sweep.records(tmp_path)
    assert sweep.done(records, "laptop", DESIGN).seeds == {}
    sweep.compare(wanted()[:7], records, tmp_path, Runner(1))
    assert sweep.done(records, "laptop", DESIGN).seeds == {"images": 1}
    sweep.compare(wanted(), records, tmp_path, Runner(1))
    assert sweep.done(records, "laptop", DESIGN) == DESIGN


def test_a_missing_data_set_is_known_before_anything_is_trained_and_ends_with_status_2(
    dice, monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(dice, "PROFILES", {"laptop": (Config(), Config("none"))})
    monkeypatch.setattr(sweep, "records_folder", lambda name, profile="laptop": tmp_path)
    assert main(["transfer", "--benchmarks", "images", "--workers", "1"]) == 2
    assert dice.called == []
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1] == "actlab transfer: none: wanted none.npz in data/none; came none. make none"


def test_one_data_set_runs_alone_where_the_others_are_not_there(dice, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(dice, "PROFILES", {"paper": (Config("none"), Config())})
    monkeypatch.setattr(sweep, "records_folder", lambda name, profile="laptop": tmp_path)
    options = ["--profile", "paper", "--benchmarks", "images", "--functions", "relu", "--seeds", "1", "--workers", "1"]
    assert main(["transfer", *options, "--data", "dice"]) == 0
    assert dice.loaded == ["dice"] and dice.called == [("dice", 0, False)]
    assert main(["transfer", *options, "--data", "dice,cards"]) == 2
    assert "wanted data sets among none, dice; got 'cards'" in capsys.readouterr().err


def test_of_the_full_data_sets_cifar_10_alone_is_read_from_the_folder_that_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sweep.torch.cuda, "is_available", lambda: True)
    asked = []
    monkeypatch.setattr(images.data_module, "load", lambda data, folder, *_: asked.append((data, folder)))
    monkeypatch.setattr(sweep, "run", lambda job, checkpoint: (sweep.lost(job), 0.0))
    monkeypatch.setattr(sweep, "records_folder", lambda name, profile="laptop": tmp_path / "records")
    monkeypatch.chdir(tmp_path)
    command = ["--profile", "paper", "--data", "CIFAR-10", "--functions", "relu", "--seeds", "1"]
    assert main(["transfer", *command, "--data-folder", "cifar"]) == 0
    assert asked == [("CIFAR-10", str(tmp_path / "cifar"))]
    assert set(pd.read_csv(tmp_path / "records/images.csv")["data"]) == {"CIFAR-10"}
    assert main(["transfer", "--profile", "paper", "--data", "CIFAR-10,ImageNet", "--data-folder", "cifar"]) == 2
    told = "--data-folder: wanted data of one folder (--data takes a part); got CIFAR-10, ImageNet"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("benchmark", sweep.BENCHMARKS)
def test_folders_of_all_benchmarks_start_at_the_checkouts_root_wherever_one_stands(benchmark, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    placed = [job.placed.folder for job in sweep.jobs("paper", sweep.Design(("relu",), {benchmark: 1}))]
    assert all(not folder or folder.startswith(f"{ROOT}/") for folder in placed) and any(placed)


def test_where_a_folder_is_named_the_jobs_keys_stay():
    first = sweep.jobs("paper", sweep.Design(("relu",), {"algorithms": 1}))[:2]
    assert [job.key for job in sweep.moved(first, ROOT)] == [job.key for job in first]
    assert {job.placed.folder for job in sweep.moved(first, ROOT)} == {str(ROOT)}


def test_the_data_set_is_looked_for_from_the_root_when_it_is_loaded_and_when_it_is_trained_on(dice, tmp_path):
    job = sweep.Job("images", "relu", Config(folder="data/dice"))
    sweep.compare([job], sweep.records(tmp_path), tmp_path, Runner(1))
    assert dice.folders == [str(ROOT / "data/dice")]


def test_no_gpu_is_one_line_before_anything_is_loaded_and_status_2(dice, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(dice, "PROFILES", {"laptop": (Config(), Config("coins", device="cuda"))})
    monkeypatch.setattr(sweep, "records_folder", lambda name, profile="laptop": tmp_path)
    monkeypatch.setattr(sweep.torch.cuda, "is_available", lambda: False)
    assert main(["transfer", "--benchmarks", "images", "--functions", "relu", "--seeds", "2"]) == 2
    assert dice.loaded == dice.called == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("actlab transfer: wanted a GPU that torch ")
    assert "for 2 jobs, the first of them images, coins, relu, seed 0; came none." in line


@pytest.mark.parametrize(("device", "workers"), [("cuda", 1), ("cpu", 0)])
def test_jobs_that_share_a_gpu_run_one_at_a_time_unless_asked_otherwise(dice, monkeypatch, tmp_path, device, workers):
    monkeypatch.setattr(sweep.torch.cuda, "is_available", lambda: True)
    asked = []
    monkeypatch.setattr(Runner, "complete", lambda self, *_: asked.append(self.workers) or ())
    jobs = [sweep.Job("images", "relu", Config(device=device))]
    for given in (0, 3):
        sweep.compare(jobs, sweep.records(tmp_path), tmp_path, Runner(given))
    assert asked == [workers, 3]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 80000000000000 bytes."),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_outside_the_benchmarks_own_care_is_an_outcome(dice, tmp_path, error):
    dice.error = error
    checkpoint = tmp_path / "begun.pt"
    torch.save({"history": [0.25, 0.5]}, checkpoint)
    rows, _ = sweep.run(wanted()[0], checkpoint)
    assert rows["outcome"].tolist() == ["scored", "scored", "OOM"]
    assert rows["split"].tolist() == ["validation", "validation", "in-distribution"]
    assert rows["value"].tolist()[:2] == [0.25, 0.5] and rows["epoch"].tolist() == [0, 1, 2]
    assert set(rows["metric"]) == {"accuracy"} and np.isnan(rows["value"].iloc[2])


def test_other_errors_of_a_training_end_the_run(dice):
    dice.error = RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal memory access"):
        sweep.run(wanted()[0])


def test_failed_jobs_have_the_metric_that_their_benchmark_measures(tmp_path):
    kept = sweep.kept()
    assert {name: set(kept.table(name)["metric"]) for name in sweep.BENCHMARKS} == {
        name: {metric} for name, metric in sweep.METRICS.items()
    }


class Doomed:
    """A benchmark whose process kills itself: always by a signal, or only while another job is in the records."""

    @staticmethod
    def evaluate(activation, config, generator, checkpoint=None, progress=True):
        if config.data.startswith("kill"):
            os.kill(os.getpid(), int(config.data.removeprefix("kill ")))
        return table("images", config.data, config.seed, [Row("in-distribution", "accuracy", 0.5, 0)])

    @staticmethod
    def load(config):
        pass

    data_file = staticmethod(lambda config: None)


class DoomedJob(sweep.Job):
    """Its benchmark is known in a worker too, which begins anew."""

    @property
    def module(self):
        return Doomed


def test_a_job_that_the_system_kills_twice_alone_is_out_of_memory_and_the_others_go_on(tmp_path):
    told, records = [], sweep.records(tmp_path)
    jobs = [DoomedJob("images", "relu", Config(data)) for data in ("dice", "kill 9", "coins")]
    sweep.compare(jobs, records, tmp_path, Runner(2, tell=told.append))
    rows = records.table("images").set_index("data")
    assert rows["outcome"].to_dict() == {"dice": "scored", "kill 9": "OOM", "coins": "scored"}
    words = "killed by the system twice with no other job of this run beside it (signal 9): counts as out of memory"
    assert f"images, kill 9, relu, seed 0: {words}" in told
    assert records.missing(jobs) == []


def test_hours_of_a_gpu_do_not_lie_where_clean_deletes():
    for path in (sweep.kept("paper").folder, sweep.checkpoints("paper")):
        assert (ROOT / "build") not in path.parents
    assert (ROOT / "build") in sweep.checkpoints("laptop").parents


def test_a_failed_training_is_a_record_and_its_outcome_is_told(dice, monkeypatch, tmp_path):
    def diverged(activation, config, generator, checkpoint=None, progress=True):
        return table("images", config.data, config.seed,
                     [Row("in-distribution", "accuracy", float("nan"), 0, outcome="diverged")])  # fmt: skip

    monkeypatch.setattr(dice, "evaluate", diverged)
    told = []
    sweep.compare(wanted()[:1], sweep.records(tmp_path), tmp_path, Runner(1, tell=told.append))
    assert told[0].startswith("images, dice, relu, seed 0: diverged")
    rows = sweep.records(tmp_path).table("images")
    assert rows["outcome"].tolist() == ["diverged"] and rows["value"].isna().all()


def test_unknown_benchmarks_and_functions_are_refused(dice, capsys):
    assert main(["transfer", "--benchmarks", "sounds"]) == 2
    assert "wanted benchmarks among images, molecules, algorithms; got 'sounds'" in capsys.readouterr().err
    assert main(["transfer", "--benchmarks", "images", "--functions", "rely", "--status"]) == 2
    assert "wanted an activation among relu" in capsys.readouterr().err


def test_functions_are_read_in_any_spelling(monkeypatch):
    asked = []
    monkeypatch.setattr(sweep, "jobs", lambda profile, design, *_: asked.extend(design.functions) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["transfer", "--functions", "ReLU,Phase-Flipped,found", "--status"])
    assert asked == ["relu", "symmetric-phase-flipped", "found"]


def test_a_rerun_tells_how_far_a_value_is_from_its_record(dice, tmp_path):
    records = sweep.records(tmp_path)
    sweep.compare(wanted()[:2], records, tmp_path, Runner(1))
    assert sweep.rerun(wanted()[:2], records) < 1e-8
    kept = pd.read_csv(tmp_path / "images.csv")
    kept.loc[kept["evaluation"] == "whole", "value"] += 0.25
    kept.to_csv(tmp_path / "images.csv", index=False)
    files.note(tmp_path)
    assert sweep.rerun(wanted()[:2], sweep.records(tmp_path)) == pytest.approx(0.25, abs=1e-8)


def test_the_found_function_is_the_laptop_searchs_final_choice():
    lineage = pd.read_csv(ROOT / "figures" / "lineage.csv")
    source = f"import torch\n\n\ndef activation(x):\n    return {lineage['program'].iloc[-1]}\n"
    x = torch.linspace(-4, 4, 101)
    assert torch.equal(program.compile_program(program.check(source))(x), sweep.found(x))


def test_the_laptops_design_has_every_function_asked_for_and_enough_seeds():
    design = sweep.DESIGNS["laptop"]
    exact = [name for name in activations.names("paper") if activations.REGISTRY[name].fidelity != "reconstructed"]
    assert {"relu", "gelu", "silu", "snake", sweep.FOUND, *exact} == set(design.functions)
    assert min(design.seeds.values()) >= 5 and design.seeds["images"] >= 10
    jobs = sweep.jobs("laptop", design)
    assert len({job.data for job in jobs if job.benchmark == "algorithms"}) >= 5


SCRIPT = """
import sys, time
from pathlib import Path
from actlab.core import files
from actlab.core.jobs import Runner
from actlab.core.records import Family
from actlab.transfer import sweep, training
Family.values = lambda self: {}  # the canary trains too
epoch, begun = training._epoch, []
def waits(*given):
    begun.append(given)
    if len(begun) > 1:
        time.sleep(600)  # to be killed there
    return epoch(*given)
training._epoch = waits
jobs = sweep.jobs("smoke", sweep.Design(("gelu", "turbulent"), {"images": 1}), ["images"])
sweep.compare(jobs, sweep.records(Path(sys.argv[1])), Path(sys.argv[2]), Runner(1))
"""


def test_a_run_that_is_killed_in_an_epoch_goes_on_from_its_checkpoint_to_the_same_records(tmp_path, monkeypatch):
    jobs = sweep.jobs("smoke", sweep.Design(("gelu", "turbulent"), {"images": 1}), ["images"])
    sweep.compare(jobs, sweep.records(tmp_path / "whole"), tmp_path / "a", Runner(1))
    assert list((tmp_path / "a").glob("*.pt")) == []

    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "killed"), str(tmp_path / "b")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while not list((tmp_path / "b").glob("*.pt")):
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    left = list((tmp_path / "b").glob("*.pt"))
    assert len(left) == 1 and torch.load(left[0])["history"]

    trained = []
    epoch = training._epoch
    monkeypatch.setattr(training, "_epoch", lambda *a: trained.append(a[-1]) or epoch(*a))
    sweep.compare(jobs, sweep.records(tmp_path / "killed"), tmp_path / "b", Runner(1))
    assert 0 not in trained[: trained.index(max(trained)) + 1]  # the first of them did not begin anew
    assert (tmp_path / "killed/images.csv").read_bytes() == (tmp_path / "whole/images.csv").read_bytes()


def test_what_the_records_were_made_from_stands_beside_them(dice, monkeypatch, tmp_path):
    monkeypatch.setattr(sweep, "records_folder", lambda name, profile="laptop": tmp_path)
    monkeypatch.setattr(sweep, "DESIGNS", {"laptop": DESIGN})
    assert main(["transfer", "--workers", "1"]) == 0
    about = json.loads((tmp_path / "about.json").read_text())
    assert about["command"] == "python -m actlab transfer --profile laptop"
    assert set(about["configs"]) == {"images/dice", "images/coins"}
    assert set(about["versions"]) >= {"python", "torch"}
