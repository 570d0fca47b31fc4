"""What a backend raised and did not mean to: whole, for its author and for an administrator, and for nobody else."""

import time
import traceback

from modelhost.contract.structs import Struct, Wire

LONGEST = 32 * 1024
"""Characters of a traceback that are kept: its end, where the cause stands."""


class Failure(Struct):
    """An exception of a backend where none was meant to leave it, in the process where it was raised."""

    what: str
    """`load`, `unload` or the hook."""
    error: BaseException
    request_id: str = ""


class FailureReport(Wire):
    """The same for other processes. The traceback has the exception's message, which may hold what people said."""

    what: str
    at: float
    """Seconds since 1970."""
    traceback: str
    request_id: str = ""

    @classmethod
    def of(cls, failure: Failure) -> "FailureReport":
        """Write a failure down, without the frames of modelhost's own that led to it."""
        return cls(what=failure.what, at=time.time(), traceback=written(failure.error), request_id=failure.request_id)


def written(error: BaseException) -> str:
    """Return an exception with its traceback as Python prints it; never raises, whatever the exception's `__str__` does."""
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:
        text = f"{type(error).__name__}, which cannot be printed"
    return text if len(text) <= LONGEST else f"…{text[-LONGEST:]}"
