"""Text generation: a chat or a raw prompt goes up, the answer comes back as it is written."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

import httpx
import msgspec
from modelhost import BackendFailedError, Context, GenerateEvent, GenerateRequest

from modelhost_openai_api.answer import Answer
from modelhost_openai_api.chat_body import chat_body, completion_body
from modelhost_openai_api.chunks import Chunk
from modelhost_openai_api.errors import error_in_stream
from modelhost_openai_api.server_events import server_events
from modelhost_openai_api.upstream import Upstream

END = b"[DONE]"

LINGER = 0.5
"""Seconds to wait for the end of the connection's data after the end of the answer. Chosen, because the connection can then be
used again, and a slow end costs the caller nothing."""

_decoder = msgspec.json.Decoder(Chunk)


async def generate(upstream: Upstream, request: GenerateRequest, context: Context) -> AsyncIterator[GenerateEvent]:
    """Yield the upstream's answer. Raises `ModelhostError`, also for an answer that is cut off."""
    answer = Answer(request.n)
    async with _request_body(upstream, request, context) as response, aclosing(server_events(response)) as events:
        async for data in events:
            if data == END:
                answer.end()
                break
            for event in answer.take(_chunk(data, upstream.model)):
                yield event
        await _drain(events)
    yield answer.done()


def _request_body(upstream: Upstream, request: GenerateRequest, context: Context) -> Any:
    model = {"model": upstream.model}
    if request.prompt is not None:
        return upstream.post_json("completions", context, model | completion_body(request))
    return upstream.post_json("chat", context, model | chat_body(request, upstream.options))


def _chunk(data: bytes, model: str) -> Chunk:
    try:
        chunk = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BackendFailedError("the upstream's stream is not one of OpenAI's chat") from None
    if chunk.error:
        raise error_in_stream(chunk.error, model=model)
    return chunk


async def _drain(events: AsyncIterator[bytes]) -> None:
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(LINGER):
            async for _ in events:
                pass
