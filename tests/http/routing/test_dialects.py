"""Whatever fails is told in the dialect of who asks: by the route that answers, else by the path, else in OpenAI's."""

import asyncio
import hashlib
import json
from typing import Any

import httpx
import pytest
from litestar import Litestar, Request, Response, get, post
from litestar.exceptions import HTTPException
from modelhost.access.keys import Caller, Keys
from modelhost.config import ServerConfig
from modelhost.contract.errors import BadInputError, ModelhostError, OverQuotaError
from modelhost.contract.structs import Struct
from modelhost.http.admin.docs import locked
from modelhost.http.app import DIALECTS, ROUTES
from modelhost.http.middleware.access import with_scopes
from modelhost.http.middleware.access_log import Observer
from modelhost.http.middleware.gateway import Gateway
from modelhost.http.openai.dialect import OPENAI
from modelhost.http.routing.dialect import Dialect, Framing
from modelhost.http.routing.dialects import Dialects
from modelhost.http.routing.error_response import answer_error
from modelhost.http.routing.in_flight import InFlightRequests
from modelhost.http.routing.spec import route_spec, spec_of
from modelhost.http.routing.statuses import status_of
from modelhost.observability.logs import host_log
from modelhost.observability.metrics import Metrics


class BirdEnvelope(Struct):
    """How birds tell a failure."""

    chirp: str
    pitch: int

    @classmethod
    def of(cls, error: ModelhostError) -> "BirdEnvelope":
        return cls(chirp=error.message, pitch=status_of(error))


BIRD = Dialect(
    name="bird",
    envelope=BirdEnvelope,
    framing=Framing(media_type="text/birdsong", event=lambda value: b"~" + json.dumps(value.chirp).encode(), sign_of_life=b""),
    paths=("/birds/",),
    key_headers=("x-bird-key",),
    key_parameter="key",
)


@get("/birds/{name:str}", opt=route_spec(BIRD, "inference"))
async def bird(request: Request[Any, Any, Any]) -> Response[bytes]:
    if request.path_params["name"] == "dodo":
        raise BadInputError("no dodo")
    return Response(b"tweet")


@post("/nest", opt=route_spec(BIRD, "admin"))
async def nest(request: Request[Any, Any, Any]) -> Response[bytes]:
    raise OSError("an egg has fallen")


@get("/stone", opt=route_spec(Dialect(name="stone"), "inference"))
async def stone(request: Request[Any, Any, Any]) -> Response[bytes]:
    raise BadInputError("stones do not answer")


DIALECTS_OF_TEST = Dialects((bird, nest, stone), default=OPENAI)


KEYS = Keys([(hashlib.sha256(b"secret").digest(), Caller(name="me", scopes=frozenset({"inference"})))])


def gateway() -> Gateway:
    """Make an application of the three routes, and all that a request passes on its way to them."""
    server = ServerConfig(allowed_hosts=("*",))
    app = Litestar(
        [bird, nest, stone],
        middleware=[with_scopes(server)],
        exception_handlers={HTTPException: answer_error, Exception: answer_error},
        openapi_config=None,
        logging_config=None,
    )
    return Gateway(
        app,
        server,
        dialects=DIALECTS_OF_TEST,
        keys=lambda: KEYS,
        draining=lambda: False,
        public=frozenset(),
        shown=frozenset(),
        in_flight_requests=InFlightRequests(),
        observer=Observer(Metrics(), host_log()),
        locked=locked,
    )


def ask(method: str, path: str, **more: Any) -> httpx.Response:
    async def asked() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(gateway()), base_url="http://host") as client:
            return await client.request(method, path, **more)

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("method", "path", "status", "headers"),
    [
        ("GET", "/birds/dodo", 400, {}),
        ("GET", "/birds/a/b", 404, {}),
        ("POST", "/birds/wren", 405, {}),
        ("GET", "/birds/wren", 401, {"authorization": ""}),
        ("GET", "/birds/wren", 415, {"content-encoding": "gzip"}),
        ("POST", "/nest", 403, {}),
    ],
)
def test_a_failure_under_its_paths_is_in_its_envelope(method: str, path: str, status: int, headers: dict[str, str]) -> None:
    answer = ask(method, path, headers={"authorization": "Bearer secret", **headers})
    assert answer.status_code == status
    assert answer.json().keys() == {"chirp", "pitch"}
    assert answer.json()["pitch"] == status


@pytest.mark.parametrize(("path", "status"), [("/stone", 400), ("/v1/nothing", 404), ("/bird", 404)])
def test_what_has_no_envelope_of_its_own_is_in_openais(path: str, status: int) -> None:
    answer = ask("GET", path, headers={"authorization": "Bearer secret"})
    assert answer.status_code == status
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("where", [{"headers": {"x-bird-key": "secret"}}, {"params": {"key": "secret"}}])
def test_a_key_may_stand_where_the_dialect_has_it_and_only_there(where: dict[str, Any]) -> None:
    assert ask("GET", "/birds/wren", **where).text == "tweet"
    assert ask("GET", "/stone", **where).status_code == 401


def test_two_keys_that_differ_are_refused() -> None:
    answer = ask("GET", "/birds/wren", params={"key": "secret"}, headers={"x-bird-key": "other"})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("path", "name"),
    [("/birds/wren", "bird"), ("/birds/", "bird"), ("/nest", "bird"), ("/nests", "openai"), ("/stone", "stone"), ("/", "openai")],
)
def test_a_path_is_in_the_dialect_it_is_under(path: str, name: str) -> None:
    assert DIALECTS_OF_TEST.of_path(path).name == name


def test_streams_and_messages_carry_the_same_envelope() -> None:
    error = OverQuotaError("too many worms")
    assert BIRD.error_event(error) == b'~"too many worms"'
    assert json.loads(BIRD.error_message(error)) == {"type": "error", "chirp": "too many worms", "pitch": 429}
    told = {"message": "too many worms", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}
    assert OPENAI.error_event(error) == b"data: " + json.dumps({"error": told}, separators=(",", ":")).encode() + b"\n\n"
    assert json.loads(OPENAI.error_message(error)) == {"type": "error", "error": told}


def test_routes_of_a_folder_share_their_dialect() -> None:
    for route in ROUTES:
        folder = route.fn.__module__.split(".")[2]
        assert spec_of(route).dialect.name == folder, route
        assert DIALECTS.of({"route_handler": route}).envelope is OPENAI.envelope
