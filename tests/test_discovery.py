import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from actlab import activations, discovery, studies
from actlab.archive import Archive, Entry, source_hash
from actlab.config import profile
from actlab.laboratory import Laboratory
from actlab.records import Store

SMOKE = profile("smoke")
QUICK = replace(SMOKE, lab=replace(SMOKE.lab, steps=20))
SILU = "def activation(x):\n    return x / (1 + torch.exp(-x))"
CUBE = "def activation(x):\n    return x + 0.1 * x ** 3"


def entry(id, round, source, operator, parents, ended, fitness=None, pointwise=True, **more):
    known = ended not in ("refused", "failed")
    traits = {"pointwise": pointwise, "oscillations": 0}
    description = {"traits": traits, "flops_gelu": 1.0, "fingerprint": str(id)} if known else None
    more |= {"score": {} if fitness is not None else None, "description": description, "fitness": fitness}
    return Entry(id, round, source, source_hash(source), str(id) if known else None, operator, parents, ended, **more)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run written by hand: ReLU, then six candidates in two rounds, two of them new bests."""
    path = tmp_path_factory.mktemp("run") / "run.sqlite"
    relu = activations.program_source("relu")
    with Archive(path) as archive:
        archive.begin(seed=0)
        archive.add_round([entry(0, 0, relu, "start", (), "scored", 0.0)])
        archive.add_round(
            [
                entry(1, 1, SILU, "grow", (0,), "scored", 0.4),
                entry(2, 1, SILU + " ", "swap", (0,), "duplicate", duplicate_of=1),
                entry(3, 1, "nonsense", "swap", (0,), "refused", error="line 1: not Python"),
            ]
        )
        archive.add_round(
            [
                entry(4, 2, CUBE, "grow+perturb", (1, 0), "scored", 0.9, pointwise=False),
                entry(5, 2, CUBE + " ", "perturb", (0,), "dropped"),
                entry(6, 2, "def activation(x):\n    return x", "perturb", (1,), "scored", 0.2),
            ]
        )
    return path


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Laboratory(QUICK, workers=1, store=Store(tmp_path_factory.mktemp("records"))) as one:
        yield one


def test_only_candidates_that_were_trained_count_as_evaluations(run):
    assert [e.id for e in discovery.screened(discovery.entries(run))] == [1, 4, 5, 6]


def test_the_best_so_far_are_those_that_led_when_they_were_scored(run):
    assert [e.id for e in discovery.best_so_far(run)] == [0, 1, 4]


def test_endings_are_counted_by_operator_and_in_all(run):
    table = discovery.endings(run).set_index("operator")
    assert table.loc["all"].to_dict() == {
        "scored": 3, "dropped": 1, "duplicate": 1, "refused": 1, "failed": 0, "killed": 0, "total": 6,
    }  # fmt: skip
    assert table.loc["swap", ["duplicate", "refused", "total"]].tolist() == [1, 1, 2]
    assert table.loc["two at once", "total"] == 1


def test_the_loop_has_this_runs_counts(run):
    counts = discovery.loop(run, QUICK).set_index("component")["counts"]
    assert counts.to_dict() == {
        "Database": "7 programs with ReLU",
        "Proposer": "6 proposals in 2 rounds",
        "Check": "1 stopped, 1 duplicates",
        "Screening": "4 screened, 1 dropped",
        "Training": "3 trained in full",
        "Fitness": "2 times a new best",
    }


def test_the_lineage_runs_from_relu_to_the_best(run):
    table = discovery.lineage(run)
    assert table["id"].tolist() == [0, 1, 4]
    assert table["pointwise"].tolist() == [True, True, False]
    assert table["program"].iloc[-1] == "x + 0.1 * x ** 3"


def test_the_trace_follows_the_best_on_search_and_held_out_tasks(run, lab):
    trace = discovery.trace(lab, run)
    assert trace["evaluation"].tolist() == [0, 1, 2, 3, 4]
    assert trace["best"].tolist() == [0, 1, 4, 4, 4]
    assert trace["search"].tolist() == [0.0, 0.4, 0.9, 0.9, 0.9]
    assert trace["pointwise"].tolist() == [True, True, False, False, False]
    np.testing.assert_array_equal(trace["fitness"], [0.0, 0.4, 0.9, np.nan, 0.2])
    expected = lab.evaluator.submit(SILU, "held-out", QUICK.lab).result()
    row = trace.iloc[1]
    assert row["held_out"] == pytest.approx(expected.fitness)
    assert (row["low"], row["high"]) == pytest.approx(expected.interval)
    assert trace["held_out"].iloc[0] == 0


def test_rediscovered_functions_are_told_by_their_values(run, lab, tmp_path):
    names = lab.descriptions(["silu"])
    path = tmp_path / "run.sqlite"
    with Archive(path) as archive:
        archive.begin(seed=0)
        for e in discovery.entries(run):
            found = names["fingerprint"][0] if e.id == 1 else e.fingerprint
            archive.add_round([replace(e, fingerprint=found)])
    table = discovery.rediscovered(lab, path)
    assert table[["function", "id"]].to_numpy().tolist() == [["silu", 1]]


def test_one_line_shows_what_is_returned_or_the_whole_source():
    assert discovery.one_line(SILU) == "x / (1 + torch.exp(-x))"
    assert discovery.one_line("def activation(x):\n    y = x\n    return y") == "def activation(x):; y = x; return y"


def test_curves_are_a_functions_values_and_slopes_in_the_batch_it_stands_in(lab):
    x, batch = np.linspace(-2, 2, 5), np.random.default_rng(0).standard_normal((8, 4))
    table = studies.curves(lab, ["sine", "turbulent"], x, batch)
    sine = table[table["function"] == "sine"]
    np.testing.assert_allclose(sine["y"], np.sin(x))
    np.testing.assert_allclose(sine["slope"], np.cos(x))
    moved = torch.from_numpy(batch.copy())
    moved[0, 1] = x[3]
    expected = activations.turbulent(moved)[0, 1].item()
    assert table[table["function"] == "turbulent"]["y"].iloc[3] == pytest.approx(expected)


def test_a_runs_settings_and_sources_are_part_of_it(lab, tmp_path):
    quick = replace(QUICK, search=replace(QUICK.search, evaluations=2, round_size=2))
    with Laboratory(quick, workers=1, store=lab.store) as one:
        _, path = discovery.run_search(one, 0, tmp_path / "run.sqlite")
    with Archive(path, read_only=True) as archive:
        about = archive.meta()["about"]
    assert about.keys() == {"tasks", "fitness", "limits", "code"}
    assert json.dumps(about["tasks"])
