"""Log lines of a backend: an event in plain words and facts beside it, never what people said."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

Level = Literal["debug", "info", "warning", "error"]
Sink = Callable[[Level, str, dict[str, Any]], None]


class Log:
    """Hands log lines to the host. Facts must be plain values: strings, numbers, booleans."""

    __slots__ = ("_facts", "_sink")

    def __init__(self, sink: Sink, **facts: Any) -> None:
        self._sink = sink
        self._facts = facts

    def bind(self, **facts: Any) -> "Log":
        """Return a log that adds these facts to every line."""
        return Log(self._sink, **{**self._facts, **facts})

    def debug(self, event: str, **facts: Any) -> None:
        """For whoever looks for a fault."""
        self._sink("debug", event, {**self._facts, **facts})

    def info(self, event: str, **facts: Any) -> None:
        """What an operator wants to see."""
        self._sink("info", event, {**self._facts, **facts})

    def warning(self, event: str, **facts: Any) -> None:
        """What an operator should look at."""
        self._sink("warning", event, {**self._facts, **facts})

    def error(self, event: str, **facts: Any) -> None:
        """What an operator must look at."""
        self._sink("error", event, {**self._facts, **facts})


def silent(level: Level, event: str, facts: dict[str, Any]) -> None:
    """Drop the line: the sink where nobody listens."""


def place_of(error: BaseException) -> str:
    """Say where an error was raised, for the log: file, line and function, never its message, which may hold what people said."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name}" if frames else "?"
