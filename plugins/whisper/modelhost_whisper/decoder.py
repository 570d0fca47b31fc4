"""One batch of windows through the model: the only module that knows how faster-whisper computes."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_compression_ratio, get_suppressed_tokens
from modelhost import Word
from numpy.typing import NDArray

from modelhost_whisper.segments import PRECISION, Span, split

WINDOW = 30.0
"""Seconds of audio the models look at, whatever is said in them."""

FRAMES_PER_SECOND = 100
FRAMES = 3000
"""Of a whole window."""

Spectrum = NDArray[np.float32]
"""Log-mel: bands × frames."""

_APART = 0.02
"""Seconds; a segment shorter than this says nothing."""

_PREPENDED = "\"'“¿([{-"
_APPENDED = "\"'.。,，!！?？:：”)]}、"


@dataclass(frozen=True)
class Settings:
    """What a request asks of the model."""

    task: str
    language: str | None
    """None means that the model is to tell."""
    context: tuple[int, ...]
    """Tokens said to have been heard before the window: the prompt and the words to expect."""
    words: bool


@dataclass(frozen=True)
class Piece:
    """A window to compute."""

    features: Spectrum
    """At most `FRAMES` of it."""
    settings: Settings
    temperature: float

    @property
    def seconds(self) -> float:
        """Length of its audio."""
        return float(self.features.shape[1] / FRAMES_PER_SECOND)

    @property
    def kind(self) -> Hashable:
        """Pieces of one kind can be computed together."""
        settings = self.settings
        alone = (settings.language, settings.task) if settings.words else None  # words are aligned in one language at a time
        return (len(settings.context), self.temperature, settings.words, alone)


@dataclass(frozen=True)
class Heard:
    """A segment of a window; times are in seconds from the window's start."""

    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Outcome:
    """What the model made of a window."""

    segments: tuple[Heard, ...]
    covered: float
    """Seconds of the window that are done with."""
    text: str
    language: str
    language_probability: float | None
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    """How well the text packs: a loop packs well."""


