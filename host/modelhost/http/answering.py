"""Answers in JSON."""

from typing import Any

import msgspec
from litestar import Response
from litestar.types import ASGIApp, Receive, Scope, Send


class JsonAnswer(Response[bytes]):
    """A body that is ready: it skips what the framework would do to find out how to encode it."""

    def __init__(self, value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        super().__init__(msgspec.json.encode(value), status_code=status, headers=headers)

    def to_asgi_response(self, *args: Any, **kwargs: Any) -> ASGIApp:  # type: ignore[override]  # any ASGI application will do
        """Give the two messages of the answer."""
        body = self.content
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *((name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()),
        ]
        status = self.status_code or 200

        async def send_it(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body, "more_body": False})

        return send_it
