"""Chat with GGUF models through llama.cpp.

This module is what the host reads to know the plugin; llama.cpp itself is imported when a model is loaded.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelhost import (
    Backend,
    Context,
    GenerateEvent,
    GenerateRequest,
    ModelCard,
    NotReadyError,
    TokenizeEvent,
    TokenizeRequest,
    hookimpl,
)

from modelhost_gguf_chat.options import GgufChatOptions

if TYPE_CHECKING:  # brings llama.cpp
    from modelhost_gguf_chat.model import ChatModel

__all__ = ["GgufChatBackend", "GgufChatOptions"]


class GgufChatBackend(Backend[GgufChatOptions]):
    """One GGUF model in one llama.cpp context."""

    _loaded: "ChatModel | None" = None

    def load(self) -> ModelCard:
        """Check the file, map it and compute one token.

        Raises `NotReadyError` where weights are missing or llama.cpp cannot load them, `BadInputError` where the file
        or an option is wrong.
        """
        from modelhost_gguf_chat.model import ChatModel

        self._loaded = ChatModel(self.options, threads=self.threads, log=self.log)
        return self._loaded.card()

    def unload(self) -> None:
        """Cancel what runs and free context and weights."""
        loaded, self._loaded = self._loaded, None
        if loaded:
            loaded.close()

    @hookimpl
    def generate(self, request: GenerateRequest, context: Context) -> Iterator[GenerateEvent]:
        """Continue the conversation or the prompt, token by token."""
        yield from self._ready().generate(request, context)

    @hookimpl
    def tokenize(self, request: TokenizeRequest) -> Iterator[TokenizeEvent]:
        """Give the tokens of a text or a chat, or what tokens say; never waits for an answer that is being computed."""
        yield from self._ready().tokenize(request)

    def _ready(self) -> "ChatModel":
        if self._loaded is None:
            raise NotReadyError("this model is not loaded; wait until it is ready and send the request again")
        return self._loaded
