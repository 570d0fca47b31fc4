"""Long texts to short ones."""

from typing import Annotated

from msgspec import Meta

from modelhost.contract.types.events import Detected, Done, Progress
from modelhost.contract.types.generate import Delta
from modelhost.contract.types.media import Blob
from modelhost.contract.types.request import Request


class SummarizeRequest(Request, kw_only=True):
    """What to summarise, for whom. None leaves a choice to the model's configuration."""

    text: Blob
    """UTF-8."""
    filename: str = ""
    language: str | None = None
    persona: str | None = None
    generator: str | None = None
    """Name of the model that writes the summary."""
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    enable_safety: bool = False


SummarizeEvent = Detected | Delta | Progress | Done
