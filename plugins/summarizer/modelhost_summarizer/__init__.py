"""Summaries of code, logs and documents, written by another model of the host.

This module is what the host reads to know the plugin; the rest is imported when a model is loaded.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from modelhost import (
    Ability,
    Backend,
    BadInputError,
    Context,
    ModelCard,
    SummarizeEvent,
    SummarizeRequest,
    hookimpl,
)

from modelhost_summarizer.options import SummarizerOptions

if TYPE_CHECKING:  # brings Pygments
    from modelhost_summarizer.summarizer import Summarizer

__all__ = ["SummarizerBackend", "SummarizerOptions"]


class SummarizerBackend(Backend[SummarizerOptions]):
    """Has texts summarised by a model that generates.

    It runs in a process because condensing a large log keeps Python busy for seconds.
    """

    loaded: "Summarizer"

    @classmethod
    def asks(cls, options: SummarizerOptions) -> Mapping[str, tuple[str, Ability]]:
        """Name the generator, where the options do."""
        return {"generator": (options.generator, "generate")} if options.generator else {}

    def load(self) -> ModelCard:
        """Look for the personas. The generator is not asked: it may load when it is needed.

        Raises `BadInputError` where the options name a persona that is not there.
        """
        from modelhost_summarizer.summarizer import Summarizer

        loaded = Summarizer(self.options)
        for option in ("code_persona", "log_persona", "document_persona"):
            try:
                loaded.personas.find(getattr(self.options, option))
            except BadInputError as error:
                raise BadInputError(f"{option}: {error.message}") from None
        self.loaded = loaded
        return ModelCard(
            features=("streaming", "safety"),  # that is passed on: whether the generator has it, its own card says
            personas=tuple(persona.name for persona in loaded.personas.all()),
            reads=tuple(str(folder.absolute()) for folder in loaded.personas.folders),
            concurrency=self.options.concurrency,
        )

    @hookimpl
    def summarize(self, request: SummarizeRequest, context: Context) -> Iterator[SummarizeEvent]:
        """Yield the language of the text, progress where it takes several steps, and then the summary."""
        return self.loaded.summarize(request, context)
