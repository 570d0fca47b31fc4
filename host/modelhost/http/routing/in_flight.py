"""Requests while they are in the house: who asks, what for, and how far it is."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

from litestar import Request

from modelhost.access.keys import Caller
from modelhost.contract.errors import ModelhostError
from modelhost.http.routing.dialect import Dialect
from modelhost.http.routing.dialects import Dialects
from modelhost.observability.call_record import CallRecord

HEAD = "modelhost.head"
"""Key of an ASGI scope whose client has asked with HEAD, though its route is shown a GET."""


class InFlightRequest:
    """One request, from its arrival to the last byte of its answer."""

    __slots__ = (
        "_dialects",
        "_leaving",
        "arrived",
        "caller",
        "calls",
        "cancel",
        "cancelled",
        "complete",
        "end_of_work",
        "parent",
        "refusal",
        "request_id",
        "scope",
        "since",
        "spelt",
        "status",
        "traceparent",
    )

    def __init__(self, request_id: str, scope: Any, dialects: Dialects, cancel: Callable[[], Any]) -> None:
        self.request_id = request_id
        self.scope = scope
        self.caller: Caller | None = None
        """Whose key it carries; None before that is known, and for nobody's."""
        self.traceparent = ""
        """The trace it belongs to, as backends are told."""
        self.parent = ""
        """The same as its client said, where spans of our own stand between."""
        self.calls: list[CallRecord] = []
        """Of the models it needs, in the order they were begun."""
        self.refusal: ModelhostError | None = None
        """Why its key is not good for the route."""
        self.status = 0
        """What was answered; 0 before that."""
        self.spelt: dict[str, str] = {}
        """How its client calls fields that have another name in the contract: errors name what was sent."""
        self.complete = False
        """Whether the last byte of the answer has gone out."""
        self.end_of_work: Callable[[], None] = nothing
        """Says that its client waits for nothing any more; once or more often."""
        self._dialects = dialects
        self._leaving: list[Callable[[], None]] = []
        self.since = time.time()
        self.arrived = time.monotonic()
        self.cancelled = False
        self.cancel = cancel
        """Stops the work. Streams put their own in its place, which tells their client why."""

    @property
    def main_call(self) -> CallRecord | None:
        """The call that its answer depends on now; None before there is one."""
        return next((call for call in reversed(self.calls) if not call.beside), None)

    def on_leave(self, callback: Callable[[], None]) -> None:
        """Have something done when the answer has gone out, or nobody waits for it any more."""
        self._leaving.append(callback)

    def leave(self) -> None:
        """Do it."""
        for callback in self._leaving:
            callback()

    def begin_work(self) -> Callable[[], None]:
        """Count work for its client, which then waits for us; returns what ends it. Raises `OverQuotaError`."""
        connection = self.scope.get("modelhost.connection")
        return connection.begin() if connection else nothing

    @property
    def dialect(self) -> Dialect:
        """In which its failures are told."""
        return self._dialects.of(self.scope)

    @property
    def method(self) -> str:
        """What is asked for, as the client says it."""
        return "HEAD" if HEAD in self.scope else str(self.scope.get("method", "WEBSOCKET"))

    @property
    def route(self) -> str:
        """The path of the route that answers, with its parameters' names; `unknown` where there is none."""
        return str(self.scope.get("path_template") or "unknown")


def nothing() -> None:
    """Do it."""


def once(act: Callable[[], None]) -> Callable[[], None]:
    """Return what does something the first time it is called."""
    left = [act]
    return lambda: left.pop()() if left else None


class InFlightRequests:
    """All requests that are in the house."""

    def __init__(self) -> None:
        self._requests: set[InFlightRequest] = set()
        self.empty = asyncio.Event()
        self.empty.set()

    def __iter__(self) -> Iterator[InFlightRequest]:
        return iter(self._requests)

    def __len__(self) -> int:
        return len(self._requests)

    def enter(self, in_flight: InFlightRequest) -> None:
        """Note that a request has come in."""
        self._requests.add(in_flight)
        self.empty.clear()

    def leave(self, in_flight: InFlightRequest) -> None:
        """Note that it has been answered."""
        self._requests.discard(in_flight)
        if not self._requests:
            self.empty.set()


def request_id_of(request: Request[Any, Any, Any]) -> str:
    """Return the request's id, as the client sees it."""
    return in_flight_of(request.scope).request_id


def in_flight_of(scope: Any) -> InFlightRequest:
    """Return the visit that an ASGI scope belongs to."""
    in_flight: InFlightRequest = scope["modelhost.in_flight"]
    return in_flight
