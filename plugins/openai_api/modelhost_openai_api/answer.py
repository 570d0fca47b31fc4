"""From a stream's chunks to the contract's events."""

from collections.abc import Iterator
from secrets import token_hex

from modelhost import (
    BackendFailedError,
    ChoiceDone,
    Delta,
    Done,
    FinishReason,
    GenerateEvent,
    TokenLogprob,
    ToolDelta,
    Usage,
)

from modelhost_openai_api.chunks import CallChunk, ChoiceChunk, Chunk, LogprobsChunk, TokenLogprobChunk, TopLogprob

_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "refusal",
}
"""Any other is a `stop`: servers have more words for that than for the rest."""


class Answer:
    """Follows an answer of `n` choices from its first chunk to its end."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._calls: dict[int, dict[int | str, int]] = {}
        """By choice, the numbers of its calls by what the upstream tells them apart by."""
        self._latest: dict[int, int | str] = {}
        """By choice, the call that was begun last."""
        self._seen: set[int] = set()
        """Choices that there is something of."""
        self._reasons: dict[int, FinishReason] = {}
        self._stop: str | None = None
        self._usage = Usage()
        self._ended = False

    def take(self, chunk: Chunk) -> Iterator[GenerateEvent]:
        """Yield what a chunk brings; nothing of it is empty."""
        if chunk.usage:
            self._usage = chunk.usage.counts()
        for choice in chunk.choices or ():
            yield from self._pieces(choice)
            if choice.finish_reason and choice.index not in self._reasons:
                stop = choice.stop_reason if isinstance(choice.stop_reason, str) else None
                yield from self._finished(choice.index, choice.finish_reason, stop)

    def end(self) -> None:
        """Take the upstream's word that there is no more."""
        self._ended = True

    def done(self) -> Done:
        """Return the last event. Raises `BackendFailedError` for an answer that was cut off."""
        if not self._ended and len(self._reasons) < self._n:
            raise BackendFailedError("the upstream's answer ended in the middle")
        if len(self._seen | self._reasons.keys()) < self._n > 1:
            raise BackendFailedError(f"the upstream gave fewer answers than the {self._n} it was asked for")
        reason = self._reasons.get(0, "stop") if self._n == 1 else "stop"
        return Done(reason=reason, stop=self._stop, usage=self._usage)

    def _pieces(self, choice: ChoiceChunk) -> Iterator[GenerateEvent]:
        delta = choice.delta
        text = choice.text or (delta and (delta.content or delta.refusal)) or ""
        reasoning = (delta and (delta.reasoning_content or delta.reasoning)) or ""
        logprobs = _logprobs(choice.logprobs) if choice.logprobs else ()
        if text or reasoning or logprobs:
            self._seen.add(choice.index)
            yield Delta(text=text, reasoning=reasoning, index=choice.index, logprobs=logprobs)
        for call in (delta and delta.tool_calls) or ():
            piece = self._call(choice.index, call)
            if piece.id or piece.arguments:
                yield piece

    def _call(self, index: int, call: CallChunk) -> ToolDelta:
        """Number a call's piece, and let only its first one carry id and name, which some servers repeat in every piece."""
        begun = self._calls.setdefault(index, {})
        known: int | str = call.id or self._latest.get(index, "")  # a server without numbers begins a call with a new id
        if call.index is not None:
            known = call.index
        arguments = (call.function and call.function.arguments) or ""
        if known in begun:
            return ToolDelta(call=begun[known], index=index, arguments=arguments)
        self._seen.add(index)
        self._latest[index] = known
        begun[known] = len(begun)
        name = (call.function and call.function.name) or ""
        return ToolDelta(call=len(begun) - 1, index=index, id=call.id or f"call_{token_hex(12)}", name=name, arguments=arguments)

    def _finished(self, index: int, finish_reason: str, stop: str | None) -> Iterator[GenerateEvent]:
        reason = _REASONS.get(finish_reason, "stop")
        if reason == "stop" and self._calls.get(index):  # said of calls the caller forced, and by some servers always
            reason = "tool_calls"
        self._reasons[index] = reason
        if self._n > 1:
            yield ChoiceDone(index=index, reason=reason, stop=stop)
        else:
            self._stop = stop


def _logprobs(found: LogprobsChunk) -> tuple[TokenLogprob, ...]:
    if found.content is not None:
        return tuple(_chosen(token) for token in found.content)
    tokens, logprobs = found.tokens or (), found.token_logprobs or ()
    tops = found.top_logprobs or [None] * len(tokens)
    return tuple(_listed(*one) for one in zip(tokens, logprobs, tops, strict=False))


def _listed(token: str, logprob: float, top: dict[str, float] | None) -> TokenLogprob:
    others = tuple(TokenLogprob(token=name, logprob=value, data=name.encode()) for name, value in (top or {}).items())
    return TokenLogprob(token=token, logprob=logprob, data=token.encode(), top=others)


def _chosen(token: TokenLogprobChunk) -> TokenLogprob:
    return TokenLogprob(
        token=token.token,
        logprob=token.logprob,
        data=_bytes(token),
        top=tuple(TokenLogprob(token=one.token, logprob=one.logprob, data=_bytes(one)) for one in token.top_logprobs or ()),
    )


def _bytes(token: TopLogprob) -> bytes:
    return token.token.encode() if token.bytes is None else bytes(token.bytes)
