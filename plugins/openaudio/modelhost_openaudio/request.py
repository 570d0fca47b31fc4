"""From a request and the model's options to the body that the server's speech route takes."""

from typing import Any

from modelhost import BadInputError, SynthesizeRequest

from modelhost_openaudio.options import OpenAudioOptions

RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.1, 1),
    "top_p": (0.1, 1),
    "repetition_penalty": (0.9, 2),
    "chunk_length": (100, 1000),
}
"""What the server takes (fish-speech of 2026-04); it answers anything else with an error that names no field."""

S1_CHUNK_LENGTH = 300
"""The largest `chunk_length` of a server of OpenAudio S1's time (https://github.com/fishaudio/fish-speech)."""

_SENT_AS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "repetition_penalty": "repetition_penalty",
    "chunk_length": "chunk_length",
    "max_tokens": "max_new_tokens",
    "seed": "seed",
}
"""Settings that a request and the options share, and what the server calls them."""


def check(request: SynthesizeRequest, options: OpenAudioOptions) -> None:
    """Raise `BadInputError` for what the server would refuse, misread or quietly drop."""
    _check_text(request.text, options.max_text_chars)
    for field, (low, high) in RANGES.items():
        value = getattr(request, field)
        if value is not None and not low <= value <= high:
            raise BadInputError(f"{field} must be from {low} to {high} for this model", param=field)
    if any(not sample.audio.size for sample in request.samples):
        raise BadInputError("a sample has no sound in it", param="samples")


def _check_text(text: str, limit: int) -> None:
    if not any(character.isalnum() for character in text):
        raise BadInputError("there is nothing to say: the text has no letter and no digit", param="text")
    if "\0" in text:
        raise BadInputError("the text has a NUL character, which cannot be spoken; remove it", param="text")
    if len(text) > limit:
        message = f"the text has {len(text)} characters, and this model speaks {limit} at most; send it in parts"
        raise BadInputError(message, param="text")


def body(request: SynthesizeRequest, options: OpenAudioOptions, voice: str | None) -> dict[str, Any]:
    """Return the body, for MessagePack; a setting that neither request nor options make is left to the server.

    The format is always `wav`: servers answer `pcm` and `opus` with an error.
    """
    payload = {
        "text": request.text,
        "format": "wav",
        "streaming": options.stream,
        "normalize": options.normalize if request.normalize is None else request.normalize,
        "use_memory_cache": "on" if options.use_memory_cache else "off",
        "references": [{"audio": sample.audio.read(), "text": sample.text} for sample in request.samples],
        "reference_id": voice,
        "latency": options.latency,
    }
    for field, name in _SENT_AS.items():
        value = getattr(request, field)
        payload[name] = getattr(options, field) if value is None else value
    return {name: value for name, value in payload.items() if value is not None}
