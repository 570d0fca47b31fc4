"""One line in the log and one count in the metrics for every request, when it has been answered."""

import time
from typing import Any

from modelhost.contract.log import Log, place_of
from modelhost.http.middleware.tracing import Tracing
from modelhost.http.routing.in_flight import InFlightRequest
from modelhost.http.routing.statuses import CLIENT_CLOSED_REQUEST, UNROUTED
from modelhost.observability.metrics import Metrics

QUIET = frozenset({"/livez", "/readyz", "/health", "/metrics"})
"""Routes that machines ask every few seconds; their lines are for `debug`."""


class Observer:
    """Told of every request that has been answered."""

    def __init__(self, metrics: Metrics, log: Log, tracing: Tracing | None = None) -> None:
        self._metrics = metrics
        self._log = log
        self._tracing = tracing

    def entered(self, in_flight: InFlightRequest) -> None:
        """Note that a request may go further in."""
        if self._tracing:
            self._tracing.begin(in_flight)

    def left(self, in_flight: InFlightRequest) -> None:
        """Count a request and log it: who, what, how long, how much, and nothing that was said."""
        seconds = time.monotonic() - in_flight.arrived
        # Whoever left before the end has not got what the status promised.
        status = in_flight.status if in_flight.complete or in_flight.scope["type"] == "websocket" else CLIENT_CLOSED_REQUEST
        # What matched no route has no path of ours; its own path is the client's text and stays out of log and metrics.
        route = in_flight.route if status not in UNROUTED else "unknown"
        model = ability = ""
        facts: dict[str, Any] = {}
        if in_flight.context is not None:
            model, revision = in_flight.context.info.model, in_flight.context.info.revision
            facts = {"model": model, "revision": revision}
            work = in_flight.context.work
            if work is not None:
                ability = work.ability
                facts |= work.facts()
            facts |= _other_stages(in_flight)
        self._metrics.request(route, model, ability, status, seconds)
        if self._tracing:
            self._tracing.end(in_flight, route, status)
        say = self._log.debug if route in QUIET else self._log.info
        say(
            "request",
            request_id=in_flight.request_id,
            key=in_flight.caller.name if in_flight.caller else "",
            method=in_flight.method,
            route=route,
            status=status,
            seconds=round(seconds, 4),
            **facts,
        )

    def cut(self, in_flight: InFlightRequest, error: Exception) -> None:
        """Log that an answer broke off after it had begun."""
        cause = error.__cause__ or error
        self._log.warning("answer cut short", request_id=in_flight.request_id, error=type(cause).__name__, place=place_of(cause))


def _other_stages(in_flight: InFlightRequest) -> dict[str, Any]:
    """Return the facts of an answer's further calls, each with its ability before it: `transcribe_model`."""
    facts: dict[str, Any] = {}
    for ability, context in in_flight.stages.items():
        if context is not in_flight.context and context.work is not None:
            of_work = {**context.work.facts(), "model": context.info.model}
            facts |= {f"{ability}_{name}": fact for name, fact in of_work.items() if name != "ability"}
    return facts


def server_timing(in_flight: InFlightRequest) -> list[tuple[bytes, bytes]]:
    """Tell where the time went until now, for a browser's network panel or a curious client; milliseconds."""
    if in_flight.context is None or in_flight.context.work is None:
        return []
    total = time.monotonic() - in_flight.arrived
    return [(b"server-timing", b"%s, total;dur=%.1f" % (in_flight.context.work.timing(), total * 1000))]
