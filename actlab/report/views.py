"""What the notebooks on images, algorithms and molecules show of `make transfer`: tests, curves, failures, words.

A kind is a benchmark. Rows are those of `sweep.records`. Intervals are of `stats.paired_t`, over seeds; all is [ours].
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from actlab.activations import zoo
from actlab.core import stats
from actlab.core.jobs import Runner
from actlab.core.records import ROOT, Records
from actlab.report.figures.style import label
from actlab.transfer import statistics, sweep
from actlab.transfer.interface import MissingData

SAME = 1e-3  # a difference of scores that counts as none: one digit of the test's thousand
WHERE = {"in-distribution": "in distribution", "ood": "OOD"}

_OURS = {*zoo.names("hand-made")}
_WIDE = {*zoo.names("paper", pointwise=False)}
GROUPS = {
    "made by hand": tuple(name for name in sweep.FUNCTIONS if name in _OURS),
    "pointwise: the paper's and found": ("relu", *(n for n in sweep.FUNCTIONS if n not in _OURS | _WIDE)),
    "not pointwise: the paper's": ("relu", *(name for name in sweep.FUNCTIONS if name in _WIDE)),
}


# --- the records ----------------------------------------------------------------------------------


def load(kept: Records, profile: str = "laptop") -> tuple[sweep.Design, pd.DataFrame]:
    """The design with as many seeds as all its functions have, and its rows in the design's order of functions.

    A kind with fewer than two seeds has no interval and is left out; a FileNotFoundError says where none is left.
    """
    whole = sweep.done(kept, profile, sweep.DESIGNS[profile])
    design = dataclasses.replace(whole, seeds={name: count for name, count in whole.seeds.items() if count > 1})
    if not design.seeds:
        raise FileNotFoundError(f"{kept.folder}: wanted two seeds of a kind; came none. `make transfer` makes them")
    rows = sweep.of(kept, sweep.jobs(profile, design))
    return design, stats.in_order(rows, design.functions).reset_index(drop=True)


def full(kept: Records, profile: str = "paper") -> pd.DataFrame:
    """The scores on the full data sets, as far as they are there; empty where none is.

    Of a data set, or of all algorithms together: the functions that have two seeds or more, on the seeds that all of
    them have. ReLU must be among them, and another. The rows are those of `statistics.scores`, of one data set after
    the other; their functions and seeds may differ.
    """
    functions, parts = sweep.DESIGNS[profile].functions, []
    for benchmark in sweep.BENCHMARKS:
        table = kept.table(benchmark)
        table = table[table["function"].isin(functions)]
        data = table["data"].unique()
        for names in [data] if benchmark == statistics.MANY else [[name] for name in data]:
            part = _shared(table[table["data"].isin(names)])
            if {"relu"} < set(part["function"]):
                parts.append(statistics.scores(part, [name for name in functions if name in set(part["function"])]))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _shared(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the functions with two seeds on every data set, on the seeds that all of them share; or none."""
    data, runs = set(table["data"]), table.drop_duplicates(["function", "data", "seed"])
    whole = runs.groupby(["function", "seed"]).size().loc[lambda count: count == len(data)].reset_index()
    seeds = {name: set(part["seed"]) for name, part in whole.groupby("function") if len(part) > 1}
    common = set.intersection(*seeds.values()) if seeds else set()
    return table[table["function"].isin(seeds) & table["seed"].isin(common)] if len(common) > 1 else table.iloc[:0]


def full_table(kept: Records, profile: str = "paper") -> pd.DataFrame:
    """The scores on the full data sets, with 95 % intervals over seeds: columns function and those of `own_table`.

    Empty where there are none.
    """
    scores = full(kept, profile)
    return statistics.own_table(scores).reset_index() if len(scores) else pd.DataFrame()


def full_words(kept: Records, kind: str | None = None, profile: str = "paper") -> str:
    """A sentence on how much of the full data sets is in the records, of one kind or of all."""
    scores = full(kept, profile)
    if len(scores) and kind is not None:
        scores = scores[scores["benchmark"] == kind]
    if scores.empty:
        return f"Profile {profile}: no records of it are here; `make transfer PROFILE={profile}` makes them, on a GPU."
    said = []
    for benchmark, of_kind in scores.groupby("benchmark", sort=False):
        for data, part in [(None, of_kind)] if benchmark == statistics.MANY else of_kind.groupby("data", sort=False):
            name = data or f"{of_kind['data'].nunique()} algorithms"
            said.append(f"{name} ({part['function'].nunique()} functions, {part['seed'].nunique()} seeds)")
    few = stats.few_words(scores.groupby(["benchmark", "data"])["seed"].nunique())
    return f"Profile {profile}: {', '.join(said)}; mean with 95 % skewness-corrected t over seeds{few}."


