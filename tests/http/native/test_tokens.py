"""Tokenising: what goes into a request, and that it neither waits for answers nor gets lost beside them."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from fake_plugins import isolated as isolated
from modelhost.config import load_config
from modelhost.contract.context import CallInfo, Context
from modelhost.contract.errors import BackendCrashedError, DeadlineError, UnsupportedError
from modelhost.contract.log import Log, silent
from modelhost.contract.types import AudioPart, Blob, Done, ImagePart, Message, TokenizeRequest, Tokens
from modelhost.host import ModelHost
from modelhost.observability.call_record import CallRecord
from modelhost.pool import Model
from modelhost.pool.admission import BESIDE
from modelhost.pool.requirements import needs
from modelhost.testing import chat

TALK = chat("one two three four five six seven eight nine ten", max_tokens=10)
HI = TokenizeRequest(text="hi", add_special=False)
BYTES = Tokens(tokens=tuple(b"hi"), pieces=(b"h", b"i"))


def with_model(use: Callable[[Model], Awaitable[None]], *, run: str = "inline", settings: str = "", **options: Any) -> None:
    lines = "\n".join(f"{name} = {value}" for name, value in options.items())
    path = Path("modelhost.toml")
    path.write_text(f'[models.echo]\nplugin = "echo"\nrun = "{run}"\n{settings}\n[models.echo.options]\n{lines}\n')

    async def main() -> None:
        host = ModelHost.of(load_config(path, environ={}), Log(silent))
        (model,) = host.pool
        try:
            await asyncio.wait_for(use(model), 30)
        finally:
            await host.stop()

    asyncio.run(main())


async def tokenized(model: Model, request: TokenizeRequest = HI, context: Context | None = None) -> list[Any]:
    return [event async for event in model.call("tokenize", request, context or Context(), CallRecord("tokenize"))]


@pytest.mark.parametrize(
    "asked", [{}, {"messages": ()}, {"text": "", "tokens": ()}, {"text": "x", "messages": TALK.messages}], ids=str
)
def test_a_request_is_for_one_thing(asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one of"):
        TokenizeRequest(**asked)


def test_pictures_and_sound_in_a_chat_are_needs_as_for_an_answer() -> None:
    parts = (ImagePart(image=Blob(b"x")), AudioPart(audio=Blob(b"x")))
    found = [(need.param, need.input) for need in needs(TokenizeRequest(messages=(Message(role="user", content=parts),)))]
    assert found == [("messages", "image"), ("messages", "audio")]
    assert not [*needs(HI), *needs(TokenizeRequest(tokens=(1,)))]


@pytest.mark.parametrize("run", ["inline", "process"])
def test_tokenising_does_not_wait_for_the_answer_that_takes_the_only_place(run: str) -> None:
    async def use(model: Model) -> None:
        async with aclosing(model.call("generate", TALK, Context(), CallRecord("generate"))) as answer:
            await anext(answer)
            assert model.card is not None
            assert model.card.concurrency == 1
            assert await tokenized(model) == [BYTES, Done()]
            assert model.in_flight == 1
            with pytest.raises(DeadlineError, match="was free"):  # while another answer has to wait
                await anext(model.call("generate", TALK, Context(CallInfo(remaining=0.05)), CallRecord("generate")))

    with_model(use, run=run, concurrency=1, pace=2)


def test_tokenising_takes_no_place_from_answers() -> None:
    async def use(model: Model) -> None:
        async with aclosing(model.call("tokenize", HI, Context(), CallRecord("tokenize"))) as tokens:
            await anext(tokens)
            assert model.in_flight == 1
            async with aclosing(model.call("generate", TALK, Context(CallInfo(remaining=5)), CallRecord("generate"))) as answer:
                await anext(answer)
                assert model.in_flight == 2

    with_model(use, concurrency=1, pace=1)


def test_a_storm_of_tokenising_is_answered_a_few_at_a_time() -> None:
    async def use(model: Model) -> None:
        await tokenized(model)
        calls = [asyncio.ensure_future(tokenized(model)) for _ in range(3 * BESIDE)]
        most = 0
        while not all(call.done() for call in calls):
            most = max(most, model.in_flight)
            await asyncio.sleep(0.005)
        assert [await call for call in calls] == [[BYTES, Done()]] * len(calls)
        assert most == BESIDE
        assert model.in_flight == 0

    with_model(use, delay=0.05)


def test_unloading_lets_tokenising_finish() -> None:
    async def use(model: Model) -> None:
        async with aclosing(model.call("tokenize", HI, Context(), CallRecord("tokenize"))) as tokens:
            assert await anext(tokens) == BYTES
            unloading = asyncio.ensure_future(model.unload(10))
            assert [event async for event in tokens] == [Done()]
        await unloading
        assert model.in_flight == 0
        assert model.status.state == "cold"
        assert await tokenized(model) == [BYTES, Done()]  # and it is loaded again for who asks then

    with_model(use, pace=5)


def test_an_ability_that_the_file_takes_away_is_refused_and_gives_its_place_back() -> None:
    async def use(model: Model) -> None:
        for _ in range(BESIDE + 1):
            with pytest.raises(UnsupportedError, match="cannot tokenize"):
                await tokenized(model, context=Context(CallInfo(remaining=5)))
        assert model.in_flight == 0

    with_model(use, settings='abilities = ["generate"]')


def test_a_worker_that_dies_fails_both_blames_neither_and_every_place_is_free_again() -> None:
    async def use(model: Model) -> None:
        await tokenized(model)  # a worker that has finished something is replaced at once
        for _ in range(3):
            async with aclosing(model.call("generate", TALK, Context(), CallRecord("generate"))) as answer:
                await anext(answer)
                async with aclosing(model.call("tokenize", HI, Context(), CallRecord("tokenize"))) as tokens:
                    await anext(tokens)
                    assert model.in_flight == 2
                    assert model.pid is not None
                    os.kill(model.pid, signal.SIGKILL)
                    for events in (tokens, answer):
                        with pytest.raises(BackendCrashedError):
                            [event async for event in events]
            assert model.in_flight == 0
            assert await tokenized(model) == [BYTES, Done()]

    with_model(use, run="process", concurrency=1, pace=2)
