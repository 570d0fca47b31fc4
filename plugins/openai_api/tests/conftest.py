"""A stand-in for a hosted API: speaks OpenAI's wire format, notes what it is asked, and fails when it is told to."""

import base64
import email
import json
import math
import struct
import threading
from array import array
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import pytest
import uvicorn
from hypothesis import settings
from modelhost.testing import Loaded
from modelhost_openai_api import OpenaiApiBackend

settings.register_profile("steady", derandomize=True, deadline=None, max_examples=100)
settings.load_profile("steady")

RATE = 24_000


class Part(NamedTuple):
    """A field of an upload."""

    name: str
    filename: str | None
    media_type: str
    data: bytes


class Asked(NamedTuple):
    """A request that came in."""

    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    port: int
    """Of the client: the same as long as its connection."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> list[Part]:
        head = f"content-type: {self.headers['content-type']}\r\n\r\n".encode()
        found = []
        for part in email.message_from_bytes(head + self.body).get_payload():
            name = part.get_param("name", header="content-disposition")
            found.append(Part(name, part.get_filename(), part.get_content_type(), part.get_payload(decode=True)))
        return found

    def field(self, name: str) -> list[str]:
        return [part.data.decode() for part in self.form if part.name == name]

    @property
    def file(self) -> Part:
        return next(part for part in self.form if part.filename)


class Fault(NamedTuple):
    """An answer out of turn."""

    status: int
    body: Any = b""
    headers: dict[str, str] = {}


CUT = object()
"""In a stream: the connection breaks here."""

HOLD = object()
"""In a stream: nothing more comes until the client has left."""


def chunk(delta: dict[str, Any] | None = None, reason: str | None = None, index: int = 0, **more: Any) -> bytes:
    """An event of a chat's stream."""
    choices = [] if delta is None else [{"index": index, "delta": delta, "finish_reason": reason}]
    return b"data: " + json.dumps({"object": "chat.completion.chunk", "choices": choices, **more}).encode() + b"\n\n"


END = b"data: [DONE]\n\n"


