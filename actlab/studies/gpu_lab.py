"""The zoo in a lab of a thousand data sets, as many as the paper profile has: on a GPU, in minutes (ours).

Confined workers have the processor alone, so that only functions of the zoo are trained here, in this process and on
one device, by the lab's own work on a candidate. Rounding on a GPU is another than on the processor.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from actlab.activations import zoo
from actlab.core import config
from actlab.core.config import Profile
from actlab.core.jobs import Runner
from actlab.core.records import PROTOCOLS, Records, records_folder
from actlab.lab import tasks
from actlab.scoring import worker
from actlab.scoring.evaluator import mse

SUITES = ("held-out", "far")  # nothing was chosen here, so that the search suite would be one more of the same
COLUMNS = ["function", "suite", "seed", "family", "task", "ood_mse", "ood_mse_whole", "train_mse"]


def losses(which: Profile, names: Iterable[str], device: str, seed: int = 0) -> pd.DataFrame:
    """Losses of functions of the zoo on the held-out and the far suite of a profile, trained on one device.

    Args:
        which: whose suites and lab are used.
        names: of the zoo.
        device: "cuda", or "cpu", where they are those of `Laboratory.scores`.
        seed: of initial weights and batches.

    Returns:
        The table of `COLUMNS`, with losses in float32.

    Raises:
        ValueError: where the device is CUDA's and there is none.
    """
    names, rows = [zoo.entry(name).name for name in names], []
    request = {"lab": asdict(replace(which.lab, device=device)), "seed": seed}
    for suite in (tasks.suite(name, which.tasks) for name in SUITES):
        targets = suite.blind.train_y, suite.ood_y, suite.ood_y
        about = pd.DataFrame({"suite": suite.name, "seed": seed, "family": suite.families, "task": suite.labels})
        for name in tqdm(names, desc=suite.name, disable=None):
            source = zoo.program_source(name)
            _, made = worker.predict({**request, "source": source, "suite": suite.name}, [], {suite.name: suite.blind})
            found = [mse(*pair, which.fitness.clamp) for pair in zip(made, targets, strict=True)]
            columns = dict(zip(("train_mse", "ood_mse", "ood_mse_whole"), np.float32(found), strict=True))
            rows.append(about.assign(function=name, **columns))
    return pd.concat(rows, ignore_index=True)[COLUMNS]


@dataclass(frozen=True)
class Trained:
    """A function's trainings on a suite."""

    function: str
    suite: str
    settings: Mapping[str, Any]

    @property
    def identity(self) -> dict[str, str]:
        """What tells it from the others."""
        return {"function": self.function, "suite": self.suite}

    @property
    def key(self) -> str:
        """Hash of program, suite and settings."""
        return PROTOCOLS["lab"].key({**self.settings, **self.identity, "source": zoo.program_source(self.function)})


def kept(profile: str = "laptop") -> Records:
    """The committed records, or those of a trial with another profile."""
    return Records(records_folder("gpu_lab", profile), "lab", ["function", "suite"], {"losses.parquet": COLUMNS})


def read() -> tuple[pd.DataFrame, dict[str, Any]]:
    """What `make paper-lab` wrote, and what it was made from.

    Raises:
        FileNotFoundError: where it is not there.
        ChangedCode: where it was made by code that computes something else.
    """
    records = kept()
    if records.jobs.empty:
        wanted = "wanted the losses of a thousand data sets; `make paper-lab` makes them"
        raise FileNotFoundError(f"{records.folder}: {wanted}")
    records.demand()
    losses = records.table("losses")  # in float32, as they were summed up from the first
    return losses.astype(dict.fromkeys(losses.select_dtypes("float64").columns, "float32")), records.about


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's own options."""
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cuda (default); cpu takes hours")


def main(given: argparse.Namespace, runner: Runner) -> str:
    """Trains the zoo on a thousand data sets a suite on a GPU, into records/."""
    which, records = config.profile(given.profile), kept("laptop" if given.profile == "paper" else given.profile)
    if not given.status:
        torch.set_num_threads(1)
        found = losses(which, zoo.names(), given.device)
        settings = {"tasks": which.tasks, "lab": replace(which.lab, device=given.device), "seed": 0}
        parts = found.groupby(["function", "suite"], sort=False)
        records.add((Trained(*names, settings), {"losses": part}) for names, part in parts)
        on = torch.cuda.get_device_name() if given.device == "cuda" else "the processor"
        command = f"python -m actlab gpu-lab --profile {which.name} --device {given.device}"
        about = {"command": command, "device": on, "torch": torch.__version__}
        records.note({**about, "lab": which.lab, "tasks": which.tasks})
    return f"{records.jobs['function'].nunique()} functions are in {records.folder}"
