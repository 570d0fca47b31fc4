"""Waiting that ends: whatever a backend does, a step of a test takes so long and no longer."""

import os
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

import pytest

from modelhost.concurrency.daemon_threads import DaemonThreads

T = TypeVar("T")

_threads = DaemonThreads("modelhost-testing")


def within(seconds: float, work: Callable[[], T], otherwise: str) -> T:
    """Run what may block in a daemon thread; fails with `otherwise` when it takes longer."""
    ended = threading.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # it belongs to whoever waits
            errors.append(error)
        ended.set()

    _threads.run(run)
    if not ended.wait(seconds):
        pytest.fail(otherwise, pytrace=False)
    if errors:
        raise errors[0]
    return results[0]


LINGER = 10.0
"""Seconds that threads of a backend get to end after the last test, before the interpreter is ended without them. Chosen, because
the host waits as long (`runner.inline`)."""


class EndsWithPytest:
    """Sees to it that this process ends with pytest, although a backend may have left threads that would hold it for ever."""

    NAME = "modelhost-testing-ends"

    def __init__(self) -> None:
        self._before = set(threading.enumerate())
        self._status = 1

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Keep what pytest will end with."""
        self._status = int(exitstatus)

    def pytest_unconfigure(self) -> None:
        """Return what is left a while, in a thread that holds nobody."""
        left = [thread for thread in threading.enumerate() if thread not in self._before and not thread.daemon]
        if left:
            threading.Thread(target=_end, args=(left, self._status), daemon=True).start()

    @classmethod
    def of(cls, config: pytest.Config) -> None:
        """Begin to watch, once a run."""
        if not config.pluginmanager.has_plugin(cls.NAME):
            config.pluginmanager.register(cls(), cls.NAME)


def _end(left: list[threading.Thread], status: int) -> None:
    for thread in left:
        thread.join(LINGER / len(left))
    if any(thread.is_alive() for thread in left):
        names = ", ".join(thread.name for thread in left if thread.is_alive())
        print(f"modelhost.testing: threads that a backend left behind go on ({names}); ending without them", file=sys.stderr)  # noqa: T201
        os._exit(status or 1)
