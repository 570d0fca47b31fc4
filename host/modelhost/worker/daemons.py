"""Threads that never keep the process from ending, used again and again.

The standard executors wait for their threads at exit, so a hung backend would hang the exit as well.
"""

import queue
import threading
from collections.abc import Callable

Job = Callable[[], None]


class Daemons:
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
