"""The runs of `make transfer`: every function, data set and seed through the benchmarks (paper, section 5).

A job trains one function on one data set from one seed. Its records go into one table a benchmark as soon as it is
done; a run that is cut off goes on from the jobs that are there, and within a job from its last epoch. Jobs whose
settings, data or function have changed since are made anew.

actlab transfer [--profile laptop] [--benchmarks images,...] [--data CIFAR-10,...] [--data-folder FOLDER]
    [--functions relu,...] [--seeds N] [--workers N] [--status]
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from actlab.activations import zoo
from actlab.core import config
from actlab.core.records import BUILD, PROTOCOLS, ROOT, Canaries, bare, file_hash, versions, write
from actlab.transfer.interface import COLUMNS, MissingData, table
from actlab.transfer.training import Fit

if TYPE_CHECKING:
    from actlab.transfer.interface import Activation

METRICS = {"images": "accuracy", "molecules": "roc_auc", "algorithms": "score"}
BENCHMARKS = tuple(METRICS)  # modules of `actlab.transfer.interface`
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
    return found if name == FOUND else zoo.get(name).activation.function


def sees_its_batch(name: str) -> bool:
    """Whether an element of the result depends on others."""
    return name != FOUND and not zoo.get(name).activation.pointwise


@cache
def _source(name: str) -> str:
    return bare(inspect.getsource(found) if name == FOUND else zoo.program_source(name))


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
    def placed(self) -> Any:
        """The settings with the folder of their data taken from the checkout's root, whatever the working directory."""
        return replace(self.config, folder=str(ROOT / self.config.folder)) if self.config.folder else self.config

    @property
    def seed(self) -> int:
        """Of the run: the same number means the same initial weights and batches for every function."""
        return self.config.seed

    @cached_property
    def key(self) -> str:
        """Twelve digits for the function's source, the data and the settings."""
        about = {"source": _source(self.function), "data": _data(self.benchmark, self.config)}
        return PROTOCOLS["transfer"].key({**about, "config": replace(self.config, folder="")})[:12]

    def __str__(self) -> str:
        return f"{self.benchmark}, {self.data}, {self.function}, seed {self.seed}"


def _data(benchmark: str, config: Any) -> str | None:
    """The hash of the file that a data set is read from; None for folders that the user names, whose name is all."""
    path = _module(benchmark).data_file(config)
    return file_hash(path) if path is not None and path.exists() else None


def _module(benchmark: str) -> ModuleType:
    """A benchmark's module, imported where it is wanted: each brings libraries of its own."""
    if benchmark == "images":
        from actlab.transfer import images as module
    elif benchmark == "molecules":
        from actlab.transfer import molecules as module
    else:
        from actlab.transfer import algorithms as module
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


def chosen(wanted: Sequence[Job], data: Sequence[str]) -> list[Job]:
    """The jobs on these data sets alone.

    Raises:
        ValueError: a data set that no job has.
    """
    known = list(dict.fromkeys(job.data for job in wanted))
    for name in data:
        if name not in known:
            raise ValueError(f"wanted data sets among {', '.join(known)}; got {name!r}")
    return [job for job in wanted if job.data in data]


def moved(wanted: Sequence[Job], folder: Path) -> list[Job]:
    """The jobs with their data in a folder that is named; from the working directory where it is relative.

    Raises:
        ValueError: where they read from no folder, or from several.
    """
    read = list(dict.fromkeys(job.config.folder for job in wanted))
    if len(read) != 1 or not read[0]:
        names = ", ".join(dict.fromkeys(job.data for job in wanted))
        raise ValueError(f"--data-folder: wanted data of one folder (--data takes a part); got {names}")
    return [replace(job, config=replace(job.config, folder=str(folder.resolve()))) for job in wanted]


# --- records --------------------------------------------------------------------------------------


