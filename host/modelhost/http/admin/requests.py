"""What is at work now, and stopping it."""

import time
from collections.abc import Iterator
from typing import Any, Literal

from litestar import Request, delete, get

from modelhost.contract.structs import Struct
from modelhost.http.routing.errors import UnknownRequestError
from modelhost.http.routing.in_flight import Visit, Visits, visit_of
from modelhost.http.routing.json_response import JsonAnswer
from modelhost.http.routing.spec import about


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


def _describe(visit: Visit) -> RunningRequest:
    work = visit.context.work if visit.context else None
    return RunningRequest(
        id=visit.request_id,
        key=visit.caller.name if visit.caller else "",
        method=visit.method,
        route=visit.route,
        state="reading" if work is None else "waiting" if work.began is None else "running",
        created=int(visit.since),
        seconds=round(time.monotonic() - visit.arrived, 3),
        model=visit.context.info.model if visit.context else None,
        ability=work.ability if work else None,
        events=work.events if work else 0,
    )


def _visible(request: Request[Any, Any, Any]) -> Iterator[Visit]:
    """Give the requests a caller may see: those of its own key, and to an administrator everybody's."""
    asking = visit_of(request.scope)
    visits: Visits = request.app.state.visits
    caller = asking.caller
    for visit in visits:
        own = caller is not None and visit.caller is not None and visit.caller.name == caller.name
        if visit is not asking and (own or (caller is not None and "admin" in caller.scopes)):
            yield visit


@get("/v1/requests", summary="List the running requests", opt=about("any", answer=RequestList))
async def list_requests(request: Request[Any, Any, Any]) -> JsonAnswer:
    """Your key's own requests, oldest first; with the scope `admin` everybody's."""
    found = sorted(_visible(request), key=lambda visit: visit.arrived)
    return JsonAnswer(RequestList(data=[_describe(visit) for visit in found]))


@delete(
    "/v1/requests/{name:str}",
    status_code=200,
    summary="Cancel a running request",
    opt=about("any", answer=CancelledRequest, errors=(404,)),
)
async def cancel_request(request: Request[Any, Any, Any], name: str) -> JsonAnswer:
    """Stop a request of your own, or with the scope `admin` anybody's; its client is told."""
    found = [visit for visit in _visible(request) if visit.request_id == name]
    if not found:
        raise UnknownRequestError("no running request of yours has this id; it may be done", param="id")
    for visit in found:
        visit.cancelled = True
        visit.cancel()
    return JsonAnswer(CancelledRequest(id=name))
