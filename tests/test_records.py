import json

import pandas as pd
import pytest

from actlab import records
from actlab.config import PROFILES, LabConfig, profile
from actlab.records import Shelf, Store, code_hash, key


def test_laptop_figures_are_the_committed_ones_and_all_others_go_to_the_build_folder():
    folders = {name: records.figures_folder(name).relative_to(records.ROOT).as_posix() for name in PROFILES}
    assert folders == {"laptop": "figures", "smoke": "build/smoke/figures", "paper": "build/paper/figures"}


def test_a_key_changes_with_every_part_of_the_description():
    whole = {"lab": LabConfig(), "seed": 0}
    keys = {key(whole), key(whole | {"lab": LabConfig(steps=5)}), key(whole | {"seed": 1})}
    assert len(keys) == 3
    assert key({"seed": 0, "lab": LabConfig()}) in keys


def test_a_key_changes_with_the_versions_that_run(monkeypatch):
    before = key({"seed": 0})
    monkeypatch.setattr(records, "versions", lambda: {"python": "4.0"})
    assert key({"seed": 0}) != before


def test_a_description_that_is_no_plain_data_is_refused():
    with pytest.raises(TypeError, match="wanted numbers, strings, lists, dicts or dataclasses"):
        key({"function": print})


def test_the_hash_of_code_changes_when_a_module_is_edited(monkeypatch):
    before = code_hash("lab", "stats")
    assert code_hash("stats", "lab") == before
    monkeypatch.setitem(records.SOURCES, "stats", b"edited")
    assert code_hash("lab", "stats") != before
    with pytest.raises(ValueError, match="wanted modules of actlab; got 'labs'"):
        code_hash("labs")


ABOUT = {"seed": 0, "lab": LabConfig()}


def test_a_table_comes_back_to_the_bit_with_its_provenance_beside_it(tmp_path):
    table = pd.DataFrame({"family": ["a", "b"], "mse": [0.1 + 0.2, 1e-300]})
    store = Store(tmp_path)
    assert store.load(ABOUT) is None
    store.save(ABOUT, table)
    pd.testing.assert_frame_equal(store.load(ABOUT), table, check_exact=True)
    (beside,) = tmp_path.rglob("*.json")
    provenance = json.loads(beside.read_text())
    assert provenance["lab"]["steps"] == LabConfig().steps
    assert provenance.keys() == {"seed", "lab", "versions", "commit"}
    assert provenance["versions"].keys() == {"python", "torch", "numpy", "scipy"}


def test_what_is_kept_is_not_computed_again(tmp_path):
    store, calls = Store(tmp_path), []
    for _ in range(2):
        store.get(ABOUT, lambda: calls.append(1) or pd.DataFrame({"mse": [1.0]}))
    assert calls == [1]


def test_a_shelf_gives_each_table_for_what_made_it_in_float32_whatever_the_versions(tmp_path, monkeypatch):
    tables = [pd.DataFrame({"family": ["a", "b"], "mse": [0.1, 1e-30]}), pd.DataFrame({"family": ["c"], "mse": [3.0]})]
    others = [ABOUT, ABOUT | {"seed": 1}]
    Shelf(tmp_path / "new").fill(zip(others, tables, strict=True), {"command": "make it"})
    monkeypatch.setattr(records, "versions", lambda: {"python": "4.0"})
    shelf = Shelf(tmp_path / "new")
    for about, table in zip(others, tables, strict=True):
        pd.testing.assert_frame_equal(shelf.load(about), table, rtol=1e-7)
    assert shelf.load(ABOUT | {"seed": 2}) is None
    assert shelf.about["command"] == "make it" and shelf.about["versions"].keys() > {"python", "torch"}


def test_an_empty_shelf_has_nothing_and_a_filled_one_what_was_put_there_last(tmp_path):
    shelf = Shelf(tmp_path / "none")
    assert (shelf.load(ABOUT), shelf.about) == (None, {})
    for value in (1.0, 2.0):
        told_twice = [(ABOUT, pd.DataFrame({"mse": [value]}))] * 2
        assert shelf.fill(told_twice, {}) == 1
        assert shelf.load(ABOUT)["mse"].tolist() == [value]


def test_a_shelf_that_is_cut_off_while_it_is_filled_keeps_what_was_there(tmp_path, monkeypatch):
    Shelf(tmp_path).fill([(ABOUT, pd.DataFrame({"mse": [1.0]}))], {})
    monkeypatch.setattr(pd.DataFrame, "to_parquet", lambda self, path, **how: path.write_bytes(b"PAR1") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Shelf(tmp_path).fill([(ABOUT, pd.DataFrame({"mse": [2.0]}))], {})
    assert Shelf(tmp_path).load(ABOUT)["mse"].tolist() == [1.0]


def test_a_write_that_was_cut_off_is_not_taken_for_a_record(tmp_path, monkeypatch):
    store, table = Store(tmp_path), pd.DataFrame({"mse": [1.0]})
    monkeypatch.setattr(pd.DataFrame, "to_parquet", lambda self, path: path.write_bytes(b"PAR1") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.save(ABOUT, table)
    assert store.load(ABOUT) is None


def test_an_unknown_profile_is_answered_with_those_that_exist():
    with pytest.raises(ValueError, match="unknown profile: wanted one of smoke, laptop, paper; got 'latop'"):
        profile("latop")


SOURCE = "def f(x: int) -> int:\n    'What it is.'\n    return x + len('# no comment')\n"


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("return", "# why\n\n    return", True),
        ("What it is.", "What else it is.", True),
        ("x: int", "x: float", True),
        (" -> int", "", True),
        ("# no comment", "# another text", False),
        ("x + len", "x - len", False),
    ],
)
def test_the_hash_of_code_is_that_of_its_tree_without_docstrings_annotations_and_comments(old, new, same, monkeypatch):
    hashes = []
    for source in (SOURCE, SOURCE.replace(old, new)):
        monkeypatch.setitem(records.SOURCES, "stats", source.encode())
        hashes.append(records.code_hash("stats"))
    assert (hashes[0] == hashes[1]) is same


def test_fields_of_a_dataclass_count_though_their_annotations_do_not(monkeypatch):
    hashes = []
    for fields in ("a: int = 1\n    b: int = 2", "a: float = 1\n    b: int = 2", "b: int = 2\n    a: int = 1"):
        monkeypatch.setitem(records.SOURCES, "stats", f"class A:\n    {fields}\n".encode())
        hashes.append(records.code_hash("stats"))
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_text_is_written_whole_or_the_old_one_stays(tmp_path, monkeypatch):
    path = tmp_path / "new" / "table.csv"
    records.write(path, "first")
    monkeypatch.setattr(type(path), "replace", lambda self, target: (_ for _ in ()).throw(OSError("cut off")))
    with pytest.raises(OSError, match="cut off"):
        records.write(path, "second")
    assert path.read_text() == "first"
    monkeypatch.undo()
    records.write(path, "second")
    assert path.read_text() == "second"
