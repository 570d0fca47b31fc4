"""Encodes PCM while it comes, so that a client hears the first word before the last is made."""

from collections.abc import Iterable

import av
from av import AudioFrame, AudioResampler
from av.audio.stream import AudioStream

from modelhost.audio.pcm import PcmFrames
from modelhost.contract.errors import BadInputError
from modelhost.contract.structs import Struct
from modelhost.contract.types.synthesize import MEDIA_TYPES, AudioFormat

_OPTIONS = {"fflags": "+bitexact+flush_packets"}
"""Every packet leaves at once, and nothing has a random number or a version in it: the same sound is the same file."""


class _Codec(Struct):
    container: str
    encoder: str
    rates: tuple[int, ...] = ()
    """Hz that the codec can, lowest first; empty for any."""
    options: dict[str, str] = {}
    """Of FFmpeg's muxer."""
    settings: dict[str, str] = {}
    """Of the encoder: the effort at which speech still sounds the same, at half the time of the defaults or less."""
    lossy: bool = False


_CODECS = {
    "pcm": _Codec(container="s16le", encoder="pcm_s16le"),
    "wav": _Codec(container="wav", encoder="pcm_s16le"),
    "flac": _Codec(container="flac", encoder="flac", options={"metadata_header_padding": "0"}),
    "mp3": _Codec(
        container="mp3",
        encoder="libmp3lame",
        rates=(8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
        settings={"compression_level": "7"},
        options={"id3v2_version": "0", "write_xing": "0"},  # both are filled in at the end, which a stream cannot do
        lossy=True,
    ),
    "opus": _Codec(
        container="ogg",
        encoder="libopus",
        rates=(8000, 12_000, 16_000, 24_000, 48_000),
        settings={"compression_level": "5"},
        options={"page_duration": "20000"},  # microseconds: every packet leaves at once, instead of a second's worth together
        lossy=True,
    ),
    "aac": _Codec(
        container="adts",
        encoder="aac",
        settings={"aac_coder": "fast"},
        rates=(8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000),
        lossy=True,
    ),
}


class Encoder:
    """Encodes one stream of 16-bit little-endian mono PCM.

    Give it pieces of any length with `encode`, then call `finish` once; the bytes they return, one after the other, are the file.
    How the PCM is cut changes no bit of it. A stream of no sound gives a file of none, which for `mp3`, `aac` and `pcm` has no
    bytes. Since what has left cannot be changed, WAV says 0xFFFFFFFF for its length, and MP3 and AAC begin with the little
    silence that their codecs need (about 1100 samples of their rate).
    """

    def __init__(self, format: AudioFormat, sample_rate: int, to_rate: int | None = None) -> None:  # noqa: A002
        """Prepare for `format`, with PCM of `sample_rate` Hz, to give `to_rate` Hz or the next rate that the codec can."""
        codec = _CODECS.get(format)
        if codec is None:
            raise BadInputError(f"no such audio format; there are {', '.join(_CODECS)}", param="format")
        self.media_type = MEDIA_TYPES[format]
        """What HTTP calls the format."""
        self.sample_rate = _rate(codec, to_rate or sample_rate)
        """Hz of what comes out."""
        self._frames = PcmFrames(sample_rate)
        self._sink = _Sink()
        self._container = av.open(self._sink, mode="w", format=codec.container, options={**_OPTIONS, **codec.options})
        self._stream = self._add_stream(codec)
        self._container.start_encoding()
        context = self._stream.codec_context
        self._resampler = AudioResampler(
            format=context.format, layout="mono", rate=self.sample_rate, frame_size=context.frame_size or None
        )

    def _add_stream(self, codec: _Codec) -> AudioStream:
        stream = self._container.add_stream(codec.encoder, rate=self.sample_rate, layout="mono")
        assert isinstance(stream, AudioStream)
        stream.options = dict(codec.settings)
        if codec.lossy:
            stream.bit_rate = _bit_rate(self.sample_rate)
        return stream

    def encode(self, pcm: bytes) -> bytes:
        """Take the next piece and give the bytes that are ready, which may be none; the first come with the file's head."""
        for frame in self._frames.feed(pcm):
            self._write(self._resampler.resample(frame))
        return self._sink.take()

    def finish(self) -> bytes:
        """Return the rest; half a sample at the end is left out."""
        self._write(self._resampler.resample(None))
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._sink.take()

    def _write(self, frames: Iterable[AudioFrame]) -> None:
        for frame in frames:
            self._container.mux(self._stream.encode(frame))


class _Sink:
    """A file that only grows, and can be emptied."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _rate(codec: _Codec, requested: int) -> int:
    """Choose the lowest rate that loses nothing, or the codec's highest."""
    if not codec.rates:
        return requested
    return next((rate for rate in codec.rates if rate >= requested), codec.rates[-1])


def _bit_rate(sample_rate: int) -> int:
    """Return bits a second at which one voice sounds as it came, in the oldest of the codecs (MP3) too."""
    if sample_rate < 16_000:
        return 32_000
    return 64_000 if sample_rate <= 24_000 else 96_000
