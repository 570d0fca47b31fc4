"""What a card says is enforced by the host, for backends that look at nothing of a request."""

import asyncio
import inspect
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_plugins import fake_plugin
from modelhost import testing
from modelhost.config import load_config
from modelhost.contract.card import ModelCard
from modelhost.contract.errors import UnsupportedError
from modelhost.contract.log import Log, silent
from modelhost.contract.types import (
    Blob,
    ChoiceDone,
    CompactionPart,
    Delta,
    DocumentPart,
    Done,
    EmbedRequest,
    GenerateRequest,
    Message,
    Part,
    SynthesizeRequest,
    TextPart,
    ToolDelta,
    TranscribeRequest,
    Usage,
)
from modelhost.contract.types.abilities import REQUESTS
from modelhost.host import ModelHost
from modelhost.pool.requirements import ASKS, ruled_out
from modelhost.testing import chat
from modelhost.testing.duties import DUTIES
from modelhost.worker.stop_strings import cut
from serving import Serve, Served
from websockets.sync.client import connect

BLIND = """
from array import array

from modelhost import AudioChunk, Backend, Delta, Done, ModelCard, Options, Segment, Usage, Vectors, hookimpl


class Fake(Backend[Options]):
    def load(self):
        return ModelCard(dimensions=(2,), voices=("bob",), languages=("en",), sample_rate=16000)

    @hookimpl
    def generate(self, request, context):
        for word in ("one", " two", " th", "ree", " four"):
            yield Delta(text=word)
        yield Done(usage=Usage(input_tokens=1, output_tokens=5))

    @hookimpl
    def embed(self, request, context):
        for number in range(len(request.inputs)):
            yield Vectors(first=number, dimensions=2, data=array("f", [1, 0]).tobytes())
        yield Done(usage=Usage(input_tokens=1))

    @hookimpl
    def synthesize(self, request, context):
        yield AudioChunk(data=bytes(3200), sample_rate=16000)
        yield Done(usage=Usage(audio_seconds=0.1))

    @hookimpl
    def transcribe(self, request, context):
        yield Segment(start=0, end=1, text="hello")
        yield Done(usage=Usage(audio_seconds=1))
"""


@pytest.fixture(scope="module")
def host(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    site = fake_plugin(tmp_path_factory.mktemp("site"), "blind", BLIND)
    return serve('[models.blind]\nplugin = "blind"\n', env={"PYTHONPATH": str(site)})


@pytest.mark.parametrize(
    ("path", "body", "param", "code"),
    [
        ("/v1/embeddings", {"input": "a", "dimensions": 1}, "dimensions", "invalid_value"),
        ("/v1/embeddings", {"input": "a", "dimensions": 3}, "dimensions", "invalid_value"),
        ("/v1/embeddings", {"input": "a", "prompt_name": "query"}, "prompt_name", "unsupported"),
        ("/v1/embeddings", {"input": "a", "title": "of it"}, "title", "unsupported"),
        ("/v1/audio/speech", {"input": "a", "voice": "nobody"}, "voice", "unknown_voice"),
        ("/v1/text-to-speech", {"text": "a", "reference_id": "nobody"}, "reference_id", "unknown_voice"),
    ],
)
def test_what_the_card_does_not_have_is_refused(host: Served, path: str, body: dict[str, Any], param: str, code: str) -> None:
    answer = host.client.post(path, json={"model": "blind", **body})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code), answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": "a", "dimensions": 2}),
        ("/v1/embeddings", {"input": "a"}),
        ("/v1/rerank", {"query": "a", "documents": ["b"]}),
        ("/v1/audio/speech", {"input": "a", "voice": "bob", "response_format": "pcm"}),
        ("/v1/audio/speech", {"input": "a", "voice": "default", "response_format": "pcm"}),
    ],
)
def test_what_the_card_has_is_answered(host: Served, path: str, body: dict[str, Any]) -> None:
    assert host.client.post(path, json={"model": "blind", **body}).status_code == 200


def test_a_language_the_card_does_not_name_is_refused(host: Served) -> None:
    def ask(language: str) -> Any:
        data = {"model": "blind", "language": language}
        return host.client.post("/v1/audio/transcriptions", data=data, files={"file": ("a.wav", b"RIFF")})

    refused = ask("de")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "language")
    assert [ask(language).status_code for language in ("en", "english", "en-US", "auto")] == [200] * 4


