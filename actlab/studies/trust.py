"""The loops behind the notebooks: each study trains functions in the lab and returns tidy records (ours)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import torch

from actlab.activations import tables, zoo
from actlab.core import paper, records, stats
from actlab.core.config import FAMILIES, FitnessConfig, LabConfig
from actlab.core.records import figures_folder
from actlab.core.reliability import Aggregate, split_half
from actlab.lab import backends, tasks
from actlab.lab.training import Start
from actlab.scoring.evaluator import contributions, mse
from actlab.scoring.laboratory import Laboratory, sources
from actlab.search.racing import Plan, Race, quarters, rise, risk, study

TABLE_1, HAND_MADE = tables.TABLE_1, tables.HAND_MADE
SPREAD = 4.0  # the largest factor between a drawn constant and the discovered one [ours]
SCREEN = 0.1  # of the steps: the short training of the screen and of the margin [ours]
KEPT = 0.5  # of a round's candidates, that go on from the screen to the full training [ours]
RANKS = (1, 8)  # of the incumbents that races are played against: the best, and one that is easier to beat [ours]


def overview(suites: Mapping[str, tasks.Suite]) -> pd.DataFrame:
    """What each suite holds: columns suite, tasks, the families, equations (distinct), inputs, ring, points a task."""
    rows = []
    for name, suite in suites.items():
        dims = {task.dim for task in suite.tasks}
        row = {"suite": name, "tasks": len(suite.tasks)} | {family: suite.families.count(family) for family in FAMILIES}
        row |= {"equations": len({task.label for task in suite.tasks if task.family == "feynman"})}
        row |= {"inputs": f"{min(dims)} to {max(dims)}", "ring": suite.ring}
        rows.append(row | {"train_points": suite.blind.train_y.shape[1], "ood_points": suite.ood_y.shape[1]})
    return pd.DataFrame(rows)


def calibration(laboratory: Laboratory, rings: Sequence[float]) -> pd.DataFrame:
    """ReLU's losses on the calibration suite by the width of the ring: columns ring, family, task, ood_mse, train_mse.

    It is trained once, since only test inputs move.
    """
    profile = laboratory.profile
    settings = {"tasks": profile.tasks, "lab": profile.lab, "clamp": profile.fitness.clamp}
    about = {"family": "lab", "kind": "calibration", "rings": list(rings), **settings}
    return laboratory.store.get(about, partial(_calibrate, laboratory, rings))


def _calibrate(laboratory: Laboratory, rings: Sequence[float]) -> pd.DataFrame:
    torch.set_num_threads(1)
    profile, base = laboratory.profile, laboratory.suites["calibration"]
    start = Start.of(base.blind, profile.lab, 0, range(len(base.blind.dims)))
    trained = backends.train(zoo.relu, start, profile.lab)

    def losses(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        prediction = trained.predict(torch.from_numpy(x).to(start.x.dtype))
        return mse(prediction.double().numpy(), y, profile.fitness.clamp)

    train, parts = losses(base.blind.train_x, base.blind.train_y), []
    for ring in rings:
        suite = tasks.suite("calibration", replace(profile.tasks, ring=ring))
        about = {"ring": ring, "family": suite.families, "task": suite.labels}
        parts.append(pd.DataFrame(about | {"ood_mse": losses(suite.blind.ood_x, suite.ood_y), "train_mse": train}))
    return pd.concat(parts, ignore_index=True)


def means(losses: pd.DataFrame, by: str) -> pd.DataFrame:
    """Mean OOD loss of each group of losses, with its 95 % interval over tasks within families.

    Columns `by`, n, ood_mse, low, high, train_mse; in the order of the rows.
    """

    def row(part: pd.DataFrame) -> dict[str, float]:
        mean = stats.mean_interval(part["ood_mse"], part["family"], least=0)
        return {"n": mean.n} | mean.columns("ood_mse") | {"train_mse": part["train_mse"].mean()}

    return stats.by_group(losses, [by], row)


def target_curves(suite: tasks.Suite, per_family: int, points: int = 241) -> pd.DataFrame:
    """Targets of one-dimensional tasks along u, from one ring's edge to the other (Figure 2).

    Columns family, panel (from 1), task, u, y (standardised) and split, which is id where |u| <= 1, else ood.
    """
    parts, u = [], np.linspace(-1 - suite.ring, 1 + suite.ring, points)
    for family in dict.fromkeys(suite.families):
        flat = [i for i, task in enumerate(suite.tasks) if task.family == family and task.dim == 1][:per_family]
        for panel, i in enumerate(flat, start=1):
            names = {"family": family, "panel": panel, "task": suite.tasks[i].label}
            parts.append(pd.DataFrame({**names, "u": u, "y": suite.target(i, u[:, None])}))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(split=np.where(table["u"].abs() <= 1, "id", "ood"))


def target_grid(suite: tasks.Suite, index: int, points: int = 61) -> pd.DataFrame:
    """A two-dimensional task's target on a grid out to the ring's edge: columns task, u1, u2, y (standardised)."""
    axis = np.linspace(-1 - suite.ring, 1 + suite.ring, points)
    u = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    names = {"task": suite.tasks[index].label}
    return pd.DataFrame({**names, "u1": u[:, 0], "u2": u[:, 1], "y": suite.target(index, u)})


def aggregates(config: FitnessConfig) -> dict[str, Aggregate]:
    """Ways to sum up losses, [functions, tasks] to [functions], lower is better; the first row is the reference."""
    return {
        "log-ratio": lambda losses: stats.mean_log_ratio(losses, losses[0], config.clamp, config.floor),
        "mean-log": lambda losses: stats.mean_log(losses, config.clamp, config.floor),
        "mean-rank": lambda losses: stats.mean_rank(losses, config.clamp),
        "clamped-mean": lambda losses: stats.clamped_mean(losses, config.clamp),
    }


def reliability(
    scores: np.ndarray, families: Sequence[str], config: FitnessConfig, seed: int, splits: int = 200
) -> pd.DataFrame:
    """Split-half reliability of the ranks of functions by each aggregate, for parts of 1, 2, 4, ... tasks a family.

    `scores` are losses [functions, tasks], the reference first, on as many tasks of each family. The splits, of which
    `seed` is the seed, are the same for all aggregates.

    Columns aggregate, tasks (in a part), reliability, low, high (of 95 % of the splits), stepped_up (to all tasks, by
    Spearman-Brown) and beats_clamped_mean (share of the splits on which its correlation is higher, ties half).
    """
    each, rows = len(families) // len(set(families)), []
    sizes = sorted({2**i for i in range(each.bit_length()) if 2 ** (i + 1) <= each} | {each // 2})
    for size in sizes:
        found = {
            name: split_half(scores, aggregate, np.random.default_rng(seed), splits, families, fraction=size / each)
            for name, aggregate in aggregates(config).items()
        }
        for name, one in found.items():
            ahead = one.correlations - found["clamped-mean"].correlations
            ahead = np.where(np.abs(ahead) < 1e-12, 0, ahead)
            row = {"aggregate": name, "tasks": one.halves.n} | one.halves.columns("reliability")
            row |= {"stepped_up": one.whole.estimate}
            rows.append(row | {"beats_clamped_mean": np.mean(ahead > 0) + np.mean(ahead == 0) / 2})
    return pd.DataFrame(rows)


def tuned_rates(laboratory: Laboratory, names: Iterable[str], seeds: Sequence[int] = (0,)) -> pd.DataFrame:
    """The best learning rate of each function: that of the lowest mean log training loss on the calibration suite.

    The training loss, so that the control does not select on what it is to judge [ours].

    Columns function, learning_rate, train_mse (mean) and best; one row a function and rate.
    """
    rates = laboratory.profile.rates
    losses = laboratory.scores(list(names), "calibration", seeds, learning_rates=rates)
    losses["log_train"] = np.log(losses["train_mse"])
    table = losses.groupby(["function", "learning_rate"], sort=False)[["train_mse", "log_train"]].mean().reset_index()
    table["best"] = table["log_train"] == table.groupby("function")["log_train"].transform("min")
    return table


def own_rates(rates: pd.DataFrame) -> dict[float, list[str]]:
    """The functions of which each rate is the best, by rate, from a table of `tuned_rates`."""
    best = rates[rates["best"]].groupby("learning_rate", sort=False)["function"]
    return {float(rate): list(names) for rate, names in best}


def tuned_scores(laboratory: Laboratory, rates: pd.DataFrame, suite: str) -> pd.DataFrame:
    """Losses on a suite with each function at the rate that `tuned_rates` found best, in the order of the rates."""
    parts = [laboratory.scores(names, suite, learning_rates=(rate,)) for rate, names in own_rates(rates).items()]
    losses = pd.concat(parts, ignore_index=True)
    return stats.in_order(losses, rates["function"].unique()).reset_index(drop=True)


def random_constants(
    draws: int, seed: int = 0, spread: float = SPREAD, forms: Sequence[str] = paper.FIGURE_7
) -> dict[str, str]:
    """Programs of the zoo's `forms`, each with `draws` random sets of constants (Figure 7).

    Each constant is drawn log-uniformly from 1/spread to spread times its discovered value, with its sign. Each form
    has a stream of its own, so that more draws leave the earlier ones as they were. [ours]

    Source by name: `NAME` for the discovered constants, `NAME#i` for draw i.

    Raises ValueError: where the spread is below 1, or not finite.
    """
    if not 1 <= spread < np.inf:
        raise ValueError(f"spread: wanted a finite factor from 1; got {spread}")
    programs = {}
    for name, generator in zip(forms, np.random.default_rng(seed).spawn(len(forms)), strict=True):
        constants, name = zoo.entry(name).constants, zoo.entry(name).name
        programs[name] = zoo.program_source(name)
        for i in range(draws):
            factor = spread ** generator.uniform(-1, 1, size=len(constants))
            drawn = {k: float(f"{v * f:.4g}") for (k, v), f in zip(constants.items(), factor, strict=True)}
            programs[f"{name}#{i}"] = zoo.program_source(name, **drawn)
    return programs


def by_form(summary: pd.DataFrame) -> pd.DataFrame:
    """A summary of what `random_constants` wrote, as Figure 7 draws it; other functions are left out.

    Columns form, draw (0 for the discovered constants), discovered, ood_mse, low, high (of the discovered; NaN for
    single draws), log_ratio, train_mse.
    """
    parts = summary["function"].str.split("#", expand=True).reindex(columns=[0, 1])
    forms = parts.loc[parts[1].notna(), 0].unique()
    table = summary.rename(columns={"ood_low": "low", "ood_high": "high"})
    discovered = parts[1].isna()
    table = table.assign(form=parts[0], draw=parts[1].fillna("-1").astype(int) + 1, discovered=discovered)
    table[["low", "high"]] = table[["low", "high"]].where(discovered, np.nan)
    columns = ["form", "draw", "discovered", "ood_mse", "low", "high", "log_ratio", "train_mse"]
    return table.loc[table["form"].isin(forms), columns].reset_index(drop=True)


def beaten(draws: pd.DataFrame, column: str) -> dict[str, stats.Interval]:
    """By form, the share of the random draws that the discovered constants beat in a column, with Wilson's interval."""
    shares = {}
    for form, part in draws.groupby("form", sort=False):
        drawn = part.loc[~part["discovered"], column].to_numpy()
        written = np.full_like(drawn, part.loc[part["discovered"], column].item())
        shares[form] = stats.probability_of_improvement(written, drawn)
    return shares


