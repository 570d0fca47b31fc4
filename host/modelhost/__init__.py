"""The whole API for plugin authors: `from modelhost import ...`.

Names are looked up on first use, so that `modelhost --help` does not pay for what it does not need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `as` marks what is exported, for strict type checkers
    from modelhost.backend import Backend as Backend, Device as Device, Options as Options
    from modelhost.card import ModelCard as ModelCard
    from modelhost.context import Context as Context
    from modelhost.errors import (
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
    from modelhost.extensions import Call as Call
    from modelhost.hookspecs import Events as Events, hookimpl as hookimpl
    from modelhost.source import Source as Source
    from modelhost.types import (
        ABILITIES as ABILITIES,
        Ability as Ability,
        AudioChunk as AudioChunk,
        AudioFormat as AudioFormat,
        AudioPart as AudioPart,
        Blob as Blob,
        ChoiceDone as ChoiceDone,
        Delta as Delta,
        Detected as Detected,
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
        ResponseFormat as ResponseFormat,
        Role as Role,
        Segment as Segment,
        SummarizeEvent as SummarizeEvent,
        SummarizeRequest as SummarizeRequest,
        SynthesizeEvent as SynthesizeEvent,
        SynthesizeRequest as SynthesizeRequest,
        TextPart as TextPart,
        TokenLogprob as TokenLogprob,
        Tool as Tool,
        ToolCall as ToolCall,
        ToolChoice as ToolChoice,
        ToolDelta as ToolDelta,
        TranscribeEvent as TranscribeEvent,
        TranscribeRequest as TranscribeRequest,
        Usage as Usage,
        Vectors as Vectors,
        VoiceSample as VoiceSample,
        Word as Word,
    )
_HOMES = {
    "modelhost.backend": ("Backend", "Device", "Options"),
    "modelhost.card": ("ModelCard",),
    "modelhost.context": ("Context",),
    "modelhost.extensions": ("Call",),
    "modelhost.hookspecs": ("Events", "hookimpl"),
    "modelhost.source": ("Source",),
}
"""Where the names live that are in neither `modelhost.errors` (they end in Error) nor `modelhost.types`."""

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    home = _HOME_OF.get(name) or ("modelhost.errors" if name.endswith("Error") else "modelhost.types")
    try:
        value = getattr(import_module(home), name)
    except AttributeError:
        raise AttributeError(f"module 'modelhost' has no attribute {name!r}") from None
    globals()[name] = value
    return value
