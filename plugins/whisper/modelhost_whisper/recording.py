"""A recording being transcribed: its windows go to the engine, what comes back becomes segments in order of time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from itertools import chain

from modelhost import BatchEngine, Context, Detected, Progress, Segment, TranscribeEvent
from modelhost.audio import Samples, Window
from modelhost.authors.languages import code_of
from msgspec import structs

from modelhost_whisper.decoder import Outcome, Piece, Settings, Spectrum
from modelhost_whisper.excerpts import Excerpt, Windows
from modelhost_whisper.loops import LOOP, before_loop, same_words
from modelhost_whisper.segments import WindowSegment
from modelhost_whisper.timestamps import with_rising_times
from modelhost_whisper.votes import A_WHILE, PLAIN, SURE, Votes

GUESS = -1.0
"""Mean log probability of a token below which a text is a guess: the limit of https://github.com/openai/whisper,
whisper/transcribe.py, which faster-whisper keeps."""
NO_SPEECH = 0.6
"""Probability of silence above which such a guess counts as silence: likewise."""

_NEVER = 2.0
"""A probability that none reaches, so that languages are detected and no text is written."""


@dataclass(frozen=True)
class Answer:
    """The model's text for an excerpt, after as many attempts as it takes."""

    outcome: Outcome
    temperature: float
    loop: bool
    """Whether the text is a loop in every attempt."""

    @property
    def segments(self) -> tuple[WindowSegment, ...]:
        """Return the segments to pass on: none of silence, and of a loop those before it."""
        segments = self.outcome.segments
        if _is_silent(self.outcome):
            return ()
        return segments[: before_loop([one.text for one in segments])] if self.loop else segments

    def next(self, excerpt: Excerpt) -> Excerpt | None:
        """Return the excerpt to compute next."""
        if not self.segments:
            return excerpt.past()
        if self.loop:
            return excerpt.after(self.segments[-1].end, self.segments[-1].end)
        return excerpt.after(self.outcome.covered, self.outcome.speech_end)


