import math
import os
from contextlib import nullcontext
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch

from actlab.core.config import FitnessConfig, profile
from actlab.report.bench import search
from actlab.scoring.evaluator import Score
from actlab.search import selection
from actlab.search.archive import Archive, Move

pytestmark = pytest.mark.usefixtures("warm_sandboxes")

SMOKE = profile("smoke")
RACING = replace(SMOKE.search, evaluations=24, round_size=8, race=True)


def file(settings):
    """Where the search of seed 1 with these settings is kept by a profile."""
    return search.search_file(replace(SMOKE, search=settings), 1)


def test_the_number_of_threads_is_left_as_it_was():
    before = torch.get_num_threads()
    with search.one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_the_machine_is_named_with_its_cores(monkeypatch):
    monkeypatch.setattr(search, "cores", lambda: 3)
    named = search.machine()
    assert named.startswith("3 cores of ") and len(named) > len("3 cores of ") and "\n" not in named


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("searches")


@pytest.fixture(scope="module")
def asked():
    return []


@pytest.fixture(scope="module", autouse=True)
def one_core():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(search, "cores", lambda: 1)
        yield


@pytest.fixture(scope="module")
def compared(folder, asked):
    """The quick table of a seed, with every call of the search noted."""
    plain = search.search

    def spy(evaluator, proposer, archive, config, lab, seed):
        asked.append((evaluator, type(proposer), config, lab, seed))
        return plain(evaluator, proposer, archive, config, lab, seed)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(search, "search", spy)
        return search.searches(SMOKE, quick=True, seeds=(1, 2), folder=folder)


def test_the_two_plans_of_a_seed_differ_in_the_race_alone(compared, asked):
    assert compared[["seed", "plan"]].to_numpy().tolist() == [[1, "whole suite"], [1, "racing"]]
    (evaluator, *whole), (other, *racing) = asked
    assert evaluator is other
    assert [config.race for config in (whole[1], racing[1])] == [False, True]
    whole[1] = replace(whole[1], race=True)
    assert whole == racing == [search.Grammar, RACING, SMOKE.lab, 1]


def test_the_quick_race_drops_candidates_and_trains_less_and_the_other_plan_does_not(compared):
    whole, racing = (compared.iloc[i] for i in (0, 1))
    assert (whole["trained"], whole["dropped"], whole["parted"]) == (1, 0, 0)
    assert racing["dropped"] > 0 and racing["trained"] < 1
    assert (compared["evaluations"] == 24).all()
    assert (compared["seconds"] > 0).all()


def test_the_first_plan_is_level_with_itself_and_both_winners_and_choices_are_compared(compared):
    whole = compared.iloc[0]
    parts = ("search", "held_out", "choice")
    assert (whole[[f"{part}_{end}" for part in parts for end in ("gain", "low", "high")]] == 0).all()
    assert whole[["same_winner", "includes_zero", "same_choice", "choice_includes_zero"]].all()
    for row in compared.to_dict("records"):
        assert row["includes_zero"] == (row["held_out_low"] <= 0 <= row["held_out_high"])
        assert row["choice_includes_zero"] == (row["choice_low"] <= 0 <= row["choice_high"])
        assert row["same_winner"] <= row["includes_zero"] and row["same_choice"] <= row["choice_includes_zero"]


def test_the_kept_searches_are_read_again_with_their_seconds_and_one_that_went_on_has_none(
    compared, folder, monkeypatch
):
    monkeypatch.setattr(search.Grammar, "propose", None)  # so that nothing is searched anew
    about = {"family": "search", "kind": "seconds of a search", "file": file(RACING).name, "machine": search.machine()}
    search.Store(folder / "seconds")._path(about).unlink()  # as after a search that was cut off
    again = search.searches(SMOKE, quick=True, seeds=(1,), folder=folder)
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), compared.drop(columns="seconds"))
    assert again["seconds"].isna().tolist() == [False, True]
    assert again["seconds"][0] == compared["seconds"][0]


def test_the_choice_is_the_rules_and_not_the_best(folder, compared):
    with Archive(folder / file(RACING).name, read_only=True) as archive:
        entries, moves = archive.entries(), archive.moves()
        assert archive.meta()["search"] == asdict(RACING)
    chosen = selection.final(entries, moves, SMOKE.fitness)
    best = selection.leaders(entries)[-1]
    row = compared.iloc[1]
    assert (row["best"], row["scored"]) == (best.fitness, sum(entry.ended == "scored" for entry in entries[1:]))
    assert (chosen.source == best.source) == (row["choice_held_out"] == row["held_out"])


