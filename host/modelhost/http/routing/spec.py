"""What a route says of itself beside its handler: who may use it, what goes in and what comes out."""

from typing import Any, Literal

from litestar.handlers.base import BaseRouteHandler

from modelhost.config.schema import Scope
from modelhost.contract.structs import Struct
from modelhost.http.routing.dialect import Dialect

Access = Literal["public", "docs", "any"] | Scope
"""`public` needs no key, `any` a key of whatever scope, `docs` is the one or the other as the configuration says."""


class Example(Struct):
    """A request as it is sent, or an answer as it comes."""

    value: Any
    summary: str = ""


class RouteSpec(Struct):
    """A route's entry in the host's own documents, whose API it is of, and the rule of who may use it."""

    dialect: Dialect
    access: Access
    body: Any = None
    """Type of the JSON body."""
    form: Any = None
    """Type of the form, of a route that takes files or JSON alike."""
    files: tuple[str, ...] = ()
    """Fields of the form that are files."""
    answer: Any = None
    """Type of the JSON answer, or several to choose from; None where it is text."""
    event: Any = None
    """Type of one event of the stream, or several, where the request may ask for one."""
    text: str = ""
    """Media type of an answer that is text."""
    media: tuple[str, ...] = ()
    """Media types of answers that are bytes."""
    query: dict[str, str] = {}
    """Parameters in the URL's query, with what each is for."""
    receives: tuple[Any, ...] = ()
    """Types of the messages a WebSocket takes."""
    sends: tuple[Any, ...] = ()
    """Types of the messages it sends."""
    errors: tuple[int, ...] = ()
    """Statuses it may fail with, beside those every route has."""
    request_examples: dict[str, Example] = {}
    """Requests to copy, by name."""
    response_examples: dict[str, Example] = {}
    """Answers to expect, by name."""
    events: str = ""
    """A stream to expect, as it comes over the line."""
    tag: str = ""


def route_spec(dialect: Dialect, access: Access, **facts: Any) -> dict[str, Any]:
    """Return a handler's `opt`."""
    return {"spec": RouteSpec(dialect=dialect, access=access, **facts)}


def spec_of(handler: BaseRouteHandler) -> RouteSpec:
    """Return what a route says of itself; a route that says nothing is nobody's."""
    found = handler.opt.get("spec")
    if not isinstance(found, RouteSpec):
        raise TypeError(f"the route {handler} does not say who may use it: give it opt=route_spec(…)")
    return found
