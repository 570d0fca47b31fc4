"""The host's log: events in plain words with facts beside them, for people on a terminal and as JSON for machines.

Lines are written by a thread of their own. A log that nobody reads, such as a pipe that is full, must not stop the host: what
does not fit is counted and dropped.
"""

import atexit
import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, TextIO

import msgspec
import structlog

from modelhost.config.schema import LogPart
from modelhost.contract.log import Level, Log
from modelhost.observability.library_log import listen

MOST_WAITING = 10_000
"""Lines that may wait to be written. Chosen, because they take a few MB, and cover seconds of a disk that does not answer."""

GATHER = 0.02
"""Seconds the writer lets lines gather. Chosen, because a busy host then makes fewer writes (benchmarks/full_stack.py), and no
reader notices."""

PATIENCE = 1.0
"""Seconds that the last lines get to be read, when the host ends. Chosen, because whoever reads the log has had all its lines but
the last."""

_NUMBERS: dict[Level, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class _Writer:
    """Writes lines to a stream from a thread; nobody ever waits for it."""

    def __init__(self, stream: TextIO, say_lost: Callable[[int], str]) -> None:
        self._stream = stream
        self._say_lost = say_lost
        self._file = _file_of(stream)
        self._lines: deque[str] = deque()
        self._lost = 0
        self._more = threading.Event()
        self._written = threading.Lock()
        threading.Thread(target=self._run, name="modelhost-log", daemon=True).start()

    def msg(self, line: str) -> None:
        """Take a line."""
        if len(self._lines) >= MOST_WAITING:
            self._lost += 1
            return
        self._lines.append(line)
        if not self._more.is_set():
            self._more.set()

    debug = info = warning = error = msg

    def flush(self) -> None:
        """Write what waits."""
        with self._written:
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            lost, self._lost = self._lost, 0
            if lost:
                lines.append(self._say_lost(lost))
            if lines:
                with contextlib.suppress(OSError, ValueError):  # closed by whoever read it: there is nobody left to tell
                    self._write("\n".join(lines) + "\n")

    def _write(self, text: str) -> None:
        """Write past Python's own buffer: its lock would still be held at the end, where nobody reads, and Python would abort."""
        if self._file is None:
            self._stream.write(text)
            self._stream.flush()
            return
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        while data:
            data = data[os.write(self._file, data) :]

    def finish(self) -> None:
        """Write what waits, as long as somebody reads it."""
        last = threading.Thread(target=self.flush, name="modelhost-last-lines", daemon=True)
        last.start()
        last.join(PATIENCE)

    def _run(self) -> None:
        while True:
            self._more.wait()
            time.sleep(GATHER)
            self._more.clear()
            self.flush()


def _file_of(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


class _Output:
    """How lines are made and which are left out; replaced by `set_up`."""

    def __init__(self, logger: Any, level: Level, levels: Mapping[LogPart, Level]) -> None:
        self.say = {name: getattr(logger, name) for name in _NUMBERS}
        self.default = _NUMBERS[level]
        self.least: dict[str, int] = {part: _NUMBERS[name] for part, name in levels.items()}


def _logger(form: str, stream: TextIO) -> Any:
    as_json = form == "json" or (form == "auto" and not stream.isatty())
    writer = _Writer(stream, _lost_in_json if as_json else _lost_in_words)
    atexit.register(writer.finish)
    if as_json:
        return _JsonLogger(writer)
    return structlog.wrap_logger(
        writer,
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=stream.isatty()),
        ],
        wrapper_class=structlog.BoundLogger,
    ).bind()


_encoder = msgspec.json.Encoder(enc_hook=repr)


class _JsonLogger:
    """Makes a line of JSON in one step: every request has one, and structlog's chain would take four times as long."""

    def __init__(self, writer: _Writer) -> None:
        for level in _NUMBERS:
            setattr(self, level, partial(self._say, writer, level))

    @staticmethod
    def _say(writer: _Writer, level: str, event: str, **facts: Any) -> None:
        writer.msg(_in_json(level, event, facts))


def _in_json(level: str, event: str, facts: dict[str, Any]) -> str:
    return _encoder.encode({"timestamp": datetime.now(UTC), "level": level, "event": event, **facts}).decode()


def _lost_in_json(lines: int) -> str:
    return _in_json("warning", "log lines were lost", {"lines": lines})


def _lost_in_words(lines: int) -> str:
    return f"{lines} log lines were lost: nobody reads the log as fast as it is written"


_output = _Output(structlog.wrap_logger(structlog.WriteLogger(sys.stderr)).bind(), "info", {})


def set_up(level: Level, form: Literal["auto", "console", "json"], levels: Mapping[LogPart, Level] | None = None) -> None:
    """Send log lines to standard error, in the form that suits who reads them; `levels` is for parts that differ."""
    global _output
    _output = _Output(_logger(form, sys.stderr), level, levels or {})
    listen(host_log())


def say(text: str) -> None:
    """Write to standard error what is no line of the log; where that is full or closed, nobody is told."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def sink(level: Level, event: str, facts: dict[str, Any]) -> None:
    """Write a line of a backend or of the host."""
    output = _output
    if _NUMBERS[level] >= output.least.get(facts.get("part", "host"), output.default):
        output.say[level](event, **facts)


def host_log(part: LogPart = "host") -> Log:
    """Return a log that writes to the host's."""
    return Log(sink, part=part)
