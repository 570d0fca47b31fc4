"""A reply on its way to whoever speaks it, while it is still being written."""

import threading

from modelhost.contract.event_stream import EventStream


class LiveText(EventStream[bytes]):
    """Live text for a context's `input`. Each reader gets it from the beginning, so that a route's fallback misses no word."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[bytes] = []
        self._over = False
        self._reader: EventStream[bytes] = EventStream()
        self._writing = threading.Lock()

    def put(self, item: bytes, weight: int = 0) -> None:
        """Add a piece."""
        with self._writing:
            self._written.append(item)
            self._reader.put(item)

    def finish(self, error: BaseException | None = None) -> bool:
        """Mark the end."""
        with self._writing:
            self._over = True
            return self._reader.finish(error)

    def __aiter__(self) -> EventStream[bytes]:
        with self._writing:
            self._reader = EventStream()
            self._reader.put_all(self._written)
            if self._over:
                self._reader.finish()
            return self._reader
