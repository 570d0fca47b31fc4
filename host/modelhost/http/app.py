"""The application: routes, limits and error handling, around a host."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from litestar import Litestar, asgi
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from litestar.types import ControllerRouterHandler, Receive, Scope, Send

from modelhost.config import ServerConfig
from modelhost.dialogue import Dialogue, InProcessMemory
from modelhost.host import ModelHost
from modelhost.http.admin.docs import ASSETS, docs, docs_asset, home
from modelhost.http.admin.health import health, livez, readyz
from modelhost.http.admin.metrics import metrics
from modelhost.http.admin.models import list_models, load_model, show_model, unload_model
from modelhost.http.admin.openapi import openapi
from modelhost.http.admin.plugins import list_plugins
from modelhost.http.admin.requests import cancel_request, list_requests
from modelhost.http.admin.workers import list_workers, show_worker
from modelhost.http.middleware.access import access_to, with_scopes
from modelhost.http.native.dialogue import dialogue, forget_dialogue
from modelhost.http.native.embed_file import embed_file
from modelhost.http.native.generate import generate, generate_stream
from modelhost.http.native.parse_ast import parse_ast
from modelhost.http.native.personas import list_personas
from modelhost.http.native.rerank import rerank
from modelhost.http.native.sockets.generate import generate_ws
from modelhost.http.native.sockets.synthesize import speak
from modelhost.http.native.sockets.transcribe import listen
from modelhost.http.native.summaries import summaries, summarize
from modelhost.http.native.tokens import detokenize, tokenize
from modelhost.http.native.voices import add_voice, delete_voice, list_voices
from modelhost.http.openai.audio.speech import speech, text_to_speech
from modelhost.http.openai.audio.transcriptions import transcriptions, translations
from modelhost.http.openai.chat import chat_completions
from modelhost.http.openai.completions import completions
from modelhost.http.openai.embeddings import embeddings
from modelhost.http.routing.bodies.memory import BodyMemory
from modelhost.http.routing.errors import answer_error
from modelhost.http.routing.in_flight import InFlightRequests
from modelhost.http.routing.spec import route_spec, spec_of
from modelhost.observability.logs import host_log
from modelhost.plugins.extensions import ASGIApp

ROUTES: tuple[HTTPRouteHandler | WebsocketRouteHandler, ...] = (
    chat_completions,
    completions,
    generate,
    generate_stream,
    tokenize,
    detokenize,
    summaries,
    summarize,
    list_personas,
    transcriptions,
    translations,
    speech,
    text_to_speech,
    dialogue,
    forget_dialogue,
    list_voices,
    add_voice,
    delete_voice,
    listen,
    speak,
    generate_ws,
    embeddings,
    embed_file,
    rerank,
    parse_ast,
    list_models,
    load_model,
    show_model,
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


def make_app(host: ModelHost, in_flight_requests: InFlightRequests) -> Litestar:
    """Make the application of a host; starts and stops the host with itself."""
    server = host.config.server

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        host.start()
        try:
            yield
        finally:
            await host.stop()

    return Litestar(
        [*ROUTES, *_mounted(host)],
        state=State(
            {"host": host, "in_flight_requests": in_flight_requests, "dialogue": _dialogue(host), "bodies": _bodies(server)},
            deep_copy=False,
        ),
        lifespan=[lifespan],
        middleware=[with_scopes(server)],
        request_max_body_size=None,  # `http/bodies` has bounds for each kind of body
        exception_handlers={HTTPException: answer_error, Exception: answer_error},
        openapi_config=None,
        logging_config=None,
    )


def _bodies(server: ServerConfig) -> BodyMemory:
    return BodyMemory(int(server.body_memory_mb * 2**20))


def _dialogue(host: ModelHost) -> Dialogue:
    wanted = host.config.dialogue
    memory = InProcessMemory(sessions=wanted.memory_sessions, turns=wanted.memory_turns, seconds=wanted.memory_minutes * 60)
    return Dialogue(host.router, memory, host.metrics, host_log("http"), hold=host.config.server.hold_status)


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
    return [_mount(name, app) for name, app in host.extensions.apps.items()]


def _mount(name: str, app: ASGIApp) -> ControllerRouterHandler:
    @asgi(f"/x/{name}", is_mount=True, copy_scope=True, opt=route_spec("inference"))
    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return mounted
