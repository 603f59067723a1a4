"""The committed records that notebooks 03 and 08 read: what is trained, what is read, and that they are not stale."""

from dataclasses import replace

import pandas as pd
import papermill
import pytest

from actlab.__main__ import main
from actlab.activations import zoo
from actlab.core import config, paper
from actlab.core.jobs import WorkerError
from actlab.core.records import ROOT, Store
from actlab.scoring.laboratory import Laboratory
from actlab.studies import lab_records, trust

pytestmark = pytest.mark.usefixtures("warm_sandboxes")

SMOKE = config.profile("smoke")
QUICK = replace(SMOKE, lab=replace(SMOKE.lab, steps=5), draws=1, seeds=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A laboratory of few steps, and all that is trained for its records."""
    with Laboratory(QUICK, 1, Store(tmp_path_factory.mktemp("store"))) as laboratory:
        yield laboratory, list(lab_records.trained(laboratory))


def enter(records, made):
    records.add((lab_records.Asked(description), {"losses": losses}) for description, losses in made)


@pytest.fixture(scope="module")
def recorded(made, tmp_path_factory):
    """A laboratory that has these in its records, and nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab_records, "records_folder", lambda *_: tmp_path_factory.mktemp("records"))
        records = lab_records.kept()
    enter(records, {lab_records.Asked(d).key: (d, losses) for d, losses in made[1]}.values())
    records.note({"command": "the command"})
    with Laboratory(QUICK, 1, Store(tmp_path_factory.mktemp("other")), records=records) as laboratory:
        yield laboratory


@pytest.fixture
def trains_nothing(monkeypatch):
    """Whoever trains fails: what is asked for was there."""
    monkeypatch.setattr(Laboratory, "evaluator", property(lambda self: pytest.fail("it trains")))


def test_the_three_studies_are_trained_whole(made):
    laboratory, tables = made
    asked = [(d["suite"], d["seed"], d["lab"].learning_rate) for d, _ in tables]
    forms, functions = len(paper.FIGURE_7), len(lab_records.TEN)
    assert asked.count(("calibration", 0, 1e-2)) == asked.count(("calibration", 1, 1e-3)) == functions
    constants, rates, seeds = forms * (QUICK.draws + 1), functions * len(QUICK.rates), functions * QUICK.seeds
    assert len(asked) == seeds + rates + functions + constants
    assert all(len(table) == 8 and table["ood_mse"].gt(0).all() for _, table in tables)
    own = trust.tuned_scores(laboratory, trust.tuned_rates(laboratory, lab_records.TEN), "search")
    kept = pd.concat([table for _, table in tables[seeds + rates : seeds + rates + functions]])
    assert sorted(own["ood_mse"]) == sorted(kept["ood_mse"])


def test_a_laboratory_with_the_records_trains_none_of_them(made, recorded, trains_nothing):
    rates = trust.tuned_rates(recorded, lab_records.TEN)
    mine = trust.tuned_rates(made[0], lab_records.TEN)
    pd.testing.assert_frame_equal(rates, mine, rtol=1e-5)
    trust.tuned_scores(recorded, rates, "search")
    recorded.scores(trust.random_constants(QUICK.draws), "search")
    pd.testing.assert_frame_equal(
        recorded.scores(lab_records.TEN, "calibration", [0, 1]),
        made[0].scores(lab_records.TEN, "calibration", [0, 1]),
        rtol=1e-5,
    )


def test_the_origin_counts_what_is_in_the_records(recorded):
    programs, more = trust.random_constants(QUICK.draws), trust.random_constants(QUICK.draws + 1)
    words = lab_records.origin(recorded, programs, "search")
    assert words == "Of 8 trainings, 8 are records, made by `the command`; none were made here."
    assert "Of 12 trainings, 8 are records" in lab_records.origin(recorded, more, "search")
    assert lab_records.origin(recorded, more, "search").endswith("; 4 were made here.")
    none = lab_records.origin(recorded, ["relu"], "search", learning_rates=[0.5])
    assert none == "All 1 trainings were made here: no records have the settings of this run."
    ten = recorded, lab_records.TEN, "calibration"
    assert "Of 20 trainings, 20 " in lab_records.origin(*ten, learning_rates=QUICK.rates)
    assert "Of 30 trainings, 20 " in lab_records.origin(*ten, seeds=[0, 1, 2])


