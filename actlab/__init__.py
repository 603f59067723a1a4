"""actlab: a reproducible companion to "Mining Generalizable Activation Functions".

Submodules are imported when they are first used, so that `import actlab` takes no time and
`actlab.activations.gelu_sine(x)` needs no other import. `__version__` is the installed version.
"""

import importlib

__all__ = (
    "activations",
    "archive",
    "arms",
    "bands",
    "bench",
    "bench_search",
    "benchmarks",
    "blind",
    "bounds",
    "canary_files",
    "canary_lab",
    "canary_programs",
    "canary_search",
    "canary_transfer",
    "choice",
    "claims",
    "config",
    "confinement",
    "constants",
    "contrasts",
    "costs",
    "database",
    "discovery",
    "distribution",
    "downstream",
    "evolution",
    "executed",
    "explorer",
    "feynman",
    "fitness",
    "floors",
    "formula",
    "islands",
    "kinds",
    "lab",
    "lab_records",
    "laboratory",
    "language",
    "learnable",
    "messages",
    "multiverse",
    "naive",
    "notebooks",
    "nursery",
    "page",
    "paper",
    "paper_lab",
    "passes",
    "plotting",
    "plotting_constants",
    "plotting_multiverse",
    "plotting_spectra",
    "plotting_tasks",
    "plotting_transfer",
    "pool",
    "program",
    "proposers",
    "racing",
    "readme",
    "records",
    "report",
    "robustness",
    "rules",
    "sandbox",
    "show",
    "spectra",
    "stats",
    "studies",
    "tables",
    "takehome",
    "tasks",
    "traits",
    "transfer",
    "universe",
    "worker",
)


def __getattr__(name: str):
    """A submodule, imported now, or the version, looked up now.

    Raises:
        AttributeError: `name` is neither.
    """
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version(__name__)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r}: wanted one of {', '.join(__all__)}; came {name!r}")


def __dir__() -> list[str]:
    """The names that tab completion shows."""
    return sorted([*globals(), *__all__, "__version__"])
