"""Molecules as graphs, with labels and splits by scaffold: B3DB and ogbg-molhiv (paper, section 5; B3DB is ours).

B3DB (Meng et al., Scientific Data 8:289, 2021; CC0) says of a molecule whether it passes from the blood into the
brain; the package qc-B3DB ships it. ogbg-molhiv (Hu et al., arXiv 2005.00687) says whether it stops HIV from
replicating; ogb's own loader reads it from a folder that the user names.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import importlib.metadata
import importlib.util
import io
import math
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import torch

from actlab.core.files import Damaged, contents, file_hash, reading
from actlab.transfer.interface import MissingData, within

if TYPE_CHECKING:
    import pandas as pd

DATA = ("B3DB", "ogbg-molhiv")
B3DB_FILE = "B3DB_classification.tsv"
MOLHIV_FILES = (
    "RELEASE_v1.txt",
    *(f"raw/{name}.csv.gz" for name in ("edge", "node-feat", "edge-feat", "num-node-list", "num-edge-list")),
    "raw/graph-label.csv.gz",
    *(f"split/scaffold/{name}.csv.gz" for name in ("train", "valid", "test")),
    "mapping/mol.csv.gz",
)

# What is known of an atom and of a bond, with its values; any other value counts as one more. All [ours]: those of
# ogb's features that removing stereo leaves, by ogb's own numbers, and whether a bond is in a ring; then what chemists
# know to matter for passing a membrane, by rdkit, numbers as the steps in which they lie.
ATOM_FEATURES: dict[str, tuple[Any, ...]] = {
    "atomic number": tuple(range(1, 119)),
    "degree": tuple(range(11)),  # hydrogens included
    "formal charge": tuple(range(-5, 6)),
    "hydrogens": tuple(range(9)),
    "radical electrons": tuple(range(5)),
    "hybridisation": ("SP", "SP2", "SP3", "SP3D", "SP3D2"),
    "aromatic": (False, True),
    "in a ring": (False, True),
    "smallest ring": (0, *range(3, 9)),  # atoms in it; 0: none
    "rings": tuple(range(4)),  # that it is in
    "logP": tuple(range(10)),  # its part in it after Crippen: from -1 in steps of 0.2
    "polar area": tuple(range(7)),  # its part in it after Ertl: 0, then in steps of 5 square Angstrom
    "charge": tuple(range(10)),  # partial, after Gasteiger: from -0.5 in steps of 0.1; unknown for some metals
}
BOND_FEATURES: dict[str, tuple[Any, ...]] = {
    "type": ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC"),
    "conjugated": (False, True),
    "in a ring": (False, True),
    "smallest ring": (0, *range(3, 9)),
}


@dataclass(frozen=True)
class Batch:
    """The graphs of some molecules as one graph; codes are those of the values of the features."""

    atoms: torch.Tensor  # codes, [atoms, features]
    bonds: torch.Tensor  # codes, [2 * bonds, features]: a bond is there in both directions
    ends: torch.Tensor  # from which atom to which each of them goes, [2, 2 * bonds]
    molecule: torch.Tensor  # to which molecule of the batch each atom belongs, [atoms]
    labels: torch.Tensor  # 0 or 1, [molecules]


@dataclass(frozen=True)
class Molecules:
    """Labelled molecules, one after the other in tensors as in `Batch`, but `ends` count in each molecule."""

    atoms: torch.Tensor
    bonds: torch.Tensor
    ends: torch.Tensor
    labels: torch.Tensor
    atom_counts: torch.Tensor  # of each molecule, [molecules]
    bond_counts: torch.Tensor  # the same; a bond counts twice, once a direction
    atom_codes: tuple[int, ...]  # how many values each feature has
    bond_codes: tuple[int, ...]
    smiles: tuple[str, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, places: np.ndarray, device: str = "cpu") -> Batch:
        """The molecules at these places, in that order."""
        chosen = torch.as_tensor(places, dtype=torch.long)
        atoms, sizes = _ranges(self.atom_counts, chosen)
        bonds, bond_sizes = _ranges(self.bond_counts, chosen)
        first = torch.cumsum(sizes, 0) - sizes  # atom of each molecule in the batch
        batch = Batch(
            self.atoms[atoms],
            self.bonds[bonds],
            self.ends[:, bonds] + torch.repeat_interleave(first, bond_sizes),
            torch.repeat_interleave(torch.arange(len(chosen)), sizes),
            self.labels[chosen].to(torch.get_default_dtype()),
        )
        return Batch(**{name: tensor.to(device) for name, tensor in vars(batch).items()})


def _ranges(counts: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the rows of the chosen molecules stand, one molecule after the other, and how many each has."""
    starts, sizes = (torch.cumsum(counts, 0) - counts)[chosen], counts[chosen]
    before = torch.cumsum(sizes, 0) - sizes
    return torch.repeat_interleave(starts - before, sizes) + torch.arange(int(sizes.sum())), sizes


