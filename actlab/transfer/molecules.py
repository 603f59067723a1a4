"""Molecules: a graph network with a function wherever ReLU stands, on B3DB and ogbg-molhiv (paper, section 5).

The paper names neither its model nor its settings; all here is ours. A batch holds the graphs of some molecules, and
the function sees their atoms as `[atoms, features]`, and the messages along their bonds as `[2 * bonds, features]`:
axis 0 runs through all molecules of the batch, the last axis is the features. A batch norm stands before each
activation but that of the messages, and before the last linear layer; evaluation uses its statistics of training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import rankdata
from torch import nn
from torch_geometric.nn import GINEConv, global_add_pool, global_max_pool, global_mean_pool

from actlab.transfer import molecule_data as data_module
from actlab.transfer.molecule_data import Batch, Molecules, Split
from actlab.transfer.training import Settings, Trial, cut

if TYPE_CHECKING:
    from actlab.transfer.interface import Activation


@dataclass(frozen=True)
class MoleculeConfig:
    """A data set, a model and how it is trained. All [ours]; the defaults are the laptop's."""

    data: str = "B3DB"  # or "ogbg-molhiv"
    folder: str = ""  # ogb's root, or of B3DB's table; "": the one that qc-B3DB brings
    molecules: int | None = None  # of B3DB, drawn with the split; None: all
    validation: float = 0.1  # share of the molecules (of molhiv: of its training molecules); it chooses the epoch
    test: float = 0.2  # the same, in-distribution
    ood: float = 0.2  # share of B3DB's molecules in scaffolds of their own; molhiv's is ogb's
    width: int = 64  # features of an atom; twice as many inside a layer
    layers: int = 3  # rounds of messages
    dropout: float = 0.0  # share of an atom's features, after each layer; to draw it takes about a tenth of a step
    readout_dropout: float = 0.2  # share of a molecule's features, before the last linear layer
    batch: int = 64  # molecules, in training and where evaluation is in batches
    whole: bool = True  # whether a test set is also evaluated as one batch
    # Chosen like read-out and features: by ReLU's validation over seeds 0 to 3, and by the time it takes.
    settings: Settings = field(default_factory=lambda: Settings(epochs=12))
    device: str = "cpu"  # on "cuda" sums over messages are not the same to the bit from run to run
    seed: int = 0  # of the run and of its split: each seed has scaffolds of its own


LAPTOP = MoleculeConfig()
SMOKE = replace(LAPTOP, molecules=400, width=16, layers=2, batch=32, settings=Settings(epochs=4, learning_rate=3e-3))
# Size, dropout, batch and epochs as in ogb's example of a GIN (without its virtual node); the schedule
# and the read-out are ours.
MOLHIV = MoleculeConfig(
    data="ogbg-molhiv", folder="data/ogb", test=0.1, width=300, layers=5, dropout=0.5, readout_dropout=0.0, batch=32,
    settings=Settings(epochs=100), device="cuda",
)  # fmt: skip
PROFILES = {"smoke": (SMOKE,), "laptop": (LAPTOP,), "paper": (LAPTOP, MOLHIV)}


# --- model ----------------------------------------------------------------------------------------

POOLS = (global_mean_pool, global_max_pool, global_add_pool)  # over the atoms of a molecule


