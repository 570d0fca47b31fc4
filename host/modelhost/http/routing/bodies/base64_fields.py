"""Takes long base64 strings out of JSON that is too large for memory: they go to files, and the rest is small.

What is left is the same JSON with a short string in the place of each; it has not been checked, that is for who decodes it.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from modelhost.http.routing.bodies.incoming import AT_ONCE, SMALL
from modelhost.http.routing.bodies.media import Base64File, Media, not_base64
from modelhost.http.routing.errors import TooLargeError

_MARK = re.compile(rb'["{}\[\],:]')
"""What is looked at outside of strings."""

_TEXT = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
"""What a string has inside, as far as it is there."""

_LONGEST_ESCAPE = 6
"""Bytes: `\\u002b`, as some write a plus."""


class Lifter:
    """Reads one body; blocks, so use it from a thread."""

    def __init__(
        self, source: IO[bytes], names: frozenset[str], media: Media, *, most: int, refusal: Callable[[], TooLargeError]
    ) -> None:
        """Lift the strings of fields with these `names`; raises `refusal` when more than `most` bytes are left beside them."""
        self._source = source
        self._names = frozenset(name.encode() for name in names)
        self._media = media
        self._most = most
        self._refusal = refusal
        self._buffer = b""
        self._at = 0
        self._rest = bytearray()

    def run(self) -> bytes:
        """Return the rest. Raises `BadInputError` for a string that is no base64."""
        before = key = text = b""
        while self._keep_until(_MARK):
            mark = self._buffer[self._at : self._at + 1]
            if mark != b'"':
                self._keep(self._at + 1)
                key = text if mark == b":" else b""
            elif before == b":" and key in self._names and self._is_media():
                self._lift(key.decode())
            else:
                text = self._keep_string()
            before = mark
        return bytes(self._rest)

    def _more(self) -> bool:
        """Read on; False at the end."""
        data = self._source.read(AT_ONCE)
        self._buffer = self._buffer[self._at :] + data
        self._at = 0
        return bool(data)

    def _keep(self, end: int) -> None:
        self._rest += self._buffer[self._at : end]
        self._at = end
        if len(self._rest) > self._most:
            raise self._refusal()

    def _keep_until(self, pattern: "re.Pattern[bytes]") -> bool:
        """Keep what stands before the next match; False where there is none."""
        while (found := pattern.search(self._buffer, self._at)) is None:
            self._keep(len(self._buffer))
            if not self._more():
                return False
        self._keep(found.start())
        return True

    def _keep_string(self) -> bytes:
        """Keep the string that begins here; returns what is in it, where it is short."""
        begin = len(self._rest)
        self._keep(self._at + 1)
        while True:
            found = _TEXT.match(self._buffer, self._at)
            assert found is not None  # it matches nothing, too
            self._keep(found.end())
            if self._buffer[self._at : self._at + 1] == b'"':
                self._keep(self._at + 1)
                return bytes(self._rest[begin + 1 : -1]) if len(self._rest) - begin < SMALL else b""
            if not self._more():
                return b""

    def _is_media(self) -> bool:
        """Whether the string that begins here is long; what is a URL of another kind stays."""
        while len(self._buffer) - self._at < SMALL and self._more():
            pass
        start = self._buffer[self._at + 1 : self._at + SMALL]
        return b'"' not in start and b"://" not in start[:16]

    def _lift(self, name: str) -> None:
        self._at += 1
        with self._media.new() as file:
            decoder = Base64File(file, name)
            while (end := self._buffer.find(b'"', self._at)) < 0:
                piece = self._buffer[self._at :]
                cut = piece.rfind(b"\\", max(0, len(piece) - _LONGEST_ESCAPE + 1))
                whole = len(piece) if cut < 0 else cut
                decoder.feed(_unescaped(piece[:whole], name))
                self._at += whole
                if not self._more():
                    raise not_base64(name)
            decoder.feed(_unescaped(self._buffer[self._at : end], name))
            decoder.finish()
        self._at = end + 1
        self._rest += b'"' + self._media.lifted(Path(file.name), decoder.head).encode() + b'"'


def _unescaped(piece: bytes, name: str) -> bytes:
    if b"\\" not in piece:
        return piece
    try:
        return msgspec.json.decode(b'"' + piece + b'"', type=str).encode("ascii", "replace")
    except msgspec.DecodeError:
        raise not_base64(name) from None
