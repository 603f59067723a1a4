"""The proposer that asks models: what it makes of their answers, how it chooses among them, and that it repeats."""

import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace

import messages_server as service
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages_server import KEY, RELU, asked, serving

from actlab.search.proposers import Ask, Brief, Parent, Proposal, Tally
from actlab.search.proposers.answers import CapReached, Live, MissingAnswer, Replayed, ServiceError, Stopped, client
from actlab.search.proposers.claude import Claude, Unusable, apply_edits, choose_model
from actlab.search.proposers.models import Model, Price, read_models
from actlab.search.proposers.recording import Recording

SINE = "def activation(x):\n    return x + torch.sin(x)"
PARENT = Parent(3, SINE, 0.25)
PRICE = Price(input=1.0, output=10.0, cache_write=2.0, cache_read=0.1)
MODELS = (Model("claude-haiku-5-5", PRICE, effort="low"), Model("claude-haiku-4-5", PRICE, forced=True))


def brief(count: int = 1, first: int = 10, **tallies: Tally) -> Brief:
    return Brief(tuple(Ask(first + i, PARENT) for i in range(count)), 30, 50, 196.0, tallies=tallies)


def proposed(path, respond, count=1, seed=0, cap=100.0, models=MODELS[:1], requests=None, **settings):
    """What is proposed against a server, and the summary of the recording."""
    with serving(respond) as server, client(KEY, server.url, 5.0) as asking, Recording(path) as recording:
        live = Live(asking, recording, models, cap, attempts=2, patience=2.0, sleep=lambda _: None)
        try:
            proposals = Claude(live, models, max_tokens=1000, **settings).propose(
                brief(count), np.random.default_rng(seed)
            )
        finally:
            if requests is not None:
                requests.extend(server.requests)
        return proposals, recording.summary()


def replayed(path, count=1, seed=0, models=MODELS[:1], **settings):
    with Recording(path, read_only=True) as recording:
        claude = Claude(Replayed(recording), models, max_tokens=1000, **settings)
        return claude.propose(brief(count), np.random.default_rng(seed))


# --- one answer ---


def test_a_whole_program_is_proposed_with_its_name_reason_model_and_parent(tmp_path):
    reply = service.message(service.text("Here."), service.rewrite(RELU, "half\na ramp", "because"))
    requests = []
    (proposal,), _ = proposed(tmp_path / "a", lambda *_: reply, edits=0.0, requests=requests)
    assert proposal == Proposal(RELU, (3,), "rewrite", "claude-haiku-5-5", "half a ramp", "because")
    (body,) = requests
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert body["output_config"] == {"effort": "low"}
    assert [tool["name"] for tool in body["tools"]] == ["rewrite", "edit"]
    assert "Answer with the tool `rewrite`" in asked(body)
    assert body["system"][0]["cache_control"] == {"type": "ephemeral"}


def test_changes_of_the_parent_are_made_to_its_text(tmp_path):
    reply = service.message(service.edit(("x + torch", "2.0 * x + torch"), ("sin(x)", "cos(x)")))
    requests = []
    (proposal,), _ = proposed(tmp_path / "a", lambda *_: reply, edits=1.0, models=MODELS[1:], requests=requests)
    assert proposal.source == "def activation(x):\n    return 2.0 * x + torch.cos(x)"
    assert (proposal.operator, proposal.author) == ("edit", "claude-haiku-4-5")
    assert requests[0]["tool_choice"] == {"type": "tool", "name": "edit", "disable_parallel_tool_use": True}
    assert "output_config" not in requests[0]


def test_an_answer_by_the_other_tool_is_taken(tmp_path):
    (proposal,), _ = proposed(tmp_path / "a", lambda *_: service.message(service.rewrite()), edits=1.0)
    assert (proposal.source, proposal.operator) == (RELU, "rewrite")


def test_a_program_in_words_in_place_of_a_call_is_taken(tmp_path):
    reply = service.message(service.text(f"Here it is:\n```python\n{RELU}\n```\nA ramp."), stop="end_turn")
    (proposal,), (row,) = proposed(tmp_path / "a", lambda *_: reply)
    assert proposal == Proposal(RELU, (3,), "rewrite", "claude-haiku-5-5")
    assert (row["requests"], row["answered"]) == (1, 1)


def test_changes_in_fences_are_made_without_them(tmp_path):
    reply = service.message(service.edit(("```python\nx + torch\n```", "```\n2.0 * x + torch\n```\n")))
    (proposal,), _ = proposed(tmp_path / "a", lambda *_: reply)
    assert proposal.source == "def activation(x):\n    return 2.0 * x + torch.sin(x)"


