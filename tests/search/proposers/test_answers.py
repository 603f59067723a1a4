"""Where answers come from: the service through the SDK, a cap on its cost, the recording, and its replay."""

import contextlib
import json
import re
import sqlite3
import threading
import time
import tomllib
import traceback

import anthropic
import messages_server as service
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messages_server import KEY, Reply, serving

from actlab.core.records import PACKAGE
from actlab.search.proposers.answers import (
    FIRST_WAIT,
    LONGEST_PLEA,
    LONGEST_WAIT,
    NO_KEY,
    PATIENCE,
    CapReached,
    Live,
    MissingAnswer,
    NoKey,
    Replayed,
    ServiceError,
    Stopped,
    client,
)
from actlab.search.proposers.models import OVERHEAD, TABLE, Model, Price, Usage, choose, read_models
from actlab.search.proposers.recording import BY_HAND, TOKENS, Answer, AnswersError, Recording, canonical, request_hash

MODEL = Model("claude-haiku-5-5", Price(input=1.0, output=10.0, cache_write=2.0, cache_read=0.1))


def request(number: int = 0, max_tokens: int = 100) -> dict:
    content = [{"type": "text", "text": f"request {number}"}]
    return {"model": MODEL.name, "max_tokens": max_tokens, "messages": [{"role": "user", "content": content}]}


def worst(number: int = 0, max_tokens: int = 100) -> float:
    return MODEL.worst(len(canonical(request(number, max_tokens))), max_tokens)


@contextlib.contextmanager
def opened(path, server, timeout=5.0):
    """A client of the server and a recording."""
    with client(KEY, server.url, timeout) as asking, Recording(path) as recording:
        yield asking, recording


def answer_at(path, respond, cap=100.0, number=0, timeout=5.0, **settings):
    """The answer of a fresh `Live` to one request, its recording's spending and the waits between attempts."""
    waits = []
    with serving(respond) as server, opened(path, server, timeout) as (asking, recording):
        live = Live(asking, recording, (MODEL,), cap, sleep=waits.append, jitter=lambda: 0.0, **settings)
        answer = live.ask(request(number), 7)
        return answer, live.spent, waits, recording.calls()


def nested(depth):
    """The body of a message whose content nests so deep."""
    block = '{"type": "tool_use", "name": "rewrite", "input": ' + "[" * depth + "]" * depth + "}"
    usage = '{"input_tokens": 100, "output_tokens": 50}'
    return f'{{"stop_reason": "tool_use", "content": [{block}], "usage": {usage}}}'.encode()


# --- the table ---


def test_every_model_of_the_table_has_a_name_that_the_sdk_lists_and_prices():
    from typing import get_args

    from anthropic.types.model import Model as Names

    names = {name for part in get_args(Names) for name in get_args(part)}
    models = read_models()
    assert set(models) <= names
    for model in models.values():
        assert 0 < model.price.cache_read < model.price.input < model.price.cache_write < model.price.output


def test_the_table_is_part_of_the_package():
    pyproject = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    assert str(TABLE.relative_to(PACKAGE)) in pyproject["tool"]["setuptools"]["package-data"]["actlab"]


def test_a_cost_is_tokens_times_prices():
    usage = Usage(input=1_000_000, output=100_000, cache_write=10_000, cache_read=1_000_000)
    assert MODEL.cost(usage) == pytest.approx(1.0 + 1.0 + 0.02 + 0.1)


def test_a_long_prompt_has_prices_of_its_own():
    model = read_models()["claude-haiku-5-5"]
    assert model.cost(Usage(input=100_000)) == pytest.approx(0.01)
    assert model.cost(Usage(input=60_000, cache_write=20_000, cache_read=20_001)) == pytest.approx(
        (60_000 * 0.50 + 20_000 * 0.625 + 20_001 * 0.05) / 1e6
    )
    assert model.worst(100_000, 10) == pytest.approx(((100_000 + OVERHEAD) * 0.625 + 10 * 2.50) / 1e6)
    assert model.worst(50_000, 10) == pytest.approx(((50_000 + OVERHEAD) * 0.125 + 10 * 0.50) / 1e6)


@given(st.integers(0, 300_000), st.integers(1, 10_000), st.data())
def test_no_usage_that_a_request_allows_costs_more_than_its_worst_case(size, max_tokens, data):
    parts = sorted(data.draw(st.lists(st.integers(0, size + OVERHEAD), min_size=3, max_size=3)))
    usage = Usage(parts[0], data.draw(st.integers(0, max_tokens)), parts[1] - parts[0], parts[2] - parts[1])
    for model in read_models().values():
        assert model.cost(usage) <= model.worst(size, max_tokens) + 1e-12


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[m]\ninput = 1", r"m\.output: wanted a number from 0; got None"),
        ("[m]\ninput = -1\noutput = 1\ncache_write = 1\ncache_read = 1", r"m\.input: wanted a number from 0; got -1"),
        ("[m]\nprice = 1", "wanted entries among .*; got 'price'"),
        ("[m]\nforced = 1", r"m\.forced: wanted true or false; got 1"),
        ("[m]\neffort = 'huge'", r"m\.effort: wanted one of low, .*; got 'huge'"),
        ("[m]\nlong = 3", r"m\.long: wanted prices and `above`"),
        ("m = 3", r"wanted a section \[m\]; got 3"),
        ("[m", "wanted a table of models in TOML"),
    ],
)
def test_a_table_that_is_none_is_refused_in_words(tmp_path, text, words):
    (tmp_path / "models.toml").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_models(tmp_path / "models.toml")


