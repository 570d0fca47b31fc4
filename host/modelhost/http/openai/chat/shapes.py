"""OpenAI's chat completion as it goes out. Fields that are `UNSET` stay out of the JSON."""

from typing import Literal

from msgspec import UNSET, UnsetType

from modelhost.contract.structs import Struct
from modelhost.contract.types import FinishReason as EndReason
from modelhost.http.routing.usage import UsageAnswer

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]

FINISH_REASONS: dict[EndReason, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}
"""OpenAI's word for each of the contract's; it has none for what the model itself will not say."""


class TokenAlternative(Struct):
    """A token that could have been, with its natural-log probability."""

    token: str
    logprob: float
    bytes: list[int]


class ChosenToken(TokenAlternative):
    """A token of the answer."""

    top_logprobs: list[TokenAlternative]


class Logprobs(Struct):
    """How likely each token was."""

    content: list[ChosenToken]
    refusal: None = None


class FunctionAnswer(Struct):
    """Which function to call; `arguments` is JSON as the model wrote it."""

    arguments: str
    name: str | UnsetType = UNSET


class ToolCallAnswer(Struct):
    """A tool the model wants called."""

    id: str
    function: FunctionAnswer
    type: Literal["function"] = "function"


class ToolCallDelta(Struct):
    """More of a tool call; `id`, `type` and the name come with the first."""

    index: int
    function: FunctionAnswer
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET


class AnswerMessage(Struct):
    """What the model says."""

    content: str | None
    role: Literal["assistant"] = "assistant"
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    """What it thought before, of models that reason."""
    thinking: str | UnsetType = UNSET
    """The same, with `include_thinking`."""
    tool_calls: list[ToolCallAnswer] | UnsetType = UNSET


class ChatChoice(Struct):
    """One of the answers."""

    index: int
    message: AnswerMessage
    finish_reason: FinishReason
    logprobs: Logprobs | None = None


class ChatCompletion(Struct):
    """A whole answer."""

    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageAnswer
    object: Literal["chat.completion"] = "chat.completion"
    system_fingerprint: None = None


class ChatDelta(Struct):
    """More of an answer; the first says whose."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    refusal: UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    thinking: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET


class ChunkChoice(Struct):
    """One of the answers, and more of it."""

    index: int
    delta: ChatDelta
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(Struct):
    """One event of a stream; with `include_usage` the last one has the counts and no choices."""

    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    usage: UsageAnswer | UnsetType | None = UNSET
