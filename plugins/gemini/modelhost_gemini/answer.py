"""From the chunks of Gemini's answer to the contract's events."""

from base64 import b64encode
from collections.abc import Iterator
from secrets import token_hex

import msgspec
from google.genai import types
from modelhost import (
    BackendFailedError,
    BadInputError,
    ChoiceDone,
    Delta,
    Done,
    FinishReason,
    GenerateEvent,
    GenerateRequest,
    TokenLogprob,
    ToolDelta,
    Usage,
)

from modelhost_gemini.errors import MOST_WORDS
from modelhost_gemini.signatures import Signatures

_REASONS: dict[types.FinishReason, FinishReason] = {
    types.FinishReason.STOP: "stop",
    types.FinishReason.MAX_TOKENS: "length",
    types.FinishReason.SAFETY: "content_filter",
    types.FinishReason.RECITATION: "content_filter",
    types.FinishReason.BLOCKLIST: "content_filter",
    types.FinishReason.PROHIBITED_CONTENT: "content_filter",
    types.FinishReason.SPII: "content_filter",
    types.FinishReason.IMAGE_SAFETY: "content_filter",
    types.FinishReason.LANGUAGE: "content_filter",
}
"""The ends that leave an answer; what has any other has gone wrong."""

_GOES_ON = (types.FinishReason.FINISH_REASON_UNSPECIFIED, types.FinishReason.CONTINUATION)

MOST = 2**62
"""A count from here on is none."""


class Answer:
    """Follows the answer to one request from its first chunk to its end."""

    def __init__(self, request: GenerateRequest, signatures: Signatures) -> None:
        self._n = request.n
        self._calls_at_once = request.parallel_tool_calls
        self._signatures = signatures
        self._calls: dict[int, int] = {}
        """How many tools each choice has called."""
        self._reasons: dict[int, FinishReason] = {}
        self._usage = Usage()

    def take(self, chunk: types.GenerateContentResponse) -> Iterator[GenerateEvent]:
        """Yield what a chunk brings; nothing of it is empty. Raises `ModelhostError` where Gemini says no."""
        if chunk.usage_metadata:
            self._usage = _usage(chunk.usage_metadata)
        if chunk.prompt_feedback and chunk.prompt_feedback.block_reason:
            raise _blocked(chunk.prompt_feedback)
        for candidate in chunk.candidates or ():
            index = candidate.index or 0
            yield from self._pieces(candidate, index)
            if candidate.finish_reason and candidate.finish_reason not in _GOES_ON:
                yield from self._finished(index, candidate.finish_reason)

    def done(self) -> Done:
        """Return the last event. Raises `BackendFailedError` for an answer that was cut off."""
        if len(self._reasons) < self._n:
            raise BackendFailedError("Gemini's answer ended in the middle; send the request again", retry=True)
        return Done(reason=self._reasons.get(0, "stop") if self._n == 1 else "stop", usage=self._usage)

    def _pieces(self, candidate: types.Candidate, index: int) -> Iterator[GenerateEvent]:
        text = reasoning = ""
        calls = []
        for part in (candidate.content and candidate.content.parts) or ():
            if part.function_call:
                calls.append(part)
            elif part.thought:
                reasoning += part.text or ""
            elif part.text is not None or part.thought_signature:
                text += part.text or ""
            else:
                raise _unspeakable(part)
        logprobs = _logprobs(candidate.logprobs_result) if candidate.logprobs_result else ()
        if text or reasoning or logprobs:
            yield Delta(text=text, reasoning=reasoning, index=index, logprobs=logprobs)
        for part in calls:
            yield from self._call(index, part)

    def _call(self, index: int, part: types.Part) -> Iterator[ToolDelta]:
        """Yield a call, which comes whole; where one at a time is wanted, only the first."""
        number = self._calls.get(index, 0)
        if number and not self._calls_at_once:
            return
        self._calls[index] = number + 1
        made = part.function_call
        assert made is not None
        name = made.id or f"call_{token_hex(12)}"
        if part.thought_signature:
            self._signatures.keep(name, part.thought_signature)
        arguments = msgspec.json.encode(made.args or {}).decode()
        signature = b64encode(part.thought_signature or b"").decode()
        yield ToolDelta(call=number, index=index, id=name, name=made.name or "", arguments=arguments, signature=signature)

    def _finished(self, index: int, finish_reason: types.FinishReason) -> Iterator[GenerateEvent]:
        reason = _REASONS.get(finish_reason)
        if reason is None:
            raise BackendFailedError(f"Gemini gave up its answer ({finish_reason.value}); send the request again", retry=True)
        if reason == "stop" and self._calls.get(index):
            reason = "tool_calls"
        self._reasons[index] = reason
        if self._n > 1:
            yield ChoiceDone(index=index, reason=reason)


def _unspeakable(part: types.Part) -> BackendFailedError:
    """Name what is in a part that no event can hold: an answer without it would pass for a whole one."""
    kinds = ", ".join(sorted(part.model_dump(exclude_none=True))) or "nothing"
    return BackendFailedError(f"Gemini answered with what this plugin cannot pass on ({kinds})")


def _blocked(feedback: types.GenerateContentResponsePromptFeedback) -> BadInputError:
    assert feedback.block_reason is not None
    why = f"{feedback.block_reason.value} {feedback.block_reason_message or ''}".strip()[:MOST_WORDS]
    return BadInputError(f"Gemini refuses this prompt: {why}", param="messages", code="content_filter")


def _usage(counted: types.GenerateContentResponseUsageMetadata) -> Usage:
    """Count thoughts as part of the answer, and what tools brought as part of the prompt."""
    thoughts = _count(counted.thoughts_token_count)
    return Usage(
        input_tokens=_count(counted.prompt_token_count) + _count(counted.tool_use_prompt_token_count),
        output_tokens=_count(counted.candidates_token_count) + thoughts,
        reasoning_tokens=thoughts,
        cached_tokens=_count(counted.cached_content_token_count),
    )


def _count(said: int | None) -> int:
    """Return how many Google counted; 0 for what can be no count, which is no reason to lose the answer."""
    return said if said is not None and 0 <= said < MOST else 0


def _logprobs(found: types.LogprobsResult) -> tuple[TokenLogprob, ...]:
    chosen = found.chosen_candidates or []
    tops = [step.candidates or [] for step in found.top_candidates or ()] or [[] for _ in chosen]
    return tuple(_logprob(token, tuple(_logprob(other) for other in top)) for token, top in zip(chosen, tops, strict=False))


def _logprob(found: types.LogprobsResultCandidate, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
    token = found.token or ""
    return TokenLogprob(token=token, logprob=found.log_probability or 0.0, data=token.encode(), top=top)
