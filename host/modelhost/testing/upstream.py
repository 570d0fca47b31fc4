"""A server that stands in for a hosted one, in tests of backends that call it. Needs uvicorn, which `modelhost[server]` brings.

Subclass `FakeUpstream` and say in `answer` how the API answers; tests then read `requests`, and have the next answers fail.
"""

import asyncio
import json
import socket
import threading
from collections import deque
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import uvicorn

CUT = object()
"""Among the pieces of an answer: the connection breaks here."""

HOLD = object()
"""Among the pieces of an answer: nothing more comes until the client has left."""

_STOP_SECONDS = 10.0
"""Seconds the server's thread gets to end; chosen, because a test that hangs has failed by then."""


class ReceivedRequest(NamedTuple):
    """A request that came in."""

    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    port: int
    """The client's port: the same as long as its connection."""

    @property
    def json(self) -> Any:
        """Return the body, which is JSON."""
        return json.loads(self.body)


class Failure(NamedTuple):
    """An answer that takes the place of the next one."""

    status: int
    body: bytes
    headers: dict[str, str]


class Answer(NamedTuple):
    """An answer of status 200."""

    media_type: str
    pieces: list[Any]
    """Bytes, each sent by itself, `CUT` or `HOLD`."""


class _Server(uvicorn.Server):
    """Waits for `ended` in place of looking at a clock, so that it ends as soon as it is told to."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ended = asyncio.Event()

    async def main_loop(self) -> None:
        """Wait for the end."""
        await self.ended.wait()
        self.force_exit = True


class ServerInThread:
    """Serves an ASGI application on a port of its own, in a thread; it accepts connections from the start."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self._server = _Server(uvicorn.Config(app, lifespan="off", ws="none", log_config=None))
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._runner:
            self._runner.run(self._server.serve(sockets=[self.socket]))

    def stop(self) -> None:
        """End the server; connections are cut."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._server.ended.set)
        self._thread.join(_STOP_SECONDS)


class FakeUpstream:
    """A running server that keeps its requests, answers them as its subclass says, and fails when a test wants it to."""

    def __init__(self) -> None:
        self.forget()
        self._server = ServerInThread(self)
        self.url = self._server.url

    def stop(self) -> None:
        """End the server."""
        self._server.stop()

    def forget(self) -> None:
        """Begin anew, for another test."""
        self.requests: list[ReceivedRequest] = []
        self.failures: deque[Failure] = deque()
        self.stream: list[Any] = []
        self.reached = threading.Event()
        """Set when a request has come."""
        self.left = threading.Event()
        """Set when the client of a held answer has left."""

    def fail(self, status: int, body: Any = b"", **headers: str) -> None:
        """Answer the next request that has no failure yet with this one; `retry_after` is the header `retry-after`."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if not isinstance(body, bytes):
            body, given = json.dumps(body).encode(), {"content-type": "application/json", **given}
        self.failures.append(Failure(status, body, given))

    def says(self, *pieces: Any) -> None:
        """Stream these pieces from now on, whatever the request; JSON becomes server-sent events."""
        self.stream = [piece if piece in (CUT, HOLD) or isinstance(piece, bytes) else event(piece) for piece in pieces]

    def answer(self, request: ReceivedRequest) -> Answer:
        """Return the usual answer to a request."""
        raise NotImplementedError

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, as ASGI wants it."""
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        request = ReceivedRequest(scope["path"], parse_qs(scope["query_string"].decode()), headers, body, scope["client"][1])
        self.requests.append(request)
        self.reached.set()
        if self.failures:
            failure = self.failures.popleft()
            await self._send(receive, send, failure.status, failure.headers, [failure.body])
            return
        media_type, pieces = Answer("text/event-stream", self.stream) if self.stream else self.answer(request)
        await self._send(receive, send, 200, {"content-type": media_type}, pieces)

    async def _send(self, receive: Any, send: Any, status: int, headers: dict[str, str], pieces: list[Any]) -> None:
        if pieces[:1] != [HOLD]:  # else not even the status comes
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": status, "headers": raw})
        for piece in pieces:
            if piece is CUT:
                raise ConnectionAbortedError
            if piece is HOLD:
                assert (await receive())["type"] == "http.disconnect"
                self.left.set()
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def event(value: Any) -> bytes:
    """Return a server-sent event of JSON."""
    return b"data: " + json.dumps(value).encode() + b"\r\n\r\n"
