"""OpenAI's shapes of transcripts, to the letter; what is ours beside them is left out where it says nothing."""

from modelhost.contract.structs import Struct


class DurationUsage(Struct, tag_field="type", tag="duration"):
    """What a transcription cost: the length of the sound."""

    seconds: float


class Transcription(Struct):
    """What was said."""

    text: str
    usage: DurationUsage


class VerboseSegment(Struct):
    """What was said from `start` to `end`, in seconds; what a model does not tell of it is 0."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class TranscriptWord(Struct):
    """A word, and when it was said, in seconds."""

    word: str
    start: float
    end: float


class VerboseTranscription(Struct, omit_defaults=True):
    """What was said, when, in which language, and how sure the model is."""

    task: str
    language: str
    """Its English name."""
    duration: float
    """Seconds of sound."""
    text: str
    usage: DurationUsage
    segments: list[VerboseSegment] | None = None
    words: list[TranscriptWord] | None = None
    language_probability: float | None = None
    """How sure the model is of the language, where it found it out itself."""


class TranscriptDelta(Struct, tag_field="type", tag="transcript.text.delta"):
    """More of the text."""

    delta: str


class VerboseTranscriptDone(VerboseTranscription, kw_only=True, omit_defaults=True, tag_field="type", tag="transcript.text.done"):
    """The whole text, and all that `verbose_json` has, where a stream is asked for that."""


class TranscriptDone(Struct, tag_field="type", tag="transcript.text.done"):
    """The whole text."""

    text: str
    usage: DurationUsage
