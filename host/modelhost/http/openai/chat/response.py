"""A model's events as OpenAI's chat completion: whole, or chunk by chunk."""

import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any, cast

import msgspec
from msgspec import UNSET

from modelhost.contract.answers import AnswerBuilder, Choice
from modelhost.contract.types import ChoiceDone, Delta, Done, GenerateEvent, TokenLogprob, ToolDelta
from modelhost.http.openai.chat.shapes import (
    FINISH_REASONS,
    AnswerMessage,
    ChatChoice,
    ChatCompletion,
    ChatDelta,
    ChosenToken,
    ChunkChoice,
    FinishReason,
    FunctionAnswer,
    Logprobs,
    TokenAlternative,
    ToolCallAnswer,
    ToolCallDelta,
)
from modelhost.http.openai.dialect import DONE
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.usage import UsageAnswer
from modelhost.running_call import RunningCall

_encode = msgspec.json.Encoder().encode


def _logprobs(tokens: Iterable[TokenLogprob]) -> Logprobs:
    content = []
    for token in tokens:
        top = [TokenAlternative(token=one.token, logprob=one.logprob or 0.0, bytes=list(one.data)) for one in token.top]
        content.append(ChosenToken(token=token.token, logprob=token.logprob or 0.0, bytes=list(token.data), top_logprobs=top))
    return Logprobs(content=content)


def _chat_choice(index: int, choice: Choice, thinking: bool) -> ChatChoice:
    calls = [
        ToolCallAnswer(id=call.id, function=FunctionAnswer(name=call.name, arguments=call.arguments))
        for call in choice.tool_calls
    ]
    message = AnswerMessage(
        content=choice.text if choice.text or not calls else None,
        reasoning_content=choice.thoughts or UNSET,
        thinking=choice.thoughts if choice.thoughts and thinking else UNSET,
        tool_calls=calls or UNSET,
    )
    logprobs = _logprobs(choice.logprobs) if choice.logprobs else None
    return ChatChoice(index=index, message=message, logprobs=logprobs, finish_reason=FINISH_REASONS[choice.reason])


class Completion:
    """Writes one answer."""

    def __init__(self, request_id: str, *, n: int, thinking: bool, include_usage: bool) -> None:
        self._id = f"chatcmpl-{request_id}"
        self._created = int(time.time())
        self._n = n
        self._thinking = thinking
        self._usage_null = b',"usage":null' if include_usage else b""
        self._include_usage = include_usage

    async def whole(self, call: RunningCall[GenerateEvent], headers: dict[str, str]) -> JsonResponse:
        """Collect the events into one answer."""
        builder = AnswerBuilder(self._n)
        async for event in call:
            builder.take(event)

        def completion() -> ChatCompletion:
            answer = builder.answer(call.model)
            made = (_chat_choice(index, choice, self._thinking) for index, choice in enumerate(answer.choices))
            return ChatCompletion(
                id=self._id,
                created=self._created,
                model=answer.model,
                choices=[cast(Any, msgspec.Raw(_encode(choice))) for choice in made],
                usage=UsageAnswer.of(answer.usage),
            )

        return await JsonResponse.of_many(builder.events, completion, headers)

    async def chunks(self, call: RunningCall[GenerateEvent]) -> AsyncGenerator[bytes, None]:
        """Return server-sent events, ready to go out."""
        finished: set[int] = set()
        envelope: bytes | None = None
        # Most events are plain words of the only choice: all but the words is rendered once.
        plain_tail = b'},"logprobs":null,"finish_reason":null}]' + self._usage_null + b"}\n\n"
        async with aclosing(call) as events:
            async for event in events:
                if envelope is None:
                    envelope = self._envelope(call.model)
                    plain_head = envelope + b'"choices":[{"index":0,"delta":{"content":'
                    for index in range(self._n):
                        yield self._chunk(envelope, index, ChatDelta(role="assistant", content="", refusal=None))
                match event:
                    case Delta(reasoning="", index=0, logprobs=()) if event.text:
                        yield plain_head + _encode(event.text) + plain_tail
                    case Delta() if event.text or event.reasoning or event.logprobs:
                        yield self._delta(envelope, event)
                    case ToolDelta():
                        yield self._chunk(envelope, event.index, ChatDelta(tool_calls=[_tool_call(event)]))
                    case ChoiceDone():
                        finished.add(event.index)
                        yield self._chunk(envelope, event.index, ChatDelta(), reason=FINISH_REASONS[event.reason])
                    case Done():
                        for index in set(range(self._n)) - finished:
                            yield self._chunk(envelope, index, ChatDelta(), reason=FINISH_REASONS[event.reason])
                        if self._include_usage:
                            yield envelope + b'"choices":[],"usage":' + _encode(UsageAnswer.of(event.usage)) + b"}\n\n"
        yield DONE

    def _envelope(self, model: str) -> bytes:
        head = {"id": self._id, "object": "chat.completion.chunk", "created": self._created, "model": model}
        return b"data: " + _encode(head)[:-1] + b","

    def _chunk(
        self, envelope: bytes, index: int, delta: ChatDelta, *, reason: FinishReason | None = None, logprobs: Any = None
    ) -> bytes:
        choice = ChunkChoice(index=index, delta=delta, logprobs=logprobs, finish_reason=reason)
        return envelope + b'"choices":' + _encode([choice]) + self._usage_null + b"}\n\n"

    def _delta(self, envelope: bytes, event: Delta) -> bytes:
        delta = ChatDelta(
            content=event.text or UNSET,
            reasoning_content=event.reasoning or UNSET,
            thinking=event.reasoning if event.reasoning and self._thinking else UNSET,
        )
        return self._chunk(envelope, event.index, delta, logprobs=_logprobs(event.logprobs) if event.logprobs else None)


def _tool_call(event: ToolDelta) -> ToolCallDelta:
    if not event.id:
        return ToolCallDelta(index=event.call, function=FunctionAnswer(arguments=event.arguments))
    function = FunctionAnswer(name=event.name, arguments=event.arguments)
    return ToolCallDelta(index=event.call, id=event.id, type="function", function=function)
