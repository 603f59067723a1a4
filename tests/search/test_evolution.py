"""The search: its record written out, and the same record at any number of workers and after any kill.

Run as a script, this file plays one search with the fake evaluator again and again, and kills it.
"""

import itertools
import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stand_ins import CONFIG, FAMILIES, LAB, Fake, Pending, Stand, body, failed, found, play, record, scored

from actlab.core.config import FitnessConfig, LabConfig, Limits, SearchConfig, TaskConfig
from actlab.lab import tasks
from actlab.scoring.evaluator import Evaluator, Finding, Score
from actlab.search import evolution, islands
from actlab.search.archive import Archive, ArchiveError, Move
from actlab.search.evolution import BARREN, LOOKS_ACROSS, SearchStalled, search
from actlab.search.proposers import Failure, Proposal, Tally
from actlab.search.proposers.grammar import Grammar, RandomSampling

pytestmark = pytest.mark.usefixtures("warm_sandboxes")


class Table(Stand):
    """An evaluator that reads its answers from a table: body -> (fingerprint, traits, loss of each task).

    A text in the loss's place is an error of the training, in the part that its first word names.
    """

    def __init__(self, rows):
        self.rows, self.calls = rows, []

    def describe(self, source, suite=None, lab=None):
        self.calls.append(("", body(source)))
        fingerprint, traits, _ = self.rows[body(source)]
        if fingerprint is None:
            return self._done(Finding("failed", "raised ValueError: no tensor <0x7f3b>", None))
        return self._done(found(fingerprint, **traits))

    def submit(self, source, suite, lab, seed=0, chosen=None):
        loss = self.rows[body(source)][2]
        part = "all" if chosen is None else ["first", "second"][("first", body(source)) in self.calls]
        self.calls.append((part, body(source)))
        if isinstance(loss, str):
            if part in ("all", loss.split()[0]):
                return Pending(self._done(failed(loss)))
            loss = 0.125
        return Pending(self._done(scored([loss] * (8 if chosen is None else len(chosen)))))

    def _done(self, value):
        future = Future()
        future.set_result(value)
        return future


class Script:
    """A proposer that reads its proposals out, a list a round, and keeps what it was told."""

    name = "script"

    def __init__(self, rounds):
        self.rounds, self.briefs = iter(rounds), []

    def propose(self, brief, generator):
        self.briefs.append(brief)
        return [made if isinstance(made, Proposal) else written(*made) for made in next(self.rounds)]


def written(source, parents, **more):
    return Proposal(f"def activation(x):\n    return {source}", parents, "written", "writer", **more)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """One uninterrupted search on one worker: its file, result and calls."""
    path = tmp_path_factory.mktemp("reference") / "run.sqlite"
    return path, *play(path)


# --- worked example: the whole record of a scripted search, on two islands that meet and restart in round 3 ---

