"""Goes around `embed` of every model: a text whose vector is known is not computed again.

A vector is known by the model's revision, the caller, what was asked and the text; it is kept with the number of its tokens.
"""

import asyncio
import hashlib
import struct
from collections.abc import AsyncGenerator, Iterator, Sequence
from itertools import accumulate, pairwise

import msgspec

from modelhost.caching.results import Results, key_of
from modelhost.caching.single_flight import wait_for_another
from modelhost.contract.answers import FLOAT_BYTES, Rows, collect_vectors
from modelhost.contract.context import Context
from modelhost.contract.errors import BadInputError
from modelhost.contract.extension import Call
from modelhost.contract.types import Done, EmbedEvent, EmbedRequest, Usage, Vectors
from modelhost.observability.call_record import CallRecord
from modelhost.pool import Model

ROWS = 64
"""Vectors in one event. Chosen, because 64 vectors of 1024 numbers are 256 KiB, copied in well under a millisecond."""

_facts = struct.Struct("<?Q")
"""What stands before a row: whether its text was cut, and how many tokens it has."""

_encoder = msgspec.msgpack.Encoder()


class CachedEmbed:
    """The cache of vectors. One for all models."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def around(self, model: Model, call: Call, record: CallRecord) -> Call:
        """Put the cache around a model's call."""

        async def embed(request: EmbedRequest, context: Context) -> AsyncGenerator[EmbedEvent, None]:
            if not request.inputs:
                raise BadInputError("there is no input; send at least one text", param="input")
            lookup = _Lookup(request, model, context)
            await self._fill(lookup, call, context)
            misses = len(lookup.computed)
            self._results.count(model, "embed", hits=len(lookup.inputs) - misses, misses=misses)
            record.cache = "miss" if misses else "hit"
            for event in lookup.events():
                yield event
                await asyncio.sleep(0)  # millions of numbers are copied here, and others have their turn meanwhile
            yield Done(usage=Usage(input_tokens=lookup.tokens()))

        return embed

    async def _fill(self, lookup: "_Lookup", call: Call, context: Context) -> None:
        """Find or compute every value that is wanted."""
        while missing := [key for key in lookup.inputs if key not in lookup.found]:
            kept = {key: value for key in missing if (value := self._results.kept.get(key)) is not None}
            lookup.found |= kept
            ours, theirs = self._results.in_flight.share(key for key in missing if key not in kept)
            if ours:
                await self._compute(lookup, ours, call, context)
            for key, running in theirs.items():
                if (value := await wait_for_another(running, context)) is not None:
                    lookup.found[key] = value

    async def _compute(self, lookup: "_Lookup", ours: Sequence[bytes], call: Call, context: Context) -> None:
        made: dict[bytes, bytes] = {}
        try:
            made = await self._ask(lookup, ours, call, context)
        finally:
            for key in ours:
                self._results.in_flight.end(key, made.get(key))
        for key, value in made.items():
            self._results.kept.put(key, value)
        lookup.found |= made
        lookup.computed |= made.keys()

    async def _ask(self, lookup: "_Lookup", ours: Sequence[bytes], call: Call, context: Context) -> dict[bytes, bytes]:
        whole = lookup.request
        part = msgspec.structs.replace(whole, inputs=tuple(lookup.inputs[key] for key in ours))
        try:
            rows = await collect_vectors(call(part, context), len(ours))
        except BadInputError:
            if len(ours) == len(whole.inputs):
                raise
            # What is wrong is told by the input's number, and the caller knows those of the whole request only.
            part, ours = whole, lookup.keys
            rows = await collect_vectors(call(whole, context), len(ours))
        return await asyncio.to_thread(lambda: dict(zip(ours, _values(rows, part.inputs), strict=True)))


class _Lookup:
    """One request: its inputs by key, equal ones once, and the values that are there: facts, and the row."""

    def __init__(self, request: EmbedRequest, model: Model, context: Context) -> None:
        self.request = request
        settings = (request.dimensions, request.prompt_name, request.title, request.overlong, repr(request.options))
        begun = key_of("embed", model, context, *settings)
        self.keys = [_key(begun, given) for given in request.inputs]
        self.inputs = dict(zip(self.keys, request.inputs, strict=True))
        self.found: dict[bytes, bytes] = {}
        self.computed: set[bytes] = set()

    def tokens(self) -> int:
        """Return the tokens of all inputs, whether they were computed now or not; all values must be there."""
        return sum(_facts.unpack_from(self.found[key])[1] for key in self.keys)

    def events(self) -> Iterator[Vectors]:
        """Yield the rows in order; all values must be there."""
        values = [self.found[key] for key in self.keys]
        for first in range(0, len(values), ROWS):
            some = values[first : first + ROWS]
            facts = [_facts.unpack_from(value) for value in some]
            yield Vectors(
                first=first,
                dimensions=(len(some[0]) - _facts.size) // FLOAT_BYTES,
                data=b"".join(value[_facts.size :] for value in some),
                truncated=tuple(number for number, (cut, _) in enumerate(facts, first) if cut),
                tokens=tuple(tokens for _, tokens in facts),
            )


def _key(begun: "hashlib.blake2b", given: str | tuple[int, ...]) -> bytes:
    digest = begun.copy()
    digest.update(_encoder.encode(given))
    return digest.digest()


def _values(rows: Rows, inputs: Sequence[str | tuple[int, ...]]) -> Iterator[bytes]:
    """Yield what is kept of each input."""
    cut = set(rows.truncated)
    tokens = rows.tokens or _shares(rows.usage.input_tokens, inputs)
    for number, row in enumerate(rows.vectors):
        yield _facts.pack(number in cut, tokens[number]) + row


def _shares(tokens: int, inputs: Sequence[str | tuple[int, ...]]) -> list[int]:
    """Divide the tokens of a call by the length of its inputs, for a backend that only counts all of them together."""
    lengths = [*accumulate(max(1, len(given)) for given in inputs)]
    ends = [max(0, tokens) * length // lengths[-1] for length in lengths]
    return [end - start for start, end in pairwise((0, *ends))]
