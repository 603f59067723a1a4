import subprocess
import sys

import numpy as np
import pytest
import torch

from actlab import activations
from actlab.candidates import profiling
from actlab.candidates.program import Refused, check, compile_program
from actlab.core.config import LabConfig
from actlab.lab import training
from actlab.lab.training_view import TrainingView
from actlab.scoring import worker

GENERATOR = np.random.default_rng(0)
BLIND = TrainingView(
    (1, 4), GENERATOR.normal(size=(2, 128, 4)), GENERATOR.normal(size=(2, 128)), GENERATOR.normal(size=(2, 64, 4))
)
SMALL = {"steps": 3, "width": 8, "depth": 2}
SOURCE = check(activations.program_source("turbulent")).source


def test_a_description_is_that_of_traits_as_plain_data():
    head, arrays = worker.describe({"source": SOURCE}, [], {})
    assert (head, arrays) == ({"description": profiling.describe(SOURCE).to_dict()}, [])


def test_predictions_are_those_of_the_lab_in_batches_and_as_one():
    request = {"source": SOURCE, "suite": "a", "lab": SMALL, "seed": 5}
    head, (train, ood, whole) = worker.predict(request, [], {"a": BLIND, "b": None})
    config, function = LabConfig(**SMALL), compile_program(check(SOURCE))
    networks = training.train(function, BLIND, config, 5)
    x = torch.from_numpy(BLIND.ood_x).float()
    assert head == {}
    assert (train.shape, ood.shape, whole.shape) == ((2, 128), (2, 64), (2, 64))
    np.testing.assert_array_equal(ood, networks.predict(function, x, 64).double().numpy())
    np.testing.assert_array_equal(whole, networks.predict(function, x).double().numpy())
    np.testing.assert_array_equal(
        train, networks.predict(function, torch.from_numpy(BLIND.train_x).float(), 64).double().numpy()
    )


def test_values_and_slopes_are_the_functions_and_its_derivatives():
    x = np.linspace(-2, 2, 9)
    _, (y, slope) = worker.values({"source": "def activation(x):\n    return torch.sin(x)"}, [x, np.zeros((4, 3))], {})
    np.testing.assert_allclose(y, np.sin(x), rtol=1e-12)
    np.testing.assert_allclose(slope, np.cos(x), rtol=1e-12)


def test_values_move_one_element_of_the_batch_and_keep_the_others():
    x, stay = np.array([3.0, 9.0]), np.array([[0.0, 5.0], [2.0, 4.0]])
    _, (y, slope) = worker.values(
        {"source": "def activation(x):\n    return x.mean(0, keepdim=True) + 0 * x"}, [x, stay], {}
    )
    assert y.tolist() == [3.5, 6.5]  # the mean of the second column: the point, and 4
    assert slope.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("job", ["describe", "predict", "values"])
def test_every_job_checks_the_source_itself(job):
    request = {"source": "def activation(x):\n    return open('f')", "suite": "a", "lab": SMALL, "seed": 0}
    with pytest.raises(Refused, match="open"):
        worker.JOBS[job](request, [np.zeros(2), np.zeros((4, 3))], {"a": BLIND})


LOADED = """
import sys
from actlab.activations import zoo
from actlab.candidates.program import check
from actlab.scoring import worker

def loaded():
    with open("/proc/self/maps") as maps:
        return set(sys.modules) | {line.split()[-1] for line in maps if ".so" in line}

worker.warm_up()
before = loaded()
worker.WARM = [name for name in zoo.names() if name not in worker.WARM]
worker.warm_up()
print(sorted(loaded() - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
def test_after_the_warm_up_no_function_of_the_zoo_loads_a_module_or_a_library():
    ran = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_the_warm_up_runs_every_job_on_functions_of_each_kind(monkeypatch):
    ran = {job: set() for job in worker.JOBS}
    for job in worker.JOBS:
        monkeypatch.setattr(worker, job, lambda request, *_, job=job: ran[job].add(request["source"]))
    threads = torch.get_num_threads()
    try:
        worker.warm_up()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    sources = {check(activations.program_source(name)).source for name in worker.WARM}
    assert ran == {job: sources for job in worker.JOBS}
