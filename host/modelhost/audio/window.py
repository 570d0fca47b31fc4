"""Cuts a recording to pieces that a model can take, between words, and puts their transcripts together again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from msgspec.structs import replace

from modelhost.audio.samples import SAMPLE_RATE, Samples
from modelhost.audio.spans import PADDING, SHORTEST_SPEECH, Span, padded, speech_spans
from modelhost.audio.voice import Detector
from modelhost.contract.types import Segment, Word

LONGEST_PAUSE = 5.0
"""Seconds. Chosen, because models invent words for a longer silence, so it is left out."""

_DIP = SAMPLE_RATE // 10
"""Samples over which the quietest spot is measured, 0.1 s. Chosen, because it is less than a word."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A piece of a recording: its samples (a view, not a copy), where it starts and ends, and where in it there is speech.

    `start` and `end` are seconds of the recording; the spans of `speech` count from the window's start and have no padding.
    """

    samples: Samples
    start: float
    end: float
    speech: tuple[Span, ...] = ()

    def place(self, segment: Segment) -> Segment:
        """Return a segment whose times count from this window's start the times of the recording.

        None is outside the window, and all are whole milliseconds.
        """
        return replace(
            segment,
            start=self._placed(segment.start),
            end=self._placed(segment.end),
            words=tuple(self._place_word(word) for word in segment.words),
        )

    def _place_word(self, word: Word) -> Word:
        return replace(word, start=self._placed(word.start), end=self._placed(word.end))

    def _placed(self, seconds: float) -> float:
        return round(min(max(self.start + seconds, self.start), self.end), 3)


def windows(
    samples: Samples, longest: float = 30.0, *, shortest: float = SHORTEST_SPEECH, detector: Detector | None = None
) -> list[Window]:
    """Cut a recording to windows of at most `longest` seconds (1 or more), in order of time.

    They never overlap, and together hold all speech with `PADDING` around it; silence longer than `LONGEST_PAUSE`, and that at
    both ends, is left out. A window ends in the longest pause of its second half, else in the last one of its first half; only
    where somebody speaks without a pause it ends at the quietest spot of its second half. `shortest` and `detector`
    are those of `speech_spans`.
    """
    spoken = speech_spans(samples, padding=0, shortest=shortest, detector=detector)
    spans = padded(spoken, PADDING, len(samples) / SAMPLE_RATE)
    pauses = [after.start - before.end for before, after in pairwise(spoken)]
    return [
        window_of(samples, start, end, spoken)
        for start, end in _cuts(samples, [_Piece.of(span) for span in spans], [*pauses, float("inf")], int(longest * SAMPLE_RATE))
    ]


def window_of(samples: Samples, start: int, end: int, spoken: Sequence[Span]) -> Window:
    """Make the window from sample `start` up to `end` of a recording in which there is speech as `spoken` says."""
    first, last = start / SAMPLE_RATE, end / SAMPLE_RATE
    inside = (span for span in spoken if span.start < last and span.end > first)
    speech = tuple(Span(start=max(span.start, first) - first, end=min(span.end, last) - first) for span in inside)
    return Window(samples=samples[start:end], start=first, end=last, speech=speech)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A span, in samples."""

    start: int
    end: int

    @classmethod
    def of(cls, span: Span) -> "_Piece":
        return cls(round(span.start * SAMPLE_RATE), round(span.end * SAMPLE_RATE))


def _cuts(samples: Samples, pieces: list[_Piece], pauses: list[float], longest: int) -> Iterator[tuple[int, int]]:
    """Yield the first sample of each window and the one after its last; `pauses[n]` follows `pieces[n]`, in seconds."""
    first = 0
    start = pieces[0].start if pieces else 0
    while first < len(pieces):
        last = _last_piece(pieces, pauses, first, start, longest)
        if last is None:
            end = start + longest // 2 + quietest(samples[start + longest // 2 : start + longest])
            yield start, end
            start = end
        else:
            yield start, pieces[last].end
            first = last + 1
            start = pieces[first].start if first < len(pieces) else start


def _last_piece(pieces: list[_Piece], pauses: list[float], first: int, start: int, longest: int) -> int | None:
    """Choose after which piece to end the window that starts at `start`; None where not even the first fits."""
    fitting: list[int] = []
    for number in range(first, len(pieces)):
        if pieces[number].end - start > longest:
            break
        fitting.append(number)
        if pauses[number] > LONGEST_PAUSE:
            return number
    late = [number for number in fitting if pieces[number].end - start > longest // 2]
    return max(late, key=pauses.__getitem__) if late else (fitting[-1] if fitting else None)


def quietest(samples: Samples) -> int:
    """Find the middle of the quietest tenth of a second; of shorter samples, their middle."""
    if len(samples) <= _DIP:
        return len(samples) // 2
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    return int(np.argmin(energy[_DIP:] - energy[:-_DIP])) + _DIP // 2
