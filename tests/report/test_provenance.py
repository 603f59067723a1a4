"""How committed records were made, in words."""

import json

import pytest

from actlab.core import records
from actlab.report import provenance


@pytest.fixture
def canaries(tmp_path, monkeypatch):
    """Of two makers, of other code than is here, both of which had what this code has."""
    monkeypatch.setattr(records.Family, "values", lambda self: {"loss": 0.25})
    for mark, torch in (("a", "2.12.0"), ("b", "2.13.0")):
        about = {"versions": {"python": "3.11", "torch": torch}, "values": {"loss": 0.25}}
        (tmp_path / f"transfer-{mark}.json").write_text(json.dumps(about))
    return records.Canaries(tmp_path)


def test_every_makers_versions_are_named_once(canaries):
    said = provenance.made("transfer", "make transfer", ["b", "a", "a"], canaries)
    both = "python 3.11, torch 2.12.0, and with python 3.11, torch 2.13.0"
    assert said.startswith(f"Made by `make transfer` with {both}. The code here gives the same canary")


def test_records_of_code_that_computes_something_else_are_refused(canaries, monkeypatch):
    monkeypatch.setattr(records.Family, "values", lambda self: {"loss": 0.26})
    with pytest.raises(records.ChangedCode, match="transfer: the canary moved"):
        provenance.made("transfer", "make transfer", ["a"], canaries)
