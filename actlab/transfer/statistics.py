"""Statistics of transfer: scores, comparisons, Figure 6, Table 2, and whether the lab's order carries over.

Rows are those of `make transfer` (`sweep.records`), and the argument `scores` is what `scores` returns. A kind is a
benchmark. A data set is a task; the algorithms are many, so their mean by seed is one task, as in the paper's column
CLRS-30. A score is better when higher. Runs of a task differ in their seeds; 95 % intervals are for new seeds on the
same data sets. The paper gives no intervals, and no formula for its Figure 6: all here is [ours], except the numbers in
`paper`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

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


def scores(rows: pd.DataFrame, functions: Sequence[str] | None = None) -> pd.DataFrame:
    """The test scores of each run: in distribution, and out of it as the plain mean over shifts and severities.

    Of molhiv it is the test on the scaffolds that ogb tests on, without the one on those that ogb validates on. A test
    that ran out of memory or diverged counts as chance, and so do all tests of a run whose training failed. `rows` have
    the function and `interface.COLUMNS`, with the same seeds and tests of a data set for all `functions`, which give
    the order.

    Columns benchmark, data, split, function, seed; value (in batches of the training size), whole (the whole test set
    as one batch: the value itself for a function that sees no batch, of which no such test was made; NaN where only
    some tests of the split were), outcome (the first that is not "scored") and failed (whether a test counts as
    chance).

    Raises ValueError: a test is there twice or missing, is scored without a finite value, or has an unknown metric.
    """
    tests = rows[rows["split"].isin(SPLITS)]
    official = tests["data"].map(OFFICIAL)
    tests = tests[(tests["split"] != "ood") | official.isna() | (tests["shift"] == official)]
    functions = list(dict.fromkeys(tests["function"] if functions is None else functions))
    tests = tests[tests["function"].isin(functions)]
    failed, value = tests["outcome"] != "scored", tests["value"].astype(float)
    _refuse(tests[tests.duplicated([*RUN, *TEST, "evaluation"])], "each test of a run once; came twice")
    _refuse(tests[~failed & ~np.isfinite(value)], "finite values where the outcome is scored; came none")
    _refuse(tests[~tests["metric"].isin(CHANCE)], f"metrics among {', '.join(CHANCE)}; came another")
    chance = tests["data"].map(CHANCE_ON).fillna(tests["metric"].map(CHANCE))
    tests = _with_untested(tests.assign(failed=failed, value=value.where(~failed, chance)))
    batches, whole = (tests[tests["evaluation"] == name] for name in ("batches", "whole"))
    _complete(batches, functions)
    split = batches.groupby([*RUN, "split"])
    table = split.agg(value=("value", "mean"), outcome=("outcome", _first_failure), failed=("failed", "any"))
    as_one = whole.groupby([*RUN, "split"])["value"].agg(["mean", "size"]).reindex(table.index)
    table.insert(1, "whole", as_one["mean"].where(as_one["size"] == split.size()))
    table = table.reset_index()
    table["whole"] = table["whole"].where(_among_rows(table, whole, RUN[:3]), table["value"])
    orders = {name: list(dict.fromkeys(tests[name])) for name in ("benchmark", "data")}
    orders |= {"split": list(SPLITS), "function": functions, "seed": sorted(set(tests["seed"]))}
    table = table.sort_values(list(orders), key=lambda c: c.map(orders[c.name].index), ignore_index=True)
    return table[[*orders, "value", "whole", "outcome", "failed"]]


def _refuse(bad: pd.DataFrame, wanted: str) -> None:
    if len(bad):
        first = ", ".join(f"{name} {bad.iloc[0][name]}" for name in [*RUN, *TEST, "metric", "evaluation"])
        raise ValueError(f"scores: wanted {wanted}: {len(bad)} rows, the first {first}")


def _among_rows(table: pd.DataFrame, others: pd.DataFrame, columns: list[str]) -> np.ndarray:
    return pd.MultiIndex.from_frame(table[columns]).isin(pd.MultiIndex.from_frame(others[columns]))


def _first_failure(outcomes: pd.Series) -> str:
    return next((outcome for outcome in outcomes if outcome != "scored"), "scored")


def _with_untested(tests: pd.DataFrame) -> pd.DataFrame:
    """The tests, with a row of each run whose training failed for every test of its data set."""
    alone = tests["failed"] & (tests.groupby(RUN)["value"].transform("size") == 1)
    made, lost = tests[~alone], tests[alone].drop(columns=[*TEST, "evaluation"])
    untested = lost[~_among_rows(lost, made, RUN[:2])]
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
    """The scores of each task: those of a data set as they are, and the mean by seed of several algorithms.

    Columns benchmark, task (the data set, or such as "mean of 5 algorithms"), split, planned, function, seed, value,
    failed (how many data sets failed). The algorithms follow their mean, with planned False.
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


