"""CLRS-30: a message-passing network learns algorithms step by step at 16 nodes, and is asked at 64 (paper, section 5).

One network an algorithm, with a function wherever ReLU stands in dm-clrs's triplet network. The function sees [batch,
nodes, features] and [batch, nodes, nodes, features]: axis 0 holds the samples, all of one size. The paper names
neither its network nor its settings: they are dm-clrs's, but where `AlgorithmConfig` says [ours].

Samples are dm-clrs's: of six algorithms they are committed, `make clrs-all` draws all. Out of distribution are those of
64 nodes, with CLRS-30's own seed for its test. In training and validation the positions are random, in the tests
evenly spaced, as in dm-clrs's example.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from actlab.core import records
from actlab.transfer import algorithm_data as data_module
from actlab.transfer.algorithm_data import Probe, Samples, Trajectories
from actlab.transfer.algorithm_model import Network, harden
from actlab.transfer.algorithm_scores import loss, score
from actlab.transfer.training import Settings, Trial, cut, seeded

if TYPE_CHECKING:
    from actlab.transfer.interface import Activation

CLRS_30 = {
    "sorting": ("insertion_sort", "bubble_sort", "heapsort", "quicksort"),
    "searching": ("minimum", "binary_search", "quickselect"),
    "divide and conquer": ("find_maximum_subarray_kadane",),
    "greedy": ("activity_selector", "task_scheduling"),
    "dynamic programming": ("matrix_chain_order", "lcs_length", "optimal_bst"),
    "graphs": (
        "dfs", "topological_sort", "strongly_connected_components", "articulation_points", "bridges", "bfs",
        "mst_kruskal", "mst_prim", "bellman_ford", "dag_shortest_paths", "dijkstra", "floyd_warshall",
    ),
    "strings": ("naive_string_matcher", "kmp_matcher"),
    "geometry": ("segments_intersect", "graham_scan", "jarvis_march"),
}  # fmt: skip


@dataclass(frozen=True)
class AlgorithmConfig:
    """An algorithm, a network and how it is trained. [ours], but where dm-clrs is named; the defaults are the laptop's.

    dm-clrs trains on fresh samples of 4 to 16 nodes; here, as in CLRS-30's own data set, on 1000 samples of 16.
    """

    algorithm: str = "bfs"
    folder: str = "data/clrs"  # from the checkout's root; `make clrs-data` and `make clrs-all` write such folders
    train: int | None = None  # samples, the first of those there; None: all
    test: int | None = None  # samples of each other split
    width: int = 16  # features; dm-clrs has 128
    triplets: int = 4  # features of a triplet; dm-clrs has 8
    teacher_forcing: float = 0.0  # probability of true hints in training, as dm-clrs has
    batch: int = 32  # samples, in training and where evaluation is in batches, as dm-clrs has
    # The rate and the clip are dm-clrs's, the schedule is ours.
    settings: Settings = field(default_factory=lambda: Settings(weight_decay=0.0, clip=1.0))
    whole: bool = True  # whether a test set is also evaluated as one batch
    device: str = "cpu"
    seed: int = 0  # of the run; it names the records, and the caller seeds the generator with it


def _laptop(algorithm: str, epochs: int, test: int | None = None) -> AlgorithmConfig:
    """The rate is the better of 5e-3 and 1e-2 on validation, with ReLU; `epochs` keep a run to seconds."""
    settings = Settings(epochs=epochs, learning_rate=1e-2, weight_decay=0.0, clip=1.0)
    return AlgorithmConfig(algorithm, test=test, settings=settings)


# The committed part of CLRS-30, as `make clrs-data` samples it.
COMMITTED = ("insertion_sort", "binary_search", "bfs", "bellman_ford", "activity_selector", "lcs_length")
# Chosen for few steps, and few hints a step (steps at 16 nodes, at 64; hints): insertion sort (15, 63; 3), binary
# search (4, 6; 3), breadth-first search (3, 3; 2), Bellman-Ford (4, 6; 3), longest common subsequence (9, 42; 2). Of
# others, floyd_warshall points from edges, bubble sort takes 120 and 2016 steps. Activity selection (16, 64; 3) has its
# samples beside theirs, and is left out for time alone: it costs what insertion sort does.
# A run with ReLU took 10, 5, 4, 7 and 14 s of one thread of a busy machine; the test at 64 nodes is 2 s of that for
# insertion sort and the longest common subsequence, less for the others. Symmetric Phase-Flipped, the costliest of the
# zoo, takes three to five times as long. Validation with ReLU, seeds 0 to 2, is at least 0.93, 0.92, 0.99, 0.94, 0.83.
LAPTOP = (
    _laptop("insertion_sort", 3),
    _laptop("binary_search", 15, test=128),
    _laptop("bfs", 3),
    _laptop("bellman_ford", 5),
    _laptop("lcs_length", 5),
)
SMOKE = (
    replace(
        _laptop("bfs", 3), train=64, test=8, width=8, triplets=4, batch=16,
        settings=Settings(epochs=3, learning_rate=1e-2, weight_decay=0.0, clip=1.0),
    ),
)  # fmt: skip
# dm-clrs's width, rate and 10,000 steps of training: 322 epochs of 31 batches.
PAPER = tuple(
    AlgorithmConfig(
        algorithm, folder="build/clrs/data", width=128, triplets=8, device="cuda",
        settings=Settings(epochs=322, learning_rate=1e-3, weight_decay=0.0, clip=1.0),
    )
    for algorithms in CLRS_30.values() for algorithm in algorithms
)  # fmt: skip
PROFILES = {"smoke": SMOKE, "laptop": LAPTOP, "paper": PAPER}


def load(config: AlgorithmConfig) -> dict[str, Samples]:
    """The splits of the configuration's algorithm, no larger than it says.

    Raises MissingData where they are not there.
    """
    splits = data_module.load(records.ROOT / config.folder, config.algorithm)
    return {name: split.first(config.train if name == "train" else config.test) for name, split in splits.items()}


def build(activation: Activation, config: AlgorithmConfig, probes: Sequence[Probe]) -> Network:
    """The untrained network, its weights drawn from torch's own generator."""
    return Network(probes, activation, config.width, config.triplets, config.teacher_forcing)


