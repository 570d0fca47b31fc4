"""One turn of an event loop stays short, however many read from what is always full."""

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import count

import pytest
from modelhost.concurrency.thread_bridge import ThreadBridge
from modelhost.contract import loop_turn
from modelhost.contract.event_stream import EventStream

EVENTS = 2000
READERS = 40


@pytest.fixture
def millisecond_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every look at the clock take as long as an event: a thirtieth of a turn."""
    ticks = count()
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks) * loop_turn.SECONDS / 30)


@pytest.mark.usefixtures("millisecond_events")
def test_readers_that_always_find_something_share_each_turn_of_the_loop() -> None:
    assert asyncio.run(_most_in_a_turn(READERS)) <= 4 * READERS


@pytest.mark.usefixtures("millisecond_events")
def test_one_reader_alone_has_a_turn_for_itself() -> None:
    assert asyncio.run(_most_in_a_turn(1)) <= 60


@pytest.mark.usefixtures("millisecond_events")
def test_every_reader_gets_on_in_every_turn() -> None:
    async def run() -> None:
        taken = [0] * READERS
        readers = [asyncio.create_task(_read(taken, number)) for number in range(READERS)]
        await asyncio.sleep(0)
        for turn in range(1, 20):
            await asyncio.sleep(0)
            assert min(taken) >= turn
        for reader in readers:
            reader.cancel()

    asyncio.run(run())


def test_a_loop_that_follows_another_in_the_same_thread_begins_anew() -> None:
    for _ in range(3):
        assert asyncio.run(_most_in_a_turn(2)) > 0


@pytest.mark.usefixtures("millisecond_events")
def test_what_is_read_for_another_thread_shares_the_turns_too() -> None:
    async def run() -> int:
        made = turns = 0

        async def source() -> AsyncIterator[int]:
            nonlocal made
            for made in range(EVENTS):
                yield made

        events = ThreadBridge[int](asyncio.get_running_loop(), source).begin()  # type: ignore[arg-type]  # a generator can be closed
        while made < EVENTS - 1:
            turns += 1
            await asyncio.sleep(0)
            events.take_all()
        return turns

    assert asyncio.run(run()) > EVENTS / 70


async def _most_in_a_turn(readers: int) -> int:
    """Have so many read full streams to their end; returns the most events that were taken between two turns of another task."""
    taken = [0] * readers
    tasks = [asyncio.create_task(_read(taken, number)) for number in range(readers)]
    most = before = 0
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        most, before = max(most, sum(taken) - before), sum(taken)
    assert taken == [EVENTS] * readers
    return most


async def _read(taken: list[int], number: int) -> None:
    stream: EventStream[int] = EventStream()
    stream.put_all(list(range(EVENTS)))
    stream.finish()
    async for _ in stream:
        taken[number] += 1
