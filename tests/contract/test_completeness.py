"""Complete means that `Done` was seen: nothing that a plugin or an extension does passes for the end of an answer."""

import json

import httpx
import pytest
from fake_plugins import fake_plugin
from serving import Serve, Served, eventually

UNFAITHFUL = """
import asyncio
from modelhost import (AudioChunk, Backend, Delta, Done, ModelCard, Options, Partial, Segment, Tokens, Vectors, Voices, hookimpl)

EVENTS = {
    "generate": Delta(text="hello "),
    "transcribe": Segment(start=0, end=1, text="hello"),
    "synthesize": AudioChunk(data=bytes(48000), sample_rate=24000),
    "embed": Vectors(first=0, dimensions=1, data=b"\\0\\0\\x80\\x3f"),
    "summarize": Delta(text="hello "),
    "tokenize": Tokens(tokens=(1, 2)),
    "voices": Voices(names=("a",)),
}

def end(how):
    match how:
        case "exits": raise SystemExit(3)
        case "interrupts": raise KeyboardInterrupt
        case "cancels": raise asyncio.CancelledError
        case "leaves": raise GeneratorExit
        case "groups": raise BaseExceptionGroup("", [SystemExit(3)])

class Endless:
    "An iterator that is no generator: it has neither close nor aclose."
    def __init__(self, events): self.events = iter(events)
    def __iter__(self): return self
    def __next__(self): return next(self.events)
    def __aiter__(self): return self
    async def __anext__(self):
        for event in self.events:
            return event
        raise StopAsyncIteration

def plain(ability, how):
    if how == "nothing":
        return
    if how == "foreign":
        yield 42
    if how != "at once":
        yield EVENTS[ability]
    end(how)
    if how in ("good", "after"):
        yield Done()
    if how == "after":
        yield EVENTS[ability]

async def later(ability, how):
    for event in plain(ability, how):
        yield event

def hook(ability, how):
    kind, _, how = how.partition(" ")
    if kind == "hook":
        end(how)
    if kind == "object":
        return Endless([EVENTS[ability], *([Done()] if how == "good" else [])])
    return later(ability, how) if kind == "async" else plain(ability, how)

class Unfaithful(Backend[Options]):
    def load(self):
        return ModelCard(features=("completion",), concurrency=4)
    @hookimpl
    def generate(self, request): return hook("generate", request.messages[-1].text)
    @hookimpl
    def transcribe(self, request): return hook("transcribe", request.audio.read().decode())
    @hookimpl
    def synthesize(self, request): return hook("synthesize", request.text)
    @hookimpl
    def embed(self, request): return hook("embed", request.inputs[0])
    @hookimpl
    def summarize(self, request): return hook("summarize", request.text.read().decode())
    @hookimpl
    def tokenize(self, request): return hook("tokenize", request.text)
    @hookimpl
    def voices(self, request): return hook("voices", "plain endless")
"""

EXTENSION = """
import asyncio
from modelhost import Delta, Done, Segment, hookimpl

class Meddling:
    @hookimpl
    def around(self, ability, model, call):
        if ability != "generate" or model != "echo":
            return None
        def meddle(request, context):
            how = request.messages[-1].text
            if how == "exits at once": raise SystemExit(3)
            if how == "returns nothing": return None
            return meddled(how, request, context)
        async def meddled(how, request, context):
            if how == "exits": raise SystemExit(3)
            if how == "interrupts": raise KeyboardInterrupt
            if how == "cancels": raise asyncio.CancelledError
            if how == "raises": raise ValueError("SECRET")
            if how == "foreign": yield 42
            if how == "another ability's": yield Segment(start=0, end=1, text="x")
            async for event in call(request, context):
                if how == "swallows" or (how == "swallows the end" and isinstance(event, Done)):
                    continue
                yield event
            if how == "twice":
                async for event in call(request, context):
                    yield event
        return meddle

class Broken:
    @hookimpl
    def around(self, ability, model, call):
        if model == "broken":
            raise SystemExit(3)
"""

CONFIG = """
[models.process]
plugin = "unfaithful"
[models.inline]
plugin = "unfaithful"
run = "inline"
[models.echo]
plugin = "echo"
[models.broken]
plugin = "echo"
[models.good]
plugin = "echo"
"""

WAYS = ["endless", "nothing", "foreign", "after", "exits", "interrupts", "cancels", "leaves", "groups"]
HOOKS = [f"{kind} {how}" for kind in ("plain", "async") for how in WAYS]
HOOKS += ["object endless", "hook exits", "hook interrupts", "hook cancels"]


