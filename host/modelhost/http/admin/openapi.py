"""`GET /openapi.json`."""

from functools import partial
from typing import Any

from litestar import Request, get

from modelhost.concurrency.executor import computed
from modelhost.http.admin.dialect import route_spec
from modelhost.http.admin.openapi_document import ApiDocument
from modelhost.http.routing.json_body import host_of
from modelhost.http.routing.json_response import JsonResponse


@get("/openapi.json", summary="Read this document", opt=route_spec("docs", answer=dict))
async def openapi(request: Request[Any, Any, Any]) -> JsonResponse:
    """Every route with its schemas and examples, as OpenAPI 3.1."""
    document: ApiDocument = request.app.state.document
    host = host_of(request)
    described = (model.plugin.description for model in host.pool)
    plugins = {one.name: one.request_schema for one in described if one and one.request_schema}
    return JsonResponse(await computed(partial(document.written, plugins=plugins), host.config.server.root_path))
