"""What a loaded model consists of, for those who answer with it."""

from dataclasses import dataclass
from typing import Any

from modelhost_gemma_audio.answer import Answer, marks_of
from modelhost_gemma_audio.ears import Ears
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
    ears: Ears | None
    """None where it only reads."""
    engine: Engine
    layout: dict[str, Any] | None
    """How thoughts and calls are told apart in its answers; None where it has neither."""
    usual: Any
    """What the checkpoint says of sampling."""
    context_length: int
    """Tokens of prompt and answer together."""
    places: int
    """Rows that are computed at once."""

    def answer(self, stops: tuple[str, ...] = (), *, raw: bool = False) -> Answer:
        """Begin to read an answer; a `raw` one is all text."""
        if raw or not self.layout:
            return Answer(self.vocabulary.words(), stops)
        marks = self.vocabulary.named_in(marks_of(self.layout))
        return Answer(self.vocabulary.words(marks), stops, self.layout, marks)
