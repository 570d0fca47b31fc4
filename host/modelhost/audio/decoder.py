"""Reads recordings of any usual kind as 16 kHz mono, whoever sent them.

What a recording says of itself is not believed. By its content the container must be one of `CONTAINERS`, and the sound in it one
of `CODECS`; nothing but the given bytes is ever opened: no playlist, no external track, no URL. Every limit is kept while
decoding, since fifty kilobytes of FLAC can hold hours. Memory grows with the 16 kHz sound that comes out, never with what the
file claims.
"""

import ctypes
from collections.abc import Iterable, Iterator
from typing import IO

import av
import av._core
import numpy as np
from av import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet

from modelhost.audio.downmix import Downmix
from modelhost.audio.formats import kind_of
from modelhost.audio.memory import Held
from modelhost.audio.mp4 import is_modest
from modelhost.audio.pcm import RATES, PcmFrames
from modelhost.audio.samples import SAMPLE_RATE, Samples
from modelhost.contract.context import Context
from modelhost.contract.errors import BadInputError
from modelhost.contract.structs import Struct
from modelhost.contract.types import Blob

CONTAINERS = ("wav", "mp3", "mov", "aac", "flac", "ogg", "matroska", "aiff", "caf", "amr", "au", "w64", "asf")
"""FFmpeg's names; `mov` has MP4 and M4A in it, `aac` is ADTS, `matroska` has WebM in it, `asf` has WMA in it."""

