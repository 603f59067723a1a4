"""Committed trainings of the lab, which take longer than `make reproduce` may (ours).

Three studies need them: random constants around the discovered ones (Figure 7), ten functions with several seeds, and
the same at several learning rates (both of notebook 03). A notebook reads their losses if its settings are those of the
records; otherwise it trains, and says so. Each training is stored as it ends, so that an interrupted run can resume.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from actlab.core import config
from actlab.core.jobs import Runner
from actlab.core.records import PROTOCOLS, Records, records_folder
from actlab.scoring.laboratory import LOSSES, Laboratory
from actlab.studies import trust

TEN = (*trust.TABLE_1, *trust.HAND_MADE)  # the functions with several seeds and rates

Description = Mapping[str, Any]
Programs = Mapping[str, str] | Iterable[str]


def kept(profile: str = "laptop") -> Records:
    """The committed records of a profile, as `Laboratory` takes them."""
    return Records(records_folder("lab", profile), "lab", ["key"], {"losses.parquet": ["key", *LOSSES]})


@dataclass(frozen=True)
class Asked:
    """A training, by its description; the hash of the description is its key and its identity."""

    description: Description

    @property
    def key(self) -> str:
        """The hash."""
        return PROTOCOLS["lab"].key(self.description)

    @property
    def identity(self) -> dict[str, str]:
        """The key, as a column of the records."""
        return {"key": self.key}


def trained(laboratory: Laboratory) -> Iterator[tuple[Description, pd.DataFrame]]:
    """Each training of the three studies: its description and its losses; what is not in the store is trained.

    The laboratory has no committed records; its profile has the numbers of draws and of seeds, and the rates.
    """
    settings = laboratory.profile
    yield from _scored(laboratory, TEN, "calibration", range(settings.seeds))
    yield from _scored(laboratory, TEN, "calibration", learning_rates=settings.rates)
    for rate, names in trust.own_rates(trust.tuned_rates(laboratory, TEN)).items():
        yield from _scored(laboratory, names, "search", learning_rates=[rate])
    yield from _scored(laboratory, trust.random_constants(settings.draws), "search")


def _scored(
    laboratory: Laboratory,
    programs: Programs,
    suite: str,
    seeds: Sequence[int] = (0,),
    learning_rates: Sequence[float] = (),
) -> Iterator[tuple[Description, pd.DataFrame]]:
    laboratory.scores(programs, suite, seeds, learning_rates)
    for description in laboratory.asked(programs, suite, seeds, learning_rates).values():
        yield description, laboratory.found(description)


def origin(
    laboratory: Laboratory,
    programs: Programs,
    suite: str,
    seeds: Sequence[int] = (0,),
    learning_rates: Sequence[float] = (),
) -> str:
    """A sentence on how many of the losses that `Laboratory.scores` would return are committed, and what made them."""
    asked, records = laboratory.asked(programs, suite, seeds, learning_rates).values(), laboratory.records
    read = len(asked) - len(records.missing([Asked(description) for description in asked]))
    if not read:
        return f"All {len(asked)} trainings were made here: no records have the settings of this run."
    made = f"Of {len(asked)} trainings, {read} are records, made by `{records.about['command']}`"
    return f"{made}; {len(asked) - read or 'none'} were made here."


def verify(losses: pd.DataFrame, again: pd.DataFrame) -> float:
    """The largest relative difference of a mean OOD loss between two tables of `Laboratory.scores`.

    `again` has some of the programs of `losses`, with the same rates and seeds.
    """
    by = ["function", "suite", "seed", "learning_rate"]
    first, second = (table.groupby(by)["ood_mse"].mean() for table in (losses, again))
    return float((second / first.loc[second.index] - 1).abs().max())


def options(parser: argparse.ArgumentParser) -> None:
    """Adds no options."""


def main(given: argparse.Namespace, runner: Runner) -> str:
    """Trains with random constants, seeds and learning rates, into records/; goes on if cut off."""
    profile = config.profile(given.profile)
    records = kept(profile.name)
    if not given.status:
        with Laboratory(profile, runner.workers, executor=runner.executor) as laboratory:
            made = {Asked(dict(description)).key: (description, losses) for description, losses in trained(laboratory)}
        records.add((Asked(description), {"losses": losses}) for description, losses in made.values())
        records.note({"command": f"python -m actlab lab-records --profile {profile.name}"})
    return f"{len(records.jobs)} trainings are in {records.folder}"
