"""The whole API for plugin authors: `from modelhost import ...`.

Names are looked up on first use, so that `modelhost --help` does not pay for what it does not need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `as` marks what is exported, for strict type checkers
    from modelhost.backend import Backend as Backend
    from modelhost.backend import Device as Device
    from modelhost.backend import Options as Options
    from modelhost.card import ModelCard as ModelCard
    from modelhost.compute import ComputeThread as ComputeThread
    from modelhost.context import Context as Context
    from modelhost.errors import (
        BackendCrashedError as BackendCrashedError,
    )
    from modelhost.errors import (
        BackendFailedError as BackendFailedError,
    )
    from modelhost.errors import (
        BadInputError as BadInputError,
    )
    from modelhost.errors import (
        CallCycleError as CallCycleError,
    )
    from modelhost.errors import (
        ConfigError as ConfigError,
    )
    from modelhost.errors import (
        DeadlineError as DeadlineError,
    )
    from modelhost.errors import (
        ModelhostError as ModelhostError,
    )
    from modelhost.errors import (
        NotReadyError as NotReadyError,
    )
    from modelhost.errors import (
        OverloadedError as OverloadedError,
    )
    from modelhost.errors import (
        OverQuotaError as OverQuotaError,
    )
    from modelhost.errors import (
        PluginError as PluginError,
    )
    from modelhost.errors import (
        RequestError as RequestError,
    )
    from modelhost.errors import (
        ServiceError as ServiceError,
    )
    from modelhost.errors import (
        UnknownModelError as UnknownModelError,
    )
    from modelhost.errors import (
        UnsupportedError as UnsupportedError,
    )
    from modelhost.extensions import Call as Call
    from modelhost.hookspecs import Events as Events
    from modelhost.hookspecs import hookimpl as hookimpl
    from modelhost.sentences import Sentences as Sentences
    from modelhost.source import Source as Source
    from modelhost.stops import StopStrings as StopStrings
    from modelhost.turns import Turns as Turns
    from modelhost.types import (
        ABILITIES as ABILITIES,
    )
    from modelhost.types import (
        Ability as Ability,
    )
    from modelhost.types import (
        AudioChunk as AudioChunk,
    )
    from modelhost.types import (
        AudioFormat as AudioFormat,
    )
    from modelhost.types import (
        AudioPart as AudioPart,
    )
    from modelhost.types import (
        Blob as Blob,
    )
    from modelhost.types import (
        ChoiceDone as ChoiceDone,
    )
    from modelhost.types import (
        Delta as Delta,
    )
    from modelhost.types import (
        Detected as Detected,
    )
    from modelhost.types import (
        Done as Done,
    )
    from modelhost.types import (
        EmbedEvent as EmbedEvent,
    )
    from modelhost.types import (
        EmbedRequest as EmbedRequest,
    )
    from modelhost.types import (
        Event as Event,
    )
    from modelhost.types import (
        FinishReason as FinishReason,
    )
    from modelhost.types import (
        GenerateEvent as GenerateEvent,
    )
    from modelhost.types import (
        GenerateRequest as GenerateRequest,
    )
    from modelhost.types import (
        ImagePart as ImagePart,
    )
    from modelhost.types import (
        Message as Message,
    )
    from modelhost.types import (
        Part as Part,
    )
    from modelhost.types import (
        Partial as Partial,
    )
    from modelhost.types import (
        Progress as Progress,
    )
    from modelhost.types import (
        ResponseFormat as ResponseFormat,
    )
    from modelhost.types import (
        Role as Role,
    )
    from modelhost.types import (
        Segment as Segment,
    )
    from modelhost.types import (
        SummarizeEvent as SummarizeEvent,
    )
    from modelhost.types import (
        SummarizeRequest as SummarizeRequest,
    )
    from modelhost.types import (
        SynthesizeEvent as SynthesizeEvent,
    )
    from modelhost.types import (
        SynthesizeRequest as SynthesizeRequest,
    )
    from modelhost.types import (
        TextPart as TextPart,
    )
    from modelhost.types import (
        TokenizeEvent as TokenizeEvent,
    )
    from modelhost.types import (
        TokenizeRequest as TokenizeRequest,
    )
    from modelhost.types import (
        TokenLogprob as TokenLogprob,
    )
    from modelhost.types import (
        Tokens as Tokens,
    )
    from modelhost.types import (
        Tool as Tool,
    )
    from modelhost.types import (
        ToolCall as ToolCall,
    )
    from modelhost.types import (
        ToolChoice as ToolChoice,
    )
    from modelhost.types import (
        ToolDelta as ToolDelta,
    )
    from modelhost.types import (
        TranscribeEvent as TranscribeEvent,
    )
    from modelhost.types import (
        TranscribeRequest as TranscribeRequest,
    )
    from modelhost.types import (
        Usage as Usage,
    )
    from modelhost.types import (
        Vectors as Vectors,
    )
    from modelhost.types import (
        Voices as Voices,
    )
    from modelhost.types import (
        VoiceSample as VoiceSample,
    )
    from modelhost.types import (
        VoicesEvent as VoicesEvent,
    )
    from modelhost.types import (
        VoicesRequest as VoicesRequest,
    )
    from modelhost.types import (
        Word as Word,
    )
_HOMES = {
    "modelhost.backend": ("Backend", "Device", "Options"),
    "modelhost.card": ("ModelCard",),
    "modelhost.compute": ("ComputeThread",),
    "modelhost.context": ("Context",),
    "modelhost.extensions": ("Call",),
    "modelhost.hookspecs": ("Events", "hookimpl"),
    "modelhost.sentences": ("Sentences",),
    "modelhost.source": ("Source",),
    "modelhost.stops": ("StopStrings",),
    "modelhost.turns": ("Turns",),
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
