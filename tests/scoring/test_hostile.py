"""Every hostile program goes the whole honest way, and the next honest one still gets the same score."""

import builtins
import itertools
import math
import os
import random
import signal
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import hostile
import numpy as np
import pytest
import torch

from actlab import activations
from actlab.candidates import program
from actlab.core import stats
from actlab.core.config import FitnessConfig, LabConfig, Limits, SearchConfig, TaskConfig
from actlab.lab import tasks, training
from actlab.scoring import evaluator as fitness
from actlab.scoring.evaluator import Evaluator
from actlab.search.archive import Archive
from actlab.search.evolution import search
from actlab.search.proposers import Proposal
from actlab.search.proposers.grammar import Grammar

SUITES = {"search": tasks.suite("search", TaskConfig(search=8))}
LAB = LabConfig(steps=2, width=8, depth=2)
LIMITS = Limits(memory=300_000_000)
HASTY = replace(LIMITS, describe=0.5, start=0.5, step=0.0)  # for those who would take all the time that there is
HONEST = activations.program_source("gelu")
JUDGES = (
    fitness.mse, fitness.contributions, stats.mean_interval, training.train, program.check, torch.Tensor.backward,
    torch.optim.Adam.step, torch.sin, torch.nn.functional.gelu, np.mean, math.sqrt, builtins.open,
)  # fmt: skip


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory):
    """One worker, in folders of its own, so that whatever is left in them is seen."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "scratch").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(tempfile, "tempdir", str(folder / "scratch"))
        with Evaluator(SUITES, FitnessConfig(resamples=50), workers=1, limits=LIMITS) as one:
            yield one


@pytest.fixture(scope="module")
def honest(evaluator):
    score = evaluator.submit(HONEST, "search", LAB).result()
    assert score.ended == "scored"
    return score


@pytest.fixture
def unharmed(evaluator, honest):
    """The host, its fork server and the honest score are the same after the test as before."""
    before = host(evaluator)
    yield
    assert host(evaluator) == before
    assert evaluator.submit(HONEST, "search", LAB).result() == honest


def host(evaluator):
    """What a hostile program might leave behind: files, processes, settings, patches."""
    server = evaluator._pool.sandboxes[0]._process.pid
    waiting = Path(f"/proc/{server}/task/{server}/children")  # one, or none yet, for the next program
    return {
        "files": [os.path.join(folder, file) for folder, _, files in os.walk(".") for file in files],
        "fork server": server,
        "children": len(waiting.read_text().split()) > 1 if waiting.exists() else None,
        "descriptors": len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else None,
        "environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        "path": list(sys.path),
        "modules": set(sys.modules),
        "judges": [id(judge) for judge in JUDGES],
        "same judges": JUDGES[0] is fitness.mse and JUDGES[6] is torch.optim.Adam.step and JUDGES[7] is torch.sin,
        "threads": torch.get_num_threads(),
        "type": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "determinism": torch.are_deterministic_algorithms_enabled(),
        "seeds": (hash(torch.get_rng_state().numpy().tobytes()), hash(random.getstate()), str(np.random.get_state())),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "recursion": sys.getrecursionlimit(),
        "warnings": len(warnings.filters),
    }


def named(programs):
    return [pytest.param(value, id=name) for name, value in programs.items()]


def ends(score, *how):
    assert score.ended in how
    assert (score.fitness, score.ood_mse) == (-math.inf, ())
    assert score.error.isprintable()
    assert len(score.error) < 1000
    return score


@pytest.mark.parametrize("source", named(hostile.REFUSED))
def test_what_breaks_a_rule_is_refused_before_any_of_it_runs(source, evaluator, unharmed):
    assert ends(evaluator.score(source, "search", LAB), "refused").description is None


@pytest.mark.parametrize("source", named(hostile.MISBEHAVED))
def test_what_is_no_activation_ends_before_it_trains(source, evaluator, unharmed):
    ends(evaluator.score(source, "search", LAB), "refused", "failed")


@pytest.mark.parametrize("source", named(hostile.EXHAUSTING))
def test_what_would_take_all_time_or_memory_is_ended(source, evaluator, unharmed, monkeypatch):
    monkeypatch.setattr(evaluator, "limits", HASTY)
    ends(evaluator.score(source, "search", LAB), "refused", "failed", "killed")


def test_no_program_needs_to_be_described_to_be_held(evaluator, unharmed, monkeypatch):
    """As a search that trains without a description would do; what is scored then has losses of its own, and finite."""
    monkeypatch.setattr(evaluator, "limits", replace(HASTY, start=0.3))
    for name, source in {**hostile.MISBEHAVED, **hostile.EXHAUSTING}.items():
        score = evaluator.submit(source, "search", LAB).result()
        if score.ended == "scored":
            assert (len(score.ood_mse), math.isfinite(score.fitness)) == (8, True), name
        else:
            ends(score, "refused", "failed", "killed")


@pytest.mark.parametrize("source", named(hostile.HARMLESS))
def test_what_only_looks_hostile_is_scored_as_what_it_is(source, evaluator, unharmed):
    plain = evaluator.submit("def activation(x):\n    return torch.tanh(x)", "search", LAB).result()
    assert replace(evaluator.score(source, "search", LAB), description=None) == plain


@pytest.mark.parametrize("pair", named(hostile.SELFISH))
def test_a_program_is_scored_as_what_it_was_where_it_trained(pair, evaluator, unharmed, monkeypatch):
    monkeypatch.setenv("ACTLAB_BACKEND", "torch")  # which alone trains what is another function at another size
    scores = [evaluator.score(source, "search", LAB) for source in pair]
    assert [score.ended for score in scores] == ["scored", "scored"]
    assert scores[0].ood_mse == scores[1].ood_mse
    assert scores[0].train_mse == scores[1].train_mse


def test_reading_a_program_warns_nobody():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for source in ("def activation(x):\n    return x.sum('\\d')", "def activation(x):\n    return 0or x"):
            with pytest.raises(program.Refused):
                program.check(source)


def test_an_interrupt_at_the_keyboard_does_not_reach_the_workers(evaluator, honest):
    assert os.getpgid(evaluator._pool.sandboxes[0]._process.pid) != os.getpgid(0)


def test_the_catalogue_is_large_and_names_no_program_twice():
    groups = (hostile.REFUSED, hostile.MISBEHAVED, hostile.EXHAUSTING, hostile.HARMLESS, hostile.SELFISH, hostile.RAW)
    names = [name for group in groups for name in group]
    assert len(set(names)) == len(names)
    assert len(hostile.REFUSED) + len(hostile.MISBEHAVED) + len(hostile.EXHAUSTING) >= 300
    assert len(hostile.RAW) >= 100


LATE = "def activation(x):\n    return x + x.new_zeros(9999, 9999, 9999).sum() if x.shape[1] == 8 else torch.sin(x)"


class Mixed:
    """The grammar's nine proposals a round, and where ten are asked for a hostile one beside them."""

    name = "mixed"

    def __init__(self, hostiles):
        self.hostiles, self.rounds = itertools.cycle(hostiles), itertools.count()

    def propose(self, brief, generator):
        rng, tenth = np.random.default_rng(next(self.rounds)), brief.asks[9:]
        made = Grammar().propose(replace(brief, asks=brief.asks[:9]), rng)
        return [*made, *(Proposal(next(self.hostiles), (ask.parent.id,), "hostile") for ask in tenth)]


