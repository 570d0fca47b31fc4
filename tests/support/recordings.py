"""Recordings of any kind, made for a test."""

import io
import struct
from typing import Any

import av
import numpy as np
from modelhost.audio import SAMPLE_RATE

TONE = 440


def tone(seconds: float, rate: int = SAMPLE_RATE, hertz: float = TONE, channels: int = 1) -> np.ndarray[Any, Any]:
    """A sine at half of full scale, channels by samples."""
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
    return np.tile(wave.astype(np.float32), (channels, 1))


def recorded(container: str, codec: str, sound: np.ndarray[Any, Any], rate: int, layout: str = "mono") -> bytes:
    """Write a file as recorders do, with everything that a file on disk may have in it."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout, options={"strict": "experimental"})  # for Vorbis
        if codec == "wmav2":  # it has no rate of its own
            stream.bit_rate = 96_000
        resampler = av.AudioResampler(stream.codec_context.format, layout, rate, stream.codec_context.frame_size or None)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        for ready in [*resampler.resample(frame), *resampler.resample(None), None]:
            out.mux(stream.encode(ready))
    return file.getvalue()


def wav(data: bytes, rate: int = SAMPLE_RATE, channels: int = 1, bits: int = 16, tag: int = 1) -> bytes:
    """A WAV file with whatever its head is to claim."""
    block = channels * bits // 8
    head = struct.pack("<IHHIIHH", 16, tag, channels, rate, rate * block % 2**32, block % 2**16, bits)
    return b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + head + b"data" + struct.pack("<I", len(data)) + data


KINDS = {
    "wav": ("wav", "pcm_s16le", 44_100, "stereo"),
    "wav of floats": ("wav", "pcm_f32le", 48_000, "mono"),
    "wav, telephone": ("wav", "pcm_mulaw", 8_000, "mono"),
    "mp3": ("mp3", "libmp3lame", 44_100, "stereo"),
    "m4a": ("ipod", "aac", 44_100, "stereo"),
    "mp4 with alac": ("mp4", "alac", 48_000, "mono"),
    "mov": ("mov", "pcm_s16le", 48_000, "stereo"),
    "aac": ("adts", "aac", 22_050, "mono"),
    "flac": ("flac", "flac", 96_000, "stereo"),
    "ogg opus": ("ogg", "libopus", 48_000, "mono"),
    "ogg vorbis": ("ogg", "vorbis", 44_100, "stereo"),
    "webm": ("webm", "libopus", 48_000, "mono"),
    "matroska": ("matroska", "flac", 16_000, "mono"),
    "aiff": ("aiff", "pcm_s16be", 44_100, "stereo"),
    "caf": ("caf", "pcm_s16le", 48_000, "mono"),
    "caf with alac": ("caf", "alac", 44_100, "stereo"),
    "amr": ("amr", "amr_nb", 8_000, "mono"),
    "au": ("au", "pcm_mulaw", 8_000, "mono"),
    "w64": ("w64", "pcm_s24le", 48_000, "stereo"),
    "wma": ("asf", "wmav2", 44_100, "stereo"),
}


def kind_of_file(name: str, seconds: float = 1.5) -> bytes:
    container, codec, rate, layout = KINDS[name]
    return recorded(container, codec, tone(seconds, rate, channels=2 if layout == "stereo" else 1), rate, layout)
