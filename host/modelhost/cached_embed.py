"""Goes around `embed` of every model: a text whose vector is known is not computed again.

A vector is known by the model's revision, the caller, what was asked and the text. The caller is among them because a hit can be
told from a miss, and nobody is to find out what somebody else has asked.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence

import msgspec

from modelhost.cache import Cache, InFlight
from modelhost.context import Context
from modelhost.errors import BadInputError
from modelhost.extensions import Call
from modelhost.metrics import Metrics
from modelhost.pool import Model
from modelhost.pool.model import in_time
from modelhost.types import Done, EmbedEvent, EmbedRequest, Usage, Vectors
from modelhost.vectors import FLOAT_BYTES, collect
from modelhost.work import Work

ROWS = 64
"""Vectors in one event."""

_encoder = msgspec.msgpack.Encoder()


class CachedEmbed:
    """The cache of vectors, and what is being computed for it. One for all models."""

    def __init__(self, cache: Cache, metrics: Metrics) -> None:
        self._cache = cache
        self._in_flight = InFlight()
        self._lookups = metrics.cache_lookups

    def around(self, model: Model, call: Call) -> Call:
        """Put the cache around a model's call; the call itself where nothing is to be kept."""
        if not self._cache.max_bytes:
            return call

        async def embed(request: EmbedRequest, context: Context) -> AsyncIterator[EmbedEvent]:
            if not request.inputs:
                raise BadInputError("there is no input; send at least one text", param="input")
            asked = _Asked(request, model.revision, context.caller)
            tokens = await self._fill(asked, call, context)
            self._note(model, asked, context)
            for event in asked.events():
                yield event
            yield Done(usage=Usage(input_tokens=tokens))

        return embed

    async def _fill(self, asked: "_Asked", call: Call, context: Context) -> int:
        """Find or compute every value that is wanted; gives the tokens that were computed."""
        tokens = 0
        while missing := [key for key in asked.inputs if key not in asked.found]:
            kept = {key: value for key in missing if (value := self._cache.get(key)) is not None}
            asked.found |= kept
            ours, theirs = self._in_flight.share(key for key in missing if key not in kept)
            if ours:
                tokens += await self._compute(asked, ours, call, context)
            for key, running in theirs.items():
                async with in_time(context):
                    await asyncio.wait({running})  # unlike awaiting it, leaves it alone when this request is cancelled
                if (value := running.result()) is not None:
                    asked.found[key] = value
        return tokens

    async def _compute(self, asked: "_Asked", ours: Sequence[bytes], call: Call, context: Context) -> int:
        made: dict[bytes, bytes] = {}
        try:
            made, tokens = await self._ask(asked, ours, call, context)
        finally:
            for key in ours:
                self._in_flight.end(key, made.get(key))
        for key, value in made.items():
            self._cache.put(key, value)
        asked.found |= made
        asked.computed |= made.keys()
        return tokens

    async def _ask(self, asked: "_Asked", ours: Sequence[bytes], call: Call, context: Context) -> tuple[dict[bytes, bytes], int]:
        whole = asked.request
        part = msgspec.structs.replace(whole, inputs=tuple(asked.inputs[key] for key in ours))
        try:
            rows = await collect(call(part, context), len(ours))
        except BadInputError:
            if len(ours) == len(whole.inputs):
                raise
            # What is wrong is told by the input's number, and the caller knows those of the whole request only.
            ours = asked.keys
            rows = await collect(call(whole, context), len(ours))
        cut = set(rows.truncated)
        values = [bytes([at in cut]) + row for at, row in enumerate(rows.vectors)]
        return dict(zip(ours, values, strict=True)), rows.usage.input_tokens

    def _note(self, model: Model, asked: "_Asked", context: Context) -> None:
        misses = len(asked.computed)
        self._lookups.labels(model.name, "embed", "miss").inc(misses)
        self._lookups.labels(model.name, "embed", "hit").inc(len(asked.inputs) - misses)
        if not misses or context.work is None:  # the model was not asked now
            context.work = Work("embed")
        context.work.cache = "miss" if misses else "hit"


class _Asked:
    """One request: its inputs by key, equal ones once, and the values that are there: a byte that says if it was cut, the row."""

    def __init__(self, request: EmbedRequest, revision: str, caller: str) -> None:
        self.request = request
        said = (revision, caller, request.dimensions, request.prompt_name, request.title, request.overlong)
        digest = hashlib.blake2b(_encoder.encode(said), digest_size=32)
        self.keys = [_key(digest, given) for given in request.inputs]
        self.inputs = dict(zip(self.keys, request.inputs, strict=True))
        self.found: dict[bytes, bytes] = {}
        self.computed: set[bytes] = set()

    def events(self) -> Iterator[Vectors]:
        """Give the rows in order; all values must be there."""
        values = [self.found[key] for key in self.keys]
        for first in range(0, len(values), ROWS):
            some = values[first : first + ROWS]
            yield Vectors(
                first=first,
                dimensions=(len(some[0]) - 1) // FLOAT_BYTES,
                data=b"".join(value[1:] for value in some),
                truncated=tuple(number for number, value in enumerate(some, first) if value[0]),
            )


def _key(said: "hashlib.blake2b", given: str | tuple[int, ...]) -> bytes:
    digest = said.copy()
    digest.update(_encoder.encode(given))
    return digest.digest()
