"""Coarse timers go off once, not too early and not much too late, and cleared ones never."""

import asyncio

from modelhost.concurrency.coarse_timers import TICK, CoarseTimers, coarse_timers


def test_an_alarm_rings_once_and_within_two_ticks_of_its_time() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        rang: list[float] = []
        done = asyncio.Event()
        began = loop.time()
        coarse_timers().set(0.1, lambda: (rang.append(loop.time() - began), done.set()))
        await asyncio.wait_for(done.wait(), 5)
        await asyncio.sleep(TICK * 3)
        assert len(rang) == 1
        assert rang[0] >= 0.1

    asyncio.run(main())


def test_a_cleared_alarm_never_rings_and_nothing_goes_on_ticking() -> None:
    async def main() -> None:
        rang: list[str] = []
        mine = CoarseTimers(asyncio.get_running_loop())
        key = mine.set(0, lambda: rang.append("cleared"))
        mine.set(0, lambda: rang.append("kept"))
        mine.clear(key)
        mine.clear(key)
        await asyncio.sleep(TICK * 3)
        assert rang == ["kept"]
        assert not mine._ticking

    asyncio.run(main())


def test_an_alarm_may_clear_another_and_set_a_new_one() -> None:
    async def main() -> None:
        rang: list[str] = []
        mine = CoarseTimers(asyncio.get_running_loop())
        done = asyncio.Event()

        def first() -> None:
            mine.clear(second)
            mine.set(0, lambda: (rang.append("third"), done.set()))

        mine.set(0, first)
        second = mine.set(0, lambda: rang.append("second"))
        await asyncio.wait_for(done.wait(), 5)
        assert rang == ["third"]

    asyncio.run(main())


def test_each_loop_has_alarms_of_its_own() -> None:
    async def which() -> CoarseTimers:
        assert coarse_timers() is coarse_timers()
        return coarse_timers()

    assert asyncio.run(which()) is not asyncio.run(which())


def test_a_timer_that_fails_leaves_the_others_to_ring() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: list[str] = []
        loop.set_exception_handler(lambda _, context: told.append(context["message"]))
        mine = CoarseTimers(loop)
        done = asyncio.Event()
        mine.set(0, lambda: 1 / 0)
        mine.set(0.1, done.set)
        await asyncio.wait_for(done.wait(), 5)
        assert told == ["a timer failed"]

    asyncio.run(main())