def test_searches_part_in_the_first_round_whose_moves_differ():
    a, b, c = (Move(number, 0, "x", number, "born") for number in (1, 2, 3))
    assert search._first_difference([a, b], [a, b]) == 0
    assert search._first_difference([a, b, c], [a, replace(b, program=9), c]) == 2
    assert search._first_difference([a], [a, b]) == search._first_difference([a, b], [a]) == 2
    assert search._first_difference([a, c], [a, b]) == 2


def test_a_gain_is_positive_where_the_second_score_has_the_lower_losses():
    families = ("polynomial", "harmonic") * 8
    losses = 0.2 + 0.01 * np.arange(16)
    worse, better = (Score("scored", None, 0.0, (0, 0), tuple(k * losses), (), (), families) for k in (2, 1))
    gain = search._gain("held_out", worse, better, FitnessConfig())
    assert gain == {f"held_out_{part}": pytest.approx(math.log(2)) for part in ("gain", "low", "high")}


@pytest.fixture(scope="module")
def overhead():
    return search.overhead(profile("smoke"), quick=True)


def test_the_overhead_is_the_sum_of_its_parts_at_each_size_of_the_archive(overhead):
    parts = ["propose_ms", "check_ms", "archive_ms", "judge_ms", "rest_ms"]
    assert list(overhead.columns) == ["programs", "candidates", "total_ms", *parts]
    assert (overhead["programs"] >= [40, 80]).all()
    assert (overhead["candidates"] >= 30).all()
    np.testing.assert_allclose(overhead["total_ms"], overhead[parts].sum(axis=1))
    assert (overhead[parts[:-1]] > 0).all(axis=None)  # the checks are timed again, so that the rest may be less


def test_what_answers_in_place_of_the_sandboxes_is_not_counted_and_each_part_has_its_own_time(monkeypatch):
    clock = [0.0]

    def takes(seconds, owner, name):
        plain = getattr(owner, name)

        def slow(*args, **kwargs):
            clock[0] += seconds
            return plain(*args, **kwargs)

        monkeypatch.setattr(owner, name, slow)

    monkeypatch.setattr(search.time, "perf_counter", lambda: clock[0])
    takes(1000.0, search._MadeUp, "_answer")
    takes(8.0, search.Grammar, "propose")  # once a round, of 8 candidates
    takes(16.0, search.Archive, "add_round")
    takes(3.0, search.Evaluator, "describe")
    for row in search.overhead(profile("smoke"), quick=True).to_dict("records"):
        assert row["candidates"] % 8 == 0
        assert (row["propose_ms"], row["archive_ms"], row["check_ms"], row["judge_ms"]) == (1000, 2000, 0, 0)
        assert 0 < row["rest_ms"] <= 3000  # duplicates and refused programs are not described
        assert row["total_ms"] == pytest.approx(3000 + row["rest_ms"])


@pytest.mark.parametrize("before", [None, "torch"])
def test_a_search_and_labs_run_with_each_backend_and_the_setting_is_as_it_was(monkeypatch, before):
    monkeypatch.delenv(search.SETTING, raising=False)
    if before is not None:
        monkeypatch.setenv(search.SETTING, before)
    asked = []

    def searched(evaluator, which, seed, folder):
        asked.append((os.environ[search.SETTING], which.search.evaluations, seed))
        return search._Finished(100.0 / len(asked), 200, [], [], None, None)

    monkeypatch.setattr(search, "Evaluator", lambda *given: nullcontext())
    monkeypatch.setattr(search, "warm", lambda *given: None)
    monkeypatch.setattr(search, "_searched", searched)
    monkeypatch.setattr(search.multiverse, "run", lambda job: ({"ood_mse": [1.0 + len(asked)]},))
    table = search.by_backend(profile("laptop")).set_index(["work", "backend"])
    assert asked == [("torch", 200, 0), ("compiled", 200, 0)]
    assert os.environ.get(search.SETTING) == before
    assert table.loc["search of 200", "ratio"].tolist() == [1, 2] and table.loc["search of 200", "same_moves"].all()
    assert table.loc["10 labs", "difference"].tolist() == [0, 0.5]
