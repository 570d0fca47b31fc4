"""Chat with GGUF models through llama.cpp, and vectors from those that embed.

This module is what the host reads to know the plugin; llama.cpp itself is imported when a model is loaded.
"""

from collections.abc import Iterator
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
    ModelhostError,
    NotReadyError,
    TokenizeEvent,
    TokenizeRequest,
    UnsupportedError,
    hookimpl,
)

from modelhost_gguf_chat.options import GgufChatOptions

if TYPE_CHECKING:  # brings llama.cpp
    from modelhost_gguf_chat.embedding import EmbeddingModel
    from modelhost_gguf_chat.model import ChatModel

__all__ = ["GgufChatBackend", "GgufChatOptions"]


class GgufChatBackend(Backend[GgufChatOptions]):
    """One GGUF model in one llama.cpp context: one that continues text, or one that turns texts into vectors."""

    _loaded: "ChatModel | None" = None
    _embedding: "EmbeddingModel | None" = None

    @classmethod
    def abilities_of(cls, options: GgufChatOptions) -> tuple[Ability, ...] | None:
        """Return `embed` where the options ask for it; else the file decides."""
        return ("embed",) if options.embeddings else None

    def load(self) -> ModelCard:
        """Check the file, map it and compute one token.

        Raises `NotReadyError` where weights are missing or llama.cpp cannot load them, `BadInputError` where the file
        or an option is wrong.
        """
        from modelhost_gguf_chat.embedding import EmbeddingModel
        from modelhost_gguf_chat.model import ChatModel
        from modelhost_gguf_chat.weights import find_weights

        weights = find_weights(self.options.source.path)
        if weights.embeds or self.options.embeddings:
            self._embedding = EmbeddingModel(weights, self.options, threads=self.threads, log=self.log, compute=self.compute)
            return self._embedding.card()
        self._loaded = ChatModel(weights, self.options, threads=self.threads, log=self.log, compute=self.compute)
        return self._loaded.card()

    def unload(self) -> None:
        """Cancel what runs and free context and weights."""
        loaded = (self._loaded, self._embedding)
        self._loaded = self._embedding = None
        for model in loaded:
            if model:
                model.close()

    @hookimpl
    def generate(self, request: GenerateRequest, context: Context) -> Iterator[GenerateEvent]:
        """Continue the conversation or the prompt, token by token."""
        yield from self._chat().generate(request, context)

    @hookimpl
    def tokenize(self, request: TokenizeRequest) -> Iterator[TokenizeEvent]:
        """Return the tokens of a text or a chat, or what tokens say; never waits for an answer that is being computed."""
        yield from self._chat().tokenize(request)

    @hookimpl
    def embed(self, request: EmbedRequest, context: Context) -> Iterator[EmbedEvent]:
        """Turn texts or tokens into unit vectors."""
        if self._embedding is None:
            raise self._cannot("this model continues text; name an embedding model")
        yield from self._embedding.embed(request, context)

    def _chat(self) -> "ChatModel":
        if self._loaded is None:
            raise self._cannot("this model turns texts into vectors; name a model that continues text")
        return self._loaded

    def _cannot(self, why: str) -> ModelhostError:
        if self._loaded or self._embedding:
            return UnsupportedError(why)
        return NotReadyError("this model is not loaded; wait until it is ready and send the request again")
