"""What is kept, what leaves, and that the same is computed once: the store, and vectors around a model."""

import asyncio
import time
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, cast

import pytest
from hypothesis import given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from modelhost.caching import Cache, Caching
from modelhost.caching.single_flight import SingleFlight
from modelhost.caching.store import OVERHEAD
from modelhost.contract.answers import Rows, collect_vectors, numbers
from modelhost.contract.context import CallInfo, Context
from modelhost.contract.errors import BackendFailedError, BadInputError, DeadlineError
from modelhost.contract.types import Done, EmbedEvent, EmbedRequest, Usage, Vectors
from modelhost.observability.call_record import CallRecord
from modelhost.observability.metrics import Metrics

KEYS = st.sampled_from([bytes([number]) for number in range(8)])


class CacheMachine(RuleBasedStateMachine):
    """Against a plain list in the order of last use."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = Cache(4 * OVERHEAD + 40)
        self.kept: list[tuple[bytes, bytes]] = []

    @rule(key=KEYS, value=st.binary(max_size=2000))
    def put(self, key: bytes, value: bytes) -> None:
        self.cache.put(key, value)
        self.kept = [pair for pair in self.kept if pair[0] != key]
        if len(value) + OVERHEAD <= self.cache.max_bytes:
            self.kept.append((key, value))
        while sum(len(value) + OVERHEAD for _, value in self.kept) > self.cache.max_bytes:
            del self.kept[0]

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        known = dict(self.kept).get(key)
        assert self.cache.get(key) == known
        if known is not None:
            self.kept = [*(pair for pair in self.kept if pair[0] != key), (key, known)]

    @invariant()
    def it_keeps_what_the_model_keeps_within_its_bound(self) -> None:
        assert len(self.cache) == len(self.kept)
        assert self.cache.bytes == sum(len(value) + OVERHEAD for _, value in self.kept) <= self.cache.max_bytes


TestCache = CacheMachine.TestCase


def test_the_memory_it_takes_is_no_more_than_it_counts() -> None:
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    cache = Cache(2**30)
    for number in range(20_000):
        cache.put(number.to_bytes(32, "big"), bytes(385 * 4))
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert taken <= cache.bytes


@given(st.lists(st.lists(KEYS, unique=True), max_size=6))
def test_every_key_is_computed_by_one_and_waited_for_by_the_others(requests: list[list[bytes]]) -> None:
    async def main() -> None:
        in_flight = SingleFlight()
        owners: list[bytes] = []
        for keys in requests:
            ours, theirs = in_flight.share(keys)
            assert {*ours} | theirs.keys() == {*keys}
            owners += ours
        assert len(owners) == len({*owners}) == len(in_flight)
        for key in owners:
            in_flight.end(key, key)
        assert not len(in_flight)

    asyncio.run(main())


# Around a model


class FakeModel:
    """What a cache needs to know of a model, and a call that notes what it was asked; its vectors are made of the texts."""

    name = "fake"
    revision = "1"

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.fail: Exception | None = None
        self.counts = True
        self.tokens: Callable[[Any], int] = lambda text: 1

    async def call(self, request: EmbedRequest, context: Context) -> AsyncGenerator[EmbedEvent, None]:
        self.asked.append(request.inputs)
        await self.go.wait()
        if self.fail:
            raise self.fail
        if "bad" in request.inputs:
            raise BadInputError(f"input {request.inputs.index('bad')} is bad", param="input")
        for number, text in enumerate(request.inputs):
            cut = (number,) if request.overlong == "truncate" else ()
            counted = (self.tokens(text),) if self.counts else ()
            yield Vectors(first=number, dimensions=2, data=row(text), truncated=cut, tokens=counted)
        yield Done(usage=Usage(input_tokens=sum(map(self.tokens, request.inputs))))


def row(text: Any) -> bytes:
    return str(text).encode().ljust(8, b"_")[:8]


Use = Callable[["Setting"], Awaitable[None]]


class Setting:
    def __init__(self, max_bytes: int = 10**6) -> None:
        self.model = FakeModel()
        self.metrics = Metrics()
        self.caching = Caching(Cache(max_bytes), self.metrics, lambda ability, name: [])

    async def embed(self, *texts: Any, caller: str = "", remaining: float | None = None, **fields: Any) -> tuple[Rows, str]:
        context = Context(CallInfo(caller=caller, remaining=remaining))
        record = CallRecord("embed")
        call = self.caching.around(cast(Any, self.model), self.model.call, record)
        rows = await collect_vectors(call(EmbedRequest(inputs=texts, **fields), context), len(texts))
        assert rows.vectors == [row(text) for text in texts]
        return rows, record.cache

    def counted(self, result: str) -> float | None:
        return self.metrics.registry.get_sample_value(
            "modelhost_cache_lookups_total", {"model": "fake", "ability": "embed", "result": result}
        )


def in_a_setting(use: Use, max_bytes: int = 10**6) -> None:
    async def main() -> None:
        await asyncio.wait_for(use(Setting(max_bytes)), 20)

    asyncio.run(main())


def test_of_a_batch_only_the_new_text_is_computed_and_equal_ones_once() -> None:
    async def use(setting: Setting) -> None:
        assert (await setting.embed("a", "b", "a"))[1] == "miss"
        assert (await setting.embed("b", "c", "a"))[1] == "miss"
        assert (await setting.embed("a", "b", "c"))[1] == "hit"
        assert setting.model.asked == [("a", "b"), ("c",)]
        assert (setting.counted("hit"), setting.counted("miss")) == (5, 3)

    in_a_setting(use)


def test_usage_counts_every_text_whether_it_was_computed_or_not() -> None:
    async def use(setting: Setting) -> None:
        setting.model.tokens = len
        for texts in [("one", "three"), ("three", "one", "three"), ("three", "eleven")]:
            rows, _ = await setting.embed(*texts)
            assert rows.usage.input_tokens == sum(map(len, texts))
            assert rows.tokens == tuple(map(len, texts))
        assert setting.model.asked == [("one", "three"), ("eleven",)]

    in_a_setting(use)


TEXTS = st.text(max_size=7).filter(lambda text: text != "bad")


@given(st.lists(TEXTS, min_size=1, max_size=6, unique=True), st.integers(0, 1000))
def test_of_a_model_that_counts_all_texts_together_the_same_request_counts_the_same_again(texts: list[str], whole: int) -> None:
    async def use(setting: Setting) -> None:
        setting.model.counts = False
        setting.model.tokens = lambda text: whole if text == texts[0] else 0
        counted = [(await setting.embed(*texts))[0].usage.input_tokens for _ in range(2)]
        assert counted == [whole, whole]
        parts = [(await setting.embed(text))[0].usage.input_tokens for text in texts]
        assert (sum(parts), min(parts) >= 0) == (whole, True)
        assert len(setting.model.asked) == 1

    in_a_setting(use)


def test_a_text_that_is_known_is_answered_within_a_millisecond() -> None:
    async def use(setting: Setting) -> None:
        await setting.embed("a" * 4000)
        fastest = 1.0
        for _ in range(100):
            began = time.perf_counter()
            await setting.embed("a" * 4000)
            fastest = min(fastest, time.perf_counter() - began)
        assert fastest < 0.001

    in_a_setting(use)


@pytest.mark.parametrize(
    "other",
    [{"dimensions": 2}, {"prompt_name": "query"}, {"title": "t"}, {"overlong": "truncate"}, {"caller": "bob"}],
    ids=str,
)
def test_what_was_asked_otherwise_or_by_another_is_another(other: dict[str, Any]) -> None:
    async def use(setting: Setting) -> None:
        await setting.embed("a")
        _, said = await setting.embed("a", **other)
        assert said == "miss"

    in_a_setting(use)


def test_another_revision_and_the_same_characters_as_tokens_are_others() -> None:
    async def use(setting: Setting) -> None:
        await setting.embed("a")
        assert (await setting.embed((97,)))[1] == "miss"
        setting.model.revision = "2"
        assert (await setting.embed("a"))[1] == "miss"

    in_a_setting(use)


def test_a_text_that_was_cut_is_named_again_by_its_number_in_the_new_request() -> None:
    async def use(setting: Setting) -> None:
        await setting.embed("a", overlong="truncate")
        rows, said = await setting.embed("a", "a", overlong="truncate")
        assert (said, rows.truncated) == ("hit", (0, 1))

    in_a_setting(use)


def test_two_who_ask_the_same_at_once_compute_it_once() -> None:
    async def use(setting: Setting) -> None:
        setting.model.go.clear()
        tasks = [asyncio.create_task(setting.embed(*texts)) for texts in ("ab", "bc", "cba")]
        await asyncio.sleep(0)
        setting.model.go.set()
        answers = await asyncio.gather(*tasks)
        assert setting.model.asked == [("a", "b"), ("c",)]
        assert [said for _, said in answers] == ["miss", "miss", "hit"]

    in_a_setting(use)


def test_one_that_leaves_or_fails_takes_nobody_along_who_waits_for_the_same() -> None:
    async def use(setting: Setting) -> None:
        setting.model.go.clear()
        leaving, waiting = (asyncio.create_task(setting.embed("a")) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait({leaving})
        setting.model.go.set()
        assert (await waiting)[1] == "miss"
        setting.model.fail = BackendFailedError("no")
        both = await asyncio.gather(setting.embed("b"), setting.embed("b"), return_exceptions=True)
        assert [type(one) for one in both] == [BackendFailedError] * 2
        setting.model.fail = None
        assert (await setting.embed("b"))[1] == "miss"

    in_a_setting(use)


def test_who_waits_for_another_waits_no_longer_than_until_its_own_deadline() -> None:
    async def use(setting: Setting) -> None:
        setting.model.go.clear()
        computing = asyncio.create_task(setting.embed("a"))
        await asyncio.sleep(0)
        with pytest.raises(DeadlineError):
            await setting.embed("a", remaining=0.01)
        setting.model.go.set()
        assert (await computing)[1] == "miss"

    in_a_setting(use)


def test_a_refusal_names_the_input_by_its_number_in_the_callers_request() -> None:
    async def use(setting: Setting) -> None:
        await setting.embed("a", "b")
        with pytest.raises(BadInputError, match="input 2 is bad"):
            await setting.embed("a", "b", "bad")
        assert (await setting.embed("a", "b"))[1] == "hit"

    in_a_setting(use)


def test_a_request_without_inputs_is_refused() -> None:
    async def use(setting: Setting) -> None:
        with pytest.raises(BadInputError, match="no input"):
            await setting.embed()

    in_a_setting(use)


def test_without_room_nothing_is_kept_and_nobody_waits_for_another() -> None:
    async def use(setting: Setting) -> None:
        for _ in range(2):
            await setting.embed("a")
        assert setting.model.asked == [("a",), ("a",)]

    in_a_setting(use, max_bytes=0)


def test_room_for_less_than_one_answer_still_gives_whole_answers() -> None:
    async def use(setting: Setting) -> None:
        await setting.embed(*"abcdef")
        await setting.embed(*"abcdef")

    in_a_setting(use, max_bytes=2 * (OVERHEAD + 17))


COUNTS = st.lists(st.integers(-1, 3), max_size=3)


@given(st.lists(st.tuples(st.integers(-1, 5), st.integers(-1, 3), st.binary(max_size=24), COUNTS), max_size=6), st.integers(1, 5))
def test_vectors_that_are_not_one_of_equal_length_for_each_input_are_the_backends_failure(
    made: list[tuple[int, int, bytes, list[int]]], count: int
) -> None:
    async def events() -> AsyncGenerator[EmbedEvent, None]:
        for first, dimensions, data, tokens in made:
            yield Vectors(first=first, dimensions=dimensions, data=data, tokens=tuple(tokens))
        yield Done()

    async def main() -> None:
        try:
            rows = await collect_vectors(events(), count)
        except BackendFailedError:
            return
        assert len(rows.vectors) == count
        assert {len(row) for row in rows.vectors} == {rows.dimensions * 4}
        assert rows.dimensions > 0
        assert len(rows.tokens) in (0, count)
        assert min(rows.tokens, default=0) >= 0

    asyncio.run(main())


@given(st.lists(st.floats(width=32), min_size=1))
def test_a_rows_numbers_are_little_endian_float32(values: list[float]) -> None:
    import struct

    row = struct.pack(f"<{len(values)}f", *values)
    assert struct.pack(f"<{len(values)}f", *numbers(row)) == row