def against(scores: pd.DataFrame, references: Sequence[str] = ("relu", "gelu")) -> pd.DataFrame:
    """Each function against the references on each task and split, paired by seed.

    The family of Holm's correction is every planned comparison: each function but the reference, times the references,
    the tasks and the splits (the two references are compared twice, once from each side). Comparisons on single
    algorithms are descriptive.

    Columns benchmark, task, split, planned, function, other, n (seeds), difference (of function over other: positive
    favours the function), low, high, p (`stats.paired_t`), p_holm (NaN where not planned), verdict (`stats.decided`, of
    the function; "" where not planned), improvement (the share of seeds on which the function has the higher score,
    ties counting half) with improvement_low and improvement_high, failed and other_failed (tests of the two that count
    as chance, one a seed and data set).
    """
    _among(scores, references)
    rows = []
    for key, part in tasks(scores).groupby(TASK, sort=False):
        values, failed = _by_seed(part), part.groupby("function")["failed"].sum()
        for other, function in itertools.product(references, values.index):
            if function == other:
                continue
            a, b = values.loc[function], values.loc[other]
            found, better = stats.paired_t(a, b), stats.probability_of_improvement(-a, -b)
            row = dict(zip(TASK, key, strict=True)) | {"function": function, "other": other, "n": found.n}
            row |= found.columns("difference") | {"p": found.p_value} | better.columns("improvement", "improvement_")
            rows.append(row | {"failed": failed[function], "other_failed": failed[other]})
    table = pd.DataFrame(rows)
    planned = table["planned"]
    decided = stats.decided(table[planned], "difference", "worse", "better")
    return pd.concat([decided, table[~planned].assign(verdict="")]).sort_index()


def _among(scores: pd.DataFrame, wanted: Sequence[str]) -> None:
    if lacking := [name for name in wanted if name not in set(scores["function"])]:
        raise ValueError(f"wanted scores of {', '.join(lacking)}; came {', '.join(scores['function'].unique())}")


def _by_seed(part: pd.DataFrame) -> pd.DataFrame:
    """The values of a task and split, [functions, seeds], functions in their order."""
    return part.pivot(index="function", columns="seed", values="value").loc[part["function"].unique()]


