import json
import math
from dataclasses import replace

import pandas as pd
import pytest

from actlab.core import records
from actlab.core.config import PROFILES, LabConfig, profile
from actlab.core.records import Shelf, Store, code_hash


def test_laptop_figures_are_the_committed_ones_and_all_others_go_to_the_build_folder():
    folders = {name: records.figures_folder(name).relative_to(records.ROOT).as_posix() for name in PROFILES}
    assert folders == {"laptop": "figures", "smoke": "build/smoke/figures", "paper": "build/paper/figures"}


def test_a_key_changes_with_every_part_of_what_was_asked_and_with_the_protocol_alone():
    family, whole = records.PROTOCOLS["lab"], {"lab": LabConfig(), "seed": 0}
    keys = {
        family.key(whole), family.key(whole | {"lab": LabConfig(steps=5)}), family.key(whole | {"seed": 1}),
        replace(family, protocol=2).key(whole), records.PROTOCOLS["search"].key(whole),
    }  # fmt: skip
    assert len(keys) == 5
    assert family.key({"seed": 0, "lab": LabConfig()}) in keys


def test_a_description_that_is_no_plain_data_is_refused():
    with pytest.raises(TypeError, match="wanted numbers, strings, lists, dicts or dataclasses"):
        records.digest({"function": print})


def test_the_hash_of_code_changes_when_a_module_that_it_imports_is_edited(monkeypatch):
    before = code_hash("lab")
    for module, same in (("config", False), ("passes", False), ("stats", True)):
        monkeypatch.setitem(sources.SOURCES, module, b"edited")
        assert (code_hash("lab") == before) is same
        monkeypatch.undo()
    with pytest.raises(ValueError, match="wanted modules of actlab; got 'labs'"):
        code_hash("labs")


def test_the_hash_of_code_does_not_know_where_a_module_lies(monkeypatch):
    hashes = []
    for name in ("one", "other"):
        monkeypatch.setitem(sources.SOURCES, name, b"x = 1\n")
        hashes.append(code_hash(name))
    assert hashes[0] == hashes[1]


ABOUT = {"family": "lab", "seed": 0, "lab": LabConfig()}


@pytest.fixture(autouse=True)
def canary(monkeypatch):
    """A canary of the lab whose numbers a test may set, in place of the real one."""
    numbers = {"loss": 0.1, "word": "scored"}
    monkeypatch.setattr(records.Family, "values", lambda self: dict(numbers))
    return numbers


@pytest.fixture
def edit(monkeypatch):
    """Turns the code of the lab's canary into other code."""
    return lambda: monkeypatch.setitem(sources.SOURCES, records.PROTOCOLS["lab"].canary, b"other = 1\n")


def test_a_table_comes_back_to_the_bit_with_its_provenance_beside_it(tmp_path):
    table = pd.DataFrame({"family": ["a", "b"], "mse": [0.1 + 0.2, 1e-300]})
    store = Store(tmp_path)
    assert store.load(ABOUT) is None
    store.save(ABOUT, table)
    pd.testing.assert_frame_equal(store.load(ABOUT), table, check_exact=True)
    (beside,) = tmp_path.glob("??/*.json")
    provenance = json.loads(beside.read_text())
    assert provenance["lab"]["steps"] == LabConfig().steps
    assert provenance.keys() == {"family", "seed", "lab", "mark", "commit"}
    made = store.canaries.read("lab", provenance["mark"])
    assert made.keys() == {"protocol", "code", "versions", "values"}
    assert made["versions"].keys() == {"python", "torch", "numpy", "scipy"}


def test_what_is_kept_is_not_computed_again(tmp_path):
    store, calls = Store(tmp_path), []
    for _ in range(2):
        store.get(ABOUT, lambda: calls.append(1) or pd.DataFrame({"mse": [1.0]}))
    assert calls == [1]


@pytest.mark.parametrize(
    ("numbers", "stands"),
    [({}, True), ({"loss": 0.1 * (1 + 1e-12)}, True), ({"loss": 0.1 * (1 + 1e-9)}, False), ({"word": "killed"}, False),
     ({"loss": math.nan}, False), ({"more": 1.0}, False)],
)  # fmt: skip
def test_what_other_code_made_is_taken_as_long_as_its_canary_is_equal(tmp_path, canary, edit, caplog, numbers, stands):
    table = pd.DataFrame({"mse": [1.0]})
    Store(tmp_path / "store").save(ABOUT, table)
    Shelf(tmp_path / "shelf").fill([(ABOUT, table)], {})
    edit()
    canary.update(numbers)
    assert (Store(tmp_path / "store").load(ABOUT) is not None) is stands
    if stands:
        assert Shelf(tmp_path / "shelf").load(ABOUT) is not None
    else:
        assert "lab: the canary" in caplog.text and caplog.text.count("\n") == 1
        with pytest.raises(records.ChangedCode, match=r"lab: the canary .*raise the family's protocol \(1\)"):
            Shelf(tmp_path / "shelf").load(ABOUT)


def test_the_same_code_asks_no_canary(tmp_path, monkeypatch):
    Store(tmp_path).save(ABOUT, pd.DataFrame({"mse": [1.0]}))
    monkeypatch.setattr(records.Family, "values", lambda self: 1 / 0)
    assert Store(tmp_path).load(ABOUT)["mse"].tolist() == [1.0]


def test_a_drift_is_the_largest_relative_difference_and_infinite_where_words_differ():
    then = {"a": 2.0, "b": math.nan, "c": "word", "d": 0.0, "e": math.inf}
    assert records.drift(then, dict(then)) == 0.0
    assert records.drift(then, then | {"a": 2.0002}) == pytest.approx(1e-4, rel=1e-3)
    for change in ({"c": "other"}, {"b": 1.0}, {"e": -math.inf}, {"f": 1.0}):
        assert records.drift(then, then | change) == math.inf


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
        monkeypatch.setitem(sources.SOURCES, "stats", source.encode())
        hashes.append(sources.code_hash("stats"))
    assert (hashes[0] == hashes[1]) is same


def test_fields_of_a_dataclass_count_though_their_annotations_do_not(monkeypatch):
    hashes = []
    for fields in ("a: int = 1\n    b: int = 2", "a: float = 1\n    b: int = 2", "b: int = 2\n    a: int = 1"):
        monkeypatch.setitem(sources.SOURCES, "stats", f"class A:\n    {fields}\n".encode())
        hashes.append(sources.code_hash("stats"))
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
