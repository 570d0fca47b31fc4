"""Finds utterances in live sound: when somebody starts to speak, and when they have finished."""

from dataclasses import dataclass

import numpy as np

from modelhost.audio.samples import SAMPLE_RATE, Samples
from modelhost.audio.spans import PADDING, SHORTEST_SPEECH
from modelhost.audio.voice import FRAME, Detector, VoiceDetector
from modelhost.audio.window import quietest
from modelhost.contract.structs import Struct


class SpeechStarted(Struct):
    """Somebody started to speak, or went on after a cut, `at` seconds from the start of the stream; padding is before that."""

    at: float


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """What somebody said without a long silence: the samples, padding included, and where they lie in the stream, in seconds."""

    samples: Samples
    start: float
    end: float


class Endpointer:
    """Cuts live sound into utterances.

    One ends after `silence` seconds without speech, or when it is `longest` seconds long; then it is cut at the quietest spot of
    its last fifth, and what follows begins the next. `padding` seconds are kept on both sides, at the end `silence` at most.
    At most `longest` seconds are kept, and in silence two. Who speaks when, a `detector` says that has heard nothing yet; speech
    begins when it has said so for `shortest` seconds.
    """

    def __init__(
        self,
        *,
        silence: float = 0.6,
        longest: float = 30.0,
        padding: float = PADDING,
        shortest: float = SHORTEST_SPEECH,
        detector: Detector | None = None,
    ) -> None:
        self._silence = _samples(silence)
        self._longest = _samples(longest)
        self._shortest = _samples(shortest)
        self._padding = min(_samples(padding), self._silence)
        self._detector = detector or VoiceDetector()
        self._tape = _Tape()
        self._clock = 0  # the sample after the last frame that was looked at
        self._voiced = 0  # samples of speech without a gap, up to the clock
        self._last_voice = 0  # the sample after the last speech
        self._start: int | None = None  # of the utterance; None while nobody speaks

    @property
    def so_far(self) -> Samples:
        """Return the unfinished utterance up to now; empty while nobody speaks."""
        return self._tape.cut(self._clock if self._start is None else self._start, self._clock)

    def feed(self, samples: Samples) -> list[SpeechStarted | Utterance]:
        """Take the next samples, any number, and give what happened in them, in order."""
        events: list[SpeechStarted | Utterance] = []
        for at in range(0, len(samples), SAMPLE_RATE):  # so that a long block needs no more memory than many short ones
            block = samples[at : at + SAMPLE_RATE]
            self._tape.append(block)
            for voiced in self._detector.feed(block):
                events += self._step(bool(voiced))
        return events

    def finish(self) -> list[Utterance]:
        """Note that the stream has ended, once; returns the utterance that was going on, if one was."""
        return [] if self._start is None else [self._end_at(min(self._last_voice + self._padding, self._tape.end))]

    def _step(self, voiced: bool) -> list[SpeechStarted | Utterance]:
        self._clock += FRAME
        self._voiced = self._voiced + FRAME if voiced else 0
        if voiced:
            self._last_voice = self._clock
        return self._listen() if self._start is None else self._follow(self._start)

    def _listen(self) -> list[SpeechStarted | Utterance]:
        """Wait until speech is longer than a click."""
        if self._voiced < self._shortest:
            self._tape.forget(self._clock - self._shortest - self._padding)
            return []
        onset = self._clock - self._voiced
        self._start = max(onset - self._padding, self._tape.start)
        return [SpeechStarted(at=onset / SAMPLE_RATE)]

    def _follow(self, start: int) -> list[SpeechStarted | Utterance]:
        if self._clock - self._last_voice >= self._silence:
            return [self._end_at(self._last_voice + self._padding)]
        if self._clock - start < self._longest:
            return []
        earliest = self._clock - self._longest // 5
        cut = earliest + quietest(self._tape.cut(earliest, self._clock))
        ended = self._end_at(cut)
        if self._last_voice <= cut:
            return [ended]
        self._start = cut
        return [ended, SpeechStarted(at=cut / SAMPLE_RATE)]

    def _end_at(self, end: int) -> Utterance:
        assert self._start is not None
        ended = Utterance(samples=self._tape.cut(self._start, end), start=self._start / SAMPLE_RATE, end=end / SAMPLE_RATE)
        self._tape.forget(end)
        self._start = None
        return ended


class _Tape:
    """The last part of a stream, by the numbers of its samples."""

    def __init__(self) -> None:
        self._blocks: list[Samples] = []
        self.start = 0
        self.end = 0

    def append(self, samples: Samples) -> None:
        self._blocks.append(np.array(samples, np.float32))  # a copy: the caller may use its buffer again
        self.end += len(samples)

    def cut(self, start: int, end: int) -> Samples:
        """Copy the samples from `start` up to `end`."""
        sound = np.concatenate([np.empty(0, np.float32), *self._blocks])
        return sound[start - self.start : end - self.start]

    def forget(self, before: int) -> None:
        """Drop the samples before one."""
        while self._blocks and self.start < before:
            first = self._blocks.pop(0)
            kept = first[before - self.start :]
            self.start += len(first) - len(kept)
            if len(kept):
                self._blocks.insert(0, kept)


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)
