"""Where a model's answers come from: the service itself, within a cap of US dollars, or a recording (ours)."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import random
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from actlab.candidates.language import short
from actlab.search.proposers.models import Model, Usage, most_tokens
from actlab.search.proposers.recording import (
    LIVE,
    MOST,
    Answer,
    AnswersError,
    Recording,
    blocks,
    canonical,
    note_replay,
    request_hash,
)

if TYPE_CHECKING:
    import anthropic
    import httpx2

LOG = logging.getLogger("actlab.answers")
SERVICE = "https://api.anthropic.com"
FAILED = "failed"  # as the reason to stop: the service will never take this request
TOO_LARGE = 413  # the status of a single request that is too large
UNPAID = (408, 409, 429, 503, 529)  # turned away before any work was done, hence not billed
FIRST_WAIT, LONGEST_WAIT = 1.0, 120.0  # seconds; doubled from one attempt to the next, and up to half of it random
LONGEST_PLEA = 300.0  # seconds; the longest wait that the service may ask for
LONG = 30.0  # seconds; longer waits are logged
PATIENCE = 600.0  # seconds; what one request waits for the service in all
BLOCKED = re.compile("blocked by content filtering policy", re.IGNORECASE)  # how the service words a filter's refusal
COUNTS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")  # as `Usage`
SECRET = 8  # characters; a shorter key, such as that of a service of one's own, is no secret, and occurs by chance
LIKE_A_KEY = re.compile(r"sk-ant-[\w.~+/=-]+")
NO_KEY = (
    "wanted a key for the Claude models; got none: set the environment variable ANTHROPIC_API_KEY, or search with the "
    "offline grammar, or replay a recording"
)


class NoKey(AnswersError):
    """A live call needs a key."""


class CapReached(AnswersError):
    """The next call may cost more than is left under the cap."""


class MissingAnswer(AnswersError):
    """The recording that is replayed does not hold the answer to a request."""


class ServiceError(AnswersError):
    """The service refuses requests such as this one, or does not answer: asking again now would not help."""


class Stopped(AnswersError):
    """The answer is no longer wanted: another one of its round failed, or the search was interrupted."""


class Answers(Protocol):
    """Answers requests; any class with these four members will do."""

    @property
    def spent(self) -> float:
        """US dollars that the answers cost so far; calls without a known end count at their worst case."""
        ...

    def bind(self, run: str, authors: Mapping[int, str]) -> None:
        """Is called before anything is asked, with the run's name, equal for equal runs, and its authors by id.

        Raises AnswersError if the answers are of another run, or lack some that were given to this one.
        """
        ...

    def ask(self, request: Mapping[str, Any], candidate: int, stop: threading.Event | None = None) -> Answer:
        """The answer to a request; threads may ask side by side. Raises a subclass of AnswersError if there is none.

        Args:
            request: the arguments of the service's Messages API, in plain JSON.
            candidate: the id of the program that is asked for, for the books.
            stop: once it is set, nothing more is paid for.
        """
        ...

    def judge(self, answer: Answer, ending: str) -> None:
        """Notes how an answer ended: answered, refused, truncated, malformed or failed."""
        ...


def client(key: str | None, base_url: str = SERVICE, timeout: float = 300.0) -> anthropic.Anthropic:
    """A client of the service; close it after use, or use it as a context manager.

    Surrounding white space of the key is dropped. The environment's proxies and certificates hold, and nothing else of
    it is read. One attempt may take `timeout` seconds. Raises NoKey if the key is missing or malformed, and
    ServiceError if nothing can be sent to such an address, or through such proxies, or with such certificates.
    """
    key = (key or "").strip()
    if not key:
        raise NoKey(NO_KEY)
    if not key.isascii() or not key.isprintable() or " " in key:  # else the SDK would fail, and log the key
        raise NoKey("wanted a key of printable ASCII characters without spaces; got one with others in it")
    import anthropic

    url, http = _address("the address of the service, as https://HOST", base_url), _http(timeout)
    return anthropic.Anthropic(api_key=key, base_url=url, timeout=timeout, max_retries=0, http_client=http)


def _http(timeout: float) -> httpx2.Client:
    """The SDK's usual client of HTTP, with the proxies and the certificates of the environment."""
    import anthropic
    import httpx2

    for scheme in ("http", "https", "all"):
        if proxy := urllib.request.getproxies().get(scheme):
            wanted = f"a proxy in {scheme.upper()}_PROXY, as http://HOST:PORT or socks5://HOST:PORT"
            _address(wanted, proxy if "://" in proxy else f"http://{proxy}", ("socks5", "socks5h"))
    try:
        return anthropic.DefaultHttpxClient(timeout=timeout)
    except ImportError as error:
        raise ServiceError("wanted the package socksio, for the environment's SOCKS proxy; got none") from error
    except OSError as error:
        file = os.environ.get("SSL_CERT_FILE")
        raise ServiceError(f"wanted certificates in the file of SSL_CERT_FILE; got {file!r} ({error})") from error
    except (ValueError, httpx2.InvalidURL) as error:
        raise ServiceError(f"wanted hosts, with commas between, in NO_PROXY; got others ({error})") from error


