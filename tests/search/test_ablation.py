"""The comparison of searches: equal budgets, one rule for all, records that come back."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from actlab.__main__ import main
from actlab.core import config, records
from actlab.core.jobs import Runner
from actlab.core.records import Store
from actlab.scoring.evaluator import Evaluator
from actlab.scoring.laboratory import Laboratory
from actlab.search import ablation, contrasts
from actlab.search import runs as discovery
from actlab.search.ablation import ARMS, Design

pytestmark = pytest.mark.usefixtures("warm_sandboxes")

SMOKE = config.profile("smoke")
QUICK = replace(SMOKE, lab=replace(SMOKE.lab, steps=20), search=replace(SMOKE.search, round_size=3))
DESIGN = Design(seeds=2, evaluations=3)
FITNESS = QUICK.fitness
BY_NAME = {arm.name: arm for arm in ARMS}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder for runs and losses, in place of the checkout's."""
    folder = tmp_path_factory.mktemp("build")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation, "BUILD", folder)
        yield folder


def of(table, pick):
    return table[table["pick"] == pick].reset_index(drop=True)


def compare(place, tell=lambda line: None, which=ARMS):
    return ablation.compare(QUICK, DESIGN, which, Store(place / "records"), Runner(1, tell=tell))


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def comparison(place, told):
    return compare(place, told.append)


def test_there_are_five_arms_and_the_first_is_the_profiles_own_search():
    assert [arm.name for arm in ARMS] == [
        "search", "random sampling", "hill climbing", "one island", "in-distribution",
    ]  # fmt: skip
    own = ablation.settings(QUICK, BY_NAME["search"], 7)
    assert own == replace(QUICK, search=replace(QUICK.search, evaluations=7))


def test_arms_depart_from_the_search_in_what_their_names_say_and_nothing_else():
    def departs(name):
        ours, theirs = (ablation.settings(QUICK, BY_NAME[one], 7) for one in ("search", name))
        changed = {k: v for k, v in vars(theirs.search).items() if v != getattr(ours.search, k)}
        assert replace(theirs, search=ours.search, fitness=ours.fitness) == ours
        return changed, theirs.fitness != ours.fitness

    assert departs("random sampling") == ({}, False)
    assert departs("hill climbing") == ({"islands": 1, "elites": 1, "explore": 0.0, "inspirations": 0}, False)
    assert departs("one island") == ({"islands": 1}, False)
    assert departs("in-distribution") == ({"suite": "in-distribution"}, True)


def test_every_arm_and_seed_spends_the_same_evaluations(comparison):
    assert comparison.runs["evaluations"].tolist() == [DESIGN.evaluations] * 20
    assert comparison.runs["pick"].tolist() == ["final"] * 10 + ["best"] * 10
    traces = comparison.traces.groupby(["arm", "seed"])
    assert (traces.size() == DESIGN.evaluations + 1).all()
    assert (traces["evaluation"].max() == DESIGN.evaluations).all()


def test_all_arms_of_a_seed_are_run_before_those_of_the_next(comparison, told):
    names = [arm.name for arm in ARMS]
    assert [line.split(":")[0] for line in told] == [f"seed {seed}, {name}" for seed in (0, 1) for name in names]
    assert comparison.runs["arm"].tolist() == names * 4


def test_the_best_so_far_never_falls_and_begins_at_relu(comparison):
    for _, part in comparison.traces.groupby(["arm", "seed"]):
        assert part["fitness"].iloc[0] == 0
        assert part["fitness"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("name", "suite", "floor"), [("search", "search", FITNESS.floor), ("in-distribution", "in-distribution", 1e-5)]
)
def test_an_arms_fitness_is_that_of_its_own_suite(comparison, name, suite, floor):
    fitness = of(comparison.runs, "final").query("arm == @name")["fitness"]
    table = contrasts.by_seed(comparison, suite, replace(FITNESS, floor=floor))
    gains = -table[table["arm"] == name]["log_ratio"]
    np.testing.assert_allclose(gains, fitness, rtol=1e-6)


