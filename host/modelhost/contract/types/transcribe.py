"""Speech to text: of a recording, or live."""

from typing import Annotated, Literal

from msgspec import Meta

from modelhost.contract.structs import Wire
from modelhost.contract.types.events import Detected, Done, Event, Progress, Seconds, TokenLogprob
from modelhost.contract.types.media import Blob
from modelhost.contract.types.request import Request


class TranscribeRequest(Request):
    """What to write down. Without `audio` the sound arrives live through `context.input`, as 16-bit little-endian mono PCM."""

    audio: Blob | None = None
    format: str = ""
    """What the caller says the recording is (`wav`, `mp3`, …); it may be wrong."""
    sample_rate: Annotated[int, Meta(ge=8000, le=192_000)] = 16_000
    """Hz, of live audio and raw PCM only."""
    task: Literal["transcribe", "translate"] = "transcribe"
    """`translate` writes English whatever was spoken."""
    language: str | None = None
    """ISO 639-1; None means detect."""
    prompt: str | None = None
    """What the recording is about, or how words in it are spelt."""
    hotwords: tuple[str, ...] = ()
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    word_timestamps: bool = False
    diarize: bool = False
    """Say who speaks."""


class Word(Wire):
    """A word and when it is said, in seconds from the start."""

    text: str
    start: Seconds
    end: Seconds
    probability: float | None = None


class Segment(Event):
    """What is said from `start` to `end`, in seconds from the start of the recording."""

    start: Seconds
    end: Seconds
    text: str
    words: tuple[Word, ...] = ()
    tokens: tuple[int, ...] = ()
    temperature: float | None = None
    avg_logprob: float | None = None
    compression_ratio: float | None = None
    no_speech_prob: float | None = None
    speaker: str | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of its tokens, one by one, where the model tells them."""
    degenerate: bool = False
    """The model got caught in a loop here, and another temperature did not help: the host leaves it out everywhere."""


class Partial(Event):
    """What the words since the last `Segment` sound like so far; each replaces the one before."""

    text: str


TranscribeEvent = Detected | Segment | Partial | Progress | Done
