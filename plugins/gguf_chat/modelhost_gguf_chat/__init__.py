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
    EventStream,
    GenerateEvent,
    GenerateRequest,
    ModelCard,
    TokenizeEvent,
    TokenizeRequest,
    UnsupportedError,
    hookimpl,
)

from modelhost_gguf_chat.options import GgufChatOptions

if TYPE_CHECKING:  # brings llama.cpp
    from modelhost_gguf_chat.chat_model import ChatModel
    from modelhost_gguf_chat.embedding_model import EmbeddingModel

__all__ = ["GgufChatBackend", "GgufChatOptions"]


class GgufChatBackend(Backend[GgufChatOptions]):
    """One GGUF model in one llama.cpp context: one that continues text, or one that turns texts into vectors."""

    loaded: "ChatModel | EmbeddingModel"

    @classmethod
    def abilities_of(cls, options: GgufChatOptions) -> tuple[Ability, ...] | None:
        """Return `embed` where the options ask for it; else the file decides."""
        return ("embed",) if options.embeddings else None

    def load(self) -> ModelCard:
        """Check the file, map it and compute one token.

        Raises `NotReadyError` where weights are missing or llama.cpp cannot load them, `BadInputError` where the file
        or an option is wrong.
        """
        from modelhost_gguf_chat.chat_model import ChatModel
        from modelhost_gguf_chat.embedding_model import EmbeddingModel
        from modelhost_gguf_chat.weights import find_weights

        weights = find_weights(self.options.source.path)
        if weights.embeds or self.options.embeddings:
            self.loaded = EmbeddingModel(weights, self.options, threads=self.threads, log=self.log, compute=self.compute)
        else:
            self.loaded = ChatModel(
                weights, self.options, threads=self.threads, log=self.log, compute=self.compute, model=self.model
            )
        return self.loaded.card()

    def measures(self) -> dict[str, float]:
        """Return what the engine measures of itself."""
        return self.loaded.measures()

    @hookimpl
    def generate(self, request: GenerateRequest, context: Context) -> EventStream[GenerateEvent]:
        """Continue the conversation or the prompt, token by token."""
        return self._chat().generate(request, context)

    @hookimpl
    def tokenize(self, request: TokenizeRequest) -> Iterator[TokenizeEvent]:
        """Return the tokens of a text or a chat, or what tokens say; never waits for an answer that is being computed."""
        return self._chat().tokenize(request)

    @hookimpl
    def embed(self, request: EmbedRequest, context: Context) -> Iterator[EmbedEvent]:
        """Turn texts or tokens into unit vectors."""
        from modelhost_gguf_chat.embedding_model import EmbeddingModel

        if not isinstance(self.loaded, EmbeddingModel):
            raise UnsupportedError("this model continues text; name an embedding model")
        return self.loaded.embed(request, context)

    def _chat(self) -> "ChatModel":
        from modelhost_gguf_chat.chat_model import ChatModel

        if not isinstance(self.loaded, ChatModel):
            raise UnsupportedError("this model turns texts into vectors; name a model that continues text")
        return self.loaded