def verify(kind: str, profile: str, kept: Records, data: Sequence[str] | None = None) -> str:
    """Trains a part of a kind again, and says in a sentence what came of it.

    At smoke these are ReLU and GELU on smoke's own settings, into the build folder, unless they are there; at other
    profiles GELU's first seed, on the kind's data sets or on those of `data`, is compared with its record in `kept`.
    """
    if profile == "smoke":
        small = sweep.jobs("smoke", sweep.Design(("relu", "gelu"), {kind: 1}))
        made = sweep.kept("smoke")
        sweep.compare(small, made, sweep.checkpoints("smoke"), Runner(1))
        values = ", ".join(f"{job.function} {sweep.summary(sweep.of(made, [job]))}" for job in small)
        return f"Profile smoke: {len(small)} small trainings ran, or were there already: {values}."
    wanted = sweep.jobs("laptop", sweep.Design(("gelu",), {kind: 1}))
    again = [job for job in wanted if data is None or job.data in data]
    off = sweep.rerun(again, kept)
    names = ", ".join(job.data for job in again)
    said = f"GELU from seed 0 was trained again on {names}: the tests differ from their records by {off:.1g} at most"
    if off > SAME:
        return f"{said}, which is **more than {SAME:g}**: another machine, or other versions, give other numbers here."
    return f"{said}, which is within {SAME:g}."


# --- settings and data sets -----------------------------------------------------------------------


def settings(config: Any) -> pd.DataFrame:
    """A benchmark's configuration as a table: setting, value, and what, the comment beside it in its source."""
    rows = []
    for part in (config, config.settings):
        words = dict(re.findall(r"^    (\w+): .*?  # (.*)$", inspect.getsource(type(part)), re.MULTILINE))
        for field in dataclasses.fields(part):
            if field.name not in ("folder", "seed", "settings"):
                value = getattr(part, field.name)
                text = ", ".join(map(str, value)) if isinstance(value, tuple) else f"{value}"
                rows.append({"setting": field.name.replace("_", " "), "value": text, "what": words.get(field.name, "")})
    return pd.DataFrame(rows)


def lacking(kind: str, profile: str = "paper") -> pd.DataFrame:
    """Which data sets of a profile can be read: columns data, there, and message, how to get one that is not there."""
    rows = []
    for job in sweep.jobs(profile, sweep.Design(("relu",), {kind: 1})):
        try:
            job.module.load(job.placed)
            message = ""
        except MissingData as error:
            message = str(error).replace(f"{ROOT}/", "")
        rows.append({"data": job.data, "there": not message, "message": message})
    return pd.DataFrame(rows)


def cells(fields: Mapping[str, ArrayLike]) -> pd.DataFrame:
    """Fields [rows, columns] by name, as a table: columns panel, row, column, value."""
    parts = []
    for name, field in fields.items():
        values = np.asarray(field, dtype=float)
        row, column = np.indices(values.shape).reshape(2, -1)
        parts.append(pd.DataFrame({"panel": name, "row": row, "column": column, "value": values.ravel()}))
    return pd.concat(parts, ignore_index=True)


# --- tests ----------------------------------------------------------------------------------------


