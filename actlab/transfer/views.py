"""What the notebooks on images, algorithms and molecules show of `make transfer`: tests, curves, failures, words.

A kind is a benchmark. Rows are those of `sweep.records`. Intervals are Student's, over seeds; all is [ours].
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

from actlab.core import stats
from actlab.core.jobs import Runner
from actlab.core.records import ROOT, Records
from actlab.report.figures.style import label
from actlab.transfer import statistics, sweep
from actlab.transfer.interface import MissingData

SAME = 1e-3  # a difference of scores that counts as none: one digit of the test's thousand

GROUPS = {
    "made by hand": ("relu", "gelu", "silu", "snake"),
    "pointwise: the paper's and found": ("relu", "gelu-sine", "gelu-sinc", "gmtu", "leaky-sqrt-decay", "found"),
    "not pointwise: the paper's": ("relu", "turbulent", "qfw", "symmetric-phase-flipped", "fisg"),
}


# --- the records ----------------------------------------------------------------------------------


def load(kept: Records, profile: str = "laptop") -> tuple[sweep.Design, pd.DataFrame]:
    """What is there by whole seeds, and its rows in the design's order of functions.

    A kind with fewer than two seeds has no interval and is left out.

    Raises:
        FileNotFoundError: where no kind has two.
    """
    whole = sweep.done(kept, profile, sweep.DESIGNS[profile])
    design = dataclasses.replace(whole, seeds={name: count for name, count in whole.seeds.items() if count > 1})
    if not design.seeds:
        raise FileNotFoundError(f"{kept.folder}: wanted two seeds of a kind; came none. `make transfer` makes them")
    rows = sweep.of(kept, sweep.jobs(profile, design))
    order = {name: place for place, name in enumerate(design.functions)}
    return design, rows.sort_values("function", key=lambda c: c.map(order), kind="stable", ignore_index=True)


def full(kept: Records, profile: str = "paper") -> pd.DataFrame:
    """The scores on the full data sets, as far as they are there; empty where none is.

    Of a data set, or of all algorithms together: the functions that have two seeds or more, on the seeds that all of
    them have. ReLU must be among them, and another.

    Returns:
        As `statistics.scores`, of one data set after the other; their functions and seeds may differ.
    """
    parts = []
    for benchmark in sweep.BENCHMARKS:
        table = kept.table(benchmark)
        table = table[table["function"].isin(sweep.DESIGNS[profile].functions)]
        for data in [list(table["data"].unique())] if benchmark == statistics.MANY else table["data"].unique():
            part = _shared(table[table["data"].isin([data] if isinstance(data, str) else data)])
            if {"relu"} < set(part["function"]):
                names = [name for name in sweep.DESIGNS[profile].functions if name in set(part["function"])]
                parts.append(statistics.scores(part, names))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _shared(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the functions with two seeds on every data set, on the seeds that all of them share; or none."""
    data, runs = set(table["data"]), table.drop_duplicates(["function", "data", "seed"])
    whole = runs.groupby(["function", "seed"]).size().loc[lambda count: count == len(data)].reset_index()
    seeds = {name: set(part["seed"]) for name, part in whole.groupby("function") if len(part) > 1}
    common = set.intersection(*seeds.values()) if seeds else set()
    return table[table["function"].isin(seeds) & table["seed"].isin(common)] if len(common) > 1 else table.iloc[:0]


def full_table(kept: Records, profile: str = "paper") -> pd.DataFrame:
    """The scores on the full data sets: columns function and one a task and split, as in `statistics.table_2`.

    Each with mean and 95 % t interval over seeds. Empty where there are none.
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
    return f"Profile {profile}: {', '.join(said)}; mean with 95 % t interval over seeds."


def about(kind: str, kept: Records, design: sweep.Design, profile: str = "laptop") -> str:
    """A sentence on how much of a kind is there, and whether the code that is here made it.

    Raises:
        FileNotFoundError: where the kind has not two whole seeds.
    """
    if kind not in design.seeds:
        raise FileNotFoundError(f"{kept.folder}: wanted two seeds of {kind}; came fewer. `make transfer` makes them")
    wanted = sweep.jobs(profile, design, [kind])
    planned = sweep.DESIGNS[profile].seeds[kind]
    other = len(kept.missing(wanted))
    made = "the code that is here" if not other else f"other code than is here ({other} of {len(wanted)} trainings)"
    seeds = f"{design.seeds[kind]} of {planned} seeds of {len(design.functions)} functions, {len(wanted)} trainings"
    return f"**The records**: `python -m actlab transfer --profile {profile}`, made by {made}: {seeds} of {kind}."


def anew(kind: str, profile: str, kept: Records, data: Sequence[str] | None = None) -> str:
    """Trains a slice of a kind anew, and says in a sentence what came of it.

    At smoke it is ReLU and GELU on smoke's own settings, into the build folder, unless they are there; at other
    profiles GELU's first seed, which is compared with its record.

    Args:
        kind: of `sweep.BENCHMARKS`.
        profile: the notebook's.
        kept: the laptop's records.
        data: which of the kind's data sets are trained on again; all by default.
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
    """A benchmark's configuration as a table: setting, value, and the words that stand beside it in its source."""
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
    """The data sets of a profile, a row each with the line that one which is not there ends a run with.

    Returns:
        Columns data, there (whether it can be read) and message.
    """
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
    """Mean and 95 % t interval of `value` over the rows of each group; without an interval where there is one row.

    Returns:
        The columns of `by`, n, value, low, high.
    """
    rows = []
    for key, part in table.groupby(list(by), sort=False):
        values = part["value"].to_numpy(float)
        found = {"value": values.mean()}
        if len(values) > 1:
            found = stats.paired_t(values, np.zeros(len(values))).columns("value")
        rows.append(dict(zip(by, key, strict=True)) | {"n": len(values)} | found)
    return pd.DataFrame(rows, columns=[*by, "n", "value", "low", "high"])