def test_random_sampling_alone_makes_programs_without_parents(comparison, place):
    for name in ("search", "random sampling"):
        arm = BY_NAME[name]
        path = ablation.run_file(ablation.settings(QUICK, arm, DESIGN.evaluations), arm, 0)
        parents = [entry.parents for entry in discovery.entries(path)[1:]]
        assert all(parents) if name == "search" else not any(parents)


def test_every_final_choice_is_judged_on_every_task_of_all_four_suites(comparison):
    counts = of(comparison.losses, "final").groupby(["arm", "seed", "suite"], sort=False).size().unstack()
    assert counts.columns.tolist() == ["search", "in-distribution", "held-out", "far"]
    assert (counts == [8, 8, 16, 16]).all(axis=None) and len(counts) == 10
    assert {"relu", comparison.hand_made} <= set(comparison.references["function"])


def test_the_best_of_every_run_is_judged_on_the_unseen_suites(comparison):
    counts = of(comparison.losses, "best").groupby(["arm", "seed", "suite"], sort=False).size().unstack()
    assert counts.columns.tolist() == ["held-out", "far"]
    assert (counts == 16).all(axis=None) and len(counts) == 10


def test_the_best_of_a_run_is_where_its_trace_ends_and_the_final_choice_is_no_better(comparison):
    runs = comparison.runs.set_index(["arm", "seed"])
    last = comparison.traces.groupby(["arm", "seed"])["fitness"].last()
    best, final = (runs[runs["pick"] == pick]["fitness"] for pick in ("best", "final"))
    pd.testing.assert_series_equal(best.sort_index(), last)
    assert (final <= best).all()


def test_where_the_two_picks_are_one_program_they_have_the_same_losses(comparison):
    sources = comparison.runs.set_index(["arm", "seed", "pick"])["source"].unstack()
    same = sources.index[sources["final"] == sources["best"]]
    final, best = (of(comparison.losses, pick).set_index(["arm", "seed"]) for pick in ("final", "best"))
    assert len(same) > 0
    for run in same:
        ours, theirs = (table.loc[[run]].query("suite in ('held-out', 'far')") for table in (final, best))
        np.testing.assert_array_equal(ours["ood_mse"], theirs["ood_mse"])


def test_a_finished_comparison_is_read_and_nothing_is_trained(comparison, place, monkeypatch):
    def trains(*_, **__):
        raise AssertionError("wanted what was kept; it trains")

    monkeypatch.setattr(Evaluator, "submit", trains)
    again = compare(place)
    for name in ("losses", "references", "runs", "traces"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(comparison, name), check_exact=True)


def test_a_comparison_that_was_cut_off_ends_with_the_same_records(comparison, place, tmp_path, monkeypatch):
    two = (ARMS[0], ARMS[1])
    done = [(ablation.settings(QUICK, arm, DESIGN.evaluations), arm, seed) for seed in (0, 1) for arm in two][:-1]
    files = [ablation.run_file(*run) for run in done]
    monkeypatch.setattr(ablation, "BUILD", tmp_path)
    for kept, run in zip(files, done, strict=True):
        ablation.run_file(*run).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(kept, ablation.run_file(*run))
    runs = comparison.runs[comparison.runs["arm"].isin([arm.name for arm in two])].reset_index(drop=True)
    pd.testing.assert_frame_equal(compare(place, which=two).runs, runs, check_exact=True)


def test_other_settings_other_proposers_and_other_seeds_have_other_files():
    sets = [(arm, n, seed) for arm in ARMS for n in (5, 6) for seed in (0, 1)]
    files = {ablation.run_file(ablation.settings(QUICK, arm, n), arm, seed) for arm, n, seed in sets}
    assert len(files) == len(sets)


