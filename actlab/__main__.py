"""The command line: `python -m actlab check|score|search|show`; a wrong call is one line and exit status 2."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import os
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actlab.core import config

if TYPE_CHECKING:
    from actlab.scoring.evaluator import Score
    from actlab.search.proposers import Proposer
    from actlab.search.proposers.answers import Replayed
    from actlab.search.proposers.recording import Recording
    from actlab.search.proposers.watch import Watched

KEY = "ANTHROPIC_API_KEY"  # the environment variable; read when a search wants live answers, and nowhere else
PAID = ("models", "ask", "cap", "record", "replay", "service")  # options that only a search with Claude has a use for


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, or 1 for a program that did not pass, or 2 for a wrong call."""
    options = _parser().parse_args(arguments)
    _log_to_stderr()
    from actlab.scoring.pool import PoolError
    from actlab.scoring.sandbox import SandboxError
    from actlab.search.archive import ArchiveError
    from actlab.search.evolution import SearchStalled
    from actlab.search.proposers.recording import AnswersError

    wrong = (ValueError, ArchiveError, AnswersError, PoolError, SandboxError, SearchStalled, OSError, sqlite3.Error)
    if options.command == "search":
        wrong += (RuntimeError,)  # ReLU, where a search starts, cannot be scored as things are
    try:
        return options.run(options)
    except wrong as error:
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
    _add_search(commands.add_parser("search", help="search from ReLU for better functions", description=search.__doc__))
    command = commands.add_parser("show", help="say what a run is and found", description=show.__doc__)
    command.set_defaults(run=show)
    command.add_argument("file", metavar="RUN", type=Path, help="the run's file; it may be being written")
    command.add_argument("--program", type=_seed, metavar="ID", help="one program: lineage, traits, scores, source")
    command.add_argument("--record", type=Path, metavar="PATH", help="of its answers (default RUN.answers, if there)")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _add_search(command: argparse.ArgumentParser) -> None:
    usual = config.SearchConfig()
    command.set_defaults(run=search)
    _add_budget(command)
    command.add_argument("--profile", default="smoke", help="smoke (default), laptop or paper")
    command.add_argument("--evaluations", type=int, help="candidates to train (default: the profile's)")
    command.add_argument("--workers", type=int, default=0, help="processes (default 0: one a core)")
    command.add_argument("--seed", type=_seed, default=0, help="of the proposals (default 0)")
    command.add_argument(
        "--islands",
        type=int,
        metavar="N",
        default=usual.islands,
        help="populations that meet only by migration (default %(default)s)",
    )
    command.add_argument("--pointwise", action="store_true", help="refuse functions that look across the tensor")
    command.add_argument(
        "--no-race",
        action="store_true",
        help="train every candidate on all tasks, in place of "
        "dropping who is surely behind the program whose place it would take",
    )
    command.add_argument(
        "--proposer",
        default="grammar",
        metavar="WHO",
        help="grammar (default, offline) or claude; both with weights: grammar=0.5,claude=0.5",
    )
    command.add_argument("--models", type=Path, metavar="FILE", help="models, weights and prices (default: ours)")
    command.add_argument(
        "--ask",
        metavar="NAMES",
        help="the models to ask, with weights or without, in place of the "
        "table's choice: claude-opus-5-5=2,claude-haiku-5-5",
    )
    command.add_argument("--cap", type=float, metavar="USD", help="what live answers of this run may cost in all")
    command.add_argument("--record", type=Path, metavar="PATH", help="where answers are kept (default RUN.answers)")
    command.add_argument("--replay", type=Path, metavar="FILE", help="take answers from this recording: no key")
    command.add_argument("--service", metavar="URL", help="address of the Messages API (default: Anthropic's)")
    command.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="train on a Dask cluster, not on this machine")
    command.add_argument("--out", type=Path, required=True, metavar="RUN", help="the run's file; goes on if it exists")


def _add_budget(command: argparse.ArgumentParser) -> None:
    about = "refuse what costs more FLOPs an element (default: the paper's costliest function's)"
    command.add_argument("--flops", type=_flops, default=config.Limits().flops, metavar="N", help=about)


def _profile(options: argparse.Namespace) -> config.Profile:
    profile = config.profile(options.profile)
    return replace(profile, limits=replace(profile.limits, flops=options.flops))


