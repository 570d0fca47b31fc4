"""A conversation in Gemini's words: turns of `user` and `model`, and the system's instruction apart from them."""

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec
from google.genai import types
from modelhost import (
    AudioPart,
    BadInputError,
    DocumentPart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
    UnsupportedError,
)

from modelhost_gemini.signatures import Signatures
from modelhost_gemini.sound import media_type_of

_SYSTEM = ("system", "developer")


def system_of(messages: Sequence[Message]) -> list[types.Part] | None:
    """Return the instruction: what system and developer say anywhere in the conversation."""
    system_messages = [message for message in messages if message.role in _SYSTEM]
    if any(not isinstance(part, TextPart) for message in system_messages for part in message.content):
        raise BadInputError(
            "Gemini's system instruction is text only; put sound and pictures in a user message", param="messages"
        )
    return [types.Part(text=message.text) for message in system_messages if message.text] or None


def contents_of(messages: Sequence[Message], signatures: Signatures) -> list[types.Content]:
    """Return the turns; messages of one side that follow each other become one. Raises `BadInputError`."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    turns = [(_role(message), message) for message in messages if message.role not in _SYSTEM]
    contents = []
    for side, group in groupby(turns, key=lambda turn: turn[0]):
        parts = [part for _, message in group for part in _parts(message, names, signatures)]
        if parts:
            contents.append(types.Content(role=side, parts=parts))
    if not contents:
        raise BadInputError("Gemini needs something to answer: add a message of the user", param="messages")
    return contents


def _role(message: Message) -> str:
    return "model" if message.role == "assistant" else "user"


def _parts(message: Message, names: Mapping[str, str], signatures: Signatures) -> Iterator[types.Part]:
    if message.role == "tool":
        yield _result(message, names)
        return
    for part in message.content:
        if isinstance(part, ReasoningPart) or (isinstance(part, TextPart) and not part.text):
            continue  # Gemini has its own thoughts in the signatures of calls, and refuses a part without words
        yield _part(part)
    for call in message.tool_calls:
        yield _call(call, signatures)


def _part(part: Part) -> types.Part:
    match part:
        case TextPart():
            return types.Part(text=part.text)
        case ImagePart():
            return types.Part.from_bytes(data=part.image.read(), mime_type=part.media_type)
        case AudioPart():
            data = part.audio.read()
            return types.Part.from_bytes(data=data, mime_type=media_type_of(data, part.format))
        case DocumentPart():
            return types.Part.from_bytes(data=part.document.read(), mime_type=part.media_type)
    raise UnsupportedError("this model takes no such part of a message", param="messages")


def _call(call: ToolCall, signatures: Signatures) -> types.Part:
    made = types.FunctionCall(id=call.id, name=call.name, args=_arguments(call))
    signature = _signature(call) if call.signature else signatures.of(call.id)
    return types.Part(function_call=made, thought_signature=signature)


def _signature(call: ToolCall) -> bytes:
    try:
        return b64decode(call.signature, validate=True)
    except ValueError:
        raise BadInputError("the signature of an earlier tool call is not the one that Gemini gave", param="messages") from None


def _arguments(call: ToolCall) -> dict[str, Any]:
    try:
        return msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise BadInputError("the arguments of an earlier tool call are not a JSON object", param="messages") from None


def _result(message: Message, names: Mapping[str, str]) -> types.Part:
    call = message.tool_call_id or ""
    if call not in names:
        raise BadInputError("a tool's message answers a call that is nowhere in the conversation", param="messages")
    key = "error" if message.is_error else "output"
    response = types.FunctionResponse(id=call, name=names[call], response={key: message.text})
    return types.Part(function_response=response)
