"""Speech to text with Whisper models, through faster-whisper and CTranslate2.

This module is what the host reads to know the plugin; the runtime is imported when a model is loaded.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from modelhost import Backend, Context, ModelCard, TranscribeEvent, TranscribeRequest, hookimpl
from modelhost.authors.devices import device_problem

from modelhost_whisper.options import WhisperOptions, WhisperRequestOptions

if TYPE_CHECKING:  # brings CTranslate2
    from modelhost_whisper.model import SpeechModel

__all__ = ["WhisperBackend", "WhisperOptions", "WhisperRequestOptions"]


class WhisperBackend(Backend[WhisperOptions]):
    """One Whisper model, shared by all requests window by window."""

    request_options = WhisperRequestOptions
    loaded: "SpeechModel"

    @classmethod
    def problems(cls, options: WhisperOptions) -> Iterable[str]:
        """Return what is wrong with `device`, if this machine has no such device."""
        problem = device_problem(options.device, ("cpu", "cuda"))
        return (problem,) if problem else ()

    def load(self) -> ModelCard:
        """Check the folder and load the model.

        Raises `NotReadyError` where files are missing or cannot be loaded, `BadInputError` where an option cannot work here.
        """
        from modelhost_whisper.model import SpeechModel

        self.loaded = SpeechModel(self.options, threads=self.options.threads or self.threads, compute=self.compute)
        return self.loaded.card()

    @hookimpl
    def transcribe(self, request: TranscribeRequest, context: Context) -> Iterator[TranscribeEvent]:
        """Write down a recording of any length, or live audio."""
        return self.loaded.transcribe(request, context)
