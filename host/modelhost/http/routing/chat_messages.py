"""The turns of a chat as OpenAI's clients write them: what several routes take, and as a backend reads them."""

from typing import Any, Literal

from modelhost.contract.errors import BadInputError, UnsupportedError
from modelhost.contract.structs import Struct
from modelhost.contract.types import AudioPart, ImagePart, Message, Part, TextPart, ToolCall
from modelhost.http.routing.bodies.media import Media

MEDIA = ("data", "url", "audio")
"""Fields of a chat that have recordings and pictures in base64."""


class Hinted(Struct):
    """A part; what other hosts are told about keeping it in a cache changes no answer."""

    cache_control: Any = None


class TextContent(Hinted, kw_only=True, tag_field="type", tag="text"):
    """Words."""

    text: str
    annotations: Any = None
    """What an answer said of its sources."""


class RefusalContent(Hinted, kw_only=True, tag_field="type", tag="refusal"):
    """What an assistant said when it refused."""

    refusal: str


class ImageUrl(Struct):
    """A picture as a `data:` URL."""

    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class ImageContent(Hinted, kw_only=True, tag_field="type", tag="image_url"):
    """A picture."""

    image_url: ImageUrl


class InputAudio(Struct):
    """A recording in base64."""

    data: str
    format: str = ""


class AudioContent(Hinted, kw_only=True, tag_field="type", tag="input_audio"):
    """A recording."""

    input_audio: InputAudio


class FileContent(Hinted, kw_only=True, tag_field="type", tag="file"):
    """A file; no backend reads them."""

    file: dict[str, Any]


Content = TextContent | RefusalContent | ImageContent | AudioContent | FileContent


class CalledFunction(Struct):
    """Which function a past turn called, and with what."""

    name: str
    arguments: str
    parsed_arguments: Any = None
    """What an SDK made of them."""


class PastCall(Struct):
    """A tool call of a past turn."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"
    index: int | None = None
    """Its number in the stream it came in."""


class SpokenAnswer(Struct):
    """A past answer in sound, as another host gave it."""

    id: str | None = None
    transcript: str | None = None
    """What it said, which is what is remembered of it."""
    data: str | None = None
    expires_at: float | None = None


class ChatMessage(Struct):
    """A turn, also as an SDK's own dump of an answer has it."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Content] | None = None
    name: str | None = None
    tool_calls: list[PastCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking: str | None = None
    audio: SpokenAnswer | None = None
    function_call: Any = None
    """Long deprecated; `tool_calls` says the same."""
    # Said of an answer, not by it.
    annotations: Any = None
    parsed: Any = None
    reasoning_details: Any = None
    provider_specific_fields: Any = None
    cache_control: Any = None


def messages_of(messages: list[ChatMessage], media: Media) -> tuple[Message, ...]:
    """Return a chat's turns as a backend reads them. Raises `RequestError` naming what is wrong."""
    return tuple(_message(message, at, media) for at, message in enumerate(messages))


def _message(message: ChatMessage, at: int, media: Media) -> Message:
    where = f"messages[{at}]"
    if message.role == "tool" and not message.tool_call_id:
        raise BadInputError("a tool's answer needs the tool_call_id it answers", param=f"{where}.tool_call_id")
    if message.content is None and message.role != "assistant":
        raise BadInputError("this message has no content", param=f"{where}.content")
    if message.function_call is not None:
        raise UnsupportedError("function calls are long deprecated; send it in tool_calls", param=f"{where}.function_call")
    if isinstance(message.content, str):
        content: tuple[Part, ...] = (TextPart(text=message.content),)
    else:
        parts = message.content or []
        content = tuple(_part(part, f"{where}.content[{number}]", media) for number, part in enumerate(parts))
    if text := not content and (message.refusal or _transcript(message.audio, f"{where}.audio")):
        content = (TextPart(text=text),)
    calls = tuple(
        ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments) for call in message.tool_calls or ()
    )
    return Message(
        role=message.role,
        content=content,
        name=message.name,
        reasoning=message.reasoning_content or message.reasoning or message.thinking,
        tool_calls=calls,
        tool_call_id=message.tool_call_id,
    )


def _transcript(audio: SpokenAnswer | None, where: str) -> str:
    if audio and not audio.transcript:
        raise UnsupportedError("no answer in sound is remembered here; send what it said as content", param=where)
    return audio.transcript or "" if audio else ""


def _part(part: Content, where: str, media: Media) -> Part:
    match part:
        case TextContent(text=text) | RefusalContent(refusal=text):
            return TextPart(text=text)
        case AudioContent(input_audio=audio):
            return AudioPart(audio=media.blob(audio.data, f"{where}.input_audio.data"), format=audio.format)
        case ImageContent(image_url=image):
            kind, picture = media.picture(image.url, f"{where}.image_url.url")
            return ImagePart(image=picture, media_type=kind, detail=image.detail)
    raise UnsupportedError("no model here reads files; send their text", param=where)
