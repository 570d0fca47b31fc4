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

from modelhost_whisper.long_segments import LONGEST, split_long_segment
from modelhost_whisper.loops import says_something
from modelhost_whisper.segments import PRECISION, Span, WindowSegment, speech_end, split
from modelhost_whisper.votes import Languages

FRAMES_PER_SECOND = 100
"""Frames of a spectrum: one for every 160 samples at 16 kHz, the `HOP_LENGTH` of https://github.com/openai/whisper,
whisper/audio.py."""
FRAMES = 3000
"""Frames of a whole window: 30 s, likewise."""

Spectrum = NDArray[np.float32]
"""Log-mel: bands × frames."""

_APART = 0.02
"""Seconds; a shorter segment is dropped. Chosen, because it is less than one step of the models' timestamps (`PRECISION`)."""

_TOKENS = 40
"""Tokens a text may have however short its window; chosen, because a word or two with their times need fewer."""
_TOKENS_PER_SECOND = 40
"""Tokens a text may have, times included. Chosen, because it is three times the 12 that Hindi needs, of nine languages the one
with the most."""

_PREPENDED = "\"'“¿([{-"
_APPENDED = "\"'.。,，!！?？:：”)]}、"


@dataclass(frozen=True)
class Settings:
    """What a request asks of the model."""

    task: str
    language: str | None
    """None means that the model detects it."""
    context: tuple[int, ...]
    """Tokens the model takes for the text before the window: the prompt and the words to expect."""
    words: bool
    beam_size: int


@dataclass(frozen=True)
class Piece:
    """A window to compute."""

    features: Spectrum
    """At most `FRAMES` frames."""
    settings: Settings
    temperature: float
    sure: float = 0.0
    """How probable the detected language must be for the window to be transcribed; below it only the languages are returned."""

    @property
    def seconds(self) -> float:
        """Return the length of its audio."""
        return float(self.features.shape[1] / FRAMES_PER_SECOND)

    @property
    def kind(self) -> Hashable:
        """Return what two pieces must have in common to be computed together."""
        settings = self.settings
        alone = (settings.language, settings.task) if settings.words else None  # words are aligned in one language at a time
        return (len(settings.context), self.temperature, settings.beam_size, settings.words, alone, self.sure > 1)


