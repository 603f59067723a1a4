"""What the lab costs on this machine (ours): `actlab bench lab` and other parts, each a table of its own.

A rate is the time of a training less that of one of a single step, over the steps between: what is done once a
training, such as drawing weights, is not in it. Paths take turns, and medians are shown.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from actlab.activations import zoo
from actlab.candidates import program
from actlab.core.config import LabConfig, Profile, cores, profile
from actlab.core.jobs import Runner
from actlab.core.records import figures_folder
from actlab.lab import backends, reference, tasks, training
from actlab.lab.tracing import Function
from actlab.lab.training_view import TrainingView
from actlab.report.bench.search import (
    BACKENDS,
    by_backend,
    machine,
    one_thread,
    overhead,
    rounding,
    searches,
    took,
    trained_by,
    warm,
)
from actlab.report.figures import lab as figures
from actlab.report.figures import style
from actlab.scoring.evaluator import Evaluator, mse
from actlab.scoring.in_process import InProcess
from actlab.studies import coverage

Training = Callable[[Function, TrainingView, LabConfig, int], object]  # as `training.train`

FUNCTIONS = ("relu", "gelu", "gelu-sine", "turbulent")
WIDTHS = (32, 64, 128)
BATCHES = (64, 256)
GROWTH = {"tasks": (12, 24, 48, 96, 200), "width": (16, 32, 64, 128, 256), "batch": (16, 32, 64, 128, 256)}
GPU_TASKS = (48, 200, 1000)
GROWTH_FUNCTIONS = (1, 2, 4, 8)  # trained in turn
GROWTH_CAPTION = (
    "GELU, one thread, a fresh process a point; median of {} measurements, with least to most; dotted: in proportion. "
    "Functions are trained in turn: by construction."
)
COSTLIEST = ("quaternion", "symmetric-phase-flipped")  # of the zoo, in time and in memory
SHAPES = ((64, 64), (256, 1024))  # rows and columns of a layer's values: the lab's, and one that fills no near cache


def products(function: Function, data: TrainingView, config: LabConfig, seed: int) -> None:
    """The roofline: as many steps of the networks' bare matrix products, forward and backward, into buffers.

    They have the lab's shapes and stacks. A product with a single column or row is written as `lab` writes it, since
    that is faster than a matrix product. The function and the seed change nothing.
    """
    models, stacks = len(data.dims), []
    chunk = training._chunk(models, config)
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


def compiled(function: Function, data: TrainingView, config: LabConfig, seed: int) -> None:
    """The lab's compiled path; torch's where a function has none. What is listed and compiled once is not in a rate."""
    start = training.Start.of(data, config, seed, range(len(data.dims)))
    steps, _ = _steps_of(function, replace(config, steps=1), start.x.shape[1])
    if steps is None:
        training.train_from(function, start, config)
    else:
        backends.by_steps(steps, start, config)


_steps_of = cache(backends.steps_of)


PATHS: dict[str, Training] = {
    "naive-adam": reference.train,
    "naive-fused-adam": partial(reference.train, fused=True),
    "lab": training.train,
    "compiled": compiled,
    "roofline": products,
}


class Times(NamedTuple):
    """The median of some measurements of one thing, and the least and the most of them."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, measured: Sequence[float]) -> Times:
        """The times that summarise measurements."""
        return cls(median(measured), min(measured), max(measured))

    def ends(self, name: str) -> dict[str, float]:
        """The columns NAME_least and NAME_most."""
        return {f"{name}_least": self.least, f"{name}_most": self.most}


def rates(
    paths: Mapping[str, Training],
    function: Function,
    data: TrainingView,
    config: LabConfig,
    repeats: int,
    seconds: float,
) -> dict[str, Times]:
    """Milliseconds a step of each path, over `repeats` measurements that take turns.

    The steps of `config` do not count: a measurement has between 2 and 500, so that it takes so many `seconds`.
    """

    def trained(path: Training, steps: int) -> float:
        return took(lambda: path(function, data, replace(config, steps=steps), 0))

    steps = {}
    for name, path in paths.items():
        trained(path, 1)  # what is loaded late is loaded
        three = trained(path, 3)
        pilot = max(three - trained(path, 1), three / 10) / 2  # a disturbed pilot must not ask for hours
        steps[name] = 1 + min(max(round(seconds / pilot), 2), 500)
    found: dict[str, list[float]] = {name: [] for name in paths}
    for _, (name, path) in product(range(repeats), paths.items()):
        once = trained(path, 1)
        found[name].append((trained(path, steps[name]) - once) / (steps[name] - 1) * 1e3)
    return {name: Times.of(times) for name, times in found.items()}