def tests(rows: pd.DataFrame) -> pd.DataFrame:
    """Each test of each function, in batches: mean and interval over the runs in which it was scored.

    Returns:
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
        table[table["function"].isin(names)]
        .sort_values("function", key=lambda c, names=names: c.map(names.index), kind="stable")
        .assign(panel=group)
        for group, names in GROUPS.items()
    ]
    return pd.concat(parts, ignore_index=True)


def whole_against_batches(scores: pd.DataFrame) -> pd.DataFrame:
    """The whole test set as one batch against batches of the training size, for functions of which both were made.

    Args:
        scores: as `statistics.scores` returns them, of functions that see their batch.

    Returns:
        Columns data, split, function, n (runs of which both were scored), batches, whole, difference (of the whole
        over batches), low, high: 95 % paired t over seeds.
    """
    rows = []
    seen = scores[scores["function"].map(sweep.sees_its_batch) & ~scores["failed"] & scores["whole"].notna()]
    for key, part in seen.groupby(["data", "split", "function"], sort=False):
        if len(part) > 1:
            found, names = stats.paired_t(part["whole"], part["value"]), ("data", "split", "function")
            row = dict(zip(names, key, strict=True)) | {"n": found.n, "batches": part["value"].mean()}
            rows.append(row | {"whole": part["whole"].mean()} | found.columns("difference"))
    columns = ["data", "split", "function", "n", "batches", "whole", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


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
    order = list(dict.fromkeys(scores["function"]))
    return over_seeds(wide.sort_values("function", key=lambda c: c.map(order.index), kind="stable"), ["function"])


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
    where = compared["split"].map({"in-distribution": "in distribution", "ood": "OOD"})
    tasks = compared["task"] + ", " if compared["task"].nunique() > 1 else ""
    columns = tasks + where + ", over " + compared["other"].map(label)
    table = compared[["function"]].assign(column=columns, said=said)
    wide = table.pivot(index="function", columns="column", values="said")
    wide = wide.loc[list(dict.fromkeys(table["function"])), list(dict.fromkeys(columns))]
    return wide.rename(index=label).reset_index().rename_axis(columns=None)


def verdicts(compared: pd.DataFrame) -> str:
    """Who is better or worse than each reference, in sentences, from planned rows of `statistics.against`."""
    parts = []
    for (other, split), rows in compared.groupby(["other", "split"], sort=False):
        said = {v: ", ".join(map(label, rows.loc[rows["verdict"] == v, "function"])) for v in ("better", "worse")}
        words = "; ".join(f"{verdict}: {names or 'none'}" for verdict, names in said.items())
        parts.append(f"Against {label(other)} {'OOD' if split == 'ood' else 'in distribution'}, {words}.")
    return " ".join([*parts, "All others are undecided."])


def decided(compared: pd.DataFrame) -> pd.DataFrame:
    """Which functions are better and which worse: columns task, split, against, better, worse, as readers know them.

    Args:
        compared: planned comparisons, as `statistics.against` returns them.
    """
    words = {"in-distribution": "in distribution", "ood": "OOD"}
    rows = []
    for (task, split, other), part in compared.groupby(["task", "split", "other"], sort=False):
        names = part["function"].map(label)
        sides = (", ".join(names[part["verdict"] == verdict]) or "none" for verdict in ("better", "worse"))
        rows.append((task, words[split], label(other), *sides))
    return pd.DataFrame(rows, columns=["task", "split", "against", "better", "worse"])
