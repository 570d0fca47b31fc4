"""A body while it arrives."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from litestar import Request

from modelhost.concurrency.executor import in_thread
from modelhost.config import ServerConfig
from modelhost.http.routing.errors import ClientGoneError, TooLargeError

MIB = 2**20
"""Bytes."""

SMALL = 64 * 1024
"""Bytes of a body that are simply held: as many as a connection holds anyway before it stops reading."""

AT_ONCE = 256 * 1024
"""Bytes that go to a thread together: its hop of 50 µs is then small beside the work."""


def server_of(request: Request[Any, Any, Any]) -> ServerConfig:
    """Return the host's own configuration."""
    server: ServerConfig = request.app.state.host.config.server
    return server


def plain_limit(server: ServerConfig) -> int:
    """Return the bytes a body may have without its recordings and pictures."""
    return int(server.max_body_mb * MIB)


def media_limit(server: ServerConfig) -> int:
    """Return the bytes a recording or picture may have, or several of one request together."""
    return int(server.max_audio_mb * MIB)


def base64_limit(server: ServerConfig) -> int:
    """Return the bytes of a body that has its recordings in base64."""
    return media_limit(server) * 4 // 3 + plain_limit(server)


async def arriving(request: Request[Any, Any, Any], limit: int, refusal: Callable[[], TooLargeError]) -> AsyncIterator[bytes]:
    """Yield a body as it comes. Raises `refusal` as soon as it is known to be over `limit` bytes."""
    if int(request.headers.get("content-length") or 0) > limit:
        raise refusal()
    read = 0
    more = True
    while more:
        message: Any = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("the client has left in the middle of its body")
        if chunk := message.get("body", b""):
            read += len(chunk)
            if read > limit:
                raise refusal()
            yield chunk
        more = message.get("more_body", False)


async def handed(chunks: AsyncIterator[bytes], feed: Callable[[bytes], Any]) -> None:
    """Return a body to `feed`, which runs in a thread, in pieces of about `AT_ONCE`."""
    waiting: list[bytes] = []
    size = 0
    async for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= AT_ONCE:
            data, waiting, size = b"".join(waiting), [], 0
            await in_thread(feed, data)
    if waiting:
        await in_thread(feed, b"".join(waiting))
