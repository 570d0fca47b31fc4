"""What the values of events must be, beyond their types: finite, whole, and not without end.

The types say most of it (`Annotated[…, Meta(…)]`), and what says it is what an event passes on its way out of a worker; so here
an event makes that way, also where there is no worker.
"""

import math
from typing import Any

import msgspec

from modelhost.contract.errors import BackendFailedError, PluginError
from modelhost.contract.types import Delta, Segment, ToolDelta, Vectors
from modelhost.contract.types.abilities import ABILITIES, EVENTS, Ability

MOST_WRITTEN = 64 * 1024 * 1024
"""Bytes of what one call may write, each event counted as `EVENT_BYTES` too: chosen, because it is a million tokens. A model that
never ends would fill the host's memory wherever its words are collected."""

EVENT_BYTES = 64
"""About what an event takes in memory beside its words (`sys.getsizeof` of a `Delta`)."""

FLOAT_BYTES = 4
"""Bytes of a number of a vector, little-endian float32 (IEEE 754)."""

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[Ability, msgspec.msgpack.Decoder[Any]] = {
    ability: msgspec.msgpack.Decoder(EVENTS[ability]) for ability in ABILITIES
}


def check_values(ability: Ability, event: Any) -> None:
    """Raise `PluginError` for an event with a value that its type does not allow or that no frame can carry."""
    try:
        _decoders[ability].decode(_encoder.encode(event))
    except msgspec.ValidationError as error:
        raise PluginError(f"{ability} yielded a {type(event).__name__} with a wrong value: {error}") from None
    except (UnicodeEncodeError, OverflowError, TypeError, NotImplementedError) as error:
        limits = "texts of whole characters, numbers of at most 64 bits and the types that it names"
        raise PluginError(f"{ability} yielded a {type(event).__name__} beyond {limits} ({type(error).__name__})") from None
    if isinstance(event, Vectors) and not _finite(event.data):
        raise PluginError(f"{ability} yielded Vectors with NaN or infinity in them")


def _finite(data: bytes) -> bool:
    """Whether all numbers are: a sum in double precision shows each one that is not, and is quick."""
    whole = len(data) - len(data) % FLOAT_BYTES
    return math.isfinite(sum(memoryview(data)[:whole].cast("f")))


class WrittenSize:
    """Adds up what a call writes."""

    def __init__(self, ability: Ability) -> None:
        self._ability = ability
        self._size = 0

    def add(self, event: Any) -> None:
        """Count an event. Raises `BackendFailedError` beyond the limit."""
        match event:
            case Delta():
                self._size += EVENT_BYTES * (1 + len(event.logprobs)) + len(event.text) + len(event.reasoning)
            case ToolDelta():
                self._size += EVENT_BYTES + len(event.arguments) + len(event.name) + len(event.id)
            case Segment():
                self._size += EVENT_BYTES * (1 + len(event.words) + len(event.logprobs)) + 8 * len(event.tokens) + len(event.text)
        if self._size > MOST_WRITTEN:
            raise BackendFailedError(f"the model was cut off: it has written over {MOST_WRITTEN // 2**20} MiB in one answer")
