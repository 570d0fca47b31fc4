"""The chunks of a chat or a completion as they come in, of which the contract's events are made.

Servers differ in what they leave out and what they set to null, so that almost nothing here is required.
"""

from typing import Any

import msgspec
from modelhost import Usage

MOST = 2**63 - 1
"""A count beyond is none: no client takes it for a number."""


def count(said: int | None) -> int:
    """Return how many an upstream counted; 0 for what can be no count, which is no reason to lose the answer."""
    return said if said is not None and 0 <= said <= MOST else 0


class Lenient(msgspec.Struct):
    """Base: fields that are not named here are ignored."""


class FunctionChunk(Lenient):
    """More of a called function; `arguments` is a piece of JSON."""

    name: str | None = None
    arguments: str | None = None


class CallChunk(Lenient):
    """More of a tool call."""

    index: int | None = None
    id: str | None = None
    function: FunctionChunk | None = None


class DeltaChunk(Lenient):
    """More of an answer. What a model thought is `reasoning_content` to some servers and `reasoning` to others."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[CallChunk] | None = None


class TopLogprob(Lenient):
    """A token that could have been."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprobChunk(TopLogprob):
    """A token of the answer."""

    top_logprobs: list[TopLogprob] | None = None


class LogprobsChunk(Lenient):
    """How likely the tokens were: chat's `content`, or the parallel lists of completions."""

    content: list[TokenLogprobChunk] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class ChoiceChunk(Lenient):
    """More of one of the answers: `delta` of a chat, `text` of a completion."""

    index: int = 0
    delta: DeltaChunk | None = None
    text: str | None = None
    logprobs: LogprobsChunk | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    """vLLM's: the stop string that was met, or the id of a token."""


class PromptDetails(Lenient):
    """Parts of the prompt's tokens."""

    cached_tokens: int | None = None


class AnswerDetails(Lenient):
    """Parts of the answer's tokens."""

    reasoning_tokens: int | None = None


class UsageChunk(Lenient):
    """Token counts."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: AnswerDetails | None = None

    def counts(self) -> Usage:
        """Return them in the contract's words."""
        prompt, answer = self.prompt_tokens_details, self.completion_tokens_details
        return Usage(
            input_tokens=count(self.prompt_tokens),
            output_tokens=count(self.completion_tokens),
            cached_tokens=count(prompt.cached_tokens if prompt else None),
            reasoning_tokens=count(answer.reasoning_tokens if answer else None),
        )


class Chunk(Lenient):
    """One event of a stream."""

    choices: list[ChoiceChunk] | None = None
    usage: UsageChunk | None = None
    error: Any = None
