"""Reads an async iterator on one event loop for a reader in another thread or on another loop."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from modelhost.contract.errors import BackendCrashedError
from modelhost.contract.event_stream import BatchedEvents, ClosableEvents, EventStream
from modelhost.contract.loop_turn import slice_end

T = TypeVar("T")

AHEAD = 64
"""Events the iterator may be ahead of the reader before it waits. Chosen, because a burst of a few tokens then costs no switch of
threads each."""


class ThreadBridge(Generic[T]):
    """Fills `events` from `source`, which is made and read on `loop`. Start it with `begin`, from any thread.

    Closing the stream cancels the reading. After that `settled` is
    called on `loop` when the iterator has really ended; an end of its own is the end of the stream.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        source: Callable[[], ClosableEvents[T]],
        *,
        on_cancel: Callable[[], None] | None = None,
        settled: Callable[[], None] | None = None,
    ) -> None:
        self.events: EventStream[T] = EventStream(on_taken=self._taken, on_close=self._cancel)
        self._loop = loop
        self._source = source
        self._on_cancel = on_cancel
        self._settled = settled
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False
        self._read = 0
        self._ahead = 0
        self._room: asyncio.Future[None] | None = None

    def begin(self) -> EventStream[T]:
        """Start reading; returns the stream."""
        self._on_loop(self._start)
        return self.events

    def _start(self) -> None:
        self._task = self._loop.create_task(self._work())
        self._task.add_done_callback(self._over)
        if self._cancelled:
            self._task.cancel()

    def _over(self, task: "asyncio.Task[None]") -> None:
        """End what was given up before it began: a task cancelled before its first step skips its `finally`."""
        if task.cancelled() and self._settled:
            self._settled()

    async def _work(self) -> None:
        error: BaseException | None = None
        source: ClosableEvents[T] | None = None
        until = slice_end()  # of an iterator that never waits: other calls get their turn
        try:
            source = self._source()
            batched = source if isinstance(source, BatchedEvents) else None
            async for event in source:
                self.events.put(event, 1)
                self._ahead += 1
                if batched is not None and batched.mid_batch:
                    continue
                if time.monotonic() >= until:
                    await asyncio.sleep(0)
                    until = slice_end()
                if self._ahead >= AHEAD:
                    self._room = self._loop.create_future()
                    await self._room
        except asyncio.CancelledError:
            # Whoever still reads must not take this for a complete answer.
            error = BackendCrashedError("the model was unloaded while it served this request")
        except BaseException as raised:
            error = raised
        finally:
            if source is not None:
                with contextlib.suppress(BaseException):
                    await source.aclose()
            stopped_by_reader = not self.events.finish(error)
            if stopped_by_reader and self._settled:
                self._settled()

    def _taken(self, weight: int) -> None:
        """Count on the reader's side, and tell the other only now and then: a hop between threads costs microseconds."""
        self._read += weight
        if self._read >= AHEAD // 2:
            amount, self._read = self._read, 0
            self._on_loop(self._grant, amount)

    def _grant(self, amount: int) -> None:
        self._ahead -= amount
        if self._room and not self._room.done() and self._ahead < AHEAD:
            self._room.set_result(None)

    def _cancel(self) -> None:
        self._cancelled = True
        if self._on_cancel:
            self._on_cancel()
        self._on_loop(lambda: self._task and self._task.cancel())

    def _on_loop(self, act: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nothing is read any more
            self._loop.call_soon_threadsafe(act, *arguments)
