"""An older and a newer modelhost at the two ends of a line: nothing is misunderstood, and nothing dropped without a word.

The constants are frames, in base64, as a worker wrote them before reasoning had signatures and messages documents.
"""

import asyncio
import socket
from base64 import b64decode
from typing import Any

import msgspec
import pytest
from modelhost.contract.card import ModelCard
from modelhost.contract.context import CallInfo
from modelhost.contract.errors import BackendFailedError
from modelhost.contract.types import (
    AudioChunk,
    AudioPart,
    Blob,
    ChoiceDone,
    CompactionPart,
    Delta,
    DocumentPart,
    Done,
    GenerateRequest,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    Segment,
    TextPart,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolDelta,
    Usage,
    Word,
)
from modelhost.testing import chat
from modelhost.wire import frames
from modelhost.wire.channel import Channel, _event_decoders, _request_decoders
from modelhost.wire.vocabulary import FIRST, Unknown, vocabulary

HELLO = (
    "AAADY5alaGVsbG8CpTAuMS4wpjMuMTEuOQeHqnRyYW5zY3JpYmWapWF1ZGlvpmZvcm1hdKtzYW1wbGVfcmF0ZaR0YXNrqGxhbmd1YWdlpnByb21wdKho"
    "b3R3b3Jkc6t0ZW1wZXJhdHVyZa93b3JkX3RpbWVzdGFtcHOnZGlhcml6ZahnZW5lcmF0ZdwAHKhtZXNzYWdlc6Zwcm9tcHSqbWF4X3Rva2Vuc6t0ZW1w"
    "ZXJhdHVyZaV0b3BfcKV0b3Bfa6VtaW5fcK5yZXBlYXRfcGVuYWx0ebBwcmVzZW5jZV9wZW5hbHR5sWZyZXF1ZW5jeV9wZW5hbHR5qmxvZ2l0X2JpYXOk"
    "c2VlZKRzdG9wqmlnbm9yZV9lb3Ohbqhsb2dwcm9ic6x0b3BfbG9ncHJvYnOldG9vbHOrdG9vbF9jaG9pY2WzcGFyYWxsZWxfdG9vbF9jYWxsc69yZXNw"
    "b25zZV9mb3JtYXSwcmVhc29uaW5nX2VmZm9ydKhsYW5ndWFnZa1lbmFibGVfc2FmZXR5tWFkZF9nZW5lcmF0aW9uX3Byb21wdLZjb250aW51ZV9maW5h"
    "bF9tZXNzYWdlpGVjaG+mc3VmZml4qnN5bnRoZXNpemWepHRleHSldm9pY2Wnc2FtcGxlc6xpbnN0cnVjdGlvbnOlc3BlZWSmZm9ybWF0q3NhbXBsZV9y"
    "YXRlqW5vcm1hbGl6ZaRzZWVkq3RlbXBlcmF0dXJlpXRvcF9wsnJlcGV0aXRpb25fcGVuYWx0eaxjaHVua19sZW5ndGiqbWF4X3Rva2Vuc6VlbWJlZJWm"
    "aW5wdXRzqmRpbWVuc2lvbnOrcHJvbXB0X25hbWWldGl0bGWob3Zlcmxvbmepc3VtbWFyaXplmKR0ZXh0qGZpbGVuYW1lqGxhbmd1YWdlp3BlcnNvbmGp"
    "Z2VuZXJhdG9yqm1heF90b2tlbnOrdGVtcGVyYXR1cmWtZW5hYmxlX3NhZmV0eah0b2tlbml6ZZekdGV4dKhtZXNzYWdlc6Z0b2tlbnO1YWRkX2dlbmVy"
    "YXRpb25fcHJvbXB0tmNvbnRpbnVlX2ZpbmFsX21lc3NhZ2WrYWRkX3NwZWNpYWytcGFyc2Vfc3BlY2lhbKZ2b2ljZXOTo2FkZKdzYW1wbGVzpmRlbGV0"
    "ZQ=="
)

READY = "AAAAVpKlcmVhZHmEqWFiaWxpdGllc5GoZ2VuZXJhdGWmaW5wdXRzkqR0ZXh0pWltYWdlqGZlYXR1cmVzkqlzdHJlYW1pbmeldG9vbHOrY29uY3VycmVuY3kE"

EVENTS = (
    "AAABfpKmZXZlbnRzkZIAlIWkdHlwZaVkZWx0YaR0ZXh0okhpqXJlYXNvbmluZ6JobaVpbmRleAGobG9ncHJvYnORhKV0b2tlbqJIaadsb2dwcm9iy7/g"
    "AAAAAAAApGRhdGHEAkhpo3RvcJGDpXRva2Vuokhvp2xvZ3Byb2LLv/gAAAAAAACkZGF0YcQCSG+FpHR5cGWpdG9vbGRlbHRhpGNhbGwBomlkoWOkbmFt"
    "ZaFmqWFyZ3VtZW50c6J7fYOkdHlwZapjaG9pY2Vkb25lpWluZGV4AaZyZWFzb26mbGVuZ3RohKR0eXBlpGRvbmWmcmVhc29uqnRvb2xfY2FsbHOldXNh"
    "Z2WGrGlucHV0X3Rva2VucwOtb3V0cHV0X3Rva2VucwKwcmVhc29uaW5nX3Rva2VucwGtY2FjaGVkX3Rva2VucwGsYXVkaW9fdG9rZW5zAa1hdWRpb19z"
    "ZWNvbmRzyz/gAAAAAAAAp2lnbm9yZWSRrWVuYWJsZV9zYWZldHk="
)

