"""The counts of everything, for Prometheus."""

import asyncio
from typing import Any

from litestar import Request, Response, get

from modelhost.http.about import about
from modelhost.http.reading import host_of
from modelhost.metrics import CONTENT_TYPE


@get("/metrics", summary="Read the metrics", opt=about("metrics", text="text/plain"))
async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Everything that is counted, in Prometheus' text format."""
    text = await asyncio.to_thread(host_of(request).metrics.text)
    return Response(text, media_type=CONTENT_TYPE)
