"""Data that is damaged, doubled, incomplete or labelled otherwise is one line with the file, before anything trains."""

import gzip
import importlib.metadata
import json
import pickle
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actlab.__main__ import main
from actlab.core.files import Damaged, file_hash
from actlab.core.jobs import Runner
from actlab.transfer import algorithm_data, canary, canary_files, image_data, image_files, molecule_data, sweep
from actlab.transfer.interface import MissingData

DAMAGES = {
    "cut in the middle": lambda data: data[: len(data) // 2],
    "a few bytes short": lambda data: data[:-30],
    "empty": lambda data: b"",
    "null bytes": lambda data: bytes(len(data)),
    "HTML": lambda data: b"\n<!DOCTYPE html><html><body>404 Not Found</body></html>\n",
    "Git LFS": lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n",
    "AppleDouble": lambda data: b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(80),
}
SAID = {"empty": "an empty file", "null bytes": "null bytes", "HTML": "a page of HTML", "Git LFS": "git lfs pull",
        "AppleDouble": "AppleDouble"}  # fmt: skip


def pictures(data, folder):
    return image_data.load(data, folder, None, 4, None, 0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small data set of each kind, each in a folder of its own."""
    root = tmp_path_factory.mktemp("whole")
    canary_files.write(root)
    canary_files.imagenet(root / "cifar_parquet", test="test", heights=[14])
    canary_files.imagenet(root / "folders")
    image_files.unpack(root / "folders")
    for path in (root / "folders").glob("*.parquet"):
        path.unlink()
    lines = [",".join(["0"] * 784 + [str(k % 10)]) for k in range(5000)]
    (root / "mnist").mkdir()
    (root / "mnist" / "mnist_5k.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return root


LOADS = {
    "fashion_mnist": lambda folder: pictures("Fashion-MNIST", folder),
    "cifar_10": lambda folder: pictures("CIFAR-10", folder),
    "cifar_parquet": lambda folder: pictures("CIFAR-10", folder),
    "imagenet": lambda folder: pictures("ImageNet", folder),
    "folders": lambda folder: pictures("ImageNet", folder),
    "mnist": lambda folder: image_files.mnist_5k(),
    "b3db": molecule_data.read_b3db,
    "molhiv": molecule_data.read_molhiv,
    "clrs": lambda folder: [algorithm_data.load(folder, name) for name in canary_files.ALGORITHMS],
}
FILES = {
    "fashion_mnist": "train-images-idx3-ubyte train-labels-idx1-ubyte.gz t10k-images-idx3-ubyte",
    "cifar_10": "data_batch_3 test_batch",
    "cifar_parquet": "train-00000-of-00001.parquet test-00000-of-00001.parquet",
    "imagenet": "train-00000-of-00001.parquet validation-00000-of-00001.parquet",
    "folders": "train/0001/0000003.jpeg val/0000/0000004.jpeg",
    "mnist": "mnist_5k.csv.gz",
    "b3db": molecule_data.B3DB_FILE,
    "molhiv": " ".join(f"ogbg_molhiv/{name}" for name in molecule_data.MOLHIV_FILES[1:]),
    "clrs": "README.json nodes.npz",
}


@pytest.fixture
def copied(whole, tmp_path, monkeypatch):
    """Copies a data set, and says where it is; what was read before is forgotten."""

    def copy(name):
        for kept in (image_files.mnist_5k, molecule_data.read_b3db, molecule_data.read_molhiv):
            kept.cache_clear()
        shutil.copytree(whole / name, tmp_path / name, dirs_exist_ok=True)
        monkeypatch.setattr(image_files, "mnist_file", lambda: tmp_path / "mnist" / "mnist_5k.csv.gz")
        return tmp_path / name

    yield copy
    for kept in (image_files.mnist_5k, molecule_data.read_b3db, molecule_data.read_molhiv):
        kept.cache_clear()


def refused(load, folder, error=Damaged):
    with pytest.raises(error) as caught:
        load(folder)
    said = str(caught.value)
    assert "\n" not in said and "wanted " in said and "; came " in said and "at 0x" not in said
    return said


@pytest.mark.parametrize("name", LOADS)
def test_the_small_data_sets_are_read_where_nothing_is_damaged(copied, name):
    LOADS[name](copied(name))


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", LOADS)
def test_a_damaged_file_is_named_with_what_came(copied, name, how):
    folder = copied(name)
    for file in FILES[name].split():
        path = folder / file
        before = path.read_bytes()
        path.write_bytes(DAMAGES[how](before))
        said = refused(LOADS[name], folder)
        assert str(path) in said and SAID.get(how, "") in said
        path.write_bytes(before)
    copied(name)
    LOADS[name](folder)


@pytest.mark.parametrize("name", ["molhiv", "clrs", "mnist"])
def test_a_flipped_bit_is_found_where_files_carry_a_checksum(copied, name):
    folder = copied(name)
    for file in FILES[name].split():
        if file.endswith(".json"):
            continue
        path = folder / file
        before = path.read_bytes()
        for place in (len(before) - 6, len(before) - 2, *([] if path.suffix == ".gz" else [len(before) // 2])):
            path.write_bytes(before[:place] + bytes([before[place] ^ 16]) + before[place + 1 :])
            assert str(path) in refused(LOADS[name], folder)
        path.write_bytes(before)


def test_a_table_of_an_installed_package_is_as_it_was_installed(copied, monkeypatch):
    path = copied("b3db") / molecule_data.B3DB_FILE
    real = molecule_data.b3db_folder() / molecule_data.B3DB_FILE
    data = real.read_bytes().replace(b"CC", b"CN", 1)
    path.write_bytes(data)
    (listed,) = [file for file in importlib.metadata.files("qc-B3DB") if file.locate() == real]
    there = SimpleNamespace(hash=listed.hash, locate=lambda: path)
    monkeypatch.setattr(molecule_data.importlib.metadata, "files", lambda name: [there])
    assert "wanted the table as qc-B3DB installs it" in refused(LOADS["b3db"], path.parent)


def test_nothing_trains_on_damaged_data_and_no_record_is_written(copied, tmp_path, monkeypatch):
    folder = copied("cifar_10")
    job = canary.JOBS["resnet"]
    job = sweep.Job("images", "relu", sweep.replace(job.config, folder=str(folder)))
    (folder / "data_batch_2").write_bytes(b"<html>")
    monkeypatch.setattr(sweep, "run", lambda *given: pytest.fail("it trains"))
    kept = sweep.records(tmp_path / "records")
    with pytest.raises(Damaged, match=r"data_batch_2: wanted a batch of CIFAR-10; came a page of HTML"):
        sweep.compare([job], kept, tmp_path / "checkpoints", Runner(1))
    assert not (tmp_path / "records" / "jobs.csv").exists()


# --- class folders ---


def test_a_hidden_folder_an_empty_one_and_hidden_or_stray_pictures_are_refused_by_name(copied):
    folder = copied("folders")
    picture = (folder / "train/0000/0000000.jpeg").read_bytes()
    for name, came in {
        "train/.ipynb_checkpoints/0000000-checkpoint.jpeg": "(1 pictures): remove it",
        "val/.cache/a.png": "(1 pictures): remove it",
        "train/0002/notes.txt": "(0 pictures): remove it",
        "val/.ipynb_checkpoints/notes.txt": "(0 pictures): remove it",
        "train/0001/._0000001.jpeg": "came one that is hidden",
        "train/0000000.jpeg": "came one that is hidden or beside",
    }.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture)
        said = refused(LOADS["folders"], folder)
        assert came in said and str(path if "one" in came else path.parent) in said
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    (folder / "train/.DS_Store").write_bytes(b"x")  # neither a folder nor a picture
    assert len(pictures("ImageNet", folder).test) == 6


def test_more_folders_than_classes_and_one_folder_for_both_splits_are_refused(copied, monkeypatch):
    folder = copied("folders")
    monkeypatch.setitem(image_files.CLASSES, "ImageNet", 1)
    assert "wanted ImageNet's classes, 1 or fewer; came 2" in refused(LOADS["folders"], folder)
    monkeypatch.undo()
    shutil.rmtree(folder / "val")
    (folder / "val").symlink_to(folder / "train")
    assert "came the same folder" in refused(LOADS["folders"], folder)


# --- shards ---


@pytest.mark.parametrize("name", ["cifar_parquet", "imagenet"])
def test_shards_are_all_there_once_each(copied, name):
    folder = copied(name)
    train, other = folder / "train-00000-of-00001.parquet", folder / "copy" / "train-00000-of-00001.parquet"
    other.parent.mkdir()
    shutil.copy(train, other)
    said = refused(LOADS[name], folder)
    assert "once" in said and str(train) in said and str(other) in said
    other.rename(folder / "train-00001-of-00002.parquet")
    assert "wanted one of 1 files" in refused(LOADS[name], folder)
    train.rename(folder / "train-00000-of-00002.parquet")
    assert "came the same bytes" in refused(LOADS[name], folder)
    (folder / "train-00001-of-00002.parquet").unlink()
    assert "wanted train-00001-of-00002.parquet in " in refused(LOADS[name], folder, MissingData)
    (folder / "train-00000-of-00002.parquet").rename(folder / "train-first.parquet")
    assert "train-first.parquet: wanted a name as" in refused(LOADS[name], folder)


def test_a_file_that_is_there_under_two_names_and_a_lacking_batch_are_refused(copied):
    folder = copied("cifar_10")
    shutil.copy(folder / "data_batch_1", folder / "test_batch")
    assert "test_batch: wanted other pictures" in refused(LOADS["cifar_10"], folder)
    (folder / "data_batch_4").unlink()
    assert "wanted data_batch_4 in " in refused(LOADS["cifar_10"], folder, MissingData)
    folder = copied("fashion_mnist")
    for name in ("images-idx3-ubyte", "labels-idx1-ubyte.gz"):
        shutil.copy(folder / f"train-{name}", folder / f"t10k-{name}")
    assert "came the same bytes" in refused(LOADS["fashion_mnist"], folder)


# --- labels ---

LABELS = [
    [-1, 0],
    [None, 1],
    [1, 10],
    [26, 1],
    ["cat", "dog"],
    [0.5, 1.0],
    [float("nan"), 0.0],
    [True, False],
    [[0], [1]],
]


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("name", ["cifar_parquet", "imagenet"])
def test_labels_of_parquet_that_are_no_classes_are_refused_with_the_file(copied, name, labels):
    folder = copied(name)
    path = folder / "train-00000-of-00001.parquet"
    rows = pq.read_table(path)
    labels = [1000 if label == 26 else 1001 if label == 10 else label for label in labels]
    pq.write_table(rows.set_column(1, "label", pa.array(labels * (len(rows) // 2))), path)
    assert f"{path}: wanted labels of" in refused(LOADS[name], folder)


@pytest.mark.parametrize("labels", [*LABELS, [0], None])
def test_labels_of_a_batch_that_are_no_classes_are_refused_with_the_file(copied, labels):
    folder = copied("cifar_10")
    path = folder / "data_batch_5"
    batch = pickle.loads(path.read_bytes())
    batch[b"labels"] = labels if labels in (None, [0]) else labels * 2
    path.write_bytes(pickle.dumps(batch, protocol=2))
    said = refused(LOADS["cifar_10"], folder)
    assert str(path) in said and "label" in said
    del batch[b"labels"]
    path.write_bytes(pickle.dumps(batch, protocol=2))
    assert str(path) in refused(LOADS["cifar_10"], folder)


def test_labels_of_idx_files_and_of_mnist_5k_that_are_no_classes_are_refused_with_the_file(copied):
    folder = copied("fashion_mnist")
    path = folder / "train-labels-idx1-ubyte.gz"
    for labels, came in ((np.arange(40) % 26 + 1, "came 10"), (np.arange(39) % 10, "wanted a label for each of 40")):
        path.write_bytes(gzip.compress(canary_files._idx(labels.astype(np.uint8))))
        assert came in (said := refused(LOADS["fashion_mnist"], folder)) and str(path) in said
    copied("fashion_mnist")
    (folder / "t10k-labels-idx1-ubyte").write_bytes((folder / "t10k-images-idx3-ubyte").read_bytes() + b"x")
    assert "with 1 axes" in refused(LOADS["fashion_mnist"], folder)
    folder = copied("mnist")
    lines = [",".join(["0"] * 784 + [str(k % 11)]) for k in range(5000)]
    for text, came in (("\n".join(lines), "came 10"), ("\n".join(lines[:10]), "came an array of shape (10, 785)")):
        (folder / "mnist_5k.csv.gz").write_bytes(gzip.compress(text.encode()))
        assert came in refused(LOADS["mnist"], folder)


@pytest.mark.parametrize("row", ["CCO\t1", "CCO\t", "\tBBB+", "CCO\tbbb+", "CCO"])
def test_a_row_of_b3db_without_a_molecule_or_a_known_label_is_refused(copied, row):
    folder = copied("b3db")
    path = folder / molecule_data.B3DB_FILE
    path.write_text(path.read_text() + row + "\n")
    assert f"{path}: wanted a SMILES and BBB+ or BBB-" in refused(LOADS["b3db"], folder)


def test_pictures_of_two_sizes_and_rows_without_one_are_refused_by_their_row(copied):
    folder = copied("cifar_parquet")
    path = folder / "train-00000-of-00001.parquet"
    rows = pq.read_table(path)
    other = pq.read_table(copied("imagenet") / path.name)
    pq.write_table(pa.concat_tables([rows, other]), path, row_group_size=5)
    assert f"{path}, row 2 of row group 2: wanted a picture of" in refused(LOADS["cifar_parquet"], folder)
    for lacking in (None, {"bytes": None}, {"bytes": b"GIF89a"}):
        packed = [*rows["image"].to_pylist()[:7], lacking, *rows["image"].to_pylist()[8:]]
        pq.write_table(pa.table({"image": packed, "label": rows["label"]}), path, row_group_size=5)
        assert f"{path}, row 2 of row group 1: wanted a JPEG or PNG" in refused(LOADS["cifar_parquet"], folder)


# --- molhiv ---


def rewrite(path, change):
    rows = [line.split(",") for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    change(rows)
    path.write_bytes(gzip.compress("".join(",".join(map(str, row)) + "\n" for row in rows).encode()))


CHANGES = {
    "a label of 2": ("raw/graph-label", lambda rows: rows[3].__setitem__(0, 2)),
    "an empty label": ("raw/graph-label", lambda rows: rows[3].__setitem__(0, "nan")),
    "a label less": ("raw/graph-label", lambda rows: rows.pop()),
    "an atom's feature": ("raw/node-feat", lambda rows: rows[0].__setitem__(2, 99)),
    "an atom less": ("raw/node-feat", lambda rows: rows.pop()),
    "an end in another molecule": ("raw/edge", lambda rows: rows[0].__setitem__(1, 7)),
    "a bond's feature": ("raw/edge-feat", lambda rows: rows[0].__setitem__(0, -1)),
    "a molecule without atoms": ("raw/num-node-list", lambda rows: rows[0].__setitem__(0, 0)),
    "a molecule that is none": ("split/scaffold/test", lambda rows: rows[0].__setitem__(0, 30)),
    "a text less": ("mapping/mol", lambda rows: rows.pop()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_tables_of_molhiv_that_hold_something_else_are_refused_with_the_file(copied, change):
    folder = copied("molhiv")
    name, how = CHANGES[change]
    path = folder / "ogbg_molhiv" / f"{name}.csv.gz"
    rewrite(path, how)
    said = refused(LOADS["molhiv"], folder)
    assert "ogbg_molhiv" in said and (change.endswith("label less") or str(path) in said)


def test_a_molecule_in_two_parts_and_what_ogb_made_of_other_files_are_refused(copied):
    folder = copied("molhiv")
    rewrite(folder / "ogbg_molhiv/split/scaffold/test.csv.gz", lambda rows: rows.append([0]))
    assert "wanted each molecule in one part" in refused(LOADS["molhiv"], folder)
    folder = copied("molhiv")
    LOADS["molhiv"](folder)
    molecule_data.read_molhiv.cache_clear()
    rewrite(folder / "ogbg_molhiv/raw/graph-label.csv.gz", lambda rows: rows.reverse())
    assert "processed: wanted what ogb makes of" in refused(LOADS["molhiv"], folder)
    folder = copied("molhiv")
    (made,) = (folder / "ogbg_molhiv/processed").glob("geometric*.pt")
    made.write_bytes(made.read_bytes()[:100])
    assert "processed: wanted what ogb makes of the raw files: remove" in refused(LOADS["molhiv"], folder)


# --- CLRS ---


def change_array(folder, name, split, array, change):
    """Changes an array of an algorithm's file, whose hash README.json then has."""
    path = folder / f"{name}.npz"
    arrays = dict(np.load(path))
    if change is None:
        del arrays[f"{split}/{array}"]
    else:
        arrays[f"{split}/{array}"] = change(arrays[f"{split}/{array}"].copy())
    np.savez(path, **arrays)
    about = json.loads((folder / "README.json").read_text())
    about["algorithms"][name]["sha256"] = file_hash(path)
    (folder / "README.json").write_text(json.dumps(about))


def put(value):
    def change(array):
        array.flat[0] = value
        return array

    return change


ARRAYS = {
    "a length of 0": ("train", "lengths", put(0)), "a length beyond the hints": ("train", "lengths", put(9)),
    "a mask of 2": ("ood", "output.mask", put(2)), "a pointer to no node": ("ood", "output.pointer", put(6)),
    "a pointer of -1": ("validation", "input.order", put(-1)), "a class too many": ("train", "input.kind", put(3)),
    "a class too few": ("ood", "output.graph", put(-4)), "a node too many": ("ood", "output.one_node", put(6)),
    "no number": ("train", "input.weight", put(np.nan)), "a node less": ("train", "input.weight", lambda a: a[:, 1:]),
    "an array less": ("train", "hint.hint_way", None), "samples less": ("ood", "output.scalar", lambda a: a[1:]),
}  # fmt: skip


@pytest.mark.parametrize("what", ARRAYS)
def test_samples_that_their_probes_do_not_allow_are_refused_with_file_and_split(copied, what):
    folder = copied("clrs")
    split, array, change = ARRAYS[what]
    change_array(folder, "kinds", split, array, change)
    said = refused(LOADS["clrs"], folder)
    assert said.startswith(f"{folder / 'kinds.npz'}, {split}: wanted ")


# --- the command line ---


def test_unpacking_damaged_parquet_leaves_nothing_behind_and_is_one_line(copied, capsys):
    folder = copied("imagenet")
    path = folder / "validation-00000-of-00001.parquet"
    rows = pq.read_table(path)
    packed = [*rows["image"].to_pylist()[:4], {"bytes": rows["image"][4].as_py()["bytes"][:200]}, None]
    pq.write_table(pa.table({"image": packed, "label": rows["label"]}), path)
    before = sorted(folder.iterdir())
    assert main(["unpack", str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"actlab unpack: {path}, row 4 of row group 0: wanted a JPEG") and said.count("\n") == 1
    assert sorted(folder.iterdir()) == before
