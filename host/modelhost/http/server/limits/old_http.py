"""Answers for clients of HTTP/1.0, who know no chunks: what does not say how long it is ends with the connection."""

from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def without_chunks(app: ASGI3Application, cycle: RequestResponseCycle) -> ASGI3Application:
    """Return the application for one request; uvicorn, which counts what is sent, is told a length piece by piece."""

    async def answered(scope: Any, receive: Any, send: Any) -> None:
        endless = False

        async def sent(message: Any) -> None:
            nonlocal endless
            if message["type"] == "http.response.start":
                endless = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
                cycle.chunked_encoding = False if endless else None
            elif endless:
                cycle.expected_content_length = len(message.get("body", b"")) + message.get("more_body", False)
            await send(message)

        await app(scope, receive, sent)

    return answered