def lab_speed(which: Profile, quick: bool = False) -> pd.DataFrame:
    """The lab beside the loop that a reader would write, and beside matrix products alone; one thread.

    Returns:
        Columns function, batch, width, path, ms_per_step (of all models of the search suite), ratio_to_naive (how many
        times faster than the loop with default Adam), roofline_fraction (the bare products' share of the time), and
        ms_least and ms_most of the measurements, whose median the others are of.
    """
    data, rows = tasks.suite("search", which.tasks).blind, []
    cells = [(64, 32, "gelu")] if quick else list(product(BATCHES, WIDTHS, FUNCTIONS))
    repeats, seconds = (1, 0.02) if quick else (5, 0.25)
    with one_thread():
        for batch, width, name in tqdm(cells, desc="lab", disable=None):
            config = replace(which.lab, batch=batch, width=width)
            found = rates(PATHS, zoo.REGISTRY[name].function, data, config, repeats, seconds)
            first, last = found["naive-adam"].median, found["roofline"].median
            for path, ms in found.items():
                row = {"function": name, "batch": batch, "width": width, "path": path, "ms_per_step": ms.median}
                row |= {"ratio_to_naive": first / ms.median, "roofline_fraction": last / ms.median}
                rows.append(row | ms.ends("ms"))
    return pd.DataFrame(rows)


def gpu(which: Profile, quick: bool = False) -> pd.DataFrame:
    """Whole trainings on this machine's GPU, all networks in one stack, beside one thread of its processor.

    Returns:
        Columns function, tasks (of the search suite), repeats (on the GPU; the processor trains once), gpu, torch,
        cpu_seconds, cuda_seconds (their median, with cuda_least and cuda_most), ratio (how many times faster the GPU
        is) and, of either device's networks, the median out-of-distribution loss: cpu_ood_mse, cuda_ood_mse.
    """
    which = replace(which, lab=replace(which.lab, steps=10)) if quick else which
    cells = [("gelu", 8)] if quick else [*product(FUNCTIONS[:3], GPU_TASKS), (FUNCTIONS[3], GPU_TASKS[0])]
    repeats, rows = 3, []
    with one_thread():
        for name, count in tqdm(cells, desc="gpu", disable=None):
            suite = tasks.suite("search", replace(which.tasks, search=count))
            _trained("cuda", name, suite, which)  # what is loaded late is loaded
            cpu, cpu_loss = _trained("cpu", name, suite, which)
            on_gpu = [_trained("cuda", name, suite, which) for _ in range(repeats)]
            cuda = Times.of([seconds for seconds, _ in on_gpu])
            row = {"function": name, "tasks": count, "repeats": repeats, "gpu": torch.cuda.get_device_name()}
            row |= {"torch": torch.__version__, "cpu_seconds": cpu, "cuda_seconds": cuda.median}
            row |= cuda.ends("cuda") | {"ratio": cpu / cuda.median}
            rows.append(row | {"cpu_ood_mse": cpu_loss, "cuda_ood_mse": on_gpu[0][1]})
    return pd.DataFrame(rows)


def _trained(device: str, name: str, suite: tasks.Suite, which: Profile) -> tuple[float, float]:
    """The seconds of a function's training on a device, and its median out-of-distribution loss."""
    config, function = replace(which.lab, device=device), zoo.REGISTRY[name].function
    started = time.perf_counter()
    networks = training.train(function, suite.blind, config, 0)
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    predicted = networks.predict(function, torch.from_numpy(suite.blind.ood_x).float(), config.batch)
    return seconds, float(np.median(mse(predicted.numpy(), suite.ood_y, which.fitness.clamp)))


def population(which: Profile, quick: bool = False) -> pd.DataFrame:
    """How fast a population is scored by 1 worker, 2, 4 and so on to as many as there are cores.

    All workers are warm and stay; their numbers take turns.

    Returns:
        Columns workers, functions, repeats, seconds (of all functions, trained and judged, not described: the median),
        functions_an_hour, seconds_least, seconds_most and, the same in all rows, peak_mb_torch and peak_mb_compiled:
        the largest resident memory of one worker's processes while it scores these functions and the costliest, by who
        trains them (NaN where the system does not say). A process that asks for compiled networks trains them itself.
    """
    names = FUNCTIONS[:2] if quick else [name for name in zoo.names() if name != "relu"][:12]
    counts = sorted({2**i for i in range(cores().bit_length()) if 2**i <= cores()} | {cores()})
    counts, repeats = (counts[:1], 2) if quick else (counts, 5)
    suites, rows = {"search": tasks.suite("search", which.tasks)}, []
    times: dict[int, list[float]] = {workers: [] for workers in counts}
    with ExitStack() as opened:
        evaluators = {n: opened.enter_context(Evaluator(suites, which.fitness, n)) for n in counts}
        for evaluator in evaluators.values():
            warm(evaluator, which.lab, "search")
        turns = list(product(range(repeats), counts))
        for _, workers in tqdm(turns, desc="population", disable=None):
            times[workers].append(_scored(evaluators[workers], names, which.lab))
    every, peaks = list(dict.fromkeys((*names, *COSTLIEST))), {}
    for backend in BACKENDS:
        with trained_by(backend):
            peaks[f"peak_mb_{backend}"] = _worker_peak(which, every)
    for workers, measured in times.items():
        seconds = Times.of(measured)
        row = {"workers": workers, "functions": len(names), "repeats": repeats, "seconds": seconds.median}
        rows.append(row | {"functions_an_hour": len(names) / seconds.median * 3600, **seconds.ends("seconds")})
    return pd.DataFrame(rows).assign(**peaks)


