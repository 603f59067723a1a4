"""The search beside simpler ones and beside one that selects in distribution, at equal evaluations (ours).

    python -m actlab ablation --profile laptop

The paper says that selecting by the loss outside the training range finds functions that are better there (section 3),
and shows no control. Here every arm spends as many evaluations from as many seeds, its final choice is made by one rule
from the suite that it selected on, and all final choices are judged on suites that no arm has seen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from actlab.core import config
from actlab.core.config import Profile
from actlab.core.jobs import Runner, count
from actlab.core.records import BUILD, PROTOCOLS, Records, Store, records_folder
from actlab.lab.tasks import INSIDE
from actlab.scoring.laboratory import Laboratory
from actlab.search import selection
from actlab.search.archive import Archive, Entry
from actlab.search.evolution import Result, about, search
from actlab.search.proposers import Proposer
from actlab.search.proposers.grammar import Grammar, RandomSampling

UNSEEN = ("held-out", "far")
JUDGED = ("search", INSIDE, *UNSEEN)  # the first two are what arms select on, shown beside the others


@dataclass(frozen=True)
class Arm:
    """A way to search, by what it changes of the profile's own."""

    name: str
    words: str
    settings: Mapping[str, Any] = field(default_factory=dict)  # of `SearchConfig`
    samples: bool = False  # whether programs are drawn from nothing, in place of changes to parents
    floor: float | None = None  # of a loss under the logarithm, in place of the profile's
    labs: bool = False  # whether it selects over labs, in place of the default one


@dataclass(frozen=True)
class Design:
    """How much each arm spends. All [ours]."""

    seeds: int = 5  # of the proposals: 0, 1, ...; a run each
    evaluations: int = 60  # candidates a run that are trained, in part or in full; twenty an island


# [ours] The floor of the search was set for losses outside the training range. Inside, most losses of the better
# functions lie below it, so that an arm could not tell them apart; this floor is below nearly all of them.
ARMS = (
    Arm("search", "islands of cells, the grammar's changes, selection by the loss outside"),
    Arm("random sampling", "programs drawn from the same grammar's tables, without parents", samples=True),
    Arm("hill climbing", "changes to the best program alone",
        {"islands": 1, "elites": 1, "explore": 0.0, "inspirations": 0}),
    Arm("one island", "the search without islands", {"islands": 1}),
    Arm(INSIDE, "the search, selection by the loss inside the training range", {"suite": INSIDE}, floor=1e-5),
)  # fmt: skip
DESIGNS = {"smoke": Design(evaluations=12), "laptop": Design(), "paper": Design(evaluations=2000)}


def settings(profile: Profile, arm: Arm, evaluations: int) -> Profile:
    """The profile as an arm has it."""
    profile = config.over_labs(profile) if arm.labs else profile
    own = replace(profile.search, evaluations=evaluations, **arm.settings)
    floor = profile.fitness.floor if arm.floor is None else arm.floor
    return replace(profile, search=own, fitness=replace(profile.fitness, floor=floor))


def run_file(profile: Profile, arm: Arm, seed: int) -> Path:
    """Where the run of an arm is kept, by the profile as the arm has it: another file for other settings."""
    return BUILD / profile.name / "arms" / f"{run_key(profile, arm, seed)[:12]}.sqlite"


def run_key(profile: Profile, arm: Arm, seed: int) -> str:
    """Hash of all that is asked of a run of an arm, by the profile as the arm has it."""
    asked = {"kind": "arm", "proposer": _proposer(profile, arm).name, "seed": seed, **about(profile)}
    return PROTOCOLS["search"].key({**asked, "lab": profile.lab, "search": profile.search})


def _proposer(profile: Profile, arm: Arm) -> Proposer:
    kind = RandomSampling if arm.samples else Grammar
    return kind(batch_statistics=not profile.search.pointwise)


@dataclass(frozen=True)
class Outcome:
    """What one run of an arm came to."""

    arm: str
    seed: int
    result: Result
    final: Entry  # by the rule of `selection.shortlist`, from the suite that the arm selected on; `result` has the best
    trace: tuple[float, ...]  # best fitness after each evaluation, on that suite; the start's first


