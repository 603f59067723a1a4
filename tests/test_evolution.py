"""The search: its record written out, and the same record at any number of workers and after any kill.

Run as a script, this file plays one search with the fake evaluator, for the tests that kill it.
"""

import hashlib
import itertools
import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from actlab import tasks
from actlab.archive import Archive, ArchiveError, source_hash
from actlab.config import FitnessConfig, LabConfig, SearchConfig, TaskConfig
from actlab.evolution import BARREN, SearchStalled, search
from actlab.fitness import Evaluator, Finding, Score
from actlab.program import check, compile_program
from actlab.proposers import Proposal
from actlab.proposers.grammar import Grammar
from actlab.traits import Description

LAB = LabConfig(steps=100)
CONFIG = SearchConfig(evaluations=30, round_size=8)
FULL = 100  # steps
SCREEN = 10


def scored(fitness):
    return Score("scored", None, fitness, (fitness, fitness), (-fitness,), (-fitness,), (0.0,), ("polynomial",))


def failed(error):
    return Score("failed", error, -math.inf, (-math.inf, -math.inf), (), (), (), ("polynomial",))


def found(fingerprint, traits=None):
    return Finding("open", None, Description(fingerprint, 1.0, 1.0, 1.0, traits or {}, None))


def body(source):
    return source.removeprefix("def activation(x):\n    return ")


class Pending:
    """A future whose result is the Score itself."""

    def __init__(self, future):
        self.future = future

    def result(self):
        return self.future.result()


class Fake:
    """An evaluator whose fitness is the distance to a target function; "training" for few steps sees few points.

    Threads stand for workers; how long one takes depends on the program, so that results come out of order. Each
    start is written to `log`, as "steps source_hash".
    """

    def __init__(self, workers=1, delay=0.0, log=None):
        self.pool, self.delay, self.log = ThreadPoolExecutor(workers), delay, log
        self.calls = []  # (steps, source); 0 steps for a description

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.shutdown(cancel_futures=True)

    def describe(self, source):
        return self._submit(0, source, self._description)

    def submit(self, source, suite, lab, seed=0, chosen=None):
        assert (suite, seed, chosen) == ("search", 0, None)
        return Pending(self._submit(lab.steps, source, lambda source: self._score(source, lab.steps)))

    def _submit(self, steps, source, work):
        self.calls.append((steps, source))

        def run():
            if self.log is not None:
                with self.log.open("a") as file:
                    file.write(f"{steps} {source_hash(source)}\n")
            time.sleep(self.delay * int(source_hash(source)[:2], 16) / 128)
            return work(source)

        return self.pool.submit(run)

    def _values(self, source, points):
        x = torch.linspace(-3, 3, points, dtype=torch.float64).reshape(-1, 1)
        return x.flatten(), compile_program(check(source))(x).flatten()

    def _description(self, source):
        _, y = self._values(source, 13)
        if not torch.isfinite(y).all():
            return Finding("failed", "not finite", None)
        fingerprint = hashlib.sha256(y.numpy().round(9).tobytes()).hexdigest()
        return found(fingerprint, {"pointwise": True})

    def _score(self, source, steps):
        x, y = self._values(source, 1 + 2 * steps)
        error = torch.mean((y - 0.5 * x - torch.sin(2 * x)) ** 2).item()
        return scored(-error) if math.isfinite(error) else failed("diverged")


class Table:
    """An evaluator that reads its answers from a table: body -> (fingerprint, screen Score, full Score)."""

    def __init__(self, rows):
        self.rows, self.calls = rows, []

    def describe(self, source):
        self.calls.append((0, body(source)))
        fingerprint = self.rows[body(source)][0]
        return self._done(found(fingerprint) if fingerprint else Finding("failed", "raised ValueError: no", None))

    def submit(self, source, suite, lab, seed=0, chosen=None):
        self.calls.append((lab.steps, body(source)))
        return Pending(self._done(self.rows[body(source)][1 if lab.steps == SCREEN else 2]))

    def _done(self, value):
        future = Future()
        future.set_result(value)
        return future


