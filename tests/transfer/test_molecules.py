"""A GIN with any function in it: where the function stands, what it sees, how it is scored, and how runs end."""

import math
from dataclasses import replace

import molecule_files as files
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch_geometric.nn import GINEConv

from actlab import activations
from actlab.transfer import molecule_data, molecules, training
from actlab.transfer.interface import COLUMNS
from actlab.transfer.molecules import GIN, MoleculeConfig, evaluate
from actlab.transfer.training import Settings

TEXTS = tuple(files.SMILES[:12])


@pytest.fixture
def tiny(tmp_path):
    """A data set of 90 molecules and a network to match."""
    folder = files.write_b3db(tmp_path / "b3db")
    shape = {"width": 8, "layers": 2, "batch": 8, "settings": Settings(epochs=3, learning_rate=1e-2)}
    return MoleculeConfig(folder=str(folder), **shape)


def run(activation, config, seed=0, checkpoint=None):
    return evaluate(activation, config, np.random.default_rng(seed), checkpoint, progress=False)


def network(activation, layers=3, width=8):
    molecules_ = molecule_data.graphs(TEXTS, (0, 1) * 6)
    torch.manual_seed(0)
    return GIN(activation, molecules_.atom_codes, molecules_.bond_codes, width, layers, 0.0, 0.0), molecules_


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=2, max_size=40))
def test_the_area_under_the_curve_is_scikit_learns_and_ogbs(pairs):
    labels, scores = np.array(pairs, dtype=float).T
    if labels.min() == labels.max():
        with pytest.raises(ValueError, match="wanted molecules of both labels"):
            molecules.roc_auc(labels, scores)
        return
    expected = pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert molecules.roc_auc(labels, scores) == expected
    assert molecules.ogb_area(labels, scores) == expected


@pytest.mark.parametrize("area", [molecules.roc_auc, molecules.ogb_area])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_not_finite_have_no_area(area, bad):
    assert math.isnan(area(np.array([0.0, 1.0, 1.0]), np.array([0.1, bad, 0.3])))


def test_with_relu_a_layer_is_torch_geometrics_own():
    ours = molecules.Convolution(F.relu, 8)
    theirs = GINEConv(ours.nn, train_eps=True)  # which draws the shared weights anew
    x, edges = torch.randn(4, 8), torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    bonds = torch.randn(4, 8)
    torch.testing.assert_close(ours(x, edges, bonds), theirs(x, edges, bonds), rtol=0, atol=0)
    other = molecules.Convolution(F.gelu, 8)
    assert not torch.equal(other.message(x, bonds), theirs.message(x, bonds))


def test_codes_are_read_as_the_sums_of_their_vectors():
    codes = torch.tensor([[0, 2], [1, 0], [1, 2]])
    sums = molecules.Sum((2, 3), 4)
    first, second = sums.vectors[:2], sums.vectors[2:]
    expected = F.embedding(codes[:, 0], first) + F.embedding(codes[:, 1], second)
    torch.testing.assert_close(sums(codes), expected)


def test_a_molecule_is_read_out_by_mean_maximum_and_sum_of_each_layer():
    model, known = network(F.relu, layers=2, width=8)
    layers, read = [], []
    model.eval()
    for norm in model.norms:
        norm.register_forward_hook(lambda module, given, answer: layers.append(answer))
    model.head.register_forward_pre_hook(lambda module, given: read.append(given[0]))
    model(known.batch(np.array([3])))  # alone: its atoms are all
    atoms = torch.cat([F.relu(layers[0]), layers[1]], dim=1)
    torch.testing.assert_close(read[0], torch.cat([atoms.mean(0), atoms.max(0).values, atoms.sum(0)]).unsqueeze(0))


def test_the_function_stands_in_messages_inside_layers_and_between_them():
    seen = []

    def activation(x):
        seen.append(tuple(x.shape))
        return F.relu(x)

    model, known = network(activation, layers=3, width=8)
    batch = known.batch(np.arange(5))
    model(batch)
    atoms, bonds = len(batch.atoms), len(batch.bonds)
    # axis 0 is all atoms, or all bonds in both directions, of the batch; the last axis the features
    layer = [(bonds, 8), (atoms, 16)]
    assert seen == [*layer, (atoms, 8), *layer, (atoms, 8), *layer]


def test_no_relu_is_left_beside_the_function(monkeypatch):
    model, known = network(torch.tanh)

    def refuse(*given, **more):
        raise AssertionError("a ReLU that is not the function's")

    for place in (F, torch, torch.Tensor):
        monkeypatch.setattr(place, "relu", refuse)
        monkeypatch.setattr(place, "relu_", refuse)
    assert not any(isinstance(part, torch.nn.ReLU) for part in model.modules())
    assert torch.isfinite(model(known.batch(np.arange(5)))).all()