def run(laboratory: Laboratory, profile: Profile, arm: Arm, seed: int, path: Path | None = None) -> Outcome:
    """A run of an arm; a finished one is read, an interrupted one resumed.

    Args:
        laboratory: whose evaluator is used; of the same tasks and fitness as the profile.
        profile: as the arm has it, by `settings`.
        arm: which.
        seed: of the proposals.
        path: of the archive; by default that of `run_file`.
    """
    if laboratory.profile.tasks != profile.tasks or laboratory.profile.fitness != profile.fitness:
        raise ValueError(f"wanted a laboratory with the tasks and the fitness of the arm {arm.name}; got another one")
    path = path or run_file(profile, arm, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    proposer, own = _proposer(profile, arm), (profile.search, profile.lab, seed)
    with Archive(path) as archive:
        result = search(laboratory.evaluator, proposer, archive, *own, about=about(profile))
        entries, moves = archive.entries(), archive.moves()
    trained = [entry for entry in entries if entry.was_trained]
    known = [entries[0].fitness, *(-np.inf if entry.fitness is None else entry.fitness for entry in trained)]
    trace = tuple(float(value) for value in np.maximum.accumulate(known))
    return Outcome(arm.name, seed, result, selection.final(entries, moves, profile.fitness), trace)


@dataclass(frozen=True, eq=False)
class Comparison:
    """The records of a comparison.

    A `pick` is how a program was picked from its run: "final" by the rule of the final choice, "best" by fitness alone,
    which is often the same one.

    `losses`: arm, seed, pick, suite, family, task, ood_mse, train_mse; `ood_mse` is on the test points of the suite,
    which for "in-distribution" lie inside the training range; the best are judged on the unseen suites alone.
    `references`: the same of functions, without seed and pick. `runs`: arm, seed, pick, evaluations, rounds, fitness,
    flops, digest, source, a row a pick. `traces`: arm, seed, evaluation, fitness of the best so far, on the suite that
    the arm selects on.
    """

    losses: pd.DataFrame
    references: pd.DataFrame
    runs: pd.DataFrame
    traces: pd.DataFrame
    about: Mapping[str, Any]

    @property
    def hand_made(self) -> str:
        """The best hand-made function, chosen on the search suite."""
        return self.about["hand_made"]

    def save(self, records: Records) -> None:
        """Writes the tables and what they were made from."""
        profile = config.profile(self.about["profile"]["name"])
        design, arms = Design(**self.about["design"]), {arm.name: arm for arm in ARMS}
        ran = self.runs.groupby(["arm", "seed"]).groups
        runs = [Run(profile, arms[arm], seed, design.evaluations) for arm, seed in ran]
        tables = {name: getattr(self, name) for name in TABLES}
        records.add(((run, {}) for run in runs), tables)
        records.note(self.about)


TABLES = ("losses", "references", "runs", "traces")


@dataclass(frozen=True)
class Run:
    """A run of an arm, by all that is asked of it."""

    profile: Profile
    arm: Arm
    seed: int
    evaluations: int

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from the other runs."""
        return {"arm": self.arm.name, "seed": self.seed}

    @property
    def key(self) -> str:
        """Hash of the settings, as the arm has them."""
        return run_key(settings(self.profile, self.arm, self.evaluations), self.arm, self.seed)


def kept(profile: str = "laptop") -> Records:
    """The records of a profile."""
    tables = dict.fromkeys((f"{name}.csv" for name in TABLES), ())
    return Records(records_folder("ablation", profile), "search", ["arm", "seed"], tables)


def load(records: Records) -> Comparison:
    """The records that `Comparison.save` wrote.

    Raises:
        FileNotFoundError: if there are none; says what makes them.
        ChangedCode: if they were made by code that searches otherwise.
    """
    if records.jobs.empty:
        raise FileNotFoundError(f"{records.folder}: wanted the runs that `make compare-search` makes; found none")
    records.demand()
    tables = {name: records.table(name) for name in TABLES}
    return Comparison(**tables, about=records.about)


def compare(
    profile: Profile,
    design: Design,
    arms: Sequence[Arm] = ARMS,
    store: Store | None = None,
    runner: Runner | None = None,
) -> Comparison:
    """Runs arms, all of a seed before the next one's, and judges their final choices.

    Args:
        profile: the lab, the suites, and the search that arms depart from.
        design: seeds and evaluations.
        arms: which.
        store: where losses are kept.
        runner: what trains candidates, here or on a cluster, and is told when a run is done.
    """
    runner = runner or Runner()
    owns = {arm.name: settings(profile, arm, design.evaluations) for arm in arms}
    with ExitStack() as opened:
        laboratories, outcomes = {}, []
        for fitness in dict.fromkeys([profile.fitness, *(own.fitness for own in owns.values())]):
            one = Laboratory(replace(profile, fitness=fitness), runner.workers, store, runner.executor)
            laboratories[fitness] = opened.enter_context(one)
        for seed in range(design.seeds):
            for arm in arms:
                own = owns[arm.name]
                outcomes.append(run(laboratories[own.fitness], own, arm, seed))
                runner.tell(_line(outcomes[-1]))
        return _judged(laboratories[profile.fitness], outcomes, arms, design)


def _line(outcome: Outcome) -> str:
    result, final = outcome.result, outcome.final
    return (
        f"seed {outcome.seed}, {outcome.arm}: {result.evaluations} evaluations in {result.rounds} rounds, best "
        f"{result.best.fitness:.4g}; final choice {final.id} with {final.fitness:.4g}"
    )


def _judged(laboratory: Laboratory, outcomes: Sequence[Outcome], arms: Sequence[Arm], design: Design) -> Comparison:
    """The final choices and the hand-made functions on every suite, the best on the unseen ones; and the runs."""
    profile, hand_made = laboratory.profile, selection.by_hand(laboratory)["function"].iloc[0]
    functions = list(dict.fromkeys(["relu", "gelu", hand_made]))
    picked = [(o, "final", o.final) for o in outcomes] + [(o, "best", o.result.best) for o in outcomes]
    losses = pd.concat([_losses(laboratory, picked, suite) for suite in JUDGED], ignore_index=True)
    references = pd.concat([laboratory.scores(functions, suite) for suite in JUDGED], ignore_index=True)
    columns = ["suite", "family", "task", "ood_mse", "train_mse"]
    runs = [
        {"arm": o.arm, "seed": o.seed, "pick": pick, "evaluations": o.result.evaluations, "rounds": o.result.rounds,
         "fitness": entry.fitness, "flops": entry.description["flops"], "digest": o.result.digest,
         "source": entry.source}
        for o, pick, entry in picked
    ]  # fmt: skip
    traces = [(o.arm, o.seed, i, value) for o in outcomes for i, value in enumerate(o.trace)]
    command = f"python -m actlab ablation --profile {profile.name}"
    command += f" --seeds {design.seeds} --evaluations {design.evaluations}"
    told = {"command": command, "profile": asdict(profile), "design": asdict(design), "hand_made": hand_made}
    return Comparison(
        losses[["arm", "seed", "pick", *columns]],
        references[["function", *columns]],
        pd.DataFrame(runs),
        pd.DataFrame(traces, columns=["arm", "seed", "evaluation", "fitness"]),
        _plain(told | {"arms": [asdict(arm) for arm in arms]}),
    )


def _losses(laboratory: Laboratory, picked: Iterable[tuple[Outcome, str, Entry]], suite: str) -> pd.DataFrame:
    """Losses on a suite of the programs that are judged on it, with arm, seed and pick."""
    programs = {f"{o.arm}#{o.seed}#{pick}": e.source for o, pick, e in picked if pick == "final" or suite in UNSEEN}
    losses = laboratory.scores(programs, suite)
    names = losses["function"].str.split("#", expand=True)
    return losses.assign(arm=names[0], seed=names[1].astype(int), pick=names[2])


def _plain(about: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from JSON."""
    return json.loads(json.dumps(about))


def verify(comparison: Comparison, laboratory: Laboratory, suite: str = "held-out", seed: int = 0) -> float:
    """The largest relative difference of a test loss, computed again, from its record: all picks of one seed's runs.

    Raises ValueError if the laboratory has other data sets, trainings or clamps than the records.
    """
    for name in ("tasks", "lab", "fitness"):
        wanted, came = comparison.about["profile"][name], _plain(asdict(getattr(laboratory.profile, name)))
        if wanted != came:
            raise ValueError(f"{name}: wanted the records' {wanted}; got {came}; `make compare-search` makes new ones")
    part = comparison.losses.query("suite == @suite and seed == @seed")
    sources, worst = comparison.runs.query("seed == @seed").set_index(["arm", "pick"])["source"], 0.0
    for pick, before in part.groupby("pick"):
        fresh = laboratory.scores(sources.xs(pick, level="pick").to_dict(), suite)
        now, then = fresh.set_index(["function", "task"])["ood_mse"], before.set_index(["arm", "task"])["ood_mse"]
        worst = max(worst, float((now.loc[then.index] / then - 1).abs().max()))
    return worst


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's own options."""
    parser.add_argument("--seeds", type=count, help="runs an arm (default: the profile's)")
    parser.add_argument("--evaluations", type=count, help="candidates a run (default: the profile's)")


def main(given: argparse.Namespace, runner: Runner) -> str:
    """Searches by five arms from several seeds, into records/; goes on if cut off."""
    profile = config.profile(given.profile)
    design, records = DESIGNS[profile.name], kept(profile.name)
    design = Design(given.seeds or design.seeds, given.evaluations or design.evaluations)
    if not given.status:
        compare(profile, design, runner=runner).save(records)
    return f"{len(records.jobs)} runs are in {records.folder}"