def _source(file: str) -> str:
    """The text of a file, of standard input for -, or of a function of the zoo."""
    if file == "-":
        return sys.stdin.read()
    if Path(file).exists() or Path(file).suffix:
        return Path(file).read_text()
    from actlab.activations import zoo

    return zoo.program_source(file)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"wanted a whole number from 0; got {text!r}")
    return int(text)


def _flops(text: str) -> float:
    try:
        flops = float(text)
    except ValueError:
        flops = math.nan
    if not flops > 0:
        raise argparse.ArgumentTypeError(f"wanted a number above 0; got {text!r}")
    return flops


def check(options: argparse.Namespace) -> int:
    """Says whether a program keeps the rules of the candidate language and behaves on the probes."""
    from actlab.candidates.program import Refused
    from actlab.candidates.program import check as check_source
    from actlab.scoring.evaluator import Evaluator

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
    from actlab.scoring.laboratory import Laboratory

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
    """Searches from ReLU; the last line is a JSON object: best, final (the choice), held_out (of it), digest."""
    from actlab.scoring.laboratory import Laboratory
    from actlab.scoring.pool import connect
    from actlab.search import runs
    from actlab.search.inspect import finite

    profile = _searched(options)
    with contextlib.ExitStack() as opened:
        executor = None if options.scheduler is None else opened.enter_context(connect(options.scheduler))
        laboratory = opened.enter_context(Laboratory(profile, options.workers, executor=executor))
        evaluator = laboratory.evaluator  # which refuses settings, hence before any file is made
        proposer, answers = opened.enter_context(_proposer(options, profile.search.pointwise))
        spent, bind = (None, None) if answers is None else (lambda: answers.spent, answers.bind)
        result, path = runs.run_search(laboratory, options.seed, options.out, proposer, spent, bind)
        final = runs.final(path, profile.fitness)
        held_out = evaluator.submit(final.source, "held-out", profile.lab).result()
        paid = {} if answers is None else {"spent": answers.spent, "answers": answers.origin}
    report = {
        "best": {"id": result.best.id, "fitness": result.best.fitness, "source": result.best.source},
        "final": {"id": final.id, "fitness": final.fitness, "source": final.source},
        "held_out": _worth(held_out),
        "evaluations": result.evaluations,
        "digest": result.digest,
        **paid,
    }
    print(json.dumps(finite(report), allow_nan=False))
    return 0


def _worth(score: Score) -> dict[str, Any]:
    """What a search tells of its choice on another suite, where it need not come through."""
    if score.ended != "scored":
        return {"ended": score.ended, "error": score.error}
    tasks = len(score.ood_mse)
    mean = sum(score.ood_mse) / tasks
    return {"fitness": score.fitness, "interval": score.interval, "ood_mse": mean, "tasks": tasks}


def _searched(options: argparse.Namespace) -> config.Profile:
    """The profile with what the options say of the search."""
    profile = _profile(options)
    if options.out.is_dir():
        raise ValueError(f"--out: wanted a file; got the folder {options.out}")
    if options.evaluations is not None and options.evaluations < 1:
        raise ValueError(f"--evaluations: wanted 1 or more; got {options.evaluations}")
    if not 1 <= options.islands <= profile.search.round_size:
        most = profile.search.round_size
        raise ValueError(f"--islands: wanted 1 to {most}, an ask a round for each; got {options.islands}")
    changes = {"islands": options.islands, "pointwise": options.pointwise, "race": not options.no_race}
    changes |= {} if options.evaluations is None else {"evaluations": options.evaluations}
    return replace(profile, search=replace(profile.search, **changes))


