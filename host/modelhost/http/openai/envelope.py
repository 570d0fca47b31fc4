"""OpenAI's error envelope (https://platform.openai.com/docs/guides/error-codes), which its SDKs turn into their exceptions."""

from modelhost.contract.errors import ModelhostError, OverQuotaError, RequestError
from modelhost.contract.structs import Struct

SAID = frozenset({"context_length_exceeded"})
"""Codes that clients look for in the message: LangChain's retry with a shorter history does."""


class ErrorAnswer(Struct):
    """What went wrong."""

    message: str
    """For people: what to do next."""
    type: str
    """`invalid_request_error`, `rate_limit_error` or `server_error`."""
    param: str | None
    """The field that is meant."""
    code: str | None
    """For programs: what it was."""


class ErrorEnvelope(Struct):
    """Every failure."""

    error: ErrorAnswer

    @classmethod
    def of(cls, error: ModelhostError) -> "ErrorEnvelope":
        """Return an error in OpenAI's words."""
        if isinstance(error, OverQuotaError):
            kind = "rate_limit_error"
        elif isinstance(error, RequestError):
            kind = "invalid_request_error"
        else:
            kind = "server_error"
        message = error.message
        if error.code in SAID and error.code not in message:
            message = f"{message} ({error.code})"
        return cls(error=ErrorAnswer(message=message, type=kind, param=error.param, code=error.code))
