"""Requests that have killed a worker: the third worker is not given to them."""

import hashlib
from collections import OrderedDict
from typing import Any

import msgspec

from modelhost.wire.frames import to_wire

DEATHS = 2
"""How many workers a request may kill before it is refused."""

MEMORY_SECONDS = 600.0
"""How long a death is held against a request: workers also die of what somebody else did."""

REMEMBERED = 256
"""Requests that are kept in mind; the oldest is forgotten first."""


class Suspects:
    """Remembers the deaths of workers that were serving one request alone, by the request's digest."""

    def __init__(self) -> None:
        self._deaths: OrderedDict[bytes, list[float]] = OrderedDict()

    def blame(self, request: Any, now: float) -> None:
        """Note that a worker died serving this request and no other."""
        digest = _digest(request)
        self._deaths[digest] = [*self._deaths.pop(digest, []), now]
        while len(self._deaths) > REMEMBERED:
            self._deaths.popitem(last=False)

    def refuses(self, request: Any, now: float) -> bool:
        """Whether this request has killed too many workers of late. Costs nothing while none has died."""
        if not self._deaths:
            return False
        deaths = self._deaths.get(_digest(request), [])
        return sum(now - death < MEMORY_SECONDS for death in deaths) >= DEATHS


def _digest(request: Any) -> bytes:
    return hashlib.sha256(msgspec.msgpack.encode(request, enc_hook=to_wire)).digest()
