"""The application: routes, limits and error handling, around a host."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar, asgi
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.types import ControllerRouterHandler, Receive, Scope, Send

from modelhost.extensions import ASGIApp
from modelhost.host import ModelHost
from modelhost.http.chat import chat_completions
from modelhost.http.errors import answer_error
from modelhost.http.health import health, livez, readyz
from modelhost.http.models import (
    list_models,
    list_plugins,
    list_workers,
    load_model,
    show_model,
    show_worker,
    unload_model,
)

ROUTES: tuple[ControllerRouterHandler, ...] = (
    chat_completions,
    list_models,
    load_model,
    show_model,
    unload_model,
    list_plugins,
    list_workers,
    show_worker,
    health,
    livez,
    readyz,
)


def make_app(host: ModelHost) -> Litestar:
    """Make the application of a host; starts and stops the host with itself."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        host.start()
        try:
            yield
        finally:
            await host.stop()

    return Litestar(
        [*ROUTES, *_mounted(host)],
        state=State({"host": host}, deep_copy=False),
        lifespan=[lifespan],
        request_max_body_size=int(host.config.server.max_body_mb * 2**20),
        exception_handlers={HTTPException: answer_error, Exception: answer_error},
        openapi_config=None,
        logging_config=None,
    )


def _mounted(host: ModelHost) -> list[ControllerRouterHandler]:
    """Mount the applications that extensions bring at `/x/<name>`."""
    return [_mount(name, app) for name, app in host.extensions.apps.items()]


def _mount(name: str, app: ASGIApp) -> ControllerRouterHandler:
    @asgi(f"/x/{name}", is_mount=True, copy_scope=True)
    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return mounted