def data_file(config: AlgorithmConfig) -> Path:
    """The file that the samples are read from."""
    return records.ROOT / config.folder / f"{config.algorithm}.npz"


class Algorithms(Trial):
    """dm-clrs's score on an algorithm at the size of training and at a larger one.

    It is the mean over the algorithm's outputs of the share that is right, of F1 for masks. A network whose logits are
    not all finite has diverged. The severity of a shift is its number of nodes.
    """

    benchmark, metric = "algorithms", "score"

    def __init__(self, config: AlgorithmConfig, generator: np.random.Generator) -> None:
        self.config, self.data, self.splits = config, config.algorithm, load(config)
        self.training, held = self.splits["train"], self.splits["validation"]
        every = np.arange(len(held))
        # Drawn once: the same for every function and seed.
        positions = held.random_positions(every, np.random.default_rng(0))
        self.validation = [(held, places, positions[places]) for places in cut(every, config.batch)]

    def build(self, activation: Activation) -> Network:
        """`build`, for the algorithm's probes."""
        return build(activation, self.config, self.training.probes).to(self.config.device)

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Trajectories]:
        """All training samples in whole batches, at random positions."""
        for places in cut(generator.permutation(len(self.training)), self.config.batch, whole=True):
            positions = self.training.random_positions(places, generator)
            yield self.training.batch(places, positions, self.config.device)

    def loss(self, model: Network, batch: Trajectories) -> torch.Tensor:
        """Of outputs and hints."""
        return loss(self.training.probes, batch, *model(batch))

    def score(self, model: Network, parts: Iterable[Part]) -> float:
        """`network_score`."""
        return network_score(model, parts)

    def tests(self) -> Iterator[tuple[str, int, list[Part]]]:
        """The size of training, then the larger one."""
        for split, shift in (("in-distribution", ""), ("ood", "size")):
            samples = self.splits[split]
            yield shift, samples.nodes if shift else 0, evenly(samples, self.config.batch)

    def join(self, parts: Sequence[Part]) -> Part:
        """All samples at once."""
        return parts[0][0], np.concatenate([places for _, places, _ in parts]), None


