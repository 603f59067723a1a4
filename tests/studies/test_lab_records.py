"""The records that notebooks 03 and 08 read: what is trained for them, what is taken, and that they are not stale."""

from dataclasses import replace

import pandas as pd
import papermill
import pytest

from actlab import activations
from actlab.__main__ import main
from actlab.core import config, paper
from actlab.core.records import ROOT, Store
from actlab.scoring.laboratory import LOSSES, Laboratory
from actlab.studies import lab_records, trust
from actlab.studies.lab_records import Asked

pytestmark = pytest.mark.usefixtures("warm_sandboxes")

SMOKE = config.profile("smoke")
QUICK = replace(SMOKE, lab=replace(SMOKE.lab, steps=5), draws=1, seeds=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A laboratory of few steps, and all that is trained for its records."""
    with Laboratory(QUICK, 1, Store(tmp_path_factory.mktemp("store"))) as laboratory:
        yield laboratory, list(lab_records.trained(laboratory))


@pytest.fixture
def place(monkeypatch, tmp_path):
    """A folder for records, in place of the checkout's."""
    monkeypatch.setattr(lab_records, "records_folder", lambda name, profile: tmp_path / name)
    return tmp_path


@pytest.fixture
def recorded(made, place, quick_canaries):
    """A laboratory that has the records of these, and nothing else."""
    records = lab_records.kept()
    once = {Asked(description).key: (Asked(description), {"losses": table}) for description, table in made[1]}
    records.add(once.values())
    records.note({"command": "the command"})
    with Laboratory(QUICK, 1, Store(place / "other"), records=lab_records.kept()) as laboratory:
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
    pd.testing.assert_frame_equal(rates, trust.tuned_rates(made[0], lab_records.TEN), rtol=1e-5)
    trust.tuned_scores(recorded, rates, "search")
    recorded.scores(trust.random_constants(QUICK.draws), "search")
    ours, theirs = (one.scores(lab_records.TEN, "calibration", [0, 1]) for one in (recorded, made[0]))
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-5)


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


def test_the_verb_writes_the_records_and_goes_on_where_it_was_cut_off(
    made, place, quick_canaries, trains_nothing, monkeypatch, capsys
):
    laboratory, tables = made
    monkeypatch.setattr(config, "profile", lambda name: QUICK)
    monkeypatch.setattr(lab_records, "Laboratory", lambda *_, **__: Laboratory(QUICK, 1, laboratory.store))
    with monkeypatch.context() as cut:
        cut.setattr(lab_records, "trained", lambda laboratory: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(["lab-records", "--profile", "smoke"]) == 130
    assert not list(place.iterdir()) and "the same command goes on from here" in capsys.readouterr().err
    assert main(["lab-records", "--profile", "smoke"]) == 0
    trainings = len(tables) - len(lab_records.TEN)  # with the first seed and at the common rate, which are two studies'
    assert capsys.readouterr().out == f"{trainings} trainings are in {place / 'lab'}\n"
    records = lab_records.kept()
    assert records.about["command"] == "python -m actlab lab-records --profile smoke"
    assert records.missing([Asked(description) for description, _ in tables]) == []
    assert records.table("losses").columns.tolist() == ["key", *LOSSES]


def test_the_committed_records_are_those_of_the_laptops_settings_and_code(trains_nothing, tmp_path):
    laptop, records = config.profile("laptop"), lab_records.kept()
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
    assert programs["gmtu"] == activations.program_source("gmtu")
