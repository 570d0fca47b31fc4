"""The threads for work on what is large, beside the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

threads = ThreadPoolExecutor(4, thread_name_prefix="modelhost-files")
"""For files; of their own, so that a slow disk stops nothing else."""

_computing = ThreadPoolExecutor(1, thread_name_prefix="modelhost-computing")
"""For what computes. One, because each step of it holds the interpreter: with several the loop would wait for all of them."""


_parsing = ThreadPoolExecutor(1, thread_name_prefix="modelhost-parsing")
"""For what computes while it reads a file: one for the same reason, and another, so that what is small does not wait for it."""


async def in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Read or write files in a thread. Returns when that has ended, also when cancelled: it may still write."""
    return await _ended(asyncio.get_running_loop().run_in_executor(threads, work, *arguments))


async def computed(work: Callable[..., T], *arguments: Any) -> T:
    """Compute in a thread, in turn with others. No single call in it may take long: what is large is cut to pieces there, too."""
    return await _ended(asyncio.get_running_loop().run_in_executor(_computing, work, *arguments))


async def parsed(work: Callable[..., T], *arguments: Any) -> T:
    """Read a file in a thread and compute on the way, in turn with others who do."""
    return await _ended(asyncio.get_running_loop().run_in_executor(_parsing, work, *arguments))


async def _ended(running: "asyncio.Future[T]") -> T:
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # nobody else will look at it
        raise
