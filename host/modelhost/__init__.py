"""The whole API for plugin authors: `from modelhost import ...`.

Names are looked up on first use, so that `modelhost --help` does not pay for what it does not need.
"""

import importlib as _importlib
import typing as _typing

if _typing.TYPE_CHECKING:  # `as` marks what is exported, for strict type checkers
    from modelhost.authors.batch_engine import BatchEngine as BatchEngine
    from modelhost.authors.fair_queue import FairQueue as FairQueue
    from modelhost.authors.sentences import Sentences as Sentences
    from modelhost.authors.stop_strings import StopStrings as StopStrings
    from modelhost.contract.answers import Answer as Answer, collect as collect
    from modelhost.contract.backend import (
        Backend as Backend,
        Device as Device,
        Options as Options,
    )
    from modelhost.contract.card import Feature as Feature, ModelCard as ModelCard
    from modelhost.contract.compute import ComputeThread as ComputeThread
    from modelhost.contract.context import Context as Context
    from modelhost.contract.errors import (
        BackendCrashedError as BackendCrashedError,
        BackendFailedError as BackendFailedError,
        BadInputError as BadInputError,
        CallCycleError as CallCycleError,
        ConfigError as ConfigError,
        DeadlineError as DeadlineError,
        ModelhostError as ModelhostError,
        NotReadyError as NotReadyError,
        OverloadedError as OverloadedError,
        OverQuotaError as OverQuotaError,
        PluginError as PluginError,
        RequestError as RequestError,
        ServiceError as ServiceError,
        UnknownModelError as UnknownModelError,
        UnsupportedError as UnsupportedError,
    )
    from modelhost.contract.event_stream import EventStream as EventStream
    from modelhost.contract.extension import Call as Call, Extension as Extension
    from modelhost.contract.hookspecs import (
        Events as Events,
        hookimpl as hookimpl,
    )
    from modelhost.contract.log import Log as Log
    from modelhost.contract.request_options import RequestOptions as RequestOptions
    from modelhost.contract.source import Source as Source
    from modelhost.contract.types import (
        ABILITIES as ABILITIES,
        Ability as Ability,
        AudioChunk as AudioChunk,
        AudioFormat as AudioFormat,
        AudioPart as AudioPart,
        Blob as Blob,
        ChoiceDone as ChoiceDone,
        CompactionPart as CompactionPart,
        Delta as Delta,
        Detected as Detected,
        DocumentPart as DocumentPart,
        Done as Done,
        EmbedEvent as EmbedEvent,
        EmbedRequest as EmbedRequest,
        Event as Event,
        FinishReason as FinishReason,
        GenerateEvent as GenerateEvent,
        GenerateRequest as GenerateRequest,
        ImagePart as ImagePart,
        Message as Message,
        Part as Part,
        Partial as Partial,
        Progress as Progress,
        ReasoningPart as ReasoningPart,
        Request as Request,
        ResponseFormat as ResponseFormat,
        Role as Role,
        Segment as Segment,
        SummarizeEvent as SummarizeEvent,
        SummarizeRequest as SummarizeRequest,
        SynthesizeEvent as SynthesizeEvent,
        SynthesizeRequest as SynthesizeRequest,
        TextPart as TextPart,
        Timings as Timings,
        TokenizeEvent as TokenizeEvent,
        TokenizeRequest as TokenizeRequest,
        TokenLogprob as TokenLogprob,
        Tokens as Tokens,
        Tool as Tool,
        ToolCall as ToolCall,
        ToolChoice as ToolChoice,
        ToolDelta as ToolDelta,
        TranscribeEvent as TranscribeEvent,
        TranscribeRequest as TranscribeRequest,
        Usage as Usage,
        Vectors as Vectors,
        Voices as Voices,
        VoiceSample as VoiceSample,
        VoicesEvent as VoicesEvent,
        VoicesRequest as VoicesRequest,
        Word as Word,
    )

_HOMES = {
    "modelhost.contract.backend": ("Backend", "Device", "Options"),
    "modelhost.contract.card": ("Feature", "ModelCard"),
    "modelhost.contract.compute": ("ComputeThread",),
    "modelhost.contract.context": ("Context",),
    "modelhost.contract.answers": ("Answer", "collect"),
    "modelhost.contract.event_stream": ("EventStream",),
    "modelhost.contract.log": ("Log",),
    "modelhost.contract.extension": ("Call", "Extension"),
    "modelhost.contract.hookspecs": ("Events", "hookimpl"),
    "modelhost.authors.batch_engine": ("BatchEngine",),
    "modelhost.authors.fair_queue": ("FairQueue",),
    "modelhost.authors.sentences": ("Sentences",),
    "modelhost.contract.request_options": ("RequestOptions",),
    "modelhost.contract.source": ("Source",),
    "modelhost.authors.stop_strings": ("StopStrings",),
}
"""Where the names live that are in neither `modelhost.contract.errors` (they end in Error) nor `modelhost.contract.types`."""

_TYPES = "modelhost.contract.types"

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> _typing.Any:
    """Look a name up where it lives. Raises `AttributeError` for what is no part of the interface, wherever it may lie."""
    home = _HOME_OF.get(name) or ("modelhost.contract.errors" if name.endswith("Error") else _TYPES)
    module = None if name.startswith("_") else _importlib.import_module(home)
    if module is None or not hasattr(module, name) or (home == _TYPES and name not in module.__all__):
        raise AttributeError(f"module 'modelhost' has no attribute {name!r}")
    value = globals()[name] = getattr(module, name)
    return value
