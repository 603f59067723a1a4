"""How committed records were made, in words for the notebooks that read them."""

from __future__ import annotations

from collections.abc import Iterable

from actlab.core.records import ROOT, Canaries

COMMITTED = Canaries(ROOT / "records" / "canaries")


def made(family: str, command: str, marks: Iterable[str], canaries: Canaries = COMMITTED) -> str:
    """With which versions records were made, once this code is known to compute the same.

    Args:
        family: of `records.PROTOCOLS`.
        command: which makes the records.
        marks: of those who made the records.
        canaries: where theirs are.

    Raises:
        ChangedCode: where the code here computes something else.
    """
    marks = sorted(set(marks))
    canaries.demand(family, marks)
    versions = [canaries.read(family, mark)["versions"] for mark in marks]
    words = dict.fromkeys(", ".join(f"{name} {number}" for name, number in one.items()) for one in versions)
    return (
        f"Made by `{command}` with {', and with '.join(words)}. The code here gives the same canary, a tiny run whose "
        "numbers are kept with the records."
    )
