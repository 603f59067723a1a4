"""Statistics of transfer: scores, comparisons, Figure 6, Table 2, and whether the lab's order carries over.

Rows are those of `make transfer` (`sweep.Records`). A kind is a benchmark. A data set is a task; of algorithms,
which are many, the mean by seed is the one task, as in the paper's column CLRS-30. A score is better when higher. Runs
of a task differ in their seeds, and intervals speak of new seeds on the same data sets. The paper shows
no intervals, and of its Figure 6 no formula: all here is [ours], but for the numbers in `paper`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t as student

from actlab.core import paper, stats

CHANCE = {"accuracy": 0.1, "roc_auc": 0.5, "score": 0.0}  # what a failed test counts as; accuracy among ten classes
CHANCE_ON = {"ImageNet": 0.001}  # data sets of another chance: a thousand classes
OFFICIAL = {"ogbg-molhiv": "scaffold"}  # the one shift that a data set's published OOD numbers are of
MANY = "algorithms"  # the kind whose task is the mean over its data sets
FLOOR = 0.01  # the lowest score that counts in a log ratio
SPLITS = ("in-distribution", "ood")
MEAN, BOTH = "mean", "both"  # the task that is the mean over kinds, and the split that is the mean of the two
RUN = ["benchmark", "data", "function", "seed"]
TEST = ["split", "shift", "severity"]
TASK = ["benchmark", "task", "split", "planned"]
PAIR = ["suite", "task", "split", "function", "lab", "transfer", "low", "high"]
PAPER_TASKS = {
    "cifar10_accuracy": "CIFAR-10 accuracy",
    "clrs30_score": "CLRS-30 score",
    "molhiv_auc": "ogbg-molhiv AUC",
    "imagenet_top1": "ImageNet top-1",
}


# --- scores ---------------------------------------------------------------------------------------


def scores(
    rows: pd.DataFrame, functions: Sequence[str] | None = None, chance: Mapping[str, float] = CHANCE
) -> pd.DataFrame:
    """The test scores of each run: in distribution, and out of it as the plain mean over shifts and severities.

    Of molhiv it is the test on the scaffolds that ogb tests on, without the one on those that ogb validates on. A test
    that ran out of memory or diverged counts as chance, and so do all tests of a run whose training failed.

    Args:
        rows: columns function and `interface.COLUMNS`; on a data set, the same seeds and tests for every function.
        functions: which, in this order; all by default.
        chance: by metric; a data set in `CHANCE_ON` has its own.

    Returns:
        Columns benchmark, data, split, function, seed; value (in batches of the training size), whole (the whole test
        set as one batch: the value itself where no such test was made of a function, which then sees no batch; NaN
        where it was made of some tests of the split only), outcome (the first that is not "scored") and failed
        (whether a test counts as chance).

    Raises:
        ValueError: where a test is there twice, lacks, is scored without a finite value, or has an unknown metric.
    """
    tests = rows[rows["split"].isin(SPLITS)]
    official = tests["data"].map(OFFICIAL)
    tests = tests[(tests["split"] != "ood") | official.isna() | (tests["shift"] == official)]
    functions = list(dict.fromkeys(tests["function"] if functions is None else functions))
    tests = tests[tests["function"].isin(functions)]
    failed, value = tests["outcome"] != "scored", tests["value"].astype(float)
    _refuse(tests[tests.duplicated([*RUN, *TEST, "evaluation"])], "each test of a run once; came twice")
    _refuse(tests[~failed & ~np.isfinite(value)], "finite values where the outcome is scored; came none")
    _refuse(tests[~tests["metric"].isin(chance)], f"metrics among {', '.join(chance)}; came another")
    worth = tests["data"].map(CHANCE_ON).fillna(tests["metric"].map(chance))
    tests = tests.assign(failed=failed, value=value.where(~failed, worth))
    tests = _with_untested(tests)
    batches, whole = (tests[tests["evaluation"] == name] for name in ("batches", "whole"))
    _complete(batches, functions)
    split = batches.groupby([*RUN, "split"])
    table = split.agg(value=("value", "mean"), outcome=("outcome", _outcome), failed=("failed", "any"))
    as_one = whole.groupby([*RUN, "split"])["value"].agg(["mean", "size"]).reindex(table.index)
    table.insert(1, "whole", as_one["mean"].where(as_one["size"] == split.size()))
    table = table.reset_index()
    sees_batch = pd.MultiIndex.from_frame(table[RUN[:3]]).isin(pd.MultiIndex.from_frame(whole[RUN[:3]]))
    table["whole"] = table["whole"].where(sees_batch, table["value"])
    orders = {name: list(dict.fromkeys(tests[name])) for name in ("benchmark", "data")}
    orders |= {"split": list(SPLITS), "function": functions, "seed": sorted(set(tests["seed"]))}
    table = table.sort_values(list(orders), key=lambda c: c.map(orders[c.name].index), ignore_index=True)
    return table[[*orders, "value", "whole", "outcome", "failed"]]


def _refuse(bad: pd.DataFrame, wanted: str) -> None:
    if len(bad):
        first = ", ".join(f"{name} {bad.iloc[0][name]}" for name in [*RUN, *TEST, "metric", "evaluation"])
        raise ValueError(f"scores: wanted {wanted}: {len(bad)} rows, the first {first}")


def _outcome(outcomes: pd.Series) -> str:
    return next((outcome for outcome in outcomes if outcome != "scored"), "scored")


def _with_untested(tests: pd.DataFrame) -> pd.DataFrame:
    """The one row of a run whose training failed, in all the tests that were not made of it."""
    alone = tests["failed"] & (tests.groupby(RUN)["value"].transform("size") == 1)
    made, lost = tests[~alone], tests[alone].drop(columns=[*TEST, "evaluation"])
    untested = lost[~pd.MultiIndex.from_frame(lost[RUN[:2]]).isin(pd.MultiIndex.from_frame(made[RUN[:2]]))]
    if len(untested):
        raise ValueError(f"scores: wanted a run that could be tested on {untested.iloc[0]['data']}; all failed")
    parts = [made]
    for evaluation, same in (("batches", RUN[:2]), ("whole", RUN[:3])):
        asked = made.loc[made["evaluation"] == evaluation, [*same, *TEST, "evaluation"]].drop_duplicates()
        parts.append(lost.merge(asked, on=same))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def _complete(batches: pd.DataFrame, functions: Sequence[str]) -> None:
    for (benchmark, data), part in batches.groupby(["benchmark", "data"], sort=False):
        asked = part[TEST].drop_duplicates()
        if lacking := set(SPLITS) - set(asked["split"]):
            raise ValueError(f"scores: wanted tests {' and '.join(SPLITS)} of {benchmark}, {data}; no {lacking} came")
        runs = pd.MultiIndex.from_product([functions, part["seed"].unique()], names=["function", "seed"])
        made = part.groupby(["function", "seed"]).size().reindex(runs, fill_value=0)
        if len(short := made[made < len(asked)]):
            (function, seed), count = short.index[0], short.iloc[0]
            raise ValueError(
                f"scores: wanted {len(asked)} tests in batches of each of {len(runs)} runs on {benchmark}, {data}; "
                f"{len(short)} have fewer, the first {function} from seed {seed} with {count}"
            )


def tasks(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores a task: of a data set as they are, of several algorithms their mean by seed.

    Returns:
        Columns benchmark, task (the data set, or such as "mean of 5 algorithms"), split, planned, function, seed,
        value, failed (how many data sets failed). The algorithms follow their mean, with planned False.

    Raises:
        ValueError: where the algorithms differ in their seeds.
    """
    parts = []
    for benchmark, part in scores.groupby("benchmark", sort=False):
        single = part.rename(columns={"data": "task"})
        count = part["data"].nunique() if benchmark == MANY else 1
        if count > 1:
            runs = part.groupby(["benchmark", "split", "function", "seed"], sort=False)
            mean = runs.agg(value=("value", "mean"), failed=("failed", "sum")).reset_index()
            if not (runs.size() == count).all():
                raise ValueError(f"tasks: wanted the same seeds on each of {count} data sets of {benchmark}")
            parts.append(mean.assign(task=f"mean of {count} {benchmark}", planned=True))
        parts.append(single.assign(planned=count == 1, failed=single["failed"].astype(int)))
    table = pd.concat(parts, ignore_index=True)
    return table[[*TASK, "function", "seed", "value", "failed"]]


