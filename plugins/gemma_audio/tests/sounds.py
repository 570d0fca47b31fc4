"""Sound for tests, and what a tiny model says to it."""

import numpy as np
from modelhost.audio import SAMPLE_RATE, to_pcm
from modelhost.authors.wav import wav as wav_of

SENTENCE = (" The", " quick", " brown", " fox", " jumps.", "<turn|>")


def voiced(seconds, *, pitch=150.0, pauses=()):
    """Make sound that passes for speech: a voice with syllables; silence from each pause's start to its end, in seconds."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * times)
    samples = 0.3 * np.sin(2 * np.pi * pitch * times) * syllables + 0.1 * np.sin(2 * np.pi * 6 * pitch * times) * syllables
    for start, end in pauses:
        samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = 0
    return samples.astype(np.float32)


def wav(samples, rate=SAMPLE_RATE):
    return wav_of(to_pcm(samples), rate)