evaluate = Algorithms.evaluate
Part = tuple[Samples, np.ndarray, np.ndarray | None]  # samples, those of them that are meant, positions as `batch` has


def evenly(samples: Samples, batch: int) -> list[Part]:
    """All samples at evenly spaced positions, `batch` at a time."""
    return [(samples, places, None) for places in cut(np.arange(len(samples)), batch)]


def network_score(network: Network, parts: Iterable[Part]) -> float:
    """The network's score on all parts, each of them one batch; NaN where a logit is not finite."""
    device = next(network.parameters()).device
    truths, predictions = [], []
    with torch.no_grad():
        for samples, places, positions in parts:
            outputs = [probe for probe in samples.probes if probe.stage == "output"]
            given = samples.batch(places, positions, device)
            logits, _ = network(given)
            if not all(torch.isfinite(value).all() for value in logits.values()):
                return math.nan
            truths.append(given.outputs)
            predictions.append({probe.name: harden(probe, logits[probe.name]) for probe in outputs})
    return score(outputs, _joined(truths), _joined(predictions))


def _joined(parts: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


# --- what a network has to beat -------------------------------------------------------------------


def baseline(config: AlgorithmConfig, networks: int = 3) -> dict[str, dict[str, float]]:
    """Test scores, by split, of the best constant answer and of untrained networks, over so many of which it is a mean.

    The networks have ReLU and the seeds 0, 1 and so on. Raises MissingData where the samples are not there.
    """
    splits = load(config)
    tests = ("in-distribution", "ood")
    scores = {"constant": constant(splits["train"], [splits[test] for test in tests]), "untrained": [0.0, 0.0]}
    for seed in range(networks):
        with seeded(seed):
            network = build(F.relu, config, splits["train"].probes).to(config.device).eval()
        for i, test in enumerate(tests):
            scores["untrained"][i] += network_score(network, evenly(splits[test], config.batch)) / networks
    return {name: dict(zip(tests, values, strict=True)) for name, values in scores.items()}


def constant(training: Samples, tests: Sequence[Samples]) -> list[float]:
    """Scores in the tests of that constant answer which is best in training, all outputs taken together [ours].

    A constant answer does not look at a sample and has a meaning at every size: a pointer to the node itself, to its
    neighbours in order, to the first or the last; all or nothing of a mask; the first, middle or last place; a class.
    """
    outputs = [probe for probe in training.probes if probe.stage == "output"]
    shapes = {name: tuple(value.shape) for name, value in training.batch(np.arange(1)).outputs.items()}
    choices = itertools.product(*(range(len(_answers(p, shapes[p.name], training.nodes))) for p in outputs))

    def scored(samples: Samples, choice: Sequence[int]) -> float:
        truths = samples.batch(np.arange(len(samples))).outputs
        said = {}
        for probe, which in zip(outputs, choice, strict=True):
            said[probe.name] = _answers(probe, tuple(truths[probe.name].shape), samples.nodes)[which]
        return score(outputs, truths, said)

    best = max(choices, key=lambda choice: scored(training, choice))
    return [scored(samples, best) for samples in tests]


def _answers(probe: Probe, shape: tuple[int, ...], nodes: int) -> list[torch.Tensor]:
    """The constant answers of a probe, in the form of truths of that shape."""
    order = torch.arange(nodes)
    ends = [0, nodes - 1]
    if probe.type == "pointer":
        along = [order, (order - 1).clamp(min=0), (order + 1).clamp(max=nodes - 1)]
        if probe.location == "edge":
            along.append(order.unsqueeze(1))
        return [value.expand(shape) for value in [*along, *(torch.full((nodes,), end) for end in ends)]]
    if probe.type == "permutation_pointer":
        return [F.one_hot((order - 1) % nodes, nodes).expand(shape)]
    if probe.type == "mask":
        return [torch.ones(shape), torch.zeros(shape)]
    places = range(probe.classes) if probe.type == "categorical" else [*ends, nodes // 2]
    return [F.one_hot(torch.tensor(place), probe.classes or nodes).expand(shape) for place in places]
