"""Decoded sound that a process holds: fifty kilobytes of FLAC can be hours, and many requests can hold hours at once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from modelhost.audio.samples import SAMPLE_RATE
from modelhost.contract.context import Context

SAMPLE_BYTES = 4
"""Bytes of one of `Samples`: float32."""


class SoundMemory:
    """Bytes of decoded sound that all recordings of a process may have together. Used from many threads.

    How long a recording is nobody knows before it has been decoded. So there is always room kept for the one that came first to
    become as long as any may be, and the others grow as far as the rest goes, or wait. Thus somebody always gets on, and who has
    been decoded waits for nobody.
    """

    def __init__(self, most: int, *, longest: float) -> None:
        """Lend `most` bytes, or what one recording of `longest` seconds takes if that is more."""
        self.longest = int(longest * SAMPLE_RATE + SAMPLE_RATE) * SAMPLE_BYTES
        self.most = max(most, self.longest)
        self.used = 0
        self._growing: list[Held] = []
        """Those that are being decoded, the first to come first."""
        self._changed = threading.Condition()

    @contextmanager
    def recording(self, context: Context | None = None) -> "Iterator[Held]":
        """Hold memory for one recording, until the end of the block."""
        held = Held(self, context)
        with self._changed:
            self._growing.append(held)
        if context:
            context.on_cancel(self._look)
        try:
            yield held
        finally:
            held.decoded()
            with self._changed:
                self.used -= held.size
                held.size = 0
                self._changed.notify_all()

    def _look(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def grow(self, held: "Held", size: int) -> None:
        """Wait until there is room for more of a recording; not once it is cancelled."""
        with self._changed:
            self._changed.wait_for(lambda: held.cancelled or self._has_room(held, size))
            self.used += size
            held.size += size

    def _has_room(self, held: "Held", size: int) -> bool:
        first = self._growing[0] if self._growing else held
        kept = 0 if held is first else max(0, self.longest - first.size)
        return self.used + kept + size <= self.most

    def end(self, held: "Held") -> None:
        """Take note that a recording will not grow any more."""
        with self._changed:
            if held in self._growing:
                self._growing.remove(held)
                self._changed.notify_all()


class Held:
    """What one recording holds."""

    def __init__(self, memory: SoundMemory, context: Context | None) -> None:
        self._memory = memory
        self._context = context
        self.size = 0

    @property
    def cancelled(self) -> bool:
        """Return whether nobody wants the recording any more."""
        return self._context is not None and self._context.cancelled

    def grow(self, size: int) -> None:
        """Wait for room for `size` bytes more."""
        self._memory.grow(self, size)

    def decoded(self) -> None:
        """Note that all of the recording is decoded."""
        self._memory.end(self)
