"""A candidate is trained from its list of operations: in one process, whatever trains it, and not on trust."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from actlab.activations import zoo
from actlab.candidates.program import check
from actlab.core.config import FitnessConfig, LabConfig, Limits, TaskConfig
from actlab.lab import compiled, tasks
from actlab.scoring import commands
from actlab.scoring.evaluator import Evaluator, Listing
from actlab.scoring.sandbox import Outcome

pytestmark = [
    pytest.mark.usefixtures("warm_sandboxes"),
    pytest.mark.skipif(compiled.missing() is not None, reason=f"no compiler: {compiled.missing()}"),
]
SUITES = {"search": tasks.suite("search", TaskConfig(search=4))}
LAB = LabConfig(width=8, depth=2, steps=20)
PROGRAMS = {name: check(zoo.program_source(name)).source for name in ("relu", "snake", "pler", "turbulent", "fisg")}


def evaluator(**more):
    return Evaluator(SUITES, FitnessConfig(), 1, **more)


@pytest.mark.parametrize("name", PROGRAMS)
def test_both_backends_give_the_same_score_to_rounding(name, monkeypatch):
    lab = replace(LAB, dtype="float64")
    with evaluator() as one:
        ours = one.submit(PROGRAMS[name], "search", lab).result()
        assert one.listing(PROGRAMS[name], "search", lab).backend == ("torch" if name == "fisg" else "compiled")
    monkeypatch.setenv("ACTLAB_BACKEND", "torch")
    with evaluator() as other:
        theirs = other.submit(PROGRAMS[name], "search", lab).result()
        assert other.listing(PROGRAMS[name], "search", lab) == Listing(why="ACTLAB_BACKEND=torch asks for it")
    for losses in ("ood_mse", "ood_mse_whole", "train_mse"):
        np.testing.assert_allclose(getattr(ours, losses), getattr(theirs, losses), rtol=1e-10)


def asked_of(one):
    """The jobs that sandboxes of an evaluator get from now on."""
    jobs, run = [], one._pool._sandboxed
    one._pool._sandboxed = lambda call: jobs.append(call.job) or run(call)
    return jobs


def test_a_program_that_was_described_for_a_lab_is_trained_without_another_process():
    with evaluator() as one:
        one.submit(PROGRAMS["relu"], "search", LAB).result()
        jobs = asked_of(one)
        assert one.describe(PROGRAMS["snake"], "search", LAB).result().ended == "open"
        parts = [one.submit(PROGRAMS["snake"], "search", LAB, chosen=chosen).result() for chosen in ((0, 1), (2, 3))]
        assert jobs == ["describe"]
        whole = one.submit(PROGRAMS["snake"], "search", LAB).result()
    assert parts[0].ood_mse + parts[1].ood_mse == whole.ood_mse


def test_a_program_that_was_not_described_is_listed_once():
    with evaluator() as one:
        one.submit(PROGRAMS["relu"], "search", LAB).result()
        jobs = asked_of(one)
        first = one.submit(PROGRAMS["snake"], "search", LAB).result()
        assert one.submit(PROGRAMS["snake"], "search", LAB).result() == first
        assert jobs == ["predict"]


@pytest.mark.parametrize(
    "steps", [[["system", 0], 1, 1], [["neg", 2], 1, 1], "text", None, [["add", 0, math.nan], 1, 1]]
)
def test_a_list_that_a_process_sends_is_not_taken_on_trust(steps, monkeypatch):
    with evaluator() as one:
        relu = one.submit(PROGRAMS["relu"], "search", LAB).result()
        monkeypatch.setattr(one._pool, "_sandboxed", lambda call: Outcome("answered", None, {"steps": steps}))
        score = one.submit(PROGRAMS["snake"], "search", LAB).result()
    assert relu.ended == "scored"
    assert score.ended == "killed" and score.error.startswith("sent no list of operations: ")


def test_what_describes_itself_and_sends_no_list_is_described_and_trained_by_torch():
    with evaluator() as one:
        honest = one.describe(PROGRAMS["snake"], "search", LAB).result()
        run = one._pool._sandboxed
        one._pool._sandboxed = lambda call: replace(run(call), head=run(call).head | {"steps": [["system", 0], 1, 1]})
        assert one.describe(PROGRAMS["snake"], "search", LAB).result() == honest
        one._pool._sandboxed = run
        listing = one.listing(PROGRAMS["snake"], "search", LAB)
        assert listing.backend == "torch" and "an operation of the table" in listing.why
        assert one.submit(PROGRAMS["snake"], "search", LAB).result().ended == "scored"


def test_a_training_that_is_compiled_ends_when_its_time_is_over():
    with evaluator(limits=Limits(start=0.0, step=1e-12)) as one:
        one.describe(PROGRAMS["snake"], "search", LAB).result()
        one._references["search", LAB, 0] = one.submit(PROGRAMS["relu"], "search", LAB).future
        score = one.submit(PROGRAMS["snake"], "search", LAB).result()
    assert (score.ended, score.error.startswith("ran longer than its")) == ("killed", True)


def said(verb, arguments, capsys):
    parser = commands.argparse.ArgumentParser()
    getattr(commands, f"{verb}_options")(parser)
    parser.add_argument("--profile", default="smoke")
    from actlab.core.jobs import Runner

    assert getattr(commands, verb)(parser.parse_args(arguments), Runner(1)) == 0
    return capsys.readouterr().out


def test_check_says_what_would_train_a_program_where_it_is_asked(capsys):
    assert said("check", ["snake", "--verbose"], capsys).splitlines()[1:] == ["trained by: compiled"]
    words = said("check", ["fisg", "--verbose"], capsys).splitlines()[1]
    assert words.startswith("trained by: torch, since _fft_r2c makes torch.complex64")
    assert len(said("check", ["snake"], capsys).splitlines()) == 1


def test_the_json_of_a_score_says_what_trained_the_program(capsys, monkeypatch):
    found = json.loads(said("score", ["snake", "--json"], capsys))
    assert (found["backend"], found["backend_why"]) == ("compiled", None)
    monkeypatch.setenv("ACTLAB_BACKEND", "torch")
    found = json.loads(said("score", ["snake", "--json"], capsys))
    assert (found["backend"], found["backend_why"]) == ("torch", "ACTLAB_BACKEND=torch asks for it")