ODD, EVEN = {"parity": "odd"}, {"parity": "even"}
ANSWERS = {
    "F.relu(x)": ("relu", {}, 1.0),
    "x": ("identity", ODD, 0.75),
    "x + 0": ("identity", ODD, None),
    "torch.sin(x)": ("sin", ODD, 0.5),
    "torch.cos(x)": ("cos", EVEN, 2.0),
    "torch.exp(x)": (None, {}, None),
    "torch.tanh(x)": ("tanh", ODD, "first part: raised RuntimeError"),
    "torch.erf(x)": ("erf", ODD, 0.625),
    "x * x": ("square", EVEN, 1.0),
    "torch.abs(x)": ("abs", EVEN, 0.5),
    "-x": ("minus", ODD, "second part: raised RuntimeError"),
    "x * torch.sin(x)": ("wave", EVEN, 0.25),
}
ROUNDS = [
    [("x", (0,)), ("x + 0", (0,)), ("F.relu( x )", (0,)), ("open(x)", (0,)), ("(x + 0)", ()),
     written("half", (0,), failure="stopped at max_tokens")],
    [("torch.sin(x)", (1,)), ("torch.cos(x)", (1, 0)), ("torch.exp(x)", (0,)), ("torch.tanh(x)", (1,)),
     ("torch.erf(x)", ()), ("x * x", (0,))],
    [("torch.abs(x)", (7,)), ("-x", (12,)), ("x * torch.sin(x)", (7,))],
]  # fmt: skip
PLAIN, SELF, MIRROR = (islands.cell(found("", **kind).description.to_dict()) for kind in ({}, ODD, EVEN))
#  id round island cell body parents ended of fitness seen early
EXPECTED = [
    (0, 0, 0, PLAIN, "F.relu(x)", (), "scored", None, -1.0, 8, None),
    (1, 1, 0, SELF, "x", (0,), "scored", None, -0.75, 8, None),
    (2, 1, 1, SELF, "x + 0", (0,), "duplicate", 1, None, None, None),  # the same function
    (3, 1, 0, None, "F.relu(x)", (0,), "duplicate", 0, None, None, None),  # the same source
    (4, 1, 1, None, "open(x)", (0,), "refused", None, None, None, None),
    (5, 1, 0, None, "x + 0", (), "duplicate", 1, None, None, None),  # the same source as a duplicate
    (6, 1, 1, None, "half", (0,), "unanswered", None, None, None, None),
    (7, 2, 0, SELF, "torch.sin(x)", (1,), "scored", None, -0.5, 8, None),
    (8, 2, 1, MIRROR, "torch.cos(x)", (1, 0), "dropped", None, None, 4, -2.0),  # behind ReLU
    (9, 2, 0, None, "torch.exp(x)", (0,), "failed", None, None, None, None),  # on the probes
    (10, 2, 1, SELF, "torch.tanh(x)", (1,), "failed", None, None, 4, None),  # in the first part of the training
    (11, 2, 0, SELF, "torch.erf(x)", (), "scored", None, -0.625, 8, None),  # better than 1, not than 7
    (12, 2, 1, MIRROR, "x * x", (0,), "scored", None, -1.0, 8, None),  # as good as ReLU
    (13, 3, 0, MIRROR, "torch.abs(x)", (7,), "scored", None, -0.5, 8, None),  # three are left of nine evaluations
    (14, 3, 1, SELF, "-x", (12,), "failed", None, None, 8, None),
    (15, 3, 0, MIRROR, "x * torch.sin(x)", (7,), "scored", None, -0.25, 8, None),
]
MOVES = [
    Move(0, 0, PLAIN, 0, "start"),
    Move(0, 1, PLAIN, 0, "start"),
    Move(1, 0, SELF, 1, "born"),
    Move(2, 0, SELF, 7, "born"),
    Move(2, 1, MIRROR, 12, "born"),
    Move(3, 0, MIRROR, 13, "born"),
    Move(3, 0, MIRROR, 15, "born"),
    Move(3, 1, MIRROR, 15, "migrated"),  # and ReLU, the other island's best, is no better than ReLU
    Move(3, 1, None, None, "reset"),
    Move(3, 1, MIRROR, 15, "seeded"),
]
SCRIPTED = SearchConfig(evaluations=9, round_size=6, islands=2, migrate_every=3, reset_every=3)


@pytest.fixture
def scripted(tmp_path):
    evaluator, proposer = Table(ANSWERS), Script(ROUNDS)
    with Archive(tmp_path / "run.sqlite") as archive:
        result = search(evaluator, proposer, archive, SCRIPTED, LAB, 0, False)
        return result, archive.entries(), archive.moves(), evaluator, proposer


def test_the_whole_record_of_a_scripted_search(scripted):
    result, entries, moves, _, _ = scripted
    rows = [(e.id, e.round, e.island, e.cell, body(e.source), e.parents) for e in entries]
    ends = [(e.ended, e.duplicate_of, e.fitness, e.seen, e.early) for e in entries]
    assert [row + end for row, end in zip(rows, ends, strict=True)] == EXPECTED
    assert moves == MOVES
    assert (result.evaluations, result.rounds) == (9, 3)
    assert (result.start, result.best) == (entries[0], entries[15])
    assert Score.from_dict(result.best.score) == scored([0.25] * 8)
    assert {e.id for e in entries if e.score is not None} == {e.id for e in entries if e.fitness is not None}


def test_whoever_does_not_come_through_has_its_reason(scripted):
    errors = {e.id: e.error for e in scripted[1] if e.error}
    assert errors.pop(4).startswith("line 2: ")
    assert errors == {
        6: "stopped at max_tokens",
        9: "raised ValueError: no tensor <0x7f3b>",
        10: "first part: raised RuntimeError",
        14: "second part: raised RuntimeError",
    }


