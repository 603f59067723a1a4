"""How robust claims are across labs: shares of labs, agreement of orders, and the settings that change them (ours).

Labs are independent draws: an interval over labs holds for other labs of the same distribution, with their own data
sets. Columns both_low and both_high are wider: of a hierarchical bootstrap, which also resamples data sets within each
lab and family.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import scipy.stats

from actlab.core import paper, stats
from actlab.core.config import FAMILIES, FitnessConfig
from actlab.lab.distribution import Distribution
from actlab.studies import claim_rules
from actlab.studies.multiverse import Records

TABLE_1 = tuple(sorted(paper.TABLE_1, key=lambda name: paper.TABLE_1[name].ood))  # best first
AGGREGATES = ("mean", "typical")  # of a lab's tasks: Table 1's plain mean of clamped losses, and the mean log
NAMES = claim_rules.NAMES | {"sine": "Sine", "silu": "SiLU", "found": "Found by search"}
RESAMPLES = 2000
ENDS = (0.025, 0.975)  # quantiles of a 95 % percentile interval


@dataclass(frozen=True)
class Statement:
    """That each of some functions has a lower OOD loss than each of some others, in one lab."""

    words: str
    better: tuple[str, ...]
    worse: tuple[str, ...]
    origin: str = "paper"

    @property
    def chance(self) -> float:
        """Its probability where every order of the functions is as likely."""
        a, b = len(self.better), len(self.worse)
        return 1 / math.comb(a + b, a)


def _versus(better: str, worse: str, origin: str = "paper") -> Statement:
    return Statement(f"{NAMES[better]} < {NAMES[worse]}", (better,), (worse,), origin)


STATEMENTS = (
    *(_versus(name, "gelu") for name in claim_rules.DISCOVERED),
    *(_versus(name, "relu") for name in (*claim_rules.DISCOVERED, "gelu")),
    Statement("all discovered < GELU and ReLU", claim_rules.DISCOVERED, ("gelu", "relu")),
    Statement("Turbulent < the other five", ("turbulent",), tuple(name for name in TABLE_1 if name != "turbulent")),
    *(
        Statement(f"{NAMES[name]} < all discovered", (name,), claim_rules.DISCOVERED, "ours")
        for name in ("snake", "sine", "silu")
    ),
    _versus("found", "snake", "ours"),
)
# Added when the shares of those above were known, and corrected by themselves.
LATER = tuple(_versus("found", name, "ours") for name in ("relu", "gelu"))


@dataclass(frozen=True, eq=False)
class Cube:
    """The losses of a multiverse by function, lab and task; a lab's tasks are in its families' order."""

    functions: tuple[str, ...]
    labs: np.ndarray
    values: dict[str, np.ndarray]  # [functions, labs, tasks] for each aggregate
    train: np.ndarray  # [functions, labs], mean training losses
    each: np.ndarray  # [labs], tasks a family

    def scores(self, aggregate: str) -> np.ndarray:
        """One number a function and lab, lower is better: [functions, labs]."""
        return self.values[aggregate].mean(axis=2)

    def resampled(self, aggregate: str, seed: int, resamples: int) -> Iterator[np.ndarray]:
        """`scores` of resampled labs, with resampled tasks within each lab's families."""
        values, generator = self.values[aggregate], np.random.default_rng(seed)
        labs, tasks = values.shape[1:]
        start = np.arange(tasks) // self.each[:, None] * self.each[:, None]
        for _ in range(resamples):
            drawn = generator.integers(labs, size=labs)
            within = (generator.random((labs, tasks)) * self.each[drawn, None]).astype(int)
            yield values[:, drawn[:, None], start[drawn] + within].mean(axis=2)

    def rows(self, names: Sequence[str]) -> list[int]:
        """The places of functions."""
        return [self.functions.index(name) for name in names]

    def at(self, labs: np.ndarray) -> Cube:
        """Some of the labs, by a mask."""
        values = {aggregate: value[:, labs] for aggregate, value in self.values.items()}
        return replace(self, labs=self.labs[labs], values=values, train=self.train[:, labs], each=self.each[labs])


