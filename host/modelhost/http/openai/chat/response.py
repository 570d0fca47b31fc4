"""A model's events as OpenAI's chat completion: whole, or chunk by chunk."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import msgspec
from msgspec import UNSET

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

_encode = msgspec.json.Encoder().encode


def _logprobs(tokens: list[TokenLogprob]) -> Logprobs:
    content = []
    for token in tokens:
        top = [TokenAlternative(token=one.token, logprob=one.logprob, bytes=list(one.data)) for one in token.top]
        content.append(ChosenToken(token=token.token, logprob=token.logprob, bytes=list(token.data), top_logprobs=top))
    return Logprobs(content=content)


class _Choice:
    """One of the answers, as it grows."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.logprobs: list[TokenLogprob] = []
        self.calls: dict[int, tuple[str, str, list[str]]] = {}
        self.reason: FinishReason | None = None

    def add(self, event: Delta | ToolDelta) -> None:
        if isinstance(event, Delta):
            self.text.append(event.text)
            self.reasoning.append(event.reasoning)
            self.logprobs += event.logprobs
        else:
            self.calls.setdefault(event.call, (event.id, event.name, []))[2].append(event.arguments)

    def answer(self, index: int, reason: FinishReason, thinking: bool) -> ChatChoice:
        text, reasoning = "".join(self.text), "".join(self.reasoning)
        calls = [
            ToolCallAnswer(id=call_id, function=FunctionAnswer(name=name, arguments="".join(arguments)))
            for _, (call_id, name, arguments) in sorted(self.calls.items())
        ]
        message = AnswerMessage(
            content=text if text or not calls else None,
            reasoning_content=reasoning or UNSET,
            thinking=reasoning if reasoning and thinking else UNSET,
            tool_calls=calls or UNSET,
        )
        logprobs = _logprobs(self.logprobs) if self.logprobs else None
        return ChatChoice(index=index, message=message, logprobs=logprobs, finish_reason=self.reason or reason)


class Completion:
    """Writes one answer. `model` is asked for when the first event is there: by then it is known who answers."""

    def __init__(self, request_id: str, model: Callable[[], str], *, n: int, thinking: bool, include_usage: bool) -> None:
        self._id = f"chatcmpl-{request_id}"
        self._created = int(time.time())
        self._model = model
        self._n = n
        self._thinking = thinking
        self._usage_null = b',"usage":null' if include_usage else b""
        self._include_usage = include_usage

    async def whole(self, events: AsyncIterator[GenerateEvent], headers: dict[str, str]) -> JsonResponse:
        """Collect the events into one answer."""
        choices = [_Choice() for _ in range(self._n)]
        done = Done()
        count = 0
        async for event in events:
            count += 1
            match event:
                case Delta() | ToolDelta():
                    choices[event.index].add(event)
                case ChoiceDone():
                    choices[event.index].reason = FINISH_REASONS[event.reason]
                case Done():
                    done = event

        def answer() -> ChatCompletion:
            made = (choice.answer(i, FINISH_REASONS[done.reason], self._thinking) for i, choice in enumerate(choices))
            return ChatCompletion(
                id=self._id,
                created=self._created,
                model=self._model(),
                choices=[cast(Any, msgspec.Raw(_encode(choice))) for choice in made],
                usage=UsageAnswer.of(done.usage),
            )

        return await JsonResponse.of_many(count, answer, headers)

    async def chunks(self, events: AsyncIterator[GenerateEvent]) -> AsyncIterator[bytes]:
        """Return server-sent events, ready to go out."""
        finished: set[int] = set()
        envelope: bytes | None = None
        # Most events are plain words of the only choice: all but the words is rendered once.
        plain_tail = b'},"logprobs":null,"finish_reason":null}]' + self._usage_null + b"}\n\n"
        async for event in events:
            if envelope is None:
                envelope = self._envelope()
                plain_head = envelope + b'"choices":[{"index":0,"delta":{"content":'
                for index in range(self._n):
                    yield self._chunk(envelope, index, ChatDelta(role="assistant", content="", refusal=None))
            match event:
                case Delta(reasoning="", index=0, logprobs=()):
                    yield plain_head + _encode(event.text) + plain_tail
                case Delta():
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

    def _envelope(self) -> bytes:
        head = {"id": self._id, "object": "chat.completion.chunk", "created": self._created, "model": self._model()}
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
        return self._chunk(envelope, event.index, delta, logprobs=_logprobs(list(event.logprobs)) if event.logprobs else None)


def _tool_call(event: ToolDelta) -> ToolCallDelta:
    if not event.id:
        return ToolCallDelta(index=event.call, function=FunctionAnswer(arguments=event.arguments))
    function = FunctionAnswer(name=event.name, arguments=event.arguments)
    return ToolCallDelta(index=event.call, id=event.id, type="function", function=function)
