"""Goes around `summarize` of every model: a text that was summarised for the same caller in the same way is not read again.

A summary is known by the model's revision, the caller, all that was asked, the text, the revisions of the models that had a part
in it, and the files the model says it reads for each request. It is kept whatever the temperature: a summary is asked for what a
text says, and who wants another wording says so in the request.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from modelhost.caching.composition import Composition, Compositions, PartRevisions
from modelhost.caching.file_state import state_of
from modelhost.caching.results import Results, key_of
from modelhost.caching.single_flight import wait_for_another
from modelhost.contract.context import Context
from modelhost.contract.extension import Call
from modelhost.contract.structs import Struct
from modelhost.contract.types import Ability, Delta, Detected, Done, Progress, SummarizeEvent, SummarizeRequest
from modelhost.observability.call_record import CallRecord
from modelhost.pool import Model, in_time

WHOLE = ("stop", "length")
"""Ends of a summary worth keeping. One that a filter broke off may pass it the next time."""


class _Kept(Struct):
    """A summary as its events, without those of progress, and what it was made of."""

    events: list[Detected | Delta | Done]
    revisions: list[tuple[Ability, str, str]]

    def made_of(self) -> PartRevisions:
        return {(ability, name): revision for ability, name, revision in self.revisions}


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Kept)


class CachedSummarize:
    """The cache of summaries. One for all models."""

    def __init__(self, results: Results, compositions: Compositions) -> None:
        self._results = results
        self._compositions = compositions

    def around(self, model: Model, call: Call, record: CallRecord) -> Call:
        """Put the cache around a model's call."""

        async def summarize(request: SummarizeRequest, context: Context) -> AsyncGenerator[SummarizeEvent, None]:
            state = await _state(model, context)
            key = await asyncio.to_thread(_key, model, context, request, state)
            record.cache = "miss"  # which a stream says before it is certain
            kept = await self._known(key, context)
            if kept:
                record.cache = "hit"
                events = self._again(kept, model, context)
            else:
                events = self._anew(key, state, model, call, request, context)
            async with aclosing(events):
                async for event in events:
                    yield event

        return summarize

    async def _known(self, key: bytes, context: Context) -> _Kept | None:
        """Find a summary, or wait for whoever makes it now; after None the caller makes it, and ends what is in flight."""
        while True:
            if value := self._results.kept.get(key):
                kept = _decoder.decode(value)
                if self._compositions.is_current(kept.made_of()):
                    return kept
            ours, theirs = self._results.in_flight.share([key])
            if ours:
                return None
            if value := await wait_for_another(theirs[key], context):
                return _decoder.decode(value)

    async def _again(self, kept: _Kept, model: Model, context: Context) -> AsyncGenerator[SummarizeEvent, None]:
        self._results.count(model, "summarize", hits=1)
        self._compositions.includes(context.request_id, kept.made_of())
        for event in kept.events:
            yield event

    async def _anew(
        self, key: bytes, state: bytes, model: Model, call: Call, request: SummarizeRequest, context: Context
    ) -> AsyncGenerator[SummarizeEvent, None]:
        """Compute the summary, and keep it if it is complete: if `Done` came."""
        made: bytes | None = None
        done: Done | None = None
        events: list[Any] = []
        try:
            with self._compositions.noted(context.request_id) as composition:
                async with aclosing(call(request, context)) as running:
                    async for event in running:
                        if isinstance(event, Done):
                            done = event
                            continue
                        if not isinstance(event, Progress):
                            events.append(event)
                        yield event
            if done:
                made = _encoded([*events, done], composition)
                # Files that changed meanwhile may have been read before that or after.
                if composition.is_repeatable() and done.reason in WHOLE and state == await _state(model, context):
                    self._results.kept.put(key, made)
        finally:
            self._results.in_flight.end(key, made)
        if done:
            self._results.count(model, "summarize", misses=1)
            yield done


async def _state(model: Model, context: Context) -> bytes:
    """Return the state of the files that the model reads for each request; its card names them, so it is loaded for that once."""
    if model.card is None and "summarize" in model.abilities:
        async with in_time(context):
            await model.load()
    reads = model.card.reads if model.card else ()
    return await asyncio.to_thread(state_of, reads) if reads else b""


def _key(model: Model, context: Context, request: SummarizeRequest, state: bytes) -> bytes:
    """Return the digest of all of a request; blocks while the text is read, which may be a file."""
    fields = {name: value for name, value in msgspec.structs.asdict(request).items() if name != "text"}
    fields["options"] = repr(request.options)  # which may hold numbers that no frame can
    digest = key_of("summarize", model, context, fields, state)
    with request.text.open() as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.digest()


def _encoded(events: list[Any], composition: Composition) -> bytes:
    revisions = [(ability, name, revision) for (ability, name), revision in composition.revisions().items()]
    return _encoder.encode(_Kept(events=events, revisions=revisions))
