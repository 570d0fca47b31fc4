"""A model's events as OpenAI's chat completion: whole, or chunk by chunk."""

import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from modelhost.http.streaming import DONE
from modelhost.types import ChoiceDone, Delta, Done, GenerateEvent, TokenLogprob, ToolDelta, Usage

_encode = msgspec.json.Encoder().encode


def usage_answer(usage: Usage) -> dict[str, Any]:
    """Give OpenAI's token counts."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _logprobs(tokens: list[TokenLogprob]) -> dict[str, Any]:
    def one(token: TokenLogprob) -> dict[str, Any]:
        return {"token": token.token, "logprob": token.logprob, "bytes": list(token.data)}

    content = [{**one(token), "top_logprobs": [one(other) for other in token.top]} for token in tokens]
    return {"content": content, "refusal": None}


class _Choice:
    """One of the answers, as it grows."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.logprobs: list[TokenLogprob] = []
        self.calls: dict[int, dict[str, Any]] = {}
        self.reason: str | None = None

    def add(self, event: Delta | ToolDelta) -> None:
        if isinstance(event, Delta):
            self.text.append(event.text)
            self.reasoning.append(event.reasoning)
            self.logprobs += event.logprobs
            return
        blank = {"id": event.id, "type": "function", "function": {"name": event.name, "arguments": ""}}
        self.calls.setdefault(event.call, blank)["function"]["arguments"] += event.arguments

    def answer(self, index: int, reason: str, thinking: bool) -> dict[str, Any]:
        text, reasoning = "".join(self.text), "".join(self.reasoning)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text if text or not self.calls else None,
            "refusal": None,
        }
        if reasoning:
            message["reasoning_content"] = reasoning
            if thinking:
                message["thinking"] = reasoning
        if self.calls:
            message["tool_calls"] = [call for _, call in sorted(self.calls.items())]
        return {
            "index": index,
            "message": message,
            "logprobs": _logprobs(self.logprobs) if self.logprobs else None,
            "finish_reason": self.reason or reason,
        }


class Completion:
    """Writes one answer. `model` is asked for when the first event is there: by then it is known who answers."""

    def __init__(self, request_id: str, *, n: int, thinking: bool, include_usage: bool) -> None:
        self._id = f"chatcmpl-{request_id}"
        self._created = int(time.time())
        self._n = n
        self._thinking = thinking
        self._include_usage = include_usage

    async def whole(self, events: AsyncIterator[GenerateEvent]) -> dict[str, Any]:
        """Collect the events into one answer, without its `model`."""
        choices = [_Choice() for _ in range(self._n)]
        done = Done()
        async for event in events:
            match event:
                case Delta() | ToolDelta():
                    choices[event.index].add(event)
                case ChoiceDone():
                    choices[event.index].reason = event.reason
                case Done():
                    done = event
        return {
            "id": self._id,
            "object": "chat.completion",
            "created": self._created,
            "choices": [choice.answer(i, done.reason, self._thinking) for i, choice in enumerate(choices)],
            "usage": usage_answer(done.usage),
            "system_fingerprint": None,
        }

    async def chunks(self, events: AsyncIterator[GenerateEvent], model: Any) -> AsyncIterator[bytes]:
        """Give server-sent events, ready to go out. `model()` names who answers."""
        finished: set[int] = set()
        envelope: bytes | None = None
        # Most events are plain words of the only choice: all but the words is rendered once.
        plain_tail = b'},"logprobs":null,"finish_reason":null}]' + self._usage_null + b"}\n\n"
        async for event in events:
            if envelope is None:
                envelope = self._envelope(model())
                plain_head = envelope + b'"choices":[{"index":0,"delta":{"content":'
                for index in range(self._n):
                    yield self._chunk(envelope, index, {"role": "assistant", "content": "", "refusal": None})
            match event:
                case Delta(reasoning="", index=0, logprobs=()):
                    yield plain_head + _encode(event.text) + plain_tail
                case Delta():
                    yield self._delta(envelope, event)
                case ToolDelta():
                    yield self._chunk(envelope, event.index, {"tool_calls": [_tool_call(event)]})
                case ChoiceDone():
                    finished.add(event.index)
                    yield self._chunk(envelope, event.index, {}, reason=event.reason)
                case Done():
                    for index in set(range(self._n)) - finished:
                        yield self._chunk(envelope, index, {}, reason=event.reason)
                    if self._include_usage:
                        yield envelope + b'"choices":[],"usage":' + _encode(usage_answer(event.usage)) + b"}\n\n"
        yield DONE

    @property
    def _usage_null(self) -> bytes:
        return b',"usage":null' if self._include_usage else b""

    def _envelope(self, model: str) -> bytes:
        head = {"id": self._id, "object": "chat.completion.chunk", "created": self._created, "model": model}
        return b"data: " + _encode(head)[:-1] + b","

    def _chunk(
        self, envelope: bytes, index: int, delta: dict[str, Any], *, reason: str | None = None, logprobs: Any = None
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return envelope + b'"choices":' + _encode([choice]) + self._usage_null + b"}\n\n"

    def _delta(self, envelope: bytes, event: Delta) -> bytes:
        delta: dict[str, Any] = {}
        if event.text:
            delta["content"] = event.text
        if event.reasoning:
            delta["reasoning_content"] = event.reasoning
            if self._thinking:
                delta["thinking"] = event.reasoning
        logprobs = _logprobs(list(event.logprobs)) if event.logprobs else None
        return self._chunk(envelope, event.index, delta, logprobs=logprobs)


def _tool_call(event: ToolDelta) -> dict[str, Any]:
    call: dict[str, Any] = {"index": event.call, "function": {"arguments": event.arguments}}
    if event.id:
        call |= {"id": event.id, "type": "function", "function": {"name": event.name, "arguments": event.arguments}}
    return call
