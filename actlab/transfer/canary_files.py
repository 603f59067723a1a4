"""Small files in the layouts of the benchmarks' data sets, drawn from fixed generators: what `canary` reads.

Only the molecules of B3DB's layout are real ones.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np

from actlab.core.files import file_hash
from actlab.transfer.algorithm_data import NOTHING, Probe

# --- pictures -------------------------------------------------------------------------------------


def fashion_mnist(folder: Path, side: int = 16) -> None:
    """The four IDX files of Fashion-MNIST, the labels packed with gzip: 40 training and 12 test pictures."""
    folder.mkdir()
    generator = np.random.default_rng(1)
    for name, count in (("train", 40), ("t10k", 12)):
        labels = np.arange(count, dtype=np.uint8) % 4
        images = generator.integers(200, size=(count, side, side), dtype=np.uint8)
        images[:, :4] += (16 * labels)[:, None, None]  # so that there is something to learn
        (folder / f"{name}-images-idx3-ubyte").write_bytes(_idx(images))
        with gzip.open(folder / f"{name}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(_idx(labels))


def _idx(values: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def cifar_10(folder: Path) -> None:
    """CIFAR-10's five training batches and its test batch, Python pickles: four pictures each."""
    folder.mkdir()
    generator = np.random.default_rng(2)
    for name in [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]:
        pixels = generator.integers(200, size=(4, 3072), dtype=np.uint8)
        pixels[1::2, :1024] += 50
        (folder / name).write_bytes(pickle.dumps({b"data": pixels, b"labels": [0, 1, 0, 1]}, protocol=2))


def imagenet(folder: Path, test: str = "validation", heights: Sequence[int] = (12, 13, 15)) -> None:
    """Parquet files of 12 training and 6 test pictures as PNG, 14 pixels wide; the rows in groups of five."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    folder.mkdir()
    generator = np.random.default_rng(3)
    for name, count in (("train", 12), (test, 6)):
        packed = []
        for place in range(count):
            pixels = generator.integers(256, size=(heights[place % len(heights)], 14, 3), dtype=np.uint8)
            with io.BytesIO() as file:
                Image.fromarray(pixels).save(file, format="png")
                packed.append({"bytes": file.getvalue()})
        rows = pa.table({"image": packed, "label": [place % 2 for place in range(count)]})
        pq.write_table(rows, folder / f"{name}-00000-of-00001.parquet", row_group_size=5)


# --- molecules ------------------------------------------------------------------------------------

# Of B3DB's: with and without rings (of three to seven atoms), charges, radicals, metals, every kind of bond; a carbon
# of five bonds that rdkit refuses; two mirror images that agree, and two that do not.
PASSING = (
    "C1CC1", "CCOC(=O)N(Cc1ccccc1)C1CC1", "CN1CCC[C@H]1c1cccnc1", "CN1CCC[C@@H]1c1cccnc1", "C#CCO", "FC(Br)C(F)(F)F",
    "CC1CCCCC1C", "N#N", "CCCl", "S=C=S", "Cl/C=C\\Cl", "[Kr]", "CCCCOC(C)=O", "C1CCCCCCNC1", "CC(C)(C)C(C)(C)(C)C",
    "FS(F)(F)(F)(F)F", "NC(=O)CN1CCCC1=O", "CC(=O)/C=C/c1cccs1", "c1ccc2c(c1)CCCCN2", "O=c1cccc2n1CC1CNCC2C1",
    "CN1C(=O)CC[C@H]1c1cccnc1", "CC[N]C",
)  # fmt: skip
STAYING = (
    "NCc1c[n+]2ccccc2[nH]1", "S=c1nc[nH]c2nc[nH]c12", "[Li]", "C[n+]1ccccc1/C=N/O", "CCOc1cccc(F)c1B(O)O",
    "CC(O)C1([SiH3])CCCCO1", "O=P1(NCCCl)OCCCN1CCCl", "C[C@H]1O[C@H]1P(=O)(O)O", "Oc1c(I)cc(Cl)c2cccnc12",
    "NCCCS(=O)(=O)O", "Cc1cnc(C(=O)O)c[n+]1[O-]", "C[N+](C)(C)CCO", "CC(Cc1ccccc1)NO", "CN(CCCl)CCCl",
    "NCCNCCNCCNCCN", "O=CN(O)CCCP(=O)(O)O", "[N-]=[N+]=O", "NCN.Nc1nc(-c2ccccc2)cs1", "CC(=O)NC(CS)C(=O)O",
    "CN1C(=O)CC[C@@H]1c1cccnc1", "CC[Hg]",
)  # fmt: skip


def b3db(folder: Path) -> None:
    """B3DB's table with those molecules."""
    folder.mkdir()
    rows = [*((text, "BBB+") for text in PASSING), *((text, "BBB-") for text in STAYING)]
    lines = ["SMILES\tBBB+/BBB-", *("\t".join(row) for row in rows)]
    (folder / "B3DB_classification.tsv").write_text("\n".join(lines) + "\n")


