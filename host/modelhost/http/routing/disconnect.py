"""Stops the work of a plain (not streamed) request when its client leaves."""

import asyncio
from types import TracebackType
from typing import Any

from litestar import Request

from modelhost.concurrency.coarse_timers import coarse_timers
from modelhost.http.routing.errors import ClientGoneError

AFTER = 0.005
"""Seconds before a watch may begin: answers that are there by then need none, and it would cost more than they do."""


class CancelOnDisconnect:
    """`with CancelOnDisconnect(request):` cancels the block's task, and raises `ClientGoneError`, when the client leaves."""

    def __init__(self, request: Request[Any, Any, Any]) -> None:
        self._receive = request.receive
        self._gone = False
        self._watching: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._timer = coarse_timers().set(AFTER, self._begin)

    def _begin(self) -> None:
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        assert self._task is not None
        self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        coarse_timers().clear(self._timer)
        if self._watching:
            self._watching.cancel()
        if self._gone and isinstance(error, asyncio.CancelledError):
            raise ClientGoneError("the client has left") from None
