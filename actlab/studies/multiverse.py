"""Many labs drawn at random: does Table 1 hang on settings that the paper does not publish? (section 4; ours).

    python -m actlab.studies.multiverse [--profile laptop] [--labs N] [--workers N] [--status]

The paper names none of its lab's settings, so that one lab can neither confirm nor refute its order of functions. Here
each lab is a draw from a stated distribution, and scores the same functions. Lab number i is the same whatever the
number of labs. A lab's losses are written as soon as it is done; a run that is cut off goes on from the labs that are
there, and labs whose settings or functions have changed since are made anew.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from actlab.activations import zoo
from actlab.core import config, paper
from actlab.core.records import BUILD, PROTOCOLS, ROOT, Canaries, bare, versions, write
from actlab.lab import variant
from actlab.lab.variant import Settings
from actlab.studies import trust
from actlab.studies.distribution import Distribution, Levels, Range
from actlab.transfer import sweep

NAME = "multiverse"  # of the files
HAND_MADE = tuple(name for name in trust.HAND_MADE if name != "tanh")  # the best of the zoo on the search suite, SiLU
FUNCTIONS = (*paper.TABLE_1, *HAND_MADE, sweep.FOUND)
COLUMNS = ["lab", *variant.COLUMNS]


@dataclass(frozen=True)
class Design:
    """How many labs, of which kind, and who is scored in them. All [ours]."""

    labs: int = 100
    functions: tuple[str, ...] = FUNCTIONS
    distribution: Distribution = field(default_factory=Distribution)
    clamp: float = 10.0  # highest loss of a task, in variances of its training target


_TINY = Distribution(width=Levels((8, 16)), depth=Levels((1, 2)), steps=Range(20, 40), batch=Levels((16, 32)), tasks=12)
DESIGNS = {"smoke": Design(4, distribution=_TINY), "laptop": Design(), "paper": Design(1000)}


@cache
def _sources() -> dict[str, str]:
    own = {sweep.FOUND: inspect.getsource(sweep.found)}
    every = own | {name: zoo.program_source(name) for name in zoo.names()}
    return {name: bare(source) for name, source in every.items()}


@dataclass(frozen=True)
class Job:
    """One lab, with all functions."""

    lab: int
    settings: Settings
    functions: tuple[str, ...]
    clamp: float

    @property
    def key(self) -> str:
        """Twelve digits for the settings and the functions' sources."""
        about = {"settings": self.settings, "clamp": self.clamp}
        about |= {"sources": {name: _sources()[name] for name in self.functions}}
        return PROTOCOLS[NAME].key(about)[:12]


def jobs(design: Design, labs: int | None = None) -> list[Job]:
    """The labs of a design, or so many of them.

    Raises:
        ValueError: a function that is neither in the zoo nor the found one.
    """
    if strange := [name for name in design.functions if name not in _sources()]:
        raise ValueError(f"wanted functions of the zoo, or {sweep.FOUND}; got {', '.join(strange)}")
    numbers = range(design.labs if labs is None else labs)
    return [Job(i, design.distribution.draw(i), design.functions, design.clamp) for i in numbers]


# --- records --------------------------------------------------------------------------------------


def folder(profile: str) -> Path:
    """Where a profile's records go: the committed folder for laptop alone, the build folder for all others."""
    return ROOT / "records" if profile == "laptop" else BUILD / profile / NAME