@dataclass(frozen=True)
class Split:
    """Places of molecules [count]: training, in-distribution validation and test, and tests by their shift."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    ood: dict[str, np.ndarray]

    @classmethod
    def drawn(
        cls, inside: np.ndarray, sizes: Sequence[int], ood: dict[str, np.ndarray], generator: np.random.Generator
    ) -> Split:
        """In-distribution parts out of `inside`: validation and test of these sizes, and training with what is left."""
        parts = np.split(generator.permutation(inside), np.cumsum(sizes[:2]))
        validation, test, train = (np.sort(part) for part in parts)
        return cls(train, validation, test, ood)


def _sizes(shares: Sequence[float], count: int) -> list[int]:
    sizes = [round(share * count) for share in shares]
    if min(shares) < 0 or sum(sizes) >= count:
        raise ValueError(f"wanted shares that leave molecules for training; got {tuple(shares)} of {count}")
    return sizes


# --- B3DB -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cleaning:
    """What became of B3DB's rows: how many there are, how many molecules, and how many are left."""

    rows: int
    unreadable: int  # rows that rdkit refuses: a carbon with too many bonds
    molecules: int  # different ones, without stereo
    conflicting: int  # of them, with rows that do not agree on the label
    left: int


def b3db_folder() -> Path:
    """Where the package qc-B3DB keeps its tables. Raises MissingData where it is not installed."""
    found = importlib.util.find_spec("B3DB")
    if found is None or not found.submodule_search_locations:
        raise MissingData("B3DB", sys.prefix, ["the package qc-B3DB"], "Get it: python -m pip install qc-B3DB")
    return Path(found.submodule_search_locations[0])


def clean(table: pd.DataFrame) -> tuple[pd.DataFrame, Cleaning]:
    """B3DB's molecules without stereo, each once, without those whose rows disagree on the label.

    Mirror images share a graph here, so that a molecule in training would come again in the test. [ours]

    Args:
        table: B3DB's, with the columns "SMILES" and "BBB+/BBB-".

    Returns:
        "smiles" (canonical, without stereo) and "label" (1 for BBB+), in the order of the text; and what was dropped.
    """
    import pandas as pd
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        parsed = [Chem.MolFromSmiles(text) for text in table["SMILES"]]
    flat = [Chem.MolToSmiles(molecule, isomericSmiles=False) if molecule else None for molecule in parsed]
    rows = pd.DataFrame({"smiles": flat, "label": (table["BBB+/BBB-"] == "BBB+").astype(int).to_numpy()})
    labels = rows.dropna().groupby("smiles")["label"].agg(["min", "max"])  # sorted by the text
    agreed = labels[labels["min"] == labels["max"]]
    counts = Cleaning(len(rows), int(rows["smiles"].isna().sum()), len(labels), len(labels) - len(agreed), len(agreed))
    return pd.DataFrame({"smiles": agreed.index, "label": agreed["min"].to_numpy()}), counts


