"""What a turn of a dialogue gives, step by step; `event` names each as clients of older hosts know it."""

from typing import Literal

from msgspec import field

from modelhost.contract.errors import ModelhostError
from modelhost.contract.structs import Struct
from modelhost.contract.types import AudioFormat, FinishReason


class Models(Struct):
    """A model for each stage."""

    transcribe: str | None = None
    generate: str | None = None
    synthesize: str | None = None


class Metadata(Struct, tag_field="event", tag="metadata"):
    """Comes first: what the sound will be, and how to go on with this dialogue."""

    session_id: str
    """Send it with the next turn, and what was said is remembered."""
    request_id: str
    format: AudioFormat | None
    """None where nothing is to be spoken, as the next two."""
    media_type: str | None
    sample_rate: int | None
    """Hz, where that is known already; every `audio_chunk` has it."""
    reference_id: str | None
    """The voice that was asked for; None is the configured one."""


class TranscriptSegment(Struct):
    """What was said from `start` to `end`, in seconds."""

    start: float
    end: float
    text: str
    confidence: float | None
    """0 to 1; None where the model does not tell."""


class Transcript(Struct):
    """What was heard."""

    text: str
    language: str | None
    """ISO 639-1."""
    language_probability: float | None
    """How sure the model is of the language, where it found it out itself."""
    confidence: float | None
    """How probable the model finds its own words, 0 to 1; None where it does not tell."""
    segments: tuple[TranscriptSegment, ...]


class AssistantDelta(Struct, tag_field="event", tag="assistant_delta"):
    """More of the reply."""

    text: str


class AssistantText(Struct, tag_field="event", tag="assistant_text"):
    """The whole reply."""

    text: str
    finish_reason: FinishReason


class SpeechChunk(Struct, tag_field="event", tag="audio_chunk"):
    """More of the reply's sound; all chunks together are one file."""

    data: bytes = field(name="audio_base64")
    sample_rate: int
    """Hz."""


class Degraded(Struct):
    """The reply is not spoken, or not to its end; the text still comes."""

    stage: Literal["synthesize"]
    error: ModelhostError


class Timings(Struct):
    """Seconds, with the waiting for models; None for what there was none of."""

    transcribe: float | None
    generate: float
    first_audio: float | None
    """From the beginning of the turn to its first sound."""
    synthesize: float | None
    """Where the reply is spoken while it is written, from its first word on."""
    total: float


class TurnUsage(Struct):
    """What the turn cost; zero where it does not apply or is not counted."""

    input_tokens: int
    output_tokens: int
    heard_seconds: float
    spoken_seconds: float


class TurnDone(Struct, tag_field="event", tag="done"):
    """The end."""

    timings: Timings
    usage: TurnUsage
    models: Models
    """Who did it; None for what there was none of."""


DialogueEvent = Metadata | Transcript | AssistantDelta | AssistantText | SpeechChunk | Degraded | TurnDone
