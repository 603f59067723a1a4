"""A run in words: what is shown is of one moment, whatever its programs are, and leaves the terminal as it is."""

import json

import pytest

from actlab.search import inspect, runs
from actlab.search.archive import Archive, Entry, Move, source_hash
from actlab.search.proposers.answers import Replayed
from actlab.search.proposers.recording import TOKENS, AnswersError, Recording

RELU = "def activation(x):\n    return torch.relu(x)"
ESCAPE = "\x1b]0;owned\x07"


def entry(id, source=RELU, parents=(0,), ended="scored", **more):
    """A candidate of round `id`, one a round."""
    known = ended == "scored"
    description = {"traits": {"pointwise": True, "oscillations": 0}, "flops": 10.0, "flops_gelu": 1.0}
    about = {"id": id, "round": id, "island": 0, "cell": "a" if known else None, "source": source}
    about |= {"source_hash": source_hash(source), "fingerprint": str(id) if known else None, "operator": "edit"}
    about |= {"author": "a model", "title": "", "rationale": "", "parents": parents, "ended": ended}
    about |= (
        {"fitness": id / 10, "score": {"ood_mse": [0.1] * 4, "interval": [0, 1], "families": ["a", "a", "b", "b"]}}
        if known
        else {"error": "why"}
    )
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
    report = inspect.program(path, 2)
    assert [brief["id"] for brief in report["lineage"]] == [1, 0]
    assert report["lineage"][0]["flops_gelu"] is None
    assert "\nmade from: 1, no fitness, no known cost: " in inspect.program_text(report)
    assert "\nmade from: 0, fitness 0.0000, 1 times GELU's FLOPs: torch.relu(x)\n" in inspect.program_text(report)
    assert inspect.program(path, 1)["description"] is None


def test_what_is_shown_leaves_the_terminal_as_it_is(path):
    texts = [inspect.program_text(inspect.program(path, id)) for id in range(3)] + [inspect.run_text(inspect.run(path))]
    for text in texts:
        assert all(c.isprintable() or c in "\n\t" for c in text)
    assert "rationale: \\x1b]0;owned\\x07\n\\u202eso\n" in texts[2]
    assert texts[1].endswith("\n\n\\x1b]0;owned\\x07\ndef f(:\n\treturn")
    assert "author \\x1b]0;owned\\x07: 1 proposals" in texts[3]


PAID = "3 calls, 1 retried; 400 tokens in, 50% of it from the cache, 50 out; 0.2500 USD"
COSTS = {"requests": 2, "calls": 3, "retried": 1, "input": 100, "output": 50, "cache_write": 100, "cache_read": 200}


def test_what_a_program_cost_is_shown_and_never_as_0_where_it_is_not_known(path):
    bill = {**COSTS, "usd": 0.25, "cached": 0.5, "origin": "live"}
    text = inspect.program_text(inspect.program(path, 2, bill))
    assert f"\ncost: {PAID}; answers: live\n" in text
    for nothing in (None, dict.fromkeys(bill, 0)):  # no recording, and one without a call for it
        report = inspect.program(path, 2, nothing)
        assert report["bill"] is None
        assert "\ncost: unknown\n" in inspect.program_text(report)
    assert "bill" not in inspect.program(path, 0)  # the start is nobody's


def test_counts_of_requests_and_the_share_of_the_cache_are_shown_by_model(path):
    endings = {"answered": 3, "refused": 1, "truncated": 2, "malformed": 4, "failed": 0}
    row = {"model": "a model", **COSTS, "requests": 10, **endings, "usd": 0.25, "cached": 0.5, "origin": "live"}
    report = inspect.run(path, [row]) | {"answers": {"origin": "live", "spent": 0.25, "models": [row]}}
    counts = "10 requests: 3 answered, 1 refused, 2 truncated, 4 malformed, 0 failed"
    assert f"\nanswers: live; 0.2500 USD\n  a model: {counts}; {PAID}\n" in inspect.run_text(report)


def test_a_model_without_a_bill_has_an_unknown_cost(path):
    (row,) = [row for row in inspect.run(path)["authors"] if row["author"] == "a model"]
    assert (row["tokens"], row["usd"], row["answers"]) == (None, None, "unknown")
    assert "\nauthor a model: 1 proposals" in inspect.run_text(inspect.run(path))
    assert "added to the best; unknown cost; answers: unknown\n" in inspect.run_text(inspect.run(path))


@pytest.mark.parametrize(("origin", "shown"), [("live", "live"), ("hand-written", "hand-written: no model's output")])
def test_what_a_run_replays_is_shown_with_the_run_its_authors_and_its_programs(path, tmp_path, origin, shown):
    before = inspect.run(path)["digest"]
    with Recording(tmp_path / "kept", origin=origin) as recording:
        Replayed(recording, path).bind("run", {})
        Replayed(recording, path).bind("run", {})  # which is noted once
    report = json.loads(json.dumps(inspect.run(path)))
    assert report["digest"] == before
    assert report["replays"] == [{"recording": "kept", "origin": origin}]
    assert {row["answers"] for row in report["authors"]} == {f"replayed, {origin}"}
    assert [row["usd"] for row in report["authors"]] == [0, 0]
    assert f"\nreplayed from kept: {shown}\n" in inspect.run_text(report)
    assert f"; 0 tokens, 0.0000 USD; answers: replayed, {shown}\n" in inspect.run_text(report)
    one = inspect.program(path, 2)
    assert (one["replays"], one["bill"]) == (report["replays"], None)
    assert f"\nreplayed from kept: {shown}\n" in inspect.program_text(one)


@pytest.mark.parametrize("text", ["nonsense", "[1]", '{"recording": "a"}', '{"recording": "a", "origin": 1}'])
def test_a_note_of_replays_that_is_none_is_refused_in_words(path, text):
    path.with_name("run.replays").write_text(text)
    with pytest.raises(AnswersError, match=r"run\.replays: wanted the "):
        inspect.run(path)


def test_a_run_is_shown_in_json_that_any_reader_takes(path):
    report = json.loads(json.dumps(inspect.run(path), allow_nan=False))
    assert report["settings"]["about"]["limits"]["flops"] is None


def test_a_run_that_is_being_written_is_shown_as_it_was_at_one_moment(path, monkeypatch):
    before, digest = inspect.run(path), Archive.digest

    def late(archive):
        """The digest; and then a round comes, before anything else is read."""
        found = digest(archive)
        with Archive(path) as writing:
            writing.add_round([entry(3)], [Move(3, 0, "a", 3, "born")])
        return found

    monkeypatch.setattr(Archive, "digest", late)
    bill = {"model": "a model", "usd": 0.5, "origin": "live", **dict.fromkeys(TOKENS, 1)}
    assert inspect.run(path, [bill]) | {"authors": None} == before | {"authors": None}
    monkeypatch.undo()
    assert inspect.run(path)["candidates"] == before["candidates"] + 1


def test_moves_and_programs_are_read_at_one_moment(path, monkeypatch):
    moves = Archive.moves

    def late(archive):
        with Archive(path) as writing:
            writing.add_round([entry(3)], [Move(3, 0, "a", 3, "born")])
        return moves(archive)

    monkeypatch.setattr(Archive, "moves", late)
    run = runs.read(path)
    assert {move.program for move in run.moves} <= {entry.id for entry in run.entries}
    assert [entry.id for entry in run.entries] == [0, 1, 2]