def folder(profile: str) -> Path:
    """Where a profile's records go: the build folder for smoke alone, which takes seconds to make again."""
    places = {"laptop": ROOT / "records" / "transfer", "paper": ROOT / "records" / "transfer-paper"}
    return places.get(profile, BUILD / profile / "transfer" / "records")


def checkpoints(profile: str) -> Path:
    """Where a profile's trainings under way are kept: the paper's, hours of a GPU, not where `make clean` deletes."""
    return ROOT / "checkpoints" if profile == "paper" else BUILD / profile / "transfer" / "checkpoints"


class Records:
    """The tables of a comparison, one a benchmark: `interface.COLUMNS`, function, the job's key, the maker's mark.

    Rows stand in the order of function, data set and seed, whatever the order in which jobs ended.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.canaries = folder, Canaries(folder.parent / "canaries")
        self._tables: dict[str, pd.DataFrame] = {}

    def table(self, benchmark: str) -> pd.DataFrame:
        """All rows of a benchmark, as they were when they were first asked for; empty where there were none."""
        if benchmark not in self._tables:
            self._tables[benchmark] = self._read(benchmark)
        return self._tables[benchmark]

    def _read(self, benchmark: str) -> pd.DataFrame:
        path, columns = self._path(benchmark), ["key", "mark", "function", *COLUMNS]
        if not path.exists():
            return pd.DataFrame(columns=columns)
        words = {"key": str, "mark": str}  # some digests read as a number, such as 3e4971315396
        return pd.read_csv(path, keep_default_na=False, na_values={"value": [""]}, dtype=words)[columns]

    def keys(self, benchmark: str) -> frozenset[str]:
        """The jobs that are there, by their keys."""
        return frozenset(self.table(benchmark)["key"])

    def add(self, job: Job, rows: pd.DataFrame) -> None:
        """Enters a job's rows in the place of older ones, and writes the table; one that is cut off leaves the old.

        What other processes have entered meanwhile is read again, under a lock, and stays.
        """
        rows = rows.assign(key=job.key, mark=self.canaries.keep("transfer"), function=job.function)
        with _locked(self.folder):
            table = self._read(job.benchmark)
            same = (table["function"] == job.function) & (table["data"] == job.data) & (table["seed"] == job.seed)
            parts = [part for part in (table[~same], rows) if len(part)]
            table = pd.concat(parts, ignore_index=True)[["key", "mark", "function", *COLUMNS]]
            table = table.sort_values(["function", "data", "seed"], kind="stable", ignore_index=True)
            write(self._path(job.benchmark), table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
        self._tables[job.benchmark] = table

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


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps other processes that want the same lock waiting; it ends with the process, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(folder / ".lock", timeout=600, isolation_level=None)) as lock:  # on every system
        lock.execute("BEGIN IMMEDIATE")
        yield


def missing(records: Records, wanted: Sequence[Job]) -> list[Job]:
    """The jobs that are not in the records as settings, data and functions are now.

    Raises:
        ChangedCode: where the code here computes something else than what made those that are.
    """
    kept = {name: records.keys(name) for name in {job.benchmark for job in wanted}}
    records.canaries.demand("transfer", set().union(*(records.table(name)["mark"] for name in kept)))
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
    """The rows of a job, and its seconds of this process's time (of what is done here, where it goes on).

    Memory that runs out anywhere is an outcome: of the whole job where the benchmark itself does not record it.
    """
    start = time.process_time()
    generator = np.random.default_rng(job.seed)
    try:
        rows = job.module.evaluate(activation(job.function), job.placed, generator, checkpoint, progress)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        rows = lost(job, checkpoint)
    return rows, time.process_time() - start


# How CUDA, its libraries and the CPU's allocator say it where torch raises no error of its own for it.
MEMORY_WORDS = (
    "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "CUFFT_ALLOC_FAILED",
    "can't allocate memory", "not enough memory",
)  # fmt: skip


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, on the GPU or here."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in MEMORY_WORDS)


def lost(job: Job, checkpoint: Path | None = None) -> pd.DataFrame:
    """The rows of a job that ran out of memory: the validations of the epochs that its checkpoint has, and "OOM"."""
    history = []
    if checkpoint is not None and checkpoint.exists():
        history = torch.load(checkpoint, map_location="cpu", weights_only=True)["history"]
    rows = Fit(tuple(history), len(history) - 1, "OOM").rows(METRICS[job.benchmark])
    return table(job.benchmark, job.data, job.seed, rows)


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
        workers: one-thread processes, 1 for this process itself; 0 for one a core, or 1 where jobs share a GPU, lest
            one takes the memory of another.
        tell: is given a line when a job is done.

    Raises:
        NoDevice: where a GPU is wanted and none is there; known before anything is loaded.
        MissingData: where a data set is not there; known before anything is trained.
        RuntimeError: where a worker died of something else than being killed by the system.
    """
    lacking = missing(records, wanted)
    on_gpu = gpu_jobs(lacking)
    for job in {(job.benchmark, job.data): job for job in lacking}.values():
        job.module.load(job.placed)
    workers = workers or (1 if on_gpu else config.cores())
    with tqdm(total=len(wanted), initial=len(wanted) - len(lacking), desc="jobs", disable=None) as bar:
        for job, rows, seconds in _ran(lacking, checkpoints, workers, tell):
            records.add(job, rows)
            _checkpoint(checkpoints, job).unlink(missing_ok=True)
            bar.update()
            tell(f"{job}: {summary(rows)} ({seconds:.0f} s)")


