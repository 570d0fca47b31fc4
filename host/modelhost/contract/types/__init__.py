"""Requests and events of the abilities: the values that cross between the host and a backend."""

from modelhost.contract.types.abilities import ABILITIES, Ability
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
from modelhost.contract.types.request import Request
from modelhost.contract.types.summarize import SummarizeEvent, SummarizeRequest
from modelhost.contract.types.synthesize import AudioChunk, AudioFormat, SynthesizeEvent, SynthesizeRequest, VoiceSample
from modelhost.contract.types.tokenize import TokenizeEvent, TokenizeRequest, Tokens
from modelhost.contract.types.transcribe import Partial, Segment, TranscribeEvent, TranscribeRequest, Word
from modelhost.contract.types.voices import Voices, VoicesEvent, VoicesRequest

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
    "Request",
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