def test_models_are_chosen_by_weight_or_by_name():
    models = read_models()
    assert [model.name for model in choose(models)] == ["claude-haiku-5-5", "claude-sonnet-5-5"]
    (named,) = choose(models, {"claude-opus-5": 2.0})
    assert (named.name, named.weight, named.price) == ("claude-opus-5", 2.0, models["claude-opus-5"].price)
    with pytest.raises(ValueError, match=r"wanted a model of the table .*; got 'gpt'"):
        choose(models, {"gpt": 1.0})
    with pytest.raises(ValueError, match="wanted at least one model"):
        choose(models, {"claude-opus-5": 0.0})


# --- the service ---


def test_an_answer_comes_through_the_sdk_and_is_kept_with_its_cost(tmp_path):
    reply = service.message(service.text("hello"), stop="end_turn", cache_creation_input_tokens=1000)
    answer, spent, waits, calls = answer_at(tmp_path / "a", lambda *_: reply)
    assert answer == Answer(request_hash(request()), "end_turn", (service.text("hello"),))
    assert spent == pytest.approx((100 * 1.0 + 50 * 10.0 + 1000 * 2.0) / 1e6)
    assert waits == []
    (row,) = calls.to_dict("records")
    assert (row["candidate"], row["model"], row["outcome"]) == (7, MODEL.name, "answered")
    assert (row["input"], row["output"], row["cache_write"], row["cache_read"]) == (100, 50, 1000, 0)


def test_what_is_kept_is_not_asked_again(tmp_path):
    first, *_ = answer_at(tmp_path / "a", lambda *_: service.message(service.text("one")))
    again, spent, _, calls = answer_at(tmp_path / "a", lambda *_: service.message(service.text("two")))
    assert again == first
    assert len(calls) == 1
    assert spent == pytest.approx(600e-6)


@pytest.mark.parametrize(
    ("trouble", "waits", "free"),
    [
        (service.error(429, "rate_limit_error", retry_after="7"), [7.0], True),
        (service.error(429, "rate_limit_error", retry_after="1e9"), [LONGEST_PLEA], True),
        (service.error(429, "rate_limit_error", retry_after="tomorrow"), [FIRST_WAIT], True),
        (service.error(529, "overloaded_error"), [FIRST_WAIT], True),
        (service.error(503, "api_error"), [FIRST_WAIT], True),
        (service.error(500, "api_error"), [FIRST_WAIT], False),
        (Reply(drop=True), [FIRST_WAIT], False),
        (Reply(b"<html>"), [FIRST_WAIT], False),
        (Reply({"type": "message"}), [FIRST_WAIT], False),
        (service.message(service.text("?"), input_tokens=-1), [FIRST_WAIT], False),
        (service.message(service.text("?"), input_tokens=10**30), [FIRST_WAIT], False),
        (service.message(service.text("?"), output_tokens=None), [FIRST_WAIT], False),
        (service.message(service.text("?"), output_tokens=101), [FIRST_WAIT], False),  # 100 were allowed
        (service.message(service.text("?"), input_tokens=10_000), [FIRST_WAIT], False),  # for 200 bytes
        (service.message(service.text("?"), cache_read_input_tokens=10_000), [FIRST_WAIT], False),
        (service.message(service.text("?"), stop="\ud800"), [FIRST_WAIT], False),
        (service.message("text"), [FIRST_WAIT], False),
        (service.message({"text": "of no type"}), [FIRST_WAIT], False),
        (Reply(nested(200)), [FIRST_WAIT], False),
        (Reply(nested(100_000)), [FIRST_WAIT], False),
    ],
)
def test_trouble_is_met_by_another_attempt(tmp_path, trouble, waits, free):
    replies = [trouble, service.message(service.text("well"))]
    answer, spent, waited, calls = answer_at(tmp_path / "a", lambda _, number: replies[number])
    assert answer.content == (service.text("well"),)
    assert waited == waits
    assert calls.usd.tolist() == pytest.approx([0.0 if free else worst(), 600e-6])
    assert spent == pytest.approx(calls.usd.sum())


def test_a_service_that_counts_what_cannot_be_ends_no_search_for_good(tmp_path):
    far_beyond = service.message(service.text("?"), output_tokens=10**9)
    words = r"no answer in 2 attempts .*; the last one: an answer with impossible usage: Usage\(input=100, output=10{9}"
    with pytest.raises(ServiceError, match=words):
        answer_at(tmp_path / "a", lambda *_: far_beyond, cap=3 * worst(), attempts=2)
    answer, spent, _, calls = answer_at(
        tmp_path / "a", lambda *_: service.message(service.text("well")), cap=3 * worst()
    )
    assert answer.content == (service.text("well"),)
    assert calls.outcome.tolist() == ["impossible usage"] * 2 + ["answered"]
    assert spent == pytest.approx(2 * worst() + 600e-6)