@functools.lru_cache(maxsize=2)
def read_b3db(folder: Path) -> tuple[pd.DataFrame, Cleaning]:
    """B3DB's cleaned molecules, with the column "scaffold" besides; kept for the next call.

    Raises MissingData where its table is not in the folder, and Damaged where it is not what it should be.
    """
    import pandas as pd

    path = folder / B3DB_FILE
    if not path.exists():
        how = "The package qc-B3DB brings it: python -m pip install qc-B3DB, and name no folder"
        raise MissingData("B3DB", folder, [B3DB_FILE], how)
    with reading(path, "a table with the columns SMILES and BBB+/BBB-"):
        _demand_as_installed(path)
        table = pd.read_csv(path, sep="\t", usecols=["SMILES", "BBB+/BBB-"])
        if not path.read_bytes().endswith(b"\n"):
            raise ValueError("its last line has no end")
    marked = table["BBB+/BBB-"].isin(["BBB+", "BBB-"]) & table["SMILES"].notna()
    if not (len(table) and marked.all()):
        came = table[~marked].iloc[0].to_dict() if len(table) else "no row"
        raise Damaged(f"{path}: wanted a SMILES and BBB+ or BBB- in each row; came {came}")
    molecules, counts = clean(table)
    return molecules.assign(scaffold=[scaffold(text) for text in molecules["smiles"]]), counts


def _demand_as_installed(path: Path) -> None:
    """Raises Damaged where a file of the package qc-B3DB is not as it was installed, by the package's own list."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for listed in importlib.metadata.files("qc-B3DB") or ():
            if listed.hash and Path(listed.locate()) == path:
                found = base64.urlsafe_b64encode(bytes.fromhex(file_hash(path))).decode().rstrip("=")
                if listed.hash.value != found:
                    raise Damaged(f"{path}: wanted the table as qc-B3DB installs it; came {contents(path)}")


def scaffold(smiles: str) -> str:
    """The Bemis-Murcko scaffold: rings and what links them; "" for a molecule without a ring."""
    from rdkit.Chem.Scaffolds import MurckoScaffold

    return MurckoScaffold.MurckoScaffoldSmiles(smiles)


def scaffold_split(
    scaffolds: Sequence[str], shares: tuple[float, float, float], generator: np.random.Generator
) -> Split:
    """An out-of-distribution test set of whole scaffolds, and in-distribution parts that are drawn from the rest.

    Scaffolds come in random order, and go into the test set where they still fit. Molecules without a ring are one
    scaffold. [ours]

    Args:
        scaffolds: of each molecule.
        shares: of all molecules: validation, in-distribution test, out-of-distribution test; what they leave is for
            training, and there must be some.
        generator: of the draws.
    """
    sizes = _sizes(shares, len(scaffolds))
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(scaffolds):
        groups.setdefault(name, []).append(place)
    names, outside = sorted(groups), []
    for index in generator.permutation(len(names)):
        if len(outside) + len(groups[names[index]]) <= sizes[2]:
            outside += groups[names[index]]
    inside = np.setdiff1d(np.arange(len(scaffolds)), outside)
    return Split.drawn(inside, sizes, {"scaffold": np.sort(outside).astype(int)}, generator)


@functools.lru_cache(maxsize=2)
def graphs(smiles: tuple[str, ...], labels: tuple[int, ...]) -> Molecules:
    """The molecules of these texts as graphs, hydrogens implicit, with the features named above; kept for a next call.

    Raises ValueError where rdkit does not read a text.
    """
    from rdkit import Chem

    atoms, bonds, ends, atom_counts, bond_counts = [], [], [], [], []
    for text in smiles:
        molecule = Chem.MolFromSmiles(text)
        if molecule is None:
            raise ValueError(f"wanted a molecule as SMILES; got {text!r}")
        steps = zip(molecule.GetAtoms(), _steps(molecule), strict=True)
        atoms += [_codes((*_of_atom(atom), *rest), ATOM_FEATURES) for atom, rest in steps]
        for bond in molecule.GetBonds():
            here, there = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            bonds += [_codes(_of_bond(bond), BOND_FEATURES)] * 2
            ends += [(here, there), (there, here)]
        atom_counts.append(molecule.GetNumAtoms())
        bond_counts.append(2 * molecule.GetNumBonds())
    return Molecules(
        torch.tensor(atoms),
        torch.tensor(bonds, dtype=torch.long).reshape(-1, len(BOND_FEATURES)),
        torch.tensor(ends, dtype=torch.long).reshape(-1, 2).T,
        torch.tensor(labels, dtype=torch.float32),
        torch.tensor(atom_counts),
        torch.tensor(bond_counts),
        tuple(len(values) + 1 for values in ATOM_FEATURES.values()),
        tuple(len(values) + 1 for values in BOND_FEATURES.values()),
        smiles,
    )


def _of_atom(atom: Any) -> tuple[Any, ...]:
    rings = atom.GetOwningMol().GetRingInfo()
    return (
        atom.GetAtomicNum(), atom.GetTotalDegree(), atom.GetFormalCharge(), atom.GetTotalNumHs(),
        atom.GetNumRadicalElectrons(), str(atom.GetHybridization()), atom.GetIsAromatic(), atom.IsInRing(),
        rings.MinAtomRingSize(atom.GetIdx()), rings.NumAtomRings(atom.GetIdx()),
    )  # fmt: skip


def _steps(molecule: Any) -> Iterator[tuple[int | None, ...]]:
    """Of each atom, the steps in which its parts in logP and in the polar area and its partial charge lie."""
    from rdkit.Chem.rdMolDescriptors import _CalcCrippenContribs, _CalcTPSAContribs
    from rdkit.Chem.rdPartialCharges import ComputeGasteigerCharges

    ComputeGasteigerCharges(molecule)
    charges = [atom.GetDoubleProp("_GasteigerCharge") for atom in molecule.GetAtoms()]
    parts = zip(_CalcCrippenContribs(molecule), _CalcTPSAContribs(molecule), charges, strict=True)
    for (log_p, _), area, charge in parts:
        of_charge = min(max(math.floor((charge + 0.5) / 0.1), 0), 9) if math.isfinite(charge) else None
        yield min(max(math.floor((log_p + 1) / 0.2), 0), 9), min(math.ceil(area / 5), 6), of_charge


def _of_bond(bond: Any) -> tuple[Any, ...]:
    smallest = bond.GetOwningMol().GetRingInfo().MinBondRingSize(bond.GetIdx())
    return str(bond.GetBondType()), bond.GetIsConjugated(), bond.IsInRing(), smallest


def _codes(values: tuple[Any, ...], features: dict[str, tuple[Any, ...]]) -> list[int]:
    known = zip(values, features.values(), strict=True)
    return [options.index(value) if value in options else len(options) for value, options in known]


# --- ogbg-molhiv ----------------------------------------------------------------------------------


@contextlib.contextmanager
def offline_ogb() -> Iterator[None]:
    """Within it ogb can be imported without asking the package index for a newer version of itself.

    ogb asks through the package `outdated`, which asks for its own as well, and does without where there is none.
    """
    before = sys.modules.get("outdated")
    with patch.dict(os.environ):  # in which ogb sets OUTDATED_IGNORE
        sys.modules["outdated"] = None  # type: ignore[assignment]
        try:
            yield
        finally:
            sys.modules.pop("outdated", None)
            if before is not None:
                sys.modules["outdated"] = before


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Within it torch.load reads pickles of any class, as ogb 1.3.6 needs for the file that it wrote itself.

    Without a terminal nothing is written: ogb prints, and shows bars.
    """
    name = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    with contextlib.ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, {name: "1"}))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", f".*{name}", UserWarning)  # torch says that the variable is set
        # ogb makes tensors of what pandas 3 gives it read-only; it only copies them
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        if not sys.stderr.isatty():
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        yield


