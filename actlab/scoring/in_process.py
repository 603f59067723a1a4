"""An evaluator without sandboxes, for canaries: it runs programs of our own in this process (ours)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from actlab.scoring import worker
from actlab.scoring.evaluator import Evaluator
from actlab.scoring.pool import Call, Pool
from actlab.scoring.sandbox import Outcome

ENDS = {"0.8125": "killed", "0.4375": "failed"}  # how a training ends, by a constant in the program


class _Here(Pool):
    """A pool whose jobs are this process's own."""

    def run(self, call: Call) -> Outcome | None:
        """Does the job here and now, or ends as `ENDS` say."""
        for constant, ended in ENDS.items():
            if call.job == "predict" and constant in call.request["source"]:
                return Outcome(ended, "as the canary wants it")
        return super().run(call)

    def _sandboxed(self, call: Call) -> Outcome:
        request = json.loads(json.dumps(call.request))  # as a sandbox gets it, where a tuple has become a list
        head, arrays = worker.JOBS[call.job](request, call.arrays, self.data)
        return Outcome("answered", None, head, arrays)


class InProcess(Evaluator):
    """An evaluator that runs each job in this process at once, unconfined: for programs of our own.

    Programs with a constant of `ENDS` end as a sandbox would end them.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._pool = _Here(self.limits, data=self._pool.data)

    def _send(self, call: Call) -> Future[Outcome | None]:
        sent: Future[Outcome | None] = Future()
        sent.set_result(self._pool.run(call))
        return sent


@contextmanager
def one_thread() -> Iterator[None]:
    """Within, torch uses one thread, as in a sandbox: two are slower on tensors this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def summary(name: str, array: np.ndarray | torch.Tensor) -> dict[str, float]:
    """The sum of an array's absolute values, and a weighted sum that depends on every element and on their order."""
    flat = np.asarray(array, dtype=np.float64).ravel()
    weights = 1 + np.arange(flat.size) / flat.size
    return {f"{name} size": float(np.abs(flat).sum()), f"{name} sum": float(weights @ flat)}
