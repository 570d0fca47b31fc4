"""WAV's header, written for what goes up and read off what comes down."""

import struct
from typing import NamedTuple

SAMPLE_BYTES = 2
"""Bytes of a sample: 16 bits, mono, the PCM of the contract."""

MOST_HEADER = 64 * 1024
"""Bytes within which the sound must begin. Chosen, because tags of recorders and editors fit."""

LEAST_RATE, MOST_RATE = 8_000, 192_000
"""Hz, of the contract's sound."""

_UNKNOWN = 0x7FFFF000
"""Bytes; a longer length means that the writer did not know it. Chosen, because writers into pipes use 0x7FFFFFFF and 0xFFFFFFFF,
less what stands before the sound."""

_PCM, _EXTENSIBLE = 1, 0xFFFE
"""Format tags of WAV files (RFC 2361, appendix A; `WAVE_FORMAT_EXTENSIBLE`)."""


class Sound(NamedTuple):
    """Where the samples begin in a WAV file, at how many Hz, and how many bytes of them there are: None for to the end."""

    begin: int
    rate: int
    size: int | None


def header(rate: int, size: int) -> bytes:
    """Return the 44 bytes before `size` bytes of 16-bit mono PCM at `rate` Hz."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, _PCM, 1, rate, rate * SAMPLE_BYTES, SAMPLE_BYTES, 8 * SAMPLE_BYTES)
    return struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + form + struct.pack("<4sI", b"data", size)


def find_sound(head: bytes) -> Sound | None:
    """Find the samples in the beginning of a WAV file; None where it must be longer to tell.

    Raises ValueError for what is no WAV file, or not 16-bit mono PCM.
    """
    if len(head) < 12:
        return None
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        raise ValueError("no WAV file")
    at, rate = 12, 0
    while len(head) >= at + 8:
        name, size = struct.unpack_from("<4sI", head, at)
        at += 8
        if name == b"data":
            if not rate:
                raise ValueError("sound before its format")
            return Sound(at, rate, size if 0 < size < _UNKNOWN else None)
        if name == b"fmt " and len(head) >= at + 16:
            rate = _rate(head, at)
        at += size + size % 2
    if at > MOST_HEADER or len(head) > MOST_HEADER:
        raise ValueError("no sound in it")
    return None


def _rate(head: bytes, at: int) -> int:
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", head, at)
    if kind not in (_PCM, _EXTENSIBLE) or channels != 1 or bits != 8 * SAMPLE_BYTES:
        raise ValueError("not 16-bit mono PCM")
    if not LEAST_RATE <= rate <= MOST_RATE:
        raise ValueError(f"{rate} Hz, which is no rate of speech")
    return int(rate)
