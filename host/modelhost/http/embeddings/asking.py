"""Asking a model for vectors, and telling what the cache had to do with the answer."""

from typing import Annotated, Any

import msgspec
from litestar import Request
from msgspec import Meta

from modelhost.errors import UnsupportedError
from modelhost.http.leaving import CancelledWhenGone
from modelhost.http.reading import context_of, host_of
from modelhost.types import EmbedRequest
from modelhost.vectors import Rows, collect

CACHE = "x-modelhost-cache"
"""Header that says whether an answer was known before: `hit`, `miss`, or `off` where the cache was not asked."""

MAX_INPUTS = 2048
"""Texts in one request, as OpenAI has it."""

Dimensions = Annotated[int, Meta(ge=1, le=16_384)]
"""Four times what usual models have: what is asked for is memory, before anybody has looked whether the model knows it."""


class Asking:
    """The calls for vectors that one request takes, one after another."""

    def __init__(self, request: Request[Any, Any, Any], *, cache: bool | None) -> None:
        self.context = context_of(request)
        self._request = request
        self._cached = cache is not False and "no-store" not in request.headers.get("cache-control", "").lower()
        self._told: set[str] = set()

    async def vectors(self, model: str | None, wanted: EmbedRequest) -> Rows:
        """Ask for vectors, unless the client leaves meanwhile; `context.info.model` then names who has answered."""
        # A further call is one beside the last, not one that the last has made.
        self.context.info = msgspec.structs.replace(self.context.info, chain=())
        events = host_of(self._request).router.call("embed", model, wanted, self.context, cached=self._cached)
        with CancelledWhenGone(self._request):
            rows = await collect(events, len(wanted.inputs))
        self._told.add(self.context.work.cache if self.context.work else "off")
        return rows

    async def vectors_for(self, purpose: str, model: str | None, wanted: EmbedRequest) -> Rows:
        """Ask for vectors that are made for a purpose, `query` or `document`, where the model tells purposes apart."""
        try:
            return await self.vectors(model, msgspec.structs.replace(wanted, prompt_name=purpose))
        except UnsupportedError as error:
            if error.param != "prompt_name":
                raise
            return await self.vectors(model, wanted)

    def headers(self) -> dict[str, str]:
        """Say what the cache had to do with the answer: it was known before if all of it was."""
        return {CACHE: next((one for one in ("miss", "hit") if one in self._told), "off")}
