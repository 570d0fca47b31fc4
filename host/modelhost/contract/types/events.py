"""What every ability's stream of events has in common."""

from typing import Literal

from modelhost.contract.structs import Wire

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class Event(Wire, tag_field="type", tag=str.lower):
    """One step of an answer. Every stream ends with exactly one `Done`."""


class Usage(Wire):
    """What an answer cost; zero where it does not apply."""

    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    """Those of `output_tokens` that were spent on reasoning."""
    cached_tokens: int = 0
    """Those of `input_tokens` that did not have to be computed again."""
    audio_tokens: int = 0
    """Those of `input_tokens` that stand for sound."""
    audio_seconds: float = 0.0
    """Length of the audio that was heard or made."""


class Progress(Event):
    """How far long work has come, from 0 to 1, with a word about the step it is at."""

    fraction: float
    step: str = ""


class Detected(Event):
    """The language of what was given: an ISO 639-1 code of speech, or a name such as `Python` of a text."""

    language: str
    probability: float | None = None


class Done(Event):
    """The end of every stream; a backend that counts gives `usage`.

    In text generation `reason` holds for every choice that had no `ChoiceDone`; other abilities end with `stop`.
    """

    reason: FinishReason = "stop"
    usage: Usage = Usage()
    ignored: tuple[str, ...] = ()
    """Fields of the request that had no effect, of those that may have none (`enable_safety` of a summary)."""
