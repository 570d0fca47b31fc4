"""A loaded Gemma: its parts put together, and who answers what."""

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
from modelhost_gemma_audio.asking import transcript_asked
from modelhost_gemma_audio.chat import Chat
from modelhost_gemma_audio.checkpoint import look
from modelhost_gemma_audio.ears import Ears
from modelhost_gemma_audio.engine import Engine, Row
from modelhost_gemma_audio.loading import load_extractor, load_model, load_tokenizer
from modelhost_gemma_audio.options import GemmaAudioOptions
from modelhost_gemma_audio.parts import Parts
from modelhost_gemma_audio.placement import place
from modelhost_gemma_audio.prompt import Prompts
from modelhost_gemma_audio.sampling import Sampling
from modelhost_gemma_audio.transcription import Transcription, heard
from modelhost_gemma_audio.vocabulary import Vocabulary

LONGEST_CONTEXT = 32_768
"""Tokens, where the operator says nothing: the caches of a longer one fill any memory."""


class GemmaModel:
    """A checkpoint, ready to answer. Used from many threads at once."""

    def __init__(self, options: GemmaAudioOptions, *, threads: int, log: Log, compute: ComputeThread) -> None:
        """Load it on this thread, which is `compute`'s; raises what `Backend.load` may raise."""
        assert options.source is not None
        torch.set_num_threads(options.threads or threads)
        self._checkpoint = checkpoint = look(options.source.path)
        self._placement = place(checkpoint, options)
        model: Any = load_model(checkpoint, self._placement, options)
        tokenizer = load_tokenizer(checkpoint)
        vocabulary = Vocabulary(tokenizer, checkpoint, model.generation_config)
        prompts = Prompts(checkpoint, vocabulary)
        hears = checkpoint.hears and prompts.has_template
        trained = int(getattr(model.config.get_text_config(), "max_position_embeddings", LONGEST_CONTEXT))
        usual_places = 1 if options.low_memory else 4 if self._placement.kind == "cpu" else 8
        places = options.batch_size or usual_places
        self.parts = Parts(
            options=options,
            vocabulary=vocabulary,
            prompts=prompts,
            ears=Ears(checkpoint, load_extractor(checkpoint)) if hears else None,
            engine=Engine(
                model,
                self._placement.device,
                places=places,
                tidy=options.low_memory,
                log=log,
            ),
            layout=getattr(tokenizer, "response_template", None) or (GEMMA4 if checkpoint.kind.startswith("gemma4") else None),
            usual=model.generation_config,
            context_length=min(options.context_length or LONGEST_CONTEXT, trained),
            places=places,
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
        """Say what this model does."""
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
        """Write down a recording of any length, or live sound. Raises `UnsupportedError` where the model does not hear."""
        if self.transcription is None:
            raise UnsupportedError("this model does not hear; name a Gemma 3n or Gemma 4")
        yield from self.transcription.transcribe(request, context)

    def generate(self, request: GenerateRequest, context: Context) -> Iterator[GenerateEvent]:
        """Answer a request; raises `BadInputError` or `UnsupportedError` before the first event."""
        asked = transcript_asked(request.messages) if self.transcription and request.prompt is None else None
        if self.transcription and asked:
            yield from self.transcription.answer(asked, request, context)
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
        clips = [parts.ears.hear(silence)] if parts.ears else []
        prompt = parts.prompts.of_chat([heard("Hello.")], clips) if clips else parts.vocabulary.prompt("Hello.")
        row = Row(job=None, prompt=prompt, clips=tuple(clips), sampling=Sampling(), limit=2, ends=frozenset())
        parts.engine.submit(row)
        parts.engine.compute_all()
        for _ in row.tokens():
            pass
