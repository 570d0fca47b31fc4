"""A hook may return an `EventStream`, which an engine's own thread fills: in a worker process and inline alike."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_plugins import fake_plugin, put_on_path
from modelhost.contract import errors
from modelhost.contract.context import Context
from modelhost.contract.event_stream import EventStream
from modelhost.contract.log import Log, silent
from modelhost.contract.types import Delta, Done
from modelhost.runner.death import Death
from modelhost.runner.inline import InlineRunner
from modelhost.runner.process import ProcessRunner
from modelhost.runner.spec import WorkerSpec
from modelhost.testing import chat

ENGINE = """
import threading

from modelhost import Backend, Delta, Done, EventStream, ModelCard, Options, hookimpl


class Fake(Backend[Options]):
    closed = threading.Event()

    def load(self):
        return ModelCard(concurrency=8)

    @hookimpl
    def generate(self, request, context):
        what, _, rest = request.messages[-1].text.partition(" ")
        stream = EventStream(on_close=self.closed.set)
        threading.Thread(target=getattr(self, what), args=(stream, rest), daemon=True).start()
        return stream

    def steps(self, stream, sizes):
        for size in map(int, sizes.split()):
            stream.put_all([Delta(text="x") for _ in range(size)])
        stream.finish() if sizes.endswith(" 0") else stream.put(Done())
        stream.finish()

    def wide(self, stream, size):
        stream.put_all([Delta(text="x" * 1000) for _ in range(int(size))] + [Done()])
        stream.finish()

    def fails(self, stream, _):
        stream.put_all([Delta(text="a"), Delta(text="b")])
        stream.finish(KeyError("a secret"))

    def forever(self, stream, _):
        stream.put(Delta(text="begun"))
        self.closed.wait(30)

    def tells(self, stream, _):
        stream.put_all([Delta(text="told" if self.closed.wait(30) else "never told"), Done()])
        stream.finish()
"""

Runner = ProcessRunner | InlineRunner
Use = Callable[[Runner], Awaitable[None]]


class Watch:
    def lost(self) -> None: ...

    def died(self, death: Death) -> None: ...


async def nobody(*_: Any) -> AsyncIterator[Any]:
    raise AssertionError("nobody is asked")
    yield


@pytest.fixture(params=["process", "inline"])
def running(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Use], None]]:
    site = fake_plugin(tmp_path, "engine", ENGINE)
    put_on_path(monkeypatch, site)

    async def main(use: Use) -> None:
        runner: Runner
        if request.param == "process":
            spec = WorkerSpec(plugin="engine", model="m", env={"PYTHONPATH": str(site)})
            runner = ProcessRunner(spec, log=Log(silent), watch=Watch(), host_call=nobody)
        else:
            runner = InlineRunner("engine", "m", {}, threads=1, log=Log(silent), host_call=nobody)
        await runner.start()
        try:
            async with asyncio.timeout(30):
                await use(runner)
        finally:
            await runner.stop()

    return lambda use: asyncio.run(main(use))


def ask(runner: Runner, what: str) -> EventStream[Any]:
    return runner.call("generate", chat(what), Context())


def test_what_a_thread_puts_arrives_in_order_and_to_its_end(running: Callable[[Use], None]) -> None:
    async def use(runner: Runner) -> None:
        *words, done = [event async for event in ask(runner, "steps 3 1 200 7")]
        assert words == [Delta(text="x")] * 211
        assert done == Done()

    running(use)


def test_without_done_it_is_no_answer_however_it_ends(running: Callable[[Use], None]) -> None:
    async def use(runner: Runner) -> None:
        with pytest.raises(errors.PluginError, match="without Done"):
            _ = [event async for event in ask(runner, "steps 2 0")]

    running(use)


def test_a_fault_of_the_thread_comes_after_what_it_had_put_and_keeps_its_secret(running: Callable[[Use], None]) -> None:
    async def use(runner: Runner) -> None:
        events = ask(runner, "fails now")
        assert [await anext(events), await anext(events)] == [Delta(text="a"), Delta(text="b")]
        with pytest.raises(errors.BackendFailedError) as caught:
            await anext(events)
        assert "secret" not in caught.value.message

    running(use)


def test_who_writes_is_told_when_the_call_is_cancelled(running: Callable[[Use], None]) -> None:
    async def use(runner: Runner) -> None:
        settled = asyncio.Event()
        events = runner.call("generate", chat("forever now"), Context(), settled.set)
        assert await anext(events) == Delta(text="begun")
        events.close()
        await settled.wait()
        first, _ = [event async for event in ask(runner, "tells now")]
        assert first == Delta(text="told")

    running(use)


@pytest.mark.parametrize(("count", "frames_of"), [(2, 1), (500, 1), (900, 1), (3000, 3)])
def test_what_is_put_at_once_leaves_in_one_frame_of_a_mebibyte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, frames_of: int
) -> None:
    """Also what is more than the credit of the call: 500 of these events are twice that."""
    site = fake_plugin(tmp_path, "engine", ENGINE)
    batches: list[int] = []

    async def main() -> None:
        spec = WorkerSpec(plugin="engine", model="m", env={"PYTHONPATH": str(site)})
        runner = ProcessRunner(spec, log=Log(silent), watch=Watch(), host_call=nobody)
        await runner.start()
        taken = runner._channel._take_events

        def counted(id_: int, call: Any, raw: Any) -> None:
            batches.append(len(call.decode(memoryview(raw))))
            taken(id_, call, raw)

        monkeypatch.setattr(runner._channel, "_take_events", counted)
        try:
            async with asyncio.timeout(30):
                events = [event async for event in ask(runner, f"wide {count}")]
                assert len(events) == count + 1
        finally:
            await runner.stop()

    asyncio.run(main())
    assert sum(batches) == count + 1
    assert len(batches) == frames_of


def test_a_reader_knows_what_was_put_together() -> None:
    stream: EventStream[int] = EventStream()
    stream.put(1)
    stream.put_all([2, 3, 4])
    stream.put(5)
    threading.Thread(target=stream.finish).start()
    assert [(number, stream.mid_batch) for number in stream] == [(1, False), (2, True), (3, True), (4, False), (5, False)]