def search_with(evaluator, path, round_size, evaluations, hostiles):
    config = SearchConfig(round_size=round_size, evaluations=evaluations)
    with Archive(path) as archive:
        search(evaluator, Mixed(hostiles), archive, config, replace(LAB, steps=20), seed=0, progress=False)
        return archive.entries(), archive.moves(), archive.digest()


def test_a_search_with_a_tenth_of_hostile_candidates_has_the_digest_of_one_without_them(evaluator, honest, tmp_path):
    hostiles = [hostile.REFUSED["walks the classes of a tensor"], LATE, hostile.MISBEHAVED["a constant that pretends"],
                hostile.EXHAUSTING["a tensor too large"]]  # fmt: skip
    _, _, digest = search_with(evaluator, tmp_path / "honest.sqlite", 9, 36, [])
    # the late one is an evaluation
    mixed, moves, other = search_with(evaluator, tmp_path / "mixed.sqlite", 10, 37, hostiles)
    assert other != digest
    bad = {entry.id: entry.ended for entry in mixed if entry.operator == "hostile"}
    assert list(bad.values())[:4] == ["refused", "failed", "failed", "failed"]
    kept = [entry for entry in mixed if entry.id not in bad]
    assert len(bad) >= len(kept) / 12
    number = {entry.id: i for i, entry in enumerate(kept)} | {None: None}
    with Archive(tmp_path / "kept.sqlite") as archive:
        for round, rows in itertools.groupby(kept, key=lambda entry: entry.round):
            changes = [replace(move, program=number[move.program]) for move in moves if move.round == round]
            lines = [(e, tuple(map(number.get, e.parents)), number[e.duplicate_of]) for e in rows]
            same = [replace(e, id=number[e.id], parents=p, duplicate_of=twin) for e, p, twin in lines]
            archive.add_round(same, changes)
        assert archive.digest() == digest
    assert evaluator.submit(HONEST, "search", LAB).result() == honest
