"""Text generation: chat, and completion of a raw prompt."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from modelhost.contract.structs import Wire
from modelhost.contract.types.events import Done, Event, FinishReason, TokenLogprob
from modelhost.contract.types.media import Blob
from modelhost.contract.types.request import Request
from modelhost.contract.types.synthesize import AudioChunk

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


class DocumentPart(Wire, tag_field="type", tag="document"):
    """A document to read, as a file of `media_type`."""

    document: Blob
    media_type: str = "application/pdf"
    name: str = ""
    """What it is called; empty where the caller does not say."""


class ReasoningPart(Wire, tag_field="type", tag="reasoning"):
    """What the model thought at this place of its turn.

    A backend that has a place for it gives it back to the model as it is; one that has none may give its words, or leave it out.
    """

    text: str = ""
    """In words; empty where there is only what `signature` holds."""
    signature: str = ""
    """Opaque: what the model's owner made of the thought, to be sent back unchanged."""
    redacted: bool = False
    """Whether the thought itself is in the signature, because its words are kept from everybody."""


class CompactionPart(Wire, tag_field="type", tag="compaction"):
    """What stands in place of all that was said before it, made by the model's owner; takes the feature `compaction`."""

    text: str = ""
    """In words; empty where it is opaque."""
    data: str = ""
    """Opaque, to be sent back unchanged."""


Part = TextPart | ImagePart | AudioPart | DocumentPart | ReasoningPart | CompactionPart


class ToolCall(Wire):
    """A call the model made earlier in the conversation; `arguments` is JSON as the model wrote it."""

    id: str
    name: str
    arguments: str
    signature: str = ""
    """Opaque: of the thought behind the call, to be sent back unchanged."""


class Message(Wire):
    """One turn of a conversation."""

    role: Role
    content: tuple[Part, ...] = ()
    name: str | None = None
    reasoning: str | None = None
    """What the model thought in this turn, all of it before the words; where it has signatures, or stands between other parts,
    it comes as `ReasoningPart`s of the content in place of this. `thoughts` is either."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    """Which call this turn answers, in the role `tool`."""
    is_error: bool = False
    """Whether the tool failed, in the role `tool`; the content says how, which is enough for models that cannot be told apart."""

    @property
    def thoughts(self) -> str | None:
        """What the model thought in this turn, in words; None for nothing."""
        parts = [part.text for part in self.content if isinstance(part, ReasoningPart) and part.text]
        return "\n\n".join([*([self.reasoning] if self.reasoning else []), *parts]) or self.reasoning

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


class GenerateRequest(Request):
    """What to continue: `messages`, or a raw `prompt` (text or token ids). None leaves a choice to the model's configuration."""

    messages: tuple[Message, ...] = ()
    prompt: str | tuple[int, ...] | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    """0 only computes the prompt, for its `prompt_logprobs`."""
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
    prompt_logprobs: bool = False
    """Say how likely each token of the echoed prompt was, too, as `logprobs` does for the answer's."""
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


class Delta(Event):
    """More of the answer: words, or reasoning, or sound, of the choice `index`."""

    text: str = ""
    reasoning: str = ""
    signature: str = ""
    """Opaque: belongs to the reasoning before it, and ends that part of it; see `ReasoningPart`."""
    redacted: bool = False
    """Whether the part that `signature` ends has no words at all, because they are kept from everybody."""
    index: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    audio: AudioChunk | None = None
    """More of the spoken answer; `text` is then what is said in it."""


class ToolDelta(Event):
    """More of the tool call number `call` of the choice `index`; the first one carries `id` and `name`."""

    call: int = 0
    index: int = 0
    id: str = ""
    name: str = ""
    arguments: str = ""
    signature: str = ""
    """Opaque: of the thought behind the call; see `ToolCall`."""


class ChoiceDone(Event):
    """The choice `index` is complete; needed only when there is more than one."""

    index: int
    reason: FinishReason = "stop"
    stop: str | None = None
    """Which of the request's stop strings ended it."""


GenerateEvent = Delta | ToolDelta | ChoiceDone | Done