@contextlib.contextmanager
def _proposer(options: argparse.Namespace, pointwise: bool) -> Iterator[tuple[Proposer, Watched | Replayed | None]]:
    """The proposer that the options ask for, and where its answers come from, if it asks for any."""
    from actlab.search.proposers.grammar import Grammar
    from actlab.search.proposers.mixture import Mixture

    weights = _weights("--proposer", options.proposer)
    if not weights.keys() <= {"grammar", "claude"}:
        raise ValueError(f"--proposer: wanted grammar, claude, or both with weights; got {options.proposer!r}")
    with contextlib.ExitStack() as opened:
        answers, parts = None, {"grammar": Grammar(batch_statistics=not pointwise)}
        if "claude" in weights:
            from actlab.search.proposers.claude import Claude
            from actlab.search.proposers.models import TABLE, choose, read_models

            named = None if options.ask is None else _weights("--ask", options.ask)
            models = choose(read_models(options.models or TABLE), named)
            answers = opened.enter_context(_answers(options, models))
            parts["claude"] = Claude(answers, models)
        elif given := [name for name in PAID if getattr(options, name) is not None]:
            raise ValueError(f"--{given[0]}: wanted with --proposer claude alone; got --proposer {options.proposer}")
        chosen = [(parts[name], weight) for name, weight in weights.items()]
        yield chosen[0][0] if len(chosen) == 1 else Mixture(chosen), answers


def _weights(option: str, text: str) -> dict[str, float]:
    """Names with their weights, 1 where none is given: `grammar`, or `grammar=0.5,claude=0.5`."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        if not name or name in weights:
            raise ValueError(f"{option}: wanted names, each once, with weights or without; got {text!r}")
        try:
            weights[name] = float(weight or 1)
        except ValueError as error:
            raise ValueError(f"{option}: wanted a number as the weight of {name}; got {weight!r}") from error
        if not 0 < weights[name] < math.inf:
            raise ValueError(f"{option}: wanted a weight above 0 for {name}; got {weight}")
    return weights


@contextlib.contextmanager
def _answers(options: argparse.Namespace, models: tuple[Any, ...]) -> Iterator[Watched | Replayed]:
    """Where Claude's answers come from: a recording, or the service, which is asked with the key of the environment."""
    from actlab.search.proposers.answers import SERVICE, Live, Replayed, client
    from actlab.search.proposers.recording import Recording
    from actlab.search.proposers.watch import Watched

    if options.replay is not None:
        for name in ("cap", "record", "service"):
            if getattr(options, name) is not None:
                raise ValueError(f"--{name}: wanted without --replay, which asks and pays nobody; got both")
        with Recording(options.replay, read_only=True) as recording:
            if recording.origin != "live":
                logging.getLogger("actlab").info("the answers are %s: no model's output", recording.origin)
            yield Replayed(recording, options.out)
        return
    with client(os.environ.get(KEY), options.service or SERVICE) as service:
        if options.cap is None:
            raise ValueError("--cap: wanted the US dollars that the answers of this run may cost in all; got none")
        if not 0 <= options.cap < math.inf:
            raise ValueError(f"--cap: wanted US dollars, from 0; got {options.cap}")
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with Recording(options.record or _beside(options.out)) as recording:
            live = Live(service, recording, models, options.cap)
            with Watched(live, recording, options.cap) as answers:
                yield answers


def _beside(run: Path) -> Path:
    """Where the answers of a run are kept, if nobody says otherwise."""
    return run.with_name(f"{run.name}.answers")


def show(options: argparse.Namespace) -> int:
    """Says what a run is and what it found, or what is known of one program; changes nothing."""
    from actlab.search import inspect as shown

    path: Path = options.file
    with contextlib.ExitStack() as opened:
        recording = _recording(path, options.record)
        if options.program is not None:
            bill = None if recording is None else opened.enter_context(recording).bill(min(options.program, shown.MOST))
            report = shown.program(path, options.program, bill)
            print(json.dumps(report, allow_nan=False) if options.json else shown.program_text(report))
            return 0
        bills: list[dict[str, Any]] = []
        if recording is not None:
            with opened.enter_context(recording).reading():
                bills = recording.summary()
                answers = {"origin": recording.origin, "spent": recording.spent(), "models": bills}
        report = shown.run(path, bills)
        if recording is not None:
            report |= {"answers": answers}
    print(json.dumps(report, allow_nan=False) if options.json else shown.run_text(report))
    return 0


def _recording(run: Path, given: Path | None) -> Recording | None:
    """The recording of a run's answers: the one that is named, or the one beside it if there is one."""
    from actlab.search.proposers.recording import Recording

    if given is None and not _beside(run).exists():
        return None
    return Recording(given or _beside(run), read_only=True)


if __name__ == "__main__":
    sys.exit(main())
