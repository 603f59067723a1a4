"""The evolutionary search: proposers, islands, races, the archive of a run, what is selected, and ablations."""

from actlab import face

__all__, __getattr__, __dir__ = face(
    __name__,
    (
        "ablation",
        "archive",
        "canary",
        "canary_programs",
        "contrasts",
        "database",
        "evolution",
        "inspect",
        "islands",
        "proposers",
        "racing",
        "runs",
        "selection",
    ),
)
