"""Results that are kept to be given again: bounded in bytes, and the same is never computed twice at once."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

OVERHEAD = 256
"""Bytes counted for an entry beside its value: its key, its place in the table and Python's objects around both."""


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
        """Give a value; it counts as used."""
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


class InFlight:
    """What is being computed now, so that whoever wants the same can wait for it. Belongs to one event loop."""

    def __init__(self) -> None:
        self._running: dict[bytes, asyncio.Future[bytes | None]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def share(self, keys: Iterable[bytes]) -> tuple[list[bytes], dict[bytes, "asyncio.Future[bytes | None]"]]:
        """Divide keys into those the caller is to compute now, and those of others to wait for.

        The caller must `end` each of its own, whatever happens, before it waits for any of the others'.
        """
        ours, theirs = [], {}
        for key in keys:
            if (running := self._running.get(key)) is not None:
                theirs[key] = running
            else:
                self._running[key] = asyncio.get_running_loop().create_future()
                ours.append(key)
        return ours, theirs

    def end(self, key: bytes, value: bytes | None) -> None:
        """Give the value to those who wait; None says that it was not made, and that they have to see for themselves."""
        running = self._running.pop(key)
        if not running.done():  # as one would be whose waiter cancelled it
            running.set_result(value)
