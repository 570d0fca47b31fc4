"""Raw 16-bit little-endian mono PCM: to and from samples, and from one rate to another."""

import numpy as np
from av import AudioFrame, AudioResampler

from modelhost.audio.samples import Samples

FULL_SCALE = 32_768
"""What 1.0 is in 16 bits: 2^15."""

RATES = range(8_000, 192_001)
"""Hz, of the PCM that is taken."""


def from_pcm(pcm: bytes) -> Samples:
    """Return PCM of 16 kHz as samples; a last odd byte is left out."""
    return np.frombuffer(pcm, "<i2", len(pcm) // 2).astype(np.float32) / np.float32(FULL_SCALE)


def to_pcm(samples: Samples) -> bytes:
    """Return samples as PCM; what is louder than full scale is cut off there."""
    return (samples * FULL_SCALE).round().clip(-FULL_SCALE, FULL_SCALE - 1).astype("<i2").tobytes()


class PcmFrames:
    """Makes frames of PCM that comes in pieces of any length, odd ones too."""

    def __init__(self, sample_rate: int) -> None:
        if sample_rate not in RATES:
            raise ValueError(f"PCM of {sample_rate} Hz: only {RATES.start} to {RATES.stop - 1} Hz are taken")
        self._rate = sample_rate
        self._half = b""
        self._position = 0

    def feed(self, pcm: bytes) -> list[AudioFrame]:
        """Return the samples that are complete as a frame; half of one waits for the rest of it."""
        pcm = self._half + pcm
        whole = len(pcm) // 2
        self._half = pcm[whole * 2 :]
        if not whole:
            return []
        frame = AudioFrame.from_ndarray(np.frombuffer(pcm, "<i2", whole)[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = self._rate
        frame.pts = self._position
        self._position += whole
        return [frame]


class Resampler:
    """Changes the rate of PCM as it comes, with no click where one piece meets the next.

    Cutting the same PCM differently changes no bit of the result. At the same rate, samples pass as they are.
    """

    def __init__(self, sample_rate: int, to_rate: int) -> None:
        self._frames = PcmFrames(sample_rate)
        self._resampler = AudioResampler(format="s16", layout="mono", rate=to_rate)

    def resample(self, pcm: bytes) -> bytes:
        """Take the next piece, of any length, and give what is ready; the filter holds some milliseconds back."""
        return b"".join(_bytes(ready) for frame in self._frames.feed(pcm) for ready in self._resampler.resample(frame))

    def finish(self) -> bytes:
        """Return what was held back; once, at the end."""
        return b"".join(map(_bytes, self._resampler.resample(None)))


def _bytes(frame: AudioFrame) -> bytes:
    return frame.to_ndarray().astype("<i2").tobytes()
