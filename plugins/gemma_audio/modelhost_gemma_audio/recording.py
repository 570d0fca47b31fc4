"""A recording being transcribed: its windows are computed together, the answers become segments in order of time."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from modelhost import BadInputError, Context, Delta, Detected, Progress, Segment, TranscribeEvent, Usage
from modelhost.audio import Window

from modelhost_gemma_audio.answer import Answer, Piece
from modelhost_gemma_audio.audio_features import Clip
from modelhost_gemma_audio.engine import Engine, Row
from modelhost_gemma_audio.sampling import Sampling
from modelhost_gemma_audio.transcript import LOOP, instruction, leading_language, loops, packing, same_words, spoken

RATE = 16
"""Tokens a second of sound that an answer may have; chosen, because fast speech has a quarter of that."""
LEAST = 32
"""Tokens an answer may have however short the window; chosen, because a language's code and a few words need about half."""
LOOP_CHECK_TOKENS = 8
"""Tokens between two searches for loops; chosen, because a loop then costs little more than `TAIL` tokens."""

Prompt = Callable[[Clip, str], list[int]]
"""Makes the prompt out of a clip and an instruction."""


@dataclass(frozen=True)
class Instructions:
    """What the model is told about every window of a request."""

    language: str | None
    """None means that the model detects it."""
    translate: bool = False
    prompt: str | None = None
    hotwords: tuple[str, ...] = ()
    temperatures: tuple[float, ...] = (0.0,)

    def instruction(self) -> str:
        """Return the text of the instruction."""
        return instruction(
            language=self.language,
            translate=self.translate,
            prompt=self.prompt,
            hotwords=self.hotwords,
            tell=self.language is None,
        )


@dataclass
class Tally:
    """Tokens and seconds counted for a request."""

    read: int = 0
    audio: int = 0
    """Those of `read` that were sound."""
    written: int = 0
    seconds: float = 0.0

    def usage(self) -> Usage:
        """Return the counts as the contract's usage."""
        return Usage(input_tokens=self.read, audio_tokens=self.audio, output_tokens=self.written, audio_seconds=self.seconds)


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
        """Return whether this is rather a loop than speech."""
        return self.cut or self.packing > LOOP


@dataclass
class Recording:
    """One request. Its segments come in order, though several of its windows are computed at once."""

    engine: Engine
    answer: Callable[[], Answer]
    """Returns what reads an answer's tokens."""
    ends: frozenset[int]
    clip_of: Callable[[Window], Clip]
    prompt: Prompt
    instructions: Instructions
    context: Context
    job: Hashable
    context_length: int
    """Tokens that a prompt and its answer may have."""
    tally: Tally = field(default_factory=Tally)
    reported_language: str | None = None
    """The language of the last `Detected`."""

    def transcribe(self, windows: Iterable[Window], seconds: float, *, ahead: int) -> Iterator[TranscribeEvent]:
        """Yield the segments of windows that belong to sound of `seconds`; at most `ahead` windows are computed at once.

        Ends early, without an error, when the request is cancelled.
        """
        waiting = iter(windows)
        submitted: deque[tuple[Window, Clip, Row]] = deque()
        alone = self.instructions.language is None
        try:
            while not self.context.cancelled:
                # The first window tells the language; the others wait for that.
                while len(submitted) < (1 if alone else ahead) and (window := next(waiting, None)):
                    clip = self.clip_of(window)
                    submitted.append((window, clip, self._begin(window, clip, self.instructions.temperatures[0])))
                if not submitted:
                    return
                window, clip, row = submitted.popleft()
                attempt, degenerate = self._best(window, clip, row)
                if self.context.cancelled:
                    return
                alone = self.instructions.language is None and not (attempt.text and not degenerate)
                if attempt.text and not degenerate:
                    yield from self._detected(attempt.language)
                    yield self._segment(window, attempt)
                if window.end < seconds:
                    yield Progress(fraction=window.end / seconds, step="transcribing")
        finally:
            for _, _, row in submitted:
                row.cancelled = True

    def _detected(self, language: str | None) -> Iterator[Detected]:
        if language and not self.instructions.language:
            self.instructions = replace(self.instructions, language=language)
            if language != self.reported_language:
                self.reported_language = language
                yield Detected(language=language)

    def _begin(self, window: Window, clip: Clip, temperature: float) -> Row:
        prompt = self.prompt(clip, self.instructions.instruction())
        limit = LEAST + round(RATE * (window.end - window.start))
        if len(prompt) + limit > self.context_length:
            raise BadInputError(
                f"the prompt and a window of the recording have {len(prompt)} tokens, its transcript may have {limit}, "
                f"and this model holds {self.context_length} together; shorten the prompt",
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
        self.tally.audio += clip.tokens
        self.engine.submit(row)
        return row

    def _best(self, window: Window, clip: Clip, first: Row) -> tuple[Attempt, bool]:
        """Return the best of as many attempts as it takes, and whether even that is a loop."""
        attempts = [self._read(first, self.instructions.temperatures[0])]
        for temperature in self.instructions.temperatures[1:]:
            if self.context.cancelled or not attempts[-1].doubtful:
                break
            latest = self._read(self._begin(window, clip, temperature), temperature)
            for before in attempts:
                whole = not before.cut and not latest.cut
                if whole and same_words(before.text, latest.text):  # sampled, and still the same: the speaker repeats it
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
            if self.context.cancelled or (len(tokens) % LOOP_CHECK_TOKENS == 0 and (looped := loops(tokens))):
                break
        self.tally.written += len(tokens)
        text = "".join(piece.text for piece in (*pieces, *answer.finish()) if isinstance(piece, Delta))
        language, text = leading_language(text)  # some write it although not asked
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
