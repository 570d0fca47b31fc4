"""The body of a chat request, and what of it the model is asked.

Every field of OpenAI's schema is here: those that change no answer are accepted, those that would and cannot be honoured are
refused by name. Beyond them the extensions that local models are asked for.
"""

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from modelhost.authors.languages import spoken
from modelhost.contract.errors import BadInputError, UnsupportedError
from modelhost.contract.structs import Struct
from modelhost.contract.types import (
    AudioPart,
    Blob,
    GenerateRequest,
    Message,
    ResponseFormat,
    Tool,
    ToolChoice,
)
from modelhost.http.routing.bodies.media import Media
from modelhost.http.routing.chat_messages import ChatMessage, messages_of
from modelhost.http.routing.prefill import check_prefill
from modelhost.http.routing.sampling import Limit, Sampling, StreamOptions, limited
from modelhost.http.routing.spelling import Spelt


class FunctionDefinition(Struct):
    """A function the model may call."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolDefinition(Struct):
    """A tool; functions are the only kind."""

    function: FunctionDefinition
    type: Literal["function"] = "function"


class NamedFunction(Struct):
    """A function by name."""

    name: str


class NamedTool(Struct, tag_field="type", tag="function"):
    """A tool the model must call."""

    function: NamedFunction


class AllowedToolNames(Struct):
    """Some of the tools."""

    mode: Literal["auto", "required"]
    tools: list[NamedTool]


class AllowedTools(Struct, tag_field="type", tag="allowed_tools"):
    """Tools the model may choose from."""

    allowed_tools: AllowedToolNames


class JsonSchema(Struct):
    """The schema an answer must satisfy."""

    name: str
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class TextFormat(Struct, tag_field="type", tag="text"):
    """Any text."""


class JsonObjectFormat(Struct, tag_field="type", tag="json_object"):
    """Any JSON object, or with `schema` as llama.cpp has it one of that schema."""

    schema: dict[str, Any] | None = None


class JsonSchemaFormat(Struct, tag_field="type", tag="json_schema"):
    """JSON of a schema."""

    json_schema: JsonSchema


class ChatBody(Sampling, kw_only=True):
    """`POST /v1/chat/completions`."""

    spelt: ClassVar[Spelt] = {**Sampling.spelt, "max_tokens": ("max_completion_tokens", *Sampling.spelt["max_tokens"])}

    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=10_000)]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: Limit | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Annotated[list[ToolDefinition], Meta(max_length=128)] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | AllowedTools | None = None
    parallel_tool_calls: bool | None = None
    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    # Would change the answer, and nothing here can: refused unless they say what is the case anyway.
    audio: str | dict[str, Any] | None = None
    modalities: list[str] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    web_search_options: dict[str, Any] | None = None
    moderation: dict[str, Any] | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    # Change nothing in the answer of a host of one's own.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    prediction: Any = None
    # Of other servers.
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    # Ours.
    include_thinking: bool | None = None
    enable_safety: bool | None = None
    language: str | None = None

    def to_request(self, media: Media) -> GenerateRequest:
        """Return what a backend is asked. Raises `RequestError` for what cannot be honoured."""
        self._refuse_what_nobody_can()
        messages = messages_of(self.messages, media)
        if isinstance(self.audio, str):
            messages = _with_audio(messages, media.blob(self.audio, "audio"))
        check_prefill(messages, self.continue_final_message, self.add_generation_prompt)
        return GenerateRequest(
            messages=messages,
            **self.sampling(),
            n=self.n or 1,
            logprobs=bool(self.logprobs),
            top_logprobs=self.top_logprobs or 0,
            tools=() if self.tool_choice == "none" else tuple(_tool(tool) for tool in self.tools or ()),
            tool_choice=self._choice(),
            parallel_tool_calls=self.parallel_tool_calls is not False,
            response_format=_format(self.response_format),
            reasoning_effort=self.reasoning_effort,
            add_generation_prompt=self.add_generation_prompt,
            continue_final_message=self.continue_final_message,
            language=spoken(self.language),
            enable_safety=bool(self.enable_safety),
        )

    def limit(self, usual: int | None = None) -> int | None:
        """Return the most tokens of the answer, as OpenAI calls it now or did before. Raises `BadInputError`."""
        if self.max_completion_tokens is None:
            return super().limit(usual)
        return limited(self.max_completion_tokens, param="max_completion_tokens")

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def _refuse_what_nobody_can(self) -> None:
        if self.stream_options and not self.stream:
            raise BadInputError("stream_options is for streams; set stream to true", param="stream_options")
        if self.top_logprobs and not self.logprobs:
            raise BadInputError("top_logprobs needs logprobs to be true", param="top_logprobs")
        if (self.functions and self.function_call != "none") or self.function_call not in (None, "none", "auto"):
            raise UnsupportedError("functions are long deprecated; use tools", param="functions")
        speaks = isinstance(self.audio, dict) and self.modalities != ["text"]
        if speaks or (self.modalities or ["text"]) != ["text"]:
            param = "audio" if speaks else "modalities"
            raise UnsupportedError("no model here answers chat in sound; use /v1/audio/speech", param=param)
        for param, value in (("web_search_options", self.web_search_options), ("moderation", self.moderation)):
            if value is not None:
                raise UnsupportedError(f"no model here supports {param}", param=param)
        if self.verbosity not in (None, "medium"):
            raise UnsupportedError("no model here supports verbosity; ask for it in the messages", param="verbosity")
        if self.tool_choice not in (None, "auto", "none") and not self.tools:
            raise BadInputError("tool_choice needs tools", param="tool_choice")

    def _choice(self) -> ToolChoice | None:
        names = {tool.function.name for tool in self.tools or ()}
        match self.tool_choice:
            case None:
                return None
            case str(mode):
                return ToolChoice(mode=mode)
            case NamedTool(function=function):
                choice = ToolChoice(mode="required", names=(function.name,))
            case AllowedTools(allowed_tools=allowed):
                choice = ToolChoice(mode=allowed.mode, names=tuple(tool.function.name for tool in allowed.tools))
        if not names.issuperset(choice.names):
            raise BadInputError("tool_choice names a function that is not among the tools", param="tool_choice")
        return choice


def _with_audio(messages: tuple[Message, ...], audio: Blob) -> tuple[Message, ...]:
    """Put a top-level recording into the last turn of the user."""
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].role == "user":
            content = (*messages[at].content, AudioPart(audio=audio))
            return (*messages[:at], msgspec.structs.replace(messages[at], content=content), *messages[at + 1 :])
    raise BadInputError("audio needs a message of the user", param="audio")


def _tool(tool: ToolDefinition) -> Tool:
    function = tool.function
    return Tool(
        name=function.name,
        description=function.description or "",
        parameters=function.parameters,
        strict=bool(function.strict),
    )


def _format(form: TextFormat | JsonObjectFormat | JsonSchemaFormat | None) -> ResponseFormat | None:
    match form:
        case JsonObjectFormat(schema=None):
            return ResponseFormat(kind="json_object")
        case JsonObjectFormat(schema=schema):
            return ResponseFormat(kind="json_schema", schema=schema)
        case JsonSchemaFormat(json_schema=given):
            return ResponseFormat(kind="json_schema", name=given.name, schema=given.schema, strict=bool(given.strict))
    return None
