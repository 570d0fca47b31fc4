"""What libraries and Python itself have to say, as lines of the host's log.

They would write it where they stand, on the event loop too, and a log that nobody reads would stop the host. And they write
whatever they were given: of a message only what its author wrote is kept, of an error its kind and its place.
"""

import contextlib
import logging
import sys
import threading
import warnings
from asyncio import AbstractEventLoop
from types import TracebackType
from typing import Any, TextIO

from modelhost.contract.log import Log, place_of

LONGEST = 200
"""Characters of a message. Chosen, because what is longer was not written for one line."""


def listen(log: Log) -> None:
    """Route what goes through `logging`, `warnings` and Python's hooks into a log: what is worth a warning."""
    root = logging.getLogger()
    for handler in [*root.handlers]:
        root.removeHandler(handler)
    root.addHandler(_ToLog(log))
    root.setLevel(logging.WARNING)

    def warn(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        log.warning("Python warns", kind=category.__name__, place=f"{filename.rpartition('/')[2]}:{lineno}")

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            _failed(log, "the host failed", error)

    def in_thread(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_type is not SystemExit:
            _failed(log, "a thread failed", failed.exc_value)

    def unraisable(failed: "sys.UnraisableHookArgs") -> None:
        _failed(log, "an error could not be raised", failed.exc_value)

    warnings.showwarning = warn
    sys.excepthook = uncaught
    threading.excepthook = in_thread
    sys.unraisablehook = unraisable


def listen_to_loop(loop: AbstractEventLoop, log: Log) -> None:
    """Route what fails on an event loop, where nobody awaits it, into a log."""

    def failed(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
        _failed(log, _first_line(context.get("message") or "something failed"), context.get("exception"))

    loop.set_exception_handler(failed)


class _ToLog(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; of what was put into the message only numbers are kept."""
        event = _first_line(record.msg if isinstance(record.msg, str) else type(record.msg).__name__)
        args = record.args if isinstance(record.args, tuple) else ()
        with contextlib.suppress(TypeError, ValueError):  # then it stays as its author wrote it
            event = event % tuple(arg if isinstance(arg, (int, float)) else _Unsaid() for arg in args)
        facts: dict[str, Any] = {"logger": record.name}
        if record.exc_info and record.exc_info[1]:
            facts |= _facts_of(record.exc_info[1])
        say = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        say(event, **facts)


class _Unsaid:
    """Stands where something was said."""

    def __str__(self) -> str:
        return "…"

    __repr__ = __str__

    def __int__(self) -> int:
        raise TypeError


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:LONGEST]


def _facts_of(error: BaseException) -> dict[str, Any]:
    return {"error": type(error).__name__, "place": place_of(error)}


def _failed(log: Log, event: str, error: BaseException | None) -> None:
    log.error(event, **(_facts_of(error) if error else {}))
