"""The outermost layer of the application: what every request passes, whatever it is for.

In order: its id, from where it may come, whose key it carries, whether the host still takes new ones. On the way out the headers
that every answer has, and one line for the log and a count for the metrics.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from typing import Any

from modelhost.access.keys import Keys
from modelhost.config import ServerConfig
from modelhost.contract.errors import BadInputError, ModelhostError, NotReadyError, RequestError, UnauthenticatedError
from modelhost.http.middleware.access import SUBPROTOCOL, caller_of, key_in, key_places
from modelhost.http.middleware.access_log import Observer, server_timing
from modelhost.http.middleware.head import as_get, is_for_want_of_a_body, without_body
from modelhost.http.middleware.origins import Origins, cors_headers, preflight_headers
from modelhost.http.routing.dialects import Dialects
from modelhost.http.routing.error_response import error_response, headers_of
from modelhost.http.routing.errors import RequestCancelledError, UnspokenEncodingError, as_modelhost_error
from modelhost.http.routing.in_flight import InFlightRequest, InFlightRequests, once
from modelhost.http.routing.statuses import NO_CONTENT, SWITCHING_PROTOCOLS

Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_GOOD_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

_LISTS = frozenset({b"accept", b"content-encoding", b"access-control-request-headers"})
"""Headers whose values are lists, and may come in several lines (RFC 9110 §5.3)."""

_NO_HEADERS: list[tuple[bytes, bytes]] = []


class Gateway:
    """Wraps the application; every response passes through it, 404s included."""

    def __init__(
        self,
        app: App,
        server: ServerConfig,
        *,
        dialects: Dialects,
        keys: Callable[[], Keys],
        draining: Callable[[], bool],
        public: frozenset[str],
        shown: frozenset[str],
        in_flight_requests: InFlightRequests,
        observer: Observer,
        locked: Callable[[dict[str, str]], App],
    ) -> None:
        self._app = app
        self._keys = keys
        self._draining = draining
        self._public = frozenset(path.encode() for path in public)
        self._shown = frozenset(path.encode() for path in shown)
        self._requests = in_flight_requests
        self._observer = observer
        self._dialects = dialects
        self._locked = locked
        self._origins = Origins(server)
        self._root = server.root_path
        self._id_header = server.request_id_header.lower().encode()
        self._key_header = server.api_key_header.lower().encode()
        self._read = frozenset(
            {b"host", b"origin", b"authorization", b"traceparent", b"access-control-request-method", b"sec-fetch-site"}
            | {b"access-control-request-headers", b"content-encoding", b"accept", self._id_header, self._key_header}
            | dialects.key_headers
        )
        self._of_keys = frozenset({b"authorization", self._key_header}) | dialects.key_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers, repeated = self._headers(scope["headers"])
        is_head = scope.get("method") == "HEAD"
        if is_head:
            scope = as_get(scope)
        task = asyncio.current_task()
        assert task is not None
        in_flight = InFlightRequest(self._request_id(headers), scope, self._dialects, task.cancel)
        scope["modelhost.in_flight"] = in_flight
        extra = [(self._id_header, in_flight.request_id.encode())]
        send_with_headers = self._with_headers(in_flight, extra, receive, send)
        answer = without_body(send_with_headers) if is_head else send_with_headers
        self._requests.enter(in_flight)
        try:
            if self._root:
                _strip(scope, self._root)
            if await self._refused(in_flight, headers, repeated, extra, receive, answer):
                return
            await self._app(scope, receive, answer)
        except asyncio.CancelledError:
            # By DELETE /v1/requests, or because the server is going down and this request has been waited for long enough.
            if not in_flight.cancelled and not self._draining():
                raise
            await self._tell(RequestCancelledError() if in_flight.cancelled else _stopping(), in_flight, receive, answer)
        except Exception as error:
            if not is_for_want_of_a_body(error):
                self._observer.cut(in_flight, error)
                await self._tell(as_modelhost_error(error), in_flight, receive, answer)
        finally:
            in_flight.end_of_work()
            in_flight.leave()
            self._requests.leave(in_flight)
            self._observer.left(in_flight)

    async def _tell(self, error: ModelhostError, in_flight: InFlightRequest, receive: Receive, send: Send) -> None:
        """Answer a failure. Where an answer had begun there is no telling any more: the connection ends in the middle of it."""
        if in_flight.scope["type"] == "http" and not in_flight.status:
            await self._answer(error, in_flight.scope, receive, send)

    def _with_headers(self, in_flight: InFlightRequest, extra: list[tuple[bytes, bytes]], receive: Receive, send: Send) -> Send:
        """Return what sends an answer with the headers that every answer has, and notes how far it is."""
        scope = in_flight.scope

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.body":
                in_flight.complete = not message.get("more_body", False)
            elif message["type"] in ("http.response.start", "websocket.http.response.start"):
                in_flight.status = message["status"]
                timing = server_timing(in_flight)
                given = [_tidied(header) for header in message.get("headers", _NO_HEADERS)]
                message["headers"] = [*given, *extra, *timing]
            elif message["type"] == "websocket.accept":
                in_flight.status = SWITCHING_PROTOCOLS
                in_flight.end_of_work()
                message["headers"] = [*message.get("headers", _NO_HEADERS), *extra]
                _choose_protocol(message, scope)
            elif message["type"] == "websocket.close" and in_flight.refusal and not in_flight.status:
                await self._answer(in_flight.refusal, scope, receive, send_with_headers)
                return
            await send(message)

        return send_with_headers

    async def _refused(
        self,
        in_flight: InFlightRequest,
        headers: dict[bytes, bytes],
        repeated: str,
        extra: list[tuple[bytes, bytes]],
        receive: Receive,
        send: Send,
    ) -> bool:
        """Answer what goes no further; returns whether it did."""
        scope = in_flight.scope
        try:
            if repeated:
                raise BadInputError(f"the header {repeated} is there twice", code="repeated_header")
            if self._is_from_other_origin(scope, headers):
                origin = headers[b"origin"]
                if scope["type"] == "http" and scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
                    names = headers.get(b"access-control-request-headers", b"")
                    await send(
                        {
                            "type": "http.response.start",
                            "status": NO_CONTENT,
                            "headers": preflight_headers(origin, names),
                        }
                    )
                    await send({"type": "http.response.body", "body": b""})
                    return True
                extra += cors_headers(origin)
            self._admit(in_flight, headers)
        except ModelhostError as error:
            if isinstance(error, UnauthenticatedError) and _is_person(scope, headers):
                await self._locked(headers_of(error))(scope, receive, send)
            else:
                await self._answer(error, scope, receive, send)
            return True
        traceparent = headers.get(b"traceparent", b"")
        if _TRACEPARENT.fullmatch(traceparent):
            in_flight.traceparent = traceparent.decode()
        self._observer.entered(in_flight)
        return False

    def _is_from_other_origin(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        """Whether a web page of another origin asks. Raises `RequestError` where that, or the name in `Host`, is not allowed."""
        origin, host = headers.get(b"origin"), headers.get(b"host")
        if host is None and (scope["http_version"] == "1.1" or origin is not None):
            raise BadInputError("the Host header is missing", code="invalid_host")
        # What sends neither is no browser, so there is no page behind it.
        secure = scope["scheme"] in ("https", "wss")
        return host is not None and self._origins.check(host, origin, secure) and origin is not None

    def _admit(self, in_flight: InFlightRequest, headers: dict[bytes, bytes]) -> None:
        """Find out whose request it is, and count it as work for its client. Raises `ModelhostError` to refuse it."""
        scope = in_flight.scope
        protocols = _take_key_protocols(scope)
        public = scope["raw_path"] in self._public
        keys = self._keys()
        given = self._key_in(scope, headers, protocols) if keys else None
        if b"origin" not in headers and scope["raw_path"] not in self._shown:
            self._origins.check_embedded(headers.get(b"sec-fetch-site"))
        if headers.get(b"content-encoding", b"identity").lower() != b"identity" and not _is_mounted(scope):
            raise UnspokenEncodingError
        in_flight.caller = caller_of(keys, given, public)
        if self._draining() and not public:
            raise _stopping()
        if not public and (connection := scope.get("modelhost.connection")):
            # With one key there are no others whom it could keep out.
            connection.identify(in_flight.caller.name if in_flight.caller and len(keys) > 1 else "")
            in_flight.end_of_work = once(in_flight.begin_work())

    def _key_in(self, scope: Scope, headers: dict[bytes, bytes], protocols: list[bytes]) -> bytes | None:
        """Find the key a request carries, where every client may put it or where those of its dialect do."""
        more = key_places(self._dialects.of(scope), headers, scope["query_string"]) if self._dialects.key_places else []
        return key_in(headers.get(b"authorization"), [headers.get(self._key_header), *more], protocols)

    async def _answer(self, error: ModelhostError, scope: Scope, receive: Receive, send: Send) -> None:
        answer = error_response(error, self._dialects.of(scope))
        if not isinstance(error, RequestError):
            answer.headers["connection"] = "close"
        if scope["type"] == "websocket":
            # Without this extension a refusal would be a 403 without a body, whatever the reason.
            prefix, real_send = "websocket.", send

            async def send(message: Any) -> None:
                await real_send({**message, "type": prefix + message["type"]})

        await answer.to_asgi_response()(scope, receive, send)

    def _headers(self, headers: list[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], str]:
        """Pick the headers that are read here, and name one that was sent with two values."""
        found: dict[bytes, bytes] = {}
        repeated = ""
        for name, value in headers:
            if name in self._read and found.setdefault(name, value) != value:
                if name in _LISTS:
                    found[name] += b", " + value
                elif name not in self._of_keys or self._keys():
                    repeated = name.decode()
        return found, repeated

    def _request_id(self, headers: dict[bytes, bytes]) -> str:
        given = headers.get(self._id_header)
        if given is not None and _GOOD_ID.fullmatch(given):
            return given.decode()
        # Unique is enough: an id opens nothing. The system's random source would cost a system call each.
        return f"req_{random.getrandbits(96):024x}"


def _tidied(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return a header of an answer as it should be: parameters once, and HEAD allowed wherever GET is."""
    name, value = header
    if name == b"content-type" and value.count(b";") > 1:
        return name, b"; ".join(dict.fromkeys(part.strip() for part in value.split(b";")))
    if name == b"allow" and b"GET" in value and b"HEAD" not in value:
        return name, value + b", HEAD"
    return header


