"""Asking a model for vectors, and telling what the cache had to do with the answer."""

from typing import Annotated, Any

import msgspec
from litestar import Request
from msgspec import Meta

from modelhost.contract.answers import Rows, collect_vectors
from modelhost.contract.errors import UnsupportedError
from modelhost.contract.types import EmbedRequest
from modelhost.http.routing.cache_headers import CACHE, may_be_cached
from modelhost.http.routing.calls import details_of, reading
from modelhost.http.routing.in_flight import in_flight_of
from modelhost.http.routing.json_body import host_of
from modelhost.observability.call_record import CallRecord, together

MAX_INPUTS = 2048
"""Texts in one request, as OpenAI has it."""

Dimensions = Annotated[int, Meta(ge=1, le=16_384)]
"""Four times what usual models have: what is asked for is memory, before anybody has looked whether the model knows it."""


class EmbedCalls:
    """The calls for vectors that one request takes, one after another."""

    def __init__(self, request: Request[Any, Any, Any], *, cache: bool | None) -> None:
        self._request = request
        self._details = details_of(request, cached=may_be_cached(request, cache))
        self._answered: list[CallRecord] = []

    @property
    def model(self) -> str:
        """Name of the model that has answered last."""
        return self._answered[-1].model

    def spell(self, spelt: dict[str, str]) -> None:
        """Note how the client calls the fields of the next call."""
        in_flight_of(self._request.scope).spelt = spelt

    async def vectors(self, model: str | None, model_request: EmbedRequest) -> Rows:
        """Ask for vectors, unless the client leaves meanwhile."""
        call = host_of(self._request).router.start("embed", model, model_request, self._details)
        async with reading(self._request, call) as events:
            rows = await collect_vectors(events, len(model_request.inputs))
        self._answered.append(call.record)
        return rows

    async def vectors_for(self, purpose: str, model: str | None, model_request: EmbedRequest) -> Rows:
        """Ask for vectors that are made for a purpose, `query` or `document`, where the model tells purposes apart."""
        try:
            return await self.vectors(model, msgspec.structs.replace(model_request, prompt_name=purpose))
        except UnsupportedError as error:
            if error.param != "prompt_name":
                raise
            return await self.vectors(model, model_request)

    def headers(self) -> dict[str, str]:
        """Say what the cache had to do with the answer: it was known before if all of it was."""
        return {CACHE: together(self._answered).cache}