def molhiv(folder: Path, molecules: int = 30) -> None:
    """ogb's folder of ogbg-molhiv with random trees for molecules, of which two of five are no training molecules."""
    generator = np.random.default_rng(4)
    atoms = generator.integers(3, 7, size=molecules)
    trees = [[(int(generator.integers(end)), end) for end in range(1, count)] for count in atoms]
    bonds = [bond for tree in trees for bond in tree]
    places = range(molecules)
    tables = {
        "raw/edge": bonds,
        "raw/edge-feat": generator.integers(2, size=(len(bonds), 3)),
        "raw/node-feat": generator.integers(2, size=(atoms.sum(), 9)),
        "raw/num-node-list": atoms[:, None],
        "raw/num-edge-list": atoms[:, None] - 1,
        "raw/graph-label": [[place % 2] for place in places],
        "split/scaffold/train": [[place] for place in places if place % 5 < 3],
        "split/scaffold/valid": [[place] for place in places if place % 5 == 3],
        "split/scaffold/test": [[place] for place in places if place % 5 == 4],
        "mapping/mol": [("HIV_active", "smiles", "mol_id"), *((place % 2, "C", f"HIV{place}") for place in places)],
    }
    home = folder / "ogbg_molhiv"
    for name, rows in tables.items():
        path = home / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt") as file:
            file.writelines(",".join(map(str, row)) + "\n" for row in rows)
    (home / "RELEASE_v1.txt").write_text("")


# --- algorithms -----------------------------------------------------------------------------------

POSITION = "pos input node scalar"
KEY = "key input node scalar"  # tells nodes at equal positions apart
HINT = "hint hint node mask"
ORDER = ("pred output node permutation_pointer", "pred_mask output node mask_one")
ALGORITHMS = {  # probes: name, stage, location, type; a categorical has three classes
    "kinds": (  # every type at every place where CLRS-30 has it
        POSITION, "one input node mask_one", "kind input node categorical", "order input node pointer",
        "weight input edge scalar", "way input edge pointer", "target input graph scalar",
        "hint_scalar hint node scalar", "hint_mask hint node mask", "hint_one hint node mask_one",
        "hint_kind hint node categorical", "hint_pointer hint node pointer", "hint_edge hint edge scalar",
        "hint_edge_kind hint edge categorical", "hint_way hint edge pointer", "hint_graph hint graph categorical",
        "hint_flag hint graph mask", "scalar output node scalar", "mask output node mask",
        "one_node output node mask_one", "pointer output node pointer", *ORDER, "edge_kind output edge categorical",
        "edge_mask output edge mask", "graph output graph categorical",
    ),
    "nodes": (POSITION, KEY, HINT, "out output node mask"),
    "ways": (
        POSITION, KEY, HINT, "way output edge pointer", *ORDER, "mask output node mask",
        "kind output graph categorical",
    ),
}  # fmt: skip
STEPS = 3  # of the longest trajectory


def clrs(folder: Path) -> None:
    """A folder of trajectories as `make clrs-data` writes it: of algorithms that nobody ran, all their values drawn."""
    folder.mkdir()
    generator = np.random.default_rng(5)
    every = {
        name: [Probe(*words.split(), classes=3 * words.endswith("categorical")) for words in probes]
        for name, probes in ALGORITHMS.items()
    }
    described = {}
    sizes = {"train": (6, 4), "validation": (4, 4), "in-distribution": (5, 4), "ood": (5, 6)}  # samples, nodes
    for name, probes in every.items():
        arrays = {}
        for split, (samples, nodes) in sizes.items():
            arrays[f"{split}/lengths"] = np.array([1, 2, 3, 4, 4, 2], dtype=np.int16)[:samples]
            for probe in probes:
                steps = () if probe.stage != "hint" else (STEPS + 1,) if split == "train" else (1,)
                arrays[f"{split}/{probe.stage}.{probe.name}"] = _drawn(probe, (*steps, samples), nodes, generator)
        path = folder / f"{name}.npz"
        np.savez(path, **arrays)
        described[name] = {"probes": [astuple(probe) for probe in probes], "sha256": file_hash(path)}
    (folder / "README.json").write_text(json.dumps({"algorithms": described}))


def _drawn(probe: Probe, shape: tuple[int, ...], nodes: int, generator: np.random.Generator) -> np.ndarray:
    """Values of a probe, in the small form of the files."""
    if probe.name == "pos":  # of two sequences
        return np.broadcast_to(np.tile(np.arange(nodes // 2) / nodes, 2), (*shape, nodes)).astype(np.float32)
    if probe.type == "mask_one":
        values = generator.integers(nodes, size=shape)
    elif probe.type == "permutation_pointer":
        values = generator.permuted(np.broadcast_to(np.arange(nodes), (*shape, nodes)), axis=-1)
    else:
        full = (*shape, *{"node": (nodes,), "edge": (nodes, nodes), "graph": ()}[probe.location])
        if probe.type == "scalar":
            return generator.random(full).astype(np.float32)
        values = generator.integers({"mask": 2, "categorical": probe.classes, "pointer": nodes}[probe.type], size=full)
    if probe.stage != "input" and probe.type in ("mask", "mask_one", "categorical"):  # some of the last sample
        last = values[:, -1] if probe.stage == "hint" else values[-1:]
        off = generator.random(last.shape) < 0.5  # do not count
        last[off] = -1 if probe.type == "mask" else NOTHING if probe.stage == "hint" else -1 - last[off]
    return values.astype(np.int8)


def write(folder: Path) -> None:
    """Writes all of them, each into a folder of its own in this one."""
    for maker in (fashion_mnist, cifar_10, imagenet, b3db, molhiv, clrs):
        maker(folder / maker.__name__)