def _is_mounted(scope: Scope) -> bool:
    """Whether an extension's application is asked, which may read what the host does not."""
    return bytes(scope["raw_path"]).startswith(b"/x/")


def _is_person(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """Whether somebody opens the host's page in a browser."""
    return scope["raw_path"] in (b"/", b"/docs") and b"text/html" in headers.get(b"accept", b"")


def _stopping() -> NotReadyError:
    return NotReadyError("this host is stopping; ask again in a moment", code="draining", retry_after=1)


def _strip(scope: Scope, root: str) -> None:
    """Take the proxy's path away, where the proxy has left it."""
    for key, prefix in (("path", root), ("raw_path", root.encode())):
        if scope[key].startswith(prefix) and scope[key][len(prefix) : len(prefix) + 1] in ("/", b"/"):
            scope[key] = scope[key][len(prefix) :]


def _take_key_protocols(scope: Scope) -> list[bytes]:
    """Take offered subprotocols that are keys out of a WebSocket's scope, so that nothing echoes them."""
    if scope["type"] != "websocket":
        return []
    offered = [protocol.encode("latin-1") for protocol in scope["subprotocols"]]
    scope["subprotocols"] = [name.decode("latin-1") for name in offered if not name.startswith(SUBPROTOCOL)]
    scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"sec-websocket-protocol"]
    return [name for name in offered if name.startswith(SUBPROTOCOL)]


def _choose_protocol(message: Any, scope: Scope) -> None:
    """Accept one of the offered subprotocols: browsers close a connection that accepts none."""
    if message.get("subprotocol") is None and scope["subprotocols"]:
        message["subprotocol"] = scope["subprotocols"][0]
