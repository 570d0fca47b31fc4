"""Why connections are refused or closed, and what their clients are told."""

import http

import msgspec

from modelhost.contract.errors import BadInputError, ModelhostError, OverloadedError, OverQuotaError
from modelhost.http.openai.dialect import OPENAI
from modelhost.http.routing.errors import LargeHeadersError, LongUrlError, SlowRequestError, TransferCodingError
from modelhost.http.routing.statuses import status_of

MAX_HEAD = 64 * 1024
"""Bytes of a request line and its headers; of the trailers too, of which nothing is kept."""
MAX_URL = 16 * 1024
"""Bytes of a URL; ours are short."""
MAX_HEADERS = 100
"""Header fields of a request: chosen, because browsers behind proxies send some thirty."""

FULL = "every connection this host takes is at work; ask again in a moment"

REFUSALS: dict[str, ModelhostError | None] = {
    "malformed": BadInputError("this is not valid HTTP/1.1", code="malformed_request"),
    "handshake": BadInputError("this is no valid WebSocket handshake, as RFC 6455 has it", code="malformed_request"),
    "late_headers": SlowRequestError("the request's headers took too long to arrive"),
    "late_body": SlowRequestError("the request's body came too slowly"),
    "long_url": LongUrlError("the URL is longer than this host takes"),
    "large_headers": LargeHeadersError(f"more than {MAX_HEADERS} headers or {MAX_HEAD} bytes of them"),
    "transfer_coding": TransferCodingError(),
    "pipelined": OverQuotaError("too many requests sent ahead on one connection"),
    "full": OverloadedError(FULL),
    "dropped": OverloadedError("this connection had to make room for another; ask again in a moment"),
    "late_handshake": None,
    "silent": None,
    "unread": None,
}
"""The last three cannot be told anything."""


def _answer(error: ModelhostError) -> bytes:
    """Write an answer in OpenAI's words: whose paths the request is under, nobody has read yet."""
    status, body = status_of(error), msgspec.json.encode(OPENAI.body_of(error))
    retry = "retry-after: 1\r\nx-should-retry: true" if error.retry else "x-should-retry: false"
    head = f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return f"{head}\r\nconnection: close\r\n{retry}\r\n\r\n".encode() + body


ANSWERS = {reason: _answer(error) if error else b"" for reason, error in REFUSALS.items()}
"""What goes out, ready to be written."""