@functools.lru_cache(maxsize=1)
def read_molhiv(folder: Path) -> tuple[Molecules, dict[str, np.ndarray]]:
    """ogbg-molhiv and its official split, through ogb's own loader; kept for the next call.

    The loader writes its `processed` folder beside the raw files, and reads it again as a pickle: it should be the
    user's own. The data set lies in the `ogbg_molhiv` of `folder`.

    Raises:
        MissingData: where files are not there; ogb itself would ask, or load them from the network.
        Damaged: where a file is not what it should be, or ogb's `processed` is not of these files.
    """

    home = folder / "ogbg_molhiv"
    lacking = [name for name in MOLHIV_FILES if not (home / name).exists()]
    if lacking:
        how = (
            f"Get them: mkdir -p {folder} && cd {folder} && rm -rf ogbg_molhiv hiv && curl -fO "
            "http://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download/hiv.zip "
            "&& unzip -q hiv.zip && mv hiv ogbg_molhiv"
        )
        raise MissingData("ogbg-molhiv", home, lacking, how)
    with offline_ogb():
        from ogb.graphproppred import PygGraphPropPredDataset
        from ogb.utils.features import get_atom_feature_dims, get_bond_feature_dims
    sizes = get_atom_feature_dims(), get_bond_feature_dims()
    raw, smiles = _raw_molhiv(home, *sizes)
    processed = home / "processed"
    with _reading(), reading(processed, "what ogb makes of the raw files: remove the folder, and it is made anew"):
        dataset = PygGraphPropPredDataset("ogbg-molhiv", root=str(folder))
        split = {part: places.numpy() for part, places in dataset.get_idx_split().items()}
        items = list(dataset)
    molecules = Molecules(
        torch.cat([item.x for item in items]),
        torch.cat([item.edge_attr for item in items]),
        torch.cat([item.edge_index for item in items], dim=1),
        torch.cat([item.y for item in items]).flatten().float(),
        torch.tensor([item.num_nodes for item in items]),
        torch.tensor([item.num_edges for item in items]),
        *map(tuple, sizes),
        smiles,
    )
    found = (molecules.labels, molecules.atoms, molecules.atom_counts, molecules.bonds[::2], molecules.ends.T[::2])
    if not all(map(np.array_equal, found, raw)):
        raise Damaged(f"{processed}: wanted what ogb makes of {home / 'raw'}; came something else: remove the folder")
    return molecules, split


