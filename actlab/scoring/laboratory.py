"""A profile's suites, its workers, and the store of losses: each is computed once (ours).

A function's losses on a suite are kept on disk under a key of everything that determines them, and shared by all
notebooks and profiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import pandas as pd
from tqdm import tqdm

from actlab.activations import zoo
from actlab.candidates.program import check
from actlab.core.config import FAMILIES, SUITES, LabConfig, LabsTaskConfig, Profile, TaskConfig, cores
from actlab.core.jobs import as_they_come
from actlab.core.records import PROTOCOLS, Family, Records, Store
from actlab.lab import labs, tasks
from actlab.scoring.evaluator import Evaluator, Pending

LONG = 10_000  # steps times tasks of a training that takes seconds
LOSSES = ("suite", "family", "task", "ood_mse", "ood_mse_whole", "train_mse")  # of one training, as it is kept
COLUMNS = ["function", "suite", "seed", "learning_rate", "family", "task", "ood_mse", "ood_mse_whole", "train_mse"]


def sources(programs: Mapping[str, str] | Iterable[str]) -> dict[str, str]:
    """Source by name: as given, or of the zoo's functions, under their names there however they are written."""
    if isinstance(programs, Mapping):
        return dict(programs)
    return {zoo.entry(name).name: zoo.program_source(name) for name in programs}


