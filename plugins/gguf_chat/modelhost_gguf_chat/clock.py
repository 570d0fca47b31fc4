"""How long an answer takes, from when its engine has begun with it."""

import time

from modelhost import Timings


class Clock:
    """Runs from now on; told when the prompt has been read."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._read: float | None = None

    def read(self) -> None:
        """Note that the prompt has been read."""
        self._read = time.monotonic()

    def timings(self) -> Timings:
        """Return what it has taken until now."""
        now = time.monotonic()
        read = now if self._read is None else self._read
        return Timings(input_seconds=read - self._began, output_seconds=now - read)
