"""The abilities: what a model can do. Each is one entry of one table, and whatever lists abilities is derived from that."""

from typing import Any, Literal, NamedTuple

from modelhost.contract.structs import Wire
from modelhost.contract.types.embed import EmbedEvent, EmbedRequest
from modelhost.contract.types.generate import GenerateEvent, GenerateRequest
from modelhost.contract.types.summarize import SummarizeEvent, SummarizeRequest
from modelhost.contract.types.synthesize import SynthesizeEvent, SynthesizeRequest
from modelhost.contract.types.tokenize import TokenizeEvent, TokenizeRequest
from modelhost.contract.types.transcribe import TranscribeEvent, TranscribeRequest
from modelhost.contract.types.voices import VoicesEvent, VoicesRequest

Ability = Literal["transcribe", "generate", "synthesize", "embed", "summarize", "tokenize", "voices"]
"""The names once more, for type checkers, which run nothing; a test compares them with the table."""


class AbilityTypes(NamedTuple):
    """What crosses between the host and a backend for an ability."""

    request: type[Wire]
    events: Any
    """The union of events it yields."""
    counted: bool = True
    """Whether a call takes one of the model's slots (`ModelCard.concurrency`).

    One that looks something up and computes nothing with the model need not wait for an answer that takes minutes to end.
    """


TABLE: dict[Ability, AbilityTypes] = {
    "transcribe": AbilityTypes(TranscribeRequest, TranscribeEvent),
    "generate": AbilityTypes(GenerateRequest, GenerateEvent),
    "synthesize": AbilityTypes(SynthesizeRequest, SynthesizeEvent),
    "embed": AbilityTypes(EmbedRequest, EmbedEvent),
    "summarize": AbilityTypes(SummarizeRequest, SummarizeEvent),
    "tokenize": AbilityTypes(TokenizeRequest, TokenizeEvent, counted=False),
    "voices": AbilityTypes(VoicesRequest, VoicesEvent, counted=False),
}

ABILITIES: tuple[Ability, ...] = tuple(TABLE)

UNCOUNTED: frozenset[Ability] = frozenset(ability for ability, types in TABLE.items() if not types.counted)
"""Abilities that take none of a model's slots."""

REQUESTS: dict[Ability, type[Wire]] = {ability: types.request for ability, types in TABLE.items()}
"""The type of request each ability takes."""

EVENTS: dict[Ability, Any] = {ability: types.events for ability, types in TABLE.items()}
"""The union of events each ability yields."""
