"""Beginnings of conversations that have left the context: what llama.cpp knew of them, kept in memory, and in files.

Restoring a thousand tokens takes some 5 milliseconds where computing them takes seconds.
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple, Protocol

from modelhost_gguf_chat.engine.cells import common


class Prefix(NamedTuple):
    """A beginning, and all that is needed to go on from there."""

    salt: str
    """Whose it is: nobody else finds it."""
    tokens: "array[int]"
    state: bytearray
    """What llama.cpp wrote of the sequence."""


class Files(Protocol):
    """Where beginnings outlive the process."""

    def find(self, salt: str, tokens: "array[int]", *, whole: bool, more_than: int) -> Prefix | None:
        """Return the one with the most tokens in common, more than so many; `whole` takes only those of which every token is."""


class Prefixes:
    """Beginnings in memory, least recently used first to go; and behind them those in files."""

    def __init__(self, most_bytes: int, files: Files | None = None) -> None:
        """Keep at most so many bytes of states."""
        self._most_bytes = most_bytes
        self._files = files
        self._kept: OrderedDict[int, Prefix] = OrderedDict()
        self._numbers = count()
        self.bytes = 0
        """Of the states that are kept."""

    @property
    def wanted(self) -> bool:
        """Whether anything is kept here at all."""
        return self._most_bytes > 0

    def __iter__(self) -> Iterator[Prefix]:
        """Yield those in memory, most recently used first."""
        return iter([*reversed(self._kept.values())])

    def keep(self, prefix: Prefix) -> None:
        """Keep a beginning; those that it contains are given up, and it is if another contains it."""
        for number, other in [*self._kept.items()]:
            if other.salt != prefix.salt:
                continue
            shared = common(other.tokens, prefix.tokens, 0)
            if shared == len(prefix.tokens):
                self._kept.move_to_end(number)
                return
            if shared == len(other.tokens):
                self._drop(number)
        if len(prefix.state) > self._most_bytes:
            return
        self._kept[next(self._numbers)] = prefix
        self.bytes += len(prefix.state)
        while self.bytes > self._most_bytes:
            self._drop(next(iter(self._kept)))

    def find(self, salt: str, tokens: "array[int]", *, whole: bool, more_than: int) -> Prefix | None:
        """Return the beginning with the most tokens in common; see `Files.find`."""
        best, number = None, 0
        for at, prefix in self._kept.items():
            shared = common(prefix.tokens, tokens, 0) if prefix.salt == salt else 0
            if shared > more_than and not (whole and shared < len(prefix.tokens)):
                best, number, more_than = prefix, at, shared
        if best:
            self._kept.move_to_end(number)
        on_disk = self._files and self._files.find(salt, tokens, whole=whole, more_than=more_than)
        return on_disk or best

    def _drop(self, number: int) -> None:
        self.bytes -= len(self._kept.pop(number).state)
