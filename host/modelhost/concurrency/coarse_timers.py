"""Timers for what almost never happens: cheap to set and to clear, and up to a twentieth of a second late.

A timer of the event loop costs microseconds to make and to cancel, twice for every request; one of these costs a dict entry.
"""

import asyncio
import threading
from collections.abc import Callable

TICK = 0.05
"""Seconds between two looks at the timers that are set. Chosen, because nobody notices a time limit that is 50 ms late."""


class CoarseTimers:
    """The coarse timers of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._set: dict[int, tuple[float, Callable[[], None]]] = {}
        self._next = 0
        self._ticking = False

    def set(self, seconds: float, ring: Callable[[], None]) -> int:
        """Call `ring` in `seconds` or a little later; returns the key to clear it with."""
        self._next += 1
        self._set[self._next] = (self.loop.time() + seconds, ring)
        if not self._ticking:
            self._ticking = True
            self.loop.call_later(TICK, self._tick)
        return self._next

    def clear(self, key: int) -> None:
        """Forget a timer; one that has gone off is forgotten already."""
        self._set.pop(key, None)

    def _tick(self) -> None:
        now = self.loop.time()
        due = [key for key, (at, _) in self._set.items() if at <= now]
        for key in due:
            timer = self._set.pop(key, None)
            if timer:
                try:
                    timer[1]()
                except Exception as error:  # one that fails must not keep the others from ringing
                    self.loop.call_exception_handler({"message": "a timer failed", "exception": error})
        if self._set:
            self.loop.call_later(TICK, self._tick)
        else:
            self._ticking = False


_of_thread = threading.local()


def coarse_timers() -> CoarseTimers:
    """Return the coarse timers of the running loop."""
    loop = asyncio.get_running_loop()
    found: CoarseTimers | None = getattr(_of_thread, "coarse_timers", None)
    if found is None or found.loop is not loop:
        found = _of_thread.coarse_timers = CoarseTimers(loop)
    return found
