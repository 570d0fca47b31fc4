"""Is it alive, is it ready, and how are the models."""

import asyncio
from typing import Any, Literal

from litestar import Request, Response, get

from modelhost.http.about import about
from modelhost.http.answering import JsonAnswer
from modelhost.http.reading import host_of
from modelhost.http.visit import visit_of
from modelhost.pool import Model
from modelhost.pool.status import State
from modelhost.structs import Struct


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


@get("/livez", summary="Is the process alive", opt=about("public", text="text/plain"))
async def livez() -> Response[bytes]:
    """200 as long as the event loop turns."""
    return Response(b"ok", media_type="text/plain")


@get("/readyz", summary="May traffic be sent here", opt=about("public", text="text/plain", errors=(503,)))
async def readyz(request: Request[Any, Any, Any]) -> Response[bytes]:
    """200 once everything that is to be preloaded has been tried, 503 before and while stopping."""
    host = host_of(request)
    if host.draining or not host.preloaded:
        return Response(b"stopping" if host.draining else b"loading", status_code=503, media_type="text/plain")
    return Response(b"ok", media_type="text/plain")


@get("/health", summary="How are the models", opt=about("public", answer=HealthAnswer))
async def health(request: Request[Any, Any, Any]) -> JsonAnswer:
    """`degraded` when a model is failed or in back-off. Where there are keys, the models are shown to those who have one."""
    models = [model for model in host_of(request).pool if model.config.enabled]
    sick = any(model.status.state in ("failed", "backoff") for model in models)
    status: Literal["healthy", "degraded"] = "degraded" if sick else "healthy"
    if visit_of(request.scope).caller is None:
        return JsonAnswer(HealthAnswer(status=status))
    described = await asyncio.to_thread(lambda: {model.name: describe_health(model) for model in models})
    return JsonAnswer(HealthAnswer(status=status, models=described))


def describe_health(model: Model) -> ModelHealth:
    """Say how a model is."""
    card = model.card
    return ModelHealth(
        state=model.status.state,
        device=card.device if card else None,
        model_available=model.available(),
        model_loaded=model.status.state == "ready",
        context_length=card.context_length if card else None,
        supports_tools=bool(card and "tools" in card.features),
        last_error=model.status.reason or None,
    )