def test_an_answer_that_is_too_slow_counts_in_full_and_is_asked_for_again(tmp_path):
    replies = [Reply(delay=0.6), service.message(service.text("well"))]
    answer, _, _, calls = answer_at(tmp_path / "a", lambda _, number: replies[number], timeout=0.3)
    assert answer.content == (service.text("well"),)
    assert calls.outcome.tolist() == ["timed out", "answered"]
    assert calls.usd[0] == pytest.approx(worst())


def test_a_service_that_is_not_there_costs_nothing_and_is_asked_again_later(tmp_path):
    waits, words = [], r"http://127.0.0.1:9.*: no answer in 3 attempts and 2 s of waiting; the last one: the service c"
    with Recording(tmp_path / "a") as recording, client(KEY, "http://127.0.0.1:9") as asking:
        live = Live(asking, recording, (MODEL,), 1.0, attempts=1, patience=2.0, sleep=waits.append, jitter=lambda: 0.5)
        with pytest.raises(ServiceError, match=words):
            live.ask(request(), 7)
        assert live.spent == 0
        assert waits == [FIRST_WAIT * 0.75, 2.0 - FIRST_WAIT * 0.75]
        with pytest.raises(MissingAnswer):
            Replayed(recording).ask(request(), 7)
    answer, *_ = answer_at(tmp_path / "a", lambda *_: service.message(service.text("well")))
    assert answer.content == (service.text("well"),)


AWAY = {
    "lost": Reply(drop=True),
    "slow": Reply(delay=0.6, drop=True),
    "another page": Reply(b"<html>"),
    "a gateway": Reply(b"<html>502 Bad Gateway", 502),
    "of an error": service.error(500, "api_error"),
    "in conflict": service.error(409, "conflict_error"),
    "busy": service.error(429, "rate_limit_error"),
    "overloaded": service.error(529, "overloaded_error"),
}


@pytest.mark.parametrize("reply", AWAY.values(), ids=AWAY)
def test_an_outage_is_never_kept_as_an_answer_and_the_service_is_asked_again_later(tmp_path, reply):
    with pytest.raises(ServiceError, match=r"no answer in 2 attempts and 1 s of waiting; .*; the same search goes on"):
        answer_at(tmp_path / "a", lambda *_: reply, timeout=0.3, attempts=2, patience=1.0)
    with Recording(tmp_path / "a", read_only=True) as recording:
        assert recording.find(request_hash(request())) is None
        assert len(recording.calls()) == 2
    answer, *_ = answer_at(tmp_path / "a", lambda *_: service.message(service.text("well")))
    assert answer.content == (service.text("well"),)


def test_a_service_without_room_is_waited_for_ever_longer_and_for_ten_minutes_in_all(tmp_path, caplog):
    waits, busy, words = [], service.error(529, "overloaded_error"), "in 12 attempts and 600 s of waiting; the last"
    caplog.set_level("INFO", "actlab")
    with serving(lambda *_: busy) as server, opened(tmp_path / "a", server) as (asking, recording):
        live = Live(asking, recording, (MODEL,), 1.0, sleep=waits.append, jitter=lambda: 0.0)
        with pytest.raises(ServiceError, match=f"{words} one: 529 overloaded_error"):
            live.ask(request(), 7)
        assert live.spent == 0
    said = [record.getMessage() for record in caplog.records if record.name.startswith("actlab")]
    assert said[0] == "no answer yet: 529 overloaded_error; the service is asked again in 32 s"
    assert len(said) == 6
    assert waits == [1, 2, 4, 8, 16, 32, 64, LONGEST_WAIT, LONGEST_WAIT, LONGEST_WAIT, 113]
    assert sum(waits) == PATIENCE == 600


def test_calls_that_may_be_billed_are_few_however_long_the_service_is_waited_for(tmp_path):
    with pytest.raises(ServiceError, match="no answer in 6 attempts and 31 s of waiting; the last one: 500 api_error"):
        answer_at(tmp_path / "a", lambda *_: service.error(500, "api_error"))
    with Recording(tmp_path / "a", read_only=True) as recording:
        assert recording.spent() == pytest.approx(6 * worst())


def test_what_a_filter_holds_back_is_a_refusal_that_is_kept_and_counts_in_full(tmp_path):
    answer, spent, waits, calls = answer_at(tmp_path / "a", lambda *_: service.blocked())
    assert answer == Answer(answer.hash, "refusal", error="Output blocked by content filtering policy")
    assert (spent, waits, calls.outcome.tolist()) == (pytest.approx(worst()), [], ["answered"])
    with Recording(tmp_path / "a", read_only=True) as recording:
        assert Replayed(recording).ask(request(), 7) == answer