SEGMENTS = (
    "AAAAyZKmZXZlbnRzkZICkoekdHlwZadzZWdtZW50pXN0YXJ0ywAAAAAAAAAAo2VuZMs/+AAAAAAAAKR0ZXh0o0hpLqV3b3Jkc5GEpHRleHSjSGkupXN0"
    "YXJ0yz+5mZmZmZmao2VuZMs/2ZmZmZmZmqtwcm9iYWJpbGl0ecs/7MzMzMzMzaZ0b2tlbnOSAQKrYXZnX2xvZ3Byb2LLv9AAAAAAAACCpHR5cGWkZG9u"
    "ZaV1c2FnZYGtYXVkaW9fc2Vjb25kc8s/+AAAAAAAAA=="
)

SOUND = (
    "AAAAXpKmZXZlbnRzkZIEkoOkdHlwZaphdWRpb2NodW5rpGRhdGHEAgABq3NhbXBsZV9yYXRlzVYigqR0eXBlpGRvbmWldXNhZ2WBrWF1ZGlvX3NlY29u"
    "ZHPLP7mZmZmZmZo="
)

CALL = (
    "AAABuZakY2FsbAGoZ2VuZXJhdGWlb3RoZXLeAASobWVzc2FnZXOUgqRyb2xlpnN5c3Rlbadjb250ZW50kYKkdHlwZaR0ZXh0pHRleHSpQmUgYnJpZWYu"
    "gqRyb2xlpHVzZXKnY29udGVudJOCpHR5cGWkdGV4dKR0ZXh0pUxvb2s6g6R0eXBlpWltYWdlpWltYWdlgaRkYXRhxASJUE5Hqm1lZGlhX3R5cGWpaW1h"
    "Z2UvcG5ng6R0eXBlpWF1ZGlvpWF1ZGlvgaRkYXRhxARSSUZGpmZvcm1hdKN3YXaDpHJvbGWpYXNzaXN0YW50qXJlYXNvbmluZ6pBIHBpY3R1cmUuqnRv"
    "b2xfY2FsbHORg6JpZKJjMaRuYW1lpGxvb2upYXJndW1lbnRzont9g6Ryb2xlpHRvb2ynY29udGVudJGCpHR5cGWkdGV4dKR0ZXh0pWEgY2F0rHRvb2xf"
    "Y2FsbF9pZKJjMaRzdG9wkaNFTkShbgKldG9vbHORgaRuYW1lpGxvb2uEqnJlcXVlc3RfaWShcqZjYWxsZXKibWWpcmVtYWluaW5ny0AUAAAAAAAApWNo"
    "YWlukaVvdXRlcg=="
)


def read(recorded: str) -> Any:
    (frame,) = frames.FrameReader().feed(b64decode(recorded))
    return frame


def events(recorded: str, ability: Any) -> list[Any]:
    ((_, raw),) = read(recorded).calls
    return _event_decoders[ability].decode(raw)


def test_an_older_worker_is_understood_when_it_says_hello_and_is_ready() -> None:
    hello = read(HELLO)
    assert (hello.protocol, hello.version, hello.structs) == (frames.PROTOCOL, "0.1.0", {})
    assert read(READY).card == ModelCard(
        abilities=("generate",), inputs=("text", "image"), features=("streaming", "tools"), concurrency=4
    )


def test_an_older_workers_events_say_what_they_said() -> None:
    top = TokenLogprob(token="Ho", logprob=-1.5, data=b"Ho")
    cost = Usage(input_tokens=3, output_tokens=2, reasoning_tokens=1, cached_tokens=1, audio_tokens=1, audio_seconds=0.5)
    assert events(EVENTS, "generate") == [
        Delta(text="Hi", reasoning="hm", index=1, logprobs=(TokenLogprob(token="Hi", logprob=-0.5, data=b"Hi", top=(top,)),)),
        ToolDelta(call=1, index=0, id="c", name="f", arguments="{}"),
        ChoiceDone(index=1, reason="length"),
        Done(reason="tool_calls", usage=cost, ignored=("enable_safety",)),
    ]
    word = Word(text="Hi.", start=0.1, end=0.4, probability=0.9)
    assert events(SEGMENTS, "transcribe") == [
        Segment(start=0.0, end=1.5, text="Hi.", words=(word,), tokens=(1, 2), avg_logprob=-0.25),
        Done(usage=Usage(audio_seconds=1.5)),
    ]
    assert events(SOUND, "synthesize") == [
        AudioChunk(data=b"\x00\x01", sample_rate=22050),
        Done(usage=Usage(audio_seconds=0.1)),
    ]


