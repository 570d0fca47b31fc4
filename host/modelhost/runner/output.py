"""What a worker prints: read as it comes, kept to its end, never waited for."""

import asyncio
import os

OUTPUT_BYTES = 64 * 1024
"""Bytes of a worker's raw output that are kept. Chosen, because a traceback and the lines of a runtime before it fit well."""

REST_SECONDS = 0.005
"""What a worker that fills its pipe is left alone for: chosen, because 13 MB/s of noise then cost the loop under 1 %."""


class Output:
    """The reading end of a worker's output. It alone owns that descriptor, and closes it once.

    A transport of the loop would not do: uvloop's closes a pipe twice, the second time perhaps when the number is another's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        self._loop = loop
        self._fd: int | None = fd
        self._resting: asyncio.TimerHandle | None = None
        self._kept = bytearray()
        os.set_blocking(fd, False)
        loop.add_reader(fd, self._read)

    def text(self) -> str:
        """Return the end of what was printed."""
        return self._kept.decode(errors="replace")

    def close(self) -> None:
        """Stop reading; may be called again."""
        fd, self._fd = self._fd, None
        if fd is None:
            return
        if self._resting:
            self._resting.cancel()
        self._loop.remove_reader(fd)
        os.close(fd)

    def _read(self) -> None:
        assert self._fd is not None
        try:
            data = os.read(self._fd, OUTPUT_BYTES)
        except BlockingIOError:
            return
        if not data:
            self.close()
            return
        self._kept += data
        del self._kept[:-OUTPUT_BYTES]
        if len(data) == OUTPUT_BYTES:
            self._loop.remove_reader(self._fd)
            self._resting = self._loop.call_later(REST_SECONDS, self._resume)

    def _resume(self) -> None:
        if self._fd is not None:
            self._loop.add_reader(self._fd, self._read)
