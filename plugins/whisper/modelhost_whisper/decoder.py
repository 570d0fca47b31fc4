"""One batch of windows through the model: the only module that knows how faster-whisper computes."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_compression_ratio, get_suppressed_tokens
from modelhost import Word
from numpy.typing import NDArray

from modelhost_whisper.loops import says_something
from modelhost_whisper.parts import LONGEST, parted
from modelhost_whisper.segments import PRECISION, Heard, Span, heard_to, split
from modelhost_whisper.votes import Languages

FRAMES_PER_SECOND = 100
FRAMES = 3000
"""Of a whole window."""

Spectrum = NDArray[np.float32]
"""Log-mel: bands × frames."""

_APART = 0.02
"""Seconds; a segment shorter than this says nothing."""

_TOKENS = 40
_TOKENS_PER_SECOND = 40
"""What a text may have, times included: three times what Hindi needs, of nine languages the densest, with 12 a second."""

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
    sure: float = 0.0
    """How probable its language must be for a window to be written down whose language is not given; else only that is told."""

    @property
    def seconds(self) -> float:
        """Length of its audio."""
        return float(self.features.shape[1] / FRAMES_PER_SECOND)

    @property
    def kind(self) -> Hashable:
        """Pieces of one kind can be computed together."""
        settings = self.settings
        alone = (settings.language, settings.task) if settings.words else None  # words are aligned in one language at a time
        return (len(settings.context), self.temperature, settings.words, alone, self.sure > 1)


@dataclass(frozen=True)
class Outcome:
    """What the model made of a window."""

    written: bool
    """False where only its `languages` are told."""
    segments: tuple[Heard, ...]
    covered: float
    """Seconds of the window that are done with."""
    heard_to: float
    """Seconds of the window after which the model says that nothing follows."""
    text: str
    language: str
    languages: Languages
    """Empty where the language was given."""
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
        """Return what turns tokens into text; `language` is of no matter to English-only models."""
        found = self._tokenizers.get((language, task))
        if found is None:
            multilingual = self._model.model.is_multilingual
            found = Tokenizer(self._model.hf_tokenizer, multilingual, task=task, language=language)
            self._tokenizers[language, task] = found
        return found

    def context(self, prompt: str | None, hotwords: tuple[str, ...]) -> tuple[int, ...]:
        """Return the tokens of a prompt and of words to expect, the words first, as Whisper was trained to read them.

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
        encoded = self._encode(pieces)
        languages = self._languages(pieces, encoded)
        outcomes = [_unwritten(told) for told in languages]
        sure = [n for n, piece in enumerate(pieces) if not languages[n] or max(languages[n].values()) >= piece.sure]
        if not sure:
            return outcomes
        if len(sure) < len(pieces):
            encoded = self._encode([pieces[n] for n in sure])
        for n, outcome in zip(sure, self._write([pieces[n] for n in sure], [languages[n] for n in sure], encoded), strict=True):
            outcomes[n] = outcome
        return outcomes

    def _encode(self, pieces: list[Piece]) -> Any:
        return self._model.encode(np.stack([pad_or_trim(piece.features) for piece in pieces]))

    def _languages(self, pieces: list[Piece], encoded: Any) -> list[Languages]:
        """Tell how probable each language is, where none is given and the model knows several."""
        given = [piece.settings.language for piece in pieces]
        if all(given) or not self._model.model.is_multilingual:
            return [{}] * len(pieces)
        told = self._model.model.detect_language(encoded)
        return [
            {} if language else {token[2:-2]: float(probability) for token, probability in found}
            for language, found in zip(given, told, strict=True)
        ]

    def _write(self, pieces: list[Piece], languages: list[Languages], encoded: Any) -> list[Outcome]:
        chosen = [_chosen(piece, told) for piece, told in zip(pieces, languages, strict=True)]
        tokenizers = [self.tokenizer(name, piece.settings.task) for piece, name in zip(pieces, chosen, strict=True)]
        results = self._generate(pieces, tokenizers, encoded)
        outcomes = [
            self._outcome(piece, tokenizer, language, told, result)
            for piece, tokenizer, language, told, result in zip(pieces, tokenizers, chosen, languages, results, strict=True)
        ]
        if pieces[0].settings.words:
            outcomes = self._with_words(pieces, tokenizers[0], encoded, outcomes)
        return [self._parted(piece, *of) for piece, *of in zip(pieces, tokenizers, outcomes, strict=True)]

    def _parted(self, piece: Piece, tokenizer: Tokenizer, outcome: Outcome) -> Outcome:
        """Cut segments that are too long between words. When those are said is found out for it, where nobody asked for it."""
        if all(one.end - one.start <= LONGEST for one in outcome.segments):
            return outcome
        if not piece.settings.words:
            (worded,) = self._with_words([piece], tokenizer, self._encode([piece]), [outcome])
        else:
            worded = outcome
        parts = [part for one in worded.segments for part in parted(one, tokenizer.encode)]
        if not piece.settings.words:
            parts = [replace(part, words=()) for part in parts]
        return replace(outcome, segments=tuple(parts))

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
            max_length=min(self._model.max_length, max(map(_most_tokens, pieces, prompts))),
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=get_suppressed_tokens(tokenizers[0], [-1]),
            max_initial_timestamp_index=round(1.0 / PRECISION),
            **sampling,
        )

    def _outcome(self, piece: Piece, tokenizer: Tokenizer, language: str, languages: Languages, result: Any) -> Outcome:
        tokens = result.sequences_ids[0]
        spans, covered = split(tokens, tokenizer.timestamp_begin, piece.seconds)
        heard = [_heard(span, tokenizer, piece.seconds) for span in spans]
        text = tokenizer.decode(tokens).strip()
        return Outcome(
            written=True,
            segments=tuple(one for one in heard if says_something(one.text) and one.end - one.start >= _APART),
            covered=covered,
            heard_to=heard_to(tokens, tokenizer.timestamp_begin, piece.seconds),
            text=text,
            language=language,
            languages=languages,
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
            replace(outcome, segments=tuple(map(_worded, outcome.segments, draft)))
            for outcome, draft in zip(outcomes, drafts, strict=True)
        ]


def _chosen(piece: Piece, languages: Languages) -> str:
    """Return the language to write in; English-only models neither tell nor need one."""
    return piece.settings.language or max(languages, key=languages.__getitem__, default="en")


def _most_tokens(piece: Piece, prompt: list[int]) -> int:
    """Bound what a loop can cost."""
    return len(prompt) + _TOKENS + round(_TOKENS_PER_SECOND * piece.seconds)


def _unwritten(languages: Languages) -> Outcome:
    return Outcome(
        written=False,
        segments=(),
        covered=0.0,
        heard_to=0.0,
        text="",
        language="",
        languages=languages,
        avg_logprob=0.0,
        no_speech_prob=0.0,
        compression_ratio=0.0,
    )


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
