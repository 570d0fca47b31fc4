"""Texts to vectors."""

from typing import Annotated, Literal

from msgspec import Meta

from modelhost.contract.types.events import Done, Event
from modelhost.contract.types.request import Request


class EmbedRequest(Request, kw_only=True):
    """Texts, or texts already cut into token ids. None leaves a choice to the model's configuration."""

    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    prompt_name: str | None = None
    """What the vectors are for: `query`, `document`, `clustering`, or another name the model has."""
    title: str | None = None
    """Of the document, for models that make use of it."""
    overlong: Literal["refuse", "truncate"] = "refuse"
    """What to do with an input of more tokens than the model takes."""


class Vectors(Event):
    """Vectors of the inputs from number `first` on: rows of `dimensions` little-endian float32, one after another."""

    first: int
    dimensions: int
    data: bytes
    truncated: tuple[int, ...] = ()
    """Numbers of the inputs that were cut."""
    tokens: tuple[int, ...] = ()
    """How many tokens each of these inputs has, as they were read; empty where only `Done` says it of all together."""


EmbedEvent = Vectors | Done
