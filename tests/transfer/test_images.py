"""Pictures: models against known parameter counts, corruptions by hand, and small files in the real layouts."""

import gzip
import io
import itertools
import pickle
import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.overrides import TorchFunctionMode

from actlab import activations
from actlab.transfer import image_data, image_files, images, interface, training
from actlab.transfer.images import CIFAR_10, IMAGENET, LAPTOP, LAPTOP_RESNET, SMOKE
from actlab.transfer.interface import MissingData
from actlab.transfer.training import Settings

TINY = replace(
    SMOKE, train=200, validation=50, test=50, batch=20, blocks=(1, 1), shifts=("noise",), severities=(1, 3),
    settings=Settings(epochs=3, learning_rate=2e-2),
)  # fmt: skip


def evaluate(function=F.relu, config=TINY, seed=0, checkpoint=None):
    return images.evaluate(function, config, np.random.default_rng(seed), checkpoint, progress=False)


# Models


def parameters(config, channels=3):
    return sum(p.numel() for p in images.build(F.relu, config, channels).parameters())


def test_resnet_50_has_its_25_557_032_parameters():
    assert parameters(IMAGENET) == 25_557_032


def test_the_small_resnet_18_has_its_11_173_962_parameters():
    assert parameters(replace(CIFAR_10, model="resnet", blocks=(2, 2, 2, 2))) == 11_173_962


def test_vgg_16_has_the_parameters_of_its_convolutions_norms_and_one_linear_layer():
    sizes = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    convolutions = sum(9 * a * b for a, b in itertools.pairwise(sizes))
    assert parameters(CIFAR_10) == convolutions + 2 * sum(sizes[1:]) + 512 * 10 + 10 == 14_724_042


class Functions(TorchFunctionMode):
    """Counts the calls of torch's functions, by name."""

    def __init__(self):
        super().__init__()
        self.counts = {}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.counts[function.__name__] = self.counts.get(function.__name__, 0) + 1
        return function(*args, **(kwargs or {}))


PLACES = [
    (LAPTOP, 1, 4),  # one after each convolution
    (replace(CIFAR_10, width=2), 3, 13),
    (LAPTOP_RESNET, 1, 1 + 3 * 2),  # the stem, and two a block
    (replace(IMAGENET, width=2, side=32), 3, 1 + 16 * 3),  # the stem, and three a block
]


@pytest.mark.parametrize(("config", "channels", "places"), PLACES)
def test_the_function_stands_wherever_relu_stood(config, channels, places):
    x = torch.randn(2, channels, config.side, config.side)
    with Functions() as with_relu:
        images.build(F.relu, config, channels)(x)
    with Functions() as with_other:
        images.build(torch.sin, config, channels)(x)
    assert with_relu.counts["relu"] == places
    assert with_other.counts["sin"] == places
    others = {"relu", "relu_", "gelu", "silu", "leaky_relu", "tanh", "sigmoid"}
    assert others & with_other.counts.keys() == set()


@pytest.mark.parametrize(("config", "channels", "places"), PLACES)
def test_the_function_sees_batch_height_width_channels(config, channels, places):
    shapes = []

    def function(x):
        shapes.append(tuple(x.shape))
        return F.relu(x)

    model = images.build(function, config, channels)
    model(torch.randn(3, channels, config.side, config.side))
    assert len(shapes) == places
    assert {shape[0] for shape in shapes} == {3}
    assert all(shape[1] == shape[2] for shape in shapes)
    first = config.side // 2 if config.model == "resnet-50" else config.side
    assert shapes[0] == (3, first, first, config.width)


def test_all_models_start_from_the_same_weights_whatever_the_function():
    first, second = [], []
    for kept, function in ((first, F.relu), (second, torch.sin)):
        with training.seeded(5):
            kept.extend(images.build(function, LAPTOP, 1).parameters())
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_an_unknown_model_is_named():
    with pytest.raises(ValueError, match="wanted the model vgg, resnet or resnet-50; got 'vit'"):
        images.build(F.relu, replace(LAPTOP, model="vit"), 1)


# Evaluation


