"""The runs of `make transfer`: every function, data set and seed through the benchmarks (paper, section 5).

A job trains one function on one data set from one seed. Its records go into one table a benchmark as soon as it is
done; a run that is cut off goes on from the jobs that are there, and within a job from its last epoch. Jobs whose
settings or code have changed since are made anew.

python -m actlab.transfer [--profile laptop] [--benchmarks images,...] [--functions relu,...] [--seeds N] [--status]
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from actlab import activations, config
from actlab.benchmarks import COLUMNS, MissingData
from actlab.records import BUILD, ROOT, code_hash, digest, versions

if TYPE_CHECKING:
    from actlab.benchmarks import Activation

BENCHMARKS = ("images", "molecules", "algorithms")  # modules of `actlab.benchmarks`
FOUND = "found"


def found(x: torch.Tensor) -> torch.Tensor:
    """sin x - x²: the final choice of the laptop search from seed 0, read and written down here by hand (ours)."""
    return torch.sin(x) - x * x


# The hand-made ones to beat, the paper's that are exact or completed, and the search's own.
FUNCTIONS = (
    "relu", "gelu", "silu", "snake", "gelu-sine", "gelu-sinc", "gmtu", "turbulent", "leaky-sqrt-decay", "qfw",
    "symmetric-phase-flipped", "fisg", FOUND,
)  # fmt: skip


@dataclass(frozen=True)
class Design:
    """What is run. All [ours]."""

    functions: tuple[str, ...] = FUNCTIONS
    seeds: Mapping[str, int] = field(default_factory=lambda: {"images": 10, "molecules": 10, "algorithms": 5})


DESIGNS = {
    "smoke": Design(("relu", "gelu", "turbulent", FOUND), dict.fromkeys(BENCHMARKS, 2)),
    "laptop": Design(),
    "paper": Design(seeds=dict.fromkeys(BENCHMARKS, 5)),
}


def activation(name: str) -> Activation:
    """A function of the zoo, or the found one.

    Raises:
        ValueError: a name that is neither.
    """
    return found if name == FOUND else activations.get(name).activation.function


def sees_its_batch(name: str) -> bool:
    """Whether an element of the result depends on others."""
    return name != FOUND and not activations.get(name).activation.pointwise


def _source(name: str) -> str:
    return inspect.getsource(found) if name == FOUND else activations.program_source(name)


@dataclass(frozen=True)
class Job:
    """One training: a function on a data set from a seed. `config` is the benchmark's own, and carries the seed."""

    benchmark: str
    function: str
    config: Any

    @property
    def module(self) -> ModuleType:
        """The benchmark's."""
        return _module(self.benchmark)

    @property
    def data(self) -> str:
        """The name of the data set, as in the records."""
        return self.config.algorithm if self.benchmark == "algorithms" else self.config.data

    @property
    def seed(self) -> int:
        """Of the run: the same number means the same initial weights and batches for every function."""
        return self.config.seed

    @cached_property
    def key(self) -> str:
        """Twelve digits for the function's source, the settings and the benchmark's code."""
        code = code_hash("benchmarks/__init__", "benchmarks/training", *self.module.CODE, comments=False)
        return digest({"source": _source(self.function), "config": replace(self.config, folder=""), "code": code})[:12]

    def __str__(self) -> str:
        return f"{self.benchmark}, {self.data}, {self.function}, seed {self.seed}"


def _module(benchmark: str) -> ModuleType:
    """A benchmark's module, imported where it is wanted: each brings libraries of its own."""
    if benchmark == "images":
        from actlab.benchmarks import images as module
    elif benchmark == "molecules":
        from actlab.benchmarks import molecules as module
    else:
        from actlab.benchmarks import algorithms as module
    return module


def jobs(profile: str, design: Design, benchmarks: Sequence[str] | None = None) -> list[Job]:
    """The jobs of a profile, all of a seed before the next one's, so that functions can be compared at any time.

    Functions that do not see their batch are evaluated in batches alone, since the whole test set gives the same.

    Args:
        profile: of the benchmarks' settings.
        design: functions and seeds.
        benchmarks: some of the design's; None: all.

    Raises:
        ValueError: a benchmark or a function that is not known.
    """
    benchmarks = list(design.seeds) if benchmarks is None else benchmarks
    for name in benchmarks:
        if name not in BENCHMARKS:
            raise ValueError(f"wanted benchmarks among {', '.join(BENCHMARKS)}; got {name!r}")
    every = []
    for seed in range(max(design.seeds[name] for name in benchmarks)):
        for benchmark in benchmarks:
            if seed >= design.seeds[benchmark]:
                continue
            for settings in _module(benchmark).PROFILES[profile]:
                for function in design.functions:
                    whole = settings.whole and sees_its_batch(function)
                    every.append(Job(benchmark, function, replace(settings, seed=seed, whole=whole)))
    return every


# --- records --------------------------------------------------------------------------------------


def folder(profile: str) -> Path:
    """Where a profile's records go: the committed folder for laptop alone, the build folder for all others."""
    return ROOT / "records" / "transfer" if profile == "laptop" else BUILD / profile / "transfer" / "records"


