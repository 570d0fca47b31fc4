"""The one table of HTTP statuses: errors, limits of connections, documents and the access log take theirs from here."""

from modelhost.contract import errors
from modelhost.contract.errors import ModelhostError
from modelhost.contract.structs import Struct
from modelhost.http.routing.errors import (
    ClientGoneError,
    LargeHeadersError,
    LongUrlError,
    MethodNotAllowedError,
    RequestCancelledError,
    SlowRequestError,
    TooLargeError,
    TransferCodingError,
    UnknownPathError,
    UnknownRequestError,
    UnreadableError,
    UnspokenEncodingError,
    WebSocketVersionError,
)

# RFC 9110 §15, and one of nginx's.
SWITCHING_PROTOCOLS = 101
OK = 200
NO_CONTENT = 204
TEMPORARY_REDIRECT = 307
UNAUTHORIZED = 401
NOT_FOUND = 404
METHOD_NOT_ALLOWED = 405
CLIENT_CLOSED_REQUEST = 499
"""Nobody's standard, but nginx's: nobody has read the answer."""
SERVICE_UNAVAILABLE = 503

_OF_ERRORS: dict[type[ModelhostError], int] = {
    errors.RequestError: 400,
    errors.UnauthenticatedError: UNAUTHORIZED,
    errors.ForbiddenError: 403,
    errors.UnknownModelError: NOT_FOUND,
    UnknownPathError: NOT_FOUND,
    UnknownRequestError: NOT_FOUND,
    MethodNotAllowedError: METHOD_NOT_ALLOWED,
    SlowRequestError: 408,
    TooLargeError: 413,
    LongUrlError: 414,
    UnreadableError: 415,
    UnspokenEncodingError: 415,
    WebSocketVersionError: 426,
    errors.OverQuotaError: 429,
    LargeHeadersError: 431,
    ClientGoneError: CLIENT_CLOSED_REQUEST,
    RequestCancelledError: CLIENT_CLOSED_REQUEST,
    ModelhostError: 500,
    TransferCodingError: 501,
    errors.BackendCrashedError: 502,
    errors.NotReadyError: SERVICE_UNAVAILABLE,
    errors.OverloadedError: SERVICE_UNAVAILABLE,
    errors.DeadlineError: 504,
}
"""The most specific class counts."""

UNROUTED = frozenset({NOT_FOUND, METHOD_NOT_ALLOWED})
"""Statuses of requests that may have matched no route."""


def status_of(error: ModelhostError) -> int:
    """Return the HTTP status of an error."""
    return next(_OF_ERRORS[kind] for kind in type(error).__mro__ if kind in _OF_ERRORS)


def is_server_error(status: int) -> bool:
    """Whether a status says that the fault is not the client's (RFC 9110 §15.6)."""
    return status >= 500


class Failure(Struct):
    """What documents say of a status."""

    when: str
    example: ModelhostError


FAILURES: dict[int, Failure] = {
    status_of(example): Failure(when=when, example=example)
    for when, example in (
        (
            "The request is wrong, or asks for what the model cannot do",
            errors.BadInputError("temperature: Expected `float` <= 2.0"),
        ),
        (
            "No key, or one this host does not have",
            errors.UnauthenticatedError("no API key was sent; send one as `Authorization: Bearer KEY`"),
        ),
        (
            "The key, the web page or the name asked for may not do this",
            errors.ForbiddenError("the key 'a' lacks the scope 'admin' that this takes", code="missing_scope"),
        ),
        (
            "There is no such model, request or path",
            errors.UnknownModelError("there is no model 'x'; there are: chat"),
        ),
        ("The request did not arrive in time", SlowRequestError("the request did not arrive in time")),
        ("The body is too large", TooLargeError("the body is larger than this host takes here")),
        ("The body is not JSON", UnreadableError.no_json()),
        ("The caller has asked for too much", errors.OverQuotaError("too many requests; ask again in 2 s")),
        ("The request was cancelled", RequestCancelledError()),
        ("The backend failed", errors.BackendFailedError("the backend failed; the log says where")),
        (
            "The model's worker died",
            errors.BackendCrashedError("the worker process ended while it served this request"),
        ),
        (
            "The model cannot serve now",
            errors.NotReadyError("model 'chat' cannot serve now: it is being loaded"),
        ),
        (
            "The request's time was up",
            errors.DeadlineError("the request's time is up before the answer is complete"),
        ),
    )
}

ALWAYS = (400, 403)
"""What every route may fail with."""
WITH_KEY = (UNAUTHORIZED,)
WITH_BODY = (408, 413, 415)
WITH_NAME = (NOT_FOUND,)
WITH_MODEL = (NOT_FOUND, 429, CLIENT_CLOSED_REQUEST, 500, 502, SERVICE_UNAVAILABLE, 504)
"""What routes that take a key, a body, a name in their path, or a model's work may fail with besides."""
