"""The canary of the multiverse: what it notices; and that all committed ones are equal."""

import pytest
import torch

from actlab.core import stats
from actlab.core.records import PROTOCOLS, ROOT, TOLERANCE, Canaries, drift
from actlab.lab import training, variant


@pytest.fixture(scope="module")
def values():
    return PROTOCOLS["multiverse"].run()


def test_it_repeats(values):
    assert PROTOCOLS["multiverse"].run() == values


@pytest.mark.parametrize("family", PROTOCOLS)
def test_the_committed_records_are_what_this_code_computes(family):
    kept = sorted((ROOT / "records" / "canaries").glob(f"{family}-*.json"))
    assert kept
    for path in kept:
        about = Canaries(path.parent).read(family, path.stem.removeprefix(f"{family}-"))
        assert about["protocol"] == PROTOCOLS[family].protocol
        assert drift(about["values"], PROTOCOLS[family].values()) <= TOLERANCE


def adam(**changes):
    original = torch.optim.Adam
    return lambda *arguments, **options: original(*arguments, **options, **changes)


@pytest.mark.parametrize(
    ("where", "name", "change"),
    [
        (torch.optim, "Adam", adam(eps=1.01e-8)),
        (torch.optim, "Adam", adam(betas=(0.9, 0.999001))),
        (variant.Settings, "rate", lambda self, step: self.learning_rate),
        (stats, "clamped", lambda losses, clamp: losses),
        (training, "batches", lambda points, config, seed, batches=training.batches: batches(points, config, seed + 1)),
    ],
)
def test_it_notices(values, monkeypatch, where, name, change):
    monkeypatch.setattr(where, name, change)
    assert drift(values, PROTOCOLS["multiverse"].run()) > 10 * TOLERANCE