def test_records_have_a_validation_an_epoch_and_each_test_in_batches_and_as_a_whole():
    table = evaluate(config=replace(TINY, seed=4))
    assert table.columns.tolist() == interface.COLUMNS
    assert set(table["benchmark"]) == {"images"}
    assert set(table["data"]) == {"MNIST-5k"}
    assert set(table["seed"]) == {4}
    assert set(table["outcome"]) == {"scored"}
    rows = table[["split", "shift", "severity", "evaluation"]].values.tolist()
    assert rows[:3] == [["validation", "", 0, "batches"]] * 3
    assert rows[3:] == [
        ["in-distribution", "", 0, "batches"],
        ["in-distribution", "", 0, "whole"],
        ["ood", "noise", 1, "batches"],
        ["ood", "noise", 1, "whole"],
        ["ood", "noise", 3, "batches"],
        ["ood", "noise", 3, "whole"],
    ]
    validations = table["value"][:3].tolist()
    assert table["epoch"].tolist() == [0, 1, 2] + [validations.index(max(validations))] * 6


def test_a_pointwise_function_scores_alike_in_batches_and_as_a_whole():
    table = evaluate().query("split != 'validation'")
    batched, whole = (table.query("evaluation == @e")["value"].tolist() for e in ("batches", "whole"))
    assert batched == whole


def test_a_function_that_sees_its_batch_is_given_the_batches_of_training_and_the_whole_test_set():
    sizes = []

    def function(x):
        if not torch.is_grad_enabled():
            sizes.append(x.shape[0])
        return F.relu(x)

    evaluate(function, replace(TINY, blocks=(1,)))
    # 50 pictures of validation an epoch, and then of each test set, which also comes as a whole
    assert sizes == [20, 20, 10] * 3 + [20, 20, 10, 50] * 3


def test_the_same_seed_gives_the_same_records_and_another_one_others():
    first, second = evaluate(), evaluate()
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert evaluate(seed=1)["value"].tolist() != first["value"].tolist()


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_killed_run_goes_on_to_the_same_records(tmp_path, epoch):
    steps = []

    def killed(x):
        if torch.is_grad_enabled() and len(x) == TINY.batch:
            steps.append(1)
            if len(steps) == 2 * (10 * epoch + 1) + 1:  # two calls a step, ten steps an epoch: in its second step
                raise KeyboardInterrupt
        return F.relu(x)

    path = tmp_path / "relu.pt"
    with pytest.raises(KeyboardInterrupt):
        evaluate(killed, checkpoint=path)
    assert path.exists()
    pd.testing.assert_frame_equal(evaluate(checkpoint=path), evaluate(), check_exact=True)


def test_the_checkpoint_of_another_function_is_refused_and_the_folder_of_the_data_does_not_matter(tmp_path):
    path = tmp_path / "relu.pt"
    expected = evaluate(checkpoint=path)
    pd.testing.assert_frame_equal(evaluate(config=replace(TINY, folder="/elsewhere"), checkpoint=path), expected)
    with pytest.raises(ValueError, match="wanted a checkpoint of this function"):
        evaluate(torch.sin, checkpoint=path)


def test_divergence_is_a_row_and_not_an_error():
    table = evaluate(lambda x: x * torch.inf)
    assert table[["split", "outcome"]].values.tolist() == [["in-distribution", "diverged"]]
    assert table["value"].isna().all()


def test_running_out_of_memory_on_the_whole_test_set_leaves_the_batches_their_score():
    def hungry(x):
        return F.relu(x) if len(x) <= TINY.batch else x + torch.empty(2**50)  # 4 PiB

    table = evaluate(hungry).query("split != 'validation'")
    assert table.query("evaluation == 'batches'")["outcome"].tolist() == ["scored"] * 3
    whole = table.query("evaluation == 'whole'")
    assert whole["outcome"].tolist() == ["OOM"] * 3
    assert whole["value"].isna().all()


def test_running_out_of_memory_in_training_is_one_row():
    def hungry(x):
        return x + torch.empty(2**50) if x.dim() == 4 else x

    assert evaluate(hungry)[["split", "outcome"]].values.tolist() == [["in-distribution", "OOM"]]


def test_the_whole_test_set_is_left_out_where_so_configured():
    table = evaluate(config=replace(TINY, whole=False))
    assert set(table["evaluation"]) == {"batches"}


