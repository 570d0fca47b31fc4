"""For backends that call another server over HTTP: whether it is on this machine, and answers that cannot fill its memory.

Packed answers (gzip, br, zstd) may be a thousand times as large unpacked, or a million times where they are packed twice, and a
client unpacks a whole piece before anybody can count. So none is asked for, and one that is packed all the same is refused
unread. And texts are UTF-8: a client would decode them with whatever an answer names, and Python has codecs that unpack, or
that take minutes for a megabyte. Both `httpx` and `httpx2` take these:

    httpx.AsyncClient(headers=UNPACKED, event_hooks={"response": [keep_small]})
"""

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

    Raises `BackendFailedError`, also while it is read.
    """
    packing = response.headers.get("content-encoding", "").strip().lower()
    if packing not in ("", "identity"):
        raise BackendFailedError("the upstream packs its answer though it is asked not to; have it or its proxy send it plain")
    response.encoding = "utf-8"
    stream = response.stream
    # The client accepts no other kind of stream, and each of the two libraries has a class of its own.
    base = next(kind for kind in type(stream).__mro__ if kind.__name__ == "AsyncByteStream")
    response.stream = type("Bounded", (_Bounded, base), {})(stream, MOST)


class _Bounded:
    """A stream of bytes that breaks off with an error."""

    def __init__(self, stream: Any, most: int) -> None:
        self._stream = stream
        self._left = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            self._left -= len(piece)
            if self._left < 0:
                raise BackendFailedError(f"the upstream's answer is larger than {MOST // 2**20} MiB")
            yield piece

    async def aclose(self) -> None:
        """Close the connection, or give it back."""
        await self._stream.aclose()
