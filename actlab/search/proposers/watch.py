"""The bill of a search while it runs: on a terminal, a line that is updated with every answer (ours)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Self

from tqdm import tqdm

from actlab.search.proposers.answers import Live
from actlab.search.proposers.recording import TOKENS, Answer, Recording


class Watched:
    """Live answers that keep a line with their bill, against the cap in US dollars, up to date; a context manager."""

    def __init__(self, live: Live, recording: Recording, cap: float) -> None:
        self._live, self._recording, self._cap, self._lock = live, recording, cap, threading.Lock()
        self.bind, self.judge, self.origin = live.bind, live.judge, recording.origin
        self._bar = tqdm(bar_format="{desc}", disable=None)  # quiet if there is no terminal
        self._show()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    @property
    def spent(self) -> float:
        """US dollars, as the live answers have it."""
        return self._live.spent

    def ask(self, request: Mapping[str, Any], candidate: int, stop: threading.Event | None = None) -> Answer:
        """The live answer; the line is updated whether there is one or not."""
        try:
            return self._live.ask(request, candidate, stop)
        finally:
            self._show()

    def _show(self) -> None:
        with self._lock:  # no thread draws an older bill over a newer one
            if not self._bar.disable:
                self._bar.set_description_str(words(self._recording.bill(), self._cap))


def words(bill: Mapping[str, Any], cap: float) -> str:
    """A bill in a line, against its cap."""
    tokens, calls = sum(bill[part] for part in TOKENS), f"{bill['requests']} in {bill['calls']} calls"
    return f"answers: {calls}, {tokens} tokens, ${bill['usd']:.4f} of at most ${cap:.2f}"
