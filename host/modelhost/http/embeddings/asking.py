"""Asking a model for vectors, and telling what the cache had to do with the answer."""

from typing import Annotated, Any

import msgspec
from litestar import Request
from msgspec import Meta

from modelhost.context import Context
from modelhost.errors import UnsupportedError
from modelhost.http.leaving import CancelledWhenGone
from modelhost.http.reading import host_of
from modelhost.types import EmbedRequest
from modelhost.vectors import Rows, collect

CACHE = "x-modelhost-cache"
"""Header that says whether an answer was known before: `hit`, `miss`, or `off` where the cache was not asked."""

MAX_INPUTS = 2048
"""Texts in one request, as OpenAI has it."""

Dimensions = Annotated[int, Meta(ge=1, le=16_384)]
"""Four times what usual models have: what is asked for is memory, before anybody has looked whether the model knows it."""


async def vectors_of(
    request: Request[Any, Any, Any], context: Context, model: str | None, wanted: EmbedRequest, *, cache: bool = True
) -> Rows:
    """Ask for vectors, unless the client leaves meanwhile. A context may be used several times, one after another."""
    # A further call is one beside the last, not one that the last has made.
    context.info = msgspec.structs.replace(context.info, chain=())
    cached = cache and "no-store" not in request.headers.get("cache-control", "").lower()
    events = host_of(request).router.call("embed", model, wanted, context, cached=cached)
    with CancelledWhenGone(request):
        return await collect(events, len(wanted.inputs))


async def vectors_for(
    purpose: str,
    request: Request[Any, Any, Any],
    context: Context,
    model: str | None,
    wanted: EmbedRequest,
    *,
    cache: bool = True,
) -> Rows:
    """Ask for vectors that are made for a purpose, `query` or `document`, where the model tells purposes apart."""
    meant = msgspec.structs.replace(wanted, prompt_name=purpose)
    try:
        return await vectors_of(request, context, model, meant, cache=cache)
    except UnsupportedError as error:
        if error.param != "prompt_name":
            raise
        return await vectors_of(request, context, model, wanted, cache=cache)


def cache_header(context: Context) -> dict[str, str]:
    """Give the header about the last call."""
    return {CACHE: context.work.cache if context.work else "off"}
