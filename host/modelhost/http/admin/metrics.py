"""The counts of everything, for Prometheus."""

import asyncio
from typing import Any

from litestar import Request, Response, get

from modelhost.http.admin.dialect import route_spec
from modelhost.http.routing.json_body import host_of
from modelhost.observability.metrics import CONTENT_TYPE


@get("/metrics", summary="Read the metrics", opt=route_spec("metrics", text="text/plain"))
async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Everything that is counted, in Prometheus' text format."""
    text = await asyncio.to_thread(host_of(request).metrics.text)
    return Response(text, media_type=CONTENT_TYPE)
