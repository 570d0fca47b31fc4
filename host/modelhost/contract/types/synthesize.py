"""Text to speech."""

from typing import Annotated, Literal

from msgspec import Meta

from modelhost.contract.structs import Wire
from modelhost.contract.types.events import Done, Event, Progress
from modelhost.contract.types.media import Blob
from modelhost.contract.types.request import Request
from modelhost.contract.types.transcribe import Word

AudioFormat = Literal["pcm", "wav", "mp3", "opus", "aac", "flac"]

MEDIA_TYPES: dict[AudioFormat, str] = {
    "pcm": "audio/pcm",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",  # RFC 7845; `audio/opus` is Opus in RTP
    "aac": "audio/aac",
    "flac": "audio/flac",
}
"""What HTTP calls each format."""


class VoiceSample(Wire):
    """A recording of a voice to imitate, with the words it says."""

    audio: Blob
    text: str = ""


class SynthesizeRequest(Request, kw_only=True):
    """What to say, and how. None leaves a choice to the model's configuration."""

    text: str
    voice: str | None = None
    samples: tuple[VoiceSample, ...] = ()
    instructions: str | None = None
    """How to say it, in words, for models that understand that."""
    speed: Annotated[float, Meta(ge=0.25, le=4)] = 1.0
    format: AudioFormat = "pcm"
    """What the caller gets; a backend yields `pcm` whatever stands here, and its worker encodes that."""
    sample_rate: Annotated[int, Meta(ge=8000, le=192_000)] | None = None
    """Hz of what the caller gets, None for the voice's own; a backend yields its own, and its worker resamples that."""
    normalize: bool | None = None
    seed: int | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(ge=0.5, le=2)] | None = None
    chunk_length: Annotated[int, Meta(ge=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None


class AudioChunk(Event):
    """The next bytes of the sound: from a backend 16-bit little-endian mono PCM, to the caller the format asked for.

    `sample_rate` (Hz) is that of the whole stream and never changes within it.
    """

    data: bytes
    sample_rate: Annotated[int, Meta(ge=8000, le=192_000)]
    words: tuple[Word, ...] = ()
    """The words that begin in this piece, where the model tells when they are said: in seconds from the start of the sound."""


SynthesizeEvent = AudioChunk | Progress | Done
