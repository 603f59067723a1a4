"""Many labs drawn at random: does Table 1 hang on settings that the paper does not publish? (section 4; ours).

The paper names none of its lab's settings, so that one lab can neither confirm nor refute its order of functions. Here
each lab is a draw from a stated distribution, and scores the same functions. Lab number i is the same whatever the
number of labs. A lab's losses are written as soon as it is done; a run that is cut off goes on from the labs that are
there, and labs whose settings or functions have changed since are made anew.
"""

from __future__ import annotations

import argparse
import inspect
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from actlab.activations import zoo
from actlab.activations.tables import MULTIVERSE as FUNCTIONS
from actlab.core import config
from actlab.core.jobs import Runner, count
from actlab.core.records import PROTOCOLS, Records, records_folder
from actlab.core.sources import bare
from actlab.lab import variant
from actlab.lab.distribution import Distribution, Levels, Range
from actlab.lab.variant import Settings
from actlab.transfer import sweep

NAME = "multiverse"  # of the files
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
    def identity(self) -> dict[str, int]:
        """What tells it from the other jobs of its run."""
        return {"lab": self.lab}

    def __str__(self) -> str:
        return f"lab {self.lab}"

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


class LabRecords(Records):
    """The records of a multiverse: `losses` are those of `variant.losses` with the lab, `labs` its settings."""

    def __init__(self, folder: Path) -> None:
        tables = {"losses.csv": COLUMNS, "labs.csv": ["lab", *(f.name for f in fields(Settings))]}
        super().__init__(folder, NAME, ["lab"], tables, digits=6)

    @property
    def losses(self) -> pd.DataFrame:
        """A row a lab, function and task."""
        return self.table("losses")

    @property
    def labs(self) -> pd.DataFrame:
        """A row a lab: its settings."""
        return self.table("labs")

    @property
    def distribution(self) -> Distribution:
        """What the labs were drawn from."""
        return Distribution.from_dict(self.about["design"]["distribution"])


def kept(profile: str = "laptop") -> LabRecords:
    """The records of a profile."""
    return LabRecords(records_folder(NAME, profile))


# --- running --------------------------------------------------------------------------------------


def run(job: Job, dtype: torch.dtype = torch.float32) -> tuple[pd.DataFrame, float]:
    """The losses of a lab, and its seconds of this process's time."""
    start = time.process_time()
    functions = {name: sweep.activation(name) for name in job.functions}
    return variant.losses(job.settings, functions, job.clamp, dtype), time.process_time() - start


def _made(job: Job) -> tuple[dict[str, pd.DataFrame], str]:
    losses, seconds = run(job)
    settings = asdict(job.settings) | {"families": "+".join(job.settings.families)}
    return {"losses": losses, "labs": pd.DataFrame([settings])}, f"{seconds:.1f} s"


def explore(wanted: Sequence[Job], records: LabRecords, runner: Runner) -> None:
    """Runs the labs that the records lack, and enters them one by one.

    Raises:
        WorkerError: where a worker died.
        ChangedCode: where the records there are of code that computes something else.
    """
    for _ in runner.complete(records, wanted, _made):
        pass


def rerun(wanted: Sequence[Job], records: LabRecords, runner: Runner) -> np.ndarray:
    """The relative differences of losses, made anew, from their records.

    The committed records are torch's. Compiled networks start from the same weights and round in another way, which a
    few trainings carry far.

    Raises:
        ValueError: where the records lack a lab, or have it of other settings or functions.
    """
    if lacking := records.missing(wanted):
        lab = lacking[0].lab
        raise ValueError(f"wanted records of lab {lab} as settings and functions are now; `make {NAME}` makes it")
    found, losses = [], records.table("losses")
    for job, (fresh, _) in runner.run(wanted, run):
        both = losses[losses["lab"] == job.lab].merge(fresh, on=variant.COLUMNS[:3])
        for column in ("ood_mse", "train_mse"):
            found.append((both[f"{column}_y"] / both[f"{column}_x"] - 1).abs())
    return np.concatenate(found)


# --- the verb -------------------------------------------------------------------------------------


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's own options."""
    parser.add_argument("--labs", type=count, help="labs (default: the profile's)")


def main(given: argparse.Namespace, runner: Runner) -> str:
    """Scores functions in labs drawn at random, into records/; goes on if cut off."""
    profile = config.profile(given.profile).name
    design, records = DESIGNS[profile], kept(profile)
    wanted = jobs(design, given.labs)
    if not given.status:
        explore(wanted, records, runner)
        labs = len(records.jobs)
        command = f"python -m actlab {NAME} --profile {profile}" + (f" --labs {labs}" if labs != design.labs else "")
        records.note({"command": command, "profile": profile, "design": asdict(replace(design, labs=labs))})
    return f"{len(wanted) - len(records.missing(wanted))} of {len(wanted)} labs are in {records.folder}"
