"""A profile's suites, its workers, and the store of what was scored before: losses are computed once (ours).

A function's losses on a suite are kept on disk under a key of everything that made them, and shared by all notebooks
and profiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import pandas as pd
from tqdm import tqdm

from actlab.activations import zoo
from actlab.candidates.program import check
from actlab.core.config import FAMILIES, SUITES, LabConfig, Profile, cores
from actlab.core.records import PROTOCOLS, Records, Store
from actlab.lab import tasks
from actlab.scoring.evaluator import Evaluator, Pending

LONG = 10_000  # steps times tasks of a training that takes seconds
LOSSES = ("suite", "family", "task", "ood_mse", "ood_mse_whole", "train_mse")  # of one training, as it is kept
COLUMNS = ["function", "suite", "seed", "learning_rate", "family", "task", "ood_mse", "ood_mse_whole", "train_mse"]


def sources(programs: Mapping[str, str] | Iterable[str]) -> dict[str, str]:
    """Source by name: as given, or of the zoo's functions of those names."""
    if isinstance(programs, Mapping):
        return dict(programs)
    return {name: zoo.program_source(name) for name in programs}


class Laboratory:
    """A profile's suites and workers, and the store of what was scored before; a context manager.

    Args:
        profile: the settings.
        workers: one-thread processes; 0 for one a core. They start with the first program that is not yet scored.
        store: where losses are kept.
        executor: reaches other processes in place of these workers, such as a cluster's (`pool.connect`).
        records: of losses from a long run, which are taken from there in place of being trained.
        only: by suite, the places of the tasks that are scored, where not all are.
    """

    def __init__(
        self,
        profile: Profile,
        workers: int = 0,
        store: Store | None = None,
        executor: Executor | None = None,
        records: Records | None = None,
        only: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.profile, self.workers, self.executor = profile, workers or cores(), executor
        self.store, self.records, self.only = store or Store(), records, dict(only or {})
        self._evaluator: Evaluator | None = None

    def __enter__(self) -> Laboratory:
        return self

    def __exit__(self, *_: object) -> None:
        if self._evaluator is not None:
            self._evaluator.close()

    @cached_property
    def suites(self) -> dict[str, tasks.Suite]:
        """The four suites by name."""
        return {name: tasks.suite(name, self.profile.tasks) for name in SUITES}

    @property
    def evaluator(self) -> Evaluator:
        """The evaluator of this laboratory, with the four suites and the in-distribution one."""
        if self._evaluator is None:
            suites = self.suites | {tasks.INSIDE: tasks.suite(tasks.INSIDE, self.profile.tasks)}
            how = {"limits": self.profile.limits, "executor": self.executor}
            self._evaluator = Evaluator(suites, self.profile.fitness, self.workers, **how)
        return self._evaluator

    def scores(
        self,
        programs: Mapping[str, str] | Iterable[str],
        suite: str,
        seeds: Sequence[int] = (0,),
        learning_rates: Sequence[float] = (),
    ) -> pd.DataFrame:
        """Losses of programs on a suite, one row a function, seed, learning rate and task.

        Args:
            programs: source by name, or names of the zoo.
            suite: calibration, search, held-out, far or in-distribution.
            seeds: of initial weights and batches.
            learning_rates: in place of the profile's own; none for that.

        Returns:
            Columns function, suite, seed, learning_rate, family, task, ood_mse, ood_mse_whole, train_mse; in the
            order of the arguments.

        Raises:
            ValueError: where a program is refused or fails; says which and why.
        """
        about = self.asked(programs, suite, seeds, learning_rates)
        keys = {ask: PROTOCOLS["lab"].key(description) for ask, description in about.items()}
        tables = {keys[ask]: self.found(description) for ask, description in about.items()}
        missing = {keys[ask]: (ask[0], description) for ask, description in about.items() if tables[keys[ask]] is None}
        tables.update(self._compute(missing))
        parts = [
            tables[keys[name, seed, rate]].assign(function=name, seed=seed, learning_rate=rate)
            for name, seed, rate in about
        ]
        return pd.concat(parts, ignore_index=True)[COLUMNS]

    def asked(
        self,
        programs: Mapping[str, str] | Iterable[str],
        suite: str,
        seeds: Sequence[int] = (0,),
        learning_rates: Sequence[float] = (),
    ) -> dict[tuple[str, int, float], dict[str, Any]]:
        """What `scores` of the same arguments would look for: by function, seed and rate, all that makes the losses."""
        rates = learning_rates or (self.profile.lab.learning_rate,)
        return {
            (name, seed, rate): self._description(
                check(source).source, suite, seed, replace(self.profile.lab, learning_rate=rate)
            )
            for name, source in sources(programs).items()
            for rate in rates
            for seed in seeds
        }

    def found(self, description: Mapping[str, Any]) -> pd.DataFrame | None:
        """Losses in the records or in the store, the part of them that is asked for; None where they are in neither."""
        table = self._recorded.get(PROTOCOLS["lab"].key(description))
        if table is None:
            table = self.store.load(description)
        if table is None and "only" in description:
            whole = self.store.load({name: part for name, part in description.items() if name != "only"})
            table = None if whole is None else whole.iloc[description["only"]].reset_index(drop=True)
        return table

    @cached_property
    def _recorded(self) -> dict[str, pd.DataFrame]:
        """Losses of the records, by key."""
        if self.records is None:
            return {}
        self.records.demand()
        tables = self.records.table("losses").groupby("key", sort=False)
        return {key: table[list(LOSSES)].reset_index(drop=True) for key, table in tables}

    def _description(self, source: str, suite: str, seed: int, config: LabConfig) -> dict[str, Any]:
        """Everything that is asked for a program's losses; the size of a stack changes rounding alone."""
        limited = {"only": list(self.only[suite])} if suite in self.only else {}
        return limited | {
            "family": "lab",
            "kind": "losses",
            "source": source,
            "suite": suite,
            "seed": seed,
            "lab": replace(config, chunk=None),
            "tasks": self.profile.tasks,
            "clamp": self.profile.fitness.clamp,
            "order": [SUITES, FAMILIES],
        }

    def _compute(self, missing: Mapping[str, tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, pd.DataFrame]]:
        """Scores what is missing, name and description by key, and keeps each result as soon as it is there."""
        pending: dict[Future, list[tuple[str, Pending]]] = {}
        for found in self._costliest_first({found: description for found, (_, description) in missing.items()}):
            d = missing[found][1]
            chosen = tuple(d["only"]) if "only" in d else None
            lab = replace(d["lab"], chunk=self.profile.lab.chunk)
            score = self.evaluator.submit(d["source"], d["suite"], lab, d["seed"], chosen)
            pending.setdefault(score.future, []).append((found, score))
        with tqdm(total=len(missing), desc="programs trained", disable=None) as bar:
            while pending:
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for found, score in [item for future in done for item in pending.pop(future)]:
                    name, description = missing[found]
                    table = self._table(name, description, score)
                    self.store.save(description, table)
                    bar.update()
                    yield found, table

    def _costliest_first(self, descriptions: Mapping[str, dict[str, Any]]) -> list[str]:
        """The order in which to train: no worker is left with a long training when the others have ended.

        Where trainings are short or few, any order does, and none is asked what it costs.
        """
        if len(descriptions) <= self.workers:
            return list(descriptions)
        suites = self.evaluator.suites
        sizes = {found: len(d.get("only", suites[d["suite"]].tasks)) for found, d in descriptions.items()}
        work = {found: d["lab"].steps * sizes[found] for found, d in descriptions.items()}
        if max(work.values()) < LONG:
            return list(work)
        written = dict.fromkeys(description["source"] for description in descriptions.values())
        asked = {source: self.evaluator.describe(source) for source in written}
        costs = {source: answer.result().description for source, answer in asked.items()}
        flops = {source: math.inf if found is None else found.flops for source, found in costs.items()}
        return sorted(work, key=lambda found: -flops[descriptions[found]["source"]] * work[found])

    def _table(self, name: str, description: Mapping[str, Any], pending: Pending) -> pd.DataFrame:
        score = pending.result()
        if score.ended != "scored":
            raise ValueError(f"{name}: wanted a program that can be scored; it {score.ended}: {score.error}")
        suite = self.evaluator.suites[description["suite"]]
        about = pd.DataFrame({"suite": description["suite"], "family": suite.families, "task": suite.labels})
        about = about.iloc[description.get("only", slice(None))].reset_index(drop=True)
        return about.assign(**{k: getattr(score, k) for k in ("ood_mse", "ood_mse_whole", "train_mse")})

    def descriptions(self, programs: Mapping[str, str] | Iterable[str]) -> pd.DataFrame:
        """Cost and traits of programs, one row a function; found in a sandbox, once.

        Raises:
            ValueError: where a program is refused or fails; says which and why.
        """
        rows = []
        for name, source in sources(programs).items():
            canonical = check(source).source
            about = {"family": "lab", "kind": "description", "source": canonical}
            rows.append(self.store.get(about, partial(self._described, name, canonical)).assign(function=name))
        return pd.concat(rows, ignore_index=True)

    def _described(self, name: str, source: str) -> pd.DataFrame:
        finding = self.evaluator.describe(source).result()
        if finding.ended != "open":
            raise ValueError(f"{name}: wanted a program that can be trained; it {finding.ended}: {finding.error}")
        found = finding.description
        return pd.DataFrame([{**found.to_dict(), **found.traits}]).drop(columns="traits")
