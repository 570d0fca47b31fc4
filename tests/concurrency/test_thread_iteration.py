"""A plain iterator becomes an async one: in order, never far ahead, and closed by the thread that advanced it."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any, cast

import pytest
from modelhost import Context
from modelhost.concurrency.thread_iteration import AHEAD, iterate_in_thread


class Numbers:
    """Counts, and remembers how far it came and which threads it was in."""

    def __init__(self, end: int, fails: Exception | None = None) -> None:
        self.end, self.fails = end, fails
        self.made = 0
        self.threads: set[int] = set()
        self.closed = False

    def __iter__(self) -> Iterator[int]:
        try:
            for number in range(self.end):
                self.threads.add(threading.get_ident())
                self.made += 1
                yield number
            if self.fails:
                raise self.fails
        finally:
            self.threads.add(threading.get_ident())
            self.closed = True


def reading(numbers: Numbers, context: Context | None = None) -> AsyncGenerator[Any, None]:
    return cast(AsyncGenerator[Any, None], iterate_in_thread(iter(numbers), context or Context()))


async def read(numbers: Numbers) -> list[int]:
    return [number async for number in reading(numbers)]


def test_everything_arrives_in_order_from_one_thread_that_is_not_the_loops() -> None:
    numbers = Numbers(5 * AHEAD)
    assert asyncio.run(read(numbers)) == list(range(5 * AHEAD))
    assert len(numbers.threads) == 1
    assert threading.get_ident() not in numbers.threads


def test_what_it_raises_comes_after_what_it_yielded() -> None:
    heard: list[int] = []

    async def listen() -> None:
        events = reading(Numbers(3, ValueError("no more")))
        while True:
            heard.append(await anext(events))

    with pytest.raises(ValueError, match="no more"):
        asyncio.run(listen())
    assert heard == [0, 1, 2]


def test_it_is_never_further_ahead_than_it_may_be() -> None:
    numbers = Numbers(10 * AHEAD)

    async def slowly() -> None:
        async with aclosing(reading(numbers)) as events:
            read = 0
            async for _ in events:
                read += 1
                assert numbers.made <= read + AHEAD + 1

    asyncio.run(slowly())


def test_who_leaves_cancels_the_call_and_has_the_iterator_closed_by_its_own_thread() -> None:
    numbers, context = Numbers(10**9), Context()

    async def leave() -> None:
        async with aclosing(reading(numbers, context)) as events:
            async for _ in events:
                break

    asyncio.run(leave())
    assert context.cancelled
    assert numbers.closed
    assert len(numbers.threads) == 1


def test_a_call_that_is_cancelled_from_elsewhere_ends() -> None:
    numbers, context = Numbers(10**9), Context()

    async def listen() -> None:
        async for number in reading(numbers, context):
            if number == 3:
                context.cancel()

    asyncio.run(listen())
    assert numbers.closed
