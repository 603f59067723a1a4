"""The verbs `actlab check` and `actlab score`: what a program is, and how it does."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from actlab.candidates.program import Refused
from actlab.candidates.program import check as check_source
from actlab.core import config, stats
from actlab.core.jobs import Runner
from actlab.scoring.evaluator import Evaluator, Score
from actlab.scoring.laboratory import Laboratory


def check_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `check`."""
    _program_options(parser)
    parser.add_argument("--verbose", action="store_true", help="say what would train it, too, and why")


def _program_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="source of activation(x); - for stdin; or a name of the zoo")
    add_budget(parser)


def score_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `score`."""
    _program_options(parser)
    parser.add_argument("--suite", default="search", help="search (default), held-out or far")
    parser.add_argument("--seed", type=seed, default=0, help="of initial weights and batches (default 0)")
    parser.add_argument("--json", action="store_true", help="print the whole Score as JSON")


def add_budget(parser: argparse.ArgumentParser) -> None:
    """Adds the option of the budget."""
    about = "refuse what costs more FLOPs an element, or thrice as many with its backward pass (default: %(default)g)"
    parser.add_argument("--flops", type=flops, default=config.Limits().flops, metavar="N", help=about)


def command(*words: object) -> str:
    """A call of the command line that can be pasted into a shell, from any folder if its paths are absolute."""
    return shlex.join([sys.executable, "-m", "actlab", *map(str, words)])


def seed(text: str) -> int:
    """A whole number from 0, as an option has it."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"wanted a whole number from 0; got {text!r}")
    return int(text)


def flops(text: str) -> float:
    """A number above 0, as an option has it."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not found > 0:
        raise argparse.ArgumentTypeError(f"wanted a number above 0; got {text!r}")
    return found


def profile(options: argparse.Namespace) -> config.Profile:
    """The profile, with the budget of FLOPs that is asked for."""
    found = config.profile(options.profile)
    return replace(found, limits=replace(found.limits, flops=options.flops))


def _source(file: str) -> str:
    """The text of a file, of standard input for -, or of a function of the zoo."""
    if file == "-":
        return sys.stdin.read()
    if Path(file).exists() or Path(file).suffix or Path(file).name != file:
        try:
            return Path(file).read_text()
        except (OSError, UnicodeDecodeError) as error:
            why = "it is no text" if isinstance(error, ValueError) else (error.strerror or str(error)).lower()
            raise ValueError(f"wanted a file with the source of activation(x); got {file!r}: {why}") from error
    from actlab.activations import zoo

    return zoo.program_source(file)


def check(options: argparse.Namespace, runner: Runner) -> int:
    """Says whether a program keeps the rules of the candidate language and behaves on the probes."""
    try:
        program = check_source(_source(options.file))
    except Refused as refusal:
        print(f"refused: {refusal}")
        return 1
    limits = replace(config.Limits(), flops=options.flops)
    with Evaluator({}, config.FitnessConfig(), workers=1, limits=limits) as evaluator:
        lab = config.LabConfig()
        finding = evaluator.describe(program.source, lab=lab).result()
        listing = evaluator.listing(program.source, None, lab)
    if finding.ended != "open":
        print(f"{finding.ended}: {finding.error}")
        return 1
    description = finding.description
    traits = ", ".join(f"{name} {value}" for name, value in description.traits.items())
    print(f"ok: {description.flops_relu:.3g} times ReLU's FLOPs, {description.flops_gelu:.3g} times GELU's; {traits}")
    if options.verbose:
        print(f"trained by: {listing.backend}" + (f", since {listing.why}" if listing.why else ""))
    return 0


def score(options: argparse.Namespace, runner: Runner) -> int:
    """Trains a program on a suite in a worker process and prints its Score."""
    with Laboratory(profile(options), workers=runner.workers or 1, executor=runner.executor) as laboratory:
        source, lab, evaluator = _source(options.file), laboratory.profile.lab, laboratory.evaluator
        result = evaluator.score(source, options.suite, lab, options.seed)
        by = {"backend": None, "backend_why": None}
        if result.ended == "scored":
            listing = evaluator.listing(check_source(source).source, options.suite, lab)
            by = {"backend": listing.backend, "backend_why": listing.why}
    if options.json:
        print(json.dumps(_plain(result) | by, allow_nan=False))
    elif result.ended == "scored":
        mean = sum(result.ood_mse) / len(result.ood_mse)
        low, high = result.interval
        few = stats.few_words(Counter(result.families).values())
        print(f"fitness {result.fitness:.4f} [{low:.4f}, {high:.4f}] (95 % skewness-corrected t{few}) over", end=" ")
        print(f"{len(result.ood_mse)} tasks of the {options.suite} suite, profile {options.profile};", end=" ")
        print(f"mean OOD MSE {mean:.4f}")
    else:
        print(f"{result.ended}: {result.error}")
    return 0 if result.ended == "scored" else 1


def _plain(score: Score) -> dict[str, Any]:
    """A Score for JSON, cost and traits beside its losses; null where there is no fitness."""
    report = score.to_dict()
    description = report.pop("description") or {}
    if score.ended != "scored":
        report |= {"fitness": None, "interval": None}
    costs = {name: description.get(name) for name in ("flops", "flops_training", "flops_relu", "flops_gelu")}
    report |= {name: cost if cost is not None and math.isfinite(cost) else None for name, cost in costs.items()}
    return report | {"traits": description.get("traits")}
