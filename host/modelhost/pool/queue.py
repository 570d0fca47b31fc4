"""The requests of a model, waiting and at work: applies what admission decides."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from itertools import count
from typing import Any, NamedTuple

from modelhost.contract.context import Context
from modelhost.contract.errors import DeadlineError
from modelhost.pool.admission import Admission, Admitted, Refused, Ticket
from modelhost.runner import Runner

Load = Callable[[], Awaitable[Runner]]
"""Loads the model if it is not loaded, and returns its runner. Raises `ModelhostError`."""


class Slot(NamedTuple):
    """One of the requests at once that a model takes, taken."""

    number: int
    runner: Runner
    settle: Callable[[], None]
    """Gives it back, when the runner works on the request no more; once or more often."""
    loading: float
    """Seconds that the request waited for the model to be loaded."""
    queued: float
    """Seconds that it waited for the slot after that."""


class _InFlight(NamedTuple):
    """A request that a model works on."""

    request: Any
    live: bool
    """Whether more of it comes while it is worked on."""


class _Waiter:
    """A request that waits for its turn."""

    def __init__(self) -> None:
        self.runner: Runner | None = None
        """Whom it was let in to."""
        self._woken: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Have it look again."""
        if self._woken and not self._woken.done():
            self._woken.set_result(None)

    async def sleep(self) -> None:
        """Wait to be let in, or for the worker to be gone."""
        if self.runner is None:
            self._woken = asyncio.get_running_loop().create_future()
            await self._woken


class Queue:
    """The requests of one model. All of it belongs to the host's event loop."""

    def __init__(self) -> None:
        self._admission = Admission()
        self._runner: Runner | None = None
        self._numbers = count(1)
        self._waiters: dict[int, _Waiter] = {}
        self._in_flight: dict[int, _InFlight] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """How many requests are worked on."""
        return len(self._in_flight)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._admission.waiting

    # Its worker

    def open(self, runner: Runner, slots: int) -> None:
        """Give requests to this runner from now on, `slots` of those that count at once."""
        self._runner = runner
        self._let_in(self._admission.open(slots))

    def pause(self) -> None:
        """Give nobody to the runner from now on; who waits goes on waiting."""
        self._admission.close()

    def close(self) -> None:
        """Forget the runner, which is gone; who waits sees for itself whether the model can be loaded again."""
        self.pause()
        self._runner = None
        for waiter in self._waiters.values():
            waiter.wake()

    def settle_all(self) -> None:
        """Take every request for ended: nobody works on what an ended runner was given."""
        for number in list(self._in_flight):
            self._settle(number)

    async def idle(self, patience: float) -> None:
        """Wait until nothing is worked on, `patience` seconds at most."""
        if self._in_flight and patience:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), patience)

    def alone(self) -> Any:
        """Return the request that is worked on, where there is only one and all of it is known; else None."""
        if len(self._in_flight) != 1:
            return None
        (only,) = self._in_flight.values()
        return None if only.live else only.request

    # Its requests

    async def enter(self, context: Context, load: Load, *, counted: bool) -> Slot:
        """Take a slot, waiting for the model and for others as long as the request may. Raises `ModelhostError`."""
        now, remaining = time.monotonic(), context.remaining()
        deadline = None if remaining is None else now + remaining
        ticket = Ticket(number=next(self._numbers), counted=counted, deadline=deadline)
        decision = self._admission.offer(ticket, now)
        if isinstance(decision, Refused):
            raise _too_late()
        if isinstance(decision, Admitted):
            assert self._runner is not None
            return self._slot(ticket, self._runner, 0.0, 0.0)
        waiter = self._waiters[ticket.number] = _Waiter()
        try:
            async with in_time(context):
                return await self._turn(ticket, waiter, load)
        except BaseException:
            self._admission.leave(ticket.number)
            self._let_in(self._admission.done(ticket.number))  # it may have been let in and not have seen it yet
            raise
        finally:
            del self._waiters[ticket.number]

    async def _turn(self, ticket: Ticket, waiter: _Waiter, load: Load) -> Slot:
        """Wait until a request is let in; a model that died or was unloaded meanwhile is loaded again."""
        loading = queued = 0.0
        while True:
            ready, asked = self._runner is not None, time.monotonic()
            await load()
            loaded = time.monotonic()
            await waiter.sleep()
            loading += 0.0 if ready else loaded - asked
            queued += time.monotonic() - loaded
            if waiter.runner is None:
                continue
            if waiter.runner is self._runner:
                return self._slot(ticket, waiter.runner, loading, queued)
            waiter.runner = None  # it was gone before it could be given anything
            self._let_in(self._admission.done(ticket.number))
            if isinstance(self._admission.offer(ticket, loaded), Admitted):
                waiter.runner = self._runner

    def _let_in(self, tickets: tuple[Ticket, ...]) -> None:
        for ticket in tickets:
            waiter = self._waiters[ticket.number]
            waiter.runner = self._runner
            waiter.wake()

    def _slot(self, ticket: Ticket, runner: Runner, loading: float, queued: float) -> Slot:
        return Slot(ticket.number, runner, partial(self._settle, ticket.number), loading, queued)

    def begin(self, slot: Slot, request: Any, *, live: bool) -> None:
        """Count a request as worked on until its slot is settled."""
        self._in_flight[slot.number] = _InFlight(request, live)
        self._idle.clear()

    def _settle(self, number: int) -> None:
        self._in_flight.pop(number, None)
        self._let_in(self._admission.done(number))
        if not self._in_flight:
            self._idle.set()


@contextlib.asynccontextmanager
async def in_time(context: Context) -> AsyncIterator[None]:
    """Turn waiting beyond the call's deadline into a `DeadlineError`."""
    try:
        async with asyncio.timeout(context.remaining()):
            yield
    except TimeoutError:
        raise _too_late() from None


def _too_late() -> DeadlineError:
    return DeadlineError("the request's time was up before the model was free to serve it", retry=True)
