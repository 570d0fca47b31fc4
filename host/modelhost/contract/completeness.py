"""The one check of what a call yields: events of its ability, `Done` the last of them.

An answer is complete when `Done` was seen, and in no other case. So the check stands around whatever did not come from us: a
plugin's hook where that runs, and all extensions together, outermost, in the host.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, get_args

from modelhost.contract.errors import ModelhostError, PluginError
from modelhost.contract.event_values import WrittenSize, check_values
from modelhost.contract.types import ChoiceDone, Done
from modelhost.contract.types.abilities import ABILITIES, EVENTS, Ability

ANY = object()
"""The choice of events that are of none."""

_EVENT_TYPES: dict[Ability, tuple[type, ...]] = {ability: get_args(EVENTS[ability]) for ability in ABILITIES}


async def complete(
    ability: Ability,
    request: Any,
    events: AsyncIterator[Any],
    *,
    failed: Callable[[BaseException], BaseException],
    given_up: Callable[[], bool] = lambda: False,
    checked: bool = False,
) -> AsyncGenerator[Any, None]:
    """Yield the events and close them. Raises `ModelhostError` for what `ability` does not promise, and without `Done`.

    What is raised beyond that goes through `failed`, SystemExit and a cancellation that nobody asked for included: neither may
    end the loop, or pass for the end of an answer. A call that is `given_up` owes nothing. Values that were `checked` where the
    hook runs are not looked at again.
    """
    checks = _Checks(ability, request, values=not checked)
    reading = False
    try:
        async for event in events:
            checks.take(event)
            reading = True
            yield event
            reading = False
    except ModelhostError:
        raise
    except BaseException as error:
        if reading or _cancels_us(error):
            raise
        raise failed(error) from None
    finally:
        close = getattr(events, "aclose", None)  # what is no generator need not have it
        if close is not None:
            await _closed(close, failed)
    if not checks.done and not given_up():
        raise PluginError(f"{ability} ended without Done; it is the last event of every answer")


class _Checks:
    """What the events of one call are held to; `done` says whether the last of them has been seen."""

    def __init__(self, ability: Ability, request: Any, *, values: bool) -> None:
        self._ability = ability
        self._request = request
        self._values = values
        self._choices = {ANY, *range(getattr(request, "n", 1))}
        self._written = WrittenSize(ability)
        self.done = False

    def take(self, event: Any) -> None:
        """Look at the next event. Raises `PluginError`, and `BackendFailedError` for one too many."""
        if self.done or not isinstance(event, _EVENT_TYPES[self._ability]):
            raise PluginError(_wrong(self._ability, event, done=self.done))
        if getattr(event, "index", ANY) not in self._choices:
            raise PluginError(_of_wrong_choice(self._ability, event, self._request))
        if self._values:
            check_values(self._ability, event)
        self._written.add(event)
        if isinstance(event, ChoiceDone):
            self._choices.discard(event.index)
        self.done = isinstance(event, Done)


def _of_wrong_choice(ability: Ability, event: Any, request: Any) -> str:
    kind = type(event).__name__
    if event.index in range(getattr(request, "n", 1)):
        return f"{ability} yielded a {kind} after the ChoiceDone of its choice; yield that when the choice is complete"
    return f"{ability} yielded a {kind} of a choice nobody asked for"


def _wrong(ability: Ability, event: object, *, done: bool) -> str:
    if done:
        return f"{ability} yielded an event after Done; yield Done once, last"
    known = ", ".join(kind.__name__ for kind in _EVENT_TYPES[ability])
    return f"{ability} yielded a {type(event).__name__}; its events are {known}"


async def _closed(close: Callable[[], Any], failed: Callable[[BaseException], BaseException]) -> None:
    try:
        await close()
    except ModelhostError:
        raise
    except BaseException as error:
        if _cancels_us(error):
            raise
        raise failed(error) from None


def _cancels_us(error: BaseException) -> bool:
    """Whether somebody has cancelled the task that reads: then the error is his, and not of what is read."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
