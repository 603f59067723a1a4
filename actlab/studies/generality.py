"""Does selecting over labs find functions that are good across labs? Arms at equal evaluations (ours).

    python -m actlab generality --profile laptop

The paper selects in one lab. Here searches select in that lab or over 24 labs drawn at random (`actlab.lab.labs`), and
beside them stand random sampling of the same grammar and tuned constants of two published forms. The final choice of
each run is scored in held-out labs and in far ones, which no arm has seen, beside the zoo's pointwise functions. One
run after another is entered into the records, and a search that was cut off is resumed.

Rules that were written before any of these searches was run:
- the winner is, of the arm `over labs`, the final choice with the highest fitness over the search labs;
- claim 2c, selecting over labs selects generality: supported if on the held-out labs the searches over labs have a
  lower mean log ratio to GELU than those in the default lab, and than random sampling, each with p below 0.05 after
  Holm's correction over the six comparisons of `compared`; not supported if either is lower than they are; else
  undecided;
- claims 3d and 3e, the winner is ahead of GELU, and of Snake, over held-out labs: supported if the 95 % Wilson interval
  of the share of labs in which its mean log loss is lower lies above one half, and the interval of the mean log ratio
  below 0; not supported if both lie on the other side; else undecided.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import product

import numpy as np
import pandas as pd
from scipy import optimize
from scipy import stats as scipy_stats
from tqdm import tqdm

from actlab.activations import zoo
from actlab.candidates.program import check
from actlab.core import config, stats
from actlab.core.config import Profile
from actlab.core.jobs import Runner, count
from actlab.core.records import PROTOCOLS, Records, Store, records_folder
from actlab.lab import labs
from actlab.lab.tasks import Suite
from actlab.scoring.evaluator import contributions
from actlab.scoring.laboratory import Laboratory
from actlab.search import ablation, runs
from actlab.search.ablation import Arm
from actlab.search.proposers import Ask, Brief, Parent
from actlab.search.proposers.grammar import RandomSampling
from actlab.studies.claim_rules import RUNS

NAME = "generality"  # of the files
POINTWISE = {"pointwise": True}  # over labs a program that sees its batch costs a hundred times what another one does
ARMS = (
    Arm("default lab", "the search in the default lab", POINTWISE),
    Arm("over labs", "the search over labs", POINTWISE, labs=True),
    Arm("random sampling", "programs drawn from the same grammar's tables, over labs", POINTWISE, True, labs=True),
)
TUNED = "tuned constants"
ARM_NAMES = (*(arm.name for arm in ARMS), TUNED)
FORMS = {  # of two constants each, with their bounds: those within which notebook 08 draws, and wider
    "snake": ("x + a * torch.sin(b * x) ** 2", ((0.05, 4.0), (0.2, 5.0))),
    "gelu-sine": ("F.gelu(x, approximate='tanh') + a * torch.sin(b * x)", ((-1.0, 1.0), (0.2, 5.0))),
}
POPULATION = 10  # of differential evolution, a form; fewer where its evaluations are fewer
REFERENCES = ("relu", "gelu", "silu", "snake")
AGAINST = ("gelu", "snake")  # the safest function of the zoo in earlier labs, and the one that was best most often
POINTWISE_ZOO = tuple(name for name in zoo.names() if zoo.entry(name).pointwise)
JUDGED = ("held-out", "far")
CLIPS = (0.5, 1.0, 2.0, np.inf)


@dataclass(frozen=True)
class Design:
    """How much each arm spends, and what is judged beside them. All [ours]."""

    seeds: int = RUNS
    evaluations: int = 200  # a run
    functions: tuple[str, ...] = POINTWISE_ZOO  # judged beside the arms' final choices
    drawn: int = 60  # programs of the grammar, for the reliability of the fitness


DESIGNS = {
    "smoke": Design(1, 12, REFERENCES, 4),
    "laptop": Design(),
    "paper": Design(evaluations=2000),
}


@dataclass(frozen=True)
class Run:
    """A run of an arm, or a function of the zoo (seed 0), by all that is asked of it."""

    profile: Profile  # the default lab's
    arm: str
    seed: int
    evaluations: int

    @property
    def identity(self) -> dict[str, object]:
        """What tells it from the others."""
        return {"arm": self.arm, "seed": self.seed}

    @property
    def key(self) -> str:
        """Hash of what is asked, judges included."""
        judges = config.over_labs(self.profile)
        about = {"kind": NAME, "tasks": judges.tasks, "fitness": judges.fitness}
        if arm := _arm(self.arm):
            about["run"] = ablation.Run(self.profile, arm, self.seed, self.evaluations).key
        elif self.arm == TUNED:
            about |= {"forms": FORMS, "population": POPULATION, "seed": self.seed, "evaluations": self.evaluations}
        else:
            about["source"] = check(zoo.program_source(self.arm)).source
        return PROTOCOLS[NAME].key(about)

    def __str__(self) -> str:
        return f"{self.arm}, seed {self.seed}"


def _arm(name: str) -> Arm | None:
    return next((arm for arm in ARMS if arm.name == name), None)


def jobs(profile: Profile, design: Design) -> list[Run]:
    """The functions of the zoo, then all arms of a seed before the next one's."""
    every = [Run(profile, name, 0, 0) for name in design.functions]
    pairs = product(range(design.seeds), ARM_NAMES)
    return every + [Run(profile, arm, seed, design.evaluations) for seed, arm in pairs]


