"""What a request says of the cache, and what its answer tells of it."""

from typing import Any

from litestar import Request

CACHE = "x-modelhost-cache"
"""Header that says whether an answer was known before: `hit`, `miss`, or `off` where the cache was not asked."""


def may_be_cached(request: Request[Any, Any, Any], field: bool | None) -> bool:
    """Whether the cache may be asked, by the request's field `cache` and by its headers."""
    return field is not False and "no-store" not in request.headers.get("cache-control", "").lower()