class Script:
    """A proposer that reads its proposals out, a list a round, and keeps what it was given."""

    name = "script"

    def __init__(self, rounds):
        self.rounds, self.parents = iter(rounds), []

    def propose(self, parents, n, generator):
        self.parents.append(list(parents))
        return [Proposal(source if "\n" in source else f"def activation(x):\n    return {source}", ids, "written")
                for source, ids in next(self.rounds)]  # fmt: skip


def play(path, seed=0, workers=1, delay=0.0, config=CONFIG, log=None):
    with Archive(path) as archive, Fake(workers, delay, log) as evaluator:
        return search(evaluator, Grammar(), archive, config, LAB, seed, progress=False), evaluator.calls


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """One uninterrupted search on one worker: its file, result and calls."""
    path = tmp_path_factory.mktemp("reference") / "run.sqlite"
    return path, *play(path)


# --- worked example: the whole table of a scripted search ---

ANSWERS = {
    "F.relu(x)": ("relu", None, scored(0.0)),
    "x": ("identity", scored(0.1), scored(0.3)),
    "x + 0": ("identity", None, None),
    "torch.sin(x)": ("sin", scored(0.2), scored(0.2)),
    "torch.cos(x)": ("cos", scored(0.2), failed("raised RuntimeError: late")),
    "torch.exp(x)": (None, None, None),
    "torch.tanh(x)": ("tanh", failed("raised RuntimeError: early"), None),
    "torch.erf(x)": ("erf", scored(0.1), None),
    "x * x": ("square", scored(0.5), scored(0.25)),
    "torch.abs(x)": ("abs", scored(0.5), None),
}
ROUNDS = [
    [("x", (0,)), ("x + 0", (0,)), ("F.relu( x )", (0,)), ("open(x)", (0,)), ("(x + 0)", (0,))],
    [("torch.sin(x)", (1,)), ("torch.cos(x)", (1, 0)), ("torch.exp(x)", (0,)), ("torch.tanh(x)", (1,)),
     ("torch.erf(x)", (1,))],
    [("x * x", (6,)), ("torch.abs(x)", (6,))],
]  # fmt: skip
#  id round body           parents ended        of    screen full
EXPECTED = [
    (0, 0, "F.relu(x)", (), "scored", None, None, 0.0),
    (1, 1, "x", (0,), "scored", None, 0.1, 0.3),
    (2, 1, "x + 0", (0,), "duplicate", 1, None, None),  # the same function
    (3, 1, "F.relu(x)", (0,), "duplicate", 0, None, None),  # the same source
    (4, 1, "open(x)", (0,), "refused", None, None, None),
    (5, 1, "x + 0", (0,), "duplicate", 1, None, None),  # the same source as a duplicate
    (6, 2, "torch.sin(x)", (1,), "scored", None, 0.2, 0.2),  # best two of three that came through go on
    (7, 2, "torch.cos(x)", (1, 0), "failed", None, 0.2, None),  # in the full training
    (8, 2, "torch.exp(x)", (0,), "failed", None, None, None),  # on the probes
    (9, 2, "torch.tanh(x)", (1,), "failed", None, None, None),  # in the screening
    (10, 2, "torch.erf(x)", (1,), "dropped", None, 0.1, None),
    (11, 3, "x * x", (6,), "scored", None, 0.5, 0.25),  # two are left of seven evaluations; best one of two
    (12, 3, "torch.abs(x)", (6,), "dropped", None, 0.5, None),  # a tie: the earlier goes on
]


@pytest.fixture
def scripted(tmp_path):
    evaluator, proposer = Table(ANSWERS), Script(ROUNDS)
    with Archive(tmp_path / "run.sqlite") as archive:
        result = search(evaluator, proposer, archive, SearchConfig(evaluations=7, round_size=5), LAB, 0, False)
        return result, archive.entries(), evaluator, proposer


