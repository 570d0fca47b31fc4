"""A look at an MP4 file before FFmpeg opens it.

FFmpeg builds an index of every sample of every track as it opens a file, and a table of a few bytes may claim millions of them: a
file of 20 kB then takes gigabytes, before anybody can ask how many tracks there are.
"""

import struct
from collections.abc import Iterator
from typing import IO

MAX_SAMPLES = 4_000_000
"""Of all tracks and their tables of times together. Chosen, because a recording of twelve hours, in AAC at 48 kHz, has that
many."""

MAX_BOXES = 200_000
"""Boxes of all kinds. Chosen, because a fragmented file has some for every second or so, and a day has 86,400."""

_NESTED = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})
_COUNTS = {b"stsz": 8, b"stz2": 8, b"stts": 4, b"ctts": 4}
"""Boxes that say how many samples there are, and where in them that number stands."""

_BEGINNINGS = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"sidx", b"moof", b"pnot"})

_HEAD = 8
"""Bytes of a box's size and type (ISO/IEC 14496-12 §4.2)."""
_LONGEST_TABLE = 16 * 1024 * 1024
"""Bytes of a table of times that are looked at. Chosen, because a longer one is of more samples than are allowed."""


def is_modest(file: IO[bytes], *, tracks: int) -> bool:
    """Return whether a file is no MP4, or one of so few `tracks`, samples and boxes that FFmpeg may open it. Rewinds the file."""
    file.seek(0)
    head = file.read(_HEAD)
    modest = head[4:] not in _BEGINNINGS or _is_modest(file, tracks)
    file.seek(0)
    return modest


def _is_modest(file: IO[bytes], tracks: int) -> bool:
    found = samples = 0
    for number, (kind, start, end) in enumerate(_boxes(file, 0, file.seek(0, 2), depth=0)):
        found += kind == b"trak"
        samples += _claimed(file, kind, start, end) if kind in _COUNTS else 0
        if found > tracks or samples > MAX_SAMPLES or number > MAX_BOXES:
            return False
    return True


def _boxes(file: IO[bytes], start: int, end: int, *, depth: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of every box, those inside others after them."""
    while start + _HEAD <= end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(_HEAD))
        body = start + _HEAD
        if size == 1:
            size, body = int.from_bytes(file.read(8)), body + 8
        stop = end if size == 0 else min(start + size, end)
        if stop < body:
            return
        yield kind, body, stop
        if kind in _NESTED and depth < len(_NESTED):
            yield from _boxes(file, body, stop, depth=depth + 1)
        start = stop


def _claimed(file: IO[bytes], kind: bytes, start: int, end: int) -> int:
    file.seek(start + _COUNTS[kind])
    count = int.from_bytes(file.read(4))
    if kind in (b"stsz", b"stz2"):
        return count
    # A table of times: pairs of how many samples, and how long each.
    table = file.read(min(8 * count, end - file.tell(), _LONGEST_TABLE))
    return sum(pair[0] for pair in struct.iter_unpack(">II", table[: len(table) // 8 * 8]))
