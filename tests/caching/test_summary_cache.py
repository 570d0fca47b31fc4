"""Summaries that are kept: what is the same, what is worth keeping, and what a kept one was made of."""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest
from modelhost.caching import Cache, Caching
from modelhost.caching.file_state import SMALL, state_of
from modelhost.config import load_config
from modelhost.contract.card import ModelCard
from modelhost.contract.context import CallInfo, Context
from modelhost.contract.errors import BackendFailedError, DeadlineError
from modelhost.contract.event_stream import ClosableEvents
from modelhost.contract.log import Log, silent
from modelhost.contract.types import Blob, Delta, Detected, Done, Progress, SummarizeEvent, SummarizeRequest, Usage
from modelhost.host import ModelHost
from modelhost.observability.call_record import CallRecord
from modelhost.observability.metrics import Metrics
from modelhost.running_call import CallDetails

TEXT = Blob(b"The cat sat on the mat.")


class FakeModel:
    """What a cache needs to know of a model, and a call that gives the events of a script; it notes how often it was asked."""

    name = "fake"
    revision = "1"
    abilities = ("summarize",)

    def __init__(self) -> None:
        self.card: ModelCard | None = ModelCard()
        self.asked = 0
        self.loads = 0
        self.go = asyncio.Event()
        self.go.set()
        self.fail: Exception | None = None
        self.meanwhile: Callable[[], Any] = lambda: None
        self.script: list[SummarizeEvent] = [
            Detected(language="Text"),
            Progress(fraction=0.5, step="half of it"),
            Delta(text="A cat "),
            Delta(text="sat."),
            Done(reason="length", usage=Usage(input_tokens=7, output_tokens=3)),
        ]

    async def load(self) -> None:
        self.loads += 1
        self.card = ModelCard()

    async def call(self, request: SummarizeRequest, context: Context) -> AsyncGenerator[SummarizeEvent, None]:
        self.asked += 1
        for event in self.script:
            yield event
            await self.go.wait()
        self.meanwhile()
        if self.fail:
            raise self.fail


Use = Callable[["Setting"], Awaitable[None]]


class Setting:
    def __init__(self, max_bytes: int = 10**6) -> None:
        self.model = FakeModel()
        self.metrics = Metrics()
        self.named = {"fake": self.model}
        self.caching = Caching(Cache(max_bytes), self.metrics, lambda ability, name: [cast(Any, self.named[str(name)])])

    def call(
        self, context: Context, text: Blob = TEXT, record: CallRecord | None = None, **fields: Any
    ) -> ClosableEvents[SummarizeEvent]:
        call = self.caching.around(cast(Any, self.model), self.model.call, record or CallRecord("summarize"))
        return call(SummarizeRequest(text=text, **fields), context)

    async def summarize(
        self,
        text: Blob = TEXT,
        *,
        caller: str = "",
        remaining: float | None = None,
        record: CallRecord | None = None,
        **fields: Any,
    ) -> str:
        """Say what the cache had to do with it; the events are those that the model gives, but for progress."""
        record = record or CallRecord("summarize")
        context = Context(CallInfo(caller=caller, remaining=remaining))
        events = [event async for event in self.call(context, text, record, **fields)]
        assert [event for event in events if not isinstance(event, Progress)] == [
            event for event in self.model.script if not isinstance(event, Progress)
        ]
        return record.cache

    async def in_line(self) -> "asyncio.Task[str]":
        """Ask, and come back when the summary is being made, or waited for."""
        record = CallRecord("summarize")
        task = asyncio.create_task(self.summarize(record=record))
        while record.cache == "off":  # noqa: ASYNC110  # what a request waits for it tells nobody
            await asyncio.sleep(0)
        return task

    async def twice(self, **fields: Any) -> list[str]:
        return [await self.summarize(**fields) for _ in range(2)]

    def counted(self, result: str) -> float | None:
        return self.metrics.registry.get_sample_value(
            "modelhost_cache_lookups_total", {"model": "fake", "ability": "summarize", "result": result}
        )


def in_a_setting(use: Use, max_bytes: int = 10**6) -> None:
    async def main() -> None:
        await asyncio.wait_for(use(Setting(max_bytes)), 20)

    asyncio.run(main())


