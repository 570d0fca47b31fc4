"""A stand-in for a hosted API: speaks OpenAI's wire format, notes what it is asked, and fails when it is told to."""

import base64
import email
import json
import math
import struct
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from modelhost.testing import Loaded
from modelhost.testing.upstream import CUT, HOLD, Answer, FakeUpstream, ReceivedRequest
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


def form_of(request: ReceivedRequest) -> list[Part]:
    """Return the fields of an upload in order."""
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    found = []
    for part in email.message_from_bytes(head + request.body).get_payload():
        name = part.get_param("name", header="content-disposition")
        found.append(Part(name, part.get_filename(), part.get_content_type(), part.get_payload(decode=True)))
    return found


def field_of(request: ReceivedRequest, name: str) -> list[str]:
    """Return the values of a field of an upload."""
    return [part.data.decode() for part in form_of(request) if part.name == name]


def file_of(request: ReceivedRequest) -> Part:
    """Return the file of an upload."""
    return next(part for part in form_of(request) if part.filename)


def chunk(delta: dict[str, Any] | None = None, reason: str | None = None, index: int = 0, **more: Any) -> bytes:
    """An event of a chat's stream."""
    choices = [] if delta is None else [{"index": index, "delta": delta, "finish_reason": reason}]
    return b"data: " + json.dumps({"object": "chat.completion.chunk", "choices": choices, **more}).encode() + b"\n\n"


END = b"data: [DONE]\n\n"


def usage(prompt: int, answer: int) -> bytes:
    return chunk(usage={"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer})


class StandIn(FakeUpstream):
    """An API as OpenAI's."""

    CUT, HOLD, END = CUT, HOLD, END
    chunk = staticmethod(chunk)
    usage = staticmethod(usage)
    form_of, field_of, file_of = staticmethod(form_of), staticmethod(field_of), staticmethod(file_of)

    def __init__(self) -> None:
        super().__init__()
        self.url += "/v1"

    def forget(self) -> None:
        """Begin anew, for another test."""
        super().forget()
        self.json_answer: Any = None
        """The answer to whatever comes, where a test wants one of its own."""

    def answer(self, request: ReceivedRequest) -> Answer:
        """Return what the endpoint answers: the words again, or sound and vectors made of them."""
        return Answer(*self._answer(request))

    def _answer(self, request: ReceivedRequest) -> tuple[str, list[bytes]]:
        if self.json_answer is not None:
            return "application/json", [json.dumps(self.json_answer).encode()]
        match request.path.removeprefix("/v1"):
            case "/chat/completions":
                return "text/event-stream", chat_stream(request.json)
            case "/completions":
                return "text/event-stream", completion_stream(request.json)
            case "/audio/transcriptions" | "/audio/translations":
                return transcript(request)
            case "/audio/speech":
                return speech(request.json)
            case "/embeddings":
                return "application/json", [json.dumps(embeddings(request.json)).encode()]
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


def transcript(request: ReceivedRequest) -> tuple[str, list[bytes]]:
    form = field_of(request, "response_format")[0]
    if form == "text":
        return "text/plain; charset=utf-8", [b"Hello there. How are you?\n"]
    transcript_body: dict[str, Any] = {"text": "Hello there. How are you?"}
    if form == "json":
        transcript_body["usage"] = {"type": "tokens", "input_tokens": 14, "output_tokens": 6, "total_tokens": 20}
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
        transcript_body |= {"task": "transcribe", "language": "english", "duration": "2.5", "segments": segments}
        if "word" in field_of(request, "timestamp_granularities[]"):
            words = [("Hello", 0.1), ("there.", 0.6), ("How", 1.3), ("are", 1.6), ("you?", 1.9)]
            transcript_body["words"] = [{"word": word, "start": start, "end": start + 0.4} for word, start in words]
    return "application/json", [json.dumps(transcript_body).encode()]


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
