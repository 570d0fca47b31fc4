"""What a backend says is finite, whole and has an end, wherever it runs; and an error of its is told whatever it says."""

import asyncio
import json
import math
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fake_plugins import fake_plugin
from modelhost.contract import event_values
from modelhost.contract.completeness import complete
from modelhost.contract.errors import BackendFailedError, BadInputError, ModelhostError, OverloadedError, PluginError
from modelhost.contract.event_values import WrittenSize, check_values
from modelhost.contract.types import (
    AudioChunk,
    ChoiceDone,
    Delta,
    Done,
    GenerateRequest,
    Segment,
    ToolDelta,
    Usage,
    Vectors,
    Word,
)
from modelhost.contract.types.abilities import Ability
from serving import Serve, Served

NAN, INFINITE = math.nan, math.inf
FLOATS = struct.pack("<2f", 1.0, 0.5)


@pytest.mark.parametrize(
    ("ability", "event"),
    [
        ("transcribe", Segment(start=NAN, end=1, text="x")),
        ("transcribe", Segment(start=0, end=INFINITE, text="x")),
        ("transcribe", Segment(start=-1, end=1, text="x")),
        ("transcribe", Segment(start=1e300, end=1e301, text="x")),
        ("transcribe", Segment(start=0, end=1, text="x", words=(Word(text="x", start=NAN, end=1),))),
        ("transcribe", Segment(start=0, end=1, text="x", tokens=(2**64,))),
        ("transcribe", Done(usage=Usage(audio_seconds=NAN))),
        ("generate", Done(usage=Usage(input_tokens=-1))),
        ("generate", Done(usage=Usage(output_tokens=2**63))),
        ("generate", Done(usage=Usage(output_tokens=2**70))),
        ("generate", Done(reason="bogus")),  # type: ignore[arg-type]
        ("generate", Delta(text=5)),  # type: ignore[arg-type]
        ("generate", Delta(text=None)),  # type: ignore[arg-type]
        ("generate", Delta(text="\ud800")),
        ("synthesize", AudioChunk(data=b"ab", sample_rate=0)),
        ("synthesize", AudioChunk(data=b"ab", sample_rate=2**31)),
        ("embed", Vectors(first=0, dimensions=2, data=struct.pack("<2f", NAN, 1))),
        ("embed", Vectors(first=0, dimensions=2, data=struct.pack("<2f", INFINITE, -INFINITE))),
    ],
)
def test_a_value_that_no_answer_can_hold_is_the_plugins_fault(ability: Ability, event: Any) -> None:
    with pytest.raises(PluginError, match=f"{ability} yielded (a )?{type(event).__name__} "):
        check_values(ability, event)


@pytest.mark.parametrize(
    ("ability", "event"),
    [
        ("transcribe", Segment(start=0, end=0, text="", words=(Word(text="x", start=0, end=1e6),))),
        ("generate", Done(usage=Usage(input_tokens=2**63 - 1))),
        ("generate", Delta(text="\0\U0001f600\u202e")),
        ("synthesize", AudioChunk(data=b"odd", sample_rate=8000)),
        ("embed", Vectors(first=0, dimensions=2, data=FLOATS)),
        ("embed", Vectors(first=0, dimensions=0, data=b"odd")),
    ],
)
def test_the_odd_but_possible_is_left_alone(ability: Ability, event: Any) -> None:
    check_values(ability, event)


@pytest.mark.parametrize(
    ("ability", "event"),
    [
        ("generate", Delta(text="a" * 100)),
        ("generate", Delta(reasoning="a" * 100)),
        ("generate", Delta()),
        ("generate", ToolDelta(arguments="a" * 100)),
        ("transcribe", Segment(start=0, end=1, text="a" * 100)),
        ("summarize", Delta(text="a" * 100)),
    ],
)
def test_what_writes_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch, ability: Ability, event: Any) -> None:
    monkeypatch.setattr(event_values, "MOST_WRITTEN", 1000)
    written = WrittenSize(ability)

    def write() -> None:
        for _ in range(20):
            written.add(event)

    with pytest.raises(BackendFailedError, match="cut off"):
        write()


def test_sound_may_be_as_long_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_values, "MOST_WRITTEN", 1000)
    written = WrittenSize("synthesize")
    for _ in range(20):
        written.add(AudioChunk(data=bytes(1000), sample_rate=16_000))


@pytest.mark.parametrize("more", [Delta(text="more"), ChoiceDone(index=0), ToolDelta(id="a", name="b")])
def test_a_choice_that_is_done_has_no_more(more: Any) -> None:
    async def events() -> AsyncIterator[Any]:
        yield ChoiceDone(index=0)
        yield more
        yield Done()

    async def read() -> None:
        async for _ in complete("generate", GenerateRequest(n=2), events(), failed=lambda error: error):
            pass

    with pytest.raises(PluginError, match="after the ChoiceDone of its choice"):
        asyncio.run(read())


@pytest.mark.parametrize(
    "error",
    [
        BadInputError("half \ud800 a character", param="\udfff", code="\ud800"),
        BadInputError("long" * 100_000, param="p" * 100_000),
        BadInputError("of a number", param=5, code=7),  # type: ignore[arg-type]
        OverloadedError("later", retry_after="soon"),  # type: ignore[arg-type]
    ],
)
def test_an_error_can_be_told_whatever_it_says(error: ModelhostError) -> None:
    again = ModelhostError.from_facts(json.loads(json.dumps(error.facts()).encode()))
    assert again.facts() == error.facts()
    assert len(error.message) <= 8000
    assert all(said is None or said.encode() for said in (error.message, error.param, error.code))


SPOKEN = """
import math
from modelhost import Backend, BadInputError, Delta, Done, ModelCard, Options, Segment, hookimpl

class Spoken(Backend[Options]):
    def load(self):
        return ModelCard()

    @hookimpl
    def generate(self, request):
        if request.messages[-1].text == "error":
            raise BadInputError("half a character: \\ud800")
        yield Delta(text="\\ud800")
        yield Done()

    @hookimpl
    def transcribe(self, request):
        yield Segment(start=math.nan, end=1, text="x")
        yield Done()
"""


@pytest.fixture(scope="module")
def host(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    site = fake_plugin(tmp_path_factory.mktemp("site"), "spoken", SPOKEN, target="Spoken")
    models = "".join(f'[models.{run}]\nplugin = "spoken"\nrun = "{run}"\n' for run in ("process", "inline"))
    return serve(models, env={"PYTHONPATH": str(site)})


@pytest.fixture(params=["process", "inline"])
def run(request: pytest.FixtureRequest) -> str:
    """Where the backend runs that says what cannot be told."""
    return str(request.param)


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def chat(host: Served, model: str, said: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": said}]}
    return httpx.post(f"{host.url}/v1/chat/completions", json=body, timeout=20)


def test_a_backends_error_with_half_a_character_is_told_at_once(host: Served, run: str) -> None:
    assert told(chat(host, run, "error")) == (400, "invalid_value")


def test_half_a_character_of_a_backend_is_the_plugins_fault(host: Served, run: str) -> None:
    assert told(chat(host, run, "text")) == (500, "plugin_error")


@pytest.mark.parametrize("form", ["json", "srt", "verbose_json"])
def test_a_time_that_is_no_number_is_the_plugins_fault(host: Served, run: str, form: str) -> None:
    url = f"{host.url}/v1/audio/transcriptions"
    files = {"file": ("a.wav", b"RIFF")}
    assert told(httpx.post(url, data={"model": run, "response_format": form}, files=files, timeout=20)) == (500, "plugin_error")
