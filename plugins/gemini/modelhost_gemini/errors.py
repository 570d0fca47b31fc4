"""What Gemini's API refuses, sorted by who can put it right.

Whatever is not the caller's fault is a `ServiceError`, so that a route with fallbacks goes on to the next model.
"""

import re
from typing import Any

from google.genai import errors
from modelhost import BackendFailedError, BadInputError, DeadlineError, ModelhostError, NotReadyError, OverloadedError

MOST_WORDS = 2000
"""Characters of Gemini's message that are passed on. Chosen, because its longest explanations have some hundred."""

_TOO_LONG = re.compile(r"token count.*exceeds", re.IGNORECASE)
"""What Gemini says of a prompt that does not fit; it has no code for that."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")
"""Protocol Buffers' durations as JSON has them."""


def error_of(error: errors.APIError, *, model: str) -> ModelhostError:
    """Turn a refusal into the error the caller gets; only a complaint about the request is passed on word for word."""
    message = str(error.message or "")[:MOST_WORDS]
    match error.code:
        case 401 | 403 | 407:
            return _key_error(error.code)
        case 400 if "API_KEY_INVALID" in _reasons(error) or "api key" in message.lower():
            return _key_error(error.code)
        case 400 if error.status == "FAILED_PRECONDITION":  # the place this machine is in, or billing
            return NotReadyError(f"Gemini does not serve this account: {message}", retry=False)
        case 404:
            hint = f"Gemini has no model {model!r} here; check model, base_url and api_version in the model's options"
            return NotReadyError(hint, retry=False)
        case 400 | 413 | 422:
            too_long = "context_length_exceeded" if _TOO_LONG.search(message) else None
            return BadInputError(f"Gemini refuses this request: {message}", code=too_long)
        case 429:
            hint = "the quota of this host's Gemini key is used up; try again later, or raise it at Google"
            return OverloadedError(hint, code="rate_limit_exceeded", retry_after=_retry_after(error))
        case 503:
            return OverloadedError("Gemini has no capacity for this model now; try again later", retry_after=_retry_after(error))
        case 408 | 499 | 504:
            return DeadlineError("Gemini's time was up before its answer was there; ask for less, or try again", retry=True)
    return BackendFailedError(f"Gemini failed (status {error.code}); try again later", retry=True)


def _key_error(status: int) -> NotReadyError:
    hint = "Gemini does not accept this host's key; set api_key in the model's options to one it accepts"
    return NotReadyError(f"{hint} (status {status})", retry=False)


def _details(error: errors.APIError) -> list[dict[str, Any]]:
    """Return the typed details of Google's envelope, whatever else an answer may be."""
    envelope = error.details if isinstance(error.details, dict) else {}
    inner = envelope.get("error", envelope)
    found = inner.get("details") if isinstance(inner, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _reasons(error: errors.APIError) -> set[Any]:
    return {reason for one in _details(error) if isinstance(reason := one.get("reason"), str)}


def _retry_after(error: errors.APIError) -> float | None:
    """Return the seconds to wait: `RetryInfo` of the details, else the header."""
    for one in _details(error):
        if found := _DURATION.fullmatch(str(one.get("retryDelay", ""))):
            return float(found[1])
    header = getattr(error.response, "headers", {}).get("retry-after", "")
    return float(header) if header.isdigit() else None
