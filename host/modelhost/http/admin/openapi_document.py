"""The OpenAPI document: what the routes say of themselves, in the form that tools read. Prints without a running host."""

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.handlers.base import BaseRouteHandler

from modelhost.contract.request_options import FIELD
from modelhost.http.routing.dialect import Envelope
from modelhost.http.routing.dialects import Dialects
from modelhost.http.routing.spec import Example, RouteSpec, spec_of
from modelhost.http.routing.statuses import ALWAYS, FAILURES, WITH_BODY, WITH_KEY, WITH_MODEL, WITH_NAME, Failure
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


_PARAMETER = re.compile(r"\{(\w+):\w+\}")


NO_PLUGINS: Mapping[str, dict[str, Any]] = MappingProxyType({})


class ApiDocument:
    """The document of some routes. Made when it is first asked for, and once: that takes a second."""

    def __init__(self, routes: Iterable[BaseRouteHandler], dialects: Dialects) -> None:
        self._routes = [route for route in routes if isinstance(route, HTTPRouteHandler) and route.include_in_schema]
        self._dialects = dialects
        self._written: dict[bytes, msgspec.Raw] = {}

    def written(self, root_path: str, plugins: Mapping[str, dict[str, Any]]) -> msgspec.Raw:
        """Return it as JSON, for a host that is under a path of its proxy's and has these `plugins`, as `value` takes them."""
        key = msgspec.json.encode((root_path, plugins))
        if key not in self._written:
            self._written[key] = msgspec.Raw(msgspec.json.encode(self.value(root_path, plugins)))
        return self._written[key]

    def value(self, root_path: str = "", plugins: Mapping[str, dict[str, Any]] = NO_PLUGINS) -> dict[str, Any]:
        """Return it as dictionaries and lists; `plugins` have by name the schemas of what requests may carry for them."""
        schemas = _Schemas({kind for route in self._routes for kind in _kinds(spec_of(route))} | {*self._dialects.envelopes})
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
            "paths": self._paths(schemas.references),
            "components": {
                "schemas": _with_plugins(schemas.components, plugins),
                "responses": {
                    self._name(status, envelope): _error(failure, envelope, schemas.references)
                    for envelope in self._dialects.envelopes
                    for status, failure in FAILURES.items()
                },
                "securitySchemes": _SECURITY,
            },
        }

    def _paths(self, refs: dict[Any, Any]) -> dict[str, Any]:
        paths: dict[str, dict[str, Any]] = {}
        for route in self._routes:
            for path in sorted(route.paths):  # a set, and the document is to be the same in every process
                for method in sorted(route.http_methods):
                    operation = _operation(route, path, refs)
                    operation["responses"] |= self._errors(spec_of(route), named="{" in path)
                    paths.setdefault(_PARAMETER.sub(r"{\1}", path), {})[method.lower()] = operation
        return paths

    def _errors(self, spec: RouteSpec, *, named: bool) -> dict[str, Any]:
        found = {*ALWAYS, *spec.errors, *(WITH_NAME if named else ())}
        if spec.access != "public":
            found |= set(WITH_KEY)
        if spec.body is not None or spec.form is not None:
            found |= set(WITH_BODY)
        if spec.tag in ("Text", "Audio", "Embeddings"):
            found |= set(WITH_MODEL)
        envelope = self._dialects.envelope_of(spec.dialect)
        return {str(status): {"$ref": f"#/components/responses/{self._name(status, envelope)}"} for status in sorted(found)}

    def _name(self, status: int, envelope: type[Envelope]) -> str:
        """Return the name of a failure in an envelope; those of the default dialect, which most are, go without its name."""
        default = self._dialects.envelope_of(self._dialects.default)
        return f"error{status}" if envelope is default else f"error{status}{envelope.__name__}"


class _Schemas:
    """The schemas of types by name, and where each is found."""

    def __init__(self, kinds: set[Any]) -> None:
        ordered = sorted(kinds, key=lambda kind: str(kind.__name__))
        schemas, self.components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
        self.references = {**dict(zip(ordered, schemas, strict=True)), dict: {"type": "object"}}
        _describe_fields(ordered, self.components)


