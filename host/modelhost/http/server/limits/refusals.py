"""Why connections are refused or closed, and what their clients are told."""

import http

import msgspec

from modelhost.contract.errors import BadInputError, ModelhostError, OverloadedError, OverQuotaError
from modelhost.http.routing.errors import envelope

MAX_HEAD = 64 * 1024
"""Bytes of a request line and its headers; of the trailers too, of which nothing is kept."""
MAX_URL = 16 * 1024
"""Bytes of a URL; ours are short."""
MAX_HEADERS = 100

FULL = "every connection this host takes is at work; ask again in a moment"

REFUSALS: dict[str, tuple[int, ModelhostError] | None] = {
    "malformed": (400, BadInputError("this is not valid HTTP/1.1", code="malformed_request")),
    "handshake": (400, BadInputError("this is no valid WebSocket handshake, as RFC 6455 has it", code="malformed_request")),
    "late_headers": (408, BadInputError("the request's headers took too long to arrive", code="request_timeout")),
    "late_body": (408, BadInputError("the request's body came too slowly", code="request_timeout")),
    "long_url": (414, BadInputError("the URL is longer than this host takes", code="url_too_long")),
    "large_headers": (
        431,
        BadInputError(f"more than {MAX_HEADERS} headers or {MAX_HEAD} bytes of them", code="headers_too_large"),
    ),
    "pipelined": (429, OverQuotaError("too many requests sent ahead on one connection")),
    "full": (503, OverloadedError(FULL)),
    "dropped": (503, OverloadedError("this connection had to make room for another; ask again in a moment")),
    "late_handshake": None,
    "silent": None,
    "unread": None,
}
"""The last three cannot be told anything."""


def _answer(status: int, error: ModelhostError) -> bytes:
    body = msgspec.json.encode(envelope(error))
    retry = "retry-after: 1\r\nx-should-retry: true" if error.retry else "x-should-retry: false"
    head = f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return f"{head}\r\nconnection: close\r\n{retry}\r\n\r\n".encode() + body


ANSWERS = {reason: _answer(*refusal) if refusal else b"" for reason, refusal in REFUSALS.items()}
"""What goes out, ready to be written."""
