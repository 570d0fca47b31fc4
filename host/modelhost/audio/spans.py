"""When somebody speaks in a recording."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from modelhost.audio.samples import SAMPLE_RATE, Samples
from modelhost.audio.voice import FRAME, Detector, VoiceDetector
from modelhost.contract.structs import Struct

PADDING = 0.2
"""Seconds kept on both sides of speech. Chosen, because weak sounds at the edges of words (f, s, h) are below what a detector
sees."""

SHORTEST_PAUSE = 0.2
"""Seconds. Chosen, because a shorter silence is one inside a word, as before p, t or k."""

SHORTEST_SPEECH = 0.1
"""Seconds. Chosen, because what is shorter is a click."""

_PRIMED_BY = 4 * SAMPLE_RATE
"""Samples from which the detector learns the noise before it decides, 4 s. Chosen, because its memory is as long (`voice.py`)."""
_BLOCK = 60 * SAMPLE_RATE
"""Samples decided at once, a minute. Chosen, because the detector's arrays then take a few MB however long the recording is."""


class Span(Struct):
    """A stretch of speech, in seconds from the start of the recording."""

    start: float
    end: float


def speech_spans(
    samples: Samples, *, padding: float = PADDING, shortest: float = SHORTEST_SPEECH, detector: Detector | None = None
) -> list[Span]:
    """Find speech, in order of time; between two spans there is a pause of `SHORTEST_PAUSE` or more, or what padding left of it.

    Padding of neighbours meets in the middle of their pause and stays inside the recording. What is shorter than `shortest`
    seconds is left out. A `detector` has heard nothing yet; without one it is a `VoiceDetector` that knows the noise of the
    recording's start.
    """
    detector = detector or _primed(samples)
    blocks = [detector.feed(samples[at : at + _BLOCK]) for at in range(0, len(samples), _BLOCK)]
    voiced = np.concatenate(blocks) if blocks else np.empty(0, np.bool_)
    second = SAMPLE_RATE / FRAME
    spans = [Span(start=start / second, end=end / second) for start, end in _tidied(_runs(voiced), second, shortest)]
    return padded(spans, padding, len(samples) / SAMPLE_RATE)


def _primed(samples: Samples) -> VoiceDetector:
    detector = VoiceDetector()
    detector.prime(samples[:_PRIMED_BY])
    return detector


def padded(spans: Sequence[Span], padding: float, length: float) -> list[Span]:
    """Widen spans by `padding` seconds on both sides, within 0 and `length`, and no further than the middle of each pause."""
    middles = [0.0, *((before.end + after.start) / 2 for before, after in pairwise(spans)), length]
    return [
        Span(start=max(span.start - padding, low), end=min(span.end + padding, high))
        for span, low, high in zip(spans, middles, middles[1:], strict=False)
    ]


def _runs(voiced: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the first frame of every run of True, and the one after its last."""
    changes = np.flatnonzero(np.diff(voiced, prepend=False, append=False))
    return [(int(start), int(end)) for start, end in changes.reshape(-1, 2)]


def _tidied(runs: list[tuple[int, int]], second: float, shortest: float) -> list[tuple[int, int]]:
    """Join runs over silences inside words, then drop clicks."""
    joined: list[tuple[int, int]] = []
    for start, end in runs:
        if joined and start - joined[-1][1] < SHORTEST_PAUSE * second:
            start = joined.pop()[0]
        joined.append((start, end))
    return [(start, end) for start, end in joined if end - start >= shortest * second]
