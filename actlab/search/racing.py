"""Racing: a candidate's training ends as soon as what is known of it decides (ours; after Maron and Moore, 1994).

A fitness is the mean of a gain over the tasks of a suite. Networks of different tasks are trained separately, so a
candidate can be trained on a few tasks at a time; one that finishes has the fitness that training on all tasks at once
gives, up to rounding. After each part it is compared with an incumbent on the tasks that both have seen, with common
initial weights and batches. It is dropped when the upper confidence bound of its mean paired gain over the whole suite
is below zero. Over all looks together, a better candidate is dropped with a probability of at most `delta`, if
1. the tasks come in random order, with families in turn, independent of both functions: a search draws a new order for
   each round, since an incumbent may owe its place to an earlier one; and
2. the mean of the paired gains seen is close enough to normal for Student's interval. Where a few tasks hold most of a
   candidate's gain it is not, and the probability is higher: `risk` measures it. Bounds without this assumption, such
   as Hoeffding's and Bernstein's, decide nothing within 48 tasks.
The bound holds for each candidate, over the draws of the order, not for all candidates of a search together.

A screen, a short training on all tasks, measures another quantity, the gain after few steps. It may drop candidates
only on a third assumption, that no gain rises by more than a `margin` from there to the full training. Nothing bounds
that: `rise` measures it, on functions that are not those of the race, and `study` its consequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from actlab.core import stats

BEHIND, AHEAD, OPEN = "behind", "ahead", "open"


def task_order(families: Sequence[str], generator: np.random.Generator) -> np.ndarray:
    """A random order of the tasks, [tasks], families in turn: random tasks within each, so that parts are balanced."""
    families = np.asarray(families)
    shuffled = [generator.permutation(np.flatnonzero(families == family)) for family in dict.fromkeys(families)]
    most = max(map(len, shuffled))
    return np.array([group[i] for i in range(most) for group in shuffled if i < len(group)])


def quarters(tasks: int, families: int) -> tuple[int, ...]:
    """Rungs at a quarter, a half and all of the tasks; those with less than a task a family are left out."""
    return tuple(tasks // part for part in (4, 2, 1) if tasks // part >= families)


@dataclass(frozen=True)
class Race:
    """The rule: after which numbers of tasks to look, and the probability of dropping a candidate that is better."""

    rungs: tuple[int, ...]  # rising; the last is the whole suite, where nothing is left to chance
    delta: float = 0.05  # shared by the others

    def __post_init__(self) -> None:
        if list(self.rungs) != sorted(set(self.rungs)) or not self.rungs or self.rungs[0] < 2:
            raise ValueError(f"wanted rising numbers of tasks, the first at least 2; got {self.rungs}")
        if not 0 < self.delta < 0.5:
            raise ValueError(f"wanted a delta between 0 and 0.5; got {self.delta}")

    def bounds(self, gains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper confidence bound of the mean gain over the whole suite; each errs with delta / looks.

        `gains` are the candidate's less the incumbent's on the first tasks of the order, [..., tasks seen], finite, as
        many as a rung; higher is better. These are Student's bounds, with the correction for a finite suite: when all
        tasks are seen, both are the mean. The variance is that of all gains seen, although taking families in turn
        makes it smaller.
        """
        gains = np.asarray(gains, dtype=float)
        if gains.ndim < 1 or gains.shape[-1] not in self.rungs or not np.isfinite(gains).all():
            raise ValueError(f"wanted finite gains on {' or '.join(map(str, self.rungs))} tasks; got {gains}")
        seen, level = gains.shape[-1], self.delta / max(len(self.rungs) - 1, 1)
        error = gains.std(axis=-1, ddof=1) * np.sqrt((1 - seen / self.rungs[-1]) / seen)
        reach = special.stdtrit(seen - 1, 1 - level) * error
        return gains.mean(axis=-1) - reach, gains.mean(axis=-1) + reach

    def verdict(self, gains: np.ndarray) -> str:
        """Whether the candidate is behind the incumbent by its bounds, ahead of it, or the race is open.

        A candidate that is behind is dropped. On the whole suite the sign of the mean decides; open is an exact tie.
        """
        low, high = self.bounds(gains)
        return BEHIND if high < 0 else AHEAD if low > 0 else OPEN


def rise(short: np.ndarray, full: np.ndarray) -> np.ndarray:
    """How much a function's gain on another rises from a short training to the full one, for each ordered pair.

    `short` and `full` are gains of functions on a common reference, [functions, tasks]. A quantile of the result,
    [functions (functions - 1)], is a margin for `study` and for a search.
    """
    change = (full - short).mean(axis=1)
    pairs = change[:, None] - change[None, :]
    return pairs[~np.eye(len(change), dtype=bool)]