def _scored(evaluator: Evaluator, names: Sequence[str], config: LabConfig) -> float:
    """The seconds that an evaluator takes to score functions of the zoo on the search suite."""

    def score() -> None:
        pending = [evaluator.submit(zoo.program_source(name), "search", config) for name in names]
        if (ended := {p.result().ended for p in pending}) != {"scored"}:
            raise RuntimeError(f"wanted functions of the zoo to be scored; got {ended}")

    return took(score)


def _worker_peak(which: Profile, names: Sequence[str]) -> float:
    """The largest resident memory in MB of the processes of one warm worker that scores functions."""
    suites = {"search": tasks.suite("search", which.tasks)}
    with Evaluator(suites, which.fitness, workers=1) as evaluator:
        warm(evaluator, which.lab, "search")
        return _peak_below(lambda: _scored(evaluator, names, which.lab))


def _peak_below(work: Callable[[], object]) -> float:
    """The largest resident memory in MB of a process below this one while work is done, looked at every 5 ms.

    NaN where there is no such process, or the system does not list them.
    """
    peak = float("nan")
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(work)
        while not future.done():
            for process in _below(Path("/proc/self")):
                with suppress(OSError):  # it has ended
                    found = re.search(r"^VmHWM:\s*(\d+) kB", (process / "status").read_text(), re.MULTILINE)
                    peak = peak if found is None else np.fmax(peak, int(found[1]) / 1e3)
            time.sleep(0.005)
        future.result()
    return float(peak)


def _below(process: Path) -> Iterator[Path]:
    """The processes that a process started, and those that these did."""
    for listed in process.glob("task/*/children"):
        with suppress(OSError):  # it has ended
            for number in listed.read_text().split():
                yield Path("/proc") / number
                yield from _below(Path("/proc") / number)


def isolation(which: Profile, quick: bool = False) -> pd.DataFrame:
    """What confinement adds to the evaluation of a candidate, which is described, then trained for ten steps.

    What it adds does not depend on the steps; few of them show it best. Both ways take turns, and their results are the
    same to the bit.

    Returns:
        Columns function, repeats, bare_ms (in this process), confined_ms (a forked process a candidate to describe
        it, and one more where torch trains it) and added_ms, the median of the differences.

    Raises:
        RuntimeError: where the two results differ.
    """
    suite, repeats, rows = tasks.suite("search", which.tasks), 2 if quick else 25, []
    config = replace(which.lab, steps=10)
    suites = {"search": suite}, which.fitness, 1
    with one_thread(), InProcess(*suites) as here, Evaluator(*suites) as apart:

        def way(which: Evaluator, source: str) -> object:
            found = which.describe(source, "search", config).result().description.to_dict()
            made = which.submit(source, "search", config).future.result()
            return found, [array.tobytes() for array in (made.train, made.ood, made.ood_whole)]

        bare, confined = partial(way, here), partial(way, apart)
        for name in tqdm(FUNCTIONS[1:2] if quick else FUNCTIONS[1:], desc="isolation", disable=None):
            source = program.check(zoo.program_source(name)).source
            if bare(source) != confined(source):
                raise RuntimeError(f"wanted the same description and predictions of {name} to the bit; got others")
            times: dict[Callable, list[float]] = {bare: [], confined: []}
            for _, one in product(range(repeats), times):
                times[one].append(took(partial(one, source)) * 1e3)
            added = median(b - a for a, b in zip(times[bare], times[confined], strict=True))
            row = {"function": name, "repeats": repeats, "bare_ms": median(times[bare])}
            rows.append(row | {"confined_ms": median(times[confined]), "added_ms": added})
    return pd.DataFrame(rows)


