"""A recording being written down: its windows are computed together, what comes back becomes segments in order of time."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from modelhost import BadInputError, Context, Delta, Detected, Progress, Segment, TranscribeEvent, Usage
from modelhost.audio import Window

from modelhost_gemma_audio.answer import Answer, Piece
from modelhost_gemma_audio.ears import Clip
from modelhost_gemma_audio.engine import Engine, Row
from modelhost_gemma_audio.sampling import Sampling
from modelhost_gemma_audio.transcript import LOOP, instruction, loops, packing, same_words, spoken, told_language

RATE = 16
"""Tokens a second an answer may take: four times those of fast speech."""
LEAST = 32
"""Tokens an answer may take however short the window."""
LOOK_EVERY = 8
"""Tokens after which an answer is looked at for loops."""

Prompt = Callable[[Clip, str], list[int]]
"""Makes the prompt out of a clip and an instruction."""


@dataclass(frozen=True)
class Wanted:
    """What a request asks of every window."""

    language: str | None
    """None means that the model is to tell."""
    translate: bool = False
    prompt: str | None = None
    hotwords: tuple[str, ...] = ()
    temperatures: tuple[float, ...] = (0.0,)

    def instruction(self) -> str:
        """Say it to the model."""
        return instruction(
            language=self.language,
            translate=self.translate,
            prompt=self.prompt,
            hotwords=self.hotwords,
            tell=self.language is None,
        )


@dataclass
class Tally:
    """Tokens read and written for a request."""

    read: int = 0
    heard: int = 0
    """Those of `read` that were sound."""
    written: int = 0
    seconds: float = 0.0

    def usage(self) -> Usage:
        """Say it."""
        return Usage(input_tokens=self.read, audio_tokens=self.heard, output_tokens=self.written, audio_seconds=self.seconds)


@dataclass(frozen=True)
class Attempt:
    """One answer to a window."""

    text: str
    language: str | None
    temperature: float
    packing: float
    cut: bool
    """Whether it was stopped: it had become a loop, or longer than speech is."""

    @property
    def doubtful(self) -> bool:
        """Whether this is rather a loop than what somebody said."""
        return self.cut or self.packing > LOOP


@dataclass
class Recording:
    """One request. Its segments come in order, though several of its windows are computed at once."""

    engine: Engine
    answer: Callable[[], Answer]
    """Begins to read what the model says."""
    ends: frozenset[int]
    hear: Callable[[Window], Clip]
    prompt: Prompt
    wanted: Wanted
    context: Context
    job: Hashable
    room: int
    """Tokens that a prompt and its answer may have."""
    tally: Tally = field(default_factory=Tally)
    told: str | None = None
    """The language that was told last."""

    def write_down(self, windows: Iterable[Window], seconds: float, *, ahead: int) -> Iterator[TranscribeEvent]:
        """Yield what is heard in windows, which together belong to sound of `seconds`; at most `ahead` are computed at once.

        Ends early, without an error, when the request is cancelled.
        """
        waiting = iter(windows)
        begun: deque[tuple[Window, Clip, Row]] = deque()
        alone = self.wanted.language is None
        try:
            while not self.context.cancelled:
                # What language it is, the first window tells; the others wait for that.
                while len(begun) < (1 if alone else ahead) and (window := next(waiting, None)):
                    clip = self.hear(window)
                    begun.append((window, clip, self._begin(window, clip, self.wanted.temperatures[0])))
                if not begun:
                    return
                window, clip, row = begun.popleft()
                attempt, degenerate = self._best(window, clip, row)
                if self.context.cancelled:
                    return
                alone = self.wanted.language is None and not (attempt.text and not degenerate)
                if attempt.text and not degenerate:
                    yield from self._detected(attempt.language)
                    yield self._segment(window, attempt)
                if window.end < seconds:
                    yield Progress(fraction=window.end / seconds, step="transcribing")
        finally:
            for _, _, row in begun:
                row.cancelled = True

    def _detected(self, language: str | None) -> Iterator[Detected]:
        if language and not self.wanted.language:
            self.wanted = replace(self.wanted, language=language)
            if language != self.told:
                self.told = language
                yield Detected(language=language)

    def _begin(self, window: Window, clip: Clip, temperature: float) -> Row:
        prompt = self.prompt(clip, self.wanted.instruction())
        limit = LEAST + round(RATE * (window.end - window.start))
        if len(prompt) + limit > self.room:
            raise BadInputError(
                f"the prompt and a window of the recording have {len(prompt)} tokens, its transcript may have {limit}, "
                f"and this model holds {self.room} together; shorten the prompt",
                code="context_length_exceeded",
                param="prompt",
            )
        row = Row(
            job=self.job,
            prompt=prompt,
            clips=(clip,),
            sampling=Sampling(temperature=temperature, top_k=64, top_p=0.95, seed=0),
            limit=limit,
            ends=self.ends,
        )
        self.tally.read += len(row.prompt)
        self.tally.heard += clip.tokens
        self.engine.submit(row)
        return row

    def _best(self, window: Window, clip: Clip, first: Row) -> tuple[Attempt, bool]:
        """Return the best of as many attempts as it takes, and whether it is a loop after all."""
        attempts = [self._read(first, self.wanted.temperatures[0])]
        for temperature in self.wanted.temperatures[1:]:
            if self.context.cancelled or not attempts[-1].doubtful:
                break
            latest = self._read(self._begin(window, clip, temperature), temperature)
            for before in attempts:
                whole = not before.cut and not latest.cut
                if whole and same_words(before.text, latest.text):  # chance had a say, and heard the same: the speaker repeats it
                    return before, False
            attempts.append(latest)
        best = attempts[-1] if not attempts[-1].doubtful else min(attempts, key=lambda one: one.packing)
        return best, best.doubtful

    def _read(self, row: Row, temperature: float) -> Attempt:
        answer = self.answer()
        pieces: list[Piece] = []
        tokens: list[int] = []
        looped = False
        for token in row.tokens():
            tokens.append(token)
            pieces += answer.feed(token)
            if self.context.cancelled or (len(tokens) % LOOK_EVERY == 0 and (looped := loops(tokens))):
                break
        self.tally.written += len(tokens)
        text = "".join(piece.text for piece in (*pieces, *answer.finish()) if isinstance(piece, Delta))
        language, text = told_language(text)  # some tell it without being asked
        text = spoken(text)
        return Attempt(text, language, temperature, packing(text), looped or not row.ended)

    def _segment(self, window: Window, attempt: Attempt) -> Segment:
        return Segment(
            start=round(window.start, 3),
            end=round(window.end, 3),
            text=f" {attempt.text}",
            temperature=attempt.temperature,
            compression_ratio=attempt.packing,
        )
