"""A recording being written down: its windows go to the engine, what comes back becomes segments in order of time."""

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
from modelhost_whisper.looks import Look, Windows
from modelhost_whisper.loops import LOOP, before_loop, same_words
from modelhost_whisper.segments import Heard
from modelhost_whisper.times import rising
from modelhost_whisper.votes import A_WHILE, PLAIN, SURE, Votes

# Below that a text is a guess, and with so little chance of speech there was none: the limits of OpenAI's reference
# implementation (whisper/transcribe.py), which faster-whisper keeps.
GUESS = -1.0
NO_SPEECH = 0.6

_NEVER = 2.0
"""A probability that none reaches: the languages are asked for, and no text."""


@dataclass(frozen=True)
class Answer:
    """What came out of a look, after as many attempts as it takes."""

    outcome: Outcome
    temperature: float
    loop: bool
    """Whether the text is one after all."""

    @property
    def heard(self) -> tuple[Heard, ...]:
        """The segments that are worth telling: none of silence, and of a loop what comes before it."""
        segments = self.outcome.segments
        if _silent(self.outcome):
            return ()
        return segments[: before_loop([one.text for one in segments])] if self.loop else segments

    def next(self, look: Look) -> Look | None:
        """Say where to look next."""
        if not self.heard:
            return look.past()
        if self.loop:
            return look.after(self.heard[-1].end, self.heard[-1].end)
        return look.after(self.outcome.covered, self.outcome.heard_to)


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
        self._given = settings.language
        self._settings = settings
        self._temperatures = temperatures
        self._context = context
        self._probability: float | None = None  # of the language that was found
        self._usual: str | None = None  # the language in which something was heard last
        self._told: str | None = None
        self._until = 0.0  # the end of the last segment
        context.on_cancel(lambda: engine.drop(self))

    def write_down(self, windows: Iterable[Window], seconds: float, *, ahead: int) -> Iterator[TranscribeEvent]:
        """Yield what is heard in windows of any length, which together belong to sound of `seconds`.

        At most `ahead` windows wait in the engine. Called again, it goes on with what was said later, in whatever language. Ends
        early, without an error, when the request is cancelled.
        """
        self._speak(self._given, None)
        waiting = Windows(windows)
        begun: deque[tuple[Look, Future[Outcome]]] = deque()
        heard = False
        try:
            while not self._context.cancelled:
                # Until something was heard, the next window may show that it is another language.
                while len(begun) < (ahead if self._given or heard else 1) and (window := waiting.take()):
                    begun.append(self._begin(Look(window), waiting))
                if not begun:
                    return
                for event in self._window(*begun.popleft()):
                    yield event
                    if isinstance(event, Segment):
                        heard = True
                        if event.end < seconds:
                            yield Progress(fraction=event.end / seconds, step="transcribing")
                if not heard:
                    self._speak(self._given, None)
        except CancelledError:  # by `drop`
            return
        finally:
            self._engine.drop(self)

    def guess(self, samples: Samples) -> str:
        """Return what unfinished sound seems to say, at once and without a second attempt; nothing where that is a loop."""
        settings = replace(self._settings, language=self._given or self._usual)
        piece = Piece(self._features(samples), settings, self._temperatures[0])
        try:
            outcome = self._engine.submit(self, piece).result()
        except CancelledError:
            return ""
        return "" if _silent(outcome) or outcome.compression_ratio > LOOP or not outcome.segments else outcome.text

    def _speak(self, language: str | None, probability: float | None) -> None:
        self._settings = replace(self._settings, language=language)
        self._probability = probability

    def _submit(self, look: Look, attempt: int = 0, *, sure: float = 0.0) -> "Future[Outcome]":
        piece = Piece(self._features(look.samples), self._settings, self._temperatures[attempt], sure)
        return self._engine.submit(self, piece)

    def _begin(self, look: Look, waiting: Windows) -> tuple[Look, "Future[Outcome]"]:
        """Begin with a window. An unknown language is settled first, by more windows where this one says too little."""
        if self._settings.language:
            return look, self._submit(look)
        others = chain(look.following(), waiting.ahead())
        second = next(others, None)
        if second is None:
            sure = SURE if self._usual else 0.0
        else:
            sure = PLAIN if look.spoken >= A_WHILE else _NEVER
            others = chain([second], others)
        first = self._submit(look, sure=sure)
        outcome = first.result()
        if outcome.written:
            self._speak(outcome.language, outcome.languages.get(outcome.language))
            return look, first
        self._speak(*self._settled(look, outcome, others))
        return look, self._submit(look)

    def _settled(self, look: Look, outcome: Outcome, others: Iterator[Look]) -> tuple[str, float]:
        """Choose the language after the first look told too little, by those that follow."""
        votes = Votes()
        votes.add(outcome.languages, look.spoken)
        while not votes.enough and (other := next(others, None)):
            votes.add(self._submit(other, sure=_NEVER).result().languages, other.spoken)
        language, probability = votes.best
        return (language, probability) if probability >= SURE or not self._usual else (self._usual, SURE)

    def _window(self, look: Look, first: "Future[Outcome]") -> Iterator[TranscribeEvent]:
        """Yield what is heard in a window; where the model stopped before the speech did, the rest is computed again."""
        following: Look | None = look
        while following:
            look = following
            answer = self._best(look, first)
            for heard in answer.heard:
                yield from self._detected(answer.outcome.language)
                yield self._segment(look, heard, answer)
            following = answer.next(look)
            if following:
                first = self._submit(following)

    def _detected(self, language: str) -> Iterator[Detected]:
        self._usual = language
        if language != self._told:
            self._told = language
            yield Detected(language=code_of(language) or language, probability=self._probability)

    def _segment(self, look: Look, heard: Heard, answer: Answer) -> Segment:
        words = tuple(structs.replace(word, start=look.at + word.start, end=look.at + word.end) for word in heard.words)
        placed = look.window.place(
            Segment(
                start=look.at + heard.start,
                end=look.at + heard.end,
                text=heard.text,
                words=words,
                tokens=heard.tokens,
                temperature=answer.temperature,
                avg_logprob=answer.outcome.avg_logprob,
                compression_ratio=answer.outcome.compression_ratio,
                no_speech_prob=answer.outcome.no_speech_prob,
            )
        )
        risen = rising(placed, self._until)
        self._until = risen.end
        return risen

    def _best(self, look: Look, first: "Future[Outcome]") -> Answer:
        """Return the best of as many attempts as it takes."""
        attempts = [Answer(first.result(), self._temperatures[0], loop=False)]
        while _doubtful(attempts[-1].outcome) and len(attempts) < len(self._temperatures):
            outcome = self._submit(look, len(attempts)).result()
            for before in attempts:
                if same_words(outcome.text, before.outcome.text):  # chance had a say, and heard the same: the speaker repeats it
                    return before
            attempts.append(Answer(outcome, self._temperatures[len(attempts)], loop=False))
        if not _doubtful(attempts[-1].outcome):
            return attempts[-1]
        sound = [one for one in attempts if one.outcome.compression_ratio <= LOOP]
        best = max(sound or attempts, key=lambda one: one.outcome.avg_logprob)
        return replace(best, loop=not sound)


def _silent(outcome: Outcome) -> bool:
    return outcome.no_speech_prob > NO_SPEECH and outcome.avg_logprob < GUESS


def _doubtful(outcome: Outcome) -> bool:
    return outcome.compression_ratio > LOOP or (outcome.avg_logprob < GUESS and not _silent(outcome))
