"""CLRS-30: data, network, losses and scores against dm-clrs's own answers, and a benchmark that repeats itself."""

import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from actlab import activations
from actlab.core import records
from actlab.transfer import algorithms, interface, training
from actlab.transfer.algorithm_data import NOTHING, Probe, Samples, load, unpack
from actlab.transfer.algorithm_model import (
    Edges,
    Network,
    Processor,
    channels,
    harden,
    highest,
    larger,
    log_sinkhorn,
    max_plus,
    soften,
)
from actlab.transfer.algorithm_scores import hint_loss, loss, output_loss, probe_score, score
from actlab.transfer.interface import MissingData

ANSWERS = records.ROOT / "tests" / "fixtures" / "clrs_answers"
TOLD = json.loads(ANSWERS.with_suffix(".json").read_text())
DATA = records.ROOT / "data" / "clrs"
ABOUT = json.loads((DATA / "README.json").read_text())
NAMES = list(TOLD["algorithms"])
SMOKE = algorithms.SMOKE[0]


@pytest.fixture(scope="module")
def kept():
    with np.load(ANSWERS.with_suffix(".npz"), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def answered(kept, name):
    """Probes, trajectories and the arrays of dm-clrs's answers of an algorithm."""
    probes = tuple(Probe(*probe) for probe in TOLD["algorithms"][name]["probes"])
    arrays = {key.removeprefix(f"{name}/"): value for key, value in kept.items() if key.startswith(f"{name}/")}
    samples = Samples(probes, arrays)
    return probes, samples.batch(np.arange(len(samples))), arrays


def logits(arrays, kind):
    return {key.removeprefix(kind): torch.from_numpy(value) for key, value in arrays.items() if key.startswith(kind)}


# --- dm-clrs's weights, by its names --------------------------------------------------------------

PROCESSOR = "net/mpnn_aggr_clrs_processor"
CODERS = "net/~_construct_encoders_decoders/algo_0_"


def numbered(stem, count):
    return [stem] + [f"{stem}_{i}" for i in range(1, count)]


def drawn_weights(probes, width, triplets):
    """dm-clrs's parameters as data/clrs/sample.py draws them: in the order of their names."""
    h, t = width, triplets
    shapes = {f"{PROCESSOR}/mlp/~/linear_{i}": (h, h) for i in (0, 1)}
    sizes = [(2 * h, h)] * 2 + [(h, h)] * 2 + [(2 * h, h), (h, h)] + [(2 * h, t)] * 3 + [(h, t)] * 4
    sizes += [(t, h), (2 * h, h), (h, h), (h, h)]
    shapes |= dict(zip(numbered(f"{PROCESSOR}/linear", 17), sizes, strict=True))
    for probe in probes:
        if probe.stage != "output":
            names = numbered(f"{CODERS}{probe.name}_enc_linear", channels(probe) if probe.pointer else 1)
            shapes |= {name: (probe.classes or 1, h) for name in names}
        if probe.stage != "input":
            size = h if probe.pointer else probe.classes or 1
            own = {
                "node": [3 * h, 3 * h, 2 * h] if probe.pointer else [3 * h],
                "edge": [3 * h, 3 * h, 2 * h] + [3 * h] * probe.pointer,
                "graph": [3 * h, h],
            }[probe.location]
            ends = [(inputs, size) for inputs in own] + [(h, 1)] * probe.pointer
            shapes |= dict(zip(numbered(f"{CODERS}{probe.name}_dec_linear", len(ends)), ends, strict=True))
    every = {(module, name): shape if name == "w" else shape[1:] for module, shape in shapes.items() for name in "bw"}
    every |= {(f"{PROCESSOR}/layer_norm", name): (h,) for name in ("scale", "offset")}
    draw = np.random.RandomState(6)
    return {key: torch.from_numpy(draw.normal(scale=0.5, size=every[key]).astype(np.float32)) for key in sorted(every)}


def put(layer, weights, modules):
    """The weights of dm-clrs's modules, side by side, into one layer."""
    layer.weight.copy_(torch.cat([weights[module, "w"] for module in modules], dim=1).T)
    layer.bias.copy_(torch.cat([weights[module, "b"] for module in modules]))


def fill(network, probes, weights):
    lines = numbered(f"{PROCESSOR}/linear", 17)
    processor = network.process
    for layer, places in (
        (processor.of_nodes.map, (0, 1, 4, 14, 6, 7, 8)),
        (processor.of_edges.map, (2, 9, 10, 11)),
        (processor.of_graph.map, (3, 12)),
        (processor.of_triplets, (13,)),
        (processor.of_messages.map, (5, 15)),
        (processor.gate, (16,)),
    ):
        put(layer, weights, [lines[place] for place in places])
    for i, layer in enumerate((processor.first, processor.second)):
        put(layer, weights, [f"{PROCESSOR}/mlp/~/linear_{i}"])
    processor.norm.weight.copy_(weights[f"{PROCESSOR}/layer_norm", "scale"])
    processor.norm.bias.copy_(weights[f"{PROCESSOR}/layer_norm", "offset"])
    for stage, encoder in (("input", network.encode_inputs), ("hint", network.encode_hints)):
        for location, layer in encoder.maps.items():
            own = [
                name
                for p in probes
                if p.stage == stage and ("edge" if p.pointer else p.location) == location
                for name in numbered(f"{CODERS}{p.name}_enc_linear", channels(p) if p.pointer else 1)
            ]
            layer.weight.copy_(torch.cat([weights[name, "w"] for name in own]).T)
            layer.bias.copy_(sum(weights[name, "b"] for name in own))
    for stage, decoder in (("output", network.decode_outputs), ("hint", network.decode_hints)):
        parts = {"nodes": [], "edges": [], "graph": [], "most": []}
        for p in (p for p in probes if p.stage == stage):
            names = numbered(f"{CODERS}{p.name}_dec_linear", 5)
            if p.location == "graph":
                parts["most"].append(names[0])
                parts["graph"].append(names[1])
            elif p.location == "node":
                parts["nodes"] += names[: 2 if p.pointer else 1]
                parts["edges"] += names[2:3] if p.pointer else []
            else:
                parts["nodes"] += [names[0], names[1], *([names[3]] if p.pointer else [])]
                parts["edges"].append(names[2])
            if p.pointer:
                put(decoder.last[p.name], weights, [names[4 if p.location == "edge" else 3]])
        for part, names in parts.items():
            if names:
                put(getattr(decoder, f"of_{part}").map, weights, names)


@pytest.mark.parametrize("name", NAMES)
def test_the_network_computes_what_dm_clrs_computes_with_the_same_weights(kept, name):
    probes, given, arrays = answered(kept, name)
    width, triplets = TOLD["tiny"]["width"], TOLD["tiny"]["triplets"]
    network = Network(probes, F.relu, width, triplets).eval()
    with torch.no_grad():
        fill(network, probes, drawn_weights(probes, width, triplets))
        outputs, hints = network(given)
    for mine, wanted in ((outputs, logits(arrays, "network.output.")), (hints, logits(arrays, "network.hint."))):
        assert mine.keys() == wanted.keys()
        for key, value in wanted.items():
            torch.testing.assert_close(mine[key], value, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_losses_of_fixed_predictions_are_dm_clrs_own(kept, name):
    probes, true, arrays = answered(kept, name)
    outputs, hints = logits(arrays, "fixed.output."), logits(arrays, "fixed.hint.")
    told = TOLD["algorithms"][name]["answers"]
    mine = {
        f"loss.{p.stage}.{p.name}": output_loss(p, true.outputs[p.name], outputs[p.name])
        if p.stage == "output"
        else hint_loss(p, true.hints[p.name], hints[p.name], true.lengths)
        for p in probes
        if p.stage != "input"
    }
    assert mine.keys() == {key for key in told if key.startswith("loss.")}
    for key, value in mine.items():
        assert value.item() == pytest.approx(told[key], rel=1e-4, abs=1e-6), key
    assert loss(probes, true, outputs, hints).item() == pytest.approx(sum(told[key] for key in mine), rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_scores_of_fixed_predictions_are_dm_clrs_own(kept, name):
    probes, true, arrays = answered(kept, name)
    told = TOLD["algorithms"][name]["answers"]
    ends = [p for p in probes if p.stage == "output"]
    hard = {p.name: harden(p, logits(arrays, "fixed.output.")[p.name]) for p in ends}
    assert score(probes, true.outputs, hard) == pytest.approx(told["score.score"], abs=1e-6)
    for p in (p for p in ends if f"score.{p.name}" in told and p.type != "permutation_pointer"):
        mine = probe_score(p, true.outputs[p.name], hard[p.name])
        assert mine == pytest.approx(told[f"score.{p.name}"], abs=1e-6), p.name


@pytest.mark.parametrize("name", NAMES)
def test_hints_are_scored_by_type_as_dm_clrs_scores_them(kept, name):
    probes, true, arrays = answered(kept, name)
    told, fixed = TOLD["algorithms"][name]["answers"], logits(arrays, "fixed.hint.")
    for p in (p for p in probes if p.stage == "hint"):
        for step, wanted in enumerate(told[f"along.{p.name}"]):
            running = true.lengths > step + 1
            if running.any():
                hard = harden(p, fixed[p.name][step][running])
                mine = probe_score(p, true.hints[p.name][step + 1][running], hard)
                assert mine == pytest.approx(wanted, rel=1e-4, abs=1e-6, nan_ok=True), (p.name, step)


def test_the_answers_cover_every_type_at_every_place_where_clrs_30_has_it():
    seen = {(probe[1], probe[2], probe[3]) for told in TOLD["algorithms"].values() for probe in told["probes"]}
    assert len(NAMES) == 30
    assert {kind for _, _, kind in seen} == {
        "scalar", "mask", "mask_one", "categorical", "pointer", "permutation_pointer",
    }  # fmt: skip
    assert {("hint", "edge", "pointer"), ("output", "edge", "categorical"), ("output", "graph", "mask")} <= seen
    scores = [told["answers"]["score.score"] for told in TOLD["algorithms"].values()]
    assert sum(0.2 < value < 0.95 for value in scores) > 20  # most are neither all right nor all wrong


# --- worked examples ------------------------------------------------------------------------------


def test_packed_one_hot_vectors_come_back():
    probe = Probe("b", "output", "node", "categorical", 3)
    came = unpack(probe, np.array([[2, 0, -3, NOTHING]], dtype=np.int8), nodes=4)
    assert came.tolist() == [[[0, 0, 1], [1, 0, 0], [0, 0, -1], [0, 0, 0]]]


def test_f1_of_a_mask_by_hand():
    mask = Probe("m", "output", "node", "mask", 0)
    truth = torch.tensor([[1.0, 1.0, 0.0, 0.0, -1.0]])
    # One hit, one false alarm, one miss; the last does not count: precision 1/2, recall 1/2.
    assert probe_score(mask, truth, torch.tensor([[1.0, 0.0, 1.0, 0.0, 1.0]])) == 0.5
    assert probe_score(mask, torch.zeros(1, 3), torch.zeros(1, 3)) == 1.0
    assert probe_score(mask, torch.ones(1, 3), torch.zeros(1, 3)) == 0.0


def test_a_permutation_and_its_mask_are_one_score():
    probes = [
        Probe("pred", "output", "node", "permutation_pointer", 0),
        Probe("pred_mask", "output", "node", "mask_one", 0),
    ]
    truth = {"pred": torch.eye(3)[[2, 0, 1]][None], "pred_mask": torch.tensor([[1.0, 0.0, 0.0]])}
    # Pointers 0 (masked), 0, 1 are right; the masked node's own pointer does not matter.
    said = {"pred": torch.eye(3)[[1, 0, 0]][None], "pred_mask": torch.tensor([[1.0, 0.0, 0.0]])}
    assert score(probes, truth, said) == pytest.approx(2 / 3)


def test_the_maximum_over_triplets_and_its_gradient():
    draw = torch.Generator().manual_seed(0)
    a = torch.randn(5, 5, 2, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    b = torch.randn(5, 5, 2, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    laid_out = (a.unsqueeze(2) + b.unsqueeze(1)).amax(dim=0)
    torch.testing.assert_close(max_plus(a, b), laid_out)
    weights = torch.randn(5, 5, 2, 3, generator=draw, dtype=torch.float64)
    mine = torch.autograd.grad((max_plus(a, b) * weights).sum(), (a, b))
    wanted = torch.autograd.grad((laid_out * weights).sum(), (a, b))
    for left, right in zip(mine, wanted, strict=True):
        torch.testing.assert_close(left, right)


def test_of_equal_sums_the_first_counts_for_the_gradient():
    a, b = torch.tensor([[0.0, 0.0], [1.0, 1.0]], requires_grad=True), torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    # i = 0 gives 0 + 1 and i = 1 gives 1 + 0, at both k.
    assert torch.autograd.grad(max_plus(a, b).sum(), a)[0].tolist() == [[2.0, 2.0], [0.0, 0.0]]


def test_gradients_of_the_other_maxima_are_torchs_own_where_values_are_equal_too():
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randint(3, shape, generator=draw).double().requires_grad_() for shape in ((2, 4, 4, 3), (2, 1, 4, 3)))
    for mine, wanted, inputs in ((highest(x), x.amax(dim=1), (x,)), (larger(x, y), torch.maximum(x, y), (x, y))):
        assert torch.equal(mine, wanted)
        weights = torch.randn(mine.shape, generator=draw, dtype=torch.float64)
        gradients = (torch.autograd.grad((value * weights).sum(), inputs) for value in (mine, wanted))
        for left, right in zip(*gradients, strict=True):
            torch.testing.assert_close(left, right)


def test_features_of_edges_are_read_as_if_they_were_laid_out():
    draw = torch.Generator().manual_seed(0)
    parts = [
        [torch.randn(shape, generator=draw) for shape in ((2, 3, 3, count), (5, count), (5,))] for count in (2, 1, 0)
    ]
    laid_out = sum(columns @ weight.T + bias for columns, weight, bias in parts)
    reader = torch.nn.Linear(5, 4)
    one, two, three = (Edges(*part) for part in parts)
    torch.testing.assert_close((one + two + three).read(reader.weight, reader.bias), reader(laid_out))


def test_sinkhorn_gives_a_permutation_without_fixed_points():
    wanted = torch.tensor([2, 0, 1, 4, 5, 3])
    logits = F.one_hot(wanted, 6).float() + 2 * torch.eye(6)  # the diagonal is the likeliest, and forbidden
    matrix = log_sinkhorn(logits, 25).exp()
    torch.testing.assert_close(matrix.sum(dim=0), torch.ones(6), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(6), rtol=1e-3, atol=1e-3)
    assert matrix.argmax(dim=1).tolist() == wanted.tolist()


def test_random_positions_are_sorted_within_each_sequence():
    pos = np.array([[0, 0.25, 0.5, 0.75], [0, 0.5, 0, 0.5]], dtype=np.float32)
    samples = Samples((), {"input.pos": pos, "lengths": np.array([2, 2])})
    drawn = samples.random_positions(np.arange(2), np.random.default_rng(3))
    numbers = np.random.default_rng(3).random((2, 4)).astype(np.float32)
    np.testing.assert_array_equal(drawn[0], np.sort(numbers[0]))
    np.testing.assert_array_equal(drawn[1], [*np.sort(numbers[1, :2]), *np.sort(numbers[1, 2:])])


def test_soft_hints_are_probabilities():
    values = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    for kind in ("mask_one", "pointer"):
        soft = soften(Probe("p", "hint", "node", kind, 0), values)
        torch.testing.assert_close(soft.sum(dim=-1), torch.ones(2))
    torch.testing.assert_close(soften(Probe("p", "hint", "node", "mask", 0), values), torch.sigmoid(values))
    assert soften(Probe("p", "hint", "node", "scalar", 0), values) is values


# --- the activation -------------------------------------------------------------------------------


class Seen:
    """A function that notes what it sees."""

    def __init__(self, function=F.relu):
        self.function, self.shapes = function, []

    def __call__(self, x):
        self.shapes.append(tuple(x.shape))
        return self.function(x)


def tiny(split="train", samples=4, algorithm="bfs"):
    return load(DATA, algorithm)[split].first(samples)


def test_the_activation_sees_batch_nodes_features_in_five_places_a_step():
    samples, seen = tiny(), Seen()
    given = samples.batch(np.arange(4))
    Network(samples.probes, seen, width=6, triplets=3)(given)
    edges, nodes = (4, 16, 16, 6), (4, 16, 6)
    assert seen.shapes == [edges, edges, edges, nodes, nodes] * given.steps


def test_triplets_are_not_formed_where_no_decoder_reads_edges():
    samples, seen = tiny(algorithm="binary_search"), Seen()
    given = samples.batch(np.arange(4))
    Network(samples.probes, seen, width=6, triplets=3)(given)
    edges, nodes = (4, 16, 16, 6), (4, 16, 6)
    assert seen.shapes == [edges, edges, nodes, nodes] * given.steps


def test_no_other_relu_is_left(monkeypatch):
    samples = tiny()

    def refuse(*_, **__):
        raise AssertionError("wanted the activation that was given; came torch's ReLU")

    network = Network(samples.probes, torch.tanh, width=6, triplets=3)
    for owner, name in ((torch, "relu"), (F, "relu"), (torch.Tensor, "relu"), (torch.nn.ReLU, "forward")):
        monkeypatch.setattr(owner, name, refuse)
    network(samples.batch(np.arange(4)))


@pytest.mark.parametrize("place", range(5))
def test_swapping_the_activation_changes_each_place(place):
    class Swapped:
        def __init__(self):
            self.calls = -1

        def __call__(self, x):
            self.calls += 1
            return torch.sin(x) if self.calls == place else F.relu(x)

    def step(activation):
        torch.manual_seed(0)
        process, draw = Processor(activation, 6, 3), torch.Generator().manual_seed(1)
        shapes = ((2, 5, 6), (2, 5, 5, 3), (2, 6), (2, 5, 6))
        node, columns, graph, hidden = (torch.randn(shape, generator=draw) for shape in shapes)
        return process(node, Edges(columns, torch.eye(6, 3), torch.zeros(6)), graph, hidden)

    pairs = zip(step(F.relu), step(Swapped()), strict=True)
    assert any(not torch.equal(left, right) for left, right in pairs)


def test_a_function_that_sees_its_batch_sees_the_samples_on_axis_0():
    samples = tiny(samples=3)
    torch.manual_seed(0)
    network = Network(samples.probes, activations.REGISTRY["qfw"].function, width=6, triplets=3).eval()
    with torch.no_grad():
        together = network(samples.batch(np.arange(3)))[0]["pi"][:2]
        fewer = network(samples.batch(np.arange(2)))[0]["pi"]
        network.process.activation = activations.REGISTRY["gelu"].function
        alone = network(samples.batch(np.arange(3)))[0]["pi"][:2], network(samples.batch(np.arange(2)))[0]["pi"]
    assert not torch.allclose(together, fewer)
    torch.testing.assert_close(*alone)


# --- teacher forcing ------------------------------------------------------------------------------


def test_teacher_forcing_encodes_the_true_hints_in_training_alone():
    samples = tiny()
    given = samples.batch(np.arange(4))
    blind = replace(given, hints={name: value[:1] for name, value in given.hints.items()})
    torch.manual_seed(0)
    network = Network(samples.probes, F.relu, width=6, triplets=3, teacher_forcing=1.0)
    forced = network(given)[1]["pi_h"]
    network.eval()
    free = network(given)[1]["pi_h"]
    torch.testing.assert_close(forced[0], free[0])
    assert not torch.allclose(forced[1], free[1])
    torch.testing.assert_close(network(blind)[1]["pi_h"], free)  # later hints are not read


# --- the data -------------------------------------------------------------------------------------


def test_the_committed_samples_are_those_that_their_readme_describes():
    assert {config.algorithm for config in algorithms.LAPTOP} == set(ABOUT["algorithms"]) - {"activity_selector"}
    assert ABOUT["versions"]["dm-clrs"] == "2.0.3"
    for name, told in ABOUT["algorithms"].items():
        path = DATA / f"{name}.npz"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == told["sha256"]
        splits = load(DATA, name)
        assert {split: len(samples) for split, samples in splits.items()} == told["samples"]
        assert {split: samples.nodes for split, samples in splits.items()} == ABOUT["sizes"]
        assert {s: int(samples.arrays["lengths"].max()) - 1 for s, samples in splits.items()} == told["steps"]
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 3e6


def test_insertion_sort_samples_are_sorted_by_their_predecessors():
    samples = tiny("ood", 2, "insertion_sort")
    given = samples.batch(np.arange(2))
    for keys, perm, first in zip(given.inputs["key"], given.outputs["pred"], given.outputs["pred_mask"], strict=True):
        order = keys.argsort()
        before = perm.argmax(dim=-1)
        assert first.argmax() == order[0]
        assert before[order[1:]].tolist() == order[:-1].tolist()


def test_breadth_first_search_samples_point_to_a_neighbour():
    given = tiny("ood", 4).batch(np.arange(4))
    start = given.inputs["s"].argmax(dim=-1)
    for sample, parents in enumerate(given.outputs["pi"]):
        for node, parent in enumerate(parents.tolist()):
            assert node == parent or given.inputs["adj"][sample, parent, node] == 1
        assert parents[start[sample]] == start[sample]


def test_the_pins_of_the_sampler_are_exact():
    lines = (DATA / "pins.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][^ +]*", pin) for pin in pins)
    assert {"dm-clrs==2.0.3", *(f"{name}=={ABOUT['versions'][name]}" for name in ("jax", "numpy"))} <= set(pins)


def test_missing_data_is_one_line_that_says_how_to_get_it(tmp_path):
    with pytest.raises(MissingData) as error:
        algorithms.evaluate(F.relu, replace(SMOKE, folder=str(tmp_path)), np.random.default_rng(0))
    text = str(error.value)
    assert "\n" not in text
    assert all(part in text for part in (str(tmp_path), "bfs.npz", "README.json", "make clrs-all"))


def test_the_thirty_algorithms_are_listed_once_each():
    listed = [name for names in algorithms.CLRS_30.values() for name in names]
    assert sorted(listed) == sorted(NAMES)
    assert [config.algorithm for config in algorithms.PROFILES["paper"]] == listed
    laptop = {config.algorithm for config in algorithms.PROFILES["laptop"]}
    kinds = {kind for kind, names in algorithms.CLRS_30.items() if laptop & set(names)}
    assert (len(laptop), kinds) == (5, {"sorting", "searching", "graphs", "dynamic programming"})


# --- evaluate -------------------------------------------------------------------------------------


def run(function=F.relu, config=SMOKE, seed=0, **options):
    return algorithms.evaluate(function, config, np.random.default_rng(seed), progress=False, **options)


def test_records_have_the_shape_of_all_benchmarks():
    came = run()
    assert list(came.columns) == interface.COLUMNS
    assert (came.benchmark == "algorithms").all() and (came.data == "bfs").all() and (came.metric == "score").all()
    keys = came[["split", "shift", "severity", "evaluation"]].apply(tuple, axis=1).tolist()
    assert keys == [("validation", "", 0, "batches")] * 3 + [
        ("in-distribution", "", 0, "batches"),
        ("in-distribution", "", 0, "whole"),
        ("ood", "size", 64, "batches"),
        ("ood", "size", 64, "whole"),
    ]
    assert came.value.between(0, 1).all() and (came.outcome == "scored").all()
    best = came[came.split == "validation"].value.idxmax()
    assert (came[came.split != "validation"].epoch == best).all()


def test_the_same_seed_gives_the_same_records_and_another_others():
    assert run().equals(run())
    assert not run().value.equals(run(seed=1).value)


def test_functions_meet_the_same_weights_and_batches():
    weights, batches = [], []

    def noting(function):
        def fit(network, drawn, *rest):
            weights.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
            batches.append(torch.cat([batch.inputs["pos"] for batch in drawn(0, np.random.default_rng(5))]))
            return original(network, drawn, *rest)

        with pytest.MonkeyPatch.context() as patch:
            original = training.fit
            patch.setattr(training, "fit", fit)
            run(function)

    noting(F.relu)
    noting(torch.tanh)
    assert torch.equal(*weights) and torch.equal(*batches)


def test_a_run_killed_between_epochs_goes_on_to_the_same_records(tmp_path, monkeypatch):
    whole = run(checkpoint=tmp_path / "whole.pt")
    path, calls = tmp_path / "cut.pt", []
    original = algorithms.network_score

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(algorithms, "network_score", killed)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=path)
    monkeypatch.setattr(algorithms, "network_score", original)
    assert path.exists()
    assert run(checkpoint=path).equals(whole)


def test_divergence_is_an_outcome():
    came = run(lambda x: x * torch.nan)
    assert came.outcome.tolist() == ["diverged"] and came.value.isna().all()


def test_logits_that_overflow_at_the_larger_size_alone_are_an_outcome_of_that_test():
    came = run(lambda x: F.relu(x) * (torch.inf if x.shape[1] == 64 else 1.0))
    outcomes = came.groupby("split").outcome.unique().map(list).to_dict()
    assert outcomes == {"validation": ["scored"], "in-distribution": ["scored"], "ood": ["diverged"]}


def test_out_of_memory_is_an_outcome():
    def greedy(x):
        if x.ndim == 4:
            raise torch.OutOfMemoryError("no more")
        return F.relu(x)

    assert run(greedy).outcome.tolist() == ["OOM"]


def test_batches_and_the_whole_agree_for_a_pointwise_function_alone():
    config = replace(SMOKE, test=24, settings=replace(SMOKE.settings, epochs=1))
    pointwise = run(config=config)
    tests = pointwise[pointwise.split != "validation"].pivot(index="split", columns="evaluation", values="value")
    np.testing.assert_allclose(tests["batches"], tests["whole"], atol=1e-3)
    batchwise = run(lambda x: x - x.mean(dim=0), config=config)
    tests = batchwise[batchwise.split != "validation"].pivot(index="split", columns="evaluation", values="value")
    assert (tests["batches"] != tests["whole"]).any()


def test_training_beats_the_untrained_network_and_the_constant_answer():
    config = replace(SMOKE, train=256, width=16, settings=replace(SMOKE.settings, epochs=5))
    beaten = algorithms.baseline(config, networks=1)
    came = run(config=config)
    trained = came[(came.split == "in-distribution") & (came.evaluation == "batches")].value.item()
    assert beaten.keys() == {"constant", "untrained"}
    assert trained > 0.1 + max(scores["in-distribution"] for scores in beaten.values())


@pytest.mark.parametrize("name", sorted(ABOUT["algorithms"]))
def test_the_constant_answer_of_each_committed_algorithm_is_beatable(name):
    splits = load(DATA, name)
    (came,) = algorithms.constant(splits["train"].first(100), [splits["in-distribution"]])
    assert 0 <= came < 0.9


def test_the_constant_answer_is_the_best_of_its_kind():
    probes = (Probe("pos", "input", "node", "scalar", 0), Probe("pi", "output", "node", "pointer", 0))
    pos = np.tile(np.arange(3, dtype=np.float32), (2, 1))
    arrays = {"input.pos": pos, "lengths": np.array([2, 2]), "output.pi": np.array([[0, 0, 1], [0, 0, 1]], np.int8)}
    other = {**arrays, "output.pi": np.array([[0, 0, 2], [0, 1, 2]], np.int8)}
    # In training the neighbour before; of the other's six pointers it has three.
    assert algorithms.constant(Samples(probes, arrays), [Samples(probes, other)]) == [pytest.approx(0.5)]
