"""The host's log: events in plain words with facts beside them, for people on a terminal and as JSON for machines."""

import logging
import sys
from typing import Any, Literal

import structlog

from modelhost.log import Level, Log


def set_up(level: str, form: Literal["auto", "console", "json"]) -> None:
    """Send log lines to standard error, in the form that suits who reads them."""
    for_people = form == "console" or (form == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if for_people else "iso", utc=not for_people),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if for_people else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # uvicorn and the libraries speak through the standard library: only what they warn of is worth a line.
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", force=True)


def sink(level: Level, event: str, facts: dict[str, Any]) -> None:
    """Write a line of a backend or of the host."""
    getattr(structlog.get_logger(), level)(event, **facts)


def host_log(**facts: Any) -> Log:
    """Give a log that writes to the host's."""
    return Log(sink, **facts)