def test_a_laboratory_with_another_fitness_is_refused():
    arm = BY_NAME["in-distribution"]
    with pytest.raises(ValueError, match="wanted a laboratory with the tasks and the fitness of the arm in-dist"):
        ablation.run(Laboratory(QUICK, workers=1), ablation.settings(QUICK, arm, 5), arm, 0)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The records of the smoke profile, none yet, in a folder of their own."""
    monkeypatch.setattr(ablation, "records_folder", lambda *_: tmp_path / "records" / "ablation")
    return ablation.kept("smoke")


def test_records_come_back_as_they_were_saved_and_say_what_made_them(comparison, kept, tmp_path):
    comparison.save(kept)
    again = ablation.load(ablation.kept("smoke"))
    for name in ("losses", "references", "runs", "traces"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(comparison, name), rtol=1e-8, check_dtype=False)
    made = {"marks": [records.PROTOCOLS["search"].mark()], "versions": records.versions()}
    assert again.about == comparison.about | made
    assert again.about["command"] == "python -m actlab ablation --profile smoke --seeds 2 --evaluations 3"
    assert again.about["profile"]["lab"]["steps"] == 20
    assert set(zip(kept.jobs["arm"], kept.jobs["seed"], strict=True)) == {(a.name, s) for a in ARMS for s in (0, 1)}
    text = "".join(path.read_text() for path in kept.folder.glob("*.*"))
    assert str(tmp_path) not in text and str(records.ROOT) not in text


def test_missing_records_are_named_with_what_makes_them(kept):
    with pytest.raises(FileNotFoundError, match="wanted the runs that `make compare-search` makes; found none"):
        ablation.load(kept)


def test_the_laptop_records_alone_are_committed():
    assert ablation.kept().folder == records.ROOT / "records" / "ablation"
    assert ablation.kept("smoke").folder.is_relative_to(records.BUILD)


def test_a_record_that_is_scored_anew_shows_how_far_it_is_off(comparison, place):
    store = Store(place / "records")
    with Laboratory(QUICK, workers=1, store=store) as laboratory:
        for suite in ablation.JUDGED:
            assert ablation.verify(comparison, laboratory, suite) == 0
        for pick in ("final", "best"):
            losses = comparison.losses.copy()
            at = losses.index[(losses["suite"] == "held-out") & (losses["seed"] == 0) & (losses["pick"] == pick)][3]
            losses.loc[at, "ood_mse"] *= 0.5
            assert ablation.verify(replace(comparison, losses=losses), laboratory) == pytest.approx(1)
    with pytest.raises(ValueError, match=r"lab: wanted the records' .*; `make compare-search` makes new ones"):
        ablation.verify(comparison, Laboratory(SMOKE, workers=1))


# --- the command ---


def test_the_laptop_design_is_what_the_notebook_tells():
    assert ablation.DESIGNS["laptop"] == Design(seeds=5, evaluations=60)
    assert 20 * config.profile("laptop").search.islands == 60


def test_the_command_runs_the_profiles_design_and_writes_its_records(kept, comparison, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(ablation, "compare", lambda *args, runner: asked.append((args, runner.workers)) or comparison)
    assert main(["ablation", "--profile", "smoke", "--seeds", "3", "--workers", "1"]) == 0
    assert asked == [((SMOKE, Design(seeds=3, evaluations=12)), 1)]
    assert main(["ablation", "--profile", "smoke", "--status"]) == 0
    assert capsys.readouterr().out == f"10 runs are in {kept.folder}\n" * 2
    assert len(asked) == 1
    pd.testing.assert_frame_equal(ablation.load(kept).runs, comparison.runs, rtol=1e-8, check_dtype=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--profile", "lapdog"],
            "actlab ablation: unknown profile: wanted one of smoke, laptop, paper; got 'lapdog'\n",
        ),
        (["--seeds", "0"], "wanted a whole number from 1; got '0'"),
    ],
)
def test_a_wrong_call_is_told_in_one_line(capsys, arguments, message):
    try:
        status = main(["ablation", *arguments])
    except SystemExit as refused:
        status = refused.code
    assert status == 2
    assert message in capsys.readouterr().err


def test_an_interrupted_command_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ablation, "compare", interrupted)
    assert main(["ablation", "--profile", "smoke"]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