@dataclass(frozen=True)
class Outcome:
    """What the model made of a window."""

    written: bool
    """False where only its `languages` were detected."""
    segments: tuple[WindowSegment, ...]
    covered: float
    """Seconds of the window that need not be computed again."""
    speech_end: float
    """Seconds from the window's start to the last time that the model wrote: it heard no speech after it."""
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

    def __init__(self, model: WhisperModel) -> None:
        self._model = model
        self._tokenizers: dict[tuple[str, str], Tokenizer] = {}

    def tokenizer(self, language: str, task: str) -> Tokenizer:
        """Return the tokenizer for a language and a task; English-only models ignore `language`."""
        found = self._tokenizers.get((language, task))
        if found is None:
            multilingual = self._model.model.is_multilingual
            found = Tokenizer(self._model.hf_tokenizer, multilingual, task=task, language=language)
            self._tokenizers[language, task] = found
        return found

    def context(self, prompt: str | None, hotwords: tuple[str, ...]) -> tuple[int, ...]:
        """Return the tokens of a prompt and of words to expect, the words first, as Whisper was trained to read them.

        Names of control tokens in them are dropped. The last 223 tokens of a prompt count, and the first 223 of the words.
        """
        most = self._model.max_length // 2 - 1
        words = self._plain(" ".join(hotwords))[:most]
        prompt_tokens = self._plain(prompt or "")[-(most - len(words)) :] if len(words) < most else []
        return (*words, *prompt_tokens)

    def _plain(self, text: str) -> list[int]:
        tokenizer = self.tokenizer("en", "transcribe")
        return [token for token in tokenizer.encode(" " + text.strip()) if token < tokenizer.eot] if text.strip() else []

    def compute(self, pieces: list[Piece]) -> list[Outcome]:
        """Compute pieces of one kind."""
        encoded = self._encode(pieces)
        languages = self._languages(pieces, encoded)
        outcomes = [_unwritten(detected) for detected in languages]
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
        """Return how probable each language is, where none is given and the model knows several."""
        given = [piece.settings.language for piece in pieces]
        if all(given) or not self._model.model.is_multilingual:
            return [{}] * len(pieces)
        detected = self._model.model.detect_language(encoded)
        return [
            {} if language else {token[2:-2]: float(probability) for token, probability in found}
            for language, found in zip(given, detected, strict=True)
        ]

    def _write(self, pieces: list[Piece], languages: list[Languages], encoded: Any) -> list[Outcome]:
        chosen = [_chosen(piece, detected) for piece, detected in zip(pieces, languages, strict=True)]
        tokenizers = [self.tokenizer(name, piece.settings.task) for piece, name in zip(pieces, chosen, strict=True)]
        results = self._generate(pieces, tokenizers, encoded)
        outcomes = [
            self._outcome(piece, tokenizer, language, detected, result)
            for piece, tokenizer, language, detected, result in zip(pieces, tokenizers, chosen, languages, results, strict=True)
        ]
        if pieces[0].settings.words:
            outcomes = self._with_words(pieces, tokenizers[0], encoded, outcomes)
        return [self._split_long_segments(piece, *of) for piece, *of in zip(pieces, tokenizers, outcomes, strict=True)]

    def _split_long_segments(self, piece: Piece, tokenizer: Tokenizer, outcome: Outcome) -> Outcome:
        """Split segments that are too long, between words, whose times are computed for it if need be."""
        if all(one.end - one.start <= LONGEST for one in outcome.segments):
            return outcome
        if not piece.settings.words:
            (worded,) = self._with_words([piece], tokenizer, self._encode([piece]), [outcome])
        else:
            worded = outcome
        parts = [part for one in worded.segments for part in split_long_segment(one, tokenizer.encode)]
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
        sampling: dict[str, Any] = {"beam_size": pieces[0].settings.beam_size}
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
        segments = [_segment(span, tokenizer, piece.seconds) for span in spans]
        text = tokenizer.decode(tokens).strip()
        return Outcome(
            written=True,
            segments=tuple(one for one in segments if says_something(one.text) and one.end - one.start >= _APART),
            covered=covered,
            speech_end=speech_end(tokens, tokenizer.timestamp_begin, piece.seconds),
            text=text,
            language=language,
            languages=languages,
            avg_logprob=float(result.scores[0]) * len(tokens) / (len(tokens) + 1),
            no_speech_prob=float(result.no_speech_prob),
            compression_ratio=float(get_compression_ratio(text)) if text else 0.0,
        )

    def _with_words(self, pieces: list[Piece], tokenizer: Tokenizer, encoded: Any, outcomes: list[Outcome]) -> list[Outcome]:
        """Compute the times of words. faster-whisper takes its own form of segments, and writes the words into them."""
        drafts = [
            [{"seek": 0, "start": one.start, "end": one.end, "tokens": list(one.tokens)} for one in outcome.segments]
            or [{"seek": 0, "start": 0.0, "end": 0.0, "tokens": []}]
            for outcome in outcomes
        ]
        frames = [piece.features.shape[1] for piece in pieces]
        self._model.add_word_timestamps(drafts, tokenizer, encoded, frames, _PREPENDED, _APPENDED, 0.0)
        return [
            replace(outcome, segments=tuple(map(_with_word_times, outcome.segments, draft)))
            for outcome, draft in zip(outcomes, drafts, strict=True)
        ]


def _chosen(piece: Piece, languages: Languages) -> str:
    """Return the language to transcribe in; English-only models neither detect nor need one."""
    return piece.settings.language or max(languages, key=languages.__getitem__, default="en")


def _most_tokens(piece: Piece, prompt: list[int]) -> int:
    """Return how many tokens prompt and text may have, so that a loop costs no more."""
    return len(prompt) + _TOKENS + round(_TOKENS_PER_SECOND * piece.seconds)


def _unwritten(languages: Languages) -> Outcome:
    return Outcome(
        written=False,
        segments=(),
        covered=0.0,
        speech_end=0.0,
        text="",
        language="",
        languages=languages,
        avg_logprob=0.0,
        no_speech_prob=0.0,
        compression_ratio=0.0,
    )


def _segment(span: Span, tokenizer: Tokenizer, seconds: float) -> WindowSegment:
    end = min(span.end, seconds)
    return WindowSegment(min(span.start, end), end, tokenizer.decode(list(span.tokens)), span.tokens, ())


def _with_word_times(one: WindowSegment, draft: dict[str, Any]) -> WindowSegment:
    words = tuple(
        Word(text=word["word"], start=float(word["start"]), end=float(word["end"]), probability=float(word["probability"]))
        for word in draft.get("words", ())
    )
    start, end = (words[0].start, max(words[-1].end, words[0].start)) if words else (one.start, one.end)
    return WindowSegment(start, end, one.text, one.tokens, words)
