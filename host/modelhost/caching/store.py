"""Values by key, bounded in bytes."""

from collections import OrderedDict

OVERHEAD = 256
"""Bytes counted for an entry beside its value. Chosen, because its key, its slot in the table and Python's objects around both
take about as much."""


class Cache:
    """Values by key; where room is wanted, the longest unused leave."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        """What is kept now, with the overhead."""
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes) -> bytes | None:
        """Return a value; it counts as used."""
        value = self._kept.get(key)
        if value is not None:
            self._kept.move_to_end(key)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Keep a value; one that is larger than all the room is not kept."""
        self._drop(key)
        if len(value) + OVERHEAD > self.max_bytes:
            return
        self._kept[key] = value
        self.bytes += len(value) + OVERHEAD
        while self.bytes > self.max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        value = self._kept.pop(key, None)
        if value is not None:
            self.bytes -= len(value) + OVERHEAD
