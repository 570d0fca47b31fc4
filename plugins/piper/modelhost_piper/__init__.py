"""Text to speech with Piper voices.

This module is what the host reads to know the plugin; Piper itself is imported when a model is loaded.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelhost import Backend, Context, ModelCard, SynthesizeEvent, SynthesizeRequest, hookimpl

from modelhost_piper.options import PiperOptions

if TYPE_CHECKING:  # brings onnxruntime
    from modelhost_piper.synthesizer import Synthesizer

__all__ = ["PiperBackend", "PiperOptions"]


class PiperBackend(Backend[PiperOptions]):
    """One or more Piper voices."""

    loaded: "Synthesizer"

    def load(self) -> ModelCard:
        """Load the voices.

        Raises `NotReadyError` where a file is missing or cannot be loaded, `BadInputError` where an option cannot work.
        """
        from modelhost_piper.synthesizer import Synthesizer

        self.loaded = Synthesizer(self.options, threads=self.options.threads or self.threads)
        return self.loaded.card()

    @hookimpl
    def synthesize(self, request: SynthesizeRequest, context: Context) -> Iterator[SynthesizeEvent]:
        """Speak a text, sentence by sentence."""
        return self.loaded.synthesize(request, context)
