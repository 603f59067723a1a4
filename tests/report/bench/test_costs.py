import pytest
import torch

from actlab.core.config import profile
from actlab.core.records import ROOT
from actlab.report.bench import costs
from actlab.transfer import algorithms, images, sweep


@pytest.fixture
def toys(monkeypatch):
    """Steps of half a second here, of five milliseconds on the GPU by their products, and of so many operations."""
    timed = costs.Timed("toys", lambda: None, scale=4.0, steps=900, trainings=2, models=4)
    monkeypatch.setattr(costs, "_timed", lambda quick: iter([timed]))
    monkeypatch.setattr(costs, "_seconds", lambda step: 0.5)
    monkeypatch.setattr(costs.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(costs, "_products", lambda repeats: costs.GPU_TFLOPS * 1e12 / 100)
    return lambda count: monkeypatch.setattr(costs, "operations", lambda step: 4 * count)


@pytest.mark.parametrize(("count", "seconds"), [(100, 0.005), (2000, 0.02)])
def test_a_step_takes_its_products_or_its_launches_whichever_is_longer(toys, count, seconds):
    toys(count)
    row = costs.hours(profile("paper")).iloc[0]
    assert row["cpu_seconds_a_step"] == 0.5  # four times the batch, and the mean of four models
    assert (row["operations"], row["launches_ms"]) == (count, pytest.approx(count / 100))
    assert row["products_ms"] == pytest.approx(5)
    assert row["gpu_hours_a_training"] == pytest.approx(900 * seconds / 3600)
    design = sweep.DESIGNS["paper"]
    assert row["trainings"] == 2 * len(design.functions) * 5
    assert row["gpu_hours"] == pytest.approx(row["trainings"] * row["gpu_hours_a_training"])


def test_where_there_is_a_gpu_hours_follow_from_a_step_that_was_timed_on_it(toys, monkeypatch):
    toys(100)
    row = costs.hours(profile("paper")).iloc[0]
    assert row["gpu"] == "" and row[["gpu_ms_a_step", "measured_gpu_hours"]].isna().all()
    monkeypatch.setattr(costs.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(costs.torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(costs, "_gpu_ms", lambda quick: [4.0])
    row = costs.hours(profile("paper")).iloc[0]
    assert row["gpu"] == f"a GPU, torch {torch.__version__}"
    assert row["measured_gpu_hours"] == pytest.approx(row["trainings"] * 900 * 0.004 / 3600)


def test_operations_are_counted_forward_and_backward_but_no_views():
    x = torch.ones(3, 4, requires_grad=True)

    def value():
        return torch.relu(x.T.reshape(-1)[:2]).sum()

    assert costs.operations(value) == 3  # the copy that reshape makes, relu, sum; transpose and slice are views
    # and backward: the gradient of 1 to the sum, relu's, the slice's zeros, and that of x, laid out as x is
    assert costs.operations(lambda: value().backward()) == 3 + 4


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
