"""One call of a model: its events on their way out, timed, counted, and ended with its deadline."""

import time
from collections.abc import AsyncGenerator
from typing import Any, Protocol

from modelhost.concurrency.coarse_timers import coarse_timers
from modelhost.contract.context import Context
from modelhost.contract.errors import DeadlineError
from modelhost.contract.types import Ability, Done
from modelhost.observability.call_record import CallRecord
from modelhost.observability.metrics import CallMeter
from modelhost.pool.queue import Slot

TIME_IS_UP = "the request's time is up before the answer is complete"


class Callee(Protocol):
    """What a call takes of a model."""

    async def admit(self, ability: Ability, request: Any, context: Context, record: CallRecord) -> Slot:
        """Wait until the model is loaded and has a slot, and take it; `record` is told of the wait. Raises `ModelhostError`."""
        ...

    def meter(self, ability: Ability) -> CallMeter:
        """Return what counts and times the calls of an ability."""
        ...

    def finished(self) -> None:
        """Note that a call has come to its end, as it should."""
        ...


async def run_call(
    model: Callee, ability: Ability, request: Any, context: Context, record: CallRecord
) -> AsyncGenerator[Any, None]:
    """Yield the events of a call, and note in `record` what it takes. Raises `ModelhostError`."""
    slot = await model.admit(ability, request, context, record)
    try:
        events = slot.runner.call(ability, request, context, slot.settle)
    except BaseException:
        slot.settle()
        raise
    meter = model.meter(ability)
    meter.queue(slot.queued)
    if slot.loading:
        meter.loading(slot.loading)
    remaining = context.remaining()
    timer = None if remaining is None else coarse_timers().set(remaining, lambda: events.fail(DeadlineError(TIME_IS_UP)))
    last = time.monotonic()
    record.begin(last)
    observe = meter.first_event
    try:
        async for event in events:
            now = time.monotonic()
            observe(now - last)
            if not record.events:
                record.first_event = now - last
                observe = meter.gap
            record.events += 1
            last = now
            if type(event) is Done:
                record.usage = event.usage
                meter.used(event.usage)
            yield event
        model.finished()
    finally:
        if timer:
            coarse_timers().clear(timer)
        events.close()
        record.ended = time.monotonic()
        if not events.stopped_early:
            slot.settle()
