"""The canary of the multiverse: what it notices; and that all committed ones are equal."""

import pytest

from actlab.core import stats
from actlab.core.records import PROTOCOLS, ROOT, TOLERANCE, Canaries, drift
from actlab.lab import training
from actlab.studies import committed


@pytest.fixture(scope="module")
def values():
    return PROTOCOLS["multiverse"].run()


def test_it_repeats(values):
    assert PROTOCOLS["multiverse"].run() == values


@pytest.mark.parametrize("family", sorted({one.family for one in committed.every().values() if len(one.jobs)}))
def test_the_committed_records_are_what_this_code_computes(family):
    kept = sorted((ROOT / "records" / "canaries").glob(f"{family}-*.json"))
    assert kept
    for path in kept:
        about = Canaries(path.parent).read(family, path.stem.removeprefix(f"{family}-"))
        assert about["protocol"] == PROTOCOLS[family].protocol
        assert drift(about["values"], PROTOCOLS[family].values()) <= TOLERANCE


@pytest.mark.parametrize(
    ("where", "name", "change"),
    [
        (training, "ADAM", training.ADAM | {"eps": 1.01e-8}),
        (training, "ADAM", training.ADAM | {"beta2": 0.999001}),
        (training, "FACTORS", dict.fromkeys(training.FACTORS, training.FACTORS["constant"])),
        (stats, "clamped", lambda losses, clamp: losses),
        (training, "batches", lambda points, config, seed, batches=training.batches: batches(points, config, seed + 1)),
    ],
)
def test_it_notices(values, monkeypatch, where, name, change):
    monkeypatch.setattr(where, name, change)
    assert drift(values, PROTOCOLS["multiverse"].run()) > 10 * TOLERANCE
