"""Keeps the turns of an event loop short, however much there is to read in them.

Who reads a stream that always has something for him never waits, and so no other task runs: forty such readers, each with a
window of events before him, made one turn of seconds. So all who read in a turn share the time it may take.
"""

import asyncio
import threading
import time

SECONDS = 0.005
"""What all readers of a turn may take together: chosen, because a request passes some ten turns on its way, and is to be through
in 0.1 s beside any load. Beside forty streams at full speed another's answer took 7.3 s without this, and takes 0.2 s with it."""


class _Turn(threading.local):
    """The turn of the loop that runs in this thread."""

    loop: asyncio.AbstractEventLoop | None = None
    readers = 0
    readers_before = 1


_turn = _Turn()


def slice_end() -> float:
    """Return when one who begins to read now has had his share of the running loop's turn, by `time.monotonic`."""
    loop = asyncio.get_running_loop()
    if _turn.loop is not loop:
        _turn.loop, _turn.readers, _turn.readers_before = loop, 0, 1
    if not _turn.readers:
        loop.call_soon(_end)
    _turn.readers += 1
    return time.monotonic() + SECONDS / max(_turn.readers, _turn.readers_before)


def _end() -> None:
    _turn.readers, _turn.readers_before = 0, _turn.readers
