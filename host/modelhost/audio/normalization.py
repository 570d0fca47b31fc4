"""Brings a recording to where recognisers expect speech: centred on zero, and about as loud as their training data."""

import numpy as np
from numpy.typing import NDArray

from modelhost.audio.samples import SAMPLE_RATE, Samples

LOUDNESS = -20.0
"""dB of full scale (RMS) that speech is brought to. Chosen, because recordings of read speech have it, with space for peaks 19 dB
above."""

PEAK = -1.0
"""dB of full scale that no sample exceeds because of the gain: -1 dBTP, as EBU R 128 has it
(https://tech.ebu.ch/publications/r128)."""

LARGEST_GAIN = 54.0
"""dB. Chosen, because it is more than the quietest speech that is found needs (`voice.QUIETEST`)."""

SILENCE = -80.0
"""dB of full scale. Chosen, because in a recording that is nowhere louder 16 bits leave nothing of speech but noise."""

_FRAME = SAMPLE_RATE // 10
"""Samples over which loudness is measured, 0.1 s. Chosen, because it is shorter than a word."""


def remove_offset(samples: Samples) -> Samples:
    """Take away the constant that cheap microphones add (DC offset), which costs headroom and looks like loudness."""
    return samples - samples.mean(dtype=np.float64).astype(np.float32) if len(samples) else samples


def normalize(samples: Samples) -> Samples:
    """Scale speech to `LOUDNESS` by one gain for the whole recording, as far as `PEAK` and `LARGEST_GAIN` allow.

    Loudness is measured over the loud part only, so pauses do not count; silence stays as it is.
    """
    loudness = speech_loudness(samples)
    if loudness < SILENCE:
        return samples
    headroom = PEAK - _decibels(np.abs(samples).max() ** 2)
    gain = min(LOUDNESS - loudness, max(headroom, 0.0), LARGEST_GAIN)
    return samples * np.float32(10 ** (gain / 20))


def speech_loudness(samples: Samples) -> float:
    """Measure how loud speech is, in dB of full scale: the RMS of the tenths of a second in which there is some.

    Those are the ones less than 10 dB below the mean of all that are louder than `SILENCE`, as in EBU R128. Where nothing is
    louder the result is below `SILENCE`.
    """
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    powers = np.square(frames, dtype=np.float32).mean(axis=1, dtype=np.float64)
    loud = _above(powers, SILENCE)
    if not len(loud):
        return SILENCE - 1
    return _decibels(_above(loud, _decibels(loud.mean()) - 10).mean())


def _above(powers: NDArray[np.float64], decibels: float) -> NDArray[np.float64]:
    return powers[powers > 10 ** (decibels / 10)]


def _decibels(power: float) -> float:
    return float(10 * np.log10(power))
