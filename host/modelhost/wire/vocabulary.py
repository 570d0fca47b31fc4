"""Which structs, and which of their fields, the two ends of a line know: the older end must not drop what it does not know.

A worker's hello lists those of requests. What is missing there is looked for in a request before it is sent, and refused.
"""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import msgspec

from modelhost.contract.types.abilities import ABILITIES, REQUESTS

Vocabulary = Mapping[str, list[str]]
"""Name of a struct → names of its fields."""

FIRST: Vocabulary = {
    "AudioPart": ["audio", "format"],
    "ImagePart": ["image", "media_type", "detail"],
    "Message": ["role", "content", "name", "reasoning", "tool_calls", "tool_call_id"],
    "ResponseFormat": ["kind", "name", "schema", "strict"],
    "TextPart": ["text"],
    "Tool": ["name", "description", "parameters", "strict"],
    "ToolCall": ["id", "name", "arguments"],
    "ToolChoice": ["mode", "names"],
    "VoiceSample": ["audio", "text"],
}
"""What a worker knows that does not say: the structs within requests as they were before hellos listed them."""


def vocabulary() -> dict[str, list[str]]:
    """Return the structs that stand within requests, with their fields, as they are here."""
    found: dict[str, list[str]] = {}
    for ability in ABILITIES:
        for field in msgspec.structs.fields(REQUESTS[ability]):
            _collect(field.type, found)
    return found


def _collect(kind: Any, found: dict[str, list[str]]) -> None:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if kind.__name__ not in found:
            fields = msgspec.structs.fields(kind)
            found[kind.__name__] = [field.name for field in fields]
            for field in fields:
                _collect(field.type, found)
    else:
        for part in get_args(kind):
            _collect(part, found)


class Unknown:
    """What the other end does not know of ours."""

    def __init__(self, theirs: Vocabulary) -> None:
        """Compare with what the other end says; with nothing said, with what the oldest knows."""
        theirs = theirs or FIRST
        self._structs: dict[str, frozenset[str] | None] = {}
        for name, fields in vocabulary().items():
            known = theirs.get(name)
            if known is None:
                self._structs[name] = None
            elif missing := frozenset(fields) - frozenset(known):
                self._structs[name] = missing

    def __bool__(self) -> bool:
        return bool(self._structs)

    def within(self, request: msgspec.Struct) -> str | None:
        """Return the name of something in a request that the other end would not understand, or drop; None for nothing."""
        return next(self._found(request), None)

    def _found(self, value: Any) -> Iterator[str]:
        if isinstance(value, (tuple, list)):
            for one in value:
                yield from self._found(one)
        elif isinstance(value, msgspec.Struct):
            name = type(value).__name__
            missing = self._structs.get(name, frozenset[str]())
            if missing is None:
                yield name
                return
            for field in msgspec.structs.fields(type(value)):
                inside = getattr(value, field.name)
                if field.name in missing and inside != field.default:
                    yield f"{name}.{field.name}"
                yield from self._found(inside)
