import json
from collections import Counter
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from actlab.core.config import FAMILIES
from actlab.lab.distribution import Distribution, Levels, Range
from actlab.studies.multiverse import DESIGNS


def test_every_setting_is_drawn_from_all_of_its_range_and_half_the_time_from_its_upper_half():
    distribution, labs = Distribution(), 600
    drawn = pd.DataFrame([asdict(distribution.draw(i)) for i in range(labs)])
    assert (drawn["tasks"] == distribution.tasks).all() and drawn["seed"].is_unique
    for name, kind in vars(distribution).items():
        if isinstance(kind, Range):
            assert drawn[name].between(kind.low * 0.99, kind.high * 1.01).all()
            assert drawn[name].min() < kind.low * 1.1 and drawn[name].max() > kind.high / 1.1
            assert abs((drawn[name] > kind.middle).mean() - 0.5) < 0.08
        elif isinstance(kind, Levels):
            shares = drawn[name].value_counts(normalize=True)
            assert set(shares.index) == set(kind.values)
            assert np.abs(shares - 1 / len(kind.values)).max() < 0.08


def test_labs_have_one_to_four_families_in_any_combination():
    drawn = Counter(Distribution().draw(i).families for i in range(600))
    assert len(drawn) == 15
    sizes = Counter()
    for families, count in drawn.items():
        sizes[len(families)] += count
        assert list(families) == [family for family in FAMILIES if family in families]
    assert all(abs(sizes[size] / 600 - 0.25) < 0.08 for size in (1, 2, 3, 4))


def test_settings_are_drawn_independently():
    drawn = pd.DataFrame([asdict(Distribution().draw(i)) for i in range(600)])
    numbers = drawn.select_dtypes("number").drop(columns=["tasks", "seed"])
    rho = numbers.corr("spearman").to_numpy() - np.eye(numbers.shape[1])
    assert np.abs(rho).max() < 0.16


def test_a_distribution_comes_back_from_json():
    for design in DESIGNS.values():
        plain = json.loads(json.dumps(asdict(design.distribution)))
        assert Distribution.from_dict(plain) == design.distribution


def test_the_middle_of_a_setting_has_half_of_its_draws_above():
    assert Range(1 / 3, 3.0).middle == pytest.approx(1.0)
    assert Levels((16, 32, 48, 64)).middle == 32


def test_the_words_of_a_distribution_name_every_setting_the_families_too_in_plain_numbers():
    words = Distribution().words
    assert len(words) == len(Distribution().drawn) + 1 and all(family in words["families"] for family in FAMILIES)
    assert (words["steps"], words["learning rate"]) == ("250 to 1000", "0.001 to 0.02")
    assert not any("e+" in text for text in words.values())
