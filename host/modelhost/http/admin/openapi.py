"""The OpenAPI document: what the routes say of themselves, in the form that tools read. Prints without a running host."""

import re
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler

from modelhost.concurrency.executor import computed
from modelhost.contract.structs import Struct
from modelhost.http.routing.json_body import host_of
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.spec import Example, RouteSpec, route_spec, spec_of
from modelhost.worker.describe import field_docs

DESCRIPTION = """\
Speech and language models of one's own behind one API. Where a path is OpenAI's, so are its shapes, and OpenAI's SDKs work.

- **Errors** have one form, whatever went wrong: `{"error": {"message", "type", "param", "code"}}`. The header `x-should-retry`
  says whether sending the same again can help, `retry-after` when.
- **Fields nobody knows** are named in the header `x-modelhost-ignored`, or refused where the host is configured to be strict.
- **Streams** are server-sent events. A failure after the first event is an event `{"error": …}`, and the stream ends.
- **Every answer** to a request that could be read has an `x-request-id`, the client's own if it sent one; `server-timing` says
  where the time went.
"""


class ErrorAnswer(Struct):
    """What went wrong."""

    message: str
    """For people: what to do next."""
    type: str
    """`invalid_request_error`, `rate_limit_error` or `server_error`."""
    param: str | None
    """The field that is meant."""
    code: str | None
    """For programs: what it was."""


class ErrorEnvelope(Struct):
    """Every failure."""

    error: ErrorAnswer


_ERRORS = {
    400: ("The request is wrong, or asks for what the model cannot do", "temperature: Expected `float` <= 2.0", "invalid_value"),
    401: (
        "No key, or one this host does not have",
        "no API key was sent; send one as `Authorization: Bearer KEY`",
        "invalid_api_key",
    ),
    403: (
        "The key, the web page or the name asked for may not do this",
        "the key 'a' lacks the scope 'admin' that this takes",
        "missing_scope",
    ),
    404: ("There is no such model, request or path", "there is no model 'x'; there are: chat", "model_not_found"),
    408: ("The request did not arrive in time", "the request did not arrive in time", "request_timeout"),
    413: ("The body is too large", "the body is larger than this host takes here", "request_too_large"),
    415: ("The body is not JSON", "send the body as application/json", "unsupported_media_type"),
    429: ("The caller has asked for too much", "too many requests; ask again in 2 s", "rate_limit_exceeded"),
    499: ("The request was cancelled", "this request was cancelled by DELETE /v1/requests", "cancelled"),
    500: ("The backend failed", "the backend failed; the log says where", "backend_failed"),
    502: ("The model's worker died", "the worker process ended while it served this request", "backend_crashed"),
    503: ("The model cannot serve now", "model 'chat' cannot serve now: it is being loaded", "model_not_ready"),
    504: ("The request's time was up", "the request's time is up before the answer is complete", "deadline_exceeded"),
}
"""Status → when, and an example of message and code."""

_ALWAYS = (400, 403)
_WITH_KEY = (401,)
_WITH_BODY = (408, 413, 415)
_WITH_MODEL = (404, 429, 499, 500, 502, 503, 504)

_PARAMETER = re.compile(r"\{(\w+):\w+\}")


