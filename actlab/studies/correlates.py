"""What goes with generality: settings of the labs in which a function is ahead, and properties of functions (ours).

Both are read on one half, drawn within groups, and tested on the other half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from actlab.core import config, stats
from actlab.core.config import FAMILIES, Profile
from actlab.lab import labs
from actlab.scoring.laboratory import Laboratory
from actlab.studies import generality, trust

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier

SETTINGS = ("depth", "gain", "width", "learning_rate", "steps", "batch", "ring", "input_scale", "target_scale")
CONSTANT = "constant rate"  # against a cosine
DEPTH, LEAF = 3, 8  # of the tree: most questions in a row, and fewest labs of a half at the end of them
REACH = 10.0  # properties are read on [-REACH, REACH]
NEAR = 0.1  # curvature is that of the slope between -NEAR and NEAR
PROPERTIES = ("slope at 0", "curvature at 0", "growth at the left", "growth at the right", "changes of slope")


# --- settings of labs ----------------------------------------------------------------------------


def settings(profile: Profile) -> pd.DataFrame:
    """The settings of the judged labs: columns suite, lab, `SETTINGS`, schedule and families."""
    tasks, rows = config.over_labs(profile).tasks, []
    for suite in generality.JUDGED:
        for lab, (_, drawn) in enumerate(labs.settings(suite, tasks)):
            rows.append({"suite": suite, "lab": lab} | asdict(drawn) | {"families": ", ".join(drawn.families)})
    return pd.DataFrame(rows)[["suite", "lab", *SETTINGS, "schedule", "families"]]


def features(settings: pd.DataFrame) -> pd.DataFrame:
    """The settings as numbers: those of `SETTINGS`, and whether a lab has a constant rate, and each family."""
    chosen = settings["families"].str.split(", ")
    has = {f"with {name}": chosen.map(lambda names, name=name: float(name in names)) for name in FAMILIES}
    numbers = settings[list(SETTINGS)].astype(float).rename(columns=lambda name: name.replace("_", " "))
    return numbers.assign(**{CONSTANT: (settings["schedule"] == "constant").astype(float)}, **has)


def deciding(gaps: pd.DataFrame, settings: pd.DataFrame, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Which settings of a lab decide whether a function is ahead: a small tree, grown on one half of the labs.

    Args:
        gaps: of the labs of one suite, as `generality.gaps` gives them.
        settings: of these labs among others.
        seed: of the halves, within strata, and of the tree.

    Returns:
        How often each `guess` is right on the other half: guess ("the tree", and "the commoner answer" of the first
        half), n (labs), right with low and high (95 % Wilson). And a row an end of the tree: labs (what it asks), first
        and n (labs of either half), ahead (share of the first half's), share with low and high (of the other half's;
        NaN where there is none).
    """
    from sklearn.tree import DecisionTreeClassifier

    both = gaps.merge(settings, on=["suite", "lab"], validate="one_to_one")
    asked, wins = features(both), (both["gap"] < 0).to_numpy()
    first = generality.half(both["stratum"].to_numpy(), np.random.default_rng(seed))
    tree = DecisionTreeClassifier(max_depth=DEPTH, min_samples_leaf=LEAF, random_state=seed)
    tree.fit(asked[first].to_numpy(), wins[first])
    guesses = {"the tree": tree.predict(asked[~first].to_numpy()), "the commoner answer": wins[first].mean() > 0.5}
    right = []
    for guess, answer in guesses.items():
        hits = answer == wins[~first]
        right.append({"guess": guess, "n": len(hits)} | stats.share(int(hits.sum()), len(hits)).columns("right"))
    ends, rows = tree.apply(asked.to_numpy()), []
    for end, words in _ends(tree, list(asked)).items():
        here, there = wins[first & (ends == end)], wins[~first & (ends == end)]
        row = {"labs": words, "first": len(here), "n": len(there), "ahead": here.mean()}
        found = stats.share(int(there.sum()), len(there)).columns("share") if len(there) else {}
        rows.append(row | found)
    columns = ["labs", "first", "n", "ahead", "share", "low", "high"]
    return pd.DataFrame(right), pd.DataFrame(rows).reindex(columns=columns)


