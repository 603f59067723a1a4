"""Trajectories of the algorithms of CLRS-30, as data/clrs/sample.py wrote them (Veličković et al., arXiv 2205.15659).

A probe is one quantity of an algorithm: an input, an output, or a hint, which has a value at each step. It belongs to
nodes, to edges or to the graph, and has one of six types. A trajectory's values are, by type:

- scalar: a float;
- mask: 0 or 1, or -1 where it does not count;
- mask_one, categorical: a one-hot vector over the nodes, over the classes; -1 for 1 where it does not count;
- pointer: the index of a node; permutation_pointer: a one-hot vector over the nodes, the pointers a permutation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from actlab.core.files import Damaged, contents, file_hash, reading
from actlab.transfer.interface import MissingData, within

STAGES = ("input", "hint", "output")
LOCATIONS = ("node", "edge", "graph")
TYPES = ("scalar", "mask", "mask_one", "categorical", "pointer", "permutation_pointer")
ONE_HOT = ("mask_one", "categorical", "permutation_pointer")
SPLITS = ("train", "validation", "in-distribution", "ood")
NOTHING = -128  # as data/clrs/sample.py has it: a one-hot vector of zeros, as hints are after a trajectory's end


@dataclass(frozen=True)
class Probe:
    """One quantity of an algorithm, by dm-clrs's name."""

    name: str
    stage: str  # of STAGES
    location: str  # of LOCATIONS
    type: str  # of TYPES
    classes: int  # of a categorical; else 0

    def __post_init__(self) -> None:
        for value, known in ((self.stage, STAGES), (self.location, LOCATIONS), (self.type, TYPES)):
            if value not in known:
                raise ValueError(f"{self.name}: wanted one of {', '.join(known)}; got {value!r}")

    @property
    def pointer(self) -> bool:
        """Whether its values point to nodes."""
        return self.type in ("pointer", "permutation_pointer")


@dataclass(frozen=True)
class Trajectories:
    """Trajectories of one algorithm and one size: values by name, with types as the module says.

    Inputs and outputs are [batch, ...]: then [nodes], [nodes, nodes] or nothing, by location, and for a one-hot vector
    its places. Hints are [steps + 1, batch, ...], at the start and after each step; where they are not known, as in
    tests, at the start alone.
    """

    inputs: Mapping[str, torch.Tensor]
    hints: Mapping[str, torch.Tensor]
    outputs: Mapping[str, torch.Tensor]
    lengths: torch.Tensor  # [batch], 1 + the number of steps of each; what follows the last is padding

    @property
    def nodes(self) -> int:
        """The size: each algorithm has an input `pos` [batch, nodes]."""
        return self.inputs["pos"].shape[1]

    @property
    def steps(self) -> int:
        """The steps of the longest, at least one."""
        return max(1, int(self.lengths.max()) - 1)


