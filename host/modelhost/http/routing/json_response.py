"""Answers in JSON. What takes long to write is written in a thread or piece by piece: the event loop waits for no answer."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec
from litestar import Response
from litestar.types import ASGIApp, Receive, Scope, Send

from modelhost.concurrency.executor import computed
from modelhost.http.routing.statuses import OK

AT_ONCE = 256 * 1024
"""Bytes of an answer that are given to the connection at once; the next wait until the client takes them."""

PORTION = 2048
"""Elements of a list that are encoded at once: under a millisecond, so that a thread that does it stops nobody."""

JSON = (b"content-type", b"application/json")


class JsonResponse(Response[bytes]):
    """A body that is ready: it skips what the framework would do to find out how to encode it."""

    def __init__(self, value: Any, *, status: int = OK, headers: dict[str, str] | None = None) -> None:
        super().__init__(msgspec.json.encode(value), status_code=status, headers=headers)

    @classmethod
    async def of_many(cls, count: int, make: Callable[[], Any], headers: dict[str, str]) -> "JsonResponse":
        """Make a value of `count` parts and encode it, in a thread where there are many."""
        return await computed(lambda: cls(make(), headers=headers)) if count > PORTION else cls(make(), headers=headers)

    def to_asgi_response(self, *args: Any, **kwargs: Any) -> ASGIApp:  # type: ignore[override]  # any ASGI application will do
        """Return the messages of the answer."""
        body = self.content
        headers = [JSON, (b"content-length", str(len(body)).encode()), *_encoded(self.headers)]
        status = self.status_code or OK

        async def send_it(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": status, "headers": headers})
            for start in range(0, len(body) - AT_ONCE, AT_ONCE):
                await send({"type": "http.response.body", "body": body[start : start + AT_ONCE], "more_body": True})
            last = (len(body) - 1) // AT_ONCE * AT_ONCE if body else 0
            await send({"type": "http.response.body", "body": body[last:], "more_body": False})

        return send_it


class JsonStream(Response[bytes]):
    """A body that is written while it goes out, because it is too large to be held."""

    def __init__(self, pieces: AsyncIterator[bytes], *, size: int | None = None, headers: dict[str, str] | None = None) -> None:
        """Send `pieces`, which have `size` bytes together, where that is known. A failure among them cuts the connection."""
        super().__init__(b"", headers=headers)
        self._pieces = pieces
        self._size = size

    @classmethod
    def of_lists(cls, answer: Any, *lists: Iterable[Any], headers: dict[str, str]) -> "JsonStream":
        """Send an answer whose last fields are empty lists, with `lists` in their places."""

        async def pieces() -> AsyncIterator[bytes]:
            first, *others = msgspec.json.encode(answer).rsplit(b"[]", len(lists))
            yield first
            for elements, after in zip(lists, others, strict=True):
                left, comma = iter(elements), b""
                yield b"["
                while some := await computed(_portion, left):
                    yield comma + some
                    comma = b","
                yield b"]" + after

        return cls(pieces(), headers=headers)

    def to_asgi_response(self, *args: Any, **kwargs: Any) -> ASGIApp:  # type: ignore[override]  # any ASGI application will do
        """Return the messages of the answer."""
        length = [] if self._size is None else [(b"content-length", str(self._size).encode())]
        headers = [JSON, *length, *_encoded(self.headers)]

        async def send_it(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": OK, "headers": headers})
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        return send_it


def _portion(left: Iterator[Any]) -> bytes:
    """Encode the next elements of a list, without its brackets; nothing at its end."""
    return msgspec.json.encode(list(islice(left, PORTION)))[1:-1]


def _encoded(headers: Any) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
