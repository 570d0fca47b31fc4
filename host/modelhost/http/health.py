"""Is it alive, is it ready, and how are the models."""

import asyncio
from typing import Any

from litestar import Request, Response, get

from modelhost.http.about import about
from modelhost.http.answering import JsonAnswer
from modelhost.http.reading import host_of
from modelhost.http.visit import visit_of
from modelhost.pool import Model


@get("/livez", summary="Is the process alive", opt=about("public"))
async def livez() -> Response[bytes]:
    """200 as long as the event loop turns."""
    return Response(b"ok", media_type="text/plain")


@get("/readyz", summary="May traffic be sent here", opt=about("public"))
async def readyz(request: Request[Any, Any, Any]) -> Response[bytes]:
    """200 once everything that is to be preloaded has been tried, 503 before and while stopping."""
    host = host_of(request)
    if host.draining or not host.preloaded:
        return Response(b"stopping" if host.draining else b"loading", status_code=503, media_type="text/plain")
    return Response(b"ok", media_type="text/plain")


@get("/health", summary="How are the models", opt=about("public"))
async def health(request: Request[Any, Any, Any]) -> JsonAnswer:
    """`degraded` when a model is failed or in back-off. Where there are keys, the models are shown to those who have one."""
    models = [model for model in host_of(request).pool if model.config.enabled]
    sick = any(model.status.state in ("failed", "backoff") for model in models)
    status = "degraded" if sick else "healthy"
    if visit_of(request.scope).caller is None:
        return JsonAnswer({"status": status})
    described = await asyncio.to_thread(lambda: {model.name: describe_health(model) for model in models})
    return JsonAnswer({"status": status, "models": described})


def describe_health(model: Model) -> dict[str, Any]:
    """Give a model's state as JSON."""
    card = model.card
    return {
        "state": model.status.state,
        "device": card.device if card else None,
        "model_available": model.available(),
        "model_loaded": model.status.state == "ready",
        "context_length": card.context_length if card else None,
        "supports_tools": bool(card and "tools" in card.features),
        "last_error": model.status.reason or None,
    }
