import json
from dataclasses import replace

import pandas as pd
import pytest

from actlab import activations
from actlab.core import paper
from actlab.studies import multiverse
from actlab.studies.distribution import Levels, Range
from actlab.studies.multiverse import DESIGNS, Records
from actlab.transfer import sweep

SMALL = replace(DESIGNS["smoke"], labs=3, functions=("relu", "gelu"))


@pytest.fixture
def fake(monkeypatch):
    """Labs that train nothing: their losses are made from their number; `ran` lists them."""
    ran = []

    def run(job):
        if job.lab in stops:
            raise KeyboardInterrupt
        ran.append(job.lab)
        rows = [(f, t, "harmonic", 0.1 + job.lab + t / 7, 0.01) for f in job.functions for t in range(2)]
        return pd.DataFrame(rows, columns=["function", "task", "family", "ood_mse", "train_mse"]), 0.0

    stops = set()
    monkeypatch.setattr(multiverse, "run", run)
    run.ran, run.stops = ran, stops
    return run


def texts(folder):
    return [(folder / name).read_bytes() for name in ("multiverse.csv", "multiverse_labs.csv")]


def test_a_lab_is_the_same_whatever_the_number_of_labs():
    few, many = (multiverse.jobs(DESIGNS["laptop"], labs) for labs in (3, 9))
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
    job = multiverse.jobs(SMALL)[0]
    others = [
        replace(job, settings=replace(job.settings, gain=1.5)),
        replace(job, functions=("relu", "silu")),
        replace(job, clamp=5.0),
    ]
    assert len({job.key, *(other.key for other in others)}) == 4


def test_a_function_that_is_neither_in_the_zoo_nor_found_is_refused():
    with pytest.raises(ValueError, match="wanted functions of the zoo, or found; got rely"):
        multiverse.jobs(replace(SMALL, functions=("relu", "rely")))


def test_labs_that_are_in_the_records_are_not_run_again(fake, tmp_path):
    multiverse.explore(multiverse.jobs(SMALL), Records(tmp_path), workers=1)
    before = texts(tmp_path)
    multiverse.explore(multiverse.jobs(SMALL), Records(tmp_path), workers=1)
    assert fake.ran == [0, 1, 2] and texts(tmp_path) == before
    multiverse.explore(multiverse.jobs(SMALL, 5), Records(tmp_path), workers=1)
    assert fake.ran == [0, 1, 2, 3, 4] and texts(tmp_path) != before


def test_labs_of_other_settings_take_the_place_of_the_old_ones(fake, tmp_path):
    multiverse.explore(multiverse.jobs(SMALL), Records(tmp_path), workers=1)
    other = [replace(job, clamp=5.0) if job.lab == 1 else job for job in multiverse.jobs(SMALL)]
    multiverse.explore(other, Records(tmp_path), workers=1)
    assert fake.ran == [0, 1, 2, 1]
    records = Records(tmp_path)
    assert len(records.losses) == 3 * 2 * 2 and records.labs["lab"].tolist() == [0, 1, 2]
    assert multiverse.missing(records, multiverse.jobs(SMALL)) == [multiverse.jobs(SMALL)[1]]


def test_a_run_that_was_interrupted_comes_to_the_same_bytes(fake, tmp_path):
    multiverse.explore(multiverse.jobs(SMALL), Records(tmp_path / "whole"), workers=1)
    fake.stops.add(1)
    with pytest.raises(KeyboardInterrupt):
        multiverse.explore(multiverse.jobs(SMALL), Records(tmp_path / "cut"), workers=1)
    assert Records(tmp_path / "cut").labs["lab"].tolist() == [0]
    fake.stops.clear()
    multiverse.explore(multiverse.jobs(SMALL), Records(tmp_path / "cut"), workers=1)
    assert texts(tmp_path / "cut") == texts(tmp_path / "whole")


