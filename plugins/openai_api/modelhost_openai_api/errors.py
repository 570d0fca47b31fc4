"""What goes wrong at an upstream, sorted by who can put it right.

Whatever is not the caller's fault is a `ServiceError`, so that a route with fallbacks goes on to the next model.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
from modelhost import (
    BackendFailedError,
    BadInputError,
    DeadlineError,
    ModelhostError,
    NotReadyError,
    OverloadedError,
)

MOST_WORDS = 2000
"""Characters of an upstream's message that are passed on. Chosen, because the longest explanations have some hundred."""

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""A machine's word. Codes stand in logs, so nothing longer is taken for one."""

_STATUS_OF_TYPE = {"invalid_request_error": 400, "rate_limit_error": 429, "rate_limit_exceeded": 429, "overloaded_error": 503}
"""Where an error in the middle of a stream has no number, as OpenAI's have not."""


class ErrorDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What an upstream says is wrong."""

    message: str = ""
    kind: str = ""
    param: str | None = None
    code: str | None = None
    status: int | None = None
    """The HTTP status it would have been, where an event in a stream says so."""

    @classmethod
    def of(cls, value: Any) -> "ErrorDetails":
        """Read OpenAI's envelope, what stands inside it, or the shapes other servers give instead."""
        if isinstance(value, dict):
            inner = value.get("error", value)
            if isinstance(inner, dict):
                return cls._of_fields(inner)
            value = inner
        return cls(message=value[:MOST_WORDS] if isinstance(value, str) else "")

    @classmethod
    def of_body(cls, body: bytes) -> "ErrorDetails":
        """Read the body of a failed request; of one that is not JSON nothing is told."""
        try:
            return cls.of(msgspec.json.decode(body))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return cls()

    @classmethod
    def _of_fields(cls, fields: dict[str, Any]) -> "ErrorDetails":
        words = {name: value for name, value in fields.items() if isinstance(value, str)}
        code = fields.get("code")
        named = isinstance(code, str) and _CODE.fullmatch(code)
        return cls(
            message=(words.get("message") or words.get("detail") or "")[:MOST_WORDS],
            kind=words.get("type", ""),
            param=words.get("param"),
            code=code if named else None,
            status=code if isinstance(code, int) else None,
        )


def error_of(
    status: int, details: ErrorDetails, *, model: str, retry: bool | None = None, retry_after: float | None = None
) -> ModelhostError:
    """Turn a failed answer into the error the caller gets; only a complaint about the request is passed on word for word."""
    when: Any = {"retry": retry, "retry_after": retry_after}
    match status:
        case 400 | 413 | 414 | 415 | 422 | 431:
            reason = details.message or f"it says no more than status {status}"
            return BadInputError(f"the upstream refuses this request: {reason}", param=details.param, code=details.code)
        case 401 | 403 | 407:
            hint = "the upstream does not accept this host's key; set api_key in the model's options to one it accepts"
            return NotReadyError(f"{hint} (status {status})", retry=False)
        case 404 | 405 | 410 | 501:
            hint = f"the upstream does not serve {model!r} here; check model, base_url and paths in the model's options"
            return NotReadyError(f"{hint} (status {status})", retry=False)
        case 402 | 429 if status == 402 or details.code == "insufficient_quota":
            return NotReadyError("the upstream's account has no credit left; top it up there", retry=False)
        case 409 | 425 | 429 | 529:
            return OverloadedError("the upstream takes no more requests of this host now; try again later", **when)
        case 408 | 504:
            hint = "the upstream's time was up before its answer was there"
            return DeadlineError(hint, retry=retry is not False, retry_after=retry_after)
        case 502 | 503:
            return NotReadyError(f"the upstream cannot serve now (status {status}); try again later", **when)
        case _ if 300 <= status < 400:
            return NotReadyError("the upstream is somewhere else; set base_url to where it redirects to", retry=False)
    return BackendFailedError(f"the upstream failed (status {status})", **when)


def error_in_stream(value: Any, *, model: str) -> ModelhostError:
    """Turn an error in the middle of a stream into the error the caller gets."""
    details = ErrorDetails.of(value)
    status = details.status or _STATUS_OF_TYPE.get(details.kind, 500)
    if status == 500:
        return BackendFailedError("the upstream failed in the middle of its answer")
    return error_of(status, details, model=model)


def seconds_to_wait(headers: Any) -> float | None:
    """Read how long an upstream wants to be left alone: `retry-after-ms`, or `retry-after` in seconds or as a date."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(0.0, float(milliseconds) / 1000)
        return _seconds(headers.get("retry-after"))
    except (ValueError, TypeError, OverflowError):
        return None


def _seconds(header: str | None) -> float | None:
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        then = parsedate_to_datetime(header)
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.now(UTC)).total_seconds())
