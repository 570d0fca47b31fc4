"""What goes wrong between here and the server, in the host's words.

Nothing a server answers is repeated but numbers: it may hold what was to be said.
"""

import re

import httpx
from modelhost import (
    BackendFailedError,
    BadInputError,
    DeadlineError,
    ModelhostError,
    NotReadyError,
    OverloadedError,
)

BUSY = frozenset({429, 502, 503, 504})
"""Statuses with which a server, or a proxy before it, says that it has not taken the request."""

_TOO_LONG = re.compile(r"[Tt]ext is too long, max length is (\d+)")


def error_of_response(response: httpx.Response, server: str) -> ModelhostError:
    """Return the error for an answer other than 200; its body must have been read."""
    status = response.status_code
    if too_long := _TOO_LONG.search(response.text):
        limit = too_long[1]
        return BadInputError(f"the speech server takes texts of {limit} characters at most; send it in parts", param="text")
    if status in (401, 403):
        message = f"the speech server at {server} does not accept the key; set `api_key` to the one it was started with"
        return NotReadyError(message, retry=False)
    if status in BUSY:
        return OverloadedError(f"the speech server at {server} is busy ({status}); send the request again later")
    if status >= 500:
        return BackendFailedError(f"the speech server at {server} failed ({status}); its log says why")
    if status in (400, 422):
        return BackendFailedError(
            f"the speech server at {server} refused the request ({status}); compare its version with the options"
        )
    return NotReadyError(
        f"{server} answers with {status}, as no fish-speech server does; check `base_url` and `path`", retry=False
    )


def error_of_transport(error: httpx.HTTPError, server: str, timeout: float) -> ModelhostError:
    """Return the error for an answer that does not come, or not to its end."""
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return unreachable(server)
    if isinstance(error, httpx.TimeoutException):
        return DeadlineError(
            f"the speech server at {server} sent nothing for {timeout:g} s: it is busy, or `timeout` is too short for such texts"
        )
    message = f"the connection to the speech server at {server} was cut in the middle; send the request again"
    return BackendFailedError(message, retry=True)


def unreachable(server: str) -> NotReadyError:
    """Return the error for a server that is not there."""
    return NotReadyError(
        f"there is no speech server at {server}; start fish-speech there, correct `base_url`, or set `command` to have it started"
    )


def is_retryable(error: Exception) -> bool:
    """Return whether asking again is harmless and may help: the server cannot be reached, or says that it is busy."""
    return isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, OverloadedError))
