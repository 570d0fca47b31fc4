"""Server-sent events, as they come in pieces of any size."""

import re
from collections.abc import AsyncGenerator

import httpx
from modelhost import BackendFailedError

MOST = 8 * 1024 * 1024
"""Bytes of one event. Chosen, because whoever sends more sends no answer."""

_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventReader:
    """Puts the pieces of a stream together; only the data of its events is of interest."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._data: list[bytes] = []
        self._size = 0
        self._after_return = False
        self._begun = False

    def feed(self, piece: bytes) -> list[bytes]:
        """Take the next bytes; returns the data of the events they complete. Raises ValueError for an event without end."""
        if self._after_return and piece[:1] == b"\n":  # the second half of a line's end
            piece = piece[1:]
            self._after_return = False
        if not piece:
            return []
        self._after_return = piece[-1:] == b"\r"
        *lines, rest = _LINE_END.split(piece)
        found = [data for line in lines if (data := self._line(line)) is not None]
        self._rest.append(rest)
        self._size += len(rest)
        if self._size > MOST:
            raise ValueError("an event without end")
        return found

    def _line(self, end: bytes) -> bytes | None:
        """Take the end of a line; returns an event's data where that is its end."""
        line, self._rest = b"".join((*self._rest, end)), []
        if not self._begun:
            line, self._begun = line.removeprefix(b"\xef\xbb\xbf"), True
        if not line:
            data, self._data, self._size = self._data, [], 0
            return b"\n".join(data) if data else None
        self._size += len(end)
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
        return None


async def server_events(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Yield the data of each event of an answer. Raises `BackendFailedError` where it is no stream of events."""
    if "json" in response.headers.get("content-type", ""):
        raise BackendFailedError("the upstream answers whole where a stream was asked for")
    reader = EventReader()
    async for piece in response.aiter_bytes():
        try:
            found = reader.feed(piece)
        except ValueError:
            raise BackendFailedError("the upstream's answer is no stream of events") from None
        for data in found:
            yield data
