"""A bound on the processor time of what a stranger wrote in Python, such as a chat template that comes with a model.

Another thread watches the clock and raises in the midst of the work, so that the bound holds for code that looks at no clock.
What the interpreter computes in one operation (`10 ** 10**9`) is over first.
"""

import ctypes
import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

AGAIN = 0.05
"""Seconds between two looks at the clock once the work should be over. Chosen, because a bound is of seconds, and what catches
every exception is interrupted again."""

T = TypeVar("T")


class ProcessorTimeError(Exception):
    """Work has taken more processor time than it may."""


def within_processor_time(seconds: float, work: Callable[[], T]) -> T:
    """Do work on this thread, and return what it returns. Raises `ProcessorTimeError` once it has computed for so long.

    Where a system has no clock of a thread (macOS), the time on the wall counts.
    """
    bound = _Bound(seconds)
    try:
        try:
            _watcher.watch(bound)
            return work()
        finally:
            bound.lift()
    except _ExpiredError:
        bound.lift()  # the first may have been interrupted itself
        raise ProcessorTimeError(f"this takes more than {seconds:g} s of processor time") from None


class _ExpiredError(BaseException):
    """Raised within the work, wherever it is."""


class _Bound:
    """The time that is left to the thread that makes it.

    No lock is between that thread and the watcher: an exception in the midst of taking one would leave it taken.
    """

    def __init__(self, seconds: float) -> None:
        self._thread = ctypes.c_ulong(threading.get_ident())
        self._now = _clock_of_this_thread()
        self._until = self._now() + seconds
        self._interrupting = False
        self.lifted = False

    def left(self) -> float:
        """Return the seconds until the next look at the clock: the work cannot be too long before."""
        return max(self._until - self._now(), AGAIN)

    def interrupt(self) -> None:
        """Raise in the work, if its time is up; the watcher's."""
        self._interrupting = True
        if not self.lifted and self._now() >= self._until:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(self._thread, ctypes.py_object(_ExpiredError))
        self._interrupting = False

    def lift(self) -> None:
        """Be interrupted no more; an exception that was set and has not been raised yet never is."""
        self.lifted = True
        while self._interrupting:
            time.sleep(0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(self._thread, None)


class _Watcher:
    """The one thread that looks at the clocks of all others, when the first of them may be due."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._earlier = threading.Event()
        self._bounds: list[_Bound] = []
        self._due = math.inf
        self._thread: threading.Thread | None = None

    def watch(self, bound: _Bound) -> None:
        """Watch it until it is lifted."""
        due = time.monotonic() + bound.left()
        with self._lock:
            self._bounds.append(bound)
            if due < self._due:
                self._due = due
                self._earlier.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="modelhost-processor-time", daemon=True)
                self._thread.start()

    def _look(self) -> None:
        while True:
            with self._lock:
                self._bounds = [bound for bound in self._bounds if not bound.lifted]
                bounds = list(self._bounds)
            for bound in bounds:
                bound.interrupt()
            with self._lock:
                left = min((bound.left() for bound in self._bounds), default=math.inf)
                self._due = time.monotonic() + left
                self._earlier.clear()
            self._earlier.wait(left if left < math.inf else None)


_watcher = _Watcher()


def _clock_of_this_thread() -> Callable[[], float]:
    """Return a clock of the processor time of the calling thread, which any thread may read."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return time.monotonic
    clock = time.pthread_getcpuclockid(threading.get_ident())
    return lambda: time.clock_gettime(clock)
