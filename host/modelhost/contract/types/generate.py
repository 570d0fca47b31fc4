"""Text generation: chat, and completion of a raw prompt."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from modelhost.contract.structs import Wire
from modelhost.contract.types.events import Done, Event, FinishReason
from modelhost.contract.types.media import Blob

Role = Literal["system", "developer", "user", "assistant", "tool"]


class TextPart(Wire, tag_field="type", tag="text"):
    """Words."""

    text: str


class ImagePart(Wire, tag_field="type", tag="image"):
    """A picture, as a file of `media_type`."""

    image: Blob
    media_type: str = "image/png"
    detail: Literal["auto", "low", "high"] = "auto"


class AudioPart(Wire, tag_field="type", tag="audio"):
    """A recording, as a file; `format` is what the caller says it is (`wav`, `mp3`, …) and may be wrong."""

    audio: Blob
    format: str = ""


Part = TextPart | ImagePart | AudioPart


class ToolCall(Wire):
    """A call the model made earlier in the conversation; `arguments` is JSON as the model wrote it."""

    id: str
    name: str
    arguments: str


class Message(Wire):
    """One turn of a conversation."""

    role: Role
    content: tuple[Part, ...] = ()
    name: str | None = None
    reasoning: str | None = None
    """What the model thought in this turn, for templates that want it back."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    """Which call this turn answers, in the role `tool`."""

    @property
    def text(self) -> str:
        """The words of this turn, without other parts."""
        return "".join(part.text for part in self.content if isinstance(part, TextPart))


class Tool(Wire):
    """A function the model may call; `parameters` is its JSON Schema."""

    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None
    strict: bool = False


class ToolChoice(Wire):
    """Whether the model may, must or must not call tools, and which; no names means any."""

    mode: Literal["auto", "none", "required"] = "auto"
    names: tuple[str, ...] = ()


class ResponseFormat(Wire):
    """The form the answer must have: any JSON object, or JSON of a schema."""

    kind: Literal["json_object", "json_schema"]
    name: str = ""
    schema: dict[str, Any] | None = None
    strict: bool = False


class GenerateRequest(Wire):
    """What to continue: `messages`, or a raw `prompt` (text or token ids). None leaves a choice to the model's configuration."""

    messages: tuple[Message, ...] = ()
    prompt: str | tuple[int, ...] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    logit_bias: dict[int, float] | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    n: Annotated[int, Meta(ge=1, le=128)] = 1
    logprobs: bool = False
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] = 0
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool = True
    response_format: ResponseFormat | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    language: str | None = None
    """Language of the audio parts, where the caller knows it."""
    enable_safety: bool = False
    """Ask a hosted model to filter by its own safety settings."""
    add_generation_prompt: bool | None = None
    """End the conversation with what begins the model's turn; None leaves it to `continues`."""
    continue_final_message: bool | None = None
    """Go on in the last message, which is the model's own, instead of beginning a turn; None leaves it to `continues`."""
    echo: bool = False
    """Return the prompt too, before its continuation; with `prompt` only."""
    suffix: str | None = None
    """What comes after the gap to fill; with `prompt` only."""

    @property
    def continues(self) -> bool:
        """Whether the answer goes on with the last message: as asked, else where the model's own words are the last."""
        return continues(self.messages, self.continue_final_message, self.add_generation_prompt)


def continues(messages: tuple[Message, ...], continue_final_message: bool | None, add_generation_prompt: bool | None) -> bool:
    """Decide whether an answer goes on with the last message; llama.cpp and ollama do so when it is the assistant's."""
    if continue_final_message is not None or add_generation_prompt is not None:
        return bool(continue_final_message)
    last = messages[-1] if messages else None
    return last is not None and last.role == "assistant" and bool(last.text) and not last.tool_calls


class TokenLogprob(Wire):
    """A token with its natural-log probability; `data` is its bytes, which need not be whole characters."""

    token: str
    logprob: float
    data: bytes = b""
    top: tuple["TokenLogprob", ...] = ()


class Delta(Event):
    """More of the answer: words, or reasoning, or both, of the choice `index`."""

    text: str = ""
    reasoning: str = ""
    index: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


class ToolDelta(Event):
    """More of the tool call number `call` of the choice `index`; the first one carries `id` and `name`."""

    call: int = 0
    index: int = 0
    id: str = ""
    name: str = ""
    arguments: str = ""


class ChoiceDone(Event):
    """The choice `index` is complete; needed only when there is more than one."""

    index: int
    reason: FinishReason = "stop"


GenerateEvent = Delta | ToolDelta | ChoiceDone | Done
