"""Speech from a fish-speech / OpenAudio-S1-mini server.

This module is what the host reads to know the plugin; the HTTP client is imported when a model is loaded.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from modelhost import (
    Backend,
    ModelCard,
    SynthesizeEvent,
    SynthesizeRequest,
    VoicesEvent,
    VoicesRequest,
    hookimpl,
)

from modelhost_openaudio.options import OpenAudioOptions, Reference

if TYPE_CHECKING:  # brings httpx
    from modelhost_openaudio.speech_server import SpeechServer

__all__ = ["OpenAudioBackend", "OpenAudioOptions", "Reference"]


class OpenAudioBackend(Backend[OpenAudioOptions]):
    """Speech and voices of a fish-speech server, which runs already or is started with the model."""

    loaded: "SpeechServer"

    @classmethod
    def leaves_machine(cls, options: OpenAudioOptions) -> bool:
        """Return whether the server is on another machine."""
        return options.leaves_machine

    def load(self) -> ModelCard:
        """Connect to the server or start it, and add the configured voices.

        Raises `NotReadyError` where there is no server, it does not accept the key, or a configured voice is missing.
        """
        from modelhost_openaudio.speech_server import SpeechServer

        server = SpeechServer(self.options, self.log)
        card = server.load()
        self.loaded = server
        return card

    @hookimpl
    def synthesize(self, request: SynthesizeRequest) -> AsyncIterator[SynthesizeEvent]:
        """Speak the text, chunk by chunk as the server makes it."""
        return self.loaded.synthesize(request)

    @hookimpl
    def voices(self, request: VoicesRequest) -> AsyncIterator[VoicesEvent]:
        """Name the voices on the server, after adding or deleting one."""
        return self.loaded.voices(request)