def test_the_whole_table_of_a_scripted_search(scripted):
    result, entries, _, _ = scripted
    assert [
        (e.id, e.round, body(e.source), e.parents, e.ended, e.duplicate_of, e.screen_fitness, e.fitness)
        for e in entries
    ] == EXPECTED
    assert (result.evaluations, result.rounds) == (7, 3)
    assert (result.start, result.best) == (entries[0], entries[1])
    assert Score.from_dict(result.best.score) == scored(0.3)


def test_failures_carry_their_reasons(scripted):
    errors = {e.id: e.error for e in scripted[1] if e.error}
    assert errors.keys() == {4, 7, 8, 9}
    assert errors[4].startswith("line 2: ")
    assert (errors[7], errors[9]) == ("raised RuntimeError: late", "raised RuntimeError: early")
    assert errors[8] == "raised ValueError: no"


def test_nothing_is_evaluated_twice_and_duplicates_never_are(scripted):
    calls = scripted[2].calls
    assert sorted(calls) == sorted(
        [(0, text) for text in ANSWERS]  # each function is run on the probes once
        + [(SCREEN, text) for text in ("x", "torch.sin(x)", "torch.cos(x)", "torch.tanh(x)",
                                   "torch.erf(x)", "x * x", "torch.abs(x)")]
        + [(FULL, text) for text in ("F.relu(x)", "x", "torch.sin(x)", "torch.cos(x)", "x * x")]
    )


def test_parents_are_scored_programs_one_a_proposal_with_what_they_were_made_from(scripted):
    proposer = scripted[3]
    assert [len(parents) for parents in proposer.parents] == [5, 5, 2]
    assert {parent.id for parent in proposer.parents[0]} == {0}
    assert {parent.id for parent in proposer.parents[1]} <= {0, 1}
    for parent in itertools.chain(*proposer.parents):
        assert parent.fitness == {0: 0.0, 1: 0.3, 6: 0.2}[parent.id]
        assert (parent.origin and parent.origin.id) == {0: None, 1: 0, 6: 1}[parent.id]


# --- what a search is ---


def test_the_search_improves_on_relu(reference, tmp_path):
    result, _ = play(tmp_path / "run.sqlite", config=SearchConfig(evaluations=120, round_size=8))
    x = np.linspace(-3, 3, 201)
    target = 0.5 * x + np.sin(2 * x)
    assert result.start.fitness == pytest.approx(-np.mean((np.maximum(x, 0) - target) ** 2))
    assert result.best.fitness > result.start.fitness / 2
    assert result.best.fitness >= reference[1].best.fitness


def test_evaluations_are_counted_by_screenings(reference):
    _, result, calls = reference
    assert sum(steps == SCREEN for steps, _ in calls) == result.evaluations == 30
    assert len(set(calls)) == len(calls)


def test_each_round_trains_the_better_half_in_full(reference):
    with Archive(reference[0], read_only=True) as archive:
        table = archive.programs()
    for _, rows in table[table["screen_fitness"].notna()].groupby("round"):
        kept, dropped = rows[rows["ended"] != "dropped"], rows[rows["ended"] == "dropped"]
        assert len(kept) == math.ceil(len(rows) / 2)
        assert dropped.empty or kept["screen_fitness"].min() >= dropped["screen_fitness"].max()


