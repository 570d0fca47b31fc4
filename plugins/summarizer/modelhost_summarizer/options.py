"""What may stand under [models.NAME.options] of a summarizer."""

from typing import Annotated, Literal

from modelhost import Options, Source
from msgspec import Meta

Positive = Annotated[int, Meta(ge=1)]


class SummarizerOptions(Options):
    """Who writes the summaries, for whom, and how long they are."""

    generator: str = ""
    """The model that writes, where a request names none; by default the host's route for `generate`."""
    context_length: Positive | None = None
    """Tokens the generator takes, prompt and answer together. By default what does not fit is cut in halves until it does."""
    max_tokens: Positive = 512
    """Greatest length of a summary."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = 0.2
    """How freely the generator writes."""

    personas: tuple[Source, ...] = ()
    """Folders of your own personas, searched before the ones that come along."""
    code_persona: str = "code/developer"
    """For code and configuration."""
    log_persona: str = "code/log_analyst"
    """For logs."""
    document_persona: str = "docs/assistant"
    """For documents, and all text that is nothing else."""

    condense_logs: Literal["auto", "always", "never"] = "auto"
    """Whether lines that repeat each other are counted instead of read: in what looks like a log, in every text, or never."""
    condensed_lines: Annotated[int, Meta(ge=10, le=20_000)] = 500
    """Most lines of a condensed log."""
    max_characters: Positive = 4_000_000
    """Longer texts are refused; of a log, the condensed one counts."""
    concurrency: Positive = 4
    """Summaries at once. The generator has a limit of its own, so this may well be larger than that."""
