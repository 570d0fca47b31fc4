"""Any server that speaks OpenAI's API as a backend: the hosted fallback, and how hosts chain.

This module is what the host reads to know the plugin; the HTTP client is imported when a model is loaded.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from modelhost import (
    Ability,
    Backend,
    Context,
    EmbedEvent,
    EmbedRequest,
    GenerateEvent,
    GenerateRequest,
    ModelCard,
    SynthesizeEvent,
    SynthesizeRequest,
    TranscribeEvent,
    TranscribeRequest,
    hookimpl,
)

from modelhost_openai_api.options import OpenaiApiOptions

if TYPE_CHECKING:  # brings the HTTP client
    from modelhost_openai_api.upstream import Upstream

__all__ = ["OpenaiApiBackend", "OpenaiApiOptions"]


class OpenaiApiBackend(Backend[OpenaiApiOptions]):
    """One model of one upstream."""

    loaded: "Upstream"

    @classmethod
    def leaves_machine(cls, options: OpenaiApiOptions) -> bool:
        """Return whether the upstream is anywhere but on this machine."""
        return not options.upstream_is_here

    @classmethod
    def abilities_of(cls, options: OpenaiApiOptions) -> tuple[Ability, ...]:
        """Return what the operator says that the upstream does."""
        return options.abilities

    def load(self) -> ModelCard:
        """Make the client ready; the upstream is not asked, so one that is away fails its requests and not the load."""
        from modelhost_openai_api.card import card_of
        from modelhost_openai_api.upstream import Upstream

        self.loaded = Upstream(self.options, self.options.model or self.model)
        return card_of(self.options)

    @hookimpl
    def generate(self, request: GenerateRequest, context: Context) -> AsyncIterator[GenerateEvent]:
        """Pass the conversation or the prompt on, and the answer back as it comes."""
        from modelhost_openai_api.generate import generate

        return generate(self.loaded, request, context)

    @hookimpl
    def transcribe(self, request: TranscribeRequest, context: Context) -> AsyncIterator[TranscribeEvent]:
        """Upload the recording and return the transcript."""
        from modelhost_openai_api.transcribe import transcribe

        return transcribe(self.loaded, request, context)

    @hookimpl
    def synthesize(self, request: SynthesizeRequest, context: Context) -> AsyncIterator[SynthesizeEvent]:
        """Synthesize the text, and return the sound as it comes."""
        from modelhost_openai_api.synthesize import synthesize

        return synthesize(self.loaded, request, context)

    @hookimpl
    def embed(self, request: EmbedRequest, context: Context) -> AsyncIterator[EmbedEvent]:
        """Return the upstream's vectors, at length 1."""
        from modelhost_openai_api.embed import embed

        return embed(self.loaded, request, context)