def preactivations(
    laboratory: Laboratory, names: Iterable[str], edges: np.ndarray, suite: str = "search"
) -> pd.DataFrame:
    """Histograms of what enters each hidden layer's function in trained networks, over training inputs (Figure 5).

    `names` are of the zoo, and `edges` [bins + 1] those of the bins; what lies outside them counts in the total.

    Columns function, layer (from 1), bin_left, bin_right, density (1/unit), inside (share within [-2, 2]).
    """
    data, config, parts = laboratory.suites[suite].blind, laboratory.profile.lab, []
    settings = {"suite": suite, "lab": config, "tasks": laboratory.profile.tasks, "edges": edges.tolist()}
    for name in (zoo.entry(name).name for name in names):
        about = {"family": "lab", "kind": "preactivations", "name": name, **settings}
        parts.append(laboratory.store.get(about, partial(_histograms, name, data, config, edges)))
    return pd.concat(parts, ignore_index=True)


def _histograms(name: str, data: tasks.TrainingView, config: LabConfig, edges: np.ndarray) -> pd.DataFrame:
    torch.set_num_threads(1)
    function, rows = zoo.REGISTRY[name].function, []
    networks = backends.train(function, Start.of(data, config, 0, range(len(data.dims))), config).networks
    x = torch.from_numpy(data.train_x).to(networks.weights[0].dtype)
    with torch.no_grad():
        entering = networks.preactivations(function, x[:, : config.batch])[:-1]
    for layer, z in enumerate(entering, start=1):
        values = z.double().cpu().numpy().ravel()
        row = {"function": name, "layer": layer, "bin_left": edges[:-1], "bin_right": edges[1:]}
        row |= {"density": np.histogram(values, edges)[0] / values.size / np.diff(edges)}
        rows.append(pd.DataFrame(row | {"inside": float(np.mean(np.abs(values) <= 2))}))
    return pd.concat(rows, ignore_index=True)