def cube(records: Records, fitness: FitnessConfig) -> Cube:
    """The records, of labs with equally many tasks, as arrays; losses have the clamp and floor of `fitness`.

    Raises ValueError: a lab lacks a function or a task.
    """
    losses, functions = records.losses, tuple(records.losses["function"].unique())
    labs, tasks = records.labs["lab"].to_numpy(int), losses["task"].nunique()
    shape = (len(labs), len(functions), tasks)
    order = np.repeat(functions, tasks)
    if len(losses) != np.prod(shape) or (losses["function"].to_numpy().reshape(len(labs), -1) != order).any():
        raise ValueError(f"wanted losses of {shape} labs, functions and tasks; got {len(losses)} rows")
    ood, train = (losses[c].to_numpy(float).reshape(shape).swapaxes(0, 1) for c in ("ood_mse", "train_mse"))
    values = {"mean": stats.clamped(ood, fitness.clamp)}
    values |= {"typical": stats.log_losses(ood, fitness.clamp, fitness.floor)}
    each = tasks // (records.labs["families"].str.count(r"\+").to_numpy() + 1)
    return Cube(functions, labs, values, stats.clamped(train, fitness.clamp).mean(axis=2), each)


def paper_like(cube: Cube, factor: float = 3.0) -> np.ndarray:
    """Labs in which ReLU's losses are within a factor of Table 1's, training and OOD: a mask [labs]."""
    row, (place,) = paper.TABLE_1["relu"], cube.rows(["relu"])
    train, ood = cube.train[place] / row.train, cube.scores("mean")[place] / row.ood
    return np.all([(1 / factor < ratio) & (ratio < factor) for ratio in (train, ood)], axis=0)


def alike(cube: Cube, factor: float = claim_rules.ALIKE) -> np.ndarray:
    """Labs in which the training losses of Table 1's six lie within a factor of each other, as its own do: a mask."""
    six = cube.train[cube.rows(TABLE_1)]
    return six.max(axis=0) < factor * six.min(axis=0)


