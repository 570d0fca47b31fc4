"""Everything the host raises on purpose, sorted by who can put it right.

    ModelhostError
    ├── ConfigError           the file is wrong                      → start fails, or reload changes nothing
    ├── PluginError           a plugin cannot be loaded              → quarantined
    ├── RequestError          the caller can put it right            → 4xx
    │   ├── UnknownModelError, BadInputError, UnsupportedError
    │   ├── UnauthenticatedError, ForbiddenError
    │   └── OverQuotaError
    └── ServiceError          the caller cannot; the operator may    → 5xx
        ├── NotReadyError, OverloadedError, DeadlineError
        └── BackendFailedError, BackendCrashedError, CallCycleError

Messages are for the caller: they say what to do next and never repeat what another caller sent.
"""

import errno
from typing import Any, ClassVar, Self

MOST_WORDS = 8000
"""Characters of what an error says: chosen, because a list of some hundred models is half as long, and whole requests are not."""


class ModelhostError(Exception):
    """The root.

    `code` is the machine-readable name in the answer, `param` the field of the request that is meant, `retry` whether
    sending the same request again can help, `retry_after` the seconds to wait before that.
    """

    code: ClassVar[str] = "internal_error"
    retry: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.message = _told(message)
        super().__init__(self.message)
        self.param = None if param is None else _told(param)
        self.retry_after = retry_after if _is_seconds(retry_after) else None
        if code is not None:
            self.code = _told(code)  # type: ignore[misc]  # an instance may be more specific than its class
        if retry is not None:
            self.retry = bool(retry)  # type: ignore[misc]

    def facts(self) -> dict[str, Any]:
        """Return what `from_facts` needs to raise the same error in another process."""
        return {
            "kind": type(self).__name__,
            "message": self.message,
            "code": self.code,
            "param": self.param,
            "retry": self.retry,
            "retry_after": self.retry_after,
        }

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> "ModelhostError":
        """Rebuild an error that crossed the border; one of an unknown kind becomes `BackendFailedError`."""
        kind = _KINDS.get(str(facts.get("kind")), BackendFailedError)
        return kind(
            str(facts.get("message", "")),
            code=facts.get("code"),
            param=facts.get("param"),
            retry=facts.get("retry"),
            retry_after=facts.get("retry_after"),
        )


class ConfigError(ModelhostError):
    """The configuration is wrong; the message names the file, the key and what is allowed."""

    code = "config_error"


class PluginError(ModelhostError):
    """A plugin breaks the contract or cannot be loaded."""

    code = "plugin_error"


class RequestError(ModelhostError):
    """The caller can put it right."""

    code = "invalid_request"


class UnknownModelError(RequestError):
    """No model of that name is configured."""

    code = "model_not_found"


class BadInputError(RequestError):
    """The request itself is wrong."""

    code = "invalid_value"


class UnsupportedError(RequestError):
    """The request is well-formed, but this model cannot honour it."""

    code = "unsupported"


class UnauthenticatedError(RequestError):
    """The host does not know who asks: no key came with the request, or one it does not have."""

    code = "invalid_api_key"


class ForbiddenError(RequestError):
    """The host knows who asks, or from where, and that may not do this."""

    code = "forbidden"


class OverQuotaError(RequestError):
    """This caller has asked for too much; others have not."""

    code = "rate_limit_exceeded"
    retry = True


class ServiceError(ModelhostError):
    """The caller cannot put it right; the operator may, or time."""

    code = "service_error"


class NotReadyError(ServiceError):
    """The model cannot serve now: weights missing (the message has the command that gets them), loading failed, draining."""

    code = "model_not_ready"
    retry = True

    @classmethod
    def missing(cls, what: str, command: str) -> Self:
        """Say which weights are missing and what to type to get them."""
        return cls(f"{what} is not on this machine. To get it: {command}", retry=False)


class OverloadedError(ServiceError):
    """There is no capacity left for anybody."""

    code = "overloaded"
    retry = True


class DeadlineError(ServiceError):
    """The request's time is up."""

    code = "deadline_exceeded"


class BackendFailedError(ServiceError):
    """The backend raised something it did not mean to; the log says where."""

    code = "backend_failed"


class BackendCrashedError(ServiceError):
    """The worker process died while it served this request."""

    code = "backend_crashed"
    retry = True


class CallCycleError(ServiceError):
    """A model would call itself through others."""

    code = "call_cycle"


_EXHAUSTED = {
    errno.ENOSPC: ("disk_full", "the disk that holds temporary files is full (TMPDIR says which)"),
    errno.EDQUOT: ("disk_full", "no more temporary files may be written on this disk (a quota; TMPDIR says which disk)"),
    errno.EFBIG: ("disk_full", "a temporary file may not become so large here (ulimit -f)"),
    errno.EMFILE: ("too_many_files", "this process may open no more files (ulimit -n)"),
    errno.ENFILE: ("too_many_files", "this machine has no file handles left"),
}


def told_by_system(error: BaseException) -> OverloadedError | None:
    """Tell a failure of the system that is neither the caller's fault nor ours, such as a full disk; None for any other."""
    if not isinstance(error, OSError) or error.errno not in _EXHAUSTED:
        return None
    code, said = _EXHAUSTED[error.errno]
    return OverloadedError(f"{said}; ask again when there is room", code=code, retry_after=10)


def _told(said: object) -> str:
    """Return what an error says in a form that every answer and frame can carry. A backend may say anything."""
    return str(said)[:MOST_WORDS].encode(errors="replace").decode()


def _is_seconds(value: object) -> bool:
    """Whether it is a time a client may be told to wait: a day at most. A backend may say anything."""
    return isinstance(value, (int, float)) and 0 <= value <= 86_400  # which neither NaN nor infinity is


def _kinds(cls: type[ModelhostError]) -> dict[str, type[ModelhostError]]:
    found = {cls.__name__: cls}
    for child in cls.__subclasses__():
        found |= _kinds(child)
    return found


_KINDS = _kinds(ModelhostError)
