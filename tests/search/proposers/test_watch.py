"""The line that shows a search's bill while it runs."""

import io

import messages_server as service
import pytest
from messages_server import KEY, serving

from actlab.search.proposers.answers import CapReached, Live, client
from actlab.search.proposers.models import Model, Price
from actlab.search.proposers.recording import Recording, request_hash
from actlab.search.proposers.watch import Watched, words

MODEL = Model("claude-haiku-5-5", Price(input=1.0, output=10.0, cache_write=2.0, cache_read=0.1))
REQUEST = {"model": MODEL.name, "max_tokens": 100, "messages": [{"role": "user", "content": "one"}]}


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self):
        return True


def watched(path, monkeypatch, stream, cap=0.02):
    """What stands on a stream after each of two asks, the second of which the cap forbids."""
    monkeypatch.setattr("sys.stderr", stream)
    shown = []
    reply = service.message(service.text("well"))
    with serving(lambda *_: reply) as server, client(KEY, server.url) as asking, Recording(path) as recording:
        live = Live(asking, recording, (MODEL,), cap)
        with Watched(live, recording, cap) as answers:
            shown.append(stream.getvalue())
            answer = answers.ask(REQUEST, 1)
            assert (answers.spent, answers.origin) == (live.spent, "live")
            shown.append(stream.getvalue())
            answers.judge(answer, "malformed")
            assert recording.summary()[0]["malformed"] == 1
            with pytest.raises(CapReached):
                answers.ask(REQUEST | {"max_tokens": 10_000}, 2)
    return shown, answer


def test_every_answer_moves_the_line(tmp_path, monkeypatch):
    (before, after), answer = watched(tmp_path / "a", monkeypatch, Terminal())
    assert before.endswith("answers: 0 in 0 calls, 0 tokens, $0.0000 of at most $0.02")
    assert after.rstrip().endswith("answers: 1 in 1 calls, 150 tokens, $0.0006 of at most $0.02")
    assert answer.hash == request_hash(REQUEST)


def test_where_there_is_no_terminal_nothing_is_shown(tmp_path, monkeypatch):
    (before, after), _ = watched(tmp_path / "a", monkeypatch, io.StringIO())
    assert before == after == ""


def test_a_call_whose_end_is_not_known_is_shown_at_its_worst_case(tmp_path):
    with Recording(tmp_path / "a") as recording:
        recording.reserve("hash", 3, MODEL.name, 0.5, 1.0, 0.0)
        assert words(recording.bill(), 1.0) == "answers: 0 in 1 calls, 0 tokens, $0.5000 of at most $1.00"
