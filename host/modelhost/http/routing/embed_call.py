"""Asking a model for vectors, and telling what the cache had to do with the answer."""

from typing import Annotated, Any

import msgspec
from litestar import Request
from msgspec import Meta

from modelhost.contract.errors import UnsupportedError
from modelhost.contract.types import EmbedRequest, Usage
from modelhost.contract.vectors import Rows, collect
from modelhost.http.routing.cache_headers import CACHE, may_be_cached, told
from modelhost.http.routing.disconnect import CancelOnDisconnect
from modelhost.http.routing.in_flight import in_flight_of
from modelhost.http.routing.json_body import context_of, host_of
from modelhost.observability.call_record import CacheStatus, CallRecord

MAX_INPUTS = 2048
"""Texts in one request, as OpenAI has it."""

Dimensions = Annotated[int, Meta(ge=1, le=16_384)]
"""Four times what usual models have: what is asked for is memory, before anybody has looked whether the model knows it."""


class Asking:
    """The calls for vectors that one request takes, one after another."""

    def __init__(self, request: Request[Any, Any, Any], *, cache: bool | None) -> None:
        self.context = context_of(request)
        self._request = request
        self._cached = may_be_cached(request, cache)
        self._told: set[str] = set()
        self._work: CallRecord | None = None

    def spell(self, spelt: dict[str, str]) -> None:
        """Note how the client calls the fields of the next call."""
        in_flight_of(self._request.scope).spelt = spelt

    async def vectors(self, model: str | None, wanted: EmbedRequest) -> Rows:
        """Ask for vectors, unless the client leaves meanwhile; `context.info.model` then names who has answered."""
        # A further call is one beside the last, not one that the last has made.
        self.context.info = msgspec.structs.replace(self.context.info, chain=())
        events = host_of(self._request).router.call("embed", model, wanted, self.context, cached=self._cached)
        with CancelOnDisconnect(self._request):
            rows = await collect(events, len(wanted.inputs))
        self._told.add(told(self.context))
        self._add_up()
        return rows

    def _add_up(self) -> None:
        """Have the log tell what all calls took together, and not the last alone."""
        work, before = self.context.work, self._work
        if work and before and work is not before:
            work.loading += before.loading
            work.queued += before.queued
            work.first_event += before.first_event
            tokens = sum(one.usage.input_tokens for one in (before, work) if one.usage)
            work.usage = Usage(input_tokens=tokens)
            work.cache = self._cache()
        self._work = work

    async def vectors_for(self, purpose: str, model: str | None, wanted: EmbedRequest) -> Rows:
        """Ask for vectors that are made for a purpose, `query` or `document`, where the model tells purposes apart."""
        try:
            return await self.vectors(model, msgspec.structs.replace(wanted, prompt_name=purpose))
        except UnsupportedError as error:
            if error.param != "prompt_name":
                raise
            self._add_up()  # the model may have been loaded to find that out
            return await self.vectors(model, wanted)

    def headers(self) -> dict[str, str]:
        """Say what the cache had to do with the answer: it was known before if all of it was."""
        return {CACHE: self._cache()}

    def _cache(self) -> CacheStatus:
        answers: tuple[CacheStatus, ...] = ("miss", "hit")
        return next((one for one in answers if one in self._told), "off")
