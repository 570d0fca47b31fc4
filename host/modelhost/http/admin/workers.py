"""What runs: the models that hold memory, what each costs, and what its worker printed."""

from typing import Any

import msgspec
from litestar import Request, get

from modelhost.contract.structs import Struct
from modelhost.http.admin.dialect import route_spec
from modelhost.http.routing.json_body import host_of
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.models import described, named
from modelhost.pool import Model
from modelhost.pool.status import State


class Fetched(Struct):
    """How far weights have been fetched."""

    bytes: int
    of: int


class FailureAnswer(Struct):
    """An exception that a backend did not mean to raise. Its message may hold what people said."""

    what: str
    """`load`, `unload` or the hook."""
    at: float
    """Seconds since 1970."""
    request_id: str | None
    traceback: str


class WorkerAnswer(Struct):
    """A model that runs or is about to."""

    id: str
    state: State
    reason: str | None
    device: str | None
    memory_bytes: int
    in_flight: int
    """Requests it works on."""
    pid: int | None
    restarts: int
    progress: Fetched | None
    output: str | None = None
    """The end of what it printed, where one worker is asked for."""
    last_failure: FailureAnswer | None = None
    """What its backend last raised without meaning to, with its traceback, where one worker is asked for."""


class WorkerList(Struct, tag_field="object", tag="list"):
    """What runs."""

    data: list[WorkerAnswer]


@get("/v1/workers", summary="List what runs", opt=route_spec("admin", tag="Models", answer=WorkerList))
async def list_workers(request: Request[Any, Any, Any]) -> JsonResponse:
    """The models that hold memory or are about to, with what they cost."""
    running = [model for model in host_of(request).pool if model.status.state not in ("cold", "disabled")]
    return JsonResponse(WorkerList(data=await described(describe_worker, *running)))


@get("/v1/workers/{name:path}", summary="Show what a worker printed", opt=route_spec("admin", tag="Models", answer=WorkerAnswer))
async def show_worker(request: Request[Any, Any, Any], name: str) -> JsonResponse:
    """One model, with the last 64 KiB its worker printed and the last exception of its backend."""
    model = named(request, name)
    (found,) = await described(describe_worker, model)
    return JsonResponse(msgspec.structs.replace(found, output=model.output(), last_failure=_last_failure(model)))


def _last_failure(model: Model) -> FailureAnswer | None:
    report = model.last_failure
    if report is None:
        return None
    return FailureAnswer(what=report.what, at=report.at, request_id=report.request_id or None, traceback=report.traceback)


def describe_worker(model: Model) -> WorkerAnswer:
    """Say how a running model is."""
    status, fetched = model.status, model.weights.progress
    return WorkerAnswer(
        id=model.name,
        state=status.state,
        reason=status.reason or None,
        device=model.card.device if model.card else None,
        memory_bytes=model.memory(),
        in_flight=model.in_flight,
        pid=model.pid,
        restarts=status.restarts,
        progress=None if fetched is None else Fetched(bytes=fetched[0], of=fetched[1]),
    )
