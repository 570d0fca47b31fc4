"""What all requests' bodies may hold of the host's memory together."""

import asyncio
from collections import deque
from typing import Any

from litestar import Request

from modelhost.config import ServerConfig
from modelhost.contract.errors import OverloadedError
from modelhost.http.routing.in_flight import in_flight_of

PATIENCE = 5.0
"""Seconds a body waits for memory; chosen, because clients and proxies wait at least ten for an answer."""

AGAIN = 2.0
"""Seconds after which a refused client is told to ask again."""


class Held:
    """Bytes that one request holds; given back once, by `release`."""

    def __init__(self, memory: "BodyMemory", size: int, caller: str) -> None:
        self._memory = memory
        self._caller = caller
        self.size = size

    def shrink(self, size: int) -> None:
        """Return all but `size`."""
        if size < self.size:
            self._memory.free(self.size - size, self._caller)
            self.size = size

    def release(self) -> None:
        """Return everything."""
        self.shrink(0)


class BodyMemory:
    """A number of bytes that are lent. Belongs to one event loop.

    A named caller is lent half of them at most, so that no key keeps others out; whoever holds nothing is lent any size as
    soon as that is free, and a body of more than all of it waits until it is alone.
    """

    @classmethod
    def of(cls, server: ServerConfig) -> "BodyMemory":
        """Return what the configuration grants."""
        return cls(int(server.body_memory_mb * 2**20))

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0
        self._of: dict[str, int] = {}
        self._waiting: deque[tuple[int, str, asyncio.Future[None]]] = deque()

    async def take(self, size: int, caller: str = "") -> Held:
        """Borrow bytes, first come first served. Raises `OverloadedError` where they do not come free in `PATIENCE` seconds."""
        size = min(size, self.most)
        if self._waiting or not self._fits(size, caller):
            await self._turn(size, caller)
        else:
            self._lend(size, caller)
        return Held(self, size, caller)

    async def _turn(self, size: int, caller: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, caller, turn))
        self._serve()  # who waits for a share of a caller's own holds nobody else up
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.shield(turn)
        except BaseException as error:
            if turn.done():
                self.free(size, caller)
            else:
                turn.cancel()
                self._waiting.remove((size, caller, turn))
                self._serve()
            if isinstance(error, TimeoutError):
                raise OverloadedError(
                    "the requests that are being answered hold all memory that bodies may have; ask again in a moment",
                    code="bodies_full",
                    retry_after=AGAIN,
                ) from None
            raise

    def free(self, size: int, caller: str) -> None:
        """Take bytes back."""
        self.used -= size
        self._of[caller] -= size
        if not self._of[caller]:
            del self._of[caller]
        self._serve()

    def _lend(self, size: int, caller: str) -> None:
        self.used += size
        self._of[caller] = self._of.get(caller, 0) + size

    def _fits(self, size: int, caller: str) -> bool:
        own = self._of.get(caller, 0)
        return self.used + size <= self.most and (not caller or not own or own + size <= self.most // 2)

    def _serve(self) -> None:
        for waiting in list(self._waiting):
            size, caller, turn = waiting
            if self.used + size > self.most:
                return
            if self._fits(size, caller):
                self._waiting.remove(waiting)
                self._lend(size, caller)
                turn.set_result(None)


async def hold(request: Request[Any, Any, Any], size: int) -> Held:
    """Borrow memory for a request until it has been answered. Raises `OverloadedError`."""
    in_flight = in_flight_of(request.scope)
    memory: BodyMemory = request.app.state.bodies
    held = await memory.take(size, in_flight.caller.name if in_flight.caller else "")
    in_flight.on_leave(held.release)
    return held