@pytest.mark.parametrize("settings", [{"attempts": 0}, {"patience": -1.0}, {"patience": float("nan")}])
def test_no_attempt_and_no_patience_are_refused(tmp_path, settings):
    refused = pytest.raises(ValueError, match=r"wanted at least one attempt|wanted a patience in seconds")
    with Recording(tmp_path / "a") as recording, client(KEY) as asking, refused:
        Live(asking, recording, (MODEL,), 1.0, **settings)


def test_a_request_that_is_too_large_has_its_answer_and_costs_nothing(tmp_path):
    answer, spent, waits, _ = answer_at(tmp_path / "a", lambda *_: service.error(413, "request_too_large", "no"))
    assert answer == Answer(answer.hash, "failed", error="413 request_too_large: no")
    assert (spent, waits) == (0.0, [])
    with pytest.raises(ServiceError, match=r"refused the request \(413 error"):  # a gateway's word, not the service's
        answer_at(tmp_path / "b", lambda *_: Reply(b"<html>", 413))


@pytest.mark.parametrize(
    ("status", "kind"), [(400, "invalid_request_error"), (401, "authentication_error"), (403, "permission_error"),
                         (404, "not_found_error")],
)  # fmt: skip
def test_what_asking_again_cannot_mend_is_raised_at_once_in_one_line_without_the_key(tmp_path, caplog, status, kind):
    caplog.set_level("DEBUG")
    reply = service.error(status, kind, f"no such\nkey: {KEY}")
    with pytest.raises(ServiceError, match=rf"refused the request \({status} {kind}: no such key: \[key\]\)") as caught:
        answer_at(tmp_path / "a", lambda *_: reply)
    assert "\n" not in str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert KEY not in caplog.text
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.iterdir())


def test_without_a_key_one_line_says_how_to_give_one():
    for key in (None, ""):
        with pytest.raises(NoKey) as caught:
            client(key)
        assert str(caught.value) == NO_KEY
    assert "ANTHROPIC_API_KEY" in NO_KEY
    assert "\n" not in NO_KEY


def test_white_space_around_a_key_is_not_part_of_it_and_no_log_has_the_key(tmp_path, caplog):
    caplog.set_level("DEBUG")
    with serving(lambda *_: service.message(service.text("well"))) as server, Recording(tmp_path / "a") as recording:
        with client(f" {KEY}\r\n", f"{server.url} ") as asking:
            assert Live(asking, recording, (MODEL,), 1.0).ask(request(), 0).content == (service.text("well"),)
        assert server.keys == {KEY}
    assert "127.0.0.1" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("key", ["secret words", "secret\nwords", "sécret", "secret\x1b[m"])
def test_what_is_no_key_is_refused_and_not_shown(key):
    with pytest.raises(NoKey, match="wanted a key of printable ASCII characters without spaces") as caught:
        client(key)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "HOST", "HOST:80/v1", "ftp://HOST", "http://", "http:HOST", "http://HOST:x", "http://HOST:99999",
            "https://me:secret@HOST:99999/?secret"],
)  # fmt: skip
def test_an_address_that_nothing_can_be_sent_to_is_refused_without_what_is_secret_in_it(url):
    with pytest.raises(ServiceError, match=r"wanted the address of the service, as https://HOST; got '") as caught:
        client(KEY, url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"base_url": "127.0.0.1:9"}, {"api_key": f"{KEY}\n"}], ids=["address", "key"])
def test_a_call_that_could_not_be_sent_is_not_billed(tmp_path, wrong):
    settings = {"api_key": KEY, "base_url": "http://127.0.0.1:9", "max_retries": 0} | wrong
    with Recording(tmp_path / "a") as recording, anthropic.Anthropic(**settings) as asking:
        with pytest.raises(ServiceError, match="the service could not be reached"):
            Live(asking, recording, (MODEL,), 1.0, patience=0.1, sleep=lambda _: None).ask(request(), 7)
        assert (len(recording.calls()), recording.spent()) == (2, 0.0)


def test_the_sdk_is_wanted_in_a_version_that_was_tried():
    pyproject = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    search = pyproject["project"]["optional-dependencies"]["search"]
    (bound,) = [re.fullmatch(r"anthropic>=([0-9.]+)", text)[1] for text in search if text.startswith("anthropic")]
    assert int(bound.partition(".")[0]) >= 2  # 1 has another HTTP client


def test_the_client_takes_nothing_from_the_environment(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "another")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
    with pytest.raises(NoKey):
        client(None)
    with client(KEY) as asking:
        assert (asking.api_key, str(asking.base_url).rstrip("/")) == (KEY, "https://api.anthropic.com")


# --- money ---


def test_a_call_that_may_pass_the_cap_is_not_sent(tmp_path):
    words = r"the cap of 0\.01 USD is reached: 0\.0000 USD are spent, .* may cost 0\.00\d\d USD; .* a higher cap"
    with serving(lambda *_: service.message()) as server, opened(tmp_path / "a", server) as (asking, recording):
        live = Live(asking, recording, (MODEL,), worst() * 0.999)
        with pytest.raises(CapReached, match=words):
            live.ask(request(), 0)
        assert server.requests == []
        assert Live(asking, recording, (MODEL,), worst()).ask(request(), 0).stop == "tool_use"


