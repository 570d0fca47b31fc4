"""For backends that call another server over HTTP: whether it is on this machine, and answers that cannot fill its memory.

Packed answers (gzip, br, zstd) may be a thousand times as large unpacked, or a million times where they are packed twice, and a
client unpacks a whole piece before anybody can count. So none is asked for, and one that is packed all the same is refused
unread. And texts are UTF-8: a client would decode them with whatever an answer names, and Python has codecs that unpack, or
that take minutes for a megabyte. Both `httpx` and `httpx2` take these:

    httpx.AsyncClient(headers=UNPACKED, event_hooks={"response": [keep_small]})
"""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from modelhost.contract.errors import BackendFailedError

UNPACKED = {"accept-encoding": "identity"}
"""Headers that ask for answers as they are."""

MOST = 128 * 1024 * 1024
"""Bytes of one answer, streamed or whole: chosen, because 256 vectors of 4,096 numbers in JSON are 21 MB, and 40 minutes of
speech 115 MB."""


MOST_OF_ERROR = 64 * 1024
"""Bytes of an answer that is an error, of which the rest is not read. Chosen, because what there is to say takes some hundred."""

ERROR_SECONDS = 10.0
"""Seconds an answer that is an error may take to be read; then what there is of it counts. Chosen, because it comes at once."""

MOST_OF_EVENT = 8 * 1024 * 1024
"""Bytes of one server-sent event. Chosen, because whoever sends more sends no answer."""


def is_local_url(url: str) -> bool:
    """Return whether a URL names this machine, by a loopback address or as localhost (RFC 6761 §6.3)."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


async def keep_small(response: Any) -> None:
    """Refuse an answer that is packed, break off one that has no end, and take its text for UTF-8.

    Raises `BackendFailedError`, also while it is read; but an error that has no end is cut off, and told as far as it was read.
    """
    packing = response.headers.get("content-encoding", "").strip().lower()
    if packing not in ("", "identity"):
        raise BackendFailedError("the upstream packs its answer though it is asked not to; have it or its proxy send it plain")
    response.encoding = "utf-8"
    stream = response.stream
    # The client accepts no other kind of stream, and each of the two libraries has a class of its own.
    base = next(kind for kind in type(stream).__mro__ if kind.__name__ == "AsyncByteStream")
    bounded = _ShortError if response.is_error else _Events if is_event_stream(response) else _Bounded
    response.stream = type("Bounded", (bounded, base), {})(stream)


def is_event_stream(response: Any) -> bool:
    """Return whether an answer says that it is a stream of server-sent events."""
    kind: str = response.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower() == "text/event-stream"


class _Bounded:
    """A stream of bytes that breaks off with an error."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MOST
        async for piece in self._stream:
            left -= len(piece)
            if left < 0:
                raise BackendFailedError(f"the upstream's answer is larger than {MOST // 2**20} MiB")
            yield piece

    async def aclose(self) -> None:
        """Close the connection, or give it back."""
        await self._stream.aclose()


class _Events(_Bounded):
    """One whose events have an end as well: a client keeps each until it is there."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size, before = 0, b""
        async for piece in super().__aiter__():
            size += len(piece)
            joint = before + piece.replace(b"\r", b"")
            end = joint.rfind(b"\n\n")
            if end >= 0:
                size = len(joint) - end
            if size > MOST_OF_EVENT:
                raise BackendFailedError(f"the upstream sends an event of more than {MOST_OF_EVENT // 2**20} MiB")
            before = joint[-1:]
            yield piece


class _ShortError(_Bounded):
    """One that ends early."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left, pieces = MOST_OF_ERROR, aiter(self._stream)
        due = asyncio.get_running_loop().time() + ERROR_SECONDS
        while left > 0:
            try:
                async with asyncio.timeout_at(due):
                    piece = await anext(pieces)
            except (StopAsyncIteration, TimeoutError):
                return
            yield piece[:left]
            left -= len(piece)