_SECURITY = {
    "key": {"type": "http", "scheme": "bearer", "description": "A key of this host; none where it has no keys."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}

_TAGS = {
    "Text": "Generating and summarising text, and counting its tokens.",
    "Audio": "Speech to text and text to speech.",
    "Embeddings": "Texts to vectors, and what is near to what.",
    "Code": "What source code is made of.",
    "Models": "What there is, loading and unloading.",
    "Operation": "Health, metrics, running requests, and this document.",
}


def _kinds(spec: RouteSpec) -> set[Any]:
    return {kind for kind in (spec.body, spec.form, *_several(spec.answer), *_several(spec.event)) if kind not in (None, dict)}


def _several(kinds: Any) -> tuple[Any, ...]:
    return kinds if isinstance(kinds, tuple) else (kinds,)


def _any_of(kinds: Any, refs: dict[Any, Any]) -> dict[str, Any]:
    schemas = [refs[kind] for kind in _several(kinds)]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _with_plugins(components: dict[str, Any], plugins: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Add the schemas of what requests carry for plugins, and name them wherever it stands."""
    for plugin, schema in plugins.items():
        inside = msgspec.json.encode(schema).replace(b"#/$defs/", f"#/components/schemas/{plugin}.".encode())
        own: dict[str, Any] = msgspec.json.decode(inside)
        components |= {f"{plugin}.{name}": one for name, one in own.pop("$defs", {}).items()}
        components[f"{plugin}.request_options"] = own
    for component in components.values():
        if field := component.get("properties", {}).get(FIELD):
            field["properties"] = {plugin: {"$ref": f"#/components/schemas/{plugin}.request_options"} for plugin in plugins}
    return components


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
    spec = spec_of(route)
    operation: dict[str, Any] = {
        "operationId": route.fn.__name__,
        "summary": route.summary,
        "description": (route.fn.__doc__ or "").strip(),
        "tags": [spec.tag or "Operation"],
        "responses": {str(route.status_code): _answer(spec, refs)},
    }
    if spec.access == "public":
        operation["security"] = []
    elif spec.access not in ("any", "docs"):
        operation["description"] += f"\n\nTakes a key with the scope `{spec.access}`, where there are keys."
    if names := _PARAMETER.findall(path):
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in names
        ]
    if spec.query:
        operation.setdefault("parameters", []).extend(
            {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
            for name, text in spec.query.items()
        )
    if spec.body is not None:
        content = {"schema": refs[spec.body], "examples": _examples(spec.request_examples)}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    if spec.form is not None:
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": _form(spec, refs)}}}
    return operation


def _answer(spec: RouteSpec, refs: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if spec.answer is not None:
        content["application/json"] = {"schema": _any_of(spec.answer, refs)}
        if spec.response_examples:
            content["application/json"]["examples"] = _examples(spec.response_examples)
    if spec.event is not None:
        names = " or ".join(refs[kind]["$ref"].rpartition("/")[2] for kind in _several(spec.event))
        end = ", at last `data: [DONE]`" if "[DONE]" in spec.events else ""
        description = f"Events, each a line `data: ` with a {names}{end}."
        content["text/event-stream"] = {"schema": {"description": description}, "example": spec.events}
    if spec.text:
        content[spec.text.partition(";")[0]] = {"schema": {"type": "string"}, "example": spec.events}
    for kind in spec.media:
        content[kind.partition(";")[0]] = {"schema": {"type": "string", "format": "binary"}}
    return {"description": "The answer.", "content": content}


def _form(spec: RouteSpec, refs: dict[Any, Any]) -> dict[str, Any]:
    files = {name: {"type": "string", "format": "binary"} for name in spec.files}
    return {"allOf": [refs[spec.form], {"type": "object", "properties": files, "required": list(files)[:1]}]}


def _error(failure: Failure, envelope: type[Envelope], refs: dict[Any, Any]) -> dict[str, Any]:
    example = msgspec.to_builtins(envelope.of(failure.example))
    return {"description": failure.when, "content": {"application/json": {"schema": refs[envelope], "example": example}}}


def _examples(examples: dict[str, Example]) -> dict[str, Any]:
    return {name: {"summary": example.summary or name, "value": example.value} for name, example in examples.items()}
