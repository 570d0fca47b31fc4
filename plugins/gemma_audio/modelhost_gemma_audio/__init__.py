"""Transcription, and chat that hears, with Gemma 3n and Gemma 4 through Transformers; text chat with other Gemmas.

This module is what the host reads to know the plugin; torch and Transformers are imported when a model is loaded.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from modelhost import (
    Backend,
    Context,
    GenerateEvent,
    GenerateRequest,
    ModelCard,
    TokenizeEvent,
    TokenizeRequest,
    TranscribeEvent,
    TranscribeRequest,
    hookimpl,
)
from modelhost.authors.devices import device_problem

from modelhost_gemma_audio.options import GemmaAudioOptions

if TYPE_CHECKING:  # brings torch
    from modelhost_gemma_audio.model import GemmaModel

__all__ = ["GemmaAudioBackend", "GemmaAudioOptions"]


class GemmaAudioBackend(Backend[GemmaAudioOptions]):
    """One Gemma, shared by all requests token by token."""

    loaded: "GemmaModel"

    @classmethod
    def problems(cls, options: GemmaAudioOptions) -> Iterable[str]:
        """Return what is wrong with `device`, if this machine has no such device."""
        problem = device_problem(options.device)
        return (problem,) if problem else ()

    def load(self) -> ModelCard:
        """Check the folder, load the model and compute a second of silence.

        Raises `NotReadyError` where files are missing or memory is, `BadInputError` where an option cannot work here.
        """
        from modelhost_gemma_audio.model import GemmaModel

        self.loaded = GemmaModel(self.options, threads=self.options.threads or self.threads, log=self.log, compute=self.compute)
        return self.loaded.card()

    @hookimpl
    def transcribe(self, request: TranscribeRequest, context: Context) -> Iterator[TranscribeEvent]:
        """Write down a recording of any length, or live audio."""
        return self.loaded.transcribe(request, context)

    @hookimpl
    def generate(self, request: GenerateRequest, context: Context) -> Iterator[GenerateEvent]:
        """Continue a conversation, with recordings in it where the model hears, or a prompt."""
        return self.loaded.generate(request, context)

    @hookimpl
    def tokenize(self, request: TokenizeRequest) -> Iterator[TokenizeEvent]:
        """Return the tokens of a text or a chat, or what tokens say."""
        return self.loaded.tokenize(request)
