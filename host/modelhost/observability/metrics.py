"""What the host counts, for Prometheus. Labels take only values that the configuration bounds: nothing a client sends."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.registry import Collector

from modelhost.contract.types import Ability, Usage

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_REQUEST = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Seconds of the buckets for requests: two or three a decade. Chosen, because requests take from milliseconds (vectors) to ten
minutes (a long recording)."""
_FIRST = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""The same up to the first token. Chosen, because nobody waits for it longer than a minute."""
_GAP = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)
_LOAD = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Seconds of the buckets for loading a model. Chosen, because `load_timeout` is 600 where nobody sets it."""


class CallMeter:
    """Counts the calls of one ability of one model."""

    __slots__ = ("_counters", "first_event", "gap", "loading", "queue")

    def __init__(self, metrics: "Metrics", model: str, ability: str) -> None:
        labels = (model, ability)
        self.loading = metrics.waited_for_load.labels(*labels).observe
        self.queue = metrics.queue_seconds.labels(*labels).observe
        self.first_event = metrics.first_event_seconds.labels(*labels).observe
        self.gap = metrics.event_gap_seconds.labels(*labels).observe
        kinds = ("input", "output", "cached", "reasoning")
        self._counters = [metrics.tokens.labels(*labels, kind).inc for kind in kinds]
        self._counters.append(metrics.audio_seconds.labels(*labels).inc)

    def used(self, usage: Usage) -> None:
        """Count what a call cost; the figures are a plugin's, so a negative one counts as nothing."""
        tokens = (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens)
        for count, amount in zip(self._counters, (*tokens, usage.audio_seconds), strict=True):
            if amount > 0:
                count(amount)


class Metrics:
    """Everything that is counted, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        shared: dict[str, Any] = {"namespace": "modelhost", "registry": self.registry}
        call = ("model", "ability")
        self._requests = Counter(
            "requests", "Requests answered; 499 means the client left.", ("route", "model", "ability", "status"), **shared
        )
        self._request_seconds = Histogram(
            "request_seconds", "From arrival to the last byte.", ("route", "model"), buckets=_REQUEST, **shared
        )
        self.first_event_seconds = Histogram(
            "first_event_seconds", "From the start of the work to its first event.", call, buckets=_FIRST, **shared
        )
        self.event_gap_seconds = Histogram(
            "event_gap_seconds", "Between an answer's events, the first left out.", call, buckets=_GAP, **shared
        )
        self.queue_seconds = Histogram("queue_seconds", "Waiting for a free slot.", call, buckets=_FIRST, **shared)
        self.waited_for_load = Histogram(
            "load_wait_seconds", "A request's wait for its model to be loaded.", call, buckets=_LOAD, **shared
        )
        self.load_seconds = Histogram("load_seconds", "Loading a model.", ("model",), buckets=_LOAD, **shared)
        self.load_failures = Counter("load_failures", "Loads that failed.", ("model",), **shared)
        self.tokens = Counter("tokens", "Tokens in and out; cached and reasoning are parts of those.", (*call, "kind"), **shared)
        self.audio_seconds = Counter("audio_seconds", "Seconds of audio heard or made.", call, **shared)
        self.fallbacks = Counter(
            "fallbacks", "Requests that went on to a route's next model, by the one that failed.", call, **shared
        )
        self._add_dialogues(shared)
        self._add_cache(shared)
        # Looking a labelled counter up costs as much as counting, so those of requests are kept.
        self._known: dict[tuple[str, str, str, int], tuple[Any, Any]] = {}
        ProcessCollector(registry=self.registry)

    def _add_dialogues(self, shared: dict[str, Any]) -> None:
        self.dialogue_seconds = Histogram(
            "dialogue_seconds",
            "Turns of dialogues that came to their end, by stage; `first_audio` and `total` from their beginning.",
            ("stage",),
            buckets=_REQUEST,
            **shared,
        )
        self.dialogue_degraded = Counter(
            "dialogue_degraded", "Turns of dialogues whose reply was not spoken, or not to its end.", **shared
        )

    def _add_cache(self, shared: dict[str, Any]) -> None:
        self.cache_lookups = Counter(
            "cache_lookups",
            "Inputs looked up in the cache: `hit` was known, `miss` computed.",
            ("model", "ability", "result"),
            **shared,
        )
        self.cache_bytes = Gauge("cache_bytes", "Memory that kept results take.", **shared)

    def register(self, collector: Collector) -> None:
        """Show what is counted elsewhere, too."""
        self.registry.register(collector)

    def meter(self, model: str, ability: Ability) -> CallMeter:
        """Return what counts the calls of one ability of one model."""
        return CallMeter(self, model, ability)

    def request(self, route: str, model: str, ability: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""
        labels = (route, model, ability, status)
        known = self._known.get(labels)
        if known is None:
            known = self._known[labels] = (
                self._requests.labels(route, model, ability, str(status)).inc,
                self._request_seconds.labels(route, model).observe,
            )
        count, observe = known
        count()
        observe(seconds)

    def text(self) -> bytes:
        """Return everything as Prometheus reads it; asks the kernel for memory, so not for the event loop."""
        return generate_latest(self.registry)
