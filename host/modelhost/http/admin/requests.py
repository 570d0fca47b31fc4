"""What is at work now, and stopping it."""

import time
from collections.abc import Iterator
from typing import Any, Literal

from litestar import Request, delete, get

from modelhost.contract.structs import Struct
from modelhost.http.admin.dialect import route_spec
from modelhost.http.routing.errors import UnknownRequestError
from modelhost.http.routing.in_flight import InFlightRequest, InFlightRequests, in_flight_of
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.statuses import NOT_FOUND, OK


class RunningRequest(Struct):
    """A request that is being answered."""

    id: str
    key: str
    """Name of the API key that asked; empty where there are none."""
    method: str
    route: str
    state: Literal["reading", "waiting", "running"]
    """Being read, waiting for its model, or being worked on."""
    created: int
    """When it came in, in seconds since 1970."""
    seconds: float
    """How long ago that was."""
    object: Literal["request"] = "request"
    model: str | None = None
    ability: str | None = None
    events: int = 0
    """Events the model has given so far; for text about the number of tokens."""


class RequestList(Struct):
    """What is being answered now, oldest first."""

    data: list[RunningRequest]
    object: Literal["list"] = "list"


class CancelledRequest(Struct):
    """What has been stopped."""

    id: str
    object: Literal["request"] = "request"
    cancelled: Literal[True] = True


def _describe(in_flight: InFlightRequest) -> RunningRequest:
    call = in_flight.main_call
    return RunningRequest(
        id=in_flight.request_id,
        key=in_flight.caller.name if in_flight.caller else "",
        method=in_flight.method,
        route=in_flight.route,
        state="reading" if call is None else "waiting" if call.began is None else "running",
        created=int(in_flight.since),
        seconds=round(time.monotonic() - in_flight.arrived, 3),
        model=call.model if call else None,
        ability=call.ability if call else None,
        events=call.events if call else 0,
    )


def _visible(request: Request[Any, Any, Any]) -> Iterator[InFlightRequest]:
    """Return the requests a caller may see: those of its own key, and to an administrator everybody's."""
    own_request = in_flight_of(request.scope)
    in_flight_requests: InFlightRequests = request.app.state.in_flight_requests
    caller = own_request.caller
    for in_flight in in_flight_requests:
        own = caller is not None and in_flight.caller is not None and in_flight.caller.name == caller.name
        if in_flight is not own_request and (own or (caller is not None and "admin" in caller.scopes)):
            yield in_flight


@get("/v1/requests", summary="List the running requests", opt=route_spec("any", answer=RequestList))
async def list_requests(request: Request[Any, Any, Any]) -> JsonResponse:
    """Your key's own requests, oldest first; with the scope `admin` everybody's."""
    found = sorted(_visible(request), key=lambda in_flight: in_flight.arrived)
    return JsonResponse(RequestList(data=[_describe(in_flight) for in_flight in found]))


@delete(
    "/v1/requests/{name:str}",
    status_code=OK,
    summary="Cancel a running request",
    opt=route_spec("any", answer=CancelledRequest, errors=(NOT_FOUND,)),
)
async def cancel_request(request: Request[Any, Any, Any], name: str) -> JsonResponse:
    """Stop a request of your own, or with the scope `admin` anybody's; its client is told."""
    found = [in_flight for in_flight in _visible(request) if in_flight.request_id == name]
    if not found:
        raise UnknownRequestError("no running request of yours has this id; it may be done", param="id")
    for in_flight in found:
        in_flight.cancelled = True
        in_flight.cancel()
    return JsonResponse(CancelledRequest(id=name))