def test_calls_that_do_not_fit_beside_those_in_flight_wait_for_them(tmp_path):
    cap = 2.5 * worst(0, 1000)  # two at a time, and many one after another
    reply, flying, most = service.message(service.text("x"), output_tokens=1), [], []

    def respond(*_):
        flying.append(1)
        most.append(len(flying))
        time.sleep(0.02)
        flying.pop()
        return reply

    with serving(respond) as server, opened(tmp_path / "a", server) as (asking, recording):
        live = Live(asking, recording, (MODEL,), cap)
        threads = [threading.Thread(target=live.ask, args=(request(i, 1000), i)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(recording.find(request_hash(request(i, 1000))) for i in range(8))
        assert live.spent == pytest.approx(8 * 110e-6)
    assert max(most) == 2


def test_a_call_whose_end_is_not_known_counts_in_full_when_the_file_is_opened_again(tmp_path):
    with Recording(tmp_path / "a") as recording:
        assert recording.reserve("hash", 3, MODEL.name, 0.5, 0.8, 0.0) == 1  # and then the process was killed
    with Recording(tmp_path / "a") as recording:
        assert recording.spent() == 0.5
        assert recording.reserve("other", 4, MODEL.name, 0.4, 0.8, 0.0) is None
        assert recording.bill(3)["usd"] == recording.bill()["usd"] == 0.5


ACTS = st.sampled_from(["answer", "longest", "impossible", "429", "500", "drop", "junk", "crash", "blocked"])


class Crash(BaseException):
    """The end of a process, as far as the caller sees it."""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ACTS, min_size=1, max_size=12), st.integers(1, 6), st.integers(0, 100))
def test_whatever_happens_the_cap_is_never_passed_by_what_was_or_may_be_billed(tmp_path_factory, acts, room, salt):
    """The bill is kept by the service's side: what it worked on is billed, whether the answer arrived or not."""
    path = tmp_path_factory.mktemp("cap") / f"a{salt}"
    cap, bill, crash = room * worst(0, 1000) * 0.9, [], []
    longest = {"input_tokens": len(canonical(request(0, 1000))), "output_tokens": 1000}
    dear = MODEL.cost(Usage(longest["input_tokens"], 1000))

    def respond(_, number):
        act = acts[number % len(acts)]
        if act == "429":
            return service.error(429, "rate_limit_error")
        if act == "answer":
            bill.append(600e-6)
            return service.message(service.text("x"))
        bill.append(dear)  # all that follows may have been worked on
        crash[:] = ["crash"] if act == "crash" else []
        return {
            "longest": service.message(service.text("x"), **longest),
            "impossible": service.message(service.text("x"), output_tokens=10**6),
            "500": service.error(500, "api_error"), "drop": Reply(drop=True), "junk": Reply(b"junk"),
            "crash": Reply(drop=True), "blocked": service.blocked(),
        }[act]  # fmt: skip

    def sleep(_):
        if crash:
            raise Crash

    with serving(respond) as server:
        for number in range(20):
            with opened(path, server) as (asking, recording):
                live = Live(asking, recording, (MODEL,), cap, attempts=3, patience=3.0, sleep=sleep)
                try:
                    live.ask(request(number % 7, 1000), number)
                except CapReached:
                    break
                except Crash:
                    crash.clear()
                except ServiceError:  # out of reach in all attempts; the next command asks again
                    pass
                assert recording.spent() <= cap + 1e-12
        assert sum(bill) <= cap + 1e-12


# --- the end of a search ---


def test_nothing_is_asked_once_the_answer_is_not_wanted(tmp_path):
    stop = threading.Event()
    with serving(lambda *_: service.message(service.text("well"))) as server:
        with opened(tmp_path / "a", server) as (asking, recording):
            live = Live(asking, recording, (MODEL,), 1.0)
            kept = live.ask(request(0), 0, stop)
            stop.set()
            assert live.ask(request(0), 0, stop) == kept
            with pytest.raises(Stopped):
                live.ask(request(1), 1, stop)
        assert len(server.requests) == 1


def test_a_wait_between_attempts_ends_with_the_search(tmp_path):
    stop, raised, came = threading.Event(), [], threading.Event()

    def respond(*_):
        came.set()
        return service.error(429, "rate_limit_error", retry_after="20")

    with serving(respond) as server, opened(tmp_path / "a", server) as (asking, recording):
        live = Live(asking, recording, (MODEL,), 1.0)

        def ask():
            try:
                live.ask(request(), 0, stop)
            except Stopped as error:
                raised.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        assert came.wait(10)
        stop.set()
        thread.join(10)
        assert raised and not thread.is_alive()
        assert len(server.requests) == 1


# --- recording and replay ---


