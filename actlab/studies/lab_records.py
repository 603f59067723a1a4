"""Trainings of the lab that take longer than `make reproduce` may: made once, committed, read by notebooks (ours).

    python -m actlab.studies.lab_records [--profile laptop] [--workers N]

Three studies ask for many trainings of much the same kind: random constants around the discovered ones (Figure 7), and
ten functions with each of some seeds, and at each of a list of learning rates (both of notebook 03). Their losses lie
on a shelf. A notebook takes them from there as long as settings and code are those that made them; else it trains, and
says so. Trainings are kept in the store as they end, so that a run that is cut off goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from actlab.core import config
from actlab.core.records import BUILD, ROOT, Shelf
from actlab.scoring.laboratory import Laboratory
from actlab.studies import trust

NAME = "lab_records"
TEN = (*trust.TABLE_1, *trust.HAND_MADE)  # the functions with several seeds and rates

Description = Mapping[str, Any]


def folder(profile: str) -> Path:
    """Where a profile's records lie: the committed folder for laptop alone, the build folder for all others."""
    return ROOT / "records" / "lab" if profile == "laptop" else BUILD / profile / NAME


def trained(laboratory: Laboratory) -> Iterator[tuple[Description, pd.DataFrame]]:
    """Each training of the three studies, what made it and its losses; what is not in the store is trained.

    Args:
        laboratory: without a shelf, whose profile has the numbers of draws and of seeds, and the rates.
    """
    settings = laboratory.profile
    yield from _scored(laboratory, TEN, "calibration", range(settings.seeds))
    yield from _scored(laboratory, TEN, "calibration", learning_rates=settings.rates)
    for rate, names in trust.own_rates(trust.tuned_rates(laboratory, TEN)).items():
        yield from _scored(laboratory, names, "search", learning_rates=[rate])
    yield from _scored(laboratory, trust.random_constants(settings.draws), "search")


def _scored(
    laboratory: Laboratory,
    programs: Mapping[str, str] | Iterable[str],
    suite: str,
    seeds: Sequence[int] = (0,),
    learning_rates: Sequence[float] = (),
) -> Iterator[tuple[Description, pd.DataFrame]]:
    laboratory.scores(programs, suite, seeds, learning_rates)
    for description in laboratory.asked(programs, suite, seeds, learning_rates).values():
        yield description, laboratory.found(description)


def origin(
    laboratory: Laboratory,
    programs: Mapping[str, str] | Iterable[str],
    suite: str,
    seeds: Sequence[int] = (0,),
    learning_rates: Sequence[float] = (),
) -> str:
    """A sentence on how many of these losses a laboratory takes from its shelf, and what made them.

    Args:
        laboratory: with a shelf.
        programs: as `Laboratory.scores` takes them, like the other three.
    """
    asked, shelf = laboratory.asked(programs, suite, seeds, learning_rates).values(), laboratory.shelf
    read = sum(shelf.load(description) is not None for description in asked)
    if not read:
        return f"All {len(asked)} trainings were made here: no records have the settings and the code of this run."
    made = f"Of {len(asked)} trainings, {read} are records, made by `{shelf.about['command']}`"
    return f"{made}; {len(asked) - read or 'none'} were made here."


def off(losses: pd.DataFrame, again: pd.DataFrame) -> float:
    """The largest relative difference of a mean OOD loss between two tables of `Laboratory.scores`.

    Args:
        losses: of all programs.
        again: of some of them, with the same rates and seeds.
    """
    by = ["function", "suite", "seed", "learning_rate"]
    first, second = (table.groupby(by)["ood_mse"].mean() for table in (losses, again))
    return float((second / first.loc[second.index] - 1).abs().max())


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains what the three studies ask for and writes the records; returns the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m actlab.{NAME}", description=main.__doc__)
    parser.add_argument("--profile", default="laptop", help="smoke, laptop (default) or paper")
    parser.add_argument("--workers", type=int, default=0, help="processes (default 0: one a core)")
    options = parser.parse_args(arguments)
    try:
        profile = config.profile(options.profile)
        shelf = Shelf(folder(profile.name))
        with Laboratory(profile, options.workers) as laboratory:
            about = {"command": f"python -m actlab.{NAME} --profile {profile.name}"}
            trainings = shelf.fill(trained(laboratory), about)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"actlab.{NAME}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"actlab.{NAME}: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"{trainings} trainings are in {shelf.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