def test_accuracy_counts_a_picture_without_finite_logits_as_wrong():
    logits = torch.tensor([[2.0, 1.0], [1.0, 2.0], [torch.nan, 3.0], [3.0, torch.inf]])
    labels = torch.tensor([0, 0, 1, 1])
    loader = [(logits[:3], labels[:3]), (logits[3:], labels[3:])]
    assert images.accuracy(lambda x: x, lambda x: x, loader) == 1 / 4


def test_pixels_are_scaled_to_mean_0_and_variance_1_a_channel():
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, (50, 100, 250), size=(40, 8, 8, 3)).astype(np.uint8)
    pictures = image_files.Pictures.all(pixels, [0] * 40)
    config = replace(TINY, side=8)
    scaled = images.Scale(pictures, config)(image_data.tensor(pixels))
    assert scaled.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert scaled.std(dim=(0, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


def test_training_pictures_vary_from_epoch_to_epoch_and_seed_to_seed_where_they_are_augmented():
    pictures = image_files.mnist_5k()

    def read(seed):
        return images.Prepared(pictures, 28, seed).__getitems__([3, 700])[0]

    assert torch.equal(read(1), read(1))
    assert not torch.equal(read(1), read(2))
    assert not torch.equal(read(1), read(None))
    assert evaluate(config=replace(TINY, augment=True))["value"].tolist() != evaluate()["value"].tolist()


def test_readers_in_other_processes_read_the_same():
    pictures = image_files.mnist_5k()
    prepared, order = images.Prepared(pictures, 28, 7, "noise", 2), np.arange(0, 50)
    here, there = (list(images.batches(prepared, order, 20, workers)) for workers in (0, 1))
    assert [len(labels) for _, labels in here] == [20, 20, 10]
    for (a, a_labels), (b, b_labels) in zip(here, there, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a_labels, b_labels)


def test_the_smoke_run_of_relu_learns():
    table = evaluate(config=SMOKE).query("evaluation == 'batches'")
    assert table.query("split == 'in-distribution'")["value"].item() > 0.5


@pytest.mark.parametrize("config", [config for profile in images.PROFILES.values() for config in profile])
def test_each_profile_has_a_model_that_fits_its_pictures(config):
    model = images.build(F.relu, replace(config, width=2), 3).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, config.side, config.side)).shape == (1, image_files.CLASSES[config.data])


def test_a_baseline_is_what_scikit_learn_reaches_on_the_same_splits():
    from sklearn.svm import SVC

    splits = images.load(SMOKE)
    x, y = (splits.train.images[splits.train.places].reshape(300, -1) / 255, splits.train.targets)
    x_test = splits.test.images[splits.test.places].reshape(100, -1) / 255
    expected = float(np.mean(SVC(C=10.0).fit(x, y).predict(x_test) == splits.test.targets))
    found = images.baseline(SMOKE)
    assert found["SVC"] == pytest.approx(expected, abs=0.011)  # float32 there, float64 here
    assert 0.5 < found["logistic regression"] < 1


# Splits


def test_mnist_5k_is_split_into_3000_1000_and_1000_with_equal_classes():
    splits = images.load(LAPTOP)
    parts = (splits.train, splits.validation, splits.test)
    assert [np.bincount(part.targets).tolist() for part in parts] == [[300] * 10, [100] * 10, [100] * 10]
    assert len(np.unique(np.concatenate([part.places for part in parts]))) == 5000
    again, other = images.load(LAPTOP), images.load(replace(LAPTOP, split_seed=1))
    assert np.array_equal(again.test.places, splits.test.places)
    assert not np.array_equal(other.test.places, splits.test.places)


def test_a_smaller_training_set_is_a_part_of_no_other_split():
    splits = images.load(TINY)
    parts = (splits.train, splits.validation, splits.test)
    assert [len(part) for part in parts] == [200, 50, 50]
    assert len(np.unique(np.concatenate([part.places for part in parts]))) == 300


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=5, max_size=60), st.data())
def test_stratified_draws_are_disjoint_and_proportional(labels, data):
    labels = np.array(labels)
    size = data.draw(st.integers(0, len(labels)))
    drawn, rest = image_data.stratified(labels, (size,), 0)
    assert len(drawn) == size
    assert np.array_equal(np.sort(np.concatenate([drawn, rest])), np.arange(len(labels)))
    share = np.bincount(labels, minlength=5) * size / len(labels)
    assert (np.abs(np.bincount(labels[drawn], minlength=5) - share) < 1).all()