def figure_6(means: pd.DataFrame, reference: str = "relu") -> pd.DataFrame:
    """The paper's downstream profile: log ratios of standardised scores to ReLU's, by a formula that is [derived].

    On each task, z = (score - mean) / standard deviation (ddof 1) over the functions, s = z - min z + 1, and the value
    is ln(s / s of ReLU) [derived: it gives the paper's order and range]. It depends on which functions are in the set,
    and magnifies small gaps. A task on which all functions are equal gives 0.

    `means`, and what is returned, have the columns task, split, function, value; returned are functions from the lowest
    mean to the highest, with rows of the task "mean", split "both".
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
    """Raw log ratios of scores to a reference's, ln(score / reference) by seed, on each task and over the kinds.

    The mean over kinds is the task "mean" (`_mean_of_kinds`). Both splits come from the same runs: for the split "both"
    their log ratios are averaged by seed first. A score below `floor`, above 0, counts as the floor; failed algorithms
    have such scores. With `detail` there are also single algorithms, and means over kinds of each split.

    Columns task, split, function, n (seeds; of a mean, of all kinds together), value, low, high, p (that it is 0),
    floored (how many of these seeds had a score below the floor, the function's or the reference's); functions from the
    lowest mean to the highest.
    """
    _among(scores, [reference])
    values = {key: _by_seed(part) for key, part in tasks(scores).groupby(TASK, sort=False) if key[3] or detail}
    logs = {key: np.log(value.clip(lower=floor)) for key, value in values.items()}
    ratios = {key: log - log.loc[reference] for key, log in logs.items()}
    table = _over_seeds(ratios, {key: ratio for key, ratio in ratios.items() if key[3]}, detail)
    low = {key: ((value < floor) | (value.loc[reference] < floor)).sum(axis=1) for key, value in values.items()}
    table["floored"] = [
        sum(count[row.function] for key, count in low.items() if _counts(key, row.task, row.split))
        for row in table.itertuples()
    ]
    order = table.loc[(table["task"] == MEAN) & (table["split"] == BOTH)].sort_values("value", kind="stable")
    return stats.in_order(table, order["function"]).reset_index(drop=True)


def overall(scores: pd.DataFrame, reference: str = "relu", floor: float = FLOOR) -> pd.DataFrame:
    """Each function against a reference by the mean of the log ratios over kinds and both splits, as in `log_ratios`.

    Columns function, other, n, value (positive favours the function), low, high, p, p_holm (over these rows), verdict
    (`stats.decided`, of the function); the highest value first.
    """
    table = log_ratios(scores, reference, floor).query("task == @MEAN and function != @reference")
    table = table.assign(other=reference)[["function", "other", "n", "value", "low", "high", "p"]]
    return stats.decided(table, "value", "worse", "better")[::-1].reset_index(drop=True)


def _counts(key: tuple, task: str, split: str) -> bool:
    """Whether a key of `tasks` is the task and split, or one of those behind a mean."""
    return (key[3] if task == MEAN else key[1] == task) and split in (key[2], BOTH)


def _over_seeds(values: Mapping[tuple, pd.DataFrame], kinds: Mapping[tuple, pd.DataFrame], every: bool) -> pd.DataFrame:
    """Each function's mean and interval on each task, and over the tasks of `kinds`, of which most kinds have one.

    Both are tables [functions, seeds] by key of `tasks`. With `every` there is a mean over kinds of each split too, not
    of both splits alone. Columns task, split, function, n, value, low, high, p.
    """
    found = {key[1:3]: [table] for key, table in values.items()}
    for splits in (*([split] for split in SPLITS if every), SPLITS):
        found[MEAN, BOTH if len(splits) > 1 else splits[0]] = [
            sum(table for key, table in kinds.items() if key[:2] == kind and key[2] in splits) / len(splits)
            for kind in dict.fromkeys(key[:2] for key in kinds)
        ]
    rows = [
        (*where, name, *_mean_of_kinds([table.loc[name].to_numpy() for table in tables]))
        for where, tables in found.items()
        for name in tables[0].index
    ]
    return pd.DataFrame(rows, columns=["task", "split", "function", "n", "value", "low", "high", "p"])


def _mean_of_kinds(runs: Sequence[np.ndarray]) -> tuple[int, float, float, float, float]:
    """Number of runs of all kinds together, the mean of the kinds' means, its 95 % interval, and p that it is 0.

    Kinds are fixed and their runs independent: it is a `stats.weighted_mean`. Runs that all agree on a value but 0 have
    the sign-flip test's p, as in `stats.paired_t`.
    """
    if min(len(run) for run in runs) < 2:
        raise ValueError(f"wanted at least 2 seeds of each kind, got {', '.join(str(len(run)) for run in runs)}")
    n, found = sum(map(len, runs)), stats.weighted_mean(runs, [1 / len(runs)] * len(runs))
    mean, low, high, p_value = map(float, found)
    if max(map(np.ptp, runs)) < 1e-12:
        p_value = 1.0 if abs(mean) < 1e-12 else 2.0 ** (1 - n)
    return n, mean, low, high, p_value


def pairs(
    lab: Mapping[str, Mapping[str, float]], scores: pd.DataFrame, functions: Sequence[str] | None = None
) -> pd.DataFrame:
    """The mean log ratio of losses in the lab and the score on each downstream task of each function, side by side.

    `lab` has the former by suite and function. `functions` are such as the pointwise ones alone; by default all that
    have scores and are in the suite; a ValueError names those without a score or loss.

    Columns suite, task, split, function, lab (lower is better), transfer (the mean score over seeds; higher is better),
    low, high. Of the task "mean", transfer is the mean over kinds of standardised scores (less their mean, over their
    standard deviation, of the functions that are shown), for each split and for both. Intervals are as in `log_ratios`,
    but not paired with any other function.
    """
    table, parts = tasks(scores).query("planned"), []
    for suite, losses in lab.items():
        names = functions or [name for name in dict.fromkeys(table["function"]) if name in losses]
        _among(table, names)
        if lacking := [name for name in names if name not in losses]:
            raise ValueError(f"pairs: wanted losses of {', '.join(lacking)} on {suite}; came {', '.join(losses)}")
        values = {key: _by_seed(part).loc[list(names)] for key, part in table.groupby(TASK, sort=False)}
        even = {key: _standardised(value) for key, value in values.items()}
        part = _over_seeds(values, even, every=True).rename(columns={"value": "transfer"})
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
    """Rank correlation of lab and transfer over functions: positive where functions that the lab prefers transfer.

    The intervals are of a bootstrap over functions, with this seed: scores count as known, and as few functions give
    wide intervals. `pairs` are those of `pairs` or `paper_pairs`, of four functions or more that do not all tie.

    Columns suite, task, split, n (functions), spearman, spearman_low, spearman_high, kendall, kendall_low,
    kendall_high.
    """

    def row(part: pd.DataFrame) -> dict[str, float]:
        found = stats.rank_correlation(-part["lab"], part["transfer"], np.random.default_rng(seed))
        spearman = found.spearman.columns("spearman", "spearman_")
        return {"n": len(part)} | spearman | found.kendall.columns("kendall", "kendall_")

    return stats.by_group(pairs, ["suite", "task", "split"], row)


def table_2(scores: pd.DataFrame, sizes: tuple[int, int] = (16, 64)) -> pd.DataFrame:
    """The paper's downstream columns and ours side by side; ours as mean and interval over seeds.

    `sizes` are the nodes of the algorithms' tests in and out of distribution, for the titles.

    Columns function (the paper's first, in its order), "paper: CIFAR-10 accuracy" and so on (such as 0.948, or OOM),
    and one a task and split, named by its own data set, such as `0.971 [0.968, 0.974]`, with the number of failed runs
    that count as chance behind it. All is text; what one side lacks is NaN.
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
        place = SPLITS.index(split)
        title = f"CLRS, {task}, n={sizes[place]}" if benchmark == MANY else f"{task}, {(SPLITS[0], 'OOD')[place]}"
        cells = {name: f"{stats.paired_t(runs, np.zeros(len(runs))):.3f}" for name, runs in values.iterrows()}
        lost = {name: f" ({count} failed)" for name, count in failed.items() if count}
        columns[title] = {name: cell + lost.get(name, "") for name, cell in cells.items()}
    return pd.DataFrame(columns).rename_axis("function")


def failures(scores: pd.DataFrame) -> pd.DataFrame:
    """The paper's runs out of memory beside our failed runs: columns function, paper, ours; functions with either."""
    table = paper.table_2().set_index("function")[[*PAPER_TASKS]].rename(columns=PAPER_TASKS)
    theirs = {name: [f"{task}: {paper.OOM}" for task in row.index[row == paper.OOM]] for name, row in table.iterrows()}
    seeds, ours = scores.groupby("data")["seed"].nunique(), {name: [] for name in scores["function"]}
    lost = scores[scores["failed"]].groupby(["function", "data", "outcome"], sort=False)["seed"].nunique()
    for (function, data, outcome), count in lost.items():
        ours[function].append(f"{data}: {count} of {seeds[data]} {outcome}")
    rows = [
        (name, ", ".join(theirs.get(name, [])) or "none", ", ".join(ours.get(name, ["not run"])) or "none")
        for name in dict.fromkeys([*theirs, *lost.index.get_level_values("function")])
        if theirs.get(name) or ours.get(name)
    ]
    return pd.DataFrame(rows, columns=["function", "paper", "ours"])
