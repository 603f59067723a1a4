"""Stand-ins for an evaluator, and a search that is played with them: what tests of the search share."""

import hashlib
import itertools
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import torch

from actlab.candidates.profiling import Description
from actlab.candidates.program import check, compile_program
from actlab.core.config import FitnessConfig, LabConfig, Limits, SearchConfig
from actlab.scoring.evaluator import Finding, Score
from actlab.search.archive import Archive, source_hash
from actlab.search.evolution import search
from actlab.search.proposers.grammar import Grammar

LAB = LabConfig(steps=100)
CONFIG = SearchConfig(evaluations=40, round_size=8, migrate_every=2, reset_every=3)
FAMILIES = ("polynomial", "harmonic", "harmonic2d", "feynman") * 2


def scored(losses, families=FAMILIES):
    fitness = -float(np.mean(losses))
    return Score("scored", None, fitness, (fitness, fitness), tuple(losses), tuple(losses), tuple(losses), families)


def failed(error):
    return Score("failed", error, -math.inf, (-math.inf, -math.inf), (), (), (), FAMILIES)


def found(fingerprint, cost=1.0, turns=0, pointwise=True, parity="neither"):
    traits = {"oscillations": turns, "pointwise": pointwise, "parity": parity}
    return Finding("open", None, Description(fingerprint, 12 * cost, 30 * cost, 12 * cost, cost, traits, None))


def body(source):
    return source.removeprefix("def activation(x):\n    return ")


class Pending:
    """A future whose result is the Score itself."""

    def __init__(self, future):
        self.future = future

    def result(self):
        return self.future.result()


class Stand:
    """What every stand-in for an evaluator has: eight tasks, whose losses' mean is the fitness but for the sign."""

    config, limits = FitnessConfig("clamped-mean", clamp=1e6), Limits()

    @property
    def suites(self):
        return {name: SimpleNamespace(families=FAMILIES) for name in ("search", "in-distribution")}

    def joined(self, parts, suite, reference):
        losses = np.zeros(8)
        for chosen, score in parts:
            losses[list(chosen)] = score.ood_mse
        return scored(losses.tolist())


class Fake(Stand):
    """An evaluator whose losses are distances to eight waves about a line; a description tells cost, turns and parity.

    Threads stand for workers; how long one takes depends on the program, so that results come out of order. Each
    start is written to `log`, as "stage source_hash". Whatever is started after the first `ends` never comes to an end.
    """

    def __init__(self, workers=1, delay=0.0, log=None, ends=math.inf):
        self.pool, self.delay, self.log, self.ends = ThreadPoolExecutor(workers), delay, log, ends
        self.calls = []  # (tasks, source); no tasks for a description
        self.started = itertools.count(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.shutdown(cancel_futures=True)

    def describe(self, source, suite=None, lab=None):
        return self._submit((), source, self._description)

    def submit(self, source, suite, lab, seed=0, chosen=None):
        assert (suite, lab, seed) == ("search", LAB, 0)
        chosen = tuple(range(8)) if chosen is None else chosen
        return Pending(self._submit(chosen, source, lambda source: self._score(source, chosen)))

    def _submit(self, chosen, source, work):
        self.calls.append((chosen, source))

        def run():
            if self.log is not None:
                with self.log.open("a") as file:
                    file.write(f"{''.join(map(str, chosen))} {source_hash(source)}\n")
            if next(self.started) > self.ends:
                threading.Event().wait(600)
            time.sleep(self.delay * int(source_hash(source)[:2], 16) / 128)
            return work(source)

        return self.pool.submit(run)

    def _values(self, source):
        x = torch.linspace(-3, 3, 201, dtype=torch.float64).reshape(-1, 1)
        return x.flatten(), compile_program(check(source))(x).flatten()

    def _description(self, source):
        _, y = self._values(source)
        if not torch.isfinite(y).all():
            return Finding("failed", "not finite", None)
        fingerprint = hashlib.sha256(y.numpy().round(9).tobytes()).hexdigest()
        slope = torch.sign(torch.diff(y))
        parity = "odd" if torch.allclose(y, -y.flip(0)) else "even" if torch.allclose(y, y.flip(0)) else "neither"
        return found(fingerprint, len(body(source)) / 25, int((slope[1:] != slope[:-1]).sum()), True, parity)

    def _score(self, source, chosen):
        x, y = self._values(source)
        losses = [torch.mean((y - 0.5 * x - torch.sin(2 * x + 0.2 * task)) ** 2).item() for task in chosen]
        if not all(map(math.isfinite, losses)):
            return failed("diverged")
        return scored(losses, tuple(FAMILIES[task] for task in chosen))


def play(path, seed=0, workers=1, delay=0.0, config=CONFIG, log=None, proposer=None, ends=math.inf):
    with Archive(path) as archive, Fake(workers, delay, log, ends) as evaluator:
        result = search(evaluator, proposer or Grammar(), archive, config, LAB, seed, progress=False)
        return result, evaluator.calls


def record(path):
    with Archive(path, read_only=True) as archive:
        return archive.entries(), archive.moves()
