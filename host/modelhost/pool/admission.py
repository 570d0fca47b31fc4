"""Who is let in to a model and who waits: a state machine over values, without clocks, processes or a loop.

First come, first served, in two lanes: requests that take one of the model's slots, and those that take none (`UNCOUNTED`).
The queue applies what is decided here.
"""

from typing import Literal

from modelhost.contract.structs import Struct

BESIDE = 8
"""Uncounted requests at once: chosen, because each takes a thread of the worker, and they compute next to nothing."""

Reason = Literal["deadline"]


class Ticket(Struct):
    """A request that wants to be let in."""

    number: int
    """Tells it from the others of its model."""
    counted: bool = True
    """Whether it takes one of the model's slots."""
    deadline: float | None = None
    """When its time is up, on the clock of `now`."""


class Admitted(Struct):
    """It may begin now."""


class Waiting(Struct):
    """It has to wait."""

    position: int
    """1 for who is let in next."""


class Refused(Struct):
    """It is not taken, and does not wait."""

    reason: Reason
    retry_after: float | None = None
    """Seconds after which asking again may help; None where that is not known."""


Decision = Admitted | Waiting | Refused

_ADMITTED = Admitted()


class _Lane:
    """A number of slots, those who have them, and those who wait for one in the order in which they came."""

    def __init__(self) -> None:
        self.slots = 0
        self.running: set[int] = set()
        self.waiting: dict[int, Ticket] = {}

    def let_in(self) -> tuple[Ticket, ...]:
        """Move the first that wait into free slots."""
        if not self.waiting:
            return ()
        first = tuple(self.waiting.values())[: max(0, self.slots - len(self.running))]
        for ticket in first:
            del self.waiting[ticket.number]
            self.running.add(ticket.number)
        return first


class Admission:
    """The requests of one model: those that were let in, and those that wait. Closed until `open` says how many it takes."""

    def __init__(self) -> None:
        self._counted = _Lane()
        self._beside = _Lane()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._counted.waiting) + len(self._beside.waiting)

    def open(self, slots: int) -> tuple[Ticket, ...]:
        """Let in who waits first, up to `slots` at once; who was let in before was so to another worker, and counts no more."""
        self._counted.slots, self._beside.slots = slots, BESIDE
        for lane in (self._counted, self._beside):
            lane.running.clear()
        return self._counted.let_in() + self._beside.let_in()

    def close(self) -> None:
        """Let nobody in until it is opened again; who waits goes on waiting."""
        self._counted.slots = self._beside.slots = 0

    def offer(self, ticket: Ticket, now: float) -> Decision:
        """Decide on a request that comes now."""
        if ticket.deadline is not None and now >= ticket.deadline:
            return Refused(reason="deadline")
        lane = self._counted if ticket.counted else self._beside
        if not lane.waiting and len(lane.running) < lane.slots:
            lane.running.add(ticket.number)
            return _ADMITTED
        lane.waiting[ticket.number] = ticket
        return Waiting(position=len(lane.waiting))

    def leave(self, number: int) -> None:
        """Forget a request that waits no more."""
        self._counted.waiting.pop(number, None)
        self._beside.waiting.pop(number, None)

    def done(self, number: int) -> tuple[Ticket, ...]:
        """Take back the slot of a request that was let in, if it still has one; returns who is let in for it."""
        lane = self._counted if number in self._counted.running else self._beside
        lane.running.discard(number)
        return lane.let_in()
