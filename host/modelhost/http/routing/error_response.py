"""Failures as answers, in the dialect of who asks."""

import math
from typing import Any

from litestar import Request
from litestar.exceptions import HTTPException

from modelhost.contract.errors import ModelhostError, UnauthenticatedError
from modelhost.contract.log import place_of
from modelhost.http.routing.dialect import Dialect
from modelhost.http.routing.errors import (
    UnspokenEncodingError,
    as_modelhost_error,
    as_refused_by_framework,
    with_client_names,
)
from modelhost.http.routing.in_flight import in_flight_of
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.statuses import is_server_error, status_of
from modelhost.observability.logs import host_log

_log = host_log()


def headers_of(error: ModelhostError) -> dict[str, str]:
    """Return what an error says to programs, whatever the dialect."""
    headers = {"x-should-retry": "true" if error.retry else "false"}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, UnauthenticatedError):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, UnspokenEncodingError):
        headers["accept-encoding"] = "identity"
    return headers


def error_response(error: ModelhostError, dialect: Dialect) -> JsonResponse:
    """Answer an error that may be told."""
    return JsonResponse(dialect.body_of(error), status=status_of(error), headers=headers_of(error))


def answer_error(request: Request[Any, Any, Any], error: Exception) -> JsonResponse:
    """Answer any exception that a route raised, or the framework by itself."""
    in_flight = in_flight_of(request.scope)
    if isinstance(error, HTTPException) and not is_server_error(error.status_code):
        refusal = as_refused_by_framework(error, request.scope["method"], request.scope["path"])
        response = error_response(refusal, in_flight.dialect)
        response.headers.update({name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"})
        return response
    known = with_client_names(as_modelhost_error(error), in_flight.spelt)
    status = status_of(known)
    if is_server_error(status):
        facts = {"error": type(error).__name__, "code": known.code, "status": status}
        if not isinstance(error, ModelhostError):
            facts["place"] = place_of(error)
        _log.error("request failed", request_id=in_flight.request_id, **facts)
    return error_response(known, in_flight.dialect)
