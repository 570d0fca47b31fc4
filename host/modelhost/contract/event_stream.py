"""Events on their way from any thread to one reader, which is a coroutine or a plain thread."""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Generic, Protocol, Self, TypeVar

from modelhost.contract.loop_turn import slice_end

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class ClosableEvents(Protocol[T_co]):
    """Events as they come, to be closed by whoever reads them: an async generator, an `EventStream`, a running call."""

    def __aiter__(self) -> AsyncIterator[T_co]:
        """Return what gives the events."""
        ...

    def __anext__(self) -> Awaitable[T_co]:
        """Wait for the next event."""
        ...

    def aclose(self) -> Awaitable[object]:
        """Stop reading."""
        ...


_Waiter = threading.Event | tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]
"""Who waits: a thread, or a coroutine on a loop."""


class EventStream(Generic[T]):
    """An unbounded queue with an end, read by `for` in a thread or by `async for` on any event loop.

    What `context.host.call` gives, and what a hook may return: an engine's thread then puts the events of each step with
    `put_all`, which leave for the host together, and says the end with `finish`. Writers never block; who must not run ahead of
    the reader counts what `on_taken` reports. `on_taken(weight)` is called in the reader's thread for each value with a weight,
    `on_close()` once when the reader stops early, as when the call is cancelled: nothing is wanted any more.
    """

    def __init__(self, *, on_taken: Callable[[int], None] | None = None, on_close: Callable[[], None] | None = None) -> None:
        self._items: deque[tuple[T, int | None]] = deque()
        """Each with its weight; None for all but the last of those that were put together."""
        self._changed = threading.Lock()
        self._waiter: _Waiter | None = None
        self._finished = False
        self._error: BaseException | None = None
        self.stopped_early = False
        """Whether the reader ended it: then the writer may still be at work."""
        self.mid_batch = False
        """Whether the value that was taken last was put together with the next one."""
        self.keeps_batches = False
        """Whether the reader takes those without a pause, as who sends them on in one frame; else others have turns between."""
        self._slice_end: float | None = None
        """When a coroutine that always finds something has to let others have their turn."""
        self._on_taken = on_taken
        self._on_close = on_close

    def put(self, item: T, weight: int = 0) -> None:
        """Add one value; after the end it is dropped."""
        with self._changed:
            if self._finished:
                return
            self._items.append((item, weight))
            waiter = self._wake()
        _resolve(waiter)

    def put_all(self, items: list[T], weight: int = 0) -> None:
        """Add values that arrived together; `weight` is of all of them and reported with the last."""
        if not items:
            return
        _resolve(self._add(items, weight))

    @staticmethod
    def put_each(batches: "Iterable[tuple[EventStream[T], list[T], int]]") -> None:
        """Add to each stream what arrived together for it, with its weight; coroutines that wait are woken once, together.

        For an engine that gives many calls a step's events: waking a loop takes as long as choosing a token.
        """
        loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for stream, items, weight in batches:
            waiter = stream._add(items, weight) if items else None
            if isinstance(waiter, tuple):
                loops.setdefault(waiter[0], []).append(waiter[1])
            else:
                _resolve(waiter)
        for loop, futures in loops.items():
            with contextlib.suppress(RuntimeError):  # a loop that has closed: nobody waits any more
                loop.call_soon_threadsafe(_set_all, futures)

    def _add(self, items: list[T], weight: int) -> "_Waiter | None":
        """Add values; returns who waits for them."""
        with self._changed:
            if self._finished:
                return None
            self._items.extend((item, None) for item in items[:-1])
            self._items.append((items[-1], weight))
            return self._wake()

    def finish(self, error: BaseException | None = None) -> bool:
        """Mark the end; the reader gets what is there and then the error, if there is one.

        False when it had ended before: only the first end counts, and it may have been the reader's.
        """
        with self._changed:
            if self._finished:
                return False
            self._finished = True
            self._error = error
            waiter = self._wake()
        _resolve(waiter)
        return True

    def fail(self, error: BaseException) -> None:
        """End the stream with an error from the reader's side: the writer is told to stop."""
        if self.finish(error):
            self._stop_early()

    def close(self) -> None:
        """Stop reading: what is left is dropped, and a writer that has not ended yet is told."""
        with self._changed:
            told = self._finished
            self._finished = True
            self._items.clear()
            waiter = self._wake()
        _resolve(waiter)
        if not told:
            self._stop_early()

    def _stop_early(self) -> None:
        self.stopped_early = True
        if self._on_close:
            self._on_close()

    async def aclose(self) -> None:
        """Stop reading; there so that `contextlib.aclosing` works."""
        self.close()

    def _wake(self) -> "_Waiter | None":
        waiter, self._waiter = self._waiter, None
        return waiter

    def take_all(self) -> list[T]:
        """Return everything that is there now, without waiting."""
        taken = []
        while self._items:
            item, weight = self._items.popleft()
            taken.append(item)
            if weight and self._on_taken:
                self._on_taken(weight)
        return taken

    def _take(self) -> T:
        item, weight = self._items.popleft()
        self.mid_batch = weight is None
        if weight and self._on_taken:
            self._on_taken(weight)
        return item

    async def ready(self) -> bool:
        """Wait until there is a value; False at the end. Raises the error the stream ended with."""
        while not self._items:
            if self._finished:
                if self._error:
                    raise self._error
                return False
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            with self._changed:
                if self._items or self._finished:
                    continue
                self._waiter = (loop, future)
            await future
        return True

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        if self._slice_end is None or not self._items:
            self._slice_end = slice_end() if self._items or await self.ready() else None
        elif time.monotonic() >= self._slice_end and not (self.mid_batch and self.keeps_batches):
            self._slice_end = None
            await asyncio.sleep(0)
            return await self.__anext__()
        if self._slice_end is None:
            raise StopAsyncIteration
        return self._take()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        while not self._items and not self._finished:
            woken = threading.Event()
            with self._changed:
                if self._items or self._finished:
                    break
                self._waiter = woken
            woken.wait()
        if self._items:
            return self._take()
        if self._error:
            raise self._error
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class BatchedEvents(Generic[T]):
    """The events of a hook, that know which of them were put together; an async iterator, to be closed."""

    __slots__ = ("_events", "source")

    def __init__(self, events: Callable[["BatchedEvents[T]"], AsyncGenerator[T, None]]) -> None:
        """Read `events`, which is given this object to say the `source` to once there is one."""
        self.source: EventStream[T] | None = None
        self._events = events(self)

    @property
    def mid_batch(self) -> bool:
        """Whether the event that came last was put together with the next one, so that nobody is to pause between the two."""
        return self.source is not None and self.source.mid_batch

    def __aiter__(self) -> AsyncIterator[T]:
        return self._events  # not itself: that would cost each event a step

    def __anext__(self) -> Awaitable[T]:
        return self._events.__anext__()

    async def aclose(self) -> None:
        """Stop reading."""
        await self._events.aclose()


def _resolve(waiter: _Waiter | None) -> None:
    if waiter is None:
        return
    if isinstance(waiter, threading.Event):
        waiter.set()
        return
    loop, future = waiter
    if asyncio._get_running_loop() is loop:  # its own thread: no need for the self-pipe, which costs a system call
        _set(future)
    else:
        try:
            loop.call_soon_threadsafe(_set, future)
        except RuntimeError:  # the reader's loop has closed: nobody waits any more
            return


def _set_all(futures: "list[asyncio.Future[None]]") -> None:
    for future in futures:
        _set(future)


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
