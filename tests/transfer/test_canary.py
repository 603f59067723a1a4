"""The canary of the transfer records: the same each time, moved by any change of the code, and through most of it."""

import json

import canaries
import pytest
import torch
from canaries import TOLERANCE, Counted, difference
from torch import nn

from actlab.core.records import PROTOCOLS
from actlab.transfer import algorithm_scores, image_data, image_files, molecule_data, sweep

# What does not count: errors, scikit-learn's baselines (`baselines` keeps them in a store of their own), where a
# package is (its file has its own hash in the key), and of the sweep all but what runs a job.
COVERED = {
    "transfer.interface": Counted(left_out="MissingData _first"),
    "transfer.training": Counted(),
    "transfer.images": Counted(left_out="baseline _flat"),
    "transfer.image_data": Counted(),
    "transfer.image_files": Counted(left_out="_missing ClassFolders.check options main"),
    "transfer.molecules": Counted(left_out="baseline fingerprints"),
    "transfer.molecule_data": Counted(left_out="b3db_folder _demand_as_installed"),
    "transfer.algorithms": Counted(),
    "transfer.algorithm_data": Counted(),
    "transfer.algorithm_model": Counted(),
    "transfer.algorithm_scores": Counted(),
    "transfer.sweep": Counted(only="found activation Job.data Job.placed Job.seed Job.module _module run lost"),
}


@pytest.fixture(scope="module")
def measured():
    """The canary, and the share of the code that it ran; nothing of it may be there from before."""
    for kept in (image_files.mnist_5k, molecule_data.graphs, molecule_data.read_b3db, molecule_data.read_molhiv):
        kept.cache_clear()
    values = {}
    found = canaries.coverage(lambda: values.update(PROTOCOLS["transfer"].run()), COVERED)
    return values, found


@pytest.fixture(scope="module")
def kept(measured):
    return measured[0]


def test_two_canaries_are_equal_and_leave_torch_as_it_was(kept):
    torch.manual_seed(3)
    before = torch.get_default_dtype(), torch.get_num_threads(), torch.get_rng_state()
    assert PROTOCOLS["transfer"].run() == kept
    after = torch.get_default_dtype(), torch.get_num_threads(), torch.get_rng_state()
    assert after[:2] == before[:2] == (torch.float32, before[1])
    assert torch.equal(before[2], after[2])
    assert not nn.modules.module._global_forward_hooks


def test_torch_is_left_as_it_was_where_a_job_fails(monkeypatch):
    before = torch.get_default_dtype(), torch.get_num_threads()
    monkeypatch.setattr(sweep, "run", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        PROTOCOLS["transfer"].run()
    assert (torch.get_default_dtype(), torch.get_num_threads()) == before


def test_its_numbers_are_finite_and_survive_json(kept):
    assert json.loads(json.dumps(kept, allow_nan=False)) == kept
    assert {type(value) for value in kept.values()} == {float, int, str}


def test_every_benchmark_trains_and_every_outcome_is_met(kept):
    assert {value for name, value in kept.items() if name.endswith(": benchmark")} == set(sweep.BENCHMARKS)
    failed = {value for name, value in kept.items() if ": row " in name and isinstance(value, str)}
    assert failed == {"OOM", "diverged"}
    assert kept["B3DB: best epoch"] > 0


# Changes


def seed_of_the_runner(patch):
    of_job = sweep.Job.seed.fget
    patch.setattr(sweep.Job, "seed", property(lambda job: of_job(job) + 1))


def epsilon_of_adam(patch):
    adamw = torch.optim.AdamW
    patch.setattr(torch.optim, "AdamW", lambda *given, **named: adamw(*given, **named, eps=1.01e-8))


def slightly_stronger_corruption(patch):
    patch.setattr(image_data, "CONTRAST", (0.8, 0.6, 0.4 + 1e-7))


def feature_of_a_molecule(patch):
    of_bond = molecule_data._of_bond
    patch.setattr(molecule_data, "_of_bond", lambda bond: (*of_bond(bond)[:2], False, of_bond(bond)[3]))


def loss_of_an_algorithm(patch):
    each = algorithm_scores._each
    patch.setattr(algorithm_scores, "_each", lambda *given: each(*given) * (1 + 1e-8))


CHANGES = (
    seed_of_the_runner, epsilon_of_adam, slightly_stronger_corruption, feature_of_a_molecule, loss_of_an_algorithm,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_code_moves_it(kept, monkeypatch, change):
    change(monkeypatch)
    molecule_data.graphs.cache_clear()
    now = PROTOCOLS["transfer"].run()
    molecule_data.graphs.cache_clear()
    assert difference(now, kept) > TOLERANCE
    if change is slightly_stronger_corruption:  # no share of right answers changes
        assert all("linear layers" in name for name in kept if now[name] != kept[name])


# Coverage


@pytest.mark.parametrize("module", COVERED)
def test_it_runs_95_percent_of_the_lines_that_make_the_numbers(measured, module):
    share, missed = measured[1][module]
    assert share >= 0.95, missed
