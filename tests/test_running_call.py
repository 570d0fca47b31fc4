"""A call is an object: who answers, what it takes, and its events; who started it is told nothing in any other way."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fake_plugins import fake_plugin, put_on_path
from modelhost.config import load_config
from modelhost.contract.answers import collect
from modelhost.contract.errors import DeadlineError, UnknownModelError
from modelhost.contract.log import Log, silent
from modelhost.contract.types import Delta, Usage
from modelhost.host import ModelHost
from modelhost.observability.call_record import CallRecord, together
from modelhost.running_call import CallDetails
from modelhost.testing import chat

BACKEND = """
from modelhost import Backend, Delta, Done, ModelCard, NotReadyError, Options, Usage, hookimpl


class FakeOptions(Options):
    away: bool = False


class Fake(Backend[FakeOptions]):
    run = "inline"

    def load(self):
        return ModelCard(concurrency=4)

    @hookimpl
    async def generate(self, request, context):
        if self.options.away:
            raise NotReadyError("away", retry=False)
        yield Delta(text=f"{context.caller}/{context.request_id}/{context.revision}/{context.cancelled}")
        yield Done(usage=Usage(input_tokens=3, output_tokens=1))
"""

CONFIG = """
[models.away]
plugin = "fake"
options = { away = true }

[models.there]
plugin = "fake"

[routes]
generate = ["away", "there"]
"""

Use = Callable[[ModelHost], Awaitable[None]]


@pytest.fixture
def in_a_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Use], None]:
    put_on_path(monkeypatch, fake_plugin(tmp_path / "site", "fake", BACKEND))
    file = tmp_path / "modelhost.toml"
    file.write_text(CONFIG)

    async def main(use: Use) -> None:
        host = ModelHost.of(load_config(file, environ={}), Log(silent))
        try:
            async with asyncio.timeout(30):
                await use(host)
        finally:
            await host.stop()

    return lambda use: asyncio.run(main(use))


def test_it_names_the_model_that_answers_and_tells_what_it_took(in_a_host: Callable[[Use], None]) -> None:
    async def use(host: ModelHost) -> None:
        noted: list[CallRecord] = []
        details = CallDetails(request_id="r", caller="me", noted=noted.append)
        call = host.router.start("generate", "there", chat("hi"), details)
        assert (call.model, noted) == ("there", [call.record])
        answer = await collect(call)
        revision = host.router.find("there").revision
        assert (answer.model, answer.choices[0].text) == ("there", f"me/r/{revision}/False")
        record = call.record
        assert (record.ability, record.revision, record.events, record.cache) == ("generate", revision, 2, "off")
        assert record.usage == Usage(input_tokens=3, output_tokens=1)
        assert record.loading > 0
        assert record.began is not None
        assert record.ended is not None
        assert record.began <= record.ended

    in_a_host(use)


def test_where_a_model_is_away_it_names_the_next_from_the_first_event_on(in_a_host: Callable[[Use], None]) -> None:
    async def use(host: ModelHost) -> None:
        call = host.router.start("generate", None, chat("hi"))
        assert isinstance(await anext(call), Delta)
        assert call.model == "there"
        await call.aclose()

    in_a_host(use)


def test_the_same_details_serve_any_number_of_calls_and_are_not_changed_by_any(in_a_host: Callable[[Use], None]) -> None:
    async def use(host: ModelHost) -> None:
        details = CallDetails(request_id="r", caller="me")
        for _ in range(2):  # neither is a circle because the model was gone to before
            assert (await collect(host.router.start("generate", "there", chat("hi"), details))).model == "there"
        assert details == CallDetails(request_id="r", caller="me")

    in_a_host(use)


def test_a_name_that_nobody_has_is_told_at_once_and_notes_no_call(in_a_host: Callable[[Use], None]) -> None:
    async def use(host: ModelHost) -> None:
        noted: list[CallRecord] = []
        with pytest.raises(UnknownModelError):
            host.router.start("generate", "nobody", chat("hi"), CallDetails(noted=noted.append))
        assert not noted

    in_a_host(use)


def test_one_that_is_closed_gives_its_slot_back(in_a_host: Callable[[Use], None]) -> None:
    async def use(host: ModelHost) -> None:
        model = host.router.find("there")
        call = host.router.start("generate", "there", chat("hi"))
        await anext(call)
        assert model.in_flight == 1
        await call.aclose()
        assert [event async for event in call] == []
        while model.in_flight:  # noqa: ASYNC110  # a model tells nobody that it is idle
            await asyncio.sleep(0)

    in_a_host(use)


def test_its_time_may_be_up_before_it_begins(in_a_host: Callable[[Use], None]) -> None:
    async def use(host: ModelHost) -> None:
        with pytest.raises(DeadlineError):
            await collect(host.router.start("generate", "there", chat("hi"), CallDetails(deadline=0.0)))

    in_a_host(use)


def record(**facts: object) -> CallRecord:
    made = CallRecord("embed")
    for name, fact in facts.items():
        setattr(made, name, fact)
    return made


def test_calls_of_one_ability_are_told_together_and_a_part_that_was_computed_makes_the_whole_a_miss() -> None:
    whole = together(
        [
            record(model="a", loading=1.0, first_event=0.25, cache="hit"),
            record(model="b", queued=2.0, first_event=0.5, cache="miss", usage=Usage(input_tokens=2)),
            record(model="b", cache="off", usage=Usage(input_tokens=3, audio_seconds=1.0)),
        ]
    )
    assert (whole.model, whole.loading, whole.queued, whole.first_event, whole.cache) == ("b", 1.0, 2.0, 0.75, "miss")
    assert whole.usage == Usage(input_tokens=5, audio_seconds=1.0)


def test_one_call_is_told_as_it_is() -> None:
    one = record(cache="hit")
    assert together([one]) is one
