"""Where somebody speaks: Silero's network, which faster-whisper brings, at whatever loudness.

The host's own detector knows loudness alone: clicks, music and a cough are speech to it. A model that is asked what is said in
them answers all the same, with its prompt or with a loop. The network costs 2.5 ms a second of sound, a hundredth of a model.
"""

from functools import cache

import numpy as np
from faster_whisper.vad import get_vad_model
from modelhost.audio import FRAME, SAMPLE_RATE, Samples
from numpy.typing import NDArray

BEGINS = 0.5
"""Probability from which it is speech: Silero's own default (https://github.com/snakers4/silero-vad)."""
GOES_ON = 0.35
"""Probability that is still speech where the sound before was: likewise."""

CHUNK = 512
"""Samples of one decision, as the network was trained (https://github.com/snakers4/silero-vad)."""
_BEFORE = 64
"""Samples of the chunk before that the network sees again (likewise)."""
_STATE = (1, 1, 128)
"""Shape of each of the network's two states (likewise)."""

SHORTEST = 0.16
"""Seconds of speech that are enough. Chosen, because the shortest words have more, and the first of a tone that is struck less:
of 60 pieces of synthetic music the longest such false alarm had 0.14 s; "Yes" has 0.4, "Go" and "A" have 0.24."""

LOUD = 0.5
"""Peak that sound is brought to; chosen, because it is half of full scale, as of speech recorded close to a microphone."""
FADES = 10.0
"""dB a second by which what was loud counts less: after a pause of a second or two, somebody quieter is found. Chosen, because
the network finds speech 30 dB quieter than it should be, so it need not be faster, and slower would lose who whispers."""
LARGEST_GAIN = 10 ** (55 / 20)
"""Chosen, because speech 50 dB below the usual is still found with it; what is quieter has few bits left of 16."""


class SileroDetector:
    """Decides for every 20 ms of a live sound whether somebody speaks, however the sound is cut into pieces."""

    def __init__(self) -> None:
        self._rest: Samples = np.empty(0, np.float32)
        self._seen = np.zeros((1, _BEFORE), np.float32)
        self._state = (np.zeros(_STATE, np.float32), np.zeros(_STATE, np.float32))
        self._peak = 0.0
        self._speaking = False
        self._decided = np.empty(0, np.bool_)  # for each sample of the last chunks that no whole frame was given for

    def feed(self, samples: Samples) -> NDArray[np.bool_]:
        """Take the next samples, any number; returns a decision for each frame that is complete."""
        sound = np.concatenate([self._rest, samples])
        whole = len(sound) // CHUNK * CHUNK
        self._rest = sound[whole:].copy()
        if not whole:
            return np.empty(0, np.bool_)
        voiced = self._voiced(self._probabilities(self._evened(sound[:whole].reshape(-1, CHUNK))))
        decided = np.concatenate([self._decided, np.repeat(voiced, CHUNK)])
        frames = len(decided) // FRAME * FRAME
        self._decided = decided[frames:].copy()
        frame_decisions: NDArray[np.bool_] = np.logical_or.reduce(decided[:frames].reshape(-1, FRAME), axis=1)
        return frame_decisions

    def _evened(self, chunks: Samples) -> Samples:
        """Bring every chunk to one loudness, by the largest of the recent peaks."""
        fades = 10 ** (-FADES * CHUNK / SAMPLE_RATE / 20)
        gains = np.empty((len(chunks), 1), np.float32)
        for number, peak in enumerate(np.abs(chunks).max(axis=1).tolist()):
            self._peak = max(peak, self._peak * fades)
            gains[number] = min(LOUD / max(self._peak, 1e-9), LARGEST_GAIN)
        return chunks * gains

    def _probabilities(self, chunks: Samples) -> list[float]:
        before = np.concatenate([self._seen, chunks[:-1, -_BEFORE:]])
        self._seen = chunks[-1:, -_BEFORE:].copy()
        inputs = {"input": np.concatenate([before, chunks], axis=1), "h": self._state[0], "c": self._state[1]}
        output, *state = _network().session.run(None, inputs)
        self._state = (state[0], state[1])
        probabilities: list[float] = output.reshape(-1).tolist()
        return probabilities

    def _voiced(self, probabilities: list[float]) -> NDArray[np.bool_]:
        voiced = np.empty(len(probabilities), np.bool_)
        for number, probability in enumerate(probabilities):
            self._speaking = probability >= (GOES_ON if self._speaking else BEGINS)
            voiced[number] = self._speaking
        return voiced


_network = cache(get_vad_model)