NO_CALL = "wanted a call of the tool rewrite or edit; got none"
ONCE = "replacement 1: wanted a text that occurs exactly once in the parent; this one is there"
# What came, how it counts, and the whole reason.
UNUSABLE = {
    "refused": (service.message(service.text("no"), stop="refusal"), "refused", "the model refused to answer"),
    "blocked": (service.blocked(), "refused",
                "the model refused to answer: Output blocked by content filtering policy"),
    "truncated": (service.message(stop="max_tokens"), "truncated", "the answer was cut off before its end"),
    "no call": (service.message(service.text("def f"), stop="end_turn"), "malformed", NO_CALL),
    "another tool": (service.message(service.call("search")), "malformed", NO_CALL),
    "no object": (service.message({**service.rewrite(), "input": "x"}), "malformed",
                  "wanted an object as the tool's input; got 'x'"),
    "no source": (service.message(service.call("rewrite", name="a", rationale="b")), "malformed",
                  "wanted a text as 'source'; got None"),
    "a number": (service.message(service.call("rewrite", name=1, rationale="b", source=RELU)), "malformed",
                 "wanted a text as 'name'; got 1"),
    "half a character": (service.message(service.rewrite("\ud800")), "malformed",
                         "wanted characters of Unicode in 'source'; got half of one"),
    "no list": (service.message(service.call("edit", name="a", rationale="b")), "malformed",
                "wanted a list of replacements; got None"),
    "not there": (service.message(service.edit(("tanh", "sin"))), "malformed", f"{ONCE} 0 times: 'tanh'"),
    "there more often": (service.message(service.edit(("x", "y"))), "malformed", f"{ONCE} 3 times: 'x'"),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "ended", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_answer_is_asked_for_once_more_with_what_was_wrong(tmp_path, reply, ended, reason):
    replies, requests = [reply, service.message(service.rewrite())], []
    (proposal,), (row,) = proposed(tmp_path / "a", lambda _, number: replies[number], requests=requests)
    assert (proposal.source, proposal.failure) == (RELU, None)
    first, second = requests
    assert asked(second).startswith(asked(first))
    more = asked(second).removeprefix(asked(first))
    assert f"# Once more\nAn earlier answer to this request could not be used:\n```\n{reason}\n```\n" in more
    assert (row["requests"], row["answered"], row[ended]) == (2, 1, 1)


@pytest.mark.parametrize(("reply", "ended", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_answer_that_stays_unusable_is_dropped_and_its_reason_recorded(tmp_path, reply, ended, reason):
    requests = []
    (proposal,), (row,) = proposed(tmp_path / "a", lambda *_: reply, requests=requests)
    assert len(requests) == 2
    assert proposal.author == "claude-haiku-5-5"
    assert proposal.failure == f"{ended}: {reason}"
    assert row[ended] == 2
    assert replayed(tmp_path / "a") == [proposal]


def test_a_request_that_is_too_large_is_a_failure_and_is_not_repaired(tmp_path):
    requests, reply = [], service.error(413, "request_too_large", "too many bytes")
    (proposal,), (row,) = proposed(tmp_path / "a", lambda *_: reply, requests=requests)
    assert proposal.failure == "failed: 413 request_too_large: too many bytes"
    assert (row["calls"], row["retried"], row["failed"], row["requests"], row["usd"]) == (1, 0, 1, 1, 0.0)
    assert len(requests) == 1
    assert replayed(tmp_path / "a") == [proposal]


# --- edits ---


@given(st.text("abc", min_size=1, max_size=30), st.data())
def test_edits_replace_what_they_name_whatever_their_order(source, data):
    """Oracle: the source cut at two places, put together again by hand."""
    a, b, c, d = sorted(data.draw(st.lists(st.integers(0, len(source)), min_size=4, max_size=4)))
    first, second = source[a:b], source[c:d]
    edits = [{"old": first, "new": "<1>"}, {"old": second, "new": "<2>"}]
    once = [old and source.count(old) == 1 and sum(map(source.startswith, [old] * 31, range(31))) == 1
            for old in (first, second)]  # fmt: skip
    if all(once):
        wanted = source[:a] + "<1>" + source[b:c] + "<2>" + source[d:]
        assert apply_edits(source, edits) == wanted
        assert apply_edits(source, edits[::-1]) == wanted
    else:
        with pytest.raises(Unusable):
            apply_edits(source, edits)


def test_edits_that_overlap_are_refused():
    with pytest.raises(Unusable, match="do not overlap"):
        apply_edits("abcd", [{"old": "abc", "new": ""}, {"old": "bcd", "new": ""}])


# --- many answers ---


def numbered(body, _):
    """A program that follows from the request alone; slower for the earlier ones."""
    number = int(asked(body).split()[1])
    reply = service.message(service.rewrite(f"def activation(x):\n    return {number}.0 * x"))
    reply.delay = max(0.0, (14 - number) * 0.02)
    return reply


def test_answers_come_in_the_order_of_the_asks_and_side_by_side(tmp_path):
    flying, most, lock, two = [0], [0], threading.Lock(), threading.Event()

    def respond(body, number):
        with lock:
            flying[0] += 1
            most[0] = max(most[0], flying[0])
        if most[0] > 1:
            two.set()
        two.wait(10)  # however slow the machine is
        reply = numbered(body, number)
        threading.Event().wait(reply.delay)
        with lock:
            flying[0] -= 1
        reply.delay = 0.0
        return reply

    proposals, _ = proposed(tmp_path / "a", respond, 8, parallel=3)
    assert [p.source.split()[3] for p in proposals] == [f"{float(number)}" for number in range(10, 18)]
    assert 1 < most[0] <= 3


def test_a_replay_proposes_the_same_at_any_number_of_threads(tmp_path):
    proposals, _ = proposed(tmp_path / "a", numbered, 8, models=MODELS)
    for parallel in (1, 5):
        assert replayed(tmp_path / "a", 8, models=MODELS, parallel=parallel) == proposals
    with pytest.raises(MissingAnswer):
        replayed(tmp_path / "a", 9, models=MODELS)
    with pytest.raises(MissingAnswer):
        replayed(tmp_path / "a", 8, seed=1, models=MODELS)


def test_an_exhausted_cap_keeps_what_was_answered_and_a_higher_one_goes_on(tmp_path):
    def dear(body, number):  # 2 cents each
        reply = numbered(body, number)
        reply.body["usage"] |= {"input_tokens": 10_000, "output_tokens": 1000}
        return reply

    asked_first, asked_then = [], []
    with pytest.raises(CapReached):
        proposed(tmp_path / "a", dear, 8, cap=0.1, parallel=2, requests=asked_first)
    assert 1 <= len(asked_first) < 5
    proposals, (row,) = proposed(tmp_path / "a", dear, 8, requests=asked_then)
    assert len(asked_first) + len(asked_then) == 8 == row["calls"]
    assert replayed(tmp_path / "a", 8) == proposals


def test_the_first_failure_ends_the_waits_of_the_others_and_nothing_more_is_asked(tmp_path):
    def respond(body, _):
        if int(asked(body).split()[1]) == 12:
            return service.error(401, "authentication_error")
        return service.error(429, "rate_limit_error", retry_after="20")

    with serving(respond) as server, client(KEY, server.url, 5.0) as asking, Recording(tmp_path / "a") as recording:
        claude = Claude(Live(asking, recording, MODELS[:1], 100.0), MODELS[:1], parallel=3)
        with pytest.raises(ServiceError, match="check the key"):
            claude.propose(brief(8), np.random.default_rng(0))
        assert len(server.requests) <= 5  # of three side by side, and who may have taken the place of the failed one
        assert {asked(body).split()[1] for body in server.requests} >= {"12"}
        assert all(count == 1 for count in Counter(map(asked, server.requests)).values())


def test_an_interrupt_ends_the_waits(tmp_path):
    class Answers:
        spent, stopped = 0.0, []

        def ask(self, request, candidate, stop):
            if candidate == 11:
                raise KeyboardInterrupt
            self.stopped.append(stop.wait(20))
            raise Stopped

    with pytest.raises(KeyboardInterrupt):
        Claude(Answers(), MODELS, parallel=4).propose(brief(4), np.random.default_rng(0))
    assert set(Answers.stopped) == {True}


# --- several models ---


def test_the_more_successful_model_is_asked_more_often():
    generator = np.random.default_rng(0)
    tallies = {MODELS[0].name: Tally(40, 20), MODELS[1].name: Tally(40, 2)}
    names = [choose_model(MODELS, tallies, generator).name for _ in range(200)]
    assert names.count(MODELS[0].name) > 190


def test_unknown_models_are_tried_and_weights_count():
    generator = np.random.default_rng(0)
    even = [choose_model(MODELS, {}, generator).name for _ in range(400)]
    assert 150 < even.count(MODELS[0].name) < 250
    heavy = (MODELS[0], Model("claude-haiku-4-5", PRICE, weight=1000.0))
    assert {choose_model(heavy, {}, generator).name for _ in range(50)} == {"claude-haiku-4-5"}


def test_its_name_holds_what_matters_and_not_where_answers_come_from():
    class Nowhere:
        spent = 0.0

    claude, other = Claude(Nowhere(), MODELS, parallel=1), Claude(None, MODELS, parallel=4)
    assert claude.name == other.name
    names = {
        claude.name, Claude(None, MODELS[:1]).name, Claude(None, MODELS, max_tokens=1).name,
        Claude(None, MODELS, edits=0.1).name, Claude(None, (MODELS[0], MODELS[0])).name,
        Claude(None, (MODELS[0], replace(MODELS[1], forced=False))).name,
        Claude(None, (MODELS[0], replace(MODELS[1], weight=1.0000001))).name,
    }  # fmt: skip
    assert len(names) == 7


def test_settings_without_sense_are_refused():
    for settings in ({"max_tokens": 0}, {"edits": 1.5}, {"parallel": 0}):
        with pytest.raises(ValueError, match="wanted max_tokens and parallel from 1"):
            Claude(None, MODELS, **settings)
    with pytest.raises(ValueError, match="wanted models with weights above 0"):
        Claude(None, (read_models()["claude-opus-5"],))


def test_neither_the_sdk_nor_torch_is_imported_before_it_is_used():
    code = "import sys, actlab.search.proposers.claude; print({'anthropic', 'httpx2', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