@pytest.fixture(scope="module")
def host(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    site = tmp_path_factory.mktemp("site")
    fake_plugin(site, "unfaithful", UNFAITHFUL, target="Unfaithful")
    fake_plugin(site, "meddling", EXTENSION, target="Meddling", group="modelhost.extensions")
    fake_plugin(site, "broken", EXTENSION, target="Broken", group="modelhost.extensions", distribution="modelhost-broken")
    return serve(CONFIG, env={"PYTHONPATH": str(site)})


def failed(answer: httpx.Response) -> bool:
    return answer.status_code == 500 and answer.json()["error"]["code"] in ("plugin_error", "backend_failed")


def stream_failed(host: Served, model: str, said: str) -> bool:
    answer = host.chat(model, said, stream=True)
    if answer.status_code != 200:
        return failed(answer)
    last = answer.text.strip().splitlines()[-1]
    return "[DONE]" not in answer.text and json.loads(last.removeprefix("data: "))["error"]["code"] in (
        "plugin_error",
        "backend_failed",
    )


@pytest.mark.parametrize("model", ["process", "inline"])
@pytest.mark.parametrize("said", HOOKS)
def test_what_a_hook_does_in_place_of_done_is_an_error_whole_and_streamed(host: Served, model: str, said: str) -> None:
    assert host.chat(model, "plain good").status_code == 200
    worker = host.worker(model)["pid"]
    assert failed(host.chat(model, said))
    assert stream_failed(host, model, said)
    assert host.chat(model, "plain good").json()["choices"][0]["message"]["content"] == "hello "
    assert (host.worker(model)["pid"], host.worker(model)["restarts"]) == (worker, 0), "and the worker goes on"


@pytest.mark.parametrize("model", ["process", "inline"])
@pytest.mark.parametrize("said", ["async good", "object good"])
def test_an_iterator_need_not_be_a_generator(host: Served, model: str, said: str) -> None:
    assert host.chat(model, said).json()["choices"][0]["message"]["content"] == "hello "


def ask(host: Served, ability: str, model: str, said: str) -> httpx.Response:
    client = host.client
    match ability:
        case "transcribe":
            return client.post("/v1/audio/transcriptions", data={"model": model}, files={"file": ("a.wav", said.encode())})
        case "speech":
            return client.post("/v1/audio/speech", json={"model": model, "input": said, "voice": "a", "response_format": "wav"})
        case "pcm":
            return client.post("/v1/audio/speech", json={"model": model, "input": said, "voice": "a", "response_format": "pcm"})
        case "embed":
            return client.post("/v1/embeddings", json={"model": model, "input": said})
        case "summarize":
            return client.post("/v1/summaries", json={"model": model, "text": said})
        case "tokenize":
            return client.post("/tokenize", json={"model": model, "content": said})
        case _:
            return client.get("/v1/audio/voices", params={"model": model})


@pytest.mark.parametrize("model", ["process", "inline"])
@pytest.mark.parametrize("ability", ["transcribe", "speech", "pcm", "embed", "summarize", "tokenize", "voices"])
def test_no_ability_is_complete_without_done(host: Served, model: str, ability: str) -> None:
    for said in ("plain endless", "async endless", "plain exits"):
        try:
            assert failed(ask(host, ability, model, said)), said
        except httpx.RemoteProtocolError:  # sound had begun: it is cut in the middle
            assert ability in ("speech", "pcm")


@pytest.mark.parametrize(
    "how",
    [
        "exits at once",
        "returns nothing",
        "exits",
        "interrupts",
        "cancels",
        "raises",
        "foreign",
        "another ability's",
        "swallows",
        "swallows the end",
        "twice",
    ],
)
def test_what_an_extension_does_in_place_of_done_is_an_error_whole_and_streamed(host: Served, how: str) -> None:
    answer = host.chat("echo", how)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "plugin_error")
    assert stream_failed(host, "echo", how)
    assert host.chat("echo", "fine").json()["choices"][0]["message"]["content"] == "fine "
    assert not any("SECRET" in line for line in host.log)


def test_an_extension_that_breaks_when_it_is_asked_is_named(host: Served) -> None:
    answer = host.chat("broken")
    assert answer.status_code == 500
    assert "the extension 'broken' failed" in answer.json()["error"]["message"]
    eventually(lambda: any('"extension failed"' in line and "SystemExit" in line for line in host.log))


def test_the_host_is_alive_after_all_of_that(host: Served) -> None:
    assert host.client.get("/livez").text == "ok"
    assert host.chat("good", "on it goes").status_code == 200