def test_too_few_pictures_are_an_error():
    with pytest.raises(ValueError, match="wanted at least 6000 pictures; came 4000"):
        images.load(replace(LAPTOP, validation=6000))


def test_an_unknown_data_set_is_named():
    with pytest.raises(ValueError, match=r"wanted a data set among MNIST-5k, .*; got 'SVHN'"):
        images.load(replace(LAPTOP, data="SVHN"))


# Corruptions


def ramp(side=28, channels=1, count=4):
    generator = np.random.default_rng(0)
    return torch.from_numpy(generator.random((count, channels, side, side))).float()


@pytest.mark.parametrize("shift", image_data.SHIFTS)
@pytest.mark.parametrize("severity", image_data.SEVERITIES)
def test_a_corruption_keeps_shape_and_range_and_hangs_on_the_place_alone(shift, severity):
    pictures = ramp(channels=3)
    together = image_data.corrupt(pictures, [4, 5, 6, 7], shift, severity)
    alone = [image_data.corrupt(pictures[k : k + 1], [4 + k], shift, severity) for k in range(4)]
    assert together.shape == pictures.shape
    assert together.dtype == torch.float32
    assert together.min() >= 0
    assert together.max() <= 1 + 1e-6
    torch.testing.assert_close(together, torch.cat(alone))
    assert not torch.allclose(together, pictures)


@pytest.mark.parametrize("shift", ["noise", "blur", "contrast"])
def test_a_higher_severity_is_further_from_the_picture(shift):
    digits = image_files.mnist_5k()
    pictures = image_data.tensor([digits.image(place) for place in range(0, 5000, 250)])
    far = [float((image_data.corrupt(pictures, range(20), shift, s) - pictures).square().mean()) for s in (1, 2, 3)]
    assert 0 < far[0] < far[1] < far[2]


def test_a_rotation_is_scipys():
    from scipy import ndimage

    picture = F.avg_pool2d(ramp(56, count=1), 2)
    for place, sign in ((0, 1), (1, -1)):
        ours = image_data.corrupt(picture, [place], "rotation", 2)[0, 0].numpy()
        theirs = ndimage.rotate(picture[0, 0].numpy(), sign * 30, reshape=False, order=1, prefilter=False)
        assert np.abs(ours - theirs)[6:-6, 6:-6].max() < 1e-4


def test_a_blur_is_scipys():
    from scipy import ndimage

    picture = ramp(28, count=1)
    ours = image_data.corrupt(picture, [0], "blur", 3)[0, 0].numpy()
    theirs = ndimage.gaussian_filter(picture[0, 0].numpy(), 0.05 * 28, mode="nearest", radius=5)
    assert np.abs(ours - theirs).max() < 1e-5


def test_a_move_shifts_pixels_and_brings_in_black():
    picture = torch.zeros(1, 1, 28, 28)
    picture[0, 0, 10, 12] = 1
    expected = {0: (10, 16), 1: (14, 16), 2: (14, 12), 5: (6, 8), 8: (10, 16)}  # 0.14 of 28 pixels: 4
    for place, target in expected.items():
        moved = image_data.corrupt(picture, [place], "translation", 2)
        assert torch.nonzero(moved[0, 0]).tolist() == [list(target)]
    full = image_data.corrupt(torch.ones(1, 1, 28, 28), [0], "translation", 2)
    assert (full[0, 0, :, :4] == 0).all()
    assert (full[0, 0, :, 4:] == 1).all()


def test_noise_has_its_deviation_and_lower_contrast_its_share():
    grey = torch.full((2, 3, 64, 64), 0.5)
    noise = image_data.corrupt(grey, [0, 1], "noise", 1) - grey
    assert float(noise.std()) == pytest.approx(0.05, rel=0.02)
    assert not torch.equal(noise[0], noise[1])
    pictures = ramp()
    lower = image_data.corrupt(pictures, range(4), "contrast", 3)
    deviation = pictures.std(dim=(1, 2, 3))
    torch.testing.assert_close(lower.std(dim=(1, 2, 3)), 0.4 * deviation)
    torch.testing.assert_close(lower.mean(dim=(1, 2, 3)), pictures.mean(dim=(1, 2, 3)))