class Records:
    """The tables of a comparison, one a benchmark: the columns `benchmarks.COLUMNS`, the function and the job's key.

    Rows stand in the order of function, data set and seed, whatever the order in which jobs ended.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tables: dict[str, pd.DataFrame] = {}

    def table(self, benchmark: str) -> pd.DataFrame:
        """All rows of a benchmark; empty where there are none yet."""
        if benchmark not in self._tables:
            path = self._path(benchmark)
            columns = ["key", "function", *COLUMNS]
            table = pd.read_csv(path, keep_default_na=False, na_values={"value": [""]}) if path.exists() else None
            self._tables[benchmark] = pd.DataFrame(columns=columns) if table is None else table[columns]
        return self._tables[benchmark]

    def keys(self, benchmark: str) -> frozenset[str]:
        """The jobs that are there, by their keys."""
        return frozenset(self.table(benchmark)["key"])

    def add(self, job: Job, rows: pd.DataFrame) -> None:
        """Enters a job's rows in the place of older ones, and writes the table; one that is cut off leaves the old."""
        table, rows = self.table(job.benchmark), rows.assign(key=job.key, function=job.function)
        same = (table["function"] == job.function) & (table["data"] == job.data) & (table["seed"] == job.seed)
        parts = [part for part in (table[~same], rows) if len(part)]
        table = pd.concat(parts, ignore_index=True)[["key", "function", *COLUMNS]]
        table = table.sort_values(["function", "data", "seed"], kind="stable", ignore_index=True)
        self._tables[job.benchmark] = table
        _write(self._path(job.benchmark), table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))

    def of(self, wanted: Sequence[Job]) -> pd.DataFrame:
        """The rows of these jobs and no others, whatever code made them: `missing` tells which are of other code.

        Raises:
            FileNotFoundError: where jobs are lacking.
        """
        names = ["benchmark", "function", "data", "seed"]
        rows = pd.concat([self.table(name) for name in dict.fromkeys(job.benchmark for job in wanted)])
        asked = pd.DataFrame([(job.benchmark, job.function, job.data, job.seed) for job in wanted], columns=names)
        lacking = asked.merge(rows[names].drop_duplicates(), how="left", indicator=True).query("_merge == 'left_only'")
        if len(lacking):
            raise FileNotFoundError(
                f"{self.folder}: wanted {len(wanted)} jobs; {len(lacking)} are lacking, the first of them "
                f"{wanted[lacking.index[0]]}; `make transfer` makes them"
            )
        return rows.merge(asked).reset_index(drop=True)

    def _path(self, benchmark: str) -> Path:
        return self.folder / f"{benchmark}.csv"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text)
    partial.replace(path)


def missing(records: Records, wanted: Sequence[Job]) -> list[Job]:
    """The jobs that are not in the records as settings and code are now."""
    kept = {name: records.keys(name) for name in {job.benchmark for job in wanted}}
    return [job for job in wanted if job.key not in kept[job.benchmark]]


def done(records: Records, profile: str, design: Design) -> Design:
    """The design with no more seeds than are there for all functions and data sets; without benchmarks of none.

    Made by whatever code: `missing` tells which are of other code.
    """
    kept = {}
    for benchmark, seeds in design.seeds.items():
        table = records.table(benchmark)
        there = set(zip(table["function"], table["data"], table["seed"], strict=True))
        wanted = jobs(profile, design, [benchmark])
        lacking = [job.seed for job in wanted if (job.function, job.data, job.seed) not in there]
        kept[benchmark] = min(lacking, default=seeds)
    return replace(design, seeds={name: seeds for name, seeds in kept.items() if seeds})


# --- running --------------------------------------------------------------------------------------


def run(job: Job, checkpoint: Path | None = None, progress: bool = False) -> tuple[pd.DataFrame, float]:
    """The rows of a job, and its seconds of this process's time (of what is done here, where it goes on)."""
    start = time.process_time()
    generator = np.random.default_rng(job.seed)
    rows = job.module.evaluate(activation(job.function), job.config, generator, checkpoint, progress)
    return rows, time.process_time() - start


