"""The runs of `make transfer`: every function, data set and seed through the benchmarks (paper, section 5).

A job trains one function on one data set from one seed. Its records go into one table a benchmark as soon as it is
done; a run that is cut off goes on from the jobs that are there, and within a job from its last epoch. Jobs whose
settings, data or function have changed since are made anew.
"""

from __future__ import annotations

import argparse
import inspect
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from actlab.activations import zoo
from actlab.activations.tables import DOWNSTREAM as FUNCTIONS
from actlab.activations.tables import FOUND
from actlab.activations.zoo import found
from actlab.core import config
from actlab.core.files import file_hash
from actlab.core.jobs import Runner, count
from actlab.core.records import BUILD, PROTOCOLS, ROOT, Records, records_folder
from actlab.core.sources import bare
from actlab.transfer.interface import COLUMNS, table
from actlab.transfer.training import Fit

if TYPE_CHECKING:
    from actlab.transfer.interface import Activation

METRICS = {"images": "accuracy", "molecules": "roc_auc", "algorithms": "score"}
BENCHMARKS = tuple(METRICS)  # modules of `actlab.transfer.interface`


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
    return found if name == FOUND else zoo.entry(name).function


def sees_its_batch(name: str) -> bool:
    """Whether an element of the result depends on others."""
    return name != FOUND and not zoo.entry(name).pointwise


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

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from the other jobs of its run."""
        return {"benchmark": self.benchmark, "function": self.function, "data": self.data, "seed": self.seed}

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


def kept(profile: str = "laptop") -> Records:
    """The records of a profile; the paper's, hours of a GPU, lie where `make clean` leaves them."""
    names = {"laptop": "transfer", "paper": "transfer-paper"}
    return records(records_folder(names[profile]) if profile in names else records_folder("transfer", profile))


def records(folder: Path) -> Records:
    """The records in a folder: a table a benchmark, with the function and `interface.COLUMNS`."""
    tables = {f"{name}.csv": ["function", *COLUMNS] for name in BENCHMARKS}
    return Records(folder, "transfer", ["benchmark", "function", "data", "seed"], tables)


def checkpoints(profile: str) -> Path:
    """Where a profile's trainings under way are kept: the paper's, hours of a GPU, not where `make clean` deletes."""
    return ROOT / "checkpoints" if profile == "paper" else BUILD / profile / "transfer" / "checkpoints"


def of(kept: Records, wanted: Sequence[Job]) -> pd.DataFrame:
    """The rows of these jobs and no others, whatever their keys: `Records.missing` tells which are asked otherwise now.

    Raises:
        FileNotFoundError: where jobs are lacking.
    """
    rows = pd.concat([kept.table(name) for name in dict.fromkeys(job.benchmark for job in wanted)])
    asked = pd.DataFrame([job.identity for job in wanted])
    there = rows[list(asked)].drop_duplicates()
    lacking = asked.merge(there, how="left", indicator=True).query("_merge == 'left_only'")
    if len(lacking):
        raise FileNotFoundError(
            f"{kept.folder}: wanted {len(wanted)} jobs; {len(lacking)} are lacking, the first of them "
            f"{wanted[lacking.index[0]]}; `make transfer` makes them"
        )
    return rows.merge(asked).reset_index(drop=True)


def done(kept: Records, profile: str, design: Design) -> Design:
    """The design with no more seeds than are there for all functions and data sets; without benchmarks of none."""
    there, seeds = set(kept.jobs[kept.identity].itertuples(index=False, name=None)), {}
    for benchmark, most in design.seeds.items():
        wanted = jobs(profile, design, [benchmark])
        seeds[benchmark] = min((job.seed for job in wanted if tuple(job.identity.values()) not in there), default=most)
    return replace(design, seeds={name: count for name, count in seeds.items() if count})


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


def compare(wanted: Sequence[Job], kept: Records, checkpoints: Path, runner: Runner) -> None:
    """Runs the jobs that the records lack, and enters them one by one.

    Args:
        wanted: the jobs.
        kept: where they go.
        checkpoints: the folder of the trainings under way; a file is deleted when its job is in the records.
        runner: where they run; jobs that share a GPU one at a time by default, lest one takes the memory of another.

    Raises:
        NoDevice: where a GPU is wanted and none is there; known before anything is loaded.
        MissingData: where a data set is not there; known before anything is trained.
        WorkerError: where a worker died of something else than being killed by the system.
        ChangedCode: where the records there are of code that computes something else.
    """
    lacking = kept.missing(wanted)
    if runner.executor is None:
        if gpu_jobs(lacking):
            runner = replace(runner, workers=runner.workers or 1)
        for job in {(job.benchmark, job.data): job for job in lacking}.values():
            job.module.load(job.placed)
    for job in runner.complete(kept, wanted, partial(_trained, checkpoints), partial(_lost, checkpoints)):
        _checkpoint(checkpoints, job).unlink(missing_ok=True)


def _trained(checkpoints: Path, job: Job) -> tuple[dict[str, pd.DataFrame], str]:
    rows, seconds = run(job, _checkpoint(checkpoints, job))
    return {job.benchmark: rows}, f"{summary(rows)} ({seconds:.0f} s)"


def _lost(checkpoints: Path, job: Job) -> tuple[dict[str, pd.DataFrame], str]:
    rows = lost(job, _checkpoint(checkpoints, job))
    return {job.benchmark: rows}, summary(rows)


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
    return {"command": f"python -m actlab transfer --profile {profile}", "design": asdict(design), "configs": configs}


def rerun(wanted: Sequence[Job], kept: Records) -> float:
    """The largest absolute difference of a test value, made anew, from its record.

    Raises:
        FileNotFoundError: where the records lack a job.
    """
    worst = 0.0
    for job in wanted:
        before, (fresh, _) = of(kept, [job]), run(job)
        if list(before["outcome"]) != list(fresh["outcome"]):
            return float("inf")
        off = before["value"].to_numpy(float) - fresh["value"].to_numpy(float)
        worst = max(worst, float(np.nanmax(np.abs(off), initial=0.0)))
    return worst


# --- the verb -------------------------------------------------------------------------------------


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's own options."""
    parser.add_argument("--benchmarks", help=f"some of {','.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--data", help="some of the data sets or algorithms, with commas between them (default: all)")
    parser.add_argument("--data-folder", type=Path, help="where their files lie (default: as docs/data.md says)")
    parser.add_argument("--functions", help="names, with commas between them (default: the profile's)")
    parser.add_argument("--seeds", type=count, help="runs a function and data set (default: the profile's)")


def main(given: argparse.Namespace, runner: Runner) -> str:
    """Trains functions on images, molecules and algorithms, into records/; goes on if cut off."""
    profile = config.profile(given.profile).name
    design = DESIGNS[profile]
    names = given.functions.split(",") if given.functions else design.functions
    functions = tuple(name if name == FOUND else zoo.entry(name).name for name in names)
    seeds = dict.fromkeys(BENCHMARKS, given.seeds) if given.seeds else design.seeds
    benchmarks = given.benchmarks.split(",") if given.benchmarks else None
    wanted, there = jobs(profile, Design(functions, seeds), benchmarks), kept(profile)
    wanted = chosen(wanted, given.data.split(",")) if given.data else wanted
    wanted = moved(wanted, given.data_folder) if given.data_folder else wanted
    if not given.status:
        compare(wanted, there, checkpoints(profile), runner)
        whole = jobs(profile, design)
        if not there.missing(whole):
            there.note(about(profile, design, whole))
    return f"{len(wanted) - len(there.missing(wanted))} of {len(wanted)} jobs are in {there.folder}"
