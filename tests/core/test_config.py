import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from actlab.core.config import (
    PROFILES,
    FitnessConfig,
    LabConfig,
    LabsConfig,
    LabsFitnessConfig,
    LabsTaskConfig,
    Limits,
    VariantConfig,
    fitness_config,
    lab_config,
    over_labs,
    profile,
)
from actlab.core.records import digest


@pytest.mark.parametrize(
    "setting, words",
    [
        ({"chunk": -1}, "chunk: wanted a whole number from 1; got -1"),
        ({"chunk": 0}, "chunk: wanted a whole number from 1; got 0"),
        ({"depth": 0}, "depth: wanted a whole number from 1; got 0"),
        ({"steps": 0}, "steps: wanted a whole number from 1; got 0"),
        ({"steps": 2.5}, "steps: wanted a whole number from 1; got 2.5"),
        ({"batch": -64}, "batch: wanted a whole number from 1; got -64"),
        ({"width": "32"}, "width: wanted a whole number from 1; got '32'"),
        ({"learning_rate": 0.0}, "learning_rate: wanted a finite number above 0; got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate: wanted a finite number above 0; got nan"),
        ({"learning_rate": float("inf")}, "learning_rate: wanted a finite number above 0; got inf"),
        ({"dtype": "float23"}, "dtype: wanted one of float32, float64; got 'float23'"),
        ({"dtype": "float64", "device": "cuda:1"}, "dtype: wanted float32 with device cuda:1; got 'float64'"),
    ],
)
def test_settings_that_no_lab_can_train_with_are_refused_with_what_was_wanted_and_what_came(setting, words):
    for make in (lambda: LabConfig(**setting), lambda: replace(profile("smoke").lab, **setting)):
        with pytest.raises(ValueError) as refused:
            make()
        assert str(refused.value) == words


def test_the_least_settings_and_numpys_whole_numbers_are_taken():
    assert LabConfig(width=1, depth=1, batch=1, steps=1, chunk=1, dtype="float64").chunk == 1
    assert LabConfig(steps=np.int64(5), chunk=None).steps == 5


def test_a_profile_is_the_same_plain_data_as_ever_so_that_kept_records_are_found():
    assert asdict(LabConfig()) == {
        "width": 32, "depth": 3, "batch": 64, "steps": 1000, "learning_rate": 0.001, "chunk": None,
        "dtype": "float32", "device": "cpu",
    }  # fmt: skip
    found = {name: digest({"lab": one.lab})[:12] for name, one in PROFILES.items()}
    assert found == {"smoke": "827c3919f5b9", "laptop": "ba25c05c26b3", "paper": "ba25c05c26b3"}


def test_settings_of_labs_and_of_fitness_come_back_from_json_as_what_they_were():
    one, many = LabConfig(steps=7), LabsConfig((VariantConfig(gain=2.0, seed=5), VariantConfig(schedule="constant")))
    for lab in (one, many):
        assert lab_config(json.loads(json.dumps(asdict(lab)))) == lab
    for fitness in (FitnessConfig(floor=1e-5), LabsFitnessConfig(each=4, clip=0.5)):
        found = fitness_config(json.loads(json.dumps(asdict(fitness))))
        assert found == fitness and type(found) is type(fitness)


def test_a_profile_over_labs_has_another_fitness_and_other_suites_and_nothing_else():
    for name, one in PROFILES.items():
        over = over_labs(one)
        assert replace(over, tasks=one.tasks, fitness=one.fitness) == one
        assert over.fitness.each == over.tasks.each == 4
        assert over.fitness.floor == one.fitness.floor and over.fitness.clamp == one.fitness.clamp
        few = LabsTaskConfig(calibration=12, search=6, held_out=12, far=14)
        assert over.tasks == (few if name == "smoke" else LabsTaskConfig())


def test_the_work_of_several_labs_is_the_most_of_any_so_that_none_is_ended_too_soon():
    small, large = VariantConfig(steps=10, width=4), VariantConfig(steps=1000, width=64)
    assert LabsConfig((small, large, small)).work == large.work
    assert Limits().seconds(LabsConfig((small, large)), 8) == Limits().seconds(large, 8)
