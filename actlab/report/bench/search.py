"""What searches cost, with races and by each backend, and beside their evaluations (ours); parts of `actlab bench`."""

from __future__ import annotations

import os
import platform
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import product, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from actlab.activations import zoo
from actlab.candidates import program
from actlab.core import stats
from actlab.core.config import FitnessConfig, LabConfig, Profile, cores
from actlab.core.records import BUILD, Store
from actlab.lab import backends, tasks, training
from actlab.scoring.evaluator import Evaluator, Score
from actlab.scoring.pool import Call
from actlab.scoring.sandbox import Outcome
from actlab.search import selection
from actlab.search.archive import Archive, Entry, Move, source_hash
from actlab.search.evolution import search
from actlab.search.proposers import Brief, Proposal, Proposer
from actlab.search.proposers.grammar import Grammar
from actlab.search.runs import search_file
from actlab.studies import multiverse

SEEDS = (0,)  # of the searches that are compared by default: two of a quarter of an hour together
SETTING, BACKENDS = "ACTLAB_BACKEND", ("torch", "compiled")
ROUNDED = ("gelu", "gelu-sine", "snake", "turbulent")
PLANS = {"whole suite": False, "racing": True}  # and whether candidates race


def machine() -> str:
    """The processor, as the system names it, and how many cores of it this process may use."""
    info = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return f"{cores()} cores of {named[1] if named else platform.processor() or platform.machine()}"


@contextmanager
def one_thread() -> Iterator[None]:
    """Has torch compute with one thread meanwhile."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def took(work: Callable[[], object]) -> float:
    """The seconds that work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def warm(evaluator: Evaluator, config: LabConfig, suite: str) -> None:
    """Has each worker train ReLU once."""
    source = zoo.program_source("relu")
    for pending in [evaluator.submit(source, suite, config, seed) for seed in range(evaluator.workers)]:
        pending.result()


def searches(
    which: Profile, quick: bool = False, seeds: Sequence[int] = SEEDS, folder: Path | None = None
) -> pd.DataFrame:
    """The profile's search with all candidates trained on the whole suite, and with those surely behind dropped.

    For each seed both plans differ in `SearchConfig.race` alone; there are as many workers as cores. A race changes
    the cells only where it drops a candidate that would have taken one. Each search is kept in `folder` (by default
    `bench` in the profile's build folder): one that was cut off goes on, and a finished one is read with the seconds
    that it took. `quick` stops at 24 candidates of the first seed.

    Returns:
        A row a seed and plan (whole suite or racing): seconds (NaN where it was not done in one go), evaluations,
        trained (the share of their tasks that was trained), scored, dropped; parted (the first round whose moves are
        not those of the first plan; 0 where there is none). Then the best by the search's fitness: best (that fitness),
        held_out (its held-out fitness), same_winner (whether it is the first plan's, to the letter), and for each of
        search and held-out NAME_gain with low and high: by how much its mean log loss is below that of the first
        plan's, paired (95 % interval over tasks); includes_zero, whether the held-out interval does. And the same of
        the final choice (`actlab.search.selection`), held-out: choice_held_out, same_choice, choice_gain with low and
        high, and choice_includes_zero.
    """
    settings = replace(which.search, evaluations=24, round_size=8) if quick else which.search
    suites = {name: tasks.suite(name, which.tasks) for name in (settings.suite, "held-out")}
    folder, rows, first = folder or BUILD / which.name / "bench", [], None
    with Evaluator(suites, which.fitness, cores(), which.limits) as evaluator:
        warm(evaluator, which.lab, settings.suite)

        @cache
        def score(source: str, suite: str) -> Score:
            return evaluator.submit(source, suite, which.lab).result()

        todo = list(product(seeds[:1] if quick else seeds, PLANS))
        for seed, plan in tqdm(todo, desc="searches", disable=None):
            profile = replace(which, search=replace(settings, race=PLANS[plan]))
            found = _searched(evaluator, profile, seed, folder)
            first = found if plan == next(iter(PLANS)) else first
            row = {"seed": seed, "plan": plan} | _spent(found, len(suites[settings.suite].tasks))
            row["parted"] = _first_difference(found.moves, first.moves)
            best, other = found.best.source, first.best.source
            row |= {"best": found.best.fitness, "held_out": score(best, "held-out").fitness}
            row["same_winner"] = best == other
            for name in suites:
                row |= _gain(name.replace("-", "_"), score(other, name), score(best, name), which.fitness)
            row["includes_zero"] = row["held_out_low"] <= 0 <= row["held_out_high"]
            chosen, other = (score(one.choice.source, "held-out") for one in (found, first))
            row |= {"choice_held_out": chosen.fitness, "same_choice": found.choice.source == first.choice.source}
            row |= _gain("choice", other, chosen, which.fitness)
            rows.append(row | {"choice_includes_zero": row["choice_low"] <= 0 <= row["choice_high"]})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Finished:
    """What a search found, and the seconds that it took; NaN where it was not done in one go."""

    seconds: float
    evaluations: int
    entries: list[Entry]
    moves: list[Move]
    best: Entry
    choice: Entry