def test_the_largest_difference_of_a_mean_loss_is_told():
    about = {"suite": "search", "seed": 0, "learning_rate": 1e-3}
    losses = pd.DataFrame({"function": list("aabb"), "ood_mse": [1.0, 3.0, 2.0, 2.0], **about})
    again = pd.DataFrame({"function": list("bb"), "ood_mse": [1.0, 2.0], **about})
    assert lab_records.verify(losses, again) == pytest.approx(0.25)
    assert lab_records.verify(losses, losses) == 0


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder that the command writes to, at few steps."""
    monkeypatch.setattr(config, "profile", lambda name: QUICK)
    monkeypatch.setattr(lab_records, "records_folder", lambda name, profile: tmp_path / "records" / name)
    return tmp_path / "records" / "lab"


def test_the_command_writes_the_records_and_goes_on_where_it_was_cut_off(
    made, trains_nothing, folder, monkeypatch, capsys
):
    laboratory, tables = made
    monkeypatch.setattr(
        lab_records, "Laboratory", lambda profile, workers, executor: Laboratory(profile, 1, laboratory.store)
    )
    with pytest.MonkeyPatch.context() as cut:
        cut.setattr(lab_records, "trained", lambda laboratory: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(["lab-records", "--profile", "smoke"]) == 130
    assert not folder.exists()
    assert main(["lab-records", "--profile", "smoke"]) == 0
    records = lab_records.kept("smoke")
    trainings = len(tables) - len(lab_records.TEN)  # with the first seed and at the common rate, which are two studies'
    assert f"{trainings} trainings are in {records.folder}" in capsys.readouterr().out
    assert records.about["command"] == "python -m actlab lab-records --profile smoke"
    assert not records.missing([lab_records.Asked(description) for description, _ in tables])


def test_a_worker_that_dies_is_one_line_and_leaves_what_was_there(folder, monkeypatch, capsys):
    monkeypatch.setattr(lab_records, "trained", lambda laboratory: (_ for _ in ()).throw(WorkerError("it died")))
    assert main(["lab-records", "--profile", "smoke"]) == 2
    assert "it died" in capsys.readouterr().err and not folder.exists()


def test_the_committed_records_are_those_of_the_laptops_settings(trains_nothing, tmp_path):
    laptop = config.profile("laptop")
    records = lab_records.kept()
    assert records.folder == ROOT / "records" / "lab"
    laboratory = Laboratory(laptop, 1, Store(tmp_path), records=records)
    asked = [*laboratory.asked(trust.random_constants(laptop.draws), "search").values()]
    asked += laboratory.asked(lab_records.TEN, "calibration", range(laptop.seeds)).values()
    asked += laboratory.asked(lab_records.TEN, "calibration", learning_rates=laptop.rates).values()
    for rate, names in trust.own_rates(trust.tuned_rates(laboratory, lab_records.TEN)).items():
        asked += laboratory.asked(names, "search", learning_rates=[rate]).values()
    assert len(asked) == 4 * (laptop.draws + 1) + 10 * (laptop.seeds + len(laptop.rates) + 1)
    assert all(laboratory.found(description) is not None for description in asked)


def test_the_notebook_draws_the_constants_that_are_in_the_records():
    known = papermill.inspect_notebook(str(ROOT / "notebooks" / "08_constants.ipynb"))
    default = {name: float(known[name]["default"]) for name in ("seed", "spread")}
    programs = trust.random_constants(2, int(default["seed"]), default["spread"])
    assert programs == trust.random_constants(2)
    assert programs["gmtu"] == zoo.program_source("gmtu")
