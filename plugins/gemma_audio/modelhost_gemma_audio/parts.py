"""The parts of a loaded model, as chat and transcription use them."""

from dataclasses import dataclass
from typing import Any

from modelhost_gemma_audio.answer import Answer, marks_of
from modelhost_gemma_audio.audio_features import AudioFeatures
from modelhost_gemma_audio.engine import Engine
from modelhost_gemma_audio.options import GemmaAudioOptions
from modelhost_gemma_audio.prompt import Prompts
from modelhost_gemma_audio.vocabulary import Vocabulary


@dataclass(frozen=True)
class Parts:
    """One model, ready to be used from many threads at once."""

    options: GemmaAudioOptions
    vocabulary: Vocabulary
    prompts: Prompts
    audio_features: AudioFeatures | None
    """None where it has no audio encoder."""
    engine: Engine
    layout: dict[str, Any] | None
    """How reasoning and tool calls are delimited in its answers; None where it has neither."""
    generation_config: Any
    """What the checkpoint says of sampling."""
    context_length: int
    """Tokens of prompt and answer together."""
    slots: int
    """Rows that are computed at once."""

    def answer(self, stops: tuple[str, ...] = (), *, raw: bool = False) -> Answer:
        """Return what reads an answer's tokens; in a `raw` one all is text."""
        if raw or not self.layout:
            return Answer(self.vocabulary.words(), stops)
        marks = self.vocabulary.named_in(marks_of(self.layout))
        return Answer(self.vocabulary.words(marks), stops, self.layout, marks)