def kept(profile: str = "laptop") -> Records:
    """The records of a profile.

    `runs`: arm, seed, evaluations, network_steps (of training, all candidates'), fitness (on what the arm selects by),
    digest, source. `losses`: arm, seed, suite, lab (its place), log_ood and log_train: the mean over its tasks of the
    logarithm of the loss, clamped and floored as the fitness does. `reliability` is `reliability`'s table.
    """
    tables = {
        "runs.csv": ["arm", "seed", "evaluations", "network_steps", "fitness", "digest", "source"],
        "losses.csv": ["arm", "seed", "suite", "lab", "log_ood", "log_train"],
        "reliability.csv": [],
    }
    return Records(records_folder(NAME, profile), NAME, ["arm", "seed"], tables, digits=6)


# --- the fitness: chosen by its reliability ------------------------------------------------------


def reliability(
    laboratory: Laboratory, drawn: int, halves: int = 100, seed: int = 0, functions: Sequence[str] = POINTWISE_ZOO
) -> pd.DataFrame:
    """How well an order of functions on half of the calibration labs agrees with that on the other half.

    Args:
        laboratory: over labs.
        drawn: programs of the grammar beside the zoo.
        halves: random halves, within strata.
        seed: of the programs and of the halves.
        functions: of the zoo, the references among them.

    Returns:
        A row a reference and clip: reference, clip, spearman (the mean over the halves, of all functions), low, high
        (quantiles of 5 and 95 % over the halves), best_half (the mean, of the better half of the functions).
    """
    generator = np.random.default_rng(seed)
    programs = {name: zoo.program_source(name) for name in functions}
    for name, source in _drawn(drawn, generator).items():
        if laboratory.evaluator.describe(check(source).source).result().ended == "open":
            programs[name] = source
    logs = _logs(laboratory, programs, "calibration")["log_ood"].unstack("function")
    strata = np.array(laboratory.suites["calibration"].families)[:: laboratory.profile.tasks.each]
    orders = [half(strata, generator) for _ in range(halves)]
    rows = []
    for reference, clip in product(("relu", "gelu", "the best of four"), CLIPS):
        base = logs[list(REFERENCES)].min(axis=1) if reference == "the best of four" else logs[reference]
        gains = logs.rsub(base, axis=0).clip(-clip, clip).drop(columns=list(REFERENCES)).to_numpy()
        better = gains[:, gains.mean(axis=0) >= np.median(gains.mean(axis=0))]
        found = {
            name: [_spearman(part[first].mean(axis=0), part[~first].mean(axis=0)) for first in orders]
            for name, part in (("all", gains), ("best", better))
        }
        low, high = np.quantile(found["all"], [0.05, 0.95])
        rows.append((reference, clip, np.mean(found["all"]), low, high, np.mean(found["best"])))
    return pd.DataFrame(rows, columns=["reference", "clip", "spearman", "low", "high", "best_half"])


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation; NaN where all of one tie, as a few programs may."""
    return scipy_stats.spearmanr(one, other).statistic if np.ptp(one) and np.ptp(other) else np.nan


def _drawn(number: int, generator: np.random.Generator) -> dict[str, str]:
    """Random programs of the grammar."""
    relu = Parent(0, zoo.program_source("relu"), 0.0)
    asks = tuple(Ask(i, relu, 0, (), ()) for i in range(number))
    brief = Brief(asks, number, number, config.Limits().flops, True, {})
    return {f"drawn {i}": made.source for i, made in enumerate(RandomSampling().propose(brief, generator))}


def half(strata: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Whether each lab is in the first of two random halves, which have equally many of each stratum."""
    first = np.zeros(len(strata), dtype=bool)
    for stratum in dict.fromkeys(strata):
        places = np.flatnonzero(strata == stratum)
        first[generator.permutation(places)[: len(places) // 2]] = True
    return first


def _logs(laboratory: Laboratory, programs: Mapping[str, str], suite: str) -> pd.DataFrame:
    """The mean over each lab's tasks of log_ood and log_train, by function and lab.

    Raises:
        ValueError: where a program is refused or fails.
    """
    fitness, each = laboratory.profile.fitness, laboratory.profile.tasks.each
    losses = laboratory.scores(programs, suite)
    logs = {
        f"log_{kind}": stats.log_losses(losses[f"{kind}_mse"], fitness.clamp, fitness.floor)
        for kind in ("ood", "train")
    }
    place = losses.groupby("function", sort=False).cumcount() // each
    table = pd.DataFrame(logs).assign(function=losses["function"], lab=place)
    return table.groupby(["function", "lab"], sort=False).mean()


# --- the arms ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chosen:
    """What a run chose, and what it spent."""

    source: str
    fitness: float
    evaluations: int
    network_steps: float
    digest: str


def network_steps(suite: Suite, profile: Profile) -> int:
    """Steps of training that all networks of a suite take."""
    labs_of = suite.labs or profile.lab
    return sum(lab.steps * len(places) for lab, _, places in labs_of.parts(len(suite.tasks), 0))


def chosen(run: Run, laboratory: Laboratory) -> Chosen:
    """The final choice of a run; a finished search is read, one that was cut off resumed.

    Args:
        run: of an arm, or of a function of the zoo, which is its own choice.
        laboratory: of the arm.
    """
    arm = _arm(run.arm)
    if arm is None and run.arm != TUNED:
        return Chosen(zoo.program_source(run.arm), np.nan, 0, 0.0, "")
    if arm is None:
        return _tuned(laboratory, run.seed, run.evaluations)
    own = ablation.settings(run.profile, arm, run.evaluations)
    outcome = ablation.run(laboratory, own, arm, run.seed)
    seen = sum(entry.seen or 0 for entry in runs.entries(ablation.run_file(own, arm, run.seed)))
    steps = network_steps(laboratory.suites["search"], own) * seen / own.tasks.size("search")
    result, final = outcome.result, outcome.final
    return Chosen(final.source, final.fitness, result.evaluations, steps, result.digest)


def _tuned(laboratory: Laboratory, seed: int, evaluations: int) -> Chosen:
    """The best constants of each form by scipy's differential evolution over the search labs, and the better form."""
    fitness, best = laboratory.profile.fitness, (-np.inf, "")
    relu = laboratory.scores(["relu"], "search")["ood_mse"].to_numpy()
    spent, own = 0, evaluations // len(FORMS)
    population = min(POPULATION, own)
    for place, (form, bounds) in enumerate(FORMS.values()):

        def losses(points: np.ndarray, form: str = form) -> np.ndarray:
            """Minus the fitness of each point; `points` is [constants, population]."""
            nonlocal best, spent
            sources = [tuned_source(form, *point) for point in points.T]
            programs = {source: source for source in dict.fromkeys(sources)}
            found = laboratory.scores(programs, "search").groupby("function", sort=False)["ood_mse"]
            values = {name: float(contributions(part.to_numpy(), relu, fitness).mean()) for name, part in found}
            spent += len(sources)
            best = max(best, *((value, source) for source, value in values.items()))
            return np.array([-values[source] for source in sources])

        optimize.differential_evolution(
            losses, bounds, rng=np.random.default_rng([seed, place]), popsize=population // len(bounds), tol=0,
            maxiter=own // population - 1, polish=False, updating="deferred", vectorized=True,
        )  # fmt: skip
    steps = spent * network_steps(laboratory.suites["search"], laboratory.profile)
    return Chosen(best[1], best[0], spent, float(steps), "")


def tuned_source(form: str, a: float, b: float) -> str:
    """A program of a form with these constants, to three digits."""
    body = form.replace("a *", f"{a:.3g} *").replace("b *", f"{b:.3g} *")
    return check(f"def activation(x):\n    return {body}").source


def explore(profile: Profile, design: Design, records: Records, runner: Runner, store: Store | None = None) -> None:
    """Runs what the records lack, judges it, and enters it, one run after another.

    Raises:
        ChangedCode: where the records there are of code that computes something else.
    """
    wanted = records.missing(jobs(profile, design))
    with ExitStack() as opened:

        def opens(given: Profile) -> Laboratory:
            return opened.enter_context(Laboratory(given, runner.workers, store, runner.executor))

        over, default = opens(config.over_labs(profile)), opens(profile)
        if records.table("reliability").empty:
            table = reliability(over, design.drawn, functions=design.functions)
            records.add([], {"reliability": table})
        for run in tqdm(wanted, desc="runs", disable=None):
            arm = _arm(run.arm)
            found = chosen(run, default if arm is not None and not arm.labs else over)
            judged = [
                _logs(over, {"it": found.source}, suite).loc["it"].reset_index().assign(suite=suite) for suite in JUDGED
            ]
            records.add([(run, {"runs": pd.DataFrame([asdict(found)]), "losses": pd.concat(judged)})])
            words = f"fitness {found.fitness:.4g}, {found.network_steps:.3g} network steps"
            runner.tell(f"{run}: {words if found.evaluations else 'judged'}")


# --- what came out -------------------------------------------------------------------------------


def judged(records: Records, profile: Profile) -> pd.DataFrame:
    """The losses with the stratum of each lab."""
    tasks = config.over_labs(profile).tasks
    parts = [
        pd.DataFrame(
            {
                "suite": suite,
                "lab": range(tasks.size(suite)),
                "stratum": [one for one, _ in labs.settings(suite, tasks)],
            }
        )
        for suite in JUDGED
    ]
    return records.table("losses").merge(pd.concat(parts), on=["suite", "lab"], how="left")


def gaps(losses: pd.DataFrame, arm: str, seed: int, reference: str) -> pd.DataFrame:
    """The log ratios of a run's choice to a function of the zoo, a row a lab.

    Returns:
        Columns suite, lab, stratum, gap (of OOD losses: below 0 it is ahead) and fit (of training losses).
    """
    names = {"log_ood": "gap", "log_train": "fit"}
    logs = losses.set_index(["arm", "seed", "suite", "lab"])[list(names)].rename(columns=names).sort_index()
    strata = losses.drop_duplicates(["suite", "lab"]).set_index(["suite", "lab"])["stratum"]
    return strata.to_frame().join(logs.loc[arm, seed] - logs.loc[reference, 0], how="inner").reset_index()


def ahead(losses: pd.DataFrame, arm: str, seed: int, reference: str) -> pd.DataFrame:
    """What a run's choice does against a function of the zoo, over labs.

    Returns:
        A row a suite, and a stratum or "all", or "two layers or more" of the held-out labs: n, share (of labs in which
        its mean log loss is lower) with low and high (Wilson), log_ratio (the mean over labs) with ratio_low and
        ratio_high (`stats.mean_interval` within strata), worst (the mean of the tenth of labs where it is highest).
    """
    rows = []
    for suite, part in gaps(losses, arm, seed, reference).groupby("suite", sort=False):
        groups = {"all": part}
        if suite == "held-out":
            groups["two layers or more"] = part[~part["stratum"].str.startswith("one layer")]
        groups |= dict(list(part.groupby("stratum", sort=False)))
        for name, group in groups.items():
            rows.append({"suite": suite, "stratum": name} | _against(group))
    return pd.DataFrame(rows)


def _against(group: pd.DataFrame) -> dict[str, float]:
    gaps, n = group["gap"].to_numpy(), len(group)
    share = stats.share(int((gaps < 0).sum()), n)
    mean = stats.mean_interval(gaps, group["stratum"].to_numpy())
    worst = np.sort(gaps)[-max(n // 10, 1) :].mean()
    return {"n": n} | share.columns("share", "") | mean.columns("log_ratio", "ratio_") | {"worst": worst}


def by_run(losses: pd.DataFrame, references: Sequence[str] = AGAINST) -> pd.DataFrame:
    """`ahead` of every run of every arm, and of the functions of the zoo: columns arm, seed, reference, and its own."""
    pairs, parts = losses[["arm", "seed"]].drop_duplicates().itertuples(index=False), []
    for (arm, seed), reference in product(pairs, references):
        about = {"arm": arm, "seed": seed, "reference": reference}
        parts.append(ahead(losses, arm, seed, reference).assign(**about))
    columns = ["arm", "seed", "reference"]
    table = pd.concat(parts, ignore_index=True)
    return table[[*columns, *table.columns.drop(columns)]]


def by_arm(losses: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """What the runs of an arm come to together over all labs of a suite, against the references of `by_run`'s table.

    Returns:
        Columns suite, reference, arm, n (runs), log_ratio (the mean) with low and high (`stats.crossed_difference`,
        over runs and labs), and the means over runs of share and worst, as `ahead` has them.
    """
    whole, rows = runs[runs["stratum"] == "all"], []
    for suite, part in losses.groupby("suite", sort=False):
        strata = part.drop_duplicates("lab").set_index("lab")["stratum"]
        logs = part.pivot(index=["arm", "seed"], columns="lab", values="log_ood")[strata.index]
        for reference, arm in product(whole["reference"].unique(), ARM_NAMES):
            own, base = logs.loc[arm].to_numpy(), logs.loc[reference, 0].to_numpy()
            found = stats.crossed_difference(own, base, strata.to_numpy())
            of_arm = whole.query("suite == @suite and reference == @reference and arm == @arm")
            row = {"suite": suite, "reference": reference, "arm": arm, "n": found.n} | found.columns("log_ratio")
            rows.append(row | of_arm[["share", "worst"]].mean().to_dict())
    return pd.DataFrame(rows)


def compared(runs: pd.DataFrame) -> pd.DataFrame:
    """The planned comparisons: the search over labs against each other arm, by seed, on held-out and far labs.

    What is compared is the mean log ratio to GELU over a suite's labs, a number a run. Both arms' runs have seeds of
    their own, hence Welch's t; Holm's correction is over all rows.

    Returns:
        Columns suite, against, n (runs an arm), difference (of the means, over labs minus the other), low, high, p,
        p_holm, verdict.
    """
    to_gelu = runs[(runs["stratum"] == "all") & (runs["reference"] == "gelu")]
    found, rows = to_gelu.groupby(["suite", "arm"])["log_ratio"], []
    for suite, other in product(JUDGED, ["default lab", "random sampling", TUNED]):
        ours, theirs = (found.get_group((suite, arm)) for arm in ("over labs", other))
        test = scipy_stats.ttest_ind(ours, theirs, equal_var=False)
        low, high = test.confidence_interval()
        row = {"suite": suite, "against": other, "n": len(ours), "difference": ours.mean() - theirs.mean()}
        rows.append(row | {"low": low, "high": high, "p": test.pvalue})
    return stats.decided(pd.DataFrame(rows), "difference")


def winner(records: Records) -> pd.Series:
    """The run that the rule in this module's first lines names."""
    own = records.table("runs").query("arm == 'over labs'")
    return own.loc[own["fitness"].idxmax()]


# --- a part, made again --------------------------------------------------------------------------


def first_labs(profile: Profile) -> dict[str, list[int]]:
    """By judged suite, the places of the tasks of the first lab of each stratum."""
    tasks, places = config.over_labs(profile).tasks, {}
    for suite in JUDGED:
        strata = [stratum for stratum, _ in labs.settings(suite, tasks)]
        first = [strata.index(stratum) * tasks.each for stratum in dict.fromkeys(strata)]
        places[suite] = [place + task for place in first for task in range(tasks.each)]
    return places


def verify(records: Records, laboratory: Laboratory, wanted: Sequence[Run]) -> float:
    """The largest difference of a lab's mean log loss, computed again, from its record: 0.01 is one per cent.

    Args:
        records: which hold all that is wanted.
        laboratory: over labs; its `only` names the tasks that are trained again, whole labs, by judged suite.
        wanted: whose choices; of one seed.

    Raises:
        ValueError: where the records lack a run, or have it of other settings.
    """
    if lacking := records.missing(wanted):
        raise ValueError(f"wanted records of {lacking[0]} as settings are now; `make {NAME}` makes them")
    runs, losses = (records.table(name).set_index(["arm", "seed"]) for name in ("runs", "losses"))
    programs = {run.arm: runs.loc[(run.arm, run.seed), "source"] for run in wanted}
    each, worst = laboratory.profile.tasks.each, 0.0
    for suite, places in laboratory.only.items():
        numbers = np.array(places[::each]) // each
        for arm, fresh in _logs(laboratory, programs, suite)["log_ood"].groupby("function"):
            part = losses.loc[(arm, wanted[0].seed)].query("suite == @suite").set_index("lab")
            worst = max(worst, float(np.abs(fresh.to_numpy() - part.loc[numbers, "log_ood"]).max()))
    return worst


# --- the verb ------------------------------------------------------------------------------------


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's own options."""
    parser.add_argument("--seeds", type=count, help="runs an arm (default: the profile's)")
    parser.add_argument("--evaluations", type=count, help="candidates a run (default: the profile's)")


def main(given: argparse.Namespace, runner: Runner) -> str:
    """Searches over labs and beside, judged in labs that no arm has seen, into records/; goes on if cut off."""
    profile, design = config.profile(given.profile), DESIGNS[given.profile]
    design = replace(design, seeds=given.seeds or design.seeds, evaluations=given.evaluations or design.evaluations)
    records, wanted = kept(profile.name), jobs(profile, design)
    if not given.status:
        explore(profile, design, records, runner)
        command = f"python -m actlab {NAME} --profile {profile.name}"
        command += f" --seeds {design.seeds} --evaluations {design.evaluations}"
        records.note({"command": command, "profile": profile.name, "design": asdict(design)})
    return f"{len(wanted) - len(records.missing(wanted))} of {len(wanted)} runs are in {records.folder}"