def means(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean score over seeds of each function on each task, for `figure_6`: columns task, split, function, value."""
    table = tasks(scores).query("planned")
    return table.groupby(["task", "split", "function"], sort=False)["value"].mean().reset_index()


# --- comparisons ----------------------------------------------------------------------------------


def against(scores: pd.DataFrame, references: Sequence[str] = ("relu", "gelu")) -> pd.DataFrame:
    """Each function against the references on each task and split, paired by seed.

    The family of Holm's correction is every planned comparison: each function but the reference, times the references,
    the tasks and the splits (the two references meet twice, once from each side). Single algorithms describe only.
    Where all differences are equal, and not 0, Student's interval has no width and its p would be 0: then p is the
    sign-flip test's, 2^(1 - n).

    Returns:
        Columns benchmark, task, split, planned, function, other, n (seeds), difference (of function over other:
        positive favours the function), low, high, p, p_holm (NaN where not planned), verdict (better, worse or
        undecided, by p_holm < 0.05; "" where not planned), improvement (the share of seeds on which the function has
        the higher score, ties counting half) with improvement_low and improvement_high, failed and other_failed (tests
        of the two that count as chance, one a seed and data set).
    """
    _among(scores, references)
    rows = []
    for key, part in tasks(scores).groupby(TASK, sort=False):
        values, failed = _by_seed(part), part.groupby("function")["failed"].sum()
        for other in references:
            for function in values.index.drop(other):
                a, b = values.loc[function], values.loc[other]
                found, better = stats.paired_t(a, b), stats.probability_of_improvement(-a, -b)
                flat = np.ptp(a - b) < 1e-12 < abs(found.estimate)
                row = dict(zip(TASK, key, strict=True)) | {"function": function, "other": other, "n": found.n}
                row |= {"difference": found.estimate, "low": found.low, "high": found.high}
                row |= {"p": 2.0 ** (1 - found.n) if flat else found.p_value, "improvement": better.estimate}
                row |= {"improvement_low": better.low, "improvement_high": better.high}
                rows.append(row | {"failed": failed[function], "other_failed": failed[other]})
    table = pd.DataFrame(rows)
    planned = table["planned"]
    table.insert(table.columns.get_loc("p") + 1, "p_holm", np.nan)
    table.loc[planned, "p_holm"] = stats.holm(table.loc[planned, "p"])
    side = np.where(table["difference"] > 0, "better", "worse")
    verdict = np.where(table["p_holm"] < 0.05, side, np.where(planned, "undecided", ""))
    table.insert(table.columns.get_loc("p_holm") + 1, "verdict", verdict)
    return table


def _among(scores: pd.DataFrame, wanted: Sequence[str]) -> None:
    if lacking := [name for name in wanted if name not in set(scores["function"])]:
        raise ValueError(f"wanted scores of {', '.join(lacking)}; came {', '.join(scores['function'].unique())}")


def _by_seed(part: pd.DataFrame) -> pd.DataFrame:
    """The values of a task and split, [functions, seeds], functions in their order."""
    return part.pivot(index="function", columns="seed", values="value").loc[part["function"].unique()]


# --- Figure 6 -------------------------------------------------------------------------------------


def figure_6(means: pd.DataFrame, reference: str = "relu") -> pd.DataFrame:
    """The paper's downstream profile: log ratios of standardised scores to ReLU's, by a formula that is [derived].

    Of a task's scores z = (score - mean) / standard deviation (ddof 1) over the functions, s = z - min z + 1, and the
    value is ln(s / s of ReLU) [derived: it gives the paper's order and range]. It depends on which functions are in
    the set, and blows up small gaps. A task on which all functions are equal gives 0.

    Args:
        means: columns task, split, function, value (finite), as `means` and `paper_means` return them.
        reference: whose value is 0.

    Returns:
        The same columns, functions from the lowest mean to the highest, with rows of the task "mean", split "both".

    Raises:
        ValueError: where the reference or a value is missing.
    """
    _among(means, [reference])
    wide = means.pivot(index="function", columns=["task", "split"], values="value")
    wide = wide[pd.MultiIndex.from_frame(means[["task", "split"]]).unique()]
    if not np.isfinite(wide.to_numpy()).all():
        raise ValueError(f"figure_6: wanted a finite score of each function on each task; got\n{wide}")
    z = (wide - wide.mean()) / wide.std().where(np.ptp(wide.to_numpy(), axis=0) > 0, 1.0)
    logs = np.log(z - z.min() + 1)
    logs = logs - logs.loc[reference]
    logs[MEAN, BOTH] = logs.mean(axis=1)
    return logs.sort_values((MEAN, BOTH), kind="stable").unstack().rename("value").reset_index()


def paper_means() -> pd.DataFrame:
    """The paper's Table 2 for `figure_6`: its four downstream scores of the functions without an OOM; split is ""."""
    table = paper.table_2(numeric=True)[["function", *PAPER_TASKS]].dropna().rename(columns=PAPER_TASKS)
    return table.melt("function", var_name="task").assign(split="")[["task", "split", "function", "value"]]


def log_ratios(
    scores: pd.DataFrame, reference: str = "relu", floor: float = FLOOR, detail: bool = False
) -> pd.DataFrame:
    """Raw log ratios of scores to a reference's, ln(score / reference) by seed, with 95 % intervals over seeds.

    Of a task, Student's paired interval. Of the mean over tasks (kinds, where each has one): they are fixed, their runs
    independent, so that the variances of their means add up (over the squared number of tasks), with Satterthwaite's
    degrees of freedom.
    Both splits of a run share its luck: for the split "both" their log ratios are averaged by seed first. A score
    below `floor`, which a failed algorithm has, counts as the floor.

    Args:
        scores: as `scores` returns them.
        reference: whose log ratio is 0.
        floor: the lowest score that counts, above 0.
        detail: whether single algorithms, and means over kinds of each split, come with the planned tasks and the mean
            over all.

    Returns:
        Columns task, split, function, n (seeds; of a mean, of all kinds together), value, low, high, p (that it is 0),
        floored (how many of these seeds had a score below the floor, the function's or the reference's); functions
        from the lowest mean to the highest. The mean over kinds is the task "mean".
    """
    _among(scores, [reference])
    values = {key: _by_seed(part) for key, part in tasks(scores).groupby(TASK, sort=False) if key[3] or detail}
    logs = {key: np.log(value.clip(lower=floor)) for key, value in values.items()}
    ratios = {key: log - log.loc[reference] for key, log in logs.items()}
    planned = {key: ratio for key, ratio in ratios.items() if key[3]}
    rows = _of_tasks(ratios)
    for splits in (*([split] for split in SPLITS if detail), SPLITS):
        rows += _over_kinds(planned, splits)
    table = pd.DataFrame(rows, columns=["task", "split", "function", "n", "value", "low", "high", "p"])
    low = {key: ((value < floor) | (value.loc[reference] < floor)).sum(axis=1) for key, value in values.items()}
    table["floored"] = [
        sum(low[key][row.function] for key in low if _counts(key, row.task, row.split)) for row in table.itertuples()
    ]
    last = table[(table["task"] == MEAN) & (table["split"] == BOTH)]
    order = last.sort_values("value", kind="stable")["function"].tolist()
    return table.sort_values("function", key=lambda c: c.map(order.index), kind="stable", ignore_index=True)


def overall(scores: pd.DataFrame, reference: str = "relu", floor: float = FLOOR) -> pd.DataFrame:
    """Each function against a reference by the mean of the log ratios over kinds and both splits, as in `log_ratios`.

    Returns:
        Columns function, other, n, value (positive favours the function), low, high, p, p_holm (over these rows),
        verdict (better, worse or undecided, by p_holm < 0.05); the highest value first.
    """
    table = log_ratios(scores, reference, floor).query("task == @MEAN and function != @reference")
    table = table.assign(other=reference, p_holm=stats.holm(table["p"]))
    side = np.where(table["value"] > 0, "better", "worse")
    table["verdict"] = np.where(table["p_holm"] < 0.05, side, "undecided")
    table = table[["function", "other", "n", "value", "low", "high", "p", "p_holm", "verdict"]]
    return table[::-1].reset_index(drop=True)


def _counts(key: tuple, task: str, split: str) -> bool:
    """Whether a key of `tasks` is the task and split, or one of those behind a mean."""
    return (key[3] if task == MEAN else key[1] == task) and split in (key[2], BOTH)


def _of_tasks(values: Mapping[tuple, pd.DataFrame]) -> list[tuple]:
    """Task, split, function and `_mean_of_kinds` of every function in tables [functions, seeds] by key of `tasks`."""
    return [
        (task, split, name, *_mean_of_kinds([runs.to_numpy()]))
        for (_, task, split, _), table in values.items()
        for name, runs in table.iterrows()
    ]


def _over_kinds(values: Mapping[tuple, pd.DataFrame], splits: Sequence[str]) -> list[tuple]:
    """The same of the mean over tasks, of which most kinds have one; several splits of a run are averaged first."""
    kinds = [
        sum(table for key, table in values.items() if key[:2] == kind and key[2] in splits) / len(splits)
        for kind in dict.fromkeys(key[:2] for key in values)
    ]
    split = BOTH if len(splits) > 1 else splits[0]
    return [(MEAN, split, name, *_mean_of_kinds([k.loc[name].to_numpy() for k in kinds])) for name in kinds[0].index]


def _mean_of_kinds(runs: Sequence[np.ndarray], level: float = 0.95) -> tuple[int, float, float, float, float]:
    """Number of runs of all kinds together, the mean of the kinds' means, its interval, and p that it is 0.

    Runs that all agree on a value but 0 have the sign-flip test's p, as in `against`.

    Source: Welch (1947), Biometrika 34; Satterthwaite (1946), Biometrics Bulletin 2. Of one kind it is Student's.
    """
    if min(len(run) for run in runs) < 2:
        raise ValueError(f"wanted at least 2 seeds of each kind, got {', '.join(str(len(run)) for run in runs)}")
    mean, n = float(np.mean([run.mean() for run in runs])), sum(map(len, runs))
    parts = np.array([run.var(ddof=1) / len(run) for run in runs])
    if np.sqrt(parts.sum()) < 1e-12:
        return n, mean, mean, mean, 1.0 if abs(mean) < 1e-12 else 2.0 ** (1 - n)
    degrees = parts.sum() ** 2 / (parts**2 / [len(run) - 1 for run in runs]).sum()
    error = float(np.sqrt(parts.sum())) / len(runs)
    reach = float(student.ppf((1 + level) / 2, degrees)) * error
    return n, mean, mean - reach, mean + reach, float(2 * student.sf(abs(mean) / error, degrees))


# --- the lab's order ------------------------------------------------------------------------------


def pairs(
    lab: Mapping[str, Mapping[str, float]], scores: pd.DataFrame, functions: Sequence[str] | None = None
) -> pd.DataFrame:
    """What the lab and each downstream task say of each function, side by side.

    Args:
        lab: by suite, each function's mean log ratio of losses; lower is better.
        scores: as `scores` returns them.
        functions: which, such as the pointwise ones alone; by default all that have scores and stand in the suite.

    Returns:
        Columns suite, task, split, function, lab, transfer (the mean score over seeds; higher is better), low, high.
        Of the task "mean" transfer is the mean over kinds of standardised scores (less their mean, over their standard
        deviation, of the functions that are shown), for each split and for both. Intervals are as in `log_ratios`, but
        not paired with any other function.

    Raises:
        ValueError: where one of `functions` has no score or stands not in a suite.
    """
    table, parts = tasks(scores).query("planned"), []
    for suite, losses in lab.items():
        names = functions or [name for name in dict.fromkeys(table["function"]) if name in losses]
        _among(table, names)
        if lacking := [name for name in names if name not in losses]:
            raise ValueError(f"pairs: wanted losses of {', '.join(lacking)} on {suite}; came {', '.join(losses)}")
        values = {key: _by_seed(part).loc[list(names)] for key, part in table.groupby(TASK, sort=False)}
        even = {key: _standardised(value) for key, value in values.items()}
        rows = _of_tasks(values)
        for splits in (*([split] for split in SPLITS), SPLITS):
            rows += _over_kinds(even, splits)
        part = pd.DataFrame(rows, columns=["task", "split", "function", "n", "transfer", "low", "high", "p"])
        parts.append(part.assign(suite=suite, lab=part["function"].map(losses)))
    return pd.concat(parts, ignore_index=True)[PAIR]


def _standardised(values: pd.DataFrame) -> pd.DataFrame:
    """Values [functions, seeds] on the scale on which the functions' means have mean 0 and standard deviation 1."""
    means = values.mean(axis=1)
    return (values - means.mean()) / (means.std() if np.ptp(means) > 0 else 1.0)


def paper_pairs() -> pd.DataFrame:
    """The same of the paper's eight functions without an OOM: mean lab loss, and the mean of its Figure 6 [derived]."""
    table = figure_6(paper_means()).query("task == @MEAN").rename(columns={"value": "transfer"})
    about = {"suite": "paper", "split": "", "lab": table["function"].map(paper.lab_mean), "low": np.nan, "high": np.nan}
    return table.assign(**about).reset_index(drop=True)[PAIR]


def agreement(pairs: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Rank correlation of lab and transfer over the functions: positive where what the lab likes transfers.

    The intervals are of a bootstrap over functions: scores count as known, and as few functions give wide intervals.

    Args:
        pairs: as `pairs` and `paper_pairs` return them.
        seed: of the bootstrap.

    Returns:
        Columns suite, task, split, n (functions), spearman, spearman_low, spearman_high, kendall, kendall_low,
        kendall_high.

    Raises:
        ValueError: where there are fewer than four functions, or all tie.
    """
    rows = []
    for key, part in pairs.groupby(["suite", "task", "split"], sort=False):
        found = stats.rank_correlation(-part["lab"], part["transfer"], np.random.default_rng(seed))
        row = dict(zip(("suite", "task", "split"), key, strict=True)) | {"n": len(part)}
        for name, interval in (("spearman", found.spearman), ("kendall", found.kendall)):
            row |= {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
        rows.append(row)
    return pd.DataFrame(rows)


# --- Table 2 --------------------------------------------------------------------------------------


def table_2(scores: pd.DataFrame, sizes: tuple[int, int] = (16, 64)) -> pd.DataFrame:
    """The paper's downstream columns and ours side by side; ours as mean and 95 % t interval over seeds.

    Args:
        scores: as `scores` returns them.
        sizes: nodes of the algorithms' tests in and out of distribution, for the titles.

    Returns:
        Columns function (the paper's first, in its order), "paper: CIFAR-10 accuracy" and so on (such as 0.948, or
        OOM), and one a task and split, named by its own data set, such as `0.971 [0.968, 0.974]`, with the number of
        failed runs that count as chance behind it. All is text; what one side lacks is NaN.
    """
    theirs = paper.table_2()[["function", *PAPER_TASKS]].set_index("function").rename(columns=PAPER_TASKS)
    theirs = theirs.map(lambda score: score if score == paper.OOM else f"{score:.3f}").add_prefix("paper: ")
    table = pd.concat([theirs, own_table(scores, sizes)], axis=1)
    return table.rename_axis("function").reset_index()


def own_table(scores: pd.DataFrame, sizes: tuple[int, int] = (16, 64)) -> pd.DataFrame:
    """Our columns of `table_2` alone, by function: one a task and split."""
    columns = {}
    for (benchmark, task, split, _), part in tasks(scores).query("planned").groupby(TASK, sort=False):
        values, failed = _by_seed(part), part.groupby("function")["failed"].sum()
        cells = {name: _cell(values.loc[name], failed[name]) for name in values.index}
        columns[_title(benchmark, task, split, sizes)] = cells
    return pd.DataFrame(columns).rename_axis("function")


def _title(benchmark: str, task: str, split: str, sizes: tuple[int, int]) -> str:
    if benchmark == "algorithms":
        return f"CLRS, {task}, n={sizes[SPLITS.index(split)]}"
    return f"{task}, {split if split != 'ood' else 'OOD'}"


def _cell(values: pd.Series, failed: int) -> str:
    text = stats.paired_t(values, np.zeros(len(values))).text()
    return f"{text} ({failed} failed)" if failed else text


def failures(scores: pd.DataFrame) -> pd.DataFrame:
    """The paper's runs out of memory beside our failed runs: columns function, paper, ours; functions with either.

    Args:
        scores: as `scores` returns them.
    """
    table = paper.table_2().set_index("function")[[*PAPER_TASKS]].rename(columns=PAPER_TASKS)
    out = {name: row.index[row == paper.OOM] for name, row in table.iterrows()}
    theirs = {name: ", ".join(f"{column}: {paper.OOM}" for column in columns) for name, columns in out.items()}
    of = scores.groupby("data")["seed"].nunique()
    lost = scores[scores["failed"]].groupby(["function", "data", "outcome"], sort=False)["seed"].nunique()
    ours = {}
    for (function, data, outcome), count in lost.items():
        ours.setdefault(function, []).append(f"{data}: {count} of {of[data]} {outcome}")
    absent = [name for name in theirs if name not in set(scores["function"])]
    rows = [
        (name, theirs.get(name) or "none", ", ".join(ours.get(name, [])) or ("not run" if name in absent else "none"))
        for name in dict.fromkeys([*theirs, *ours])
        if theirs.get(name) or name in ours
    ]
    return pd.DataFrame(rows, columns=["function", "paper", "ours"])


def intervals(table: pd.DataFrame, value: str, low: str = "low", high: str = "high", form: str = ".2f") -> list[str]:
    """A column with its interval as text, such as `0.93 [0.90, 0.96]`, a row each."""
    rows = table[[value, low, high]].itertuples(index=False)
    return [f"{estimate:{form}} [{least:{form}}, {most:{form}}]" for estimate, least, most in rows]
