"""The verbs `actlab search` and `actlab show`: a search on its own, and what a run is and found."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actlab.core import config
from actlab.core.jobs import Runner
from actlab.scoring import commands
from actlab.scoring.evaluator import Score
from actlab.scoring.laboratory import Laboratory
from actlab.search import inspect, runs

if TYPE_CHECKING:
    from actlab.search.proposers import Proposer
    from actlab.search.proposers.answers import Replayed
    from actlab.search.proposers.recording import Recording
    from actlab.search.proposers.watch import Watched

KEY = "ANTHROPIC_API_KEY"  # the environment variable; read when a search wants live answers, and nowhere else
PAID = ("models", "ask", "cap", "record", "replay", "service")  # options that only a search with Claude has a use for


def search_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `search`."""
    usual, add = config.SearchConfig(), parser.add_argument
    commands.add_budget(parser)
    add("--evaluations", type=int, help="candidates to train (default: the profile's)")
    add("--seed", type=commands.seed, default=0, help="of the proposals (default 0)")
    about = "populations that meet only by migration (default %(default)s)"
    add("--islands", type=int, metavar="N", default=usual.islands, help=about)
    about = "what is maximised: the fitness in the default lab, or over labs drawn at random (default %(default)s)"
    add("--fitness", choices=("default-lab", "labs"), default="default-lab", help=about)
    add("--pointwise", action="store_true", help="refuse functions that look across the tensor")
    add("--no-race", action="store_true", help="train every candidate on all tasks, even one that is surely behind")
    about = "grammar (default, offline) or claude; both with weights: grammar=0.5,claude=0.5"
    add("--proposer", default="grammar", metavar="NAME", help=about)
    add("--models", type=Path, metavar="FILE", help="models, weights and prices (default: ours)")
    about = "models to ask, with weights or without, in place of the table's: claude-opus-5-5=2,claude-haiku-5-5"
    add("--ask", metavar="NAMES", help=about)
    add("--cap", type=float, metavar="USD", help="what live answers of this run may cost in all")
    add("--record", type=Path, metavar="PATH", help="where answers are kept (default RUN.answers)")
    add("--replay", type=Path, metavar="FILE", help="take answers from this recording: no key")
    add("--service", metavar="URL", help="address of the Messages API (default: Anthropic's)")
    add("--out", type=Path, required=True, metavar="RUN", help="the run's file; goes on if it exists")
    add("--json", action="store_true", help="end with one JSON object, as it does where the output is no terminal")


def search(options: argparse.Namespace, runner: Runner) -> str:
    """Searches from ReLU; ends with a summary for people on a terminal, and else with a JSON object in a line.

    The object has best, final (the choice), held_out (of it), evaluations and digest; with a model spent and answers.
    """
    profile = _searched(options)
    if options.status:
        tried = len(runs.trained(runs.entries(options.out))) if options.out.exists() else 0
        return f"{tried} of {profile.search.evaluations} candidates are in {options.out}"
    with contextlib.ExitStack() as opened:
        laboratory = opened.enter_context(Laboratory(profile, runner.workers, executor=runner.executor))
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
    report = inspect.finite(report)
    as_json = options.json or not sys.stdout.isatty()
    return json.dumps(report, allow_nan=False) if as_json else inspect.search_text(report, options.out, profile)


def _worth(score: Score) -> dict[str, Any]:
    """What a search tells of its choice on another suite, where it need not come through."""
    if score.ended != "scored":
        return {"ended": score.ended, "error": score.error}
    tasks = len(score.ood_mse)
    mean = sum(score.ood_mse) / tasks
    return {"fitness": score.fitness, "interval": score.interval, "ood_mse": mean, "tasks": tasks}


def _searched(options: argparse.Namespace) -> config.Profile:
    """The profile with what the options say of the search."""
    profile = commands.profile(options)
    if options.fitness == "labs":
        profile = config.over_labs(profile)
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


def show_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `show`."""
    parser.add_argument("file", metavar="RUN", type=Path, help="the run's file; it may be being written")
    parser.add_argument("--program", type=commands.seed, metavar="ID", help="one program: lineage, scores, source")
    parser.add_argument("--record", type=Path, metavar="PATH", help="of its answers (default RUN.answers, if there)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def show(options: argparse.Namespace, runner: Runner) -> str:
    """What a run is and what it found, or what is known of one program; changes nothing."""
    path: Path = options.file
    with contextlib.ExitStack() as opened:
        recording = _recording(path, options.record)
        if options.program is not None:
            most = min(options.program, inspect.MOST)
            bill = None if recording is None else opened.enter_context(recording).bill(most)
            report = inspect.program(path, options.program, bill)
            return json.dumps(report, allow_nan=False) if options.json else inspect.program_text(report)
        bills: list[dict[str, Any]] = []
        if recording is not None:
            with opened.enter_context(recording).reading():
                bills = recording.summary()
                answers = {"origin": recording.origin, "spent": recording.spent(), "models": bills}
        report = inspect.run(path, bills)
        if recording is not None:
            report |= {"answers": answers}
    return json.dumps(report, allow_nan=False) if options.json else inspect.run_text(report)


def _recording(run: Path, given: Path | None) -> Recording | None:
    """The recording of a run's answers: the one that is named, or the one beside it if there is one."""
    from actlab.search.proposers.recording import Recording

    if given is None and not _beside(run).exists():
        return None
    return Recording(given or _beside(run), read_only=True)
