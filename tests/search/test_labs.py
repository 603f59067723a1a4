"""A search over labs: one digest at any number of workers and after an interruption, and races over whole labs."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from actlab.core import config
from actlab.core.config import LabsFitnessConfig, LabsTaskConfig
from actlab.core.records import Store
from actlab.lab import labs
from actlab.scoring.evaluator import Score, contributions
from actlab.scoring.in_process import InProcess
from actlab.scoring.laboratory import Laboratory
from actlab.search import evolution, inspect, runs, selection
from actlab.search.archive import Archive
from actlab.search.proposers import Proposal
from actlab.search.proposers.grammar import Grammar
from actlab.studies.generality_canary import small

pytestmark = pytest.mark.usefixtures("warm_sandboxes")

TASKS, EACH = LabsTaskConfig(calibration=6, search=12, held_out=12, far=14, each=2), 2
SMOKE = config.over_labs(config.profile("smoke"))
PROFILE = replace(
    SMOKE,
    tasks=TASKS,
    fitness=LabsFitnessConfig(each=EACH),
    search=replace(SMOKE.search, evaluations=12, round_size=4, islands=2, migrate_every=2, pointwise=True),
)
STRATA = [stratum for stratum, _ in labs.settings("search", TASKS)]
SUITES = {name: small(name, TASKS, "float32") for name in ("search", "held-out")}


def opened(folder, workers=1):
    one = Laboratory(PROFILE, workers, Store(folder / "records"))
    vars(one)["suites"] = SUITES
    return one


class Told(Grammar):
    """The grammar, which stops when so few evaluations are left."""

    def __init__(self, stops=-1):
        super().__init__(batch_statistics=False)
        self.stops = stops

    def propose(self, brief, generator):
        if brief.left <= self.stops:
            raise RuntimeError("the cap is reached")
        return super().propose(brief, generator)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A search on one worker: its file, its result, and the tasks of each training, by the program's source."""
    folder, asked = tmp_path_factory.mktemp("run"), []
    with opened(folder) as one:
        submit = one.evaluator.submit

        def noted(source, suite, lab, seed=0, chosen=None):
            asked.append((source, chosen))
            return submit(source, suite, lab, seed, chosen)

        one.evaluator.submit = noted
        result, path = runs.run_search(one, 0, folder / "run.sqlite", Told())
    return path, result, asked


def test_two_workers_give_the_digest_of_one(run, tmp_path):
    with opened(tmp_path, workers=2) as two:
        result, _ = runs.run_search(two, 0, tmp_path / "run.sqlite", Told())
    assert result == run[1]
    assert result.evaluations == 12


def killed_at(judged, path):
    """How a child ends that searches unconfined, here, and ends itself by SIGKILL when so many results were judged."""
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)  # two threads that are the first to use torch after a fork get in each other's way
            with opened(path.parent) as one, InProcess(SUITES, PROFILE.fitness, 1) as here:
                left, judge = iter(range(judged)), here._judge
                here._judge = lambda *given: judge(*given) if next(left, None) is not None else os.kill(os.getpid(), 9)
                one._evaluator = here
                runs.run_search(one, 0, path, Told())
        finally:
            os._exit(70)  # never back into the tests' code
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_search_killed_at_ten_moments_goes_on_to_the_same_digest(run, tmp_path):
    path, kept = tmp_path / "run.sqlite", []
    for judged in np.random.default_rng(0).integers(1, 5, 10).tolist():
        assert killed_at(judged, path) == -signal.SIGKILL
        kept.append(len(runs.entries(path)) if path.exists() else 0)
    assert kept == sorted(kept) and len(set(kept)) > 2 and kept[-1] < len(runs.entries(run[0]))
    with opened(tmp_path) as one:
        result, _ = runs.run_search(one, 0, path, Told())
    assert result == run[1]


@pytest.mark.parametrize("left", [9, 4])
def test_a_search_that_was_cut_off_goes_on_to_the_same_digest(run, tmp_path, left):
    path = tmp_path / "run.sqlite"
    with opened(tmp_path) as one:
        with pytest.raises(RuntimeError, match="the cap is reached"):
            runs.run_search(one, 0, path, Told(left))
        assert 1 < len(runs.entries(path)) < len(runs.entries(run[0]))
        result, _ = runs.run_search(one, 0, path, Told())
    assert result == run[1]


