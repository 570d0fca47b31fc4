"""One line in the log and one count in the metrics for every request, when it has been answered."""

import time
from collections.abc import Iterable
from typing import Any

from modelhost.contract.log import Log, place_of
from modelhost.contract.types import Ability
from modelhost.http.middleware.tracing import Tracing
from modelhost.http.routing.in_flight import InFlightRequest
from modelhost.http.routing.statuses import CLIENT_CLOSED_REQUEST, UNROUTED
from modelhost.observability.call_record import CallRecord, together
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
        model, ability = "", ""
        facts: dict[str, Any] = {}
        if (main := in_flight.main_call) is not None:
            model, ability = main.model, main.ability
            facts = {"model": model, "revision": main.revision}
            for calls in _by_ability(in_flight.calls):
                facts |= _facts(together(calls), ability)
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


def _by_ability(calls: Iterable[CallRecord]) -> Iterable[list[CallRecord]]:
    """Return the calls of each ability that an answer takes."""
    found: dict[Ability, list[CallRecord]] = {}
    for call in calls:
        found.setdefault(call.ability, []).append(call)
    return found.values()


def _facts(call: CallRecord, main: Ability) -> dict[str, Any]:
    """Return the facts of a call; those of another ability than the main one's have that before them: `transcribe_model`."""
    if call.ability == main:
        return call.facts()
    facts = {**call.facts(), "model": call.model}
    return {f"{call.ability}_{name}": fact for name, fact in facts.items() if name != "ability"}


def server_timing(in_flight: InFlightRequest) -> list[tuple[bytes, bytes]]:
    """Tell where the time went until now, for a browser's network panel or a curious client; milliseconds."""
    main = in_flight.main_call
    if main is None:
        return []
    total = time.monotonic() - in_flight.arrived
    whole = together([call for call in in_flight.calls if call.ability == main.ability])
    return [(b"server-timing", b"%s, total;dur=%.1f" % (whole.timing(), total * 1000))]
