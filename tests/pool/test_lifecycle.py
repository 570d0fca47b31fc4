"""A model's life with a runner that does what a test says: loaded once, unloaded whole, brought back when it dies."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from modelhost.config import ModelConfig
from modelhost.contract.card import ModelCard
from modelhost.contract.context import CallInfo, Context
from modelhost.contract.errors import BackendFailedError, NotReadyError, UnsupportedError
from modelhost.contract.log import Log, silent
from modelhost.contract.types import EmbedRequest
from modelhost.observability.call_record import CallRecord
from modelhost.observability.metrics import Metrics
from modelhost.planning import PlannedModel
from modelhost.plugins.discovery import Plugin
from modelhost.pool import Model
from modelhost.runner import DeathWatch, Runner
from modelhost.runner.death import Death
from modelhost.worker.describe import Description

TITLED = EmbedRequest(inputs=("a",), title="of it")


class FakeRunner:
    """Loads when it may, and stops when it may."""

    pid = None

    def __init__(self, watch: DeathWatch, card: ModelCard) -> None:
        self.watch = watch
        self.card = card
        self.may_start = asyncio.Event()
        self.may_stop = [asyncio.Event(), asyncio.Event()]
        """For the first who stops it, and for the second."""
        self.fails = False
        self.stopped = 0

    async def start(self) -> ModelCard:
        await self.may_start.wait()
        if self.fails:
            raise BackendFailedError("no")
        return self.card

    async def stop(self) -> int:
        self.stopped += 1
        await self.may_stop[self.stopped - 1].wait()
        return 7


class Scene:
    """A model and every runner that was made for it."""

    def __init__(self, card: ModelCard | None = None) -> None:
        self.runners: list[FakeRunner] = []
        self.loads_at_once = True
        self.next_card = ModelCard(features=())
        description = Description(
            name="fake", distribution="fake", version="1", summary="", hooks=("embed",), run="process", options_schema={}
        )
        planned = PlannedModel(
            name="m",
            config=ModelConfig(plugin="fake"),
            plugin=Plugin(name="fake", python="python", description=description),
            weights={},
            revision="1",
            card=card,
            problem=None,
        )
        self.model = Model(planned, new_runner=self._made, log=Log(silent), metrics=Metrics())

    def _made(self, model: Model, options: dict[str, Any], watch: DeathWatch) -> Runner:
        runner = FakeRunner(watch, self.next_card)
        if self.loads_at_once:
            runner.may_start.set()
            runner.may_stop[0].set()
        self.runners.append(runner)
        return cast(Runner, runner)

    async def begun(self, number: int) -> Any:
        """Wait for the runner of that number."""
        while len(self.runners) < number:  # noqa: ASYNC110  # a runner is made in a task of the model's
            await asyncio.sleep(0.001)
        return self.runners[number - 1]

    def asks(self, request: EmbedRequest | None = None) -> "asyncio.Task[Any]":
        context = Context(CallInfo(remaining=10.0))
        request = request or EmbedRequest(inputs=("a",))
        return asyncio.ensure_future(self.model.admit("embed", request, context, CallRecord("embed")))

    def dies(self, number: int) -> None:
        watch = self.runners[number - 1].watch
        watch.lost()
        watch.died(Death(why="killed", from_outside=True))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place for cards that no other test sees."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def run(use: Callable[[Scene], Awaitable[None]], card: ModelCard | None = None) -> None:
    async def main() -> None:
        await asyncio.wait_for(use(Scene(card)), 10)

    asyncio.run(main())


def test_it_is_loaded_once_however_many_ask() -> None:
    async def use(scene: Scene) -> None:
        scene.loads_at_once = False
        loads = [asyncio.ensure_future(scene.model.load()) for _ in range(5)]
        (await scene.begun(1)).may_start.set()
        assert len({id(await load) for load in loads}) == 1
        assert len(scene.runners) == 1

    run(use)


def test_a_load_that_fails_tells_everybody_and_the_next_is_put_off() -> None:
    async def use(scene: Scene) -> None:
        scene.loads_at_once = False
        waiting = [scene.asks() for _ in range(3)]
        runner = await scene.begun(1)
        runner.fails = True
        runner.may_start.set()
        for task in (*waiting, scene.asks()):
            with pytest.raises(NotReadyError) as caught:
                await task
            assert caught.value.retry_after == pytest.approx(10, abs=1)
        assert (scene.model.status.state, len(scene.runners), scene.model.waiting) == ("failed", 1, 0)

    run(use)


def test_unloading_while_it_loads_ends_the_load_and_who_waits_is_told() -> None:
    async def use(scene: Scene) -> None:
        scene.loads_at_once = False
        waiting = scene.asks()
        await scene.begun(1)
        assert await scene.model.unload(0) == 0
        with pytest.raises(NotReadyError, match="unloaded while it was loading"):
            await waiting
        assert scene.model.status.state == "cold"

    run(use)


def test_who_waits_while_it_is_unloaded_is_served_by_the_next_worker() -> None:
    async def use(scene: Scene) -> None:
        slot = await scene.asks()
        waiting = scene.asks()
        unloading = asyncio.ensure_future(scene.model.unload(5))
        await asyncio.sleep(0)
        with pytest.raises(NotReadyError, match="being unloaded"):
            await scene.model.load()
        slot.settle()
        assert await unloading == 7
        assert (await waiting).runner is await scene.begun(2)

    run(use)


def test_a_worker_that_dies_while_it_drains_is_not_started_again_behind_the_unloading() -> None:
    async def use(scene: Scene) -> None:
        slot = await scene.asks()
        unloading = asyncio.ensure_future(scene.model.unload(5))
        await asyncio.sleep(0)
        scene.dies(1)
        slot.settle()
        await unloading
        assert (scene.model.status.state, len(scene.runners), scene.model.in_flight) == ("cold", 1, 0)
        assert await scene.model.load() is await scene.begun(2)

    run(use)


def test_who_unloads_what_another_has_unloaded_leaves_the_next_worker_alone() -> None:
    async def use(scene: Scene) -> None:
        busy = await scene.asks()
        one, other = (asyncio.ensure_future(scene.model.unload(5)) for _ in range(2))
        await asyncio.sleep(0)
        busy.settle()
        await one
        slot = await scene.asks()
        scene.runners[0].may_stop[1].set()
        await other
        assert (scene.model.status.state, scene.model.in_flight) == ("ready", 1)
        assert await scene.model.load() is slot.runner

    run(use)


def test_a_worker_that_had_served_is_replaced_at_once_and_who_waits_goes_to_the_next() -> None:
    async def use(scene: Scene) -> None:
        slot = await scene.asks()
        waiting = scene.asks()
        scene.model.finished()
        scene.dies(1)
        slot.settle()
        assert (await waiting).runner is await scene.begun(2)
        assert scene.model.status.restarts == 1

    run(use)


def test_what_an_earlier_card_rules_out_is_refused_without_a_load() -> None:
    async def use(scene: Scene) -> None:
        with pytest.raises(UnsupportedError, match="title"):
            await scene.asks(TITLED)
        assert scene.runners == []

    run(use, ModelCard(features=()))


@pytest.mark.parametrize("features", [(), ("title",)])
def test_what_only_the_load_can_tell_is_compared_with_the_card_it_brings(features: Any) -> None:
    async def use(scene: Scene) -> None:
        scene.next_card = ModelCard(features=features)
        asked = scene.asks(TITLED)
        if features:
            assert await asked
            return
        with pytest.raises(UnsupportedError, match="title"):
            await asked
        slot = await scene.asks()  # the slot was given back
        assert slot.runner is scene.runners[0]

    run(use)
