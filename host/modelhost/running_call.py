"""A call as the host sees it: who asks and how, the model that answers, and its events as they come."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

from modelhost.contract.context import CallInfo, Context
from modelhost.contract.event_stream import EventStream
from modelhost.contract.structs import Struct
from modelhost.observability.call_record import CallRecord

E = TypeVar("E")


def _by_nobody(record: CallRecord) -> None:
    """Note nothing."""


class CallDetails(Struct):
    """Who makes a call, until when and how: what is said of it beside ability, model and request."""

    request_id: str = ""
    caller: str = ""
    """Name of the API key that asks; empty where there are none."""
    traceparent: str = ""
    priority: int = 0
    deadline: float | None = None
    """When the answer must be there, in `time.monotonic()` seconds; None for never."""
    chain: tuple[str, ...] = ()
    """Models on the way here, outermost first: for calls that a model makes while it answers another."""
    cached: bool = True
    """Whether the answer may be taken from the cache, and kept there."""
    input: EventStream[bytes] | None = None
    """What follows the request, as it comes."""
    beside: bool = False
    """Whether who asks does without the answer where there is none."""
    noted: Callable[[CallRecord], object] = _by_nobody
    """Takes the call's record as soon as there is one."""

    @classmethod
    def within(cls, context: Context) -> "CallDetails":
        """Return those of a call that a backend makes while it answers another."""
        info = context.info
        return cls(
            request_id=info.request_id,
            caller=info.caller,
            traceparent=info.traceparent,
            priority=info.priority,
            deadline=context.deadline,
            chain=info.chain,
        )

    def context(self, model: str, revision: str) -> Context:
        """Make the context in which a model answers."""
        info = CallInfo(
            request_id=self.request_id,
            caller=self.caller,
            model=model,
            revision=revision,
            remaining=None if self.deadline is None else max(0.0, self.deadline - time.monotonic()),
            priority=self.priority,
            traceparent=self.traceparent,
            chain=(*self.chain, model),
        )
        return Context(info, input=self.input)


UNSAID = CallDetails()
"""Of a call that nobody waits for: without a deadline, and for no caller."""


class RunningCall(Generic[E]):
    """A call that was started: an async iterator of its events, to be closed by whoever reads it."""

    __slots__ = ("_events", "record")

    def __init__(self, record: CallRecord, events: AsyncGenerator[E, None]) -> None:
        self.record = record
        """What it takes: times, usage, what the cache had to do with it."""
        self._events = events

    @property
    def model(self) -> str:
        """Name of the model that answers; certain from the first event on."""
        return self.record.model

    def __aiter__(self) -> AsyncIterator[E]:
        return self._events  # not itself: that would cost each event a step

    def __anext__(self) -> Awaitable[E]:
        return self._events.__anext__()

    async def aclose(self) -> None:
        """Stop reading: a model that has not ended yet is told to stop."""
        await self._events.aclose()
