"""B3DB's cleaning, splits by scaffold, graphs and ogb's loader: oracles, worked examples, and no network."""

import os
import re
import subprocess
import sys
from pathlib import Path

import molecule_files as files
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from torch_geometric.data import Batch, Data

from actlab.transfer import molecule_data as data
from actlab.transfer.interface import MissingData

ROOT = Path(__file__).resolve().parents[2]


def table(*rows):
    return pd.DataFrame(rows, columns=["SMILES", "BBB+/BBB-"])


def test_cleaning_drops_stereo_repeats_conflicts_and_what_cannot_be_read():
    given = table(
        ("OCC", "BBB+"),
        ("CCO", "BBB+"),  # the same molecule, written from the other end
        ("C[C@H](N)O", "BBB-"),
        ("C[C@@H](N)O", "BBB-"),  # its mirror image, of the same label
        ("F/C=C/F", "BBB+"),
        ("F/C=C\\F", "BBB-"),  # the other side of the double bond, of another label
        ("C[C+](C)(C)C", "BBB+"),  # five bonds
        ("CCN", "BBB-"),
    )
    molecules, counts = data.clean(given)
    assert molecules.to_dict("list") == {"smiles": ["CC(N)O", "CCN", "CCO"], "label": [0, 0, 1]}
    assert counts == data.Cleaning(rows=8, unreadable=1, molecules=4, conflicting=1, left=3)


def test_b3db_keeps_as_many_molecules_as_we_counted_by_hand():
    molecules, counts = data.read_b3db(data.b3db_folder())
    # qc-B3DB 1.1.1, rdkit 2026.9.1; 4,038 where the two unreadable rows count as one molecule more
    assert counts == data.Cleaning(rows=7807, unreadable=2, molecules=4037, conflicting=130, left=3907)
    assert molecules["label"].sum() == 2476
    assert molecules["scaffold"].nunique() == 2085
    assert molecules["smiles"].is_unique
    assert not molecules["smiles"].str.contains("@|/").any()


def test_a_missing_table_of_b3db_is_one_line_that_says_how_to_get_it(tmp_path):
    with pytest.raises(MissingData) as caught:
        data.read_b3db(tmp_path)
    message = str(caught.value)
    assert message.count("\n") == 0
    assert str(tmp_path) in message and "B3DB_classification.tsv" in message and "pip install qc-B3DB" in message


def test_without_the_package_b3db_says_which_it_is(monkeypatch):
    monkeypatch.setattr(data.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingData, match="python -m pip install qc-B3DB"):
        data.b3db_folder()


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [("Cc1ccccc1", "c1ccccc1"), ("CCCC", ""), ("OC1CCC(Cc2ccccc2)CC1", "c1ccc(CC2CCCCC2)cc1")],
)
def test_a_scaffold_is_the_rings_and_what_links_them(smiles, expected):
    assert data.scaffold(smiles) == expected


@settings(deadline=None)
@given(
    names=st.lists(st.sampled_from("abcdefgh"), min_size=10, max_size=60),
    seed=st.integers(0, 2**32),
)
def test_no_scaffold_is_on_both_sides_and_no_molecule_is_lost(names, seed):
    split = data.scaffold_split(names, (0.1, 0.2, 0.3), np.random.default_rng(seed))
    parts = [split.train, split.validation, split.test, split.ood["scaffold"]]
    assert sorted(np.concatenate(parts)) == list(range(len(names)))
    assert len(split.validation) == round(0.1 * len(names)) and len(split.test) == round(0.2 * len(names))
    assert len(split.ood["scaffold"]) <= round(0.3 * len(names))
    inside = {names[place] for part in parts[:3] for place in part}
    assert inside.isdisjoint(names[place] for place in split.ood["scaffold"])