def document(routes: Iterable[HTTPRouteHandler], root_path: str = "") -> dict[str, Any]:
    """Return the document of these routes."""
    routes = list(routes)
    kinds = {kind for route in routes for kind in _kinds(spec_of(route))} | {ErrorEnvelope}
    ordered = sorted(kinds, key=lambda kind: str(kind.__name__))
    schemas, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    refs = {**dict(zip(ordered, schemas, strict=True)), dict: {"type": "object"}}
    _describe_fields(ordered, components)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for path in sorted(route.paths):  # a set, and the document is to be the same in every process
            for method in sorted(route.http_methods):
                paths.setdefault(_PARAMETER.sub(r"{\1}", path), {})[method.lower()] = _operation(route, path, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "modelhost",
            "version": version("modelhost"),
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": root_path or "/"}],
        "security": [{"key": []}, {"header": []}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {f"error{status}": _error(status, refs) for status in _ERRORS},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A key of this host; none where it has no keys."},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


_TAGS = {
    "Text": "Generating and summarising text, and counting its tokens.",
    "Audio": "Speech to text and text to speech.",
    "Embeddings": "Texts to vectors, and what is near to what.",
    "Code": "What source code is made of.",
    "Models": "What there is, loading and unloading.",
    "Operation": "Health, metrics, running requests, and this document.",
}


def _kinds(said: RouteSpec) -> set[Any]:
    return {kind for kind in (said.body, said.form, *_several(said.answer), *_several(said.event)) if kind not in (None, dict)}


def _several(kinds: Any) -> tuple[Any, ...]:
    return kinds if isinstance(kinds, tuple) else (kinds,)


def _any_of(kinds: Any, refs: dict[Any, Any]) -> dict[str, Any]:
    schemas = [refs[kind] for kind in _several(kinds)]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _describe_fields(kinds: list[Any], components: dict[str, Any]) -> None:
    """Put the docstrings under the fields into the schemas; msgspec takes those of classes only."""
    seen: set[Any] = set()

    def walk(kind: Any) -> None:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            if kind in seen:
                return
            seen.add(kind)
            docs = field_docs(kind)
            for field in msgspec.structs.fields(kind):
                found = components.get(kind.__name__, {}).get("properties", {}).get(field.encode_name)
                if found is not None and field.name in docs:
                    found.setdefault("description", docs[field.name])
                walk(field.type)
        for part in getattr(kind, "__args__", ()) or ():
            walk(part)

    for kind in kinds:
        walk(kind)


def _operation(route: HTTPRouteHandler, path: str, refs: dict[Any, Any]) -> dict[str, Any]:
    said = spec_of(route)
    operation: dict[str, Any] = {
        "operationId": route.fn.__name__,
        "summary": route.summary,
        "description": (route.fn.__doc__ or "").strip(),
        "tags": [said.tag or "Operation"],
        "responses": {str(route.status_code): _answer(said, refs)} | _errors(said, named="{" in path),
    }
    if said.access == "public":
        operation["security"] = []
    elif said.access not in ("any", "docs"):
        operation["description"] += f"\n\nTakes a key with the scope `{said.access}`, where there are keys."
    if names := _PARAMETER.findall(path):
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in names
        ]
    if said.query:
        operation.setdefault("parameters", []).extend(
            {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
            for name, text in said.query.items()
        )
    if said.body is not None:
        content = {"schema": refs[said.body], "examples": _examples(said.request_examples)}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    if said.form is not None:
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": _form(said, refs)}}}
    return operation


def _answer(said: RouteSpec, refs: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if said.answer is not None:
        content["application/json"] = {"schema": _any_of(said.answer, refs)}
        if said.response_examples:
            content["application/json"]["examples"] = _examples(said.response_examples)
    if said.event is not None:
        names = " or ".join(refs[kind]["$ref"].rpartition("/")[2] for kind in _several(said.event))
        told = f"Events, each a line `data: ` with a {names}{', at last `data: [DONE]`' if '[DONE]' in said.events else ''}."
        content["text/event-stream"] = {"schema": {"description": told}, "example": said.events}
    if said.text:
        content[said.text.partition(";")[0]] = {"schema": {"type": "string"}, "example": said.events}
    for kind in said.media:
        content[kind.partition(";")[0]] = {"schema": {"type": "string", "format": "binary"}}
    return {"description": "The answer.", "content": content}


def _form(said: RouteSpec, refs: dict[Any, Any]) -> dict[str, Any]:
    files = {name: {"type": "string", "format": "binary"} for name in said.files}
    return {"allOf": [refs[said.form], {"type": "object", "properties": files, "required": list(files)[:1]}]}


def _errors(said: RouteSpec, *, named: bool) -> dict[str, Any]:
    statuses = {*_ALWAYS, *said.errors} | ({404} if named else set())
    if said.access not in ("public",):
        statuses |= set(_WITH_KEY)
    if said.body is not None or said.form is not None:
        statuses |= set(_WITH_BODY)
    if said.tag in ("Text", "Audio", "Embeddings"):
        statuses |= set(_WITH_MODEL)
    return {str(status): {"$ref": f"#/components/responses/error{status}"} for status in sorted(statuses)}


def _error(status: int, refs: dict[Any, Any]) -> dict[str, Any]:
    when, message, code = _ERRORS[status]
    kind = "rate_limit_error" if status == 429 else "invalid_request_error" if status < 499 else "server_error"
    example = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return {"description": when, "content": {"application/json": {"schema": refs[ErrorEnvelope], "example": example}}}


def _examples(examples: dict[str, Example]) -> dict[str, Any]:
    return {name: {"summary": example.summary or name, "value": example.value} for name, example in examples.items()}


@lru_cache(maxsize=1)
def own_document(root_path: str) -> dict[str, Any]:
    """Return the document of the host's own routes."""
    from modelhost.http.app import ROUTES  # here, because this route is one of them

    return document((route for route in ROUTES if isinstance(route, HTTPRouteHandler) and route.include_in_schema), root_path)


@lru_cache(maxsize=1)
def _written(root_path: str) -> msgspec.Raw:
    """Write the document, once: it takes a second to make."""
    return msgspec.Raw(msgspec.json.encode(own_document(root_path)))


@get("/openapi.json", summary="Read this document", opt=route_spec("docs", answer=dict))
async def openapi(request: Request[Any, Any, Any]) -> JsonResponse:
    """Every route with its schemas and examples, as OpenAPI 3.1."""
    return JsonResponse(await computed(_written, host_of(request).config.server.root_path))
