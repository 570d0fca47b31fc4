"""`GET /openapi.json`."""

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
    return JsonResponse(await computed(document.written, host_of(request).config.server.root_path))