CODECS = (
    *("aac", "alac", "flac", "mp3", "mp3float", "mp2", "mp2float", "opus", "libopus", "vorbis"),
    *("pcm_s16le", "pcm_s16be", "pcm_u8", "pcm_s8", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be", "pcm_f32le", "pcm_f32be"),
    *("pcm_f64le", "pcm_f64be", "pcm_alaw", "pcm_mulaw", "adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "amrnb", "amrwb", "gsm_ms"),
    *("wmav1", "wmav2", "wmapro"),
)
"""FFmpeg's names of the decoders that may run; all others are kept away from what strangers send."""

LARGEST_PACKET = 8 * 1024 * 1024
"""Bytes. Chosen, because it is a second of 8 channels at 192 kHz in 32 bits; a packet is decoded in one piece, so a larger one
counts as damaged."""

LARGEST_ALLOCATION = 128 * 1024 * 1024
"""Bytes that FFmpeg may allocate at once in this process; by itself it takes 2 GB. The index of a day of video needs 50 MB. A WAV
of a hundred bytes can claim a comment of 2 GB, which would be allocated and zeroed before anybody sees that it is not there.
Chosen, because it is between those two."""

ctypes.CDLL(av._core.__file__).av_max_alloc(ctypes.c_size_t(LARGEST_ALLOCATION))  # PyAV itself has no way to say it

ACCEPTED = (
    "Send WAV, MP3, M4A or MP4, AAC, FLAC, OGG (Opus or Vorbis), WebM or Matroska, AIFF, CAF, AMR, AU, W64, WMA, "
    "or raw 16-bit little-endian mono PCM with the format `pcm`."
)

_OPTIONS = {"format_whitelist": ",".join(CONTAINERS), "codec_whitelist": ",".join(CODECS), "protocol_whitelist": "none"}
_BEGINNING = 16 * 1024
"""Bytes that tell what a recording is: the longest frame of AAC in ADTS (8,191 bytes, ISO/IEC 13818-7 §6.2), and the head of the
next. Chosen, because it is twice that."""


class Limits(Struct):
    """What a recording may be; over it the recording is refused, at the latest when decoding gets there."""

    bytes: int = 512 * 1024 * 1024
    seconds: float = 4 * 3600
    """Of sound; at 16 kHz and 4 bytes a sample, 4 hours are 0.9 GB."""
    channels: int = 8
    lowest_rate: int = 4_000
    """Hz; every sample of a slower recording would become many."""
    highest_rate: int = 192_000
    """Hz."""
    streams: int = 16
    """Of sound, pictures and text; cover art is a stream too."""


def decode(
    audio: Blob,
    *,
    format: str = "",  # noqa: A002  # the name it has in every request
    sample_rate: int = SAMPLE_RATE,
    limits: Limits = Limits(),  # noqa: B008  # frozen
    context: Context | None = None,
    held: Held | None = None,
) -> Samples:
    """Read a whole recording; `decoded` says what the other arguments mean and what is raised.

    With `held` it waits for memory while others have too much. When the call is cancelled, what was read until then is given.
    """
    samples = np.empty(0, np.float32)
    for block in decoded(audio, format=format, sample_rate=sample_rate, limits=limits, context=context):
        if held:
            held.grow(block.nbytes)
        filled = len(samples)
        samples.resize(filled + len(block), refcheck=False)  # grows in place: two copies of four hours would not fit
        samples[filled:] = block
    if held:
        held.decoded()
    return samples


def decoded(
    audio: Blob,
    *,
    format: str = "",  # noqa: A002  # the name it has in every request
    sample_rate: int = SAMPLE_RATE,
    limits: Limits = Limits(),  # noqa: B008  # frozen
    context: Context | None = None,
) -> Iterator[Samples]:
    """Read a recording block by block, each about a second long.

    `format` may be wrong, the content decides; only `pcm` (16-bit little-endian mono) is believed where nothing else begins so,
    because raw sound has no marks of its own, and only it has its `sample_rate` (Hz) from here. The first stream of sound is
    read, mixed down to mono. Of a recording that is cut off or damaged there is what could be read; what follows a damaged part
    moves forward by its length.
    When the context's call is cancelled the blocks end.

    Raises BadInputError, while blocks are read, for what is no recording, has no sound in it, or is over a limit.
    """
    if not audio.size:
        raise _bad(f"the recording is empty. {ACCEPTED}")
    if audio.size > limits.bytes:
        raise _bad(f"the recording has {audio.size} bytes, {limits.bytes} are allowed; send it in parts or compressed")
    length = 0
    with audio.open() as file:
        frames = _pcm_frames(file, sample_rate) if _is_pcm(file, format) else _frames(file, limits, context)
        for block in _blocks(_resampled(_checked(frames, limits))):
            if _cancelled(context):
                return
            length += len(block)
            if length > limits.seconds * SAMPLE_RATE:
                raise _bad(f"the recording is longer than {limits.seconds:g} seconds; send it in parts")
            yield block
    if not length and not _cancelled(context):
        raise _bad(f"there is no sound in this recording, or it is cut off before the first. {ACCEPTED}")


def _cancelled(context: Context | None) -> bool:
    return context is not None and context.cancelled


def _is_pcm(file: IO[bytes], claimed: str) -> bool:
    if claimed != "pcm":
        return False
    beginning = file.read(_BEGINNING)
    file.seek(0)
    return not kind_of(beginning)  # files are now and then sent as raw PCM by mistake


def _pcm_frames(file: IO[bytes], sample_rate: int) -> Iterator[AudioFrame]:
    if sample_rate not in RATES:
        raise _bad(f"raw PCM may have {RATES.start} to {RATES.stop - 1} Hz", param="sample_rate")
    frames = PcmFrames(sample_rate)
    while pcm := file.read(2 * sample_rate):
        yield from frames.feed(pcm)


def _frames(file: IO[bytes], limits: Limits, context: Context | None) -> Iterator[AudioFrame]:
    if not is_modest(file, tracks=limits.streams):
        raise _bad(
            f"the recording has more than {limits.streams} streams, or claims more samples than a day has; convert it to FLAC"
        )
    try:
        container = av.open(file, mode="r", options=dict(_OPTIONS), metadata_errors="replace")
    except FFmpegError:
        raise _bad(f"this is no recording that can be read. {ACCEPTED}") from None
    with container:
        stream = _first_sound(container, limits)
        for packet in _packets(container, stream):
            if _cancelled(context):  # also where nothing can be decoded
                return
            yield from _frames_of(packet)


def _first_sound(container: InputContainer, limits: Limits) -> AudioStream:
    if len(container.streams) > limits.streams:
        raise _bad(f"the recording has {len(container.streams)} streams, {limits.streams} are allowed; send the one with speech")
    if not container.streams.audio:
        raise _bad(f"there is no sound in this file. {ACCEPTED}")
    stream = container.streams.audio[0]
    if stream.codec_context is None or stream.codec_context.name not in CODECS:
        raise _bad(f"the sound in this file is compressed in a way that is not read. {ACCEPTED}")
    return stream


def _packets(container: InputContainer, stream: AudioStream) -> Iterator["Packet[AudioStream]"]:
    """Yield packets up to the end, or up to where the file is broken."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:
            return
        if packet is None:
            return
        yield packet


def _frames_of(packet: "Packet[AudioStream]") -> list[AudioFrame]:
    """Decode a packet; of a damaged one nothing is left."""
    if packet.size > LARGEST_PACKET:
        return []
    try:
        return packet.decode()
    except FFmpegError:
        return []


def _checked(frames: Iterable[AudioFrame], limits: Limits) -> Iterator[AudioFrame]:
    """Check every frame: what the file's head says need not hold further on."""
    for frame in frames:
        if not limits.lowest_rate <= frame.sample_rate <= limits.highest_rate:
            allowed = f"{limits.lowest_rate} to {limits.highest_rate}"
            raise _bad(f"the recording has {frame.sample_rate} Hz, {allowed} are allowed; convert it to 16000")
        if frame.layout.nb_channels > limits.channels:
            raise _bad(
                f"the recording has {frame.layout.nb_channels} channels, {limits.channels} are allowed; mix it down to one"
            )
        yield frame


def _resampled(frames: Iterable[AudioFrame]) -> Iterator[Samples]:
    """Resample frames to 16 kHz mono; their rate and channels may change on the way."""
    kind = None
    downmix = Downmix()
    for frame in frames:
        if kind not in (None, _kind(frame)):
            yield from _samples(downmix.mix(None))
            downmix = Downmix()
        kind = _kind(frame)
        yield from _samples(downmix.mix(frame))
    yield from _samples(downmix.mix(None))


def _kind(frame: AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name


def _samples(frames: list[AudioFrame]) -> Iterator[Samples]:
    """Yield frames as samples; a file of floats may hold anything, so what is no number becomes silence."""
    for frame in frames:
        yield np.nan_to_num(frame.to_ndarray()[0], nan=0, posinf=1, neginf=-1).clip(-1, 1).astype(np.float32, copy=False)


def _blocks(pieces: Iterable[Samples]) -> Iterator[Samples]:
    """Join pieces to blocks of about a second."""
    waiting: list[Samples] = []
    for piece in pieces:
        waiting.append(piece)
        if sum(map(len, waiting)) >= SAMPLE_RATE:
            yield np.concatenate(waiting)
            waiting = []
    if any(map(len, waiting)):
        yield np.concatenate(waiting)


def _bad(message: str, param: str = "audio") -> BadInputError:
    return BadInputError(message, param=param)