@dataclass(frozen=True)
class Samples:
    """A split, in the small form of its file."""

    probes: tuple[Probe, ...]
    arrays: Mapping[str, np.ndarray]  # "lengths" [samples], "input.NAME", "hint.NAME", "output.NAME"

    def __len__(self) -> int:
        return len(self.arrays["lengths"])

    @property
    def nodes(self) -> int:
        """The size of its graphs."""
        return self.arrays["input.pos"].shape[1]

    def first(self, samples: int | None) -> Samples:
        """The first so many samples; None: all."""
        cut = slice(samples)
        arrays = {name: a[:, cut] if name.startswith("hint.") else a[cut] for name, a in self.arrays.items()}
        return replace(self, arrays=arrays)

    def batch(self, places: np.ndarray, positions: np.ndarray | None = None, device: str = "cpu") -> Trajectories:
        """The samples at these places, hints cut to the longest of them.

        `positions` [places, nodes] are for the input `pos`; None: dm-clrs's own, evenly spaced.
        """
        lengths = self.arrays["lengths"][places]
        values = {stage: {} for stage in STAGES}
        for probe in self.probes:
            array = self.arrays[f"{probe.stage}.{probe.name}"]
            if probe.stage == "hint":
                array = array[: max(2, lengths.max()), places]
            else:
                array = array[places] if probe.name != "pos" or positions is None else positions
            values[probe.stage][probe.name] = unpack(probe, array, self.nodes).to(device)
        return Trajectories(*values.values(), torch.from_numpy(lengths.astype(np.int64)).to(device))

    def random_positions(self, places: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Sorted uniform numbers in place of evenly spaced positions, [places, nodes] (Ibarz et al., 2209.11142).

        Where a sample holds two sequences, two strings say, each starts at 0 and is drawn and sorted by itself.
        """
        given = self.arrays["input.pos"][places]
        sequence = (given == 0).cumsum(axis=1)
        drawn = generator.random(given.shape)
        # Sorted within each sequence: the sequence is the more significant key.
        return np.take_along_axis(drawn, np.lexsort((drawn, sequence), axis=1), axis=1).astype(np.float32)


def unpack(probe: Probe, array: np.ndarray, nodes: int) -> torch.Tensor:
    """The values of a probe, as the module says, from their small form."""
    values = torch.from_numpy(np.ascontiguousarray(array))
    if probe.type == "pointer":
        return values.long()
    if probe.type not in ONE_HOT:
        return values.to(torch.get_default_dtype())
    codes = values.long()
    nothing = codes == NOTHING
    place = torch.where(codes < 0, -1 - codes, codes).masked_fill(nothing, 0)
    sign = torch.where(codes < 0, -1.0, 1.0).masked_fill(nothing, 0.0)
    return F.one_hot(place, probe.classes or nodes) * sign.unsqueeze(-1)


def load(folder: Path | str, algorithm: str) -> dict[str, Samples]:
    """The splits of an algorithm, by the names in `SPLITS`.

    Raises:
        MissingData: where the folder does not have it.
        Damaged: where its file is not the one that README.json describes, or holds something else than its probes.
    """
    about, file = Path(folder) / "README.json", Path(folder) / f"{algorithm}.npz"
    how = f"Get it with: make clrs-all CLRS_DATA={folder} (which builds an environment of 2.9 GB)"
    if not about.exists() or not file.exists():
        raise MissingData(f"CLRS-30's {algorithm}", folder, [about.name, file.name], how)
    with reading(about, "what data/clrs/sample.py writes about its samples"):
        described = json.loads(about.read_text())["algorithms"]
        if algorithm not in described:
            raise MissingData(f"CLRS-30's {algorithm}", folder, [f"{algorithm} in {about.name}"], how)
        probes = tuple(Probe(*probe) for probe in described[algorithm]["probes"])
        wanted = described[algorithm]["sha256"]
    if (came := file_hash(file)) != wanted:
        raise Damaged(f"{file}: wanted SHA-256 {wanted}, as {about.name} has it; came {came}, {contents(file)}. {how}")
    arrays: dict[str, dict[str, np.ndarray]] = {split: {} for split in SPLITS}
    with reading(file, f"samples of {', '.join(SPLITS)}"), np.load(file, allow_pickle=False) as kept:
        for name in kept.files:
            split, _, own = name.partition("/")
            arrays[split][own] = kept[name]
        for split, own in arrays.items():
            _check(f"{file}, {split}", probes, own)
    return {split: Samples(probes, own) for split, own in arrays.items()}


def _check(where: str, probes: Sequence[Probe], arrays: Mapping[str, np.ndarray]) -> None:
    """Raises Damaged unless arrays are what the probes ask for: by name, shape and value."""
    names = {"lengths", *(f"{probe.stage}.{probe.name}" for probe in probes)}
    if others := sorted(names ^ arrays.keys()):
        raise Damaged(f"{where}: wanted arrays of all probes and no others; came {others[0]} in one alone")
    samples, nodes = arrays["input.pos"].shape
    steps = max((len(arrays[f"hint.{probe.name}"]) for probe in probes if probe.stage == "hint"), default=1)
    most = steps if steps > 1 else np.iinfo(np.int16).max  # where hints are not known
    if within(where, "lengths", arrays["lengths"], 1, most).shape != (samples,):
        raise Damaged(f"{where}: wanted {samples} lengths; came {len(arrays['lengths'])}")
    for probe in probes:
        array, what = arrays[f"{probe.stage}.{probe.name}"], f"{probe.stage} {probe.name}"
        axes = {"graph": 0, "node": 1, "edge": 2}[probe.location] - (probe.type == "mask_one")
        shape = (*(steps,) * (probe.stage == "hint"), samples, *(nodes,) * axes)
        if array.shape != shape:
            raise Damaged(f"{where}: wanted {what} of shape {shape}; came {array.shape}")
        if probe.type == "scalar":
            if not np.isfinite(array).all():
                raise Damaged(f"{where}: wanted finite numbers in {what}; came others")
            continue
        high = 1 if probe.type == "mask" else (probe.classes or nodes) - 1
        low = {"mask": -1, "pointer": 0}.get(probe.type, -1 - high)
        within(where, what, array[array != NOTHING] if probe.type in ONE_HOT else array, low, high)
