import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from actlab import activations
from actlab.__main__ import main
from actlab.core import config
from actlab.core.config import profile
from actlab.core.records import Store
from actlab.scoring.laboratory import Laboratory
from actlab.studies import gpu_lab

pytestmark = pytest.mark.usefixtures("warm_sandboxes")

SMOKE = profile("smoke")
QUICK = replace(SMOKE, lab=replace(SMOKE.lab, steps=20))


def test_on_the_processor_the_losses_are_the_laboratorys(tmp_path):
    found = gpu_lab.losses(QUICK, ["relu", "turbulent"], "cpu", seed=1)
    with Laboratory(QUICK, 1, Store(tmp_path)) as laboratory:
        wanted = pd.concat(
            [laboratory.scores(["relu", "turbulent"], suite, [1]) for suite in gpu_lab.SUITES], ignore_index=True
        )
    assert found.columns.tolist() == gpu_lab.COLUMNS
    pd.testing.assert_frame_equal(found[gpu_lab.COLUMNS[:5]], wanted[gpu_lab.COLUMNS[:5]])
    for column in gpu_lab.COLUMNS[5:]:
        np.testing.assert_allclose(found[column], wanted[column], rtol=1e-3)


@pytest.fixture
def place(monkeypatch, tmp_path, quick_canaries):
    """A folder for records, in place of the checkout's."""
    monkeypatch.setattr(gpu_lab, "records_folder", lambda name, profile: tmp_path / profile / name)
    return tmp_path


def test_what_is_written_is_read_with_what_it_was_made_from(place, monkeypatch, capsys):
    monkeypatch.setattr(gpu_lab.zoo, "names", lambda: ["snake", "relu"])
    monkeypatch.setitem(config.PROFILES, "smoke", QUICK)
    assert main(["gpu-lab", "--profile", "smoke", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == f"2 functions are in {place / 'smoke' / 'gpu_lab'}\n"
    (place / "smoke").rename(place / "laptop")
    found, about = gpu_lab.read()
    made = gpu_lab.losses(QUICK, ["relu", "snake"], "cpu").sort_values(["function", "suite"], kind="stable")
    pd.testing.assert_frame_equal(found, made.reset_index(drop=True), check_dtype=False, check_exact=True)
    assert about["command"] == "python -m actlab gpu-lab --profile smoke --device cpu"
    assert (about["device"], about["versions"]["torch"]) == ("the processor", torch.__version__.partition("+")[0])
    assert about["tasks"]["held_out"] == 16
    assert gpu_lab.kept().jobs["function"].tolist() == ["relu", "relu", "snake", "snake"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_gpu_one_line_says_so_and_nothing_is_written(place, capsys):
    assert main(["gpu-lab", "--profile", "smoke"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("actlab gpu-lab: wanted device cuda") and said.count("\n") == 1
    assert not list(place.iterdir())


def test_another_device_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["gpu-lab", "--device", "gpu"])
    assert "invalid choice: 'gpu' (choose from 'cuda', 'cpu')" in capsys.readouterr().err


def test_missing_records_are_named_with_the_verb_that_makes_them(place):
    with pytest.raises(FileNotFoundError, match=r"gpu_lab: wanted .*; `make paper-lab` makes them"):
        gpu_lab.read()


def test_the_committed_losses_are_of_the_paper_profile_and_of_the_whole_zoo():
    found, about = gpu_lab.read()
    which = profile("paper")
    assert about["tasks"] == json.loads(json.dumps(vars(which.tasks)))
    assert about["lab"] == json.loads(json.dumps(vars(which.lab)))
    assert "H200" in about["device"] or "H100" in about["device"]
    counts = found.groupby(["suite", "function"], sort=False).size()
    assert set(counts) == {1000}
    lacking = set(activations.names()) ^ set(counts.index.levels[1])
    assert lacking == set(), "run `make paper-lab` on a GPU and commit records/gpu_lab"
    assert found[gpu_lab.COLUMNS[5:]].notna().all(axis=None)