def shares(
    cube: Cube, families: Sequence[Sequence[Statement]] = (STATEMENTS, LATER), seed: int = 0, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """In what share of labs each statement holds; statements of one family are corrected together.

    Columns statement, origin, aggregate, n (labs), share with low and high (95 % Wilson over labs), both_low and
    both_high (95 % percentile bootstrap over labs and tasks; redrawn tasks add noise within a lab, which biases shares
    towards `chance`), chance, p (exact binomial against one half), p_holm (of a family, within an aggregate), among
    (how many are corrected together) and verdict: "in most labs", "in few labs" or "undecided" (`stats.decided`).
    """
    statements, parts = list(itertools.chain(*families)), []
    for aggregate in AGGREGATES:
        scores, resampled = cube.scores(aggregate), cube.resampled(aggregate, seed, resamples)
        drawn = [[_holds(one, cube, statement).mean() for statement in statements] for one in resampled]
        both = iter(np.quantile(drawn, ENDS, axis=0).T)
        for family in families:
            rows = []
            for statement in family:
                found = _share(_holds(scores, cube, statement))
                row = {"statement": statement.words, "origin": statement.origin, "aggregate": aggregate, "n": found.n}
                row |= found.columns("share") | dict(zip(("both_low", "both_high"), next(both), strict=True))
                rows.append(row | {"chance": statement.chance, "p": found.p_value})
            parts.append(_decided(rows, "share", "in few labs", "in most labs", 0.5))
    return pd.concat(parts, ignore_index=True)


def _decided(rows: list[dict], effect: str, below: str, above: str, null: float = 0.0) -> pd.DataFrame:
    """`stats.decided`, with the number of comparisons that are corrected together in a column `among`."""
    table = stats.decided(pd.DataFrame(rows), effect, below, above, null)
    table.insert(table.columns.get_loc("verdict"), "among", len(table))
    return table


def _share(held: np.ndarray) -> stats.Comparison:
    return stats.share(int(held.sum()), len(held))


def _holds(scores: np.ndarray, cube: Cube, statement: Statement) -> np.ndarray:
    """Whether the worst of the better ones is below the best of the worse ones: [labs]; a tie does not hold."""
    better, worse = (scores[cube.rows(names)] for names in (statement.better, statement.worse))
    return better.max(axis=0) < worse.min(axis=0)


def ratios(
    cube: Cube, statements: Sequence[Statement] = (*STATEMENTS, *LATER), seed: int = 0, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """How large the pairs' differences are: the mean over labs of the log ratio of OOD losses.

    Columns statement, origin, n, log_ratio (of the better over the worse: below 0 it holds on average), low, high (95 %
    percentile bootstrap over labs and tasks), spread (standard deviation of the labs' ratios).
    """
    pairs = [statement for statement in statements if len(statement.better) == len(statement.worse) == 1]
    places = np.array([cube.rows((*pair.better, *pair.worse)) for pair in pairs]).T

    def gaps(scores: np.ndarray) -> np.ndarray:
        return scores[places[0]] - scores[places[1]]

    drawn = [gaps(one).mean(axis=1) for one in cube.resampled("typical", seed, resamples)]
    low, high = np.quantile(drawn, ENDS, axis=0)
    found = gaps(cube.scores("typical"))
    about = {"statement": [pair.words for pair in pairs], "origin": [pair.origin for pair in pairs]}
    numbers = {"log_ratio": found.mean(axis=1), "low": low, "high": high, "spread": found.std(axis=1, ddof=1)}
    return pd.DataFrame(about | {"n": len(cube.labs)} | numbers)


def taus(cube: Cube, aggregate: str) -> np.ndarray:
    """Kendall's tau-b of each lab's order of Table 1's six with the paper's: [labs]."""
    return _taus(cube.scores(aggregate)[cube.rows(TABLE_1)])


def _signs(scores: np.ndarray) -> np.ndarray:
    """Sign of each pair's difference, in the order of the rows: [pairs, labs]."""
    first, second = np.array(list(itertools.combinations(range(len(scores)), 2))).T
    return np.sign(scores[second] - scores[first])


def _taus(scores: np.ndarray) -> np.ndarray:
    """tau-b with the order of the rows, [functions, labs] -> [labs]; 0 where all tie."""
    signs = _signs(scores)
    untied = np.maximum((signs != 0).sum(axis=0), 1)
    return signs.sum(axis=0) / np.sqrt(untied * len(signs))


def random_taus(count: int = len(TABLE_1)) -> pd.Series:
    """Share of all orders of `count` functions by their tau with a given one."""
    orders = np.array(list(itertools.permutations(range(count)))).T
    return pd.Series(np.round(_taus(orders), 6)).value_counts(normalize=True).sort_index()


def agreement(cube: Cube, seed: int = 0, resamples: int = RESAMPLES) -> pd.DataFrame:
    """How far the labs agree with the paper's order of Table 1, and with each other.

    A row an aggregate: n (labs), tau (mean over labs) with low and high (95 %, over labs), both_low and
    both_high (over labs and tasks; redrawn tasks bias it to 0), p (sign flips), above (share of labs with a tau above
    0), and among with among_low and among_high: the mean tau of two different labs' orders.
    """
    rows, six = [], cube.rows(TABLE_1)
    for aggregate in AGGREGATES:
        found = taus(cube, aggregate)
        whole = stats.paired_difference(found, np.zeros_like(found), np.random.default_rng(seed), flips=resamples)
        drawn = [_taus(one[six]).mean() for one in cube.resampled(aggregate, seed, resamples)]
        both_low, both_high = np.quantile(drawn, ENDS)
        between = _between(_signs(cube.scores(aggregate)[six]), np.random.default_rng(seed), resamples)
        row = {"aggregate": aggregate, "n": whole.n} | whole.columns("tau")
        row |= {"both_low": both_low, "both_high": both_high, "p": whole.p_value, "above": (found > 0).mean()}
        rows.append(row | dict(zip(("among", "among_low", "among_high"), between, strict=True)))
    return pd.DataFrame(rows)


def _between(signs: np.ndarray, generator: np.random.Generator, resamples: int) -> tuple[float, float, float]:
    """Mean tau of pairs of different labs, and its bootstrap interval over labs; signs are [pairs, labs]."""
    signs = signs / np.maximum(np.linalg.norm(signs, axis=0), 1)
    agree, labs = signs.T @ signs, signs.shape[1]

    def mean(weights: np.ndarray) -> float:
        pairs = np.outer(weights, weights)
        np.fill_diagonal(pairs, 0)
        return float((pairs * agree).sum() / pairs.sum())

    counts = (np.bincount(generator.integers(labs, size=labs), minlength=labs) for _ in range(resamples))
    low, high = np.quantile([mean(weights) for weights in counts if np.count_nonzero(weights) > 1], ENDS)
    return mean(np.ones(labs)), float(low), float(high)


def table_3(cube: Cube, shares: pd.DataFrame, ratios: pd.DataFrame, agreed: pd.DataFrame) -> pd.DataFrame:
    """The multiverse in one table [ours]: shares of labs in which statements hold, ratios of losses, and tau.

    The share of labs whose training losses are alike comes from the losses, the rest from the tables of `shares`,
    `ratios` and `agreement`.

    Columns what, origin, measure (share of labs, log ratio of losses, tau), aggregate (mean, typical; train), n, value
    with low and high (95 %, over labs; of ratios, over labs and tasks), both_low and both_high (over labs and tasks)
    and chance (what a random order gives).
    """
    same, found = {"statement": "training losses alike", "origin": "paper", "aggregate": "train"}, _share(alike(cube))
    same |= {"n": found.n} | found.columns("share")
    parts = [
        pd.concat([shares, pd.DataFrame([same])]).assign(measure="share of labs", value=lambda table: table["share"]),
        ratios.assign(measure="log ratio of losses", aggregate="typical", value=ratios["log_ratio"], chance=0.0),
        agreed.assign(statement="order of Table 1", origin="paper", measure="tau", value=agreed["tau"], chance=0.0),
    ]
    table = pd.concat(parts, ignore_index=True).rename(columns={"statement": "what"})
    bounds = ["low", "high", "both_low", "both_high"]
    return table[["what", "origin", "measure", "aggregate", "n", "value", *bounds, "chance"]]


OUTCOMES = {
    "tau with the paper": None,
    **{f"{NAMES[name]} / GELU": (name, "gelu") for name in ("gelu-sine", "gelu-sinc", "gmtu")},
    "Turbulent / ReLU": ("turbulent", "relu"),
}
LATER_OUTCOMES = {  # added when the effects on those above were known, and corrected by themselves
    "Turbulent / GELU": ("turbulent", "gelu"),
    "GELU / ReLU": ("gelu", "relu"),
    "Found / Snake": ("found", "snake"),
}


def upper(labs: pd.DataFrame, distribution: Distribution) -> dict[str, np.ndarray]:
    """For each setting, in words, the labs of its upper half, or of its second kind: masks [labs]."""
    masks = {}
    for name, kind in distribution.drawn.items():
        column, words = labs[name], name.replace("_", " ")
        if isinstance(kind.middle, str):
            masks[f"{words}: {kind.values[-1]}"] = (column == kind.values[-1]).to_numpy()
        else:
            masks[f"{words} > {kind.middle:.3g}"] = (column > kind.middle).to_numpy()
    families = [chosen.split("+") for chosen in labs["families"]]
    return masks | {f"with {name}": np.array([name in chosen for chosen in families]) for name in FAMILIES}


def effects(
    cube: Cube,
    masks: Mapping[str, np.ndarray],
    families: Sequence[Mapping[str, tuple[str, str] | None]] = (OUTCOMES, LATER_OUTCOMES),
) -> pd.DataFrame:
    """What each setting does: the mean over labs of its upper half (`upper`) minus that of the lower half.

    Settings are drawn independently, so that halves differ in no other setting but by chance. Outcomes are pairs of
    functions by their names, or None for tau; those of one family are corrected together.

    Columns outcome (tau is of the plain means, the ratios are mean log ratios), setting, n, difference, low, high (95 %
    Welch t over labs), p, p_holm, among (how many are corrected together) and verdict: raises, lowers, undecided.
    """
    if few := [setting for setting, mask in masks.items() if min(mask.sum(), (~mask).sum()) < 2]:
        came = f"fewer, of {len(cube.labs)}: {', '.join(few)}"
        raise ValueError(f"effects: wanted 2 labs or more in each half; got {came}")
    typical, parts = cube.scores("typical"), []
    for outcomes in families:
        rows = []
        for (outcome, pair), (setting, mask) in itertools.product(outcomes.items(), masks.items()):
            values = taus(cube, "mean") if pair is None else np.subtract(*typical[cube.rows(pair)])
            found = scipy.stats.ttest_ind(values[mask], values[~mask], equal_var=False)
            low, high = found.confidence_interval()
            row = {"outcome": outcome, "setting": setting, "n": len(values)}
            row |= {"difference": values[mask].mean() - values[~mask].mean(), "low": low, "high": high}
            rows.append(row | {"p": found.pvalue})
        parts.append(_decided(rows, "difference", "lowers", "raises"))
    return pd.concat(parts, ignore_index=True)


def turned(effects: pd.DataFrame) -> pd.DataFrame:
    """All effects on the outcomes that some setting changes."""
    decided = effects.loc[effects["verdict"] != "undecided", "outcome"]
    return effects[effects["outcome"].isin(decided)]
