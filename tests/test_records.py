import json

import pandas as pd
import pytest

from actlab import records
from actlab.config import PROFILES, LabConfig, profile
from actlab.records import Store, key, source_hash


def test_laptop_figures_are_the_committed_ones_and_all_others_go_to_the_build_folder():
    folders = {name: records.figures_folder(name).relative_to(records.ROOT).as_posix() for name in PROFILES}
    assert folders == {"laptop": "figures", "smoke": "build/smoke/figures", "paper": "build/paper/figures"}


def test_a_key_changes_with_every_part_of_the_description():
    keys = {key(lab=LabConfig(), seed=0), key(lab=LabConfig(steps=5), seed=0), key(lab=LabConfig(), seed=1)}
    assert len(keys) == 3
    assert key(seed=0, lab=LabConfig()) in keys


def test_a_description_that_is_no_plain_data_is_refused():
    with pytest.raises(TypeError, match="wanted numbers, strings, lists, dicts or dataclasses"):
        key(function=print)


def test_the_hash_of_sources_changes_when_one_is_edited(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text("y = 1\n")
    monkeypatch.setattr(records, "PACKAGE", tmp_path)
    before = source_hash("a", "b")
    assert source_hash("b", "a") == before
    (tmp_path / "a.py").write_text("x = 2\n")
    assert source_hash("a", "b") != before
    with pytest.raises(FileNotFoundError):
        source_hash("c")


def test_a_table_comes_back_to_the_bit_with_its_description_beside_it(tmp_path):
    table = pd.DataFrame({"family": ["a", "b"], "mse": [0.1 + 0.2, 1e-300]})
    store, name = Store(tmp_path), key(seed=0)
    assert store.load(name) is None
    store.save(name, table, seed=0, lab=LabConfig())
    pd.testing.assert_frame_equal(store.load(name), table, check_exact=True)
    (beside,) = tmp_path.rglob("*.json")
    assert json.loads(beside.read_text())["lab"]["steps"] == LabConfig().steps


def test_a_write_that_was_cut_off_is_not_taken_for_a_record(tmp_path, monkeypatch):
    store, table = Store(tmp_path), pd.DataFrame({"mse": [1.0]})
    monkeypatch.setattr(pd.DataFrame, "to_parquet", lambda self, path: path.write_bytes(b"PAR1") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.save(key(seed=0), table)
    assert store.load(key(seed=0)) is None


def test_an_unknown_profile_is_answered_with_those_that_exist():
    with pytest.raises(ValueError, match="unknown profile: wanted one of smoke, laptop, paper; got 'latop'"):
        profile("latop")
