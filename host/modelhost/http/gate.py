"""The outermost layer of the application: request ids, the count of requests at work, and the refusal of new ones."""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from modelhost.errors import NotReadyError
from modelhost.host import ModelHost
from modelhost.http.errors import envelope

Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ALWAYS_OPEN = frozenset({"/livez", "/readyz", "/health"})
"""What a host that is stopping still answers."""

_GOOD_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class Gate:
    """Wraps the application; every response passes through it, 404s included."""

    def __init__(self, app: App, host: ModelHost) -> None:
        self._app = app
        self._host = host
        self._header = host.config.server.request_id_header.lower().encode()
        self.at_work = 0
        self.empty = asyncio.Event()
        self.empty.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = self._request_id(scope["headers"])
        scope["modelhost.request_id"] = request_id.decode()

        answered = False

        async def send_with_id(message: Any) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                message["headers"] = [*message.get("headers", ()), (self._header, request_id)]
            await send(message)

        if self._host.draining and scope["path"] not in ALWAYS_OPEN:
            await _refuse(send_with_id)
            return
        self.at_work += 1
        self.empty.clear()
        try:
            await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            # The server is going down, and this request has been waited for long enough.
            if not answered:
                await _refuse(send_with_id)
        finally:
            self.at_work -= 1
            if not self.at_work:
                self.empty.set()

    def _request_id(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        for name, value in headers:
            if name == self._header and _GOOD_ID.fullmatch(value):
                return value
        # Unique is enough: an id opens nothing. The system's random source would cost a system call each.
        return b"req_%024x" % random.getrandbits(96)


async def _refuse(send: Send) -> None:
    error = NotReadyError("this host is stopping; ask again in a moment", code="draining")
    headers = [
        (b"content-type", b"application/json"),
        (b"connection", b"close"),
        (b"retry-after", b"1"),
        (b"x-should-retry", b"true"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": msgspec.json.encode(envelope(error))})
