"""Streamed answers: the status waits for the first event, a failure is told, and the line is kept alive."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from litestar import Request
from litestar.response import Stream

from modelhost.contract.errors import OverQuotaError
from modelhost.contract.event_stream import ClosableEvents, EventStream
from modelhost.http.routing.dialect import Dialect
from modelhost.http.routing.disconnect import CancelOnDisconnect
from modelhost.http.routing.errors import RequestCancelledError, as_modelhost_error, with_client_names
from modelhost.http.routing.in_flight import in_flight_of
from modelhost.http.routing.json_body import host_of

HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that no proxy takes the line for dead."""

AHEAD = 256 * 1024
"""Bytes that may wait for a slow client before the model's call has to wait as well."""

SLOW_SECONDS = 5.0
"""Seconds in all that a client may hold up its model by taking less than is made, while others wait for a slot of the model.

Chosen: a client that plays what it hears is ahead by what the system's buffers hold, which is most of a minute of speech.
"""

LOOK = 0.5
"""Seconds between two looks at whether others wait."""

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class _ResponseStream:
    """Reads what is streamed in a task of its own, so that all that is ready leaves in one write."""

    def __init__(
        self,
        chunks: ClosableEvents[bytes],
        *,
        dialect: Dialect | None,
        spelt: dict[str, str],
        others_wait: Callable[[], bool] = lambda: False,
    ) -> None:
        """Begin; `others_wait` says whether somebody waits for the model that makes the chunks.

        With a `dialect` the chunks are its events, among which it has words for failures and for being alive; `spelt` is how the
        client calls fields.
        """
        self._spelt = spelt
        self._others_wait = others_wait
        self._held_up = 0.0
        self._dialect = dialect
        self._loop = asyncio.get_running_loop()
        self._chunks = chunks
        self._waiting = 0
        self._room: asyncio.Future[None] | None = None
        self._output: EventStream[bytes] = EventStream(on_taken=self._taken)
        self._answered = False
        self._last = self._loop.time()
        self._task = self._loop.create_task(self._fill())

    async def first(self, seconds: float) -> None:
        """Wait for the first event; raises the failure that comes in its place. From here on failures are events."""
        try:
            async with asyncio.timeout(seconds):
                await self._output.ready()
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
            while await self._output.ready():
                yield b"".join(self._output.take_all())
        finally:
            self._timer.cancel()
            self.close()

    def close(self) -> None:
        """Stop; does not wait, because a cancelled response may not."""
        self._task.cancel()
        self._output.close()

    def cancel(self) -> None:
        """Stop, and tell the client: an event where the status has gone out, else a failure like any other."""
        self._fail(RequestCancelledError())
        self._task.cancel()

    def _fail(self, error: Exception) -> None:
        if self._dialect and (self._answered or self._waiting):
            self._output.put(self._dialect.error_event(with_client_names(as_modelhost_error(error), self._spelt)))
            self._output.finish()
        else:
            self._output.finish(error)

    async def _fill(self) -> None:
        try:
            async with aclosing(self._chunks) as chunks:
                async for chunk in chunks:
                    self._waiting += len(chunk)
                    self._last = self._loop.time()
                    self._output.put(chunk, len(chunk))
                    while self._waiting > AHEAD:
                        await self._wait_for_room()
        except Exception as error:
            self._fail(error)
        else:
            self._output.finish()

    async def _wait_for_room(self) -> None:
        """Wait until the client has taken more. Raises `OverQuotaError` where others have waited for it long enough."""
        room = self._room = self._loop.create_future()
        while not room.done():
            began = self._loop.time()
            await asyncio.wait({room}, timeout=LOOK)
            self._held_up += self._loop.time() - began
            if self._held_up > SLOW_SECONDS and self._others_wait():
                raise OverQuotaError("this answer was read more slowly than it was made, while others waited for the model")

    def _taken(self, size: int) -> None:
        self._waiting -= size
        if self._room and not self._room.done():
            self._room.set_result(None)

    def _beat(self) -> None:
        quiet = self._loop.time() - self._last
        if quiet >= HEARTBEAT and self._dialect:
            self._output.put(self._dialect.framing.sign_of_life)
            quiet = 0.0
        self._timer = self._loop.call_later(HEARTBEAT - quiet, self._beat)


def _others_wait(request: Request[Any, Any, Any]) -> Callable[[], bool]:
    """Return what says whether somebody waits for the model that answers a request."""

    def others_wait() -> bool:
        call = in_flight_of(request.scope).main_call
        return call is not None and bool(call.model) and host_of(request).router.find(call.model).waiting > 0

    return others_wait


async def event_stream(request: Request[Any, Any, Any], events: ClosableEvents[bytes], headers: dict[str, str]) -> Stream:
    """Answer with the dialect's events, ready to go out. Until the first a failure is raised and has its true status."""
    in_flight = in_flight_of(request.scope)
    stream = _ResponseStream(events, dialect=in_flight.dialect, spelt=in_flight.spelt, others_wait=_others_wait(request))
    return await _response(request, stream, headers, in_flight.dialect.framing.media_type)


async def byte_stream(
    request: Request[Any, Any, Any], chunks: ClosableEvents[bytes], headers: dict[str, str], media_type: str = "text/plain"
) -> Stream:
    """Answer with bare bytes as they come. A failure after the first of them cuts the connection: there is no way to tell it."""
    stream = _ResponseStream(chunks, dialect=None, spelt={}, others_wait=_others_wait(request))
    return await _response(request, stream, headers, media_type)


async def _response(request: Request[Any, Any, Any], stream: _ResponseStream, headers: dict[str, str], media_type: str) -> Stream:
    in_flight_of(request.scope).cancel = stream.cancel
    with CancelOnDisconnect(request):
        try:
            await stream.first(host_of(request).config.server.hold_status)
        except BaseException:
            stream.close()
            raise
    return Stream(stream.__aiter__(), media_type=media_type, headers={**HEADERS, **headers})
