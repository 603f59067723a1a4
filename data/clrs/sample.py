"""Samples CLRS-30 with dm-clrs, and asks dm-clrs for the answers that our network, losses and scores are held against.

`make clrs-data` runs this file as a script in an environment of its own: dm-clrs brings TensorFlow and JAX, 2.9 GB.
It imports nothing of actlab; `actlab.transfer.algorithm_data` reads what it writes. Sizes and counts of samples are
CLRS-30's own but where `README.json` says otherwise, and a split's samples are the first of those that dm-clrs draws
from that seed. Seeds 1 (train), 2 (validation) and 3 (OOD) are CLRS-30's; 4 (in-distribution test) is ours.

An array of a trajectory is kept as small as its type allows; `pack` says how.
"""

import argparse
import hashlib
import json
import logging
import os
import re
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import clrs
import jax
import numpy as np
from clrs._src import decoders, losses, specs
from clrs._src.baselines import BaselineModel

SIZE, OOD_SIZE = 16, 64
SPLITS = {"train": (SIZE, 1), "validation": (SIZE, 2), "in-distribution": (SIZE, 4), "ood": (OOD_SIZE, 3)}
# Those whose `pred_h` never changes, so that it is an input: the list of dm-clrs's own example.
PRED_AS_INPUT = (
    "activity_selector",
    "binary_search",
    "find_maximum_subarray",
    "find_maximum_subarray_kadane",
    "jarvis_march",
    "kmp_matcher",
    "lcs_length",
    "matrix_chain_order",
    "minimum",
    "naive_string_matcher",
    "optimal_bst",
    "task_scheduling",
)
ONE_HOT = (specs.Type.MASK_ONE, specs.Type.CATEGORICAL, specs.Type.PERMUTATION_POINTER)
NOTHING = -128  # in the place of a one-hot vector: all zeros, as hints are after a trajectory's end
TINY = {"size": 5, "samples": 3, "width": 4, "triplets": 3}  # of the networks that answer for the tests


def sample(algorithm: str, samples: int, size: int, seed: int):
    """dm-clrs's specification and trajectories, prepared as its own example does (predecessors, permutations)."""
    sampler, spec = clrs.build_sampler(algorithm, num_samples=samples, length=size, seed=seed)
    iterator = iter([sampler.next()])
    if algorithm in PRED_AS_INPUT:
        spec, iterator = clrs.process_pred_as_input(spec, iterator)
    spec, iterator = clrs.process_permutations(spec, iterator, True)
    return spec, next(iterator)


def pack(point) -> np.ndarray:
    """A data point, small: float32 of scalars, int8 of the rest.

    Of a one-hot vector it is the place of the 1 (of a -1: minus one minus the place), or `NOTHING`.
    """
    data = np.asarray(point.data)
    if point.type_ == specs.Type.SCALAR:
        return data.astype(np.float32)
    if point.type_ in ONE_HOT:
        place = np.abs(data).argmax(-1)
        sign = np.take_along_axis(data, place[..., None], -1)[..., 0]
        if (np.abs(data).sum(-1) > 1).any() or place.max() > 126:
            raise ValueError(f"{point.name}: wanted one-hot vectors of at most 127; came others")
        data = np.select([sign > 0, sign < 0], [place, -1 - place], NOTHING)
    if not (data == data.astype(np.int8)).all():
        raise ValueError(f"{point.name}: wanted whole numbers of a byte; came others")
    return data.astype(np.int8)


def arrays(feedback, hints: bool) -> dict[str, np.ndarray]:
    """The packed arrays of trajectories by stage and name; without `hints`, of these the first step alone."""
    features = feedback.features
    packed = {"lengths": np.asarray(features.lengths).astype(np.int16)}
    packed |= {f"input.{point.name}": pack(point) for point in features.inputs}
    packed |= {f"output.{point.name}": pack(point) for point in feedback.outputs}
    packed |= {f"hint.{point.name}": pack(point)[: None if hints else 1] for point in features.hints}
    return packed


