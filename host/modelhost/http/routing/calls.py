"""A route's calls of models: begun for whoever sent the request, and read as long as that client waits."""

import time
from types import TracebackType
from typing import Any, Generic, TypeVar

from litestar import Request

from modelhost.contract.types import Ability
from modelhost.host import ModelHost
from modelhost.http.routing.disconnect import CancelOnDisconnect
from modelhost.http.routing.in_flight import InFlightRequest, in_flight_of
from modelhost.http.routing.json_body import host_of
from modelhost.running_call import CallDetails, RunningCall

E = TypeVar("E")


def details_for(in_flight: InFlightRequest, host: ModelHost, *, cached: bool = True, timed: bool = True) -> CallDetails:
    """Return what is said of the calls that a request takes; one that is not `timed` lasts as long as its client stays."""
    return CallDetails(
        request_id=in_flight.request_id,
        caller=in_flight.caller.name if in_flight.caller else "",
        traceparent=in_flight.traceparent,
        deadline=time.monotonic() + host.config.server.request_timeout if timed else None,
        cached=cached,
        noted=in_flight.calls.append,
    )


def details_of(request: Request[Any, Any, Any], *, cached: bool = True) -> CallDetails:
    """Return what is said of all the calls that a request takes: their time is up together."""
    return details_for(in_flight_of(request.scope), host_of(request), cached=cached)


def start_call(
    request: Request[Any, Any, Any], ability: Ability, model: str | None, model_request: Any, *, cached: bool = True
) -> RunningCall[Any]:
    """Begin the one call that a request takes. Raises `RequestError` for the model's name."""
    return host_of(request).router.start(ability, model, model_request, details_of(request, cached=cached))


class reading(Generic[E]):  # noqa: N801  # read as the words around it: `async with reading(request, call) as events`
    """Reads a call to its end. When the client leaves, the call is closed and `ClientGoneError` raised."""

    def __init__(self, request: Request[Any, Any, Any], call: RunningCall[E]) -> None:
        self._call = call
        self._watch = CancelOnDisconnect(request)

    async def __aenter__(self) -> RunningCall[E]:
        self._watch.__enter__()
        return self._call

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            await self._call.aclose()
        finally:
            self._watch.__exit__(kind, error, trace)
