"""A probe of what a search found: a tiny VGG on real digits, trained where candidates are confined (ours).

A program that a search found is foreign code, so that it runs in a sandbox, as in the lab (`probe_worker`). Training
pictures with their classes and test pictures without them travel there, and predicted classes come back; the classes of
the test pictures stay in this process, which compares. Selection never sees any of it. Every program meets the same
initial weights, batches and pictures, so that differences are paired; intervals are for new seeds and new pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pandas as pd
import torch.nn.functional as F
from tqdm import tqdm

from actlab.candidates.program import check
from actlab.core import stats
from actlab.core.config import Limits, cores
from actlab.core.records import Store
from actlab.scoring.laboratory import Laboratory
from actlab.scoring.sandbox import Outcome, Sandbox
from actlab.search import runs, selection
from actlab.search.archive import Entry
from actlab.transfer import image_data, image_files, probe_worker
from actlab.transfer.probe_worker import NO_CLASS, ProbeConfig

COLUMNS = ["function", "seed", "picture", "right", "ended", "error"]
Ask = tuple[str, int]  # a program's name and a seed

PROFILES = {
    "smoke": ProbeConfig(train=200, test=200, epochs=2, seeds=2),
    "laptop": ProbeConfig(),
    "paper": ProbeConfig(),
}


@cache
def digits(config: ProbeConfig) -> tuple[list[np.ndarray], np.ndarray]:
    """What travels, as `predict` wants it; and the classes of the test pictures [m], which do not.

    The test pictures come in an order that is drawn, since that of the data set tells their classes.
    """
    splits = image_data.load(config.data, "", config.train, config.validation, config.test, config.split_seed)
    order = np.random.default_rng(config.split_seed).permutation(len(splits.test))
    train, test = (_pixels(which, config.pool) for which in (splits.train, splits.test))
    mean, deviation = train.mean(), train.std()
    arrays = [(train - mean) / deviation, splits.train.targets.astype(float), (test[order] - mean) / deviation]
    return arrays, splits.test.targets[order]


def _pixels(pictures: image_files.Pictures, pool: int) -> np.ndarray:
    """Pictures from 0 to 1, [pictures, channels, side, side], each `pool` x `pool` pixels averaged."""
    full = image_data.tensor([pictures.image(place) for place in range(len(pictures))])
    return F.avg_pool2d(full, pool).double().numpy()


def accuracies(
    programs: Mapping[str, str], config: ProbeConfig, workers: int = 0, store: Store | None = None
) -> pd.DataFrame:
    """Whether networks with these programs name the test pictures' classes; each is trained in a process of its own.

    A network that came to nothing is right nowhere: it diverged (a loss was not finite), failed (its program raised,
    or wanted too much memory) or was killed. All but the killed are kept in the store.

    Args:
        programs: source by name; Refused is raised where one breaks a rule of the candidate language.
        config: of the probe.
        workers: sandboxes, of one thread each; 0 for one a core. The table does not depend on their number.
        store: where answers are kept, under everything that made them.

    Returns:
        Columns function, seed, picture (its place), right, ended, error; in the order of the programs.
    """
    store = store or Store()
    tables, missing = {}, {}
    for name, source in programs.items():
        for seed in range(config.seeds):
            about = {"family": "transfer", "kind": "image probe", "source": check(source).source, "seed": seed}
            about["config"] = replace(config, seeds=0)  # which says how many, and changes none
            tables[name, seed] = store.load(about)
            if tables[name, seed] is None:
                missing[name, seed] = about
    for ask, table in _computed(missing, config, workers or cores()):
        tables[ask] = table
        if table["ended"].iloc[0] != "killed":
            store.save(missing[ask], table)
    parts = [table.assign(function=name, seed=seed) for (name, seed), table in tables.items()]
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def _computed(
    missing: Mapping[Ask, dict[str, Any]], config: ProbeConfig, workers: int
) -> Iterator[tuple[Ask, pd.DataFrame]]:
    """Answers that are not there yet, judged, as they come."""
    if missing:
        arrays, truth = digits(config)
        calls = {
            ask: {"source": about["source"], "config": asdict(config), "seed": about["seed"]}
            for ask, about in missing.items()
        }
        answers = _confined(calls, arrays, config.seconds, 8 * len(truth), min(workers, len(calls)))
        for ask, outcome in tqdm(answers, total=len(calls), desc="networks on digits", disable=None):
            yield ask, judged(outcome, truth)


def _confined(
    calls: Mapping[Ask, dict[str, Any]], arrays: Sequence[np.ndarray], seconds: float, limit: int, workers: int
) -> Iterator[tuple[Ask, Outcome]]:
    """How each job ended, as they end; `workers` sandboxes run them side by side."""
    sandboxes = [Sandbox({}, Limits(), probe_worker) for _ in range(workers)]
    idle: SimpleQueue[Sandbox] = SimpleQueue()
    for sandbox in sandboxes:
        idle.put(sandbox)

    def run(request: Mapping[str, Any]) -> Outcome:
        sandbox = idle.get()
        try:
            return sandbox.run("classify", request, arrays, seconds, limit)
        finally:
            idle.put(sandbox)

    threads = ThreadPoolExecutor(workers)
    try:
        asked = {threads.submit(run, request): ask for ask, request in calls.items()}
        for future in as_completed(asked):
            yield asked[future], future.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for sandbox in sandboxes:
            sandbox.close()


def judged(outcome: Outcome, truth: np.ndarray) -> pd.DataFrame:
    """An outcome of `classify` against the truth [m]: columns picture, right, ended, error.

    Nothing that a process sends is trusted.
    """
    ended, error, classes = outcome.ended, outcome.error, np.full(len(truth), NO_CLASS)
    match outcome.head, [array.shape for array in outcome.arrays]:
        case {"ended": "scored"}, [shape] if shape == truth.shape:
            ended, classes = "scored", outcome.arrays[0]
        case {"ended": "diverged"}, []:
            ended, error = "diverged", "a loss was not finite"
        case _ if ended == "answered":
            ended, error = "killed", f"sent no class for each of {len(truth)} pictures"
    right = classes == truth
    return pd.DataFrame({"picture": np.arange(len(truth)), "right": right, "ended": ended, "error": error})


# --- a run's elites ---


def elites(laboratory: Laboratory, path: Path, config: ProbeConfig) -> pd.DataFrame:
    """Every elite of a run: its scores on both suites of the lab, and on pictures (Figure 3).

    Returns:
        The columns of `runs.transfer`, and accuracy, accuracy_low, accuracy_high (crossed t over seeds and
        pictures, cut to 0 and 1) and ended ("scored", or how the first network that was not ended); by id.
    """
    run, rows = runs.read(path), []
    answers = _answers(laboratory, selection.elites(run.entries, run.moves), config)
    for _, part in answers.groupby("function", sort=False):
        right = _right(part)
        found = stats.crossed_difference(right, np.zeros(right.shape[1]), level=laboratory.profile.fitness.level)
        low, high = np.clip([found.low, found.high], 0, 1)
        ended = next((how for how in part["ended"] if how != "scored"), "scored")
        rows.append({"accuracy": found.estimate, "accuracy_low": low, "accuracy_high": high, "ended": ended})
    return runs.transfer(laboratory, path).join(pd.DataFrame(rows))


def overfit_steps(laboratory: Laboratory, path: Path, config: ProbeConfig) -> pd.DataFrame:
    """Where a search overfits: each new best of a run against the one before, by fitness and on pictures.

    Returns:
        Columns id, before (the best until then), search (how much the fitness rose), accuracy (the mean difference to
        the one before, paired by seed and picture), low, high (crossed t over both, each pair by itself), parts:
        whether that interval lies below zero though the fitness rose.
    """
    best, rows = selection.leaders(runs.entries(path)), []
    answers = _answers(laboratory, best, config)
    right = {int(name): _right(part) for name, part in answers.groupby("function", sort=False)}
    for before, entry in pairwise(best):
        gap = stats.crossed_difference(right[entry.id], right[before.id], level=laboratory.profile.fitness.level)
        about = {"id": entry.id, "before": before.id, "search": entry.fitness - before.fitness}
        rows.append(about | {"accuracy": gap.estimate, "low": gap.low, "high": gap.high, "parts": gap.high < 0})
    return pd.DataFrame(rows, columns=["id", "before", "search", "accuracy", "low", "high", "parts"])


def agreement(scores: pd.DataFrame, score: str) -> stats.RankCorrelation | None:
    """How far a score of the lab, the column `score`, ranks programs of `elites` as their accuracy does.

    The bootstrap is over programs; None where there are fewer than four, or all are equal.
    """
    if len(scores) < 4 or min(scores[column].nunique() for column in (score, "accuracy")) < 2:
        return None
    return stats.rank_correlation(scores[score], scores["accuracy"], np.random.default_rng(0))


def _answers(laboratory: Laboratory, programs: Sequence[Entry], config: ProbeConfig) -> pd.DataFrame:
    sources = {str(entry.id): entry.source for entry in programs}
    return accuracies(sources, config, laboratory.workers, laboratory.store)


def _right(answers: pd.DataFrame) -> np.ndarray:
    """The answers of one program as a matrix [seeds, pictures] of 0 and 1."""
    return answers.pivot(index="seed", columns="picture", values="right").to_numpy(dtype=float)
