"""What the lab costs on this machine (ours): `python -m actlab.bench lab` and other parts, each a table of its own.

A rate is the time of a training less that of one of a single step, over the steps between: what is done once a
training, such as drawing weights, is not in it. Paths take turns, and medians are shown.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from itertools import product, zip_longest
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from actlab import activations, lab, naive, plotting, program, stats, tasks, worker
from actlab.archive import Archive, source_hash
from actlab.blind import Blind
from actlab.config import FitnessConfig, LabConfig, Profile, cores, profile
from actlab.evolution import search
from actlab.fitness import Evaluator, Score
from actlab.passes import Function
from actlab.pool import Call
from actlab.proposers import Brief, Proposal, Proposer
from actlab.proposers.grammar import Grammar
from actlab.records import figures_folder
from actlab.sandbox import Outcome

Training = Callable[[Function, Blind, LabConfig, int], object]  # as `lab.train`

FUNCTIONS = ("relu", "gelu", "gelu-sine", "turbulent")
WIDTHS = (32, 64, 128)
BATCHES = (64, 256)
GROWTH = {"tasks": (12, 24, 48, 96, 200), "width": (16, 32, 64, 128, 256), "batch": (16, 32, 64, 128, 256)}
GROWTH_FUNCTIONS = (1, 2, 4, 8)  # trained in turn
SHAPES = ((64, 64), (256, 1024))  # rows and columns of a layer's values: the lab's, and one that fills no near cache


def products(function: Function, data: Blind, config: LabConfig, seed: int) -> None:
    """The roofline: as many steps of the networks' bare matrix products, forward and backward, into buffers.

    They have the lab's shapes and stacks. A product with a single column or row is written as `lab` writes it, since
    that is faster than a matrix product. The function and the seed change nothing.
    """
    models, stacks = len(data.dims), []
    chunk = lab._chunk(models, config)
    for count in [chunk] * (models // chunk) + [models % chunk] * (models % chunk > 0):
        sizes = [data.train_x.shape[-1], *[config.width] * config.depth]
        values = [torch.full((count, config.batch, size), 0.5, dtype=getattr(torch, config.dtype)) for size in sizes]
        weights = [values[0].new_full((count, *pair), 0.1) for pair in zip(sizes, [*sizes[1:], 1], strict=True)]
        stacks.append((values, weights, [torch.empty_like(w) for w in weights], torch.empty_like(values[-1])))
    for values, weights, gradients, buffer in stacks:
        across = [w.transpose(1, 2) for w in weights]
        for _ in range(config.steps):
            for value, weight, out in zip(values, weights, [*values[1:], None], strict=True):
                if out is not None:
                    torch.bmm(value, weight, out=out)
            error = torch.mul(values[-1], across[-1], out=buffer).sum(-1, keepdim=True)
            torch.bmm(error.transpose(1, 2), values[-1], out=gradients[-1].transpose(1, 2))
            torch.mul(error, across[-1], out=buffer)
            for layer in reversed(range(config.depth)):
                torch.bmm(values[layer].transpose(1, 2), values[-1], out=gradients[layer])
                if layer:
                    torch.bmm(values[-1], across[layer], out=buffer)


PATHS: dict[str, Training] = {
    "naive-adam": naive.train,
    "naive-fused-adam": partial(naive.train, fused=True),
    "lab": lab.train,
    "roofline": products,
}


def rates(
    paths: Mapping[str, Training], function: Function, data: Blind, config: LabConfig, repeats: int, seconds: float
) -> dict[str, float]:
    """Milliseconds a step of each path, the median of `repeats` that take turns.

    Args:
        paths: what trains, by name.
        function: the activation.
        data: the tasks.
        config: the lab's settings; its steps do not count.
        repeats: measurements.
        seconds: that one measurement should take, within 2 to 500 steps.
    """

    def took(path: Training, steps: int) -> float:
        started = time.perf_counter()
        path(function, data, replace(config, steps=steps), 0)
        return time.perf_counter() - started

    steps = {}
    for name, path in paths.items():
        took(path, 1)  # what is loaded late is loaded
        three = took(path, 3)
        pilot = max(three - took(path, 1), three / 10) / 2  # a disturbed pilot must not ask for hours
        steps[name] = 1 + min(max(round(seconds / pilot), 2), 500)
    found: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(repeats):
        for name, path in paths.items():
            once = took(path, 1)
            found[name].append((took(path, steps[name]) - once) / (steps[name] - 1) * 1e3)
    return {name: median(times) for name, times in found.items()}


def lab_speed(which: Profile, quick: bool = False) -> pd.DataFrame:
    """The lab beside the loop that a reader would write, and beside matrix products alone; one thread.

    Returns:
        Columns function, batch, width, path, ms_per_step (of all models of the search suite), ratio_to_naive (how many
        times faster than the loop with default Adam) and roofline_fraction (the bare products' share of the time).
    """
    data, rows = tasks.suite("search", which.tasks).blind, []
    cells = [(64, 32, "gelu")] if quick else list(product(BATCHES, WIDTHS, FUNCTIONS))
    repeats, seconds = (1, 0.02) if quick else (5, 0.25)
    with _one_thread():
        for batch, width, name in tqdm(cells, desc="lab", disable=None):
            config = replace(which.lab, batch=batch, width=width)
            found = rates(PATHS, activations.REGISTRY[name].function, data, config, repeats, seconds)
            for path, ms in found.items():
                shares = {"ratio_to_naive": found["naive-adam"] / ms, "roofline_fraction": found["roofline"] / ms}
                rows.append(
                    {"function": name, "batch": batch, "width": width, "path": path, "ms_per_step": ms} | shares
                )
    return pd.DataFrame(rows)


def population(which: Profile, quick: bool = False) -> pd.DataFrame:
    """How fast a population is scored by 1 worker, 2, 4 and so on to as many as there are cores.

    Returns:
        Columns workers, functions, seconds (of all, once the workers are warm; trained and judged, not described) and
        functions_an_hour.
    """
    suite, rows = tasks.suite("search", which.tasks), []
    names = FUNCTIONS[:2] if quick else [name for name in activations.names() if name != "relu"][:12]
    counts = sorted({2**i for i in range(cores().bit_length()) if 2**i <= cores()} | {cores()})
    for workers in tqdm(counts[:1] if quick else counts, desc="population", disable=None):
        with Evaluator({"search": suite}, which.fitness, workers) as evaluator:
            _warm(evaluator, which.lab, "search")
            started = time.perf_counter()
            pending = [evaluator.submit(activations.program_source(name), "search", which.lab) for name in names]
            ended = {p.result().ended for p in pending}
            took = time.perf_counter() - started
        if ended != {"scored"}:
            raise RuntimeError(f"wanted functions of the zoo to be scored; got {ended}")
        per_hour = {"functions_an_hour": len(names) / took * 3600}
        rows.append({"workers": workers, "functions": len(names), "seconds": took} | per_hour)
    return pd.DataFrame(rows)


def _warm(evaluator: Evaluator, config: LabConfig, suite: str) -> None:
    """Has each worker train ReLU once."""
    source = activations.program_source("relu")
    for pending in [evaluator.submit(source, suite, config, seed) for seed in range(evaluator.workers)]:
        pending.result()


def isolation(which: Profile, quick: bool = False) -> pd.DataFrame:
    """What confinement adds to the evaluation of a candidate, which is described, then trained for ten steps.

    What it adds does not depend on the steps; few of them show it best. Both ways take turns, and their results are the
    same to the bit.

    Returns:
        Columns function, repeats, bare_ms (in this process), confined_ms (two forked processes a candidate) and
        added_ms, the median of the differences.

    Raises:
        RuntimeError: where the two results differ.
    """
    suite, repeats, rows = tasks.suite("search", which.tasks), 2 if quick else 25, []
    config = replace(which.lab, steps=10)
    blind = {"search": suite.blind}
    with _one_thread(), Evaluator({"search": suite}, which.fitness, workers=1) as evaluator:

        def bare(source: str) -> object:
            head, _ = worker.describe({"source": source}, [], blind)
            request = {"source": source, "suite": "search", "lab": asdict(config), "seed": 0}
            return head, [array.tobytes() for array in worker.predict(request, [], blind)[1]]

        def confined(source: str) -> object:
            found = evaluator.describe(source).result().description.to_dict()
            made = evaluator.submit(source, "search", config).future.result()
            return found, [array.tobytes() for array in (made.train, made.ood, made.ood_whole)]

        for name in tqdm(FUNCTIONS[1:2] if quick else FUNCTIONS[1:], desc="isolation", disable=None):
            source = program.check(activations.program_source(name)).source
            if bare(source) != confined(source):
                raise RuntimeError(f"wanted the same description and predictions of {name} to the bit; got others")
            times: dict[Callable, list[float]] = {bare: [], confined: []}
            for _, way in product(range(repeats), times):
                started = time.perf_counter()
                way(source)
                times[way].append((time.perf_counter() - started) * 1e3)
            added = median(b - a for a, b in zip(times[bare], times[confined], strict=True))
            row = {"function": name, "repeats": repeats, "bare_ms": median(times[bare])}
            rows.append(row | {"confined_ms": median(times[confined]), "added_ms": added})
    return pd.DataFrame(rows)


def searches(which: Profile, quick: bool = False) -> pd.DataFrame:
    """The profile's search with all candidates trained on the whole suite, and with those surely behind dropped.

    Both have the same seed, and as many workers as there are cores. A race changes what stands in the cells only where
    it drops a candidate that would have taken one.

    Returns:
        Columns plan (whole suite or racing), seconds, evaluations, trained (the share of their tasks that was trained),
        scored, best (its fitness on the search suite), held_out (its fitness there), parted (the first round in which
        the moves are not those of the first plan; 0 where there is none), and for each of search and held-out NAME_gain
        with low and high: by how much the mean log loss of the best is below that of the first plan's, paired (95 %
        bootstrap over tasks).
    """
    suites = {name: tasks.suite(name, which.tasks) for name in (which.search.suite, "held-out")}
    settings = replace(which.search, evaluations=3, round_size=3) if quick else which.search
    plans = {"whole suite": replace(settings, race=False), "racing": replace(settings, race=True)}
    rows, first, size = [], None, len(suites[settings.suite].tasks)
    with Evaluator(suites, which.fitness, cores()) as evaluator, TemporaryDirectory() as folder:
        _warm(evaluator, which.lab, settings.suite)
        for plan, config in tqdm(plans.items(), desc="searches", disable=None):
            started = time.perf_counter()
            with Archive(Path(folder) / f"{plan}.sqlite") as archive:
                found = search(evaluator, Grammar(), archive, config, which.lab, seed=0, progress=False)
                took = time.perf_counter() - started
                entries, moves = archive.entries(whole=False)[1:], archive.moves()
            worth = {name: evaluator.submit(found.best.source, name, which.lab).result() for name in suites}
            first = first or (moves, worth)
            parted = [a.round for a, b in zip_longest(moves, first[0], fillvalue=moves[-1]) if a != b]
            row = {"plan": plan, "seconds": took, "evaluations": found.evaluations}
            row["trained"] = sum(entry.seen or 0 for entry in entries) / (found.evaluations * size)
            row["scored"] = sum(entry.ended == "scored" for entry in entries)
            row |= {"best": found.best.fitness, "held_out": worth["held-out"].fitness, "parted": min(parted, default=0)}
            for name, score in worth.items():
                row |= _gain(name.replace("-", "_"), first[1][name], score, which.fitness)
            rows.append(row)
    return pd.DataFrame(rows)


def _gain(name: str, before: Score, after: Score, config: FitnessConfig) -> dict[str, float]:
    """By how much the mean log loss falls, with its paired interval."""
    logs = [stats.mean_log(np.array(score.ood_mse)[:, None], config.clamp, config.floor) for score in (before, after)]
    found = stats.paired_difference(*logs, np.random.default_rng(0), np.array(after.families), config.level)
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
        _one_thread(),
        Evaluator({config.suite: suite}, which.fitness, 1, executor=_MadeUp(suite, spent)) as evaluator,
        TemporaryDirectory() as folder,
        Archive(Path(folder) / "run.sqlite") as archive,
        tqdm(total=sizes[-1], desc="overhead", disable=None) as bar,
    ):
        for name in ("add_round", "add_evaluation", "evaluation", "entry"):
            setattr(archive, name, _timed(getattr(archive, name), "archive", spent))
        for name in ("_judge", "joined"):
            setattr(evaluator, name, _timed(getattr(evaluator, name), "judge", spent))
        grammar = _Observed(Grammar(), spent, sizes[-1], bar)
        with suppress(_Enough):
            search(evaluator, grammar, archive, config, which.lab, seed=0, progress=False)
    for size in sizes:
        first = max(r for r in grammar.rounds if r.programs <= size - window)
        last = min(r for r in grammar.rounds if r.programs >= size)
        n, made = last.programs - first.programs, [grammar.sources[i] for i in range(first.programs, last.programs)]
        parts = {name: last.spent[name] - first.spent[name] for name in ("propose", "archive", "judge", "made up")}
        started = time.perf_counter()
        for source in made:
            with suppress(program.Refused):
                program.check(source)
        parts["check"] = time.perf_counter() - started
        total = last.at - first.at - parts.pop("made up")
        parts = {name: parts[name] for name in ("propose", "check", "archive", "judge")}
        parts["rest"] = total - sum(parts.values())
        row = {"programs": last.programs, "candidates": n, "total_ms": total / n * 1e3}
        rows.append(row | {f"{name}_ms": seconds / n * 1e3 for name, seconds in parts.items()})
    return pd.DataFrame(rows)


class _Enough(Exception):
    """The archive is as large as was wanted."""


class _Round(NamedTuple):
    """The start of a round: programs there are, the time, and the seconds spent in each part so far."""

    programs: int
    at: float
    spent: Counter


class _Observed:
    """A proposer whose rounds are timed, until there are enough programs."""

    def __init__(self, proposer: Proposer, spent: Counter, enough: int, bar: tqdm) -> None:
        self.name, self.rounds, self.sources = proposer.name, [], {}
        self._propose, self._enough, self._bar = _timed(proposer.propose, "propose", spent), enough, bar
        self._spent = spent

    def propose(self, brief: Brief, generator: np.random.Generator) -> Sequence[Proposal]:
        programs = brief.asks[0].id
        self.rounds.append(_Round(programs, time.perf_counter(), self._spent.copy()))
        self._bar.update(programs - self._bar.n)
        if programs >= self._enough:
            raise _Enough
        made = self._propose(brief, generator)
        self.sources |= {ask.id: proposal.source for ask, proposal in zip(brief.asks, made, strict=True)}
        return made


class _MadeUp(Executor):
    """Answers calls at once: a description and predictions that follow from the program's hash and mean nothing."""

    def __init__(self, suite: tasks.Suite, spent: Counter) -> None:
        self._suite, self._answer = suite, _timed(self._answer, "made up", spent)

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
            costs = {"flops": flops, "flops_relu": flops, "flops_gelu": flops / 12}
            return Outcome("answered", None, {"fingerprint": fingerprint, **costs, "traits": traits, "error": None})
        off = 0.3 * np.exp(0.1 * rng.normal() + 0.3 * rng.normal(size=(len(self._suite.tasks), 1)))
        chosen = call.request["chosen"]
        which = slice(None) if chosen is None else list(chosen)
        targets = self._suite.blind.train_y, self._suite.ood_y, self._suite.ood_y
        return Outcome("answered", None, {}, [(target + off)[which] for target in targets])


