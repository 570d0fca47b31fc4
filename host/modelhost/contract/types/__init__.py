"""Requests and events of the abilities: the values that cross between the host and a backend."""

from typing import Any, Literal, get_args

from modelhost.contract.structs import Wire
from modelhost.contract.types.embed import EmbedEvent, EmbedRequest, Vectors
from modelhost.contract.types.events import Detected, Done, Event, FinishReason, Progress, Timings, TokenLogprob, Usage
from modelhost.contract.types.generate import (
    AudioPart,
    ChoiceDone,
    CompactionPart,
    Delta,
    DocumentPart,
    GenerateEvent,
    GenerateRequest,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    ResponseFormat,
    Role,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    ToolDelta,
)
from modelhost.contract.types.media import Blob
from modelhost.contract.types.summarize import SummarizeEvent, SummarizeRequest
from modelhost.contract.types.synthesize import AudioChunk, AudioFormat, SynthesizeEvent, SynthesizeRequest, VoiceSample
from modelhost.contract.types.tokenize import TokenizeEvent, TokenizeRequest, Tokens
from modelhost.contract.types.transcribe import Partial, Segment, TranscribeEvent, TranscribeRequest, Word
from modelhost.contract.types.voices import Voices, VoicesEvent, VoicesRequest

Ability = Literal["transcribe", "generate", "synthesize", "embed", "summarize", "tokenize", "voices"]
ABILITIES: tuple[Ability, ...] = get_args(Ability)

UNCOUNTED: frozenset[Ability] = frozenset({"tokenize", "voices"})
"""Abilities that take none of a model's places (`ModelCard.concurrency`).

They look something up and compute nothing with the model, so they need not wait for an answer that takes minutes to end.
"""

REQUESTS: dict[Ability, type[Wire]] = {
    "transcribe": TranscribeRequest,
    "generate": GenerateRequest,
    "synthesize": SynthesizeRequest,
    "embed": EmbedRequest,
    "summarize": SummarizeRequest,
    "tokenize": TokenizeRequest,
    "voices": VoicesRequest,
}
"""The type of request each ability takes."""

EVENTS: dict[Ability, Any] = {
    "transcribe": TranscribeEvent,
    "generate": GenerateEvent,
    "synthesize": SynthesizeEvent,
    "embed": EmbedEvent,
    "summarize": SummarizeEvent,
    "tokenize": TokenizeEvent,
    "voices": VoicesEvent,
}
"""The union of events each ability yields."""

__all__ = [
    "ABILITIES",
    "Ability",
    "AudioChunk",
    "AudioFormat",
    "AudioPart",
    "Blob",
    "ChoiceDone",
    "CompactionPart",
    "Delta",
    "Detected",
    "DocumentPart",
    "Done",
    "EmbedEvent",
    "EmbedRequest",
    "Event",
    "FinishReason",
    "GenerateEvent",
    "GenerateRequest",
    "ImagePart",
    "Message",
    "Part",
    "Partial",
    "Progress",
    "ReasoningPart",
    "ResponseFormat",
    "Role",
    "Segment",
    "SummarizeEvent",
    "SummarizeRequest",
    "SynthesizeEvent",
    "SynthesizeRequest",
    "TextPart",
    "Timings",
    "TokenLogprob",
    "TokenizeEvent",
    "TokenizeRequest",
    "Tokens",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "ToolDelta",
    "TranscribeEvent",
    "TranscribeRequest",
    "Usage",
    "Vectors",
    "VoiceSample",
    "Voices",
    "VoicesEvent",
    "VoicesRequest",
    "Word",
]