def _searched(evaluator: Evaluator, which: Profile, seed: int, folder: Path) -> _Finished:
    """The profile's search by the grammar, run, gone on with, or read where it is done."""
    path, store = folder / search_file(which, seed).name, Store(folder / "seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"family": "search", "kind": "seconds of a search", "file": path.name, "machine": machine()}
    is_new, started = not path.exists(), time.perf_counter()
    with Archive(path) as archive:
        proposer = Grammar(batch_statistics=not which.search.pointwise)
        found = search(evaluator, proposer, archive, which.search, which.lab, seed)
        if is_new:
            store.save(about, pd.DataFrame({"seconds": [time.perf_counter() - started]}))
        entries, moves = archive.entries(), archive.moves()
    kept = store.load(about)
    seconds = float("nan") if kept is None else kept["seconds"].item()
    chosen = selection.final(entries, moves, which.fitness)
    return _Finished(seconds, found.evaluations, entries, moves, found.best, chosen)


def _spent(found: _Finished, size: int) -> dict[str, float]:
    """What a search spent: seconds, evaluations, the share of their tasks that was trained; and how they ended."""
    candidates = found.entries[1:]
    trained = sum(entry.seen or 0 for entry in candidates) / (found.evaluations * size)
    ended = Counter(entry.ended for entry in candidates)
    spent = {"seconds": found.seconds, "evaluations": found.evaluations, "trained": trained}
    return spent | {name: ended[name] for name in ("scored", "dropped")}


@contextmanager
def trained_by(backend: str) -> Iterator[None]:
    """Has networks trained by torch, or compiled where they can be, meanwhile: here and in workers that start here."""
    before = os.environ.get(SETTING)
    os.environ[SETTING] = backend
    try:
        yield
    finally:
        del os.environ[SETTING]
        os.environ.update({} if before is None else {SETTING: before})


def by_backend(which: Profile, quick: bool = False) -> pd.DataFrame:
    """What the profile's search from seed 0, and ten labs of the multiverse take with each backend.

    The search has as many workers as cores, the labs one thread of this process; what was compiled before is kept.

    Returns:
        Columns work, backend, seconds, ratio (how many times faster than torch), same_moves (whether the search's moves
        are those of torch's) and difference (of a loss from torch's, relative: the median).
    """
    search = replace(which.search, evaluations=24, round_size=8) if quick else which.search
    profile, suites = replace(which, search=search), {search.suite: tasks.suite(search.suite, which.tasks)}
    labs, rows = multiverse.jobs(multiverse.DESIGNS[which.name], 1 if quick else 10), []
    first: dict[str, _Finished] = {}
    losses: dict[str, np.ndarray] = {}
    for backend in tqdm(BACKENDS, desc="backends", disable=None):
        with trained_by(backend):
            with TemporaryDirectory() as folder, Evaluator(suites, which.fitness, cores()) as evaluator:
                warm(evaluator, which.lab, search.suite)
                first[backend] = _searched(evaluator, profile, 0, Path(folder))
            with one_thread():
                made = []
                seconds = took(lambda made=made: made.extend(multiverse.run(job)[0]["ood_mse"] for job in labs))
        losses[backend] = np.concatenate(made)
        searched = f"search of {first[backend].evaluations}"
        rows += [(searched, backend, first[backend].seconds), (f"{len(labs)} labs", backend, seconds)]
    table = pd.DataFrame(rows, columns=["work", "backend", "seconds"])
    table["ratio"] = table.groupby("work")["seconds"].transform("first") / table["seconds"]
    same = {name: first["torch"].moves == found.moves for name, found in first.items()}
    table["same_moves"] = [same[name] if work.startswith("search") else pd.NA for work, name, _ in rows]
    apart = {name: float(np.median(np.abs(found / losses["torch"] - 1))) for name, found in losses.items()}
    table["difference"] = [np.nan if work.startswith("search") else apart[name] for work, name, _ in rows]
    return table


def rounding(which: Profile, quick: bool = False) -> pd.DataFrame:
    """How far compiled networks come from the reference's, beside what rounding does to the reference itself.

    The reference is trained again from initial weights that are moved by 1e-7 of themselves, a rounding of float32.

    Returns:
        Columns function, trained (compiled, or reference, moved), tasks and, of the relative differences of a task's
        out-of-distribution loss from the reference's, median, p90 and most.
    """
    count, config = (8, replace(which.lab, width=16)) if quick else (which.tasks.search, which.lab)
    suite, rows = tasks.suite("search", replace(which.tasks, search=count)), []
    start = training.Start.of(suite.blind, config, 0, range(count))
    generator, outside = torch.Generator().manual_seed(0), torch.from_numpy(suite.blind.ood_x).float()
    moved = training.Networks.of(
        tensor * (1 + 1e-7 * torch.randn(tensor.shape, generator=generator)) for tensor in start.networks.tensors
    )
    with one_thread():
        for name in tqdm(ROUNDED[:1] if quick else ROUNDED, desc="rounding", disable=None):
            function = zoo.REGISTRY[name].function
            made = {"compiled": backends.train(function, start, config).networks}
            for key, own in {"": start, "reference, moved": replace(start, networks=moved)}.items():
                made[key] = training.train_from(function, own, config)
            losses = {
                key: ((networks.predict(function, outside).double().numpy() - suite.ood_y) ** 2).mean(axis=1)
                for key, networks in made.items()
            }
            reference = losses.pop("")
            for key, own in losses.items():
                middle, p90, most = np.quantile(np.abs(own / reference - 1), [0.5, 0.9, 1])
                row = {"function": name, "trained": key, "tasks": count}
                rows.append(row | {"median": middle, "p90": p90, "most": most})
    return pd.DataFrame(rows)


def _first_difference(moves: Sequence[Move], others: Sequence[Move]) -> int:
    """The first round in which moves are not those others; 0 where there is none."""
    pairs = zip_longest(moves, others)
    return min((move.round for pair in pairs if pair[0] != pair[1] for move in pair if move is not None), default=0)


def _gain(name: str, before: Score, after: Score, config: FitnessConfig) -> dict[str, float]:
    """By how much the mean log loss falls, with its paired interval."""
    logs = [stats.mean_log(np.array(score.ood_mse)[:, None], config.clamp, config.floor) for score in (before, after)]
    found = stats.mean_interval(logs[0] - logs[1], np.array(after.families), config.level)
    return {f"{name}_gain": found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}


def overhead(which: Profile, quick: bool = False) -> pd.DataFrame:
    """What a search spends on a candidate beside its evaluation, as its archive grows; one thread.

    The profile's search runs with the grammar, and its sandboxes are replaced by made-up answers that come at once:
    whatever takes time then is the search. The rounds of about 500 candidates before each size are measured.

    Returns:
        Columns programs (in the archive), candidates (measured), total_ms (a candidate, in the mean) and what it is
        made of: propose_ms (by the grammar), check_ms (the rules, once), archive_ms (what is kept and read, and the
        commits, which wait for the disk), judge_ms (losses and intervals of each part of a race), rest_ms (choosing
        parents, sending jobs, placing).
    """
    sizes, window = ((40, 80), 30) if quick else ((1000, 10_000), 500)
    suite, spent, rows = tasks.suite(which.search.suite, which.tasks), Counter(), []
    config = replace(which.search, evaluations=10**9)
    with (
        one_thread(),
        Evaluator({config.suite: suite}, which.fitness, 1, executor=_MadeUp(suite, spent)) as evaluator,
        TemporaryDirectory() as folder,
        Archive(Path(folder) / "run.sqlite") as archive,
        tqdm(total=sizes[-1], desc="overhead", disable=None) as bar,
    ):
        for name in ("add_round", "add_evaluation", "evaluation", "entry"):
            setattr(archive, name, _timed(spent, "archive")(getattr(archive, name)))
        for name in ("_judge", "joined"):
            setattr(evaluator, name, _timed(spent, "judge")(getattr(evaluator, name)))
        grammar = _Observed(Grammar(), spent, sizes[-1], bar)
        with suppress(_Enough):
            search(evaluator, grammar, archive, config, which.lab, seed=0, progress=False)
    for size in sizes:
        first = max(programs for programs in grammar.rounds if programs <= size - window)
        last = min(programs for programs in grammar.rounds if programs >= size)
        parts = grammar.rounds[last].copy()
        parts.subtract(grammar.rounds[first])
        for made in range(first, last):
            with _timed(parts, "check"), suppress(program.Refused):
                program.check(grammar.sources[made])
        total = parts["clock"] - parts["made up"]
        parts = {name: parts[name] for name in ("propose", "check", "archive", "judge")}
        parts["rest"] = total - sum(parts.values())
        row = {"programs": last, "candidates": last - first, "total_ms": total / (last - first) * 1e3}
        rows.append(row | {f"{name}_ms": seconds / (last - first) * 1e3 for name, seconds in parts.items()})
    return pd.DataFrame(rows)


class _Enough(Exception):
    """The archive is as large as was wanted."""


class _Observed:
    """A proposer whose rounds are timed, until there are enough programs.

    `rounds` has, by the number of programs at the start of each, the clock and the seconds spent in each part so far.
    """

    def __init__(self, proposer: Proposer, spent: Counter, enough: int, bar: tqdm) -> None:
        self.name, self.rounds, self.sources = proposer.name, {}, {}
        self._propose, self._enough, self._bar = _timed(spent, "propose")(proposer.propose), enough, bar
        self._spent = spent

    def propose(self, brief: Brief, generator: np.random.Generator) -> Sequence[Proposal]:
        programs = brief.asks[0].id
        self.rounds[programs] = Counter(self._spent, clock=time.perf_counter())
        self._bar.update(programs - self._bar.n)
        if programs >= self._enough:
            raise _Enough
        made = self._propose(brief, generator)
        self.sources |= {ask.id: proposal.source for ask, proposal in zip(brief.asks, made, strict=True)}
        return made


class _MadeUp(Executor):
    """Answers calls at once: a description and predictions that follow from the program's hash and mean nothing."""

    def __init__(self, suite: tasks.Suite, spent: Counter) -> None:
        self._suite, self._answer = suite, _timed(spent, "made up")(self._answer)

    def submit(self, perform: Callable, call: Call) -> Future:
        future: Future[Outcome] = Future()
        future.set_result(self._answer(call))
        return future

    def _answer(self, call: Call) -> Outcome:
        fingerprint = source_hash(call.request["source"])
        rng = np.random.default_rng(int(fingerprint[:16], 16))
        if call.job == "describe":
            flops, parity = float(rng.integers(1, 100)), ("odd", "even", "neither")[rng.integers(3)]
            traits = {"pointwise": bool(rng.integers(2)), "parity": parity, "monotone": False, "bounded": False}
            traits |= {"oscillations": int(rng.integers(8)), "left": "linear 1", "right": "linear 1"}
            costs = {"flops": flops, "flops_training": 3 * flops, "flops_relu": flops, "flops_gelu": flops / 12}
            found = {"fingerprint": fingerprint, **costs, "traits": traits, "error": None}
            return Outcome("answered", None, {"description": found})
        off = 0.3 * np.exp(0.1 * rng.normal() + 0.3 * rng.normal(size=(len(self._suite.tasks), 1)))
        chosen = call.request["chosen"]
        which = slice(None) if chosen is None else list(chosen)
        targets = self._suite.blind.train_y, self._suite.ood_y, self._suite.ood_y
        return Outcome("answered", None, {}, [(target + off)[which] for target in targets])


@contextmanager
def _timed(spent: Counter, part: str) -> Iterator[None]:
    """Adds the seconds that pass meanwhile to a part; as a decorator, those of each call."""
    started = time.perf_counter()
    try:
        yield
    finally:
        spent[part] += time.perf_counter() - started