def risk(
    full: np.ndarray, families: Sequence[str], race: Race, generator: np.random.Generator, orders: int = 400
) -> np.ndarray:
    """How often each function would be dropped if it were as good as its rival: the rule's worst case, by experiment.

    The gains `full` of functions on a common reference, [functions, tasks], give those of each ordered pair, which are
    shifted to a mean of zero; the tasks come in `orders` random orders. The shares, [functions (functions - 1)], are to
    be compared with `race.delta`.
    """
    pairs = (full[:, None] - full[None, :])[~np.eye(len(full), dtype=bool)]
    pairs = pairs - pairs.mean(axis=1, keepdims=True)
    dropped = np.zeros(len(pairs))
    for _ in range(orders):
        shuffled = pairs[:, task_order(families, generator)]
        dropped += np.any([race.bounds(shuffled[:, :seen])[1] < 0 for seen in race.rungs[:-1]], axis=0)
    return dropped / orders


@dataclass(frozen=True)
class Plan:
    """A way to spend training on rounds of candidates; with nothing set, each is trained in full.

    With `keep`, the better share of a round that goes on, or `margin`, all get a short training first; candidates that
    then trail the incumbent by more than `margin` are dropped. The rest is trained by `race`, or at once.
    """

    name: str
    keep: float | None = None
    margin: float | None = None
    race: Race | None = None


def study(
    full: np.ndarray,
    short: np.ndarray,
    share: float,
    families: Sequence[str],
    plans: Sequence[Plan],
    generator: np.random.Generator,
    orders: int = 500,
    round_size: int = 12,
    elites: int = 1,
) -> pd.DataFrame:
    """What plans save and what they risk, by simulated searches over known scores.

    The first function is where a search starts; the others come in random order, `round_size` at a time, and so do the
    tasks, in a new order for each search. The incumbent of a round is the `elites`-th best of those scored before, or
    the last while there are fewer. All plans get the same orders.

    Args:
        full: gain of each function on each task after the full training, [functions, tasks]; higher is better.
        short: the same after a short training with a schedule of its own.
        share: of the steps that the short training takes.
        families: of the tasks.
        plans: to compare.
        generator: of the orders.
        orders: number of searches.
        round_size: candidates a round.
        elites: the rank of the incumbent.

    Returns:
        A row a plan: plan, searches, and three shares, each with low and high: saved, of the steps of training all in
        full (95 % interval over the orders); dropped, of the candidates that are better than the incumbent of their
        round (better, their number); and same_winner, of the searches that end as training all in full does. The latter
        two have Wilson's intervals, which are too narrow, since candidates and searches share functions. Last, lost:
        the mean over searches of how much the winner's fitness falls short.
    """
    drawn, rows = [], []
    for rng in generator.spawn(orders):
        arrivals = 1 + rng.permutation(len(full) - 1)
        rounds = [arrivals[i : i + round_size] for i in range(0, len(arrivals), round_size)]
        drawn.append((rounds, task_order(families, rng)))
    for plan in plans:
        played = [_play(plan, full[:, tasks], short[:, tasks], share, rounds, elites) for rounds, tasks in drawn]
        cost, better, dropped, lost = np.array(played).T
        saved = stats.mean_interval(1 - cost / (len(full) - 1))
        row = {"plan": plan.name, "searches": orders}
        row |= saved.columns("saved", "saved_") | {"better": int(better.sum())}
        row |= _share("dropped", int(dropped.sum()), int(better.sum()))
        row |= _share("same_winner", int((lost == 0).sum()), orders)
        rows.append(row | {"lost": lost.mean()})
    return pd.DataFrame(rows)


def _play(
    plan: Plan, full: np.ndarray, short: np.ndarray, share: float, rounds: list[np.ndarray], elites: int
) -> tuple[float, int, int, float]:
    """One search: full trainings spent, candidates that were better, how many of these were dropped, fitness lost."""
    fitness, brief = full.mean(axis=1), short.mean(axis=1)
    ranking, cost, better, dropped = [0], 0.0, 0, 0
    for candidates in rounds:
        incumbent = ranking[min(elites, len(ranking)) - 1]
        going = list(candidates)
        if plan.keep is not None or plan.margin is not None:
            cost += share * len(going)
        if plan.keep is not None:
            going = sorted(going, key=lambda i: -brief[i])[: int(np.ceil(plan.keep * len(going)))]
        if plan.margin is not None:
            going = [i for i in going if brief[i] - brief[incumbent] >= -plan.margin]
        seen = {i: _seen(plan.race, full[i] - full[incumbent]) for i in going}
        scored = [i for i, part in seen.items() if part == 1]
        for part in seen.values():
            cost += part
        were_better = {i for i in candidates if fitness[i] > fitness[incumbent]}
        better, dropped = better + len(were_better), dropped + len(were_better - set(scored))
        ranking = sorted([*ranking, *scored], key=lambda i: -fitness[i])
    return cost, better, dropped, float(fitness.max() - fitness[ranking[0]])


def _seen(race: Race | None, gains: np.ndarray) -> float:
    """The share of the tasks that a candidate is trained on: all of them, unless the race drops it before."""
    rungs = race.rungs[:-1] if race is not None else ()
    return next((seen / len(gains) for seen in rungs if race.verdict(gains[:seen]) == BEHIND), 1.0)


def _share(name: str, hits: int, n: int) -> dict[str, float]:
    """A share and its Wilson interval; NaN where there is nothing to count."""
    if n == 0:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), float("nan"))
    return stats.share(hits, n).columns(name, f"{name}_")