def compare(
    wanted: Sequence[Job],
    records: Records,
    checkpoints: Path,
    workers: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Runs the jobs that the records lack, and enters them one by one.

    Args:
        wanted: the jobs.
        records: where they go.
        checkpoints: the folder of the trainings under way; a file is deleted when its job is in the records.
        workers: one-thread processes; 0 for one a core, 1 for this process itself.
        tell: is given a line when a job is done.

    Raises:
        MissingData: where a data set is not there; known before anything is trained.
        RuntimeError: where a worker died, killed for its memory perhaps; says what ran.
    """
    lacking = missing(records, wanted)
    for job in {(job.benchmark, job.data): job for job in lacking}.values():
        job.module.load(job.config)
    with tqdm(total=len(wanted), initial=len(wanted) - len(lacking), desc="jobs", disable=None) as bar:
        for job, rows, seconds in _ran(lacking, checkpoints, workers or config.cores()):
            records.add(job, rows)
            _checkpoint(checkpoints, job).unlink(missing_ok=True)
            bar.update()
            tell(f"{job}: {summary(rows)} ({seconds:.0f} s)")


def _checkpoint(folder: Path, job: Job) -> Path:
    return folder / f"{job.key}-{job.seed}.pt"


def _ran(lacking: Sequence[Job], checkpoints: Path, workers: int) -> Iterator[tuple[Job, pd.DataFrame, float]]:
    if workers == 1:
        for job in lacking:
            yield job, *run(job, _checkpoint(checkpoints, job))
        return
    with _pool(workers) as pool:
        waiting, running = iter(lacking), {}
        _submit(pool, waiting, running, checkpoints, workers)
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            try:
                ended = [(job, *future.result()) for future, job in running.items() if future in done]
            except BrokenProcessPool as error:
                names = "; ".join(str(job) for job in running.values())
                raise RuntimeError(
                    f"a worker died, killed for its memory perhaps, while these ran: {names}. The same command goes on "
                    "from the last epochs; --workers 1 runs one job at a time"
                ) from error
            for future in done:
                del running[future]
            _submit(pool, waiting, running, checkpoints, workers)
            yield from ended


def _submit(
    pool: Executor, waiting: Iterator[Job], running: dict[Future, Job], checkpoints: Path, workers: int
) -> None:
    """Fills up what runs, so that a job which is cut off has begun, and nothing waits in the pool itself."""
    while len(running) < workers and (job := next(waiting, None)) is not None:
        running[pool.submit(run, job, _checkpoint(checkpoints, job))] = job


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Warm processes of one thread each, killed where the block is left by an error or an interruption."""
    spawn = get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin)
    try:
        yield pool
    except BaseException:
        for process in list(pool._processes.values()):
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _begin() -> None:
    """Makes a worker one that has one thread and does not outlive who started it, however that one ended."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(parent_process(),), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def summary(rows: pd.DataFrame) -> str:
    """What a job came to, in a few words: the test in distribution and the mean of those out of distribution."""
    tests = rows[(rows["split"] != "validation") & (rows["evaluation"] == "batches")]
    failed = tests.loc[tests["outcome"] != "scored", "outcome"]
    if len(failed):
        return failed.iloc[0]
    means = tests.groupby("split")["value"].mean()
    return ", ".join(f"{split} {value:.3f}" for split, value in means.items())


def about(profile: str, design: Design, wanted: Sequence[Job]) -> dict[str, Any]:
    """What the records were made from, as it stands beside them in JSON."""
    configs = {f"{job.benchmark}/{job.data}": asdict(replace(job.config, seed=0, whole=True)) for job in wanted}
    command = f"python -m actlab.transfer --profile {profile}"
    return {"command": command, "design": asdict(design), "configs": configs, "versions": versions()}


def rerun(wanted: Sequence[Job], records: Records) -> float:
    """The largest absolute difference of a test value, made anew, from its record.

    Raises:
        FileNotFoundError: where the records lack a job.
    """
    worst = 0.0
    for job in wanted:
        kept, (fresh, _) = records.of([job]), run(job)
        if list(kept["outcome"]) != list(fresh["outcome"]):
            return float("inf")
        off = kept["value"].to_numpy(float) - fresh["value"].to_numpy(float)
        worst = max(worst, float(np.nanmax(np.abs(off), initial=0.0)))
    return worst


# --- the command ----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the comparison and writes its records; returns the exit status."""
    options = _options(arguments)
    torch.set_num_threads(1)
    try:
        profile = config.profile(options.profile).name
        design = DESIGNS[profile]
        functions = tuple(options.functions.split(",")) if options.functions else design.functions
        seeds = dict.fromkeys(BENCHMARKS, options.seeds) if options.seeds else design.seeds
        benchmarks = options.benchmarks.split(",") if options.benchmarks else None
        wanted, kept = jobs(profile, Design(functions, seeds), benchmarks), Records(folder(profile))
        if options.status:
            print(f"{len(wanted) - len(missing(kept, wanted))} of {len(wanted)} jobs are in {kept.folder}")
            return 0
        checkpoints = BUILD / profile / "transfer" / "checkpoints"
        compare(wanted, kept, checkpoints, options.workers, tell=lambda line: tqdm.write(line, sys.stdout))
        whole = jobs(profile, design)
        if not missing(kept, whole):
            text = json.dumps(about(profile, design, whole), indent=1, sort_keys=True)
            _write(kept.folder / "about.json", text + "\n")
    except (ValueError, MissingData, OSError, RuntimeError) as error:
        print(f"actlab.transfer: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("actlab.transfer: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"{len(wanted)} jobs are in {kept.folder}")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m actlab.transfer", description=main.__doc__)
    parser.add_argument("--profile", default="laptop", help="smoke, laptop (default) or paper")
    parser.add_argument("--benchmarks", help=f"some of {','.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--functions", help="names, with commas between them (default: the profile's)")
    parser.add_argument("--seeds", type=int, help="runs a function and data set (default: the profile's)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default 0: one a core)")
    parser.add_argument("--status", action="store_true", help="only say how many jobs are done")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