def curves(
    laboratory: Laboratory, programs: Mapping[str, str] | Iterable[str], x: np.ndarray, batch: np.ndarray
) -> pd.DataFrame:
    """Value and slope of functions at one element of a batch, whose other elements stay as they are (Figure 4).

    So a function that sees other elements has a curve too, in that batch; for the others the batch does not matter.
    [ours]

    Args:
        laboratory: whose workers run the programs.
        programs: source by name, or names of the zoo.
        x: [points], values of the element in the first row and second column (a Fourier transform mirrors the first).
        batch: [batch, features]; all other elements.

    Returns:
        Columns function, x, y, slope (as autograd has it, of that element's result along that element); float64.
    """
    parts = []
    for name, source in sources(programs).items():
        y, slope = laboratory.evaluator.values(source, x, batch)
        parts.append(pd.DataFrame({"function": name, "x": x, "y": y, "slope": slope}))
    return pd.concat(parts, ignore_index=True)


def racing(
    laboratory: Laboratory,
    functions: Iterable[str],
    generator: np.random.Generator,
    measured: Iterable[str],
    orders: int = 500,
    tie_orders: int = 2000,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What ending trainings early saves and risks: searches replayed over functions of the zoo (ours).

    Their gains on the search suite are known in full and after a short training, a tenth of the steps. Four plans are
    compared: all in full; a screen, which keeps the better half of a round after the short training; a margin, which
    then drops candidates that trail the incumbent by more than that; and a race at a quarter, a half and all of the
    tasks. The margin is the rise of one function's gain on another from the short to the full training that all but
    delta of the pairs of `measured`, on the calibration suite, stay below: it holds with that chance for a candidate
    that is like those functions. The search races by the same rule, but against the occupant of the cell that a
    candidate would take, which may have any rank: the ranks here stand for such occupants.

    Args:
        laboratory: whose lab, search suite, round size and delta are used.
        functions: names of the zoo, ReLU first: there a search starts.
        generator: of the orders of functions and tasks.
        measured: names of the zoo, ReLU first, whose pairs set the margin.
        orders: searches replayed.
        tie_orders: of the tasks, for each of the two measurements at a tie.

    Returns:
        The plans: plan, the columns of `actlab.search.racing.study`, incumbent (its rank, of `RANKS`) and margin (NaN
        where
        the plan has none). And the exact ties, a row an ordered pair: function, rival, dropped (the share of orders in
        which the function is dropped though it is as good as its rival), and the same over fresh orders as again, low,
        high
        (Wilson, 95 %) of `orders`: there the pair with the largest `dropped` was not selected by chance.

    Raises:
        ValueError: where ReLU is not the first.
    """
    profile, names, pairs = laboratory.profile, list(functions), list(measured)
    for given in (names, pairs):
        if given[:1] != ["relu"]:
            raise ValueError(f"wanted functions that begin with relu, where a search starts; got {', '.join(given)}")
    search, families = profile.search, laboratory.suites["search"].families
    short = replace(profile.lab, steps=max(1, round(profile.lab.steps * SCREEN)))
    full = _gains(laboratory, names, "search")
    with Laboratory(replace(profile, lab=short), laboratory.workers, laboratory.store) as brief:
        early = _gains(brief, names, "search")
        rises = rise(_gains(brief, pairs, "calibration"), _gains(laboratory, pairs, "calibration"))
    race = Race(quarters(len(families), len(FAMILIES)), search.delta)
    margin = float(np.quantile(rises, 1 - search.delta))
    plans = [Plan("all in full"), Plan("screen", keep=KEPT), Plan("margin over steps", margin=margin)]
    plans += [Plan("race over tasks", race=race)]
    settings = (short.steps / profile.lab.steps, families, plans, generator, orders, search.round_size)
    about = {"margin": [np.nan if plan.margin is None else plan.margin for plan in plans]}
    played = [study(full, early, *settings, rank).assign(incumbent=rank, **about) for rank in RANKS]
    dropped, again = (risk(full, families, race, generator, tie_orders) for _ in range(2))
    found = [stats.share(round(hits), tie_orders) for hits in again * tie_orders]
    ties = pd.DataFrame(itertools.permutations(names, 2), columns=["function", "rival"])
    ties = ties.assign(dropped=dropped, again=again, orders=tie_orders)
    return pd.concat(played, ignore_index=True), ties.assign(low=[f.low for f in found], high=[f.high for f in found])


def beside(name: str, profile: str, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """A profile's table and, where there is one, the laptop's of that name as it is committed; by profile."""
    path = figures_folder("laptop") / f"{name}.csv"
    committed = {"laptop": records.table(path.parent, name)} if profile != "laptop" and path.exists() else {}
    return {profile: table} | committed


def _gains(laboratory: Laboratory, names: Sequence[str], suite: str) -> np.ndarray:
    """What each task of a suite adds to each function's fitness, [functions, tasks]; the reference first."""
    losses = laboratory.scores(names, suite)["ood_mse"].to_numpy().reshape(len(names), -1)
    return np.stack([contributions(row, losses[0], laboratory.profile.fitness) for row in losses])