def test_a_socket_refuses_it_too(host: Served) -> None:
    with connect(host.url.replace("http", "ws") + "/v1/text-to-speech/ws?model=blind", proxy=None) as line:
        line.send(json.dumps({"text": "hello there.", "voice": "nobody"}))
        told = json.loads(line.recv(timeout=20))
        while told["type"] != "error":
            told = json.loads(line.recv(timeout=20))
    assert told["error"]["code"] == "unknown_voice"


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_is_cut_for_a_backend_that_does_not_look_at_it(host: Served, stream: bool) -> None:
    answer = host.chat("blind", stop=["three"], stream=stream)
    assert "four" not in answer.text
    if not stream:
        (choice,) = answer.json()["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("one two ", "stop")
        assert answer.json()["usage"]["completion_tokens"] == 4


def played(events: list[Any], request: GenerateRequest) -> list[Any]:
    async def source() -> Any:
        for event in events:
            yield event

    async def read() -> list[Any]:
        return [event async for event in cut(source(), request)]

    return asyncio.run(read())


def test_each_choice_is_cut_by_itself_and_the_backend_goes_on_for_the_others() -> None:
    said = [
        Delta(text="ab", index=0),
        Delta(text="xy", index=1),
        Delta(text="STOP more", index=0),
        Delta(text="z ST", index=1),
        Delta(text="never", index=0),
        Done(reason="length"),
    ]
    assert played(said, chat("hi", stop=("STOP",), n=2)) == [
        Delta(text="ab", index=0),
        Delta(text="xy", index=1),
        ChoiceDone(index=0, stop="STOP"),
        Delta(text="z ", index=1),
        Delta(text="ST", index=1),
        Done(reason="length"),
    ]


def test_thoughts_and_tools_are_no_text_to_stop_in() -> None:
    said = [Delta(reasoning="STOP"), Delta(text="ST"), ToolDelta(name="a"), Delta(text="OP"), Done(reason="tool_calls")]
    assert played(said, chat("hi", stop=("STOP",))) == [
        Delta(reasoning="STOP"),
        Delta(text="ST"),
        ToolDelta(name="a"),
        Delta(text="OP"),
        Done(reason="tool_calls"),
    ]


def test_a_prompt_that_is_given_back_stops_nothing() -> None:
    request = GenerateRequest(prompt="a STOP b", echo=True, stop=("STOP",))
    said = [Delta(text="a ST"), Delta(text="OP b c"), Delta(text=" STOP d"), Done()]
    *events, done = played(said, request)
    assert "".join(event.text for event in events) == "a STOP b c "
    assert done == Done(stop="STOP", usage=Usage(output_tokens=3))


def test_a_card_that_says_nothing_rules_nothing_out() -> None:
    for request in (
        EmbedRequest(inputs=("a",), dimensions=7),
        SynthesizeRequest(text="a", voice="x"),
        TranscribeRequest(language="de"),
    ):
        assert ruled_out(ModelCard(abilities=("embed",)), request) is None


def test_voices_that_may_have_been_added_are_the_backends_to_know() -> None:
    card = ModelCard(abilities=("synthesize", "voices"), voices=("bob",))
    assert ruled_out(card, SynthesizeRequest(text="a", voice="new")) is None


AROUND = {("synthesize", "format"), ("synthesize", "sample_rate")}
"""What the worker does around a hook."""


@pytest.mark.parametrize("ability", REQUESTS)
def test_somebody_sees_to_every_field_of_a_request(ability: Any) -> None:
    fields = {field.name for field in msgspec.structs.fields(REQUESTS[ability])}
    refused = {ask.field for ask in ASKS.get(REQUESTS[ability], ())}
    around = {field for one, field in AROUND if one == ability}
    assert refused <= fields
    assert fields == refused | around | DUTIES[ability].keys()


KIT = [kind for kind in vars(testing).values() if hasattr(kind, "ability")]


@pytest.mark.parametrize("kind", KIT)
def test_the_kit_has_the_tests_that_duties_name(kind: Any) -> None:
    for duty in DUTIES[kind.ability].values():
        assert not duty.test or inspect.isfunction(getattr(kind, duty.test))


@pytest.mark.parametrize(
    ("part", "named"),
    [
        (DocumentPart(document=Blob(b"%PDF-1.7"), name="a.pdf"), "document input"),
        (CompactionPart(data="opaque"), "a compacted conversation"),
    ],
)
def test_a_part_that_the_card_does_not_name_is_refused_and_never_dropped(tmp_path: Path, part: Part, named: str) -> None:
    file = tmp_path / "modelhost.toml"
    file.write_text('[models.echo]\nplugin = "echo"\nrun = "inline"\n')

    async def ask() -> None:
        host = ModelHost.of(load_config(file, environ={}), Log(silent))
        try:
            request = GenerateRequest(messages=(Message(role="user", content=(TextPart(text="Read it."), part)),))
            async for _ in host.router.start("generate", "echo", request):
                pass
        finally:
            await host.stop()

    with pytest.raises(UnsupportedError, match=f"does not support {named}"):
        asyncio.run(ask())
