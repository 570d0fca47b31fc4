"""OpenTelemetry traces, for hosts whose configuration names a collector: a span for each request, and one for each model's call.

Times are known when a request has been answered, so its spans are made then, ready to be sent; while it runs nothing is done for
them but to choose their ids, because backends and the servers behind them go on from there (`traceparent`). Nothing that was said
is in them.
"""

import re
import secrets
import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from modelhost.authors.extras import how_to_install
from modelhost.config import ServerConfig
from modelhost.contract.errors import ConfigError
from modelhost.http.routing.in_flight import InFlightRequest
from modelhost.observability.call_record import CallRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, SpanKind

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")

WORTH_A_SPAN = 0.001
"""Seconds; a shorter wait is none."""

CLOSE_SECONDS = 2.0
"""What the last spans get to reach the collector when the host stops."""


class Tracing:
    """Sends spans to a collector, from a thread of the SDK's own."""

    @classmethod
    def of(cls, server: ServerConfig) -> "Tracing | None":
        """Return what the configuration asks for. Raises `ConfigError` where OpenTelemetry is not installed."""
        return cls(server.tracing) if server.tracing else None

    def __init__(self, collector: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise ConfigError(
                f"server.tracing: {error.name} is not installed: {how_to_install('modelhost', 'tracing')}"
            ) from None
        self._resource = Resource.create({"service.name": "modelhost", "service.version": version("modelhost")})
        exporter = OTLPSpanExporter(endpoint=f"{collector.rstrip('/')}/v1/traces", timeout=CLOSE_SECONDS)
        self._processor = BatchSpanProcessor(exporter)

    def begin(self, in_flight: InFlightRequest) -> None:
        """Choose a request's span, within the client's trace where it is in one; its backends see this span as theirs."""
        found = _TRACEPARENT.fullmatch(in_flight.traceparent)
        trace, flags = (found[1], found[3]) if found else (secrets.token_hex(16), "01")
        in_flight.parent = in_flight.traceparent
        in_flight.traceparent = f"00-{trace}-{secrets.token_hex(8)}-{flags}"

    def end(self, in_flight: InFlightRequest, route: str, status: int) -> None:
        """Send a request's spans, unless its client said that nobody looks at this trace."""
        for span in self._spans(in_flight, route, status):
            self._processor.on_end(span)

    def close(self) -> None:
        """Send what is left; blocks for `CLOSE_SECONDS` at most."""
        self._processor.force_flush(int(CLOSE_SECONDS * 1000))

    def _spans(self, in_flight: InFlightRequest, route: str, status: int) -> Iterator["ReadableSpan"]:
        from opentelemetry.trace import SpanKind

        own = _context_of(in_flight.traceparent)
        if own is None:
            return
        method = in_flight.method
        facts = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "modelhost.request_id": in_flight.request_id,
            "modelhost.key": in_flight.caller.name if in_flight.caller else "",
        }
        now = time.monotonic()
        yield self._span(f"{method} {route}", own, _context_of(in_flight.parent), facts, in_flight.arrived, now, SpanKind.SERVER)
        for call in in_flight.calls:
            yield from self._of_call(own, call, now)

    def _of_call(self, parent: "SpanContext", call: CallRecord, now: float) -> Iterator["ReadableSpan"]:
        from opentelemetry.trace import SpanKind

        began = now if call.began is None else call.began
        model = {"gen_ai.request.model": call.model, "modelhost.ability": call.ability}
        at = began - call.queued - call.loading
        for name, seconds in (("load", call.loading), ("queue", call.queued)):
            if seconds >= WORTH_A_SPAN:
                yield self._span(name, _next(parent), parent, model, at, at + seconds, SpanKind.INTERNAL)
            at += seconds
        if call.began is not None:
            facts = {**model, **{f"modelhost.{name}": fact for name, fact in call.facts().items() if name != "ability"}}
            ended = now if call.ended is None else call.ended
            yield self._span(f"{call.ability} {call.model}", _next(parent), parent, facts, began, ended, SpanKind.INTERNAL)

    def _span(
        self,
        name: str,
        context: "SpanContext",
        parent: "SpanContext | None",
        facts: dict[str, Any],
        start: float,
        end: float,
        kind: "SpanKind",
    ) -> "ReadableSpan":
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        epoch = time.time() - time.monotonic()
        return ReadableSpan(
            name,
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=facts,
            kind=kind,
            start_time=int((epoch + start) * 1e9),
            end_time=int((epoch + end) * 1e9),
            instrumentation_scope=InstrumentationScope("modelhost"),
        )


def _context_of(traceparent: str) -> "SpanContext | None":
    from opentelemetry.trace import SpanContext, TraceFlags

    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    return SpanContext(int(found[1], 16), int(found[2], 16), is_remote=False, trace_flags=TraceFlags(int(found[3], 16)))


def _next(parent: "SpanContext") -> "SpanContext":
    from opentelemetry.trace import SpanContext

    return SpanContext(parent.trace_id, secrets.randbits(64), is_remote=False, trace_flags=parent.trace_flags)
