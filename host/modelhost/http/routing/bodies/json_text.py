"""JSON bodies: small ones simply held, larger ones on disk until there is memory for them, without the media in them."""

from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from litestar import Request

from modelhost.concurrency.executor import computed, in_thread, parsed
from modelhost.contract.errors import BadInputError
from modelhost.http.routing.bodies.base64_fields import Lifter
from modelhost.http.routing.bodies.incoming import SMALL, arriving, base64_limit, handed, plain_limit, server_of
from modelhost.http.routing.bodies.media import Media
from modelhost.http.routing.bodies.memory import Held, hold
from modelhost.http.routing.bodies.spool import Spool
from modelhost.http.routing.errors import TooLargeError

MOST_VALUES = 131_072
"""Objects, lists, names and texts in one body: decoded they take up to 300 bytes each, whatever few bytes they came in, and the
event loop waits while they are made (`benchmarks/loop_pauses.py`). Numbers in lists are not counted."""

JSON = "application/json"


async def json_of(request: Request[Any, Any, Any], base64_in: frozenset[str] = frozenset(), hint: str = "") -> bytes:
    """Read a body; memory for it is held until the request has been answered.

    With `base64_in`, names of fields, a body may have recordings in base64 there and be larger for that; `Media` of the request
    has what they decode to. Raises `TooLargeError`, with `hint` in its message where it is the media that are too large, and
    `OverloadedError`.
    """
    server = server_of(request)
    most = base64_limit(server) if base64_in else plain_limit(server)
    key, size = ("max_audio_mb", server.max_audio_mb) if base64_in else ("max_body_mb", server.max_body_mb)

    def refusal() -> TooLargeError:
        return TooLargeError(f"the body is larger than the {size:g} MiB this host takes here ({key} under [server]){hint}")

    found = await arrived_of(request, most, refusal)
    if isinstance(found, bytes):
        return found
    media = Media.of(request)
    media.large = True
    held = await hold(request, min(found.size, plain_limit(server)))
    if found.size <= plain_limit(server):
        body = await in_thread(found.whole)
    else:
        body = await _without_media(request, found, media, base64_in, held)
    await computed(check_values, body)
    return body


async def arrived_of(request: Request[Any, Any, Any], most: int, refusal: Callable[[], TooLargeError]) -> "bytes | Arrived":
    """Wait for a body of at most `most` bytes; returns it where it is small, and else the file that it is in."""
    begun: list[bytes] = []
    size = 0
    chunks = arriving(request, most, refusal)
    async for chunk in chunks:
        begun.append(chunk)
        size += len(chunk)
        if size > SMALL:
            break
    else:
        return b"".join(begun)
    arrived = await in_thread(Arrived.begun, Spool.of(request), b"".join(begun))
    try:
        await handed(chunks, arrived.add)
    finally:
        await in_thread(arrived.close)
    return arrived


async def _without_media(
    request: Request[Any, Any, Any], arrived: "Arrived", media: Media, names: frozenset[str], held: Held
) -> bytes:
    server = server_of(request)

    def refusal() -> TooLargeError:
        most = f"the {server.max_body_mb:g} MiB this host takes (max_body_mb under [server])"
        return TooLargeError(f"the body without its recordings is larger than {most}")

    body = await parsed(arrived.lifted, names, media, plain_limit(server), refusal)
    held.shrink(len(body))
    return body


class Arrived:
    """A body on disk."""

    def __init__(self, spool: Spool) -> None:
        self._file = spool.new()
        self.size = 0

    @classmethod
    def begun(cls, spool: Spool, data: bytes) -> "Arrived":
        """Begin with the bytes that are there."""
        arrived = cls(spool)
        arrived.add(data)
        return arrived

    def add(self, data: bytes) -> None:
        """Write more."""
        self._file.write(data)
        self.size += len(data)

    def close(self) -> None:
        """Say that nothing follows."""
        self._file.close()

    def whole(self) -> bytes:
        """Read it."""
        path = Path(self._file.name)
        body = path.read_bytes()
        path.unlink(missing_ok=True)
        return body

    def open(self) -> IO[bytes]:
        """Open it for reading."""
        return Path(self._file.name).open("rb")

    def lifted(self, names: frozenset[str], media: Media, most: int, refusal: Callable[[], TooLargeError]) -> bytes:
        """Read it without its media."""
        path = Path(self._file.name)
        with path.open("rb") as source:
            body = Lifter(source, names, media, most=most, refusal=refusal).run()
        path.unlink(missing_ok=True)
        return body


def check_values(body: bytes, what: str = "the body") -> None:
    """Raise `BadInputError` for JSON of more than `MOST_VALUES` values that take much memory."""
    if _count(body) <= MOST_VALUES and body.count(b'"') <= 2 * MOST_VALUES:
        return
    # Braces and colons in texts do not count; without escapes, every other piece between quotes is text.
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 2 * MOST_VALUES or _count(b"".join(plain.split(b'"')[::2])) > MOST_VALUES:
        raise BadInputError(
            f"{what} has more than {MOST_VALUES} objects, lists, names and texts; send it in several",
            code="too_many_values",
        )


def _count(body: bytes) -> int:
    return sum(body.count(mark) for mark in (b"{", b"[", b":"))


async def made(request: Request[Any, Any, Any], make: Callable[..., Any], *arguments: Any) -> Any:
    """Make something of a body: in a thread where that is large, since others would wait for it."""
    media: Media | None = cast(Any, request.scope).get("modelhost.media")
    return await computed(make, *arguments) if media and media.large else make(*arguments)