def recorded(path, count=3):
    reply = service.message(service.rewrite(), service.text("é"))
    with serving(lambda *_: reply) as server, opened(path, server) as (asking, recording):
        live = Live(asking, recording, (MODEL,), 1.0)
        answers = [live.ask(request(i), i) for i in range(count)]
        for answer, ending in zip(answers, ("answered", "malformed", "refused"), strict=False):
            live.judge(answer, ending)
    return answers


def test_a_replay_gives_the_answers_of_the_recording_without_a_service(tmp_path):
    answers = recorded(tmp_path / "a")
    before = (tmp_path / "a").read_bytes()
    with Recording(tmp_path / "a", read_only=True) as recording:
        replayed = Replayed(recording)
        assert [replayed.ask(request(i), i) for i in range(3)] == answers
        replayed.judge(answers[0], "refused")
        assert replayed.spent == 0
    assert (tmp_path / "a").read_bytes() == before


def test_a_request_that_the_recording_lacks_is_named(tmp_path):
    recorded(tmp_path / "a")
    words = rf"{request_hash(request(9))} \(program 42, model {MODEL.name}\)"
    with Recording(tmp_path / "a", read_only=True) as recording, pytest.raises(MissingAnswer, match=words):
        Replayed(recording).ask(request(9), 42)


def test_a_recording_as_text_says_the_same(tmp_path):
    answers = recorded(tmp_path / "a")
    with Recording(tmp_path / "a", read_only=True) as recording:
        recording.export(tmp_path / "a.jsonl")
        with Recording(tmp_path / "a.jsonl", read_only=True) as lines:
            assert [lines.find(answer.hash) for answer in answers] == answers
            assert lines.meta() == recording.meta()
            assert lines.summary() == recording.summary()
            assert lines.calls().equals(recording.calls())
            lines.export(tmp_path / "b.jsonl")
    assert (tmp_path / "b.jsonl").read_text() == (tmp_path / "a.jsonl").read_text()


def test_the_summary_counts_endings_calls_tokens_and_dollars_by_model(tmp_path):
    recorded(tmp_path / "a")
    with Recording(tmp_path / "a") as recording:
        call = recording.reserve("h", 5, "claude-opus-5", 0.25, 1.0, 0.0)
        recording.settle(call, "429 rate_limit_error", 0.0)
        recording.keep(request(5) | {"model": "claude-opus-5"}, Answer("h", "failed", error="no answer"), 5)
        recording.judge("h", "failed")
        haiku, opus = recording.summary()
    assert haiku.pop("usd") == pytest.approx(3 * 600e-6)
    assert haiku == {
        "model": MODEL.name, "requests": 3, "answered": 1, "refused": 1, "truncated": 0, "malformed": 1, "failed": 0,
        "calls": 3, "retried": 0, "input": 300, "output": 150, "cache_write": 0, "cache_read": 0,
        "cached": 0.0, "origin": "live",
    }  # fmt: skip
    assert (opus["requests"], opus["failed"], opus["calls"], opus["retried"], opus["usd"]) == (1, 1, 1, 1, 0.0)


def test_the_bill_of_a_candidate_is_that_of_its_calls_alone(tmp_path):
    nothing = {"requests": 0, "calls": 0, "retried": 0, **dict.fromkeys(TOKENS, 0), "usd": 0.0, "cached": None}
    with Recording(tmp_path / "a") as recording:
        assert recording.bill() == recording.bill(1) == nothing | {"origin": "live"}
        for id, (usage, usd) in enumerate([(Usage(100, 50, 200, 100), 0.25), (Usage(100, 10, 0, 300), 0.5)], 1):
            call = recording.reserve("lost", id, MODEL.name, 0.125, 9.0, 0.0)
            recording.settle(call, "the connection was lost", None)
            call = recording.reserve(str(id), id, MODEL.name, 1.0, 9.0, 0.0)
            recording.keep(request(id), Answer(str(id), "end_turn"), id, call, usd, usage)
        tokens = {"input": 100, "output": 50, "cache_write": 200, "cache_read": 100}
        counts = {"requests": 1, "calls": 2, "retried": 1}
        assert recording.bill(1) == counts | tokens | {"usd": 0.375, "cached": 0.25, "origin": "live"}
        assert (recording.bill(2)["usd"], recording.bill(2)["cached"]) == (0.625, 0.75)
        assert (recording.bill()["usd"], recording.bill()["cached"]) == (1.0, 0.5)
        assert recording.bill(3)["requests"] == 0


def test_a_recording_written_by_hand_says_so_and_takes_no_live_answers(tmp_path):
    with Recording(tmp_path / "a", origin=BY_HAND) as recording, client(KEY) as asking:
        recording.keep(request(), Answer(request_hash(request()), "end_turn"), 0)
        recording.export(tmp_path / "a.jsonl")
        with pytest.raises(AnswersError, match="wanted a recording of live calls; got a hand-written one"):
            Live(asking, recording, (MODEL,), 1.0)
    assert json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])["origin"] == "hand-written"
    with Recording(tmp_path / "a.jsonl", read_only=True) as lines:
        assert lines.origin == "hand-written"
    with Recording(tmp_path / "a") as again:  # what it was made as, it stays
        assert again.origin == "hand-written"


