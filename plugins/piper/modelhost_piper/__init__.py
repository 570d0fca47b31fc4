"""Text to speech with Piper voices.

This module is what the host reads to know the plugin; Piper itself is imported when a model is loaded.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelhost import Backend, Context, ModelCard, NotReadyError, SynthesizeEvent, SynthesizeRequest, hookimpl

from modelhost_piper.options import PiperOptions

if TYPE_CHECKING:  # brings onnxruntime
    from modelhost_piper.speaker import Speaker

__all__ = ["PiperBackend", "PiperOptions"]


class PiperBackend(Backend[PiperOptions]):
    """One or more Piper voices."""

    _loaded: "Speaker | None" = None

    def load(self) -> ModelCard:
        """Load the voices.

        Raises `NotReadyError` where a file is missing or cannot be loaded, `BadInputError` where an option cannot work.
        """
        from modelhost_piper.speaker import Speaker

        self._loaded = Speaker(self.options, threads=self.options.threads or self.threads)
        return self._loaded.card()

    def unload(self) -> None:
        """Let go of the voices."""
        self._loaded = None

    @hookimpl
    def synthesize(self, request: SynthesizeRequest, context: Context) -> Iterator[SynthesizeEvent]:
        """Speak a text, sentence by sentence."""
        if self._loaded is None:
            raise NotReadyError("this model is not loaded; wait until it is ready and send the request again")
        yield from self._loaded.speak(request, context)