class NoDevice(RuntimeError):
    """A job wants a GPU, and none can be used here."""


def gpu_jobs(wanted: Sequence[Job]) -> list[Job]:
    """The jobs that want a GPU.

    Raises:
        NoDevice: where there are some, and torch sees no GPU.
    """
    found = [job for job in wanted if job.config.device != "cpu"]
    if found and not torch.cuda.is_available():
        raise NoDevice(
            f"wanted a GPU that torch {torch.__version__} can use (torch.cuda.is_available()) for {len(found)} jobs, "
            f"the first of them {found[0]}; came none. A CUDA build of torch and its driver are needed; --profile "
            "laptop needs neither"
        )
    return found


def _checkpoint(folder: Path, job: Job) -> Path:
    return folder / f"{job.key}-{job.seed}.pt"


Ran = tuple[Job, pd.DataFrame, float]


def _ran(lacking: Sequence[Job], checkpoints: Path, workers: int, tell: Callable[[str], None]) -> Iterator[Ran]:
    if workers == 1:
        torch.set_num_threads(1)  # as in a worker: other sums of the same numbers would be other records
        for job in lacking:
            yield job, *run(job, _checkpoint(checkpoints, job))
        return
    waiting = list(lacking)
    while waiting:
        ended: set[str] = set()
        try:
            for job, *made in _together(waiting, checkpoints, workers):
                ended.add(job.key)
                yield job, *made
            return
        except _Died as died:
            tell(f"a worker died; alone again, each from its last epoch: {'; '.join(map(str, died.running))}")
            for job in died.running:
                yield job, *alone(job, _checkpoint(checkpoints, job), tell)
                ended.add(job.key)
        waiting = [job for job in waiting if job.key not in ended]


class _Died(Exception):
    """A worker died while some jobs ran; which of them was its own is not known."""

    def __init__(self, running: Sequence[Job]) -> None:
        super().__init__(running)
        self.running = running


def _together(lacking: Sequence[Job], checkpoints: Path, workers: int) -> Iterator[Ran]:
    """Jobs as they end, several at a time.

    Raises:
        _Died: where a worker died.
    """
    waiting, running = iter(lacking), {}
    with _pool(workers) as pool:
        works = _submit(pool, waiting, running, checkpoints, workers)
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            broken = [future for future in done if isinstance(future.exception(), BrokenProcessPool)]
            ended = [(running.pop(future), *future.result()) for future in done if future not in broken]
            works = works and not broken and _submit(pool, waiting, running, checkpoints, workers)
            yield from ended
            if not works:
                raise _Died(list(running.values()))


