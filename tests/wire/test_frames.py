"""The wire: frames survive any way of arriving, and what is no frame is refused."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st
from modelhost.contract import errors
from modelhost.contract.context import CallInfo
from modelhost.contract.errors import ModelhostError
from modelhost.contract.types import AudioPart, Blob, Delta, Done, GenerateEvent, GenerateRequest, Message, TextPart
from modelhost.contract.types.abilities import EVENTS
from modelhost.wire import frames

RAW = msgspec.msgpack.encode([Delta(text="hi"), Done()])

some_frames = st.one_of(
    st.builds(frames.Cancel, id=st.integers(0, 2**40)),
    st.builds(frames.Credit, id=st.integers(0, 2**40), bytes=st.integers(0, 2**30), input=st.booleans()),
    st.builds(frames.Input, id=st.integers(0, 2**40), data=st.binary(max_size=300), end=st.booleans()),
    st.builds(frames.Ping, seq=st.integers(0, 2**31)),
    st.builds(frames.Stats, seq=st.integers(0, 2**31), rss=st.integers(0, 2**50), calls=st.integers(0, 999)),
    st.builds(frames.End, id=st.integers(0, 2**40)),
    st.builds(frames.Drain),
    st.builds(
        frames.LogLine,
        level=st.sampled_from(["debug", "info", "warning", "error"]),
        event=st.text(max_size=40),
        facts=st.dictionaries(st.text(max_size=9), st.integers() | st.text(max_size=9), max_size=4).filter(
            lambda facts: all(abs(v) < 2**63 for v in facts.values() if isinstance(v, int))
        ),
    ),
    st.builds(
        frames.Call,
        id=st.integers(0, 2**40),
        ability=st.sampled_from(list(EVENTS)),
        model=st.text(max_size=20),
        request=st.just(msgspec.Raw(msgspec.msgpack.encode({"a": 1}))),
        info=st.builds(CallInfo, request_id=st.text(max_size=9), remaining=st.none() | st.floats(0, 1e6)),
    ),
    st.builds(frames.Events, calls=st.just([(2, msgspec.Raw(RAW))])),
)


def comparable(frame: Any) -> Any:
    return msgspec.msgpack.encode(frame)


@given(st.lists(some_frames, max_size=8), st.data())
def test_frames_arrive_the_same_however_the_bytes_are_cut(sent: list[Any], data: st.DataObject) -> None:
    stream = b"".join(frames.encode(frame) for frame in sent)
    reader = frames.FrameReader()
    received: list[Any] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        received += reader.feed(stream[:size])
        stream = stream[size:]
    assert [comparable(frame) for frame in received] == [comparable(frame) for frame in sent]


@given(st.binary(max_size=400))
def test_noise_is_refused_or_waited_for_and_nothing_else(noise: bytes) -> None:
    reader = frames.FrameReader()
    with contextlib.suppress(ValueError, msgspec.MsgspecError):
        reader.feed(noise)


def test_a_frame_that_claims_gigabytes_is_refused_before_it_is_collected() -> None:
    with pytest.raises(ValueError, match="claims"):
        frames.FrameReader().feed((2**31).to_bytes(4, "big") + b"x")


def test_fields_a_newer_side_adds_at_the_end_of_a_frame_are_ignored() -> None:
    body = msgspec.msgpack.encode(["cancel", 4, "something new"])
    assert frames.FrameReader().feed(len(body).to_bytes(4, "big") + body) == [frames.Cancel(id=4)]


def test_fields_a_newer_side_adds_to_an_event_are_ignored() -> None:
    raw = msgspec.msgpack.encode([{"type": "delta", "text": "hi", "sparkle": 3}, {"type": "done"}])
    assert msgspec.msgpack.decode(raw, type=list[GenerateEvent]) == [Delta(text="hi"), Done()]


@given(st.binary(max_size=2000))
def test_a_small_blob_crosses_inside_the_frame(data: bytes) -> None:
    request = GenerateRequest(messages=(Message(role="user", content=(TextPart(text="?"), AudioPart(audio=Blob(data)))),))
    raw = msgspec.msgpack.encode(request, enc_hook=frames.to_wire)
    assert msgspec.msgpack.decode(raw, type=GenerateRequest, dec_hook=frames.from_wire) == request


def all_errors(root: type[ModelhostError] = ModelhostError) -> list[type[ModelhostError]]:
    return [root, *(kind for child in root.__subclasses__() if child.__module__ == errors.__name__ for kind in all_errors(child))]


@pytest.mark.parametrize("kind", all_errors())
def test_every_error_crosses_the_border_as_itself(kind: type[ModelhostError]) -> None:
    sent = kind("what to do next", param="messages", retry_after=3.5)
    received = ModelhostError.from_facts(msgspec.msgpack.decode(msgspec.msgpack.encode(sent.facts())))
    assert type(received) is kind
    assert received.facts() == sent.facts()


def test_an_error_of_a_kind_from_the_future_is_a_failure_of_the_backend() -> None:
    assert type(ModelhostError.from_facts({"kind": "FutureError", "message": "?"})) is errors.BackendFailedError
