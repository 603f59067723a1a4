"""Labs drawn at random: which, what is kept of them, and what the verb says."""

from dataclasses import replace

import pandas as pd
import pytest

from actlab import activations
from actlab.__main__ import main
from actlab.core import paper
from actlab.core.jobs import Runner
from actlab.lab.distribution import Levels, Range
from actlab.studies import multiverse
from actlab.studies.multiverse import DESIGNS, LabRecords, explore, jobs
from actlab.transfer import sweep

pytestmark = pytest.mark.usefixtures("quick_canaries")

SMALL = replace(DESIGNS["smoke"], labs=3, functions=("relu", "gelu"))


@pytest.fixture
def fake(monkeypatch):
    """Labs that train nothing: their losses are made from their number; `ran` lists them."""

    def run(job):
        if job.lab in run.stops:
            raise KeyboardInterrupt
        run.ran.append(job.lab)
        rows = [(f, t, "harmonic", 0.1 + job.lab + t / 7, 0.01) for f in job.functions for t in range(2)]
        return pd.DataFrame(rows, columns=["function", "task", "family", "ood_mse", "train_mse"]), 0.0

    run.ran, run.stops = [], set()
    monkeypatch.setattr(multiverse, "run", run)
    return run


def texts(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


def test_a_lab_is_the_same_whatever_the_number_of_labs():
    few, many = (jobs(DESIGNS["laptop"], labs) for labs in (3, 9))
    assert few == many[:3]
    assert len({job.key for job in many}) == 9


def test_the_laptops_design_has_a_hundred_labs_and_every_setting_and_function_asked_for():
    design = DESIGNS["laptop"]
    assert design.labs >= 100
    assert set(design.functions) == {*paper.TABLE_1, "snake", "sine", "silu", "found"}
    settings = {
        "ring", "input_scale", "target_scale", "width", "depth", "learning_rate", "gain", "schedule", "steps", "batch",
        "samples", "gelu",
    }  # fmt: skip
    assert settings == {k for k, v in vars(design.distribution).items() if isinstance(v, Range | Levels)}


def test_a_key_tells_settings_and_functions_apart():
    job = jobs(SMALL)[0]
    others = [
        replace(job, settings=replace(job.settings, gain=1.5)),
        replace(job, functions=("relu", "silu")),
        replace(job, clamp=5.0),
    ]
    assert len({job.key, *(other.key for other in others)}) == 4


def test_a_function_that_is_neither_in_the_zoo_nor_found_is_refused():
    with pytest.raises(ValueError, match="wanted functions of the zoo, or found; got rely"):
        jobs(replace(SMALL, functions=("relu", "rely")))


def test_every_function_of_a_design_can_be_had():
    x = activations.torch.linspace(-2, 2, 6).reshape(3, 2)
    for name in multiverse.FUNCTIONS:
        assert sweep.activation(name)(x).shape == x.shape


def test_labs_that_are_in_the_records_are_not_run_again_and_a_line_is_told_for_every_other(fake, tmp_path):
    told = []
    for labs, ran in ((3, [0, 1, 2]), (3, [0, 1, 2]), (5, [0, 1, 2, 3, 4])):
        explore(jobs(SMALL, labs), LabRecords(tmp_path), Runner(1, tell=told.append))
        assert fake.ran == ran and told == [f"lab {lab}: 0.0 s" for lab in ran]
    assert LabRecords(tmp_path).labs["lab"].tolist() == [0, 1, 2, 3, 4]


def test_labs_of_other_settings_take_the_place_of_the_old_ones(fake, tmp_path):
    other = [replace(job, clamp=5.0) if job.lab == 1 else job for job in jobs(SMALL)]
    for wanted in (jobs(SMALL), other):
        explore(wanted, LabRecords(tmp_path), Runner(1))
    assert fake.ran == [0, 1, 2, 1]
    records = LabRecords(tmp_path)
    assert len(records.losses) == 3 * 2 * 2 and records.labs["lab"].tolist() == [0, 1, 2]
    assert records.missing(jobs(SMALL)) == [jobs(SMALL)[1]]


def test_a_run_that_was_interrupted_comes_to_the_same_bytes(fake, tmp_path):
    explore(jobs(SMALL), LabRecords(tmp_path / "whole"), Runner(1))
    fake.stops.add(1)
    with pytest.raises(KeyboardInterrupt):
        explore(jobs(SMALL), LabRecords(tmp_path / "cut"), Runner(1))
    assert LabRecords(tmp_path / "cut").labs["lab"].tolist() == [0]
    fake.stops.clear()
    explore(jobs(SMALL), LabRecords(tmp_path / "cut"), Runner(1))
    assert texts(tmp_path / "cut") == texts(tmp_path / "whole")
    assert texts(tmp_path / "cut").keys() == {"jobs.csv", "labs.csv", "losses.csv"}


def test_two_workers_write_what_one_writes_and_a_rerun_finds_it_again(tmp_path):
    wanted = jobs(SMALL, 2)
    for workers in (1, 2):
        explore(wanted, LabRecords(tmp_path / str(workers)), Runner(workers))
    assert texts(tmp_path / "1") == texts(tmp_path / "2")
    records = LabRecords(tmp_path / "1")
    assert set(records.losses["function"]) == {"relu", "gelu"} and len(records.losses) == 2 * 2 * 12
    assert multiverse.rerun(wanted, records, Runner(1)).max() < 1e-5


def test_a_rerun_tells_how_far_a_loss_is_from_its_record_and_refuses_what_is_lacking(fake, tmp_path):
    records = LabRecords(tmp_path)
    explore(jobs(SMALL), records, Runner(1))
    records.losses.loc[3, "ood_mse"] *= 2
    assert multiverse.rerun(jobs(SMALL), records, Runner(1)).max() == pytest.approx(0.5)
    with pytest.raises(ValueError, match="wanted records of lab 3 as settings and functions are now"):
        multiverse.rerun(jobs(SMALL, 4), records, Runner(1))


def test_the_verb_runs_says_what_is_done_and_writes_what_the_records_were_made_from(
    fake, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(multiverse, "kept", lambda profile: LabRecords(tmp_path))
    monkeypatch.setattr(multiverse, "DESIGNS", {"laptop": SMALL})
    assert main(["multiverse", "--labs", "2", "--workers", "1"]) == 0
    assert LabRecords(tmp_path).about["command"].endswith("--profile laptop --labs 2")
    assert main(["multiverse", "--status"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"2 of 3 labs are in {tmp_path}"
    assert main(["multiverse", "--workers", "1"]) == 0
    about = LabRecords(tmp_path).about
    assert about["command"] == "python -m actlab multiverse --profile laptop"
    assert (about["design"]["labs"], about["profile"]) == (3, "laptop")
    assert LabRecords(tmp_path).distribution == SMALL.distribution


def test_the_committed_labs_are_all_that_the_laptops_design_asks_for():
    records = multiverse.kept()
    assert records.jobs["key"].tolist() == [job.key for job in jobs(DESIGNS["laptop"])]
    assert records.distribution == DESIGNS["laptop"].distribution
