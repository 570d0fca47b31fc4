"""Routes for whoever runs the host."""

from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler

from modelhost.http.admin.docs import docs, docs_asset, home
from modelhost.http.admin.health import health, livez, readyz
from modelhost.http.admin.metrics import metrics
from modelhost.http.admin.models import load_model, unload_model
from modelhost.http.admin.openapi import openapi
from modelhost.http.admin.plugins import list_plugins
from modelhost.http.admin.requests import cancel_request, list_requests
from modelhost.http.admin.workers import list_workers, show_worker

ROUTES: tuple[HTTPRouteHandler | WebsocketRouteHandler, ...] = (
    load_model,
    unload_model,
    list_plugins,
    list_workers,
    show_worker,
    list_requests,
    cancel_request,
    openapi,
    home,
    docs,
    docs_asset,
    metrics,
    health,
    livez,
    readyz,
)
