"""Turns a backend's plain iterator into an async one, without the event loop ever waiting for the model."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from modelhost.concurrency.daemon_threads import DaemonThreads
from modelhost.contract.context import Context
from modelhost.contract.event_stream import EventStream

AHEAD = 64
"""Events a backend's iterator may be ahead of the reader before its thread waits. Chosen, because it is that of
`thread_bridge`."""

_threads = DaemonThreads("modelhost-pump")


async def iterate_in_thread(iterator: Iterator[Any], context: Context) -> AsyncIterator[Any]:
    """Yield what the iterator yields; a thread of ours advances it, and only that thread closes it.

    Closing this sets `context.cancelled` and returns when the backend has stopped, which is at its next event at the latest.
    """
    loop = asyncio.get_running_loop()
    stopped = loop.create_future()
    slots = threading.Semaphore(AHEAD)
    stream: EventStream[Any] = EventStream(on_taken=lambda _: slots.release())

    def over() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits
            loop.call_soon_threadsafe(stopped.set_result, None)

    def let_go() -> None:
        stream.close()
        slots.release()

    context.on_cancel(let_go)
    _threads.run(lambda: _advance(iterator, context, stream, slots, over))
    ended = False
    try:
        async for event in stream:
            yield event
        ended = True
    finally:
        if not ended:  # else its end is for the reader to judge, which a cancelled context would excuse
            context.cancel()
        await asyncio.shield(stopped)


def _advance(
    iterator: Iterator[Any], context: Context, stream: EventStream[Any], slots: threading.Semaphore, over: Callable[[], None]
) -> None:
    """Put into the stream what the iterator yields, no further ahead than there is room; close it, and say that it is over."""
    error: BaseException | None = None
    try:
        for event in iterator:
            stream.put(event, 1)
            slots.acquire()
            if context.cancelled:
                break
    except BaseException as raised:  # what a backend raises must never end our thread
        error = raised
    try:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
    except BaseException as raised:
        error = error or raised
    stream.finish(error)
    over()