def test_the_records_do_not_hang_on_the_order_in_which_labs_end(fake, tmp_path):
    wanted = multiverse.jobs(SMALL)
    multiverse.explore(wanted, Records(tmp_path / "a"), workers=1)
    multiverse.explore(wanted[::-1], Records(tmp_path / "b"), workers=1)
    assert texts(tmp_path / "a") == texts(tmp_path / "b")


def test_a_lab_counts_only_when_its_settings_are_written_too(fake, tmp_path):
    wanted = multiverse.jobs(SMALL)
    multiverse.explore(wanted, Records(tmp_path), workers=1)
    labs = tmp_path / "multiverse_labs.csv"
    labs.write_text("".join(labs.read_text().splitlines(keepends=True)[:-1]))
    records = Records(tmp_path)
    assert set(records.losses["lab"]) == {0, 1}
    assert multiverse.missing(records, wanted) == [wanted[2]]


def test_two_workers_write_what_one_writes_and_a_rerun_finds_it_again(tmp_path):
    wanted = multiverse.jobs(SMALL, 2)
    for workers in (1, 2):
        multiverse.explore(wanted, Records(tmp_path / str(workers)), workers)
    assert texts(tmp_path / "1") == texts(tmp_path / "2")
    records = Records(tmp_path / "1")
    assert set(records.losses["function"]) == {"relu", "gelu"} and len(records.losses) == 2 * 2 * 12
    assert multiverse.rerun(wanted, records, workers=1) < 1e-5


def test_a_rerun_tells_how_far_a_loss_is_from_its_record_and_refuses_what_is_lacking(fake, tmp_path):
    wanted = multiverse.jobs(SMALL)
    records = Records(tmp_path)
    multiverse.explore(wanted, records, workers=1)
    records.losses.loc[3, "ood_mse"] *= 2
    assert multiverse.rerun(wanted, records, workers=1) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="wanted records of lab 3 as settings and functions are now"):
        multiverse.rerun(multiverse.jobs(SMALL, 4), records, workers=1)


def test_a_line_is_told_for_every_lab(fake, tmp_path):
    told = []
    multiverse.explore(multiverse.jobs(SMALL), Records(tmp_path), workers=1, tell=told.append)
    assert told == ["lab 0: 0.0 s", "lab 1: 0.0 s", "lab 2: 0.0 s"]


@pytest.fixture
def place(monkeypatch, tmp_path):
    monkeypatch.setattr(multiverse, "folder", lambda profile: tmp_path)
    monkeypatch.setattr(multiverse, "DESIGNS", {"laptop": SMALL})
    return tmp_path


def test_the_command_runs_says_what_is_done_and_writes_what_the_records_were_made_from(fake, place, capsys):
    assert multiverse.main(["--labs", "2", "--workers", "1"]) == 0
    assert json.loads((place / "multiverse.json").read_text())["command"].endswith("--profile laptop --labs 2")
    assert multiverse.main(["--status"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"2 of 3 labs are in {place}"
    assert multiverse.main(["--workers", "1"]) == 0
    about = Records(place).about
    assert about["command"] == "python -m actlab.studies.multiverse --profile laptop"
    assert (about["design"]["labs"], about["profile"]) == (3, "laptop")
    assert Records(place).distribution == SMALL.distribution
    assert set(about["versions"]) >= {"python", "torch"}


def test_the_command_ends_with_2_where_it_is_wrong_and_130_where_it_is_interrupted(fake, place, capsys):
    assert multiverse.main(["--profile", "desktop"]) == 2
    assert "unknown profile: wanted one of smoke, laptop, paper; got 'desktop'" in capsys.readouterr().err
    fake.stops.add(0)
    assert multiverse.main(["--workers", "1"]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


def test_records_that_are_not_there_name_the_command_that_makes_them(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"wanted multiverse.json, as `make multiverse` writes; found none"):
        _ = Records(tmp_path).about


def test_every_function_of_a_design_can_be_had():
    x = activations.torch.linspace(-2, 2, 6).reshape(3, 2)
    for name in multiverse.FUNCTIONS:
        assert sweep.activation(name)(x).shape == x.shape
