"""A plugin that logs in a loop: so many of its lines are written in a second, and the rest are counted."""

import threading
import time
from collections.abc import Callable
from typing import Any

from modelhost.contract.log import Level, Sink

MOST = 200
"""Lines of one worker in a second: chosen, because no plugin of ours comes near, and 60 kB a second fill no disk in a day."""

PERIOD = 1.0
"""Seconds until lines are written again, with a line on how many were dropped. Chosen, because a reader then misses no more than
a second."""


class LogLimit:
    """A sink in front of another; for any thread. `later` runs something once so many seconds have passed."""

    def __init__(
        self,
        sink: Sink,
        later: Callable[[float, Callable[[], None]], None],
        *,
        most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink
        self._later = later
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._begun = clock()
        self._written = 0
        self._dropped = 0

    def __call__(self, level: Level, event: str, facts: dict[str, Any]) -> None:
        """Pass a line on, or count it."""
        with self._lock:
            now = self._clock()
            if now - self._begun >= PERIOD:
                self._begun, self._written = now, 0
            self._written += 1
            over = self._written > self._most
            self._dropped += over
            first = over and self._dropped == 1
        if not over:
            self._sink(level, event, facts)
        elif first:
            self._later(PERIOD, self._tell)

    def _tell(self) -> None:
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        self._sink("warning", "log lines were dropped", {"lines": dropped, "reason": f"more than {self._most} in a second"})
