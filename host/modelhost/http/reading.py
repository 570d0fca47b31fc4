"""Requests into structs, strictly: no number in quotes is taken for a number, no unknown field is dropped without a word."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException

from modelhost.context import Context
from modelhost.errors import BadInputError
from modelhost.host import ModelHost
from modelhost.http.visit import visit_of

T = TypeVar("T")

IGNORED = "x-modelhost-ignored"
"""Header that names the fields of a request which nobody knows."""

SESSION = "x-session-id"
"""Header of older services that keep conversations. Nothing here does yet, and a client must not believe that it has one."""

_keys = msgspec.json.Decoder(dict[str, msgspec.Raw])


def host_of(request: Request[Any, Any, Any]) -> ModelHost:
    """Give the host behind the application."""
    host: ModelHost = request.app.state.host
    return host


def context_of(request: Request[Any, Any, Any]) -> Context:
    """Make the context of the model's call that a request asks for."""
    visit = visit_of(request.scope)
    caller = visit.caller.name if visit.caller else ""
    visit.context = host_of(request).router.context(visit.request_id, caller, visit.traceparent)
    return visit.context


@contextmanager
def utf8() -> Iterator[None]:
    """Decode what a client sent; bytes that are no text are its error, and msgspec's way to say so is Python's own exception."""
    try:
        yield
    except UnicodeDecodeError:
        raise BadInputError("the body is not UTF-8", code="invalid_json") from None


class JsonBody(Generic[T]):
    """Reads JSON bodies of one type."""

    def __init__(self, kind: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._known = frozenset(field.encode_name for field in msgspec.structs.fields(kind))  # type: ignore[arg-type]

    def read(self, request: Request[Any, Any, Any], body: bytes) -> tuple[T, dict[str, str]]:
        """Give the struct, and headers for the answer. Raises what `http.errors` turns into a 400 or 415."""
        kind = request.headers.get("content-type", "")
        if kind and not _is_json(kind):
            raise HTTPException(status_code=415)
        with utf8():
            value = self._decoder.decode(body)
            unknown = sorted(key for key in _keys.decode(body) if key not in self._known)
        unknown += [SESSION] if SESSION in request.headers else []
        if not unknown:
            return value, {}
        if host_of(request).config.server.strict:
            raise BadInputError(f"unknown field {unknown[0][:100]!r}", param=unknown[0][:100], code="unknown_parameter")
        return value, {IGNORED: ", ".join(printable(key) for key in unknown[:20])}


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def printable(key: str) -> str:
    """Make a key fit for a header: it is the caller's text and may hold anything."""
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in key[:64])
