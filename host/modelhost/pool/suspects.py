"""Requests that have killed a worker: the third worker is not given to them."""

import hashlib
from collections import OrderedDict
from typing import Any

import msgspec

from modelhost.wire.frames import to_wire

DEATHS = 2
"""How many workers a request may kill before it is refused."""

REMEMBERED = 256
"""Requests that are kept in mind; the oldest is forgotten first."""


class Suspects:
    """Counts the deaths of workers that were serving one request alone, by the request's digest."""

    def __init__(self) -> None:
        self._deaths: OrderedDict[bytes, int] = OrderedDict()

    def blame(self, request: Any) -> None:
        """Note that a worker died serving this request and no other."""
        digest = _digest(request)
        self._deaths[digest] = self._deaths.pop(digest, 0) + 1
        while len(self._deaths) > REMEMBERED:
            self._deaths.popitem(last=False)

    def refuses(self, request: Any) -> bool:
        """Whether this request has killed too many workers. Costs nothing while none has died."""
        return bool(self._deaths) and self._deaths.get(_digest(request), 0) >= DEATHS


def _digest(request: Any) -> bytes:
    return hashlib.sha256(msgspec.msgpack.encode(request, enc_hook=to_wire)).digest()