class Laboratory:
    """A profile's suites and workers, and the store of losses; a context manager.

    Args:
        profile: the settings.
        workers: one-thread processes; 0 for one a core. They start with the first program that is not yet scored.
        store: where losses are kept.
        executor: reaches other processes, such as a cluster's, in place of these workers.
        records: committed losses of a long run, which are then not trained.
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
        drawn = labs.suite if isinstance(self.profile.tasks, LabsTaskConfig) else tasks.suite
        return {name: drawn(name, self.profile.tasks) for name in SUITES}

    @property
    def evaluator(self) -> Evaluator:
        """The evaluator of this laboratory, with the four suites and the in-distribution one."""
        if self._evaluator is None:
            suites = dict(self.suites)
            if isinstance(self.profile.tasks, TaskConfig):
                suites[tasks.INSIDE] = tasks.suite(tasks.INSIDE, self.profile.tasks)
            limits, fitness = self.profile.limits, self.profile.fitness
            self._evaluator = Evaluator(suites, fitness, self.workers, limits, executor=self.executor)
        return self._evaluator

    def scores(
        self,
        programs: Mapping[str, str] | Iterable[str],
        suite: str,
        seeds: Sequence[int] = (0,),
        learning_rates: Sequence[float] = (),
    ) -> pd.DataFrame:
        """Losses of programs on a suite, one row a function, seed, learning rate and task, in the order of these.

        Args:
            programs: source by name, or names of the zoo.
            suite: calibration, search, held-out, far or in-distribution.
            seeds: of initial weights and batches.
            learning_rates: in place of the profile's own; none for that, nor over labs, which have rates of their own.

        Returns:
            The columns `COLUMNS`.

        Raises:
            ValueError: where a program is refused or fails; says which and why. Or where labs are given rates.
        """
        asked = self.asked(programs, suite, seeds, learning_rates)
        keys = {ask: self._family.key(description) for ask, description in asked.items()}
        tables = {keys[ask]: self.found(description) for ask, description in asked.items()}
        missing = {keys[ask]: (ask[0], description) for ask, description in asked.items() if tables[keys[ask]] is None}
        tables.update(self._compute(missing))
        parts = [tables[key].assign(function=ask[0], seed=ask[1], learning_rate=ask[2]) for ask, key in keys.items()]
        return pd.concat(parts, ignore_index=True)[COLUMNS]

    def asked(
        self,
        programs: Mapping[str, str] | Iterable[str],
        suite: str,
        seeds: Sequence[int] = (0,),
        learning_rates: Sequence[float] = (),
    ) -> dict[tuple[str, int, float], dict[str, Any]]:
        """By function, seed and rate, all that determines the losses that `scores` of the same arguments looks for."""
        if learning_rates and isinstance(self.profile.tasks, LabsTaskConfig):
            raise ValueError(f"wanted no learning rates over labs, which have their own; got {learning_rates}")
        rates = learning_rates or (self.profile.lab.learning_rate,)
        return {
            (name, seed, rate): self._description(source, suite, seed, replace(self.profile.lab, learning_rate=rate))
            for name, source in sources(programs).items()
            for rate in rates
            for seed in seeds
        }

    @property
    def _family(self) -> Family:
        """Of records: the one whose canary runs what makes these losses."""
        return PROTOCOLS["generality" if isinstance(self.profile.tasks, LabsTaskConfig) else "lab"]

    def found(self, description: Mapping[str, Any]) -> pd.DataFrame | None:
        """The losses, committed or in the store, also as a part of all tasks' losses; None where there are none."""
        table = self._recorded.get(self._family.key(description))
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
        """All that determines a program's losses; the size of a stack, which changes rounding alone, does not count."""
        limited = {"only": list(self.only[suite])} if suite in self.only else {}
        return limited | {
            "family": self._family.name,
            "kind": "losses",
            "source": check(source).source,
            "suite": suite,
            "seed": seed,
            "lab": replace(config, chunk=None),
            "tasks": self.profile.tasks,
            "clamp": self.profile.fitness.clamp,
            "order": [SUITES, FAMILIES],
        }

    def _compute(self, missing: Mapping[str, tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, pd.DataFrame]]:
        """Scores what is missing, name and description by key, and keeps each result as soon as it is computed."""
        pending: dict[str, Pending] = {}
        for key in self._costliest_first({key: description for key, (_, description) in missing.items()}):
            d = missing[key][1]
            chosen = tuple(d["only"]) if "only" in d else None
            lab = replace(d["lab"], chunk=self.profile.lab.chunk)
            pending[key] = self.evaluator.submit(d["source"], d["suite"], lab, d["seed"], chosen)
        with tqdm(total=len(missing), desc="programs trained", disable=None) as bar:
            for key, score in as_they_come(pending, lambda one: one.future):
                name, description = missing[key]
                table = self._table(name, description, score)
                self.store.save(description, table)
                bar.update()
                yield key, table

    def _costliest_first(self, descriptions: Mapping[str, dict[str, Any]]) -> list[str]:
        """The order in which to train, so that no worker has a long training left when the others have ended.

        Where trainings are short or few, the order does not matter and no cost is computed.
        """
        if len(descriptions) <= self.workers:
            return list(descriptions)
        tasks_of = {name: suite.tasks for name, suite in self.evaluator.suites.items()}
        work = {k: d["lab"].steps * len(d.get("only", tasks_of[d["suite"]])) for k, d in descriptions.items()}
        if max(work.values()) < LONG:
            return list(work)
        asked = {source: self.evaluator.describe(source) for source in {d["source"]: 0 for d in descriptions.values()}}
        costs = {source: answer.result().description for source, answer in asked.items()}
        flops = {source: math.inf if about is None else about.flops for source, about in costs.items()}
        return sorted(work, key=lambda key: -flops[descriptions[key]["source"]] * work[key])

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
            about = {"family": "lab", "kind": "description", "source": check(source).source}
            rows.append(self.store.get(about, partial(self._described, name, about["source"])).assign(function=name))
        return pd.concat(rows, ignore_index=True)

    def _described(self, name: str, source: str) -> pd.DataFrame:
        finding = self.evaluator.describe(source).result()
        if finding.ended != "open":
            raise ValueError(f"{name}: wanted a program that can be trained; it {finding.ended}: {finding.error}")
        found = finding.description
        return pd.DataFrame([{**found.to_dict(), **found.traits}]).drop(columns="traits")
