"""What kind of recording bytes are, in the words Gemini knows."""

from modelhost import BadInputError

_BEGINNINGS = (
    (b"RIFF", "audio/wav"),
    (b"ID3", "audio/mp3"),
    (b"\xff\xfb", "audio/mp3"),
    (b"\xff\xf3", "audio/mp3"),
    (b"\xff\xf1", "audio/aac"),
    (b"\xff\xf9", "audio/aac"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"FORM", "audio/aiff"),
)
"""The formats Gemini takes, by their first bytes."""

_NAMES = {kind.partition("/")[2]: kind for _, kind in _BEGINNINGS} | {"opus": "audio/ogg", "mpeg": "audio/mp3"}


def media_type_of(data: bytes, declared: str) -> str:
    """Return the media type by what the bytes begin with, else by what the caller says. Raises `BadInputError`."""
    for beginning, kind in _BEGINNINGS:
        if data.startswith(beginning):
            return kind
    if declared.lower() in _NAMES:
        return _NAMES[declared.lower()]
    raise BadInputError(f"Gemini takes sound as {', '.join(sorted(set(_NAMES)))}; convert it to one of them", param="messages")