@pytest.mark.parametrize(("shift", "severity"), [("fog", 1), ("noise", 0), ("noise", 4)])
def test_an_unknown_corruption_is_named(shift, severity):
    with pytest.raises(ValueError, match=f"got '{shift}' and {severity}"):
        image_data.corrupt(ramp(), range(4), shift, severity)


# Files in the real layouts


def idx(array):
    header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_fashion(folder, packed=False):
    """Fashion-MNIST with 40 training pictures and 20 of test; returns the training pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    kept = {}
    for names, count in zip(image_files.IDX.values(), (40, 20), strict=True):
        pixels, labels = generator.integers(0, 256, (count, 28, 28)), np.arange(count) % 10
        kept[count] = pixels
        for name, array in zip(names, (pixels, labels), strict=True):
            if packed:
                with gzip.open(folder / f"{name}.gz", "wb") as file:
                    file.write(idx(array))
            else:
                (folder / name).write_bytes(idx(array))
    return kept[40]


@pytest.mark.parametrize("packed", [False, True])
def test_fashion_mnist_is_read_from_its_idx_files(tmp_path, packed):
    pixels = write_fashion(tmp_path, packed)
    train, test = image_files.fashion_mnist(tmp_path)
    assert (len(train), len(test)) == (40, 20)
    assert np.array_equal(train.image(7)[..., 0], pixels[7])
    assert train.targets.tolist() == [k % 10 for k in range(40)]


@pytest.mark.parametrize("text", [b"", b"\0\0\x0d\1\0\0\0\1\0", b"\0\0\x08\1\0\0\0\2\0", b"\0\0\x08\1\0\0\0\1\0\0"])
def test_a_file_that_is_no_idx_file_of_bytes_is_refused(tmp_path, text):
    path = tmp_path / "x-ubyte"
    path.write_bytes(text)
    with pytest.raises(ValueError, match="x-ubyte: wanted"):
        image_files.read_idx(path, 1)


def string(text):
    return b"U" + bytes([len(text)]) + text  # SHORT_BINSTRING: a str of Python 2


def python_2_batch(pixels, labels):
    """A batch of CIFAR-10 as Python 2 and an old numpy pickled it, protocol 2, written opcode by opcode."""
    shape = b"K" + bytes([pixels.shape[0]]) + b"M" + struct.pack("<H", pixels.shape[1]) + b"\x86"
    dtype = (
        b"cnumpy\ndtype\n" + string(b"u1") + b"K\0K\1\x87R"
        + b"(K\3" + string(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\0tb"
    )  # fmt: skip
    data = pixels.astype(np.uint8).tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\0\x85" + string(b"b") + b"\x87R"
        + b"(K\1" + shape + dtype + b"\x89" + b"T" + struct.pack("<i", len(data)) + data + b"tb"
    )  # fmt: skip
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    entries = string(b"batch_label") + string(b"one") + string(b"labels") + listed + string(b"data") + array
    return b"\x80\2}(" + entries + b"u."


def cifar_pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3072)).astype(np.uint8)


def write_cifar(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate([*image_files.BATCHES, "test_batch"]):
        (folder / name).write_bytes(python_2_batch(cifar_pixels(20, k), [n % 10 for n in range(20)]))


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-py"])
def test_cifar_10_is_read_from_its_original_batches(tmp_path, inner):
    write_cifar(tmp_path / inner)
    train, test = image_files.cifar_10(tmp_path)
    assert (len(train), len(test)) == (100, 20)
    row = cifar_pixels(20, seed=1)[3]  # of the second batch: 1024 red, then green, then blue, row by row
    image = train.image(23)
    assert image.shape == (32, 32, 3)
    assert image[2, 5].tolist() == [row[2 * 32 + 5], row[1024 + 2 * 32 + 5], row[2048 + 2 * 32 + 5]]
    assert train.targets[23] == 3


def test_a_batch_that_python_3_wrote_is_read_too(tmp_path):
    path = tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps({b"data": cifar_pixels(4), b"labels": [3, 2, 1, 0]}, protocol=2))
    pixels, labels = image_files.read_cifar_batch(path)
    assert np.array_equal(pixels.transpose(0, 3, 1, 2).reshape(4, -1), cifar_pixels(4))
    assert labels.tolist() == [3, 2, 1, 0]


class Hostile:
    def __reduce__(self):
        return print, ("called",)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({b"data": Hostile()}, "came the global .*print"),
        ([1, 2], "wanted b'data' of uint8"),
        ({b"data": np.zeros((2, 3072))}, "wanted b'data' of uint8"),
    ],
)
def test_a_pickle_that_is_no_batch_is_refused_and_calls_nothing(tmp_path, capsys, batch, message):
    path = tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(ValueError, match=message):
        image_files.read_cifar_batch(path)
    assert capsys.readouterr().out == ""


def packed(pixels, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_parquet(path, column, pictures, labels, rows=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    struct_ = [{"bytes": packed(p), "path": f"{k}.png"} for k, p in enumerate(pictures)]
    pq.write_table(pa.table({column: struct_, "label": labels}), path, row_group_size=rows)


def colours(count, size=(32, 32), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3)).astype(np.uint8)


def test_cifar_10_is_read_from_parquet(tmp_path):
    write_parquet(tmp_path / "plain_text" / "train-00000-of-00002.parquet", "img", colours(7), [0, 1, 2, 3, 4, 5, 6])
    write_parquet(tmp_path / "plain_text" / "train-00001-of-00002.parquet", "img", colours(4, seed=1), [7, 8, 9, 0])
    write_parquet(tmp_path / "plain_text" / "test-00000-of-00001.parquet", "img", colours(2, seed=2), [1, 2])
    train, test = image_files.cifar_10(tmp_path)
    assert (len(train), len(test)) == (11, 2)
    for place in (9, 0, 6, 3):  # in and out of row groups and files
        expected = colours(7)[place] if place < 7 else colours(4, seed=1)[place - 7]
        assert np.array_equal(train.image(place), expected)
    assert train.targets.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]


def test_parquet_without_pictures_is_refused(tmp_path):
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "train-0-of-1.parquet")
    with pytest.raises(ValueError, match="wanted columns image"):
        image_files.ParquetImages("CIFAR-10", [tmp_path / "train-0-of-1.parquet"])


def write_folders(folder, held="val"):
    for split, count in (("train", 3), (held, 2)):
        for k, name in enumerate(("n01440764", "n01443537")):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.full((40 + 10 * k, 60, 3), 100 * k + 20 * number, np.uint8)
                (folder / split / name / f"{name}_{number}.JPEG").write_bytes(packed(pixels, "JPEG"))


@pytest.mark.parametrize("held", ["val", "validation"])
def test_imagenet_is_read_from_class_folders(tmp_path, held):
    write_folders(tmp_path, held)
    train, test = image_files.imagenet(tmp_path)
    assert train.targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert test.targets.tolist() == [0, 0, 1, 1]
    assert train.image(4).shape == (50, 60, 3)
    assert np.abs(train.image(4).astype(int) - 120).max() <= 2


def write_imagenet_parquet(folder):
    pictures = [np.full((40, 50, 3), 10 * k, np.uint8) for k in range(8)]
    write_parquet(folder / "data" / "train-00000-of-00001.parquet", "image", pictures[:5], [1, 0, 1, 0, 1], rows=2)
    write_parquet(folder / "data" / "validation-00000-of-00001.parquet", "image", pictures[5:], [0, 1, 0], rows=2)


def test_imagenet_is_read_from_parquet_and_unpacked_into_the_same_class_folders(tmp_path):
    write_imagenet_parquet(tmp_path)
    parquet = image_files.imagenet(tmp_path)
    command = [sys.executable, "-m", "actlab", "unpack", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "8 pictures\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "train", "val"]
    for before, after in zip(parquet, image_files.imagenet(tmp_path), strict=True):
        assert isinstance(after.images, image_files.ClassFolders)
        first, second = (sorted((p.targets[k], p.image(k)[0, 0, 0]) for k in range(len(p))) for p in (before, after))
        assert first == second
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 2
    assert "wanted no folders train and val; came train and val" in again.stderr


def test_imagenet_with_other_classes_in_its_two_splits_is_refused(tmp_path):
    write_folders(tmp_path)
    (tmp_path / "train" / "n02").mkdir()
    (tmp_path / "train" / "n02" / "a.png").write_bytes(packed(colours(1)[0]))
    with pytest.raises(ValueError, match="wanted the same classes in train and val; came n02 in one alone"):
        image_files.imagenet(tmp_path)


@pytest.mark.parametrize(
    ("data", "files"),
    [
        ("Fashion-MNIST", "train-images-idx3-ubyte(.gz)"),
        ("CIFAR-10", "data_batch_1"),
        ("ImageNet", "train/CLASS/*.JPEG"),
    ],
)
def test_a_missing_data_set_is_one_line_with_its_folder_and_files(tmp_path, data, files):
    config = replace(TINY, data=data, folder=str(tmp_path / "none"))
    for asked in (evaluate, lambda config: images.baseline(config)):
        with pytest.raises(MissingData) as caught:
            asked(config=config)
        message = str(caught.value)
        assert message.startswith(f"{data}: wanted ")
        assert files in message
        assert str(tmp_path / "none") in message
        assert "\n" not in message


def test_a_missing_file_among_others_is_named_alone(tmp_path):
    write_fashion(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(MissingData, match=r"wanted t10k-labels-idx1-ubyte\(\.gz\) in "):
        image_files.fashion_mnist(tmp_path)


@pytest.mark.parametrize("data", ["Fashion-MNIST", "CIFAR-10", "ImageNet"])
def test_every_data_set_goes_through_training_and_test(tmp_path, data):
    {"Fashion-MNIST": write_fashion, "CIFAR-10": write_cifar, "ImageNet": write_folders}[data](tmp_path)
    config = replace(
        TINY, data=data, folder=str(tmp_path), side={"Fashion-MNIST": 28}.get(data, 32), train=None, validation=2,
        test=None, batch=2, augment=True, model="resnet-50" if data == "ImageNet" else "vgg", shifts=("blur",),
        blocks=(1, 1), settings=Settings(epochs=1),
    )  # fmt: skip
    table = evaluate(config=config)
    assert set(table["outcome"]) == {"scored"}
    assert set(table["data"]) == {data}


# Pictures as tensors


def test_a_larger_picture_is_shrunk_to_eight_sevenths_and_its_middle_cut_out():
    picture = np.zeros((80, 160, 3), np.uint8)
    picture[:, 50:110] = 255  # the middle 60 of 160 columns: 30 of the 80 after shrinking to 40 x 80
    small = image_data.resized(picture, 35)
    assert small.shape == (35, 35, 3)
    assert (small[:, 4:-4] == 255).all()
    assert (small[:, :2] == 0).all()
    same = picture[:35, :35]
    assert image_data.resized(same, 35) is same


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([(32, 32), (40, 60), (100, 33), (20, 20)]))
def test_a_variant_has_the_asked_size_and_the_pictures_own_colours(seed, size):
    picture = np.full((*size, 3), 200, np.uint8)
    variant = image_data.augmented(picture, 32, np.random.default_rng(seed))
    assert variant.shape == (32, 32, 3)
    assert set(np.unique(variant)) <= {0, 200}
    assert (variant == 200).mean() > 0.5


def test_a_tensor_has_channels_first_and_goes_from_0_to_1():
    pixels = np.zeros((1, 2, 3, 3), np.uint8)
    pixels[0, 1, 2] = (255, 51, 0)
    shown = image_data.tensor(pixels)
    assert shown.shape == (1, 3, 2, 3)
    assert shown[0, :, 1, 2].tolist() == pytest.approx([1.0, 0.2, 0.0])


def test_functions_of_the_zoo_go_through_both_laptop_models():
    x = torch.randn(4, 1, 28, 28)
    for name in ("qfw", "fisg", "symmetric-phase-flipped", "turbulent", "quaternion", "pler"):
        for config in (LAPTOP, LAPTOP_RESNET):
            logits = images.build(activations.REGISTRY[name].function, replace(config, width=2), 1)(x)
            F.cross_entropy(logits, torch.arange(4)).backward()
            assert torch.isfinite(logits).all()
