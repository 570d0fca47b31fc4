"""One mistake, one message: what cannot but fail for a reason that was told is left out, and says which test told it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NO_HOOKS = "its hooks are not right"
NOT_LOADED = "it cannot be loaded"
UNANSWERED = "its first request is not answered"
BAD_IMPORT = "importing it is not right"
BAD_WEIGHTS = "empty weights are not refused"
BAD_UNLOAD = "unloading it is not right"

_told: dict[tuple[Any, ...], str] = {}
"""A mistake, by what has it and what goes wrong → the test that failed with it."""


@contextmanager
def telling(*mistake: Any) -> Iterator[None]:
    """Note that a mistake was told, where what is done within fails; leave it out where that was done before."""
    leave_out_if_told(*mistake)
    try:
        yield
    except pytest.skip.Exception:
        raise
    except BaseException:
        test = os.environ.get("PYTEST_CURRENT_TEST", "another test").partition(" ")[0]
        _told.setdefault(mistake, test)
        raise


def leave_out_if_told(*mistake: Any) -> None:
    """Skip the test where a mistake was told."""
    if test := _told.get(mistake):
        pytest.skip(f"not tried: {mistake[-1]}, as {test} says; put that right first")


def was_told(*mistake: Any) -> bool:
    """Return whether a mistake was told."""
    return mistake in _told


def subject(kind: Any) -> tuple[Any, ...]:
    """Return what a class of the kit tests: a backend with options."""
    return (kind.backend, repr(kind.options))


class ToldOnce:
    """Leaves tests out before their fixtures are made, which would fail again in each of them."""

    NAME = "modelhost-testing-told-once"

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Look at what a test of the kit needs."""
        kind: Any = getattr(item, "cls", None)
        if not hasattr(kind, "backend") or not hasattr(kind, "ability"):
            return
        leave_out_if_told(kind.backend, NO_HOOKS)
        if "loaded" in getattr(item, "fixturenames", ()):
            leave_out_if_told(*subject(kind), NOT_LOADED)
            leave_out_if_told(*subject(kind), kind.ability, UNANSWERED)

    @classmethod
    def of(cls, config: pytest.Config) -> None:
        """Begin, once a run."""
        if not config.pluginmanager.has_plugin(cls.NAME):
            config.pluginmanager.register(cls(), cls.NAME)