def _ends(tree: DecisionTreeClassifier, names: list[str]) -> dict[int, str]:
    """What each end of a tree asks, in words."""
    grown, words = tree.tree_, {}

    def walk(node: int, asked: dict[str, str]) -> None:
        if grown.children_left[node] == grown.children_right[node]:
            words[node] = ", ".join(asked.values()) or "all"
            return
        name, at = names[grown.feature[node]], grown.threshold[node]
        low, high = f"{name} <= {at:.3g}", f"{name} > {at:.3g}"
        if name == CONSTANT or name.startswith("with "):
            low, high = ("cosine rate" if name == CONSTANT else f"without {name.removeprefix('with ')}"), name
        walk(grown.children_left[node], asked | {f"{name} <=": low})
        walk(grown.children_right[node], asked | {f"{name} >": high})

    walk(0, {})
    return words


# --- properties of functions ---------------------------------------------------------------------


def properties(laboratory: Laboratory, programs: Mapping[str, str]) -> pd.DataFrame:
    """Properties of pointwise functions: a row a function that is pointwise, with columns function and `PROPERTIES`.

    The curvature at 0 is half the change of the slope between -`NEAR` and `NEAR`, over `NEAR`; growth is the size of
    the mean slope over the outer half of [-`REACH`, `REACH`] at that side: 0 for a bounded function, 1 for a line.
    """
    about = laboratory.descriptions(programs).set_index("function")
    x = np.array([-REACH, -REACH / 2, -NEAR, 0.0, NEAR, REACH / 2, REACH])
    pointwise = {name: source for name, source in programs.items() if about.loc[name, "pointwise"]}
    rows = []
    for name, part in trust.curves(laboratory, pointwise, x, np.zeros((2, 2))).groupby("function", sort=False):
        y, slope = part["y"].to_numpy(), part["slope"].to_numpy()
        growth = np.abs([y[1] - y[0], y[-1] - y[-2]]) / (REACH / 2)
        found = slope[3], (slope[4] - slope[2]) / (2 * NEAR), *growth, float(about.loc[name, "oscillations"])
        rows.append((name, *found))
    return pd.DataFrame(rows, columns=["function", *PROPERTIES])


def hypotheses(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """For each property, which way it goes with generality on half of the functions, and whether on the others too.

    The hypothesis is the sign of Spearman's correlation on the first half; it is tested on the other half, with Holm's
    correction over the properties.

    Args:
        table: group (halves are drawn within it), generality (higher is better) and `PROPERTIES`, a row a function.
        seed: of the halves and of the bootstrap.

    Returns:
        Columns property, hypothesis ("more" or "less" of it goes with generality), first (the correlation on the first
        half), n (functions of the other half), spearman with low and high (95 % bootstrap, on the other half), p,
        p_holm and verdict: holds, fails or undecided.
    """
    from scipy.stats import spearmanr

    first, rows = generality.half(table["group"].to_numpy(), np.random.default_rng(seed)), []
    for name in PROPERTIES:
        stated = float(spearmanr(table.loc[first, name], table.loc[first, "generality"]).statistic)
        rest = table[~first]
        found = stats.rank_correlation(rest[name], rest["generality"], np.random.default_rng(seed)).spearman
        row: dict[str, Any] = {"property": name, "hypothesis": "more" if stated > 0 else "less", "first": stated}
        row |= {"n": len(rest)} | found.columns("spearman") | {"agrees": found.estimate * np.sign(stated)}
        rows.append(row | {"p": float(spearmanr(rest[name], rest["generality"]).pvalue)})
    return stats.decided(pd.DataFrame(rows), "agrees", below="fails", above="holds").drop(columns="agrees")
