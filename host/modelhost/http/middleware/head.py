"""HEAD is GET without the body (RFC 9110 §9.3.2), whatever the route: its handler sees GET, and what it says is left out."""

from collections.abc import Awaitable, Callable
from typing import Any

from modelhost.http.routing.in_flight import HEAD


class BodyNotWantedError(OSError):
    """Ends an application that would go on streaming what nobody gets."""


def is_for_want_of_a_body(error: BaseException | None) -> bool:
    """Whether an error is `BodyNotWantedError`, or what a framework has made of it on its way."""
    while error is not None and not isinstance(error, BodyNotWantedError):
        error = error.__cause__
    return error is not None


def as_get(scope: Any) -> Any:
    """Return the scope as the application sees it; the server keeps its own, by which it sends no body."""
    return {**scope, "method": "GET", HEAD: True}


def without_body(send: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    """Return what sends the head of an answer, and ends it where its body begins."""

    async def send_head(message: Any) -> None:
        if message["type"] != "http.response.body":
            await send(message)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        if message.get("more_body", False):
            raise BodyNotWantedError

    return send_head
