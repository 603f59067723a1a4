"""The zoo in a lab of a thousand data sets, as many as the paper profile has: on a GPU, in minutes (ours).

Confined workers have the processor alone, so that only functions of the zoo are trained here, in this process and on
one device, by the lab's own work on a candidate. Rounding on a GPU is another than on the processor.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from actlab.activations import zoo
from actlab.core import config
from actlab.core.config import Profile
from actlab.core.records import ROOT, versions, write
from actlab.lab import tasks
from actlab.scoring import worker
from actlab.scoring.evaluator import mse

FOLDER = ROOT / "records" / "paper_lab"
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
        Columns function, suite, seed, family, task, ood_mse, ood_mse_whole, train_mse; the losses in float32.

    Raises:
        ValueError: where the device is CUDA's and there is none.
    """
    names, rows = list(names), []
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


def read(folder: Path = FOLDER) -> tuple[pd.DataFrame, dict[str, Any]]:
    """What `make paper-lab` wrote, and what it was made from.

    Raises:
        FileNotFoundError: where it is not there.
    """
    path = folder / "losses.parquet"
    if not path.exists():
        raise FileNotFoundError(f"{path}: wanted the losses of a thousand data sets; `make paper-lab` makes them")
    return pd.read_parquet(path), json.loads((folder / "about.json").read_text())


def main(arguments: list[str] | None = None) -> int:
    """Trains the zoo on a thousand data sets a suite, and writes losses and what they were made from."""
    parser = argparse.ArgumentParser(prog="python -m actlab.studies.gpu_lab", description=main.__doc__)
    parser.add_argument("--profile", default="paper", help="whose suites and lab: paper by default")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cuda (default); cpu takes hours")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the records go")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        which = config.profile(options.profile)
        found = losses(which, zoo.names(), options.device)
    except ValueError as error:
        print(f"actlab.studies.gpu_lab: {error}", file=sys.stderr)
        return 2
    on = torch.cuda.get_device_name() if options.device == "cuda" else "the processor"
    about = {
        "command": f"python -m actlab.studies.gpu_lab --profile {which.name} --device {options.device}",
        "device": on,
    }
    about |= {"versions": versions() | {"torch": torch.__version__}}
    about |= {"tasks": asdict(which.tasks), "lab": asdict(which.lab)}
    options.folder.mkdir(parents=True, exist_ok=True)
    found.to_parquet(options.folder / "losses.parquet", index=False, compression="zstd")
    write(options.folder / "about.json", json.dumps(about, indent=1, sort_keys=True) + "\n")
    print(f"{found['function'].nunique()} functions on {len(found)} data sets are in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
