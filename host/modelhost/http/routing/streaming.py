"""Streamed answers: the status waits for the first event, a failure is told, and the line is kept alive."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, cast

import msgspec
from litestar import Request
from litestar.response import Stream

from modelhost.contract.errors import OverQuotaError
from modelhost.contract.event_stream import EventStream
from modelhost.http.routing.disconnect import CancelOnDisconnect
from modelhost.http.routing.errors import RequestCancelledError, error_event
from modelhost.http.routing.in_flight import in_flight_of
from modelhost.http.routing.json_body import host_of

HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that no proxy takes the line for dead."""

AHEAD = 256 * 1024
"""Bytes that may wait for a slow client before the model's call has to wait as well."""

SLOW_SECONDS = 5.0
"""Seconds in all that a client may hold up its model by taking less than is made, while others wait for the model's place.

Chosen: a client that plays what it hears is ahead by what the system's buffers hold, which is most of a minute of speech.
"""

LOOK = 0.5
"""Seconds between two looks at whether others wait."""

DONE = b"data: [DONE]\n\n"


def event(value: Any) -> bytes:
    """Make a server-sent event of a value."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class _Streamed:
    """Reads what is streamed in a task of its own, so that all that is ready leaves in one write.

    `told` says whether the stream has words for failures and for being alive, as server-sent events have.
    """

    def __init__(self, events: AsyncIterator[bytes], *, told: bool, wanted: Callable[[], bool] = lambda: False) -> None:
        """Begin; `wanted` says whether others wait for the place of the model that makes the events."""
        self._wanted = wanted
        self._held_up = 0.0
        self._told = told
        self._loop = asyncio.get_running_loop()
        self._events = events
        self._waiting = 0
        self._room: asyncio.Future[None] | None = None
        self._box: EventStream[bytes] = EventStream(on_taken=self._taken)
        self._answered = False
        self._last = self._loop.time()
        self._task = self._loop.create_task(self._fill())

    async def first(self, seconds: float) -> None:
        """Wait for the first event; raises the failure that comes in its place. From here on failures are events."""
        try:
            async with asyncio.timeout(seconds):
                await self._box.ready()
        except TimeoutError:
            pass
        except BaseException:
            self.close()
            raise
        self._answered = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        beat = self._loop.call_later(HEARTBEAT, self._beat)
        self._timer = beat
        try:
            while await self._box.ready():
                yield b"".join(self._box.take_all())
        finally:
            self._timer.cancel()
            self.close()

    def close(self) -> None:
        """Stop; does not wait, because a cancelled response may not."""
        self._task.cancel()
        self._box.close()

    def cancel(self) -> None:
        """Stop, and tell the client: an event where the status has gone out, else a failure like any other."""
        self._fail(RequestCancelledError())
        self._task.cancel()

    def _fail(self, error: Exception) -> None:
        if self._told and (self._answered or self._waiting):
            self._box.put(error_event(error))
            self._box.finish()
        else:
            self._box.finish(error)

    async def _fill(self) -> None:
        try:
            async with aclosing(cast(Any, self._events)) as events:
                async for chunk in events:
                    self._waiting += len(chunk)
                    self._last = self._loop.time()
                    self._box.put(chunk, len(chunk))
                    while self._waiting > AHEAD:
                        await self._wait_for_room()
        except Exception as error:
            self._fail(error)
        else:
            self._box.finish()

    async def _wait_for_room(self) -> None:
        """Wait until the client has taken more. Raises `OverQuotaError` where others have waited for it long enough."""
        room = self._room = self._loop.create_future()
        while not room.done():
            began = self._loop.time()
            await asyncio.wait({room}, timeout=LOOK)
            self._held_up += self._loop.time() - began
            if self._held_up > SLOW_SECONDS and self._wanted():
                raise OverQuotaError("this answer was read more slowly than it was made, while others waited for the model")

    def _taken(self, size: int) -> None:
        self._waiting -= size
        if self._room and not self._room.done():
            self._room.set_result(None)

    def _beat(self) -> None:
        quiet = self._loop.time() - self._last
        if quiet >= HEARTBEAT and self._told:
            self._box.put(b": still at work\n")  # clients that take a blank line for the end of an event get no empty one
            quiet = 0.0
        self._timer = self._loop.call_later(HEARTBEAT - quiet, self._beat)


def _others_wait(request: Request[Any, Any, Any]) -> Callable[[], bool]:
    """Return what says whether somebody waits for the model that answers a request."""

    def wanted() -> bool:
        context = in_flight_of(request.scope).context
        return context is not None and host_of(request).router.find(context.info.model).waiting > 0

    return wanted


async def event_stream(request: Request[Any, Any, Any], events: AsyncIterator[bytes], headers: dict[str, str]) -> Stream:
    """Answer with server-sent events, ready to go out. Until the first of them a failure is raised and has its true status."""
    return await _stream(request, _Streamed(events, told=True, wanted=_others_wait(request)), headers, "text/event-stream")


async def byte_stream(
    request: Request[Any, Any, Any], chunks: AsyncIterator[bytes], headers: dict[str, str], media_type: str = "text/plain"
) -> Stream:
    """Answer with bare bytes as they come. A failure after the first of them cuts the connection: there is no way to tell it."""
    return await _stream(request, _Streamed(chunks, told=False, wanted=_others_wait(request)), headers, media_type)


async def _stream(request: Request[Any, Any, Any], stream: _Streamed, headers: dict[str, str], media_type: str) -> Stream:
    in_flight_of(request.scope).cancel = stream.cancel
    with CancelOnDisconnect(request):
        try:
            await stream.first(host_of(request).config.server.hold_status)
        except BaseException:
            stream.close()
            raise
    return Stream(stream.__aiter__(), media_type=media_type, headers={**HEADERS, **headers})