def test_nothing_is_evaluated_twice_and_duplicates_and_dropped_ones_no_further(scripted):
    through = ["x", "torch.sin(x)", "torch.erf(x)", "x * x", "torch.abs(x)", "-x", "x * torch.sin(x)"]
    assert sorted(scripted[3].calls) == sorted(
        [("", text) for text in ANSWERS]  # each function is run on the probes once
        + [("all", "F.relu(x)")]
        + [("first", text) for text in [*through, "torch.cos(x)", "torch.tanh(x)"]]
        + [("second", text) for text in through]
    )


def test_a_proposer_is_told_what_the_archive_holds_at_the_beginning_of_the_round(scripted):
    briefs = scripted[4].briefs
    assert [len(brief.asks) for brief in briefs] == [6, 6, 3]
    assert [brief.left for brief in briefs] == [9, 8, 3]
    assert {(brief.evaluations, brief.flops, brief.pointwise) for brief in briefs} == {(9, Limits().flops, False)}
    assert [brief.tallies for brief in briefs] == [{}, {"writer": Tally(6, 1)}, {"writer": Tally(12, 3)}]
    assert [ask.id for brief in briefs for ask in brief.asks] == list(range(1, 16))
    assert all([ask.island for ask in brief.asks] == [0, 1, 0, 1, 0, 1][: len(brief.asks)] for brief in briefs)
    held = {0: [{0}, {0, 1}, {0, 7}], 1: [{0}, {0}, {0, 12}]}  # who stands on the two islands
    for number, ask in ((number, ask) for number, brief in enumerate(briefs) for ask in brief.asks):
        standing = held[ask.island][number]
        assert {ask.parent.id} | {program.id for program in ask.inspirations} == standing


def test_a_parent_is_shown_with_its_cell_cost_families_and_origin(scripted):
    shown = [p for brief in scripted[4].briefs for ask in brief.asks for p in (ask.parent, *ask.inspirations)]
    sine = next(parent for parent in shown if parent.id == 7)
    assert (body(sine.source), sine.fitness, sine.cell, sine.flops) == ("torch.sin(x)", -0.5, SELF, 12.0)
    assert sine.families == dict.fromkeys(FAMILIES, -0.5)
    assert (sine.origin.id, sine.origin.fitness, sine.origin.cell, sine.origin.origin) == (1, -0.75, SELF, None)
    assert next(parent for parent in shown if parent.id == 0).origin is None


def test_an_islands_latest_failures_are_shown_without_addresses_and_without_what_was_no_program(scripted):
    briefs, entries = scripted[4].briefs, scripted[1]
    shown = [{ask.island: ask.failures for ask in brief.asks} for brief in briefs]
    refused = Failure(entries[4].source, entries[4].error)
    assert shown == [
        {0: (), 1: ()},
        {0: (), 1: (refused,)},
        {
            0: (Failure(entries[9].source, "raised ValueError: no tensor <0x...>"),),
            1: (Failure(entries[10].source, "first part: raised RuntimeError"), refused),
        },
    ]


# --- what a search is ---


def test_the_search_improves_on_relu(reference, tmp_path):
    result, _ = play(tmp_path / "run.sqlite", config=SearchConfig(evaluations=120, round_size=8))
    assert result.best.fitness > result.start.fitness / 2
    assert reference[1].best.fitness > result.start.fitness


def test_evaluations_are_counted_by_candidates_that_were_trained(reference):
    path, result, calls = reference
    entries, _ = record(path)
    trained = {source for chosen, source in calls if chosen} - {entries[0].source}
    assert len(trained) == result.evaluations == sum(entry.was_trained for entry in entries) == 40
    assert len(set(calls)) == len(calls)