def growth(which: Profile, quick: bool = False) -> pd.DataFrame:
    """What a training of GELU costs as one setting at a time leaves the profile's; each in a fresh process.

    Returns:
        Columns setting (tasks, width, batch or functions, which are trained in turn: in proportion by construction),
        value, repeats, ms_per_step (their median), ms_least, ms_most, seconds (of a whole training at the profile's
        steps) and peak_mb (the process's largest resident memory).
    """
    usual = {"tasks": which.tasks.search, "width": which.lab.width, "batch": which.lab.batch}
    cells = [(setting, value) for setting, values in GROWTH.items() for value in values]
    cells += [("functions", value) for value in GROWTH_FUNCTIONS]
    cells, repeats, seconds = (cells[:1], 2, 0.02) if quick else (cells, 5, 0.25)
    rows = []
    for setting, value in tqdm(cells, desc="growth", disable=None):
        sizes = {**usual, "functions": 1, setting: value}
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
            ms, peak = fresh.submit(_grown, which, sizes, repeats, seconds).result()
        row = {"setting": setting, "value": value, "repeats": repeats, "ms_per_step": ms.median}
        rows.append(row | ms.ends("ms") | {"seconds": ms.median * which.lab.steps / 1e3, "peak_mb": peak})
    return pd.DataFrame(rows)


def _grown(which: Profile, sizes: Mapping[str, int], repeats: int, seconds: float) -> tuple[Times, float]:
    """Milliseconds a step of GELU, all functions together, and this process's peak memory in MB."""
    import resource  # not everywhere

    torch.set_num_threads(1)
    data = tasks.suite("search", replace(which.tasks, search=sizes["tasks"])).blind
    config = replace(which.lab, width=sizes["width"], batch=sizes["batch"])
    gelu = zoo.REGISTRY["gelu"].function

    def train(function: Function, data: TrainingView, config: LabConfig, seed: int) -> None:
        for _ in range(sizes["functions"]):
            training.train(function, data, config, seed)

    ms = rates({"lab": train}, gelu, data, config, repeats, seconds)["lab"]
    networks = training.train(gelu, data, replace(config, steps=2), 0)
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
    names = FUNCTIONS if quick else zoo.names()
    repeats, seconds = (2, 0.002) if quick else (7, 0.05)
    rows = []
    with one_thread():
        for shape in SHAPES[:1] if quick else SHAPES:
            x, weight = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
            passes = {name: partial(_pass, zoo.REGISTRY[name].function, x, weight) for name in names}
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
                    row |= {f"{part}_us": median(own), f"{part}_gelu": median(ratios), **Times.of(ratios).ends(part)}
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
    from actlab.report.bench import costs

    with one_thread():
        return costs.hours(which, quick)


PARTS: dict[str, Callable[[Profile, bool], pd.DataFrame]] = {
    "lab": lab_speed,
    "population": population,
    "isolation": isolation,
    "searches": searches,
    "backends": by_backend,
    "rounding": rounding,
    "overhead": overhead,
    "growth": growth,
    "functions": functions,
    "hours": hours,
    "gpu": gpu,
    "coverage": lambda _, quick: coverage.table([(4, 12)], {True: 400, False: 20}) if quick else coverage.table(),
}


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's own options."""
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--folder", type=Path, help="where the tables go: by default, with the profile's figures")
    parser.add_argument("--quick", action="store_true", help="a corner of each table, measured once: to try it out")


def main(wanted: argparse.Namespace, runner: Runner) -> int:
    """Measures the named parts, or all; writes `bench_PART.csv`, with the machine, and prints each table."""
    if unknown := [part for part in wanted.parts if part not in PARTS]:
        raise ValueError(f"unknown part: wanted one of {', '.join(PARTS)}; got {', '.join(unknown)}")
    which, folder = profile(wanted.profile), wanted.folder or figures_folder(wanted.profile)
    if not (parts := wanted.parts):
        parts = [part for part in PARTS if part != "gpu" or torch.cuda.is_available()]
    elif "gpu" in parts and not torch.cuda.is_available():
        raise ValueError(f"gpu: wanted a GPU that torch {torch.__version__} can use; came none")
    for part in parts:
        table = PARTS[part](which, wanted.quick).assign(machine=machine())
        path, _ = style.save_table(table, f"bench_{part}", folder)
        if part == "growth":
            style.use_style()
            figure = Figure(figsize=(style.TWO_COLUMNS, 2.1))
            figures.growth(figure.subplots(1, table["setting"].nunique(), sharey=True), table)
            figure.supxlabel(GROWTH_CAPTION.format(table["repeats"].max()), fontsize="xx-small")
            style.save(figure, f"bench_{part}", table, folder)
        print(f"{path}\n{table.to_string(index=False, float_format='{:.4g}'.format)}\n", flush=True)
    return 0
