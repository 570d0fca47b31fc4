"""What the host notes of a model's call while it runs: for its log, its metrics and its answers."""

from collections.abc import Sequence
from typing import Any, Literal

from modelhost.contract.types import Ability, Usage

CacheStatus = Literal["hit", "miss", "off"]


class CallRecord:
    """One call of a model. Times are in seconds."""

    __slots__ = (
        "ability",
        "began",
        "beside",
        "cache",
        "ended",
        "events",
        "first_event",
        "loading",
        "model",
        "queued",
        "revision",
        "usage",
    )

    def __init__(self, ability: Ability, *, beside: bool = False) -> None:
        self.ability = ability
        self.beside = beside
        """Whether the request is answered also where this call fails."""
        self.model = ""
        """Name of the model that answers; where it is not available, of the next that is tried."""
        self.revision = ""
        """Of that model."""
        self.cache: CacheStatus = "off"
        """Whether all of the answer was known before, or the cache was not asked."""
        self.began: float | None = None
        """When the backend was given it, in `time.monotonic()` seconds; None while it waits."""
        self.ended: float | None = None
        """When the last event was there, or the call was given up; None before that."""
        self.loading = 0.0
        """How long the call waited for its model to be loaded."""
        self.queued = 0.0
        """How long it waited for a free slot after that."""
        self.first_event = 0.0
        """How long the backend took to its first event; 0 before that."""
        self.events = 0
        self.usage: Usage | None = None
        """What it cost, once it is done."""

    def goes_to(self, model: str, revision: str) -> None:
        """Note which model it is for now."""
        self.model, self.revision = model, revision
        self.began = self.ended = None

    def waited(self, *, loading: float, queued: float) -> None:
        """Note how long it waited; where it waits again, as for a model in place of another, the times add up."""
        self.loading += loading
        self.queued += queued

    def begin(self, now: float) -> None:
        """Note that the backend is given it now."""
        self.began, self.ended = now, None
        self.first_event = 0.0
        self.events = 0

    def facts(self) -> dict[str, Any]:
        """Return what goes into the log."""
        facts: dict[str, Any] = {"ability": self.ability, "first_event_seconds": round(self.first_event, 4)}
        if self.cache != "off":
            facts["cache"] = self.cache
        if self.loading:
            facts["load_seconds"] = round(self.loading, 4)
        if self.queued:
            facts["queue_seconds"] = round(self.queued, 4)
        if usage := self.usage:
            if usage.input_tokens or usage.output_tokens:
                facts |= {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
            if usage.audio_seconds:
                facts["audio_seconds"] = round(usage.audio_seconds, 2)
        return facts

    def timing(self) -> bytes:
        """Return the parts of a `Server-Timing` header, in milliseconds."""
        return b"load;dur=%.1f, queue;dur=%.1f, first;dur=%.1f" % (
            self.loading * 1000,
            self.queued * 1000,
            self.first_event * 1000,
        )


def together(calls: Sequence[CallRecord]) -> CallRecord:
    """Return what several calls of one ability took in all, one after another; who answers is told by the last of them."""
    last = calls[-1]
    if len(calls) == 1:
        return last
    whole = CallRecord(last.ability, beside=last.beside)
    whole.goes_to(last.model, last.revision)
    caches = {call.cache for call in calls}
    whole.cache = "miss" if "miss" in caches else "hit" if "hit" in caches else "off"
    whole.began, whole.ended = last.began, last.ended
    for call in calls:
        whole.loading += call.loading
        whole.queued += call.queued
        whole.first_event += call.first_event
        whole.events += call.events
        if call.usage:
            whole.usage = call.usage if whole.usage is None else whole.usage + call.usage
    return whole
