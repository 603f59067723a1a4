"""Small molecules in the layouts of B3DB's table and of ogb's folder: for the tests of molecules."""

import gzip
from itertools import product
from pathlib import Path

import pandas as pd
from rdkit import Chem

RINGS = ("c1ccccc1", "c1ccncc1", "C1CCCCC1", "C1CCNC1", "c1ccc2ccccc2c1", "C1CCOCC1", "c1ccsc1", "C1CC1", "c1cc[nH]c1")
TAILS = ("C", "CC", "O", "N", "Cl", "OC", "CCC", "F", "CO", "CN")
SMILES = [tail + ring for ring, tail in product(RINGS, TAILS)]
LABELS = [int("O" in text or "N" in text) for text in SMILES]


def write_b3db(folder: Path, smiles=SMILES, labels=LABELS) -> Path:
    """B3DB's table with these molecules; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    marks = ["BBB+" if label else "BBB-" for label in labels]
    columns = {"NO.": range(1, len(marks) + 1), "SMILES": smiles, "BBB+/BBB-": marks, "group": "A"}
    pd.DataFrame(columns).to_csv(folder / "B3DB_classification.tsv", sep="\t", index=False)
    return folder


def write_molhiv(root: Path, smiles=SMILES, labels=LABELS) -> Path:
    """ogb's folder of ogbg-molhiv with these molecules, three of fifteen a test, three validation; returns `root`."""
    from actlab.transfer.molecule_data import offline_ogb

    with offline_ogb():
        from ogb.utils import smiles2graph
    home = root / "ogbg_molhiv"
    found = [smiles2graph(text) for text in smiles]
    tables = {
        # a bond once: ogb adds the other direction when it reads
        "raw/edge": [row for graph in found for row in graph["edge_index"].T[::2].tolist()],
        "raw/edge-feat": [row for graph in found for row in graph["edge_feat"][::2].tolist()],
        "raw/node-feat": [row for graph in found for row in graph["node_feat"].tolist()],
        "raw/num-node-list": [[graph["num_nodes"]] for graph in found],
        "raw/num-edge-list": [[graph["edge_index"].shape[1] // 2] for graph in found],
        "raw/graph-label": [[label] for label in labels],
        "split/scaffold/train": [[place] for place in range(len(found)) if place // 3 % 5 < 3],
        "split/scaffold/valid": [[place] for place in range(len(found)) if place // 3 % 5 == 3],
        "split/scaffold/test": [[place] for place in range(len(found)) if place // 3 % 5 == 4],
    }
    for name, rows in tables.items():
        _write(home / f"{name}.csv.gz", "".join(",".join(map(str, row)) + "\n" for row in rows))
    pairs = enumerate(zip(smiles, labels, strict=True))
    molecules = "".join(f"{label},{text},HIV{place}\n" for place, (text, label) in pairs)
    _write(home / "mapping" / "mol.csv.gz", "HIV_active,smiles,mol_id\n" + molecules)
    (home / "RELEASE_v1.txt").write_text("")
    return root


def atoms(text: str) -> int:
    """How many atoms a molecule has, hydrogens aside."""
    return Chem.MolFromSmiles(text).GetNumAtoms()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") as file:
        file.write(text)