def _submit(
    pool: Executor, waiting: Iterator[Job], running: dict[Future, Job], checkpoints: Path, workers: int
) -> bool:
    """Fills up what runs, so that a job which is cut off has begun, and nothing waits in the pool itself.

    False where the pool takes no more, since a worker died meanwhile; a job that it did not take comes again later.
    """
    while len(running) < workers and (job := next(waiting, None)) is not None:
        try:
            running[pool.submit(run, job, _checkpoint(checkpoints, job))] = job
        except BrokenProcessPool:
            return False
    return True


def alone(job: Job, checkpoint: Path, tell: Callable[[str], None]) -> tuple[pd.DataFrame, float]:
    """What `run` gives, in a process of its own; killed there twice by the system, the job counts as out of memory.

    Only SIGKILL counts, which the kernel sends where memory runs out, be it another program's doing. Sent twice by
    hand, it would count too.

    Raises:
        RuntimeError: where the process died of anything else.
    """
    for _ in range(2):
        with _pool(1) as pool:
            future = pool.submit(run, job, checkpoint)
            (process,) = pool._processes.values()
            if not isinstance(future.exception(), BrokenProcessPool):
                return future.result()
            process.join()
        if process.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"{job}: wanted a worker that ends; it died with status {process.exitcode}, alone")
    why = "killed by the system twice with no other job of this run beside it (signal 9)"
    tell(f"{job}: {why}: counts as out of memory")
    return lost(job, checkpoint), 0.0


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
    command = f"python -m actlab.transfer.sweep --profile {profile}"
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
    try:
        profile = config.profile(options.profile).name
        design = DESIGNS[profile]
        functions = tuple(options.functions.split(",")) if options.functions else design.functions
        seeds = dict.fromkeys(BENCHMARKS, options.seeds) if options.seeds else design.seeds
        benchmarks = options.benchmarks.split(",") if options.benchmarks else None
        wanted, kept = jobs(profile, Design(functions, seeds), benchmarks), Records(folder(profile))
        wanted = chosen(wanted, options.data.split(",")) if options.data else wanted
        wanted = moved(wanted, options.data_folder) if options.data_folder else wanted
        if options.status:
            print(f"{len(wanted) - len(missing(kept, wanted))} of {len(wanted)} jobs are in {kept.folder}")
            return 0
        compare(wanted, kept, checkpoints(profile), options.workers, tell=lambda line: tqdm.write(line, sys.stdout))
        whole = jobs(profile, design)
        if not missing(kept, whole):
            text = json.dumps(about(profile, design, whole), indent=1, sort_keys=True)
            write(kept.folder / "about.json", text + "\n")
    except (ValueError, MissingData, OSError, RuntimeError) as error:
        print(f"actlab.transfer.sweep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("actlab.transfer.sweep: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"{len(wanted)} jobs are in {kept.folder}")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m actlab.transfer.sweep", description=main.__doc__)
    parser.add_argument("--profile", default="laptop", help="smoke, laptop (default) or paper")
    parser.add_argument("--benchmarks", help=f"some of {','.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--data", help="some of the data sets or algorithms, with commas between them (default: all)")
    parser.add_argument("--data-folder", type=Path, help="where their files lie (default: as docs/data.md says)")
    parser.add_argument("--functions", help="names, with commas between them (default: the profile's)")
    parser.add_argument("--seeds", type=_positive, help="runs a function and data set (default: the profile's)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default 0: one a core, 1 on a GPU)")
    parser.add_argument("--status", action="store_true", help="only say how many jobs are done")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"wanted a whole number from 1; got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
