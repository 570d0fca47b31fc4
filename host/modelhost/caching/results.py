"""What the cached abilities share: the store, what is being computed for it and the keys."""

import hashlib
from typing import Any

import msgspec

from modelhost.caching.single_flight import SingleFlight
from modelhost.caching.store import Cache
from modelhost.contract.context import Context
from modelhost.contract.types import Ability
from modelhost.observability.metrics import Metrics
from modelhost.pool import Model

_encoder = msgspec.msgpack.Encoder()


class Results:
    """The kept results of all models, and who computes one now."""

    def __init__(self, kept: Cache, metrics: Metrics) -> None:
        self.kept = kept
        self.in_flight = SingleFlight()
        self._lookups = metrics.cache_lookups

    def count(self, model: Model, ability: Ability, *, hits: int = 0, misses: int = 0) -> None:
        """Count what was found and what was computed, once that is certain."""
        self._lookups.labels(model.name, ability, "hit").inc(hits)
        self._lookups.labels(model.name, ability, "miss").inc(misses)


def key_of(ability: Ability, model: Model, context: Context, *fields: Any) -> "hashlib.blake2b":
    """Begin a key: more of what was asked may follow.

    The caller is part of it because a hit can be told from a miss, and nobody is to find out what somebody else has asked.
    """
    parts = (ability, model.name, model.revision, context.caller, *fields)
    return hashlib.blake2b(_encoder.encode(parts), digest_size=32)