def test_seeds_differ_in_their_scaffolds_and_one_seed_does_not():
    names = [str(place // 2) for place in range(60)]
    first, again, other = (
        data.scaffold_split(names, (0.1, 0.2, 0.2), np.random.default_rng(seed)).ood["scaffold"] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert len(first) == len(other) == 12 and set(first) != set(other)


@pytest.mark.parametrize("shares", [(0.4, 0.3, 0.3), (-0.1, 0.2, 0.2)])
def test_shares_that_leave_nothing_to_train_on_are_refused(shares):
    with pytest.raises(ValueError, match="wanted shares that leave molecules"):
        data.scaffold_split(["a", "b"] * 10, shares, np.random.default_rng(0))


def test_acetic_acid_as_a_graph_is_as_written_here():
    molecules = data.graphs(("CC(=O)[O-]",), (1,))
    # number - 1, degree with hydrogens, charge + 5, hydrogens, radicals, hybridisation, aromatic, in a ring; smallest
    # ring, rings, steps of logP (0.144, -0.278, -0.153, -1.326), polar area (17.07, 23.06) and charge (0.04 to -0.55)
    assert molecules.atoms.tolist() == [
        [5, 4, 5, 3, 0, 2, 0, 0, 0, 0, 5, 0, 4],
        [5, 3, 5, 0, 0, 1, 0, 0, 0, 0, 3, 0, 5],
        [7, 1, 5, 0, 0, 1, 0, 0, 0, 0, 4, 4, 0],
        [7, 1, 4, 0, 0, 1, 0, 0, 0, 0, 0, 5, 0],
    ]
    assert molecules.ends.T.tolist() == [[0, 1], [1, 0], [1, 2], [2, 1], [1, 3], [3, 1]]
    assert molecules.bonds.tolist() == [[0, 0, 0, 0]] * 2 + [[1, 1, 0, 0]] * 2 + [[0, 1, 0, 0]] * 2
    assert molecules.labels.tolist() == [1.0]


def test_a_value_that_is_not_named_has_a_code_of_its_own():
    molecules = data.graphs(("N->[Fe]", "[W+6]"), (0, 1))
    assert molecules.bonds[:, 0].tolist() == [len(data.BOND_FEATURES["type"])] * 2  # a dative bond
    assert molecules.atoms[-1, 2] == len(data.ATOM_FEATURES["formal charge"])
    assert molecules.atoms[1, -1] == len(data.ATOM_FEATURES["charge"])  # iron's is not known to the method
    assert (molecules.atoms < torch.tensor(molecules.atom_codes)).all()
    assert (molecules.bonds < torch.tensor(molecules.bond_codes)).all()


def test_atoms_and_bonds_have_the_codes_that_ogb_gives_them():
    with data.offline_ogb():
        from ogb.utils import smiles2graph
    known = [*files.SMILES, "C[N+](C)(C)CC(=O)[O-]", "O=S(=O)(N)c1ccc(Br)cc1", "N#CC1=CC=CC1", "[CH2]C", "FS(F)(F)(F)F"]
    for text in known:
        ours, theirs = data.graphs((text,), (0,)), smiles2graph(text)
        # without chirality (ogb's second) and the stereo of bonds
        np.testing.assert_array_equal(ours.atoms[:, :8], theirs["node_feat"][:, [0, 2, 3, 4, 5, 6, 7, 8]])
        np.testing.assert_array_equal(ours.bonds[:, :2], theirs["edge_feat"][:, [0, 2]])
        np.testing.assert_array_equal(ours.ends, theirs["edge_index"])
        rings = [bond.IsInRing() for bond in Chem.MolFromSmiles(text).GetBonds() for _ in "ab"]
        assert ours.bonds[:, 2].tolist() == [int(ring) for ring in rings]


def test_rings_are_counted_and_their_size_is_the_smallest_ones():
    indane = data.graphs(("C1Cc2ccccc2C1",), (0,))
    # rings of 5 and of 6, two atoms in both; none, 3, 4, 5 and so on have the codes 0, 1, 2, 3
    assert indane.atoms[:, 8].tolist() == [3, 3, 3, 4, 4, 4, 4, 3, 3]
    assert indane.atoms[:, 9].tolist() == [1, 1, 2, 1, 1, 1, 1, 2, 1]
    assert sorted(indane.bonds[::2, 3].tolist()) == [3] * 5 + [4] * 5
    large = data.graphs(("C1CCCCCCCC1",), (0,))
    assert set(large.atoms[:, 8].tolist()) == {len(data.ATOM_FEATURES["smallest ring"])}


def test_a_batch_is_what_torch_geometric_makes_of_its_molecules():
    texts = ("CCO", "C", "c1ccccc1", "CC", "N#N")  # methane has no bond
    molecules, places = data.graphs(texts, (0, 1, 0, 1, 1)), np.array([2, 1, 4, 0])
    alone = [data.graphs((texts[place],), (0,)) for place in places]
    theirs = Batch.from_data_list([Data(x=one.atoms, edge_index=one.ends, edge_attr=one.bonds) for one in alone])
    ours = molecules.batch(places)
    assert torch.equal(ours.atoms, theirs.x) and torch.equal(ours.bonds, theirs.edge_attr)
    assert torch.equal(ours.ends, theirs.edge_index) and torch.equal(ours.molecule, theirs.batch)
    assert ours.labels.tolist() == [0, 1, 1, 0]


def test_text_that_is_no_molecule_is_refused():
    with pytest.raises(ValueError, match="wanted a molecule as SMILES; got 'C1CC'"):
        data.graphs(("C1CC",), (0,))


@pytest.fixture
def offline(monkeypatch):
    """Every try to reach another machine is written down, and refused."""
    import socket

    tried = []

    def refuse(*address, **more):
        tried.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield tried
    assert tried == []


def test_ogbs_own_loader_reads_a_folder_in_its_layout(tmp_path, offline, monkeypatch):
    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", raising=False)
    monkeypatch.setattr("builtins.input", lambda text="": pytest.fail("ogb asked the user"))
    files.write_molhiv(tmp_path)
    molecules, official = data.read_molhiv(tmp_path)
    assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ
    assert len(molecules) == len(files.SMILES) and molecules.smiles == tuple(files.SMILES)
    assert molecules.labels.tolist() == files.LABELS
    assert molecules.atom_counts.tolist() == [files.atoms(text) for text in files.SMILES]
    assert len(molecules.atom_codes) == 9 and len(molecules.bond_codes) == 3
    assert official["test"].tolist() == [place for place in range(len(files.SMILES)) if place // 3 % 5 == 4]
    # ogb adds the other direction of each bond itself
    ours, theirs = data.graphs(tuple(files.SMILES), tuple(files.LABELS)), molecules
    assert torch.equal(ours.ends, theirs.ends) and torch.equal(ours.atoms[:, 0], theirs.atoms[:, 0])
    assert (tmp_path / "ogbg_molhiv" / "processed").is_dir()
    data.read_molhiv.cache_clear()
    again, _ = data.read_molhiv(tmp_path)  # from the file that ogb wrote
    assert torch.equal(again.bonds, molecules.bonds)


@pytest.mark.parametrize("lacking", ["RELEASE_v1.txt", "raw/edge.csv.gz", "split/scaffold/valid.csv.gz", None])
def test_a_missing_part_of_molhiv_is_one_line_and_neither_a_download_nor_a_question(tmp_path, offline, lacking):
    root = tmp_path / str(lacking).replace("/", "-")
    if lacking is not None:
        files.write_molhiv(root)
        (root / "ogbg_molhiv" / lacking).unlink()
    with pytest.raises(MissingData) as caught:
        data.read_molhiv(root)
    message = str(caught.value)
    assert message.count("\n") == 0 and str(root / "ogbg_molhiv") in message and "hiv.zip" in message
    wanted = re.findall(r"wanted (.*) in ", message)[0].split(", ")
    assert wanted == ([lacking] if lacking else list(data.MOLHIV_FILES))


def test_importing_ogb_asks_no_package_index(tmp_path):
    code = """
import builtins, os, socket, sys, threading
tried = []
def refuse(*address, **more):
    tried.append(address)
    raise OSError("no network")
socket.getaddrinfo = socket.socket.connect = refuse
from actlab.transfer.molecule_data import offline_ogb
before = dict(os.environ)
with offline_ogb():
    import ogb
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join()
print(tried, ogb.version.check_outdated, "outdated" in sys.modules, dict(os.environ) == before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[] None False True\n", done.stderr


def test_molhivs_own_split_stays_and_its_training_molecules_are_shared_out():
    official = {"train": np.arange(0, 60), "valid": np.arange(60, 80), "test": np.arange(80, 100)}
    split = data.molhiv_split(official, (0.1, 0.2), np.random.default_rng(0))
    assert (len(split.train), len(split.validation), len(split.test)) == (42, 6, 12)
    assert sorted(np.concatenate([split.train, split.validation, split.test])) == list(range(60))
    assert list(split.ood) == ["scaffold", "scaffold-validation"]
    np.testing.assert_array_equal(split.ood["scaffold"], official["test"])
    np.testing.assert_array_equal(split.ood["scaffold-validation"], official["valid"])
    with pytest.raises(ValueError, match="wanted shares"):
        data.molhiv_split(official, (0.5, 0.5), np.random.default_rng(0))