def test_an_older_worker_asks_another_model_what_it_asked() -> None:
    call = read(CALL)
    assert call.info == CallInfo(request_id="r", caller="me", chain=("outer",), remaining=5.0)
    picture = ImagePart(image=Blob(b"\x89PNG"), media_type="image/png")
    assert _request_decoders["generate"].decode(call.request) == GenerateRequest(
        messages=(
            Message(role="system", content=(TextPart(text="Be brief."),)),
            Message(role="user", content=(TextPart(text="Look:"), picture, AudioPart(audio=Blob(b"RIFF"), format="wav"))),
            Message(role="assistant", reasoning="A picture.", tool_calls=(ToolCall(id="c1", name="look", arguments="{}"),)),
            Message(role="tool", tool_call_id="c1", content=(TextPart(text="a cat"),)),
        ),
        tools=(Tool(name="look"),),
        stop=("END",),
        n=2,
    )


def with_part(part: Part) -> GenerateRequest:
    return GenerateRequest(messages=(Message(role="user", content=(TextPart(text="Read:"), part)),))


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        (with_part(DocumentPart(document=Blob(b"%PDF"))), "DocumentPart"),
        (with_part(ReasoningPart(text="hm", signature="s")), "ReasoningPart"),
        (with_part(CompactionPart(data="x")), "CompactionPart"),
        (GenerateRequest(messages=(Message(role="tool", tool_call_id="c", is_error=True),)), "Message.is_error"),
        (
            GenerateRequest(
                messages=(Message(role="assistant", tool_calls=(ToolCall(id="c", name="f", arguments="{}", signature="s"),)),)
            ),
            "ToolCall.signature",
        ),
        (chat("plain"), None),
        (GenerateRequest(messages=(Message(role="assistant", reasoning="hm"),)), None),
        (with_part(ImagePart(image=Blob(b"\x89PNG"))), None),
    ],
)
def test_what_an_older_worker_would_drop_or_choke_on_is_found_in_a_request(request_: GenerateRequest, named: str | None) -> None:
    assert Unknown(read(HELLO).structs).within(request_) == named


def test_a_worker_of_the_same_modelhost_knows_everything_and_no_request_is_searched() -> None:
    assert not Unknown(vocabulary())
    assert Unknown({})


def test_what_the_oldest_worker_knew_is_still_known_here() -> None:
    ours = vocabulary()
    assert all({*fields} <= {*ours[name]} for name, fields in FIRST.items())


class Line:
    """The host's end of a line to a worker whose frames the test writes."""

    async def __aenter__(self) -> "Line":
        ours, self.theirs = socket.socketpair()

        async def serve(*_: Any) -> Any:
            raise AssertionError("nobody calls")

        self.heard: list[Any] = []
        self.channel = Channel(first_id=0, handler=serve, on_frame=self.heard.append, on_lost=lambda: self.heard.append("lost"))
        await asyncio.get_running_loop().create_unix_connection(lambda: self.channel, sock=ours)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.channel.close()
        self.theirs.close()

    def say(self, *values: Any) -> None:
        for value in values:
            body = msgspec.msgpack.encode(value)
            self.theirs.sendall(len(body).to_bytes(4, "big") + body)

    def ask(self) -> Any:
        return self.channel.call("generate", "m", chat("hi"), CallInfo())


def test_a_newer_workers_fields_are_ignored_and_its_frames_of_new_kinds_left_out() -> None:
    async def main() -> None:
        async with Line() as line:
            asked = line.ask()
            said = {"type": "delta", "text": "Hi", "mood": "bright"}
            line.say(
                ["temperature", 71, {"of": "the processor"}],
                ["events", [(0, [said, {"type": "done", "usage": {"output_tokens": 1, "joules": 3}, "mood": 1}])]],
                ["end", 0],
            )
            async with asyncio.timeout(10):
                assert [event async for event in asked] == [Delta(text="Hi"), Done(usage=Usage(output_tokens=1))]
            assert not line.heard

    asyncio.run(main())


def test_an_event_of_a_new_kind_fails_its_call_alone_because_it_may_be_part_of_the_answer() -> None:
    async def main() -> None:
        async with Line() as line:
            first, second = line.ask(), line.ask()
            line.say(["events", [(0, [{"type": "smell"}]), (2, [{"type": "delta", "text": "Hi"}])]], ["end", 2])
            async with asyncio.timeout(10):
                with pytest.raises(BackendFailedError, match="does not know"):
                    await anext(first)
                assert [event async for event in second] == [Delta(text="Hi")]

    asyncio.run(main())


@pytest.mark.parametrize("body", [["cancel"], [7], {"a": 1}, ["call", 1, "generate"], []])
def test_a_frame_of_a_known_kind_that_is_wrong_is_refused_as_ever(body: Any) -> None:
    raw = msgspec.msgpack.encode(body)
    with pytest.raises(msgspec.ValidationError):
        frames.FrameReader().feed(len(raw).to_bytes(4, "big") + raw)
