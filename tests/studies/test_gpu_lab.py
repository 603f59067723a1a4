import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from actlab import activations
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


def test_what_is_written_is_read_with_what_it_was_made_from(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(activations, "names", lambda: ["relu", "snake"])
    monkeypatch.setitem(config.PROFILES, "smoke", QUICK)
    assert gpu_lab.main(["--profile", "smoke", "--device", "cpu", "--folder", str(tmp_path / "new")]) == 0
    found, about = gpu_lab.read(tmp_path / "new")
    pd.testing.assert_frame_equal(found, gpu_lab.losses(QUICK, ["relu", "snake"], "cpu"))
    assert about["command"] == "python -m actlab.studies.gpu_lab --profile smoke --device cpu"
    assert (about["device"], about["versions"]["torch"]) == ("the processor", torch.__version__)
    assert about["tasks"]["held_out"] == 16
    assert "2 functions on 64 data sets" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_gpu_one_line_says_so_and_nothing_is_written(tmp_path, capsys):
    assert gpu_lab.main(["--profile", "smoke", "--folder", str(tmp_path / "new")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("actlab.studies.gpu_lab: wanted device cuda") and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [["--device", "gpu"], ["--profile", "papre", "--device", "cpu"]])
def test_a_wrong_call_says_what_was_wanted_and_writes_nothing(wrong, tmp_path, capsys):
    try:
        status = gpu_lab.main([*wrong, "--folder", str(tmp_path / "new")])
    except SystemExit as ended:  # argparse's
        status = ended.code
    assert status == 2
    assert re.search("choose from|wanted one of", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_missing_records_are_named_with_the_verb_that_makes_them(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"losses.parquet: wanted .*; `make paper-lab` makes them"):
        gpu_lab.read(tmp_path)


def test_the_committed_losses_are_of_the_paper_profile_and_of_the_whole_zoo():
    found, about = gpu_lab.read()
    which = profile("paper")
    assert about["tasks"] == json.loads(json.dumps(vars(which.tasks)))
    assert about["lab"] == json.loads(json.dumps(vars(which.lab)))
    assert "H200" in about["device"] or "H100" in about["device"]
    counts = found.groupby(["suite", "function"], sort=False).size()
    assert set(counts) == {1000} and set(counts.index.levels[1]) == set(activations.names())
    assert found[gpu_lab.COLUMNS[5:]].notna().all(axis=None)
