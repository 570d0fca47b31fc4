"""The threads for work on what is large, beside the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

threads = ThreadPoolExecutor(4, thread_name_prefix="modelhost-large")
"""Few, because they share the interpreter with the event loop; of their own, so that a slow disk stops nothing else."""


async def in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Do work in a thread. Returns when it has ended, also when cancelled: nothing may write into a folder that was removed.

    No single call in it may take long, which holds the interpreter: what is large is cut to pieces there, too.
    """
    running = asyncio.get_running_loop().run_in_executor(threads, work, *arguments)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # nobody else will look at it
        raise