def test_the_second_is_the_first_again_event_by_event_with_its_end_and_what_it_cost() -> None:
    async def use(setting: Setting) -> None:
        assert await setting.twice() == ["miss", "hit"]
        assert setting.model.asked == 1
        assert (setting.counted("miss"), setting.counted("hit")) == (1, 1)
        again = [event async for event in setting.call(Context())]
        assert not any(isinstance(event, Progress) for event in again)

    in_a_setting(use)


def test_it_is_kept_whatever_the_temperature() -> None:
    async def use(setting: Setting) -> None:
        assert await setting.twice(temperature=1.5) == ["miss", "hit"]

    in_a_setting(use)


@pytest.mark.parametrize(
    "other",
    [
        {"text": Blob(b"The dog sat on the mat.")},
        {"filename": "a.py"},
        {"language": "Python"},
        {"persona": "brief"},
        {"generator": "echo"},
        {"max_tokens": 3},
        {"temperature": 0.1},
        {"enable_safety": True},
        {"caller": "bob"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_was_asked_otherwise_or_by_another_is_another(other: dict[str, Any]) -> None:
    async def use(setting: Setting) -> None:
        await setting.summarize()
        assert await setting.summarize(**other) == "miss"
        assert await setting.summarize() == "hit"

    in_a_setting(use)


def test_another_revision_is_another_and_a_file_of_the_same_text_is_not(tmp_path: Path) -> None:
    async def use(setting: Setting) -> None:
        (tmp_path / "upload").write_bytes(TEXT.read())
        await setting.summarize()
        assert await setting.summarize(Blob(path=tmp_path / "upload")) == "hit"
        setting.model.revision = "2"
        assert await setting.summarize() == "miss"

    in_a_setting(use)


def test_words_arrive_before_the_summary_is_complete() -> None:
    async def use(setting: Setting) -> None:
        setting.model.go.clear()
        record = CallRecord("summarize")
        async with aclosing(setting.call(Context(), record=record)) as events:
            assert await anext(events) == Detected(language="Text")
            assert record.cache == "miss"

    in_a_setting(use)


def test_two_who_ask_the_same_at_once_have_it_written_once() -> None:
    async def use(setting: Setting) -> None:
        setting.model.go.clear()
        tasks = [await setting.in_line() for _ in range(3)]
        setting.model.go.set()
        assert await asyncio.gather(*tasks) == ["miss", "hit", "hit"]
        assert setting.model.asked == 1

    in_a_setting(use)


def test_one_that_leaves_takes_nobody_along_who_waits_for_the_same() -> None:
    async def use(setting: Setting) -> None:
        setting.model.go.clear()
        leaving, *waiting = [await setting.in_line() for _ in range(3)]
        leaving.cancel()
        await asyncio.wait({leaving})
        setting.model.go.set()
        assert await asyncio.gather(*waiting) == ["miss", "hit"]
        assert setting.model.asked == 2

    in_a_setting(use)


def test_who_waits_for_another_waits_no_longer_than_until_its_own_deadline() -> None:
    async def use(setting: Setting) -> None:
        setting.model.go.clear()
        writing = cast(Any, setting.call(Context()))
        await anext(writing)
        with pytest.raises(DeadlineError):
            await setting.summarize(remaining=0.01)
        await writing.aclose()

    in_a_setting(use)


def test_a_failure_is_told_each_time_also_after_the_last_word() -> None:
    async def use(setting: Setting) -> None:
        setting.model.fail = BackendFailedError("no")
        failed = await asyncio.gather(*(setting.summarize() for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in failed] == [BackendFailedError] * 3
        setting.model.fail = None
        assert await setting.twice() == ["miss", "hit"]

    in_a_setting(use)


def test_one_that_stops_without_an_end_or_is_filtered_is_not_kept() -> None:
    async def use(setting: Setting) -> None:
        whole = setting.model.script
        setting.model.script = whole[:-1]
        assert await setting.twice() == ["miss", "miss"]
        setting.model.script = [*whole[:-1], Done(reason="content_filter")]
        assert await setting.twice() == ["miss", "miss"]

    in_a_setting(use)


def test_without_room_nothing_is_kept_and_the_cache_is_not_asked() -> None:
    async def use(setting: Setting) -> None:
        for _ in range(2):
            record = CallRecord("summarize")
            assert [event async for event in setting.call(Context(), record=record)] == setting.model.script
            assert record.cache == "off"

    in_a_setting(use, max_bytes=0)


class TestFiles:
    """Those a model reads anew for every request."""

    def reading(self, setting: Setting, folder: Path) -> None:
        setting.model.card = ModelCard(reads=(str(folder),))

    def test_a_summary_is_another_when_one_was_changed_added_or_removed(self, tmp_path: Path) -> None:
        async def use(setting: Setting) -> None:
            self.reading(setting, tmp_path)
            persona = tmp_path / "deep" / "brief.md"
            persona.parent.mkdir()
            persona.write_text("Be brief.")
            assert await setting.twice() == ["miss", "hit"]
            persona.write_text("Be broad.")
            assert await setting.twice() == ["miss", "hit"]
            (tmp_path / "other.md").write_text("Be kind.")
            assert await setting.twice() == ["miss", "hit"]
            persona.unlink()
            assert await setting.twice() == ["miss", "hit"]
            (tmp_path / ".brief.md.swp").write_text("Be b")
            assert await setting.summarize() == "hit"

        in_a_setting(use)

    def test_what_was_written_while_one_changed_is_not_kept(self, tmp_path: Path) -> None:
        async def use(setting: Setting) -> None:
            self.reading(setting, tmp_path)
            setting.model.meanwhile = (tmp_path / "new.md").touch
            assert await setting.summarize() == "miss"
            setting.model.meanwhile = lambda: None
            (tmp_path / "new.md").unlink()
            assert await setting.twice() == ["miss", "hit"]

        in_a_setting(use)

    @pytest.mark.parametrize("size", [3, SMALL + 1])
    def test_one_of_the_same_length_and_date_is_another(self, tmp_path: Path, size: int) -> None:
        file = tmp_path / "a.md"
        file.write_text("a" * size)
        before, stat = state_of([str(tmp_path)]), file.stat()
        (tmp_path / "new").write_text("b" * size)
        os.utime(tmp_path / "new", ns=(stat.st_atime_ns, stat.st_mtime_ns))
        (tmp_path / "new").replace(file)
        assert state_of([str(tmp_path)]) != before

    def test_one_that_is_named_itself_counts_and_one_that_is_not_there_is_none(self, tmp_path: Path) -> None:
        file = tmp_path / "a.md"
        states = [state_of([str(file)])]
        for text in ("one", "two"):
            file.write_text(text)
            states.append(state_of([str(file)]))
        assert len({*states, state_of([])}) == 4
        (tmp_path / "link").symlink_to(tmp_path / "gone")
        assert state_of([str(tmp_path)])

    def test_a_model_is_loaded_once_where_its_card_is_not_known(self) -> None:
        async def use(setting: Setting) -> None:
            setting.model.card = None
            assert await setting.twice() == ["miss", "hit"]
            assert setting.model.loads == 1

        in_a_setting(use)


class TestParts:
    """Those that other models made."""

    class Composing(FakeModel):
        """Has another model of the same host summarise first."""

        name = "composing"

        def __init__(self, setting: Setting) -> None:
            super().__init__()
            self.setting = setting

        async def call(self, request: SummarizeRequest, context: Context) -> AsyncGenerator[SummarizeEvent, None]:
            inner = Context(context.info)
            self.setting.caching.compositions.asks(context.request_id, "summarize", "fake", cast(Any, self.setting.model))
            assert [event async for event in self.setting.call(inner)]
            async for event in super().call(request, context):
                yield event

    async def summarize(self, setting: Setting) -> str:
        context = Context(CallInfo(request_id="one"))
        outer = self.Composing(setting)
        record = CallRecord("summarize")
        call = setting.caching.around(cast(Any, outer), outer.call, record)
        assert [event async for event in call(SummarizeRequest(text=TEXT), context)]
        return record.cache

    def test_a_summary_is_another_when_a_part_of_it_would_be(self) -> None:
        async def use(setting: Setting) -> None:
            assert [await self.summarize(setting) for _ in range(2)] == ["miss", "hit"]
            setting.model.revision = "2"
            assert [await self.summarize(setting) for _ in range(2)] == ["miss", "hit"]

        in_a_setting(use)

    def test_one_with_a_part_that_depends_on_files_is_not_kept(self) -> None:
        async def use(setting: Setting) -> None:
            setting.model.card = ModelCard(reads=("/nowhere",))
            assert [await self.summarize(setting) for _ in range(2)] == ["miss", "miss"]
            assert setting.model.asked == 1

        in_a_setting(use)

    def test_a_part_of_a_part_counts_where_that_was_kept(self) -> None:
        async def use(setting: Setting) -> None:
            writer = setting.named["writer"] = FakeModel()
            asks = setting.caching.compositions.asks
            context = Context()
            setting.model.meanwhile = lambda: asks(context.request_id, "generate", "writer", cast(Any, writer))
            assert await setting.summarize() == "miss"
            assert [await self.summarize(setting) for _ in range(2)] == ["miss", "hit"]
            writer.revision = "2"
            assert await self.summarize(setting) == "miss"

        in_a_setting(use)


# In a host: a summarizer in a process of its own, and those it asks

CONFIG = """
[models.summaries]
plugin = "summarizer"
[models.summaries.options]
generator = "writer"
personas = ["mine"]
document_persona = "brief"

[models.by-route]
plugin = "summarizer"

[models.writer]
plugin = "echo"
run = "inline"
aliases = ["pen"]

[models.spare]
plugin = "echo"
run = "inline"
options = { prefix = "spare: " }

[models.busy]
plugin = "echo"
run = "inline"
options = { fault = "overloaded" }

[routes]
generate = ["busy", "spare"]
"""


class InProcess:
    """A running host on an event loop of its own."""

    def __init__(self, folder: Path) -> None:
        self.persona = folder / "mine" / "brief.md"
        self.persona.parent.mkdir()
        self.persona.write_text("Be brief.")
        (folder / "modelhost.toml").write_text(CONFIG)
        self._runner = asyncio.Runner()
        self.host = ModelHost.of(load_config(folder / "modelhost.toml", environ={}), Log(silent))

    def summarize(self, text: str, model: str = "summaries", *, cached: bool = True, **asked: Any) -> str:
        """Say what the cache had to do with it."""

        async def summarize() -> str:
            details = CallDetails(request_id="the-same-id-each-time", cached=cached)
            call = self.host.router.start("summarize", model, SummarizeRequest(text=Blob(text.encode()), **asked), details)
            async for _ in call:
                pass
            return call.record.cache

        return self._runner.run(asyncio.wait_for(summarize(), 60))

    def twice(self, text: str, **asked: Any) -> list[str]:
        return [self.summarize(text, **asked) for _ in range(2)]

    def stop(self) -> None:
        self._runner.run(self.host.stop())
        self._runner.close()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Any:
    host = InProcess(tmp_path_factory.mktemp("host"))
    yield host
    host.stop()


def test_a_persona_that_was_edited_takes_effect_at_once(host: InProcess) -> None:
    assert host.twice("One text.") == ["miss", "hit"]
    host.persona.write_text("Be long.")
    assert host.twice("One text.") == ["miss", "hit"]


def test_another_revision_of_the_model_that_writes_writes_anew(host: InProcess) -> None:
    assert host.twice("Two texts.") == ["miss", "hit"]
    assert host.twice("Two texts.", generator="pen") == ["miss", "hit"]
    host.host.router.find("writer").revision = "another"
    assert host.twice("Two texts.") == ["miss", "hit"]
    assert host.twice("Two texts.", generator="spare") == ["miss", "hit"]


def test_what_one_wrote_in_place_of_another_is_not_kept(host: InProcess) -> None:
    assert host.twice("Three texts.", model="by-route") == ["miss", "miss"]
    assert host.twice("Three texts.", model="by-route", generator="spare") == ["miss", "hit"]


def test_where_it_is_off_nothing_is_taken_and_nothing_kept(host: InProcess) -> None:
    assert [host.summarize("Four texts.", cached=cached) for cached in (False, True, False, True)] == [
        "off",
        "miss",
        "off",
        "hit",
    ]
