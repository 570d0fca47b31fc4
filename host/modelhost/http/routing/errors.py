"""The only module that knows HTTP statuses: every failure becomes OpenAI's error envelope."""

import math
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException

from modelhost.contract import errors
from modelhost.contract.errors import ModelhostError, RequestError
from modelhost.contract.log import place_of
from modelhost.http.routing.in_flight import in_flight_of, request_id_of
from modelhost.http.routing.json.fields import invalid
from modelhost.http.routing.json_response import JsonResponse
from modelhost.observability.logs import host_log

_log = host_log()


class ClientGoneError(ModelhostError):
    """The client has left; nobody reads the answer."""

    code = "client_closed_request"


class UnknownRequestError(RequestError):
    """No request of that id is running."""

    code = "request_not_found"


class TooLargeError(RequestError):
    """The body is larger than is taken."""

    code = "request_too_large"


class UnreadableError(RequestError):
    """The body is of a kind that is not read here."""

    code = "unsupported_media_type"


class RequestCancelledError(ModelhostError):
    """Somebody who may has cancelled the request."""

    code = "cancelled"

    def __init__(self) -> None:
        super().__init__("this request was cancelled by DELETE /v1/requests")


class UnspokenEncodingError(RequestError):
    """The body is packed in a way that is not spoken here."""

    code = "unsupported_media_type"

    def __init__(self) -> None:
        super().__init__("bodies are read as they are: send this one without Content-Encoding")


_STATUSES: dict[type[ModelhostError], int] = {
    errors.UnknownModelError: 404,
    UnknownRequestError: 404,
    UnspokenEncodingError: 415,
    errors.UnauthenticatedError: 401,
    errors.ForbiddenError: 403,
    errors.OverQuotaError: 429,
    TooLargeError: 413,
    UnreadableError: 415,
    errors.RequestError: 400,
    errors.NotReadyError: 503,
    errors.OverloadedError: 503,
    errors.DeadlineError: 504,
    errors.BackendCrashedError: 502,
    errors.ServiceError: 500,
    ClientGoneError: 499,
    RequestCancelledError: 499,
}
"""The most specific class counts."""


SAID = frozenset({"context_length_exceeded"})
"""Codes that clients look for in the message: LangChain's retry with a shorter history does."""


def status_of(error: ModelhostError) -> int:
    """Return the HTTP status of an error."""
    return next((_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES), 500)


def envelope(error: ModelhostError) -> dict[str, Any]:
    """Return the JSON body of an error."""
    if isinstance(error, errors.OverQuotaError):
        kind = "rate_limit_error"
    elif isinstance(error, RequestError):
        kind = "invalid_request_error"
    else:
        kind = "server_error"
    message = error.message
    if error.code in SAID and error.code not in message:
        message = f"{message} ({error.code})"
    return {"error": {"message": message, "type": kind, "param": error.param, "code": error.code}}


def error_event(error: Exception) -> bytes:
    """Return a failure as a server-sent event, for a stream whose status has already gone out."""
    return b"data: " + msgspec.json.encode(envelope(as_modelhost_error(error))) + b"\n\n"


def as_modelhost_error(error: Exception) -> ModelhostError:
    """Turn whatever was raised into an error that may be told; its own text is told only where it is ours."""
    match error:
        case ModelhostError():
            return error
        case msgspec.ValidationError():
            return invalid(error)
        case OSError() if told := errors.told_by_system(error):
            return told
        case RecursionError():
            return errors.BadInputError("the body is nested too deeply", code="invalid_json")
    return errors.BackendFailedError("something went wrong in the host; its log says where", code="internal_error")


def in_its_words(error: ModelhostError, spelt: dict[str, str]) -> ModelhostError:
    """Name the field that an error is about as the client has sent it."""
    if error.param in spelt:
        error.param = spelt[error.param]
    return error


def answer_of(error: ModelhostError) -> JsonResponse:
    """Answer an error that may be told."""
    headers = {"x-should-retry": "true" if error.retry else "false"}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, errors.UnauthenticatedError):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, UnspokenEncodingError):
        headers["accept-encoding"] = "identity"
    return JsonResponse(envelope(error), status=status_of(error), headers=headers)


def answer_error(request: Request[Any, Any, Any], error: Exception) -> JsonResponse:
    """Answer any exception that a route raised."""
    if isinstance(error, HTTPException):
        return _answer_http(request, error)
    told = in_its_words(as_modelhost_error(error), in_flight_of(request.scope).spelt)
    status = status_of(told)
    if status >= 500:
        facts = {"error": type(error).__name__, "code": told.code, "status": status}
        if not isinstance(error, ModelhostError):
            facts["place"] = place_of(error)
        _log.error("request failed", request_id=request_id_of(request), **facts)
    return answer_of(told)


_REASONS = {
    404: ("not_found", "there is no {method} {path} here"),
    405: ("method_not_allowed", "{path} does not take {method}"),
    415: ("unsupported_media_type", "send the body as application/json"),
}


def _answer_http(request: Request[Any, Any, Any], error: HTTPException) -> JsonResponse:
    """Answer what the framework refused by itself."""
    status = error.status_code
    if status >= 500:
        _log.error("request failed", request_id=request_id_of(request), status=status)
    code, text = _REASONS.get(status, ("invalid_request", error.detail))
    path = request.scope["path"][:200]
    message = text.format(method=request.scope["method"], path=path) if status in _REASONS else text
    kind = "invalid_request_error" if status < 500 else "server_error"
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() in ("allow", "retry-after")}
    return JsonResponse(body, status=status, headers={"x-should-retry": "false", **headers})
