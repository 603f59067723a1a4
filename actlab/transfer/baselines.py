"""What simple baselines score on the tasks of `make transfer`, and whether a network reaches it (all ours).

Functions are not compared on a network that scores below a linear model, or below the same network untrained.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd

from actlab.core import stats
from actlab.core.records import Store
from actlab.transfer import statistics, sweep


def score(config: Any, kind: str, store: Store, **options: int) -> pd.DataFrame:
    """What the baselines score on a configuration's tests, kept in the store; `options` are those of `baseline`.

    Columns data, answer, split, seed (of the run that it is compared with; missing where the split, and so the score,
    does not depend on it) and value.
    """
    job = sweep.Job(kind, "relu", config)
    settings = dataclasses.asdict(dataclasses.replace(config, folder=""))

    def compute() -> pd.DataFrame:
        rows = []
        for answer, found in job.module.baseline(config, **options).items():
            for split, value in (found if isinstance(found, dict) else {"in-distribution": found}).items():
                rows.append((job.data, answer, split if split in statistics.SPLITS else "ood", value))
        return pd.DataFrame(rows, columns=["data", "answer", "split", "value"])

    about = {"family": "transfer", "kind": "floor", "of": kind, "config": settings, "options": options}
    found = store.get(about, compute)
    return found.assign(seed=config.seed if kind == "molecules" else pd.NA)


def beside(scores: pd.DataFrame, baselines: pd.DataFrame, function: str = "relu") -> pd.DataFrame:
    """A function beside each baseline: paired where the baseline depends on the seed, else against its one score.

    `scores` is what `statistics.scores` returns, and `baselines` has rows of `score`.

    Columns data, split, answer, n (seeds), floor and score (means over the seeds of the comparison), difference (of the
    score over the floor), low, high (`stats.paired_t`, with an answer's one score taken as known) and verdict: above or
    below where the interval excludes 0, else level.
    """
    rows = []
    for (data, answer, split), part in baselines.groupby(["data", "answer", "split"], sort=False):
        mine = scores[(scores["function"] == function) & (scores["data"] == data) & (scores["split"] == split)]
        values, plain = mine.set_index("seed")["value"], part.set_index("seed")["value"]
        if part["seed"].isna().all():
            if len(part) != 1:
                raise ValueError(f"beside: wanted one score of {answer} on {data}, {split}; got {len(part)}")
            plain = pd.Series(plain.item(), index=values.index)
        values = values.loc[plain.index]
        found = stats.paired_t(values, plain)
        row = {"data": data, "split": split, "answer": answer, "n": found.n, "floor": plain.mean()}
        row |= {"score": values.mean()} | found.columns("difference")
        rows.append(row | {"verdict": "above" if found.low > 0 else "below" if found.high < 0 else "level"})
    return pd.DataFrame(rows)
