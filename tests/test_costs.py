import pytest

from actlab import costs, transfer
from actlab.benchmarks import algorithms, images
from actlab.config import profile
from actlab.records import ROOT


def test_an_estimate_is_seconds_a_step_times_steps_over_the_gpus_speed(monkeypatch):
    timed = costs.Timed("toys", lambda: None, scale=4.0, steps=900, trainings=2)
    monkeypatch.setattr(costs, "_timed", lambda quick: iter([timed]))
    monkeypatch.setattr(costs, "_seconds", lambda step: 0.5)
    monkeypatch.setattr(costs, "_products", lambda repeats: costs.GPU_TFLOPS * 1e12 / 100)
    row = costs.hours(profile("paper")).iloc[0]
    assert row["cpu_seconds_a_step"] == 2.0
    assert row["gpu_hours_a_training"] == pytest.approx(2.0 * 900 / 100 / 3600)
    design = transfer.DESIGNS["paper"]
    assert row["trainings"] == 2 * len(design.functions) * 5
    assert row["gpu_hours"] == pytest.approx(row["trainings"] * row["gpu_hours_a_training"])


def test_a_step_of_the_molhiv_model_can_be_timed_here():
    row = costs.hours(profile("paper"), quick=True).iloc[0]
    assert row["data"] == "ogbg-molhiv"
    assert row["cpu_seconds_a_step"] > 0 and row["gpu_hours"] > row["gpu_hours_a_training"] > 0
    assert row["steps"] == 100 * (int(32_901 * 0.8) // 32)


def test_steps_are_counted_as_training_makes_them():
    cifar = next(config for config in images.PROFILES["paper"] if config.data == "CIFAR-10")
    timed = costs._pictures(cifar, batch=2)
    assert timed.steps == 200 * ((50_000 - 5_000) // 128) and timed.scale == 64
    timed.step()


def test_the_committed_algorithms_are_those_whose_samples_are_there():
    for name in algorithms.COMMITTED:
        assert (ROOT / "data" / "clrs" / f"{name}.npz").is_file()
