"""What is known of the committed records of every long run: the verb `actlab records` (ours)."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

import pandas as pd

from actlab.core import config
from actlab.core.jobs import Runner
from actlab.core.records import PROTOCOLS, TOLERANCE, Records
from actlab.search import ablation
from actlab.studies import generality, gpu_lab, lab_records, multiverse
from actlab.transfer import sweep


def every() -> dict[str, Records]:
    """The committed records of each long run, by the verb that makes them."""
    return {
        "lab-records": lab_records.kept(), "gpu-lab": gpu_lab.kept(), "multiverse": multiverse.kept(),
        "ablation": ablation.kept(), "generality": generality.kept(), "transfer": sweep.kept(),
    }  # fmt: skip


def asked(verb: str) -> set[str]:
    """The keys of all that a verb is asked for at the laptop profile, or by what its records were made with.

    Of `lab-records` only what its records hold: the rates that its last part trains at follow from the first.
    """
    if verb == "transfer":
        return {job.key for job in sweep.jobs("laptop", sweep.DESIGNS["laptop"])}
    if verb == "multiverse":
        return {job.key for job in multiverse.jobs(multiverse.DESIGNS["laptop"])}
    if verb == "generality":
        return {job.key for job in generality.jobs(config.profile("laptop"), generality.DESIGNS["laptop"])}
    if verb == "ablation":
        which, design = config.profile("laptop"), ablation.DESIGNS["laptop"]
        runs = ((arm, seed) for arm in ablation.ARMS for seed in range(design.seeds))
        return {ablation.Run(which, arm, seed, design.evaluations).key for arm, seed in runs}
    return set(every()[verb].jobs["key"])


def summary() -> pd.DataFrame:
    """A row a run: verb, family, records, protocol, made (code and versions), canary, anew (records to make again)."""
    rows = []
    for verb, records in every().items():
        family, jobs = PROTOCOLS[records.family], records.jobs
        marks = list(jobs["mark"].unique())
        makers = [records.canaries.read(family.name, mark) for mark in marks]
        moved = max((records.canaries.drift(family.name, mark) for mark in marks), default=0.0)
        lacking = asked(verb) - set(jobs["key"])
        row = {"verb": verb, "family": family.name, "records": len(jobs), "protocol": family.protocol}
        made = records.about["versions"] if len(jobs) else {}
        row["made"] = ", ".join([f"code {maker['code'][:8]}" for maker in makers] + [" ".join(p) for p in made.items()])
        row["canary"] = "equal" if moved <= TOLERANCE else "another" if math.isinf(moved) else f"moved by {moved:.1g}"
        rows.append(row | {"anew": len(asked(verb)) if moved > TOLERANCE else len(lacking)})
    return pd.DataFrame(rows)


def options(parser: argparse.ArgumentParser) -> None:
    """Adds no options."""


def main(given: argparse.Namespace, runner: Runner) -> int:
    """Prints what made the records of each family, and whether this code still computes them; 1 where one does not."""
    table = summary()
    print(_text(table, ["verb", "family", "records", "protocol", "made by", "canary", "to make anew"]))
    return int((table["canary"] != "equal").any())


def _text(table: pd.DataFrame, heads: Sequence[str]) -> str:
    return table.set_axis(list(heads), axis=1).to_string(index=False)