def test_a_race_looks_at_whole_labs_as_many_of_each_stratum(run):
    path, _, asked = run
    parts = [chosen for _, chosen in asked if chosen is not None]
    assert len(parts) > 12 and {len(part) for part in parts} == {6 * EACH}
    for part in parts:
        units = np.array(part).reshape(-1, EACH)
        assert (units % EACH == np.arange(EACH)).all()
        assert (units // EACH == units[:, :1] // EACH).all()
        assert sorted(STRATA[lab] for lab in units[:, 0] // EACH) == sorted(set(STRATA))
    by_source = {}
    for source, chosen in asked:
        by_source.setdefault(source, []).append(chosen)
    full = [places for places in by_source.values() if len(places) == 2]
    assert full and all(sorted(sum(places, ())) == list(range(12 * EACH)) for places in full)
    with Archive(path, read_only=True) as archive:
        stages = set(archive.timings()["stage"]) - {"describe", "full"}
    assert {"tasks 0 to 6 of round 1", "tasks 6 to 12 of round 1"} <= stages


def test_what_is_seen_is_counted_in_labs_and_a_scored_program_has_the_fitness_of_its_losses(run):
    entries = runs.entries(run[0])
    relu = np.array(entries[0].score["ood_mse"])
    assert sum(entry.ended == "scored" for entry in entries) > 6
    for entry in entries:
        if entry.ended == "scored":
            score = Score.from_dict(entry.score)
            assert (entry.seen, len(score.ood_mse)) == (12, 12 * EACH)
            gains = contributions(np.array(score.ood_mse), relu, PROFILE.fitness)
            assert entry.fitness == pytest.approx(gains.mean(), rel=1e-12)


class Written:
    """A proposer of one program, whose loss is above ReLU's in every lab."""

    name = "script"

    def propose(self, brief, generator):
        return [Proposal("def activation(x):\n    return 20 * x * x", (0,), "written", "writer") for _ in brief.asks]


def test_a_program_that_is_behind_in_the_first_labs_is_dropped_with_its_mean_gain_there(tmp_path):
    with opened(tmp_path) as one:
        submit, parts = one.evaluator.submit, []
        one.evaluator.submit = lambda *given, **chosen: parts.append(chosen.get("chosen")) or submit(*given, **chosen)
        own = replace(PROFILE.search, evaluations=1, round_size=1, islands=1)
        one.profile = replace(PROFILE, search=own)
        runs.run_search(one, 0, tmp_path / "run.sqlite", Written())
        start, entry = runs.entries(tmp_path / "run.sqlite")
        _, part = parts
        score = submit(entry.source, "search", PROFILE.lab, chosen=part).result()
    assert (entry.ended, entry.seen, len(part)) == ("dropped", 6, 6 * EACH)
    relu = np.array(start.score["ood_mse"])[list(part)]
    gains = contributions(np.array(score.ood_mse), relu, PROFILE.fitness)
    assert entry.early == pytest.approx(gains.mean(), rel=1e-6) and -1 <= entry.early < 0


def test_fewer_labs_than_a_race_has_looks_for_are_trained_at_once(tmp_path):
    with opened(tmp_path) as one:
        assert evolution._race(PROFILE.search, one.evaluator).rungs == (6, 12)
        one.evaluator.suites["search"] = small("search", replace(TASKS, search=6), "float32")
        assert evolution._race(PROFILE.search, one.evaluator) is None


def test_a_parent_is_shown_with_its_mean_in_each_stratum(run):
    path, _, _ = run
    briefs = []

    class Keeps(Told):
        def propose(self, brief, generator):
            briefs.append(brief)
            raise RuntimeError("the cap is reached")

    with opened(path.parent) as one, pytest.raises(RuntimeError, match="the cap is reached"):
        runs.run_search(one, 1, path.parent / "other.sqlite", Keeps())
    assert briefs[0].asks[0].parent.families == dict.fromkeys(STRATA, 0.0)  # ReLU's


def test_the_final_choice_and_the_held_out_fitness_are_over_labs(run):
    path, result, _ = run
    final = runs.final(path, PROFILE.fitness)
    assert result.best.fitness >= final.fitness
    table = selection.shortlist(runs.entries(path), runs.read(path).moves, PROFILE.fitness)
    assert table["id"].iloc[0] == final.id and table["qualifies"].iloc[0]
    with opened(path.parent) as one:
        trace = runs.trace(one, path)
        found = selection.held_out_fitness(one, [final])
        score = one.evaluator.submit(final.source, "held-out", PROFILE.lab).result()
    assert len(trace) == 13
    assert found.loc[final.id, "held_out"] == pytest.approx(score.fitness, rel=1e-9)
    assert (found.loc[final.id, "low"], found.loc[final.id, "high"]) == pytest.approx(score.interval, rel=1e-9)


def test_a_run_over_labs_is_shown(run):
    path, result, _ = run
    report = inspect.run(path)
    assert report["final"]["id"] == runs.final(path, PROFILE.fitness).id
    assert report["digest"] == result.digest
    assert f"digest: {result.digest}" in inspect.run_text(report)