class Recording:
    """One request. Its segments come in order, though several of its windows are computed at once."""

    def __init__(
        self,
        engine: BatchEngine[Piece, Outcome],
        features: Callable[[Samples], Spectrum],
        settings: Settings,
        temperatures: tuple[float, ...],
        context: Context,
    ) -> None:
        self._engine = engine
        self._features = features
        self._requested_language = settings.language
        self._settings = settings
        self._temperatures = temperatures
        self._context = context
        self._probability: float | None = None  # of the language that was found
        self._last_language: str | None = None  # of the last segment
        self._reported_language: str | None = None
        self._last_end = 0.0  # the end of the last segment
        context.on_cancel(lambda: engine.drop(self))

    def write_down(self, windows: Iterable[Window], seconds: float, *, ahead: int) -> Iterator[TranscribeEvent]:
        """Yield the segments of windows of any length, which together belong to sound of `seconds`.

        At most `ahead` windows wait in the engine. It can be called again for what is said later, in whatever language. Ends
        early, without an error, when the request is cancelled.
        """
        self._set_language(self._requested_language, None)
        waiting = Windows(windows)
        submitted: deque[tuple[Excerpt, Future[Outcome]]] = deque()
        found_speech = False
        try:
            while not self._context.cancelled:
                # Until there is a segment, the next window may show that it is another language.
                while len(submitted) < (ahead if self._requested_language or found_speech else 1) and (window := waiting.take()):
                    submitted.append(self._begin(Excerpt(window), waiting))
                if not submitted:
                    return
                for event in self._window(*submitted.popleft()):
                    yield event
                    if isinstance(event, Segment):
                        found_speech = True
                        if event.end < seconds:
                            yield Progress(fraction=event.end / seconds, step="transcribing")
                if not found_speech:
                    self._set_language(self._requested_language, None)
        except CancelledError:  # by `drop`
            return
        finally:
            self._engine.drop(self)

    def guess(self, samples: Samples) -> str:
        """Return the likely text of an unfinished utterance, by one attempt; empty where that is a loop."""
        settings = replace(self._settings, language=self._requested_language or self._last_language)
        piece = Piece(self._features(samples), settings, self._temperatures[0])
        try:
            outcome = self._engine.submit(self, piece).result()
        except CancelledError:
            return ""
        return "" if _is_silent(outcome) or outcome.compression_ratio > LOOP or not outcome.segments else outcome.text

    def _set_language(self, language: str | None, probability: float | None) -> None:
        self._settings = replace(self._settings, language=language)
        self._probability = probability

    def _submit(self, excerpt: Excerpt, attempt: int = 0, *, sure: float = 0.0) -> "Future[Outcome]":
        piece = Piece(self._features(excerpt.samples), self._settings, self._temperatures[attempt], sure)
        return self._engine.submit(self, piece)

    def _begin(self, excerpt: Excerpt, waiting: Windows) -> tuple[Excerpt, "Future[Outcome]"]:
        """Submit a window. An unknown language is detected first, by more windows where this one has too little speech."""
        if self._settings.language:
            return excerpt, self._submit(excerpt)
        others = chain(excerpt.following(), waiting.ahead())
        second = next(others, None)
        if second is None:
            sure = SURE if self._last_language else 0.0
        else:
            sure = PLAIN if excerpt.spoken >= A_WHILE else _NEVER
            others = chain([second], others)
        first = self._submit(excerpt, sure=sure)
        outcome = first.result()
        if outcome.written:
            self._set_language(outcome.language, outcome.languages.get(outcome.language))
            return excerpt, first
        self._set_language(*self._voted_language(excerpt, outcome, others))
        return excerpt, self._submit(excerpt)

    def _voted_language(self, excerpt: Excerpt, outcome: Outcome, others: Iterator[Excerpt]) -> tuple[str, float]:
        """Choose the language by the excerpts that follow, where the first has too little speech."""
        votes = Votes()
        votes.add(outcome.languages, excerpt.spoken)
        while not votes.enough and (other := next(others, None)):
            votes.add(self._submit(other, sure=_NEVER).result().languages, other.spoken)
        language, probability = votes.best
        return (language, probability) if probability >= SURE or not self._last_language else (self._last_language, SURE)

    def _window(self, excerpt: Excerpt, first: "Future[Outcome]") -> Iterator[TranscribeEvent]:
        """Yield the segments of a window; where the model stopped before the speech did, the rest is computed again."""
        following: Excerpt | None = excerpt
        while following:
            excerpt = following
            answer = self._best(excerpt, first)
            for segment in answer.segments:
                yield from self._detected(answer.outcome.language)
                yield self._segment(excerpt, segment, answer)
            following = answer.next(excerpt)
            if following:
                first = self._submit(following)

    def _detected(self, language: str) -> Iterator[Detected]:
        self._last_language = language
        if language != self._reported_language:
            self._reported_language = language
            yield Detected(language=code_of(language) or language, probability=self._probability)

    def _segment(self, excerpt: Excerpt, segment: WindowSegment, answer: Answer) -> Segment:
        words = tuple(structs.replace(word, start=excerpt.at + word.start, end=excerpt.at + word.end) for word in segment.words)
        placed = excerpt.window.place(
            Segment(
                start=excerpt.at + segment.start,
                end=excerpt.at + segment.end,
                text=segment.text,
                words=words,
                tokens=segment.tokens,
                temperature=answer.temperature,
                avg_logprob=answer.outcome.avg_logprob,
                compression_ratio=answer.outcome.compression_ratio,
                no_speech_prob=answer.outcome.no_speech_prob,
            )
        )
        risen = with_rising_times(placed, self._last_end)
        self._last_end = risen.end
        return risen

    def _best(self, excerpt: Excerpt, first: "Future[Outcome]") -> Answer:
        """Return the best of as many attempts as it takes."""
        attempts = [Answer(first.result(), self._temperatures[0], loop=False)]
        while _is_doubtful(attempts[-1].outcome) and len(attempts) < len(self._temperatures):
            outcome = self._submit(excerpt, len(attempts)).result()
            for before in attempts:
                if same_words(outcome.text, before.outcome.text):  # chance had a say, and heard the same: the speaker repeats it
                    return before
            attempts.append(Answer(outcome, self._temperatures[len(attempts)], loop=False))
        if not _is_doubtful(attempts[-1].outcome):
            return attempts[-1]
        sound = [one for one in attempts if one.outcome.compression_ratio <= LOOP]
        best = max(sound or attempts, key=lambda one: one.outcome.avg_logprob)
        return replace(best, loop=not sound)


def _is_silent(outcome: Outcome) -> bool:
    return outcome.no_speech_prob > NO_SPEECH and outcome.avg_logprob < GUESS


def _is_doubtful(outcome: Outcome) -> bool:
    return outcome.compression_ratio > LOOP or (outcome.avg_logprob < GUESS and not _is_silent(outcome))
