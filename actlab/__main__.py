"""The command line, `actlab VERB` or `python -m actlab VERB`; a wrong call is one line and exit status 2.

A verb is a module with `options(parser)`, which adds its own options, and `main(options, runner)`, which returns what
to print, or an exit status. Only the module of the verb that is asked for is imported.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from actlab import NotInstalled


@dataclass(frozen=True)
class Verb:
    """Where a verb is, and which of the common options it has.

    Attributes:
        place: module below actlab, and the two functions' common prefix where they are not `options` and `main`.
        about: one line for the list of verbs.
        profile: its default profile; "" for a verb without one.
        runs: whether it trains, with `--workers` and `--scheduler`.
        resumes: whether it goes on where it was cut off, with `--status`.
    """

    place: str
    about: str
    profile: str = ""
    runs: bool = False
    resumes: bool = False


VERBS = {
    "check": Verb("scoring.commands:check", "say whether a program is a valid candidate"),
    "score": Verb("scoring.commands:score", "train and score a program, or a function of the zoo", "smoke", True),
    "search": Verb("search.commands:search", "search from ReLU for better functions", "smoke", True, True),
    "show": Verb("search.commands:show", "say what a run is and found"),
    "transfer": Verb("transfer.sweep", "train functions on images, molecules and algorithms", "laptop", True, True),
    "multiverse": Verb("studies.multiverse", "score functions in labs drawn at random", "laptop", True, True),
    "generality": Verb("studies.generality", "search over labs, and judge in others", "laptop", True, True),
    "ablation": Verb("search.ablation", "search by five arms from several seeds", "laptop", True, True),
    "lab-records": Verb("studies.lab_records", "train with random constants, seeds and rates", "laptop", True, True),
    "gpu-lab": Verb("studies.gpu_lab", "train the zoo on a thousand data sets a suite", "paper", False, True),
    "records": Verb("studies.committed", "say of each family of records what made them and whether they stand"),
    "bench": Verb("report.bench.lab", "measure what things cost on this machine", "laptop"),
    "report": Verb("report.site", "write the static site from executed notebooks", "laptop"),
    "readme": Verb("report.readme", "write the numbers of README.md and docs/claims.md anew"),
    "unpack": Verb("transfer.image_files", "write ImageNet's parquet files as class folders, to train on them"),
    "notebooks": Verb("report.run_notebooks", "run notebooks for the Makefile"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status: 0 done, 1 did not pass, 2 a wrong call, 130 interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = parser(arguments[0] if arguments else "").parse_args(arguments)
        _log_to_stderr()
        return _run(VERBS[options.verb], options)
    except NotInstalled as error:
        print(f"actlab {arguments[0]}: {error}", file=sys.stderr)
        return 2


def parser(asked: str) -> argparse.ArgumentParser:
    """The parser of the command line, with the options of the verb that is asked for."""
    parser = argparse.ArgumentParser(prog="actlab", description="A laboratory for activation functions.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        command = verbs.add_parser(name, help=verb.about, description=f"{verb.about[0].upper()}{verb.about[1:]}.")
        if name == asked:
            _add_common(command, verb)
            _part(verb, "options")(command)
    return parser


class _Version(argparse.Action):
    """Looks the version up when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print("actlab", importlib.import_module("actlab").__version__)
        parser.exit()


def _add_common(parser: argparse.ArgumentParser, verb: Verb) -> None:
    if verb.profile:
        parser.add_argument("--profile", default=verb.profile, help="smoke, laptop or paper (default %(default)s)")
    if verb.runs:
        parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default 0: one a core)")
        parser.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="train on a Dask cluster, not here")
    if verb.resumes:
        parser.add_argument("--status", action="store_true", help="only say how much is done")


def _part(verb: Verb, name: str):
    """A verb's function `options` or `main`."""
    module, _, prefix = verb.place.partition(":")
    whole = {"options": f"{prefix}_options", "main": prefix}[name] if prefix else name
    importlib.import_module("actlab.core.jobs")  # where the extra is lacking, before torch warns that numpy is
    return getattr(importlib.import_module(f"actlab.{module}"), whole)


def _run(verb: Verb, options: argparse.Namespace) -> int:
    # Whatever a wrong call, missing data, a lost worker or changed code raises says in one line what was wanted.
    import sqlite3

    from actlab.core.jobs import Runner, connect

    try:
        with contextlib.ExitStack() as opened:
            scheduler = getattr(options, "scheduler", None)
            executor = None if scheduler is None else opened.enter_context(connect(scheduler))
            runner = Runner(getattr(options, "workers", 0), executor, tell=lambda line: print(line, flush=True))
            result = _part(verb, "main")(options, runner)
    except (ValueError, OSError, RuntimeError, sqlite3.Error) as error:
        print(f"actlab {options.verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"actlab {options.verb}: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    if isinstance(result, str):
        print(result)
        return 0
    return result


def _log_to_stderr() -> None:
    """Shows what actlab logs, such as which confinements hold."""
    log, handler = logging.getLogger("actlab"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
