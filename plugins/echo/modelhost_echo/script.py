"""Faults on demand: what makes the echo the scripted fake of the host's tests."""

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable
from typing import Annotated, Literal, TypeVar

from modelhost import (
    BadInputError,
    DeadlineError,
    NotReadyError,
    Options,
    OverloadedError,
    OverQuotaError,
    UnsupportedError,
)
from msgspec import Meta

Fault = Literal[
    "bad_input", "unsupported", "over_quota", "not_ready", "overloaded", "deadline", "raise", "hang", "exit", "segfault"
]
Seconds = Annotated[float, Meta(ge=0)]
T = TypeVar("T")

_TYPED = {
    "bad_input": BadInputError("the script says that the input is bad", param="messages"),
    "unsupported": UnsupportedError("the script says that this is unsupported"),
    "over_quota": OverQuotaError("the script says that the quota is used up", retry_after=7),
    "not_ready": NotReadyError.missing("the script's model", "modelhost pull script"),
    "overloaded": OverloadedError("the script says that there is no capacity", retry_after=3),
    "deadline": DeadlineError("the script says that time is up"),
}


class ScriptOptions(Options):
    """When to be slow, and how to fail."""

    load_seconds: Seconds = 0
    """How long loading takes."""
    load_fault: Fault | None = None
    """How loading fails."""
    delay: Seconds = 0
    """Seconds before the first event."""
    pace: Seconds = 0
    """Events a second; 0 means as fast as it goes."""
    fault: Fault | None = None
    """How a call fails."""
    fault_after: Annotated[int, Meta(ge=0)] = 0
    """How many events a call gives before it fails."""
    chatter: Annotated[int, Meta(ge=0)] = 0
    """Bytes printed to standard error with every event."""


class Script:
    """Plays events as the options say."""

    def __init__(self, options: ScriptOptions) -> None:
        self._options = options

    def load(self) -> None:
        """Take the time, or fail."""
        time.sleep(self._options.load_seconds)
        if self._options.load_fault == "hang":
            time.sleep(3600)
        elif self._options.load_fault:
            _fail(self._options.load_fault)

    async def play(self, events: Iterable[T]) -> AsyncIterator[T]:
        """Yield the events at the pace, until one is to fail."""
        options = self._options
        if options.delay:
            await asyncio.sleep(options.delay)
        loop = asyncio.get_running_loop()
        due = loop.time()
        for number, event in enumerate(events):
            if options.fault and number == options.fault_after:
                await self._fault(options.fault)
            if options.chatter:
                sys.stderr.write("x" * options.chatter)
            yield event
            if options.pace:
                due += 1 / options.pace
                await asyncio.sleep(max(0.0, due - loop.time()))

    async def _fault(self, fault: Fault) -> None:
        if fault == "hang":
            time.sleep(3600)  # noqa: ASYNC251  # a hung backend hangs: that is the point
        _fail(fault)


def _fail(fault: Fault) -> None:
    if fault in _TYPED:
        raise _TYPED[fault]
    if fault == "raise":
        raise ValueError("the script raises; this message must reach nobody")
    if fault == "segfault":
        ctypes.string_at(0)
    os._exit(3)