def _raw_molhiv(
    home: Path, atom_sizes: Sequence[int], bond_sizes: Sequence[int]
) -> tuple[tuple[np.ndarray, ...], tuple[str, ...]]:
    """What ogb's raw files hold: labels, atoms, their counts, bonds, their ends; and the SMILES.

    Raises Damaged where one of them, or of the splits, is damaged, or does not go with the others.
    """
    import pandas as pd

    def table(name: str, rows: int, most: Any, low: int = 0, columns: int = 1) -> np.ndarray:
        path = home / f"{name}.csv.gz"
        with reading(path, "whole numbers in a CSV, packed with gzip"):
            read = pd.read_csv(path, header=None)
        if read.shape[1] != columns or rows not in (len(read), -1):
            wanted = f"{columns} columns" + (f" and {rows} rows" if rows >= 0 else "")
            raise Damaged(f"{path}: wanted {wanted}; came {read.shape[1]} and {len(read)}")
        return within(path, "numbers", read, low, most)

    labels = table("raw/graph-label", -1, 1)[:, 0]
    count, many = len(labels), 10**6
    atoms = table("raw/num-node-list", count, many, low=1)[:, 0]
    bonds = table("raw/num-edge-list", count, many)[:, 0]
    of_atoms = table("raw/node-feat", atoms.sum(), np.array(atom_sizes) - 1, columns=len(atom_sizes))
    of_bonds = table("raw/edge-feat", bonds.sum(), np.array(bond_sizes) - 1, columns=len(bond_sizes))
    ends = table("raw/edge", bonds.sum(), np.repeat(atoms, bonds)[:, None] - 1, columns=2)
    split = np.concatenate([table(f"split/scaffold/{name}", -1, count - 1) for name in ("train", "valid", "test")])
    if len(np.unique(split)) != len(split):
        raise Damaged(f"{home / 'split'}: wanted each molecule in one part; came some twice")
    path = home / "mapping" / "mol.csv.gz"
    with reading(path, f"{count} rows with a column smiles, packed with gzip"):
        smiles = pd.read_csv(path)["smiles"]
        if len(smiles) != count or smiles.isna().any():
            raise ValueError(f"{smiles.notna().sum()} of {len(smiles)} rows have one")
    return (labels, of_atoms, atoms, of_bonds, ends), tuple(smiles)


def molhiv_split(official: dict[str, np.ndarray], shares: tuple[float, float], generator: np.random.Generator) -> Split:
    """The official scaffold split, with in-distribution parts that are drawn from its training molecules. [ours]

    What ogb calls validation is of other scaffolds than training, so it does not choose the epoch here as it does on
    ogb's leaderboard: it is a second out-of-distribution test.

    Args:
        official: ogb's "train", "valid" and "test".
        shares: of the training molecules: validation, in-distribution test; they must leave some.
        generator: of the draws.
    """
    ood = {"scaffold": official["test"], "scaffold-validation": official["valid"]}
    return Split.drawn(official["train"], _sizes(shares, len(official["train"])), ood, generator)
