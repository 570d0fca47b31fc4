"""Mailboxes and relays: whatever thread reads, nothing is lost, reordered or left waiting."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, strategies as st
from modelhost.concurrency.thread_bridge import AHEAD, ThreadBridge
from modelhost.contract.event_stream import EventStream


@given(st.lists(st.lists(st.integers(), max_size=5), max_size=20))
def test_a_coroutine_reads_everything_in_order_and_every_weight_once(batches: list[list[int]]) -> None:
    weights: list[int] = []

    async def read() -> list[int]:
        box: EventStream[int] = EventStream(on_taken=weights.append)

        def write() -> None:
            for batch in batches:
                box.put_all(batch, len(batch))
            box.finish()

        threading.Thread(target=write).start()
        return [item async for item in box]

    assert asyncio.run(read()) == [item for batch in batches for item in batch]
    assert sum(weights) == sum(len(batch) for batch in batches)


def test_a_thread_reads_what_an_event_loop_writes() -> None:
    box: EventStream[int] = EventStream()

    async def write() -> None:
        for number in range(1000):
            box.put(number)
            if number % 100 == 0:
                await asyncio.sleep(0)
        box.finish()

    writer = threading.Thread(target=lambda: asyncio.run(write()))
    writer.start()
    assert list(box) == list(range(1000))
    writer.join()


def test_the_reader_gets_what_was_there_before_the_error() -> None:
    box: EventStream[int] = EventStream()
    box.put(1)
    box.finish(ValueError("late"))
    assert next(box) == 1
    with pytest.raises(ValueError, match="late"):
        next(box)


def test_closing_early_tells_the_writer_once_and_drops_what_comes() -> None:
    told: list[int] = []
    box: EventStream[int] = EventStream(on_close=lambda: told.append(1))
    box.put(1)
    box.close()
    box.close()
    box.put(2)
    assert told == [1]
    assert list(box) == []


def test_closing_after_the_end_tells_nobody() -> None:
    told: list[int] = []
    box: EventStream[int] = EventStream(on_close=lambda: told.append(1))
    box.finish()
    box.close()
    assert told == []


def test_a_relay_waits_for_a_slow_reader() -> None:
    made: list[int] = []

    async def numbers() -> AsyncIterator[int]:
        for number in range(AHEAD * 10):
            made.append(number)
            yield number

    async def read() -> None:
        events = ThreadBridge(asyncio.get_running_loop(), numbers).begin()
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(made) == AHEAD
        assert [item async for item in events] == list(range(AHEAD * 10))

    asyncio.run(read())


def test_a_relay_that_is_closed_closes_its_source() -> None:
    ended: list[str] = []

    async def forever() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
                await asyncio.sleep(0.001)
        finally:
            ended.append("closed")

    async def read() -> None:
        settled = asyncio.Event()
        relay: ThreadBridge[Any] = ThreadBridge(asyncio.get_running_loop(), forever, settled=settled.set)
        events = relay.begin()
        assert await anext(events) == 1
        events.close()
        await asyncio.wait_for(settled.wait(), 5)

    asyncio.run(read())
    assert ended == ["closed"]
