"""A recording being written down: its windows go to the engine, what comes back becomes segments in order of time."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import replace

from modelhost import Context, Detected, Progress, Segment, TranscribeEvent
from modelhost.audio import Samples, Window
from modelhost.languages import code_of
from msgspec import structs

from modelhost_whisper.decoder import FRAMES, FRAMES_PER_SECOND, Heard, Outcome, Piece, Settings, Spectrum
from modelhost_whisper.engine import Engine

# Above this a text repeats itself, below that it is a guess, and with so little chance of speech there was none: the limits of
# OpenAI's reference implementation (whisper/transcribe.py), which faster-whisper keeps.
LOOP = 2.4
GUESS = -1.0
NO_SPEECH = 0.6

REST = 30
"""Frames; when fewer are left of a window it is done with."""


class Recording:
    """One request. Its segments come in order, though several of its windows are computed at once."""

    def __init__(
        self,
        engine: Engine[Piece, Outcome],
        features: Callable[[Samples], Spectrum],
        settings: Settings,
        temperatures: tuple[float, ...],
        context: Context,
    ) -> None:
        self._engine = engine
        self._features = features
        self._settings = settings
        self._temperatures = temperatures
        self._context = context
        self._told = False
        context.on_cancel(lambda: engine.drop(self))

    def write_down(self, windows: Iterable[Window], seconds: float, *, ahead: int) -> Iterator[TranscribeEvent]:
        """Yield what is heard in windows of any length, which together belong to sound of `seconds`.

        At most `ahead` windows wait in the engine. Ends early, without an error, when the request is cancelled.
        """
        waiting = iter(windows)
        begun: deque[tuple[Window, Spectrum, Future[Outcome]]] = deque()
        try:
            while not self._context.cancelled:
                # What language it is, the first window tells; the others wait for that.
                while len(begun) < (ahead if self._settings.language else 1) and (window := next(waiting, None)):
                    features = self._features(window.samples)
                    begun.append((window, features, self._submit(features, 0)))
                if not begun:
                    return
                for event in self._window(*begun.popleft()):
                    yield event
                    if isinstance(event, Segment) and event.end < seconds:
                        yield Progress(fraction=event.end / seconds, step="transcribing")
        except CancelledError:  # by `drop`
            return
        finally:
            self._engine.drop(self)

    def guess(self, samples: Samples) -> str:
        """Give what unfinished sound seems to say, at once and without a second attempt."""
        try:
            outcome = self._submit(self._features(samples), 0).result()
        except CancelledError:
            return ""
        return "" if _silent(outcome) else outcome.text

    def _submit(self, features: Spectrum, attempt: int) -> "Future[Outcome]":
        return self._engine.submit(self, Piece(features[:, :FRAMES], self._settings, self._temperatures[attempt]))

    def _window(self, window: Window, features: Spectrum, first: "Future[Outcome]") -> Iterator[TranscribeEvent]:
        """Yield what is heard in a window; where the model stopped before its end, the rest is computed again."""
        at = 0.0
        while True:
            outcome, temperature, degenerate = self._best(features, first)
            if not self._told:
                self._told = True
                self._settings = replace(self._settings, language=outcome.language)
                yield Detected(language=code_of(outcome.language) or outcome.language, probability=outcome.language_probability)
            if not _silent(outcome):
                for heard in outcome.segments:
                    yield window.place(_segment(at, heard, outcome, temperature, degenerate))
            features = features[:, round(outcome.covered * FRAMES_PER_SECOND) :]
            if features.shape[1] < REST:
                return
            at += outcome.covered
            first = self._submit(features, 0)

    def _best(self, features: Spectrum, first: "Future[Outcome]") -> tuple[Outcome, float, bool]:
        """Give the best of as many attempts as it takes, its temperature, and whether it is a loop after all."""
        outcome = first.result()
        attempts = [(outcome, self._temperatures[0])]
        while _doubtful(outcome) and len(attempts) < len(self._temperatures):
            temperature = self._temperatures[len(attempts)]
            outcome = self._submit(features, len(attempts)).result()
            for before in attempts:
                if _agree(outcome, before[0]):  # chance had a say, and heard the same: what repeats itself is the speaker
                    return *before, False
            attempts.append((outcome, temperature))
        if not _doubtful(outcome):
            return *attempts[-1], False
        sound = [one for one in attempts if one[0].compression_ratio <= LOOP]
        return *max(sound or attempts, key=lambda one: one[0].avg_logprob), not sound


def _agree(one: Outcome, other: Outcome) -> bool:
    """Whether two attempts heard mostly the same words, however often."""
    here, there = (set(re.findall(r"\w+", outcome.text.lower())) for outcome in (one, other))
    return 2 * len(here & there) >= len(here | there)


def _silent(outcome: Outcome) -> bool:
    return outcome.no_speech_prob > NO_SPEECH and outcome.avg_logprob < GUESS


def _doubtful(outcome: Outcome) -> bool:
    return outcome.compression_ratio > LOOP or (outcome.avg_logprob < GUESS and not _silent(outcome))


def _segment(at: float, heard: Heard, outcome: Outcome, temperature: float, degenerate: bool) -> Segment:
    words = tuple(structs.replace(word, start=at + word.start, end=at + word.end) for word in heard.words)
    return Segment(
        start=at + heard.start,
        end=at + heard.end,
        text=heard.text,
        words=words,
        tokens=heard.tokens,
        temperature=temperature,
        avg_logprob=outcome.avg_logprob,
        compression_ratio=outcome.compression_ratio,
        no_speech_prob=outcome.no_speech_prob,
        degenerate=degenerate,
    )
