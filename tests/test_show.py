"""A run in words: what is shown is of one moment, whatever its programs are, and leaves the terminal as it is."""

import json

import pytest

from actlab import discovery, show
from actlab.archive import Archive, Entry, Move, source_hash

RELU = "def activation(x):\n    return torch.relu(x)"
ESCAPE = "\x1b]0;owned\x07"


def entry(id, source=RELU, parents=(0,), ended="scored", **more):
    """A candidate of round `id`, one a round."""
    known = ended == "scored"
    description = {"traits": {"pointwise": True, "oscillations": 0}, "flops": 10.0, "flops_gelu": 1.0}
    about = {"id": id, "round": id, "island": 0, "cell": "a" if known else None, "source": source}
    about |= {"source_hash": source_hash(source), "fingerprint": str(id) if known else None, "operator": "edit"}
    about |= {"author": "a model", "title": "", "rationale": "", "parents": parents, "ended": ended}
    about |= {"fitness": id / 10, "score": {"ood_mse": [0.1] * 4, "interval": [0, 1]}} if known else {"error": "why"}
    return Entry(**about | {"description": description if known else None} | more)


@pytest.fixture
def path(tmp_path):
    """A run written by hand, whose second program was made from a refused one."""
    with Archive(tmp_path / "run") as archive:
        archive.begin(seed=0, about={"fitness": {}, "limits": {"flops": float("inf")}})
        archive.add_round([entry(0, parents=())], [Move(0, 0, "a", 0, "start")])
        archive.add_round([entry(1, f"{ESCAPE}\ndef f(:\n\treturn", ended="refused", error=ESCAPE)])
        words = {"title": ESCAPE, "rationale": f"{ESCAPE}\n\u202eso", "author": ESCAPE}
        archive.add_round([entry(2, parents=(1,), **words)], [Move(2, 0, "a", 2, "born")])
    return tmp_path / "run"


def test_a_program_that_was_made_from_a_refused_one_is_shown(path):
    report = show.program(path, 2)
    assert [brief["id"] for brief in report["lineage"]] == [1, 0]
    assert report["lineage"][0]["flops_gelu"] is None
    assert "\nmade from: 1, no fitness, no known cost: " in show.program_text(report)
    assert "\nmade from: 0, fitness 0.0000, 1 times GELU's FLOPs: torch.relu(x)\n" in show.program_text(report)
    assert show.program(path, 1)["description"] is None


def test_what_is_shown_leaves_the_terminal_as_it_is(path):
    texts = [show.program_text(show.program(path, id)) for id in range(3)] + [show.run_text(show.run(path))]
    for text in texts:
        assert all(c.isprintable() or c in "\n\t" for c in text)
    assert "rationale: \\x1b]0;owned\\x07\n\\u202eso\n" in texts[2]
    assert texts[1].endswith("\n\n\\x1b]0;owned\\x07\ndef f(:\n\treturn")
    assert "author \\x1b]0;owned\\x07: 1 proposals" in texts[3]


def test_a_run_is_shown_in_json_that_any_reader_takes(path):
    report = json.loads(json.dumps(show.run(path), allow_nan=False))
    assert report["settings"]["about"]["limits"]["flops"] is None


def test_a_run_that_is_being_written_is_shown_as_it_was_at_one_moment(path, monkeypatch):
    before, digest = show.run(path), Archive.digest

    def late(archive):
        """The digest; and then a round comes, before anything else is read."""
        found = digest(archive)
        with Archive(path) as writing:
            writing.add_round([entry(3)], [Move(3, 0, "a", 3, "born")])
        return found

    monkeypatch.setattr(Archive, "digest", late)
    assert show.run(path, [{"model": "a model", "usd": 0.5}]) | {"authors": None} == before | {"authors": None}
    monkeypatch.undo()
    assert show.run(path)["candidates"] == before["candidates"] + 1


def test_moves_and_programs_are_read_at_one_moment(path, monkeypatch):
    moves = Archive.moves

    def late(archive):
        with Archive(path) as writing:
            writing.add_round([entry(3)], [Move(3, 0, "a", 3, "born")])
        return moves(archive)

    monkeypatch.setattr(Archive, "moves", late)
    run = discovery.read(path)
    assert {move.program for move in run.moves} <= {entry.id for entry in run.entries}
    assert [entry.id for entry in run.entries] == [0, 1, 2]
