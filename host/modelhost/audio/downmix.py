"""Mixes the channels of a recording down to one, in which none cancels another."""

import numpy as np
from av import AudioFrame, AudioResampler
from numpy.typing import NDArray

from modelhost.audio.samples import SAMPLE_RATE

OPPOSED = -0.5
"""Correlation of a channel with the loudest, below which it is turned over: two that are equal and opposed leave silence in the
mix, as where the two wires of a balanced microphone became two channels. Ordinary stereo is above 0. Chosen, because the
channels of ordinary stereo do not come near it."""

ALIKE = -0.25
"""Correlation from which it is turned back; in between it stays as it is, so that it does not change to and fro. Chosen, because
half of that is far enough from it."""

_MEMORY = 2.0
"""Seconds over which that is measured. Chosen, because it is longer than a word and shorter than a change of speakers."""


class Downmix:
    """Brings frames of one rate and layout to mono floats at 16 kHz."""

    def __init__(self) -> None:
        # Without a largest value FFmpeg mixes floats down louder than they were, so that two loud channels exceed full scale.
        self._mono = AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE, options={"rematrix_maxval": "1"})
        self._channels = AudioResampler(format="fltp", rate=SAMPLE_RATE)
        self._products: NDArray[np.float64] | None = None
        self._signs: NDArray[np.float32] | None = None

    def mix(self, frame: AudioFrame | None) -> list[AudioFrame]:
        """Take the next frame, or None at the end, and give what is ready."""
        if frame is not None and frame.layout.nb_channels == 1:
            return self._mono.resample(frame)
        mixed = [ready for even in self._channels.resample(frame) for ready in self._mono.resample(self._aligned(even))]
        return mixed if frame is not None else [*mixed, *self._mono.resample(None)]

    def _aligned(self, frame: AudioFrame) -> AudioFrame:
        sound = np.nan_to_num(frame.to_ndarray(), nan=0, posinf=1, neginf=-1).clip(-1, 1)
        signs = self._measured(sound)
        if (signs > 0).all():
            return frame
        turned = AudioFrame.from_ndarray(sound * signs[:, np.newaxis], format="fltp", layout=frame.layout.name)
        turned.sample_rate, turned.pts = frame.sample_rate, frame.pts
        return turned

    def _measured(self, sound: NDArray[np.float32]) -> NDArray[np.float32]:
        """Decide for each channel whether it is turned over: +1 or -1."""
        products = sound.astype(np.float64) @ sound.T.astype(np.float64)
        if self._products is None or self._signs is None:
            self._products, self._signs = np.zeros_like(products), np.ones(len(sound), np.float32)
        self._products = self._products * np.exp(-sound.shape[1] / (SAMPLE_RATE * _MEMORY)) + products
        powers = self._products.diagonal()
        loudest = int(powers.argmax())
        correlation = self._products[loudest] / np.maximum(np.sqrt(powers * powers[loudest]), 1e-12)
        self._signs = np.where(correlation < OPPOSED, -1, np.where(correlation > ALIKE, 1, self._signs)).astype(np.float32)
        return self._signs
