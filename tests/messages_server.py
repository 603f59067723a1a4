"""A server on loopback that speaks the Messages API, for the tests of what asks models."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-ant-api03-a-key-that-must-not-be-seen"
RELU = "def activation(x):\n    return torch.relu(x)"


@dataclass
class Reply:
    """What the server does with one request."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0  # seconds before it answers
    drop: bool = False  # whether it closes the connection without an answer


@dataclass
class Server:
    """A server that runs: its address, and the requests that came."""

    url: str
    requests: list[dict[str, Any]]
    keys: set[str]


def message(*content: dict[str, Any], stop: str = "tool_use", model: str = "claude-haiku-5-5", **usage: int) -> Reply:
    """A message of the service."""
    counts = {"input_tokens": 100, "output_tokens": 50} | usage
    return Reply(
        {
            "id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": list(content),
            "stop_reason": stop, "stop_sequence": None, "usage": counts,
        }
    )  # fmt: skip


def text(words: str) -> dict[str, Any]:
    """A block of text."""
    return {"type": "text", "text": words}


def call(tool: str, **given: Any) -> dict[str, Any]:
    """A block that calls a tool."""
    return {"type": "tool_use", "id": "toolu_1", "name": tool, "input": given}


def rewrite(source: str = RELU, name: str = "a name", rationale: str = "a reason") -> dict[str, Any]:
    """A block that hands in a program."""
    return call("rewrite", name=name, rationale=rationale, source=source)


def edit(*replacements: tuple[str, str], name: str = "a name", rationale: str = "a reason") -> dict[str, Any]:
    """A block that hands in changes."""
    return call("edit", name=name, rationale=rationale, replacements=[{"old": a, "new": b} for a, b in replacements])


def error(status: int, kind: str, words: str = "words of the service", **headers: str) -> Reply:
    """An error of the service."""
    body = {"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_1"}
    return Reply(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


def asked(request: dict[str, Any]) -> str:
    """The words of a request's user."""
    return "\n".join(block["text"] for block in request["messages"][0]["content"])


def blocked() -> Reply:
    """An answer that a filter held back, as the service words it."""
    return error(400, "invalid_request_error", "Output blocked by content filtering policy")


@contextlib.contextmanager
def serving(respond: Callable[[dict[str, Any], int], Reply]) -> Iterator[Server]:
    """A server on loopback; `respond` maps a request and its number, from 0, to what is done with it."""
    lock, requests, keys = threading.Lock(), [], set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            assert self.path == "/v1/messages"
            with lock:
                number = len(requests)
                requests.append(body)
                keys.add(self.headers["authorization"].removeprefix("Bearer "))
            reply = respond(body, number)
            time.sleep(reply.delay)
            if reply.drop:
                self.close_connection = True
                return
            answer = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who asked may have gone
                self.send_response(reply.status)
                for name, value in {"content-type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{server.server_address[1]}", requests, keys)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
