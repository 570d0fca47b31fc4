"""Is it alive, is it ready, and how are the models."""

import asyncio
from typing import Any, Literal, get_args

from litestar import Request, Response, get

from modelhost.config.schema import HealthView
from modelhost.contract.errors import BadInputError
from modelhost.contract.structs import Struct
from modelhost.http.admin.dialect import route_spec
from modelhost.http.admin.health_views import OneModelHealth, ServicesHealth, one_model, services
from modelhost.http.routing.in_flight import in_flight_of
from modelhost.http.routing.json_body import host_of
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.statuses import NOT_FOUND, SERVICE_UNAVAILABLE
from modelhost.pool import Model
from modelhost.pool.status import State


class ModelHealth(Struct):
    """How a model is."""

    state: State
    device: str | None
    model_available: bool
    """Whether its weights are on this machine."""
    model_loaded: bool
    context_length: int | None
    supports_tools: bool
    last_error: str | None


class HealthAnswer(Struct, omit_defaults=True):
    """How the host is, in a word; and its models, for those who may see them."""

    status: Literal["healthy", "degraded"]
    models: dict[str, ModelHealth] | None = None


@get("/livez", summary="Is the process alive", opt=route_spec("public", text="text/plain"))
async def livez() -> Response[bytes]:
    """200 as long as the event loop turns."""
    return Response(b"ok", media_type="text/plain")


@get("/readyz", summary="May traffic be sent here", opt=route_spec("public", text="text/plain", errors=(SERVICE_UNAVAILABLE,)))
async def readyz(request: Request[Any, Any, Any]) -> Response[bytes]:
    """200 once everything that is to be preloaded has been tried, 503 before and while stopping."""
    host = host_of(request)
    if host.draining or not host.preloaded:
        return Response(b"stopping" if host.draining else b"loading", status_code=SERVICE_UNAVAILABLE, media_type="text/plain")
    return Response(b"ok", media_type="text/plain")


@get(
    "/health",
    summary="How are the models",
    opt=route_spec(
        "public",
        answer=(HealthAnswer, OneModelHealth, ServicesHealth),
        errors=(NOT_FOUND,),
        query={
            "as": "In whose words: `modelhost`, or as older services did `model` (one model) or `services`.",
            "model": "Which model, with `as=model`; without it the one that chats, else the one that hears.",
        },
    ),
)
async def health(request: Request[Any, Any, Any], model: str | None = None) -> JsonResponse:
    """`degraded` when a model is failed, in back-off or loads for long. Where there are keys, models are shown to who has one."""
    host = host_of(request)
    models = [one for one in host.pool if one.config.enabled]
    known = in_flight_of(request.scope).caller is not None
    named = host.router.find(model) if model and known else None
    match request.query_params.get("as") or host.config.server.health_as:
        case "modelhost":
            return JsonResponse(await asyncio.to_thread(_own, models, known=known))
        case "model":
            return JsonResponse(await asyncio.to_thread(one_model, models, host.config.routes, named, known=known))
        case "services":
            return JsonResponse(services(models, host.config.routes, known=known))
    raise BadInputError(f"as may be {', '.join(get_args(HealthView))}", param="as")


def _own(models: list[Model], *, known: bool) -> HealthAnswer:
    sick = any(model.ails is not None for model in models)
    status: Literal["healthy", "degraded"] = "degraded" if sick else "healthy"
    return HealthAnswer(status=status, models={model.name: describe_health(model) for model in models} if known else None)


def describe_health(model: Model) -> ModelHealth:
    """Say how a model is."""
    card = model.card
    return ModelHealth(
        state=model.status.state,
        device=card.device if card else None,
        model_available=model.weights.available(),
        model_loaded=model.status.state == "ready",
        context_length=card.context_length if card else None,
        supports_tools=bool(card and "tools" in card.features),
        last_error=model.ails or model.status.reason or None,
    )
