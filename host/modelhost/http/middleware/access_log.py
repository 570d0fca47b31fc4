"""One line in the log and one count in the metrics for every request, when it has been answered."""

import time
from typing import Any

from modelhost.contract.log import Log, place_of
from modelhost.http.middleware.tracing import Tracing
from modelhost.http.routing.in_flight import Visit
from modelhost.observability.metrics import Metrics

QUIET = frozenset({"/livez", "/readyz", "/health", "/metrics"})
"""Routes that machines ask every few seconds; their lines are for `debug`."""


class Observer:
    """Told of every request that has been answered."""

    def __init__(self, metrics: Metrics, log: Log, tracing: Tracing | None = None) -> None:
        self._metrics = metrics
        self._log = log
        self._tracing = tracing

    def entered(self, visit: Visit) -> None:
        """Note that a request may go further in."""
        if self._tracing:
            self._tracing.begin(visit)

    def left(self, visit: Visit) -> None:
        """Count a request and log it: who, what, how long, how much, and nothing that was said."""
        seconds = time.monotonic() - visit.arrived
        # Whoever left before the end has not got what the status promised.
        status = visit.status if visit.complete or visit.scope["type"] == "websocket" else 499
        # What matched no route has no path of ours; its own path is the client's text and stays out of log and metrics.
        route = visit.route if status not in (404, 405) else "unknown"
        model = ability = ""
        facts: dict[str, Any] = {}
        if visit.context is not None:
            model, revision = visit.context.info.model, visit.context.info.revision
            facts = {"model": model, "revision": revision}
            work = visit.context.work
            if work is not None:
                ability = work.ability
                facts |= work.facts()
            facts |= _other_stages(visit)
        self._metrics.request(route, model, ability, status, seconds)
        if self._tracing:
            self._tracing.end(visit, route, status)
        say = self._log.debug if route in QUIET else self._log.info
        say(
            "request",
            request_id=visit.request_id,
            key=visit.caller.name if visit.caller else "",
            method=visit.method,
            route=route,
            status=status,
            seconds=round(seconds, 4),
            **facts,
        )

    def cut(self, visit: Visit, error: Exception) -> None:
        """Log that an answer broke off after it had begun."""
        cause = error.__cause__ or error
        self._log.warning("answer cut short", request_id=visit.request_id, error=type(cause).__name__, place=place_of(cause))


def _other_stages(visit: Visit) -> dict[str, Any]:
    """Give the facts of an answer's further calls, each with its ability before it: `transcribe_model`."""
    facts: dict[str, Any] = {}
    for ability, context in visit.stages.items():
        if context is not visit.context and context.work is not None:
            of_work = {**context.work.facts(), "model": context.info.model}
            facts |= {f"{ability}_{name}": fact for name, fact in of_work.items() if name != "ability"}
    return facts


def server_timing(visit: Visit) -> list[tuple[bytes, bytes]]:
    """Tell where the time went until now, for a browser's network panel or a curious client; milliseconds."""
    if visit.context is None or visit.context.work is None:
        return []
    total = time.monotonic() - visit.arrived
    return [(b"server-timing", b"%s, total;dur=%.1f" % (visit.context.work.timing(), total * 1000))]