@pytest.mark.parametrize("place", range(8))
def test_each_of_its_places_changes_what_the_network_says(place):
    model, known = network(F.relu)
    calls = iter(range(100))

    def swapped(x):
        return torch.sin(x) if next(calls) == place else F.relu(x)

    changed, _ = network(swapped)
    batch = known.batch(np.arange(5))
    assert not torch.allclose(model(batch), changed(batch))


def test_a_molecule_has_the_same_logit_alone_and_in_any_company():
    model, known = network(F.gelu)
    model.eval()
    together = model(known.batch(np.array([3, 0, 7, 5])))
    alone = [model(known.batch(np.array([place]))) for place in (3, 0, 7, 5)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_the_order_of_atoms_does_not_matter():
    known = molecule_data.graphs(("OCC1CC1N", "NC1CC1CO"), (0, 1))  # one molecule from both its ends
    model, _ = network(F.silu)
    model.eval()
    first, second = model(known.batch(np.arange(2)))
    torch.testing.assert_close(first, second)


@given(st.integers(1, 200), st.integers(1, 32))
def test_test_batches_hold_every_molecule_once_and_none_is_a_small_rest(count, batch):
    parts = molecules.batches(np.arange(count), batch)
    assert np.concatenate(parts).tolist() == list(range(count))
    sizes = [len(part) for part in parts]
    assert max(sizes) <= batch and max(sizes) - min(sizes) <= 1


def test_records_are_tidy_and_the_best_validation_is_what_is_tested(tiny):
    table = run(F.relu, replace(tiny, seed=3))
    assert list(table.columns) == COLUMNS
    assert set(table["benchmark"]) == {"molecules"} and set(table["data"]) == {"B3DB"} and set(table["seed"]) == {3}
    assert set(table["metric"]) == {"roc_auc"} and set(table["outcome"]) == {"scored"}
    history = table[table["split"] == "validation"]
    assert history["epoch"].tolist() == [0, 1, 2]
    tests = table[table["split"] != "validation"]
    assert tests[["split", "shift", "evaluation"]].values.tolist() == [
        ["in-distribution", "", "batches"],
        ["in-distribution", "", "whole"],
        ["ood", "scaffold", "batches"],
        ["ood", "scaffold", "whole"],
    ]
    assert set(tests["epoch"]) == {history["value"].argmax()}
    assert table["value"].between(0, 1).all()


def test_the_whole_set_as_one_batch_is_left_out_where_it_is_not_wanted(tiny):
    table, without = run(F.gelu, tiny), run(F.gelu, replace(tiny, whole=False))
    pd.testing.assert_frame_equal(without, table[table["evaluation"] != "whole"].reset_index(drop=True))


def test_the_same_seed_gives_the_same_records_to_the_bit(tiny):
    pd.testing.assert_frame_equal(run(F.gelu, tiny), run(F.gelu, tiny), check_exact=True)
    assert not run(F.gelu, tiny).equals(run(F.gelu, tiny, seed=1))


def test_functions_share_initial_weights_and_batches(tiny, monkeypatch):
    met = []

    def fit(model, drawn, loss, validate, settings, generator, *more):
        weights = torch.cat([value.flatten().float() for value in model.state_dict().values()])
        met.append([weights, *(batch.atoms for batch in drawn(0, generator))])
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "fit", fit)
    for activation in (F.relu, torch.sin):
        with pytest.raises(KeyboardInterrupt):
            run(activation, tiny)
    first, second = met
    # 90 molecules less 9 for validation, 18 for the test and one ring with its 10 tails; whole batches alone
    assert len(first) == len(second) == 1 + 53 // 8
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_pointwise_function_scores_alike_in_batches_and_whole(tiny):
    table = run(F.gelu, tiny)
    tests = table[table["split"] != "validation"]
    values = tests.pivot(index="split", columns="evaluation", values="value")
    np.testing.assert_array_equal(values["batches"], values["whole"])


def test_a_function_of_its_batch_answers_otherwise_to_the_whole_set():
    model, known = network(activations.REGISTRY["qfw"].function)
    model.eval()
    small, whole = (
        torch.cat([model(known.batch(part)) for part in molecules.batches(np.arange(12), size)]) for size in (4, 12)
    )
    assert not torch.allclose(small, whole)


@pytest.mark.parametrize("loud", [True, False])
def test_a_function_that_diverges_is_recorded_as_such(tiny, loud):
    def activation(x):
        return x * math.nan if loud else x * 1e30

    table = run(activation, tiny)
    last = table.iloc[-1]
    assert (last["split"], last["outcome"]) == ("in-distribution", "diverged")
    assert math.isnan(last["value"])


def test_a_function_that_exhausts_memory_is_recorded_as_such(tiny):
    def activation(x):
        if x.shape[-1] == 16 and len(x) > 8 and x.requires_grad:
            raise torch.OutOfMemoryError("as much as it likes")
        return F.relu(x)

    table = run(activation, tiny)
    assert table[["split", "outcome"]].values.tolist() == [["in-distribution", "OOM"]]