class Records:
    """The tables of a multiverse, by lab, whatever the order in which labs ended.

    `losses`: lab, function, task, family, ood_mse, train_mse. `labs`: lab, key, mark (its maker's) and settings; a
    lab is done when it is there. `about`: what they were made from.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.canaries = folder, Canaries(folder / "canaries")
        names = ["lab", "key", "mark", *(f.name for f in fields(Settings))]
        self.labs = _read(self._path("_labs.csv"), names)
        losses = _read(self._path(".csv"), COLUMNS)
        self.losses = losses[losses["lab"].isin(self.labs["lab"])].reset_index(drop=True)

    @property
    def about(self) -> dict[str, Any]:
        """Command, design and versions.

        Raises:
            FileNotFoundError: where the run has not ended.
        """
        path = self._path(".json")
        if not path.exists():
            raise FileNotFoundError(f"{self.folder}: wanted {path.name}, as `make multiverse` writes; found none")
        return json.loads(path.read_text())

    @property
    def distribution(self) -> Distribution:
        """What the labs were drawn from."""
        return Distribution.from_dict(self.about["design"]["distribution"])

    @property
    def marks(self) -> list[str]:
        """Of those who made the labs."""
        return sorted(self.labs["mark"].unique())

    def add(self, job: Job, losses: pd.DataFrame) -> None:
        """Enters a lab in the place of an older one, and writes both tables; the lab counts when the second is."""
        row = {"lab": job.lab, "key": job.key, "mark": self.canaries.keep(NAME)}
        row |= asdict(job.settings) | {"families": "+".join(job.settings.families)}
        self.losses = _placed(self.losses, losses.assign(lab=job.lab)[COLUMNS])
        self.labs = _placed(self.labs, pd.DataFrame([row]))
        write(self._path(".csv"), self.losses.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
        write(self._path("_labs.csv"), self.labs.to_csv(index=False, lineterminator="\n"))

    def finish(self, profile: str, design: Design) -> None:
        """Writes what the labs that are there were made from."""
        command = f"python -m actlab.{NAME} --profile {profile}"
        command += f" --labs {len(self.labs)}" if len(self.labs) != design.labs else ""
        about = {"command": command, "design": asdict(replace(design, labs=len(self.labs)))}
        about |= {"profile": profile, "versions": versions(), "marks": self.marks}
        text = json.dumps(about, indent=1, sort_keys=True)
        write(self._path(".json"), text + "\n")

    def _path(self, end: str) -> Path:
        return self.folder / f"{NAME}{end}"


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    words = {"key": str, "mark": str}  # some digests read as a number, such as 3e4971315396
    return pd.read_csv(path, dtype=words) if path.exists() else pd.DataFrame(columns=columns)


def _placed(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    parts = [part for part in (table[~table["lab"].isin(rows["lab"])], rows) if len(part)]
    return pd.concat(parts, ignore_index=True)[list(table)].sort_values("lab", kind="stable", ignore_index=True)


def missing(records: Records, wanted: Sequence[Job]) -> list[Job]:
    """The labs that are not in the records as settings and functions are now.

    Raises:
        ChangedCode: where the code here computes something else than what made those that are.
    """
    records.canaries.demand(NAME, records.marks)
    kept = dict(zip(records.labs["lab"], records.labs["key"], strict=True))
    return [job for job in wanted if kept.get(job.lab) != job.key]


# --- running --------------------------------------------------------------------------------------


def run(job: Job, dtype: torch.dtype = torch.float32) -> tuple[pd.DataFrame, float]:
    """The losses of a lab, and its seconds of this process's time."""
    start = time.process_time()
    functions = {name: sweep.activation(name) for name in job.functions}
    return variant.losses(job.settings, functions, job.clamp, dtype), time.process_time() - start


def explore(
    wanted: Sequence[Job], records: Records, workers: int = 0, tell: Callable[[str], None] = lambda line: None
) -> None:
    """Runs the labs that the records lack, and enters them one by one.

    Args:
        wanted: the labs.
        records: where they go.
        workers: one-thread processes; 0 for one a core, 1 for this process itself.
        tell: is given a line when a lab is done.

    Raises:
        RuntimeError: where a worker died.
    """
    lacking = missing(records, wanted)
    with tqdm(total=len(wanted), initial=len(wanted) - len(lacking), desc="labs", disable=None) as bar:
        for job, (losses, seconds) in _ran(lacking, workers or config.cores()):
            records.add(job, losses)
            bar.update()
            tell(f"lab {job.lab}: {seconds:.1f} s")


def _ran(lacking: Sequence[Job], workers: int) -> Iterator[tuple[Job, tuple[pd.DataFrame, float]]]:
    if workers == 1 or not lacking:
        yield from ((job, run(job)) for job in lacking)
        return
    how = {"mp_context": get_context("spawn"), "initializer": torch.set_num_threads, "initargs": (1,)}
    with ProcessPoolExecutor(min(workers, len(lacking)), **how) as pool:
        running = {pool.submit(run, job): job for job in lacking}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        except BrokenProcessPool as error:
            raise RuntimeError("a worker died, killed for its memory perhaps; the same command goes on") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def rerun(wanted: Sequence[Job], records: Records, workers: int = 0) -> float:
    """The largest relative difference of a loss, made anew, from its record.

    Raises:
        ValueError: where the records lack a lab, or have it of other settings or functions.
    """
    if lacking := missing(records, wanted):
        lab = lacking[0].lab
        raise ValueError(f"wanted records of lab {lab} as settings and functions are now; `make {NAME}` makes it")
    worst = 0.0
    for job, (fresh, _) in _ran(wanted, workers or config.cores()):
        both = records.losses[records.losses["lab"] == job.lab].merge(fresh, on=variant.COLUMNS[:3])
        for column in ("ood_mse", "train_mse"):
            worst = max(worst, float((both[f"{column}_y"] / both[f"{column}_x"] - 1).abs().max()))
    return worst


# --- the command ----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores the functions in every lab and writes the records; returns the exit status."""
    options = _options(arguments)
    torch.set_num_threads(1)
    try:
        profile = config.profile(options.profile).name
        design, kept = DESIGNS[profile], Records(folder(profile))
        wanted = jobs(design, options.labs)
        if options.status:
            print(f"{len(wanted) - len(missing(kept, wanted))} of {len(wanted)} labs are in {kept.folder}")
            return 0
        explore(wanted, kept, options.workers, tell=lambda line: tqdm.write(line, sys.stdout))
        kept.finish(profile, design)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"actlab.{NAME}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"actlab.{NAME}: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"{len(wanted)} labs are in {kept.folder}")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m actlab.{NAME}", description=main.__doc__)
    parser.add_argument("--profile", default="laptop", help="smoke, laptop (default) or paper")
    parser.add_argument("--labs", type=int, help="labs (default: the profile's)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default 0: one a core)")
    parser.add_argument("--status", action="store_true", help="only say how many labs are done")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
