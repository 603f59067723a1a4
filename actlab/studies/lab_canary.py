"""The canary of the lab: a tiny training in float64 whose numbers change when the lab's code computes something else.

A committed record of the lab is valid as long as these numbers are, to 1e-10 relative: in float64, rounding, other
chunks and wider vectors stay far below that, and a change of Adam's epsilon far above. Records hold no intervals, so
there are none here. All sizes here are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from actlab.activations import zoo
from actlab.core import stats
from actlab.core.config import SUITES, FitnessConfig, LabConfig, TaskConfig
from actlab.lab import feynman, tasks, training
from actlab.scoring.evaluator import Score, contributions
from actlab.scoring.in_process import InProcess, one_thread, summary
from actlab.studies import constants, spectra, trust

TASKS = TaskConfig(calibration=8, search=8, held_out=8, far=8, train_points=16, ood_points=16)
LAB = LabConfig(width=4, depth=1, batch=8, steps=12, learning_rate=0.03, dtype="float64")
DEEP = replace(LAB, depth=4, chunk=3)
FITNESS = FitnessConfig(resamples=50)
IDENTITY = "def activation(x):\n    return x"
EXPLODES = "def activation(x):\n    return x * torch.exp(x * x)"
TOO_DEAR = "def activation(x):\n    return sum([torch.sin(k * x) for k in range(1, 40)])"
KILLED = "def activation(x):\n    return 0.8125 * x"
FLAT = "def activation(x):\n    return torch.floor(x)"


def suites() -> dict[str, tasks.Suite]:
    """The five suites, of eight tasks each."""
    return {name: tasks.suite(name, TASKS) for name in (*SUITES, tasks.INSIDE)}


def values() -> dict[str, float | int | str]:
    """The canary's numbers by name: floats that hold to 1e-10 relative, whole numbers and words that hold exactly."""
    with one_thread():
        given = suites()
        search, held_out = given["search"], given["held-out"]
        return (
            _equations()
            | _data(given)
            | _losses(given)
            | _descriptions(given)
            | _networks(search)
            | (_learned(held_out) | _observed(search))
            | _by_torch(search)
        )


def _equations() -> dict[str, float]:
    """Every Feynman equation at five points of its box, its variables at different fractions of their ranges."""
    found = {}
    for equation in feynman.EQUATIONS:
        low, high = np.array(equation.low), np.array(equation.high)
        part = np.outer(np.arange(1, 6), 0.618 + 0.117 * np.arange(len(low))) % 1
        found |= summary(f"equation {equation.name}", equation.function(*(low + part * (high - low)).T))
    for held_out in (False, True):
        names = ", ".join(equation.name for equation in feynman.equations(held_out))
        found[f"equations {'held out' if held_out else 'to search'}"] = names
    return found


def _data(given: Mapping[str, tasks.Suite]) -> dict[str, float]:
    found = {}
    for name, suite in given.items():
        found[f"{name} tasks"] = "; ".join(f"{task.family} {task.label}" for task in suite.tasks)
        arrays = {"train x": suite.blind.train_x, "train y": suite.blind.train_y, "ood x": suite.blind.ood_x}
        arrays |= {"ood y": suite.ood_y, "offset": suite.offset, "scale": suite.scale}
        for part, array in arrays.items():
            found |= summary(f"{name} {part}", array)
    return found


def _losses(given: Mapping[str, tasks.Suite]) -> dict[str, float | str]:
    """Scores of functions of each kind: piecewise, smooth, periodic, batch-dependent and divergent; and joined ones."""
    asked = [("relu", suite, LAB, 0, None) for suite in given]
    asked += [("gelu", "search", LAB, 0, None), ("gelu", "held-out", DEEP, 1, None)]
    asked += [("gelu-erf", "calibration", LAB, 2, None), ("snake", tasks.INSIDE, DEEP, 0, None)]
    asked += [("turbulent", "far", LAB, 0, None), ("symmetric-phase-flipped", "search", LAB, 0, (6, 1))]
    asked += [("fisg", "search", LAB, 0, (6, 1))]  # which torch trains
    found: dict[str, float | str] = {}
    with InProcess(given, FITNESS, 1) as evaluator, InProcess(given, FitnessConfig("clamped-mean"), 1) as other:
        for name, suite, config, seed, chosen in asked:
            score = evaluator.submit(zoo.program_source(name), suite, config, seed, chosen).result()
            found |= _score(f"{name} {suite} {config.depth} {seed}", score)
        parts = [(p, evaluator.submit(IDENTITY, "search", LAB, 0, p).result()) for p in ((5, 0, 2, 7), (1, 3, 4, 6))]
        relu = evaluator.submit(zoo.program_source("relu"), "search", LAB).result()
        for kind, judge in (("log-ratio", evaluator), ("clamped-mean", other)):
            found |= _score(f"joined {kind}", judge.joined(parts, "search", relu))
            losses = np.array([0.0, 1e-4, 0.3, 11.0, np.inf, np.nan])
            found |= summary(f"contributions {kind}", contributions(losses, losses[::-1] + 0.1, judge.config))
        found["mean"] = stats.mean_interval(np.arange(9.0) ** 2).estimate
        wild = replace(DEEP, learning_rate=3.0)
        found |= _score("explodes", evaluator.submit(EXPLODES, "search", wild).result())
    return found