def usage(prompt: int, answer: int) -> bytes:
    return chunk(usage={"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer})


class StandIn:
    """A server on a port of its own, in a thread."""

    CUT, HOLD, END = CUT, HOLD, END
    chunk = staticmethod(chunk)
    usage = staticmethod(usage)

    def __init__(self) -> None:
        self.forget()
        config = uvicorn.Config(self, port=0, log_level="critical", lifespan="off", ws="none", http="h11", loop="asyncio")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"

    def forget(self) -> None:
        self.asked: list[Asked] = []
        self.faults: deque[Fault] = deque()
        self.stream: list[Any] | None = None
        self.answer: Any = None
        self.reached = threading.Event()
        self.left = threading.Event()

    def fail(self, status: int, body: Any = b"", **headers: str) -> None:
        """Answer the next request but those that fail before it like this."""
        self.faults.append(Fault(status, body, {name.replace("_", "-"): value for name, value in headers.items()}))

    def says(self, *pieces: Any) -> None:
        """Stream these pieces from now on, whatever is asked."""
        self.stream = list(pieces)

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
        asked = Asked(scope["path"], parse_qs(scope["query_string"].decode()), headers, body, scope["client"][1])
        self.asked.append(asked)
        self.reached.set()
        if self.faults:
            fault = self.faults.popleft()
            data = fault.body if isinstance(fault.body, bytes) else json.dumps(fault.body).encode()
            await self._send(send, receive, fault.status, fault.headers, [data])
            return
        kind, pieces = ("text/event-stream", self.stream) if self.stream else self._answer(asked)
        await self._send(send, receive, 200, {"content-type": kind}, pieces)

    async def _send(self, send: Any, receive: Any, status: int, headers: dict[str, str], pieces: list[Any]) -> None:
        if pieces[:1] == [HOLD]:
            await self._hold(receive)
            return
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        for piece in pieces:
            if piece is CUT:
                raise ConnectionAbortedError
            if piece is HOLD:
                await self._hold(receive)
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _hold(self, receive: Any) -> None:
        assert (await receive())["type"] == "http.disconnect"
        self.left.set()

    def _answer(self, asked: Asked) -> tuple[str, list[bytes]]:
        if self.answer is not None:
            return "application/json", [json.dumps(self.answer).encode()]
        match asked.path.removeprefix("/v1"):
            case "/chat/completions":
                return "text/event-stream", chat_stream(asked.json)
            case "/completions":
                return "text/event-stream", completion_stream(asked.json)
            case "/audio/transcriptions" | "/audio/translations":
                return transcript(asked)
            case "/audio/speech":
                return speech(asked.json)
            case "/embeddings":
                return "application/json", [json.dumps(embeddings(asked.json)).encode()]
        return "application/json", [b"{}"]


def chat_stream(body: dict[str, Any]) -> list[bytes]:
    words = cut(body["messages"][-1]["content"].split(), body.get("stop") or [])
    kept = words[: body.get("max_completion_tokens")]
    texts = [chunk({"content": f"{word} "}) for word in kept]
    end = chunk({}, "stop" if kept == words else "length")
    return [chunk({"role": "assistant", "content": ""}), *texts, end, usage(len(words), len(kept)), END]


def cut(words: list[str], stops: list[str]) -> list[str]:
    """The words before the first stop string; one that is a word by itself."""
    return words[: min((words.index(stop) for stop in stops if stop in words), default=len(words))]


def completion_stream(body: dict[str, Any]) -> list[bytes]:
    logprobs = {"tokens": ["four"], "token_logprobs": [-0.5], "top_logprobs": [{"four": -0.5, "five": -1.5}], "text_offset": [0]}
    events = [
        {"choices": [{"index": 0, "text": "four", "logprobs": logprobs, "finish_reason": None}]},
        {"choices": [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}]},
    ]
    return [*(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events), END]


def transcript(asked: Asked) -> tuple[str, list[bytes]]:
    form = asked.field("response_format")[0]
    if form == "text":
        return "text/plain; charset=utf-8", [b"Hello there. How are you?\n"]
    heard: dict[str, Any] = {"text": "Hello there. How are you?"}
    if form == "json":
        heard["usage"] = {"type": "tokens", "input_tokens": 14, "output_tokens": 6, "total_tokens": 20}
    else:
        times = [(0.0, 1.2, " Hello there."), (1.2, 2.5, " How are you?")]
        figures = {
            "seek": 0,
            "tokens": [50364],
            "temperature": 0,
            "avg_logprob": -0.3,
            "compression_ratio": 1,
            "no_speech_prob": 0,
        }
        segments = [{"id": n, "start": start, "end": end, "text": text, **figures} for n, (start, end, text) in enumerate(times)]
        heard |= {"task": "transcribe", "language": "english", "duration": "2.5", "segments": segments}
        if "word" in asked.field("timestamp_granularities[]"):
            said = [("Hello", 0.1), ("there.", 0.6), ("How", 1.3), ("are", 1.6), ("you?", 1.9)]
            heard["words"] = [{"word": word, "start": start, "end": start + 0.4} for word, start in said]
    return "application/json", [json.dumps(heard).encode()]


def tone() -> bytes:
    samples = (int(8000 * math.sin(math.tau * 440 * n / RATE)) for n in range(RATE // 4))
    return array("h", samples).tobytes()


def speech(body: dict[str, Any]) -> tuple[str, list[bytes]]:
    data = tone() * (1 + len(body["input"]) // 100)
    data = data[: int(len(data) / 2 / body.get("speed", 1)) * 2]
    if body["response_format"] == "wav":
        form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 22_050, 44_100, 2, 16)
        # As servers do that begin to send before they know how much there will be.
        data = b"RIFF\xff\xff\xff\xffWAVE" + form + b"LIST\x04\x00\x00\x00INFO" + b"data\xff\xff\xff\xff" + data
    return "audio/mpeg", [data[at : at + 1001] for at in range(0, len(data), 1001)]


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    rows = []
    for index, text in enumerate(body["input"]):
        numbers = array("f", [1.0, *(text.encode() if isinstance(text, str) else text), 0, 0, 0, 0, 0, 0][:7])
        rows.append({"object": "embedding", "index": index, "embedding": base64.b64encode(numbers.tobytes()).decode()})
    return {"object": "list", "data": rows[::-1], "usage": {"prompt_tokens": 7, "total_tokens": 7}}


@pytest.fixture(scope="session")
def _stand_in() -> Iterator[StandIn]:
    stand_in = StandIn()
    yield stand_in
    stand_in.stop()


@pytest.fixture
def stand_in(_stand_in: StandIn) -> StandIn:
    """The hosted API, with nothing of other tests."""
    _stand_in.forget()
    return _stand_in


@pytest.fixture
def load(stand_in: StandIn) -> Iterator[Any]:
    """Load backends of the stand-in's model: `load("embed", batch_size=2)`."""
    loaded: list[Loaded] = []

    def load(*abilities: str, **options: Any) -> Loaded:
        found = {"abilities": list(abilities), "base_url": stand_in.url, "model": "hosted-1", **options}
        loaded.append(Loaded(OpenaiApiBackend, found))
        return loaded[-1]

    yield load
    for one in loaded:
        one.close()


@pytest.fixture(scope="session")
def stand_in_url(_stand_in: StandIn) -> str:
    return _stand_in.url
