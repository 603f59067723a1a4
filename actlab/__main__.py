"""The command line: `python -m actlab check|score|search`; what was asked wrongly is one line and exit status 2."""

from __future__ import annotations

import argparse
import json
import logging
import math
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actlab import config

if TYPE_CHECKING:
    from actlab.fitness import Score


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, or 1 for a program that did not pass, or 2 for a wrong call."""
    options = _parser().parse_args(arguments)
    _log_to_stderr()
    from actlab.archive import ArchiveError
    from actlab.evolution import SearchStalled
    from actlab.sandbox import SandboxError

    try:
        return options.run(options)
    except (ValueError, ArchiveError, SandboxError, SearchStalled, OSError, sqlite3.Error) as error:
        print(f"actlab {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"actlab {options.command}: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _log_to_stderr() -> None:
    """Shows what actlab logs, such as which confinements hold."""
    log, handler = logging.getLogger("actlab"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="actlab", description="A laboratory for activation functions.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run, about in (
        ("check", check, "say whether a program is a valid candidate"),
        ("score", score, "train and score a program, or a function of the zoo"),
    ):
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(run=run)
        command.add_argument("file", metavar="FILE", help="source of activation(x); - for stdin; or a name of the zoo")
        _add_budget(command)
        if name == "score":
            command.add_argument("--profile", default="smoke", help="smoke (default), laptop or paper")
            command.add_argument("--suite", default="search", help="search (default), held-out or far")
            command.add_argument("--seed", type=_seed, default=0, help="of initial weights and batches (default 0)")
            command.add_argument("--json", action="store_true", help="print the whole Score as JSON")
    command = commands.add_parser(
        "search", help="search from ReLU, with the offline grammar", description=search.__doc__
    )
    command.set_defaults(run=search)
    _add_budget(command)
    command.add_argument("--profile", default="smoke", help="smoke (default), laptop or paper")
    command.add_argument("--evaluations", type=int, help="candidates to screen (default: the profile's)")
    command.add_argument("--workers", type=int, default=0, help="processes (default 0: one a core)")
    command.add_argument("--seed", type=_seed, default=0, help="of the proposals (default 0)")
    command.add_argument("--race", action="store_true", help="train on a quarter, half and all of the tasks, and drop "
                         "who is surely behind, in place of screening after few steps")  # fmt: skip
    command.add_argument("--out", type=Path, required=True, metavar="RUN", help="the run's file; goes on if it exists")
    return parser


def _add_budget(command: argparse.ArgumentParser) -> None:
    about = "refuse what costs more FLOPs an element (default: the paper's costliest function's)"
    command.add_argument("--flops", type=float, default=config.Limits().flops, metavar="N", help=about)


def _profile(options: argparse.Namespace) -> config.Profile:
    profile = config.profile(options.profile)
    return replace(profile, limits=replace(profile.limits, flops=options.flops))


def _source(file: str) -> str:
    """The text of a file, of standard input for -, or of a function of the zoo."""
    if file == "-":
        return sys.stdin.read()
    if Path(file).exists() or Path(file).suffix:
        return Path(file).read_text()
    from actlab import activations

    return activations.program_source(file)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"wanted a whole number from 0; got {text!r}")
    return int(text)


def check(options: argparse.Namespace) -> int:
    """Says whether a program keeps the rules of the candidate language and behaves on the probes."""
    from actlab.fitness import Evaluator
    from actlab.program import Refused
    from actlab.program import check as check_source

    try:
        program = check_source(_source(options.file))
    except Refused as refusal:
        print(f"refused: {refusal}")
        return 1
    limits = replace(config.Limits(), flops=options.flops)
    with Evaluator({}, config.FitnessConfig(), workers=1, limits=limits) as evaluator:
        finding = evaluator.describe(program.source).result()
    if finding.ended != "open":
        print(f"{finding.ended}: {finding.error}")
        return 1
    description = finding.description
    traits = ", ".join(f"{name} {value}" for name, value in description.traits.items())
    print(f"ok: {description.flops_relu:.3g} times ReLU's FLOPs, {description.flops_gelu:.3g} times GELU's; {traits}")
    return 0


def score(options: argparse.Namespace) -> int:
    """Trains a program on a suite in worker processes and prints its Score."""
    from actlab.laboratory import Laboratory

    with Laboratory(_profile(options), workers=1) as laboratory:
        result = laboratory.evaluator.score(_source(options.file), options.suite, laboratory.profile.lab, options.seed)
    if options.json:
        print(json.dumps(_plain(result), allow_nan=False))
    elif result.ended == "scored":
        mean = sum(result.ood_mse) / len(result.ood_mse)
        low, high = result.interval
        print(f"fitness {result.fitness:.4f} [{low:.4f}, {high:.4f}] over {len(result.ood_mse)} tasks of the", end=" ")
        print(f"{options.suite} suite, profile {options.profile}; mean OOD MSE {mean:.4f}")
    else:
        print(f"{result.ended}: {result.error}")
    return 0 if result.ended == "scored" else 1


def _plain(score: Score) -> dict[str, Any]:
    """A Score for JSON, cost and traits beside its losses; null where there is no fitness."""
    report = score.to_dict()
    description = report.pop("description") or {}
    if score.ended != "scored":
        report |= {"fitness": None, "interval": None}
    costs = {name: description.get(name) for name in ("flops", "flops_relu", "flops_gelu")}
    report |= {name: cost if cost is not None and math.isfinite(cost) else None for name, cost in costs.items()}
    return report | {"traits": description.get("traits")}


def search(options: argparse.Namespace) -> int:
    """Searches from ReLU with the offline grammar; the last line is a JSON object: best, held_out, digest."""
    from actlab import discovery
    from actlab.laboratory import Laboratory

    profile = _profile(options)
    if options.evaluations is not None:
        if options.evaluations < 1:
            raise ValueError(f"--evaluations: wanted 1 or more; got {options.evaluations}")
        profile = replace(profile, search=replace(profile.search, evaluations=options.evaluations))
    if options.race:
        from actlab.racing import quarters

        rungs = quarters(profile.tasks.search, len(config.FAMILIES))
        profile = replace(profile, search=replace(profile.search, rungs=rungs))
    with Laboratory(profile, options.workers) as laboratory:
        result, _ = discovery.run_search(laboratory, options.seed, options.out)
        held_out = laboratory.evaluator.submit(result.best.source, "held-out", profile.lab).result()
    report = {
        "best": {"id": result.best.id, "fitness": result.best.fitness, "source": result.best.source},
        "held_out": {
            "fitness": held_out.fitness,
            "interval": held_out.interval,
            "ood_mse": sum(held_out.ood_mse) / len(held_out.ood_mse),
            "tasks": len(held_out.ood_mse),
        },
        "evaluations": result.evaluations,
        "digest": result.digest,
    }
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