class Decoder:
    """Computes batches."""

    def __init__(self, model: WhisperModel, beam_size: int) -> None:
        self._model = model
        self._beam_size = beam_size
        self._tokenizers: dict[tuple[str, str], Tokenizer] = {}

    def tokenizer(self, language: str, task: str) -> Tokenizer:
        """Give what turns tokens into text; `language` is of no matter to English-only models."""
        found = self._tokenizers.get((language, task))
        if found is None:
            multilingual = self._model.model.is_multilingual
            found = Tokenizer(self._model.hf_tokenizer, multilingual, task=task, language=language)
            self._tokenizers[language, task] = found
        return found

    def context(self, prompt: str | None, hotwords: tuple[str, ...]) -> tuple[int, ...]:
        """Give the tokens of a prompt and of words to expect, the words first, as Whisper was trained to read them.

        Names of control tokens in them become nothing. The last 223 tokens of a prompt count, and the first 223 of the words.
        """
        most = self._model.max_length // 2 - 1
        words = self._plain(" ".join(hotwords))[:most]
        said = self._plain(prompt or "")[-(most - len(words)) :] if len(words) < most else []
        return (*words, *said)

    def _plain(self, text: str) -> list[int]:
        tokenizer = self.tokenizer("en", "transcribe")
        return [token for token in tokenizer.encode(" " + text.strip()) if token < tokenizer.eot] if text.strip() else []

    def compute(self, pieces: list[Piece]) -> list[Outcome]:
        """Compute pieces of one kind."""
        encoded = self._model.encode(np.stack([pad_or_trim(piece.features) for piece in pieces]))
        languages = self._languages(pieces, encoded)
        tokenizers = [self.tokenizer(name, piece.settings.task) for piece, (name, _) in zip(pieces, languages, strict=True)]
        results = self._generate(pieces, tokenizers, encoded)
        outcomes = [
            self._outcome(piece, tokenizer, language, result)
            for piece, tokenizer, language, result in zip(pieces, tokenizers, languages, results, strict=True)
        ]
        return self._with_words(pieces, tokenizers[0], encoded, outcomes) if pieces[0].settings.words else outcomes

    def _languages(self, pieces: list[Piece], encoded: Any) -> list[tuple[str, float | None]]:
        given = [piece.settings.language for piece in pieces]
        if not self._model.model.is_multilingual:
            return [("en", None)] * len(pieces)
        if all(given):
            return [(str(name), None) for name in given]
        told = [(found[0][0][2:-2], float(found[0][1])) for found in self._model.model.detect_language(encoded)]
        return [(name, None) if name else told[number] for number, name in enumerate(given)]

    def _generate(self, pieces: list[Piece], tokenizers: list[Tokenizer], encoded: Any) -> Any:
        context = [piece.settings.context for piece in pieces]
        prompts = [
            [*([tokenizer.sot_prev, *before] if before else []), *tokenizer.sot_sequence]
            for tokenizer, before in zip(tokenizers, context, strict=True)
        ]
        temperature = pieces[0].temperature
        sampling: dict[str, Any] = {"beam_size": self._beam_size}
        if temperature:
            sampling = {"beam_size": 1, "num_hypotheses": 5, "sampling_topk": 0, "sampling_temperature": temperature}
        return self._model.model.generate(
            encoded,
            prompts,
            max_length=self._model.max_length,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=get_suppressed_tokens(tokenizers[0], [-1]),
            max_initial_timestamp_index=round(1.0 / PRECISION),
            **sampling,
        )

    def _outcome(self, piece: Piece, tokenizer: Tokenizer, language: tuple[str, float | None], result: Any) -> Outcome:
        tokens = result.sequences_ids[0]
        spans, covered = split(tokens, tokenizer.timestamp_begin, piece.seconds)
        heard = [_heard(span, tokenizer, piece.seconds) for span in spans]
        text = tokenizer.decode(tokens).strip()
        return Outcome(
            segments=tuple(one for one in heard if one.text.strip() and one.end - one.start >= _APART),
            covered=covered,
            text=text,
            language=language[0],
            language_probability=language[1],
            avg_logprob=float(result.scores[0]) * len(tokens) / (len(tokens) + 1),
            no_speech_prob=float(result.no_speech_prob),
            compression_ratio=float(get_compression_ratio(text)) if text else 0.0,
        )

    def _with_words(self, pieces: list[Piece], tokenizer: Tokenizer, encoded: Any, outcomes: list[Outcome]) -> list[Outcome]:
        """Find when each word is said. The library wants segments as it makes them itself, and writes into them."""
        drafts = [
            [{"seek": 0, "start": one.start, "end": one.end, "tokens": list(one.tokens)} for one in outcome.segments]
            or [{"seek": 0, "start": 0.0, "end": 0.0, "tokens": []}]
            for outcome in outcomes
        ]
        frames = [piece.features.shape[1] for piece in pieces]
        self._model.add_word_timestamps(drafts, tokenizer, encoded, frames, _PREPENDED, _APPENDED, 0.0)
        return [
            Outcome(**{**vars(outcome), "segments": tuple(map(_worded, outcome.segments, draft))})
            for outcome, draft in zip(outcomes, drafts, strict=True)
        ]


def _heard(span: Span, tokenizer: Tokenizer, seconds: float) -> Heard:
    end = min(span.end, seconds)
    return Heard(min(span.start, end), end, tokenizer.decode(list(span.tokens)), span.tokens, ())


def _worded(one: Heard, draft: dict[str, Any]) -> Heard:
    words = tuple(
        Word(text=word["word"], start=float(word["start"]), end=float(word["end"]), probability=float(word["probability"]))
        for word in draft.get("words", ())
    )
    start, end = (words[0].start, max(words[-1].end, words[0].start)) if words else (one.start, one.end)
    return Heard(start, end, one.text, one.tokens, words)