def test_a_live_recording_names_its_service(tmp_path):
    recorded(tmp_path / "a", 1)
    with Recording(tmp_path / "a", read_only=True) as recording:
        assert recording.origin == "live"
        assert recording.meta()["service"].startswith("http://127.0.0.1:")


def test_the_key_is_in_no_file_and_no_log(tmp_path, caplog):
    caplog.set_level("DEBUG")
    replies = [service.error(429, "rate_limit_error", KEY), Reply(drop=True), service.error(500, "api_error", KEY)]
    replies += [service.message(service.text("well"))]
    with serving(lambda _, number: replies[number]) as server, opened(tmp_path / "a", server) as (asking, recording):
        Live(asking, recording, (MODEL,), 1.0, sleep=lambda _: None).ask(request(), 0)
        assert server.keys == {KEY}  # the test would see it
        recording.export(tmp_path / "a.jsonl")
    assert "127.0.0.1" in caplog.text
    assert KEY not in caplog.text
    for path in tmp_path.iterdir():
        assert KEY.encode() not in path.read_bytes(), path.name


def test_the_key_and_what_looks_like_one_are_in_no_answer(tmp_path):
    other = "sk-ant-oat01-of_someone-else"
    blocks = service.text(f"my key is {KEY}."), service.rewrite(f"f('{other}')", name=KEY), {"type": KEY, KEY: [KEY]}
    answer, *_ = answer_at(tmp_path / "a", lambda *_: service.message(*blocks))
    masked = service.text("my key is [key]."), service.rewrite("f('[key]')", name="[key]")
    assert answer.content == (*masked, {"type": "[key]", "[key]": ["[key]"]})
    with Recording(tmp_path / "a", read_only=True) as recording:
        assert recording.find(answer.hash) == answer
    for path in tmp_path.iterdir():
        assert not any(secret.encode() in path.read_bytes() for secret in (KEY, other))


def test_a_key_that_is_no_secret_leaves_answers_as_they_are(tmp_path):
    reply = service.message(service.text("x + 1"))
    with serving(lambda *_: reply) as server, client("x", server.url) as asking, Recording(tmp_path / "a") as recording:
        assert Live(asking, recording, (MODEL,), 1.0).ask(request(), 0).content == (service.text("x + 1"),)


def test_the_address_of_the_service_is_noted_without_what_is_secret_in_it(tmp_path):
    with Recording(tmp_path / "a") as recording, client(KEY, "http://me:secret@host.test:1/v1?token=secret") as asking:
        Live(asking, recording, (MODEL,), 1.0)
        assert recording.meta()["service"].rstrip("/") == "http://host.test:1/v1"
    assert b"secret" not in (tmp_path / "a").read_bytes()


def test_a_recording_is_of_one_run_and_has_all_that_was_answered_to_it(tmp_path):
    recorded(tmp_path / "a", 2)
    with Recording(tmp_path / "a") as recording, Recording(tmp_path / "b") as other, client(KEY) as asking:
        live = Live(asking, recording, (MODEL,), 1.0)
        live.bind("run", {0: MODEL.name, 1: MODEL.name, 2: "grammar"})
        live.bind("run", {0: MODEL.name})
        with pytest.raises(AnswersError, match=r"b: wanted the recording that this run began with.* 2 of its prog"):
            Live(asking, other, (MODEL,), 1.0).bind("run", {0: MODEL.name, 1: MODEL.name, 2: "grammar"})
        assert "run" not in other.meta()
        with pytest.raises(AnswersError, match="a: wanted the recording of this run; got that of another one"):
            live.bind("another", {})
        recording.export(tmp_path / "a.jsonl")
    with Recording(tmp_path / "a.jsonl", read_only=True) as lines:
        assert lines.meta()["run"] == "run"
        Replayed(lines).bind("another", {5: MODEL.name})  # which costs nothing


def test_what_is_read_together_is_of_one_moment(tmp_path):
    with Recording(tmp_path / "a") as writing, Recording(tmp_path / "a", read_only=True) as reading:
        writer = threading.Thread(target=writing.reserve, args=("hash", 0, MODEL.name, 0.5, 1.0, 0.0))
        with reading.reading():
            assert (reading.summary(), reading.spent()) == ([], 0.0)
            writer.start()
            writer.join(0.5)
            assert (reading.summary(), reading.spent()) == ([], 0.0)
        writer.join()
        assert reading.spent() == 0.5


HEADER = b'{"actlab recording": 1, "origin": "live"}\n'


def answer_line(**changes):
    """An answer as a line of a recording, with changes."""
    entry = {"hash": request_hash(request()), "candidate": 0, "model": "m", "request": request(), "stop": "end_turn",
             "content": [], "error": None, "ending": None}  # fmt: skip
    return HEADER + json.dumps({"answer": entry | changes}).encode()


