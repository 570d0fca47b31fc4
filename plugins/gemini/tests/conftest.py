"""A stand-in for Google's API: speaks its wire format, notes what it is asked, and fails when it is told to."""

import json
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import uvicorn
from modelhost.testing import Loaded
from modelhost_gemini import GeminiBackend

CUT = object()
"""In a stream: the connection breaks here."""

HOLD = object()
"""In a stream: nothing more comes until the client has left."""


class Asked(NamedTuple):
    """A request that came in."""

    path: str
    headers: dict[str, str]
    body: Any

    @property
    def config(self) -> dict[str, Any]:
        return self.body.get("generationConfig", {})  # type: ignore[no-any-return]


class Refusal(NamedTuple):
    """An answer that is an error."""

    status: int
    body: Any
    headers: dict[str, str]


def refusal(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    """Google's error envelope."""
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def candidate(*parts: dict[str, Any], reason: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    """A chunk with a piece of one answer."""
    found: dict[str, Any] = {"index": index, **more}
    if parts:
        found["content"] = {"role": "model", "parts": list(parts)}
    if reason:
        found["finishReason"] = reason
    return {"candidates": [found], "modelVersion": "stand-in"}


def usage(prompt: int, answer: int, **more: int) -> dict[str, Any]:
    counts = {"promptTokenCount": prompt, "candidatesTokenCount": answer, **more}
    return {"usageMetadata": {**counts, "totalTokenCount": sum(counts.values())}}


class StandIn:
    """A server on a port of its own, in a thread."""

    CUT, HOLD = CUT, HOLD
    candidate = staticmethod(candidate)
    usage = staticmethod(usage)
    refusal = staticmethod(refusal)

    def __init__(self) -> None:
        self.forget()
        config = uvicorn.Config(self, port=0, log_level="critical", lifespan="off", ws="none", http="h11", loop="asyncio")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def forget(self) -> None:
        self.asked: list[Asked] = []
        self.refusals: deque[Refusal] = deque()
        self.stream: list[Any] | None = None
        self.reached = threading.Event()
        self.left = threading.Event()

    def refuse(self, status: int, body: Any, **headers: str) -> None:
        """Answer the next request like this."""
        self.refusals.append(Refusal(status, body, {name.replace("_", "-"): value for name, value in headers.items()}))

    def says(self, *chunks: Any) -> None:
        """Stream these chunks from now on, whatever is asked."""
        self.stream = list(chunks)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        asked = Asked(scope["path"], headers, json.loads(body))
        self.asked.append(asked)
        self.reached.set()
        if self.refusals:
            refused = self.refusals.popleft()
            data = refused.body if isinstance(refused.body, bytes) else json.dumps(refused.body).encode()
            await self._begin(send, refused.status, {"content-type": "application/json", **refused.headers})
            await send({"type": "http.response.body", "body": data})
            return
        chunks = repeated(asked) if self.stream is None else self.stream
        if chunks[:1] != [HOLD]:
            await self._begin(send, 200, {"content-type": "text/event-stream"})
        await self._stream(send, receive, chunks)

    async def _begin(self, send: Any, status: int, headers: dict[str, str]) -> None:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})

    async def _stream(self, send: Any, receive: Any, chunks: list[Any]) -> None:
        for chunk in chunks:
            if chunk is CUT:
                raise ConnectionAbortedError
            if chunk is HOLD:
                assert (await receive())["type"] == "http.disconnect"
                self.left.set()
                return
            data = chunk if isinstance(chunk, bytes) else b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n"
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def repeated(asked: Asked) -> list[Any]:
    """The last words again, as Gemini would stream them."""
    words = asked.body["contents"][-1]["parts"][-1]["text"].split()
    words = words[
        : min((words.index(stop) for stop in asked.config.get("stopSequences", []) if stop in words), default=len(words))
    ]
    kept = words[: asked.config.get("maxOutputTokens")]
    pieces = [candidate({"text": f"{word} "}) for word in kept]
    return [*pieces, {**candidate(reason="STOP" if kept == words else "MAX_TOKENS"), **usage(len(words), len(kept))}]


@pytest.fixture(scope="session")
def _stand_in() -> Iterator[StandIn]:
    stand_in = StandIn()
    yield stand_in
    stand_in.stop()


@pytest.fixture(scope="session")
def stand_in_url(_stand_in: StandIn) -> str:
    return _stand_in.url


@pytest.fixture
def stand_in(_stand_in: StandIn) -> StandIn:
    """Google's API, with nothing of other tests."""
    _stand_in.forget()
    return _stand_in


@pytest.fixture
def load(stand_in: StandIn) -> Iterator[Any]:
    """Load models of the stand-in: `load(max_tokens=10)`."""
    loaded: list[Loaded] = []

    def load(**options: Any) -> Loaded:
        found = {"model": "gemini-2.5-flash", "api_key": "a-key", "base_url": stand_in.url, **options}
        loaded.append(Loaded(GeminiBackend, found))
        return loaded[-1]

    yield load
    for one in loaded:
        one.close()
