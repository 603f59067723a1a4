"""The canary of the transfer records: the same each time, moved by any change of the code, and through most of it."""

import ast
import json
import math

import coverage
import pytest
import torch
from torch import nn

from actlab.core.records import PROTOCOLS, ROOT
from actlab.transfer import algorithm_scores, image_data, molecule_data, sweep

PARTS = ("__init__", "training", "images", "image_data", "molecules", "molecule_data", "algorithms")
MODULES = [f"benchmarks/{part}.py" for part in PARTS]
MODULES += [f"benchmarks/algorithm_{part}.py" for part in ("data", "model", "scores")]
PATHS = {name: ROOT / "actlab" / name for name in ["transfer.py", *MODULES]}
# Of `transfer` those that run a job; the others keep records, share jobs out among processes, or talk to the user.
OF_TRANSFER = ("found", "activation", "data", "placed", "seed", "module", "_module", "run", "out_of_memory", "lost")
LEFT_OUT = {
    "benchmarks/__init__.py": ("MissingData",),  # an error
    "benchmarks/images.py": ("baseline", "_flat"),  # scikit-learn's; `floors` keeps them in a store of their own
    "benchmarks/molecules.py": ("baseline", "fingerprints"),  # the same
    "benchmarks/molecule_data.py": ("b3db_folder",),  # where the package lies, which has its own hash in the key
}


@pytest.fixture(scope="module")
def measured():
    """The canary, and what of the code it ran; nothing of it may be there from before."""
    for kept in (image_data.mnist_5k, molecule_data.graphs, molecule_data.read_b3db, molecule_data.read_molhiv):
        kept.cache_clear()
    seen = coverage.Coverage(data_file=None, config_file=False, include=[str(path) for path in PATHS.values()])
    seen.exclude(r"^\s*raise\b")
    with seen.collect():
        values = PROTOCOLS["transfer"].run()
    return values, seen


@pytest.fixture(scope="module")
def kept(measured):
    return measured[0]


def moved(kept):
    """The largest relative difference of the canary as the code is now."""
    now = PROTOCOLS["transfer"].run()
    return max(off(now.get(name), kept.get(name)) for name in now.keys() | kept.keys())


def off(a, b):
    if a == b:
        return 0.0
    numbers = all(isinstance(value, float | int) for value in (a, b))
    return abs(a - b) / max(abs(a), abs(b)) if numbers else math.inf


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


def test_another_seed_in_the_runner_moves_it(kept, monkeypatch):
    of_job = sweep.Job.seed.fget
    monkeypatch.setattr(sweep.Job, "seed", property(lambda job: of_job(job) + 1))
    assert moved(kept) > 1e-10


def test_another_epsilon_of_adam_moves_it(kept, monkeypatch):
    adamw = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda *given, **named: adamw(*given, **named, eps=1.01e-8))
    assert moved(kept) > 1e-10


def test_a_slightly_stronger_corruption_moves_it_though_no_share_changes(kept, monkeypatch):
    monkeypatch.setattr(image_data, "CONTRAST", (0.8, 0.6, 0.4 + 1e-7))
    now = PROTOCOLS["transfer"].run()
    different = [name for name in kept if now[name] != kept[name]]
    assert different
    assert all("linear layers" in name for name in different)
    assert moved(kept) > 1e-10


def test_another_feature_of_a_molecule_moves_it(kept, monkeypatch):
    of_bond = molecule_data._of_bond
    monkeypatch.setattr(molecule_data, "_of_bond", lambda bond: (*of_bond(bond)[:2], False, of_bond(bond)[3]))
    molecule_data.graphs.cache_clear()
    assert moved(kept) > 1e-10
    molecule_data.graphs.cache_clear()


def test_another_loss_of_an_algorithm_moves_it(kept, monkeypatch):
    each = algorithm_scores._each
    monkeypatch.setattr(algorithm_scores, "_each", lambda *given: each(*given) * (1 + 1e-8))
    assert moved(kept) > 1e-10


# Coverage


def bodies(path, name):
    """The lines of the functions' bodies that count."""
    lines, left_out = set(), LEFT_OUT.get(name, ())
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    out = [node for node in ast.walk(tree) if getattr(node, "name", "") in left_out]
    for node in functions:
        if name != "transfer.py" or node.name in OF_TRANSFER:
            lines |= set(range(node.body[0].lineno, node.end_lineno + 1))
    for node in out:
        lines -= set(range(node.lineno, node.end_lineno + 1))
    return lines


def test_it_runs_95_percent_of_the_lines_that_make_the_numbers(measured):
    """All but those that only raise an error."""
    lines, lacking = 0, {}
    for name, path in PATHS.items():
        _, statements, _, missing, _ = measured[1].analysis2(str(path))
        lines += len(bodies(path, name) & set(statements))
        lacking[name] = sorted(bodies(path, name) & set(missing))
    assert lines > 1000
    assert sum(map(len, lacking.values())) <= 0.05 * lines, lacking
