"""What `actlab records` says of the committed records, with canaries that are told and not run."""

import json
from dataclasses import replace

import pytest

from actlab.__main__ import main
from actlab.core.records import PROTOCOLS, ROOT, Family
from actlab.studies import committed
from actlab.transfer import sweep

TO_COME = {"generality"}  # runs whose records are not all there yet


@pytest.fixture
def canaries(monkeypatch):
    """By family, the canary's numbers: those beside its records, for a test to change; and code that made none."""
    names = {records.family for records in committed.every().values() if len(records.jobs)}
    assert names >= PROTOCOLS.keys() - TO_COME
    files = {name: next((ROOT / "records" / "canaries").glob(f"{name}-*.json")) for name in names}
    values = {name: json.loads(path.read_text())["values"] for name, path in files.items()}
    monkeypatch.setattr(Family, "values", lambda self: dict(values[self.name]))
    monkeypatch.setattr(Family, "mark", lambda self: "0" * 12)
    return values


def test_every_record_is_there_and_would_be_made_again_where_the_canaries_are_equal(canaries, capsys):
    table = committed.summary().set_index("verb")
    there = table[table["records"] > 0]
    assert set(table.index) - set(there.index) <= TO_COME
    assert table["canary"].eq("equal").all()
    assert all(row["anew"] == 0 or verb in TO_COME for verb, row in there.iterrows())
    assert table.loc["generality", "records"] + table.loc["generality", "anew"] == 51  # 19 functions, 8 runs of 4 arms
    assert table["family"].to_dict() == {
        "lab-records": "lab", "gpu-lab": "lab", "multiverse": "multiverse", "ablation": "search",
        "generality": "generality", "transfer": "transfer",
    }  # fmt: skip
    assert table["records"].to_dict() == {name: len(records.jobs) for name, records in committed.every().items()}
    assert there["made"].str.match(r"(code [0-9a-f]{8}, )+numpy \S+ python \S+ scipy \S+ torch \S+$").all()
    assert main(["records"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(table) and lines[0].split() == (
        ["verb", "family", "records", "protocol", "made", "by", "canary", "to", "make", "anew"]
    )


@pytest.mark.parametrize(("change", "word"), [(1 + 1e-6, "moved by 1e-06"), ("other", "another")])
def test_where_a_canary_moved_its_records_are_all_to_be_made_anew_and_the_status_is_1(canaries, capsys, change, word):
    name, value = next((n, v) for n, v in canaries["transfer"].items() if isinstance(v, float) and v > 0)
    canaries["transfer"][name] = value * change if isinstance(change, float) else change
    row = committed.summary().set_index("verb").loc["transfer"]
    assert row["canary"] == word and row["anew"] == row["records"] == 585
    assert main(["records"]) == 1
    assert capsys.readouterr().out.count(word) == 1


def test_what_a_verb_is_asked_for_beyond_its_records_is_counted(canaries, monkeypatch):
    laptop = sweep.DESIGNS["laptop"]
    more = replace(laptop, seeds=dict(laptop.seeds, images=12))
    monkeypatch.setitem(sweep.DESIGNS, "laptop", more)
    anew = committed.summary().set_index("verb").query("records > 0")["anew"]
    others = anew.drop(["transfer", *TO_COME], errors="ignore")
    assert anew["transfer"] == 2 * len(laptop.functions) and others.eq(0).all()