def over_seeds(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean and 95 % interval of `value` over the rows of each group: columns `by`, n, value, low, high.

    A group of one row has no interval.
    """

    def row(part: pd.DataFrame) -> dict[str, float]:
        values = part["value"].to_numpy(float)
        if len(values) == 1:
            return {"n": 1, "value": values.mean()}
        return {"n": len(values)} | stats.paired_t(values, np.zeros(len(values))).columns("value")

    return stats.by_group(table, by, row).reindex(columns=[*by, "n", "value", "low", "high"])


def tests(rows: pd.DataFrame) -> pd.DataFrame:
    """Each function's mean score on each test, in batches, with its interval over the runs in which it was scored.

    Columns data, split, shift, severity, function, n, value, low, high.
    """
    made = rows[rows["split"].isin(statistics.SPLITS) & (rows["evaluation"] == "batches")]
    return over_seeds(made[made["outcome"] == "scored"], ["data", "split", "shift", "severity", "function"])


def curves(rows: pd.DataFrame) -> pd.DataFrame:
    """The validation after each epoch: columns data, function, epoch, n (runs that came so far), value, low, high."""
    return over_seeds(rows[rows["split"] == "validation"], ["data", "function", "epoch"])


def grouped(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the functions of each of `GROUPS`, one group after the other, in a column `panel`."""
    parts = [
        stats.in_order(table[table["function"].isin(names)], names).assign(panel=group)
        for group, names in GROUPS.items()
    ]
    return pd.concat(parts, ignore_index=True)


def whole_against_batches(scores: pd.DataFrame) -> pd.DataFrame:
    """The whole test set as one batch against batches of the training size, of functions that see their batch.

    Columns data, split, function, n (runs of which both were scored), batches, whole, difference (of the whole over
    batches), low, high (`stats.paired_t` over seeds).
    """
    by = ["data", "split", "function"]
    seen = scores[scores["function"].map(sweep.sees_its_batch) & ~scores["failed"] & scores["whole"].notna()]
    seen = seen[seen.groupby(by)["value"].transform("size") > 1]

    def row(part: pd.DataFrame) -> dict[str, float]:
        means = {"n": len(part), "batches": part["value"].mean(), "whole": part["whole"].mean()}
        return means | stats.paired_t(part["whole"], part["value"]).columns("difference")

    return stats.by_group(seen, by, row).reindex(columns=[*by, "n", "batches", "whole", "difference", "low", "high"])


def endings(rows: pd.DataFrame) -> pd.DataFrame:
    """How the runs of each function ended: columns function, runs, scored, OOM, diverged.

    A run counts as scored where all its tests are, and else as what came of the first that is not.
    """
    made = rows[rows["split"].isin(statistics.SPLITS)]
    made = made.sort_values("outcome", key=lambda c: c == "scored", kind="stable")
    runs = made.groupby(["function", "data", "seed"], sort=False)["outcome"].first().reset_index()
    table = pd.crosstab(runs["function"], runs["outcome"]).reindex(columns=["scored", "OOM", "diverged"], fill_value=0)
    table = table.loc[list(dict.fromkeys(rows["function"]))]
    table.insert(0, "runs", table.sum(axis=1))
    return table.reset_index().rename_axis(columns=None)


def drop(scores: pd.DataFrame) -> pd.DataFrame:
    """How much lower each function's score is out of distribution: columns function, n, value, low, high."""
    wide = scores.pivot(index=["function", "data", "seed"], columns="split", values="value").reset_index()
    wide = wide.assign(value=wide["in-distribution"] - wide["ood"])
    return over_seeds(stats.in_order(wide, scores["function"].unique()), ["function"])


# --- words ----------------------------------------------------------------------------------------


def text(row: Any, digits: int = 3) -> str:
    """A row's estimate with its interval, such as `0.971 [0.968, 0.974]`: of `difference` where it has one."""
    estimate = row.difference if hasattr(row, "difference") else row.value
    return stats.bracketed(estimate, row.low, row.high, f".{digits}f")


def differences(compared: pd.DataFrame) -> pd.DataFrame:
    """Rows of `statistics.against` as text: a row a function, a column a task, split and reference.

    A verdict other than undecided stands behind the interval, as does the number of tests that count as chance.
    """
    said = [
        text(row)
        + f", {row.verdict}" * (row.verdict in ("better", "worse"))
        + f", {row.failed} failed" * (row.failed > 0)
        for row in compared.itertuples()
    ]
    tasks = compared["task"] + ", " if compared["task"].nunique() > 1 else ""
    columns = tasks + compared["split"].map(WHERE) + ", over " + compared["other"].map(label)
    table = compared[["function"]].assign(column=columns, said=said)
    wide = table.pivot(index="function", columns="column", values="said")
    wide = wide.loc[list(dict.fromkeys(table["function"])), list(dict.fromkeys(columns))]
    return wide.rename(index=label).reset_index().rename_axis(columns=None)


def verdicts(compared: pd.DataFrame) -> str:
    """Which functions are better or worse than each reference, in sentences, from rows of `statistics.against`."""
    said = []
    for (other, split), rows in compared.groupby(["other", "split"], sort=False):
        sides = "; ".join(f"{side}: {names}" for side, names in _sides(rows).items())
        said.append(f"Against {label(other)} {WHERE[split]}, {sides}.")
    return " ".join([*said, "All others are undecided."])


def _sides(compared: pd.DataFrame) -> dict[str, str]:
    """The names of the functions that are better, and of those that are worse."""
    names = compared["function"].map(label)
    return {side: ", ".join(names[compared["verdict"] == side]) or "none" for side in ("better", "worse")}


def decided(compared: pd.DataFrame) -> pd.DataFrame:
    """Planned rows of `statistics.against`, summed up: columns task, split, against, better, worse, in words."""
    table = stats.by_group(compared, ["task", "split", "other"], _sides).rename(columns={"other": "against"})
    return table.assign(split=table["split"].map(WHERE), against=table["against"].map(label))
