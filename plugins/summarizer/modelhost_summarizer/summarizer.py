"""From a request to its summary: what the text is, for whom it is summarised, and by how many steps."""

from collections.abc import Generator, Iterator
from pathlib import Path

from modelhost import (
    Blob,
    Context,
    Delta,
    Detected,
    Done,
    Progress,
    SummarizeEvent,
    SummarizeRequest,
)

from modelhost_summarizer import language, text
from modelhost_summarizer.condenser import Condenser
from modelhost_summarizer.generator import CallerGoneError, TextGenerator
from modelhost_summarizer.options import SummarizerOptions
from modelhost_summarizer.personas import Persona, Personas
from modelhost_summarizer.summary import SummaryWriter

CONDENSING = 0.1
"""Share of the progress that condensing a log counts for. Chosen, because the generator takes most of the time."""


class Summarizer:
    """Serves the requests of one model."""

    def __init__(self, options: SummarizerOptions) -> None:
        self._options = options
        self.personas = Personas([Path(folder.path) for folder in options.personas])

    def summarize(self, request: SummarizeRequest, context: Context) -> Iterator[SummarizeEvent]:
        """Yield the language, progress where there are several steps, the summary, and `Done` with what all calls cost."""
        beginning = text.beginning(request.text)
        found = language.named(request.language or "") or language.detect(request.filename, beginning)
        yield Detected(language=found)
        persona = self.personas.find(request.persona or self._usual_persona(found))
        material = yield from self._material(request.text, found, context)
        if context.cancelled:
            return
        text.refuse_longer(len(material), self._options.max_characters)
        generator = TextGenerator(
            request.generator or self._options.generator, request, context, temperature=self._options.temperature
        )
        try:
            yield from self._written(generator, persona, request, found, material)
        except CallerGoneError:
            return
        yield Done(reason=generator.reason, usage=generator.usage, ignored=generator.ignored)

    def _written(
        self, generator: TextGenerator, persona: Persona, request: SummarizeRequest, found: str, material: str
    ) -> Iterator[Delta | Progress]:
        writer = SummaryWriter(
            generator,
            persona,
            filename=request.filename,
            language=found,
            max_tokens=request.max_tokens or self._options.max_tokens,
            context_length=self._options.context_length,
            begun=CONDENSING if self._condenses(found) else 0.0,
        )
        return writer.summary(material)

    def _usual_persona(self, found: str) -> str:
        if found == language.LOG:
            return self._options.log_persona
        return self._options.code_persona if language.is_code(found) else self._options.document_persona

    def _condenses(self, found: str) -> bool:
        condense_logs = self._options.condense_logs
        return condense_logs == "always" or (condense_logs == "auto" and found == language.LOG)

    def _material(self, blob: Blob, found: str, context: Context) -> Generator[Progress, None, str]:
        """Return what the generator is to read, yielding how far condensing has come; only a part of it where cancelled."""
        if not self._condenses(found):
            return text.whole(blob, self._options.max_characters)
        condenser = Condenser(self._options.condensed_lines)
        whole = max(1, blob.size)
        for number, piece in enumerate(text.pieces(blob), 1):
            condenser.take(piece)
            if context.cancelled:
                break
            yield Progress(fraction=CONDENSING * min(1.0, number * text.PIECE / whole), step="condensing the log")
        return condenser.text()