def _address(wanted: str, text: str, more: tuple[str, ...] = ()) -> httpx2.URL:
    """The URL of a host by http, https or `more` schemes; raises ServiceError, without secrets, for another."""
    import httpx2

    try:
        url = httpx2.URL(text.strip())
    except httpx2.InvalidURL:
        url = httpx2.URL()
    if url.scheme not in ("http", "https", *more) or not url.host or not 0 < (url.port or 1) < 2**16:
        shown = short(text.rpartition("@")[2].partition("?")[0], 200)
        raise ServiceError(f"wanted {wanted}; got {shown!r}")
    return url


@dataclass(frozen=True)
class _Trouble:
    """An attempt that brought no answer."""

    reason: str
    is_billed: bool = True  # perhaps; it then counts at its worst case
    plea: float = 0.0  # seconds that the service asks to wait


class Live:
    """Asks the service, keeps each answer, and never asks for what is kept.

    Before a call is sent, its worst-case cost is entered in the recording. If that would pass the cap, the call waits
    for those in flight, which mostly cost less; if there are none, it raises. The cap decides where a search stops,
    never what it finds: the same search can be resumed under a higher one.

    What would repeat is kept as the answer: a refusal by the model or by a filter after it (status 400), and a request
    that is too large (413). What may pass is waited for: no room (429, 529), an error of the service (5xx), a lost
    connection, an answer that is no message or counts more tokens than its request allows. If it does not pass in time,
    the search ends and nothing is kept of the request, so that a resumed search asks again. All other errors, such as
    a refused key, end the search at once.

    Args:
        client: of the service, as `client` makes it.
        recording: to write to.
        models: that may be asked, with their prices.
        cap: US dollars that the whole recording may cost, earlier runs of the search included.
        attempts: calls for one request that may be billed and bring nothing; free ones do not count.
        patience: seconds that one request waits between its calls in all, before it gives up.
        sleep: waits for a number of seconds; by default at most until it is told to stop.
        jitter: random numbers in [0, 1), which shift waits and change no result.
        clock: seconds, for the books.
    """

    def __init__(
        self,
        client: anthropic.Anthropic,
        recording: Recording,
        models: tuple[Model, ...],
        cap: float,
        attempts: int = 6,
        patience: float = PATIENCE,
        sleep: Callable[[float], None] | None = None,
        jitter: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if attempts < 1:
            raise ValueError(f"wanted at least one attempt; got {attempts}")
        for words, value in (("a cap in US dollars", cap), ("a patience in seconds", patience)):
            if not 0 <= value < math.inf:
                raise ValueError(f"wanted {words}, from 0; got {value!r}")
        if recording.origin != LIVE:
            raise AnswersError(f"{recording.path}: wanted a recording of live calls; got a {recording.origin} one")
        self._client, self._recording, self._cap = client, recording, cap
        self._models = {model.name: model for model in models}
        self._attempts, self._patience, self._sleep, self._clock = attempts, patience, sleep, clock
        self._jitter = jitter if jitter is not None else random.Random(0).random
        self._flying, self._landed = 0, threading.Condition()
        self._address = self._safe(str(client.base_url.copy_with(userinfo=b"", query=None, fragment=None)))
        recording.note("service", self._address)

    @property
    def spent(self) -> float:
        """US dollars of all calls in the recording, those without a known end at their worst case."""
        return self._recording.spent()

    def judge(self, answer: Answer, ending: str) -> None:
        """Notes how an answer ended."""
        self._recording.judge(answer.hash, ending)

    def bind(self, run: str, authors: Mapping[int, str]) -> None:
        """Makes sure that the recording holds all answers to this run, since the cap is for their cost."""
        self._recording.bind(run, (id for id, author in authors.items() if author in self._models))

    def ask(self, request: Mapping[str, Any], candidate: int, stop: threading.Event | None = None) -> Answer:
        """The answer to a request: the kept one, or else the service's; raises CapReached, ServiceError or Stopped."""
        hash, stop = request_hash(request), threading.Event() if stop is None else stop
        if (kept := self._recording.find(hash)) is not None:
            return kept
        calls, billed, waited = 0, 0, 0.0
        while True:
            with self._reserved(request, hash, candidate, stop) as call:
                came = self._call(call, request, hash, candidate)
            if isinstance(came, Answer):
                return came
            wait = max(came.plea, min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(calls, 20)) * (1 - self._jitter() / 2))
            calls, billed, left = calls + 1, billed + came.is_billed, self._patience - waited
            if billed >= self._attempts or left <= 0:
                raise ServiceError(
                    f"{self._address}: no answer in {calls} attempts and {waited:.0f} s of waiting; the last one: "
                    f"{came.reason}; the same search goes on once the service answers"
                )
            wait = min(wait, left)
            if wait >= LONG:
                LOG.info("no answer yet: %s; the service is asked again in %.0f s", came.reason, wait)
            (self._sleep or stop.wait)(wait)
            waited += wait

    def _call(self, call: int, request: Mapping[str, Any], hash: str, candidate: int) -> Answer | _Trouble:
        """One attempt: the answer, or why there is none."""
        import anthropic

        try:
            message = self._client.messages.with_raw_response.create(**request).json()
        except anthropic.APIStatusError as error:
            return self._turned_away(error, call, request, hash, candidate)
        except anthropic.APIConnectionError as error:
            sent = not _never_sent(error)
            reason = "timed out" if isinstance(error, anthropic.APITimeoutError) else "the connection was lost"
            reason = reason if sent else "the service could not be reached"
            self._recording.settle(call, reason, None if sent else 0.0)
            return _Trouble(reason, is_billed=sent)
        except (ValueError, RecursionError):  # text that is no JSON, or nests too deep, and may have cost all the same
            message = None
        read = _read(message)
        if read is None or not _is_possible(read[2], request):
            outcome = "not a message" if read is None else "impossible usage"
            self._recording.settle(call, outcome, None)
            return _Trouble(f"an answer that is {outcome}" if read is None else f"an answer with {outcome}: {read[2]}")
        stop, content, usage = read
        answer = Answer(hash, stop, tuple(map(self._masked, content)))
        usd = self._models[request["model"]].cost(usage)
        self._recording.keep(request, answer, candidate, call, usd, usage)
        return answer

    def _turned_away(
        self, error: anthropic.APIStatusError, call: int, request: Mapping[str, Any], hash: str, candidate: int
    ) -> Answer | _Trouble:
        """Why a call was turned away: an answer if that would repeat, else a trouble; raises if all calls would be."""
        status = error.status_code
        what, words = map(self._safe, (f"{status} {error.type or 'error'}", str(error.api_message or "no more words")))
        is_blocked = status == 400 and BLOCKED.search(words) is not None  # once it was written, hence billed
        if is_blocked or (status == TOO_LARGE and error.type is not None):  # a gateway's error has no type
            stop, why = ("refusal", words) if is_blocked else (FAILED, f"{what}: {words}")
            answer = Answer(hash, stop, error=why)
            self._recording.keep(request, answer, candidate, call, None if is_blocked else 0.0)
            return answer
        is_billed = status >= 500 and status not in UNPAID
        self._recording.settle(call, what, None if is_billed else 0.0)
        if status in UNPAID or status >= 500:
            return _Trouble(what, is_billed, _plea(error.response.headers))
        help = "; check the key" if status in (401, 403) else ""
        raise ServiceError(f"the Claude service refused the request ({what}: {words}){help}") from None

    @contextlib.contextmanager
    def _reserved(self, request: Mapping[str, Any], hash: str, candidate: int, stop: threading.Event) -> Iterator[int]:
        """Enters a call at its worst case, and waits for those in flight if it does not fit beside them."""
        model = self._models.get(request["model"])
        if model is None:
            raise ValueError(f"wanted one of the models {', '.join(self._models)}; got {request['model']!r}")
        worst = model.worst(len(canonical(request)), request["max_tokens"])
        with self._landed:
            while True:
                if stop.is_set():
                    raise Stopped("the search has stopped; no more calls are made")
                call = self._recording.reserve(hash, candidate, model.name, worst, self._cap, self._clock())
                if call is not None:
                    break
                if not self._flying:
                    raise CapReached(
                        f"the cap of {self._cap:.2f} USD is reached: {self.spent:.4f} USD are spent, and the next call "
                        f"({model.name}) may cost {worst:.4f} USD; the same search goes on with a higher cap"
                    )
                self._landed.wait()
            self._flying += 1
        try:
            yield call
        finally:
            with self._landed:
                self._flying -= 1
                self._landed.notify_all()

    def _safe(self, text: str) -> str:
        """A text from the service in one line that can be shown and kept."""
        return short(self._masked(text), 500)

    def _masked(self, value: Any) -> Any:
        """Plain data without the key and without what looks like one."""
        if isinstance(value, dict):
            return {self._masked(key): self._masked(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self._masked(part) for part in value]
        if not isinstance(value, str):
            return value
        key = self._client.api_key
        return LIKE_A_KEY.sub("[key]", value.replace(key, "[key]") if len(key) >= SECRET else value)


class Replayed:
    """Answers from a recording alone: no network, key or cost. A file beside the run, if any, notes the recording."""

    spent = 0.0  # US dollars: what the recording cost is in its own books

    def __init__(self, recording: Recording, run: Path | None = None) -> None:
        self._recording, self._run = recording, run

    @property
    def origin(self) -> str:
        """Where the answers come from: "live" or "hand-written", with "replayed, " before it."""
        return f"replayed, {self._recording.origin}"

    def judge(self, answer: Answer, ending: str) -> None:
        """Does nothing: a replay leaves its recording as it is."""

    def bind(self, run: str, authors: Mapping[int, str]) -> None:
        """Notes beside the run what it replays; a replay costs nothing, so any recording with the answers will do."""
        if self._run is not None:
            note_replay(self._run, self._recording)

    def ask(self, request: Mapping[str, Any], candidate: int, stop: threading.Event | None = None) -> Answer:
        """The recorded answer to a request; raises MissingAnswer if there is none."""
        hash = request_hash(request)
        if (answer := self._recording.find(hash)) is None:
            raise MissingAnswer(
                f"{self._recording.path}: wanted the answer to request {hash} (program {candidate}, model "
                f"{request['model']}); the recording has none: other settings, or a recording that was cut off"
            )
        return answer


def _read(message: Any) -> tuple[str, tuple[dict[str, Any], ...], Usage] | None:
    """Why it stopped, content and tokens of what should be a message; None if it is none."""
    match message:
        case {"stop_reason": str() as stop, "content": content, "usage": dict() as counts} if stop.isascii():
            found, tokens = blocks(content), [counts.get(name) for name in COUNTS[:2]]
            tokens += [counts.get(name) or 0 for name in COUNTS[2:]]  # which a service without a cache leaves out
            if found is not None and all(type(count) is int and 0 <= count <= MOST for count in tokens):
                return stop, found, Usage(*tokens)
    return None


def _is_possible(usage: Usage, request: Mapping[str, Any]) -> bool:
    """Whether an answer to a request may take so many tokens, as `Model.worst` counts them."""
    return usage.output <= request["max_tokens"] and usage.prompt <= most_tokens(len(canonical(request)))


def _never_sent(error: anthropic.APIConnectionError) -> bool:
    """Whether no request went out, so that nothing can have been billed."""
    import httpx2

    unreached = httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.ProxyError
    return isinstance(error.__cause__, unreached | httpx2.UnsupportedProtocol | httpx2.LocalProtocolError)


def _plea(headers: Mapping[str, str]) -> float:
    """Seconds that the service asks to wait; 0 if it does not say so in seconds."""
    try:
        seconds = float(headers.get("retry-after", "0"))
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), LONGEST_PLEA) if math.isfinite(seconds) else 0.0