class Sum(nn.Module):
    """A vector for each value of each feature, summed over the features: codes [rows, features] -> [rows, width].

    It is a product with a matrix of zeros and ones: on a processor the gradient of nn.Embedding takes longer.
    """

    def __init__(self, codes: Sequence[int], width: int) -> None:
        super().__init__()
        first = [sum(codes[:place]) for place in range(len(codes))]  # row of each feature's first value
        self.register_buffer("first", torch.tensor(first), persistent=False)
        self.vectors = nn.Parameter(0.5 * torch.randn(sum(codes), width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sums."""
        chosen = torch.zeros(len(x), len(self.vectors), dtype=self.vectors.dtype, device=x.device)
        return chosen.scatter_(1, x + self.first, 1.0) @ self.vectors


class Inner(nn.Module):
    """What a layer does to each atom's sum of messages: two linear maps, with the function between them."""

    def __init__(self, activation: Activation, width: int) -> None:
        super().__init__()
        self.activation = activation
        self.first, self.second = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norm = nn.BatchNorm1d(2 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features of atoms, [atoms, width]."""
        return self.second(self.activation(self.norm(self.first(x))))


class Convolution(GINEConv):
    """torch_geometric's GIN layer with features of bonds; the function takes the place of the ReLU in its messages."""

    def __init__(self, activation: Activation, width: int) -> None:
        super().__init__(Inner(activation, width), train_eps=True)
        self.activation = activation

    def message(self, x_j: torch.Tensor, edge_attr: torch.Tensor) -> torch.Tensor:
        """What goes along each bond, once a direction: [2 * bonds, width]."""
        return self.activation(x_j + edge_attr)


class GIN(nn.Module):
    """A graph isomorphism network: layers of messages, then a linear layer on what each of them says of the molecule.

    Xu, Hu, Leskovec and Jegelka, arXiv 1810.00826, with features of bonds as Hu et al., arXiv 1905.12265, add them. As
    in the first, all layers are read out; that it is by mean, maximum and sum over a molecule's atoms is ours. The
    function stands in the messages, inside each layer and between the layers.
    """

    def __init__(
        self, activation: Activation, atom_codes: Sequence[int], bond_codes: Sequence[int], width: int, layers: int,
        dropout: float, readout_dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.activation = activation
        self.atoms = Sum(atom_codes, width)
        self.bonds = nn.ModuleList(Sum(bond_codes, width) for _ in range(layers))
        self.convolutions = nn.ModuleList(Convolution(activation, width) for _ in range(layers))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        features = len(POOLS) * layers * width
        self.head = nn.Sequential(nn.BatchNorm1d(features), nn.Dropout(readout_dropout), nn.Linear(features, 1))

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits [molecules] that the label is 1."""
        x, read = self.atoms(batch.atoms), []
        for layer, (bonds, convolution, norm) in enumerate(zip(self.bonds, self.convolutions, self.norms, strict=True)):
            if layer > 0:
                x = self.activation(x)
                read.append(x)
            x = self.dropout(norm(convolution(x, batch.ends, bonds(batch.bonds))))
        atoms = torch.cat([*read, x], dim=1)  # [atoms, layers * width]
        pooled = [pool(atoms, batch.molecule, len(batch.labels)) for pool in POOLS]
        return self.head(torch.cat(pooled, dim=1)).squeeze(1)


def build(activation: Activation, config: MoleculeConfig, molecules: Molecules) -> GIN:
    """The untrained network, its weights drawn from torch's own generator."""
    codes = molecules.atom_codes, molecules.bond_codes
    return GIN(activation, *codes, config.width, config.layers, config.dropout, config.readout_dropout)


# --- evaluation -----------------------------------------------------------------------------------


def data_file(config: MoleculeConfig) -> Path | None:
    """The file that the data set is read from; None where it is a folder that the user names."""
    return data_module.b3db_folder() / data_module.B3DB_FILE if config.data == "B3DB" and not config.folder else None


def load(config: MoleculeConfig) -> tuple[Molecules, Split]:
    """The molecules of a configuration, and their split.

    Raises MissingData where the data set is not there; ValueError where it is not known, or has fewer molecules than
    asked for.
    """
    generator = np.random.default_rng(config.seed)
    if config.data == "ogbg-molhiv":
        molecules, official = data_module.read_molhiv(Path(config.folder))
        return molecules, data_module.molhiv_split(official, (config.validation, config.test), generator)
    if config.data != "B3DB":
        raise ValueError(f"wanted a data set among {', '.join(data_module.DATA)}; got {config.data!r}")
    known, _ = data_module.read_b3db(Path(config.folder) if config.folder else data_module.b3db_folder())
    if config.molecules is not None:
        if config.molecules > len(known):
            raise ValueError(f"wanted at most {len(known)} molecules, as many as there are; got {config.molecules}")
        known = known.iloc[np.sort(generator.choice(len(known), config.molecules, replace=False))]
    shares = (config.validation, config.test, config.ood)
    split = data_module.scaffold_split(tuple(known["scaffold"]), shares, generator)
    return data_module.graphs(tuple(known["smiles"]), tuple(known["label"])), split


class MoleculeTrial(Trial):
    """Area under the ROC curve, on known and on new scaffolds.

    The test molecules come in an order that is drawn once, so that functions which see their batch see such batches
    as in training. The split comes from `config.seed` alone, so that `baseline` has the same.
    """

    benchmark, metric = "molecules", "roc_auc"

    def __init__(self, config: MoleculeConfig, generator: np.random.Generator) -> None:
        """Loads the data. Raises ValueError where training has not one whole batch."""
        self.config, self.data = config, config.data
        self.molecules, self.split = load(config)
        if (count := len(self.split.train)) < config.batch:
            raise ValueError(f"wanted at least one batch of {config.batch} molecules to train on; got {count}")
        self.validation = batches(generator.permutation(self.split.validation), config.batch)
        self.orders = {name: generator.permutation(places) for name, places in _tests(self.split).items()}

    def build(self, activation: Activation) -> GIN:
        """`build`, for the data set's features."""
        return build(activation, self.config, self.molecules).to(self.config.device)

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """All training molecules in whole batches."""
        for places in cut(generator.permutation(self.split.train), self.config.batch, whole=True):
            yield self.molecules.batch(places, self.config.device)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """The cross-entropy."""
        return F.binary_cross_entropy_with_logits(model(batch), batch.labels)

    def score(self, model: nn.Module, parts: Iterable[np.ndarray]) -> float:
        """The area under the ROC curve over the molecules of all parts."""
        found = [self.molecules.batch(places, self.config.device) for places in parts]
        logits = torch.cat([model(batch).double().cpu() for batch in found]).numpy()
        labels = torch.cat([batch.labels.cpu() for batch in found]).numpy()
        return ogb_area(labels, logits) if self.data == "ogbg-molhiv" else roc_auc(labels, logits)

    def tests(self) -> Iterator[tuple[str, int, list[np.ndarray]]]:
        """The test in distribution and those of other scaffolds, in the orders drawn."""
        for name, order in self.orders.items():
            yield "" if name == "in-distribution" else name, 0, batches(order, self.config.batch)


evaluate = MoleculeTrial.evaluate


def _tests(split: Split) -> dict[str, np.ndarray]:
    return {"in-distribution": split.test, **split.ood}


def batches(order: np.ndarray, batch: int) -> list[np.ndarray]:
    """The places in that order, at most `batch` at a time, in parts as equal as they come: none is a small rest."""
    return np.array_split(order, math.ceil(len(order) / batch))


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """The chance that a molecule of label 1 has a higher score than one of label 0, ties counting half.

    It is NaN where a score is not finite. Raises ValueError where the labels are not both there.
    """
    ones, zeros = int((labels == 1).sum()), int((labels == 0).sum())
    if ones == 0 or zeros == 0:
        raise ValueError(f"wanted molecules of both labels; got {ones} of label 1 and {zeros} of label 0")
    if not np.isfinite(scores).all():
        return math.nan
    ranks = rankdata(scores)[labels == 1].sum()  # Mann and Whitney's U, from ranks
    return float((ranks - ones * (ones + 1) / 2) / (ones * zeros))


def ogb_area(labels: np.ndarray, scores: np.ndarray) -> float:
    """The same, by ogb's own evaluator for ogbg-molhiv; NaN where a score is not finite."""
    with data_module.offline_ogb():
        from ogb.graphproppred import Evaluator
    if not np.isfinite(scores).all():
        return math.nan
    answer = Evaluator("ogbg-molhiv").eval({"y_true": labels.reshape(-1, 1), "y_pred": scores.reshape(-1, 1)})
    return float(answer["rocauc"])


def baseline(config: MoleculeConfig) -> dict[str, dict[str, float]]:
    """Areas under the ROC curve of plain scikit-learn classifiers on Morgan fingerprints of the same splits.

    By classifier, then by test: "in-distribution", and the out-of-distribution tests by their shift. The fingerprints
    are of radius 2 with 2048 bits; settings are ours. The network is told more of an atom than they are: its partial
    charge, say. Raises MissingData where the data set is not there.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    molecules, split = load(config)
    parts = _tests(split)
    labels = molecules.labels.numpy()
    x = {name: fingerprints(molecules, places) for name, places in {"train": split.train, **parts}.items()}
    models = {
        "random forest": RandomForestClassifier(300, random_state=config.seed),
        "logistic regression": LogisticRegression(C=0.1, max_iter=1000),
    }
    areas = {}
    for name, model in models.items():
        model.fit(x["train"], labels[split.train])
        areas[name] = {
            part: roc_auc(labels[places], model.predict_proba(x[part])[:, 1]) for part, places in parts.items()
        }
    return areas


def fingerprints(molecules: Molecules, places: np.ndarray) -> np.ndarray:
    """Morgan fingerprints of radius 2 of the molecules at these places, uint8 [molecules, 2048]."""
    from rdkit import Chem, rdBase
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    generator = GetMorganGenerator(radius=2, fpSize=2048)
    with rdBase.BlockLogs():
        return np.stack(
            [generator.GetFingerprintAsNumPy(Chem.MolFromSmiles(molecules.smiles[place])) for place in places]
        )
