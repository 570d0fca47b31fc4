"""Who may do what: keys are looked at on the raw request before anything else, scopes once the route is known.

Everything needs a key, where there are keys, unless a route says that it is public. So whatever a path is taken for further
down, it was not reached without one.
"""

import re
from collections.abc import Callable
from urllib.parse import parse_qsl

from litestar.handlers import ASGIRouteHandler
from litestar.handlers.base import BaseRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from modelhost.access.keys import ANYBODY, Caller, Keys
from modelhost.config import ServerConfig
from modelhost.contract.errors import BadInputError, ForbiddenError, UnauthenticatedError
from modelhost.http.routing.dialect import Dialect
from modelhost.http.routing.in_flight import in_flight_of
from modelhost.http.routing.spec import Access, spec_of

SUBPROTOCOL = b"openai-insecure-api-key."
"""What a browser, which cannot set headers on a WebSocket, offers with its key as a subprotocol; the name is OpenAI's."""

_BEARER = re.compile(rb"bearer +([!-~]+)", re.IGNORECASE)


def caller_of(keys: Keys, given: bytes | None, public: bool) -> Caller | None:
    """Return who asks; None for nobody known, on what is public. Raises `UnauthenticatedError`."""
    if not keys:
        return ANYBODY
    caller = keys.whose(given) if given is not None else None
    if caller is None and not public:
        what = "no API key was sent" if given is None else "this API key is not known here"
        raise UnauthenticatedError(f"{what}; send one as `Authorization: Bearer KEY`")
    return caller


def key_in(authorization: bytes | None, bare: list[bytes | None], protocols: list[bytes]) -> bytes | None:
    """Find the key a request carries. Raises `BadInputError` when it carries two that differ."""
    bearer = _BEARER.fullmatch(authorization.strip()) if authorization else None
    offered = [protocol.removeprefix(SUBPROTOCOL) for protocol in protocols if protocol.startswith(SUBPROTOCOL)]
    given = {key for key in (bearer and bearer[1], *bare, *offered) if key}
    if len(given) > 1:
        raise BadInputError("the request carries two keys; send one", code="invalid_api_key")
    return given.pop() if given else None


def key_places(dialect: Dialect, headers: dict[bytes, bytes], query: bytes) -> list[bytes | None]:
    """Return what stands where clients of a dialect put their key, beside the places that all have."""
    found = [headers.get(name.encode()) for name in dialect.key_headers]
    if dialect.key_parameter:
        found += [value for name, value in parse_qsl(query) if name == dialect.key_parameter.encode()]
    return found


def access_to(handler: BaseRouteHandler, server: ServerConfig) -> Access:
    """Return the rule of a route."""
    access = spec_of(handler).access
    if access == "docs":
        return "public" if server.public_docs else "any"
    return access


def with_scopes(server: ServerConfig) -> Callable[[ASGIApp], ASGIApp]:
    """Return the layer around every route that refuses a caller whose key is not good for it.

    A layer rather than the framework's guards: those copy the whole route for every request, which costs more than all else here.
    """

    def around(app: ASGIApp) -> ASGIApp:
        async def checked(scope: Scope, receive: Receive, send: Send) -> None:
            _check(scope, server)
            await app(scope, receive, send)

        return checked

    return around


def _check(scope: Scope, server: ServerConfig) -> None:
    handler = scope["route_handler"]
    if scope.get("method") == "OPTIONS" and not isinstance(handler, ASGIRouteHandler):
        return  # the framework's own answer: which methods there are
    access = access_to(handler, server)
    if access == "public":
        return
    in_flight = in_flight_of(scope)
    if in_flight.caller is None:
        in_flight.refusal = UnauthenticatedError("no API key was sent; send one as `Authorization: Bearer KEY`")
    elif access != "any" and access not in in_flight.caller.scopes:
        message = f"the key {in_flight.caller.name!r} lacks the scope {access!r} that this takes"
        in_flight.refusal = ForbiddenError(message, code="missing_scope")
    if in_flight.refusal:
        raise in_flight.refusal
