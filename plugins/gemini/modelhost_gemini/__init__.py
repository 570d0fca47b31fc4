"""Google's Gemini models, through Google's own SDK.

This module is what the host reads to know the plugin; the SDK is imported when a model is loaded.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from modelhost import Backend, Context, GenerateEvent, GenerateRequest, ModelCard, NotReadyError, hookimpl

from modelhost_gemini.options import GeminiOptions

if TYPE_CHECKING:  # brings the SDK
    from modelhost_gemini.client import GeminiClient

__all__ = ["GeminiBackend", "GeminiOptions"]


class GeminiBackend(Backend[GeminiOptions]):
    """One of Google's hosted Gemini models."""

    loaded: "GeminiClient"

    @classmethod
    def leaves_machine(cls, options: GeminiOptions) -> bool:
        """Return whether requests go anywhere but to this machine."""
        return not options.server_is_here

    def load(self) -> ModelCard:
        """Make the client ready. Google is not asked, so a wrong key fails the requests and not the load.

        Raises `NotReadyError` where there is no key.
        """
        if not self.options.api_key.strip():
            raise NotReadyError(
                'there is no key for Gemini: set api_key = "${GEMINI_API_KEY}" in the model\'s options, and that variable',
                retry=False,
            )
        from modelhost_gemini.client import GeminiClient

        self.loaded = GeminiClient(self.options)
        return ModelCard(
            inputs=self.options.inputs,
            features=("streaming", "stop", *self.options.features),
            context_length=self.options.context_length,
            concurrency=self.options.concurrency,
            device="remote",
        )

    @hookimpl
    def generate(self, request: GenerateRequest, context: Context) -> AsyncIterator[GenerateEvent]:
        """Pass the conversation on, and the answer back as it comes."""
        return self.loaded.generate(request, context)
