"""What a client sends while a model is at work on it: live audio, or live text."""

import asyncio

from modelhost.contract.event_stream import EventStream

AHEAD = 1024 * 1024
"""Bytes that may wait for the model; then the client has to wait."""


class LiveInput:
    """Goes into a context as its `input`."""

    def __init__(self) -> None:
        self.stream: EventStream[bytes] = EventStream(on_taken=self._taken, on_close=self._let_go)
        self._waiting = 0
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._room.set()
        self._over = False

    async def put(self, data: bytes) -> None:
        """Add bytes, when there is room for them or nothing else waits."""
        while self._waiting and self._waiting + len(data) > AHEAD and not self._over:
            self._room.clear()
            await self._room.wait()
        self._waiting += len(data)
        self.stream.put(data, len(data))

    def finish(self) -> None:
        """Say that nothing follows."""
        self.stream.finish()

    def _taken(self, size: int) -> None:
        self._loop.call_soon_threadsafe(self._free, size)

    def _free(self, size: int) -> None:
        self._waiting -= size
        self._room.set()

    def _let_go(self) -> None:
        self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        """Nobody reads any more: what is still put goes nowhere, and nobody waits."""
        self._over = True
        self._room.set()