def describe(spec, feedback) -> list[list]:
    """Name, stage, location, type and, of a categorical, number of classes of each probe."""
    classes = {point.name: int(np.asarray(point.data).shape[-1]) for point in points(feedback)}
    return [
        [name, stage, location, kind, classes[name] if kind == specs.Type.CATEGORICAL else 0]
        for name, (stage, location, kind) in spec.items()
    ]


def points(feedback) -> list:
    """All data points of trajectories."""
    return [*feedback.features.inputs, *feedback.features.hints, *feedback.outputs]


def dataset(folder: Path, algorithm: str, counts: dict[str, int]) -> dict:
    """Samples an algorithm into `folder` and returns what `README.json` says of it."""
    kept = {}
    for split, (size, seed) in SPLITS.items():
        spec, feedback = sample(algorithm, counts[split], size, seed)
        kept |= {f"{split}/{name}": array for name, array in arrays(feedback, split == "train").items()}
    path = folder / f"{algorithm}.npz"
    np.savez_compressed(path, **kept)
    return {
        "samples": counts,
        "steps": {split: int(kept[f"{split}/lengths"].max()) - 1 for split in SPLITS},
        "probes": describe(spec, feedback),
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def answers(algorithm: str) -> tuple[dict[str, np.ndarray], dict]:
    """What dm-clrs says of tiny trajectories: a network's predictions, and scores and losses of fixed predictions.

    The network is dm-clrs's triplet network with gates. Its weights are drawn in the alphabetical order of its
    parameters, so that they need not be kept. The fixed predictions are noise with the truth added.
    """
    spec, feedback = sample(algorithm, TINY["samples"], TINY["size"], seed=5)
    kept, scores = arrays(feedback, hints=True), {}
    model = BaselineModel(
        spec,
        feedback,
        clrs.get_processor_factory("triplet_gmpnn", use_ln=True, nb_triplet_fts=TINY["triplets"], nb_heads=1),
        hidden_dim=TINY["width"],
        encode_hints=True,
        decode_hints=True,
        encoder_init="xavier_on_scalars",
    )
    fixed_arguments = {"repred": True, "return_hints": True, "return_all_outputs": False, "algorithm_index": 0}
    key = jax.random.PRNGKey(0)
    wanted = jax.eval_shape(partial(model.net_fn.init, **fixed_arguments), key, [feedback.features])
    draw = np.random.RandomState(6)
    parameters = {module: {} for module in wanted}
    for module, name in sorted((module, name) for module, own in wanted.items() for name in own):
        drawn = draw.normal(scale=0.5, size=wanted[module][name].shape)
        parameters[module][name] = drawn.astype(np.float32)
    outputs, hints = model.net_fn.apply(parameters, key, [feedback.features], **fixed_arguments)
    kept |= {f"network.output.{name}": np.asarray(value, np.float32) for name, value in outputs.items()}
    kept |= {f"network.hint.{name}": np.stack([step[name] for step in hints]).astype(np.float32) for name in hints[0]}

    lengths, nodes = feedback.features.lengths, np.asarray(feedback.features.inputs[0].data).shape[1]
    fixed = {point.name: guess(point, nodes, draw) for point in feedback.outputs}
    # As jax's arrays: dm-clrs divides numpy's in place.
    given = {name: jax.numpy.asarray(value) for name, value in fixed.items()}
    hard = decoders.postprocess(spec, given, sinkhorn_temperature=0.1, sinkhorn_steps=25, hard=True)
    scores |= {f"score.{name}": float(value) for name, value in clrs.evaluate(feedback.outputs, hard).items()}
    for point in feedback.outputs:
        kept[f"fixed.output.{point.name}"] = fixed[point.name]
        scores[f"loss.output.{point.name}"] = float(losses.output_loss(point, fixed[point.name], nodes))
    steps = {point.name: guess(point, nodes, draw)[1:] for point in feedback.features.hints}
    for point in feedback.features.hints:
        kept[f"fixed.hint.{point.name}"] = steps[point.name]
        value = losses.hint_loss(point, list(steps[point.name]), lengths, nodes)
        scores[f"loss.hint.{point.name}"] = float(value)
    kept_hard = [
        decoders.postprocess(spec, dict(zip(steps, values, strict=True)), 0.1, 25, True)
        for values in zip(*steps.values(), strict=True)
    ]
    evaluated = clrs.evaluate_hints(feedback.features.hints, lengths, kept_hard)
    for name in steps:
        scores[f"along.{name}"] = [float(value) for value in evaluated[f"{name}_along_time"]]
    return kept, {"probes": describe(spec, feedback), "nodes": nodes, "answers": scores}


def guess(point, nodes: int, draw: np.random.RandomState) -> np.ndarray:
    """Logits near the truth; those of permutations so small that Sinkhorn's operator meets no ties."""
    truth = np.asarray(point.data).astype(np.float32)
    if point.type_ == specs.Type.POINTER:
        truth = np.eye(nodes, dtype=np.float32)[truth.astype(int)]
    noise = draw.normal(size=truth.shape)
    if point.type_ == specs.Type.MASK:
        truth = 2 * truth - 1
    scale = 0.1 if point.type_ == specs.Type.PERMUTATION_POINTER else 1.0
    return (scale * (1.5 * truth + noise)).astype(np.float32)


def counts(algorithm: str, test: int | None, train: int | None) -> dict[str, int]:
    """How many samples of each split: CLRS-30's own number, or at most `train` and `test`."""
    many = clrs.CLRS_30_ALGS_SETTINGS[algorithm]["num_samples_multiplier"]
    official = {"train": clrs.CLRS30["train"]["num_samples"], "test": clrs.CLRS30["test"]["num_samples"] * many}
    judged = min(official["test"], test or official["test"])
    trained = min(official["train"], train or official["train"])
    return {"train": trained, "validation": judged, "in-distribution": judged, "ood": judged}


def main(arguments: list[str]) -> None:
    """Writes the data of the algorithms named, or the answers for the tests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--data", type=Path, help="write trajectories into this folder")
    wanted.add_argument("--answers", type=Path, help="write dm-clrs's answers for the tests to this file (.npz)")
    parser.add_argument("--algorithms", default="all", help="separated by commas; all: the 30 of CLRS-30")
    parser.add_argument("--train", type=int, help="at most so many training samples")
    parser.add_argument("--test", type=int, help="at most so many samples of each other split")
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    names = specs.CLRS_30_ALGS if options.algorithms == "all" else options.algorithms.split(",")
    unknown = sorted(set(names) - set(specs.CLRS_30_ALGS))
    if unknown:
        parser.error(f"wanted algorithms of CLRS-30; got {', '.join(unknown)}")
    about = {"versions": {name: version(name) for name in ("dm-clrs", "jax", "numpy")}, "algorithms": {}}
    if options.answers is not None:
        write_answers(options.answers, names, about)
        return
    about["source"] = "sampled with dm-clrs, Apache License 2.0"
    about["command"] = " ".join(
        ["python data/clrs/sample.py --data FOLDER"]
        + [f"--{key} {getattr(options, key)}" for key in ("algorithms", "train", "test") if getattr(options, key)]
    )
    about["sizes"] = {split: size for split, (size, _) in SPLITS.items()}
    about["seeds"] = {split: seed for split, (_, seed) in SPLITS.items()}
    options.data.mkdir(parents=True, exist_ok=True)
    for name in names:
        about["algorithms"][name] = dataset(options.data, name, counts(name, options.test, options.train))
        print(f"{name}: {about['algorithms'][name]['bytes']} bytes", flush=True)
        write_json(options.data / "README.json", about)


def write_answers(path: Path, names: list[str], about: dict) -> None:
    """Asks dm-clrs about tiny trajectories of each algorithm: arrays into `path`, the rest into JSON beside it."""
    kept = {}
    for name in names:
        own, about["algorithms"][name] = answers(name)
        kept |= {f"{name}/{key}": value for key, value in own.items()}
        jax.clear_caches()  # else what was compiled grows to several GB
        print(f"{name}: answered", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **kept)
    write_json(path.with_suffix(".json"), {**about, "tiny": TINY})


def write_json(path: Path, content: dict) -> None:
    """Readable JSON: a line for each list and number that stands in a dict."""
    text = json.dumps(content, indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda match: " ".join(match[0].split()), text)  # a list of plain values: one line
    path.write_text(re.sub(r"\[ | \]", lambda match: match[0].strip(), text) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