def test_memory_that_the_whole_set_alone_exhausts_costs_that_row_alone(tiny):
    def activation(x):
        if not torch.is_grad_enabled() and len(x) > 170:
            raise MemoryError
        return F.relu(x)

    table = run(activation, tiny)
    tests = table[table["split"] != "validation"]
    assert dict(zip(zip(tests["split"], tests["evaluation"], strict=True), tests["outcome"], strict=True)) == {
        ("in-distribution", "batches"): "scored",
        ("in-distribution", "whole"): "OOM",
        ("ood", "batches"): "scored",
        ("ood", "whole"): "scored",  # which is one ring with its tails
    }


@pytest.mark.parametrize("steps", [1, 9, 14])  # of 6 an epoch
def test_a_run_that_was_killed_goes_on_to_the_same_records(tiny, tmp_path, steps):
    config, left = replace(tiny, dropout=0.3), [steps]

    def dies(x):
        if torch.is_grad_enabled() and x.shape[-1] == 8 and x.requires_grad and len(x) > 8:
            left[0] -= 1 / 3  # three calls of that width in a network of two layers
            if left[0] < 0:
                raise KeyboardInterrupt
        return torch.tanh(x)

    checkpoint = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        run(dies, config, checkpoint=checkpoint)
    assert checkpoint.exists() == (steps > 6)
    went_on = run(torch.tanh, config, checkpoint=checkpoint)
    pd.testing.assert_frame_equal(went_on, run(torch.tanh, config), check_exact=True)


def test_each_seed_has_scaffolds_of_its_own_and_the_baseline_the_same_ones(tiny):
    first, second = (molecules.load(replace(tiny, seed=seed)) for seed in (0, 1))
    assert set(first[1].ood["scaffold"]) != set(second[1].ood["scaffold"])
    assert torch.equal(first[0].atoms, second[0].atoms)
    some = molecules.load(replace(tiny, molecules=40))[0]
    assert len(some) == 40 and set(some.smiles) < set(first[0].smiles)
    areas = molecules.baseline(tiny)
    assert set(areas) == {"random forest", "logistic regression"}
    # whether there is an oxygen or a nitrogen in the tail is an easy question
    for found in areas.values():
        assert list(found) == ["in-distribution", "scaffold"] and found["in-distribution"] > 0.8


def test_fingerprints_are_rdkits_own_bits():
    from rdkit import Chem
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    known = molecule_data.graphs(TEXTS, (0, 1) * 6)
    found = molecules.fingerprints(known, np.array([4, 2]))
    generator = GetMorganGenerator(radius=2, fpSize=2048)
    for row, place in zip(found, (4, 2), strict=True):
        bits = generator.GetFingerprint(Chem.MolFromSmiles(TEXTS[place])).GetOnBits()
        assert np.flatnonzero(row).tolist() == list(bits)


def test_molhiv_is_scored_by_ogb_on_its_own_splits(tmp_path, monkeypatch):
    root, asked = files.write_molhiv(tmp_path / "ogb"), []
    config = MoleculeConfig(
        data="ogbg-molhiv", folder=str(root), validation=0.2, test=0.2, width=8, layers=2, batch=8,
        settings=Settings(epochs=1),
    )  # fmt: skip
    ogb_area = molecules.ogb_area
    monkeypatch.setattr(molecules, "ogb_area", lambda *given: asked.append(len(given[0])) or ogb_area(*given))
    table = run(F.relu, config)
    assert table[["split", "shift"]].drop_duplicates().values.tolist() == [
        ["validation", ""],
        ["in-distribution", ""],
        ["ood", "scaffold"],
        ["ood", "scaffold-validation"],
    ]
    assert set(table["data"]) == {"ogbg-molhiv"} and asked == [11, 11, 11, 18, 18, 18, 18]
    assert set(molecules.baseline(config)["random forest"]) == {"in-distribution", "scaffold", "scaffold-validation"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "tox21"}, "wanted a data set among B3DB, ogbg-molhiv; got 'tox21'"),
        ({"molecules": 91}, "wanted at most 90 molecules, as many as there are; got 91"),
        ({"batch": 64}, "wanted at least one batch of 64 molecules to train on; got 53"),
    ],
)
def test_settings_that_cannot_be_met_say_what_was_wanted(tiny, change, message):
    with pytest.raises(ValueError, match=message):
        run(F.relu, replace(tiny, **change))


def test_the_smoke_profile_runs_on_the_real_molecules():
    (config,) = molecules.PROFILES["smoke"]
    table = run(F.relu, config)
    assert set(table["outcome"]) == {"scored"} and len(table) == config.settings.epochs + 4
    assert set(molecules.PROFILES) == {"smoke", "laptop", "paper"}