def _timed(function: Callable, part: str, spent: Counter) -> Callable:
    """The function, whose seconds are added to a part."""

    def timed(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent[part] += time.perf_counter() - started

    return timed


def growth(which: Profile, quick: bool = False) -> pd.DataFrame:
    """What a training of GELU costs as one setting at a time leaves the profile's; each in a fresh process.

    Returns:
        Columns setting (tasks, width, batch or functions, which are trained in turn), value, ms_per_step, seconds (of
        a whole training at the profile's steps) and peak_mb (the process's largest resident memory).
    """
    usual = {"tasks": which.tasks.search, "width": which.lab.width, "batch": which.lab.batch}
    cells = [(setting, value) for setting in GROWTH for value in (GROWTH[setting][:2] if quick else GROWTH[setting])]
    cells += [("functions", value) for value in (GROWTH_FUNCTIONS[:1] if quick else GROWTH_FUNCTIONS)]
    repeats, seconds = (1, 0.02) if quick else (5, 0.25)
    rows = []
    for setting, value in tqdm(cells, desc="growth", disable=None):
        sizes = {**usual, "functions": 1, setting: value}
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
            ms, peak = fresh.submit(_grown, which, sizes, repeats, seconds).result()
        whole = ms * which.lab.steps / 1e3
        rows.append({"setting": setting, "value": value, "ms_per_step": ms, "seconds": whole, "peak_mb": peak})
    return pd.DataFrame(rows)


def _grown(which: Profile, sizes: Mapping[str, int], repeats: int, seconds: float) -> tuple[float, float]:
    """Milliseconds a step of GELU, all functions together, and this process's peak memory in MB; a worker has less."""
    import resource  # not everywhere

    torch.set_num_threads(1)
    data = tasks.suite("search", replace(which.tasks, search=sizes["tasks"])).blind
    config = replace(which.lab, width=sizes["width"], batch=sizes["batch"])
    gelu = activations.REGISTRY["gelu"].function

    def train(function: Function, data: Blind, config: LabConfig, seed: int) -> None:
        for _ in range(sizes["functions"]):
            lab.train(function, data, config, seed)

    ms = rates({"lab": train}, gelu, data, config, repeats, seconds)["lab"]
    networks = lab.train(gelu, data, replace(config, steps=2), 0)
    networks.predict(gelu, torch.from_numpy(data.ood_x).to(networks.weights[0].dtype))
    return ms, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def functions(which: Profile, quick: bool = False) -> pd.DataFrame:
    """What each function of the zoo costs beside GELU, forward and backward; float32, one thread, not compiled.

    Times are those that the thread computes, without what other processes take from it. In each round all functions
    take turns; a round's time is the median over its calls, and a ratio is that of two times of one round. The profile
    changes nothing.

    Returns:
        Columns function, shape, rounds, forward_us (one call that keeps what its gradient needs) and backward_us (the
        gradient to the input from there), medians over rounds; forward_gelu and backward_gelu, the median ratio to
        GELU's time, each with least and most over the rounds.
    """
    names = FUNCTIONS if quick else activations.names()
    repeats, seconds = (2, 0.002) if quick else (7, 0.05)
    rows = []
    with _one_thread():
        for shape in SHAPES[:1] if quick else SHAPES:
            x, weight = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
            passes = {name: partial(_pass, activations.REGISTRY[name].function, x, weight) for name in names}
            pilots = {name: [sum(one()) for _ in range(4)] for name, one in passes.items()}
            calls = {name: max(round(seconds / min(pilot)), 1) for name, pilot in pilots.items()}
            times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
            for _ in tqdm(range(repeats), desc=f"functions, {shape[0]} x {shape[1]}", disable=None):
                for name, one in passes.items():
                    both = [one() for _ in range(calls[name])]
                    times[name].append(tuple(median(part) * 1e6 for part in zip(*both, strict=True)))
            for name in names:
                row = {"function": name, "shape": f"{shape[0]} x {shape[1]}", "rounds": repeats}
                for way, part in enumerate(("forward", "backward")):
                    own, gelu = ([round_[way] for round_ in times[key]] for key in (name, "gelu"))
                    ratios = [a / b for a, b in zip(own, gelu, strict=True)]
                    row |= {f"{part}_us": median(own), f"{part}_gelu": median(ratios)}
                    row |= {f"{part}_least": min(ratios), f"{part}_most": max(ratios)}
                rows.append(row)
    return pd.DataFrame(rows)


def _pass(function: Function, x: torch.Tensor, weight: torch.Tensor) -> tuple[float, float]:
    """Seconds that this thread computes in a forward and in a backward pass; reading its clock takes 0.4 us of each."""
    x = x.detach().requires_grad_()
    started = time.thread_time()
    y = function(x)
    between = time.thread_time()
    torch.autograd.grad(y, x, weight)
    return between - started, time.thread_time() - between


def hours(which: Profile, quick: bool = False) -> pd.DataFrame:
    """What `make transfer PROFILE=paper` would take on one GPU: `costs.hours`, whose libraries no other part wants."""
    from actlab import costs

    with _one_thread():
        return costs.hours(which, quick)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


PARTS: dict[str, Callable[[Profile, bool], pd.DataFrame]] = {
    "lab": lab_speed,
    "population": population,
    "isolation": isolation,
    "searches": searches,
    "overhead": overhead,
    "growth": growth,
    "functions": functions,
    "hours": hours,
}


def main(argv: list[str] | None = None) -> None:
    """Measures the named parts, or all; writes `bench_PART.csv` and prints each table."""
    parser = argparse.ArgumentParser(prog="python -m actlab.bench", description=main.__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--profile", default="laptop", help="whose settings are measured")
    parser.add_argument("--folder", type=Path, help="where the tables go: by default, with the profile's figures")
    parser.add_argument("--quick", action="store_true", help="a corner of each table, measured once: to try it out")
    wanted = parser.parse_args(argv)
    if unknown := [part for part in wanted.parts if part not in PARTS]:
        parser.error(f"unknown part: wanted one of {', '.join(PARTS)}; got {', '.join(unknown)}")
    which = profile(wanted.profile)
    folder = wanted.folder or figures_folder(wanted.profile)
    for part in wanted.parts or PARTS:
        table = PARTS[part](which, wanted.quick)
        path, _ = plotting.save_table(table, f"bench_{part}", folder)
        if part == "growth":
            plotting.use_style()
            figure = Figure(figsize=(plotting.TWO_COLUMNS, 1.9))
            plotting.growth(figure.subplots(1, table["setting"].nunique(), sharey=True), table)
            plotting.save(figure, f"bench_{part}", table, folder)
        print(f"{path}\n{table.to_string(index=False, float_format='{:.4g}'.format)}\n", flush=True)


if __name__ == "__main__":
    main()
