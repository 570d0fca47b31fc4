"""What every ability's stream of events has in common."""

from typing import Annotated, Literal

from msgspec import Meta

from modelhost.contract.structs import Wire

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal"]
"""Why an answer ended: `refusal` is the model's own, `content_filter` that of whoever runs it."""

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""So many; no more than clients and databases take for a number."""

Seconds = Annotated[float, Meta(ge=0, le=1e9)]
"""A time or a length: chosen, because 30 years are more than any recording has, and what is infinite or no number is refused."""


class Event(Wire, tag_field="type", tag=str.lower):
    """One step of an answer. Every stream ends with exactly one `Done`."""


class Usage(Wire):
    """What an answer cost; zero where it does not apply."""

    input_tokens: Count = 0
    output_tokens: Count = 0
    reasoning_tokens: Count = 0
    """Those of `output_tokens` that were spent on reasoning."""
    cached_tokens: Count = 0
    """Those of `input_tokens` that did not have to be computed again."""
    cache_write_tokens: Count = 0
    """Those of `input_tokens` that were kept, so that a later request need not compute them again."""
    audio_tokens: Count = 0
    """Those of `input_tokens` that stand for sound."""
    audio_seconds: Seconds = 0.0
    """Length of the audio that was heard or made."""

    def __add__(self, other: "Usage") -> "Usage":
        """Return what two answers cost together."""
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in Usage.__struct_fields__})


class Timings(Wire):
    """How long a model took for an answer, in seconds; what waiting and the way to the client took is not in it."""

    input_seconds: Seconds = 0.0
    """For reading what was given, until the first token of the answer could be chosen."""
    output_seconds: Seconds = 0.0
    """For the tokens of the answer, from the first to the last."""


class TokenLogprob(Wire):
    """A token with its natural-log probability; `data` is its bytes, which need not be whole characters."""

    token: str
    logprob: float | None
    """None for the first token of a prompt that nothing stands before."""
    data: bytes = b""
    top: tuple["TokenLogprob", ...] = ()


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
    stop: str | None = None
    """Which of the request's stop strings ended it, for the same choices as `reason`; None where none did."""
    usage: Usage = Usage()
    timings: Timings | None = None
    """How long the model took, where the backend tells."""
    ignored: tuple[str, ...] = ()
    """Fields of the request that had no effect, of those that may have none (`enable_safety` of a summary)."""
