"""Threads that never keep the process from ending, used again and again.

The standard executors wait for their threads at exit, so a hung backend would hang the exit as well.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

Job = Callable[[], None]
T = TypeVar("T")


class DaemonThreads:
    """Runs each job in a thread of its own at once; idle threads are used first. A job must not raise."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._idle: list[queue.SimpleQueue[Job]] = []

    def run(self, job: Job) -> None:
        """Start the job; never blocks."""
        with self._lock:
            inbox = self._idle.pop() if self._idle else None
        if inbox is None:
            inbox = queue.SimpleQueue()
            threading.Thread(target=self._serve, args=(inbox,), name=self._name, daemon=True).start()
        inbox.put(job)

    def _serve(self, inbox: "queue.SimpleQueue[Job]") -> None:
        while True:
            inbox.get()()
            with self._lock:
                self._idle.append(inbox)


_threads = DaemonThreads("modelhost-blocking")


async def run_in_daemon_thread(work: Callable[[], T]) -> T:
    """Run what blocks in such a thread; when the wait is cancelled, the thread is left to itself."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if not done.done():
            done.set_exception(error) if error else done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits
            loop.call_soon_threadsafe(tell, result, error)

    _threads.run(run)
    return await done
