"""The canary of the multiverse: four tiny labs in float64, whose losses tell whether its code computes the same."""

from __future__ import annotations

import torch

from actlab.lab.distribution import Distribution, Levels, Range
from actlab.studies.multiverse import Job, run

TINY = Distribution(
    width=Levels((4, 8)), depth=Levels((1, 2, 3, 4)), steps=Range(12, 20), batch=Levels((16, 32)),
    samples=Levels((32, 64)), tasks=12,
)  # fmt: skip
FUNCTIONS = ("relu", "gelu", "turbulent", "found")  # among them one that sees its batch
LABS = (2, 3, 4, 6)  # with both schedules, both forms of GELU, one and four layers, and all families
CLAMP = 0.9  # so low that some losses are clamped


def values() -> dict[str, float | str]:
    """Settings of the drawn labs, and each function's losses in them."""
    found: dict[str, float | str] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for lab in LABS:
            job = Job(lab, TINY.draw(lab), FUNCTIONS, CLAMP)
            found[f"lab {lab}"] = repr(job.settings)
            losses, _ = run(job, torch.float64)
            for row in losses.itertuples():
                where = f"lab {lab}, {row.function}, task {row.task}"
                found |= {f"{where}, out": row.ood_mse, f"{where}, in": row.train_mse}
    finally:
        torch.set_num_threads(threads)
    return found