def call_line(**changes):
    entry = {"hash": "h", "candidate": 0, "model": "m", "asked": 0.0, "reserved": 0.0, "usd": None, "outcome": None,
             "input": 0, "output": 0, "cache_write": 0, "cache_read": 0}  # fmt: skip
    return HEADER + json.dumps({"call": entry | changes}).encode()


def test_the_lines_that_are_changed_below_are_those_of_a_recording(tmp_path):
    for name, line in (("a", answer_line()), ("b", call_line())):
        (tmp_path / name).write_bytes(line)
        Recording(tmp_path / name, read_only=True).close()


@pytest.mark.parametrize(
    "line",
    [
        answer_line(content=["text"]), answer_line(content=[{"text": "of no type"}]),
        answer_line(content=[{"type": 1}]), call_line(model=None), HEADER + b"[" * 100_000, HEADER + b"\xff",
        answer_line(content=[{"type": "text", "text": json.loads("[" * 60 + "]" * 60)}]),
        answer_line(candidate=10**30), answer_line(candidate="1"), answer_line(stop={}), answer_line(stop="\ud800"),
        answer_line(error=1), answer_line(ending="dreamt"), call_line(input=10**30), call_line(usd=float("nan")),
        call_line(reserved=-1.0), call_line(asked=True),
        b'{"actlab recording": 1, "origin": "live", "service": {}}\n',
    ],
)  # fmt: skip
def test_lines_with_values_that_no_recording_has_are_refused_in_words(tmp_path, line):
    (tmp_path / "a").write_bytes(line)
    with pytest.raises(AnswersError, match=r"wanted a recording; got a damaged or foreign one|wanted the header"):
        Recording(tmp_path / "a", read_only=True)


@pytest.mark.parametrize("content", ["[" * 100_000, '["text"]', "nonsense", "{}"])
def test_an_answer_that_is_none_is_refused_when_it_is_asked_for(tmp_path, content):
    recorded(tmp_path / "a", 1)
    with contextlib.closing(sqlite3.connect(tmp_path / "a")) as db, db:
        db.execute("UPDATE answers SET content = ?", (content,))
        db.execute("DROP TABLE seals")  # as in a file of before there were seals
    damaged = pytest.raises(AnswersError, match=r"a damaged or foreign one .the answer to request .* is none")
    with Recording(tmp_path / "a", read_only=True) as recording, damaged:
        Replayed(recording).ask(request(0), 0)


def test_a_recording_without_an_origin_is_refused(tmp_path):
    recorded(tmp_path / "a", 1)
    with contextlib.closing(sqlite3.connect(tmp_path / "a")) as db, db:
        db.execute("DELETE FROM meta")
        db.execute("DROP TABLE seals")
    with pytest.raises(AnswersError, match="wanted the origin live or hand-written; got None"):
        Recording(tmp_path / "a", read_only=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not a database, but some text of some length " * 9, "wanted a recording; got a damaged or foreign one"),
        (b'{"actlab recording": 7, "origin": "live"}\n', "wanted the header of a recording of schema 1"),
        (b'{"actlab recording": 1, "origin": "dreamt"}\n', "wanted the header of a recording of schema 1"),
        (b'{"actlab recording": 1, "origin": "live"}\n{"x": 1}\n', "neither an answer nor a call"),
        (b'{"actlab recording": 1, "origin": "live"}\n{"call": {"usd": 1}}\n', "wanted hash, .* in a line; got usd"),
        (b'{"actlab recording": 1, "origin": "live"}\nnonsense\n', "a damaged or foreign one"),
        (b'{"actlab recording": 1, "origin": "live"}\n{"answer": {"hash": "0", "request": {}, "content": []}}\n',
         "a request and its hash 0 do not agree"),
    ],
)  # fmt: skip
def test_what_is_no_recording_is_refused_in_words(tmp_path, content, words):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(AnswersError, match=words):
        Recording(tmp_path / "a", read_only=True)


def test_a_missing_a_foreign_and_a_newer_recording_are_refused(tmp_path):
    with pytest.raises(AnswersError, match="wanted a recording; found none"):
        Recording(tmp_path / "a", read_only=True)
    with pytest.raises(AnswersError, match="wanted a folder to put it in"):
        Recording(tmp_path / "no" / "a")
    with pytest.raises(AnswersError, match="wanted a recording; got a folder"):
        Recording(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(AnswersError, match="wanted a recording; got an empty file"):
        Recording(tmp_path / "empty", read_only=True)
    with sqlite3.connect(tmp_path / "b") as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    with pytest.raises(AnswersError, match="got another SQLite database"):
        Recording(tmp_path / "b")
    recorded(tmp_path / "a", 1)
    with sqlite3.connect(tmp_path / "a") as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(AnswersError, match="got the newer schema 9"):
        Recording(tmp_path / "a")


def test_json_lines_are_not_written_to(tmp_path):
    recorded(tmp_path / "a", 1)
    with Recording(tmp_path / "a", read_only=True) as recording:
        recording.export(tmp_path / "a.jsonl")
    with pytest.raises(AnswersError, match="got JSON lines, which are only read"):
        Recording(tmp_path / "a.jsonl")
