"""A loaded Gemma: its parts, and which of them answers a request."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from modelhost import (
    ComputeThread,
    Context,
    Done,
    GenerateEvent,
    GenerateRequest,
    Log,
    ModelCard,
    TokenizeEvent,
    TokenizeRequest,
    Tokens,
    TranscribeEvent,
    TranscribeRequest,
    UnsupportedError,
)
from modelhost.audio import SAMPLE_RATE, Samples

from modelhost_gemma_audio.answer import GEMMA4
from modelhost_gemma_audio.audio_features import AudioFeatures
from modelhost_gemma_audio.chat import Chat
from modelhost_gemma_audio.checkpoint import look
from modelhost_gemma_audio.engine import Engine, Row
from modelhost_gemma_audio.loader import load_extractor, load_model, load_tokenizer
from modelhost_gemma_audio.options import GemmaAudioOptions
from modelhost_gemma_audio.parts import Parts
from modelhost_gemma_audio.placement import choose_placement
from modelhost_gemma_audio.prompt import Prompts
from modelhost_gemma_audio.sampling import Sampling
from modelhost_gemma_audio.transcript_request import find_transcript_request
from modelhost_gemma_audio.transcription import Transcription, recording_turn
from modelhost_gemma_audio.vocabulary import Vocabulary

LONGEST_CONTEXT = 32_768
"""Tokens, unless the options say otherwise; chosen, because the cache of a longer context takes many GB."""


class GemmaModel:
    """A checkpoint, ready to answer. Used from many threads at once."""

    def __init__(self, options: GemmaAudioOptions, *, threads: int, log: Log, compute: ComputeThread) -> None:
        """Load it on this thread, which is `compute`'s; raises what `Backend.load` may raise."""
        assert options.source is not None
        torch.set_num_threads(options.threads or threads)
        self._checkpoint = checkpoint = look(options.source.path)
        self._placement = choose_placement(checkpoint, options)
        model: Any = load_model(checkpoint, self._placement, options)
        tokenizer = load_tokenizer(checkpoint)
        vocabulary = Vocabulary(tokenizer, checkpoint, model.generation_config)
        prompts = Prompts(checkpoint, vocabulary)
        hears = checkpoint.hears and prompts.has_template
        trained = int(getattr(model.config.get_text_config(), "max_position_embeddings", LONGEST_CONTEXT))
        usual_slots = 1 if options.low_memory else 4 if self._placement.kind == "cpu" else 8
        slots = options.batch_size or usual_slots
        self.parts = Parts(
            options=options,
            vocabulary=vocabulary,
            prompts=prompts,
            audio_features=AudioFeatures(checkpoint, load_extractor(checkpoint)) if hears else None,
            engine=Engine(
                model,
                self._placement.device,
                slots=slots,
                tidy=options.low_memory,
                log=log,
            ),
            layout=getattr(tokenizer, "response_template", None) or (GEMMA4 if checkpoint.kind.startswith("gemma4") else None),
            generation_config=model.generation_config,
            context_length=min(options.context_length or LONGEST_CONTEXT, trained),
            slots=slots,
        )
        try:
            self.chat = Chat(self.parts)
            self.transcription = Transcription(self.parts) if hears else None
            if options.warm_up:
                self._warm_up()
        except BaseException:
            self.close()
            raise
        self.parts.engine.start(compute)

    def close(self) -> None:
        """Stop computing."""
        self.parts.engine.close()

    def card(self) -> ModelCard:
        """Return what this model can do."""
        prompts, layout, hears = self.parts.prompts, self.parts.layout, self.transcription is not None
        return ModelCard(
            abilities=("transcribe", "generate", "tokenize") if hears else ("generate", "tokenize"),
            inputs=("text", "audio") if hears else ("text",),
            features=(
                *("streaming", "stop", "completion", "top_k", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty"),
                *("logit_bias", "ignore_eos"),
                *(("prefill",) if prompts.has_template else ()),
                *(("tools",) if prompts.takes_tools and layout else ()),
                *(("reasoning",) if prompts.can_think and layout else ()),
                *(("live", "translate", "hotwords") if hears else ()),
            ),
            context_length=self.parts.context_length,
            concurrency=self.parts.options.concurrency,
            size_bytes=self._checkpoint.size,
            device=self._placement.device,
        )

    def transcribe(self, request: TranscribeRequest, context: Context) -> Iterator[TranscribeEvent]:
        """Transcribe a recording of any length, or live sound. Raises `UnsupportedError` where the model has no audio encoder."""
        if self.transcription is None:
            raise UnsupportedError("this model does not hear; name a Gemma 3n or Gemma 4")
        yield from self.transcription.transcribe(request, context)

    def generate(self, request: GenerateRequest, context: Context) -> Iterator[GenerateEvent]:
        """Answer a request; raises `BadInputError` or `UnsupportedError` before the first event."""
        transcript_request = find_transcript_request(request.messages) if self.transcription and request.prompt is None else None
        if self.transcription and transcript_request:
            yield from self.transcription.answer(transcript_request, request, context)
        else:
            yield from self.chat.answer(request, context)

    def tokenize(self, request: TokenizeRequest) -> Iterator[TokenizeEvent]:
        """Count without computing. Raises `BadInputError` or `UnsupportedError`."""
        vocabulary = self.parts.vocabulary
        text = ""
        if request.tokens is not None:
            tokens = vocabulary.existing(request.tokens, "tokens")
            text = vocabulary.text(tokens)
        elif request.text is not None:
            tokens = vocabulary.ids(request.text, control=request.parse_special, param="text")
            tokens = [*vocabulary.begin(), *tokens] if request.add_special else tokens
        else:
            tokens = self.parts.prompts.of_chat(
                request.messages,
                self.chat.sounds(request.messages)[0],
                begins=request.add_generation_prompt is not False,
                continues=request.continues,
            )
        yield Tokens(tokens=tuple(tokens), text=text)
        yield Done()

    def _warm_up(self) -> None:
        parts = self.parts
        silence: Samples = np.zeros(SAMPLE_RATE, np.float32)
        clips = [parts.audio_features.clip_of(silence)] if parts.audio_features else []
        prompt = parts.prompts.of_chat([recording_turn("Hello.")], clips) if clips else parts.vocabulary.prompt("Hello.")
        row = Row(job=None, prompt=prompt, clips=tuple(clips), sampling=Sampling(), limit=2, ends=frozenset())
        parts.engine.submit(row)
        parts.engine.compute_all()
        for _ in row.tokens():
            pass
