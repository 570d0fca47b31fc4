"""The application: routes, limits and error handling, around a host."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from litestar import Litestar, asgi
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from litestar.types import ControllerRouterHandler, Receive, Scope, Send

from modelhost.config import ServerConfig
from modelhost.contract.errors import NotReadyError
from modelhost.contract.extension import ASGIApp
from modelhost.host import ModelHost
from modelhost.http.admin.docs import ASSETS
from modelhost.http.admin.openapi_document import ApiDocument
from modelhost.http.admin.routes import ROUTES as ADMIN_ROUTES
from modelhost.http.middleware.access import access_to, with_scopes
from modelhost.http.native.routes import ROUTES as NATIVE_ROUTES
from modelhost.http.openai.dialect import OPENAI
from modelhost.http.openai.routes import ROUTES as OPENAI_ROUTES
from modelhost.http.routing.bodies.memory import BodyMemory
from modelhost.http.routing.dialects import Dialects
from modelhost.http.routing.error_response import answer_error
from modelhost.http.routing.in_flight import InFlightRequests
from modelhost.http.routing.spec import route_spec, spec_of

ROUTES = OPENAI_ROUTES + NATIVE_ROUTES + ADMIN_ROUTES
DIALECTS = Dialects(ROUTES, default=OPENAI)
DOCUMENT = ApiDocument(ROUTES, DIALECTS)


def make_app(host: ModelHost, in_flight_requests: InFlightRequests) -> Litestar:
    """Make the application of a host; starts and stops the host with itself."""
    server = host.config.server

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        await host.start()
        try:
            yield
        finally:
            await host.stop()

    return Litestar(
        [*ROUTES, *_mounted(host)],
        state=State(
            {"host": host, "in_flight_requests": in_flight_requests, "document": DOCUMENT, "bodies": BodyMemory.of(server)},
            deep_copy=False,
        ),
        lifespan=[lifespan],
        middleware=[with_scopes(server)],
        request_max_body_size=None,  # `routing/bodies` has bounds for each kind of body
        exception_handlers={HTTPException: answer_error, Exception: answer_error},
        openapi_config=None,
        logging_config=None,
    )


def public_paths(server: ServerConfig) -> frozenset[str]:
    """Return the paths that need no key."""
    return _paths_of(route for route in ROUTES if access_to(route, server) == "public")


def shown_paths() -> frozenset[str]:
    """Return the paths that other pages may lead to: they do nothing but say something."""
    return _paths_of(route for route in ROUTES if spec_of(route).access in ("public", "docs"))


def _paths_of(routes: Iterable[HTTPRouteHandler | WebsocketRouteHandler]) -> frozenset[str]:
    """Return paths as they are asked for, the reference's files by name."""
    paths = {path for route in routes for path in route.paths}
    return frozenset(path.replace("{name:str}", name) for path in paths for name in ASSETS)


def _mounted(host: ModelHost) -> list[ControllerRouterHandler]:
    """Mount the applications that extensions bring at `/x/<name>`."""
    return [_mount(name, app, host.extensions.broken) for name, app in host.extensions.apps.items()]


def _mount(name: str, app: ASGIApp, broken: Mapping[str, str]) -> ControllerRouterHandler:
    @asgi(f"/x/{name}", is_mount=True, copy_scope=True, opt=route_spec(OPENAI, "inference"))
    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        if name in broken:  # since the host has started
            raise NotReadyError(f"the extension {name!r} is set aside: {broken[name]}", retry=False)
        await app(scope, receive, send)

    return mounted