def test_half_of_the_parents_are_elites_and_half_win_a_tournament(tmp_path):
    first = [(f"{i}.0 * x", (0,)) for i in range(1, 201)]
    answers = {"F.relu(x)": ANSWERS["F.relu(x)"]}
    answers |= {text: (text, scored(0.0), scored(float(i))) for i, (text, _) in enumerate(first, start=1)}
    config = SearchConfig(evaluations=400, round_size=200, keep_fraction=1.0, elites=1, tournament=4)
    proposer = Script([first, []])
    with Archive(tmp_path / "run.sqlite") as archive, pytest.raises(ValueError, match="wanted 200 proposals"):
        search(Table(answers), proposer, archive, config, LAB, 0, False)
    fitness = [parent.fitness for parent in proposer.parents[1]]
    others = [value for value in fitness if value < 200]
    assert 75 <= len(others) <= 125
    assert 145 <= np.mean(others) <= 175  # the best of four of 0 to 200 is 160 on average


def test_a_search_without_new_programs_stops_and_says_so_again_when_it_is_resumed(tmp_path):
    proposer = Script([[("F.relu(x)", (0,))] * 8] * 100)
    for _ in range(2):
        with (
            Archive(tmp_path / "run.sqlite") as archive,
            pytest.raises(SearchStalled, match="wanted new programs from script; got duplicates"),
        ):
            search(Table(ANSWERS), proposer, archive, CONFIG, LAB, 0, False)
    assert len(proposer.parents) == BARREN


def test_a_wrong_number_of_proposals_is_an_error_and_nothing_of_the_round_is_kept(tmp_path):
    with Archive(tmp_path / "run.sqlite") as archive:
        with pytest.raises(ValueError, match="wanted 8 proposals from script; got 1"):
            search(Table(ANSWERS), Script([[("x", (0,))]]), archive, CONFIG, LAB, 0, False)
        assert len(archive.entries()) == 1


def test_a_start_that_fails_stops_the_search(tmp_path):
    answers = {"F.relu(x)": ("relu", None, failed("raised RuntimeError: no"))}
    with (
        Archive(tmp_path / "run.sqlite") as archive,
        pytest.raises(RuntimeError, match="wanted ReLU to start from; it failed: raised RuntimeError: no"),
    ):
        search(Table(answers), Script([]), archive, CONFIG, LAB, 0, False)


def test_no_bar_is_drawn_where_there_is_no_terminal(tmp_path, capfd):
    with Archive(tmp_path / "run.sqlite") as archive:
        search(Table(ANSWERS), Script(ROUNDS), archive, SearchConfig(evaluations=7, round_size=5), LAB, 0)
    assert capfd.readouterr() == ("", "")


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
        came = archive.timings().query("stage == 'screen'")["source_hash"].tolist()
        asked = [e.source_hash for e in archive.entries() if e.screen_fitness is not None]
    assert came != asked


def test_a_finished_search_evaluates_nothing_and_gives_the_same_result(reference):
    result, calls = play(reference[0])
    assert result == reference[1]
    assert calls == []


def test_another_seed_or_size_is_refused_on_resumption(reference):
    with pytest.raises(ArchiveError, match="wanted a run with seed = 7; got one with 0"):
        play(reference[0], seed=7)
    with pytest.raises(ArchiveError, match=r"wanted a run with search.evaluations = 31; got one with 30"):
        play(reference[0], config=SearchConfig(evaluations=31, round_size=8))


@pytest.mark.parametrize("at", [2, 11, 19])
def test_an_interrupt_leaves_an_archive_that_goes_on_without_repeating_what_was_kept(reference, tmp_path, at):
    class Interrupted(Fake):
        def _score(self, source, steps):
            if sum(steps > 0 for steps, _ in self.calls) >= at:
                raise KeyboardInterrupt
            return super()._score(source, steps)

    path = tmp_path / "run.sqlite"
    with Archive(path) as archive, Interrupted() as evaluator, pytest.raises(KeyboardInterrupt):
        search(evaluator, Grammar(), archive, CONFIG, LAB, 0, False)
    with Archive(path, read_only=True) as archive:
        kept = len(archive.timings())
    result, calls = play(path)
    assert result.digest == reference[1].digest
    assert len(calls) == len(reference[2]) - kept


