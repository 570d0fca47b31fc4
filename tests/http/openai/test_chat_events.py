"""A chat's events in OpenAI's words: what it has a word for, and nothing in place of what it has none for."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from modelhost.contract.types import AudioChunk, Delta, Done
from modelhost.http.openai.chat.response import Completion
from modelhost.observability.call_record import CallRecord
from modelhost.running_call import RunningCall


def call(*events: Any) -> RunningCall[Any]:
    async def source() -> AsyncGenerator[Any, None]:
        for event in events:
            yield event

    record = CallRecord("generate")
    record.goes_to("m", "1")
    return RunningCall(record, source())


def streamed(*events: Any) -> list[Any]:
    """Return the choices of the chunks, but for the first, which only begins the answer."""
    completion = Completion("r", n=1, thinking=False, include_usage=False)

    async def read() -> list[bytes]:
        return [chunk async for chunk in completion.chunks(call(*events))]

    first, *chunks, end = asyncio.run(read())
    assert end == b"data: [DONE]\n\n"
    assert json.loads(first.removeprefix(b"data: "))["model"] == "m"
    return [json.loads(chunk.removeprefix(b"data: "))["choices"][0] for chunk in chunks]


@pytest.mark.parametrize(
    "unsaid", [Delta(signature="s"), Delta(signature="s", redacted=True), Delta(audio=AudioChunk(data=b"", sample_rate=8000))]
)
def test_what_openai_has_no_word_for_is_no_empty_chunk(unsaid: Delta) -> None:
    said = [choice["delta"] for choice in streamed(Delta(reasoning="hm"), unsaid, Delta(text="Hi."), Done())]
    assert said == [{"reasoning_content": "hm"}, {"content": "Hi."}, {}]


def test_a_models_own_refusal_is_a_content_filter_to_openais_clients() -> None:
    assert streamed(Delta(text="No."), Done(reason="refusal"))[-1]["finish_reason"] == "content_filter"

    async def whole() -> Any:
        completion = Completion("r", n=1, thinking=False, include_usage=False)
        return await completion.whole(call(Delta(text="No."), Done(reason="refusal")), {})

    response = asyncio.run(whole())
    (choice,) = json.loads(response.content)["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("No.", "content_filter")