def test_the_search_of_the_tests_drops_migrates_and_resets(reference):
    entries, moves = record(reference[0])
    assert {"scored", "dropped", "duplicate"} <= {entry.ended for entry in entries}
    assert {"start", "born", "migrated", "reset", "seeded"} == {move.how for move in moves}
    assert {move.round % 2 for move in moves if move.how == "migrated"} == {0}
    assert {move.round % 3 for move in moves if move.how == "reset"} == {0}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Records of searches with a race and without, of six seeds."""
    folder = tmp_path_factory.mktemp("pairs")
    for seed, racing in itertools.product(range(6), (True, False)):
        play(folder / f"{seed}{racing}", seed, config=replace(CONFIG, race=racing))
    return [(record(folder / f"{seed}True"), record(folder / f"{seed}False")) for seed in range(6)]


@pytest.mark.parametrize("seed", range(6))
def test_a_race_changes_who_stands_where_only_when_it_errs(pairs, seed):
    (raced, moves), (whole, all_moves) = pairs[seed]
    assert not any(entry.ended == "dropped" for entry in whole)
    changes = enumerate(itertools.zip_longest(moves, all_moves))
    first = next((i for i, (one, other) in changes if one != other), None)
    until = math.inf if first is None else all_moves[first].round  # up to there the two are one search
    born = {move.program for move in all_moves if move.how == "born"}
    drops = [entry for entry in raced if entry.ended == "dropped" and entry.round <= until]
    erred = [entry.id for entry in drops if entry.id in born]  # it would have entered
    assert bool(erred) == (first is not None)
    made = ("id", "round", "island", "cell", "source", "parents", "duplicate_of")
    for one, other in zip(raced, whole, strict=first is None):
        if one.round <= until:
            assert [getattr(one, name) for name in made] == [getattr(other, name) for name in made]
            assert one.ended == "dropped" or (one.ended, one.fitness) == (other.ended, other.fitness)


def test_few_who_are_dropped_would_have_entered(pairs):
    drops = errors = 0
    for (raced, _), (whole, moves) in pairs:
        born = {move.program for move in moves if move.how == "born"}
        dropped = [a.id for a, b in zip(raced, whole, strict=False) if a.ended == "dropped" and a.source == b.source]
        drops, errors = drops + len(dropped), errors + len(born.intersection(dropped))
    assert drops > 30
    assert errors <= 0.1 * drops


def test_the_suite_that_selection_sees_is_a_setting(tmp_path):
    class Other(Table):
        def submit(self, source, suite, lab, seed=0, chosen=None):
            assert suite == "in-distribution"
            return super().submit(source, suite, lab, seed, chosen)

    config = replace(SCRIPTED, suite="in-distribution")
    with Archive(tmp_path / "run.sqlite") as archive:
        result = search(Other(ANSWERS), Script(ROUNDS), archive, config, LAB, 0, False)
    assert result.best.id == 15


def test_a_parent_that_is_not_scored_is_refused_whatever_became_of_it(tmp_path):
    for ended in ("dropped", "failed", "refused", "duplicate"):
        parent = next(row[0] for row in EXPECTED if row[6] == ended and row[1] < 3)
        proposer = Script([*ROUNDS[:2], [("torch.abs(x)", (7, parent))] * 3])
        with Archive(tmp_path / ended) as archive:
            with pytest.raises(ValueError, match=rf"wanted scored parents from script; got \(7, {parent}\)"):
                search(Table(ANSWERS), proposer, archive, SCRIPTED, LAB, 0, False)
            assert len(archive.entries()) == 13


@pytest.mark.parametrize("proposer", [Grammar(), RandomSampling()])
def test_the_grammars_name_scored_parents_alone(proposer, tmp_path):
    for seed in range(3):
        play(tmp_path / str(seed), seed, proposer=proposer)
        entries, _ = record(tmp_path / str(seed))
        scored = {entry.id for entry in entries if entry.ended == "scored"}
        assert len(scored) < len(entries)
        assert all(scored.issuperset(entry.parents) for entry in entries)


class Bounded(Table):
    """Some programs cost too much, by their bodies, or their training is ended."""

    def __init__(self, rows, costly=(), slow=()):
        super().__init__(rows)
        self.costly, self.slow = costly, slow

    def describe(self, source, suite=None, lab=None):
        finding = super().describe(source).result()
        if body(source) in self.costly:
            finding = replace(finding, ended="refused", error="too many FLOPs")
        return self._done(finding)

    def submit(self, source, suite, lab, seed=0, chosen=None):
        if body(source) in self.slow:
            self.calls.append(("killed", body(source)))
            return Pending(self._done(replace(failed("took too long"), ended="killed")))
        return super().submit(source, suite, lab, seed, chosen)


SPELLINGS = {"F.relu(x)": ("relu", {}, 1.0), **dict.fromkeys(["x", "x + 0", "x + 1 - 1", "x * 1"], ("x", ODD, 0.75))}


def spelled(tmp_path, rounds, **limited):
    """Endings of the candidates, and of what each is a duplicate, in a search for spellings of one function."""
    evaluator = Bounded(SPELLINGS, **limited)
    config = SearchConfig(evaluations=9, round_size=4, islands=1)
    proposer = Script([[(text, (0,)) for text in texts] for texts in rounds])
    with Archive(tmp_path / "run.sqlite") as archive:
        with pytest.raises(StopIteration):  # the script is at its end
            search(evaluator, proposer, archive, config, LAB, 0, False)
        entries = archive.entries()[1:]
    assert len(evaluator.calls) == len(set(evaluator.calls))
    return [(entry.ended, entry.duplicate_of) for entry in entries]


def test_a_function_that_cost_too_much_may_come_again_in_a_cheaper_spelling(tmp_path):
    rounds = [["x + 0", "x + 1 - 1", "x + 0", "open(x)"], ["x + 0", "x", "x * 1", "x"]]
    assert spelled(tmp_path, rounds, costly=["x + 0", "x + 1 - 1"]) == [
        ("refused", None), ("refused", None), ("duplicate", 1), ("refused", None),
        ("duplicate", 1), ("scored", None), ("duplicate", 6), ("duplicate", 6),
    ]  # fmt: skip


def test_a_function_whose_training_was_killed_may_come_again_in_a_later_round(tmp_path):
    rounds = [["x + 0", "x + 0", "open(x)", "open(x)"], ["x + 0", "x", "x * 1", "x + 0"]]
    assert spelled(tmp_path, rounds, slow=["x + 0"]) == [
        ("killed", None), ("duplicate", 1), ("refused", None), ("refused", None),
        ("duplicate", 1), ("scored", None), ("duplicate", 6), ("duplicate", 1),
    ]  # fmt: skip


def test_the_next_spelling_of_a_function_in_the_round_is_trained_where_the_first_was_killed(tmp_path):
    rounds = [["x + 0", "x + 1 - 1", "x + 0", "x + 1 - 1"], ["x + 0", "x + 1 - 1", "x", "x"]]
    assert spelled(tmp_path, rounds, slow=["x + 0", "x + 1 - 1"]) == [
        ("killed", None), ("killed", None), ("duplicate", 1), ("duplicate", 2),
        ("duplicate", 1), ("duplicate", 2), ("scored", None), ("duplicate", 7),
    ]  # fmt: skip


def test_a_third_spelling_is_a_duplicate_of_the_one_that_came_through(tmp_path):
    rounds = [["x + 0", "x", "x * 1", "x"]]
    assert spelled(tmp_path, rounds, slow=["x + 0"]) == [
        ("killed", None), ("scored", None), ("duplicate", 2), ("duplicate", 2),
    ]  # fmt: skip


def test_a_search_for_pointwise_programs_refuses_others_after_the_probes(tmp_path):
    across = "x - x.mean()"
    answers = ANSWERS | {across: ("across", {"pointwise": False}, 0.5)}
    proposer = Script([[(across, (0,)), ("x", (0,))], [(across, (0,))]])
    config = SearchConfig(evaluations=2, round_size=2, islands=1, pointwise=True)
    with Archive(tmp_path / "run.sqlite") as archive:
        evaluator = Table(answers)
        with pytest.raises(StopIteration):
            search(evaluator, proposer, archive, config, LAB, 0, False)
        refused, _, again = archive.entries()[1:]
    assert (refused.ended, refused.error, refused.seen) == ("refused", LOOKS_ACROSS, None)
    assert "across the tensor" in refused.cell
    assert (again.ended, again.duplicate_of) == ("duplicate", 1)
    assert all(brief.pointwise for brief in proposer.briefs)
    assert [part for part, text in evaluator.calls if text == across] == [""]


def test_one_island_neither_migrates_nor_is_reset(tmp_path):
    play(tmp_path / "run.sqlite", config=replace(CONFIG, islands=1, migrate_every=1, reset_every=1))
    entries, moves = record(tmp_path / "run.sqlite")
    assert {move.how for move in moves} == {"start", "born"}
    assert {entry.island for entry in entries} == {0}


def test_programs_from_scratch_have_no_line_of_descent(tmp_path):
    path = tmp_path / "run.sqlite"
    result, _ = play(path, proposer=RandomSampling())
    with Archive(path, read_only=True) as archive:
        assert archive.lineage(result.best.id) == [result.best]
        assert {entry.author for entry in archive.entries()[1:]} == {"random sampling"}
    assert result.best.fitness > result.start.fitness


# --- what stops it ---


def test_a_search_without_new_programs_stops_and_says_so_again_when_it_is_resumed(tmp_path):
    proposer = Script([[("F.relu(x)", (0,))] * 8] * 100)
    for _ in range(2):
        with (
            Archive(tmp_path / "run.sqlite") as archive,
            pytest.raises(SearchStalled, match="wanted new programs from script; got duplicates"),
        ):
            search(Table(ANSWERS), proposer, archive, CONFIG, LAB, 0, False)
    assert len(proposer.briefs) == BARREN


@pytest.mark.parametrize(
    "proposals, message",
    [([("x", (0,))], "wanted 8 proposals from script; got 1"),
     ([("x", (1,))] * 8, r"wanted scored parents from script; got \(1,\)"),
     ([("x", (-1,))] * 8, r"wanted scored parents from script; got \(-1,\)")],
)  # fmt: skip
def test_wrong_proposals_are_an_error_and_nothing_of_the_round_is_kept(tmp_path, proposals, message):
    with Archive(tmp_path / "run.sqlite") as archive:
        with pytest.raises(ValueError, match=message):
            search(Table(ANSWERS), Script([proposals]), archive, CONFIG, LAB, 0, False)
        assert len(archive.entries()) == 1


def test_a_proposer_that_raises_leaves_whole_rounds_and_the_search_goes_on_from_there(reference, tmp_path):
    class Capped(Grammar):
        name = Grammar().name

        def propose(self, brief, generator):
            if brief.left < 20:
                raise RuntimeError("the cap is reached")
            return super().propose(brief, generator)

    path = tmp_path / "run.sqlite"
    with pytest.raises(RuntimeError, match="the cap is reached"):
        play(path, proposer=Capped())
    entries, moves = record(path)
    whole, all_moves = record(reference[0])
    assert 0 < len(entries) < len(whole)
    assert entries == whole[: len(entries)]
    assert moves == all_moves[: len(moves)]
    assert play(path)[0] == reference[1]


def test_a_start_that_fails_stops_the_search(tmp_path):
    answers = {"F.relu(x)": ("relu", {}, "first part: no")}
    with (
        Archive(tmp_path / "run.sqlite") as archive,
        pytest.raises(RuntimeError, match="wanted ReLU to start from; it failed: first part: no"),
    ):
        search(Table(answers), Script([]), archive, CONFIG, LAB, 0, False)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"islands": 0}, "wanted at least one island"),
        ({"round_size": 2}, "and an ask a round for each"),
        ({"elites": 0}, "wanted at least one elite"),
        ({"explore": 1.5}, "a chance to explore from 0 to 1"),
        ({"migrate_every": -1}, "wanted no negative numbers"),
        ({"delta": 0.7}, "wanted a delta between 0 and 0.5"),
        ({"suite": "train"}, "unknown suite: wanted one of search, in-distribution; got 'train'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, change, message):
    with Archive(tmp_path / "run.sqlite") as archive, pytest.raises(ValueError, match=message):
        search(Table(ANSWERS), Script(ROUNDS), archive, replace(CONFIG, **change), LAB, 0, False)
    assert record(tmp_path / "run.sqlite") == ([], [])


# --- the bar ---


def test_no_bar_is_drawn_where_there_is_no_terminal(tmp_path, capfd):
    with Archive(tmp_path / "run.sqlite") as archive:
        search(Table(ANSWERS), Script(ROUNDS), archive, SCRIPTED, LAB, 0)
    assert capfd.readouterr() == ("", "")


def test_the_bar_moves_after_each_part_of_a_race_from_the_first_on_and_ends_at_the_evaluations(tmp_path, monkeypatch):
    shown = []

    class Bar:
        def __init__(self, total, initial, disable, bar_format, miniters):
            assert bar_format.count("{n:.1f}/{total_fmt}") == 1 and miniters == 0
            shown.append((total, initial, disable))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def set_postfix(self, refresh, **words):
            shown.append(words)

        def update(self, share):
            shown.append(share)

    monkeypatch.setattr(evolution, "tqdm", Bar)
    with Archive(tmp_path / "run.sqlite") as archive:
        search(Table(ANSWERS), Script(ROUNDS), archive, SCRIPTED, LAB, 0, spent=itertools.count(1).__next__)
    assert shown[0] == (9, 0, None)
    shares = shown[2::2]
    assert sum(shares) == pytest.approx(9)
    assert shares[0] < 1 and len(shares) > 9
    assert shown[1]["spent"] == "$1.00"
    assert shown[-2] == {"best": "-0.25", "spent": f"${len(shares)}.00"}


# --- determinism ---


def test_the_digest_depends_on_the_seed_and_on_nothing_else(reference, tmp_path):
    digest = reference[1].digest
    assert play(tmp_path / "again")[0].digest == digest
    assert play(tmp_path / "other", seed=1)[0].digest != digest


def test_two_workers_whose_results_come_out_of_order_give_the_digest_of_one(reference, tmp_path):
    result, calls = play(tmp_path / "run.sqlite", workers=2, delay=0.01)
    assert result.digest == reference[1].digest
    assert sorted(calls) == sorted(reference[2])
    with Archive(tmp_path / "run.sqlite", read_only=True) as archive:
        came = archive.timings().query("stage.str.startswith('tasks 0 to 4')")["source_hash"].tolist()
        asked = [entry.source_hash for entry in archive.entries() if entry.was_trained]
    assert came != asked


def test_a_finished_search_evaluates_nothing_and_gives_the_same_result(reference):
    result, calls = play(reference[0])
    assert result == reference[1]
    assert calls == []


def test_another_seed_or_size_is_refused_on_resumption(reference):
    with pytest.raises(ArchiveError, match="wanted a run with seed = 7; got one with 0"):
        play(reference[0], seed=7)
    with pytest.raises(ArchiveError, match=r"wanted a run with search.evaluations = 41; got one with 40"):
        play(reference[0], config=replace(CONFIG, evaluations=41))


@pytest.mark.parametrize("at", [2, 31, 60])
def test_an_interrupt_leaves_an_archive_that_goes_on_without_repeating_what_was_kept(reference, tmp_path, at):
    class Interrupted(Fake):
        def _score(self, source, chosen):
            if sum(bool(chosen) for chosen, _ in self.calls) >= at:
                raise KeyboardInterrupt
            return super()._score(source, chosen)

    path = tmp_path / "run.sqlite"
    with Archive(path) as archive, Interrupted() as evaluator, pytest.raises(KeyboardInterrupt):
        search(evaluator, Grammar(), archive, CONFIG, LAB, 0, False)
    with Archive(path, read_only=True) as archive:
        kept = len(archive.timings())
    result, calls = play(path)
    assert result.digest == reference[1].digest
    assert len(calls) == len(reference[2]) - kept


KILLS, WORKERS = 20, 2
# How many evaluations each of the searches that are killed has begun before.
BEGUN = np.random.default_rng(5).integers(1, 9, KILLS).tolist()
LONG = replace(CONFIG, evaluations=80)


def test_a_search_killed_at_twenty_moments_ends_in_the_digest_of_the_one_that_was_not(tmp_path):
    path, log, whole = tmp_path / "run.sqlite", tmp_path / "log", tmp_path / "whole.sqlite"
    result, calls = play(whole, config=LONG)
    assert sum(BEGUN) + WORKERS * KILLS < len(calls)  # no search ends before it is killed, however fast
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, str(path), str(log)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=240)
    *rounds, digest = done.stdout.split()
    assert digest == result.digest
    assert record(path) == record(whole)
    assert len(rounds) == KILLS
    assert len(set(rounds)) > 1  # they came in different rounds
    started = log.read_text().split("\n")[:-1]
    assert len(set(started)) == len(calls)
    assert len(started) > len(set(started))  # a kill did lose what was in flight
    assert len(started) - len(set(started)) <= sum(BEGUN) + 2 * WORKERS * KILLS


def kill_again_and_again(path, log):
    """Plays the search in children, killed at random moments; prints the round of each kill, then the digest.

    A moment is some evaluations and some milliseconds after the child's start, however slow the machine. Two more
    evaluations than these come to an end in a child that is to be killed: it waits for it.
    """
    rng, started = np.random.default_rng(6), lambda: log.read_text().count("\n")
    log.touch()
    for begun in [*BEGUN, None]:
        until = started() + (begun or 0)
        child = os.fork()
        if child == 0:
            torch.set_num_threads(1)  # two threads that are the first to use torch after a fork get in each other's way
            ends = math.inf if begun is None else begun + WORKERS
            result, _ = play(path, workers=WORKERS, delay=0.02, config=LONG, log=log, ends=ends)
            print(result.digest, flush=True)
            os._exit(0)
        if begun is not None:
            while started() < until:
                assert os.waitpid(child, os.WNOHANG) == (0, 0), f"a child ended before it was killed, after {log}"
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.05))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            with Archive(path) as archive:
                print(len({entry.round for entry in archive.entries()}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    kill_again_and_again(Path(sys.argv[1]), Path(sys.argv[2]))


# --- racing in the lab itself ---

SMALL = LabConfig(steps=20, width=8, depth=2)
RACING = SearchConfig(evaluations=16, round_size=8)


@pytest.fixture(scope="module")
def suites():
    return {"search": tasks.suite("search", TaskConfig(search=8))}


@pytest.fixture(scope="module")
def raced(suites, tmp_path_factory):
    """A search with the lab on one worker, whose candidates race: its file and result, and its best trained at once."""
    path = tmp_path_factory.mktemp("raced") / "run.sqlite"
    with Evaluator(suites, FitnessConfig(resamples=50), 1) as evaluator:
        result = race(evaluator, path)
        return path, result, evaluator.submit(result.best.source, "search", SMALL).result()


def race(evaluator, path):
    with Archive(path) as archive:
        return search(evaluator, Grammar(), archive, RACING, SMALL, 0, False)


def test_a_part_that_was_kept_is_not_joined_to_another_rounds_tasks(tmp_path):
    """A round is cut off, comes again with other proposals, and its program returns in the next round."""

    class Places(Table):
        """Losses that tell the tasks; those of x are low."""

        def submit(self, source, suite, lab, seed=0, chosen=None):
            places = range(8) if chosen is None else chosen
            self.calls.append((tuple(places), body(source)))
            if len(self.calls) == self.stops:
                raise KeyboardInterrupt
            better = body(source) == "x"
            return Pending(self._done(scored([(place + 1) / (16 if better else 1) for place in places])))

    config = SearchConfig(evaluations=2, round_size=1, islands=1)
    evaluator, others = Places(ANSWERS), [[("torch.sin(x)", (0,))], [("x", (0,))]]
    with Archive(tmp_path / "run.sqlite") as archive:
        evaluator.stops = 5  # two calls for ReLU, then the description, the first part, and here the second
        with pytest.raises(KeyboardInterrupt):
            search(evaluator, Script([[("x", (0,))]]), archive, config, LAB, 0, False)
        kept = [stage for stage in archive.timings()["stage"] if stage.startswith("tasks")]
        assert kept == ["tasks 0 to 4 of round 1"]
        evaluator.stops = None
        best = search(evaluator, Script(others), archive, config, LAB, 0, False).best
    assert (best.id, body(best.source)) == (2, "x")
    assert best.score["ood_mse"] == [(place + 1) / 16 for place in range(8)]
    orders = {places for places, text in evaluator.calls if text == "x" and places}
    assert len(orders) == 4  # no part of one round is a part of the other


def test_whoever_comes_through_a_race_has_the_score_of_the_whole_suite(raced):
    path, result, whole = raced
    entries, _ = record(path)
    assert {entry.ended for entry in entries if entry.was_trained} == {"scored", "dropped"}
    best = Score.from_dict(result.best.score)
    assert best.families == whole.families
    for name in ("ood_mse", "ood_mse_whole", "train_mse", "interval"):
        np.testing.assert_allclose(getattr(best, name), getattr(whole, name), rtol=1e-3)
    assert result.best.fitness == pytest.approx(whole.fitness, rel=1e-4)


def test_who_is_dropped_from_a_race_was_trained_on_its_first_part_alone(raced):
    with Archive(raced[0], read_only=True) as archive:
        parts = {
            entry.ended: [
                archive.evaluation(entry.source_hash, f"tasks {part} of round {entry.round}")
                for part in ("0 to 4", "4 to 8")
            ]
            for entry in archive.entries()
            if entry.was_trained
        }
        dropped = next(entry for entry in archive.entries() if entry.ended == "dropped")
    assert [part is None for part in parts["dropped"]] == [False, True]
    assert [len(part["ood_mse"]) for part in parts["scored"]] == [4, 4]
    assert (dropped.fitness, dropped.seen) == (None, 4)
    assert dropped.early == pytest.approx(parts["dropped"][0]["fitness"])


def test_a_race_has_the_same_record_at_one_and_two_workers(suites, raced, tmp_path):
    with Evaluator(suites, FitnessConfig(resamples=50), 2) as evaluator:
        assert race(evaluator, tmp_path / "run.sqlite").digest == raced[1].digest
