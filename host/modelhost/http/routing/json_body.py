"""Requests into structs, strictly: no number in quotes is taken for a number, no unknown field is dropped without a word."""

from heapq import nsmallest
from typing import Any, Generic, TypeVar

from litestar import Request

from modelhost.contract.errors import BadInputError
from modelhost.host import ModelHost
from modelhost.http.routing.bodies.json_text import json_of, made
from modelhost.http.routing.errors import UnreadableError
from modelhost.http.routing.in_flight import in_flight_of
from modelhost.http.routing.json.fields import Reader, reader_of
from modelhost.http.routing.json.foreign_fields import refuse_what_others_know
from modelhost.http.routing.spelling import spelling

T = TypeVar("T")

IGNORED = "x-modelhost-ignored"
"""Header that names the fields of a request which nobody knows."""

MOST_IGNORED = 20
"""Fields that are named; a header has to stay small, and who sends more has seen enough."""

SESSION = "x-session-id"
"""Header of older services that keep conversations. Nothing here does yet, and a client must not believe that it has one."""


def host_of(request: Request[Any, Any, Any]) -> ModelHost:
    """Return the host behind the application."""
    host: ModelHost = request.app.state.host
    return host


class JsonBody(Generic[T]):
    """Reads JSON bodies of one type."""

    def __init__(self, kind: type[T], *, base64_in: tuple[str, ...] = (), form: str = "") -> None:
        """Read `kind`; a body with recordings or pictures, in base64 in the fields `base64_in`, may be as large as those.

        Where there is a `form` that takes the same as a file, who sends too much is told of it.
        """
        self._base64_in = frozenset(base64_in)
        self._hint = f"; send it as a file, in a form to {form}" if form else ""
        self._reader: Reader[T] = reader_of(kind)  # type: ignore[arg-type]  # classes can be hashed

    async def read(self, request: Request[Any, Any, Any]) -> tuple[T, dict[str, str]]:
        """Return the struct, and headers for the answer. Raises `RequestError`, and `OverloadedError` for want of memory."""
        kind = request.headers.get("content-type", "")
        if kind and not _is_json(kind):
            raise UnreadableError.no_json()
        body = await json_of(request, self._base64_in, self._hint)
        value, unknown = await made(request, self._reader.read, body)
        in_flight_of(request.scope).spelt = spelling(value)
        refuse_what_others_know(value, unknown)
        return value, ignored(request, [*unknown, *([SESSION] if SESSION in request.headers else [])])


def ignored(request: Request[Any, Any, Any], unknown: list[str]) -> dict[str, str]:
    """Return the header that names what nobody knows. Raises `BadInputError` where the host is strict."""
    if not unknown:
        return {}
    first = min(unknown)[:100]
    if host_of(request).config.server.strict:
        raise BadInputError(f"unknown field {first!r}", param=first, code="unknown_parameter")
    return {IGNORED: ", ".join(printable(key) for key in nsmallest(MOST_IGNORED, unknown))}


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def printable(key: str) -> str:
    """Make a key fit for a header: it is the caller's text and may hold anything."""
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in key[:64])