def test_a_search_killed_again_and_again_ends_in_the_digest_of_the_one_that_was_not(reference, tmp_path):
    path, log = tmp_path / "run.sqlite", tmp_path / "log"
    command = [sys.executable, __file__, str(path), str(log)]
    rng, kills, workers = np.random.default_rng(5), 0, 2
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for _ in range(5):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0.05, 0.5))
            process.send_signal(signal.SIGKILL)
        kills += process.returncode == -signal.SIGKILL
    assert kills >= 3
    final = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert final.stdout.split()[-1] == reference[1].digest
    started = log.read_text().split("\n")[:-1]
    assert len(set(started)) == len(reference[2])
    assert len(started) > len(set(started))  # a kill did lose what was in flight
    assert len(started) - len(set(started)) <= 2 * workers * kills


if __name__ == "__main__":
    print("ready", flush=True)
    print(play(Path(sys.argv[1]), workers=2, delay=0.04, log=Path(sys.argv[2]))[0].digest)


# --- racing ---

SMALL = LabConfig(steps=20, width=8, depth=2)
RACING = SearchConfig(evaluations=16, round_size=8, rungs=(4, 8), incumbent=1)


@pytest.fixture(scope="module")
def suites():
    return {"search": tasks.suite("search", TaskConfig(search=8))}


def race(suites, path, workers=1):
    """A search whose candidates race."""
    with Archive(path) as archive, Evaluator(suites, FitnessConfig(resamples=50), workers) as evaluator:
        result = search(evaluator, Grammar(), archive, RACING, SMALL, 0, False)
        return result, archive.entries()


def test_whoever_comes_through_a_race_has_the_score_of_the_whole_suite(suites, tmp_path):
    result, entries = race(suites, tmp_path / "run.sqlite")
    raced = [entry for entry in entries if entry.was_screened]
    assert {entry.ended for entry in raced} == {"scored", "dropped"}
    with Evaluator(suites, FitnessConfig(resamples=50), 1) as evaluator:
        whole = evaluator.submit(result.best.source, "search", SMALL).result()
    best = Score.from_dict(result.best.score)
    assert best.families == whole.families
    for name in ("ood_mse", "ood_mse_whole", "train_mse", "interval"):
        np.testing.assert_allclose(getattr(best, name), getattr(whole, name), rtol=1e-3)
    assert result.best.fitness == pytest.approx(whole.fitness, rel=1e-4)


def test_who_is_dropped_from_a_race_was_trained_on_its_first_part_alone(suites, tmp_path):
    race(suites, tmp_path / "run.sqlite")
    with Archive(tmp_path / "run.sqlite") as archive:
        parts = {
            entry.ended: [archive.evaluation(entry.source_hash, f"tasks {part}") for part in ("0 to 4", "4 to 8")]
            for entry in archive.entries()
            if entry.was_screened
        }
        dropped = next(entry for entry in archive.entries() if entry.ended == "dropped")
    assert [part is None for part in parts["dropped"]] == [False, True]
    assert [len(part["ood_mse"]) for part in parts["scored"]] == [4, 4]
    assert dropped.fitness is None
    first = Score.from_dict(parts["dropped"][0])
    assert first.ended == "scored" and math.isfinite(dropped.screen_fitness)


def test_a_race_has_the_same_record_at_one_and_two_workers(suites, tmp_path):
    one, two = (race(suites, tmp_path / f"run{n}.sqlite", n)[0] for n in (1, 2))
    assert one.digest == two.digest


def test_rungs_that_do_not_reach_the_whole_suite_are_refused(suites, tmp_path):
    path = tmp_path / "run.sqlite"
    wrong = pytest.raises(ValueError, match=r"wanted rungs up to the suite's 8 tasks; got \(4, 6\)")
    with Archive(path) as archive, Evaluator(suites, FitnessConfig(), 1) as evaluator, wrong:
        search(evaluator, Grammar(), archive, replace(RACING, rungs=(4, 6)), SMALL, 0, False)
