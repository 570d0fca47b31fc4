"""What kind of recording bytes are, by how they begin. No decoder is needed, so the host can ask before a worker reads them."""

from modelhost.contract.structs import Struct

LONGEST_BEGINNING = 64 * 1024
"""Bytes after which nothing more is waited for. Chosen, because what stands in a WAV file before its sound is seldom longer."""

_KIND_OF = {
    b"RIFF": "wav",
    b"RF64": "wav",
    b"RIFX": "wav",
    b"OggS": "ogg",
    b"fLaC": "flac",
    b"\x1a\x45\xdf\xa3": "webm",
    b"ID3\2": "mp3",
    b"ID3\3": "mp3",
    b"ID3\4": "mp3",
    b"FORM": "aiff",
    b"caff": "caf",
    b"#!AM": "amr",
    b".snd": "au",
    b"riff": "w64",
    b"\x30\x26\xb2\x75": "wma",
    b"wvpk": "wv",
    b"MAC ": "ape",
}
"""The first four bytes of a file. Raw PCM begins so once in two hundred million times."""

_MPEG_1, _LAYER_3, _LAYER_1 = 3, 1, 3
"""Bits of an MPEG audio frame's header that stand for MPEG-1, layer III and layer I (RFC 3119 §4.1, ISO/IEC 11172-3 §2.4.2.3)."""
_BIT_RATES = {  # kbit/s; ISO 11172-3 and 13818-3
    (True, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


def kind_of(beginning: bytes, *, complete: bool = True) -> str | None:
    """Return what begins like this (`wav`, `mp3`, `mp4`, …); an empty string for what may be raw PCM.

    None where that cannot be said before more has come; nothing more comes where it is `complete`.
    """
    if len(beginning) < 8 and not complete:
        return None
    if beginning[4:8] == b"ftyp":
        return "mp4"
    if kind := _KIND_OF.get(beginning[:4]):
        return kind
    for name, length_at in (("mp3", _mpeg_frame), ("aac", _adts_frame)):
        length = length_at(beginning)
        if not length:
            continue
        if len(beginning) < length + 8:  # one such head may be chance, two where they belong are not
            return "" if complete else None
        if length_at(beginning[length:]) and beginning[1] == beginning[length + 1]:
            return name
    return ""


def _mpeg_frame(head: bytes) -> int:
    """Return the length of an MPEG audio frame in bytes; 0 where none begins."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bit_rate, rate = head[2] >> 4, head[2] >> 2 & 3
    if version not in _RATES or not layer or bit_rate in (0, 15) or rate == 3 or head[3] & 3 == 2:
        return 0
    bits, hertz = _BIT_RATES[version == _MPEG_1, layer][bit_rate - 1] * 1000, _RATES[version][rate]
    padding = head[2] >> 1 & 1
    if layer == _LAYER_1:
        return (12 * bits // hertz + padding) * 4
    return (72 if layer == _LAYER_3 and version != _MPEG_1 else 144) * bits // hertz + padding


def _adts_frame(head: bytes) -> int:
    """Return the length of a frame of AAC in ADTS in bytes; 0 where none begins."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return length if length > 7 else 0


class WavHead(Struct):
    """What stands before the sound of a WAV file."""

    pcm: bool
    """Whether the sound is 16-bit mono PCM, of a rate that is taken live."""
    sample_rate: int
    start: int
    """Bytes before the sound."""
    length: int | None
    """Bytes of sound; None where whoever wrote the file did not know."""


_UNREADABLE = WavHead(pcm=False, sample_rate=0, start=0, length=None)


def wav_head(beginning: bytes) -> WavHead | None:
    """Read the head of a WAV file; None where the sound has not begun yet. What is no such head is not `pcm`."""
    if len(beginning) < 12:
        return None
    if beginning[:4] != b"RIFF" or beginning[8:12] != b"WAVE":
        return _UNREADABLE
    at, described = 12, b""
    while len(beginning) >= at + 8:
        name, length = beginning[at : at + 4], int.from_bytes(beginning[at + 4 : at + 8], "little")
        if name == b"data":
            return _head(described, at + 8, length)
        if name == b"fmt ":
            described = beginning[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    return None if len(beginning) < LONGEST_BEGINNING else _UNREADABLE


def _head(described: bytes, start: int, length: int) -> WavHead:
    if len(described) < 16:
        return _UNREADABLE
    kind, channels, rate, bits = (int.from_bytes(described[a:b], "little") for a, b in ((0, 2), (2, 4), (4, 8), (14, 16)))
    if kind == 0xFFFE:  # extensible: the kind itself stands further on
        kind = int.from_bytes(described[24:26], "little")
    known = 0 < length < 2**31 - 2**16  # what streams write in place of it lies above
    return WavHead(
        pcm=(kind, channels, bits) == (1, 1, 16) and 8_000 <= rate <= 192_000,
        sample_rate=rate,
        start=start,
        length=length if known else None,
    )
