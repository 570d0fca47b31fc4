"""What the cached abilities share: the store, what is being computed for it, the keys, and what is told of a lookup."""

import hashlib
from typing import Any, Literal

import msgspec

from modelhost.caching.in_flight import InFlight
from modelhost.caching.store import Cache
from modelhost.contract.context import Context
from modelhost.contract.types import Ability
from modelhost.observability.call_record import CallRecord
from modelhost.observability.metrics import Metrics
from modelhost.pool import Model

_encoder = msgspec.msgpack.Encoder()


class Results:
    """The kept results of all models, and who computes one now."""

    def __init__(self, kept: Cache, metrics: Metrics) -> None:
        self.kept = kept
        self.in_flight = InFlight()
        self._lookups = metrics.cache_lookups

    def count(self, model: Model, ability: Ability, *, hits: int = 0, misses: int = 0) -> None:
        """Count what was found and what was computed, once that is certain."""
        self._lookups.labels(model.name, ability, "hit").inc(hits)
        self._lookups.labels(model.name, ability, "miss").inc(misses)


def key_of(ability: Ability, model: Model, context: Context, *asked: Any) -> "hashlib.blake2b":
    """Begin a key: more of what was asked may follow.

    The caller is part of it because a hit can be told from a miss, and nobody is to find out what somebody else has asked.
    """
    said = (ability, model.name, model.revision, context.caller, *asked)
    return hashlib.blake2b(_encoder.encode(said), digest_size=32)


def told(context: Context, ability: Ability, said: Literal["hit", "miss"]) -> None:
    """Say in the call's notes what the cache had to do with its answer."""
    if said == "hit" or context.work is None:  # the model was not asked now
        context.work = CallRecord(ability)
    context.work.cache = said