def _score(name: str, score: Score) -> dict[str, float | str]:
    found: dict[str, float | str] = {f"{name} ended": score.ended, f"{name} families": " ".join(score.families)}
    if score.ended != "scored":
        return found
    found[f"{name} fitness"] = score.fitness
    for kind in ("ood_mse", "ood_mse_whole", "train_mse"):
        losses = getattr(score, kind)
        found |= {f"{name} {kind} {i}": loss for i, loss in enumerate(losses)} | {f"{name} {kind}": sum(losses)}
    return found


def _descriptions(given: Mapping[str, tasks.Suite]) -> dict[str, float | str]:
    """Descriptions; values and slopes of a function that sees its batch; and programs that end early."""
    found: dict[str, float | str] = {}
    batch = np.random.default_rng(5).normal(size=(4, 3))
    with InProcess(given, FITNESS, 1) as evaluator:
        for name in ("relu", "snake", "turbulent"):
            finding = evaluator.describe(zoo.program_source(name)).result()
            about = finding.description
            found |= {f"{name} cost": about.flops, f"{name} in ReLUs": about.flops_relu}
            found |= {f"{name} in GELUs": about.flops_gelu, f"{name} fingerprint": about.fingerprint}
            found[f"{name} traits"] = "; ".join(f"{key} {value}" for key, value in about.traits.items())
        y, slope = evaluator.values(zoo.program_source("turbulent"), np.linspace(-2, 2, 5), batch)
        found |= summary("values", y) | summary("slopes", slope)
        found |= _score("whole path", evaluator.score(zoo.program_source("snake"), "search", LAB))
        for name, source in (("too dear", TOO_DEAR), ("flat", FLAT), ("no program", "import os"), ("killed", KILLED)):
            found |= _score(name, evaluator.score(source, "search", LAB))
        found |= _score("refused", evaluator.submit("import os", "search", LAB).result())
    return found


def _networks(suite: tasks.Suite) -> dict[str, float]:
    """Trained weights, and the order of the training points."""
    networks = training.train(zoo.silu, suite.blind, replace(LAB, depth=2), 3, (7, 2, 5))
    found = summary("batches", training.batches(16, LAB, 3))
    for layer, (weight, bias) in enumerate(zip(networks.weights, networks.biases, strict=True)):
        found |= summary(f"weight {layer}", weight) | summary(f"bias {layer}", bias)
    edges = np.linspace(-3, 3, 7)
    return found | _columns("preactivations", trust._histograms("relu", suite.blind, DEEP, edges))


def _learned(suite: tasks.Suite) -> dict[str, float]:
    """Predictions, constants and losses where the constants are learned, and where they are not."""
    found: dict[str, float] = {}
    places = list(range(len(suite.tasks)))
    for name, learned in (("gelu-sine", True), ("snake", True), ("snake", False)):
        title = f"{name} {'learned' if learned else 'fixed'}"
        parts = constants._predicted((name, learned, suite.blind, LAB, 0, places))
        for part, array in zip(("ood", "train", "constants"), parts, strict=True):
            found |= summary(f"{title} {part}", array)
        for table in constants._tables(name, suite, FITNESS.clamp, *parts):
            found |= _columns(title, table)
    return found


def _observed(suite: tasks.Suite) -> dict[str, float]:
    """What is recorded during a training, and the power spectra of what is learned."""
    function, identity = spectra.subject("gelu-tanh@0.2")
    found = {"subject": f"{identity} {spectra.subject('gelu-sine')[1]}"}
    for part, table in spectra._observed(function, suite, replace(LAB, depth=2), 1).items():
        found |= _columns(part, table)
    return found


def _by_torch(suite: tasks.Suite) -> dict[str, float]:
    """What torch trains where C would do: GELU by its passes as they are rewritten, and gradients that are noted."""
    found: dict[str, float] = {}
    for layer, weight in enumerate(training.train(zoo.gelu, suite.blind, LAB, 3, (7, 2)).weights):
        found |= summary(f"GELU's weight {layer}", weight)
    start = training.Start.of(suite.blind, LAB, 1, (0, 5))
    networks, norms, losses = spectra._by_autograd(torch.tanh, start, LAB)
    return found | summary("noted norms", norms) | summary("noted losses", losses) | summary("last", networks.biases[0])


def _columns(name: str, table: pd.DataFrame) -> dict[str, float]:
    numbers = table.select_dtypes("number")
    return {key: value for column in numbers for key, value in summary(f"{name} {column}", numbers[column]).items()}
