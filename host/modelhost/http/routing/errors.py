"""Failures that only HTTP has, and what is told of those that nobody meant to raise."""

from collections.abc import Callable

import msgspec
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException

from modelhost.contract import errors
from modelhost.contract.errors import ModelhostError, RequestError
from modelhost.http.routing.json.fields import invalid


class ClientGoneError(ModelhostError):
    """The client has left; nobody reads the answer."""

    code = "client_closed_request"


class RequestCancelledError(ModelhostError):
    """Somebody who may has cancelled the request."""

    code = "cancelled"

    def __init__(self) -> None:
        super().__init__("this request was cancelled by DELETE /v1/requests")


class UnknownRequestError(RequestError):
    """No request of that id is running."""

    code = "request_not_found"


class UnknownPathError(RequestError):
    """No route has this path."""

    code = "not_found"

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"there is no {method} {path[:200]} here")


class MethodNotAllowedError(RequestError):
    """The path's routes do not take this method."""

    code = "method_not_allowed"

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"{path[:200]} does not take {method}")


class WebSocketMethodError(MethodNotAllowedError):
    """A WebSocket is not opened with this method."""

    def __init__(self) -> None:
        RequestError.__init__(self, "a WebSocket is opened with GET")


class TooLargeError(RequestError):
    """The body is larger than is taken."""

    code = "request_too_large"


class UnreadableError(RequestError):
    """The body is of a kind that is not read here."""

    code = "unsupported_media_type"

    @classmethod
    def no_json(cls) -> "UnreadableError":
        """Tell who sends something else where JSON is read."""
        return cls("send the body as application/json")


class UnspokenEncodingError(RequestError):
    """The body is packed in a way that is not spoken here."""

    code = "unsupported_media_type"

    def __init__(self) -> None:
        super().__init__("bodies are read as they are: send this one without Content-Encoding")


class SlowRequestError(RequestError):
    """The request did not arrive in time."""

    code = "request_timeout"


class LongUrlError(RequestError):
    """The URL is longer than is taken."""

    code = "url_too_long"


class LargeHeadersError(RequestError):
    """There are more headers than are taken, or longer ones."""

    code = "headers_too_large"


class TransferCodingError(RequestError):
    """The body arrives in a way that is not spoken here (RFC 9112, section 6.1)."""

    code = "unsupported_transfer_coding"

    def __init__(self) -> None:
        super().__init__("a body is sent with Content-Length, or with Transfer-Encoding: chunked and nothing else")


class WebSocketVersionError(RequestError):
    """The handshake is of a version of the WebSocket protocol that is not spoken here."""

    code = "malformed_request"


def as_modelhost_error(error: Exception) -> ModelhostError:
    """Turn whatever was raised into an error that may be told; its own text is told only where it is ours."""
    match error:
        case ModelhostError():
            return error
        case msgspec.ValidationError():
            return invalid(error)
        case OSError() if exhausted := errors.told_by_system(error):
            return exhausted
        case RecursionError():
            return errors.BadInputError("the body is nested too deeply", code="invalid_json")
    return errors.BackendFailedError("something went wrong in the host; its log says where", code="internal_error")


_OF_FRAMEWORK: dict[type[HTTPException], Callable[[str, str], ModelhostError]] = {
    NotFoundException: UnknownPathError,
    MethodNotAllowedException: MethodNotAllowedError,
}


def as_refused_by_framework(error: HTTPException, method: str, path: str) -> ModelhostError:
    """Return what the framework refused by itself as an error of ours."""
    for kind, make in _OF_FRAMEWORK.items():
        if isinstance(error, kind):
            return make(method, path)
    return errors.BadInputError(error.detail, code="invalid_request")


def with_client_names(error: ModelhostError, spelt: dict[str, str]) -> ModelhostError:
    """Name the field that an error is about as the client has sent it."""
    if error.param in spelt:
        error.param = spelt[error.param]
    return error
