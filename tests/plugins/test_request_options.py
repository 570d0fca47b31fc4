"""What requests carry for one plugin: checked by its schema before they wait, read by its hooks, and never dropped."""

import base64
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, strategies as st
from modelhost import BadInputError, Context, GenerateRequest, RequestOptions
from modelhost.plugins.request_options import problem_of
from modelhost.testing import chat, tone
from modelhost.worker.describe import options_schema
from msgspec import Meta
from openai import OpenAI
from serving import Serve, Served

PLUGIN = '''
from typing import Annotated, Literal
from msgspec import Meta
from modelhost import (
    AudioChunk, Backend, Delta, Done, EmbedRequest, GenerateRequest, ModelCard, Options, RequestOptions, Segment,
    SummarizeRequest, SynthesizeRequest, TokenizeRequest, Tokens, TranscribeRequest, Usage, Vectors, hookimpl,
)


class Choices(RequestOptions):
    beams: Annotated[int, Meta(ge=1, le=8)] = 5
    """How wide to look."""
    mode: Literal["quick", "exact"] = "exact"
    words: tuple[str, ...] = ()


class Fancy(Backend[Options]):
    """Says which options came with a request."""

    request_options = Choices

    def load(self):
        features = ("streaming", "completion", "x-fancy", "x-acme.words")
        return ModelCard(features=features, sample_rate=16000, voices=("it",), dimensions=(2,), inputs=("text", "audio"))

    def said(self, request):
        own = Choices.of(request)
        return f"{own.beams} {own.mode} {','.join(own.words)}".strip()

    @hookimpl
    def generate(self, request: GenerateRequest):
        yield Delta(text=self.said(request))
        yield Done()

    @hookimpl
    def summarize(self, request: SummarizeRequest):
        yield Delta(text=self.said(request))
        yield Done()

    @hookimpl
    def transcribe(self, request: TranscribeRequest):
        yield Segment(start=0, end=1, text=self.said(request))
        yield Done()

    @hookimpl
    def synthesize(self, request: SynthesizeRequest):
        yield AudioChunk(data=bytes(2 * 1000 * Choices.of(request).beams), sample_rate=16000)
        yield Done(usage=Usage(audio_seconds=Choices.of(request).beams / 16))

    @hookimpl
    def embed(self, request: EmbedRequest):
        import struct
        for number, _ in enumerate(request.inputs):
            yield Vectors(first=number, dimensions=2, data=struct.pack("<2f", Choices.of(request).beams, 0))
        yield Done()

    @hookimpl
    def tokenize(self, request: TokenizeRequest):
        yield Tokens(tokens=(Choices.of(request).beams,), text="")
        yield Done()
'''

OWN = {"fancy": {"beams": 2, "mode": "quick"}}


def planted(folder: Path) -> Path:
    (folder / "fancy_plugin.py").write_text(PLUGIN)
    info = folder / "fancy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fancy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[modelhost.backends]\nfancy = fancy_plugin:Fancy\n")
    return folder


@pytest.fixture(scope="module")
def host(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = planted(tmp_path_factory.mktemp("fancy"))
    config = '[models.it]\nplugin = "fancy"\n[models.near]\nplugin = "fancy"\nrun = "inline"\n[models.plain]\nplugin = "echo"\n'
    return serve(config, env={"PYTHONPATH": str(folder)})


def post(host: Served, path: str, body: dict[str, Any]) -> Any:
    answer = host.client.post(path, json={"model": "it", **body})
    assert answer.status_code == 200, answer.text
    assert "x-modelhost-ignored" not in answer.headers
    return answer.json()


def text_of(answer: Any) -> str:
    return str(answer["choices"][0]["message"]["content"])


def test_a_hook_reads_what_came_and_its_defaults_for_the_rest(host: Served) -> None:
    assert text_of(host.chat("it").json()) == "5 exact"
    assert text_of(host.chat("it", plugin_options={"fancy": {"words": ["a", "b"]}}).json()) == "5 exact a,b"
    assert text_of(host.chat("near", plugin_options=OWN).json()) == "2 quick"
    assert text_of(host.chat("it", plugin_options=None).json()) == "5 exact"


@pytest.mark.parametrize(
    ("path", "body", "read"),
    [
        ("/v1/completions", {"prompt": "x"}, lambda answer: answer["choices"][0]["text"]),
        ("/v1/generate", {"prompt": "x"}, lambda answer: answer["generated_text"]),
        ("/v1/summaries", {"text": "x", "cache": False}, lambda answer: answer["summary"]),
        ("/v1/embeddings", {"input": "x"}, lambda answer: f"{answer['data'][0]['embedding'][0]:.0f} quick"),
        ("/tokenize", {"content": "x"}, lambda answer: f"{answer['tokens'][0]} quick"),
        ("/v1/text-to-speech", {"text": "x"}, lambda answer: f"{answer['duration'] * 16:.0f} quick"),
    ],
)
def test_every_json_route_that_asks_a_model_carries_them(host: Served, path: str, body: dict[str, Any], read: Any) -> None:
    assert read(post(host, path, {**body, "plugin_options": OWN})) == "2 quick"


def test_kept_results_are_of_the_same_options(host: Served) -> None:
    def first(beams: int) -> float:
        answer = post(host, "/v1/embeddings", {"input": "kept", "plugin_options": {"fancy": {"beams": beams}}})
        return float(answer["data"][0]["embedding"][0])

    assert [first(2), first(3), first(2)] == [2, 3, 2]


@pytest.mark.parametrize(
    "fields",
    [
        {"plugin_options": json.dumps(OWN)},
        {"plugin_options[fancy][beams]": "2", "plugin_options[fancy][mode]": "quick"},
    ],
)
def test_forms_carry_them_as_json_and_in_brackets(host: Served, fields: dict[str, str]) -> None:
    recording = {"file": ("a.wav", tone(), "audio/wav")}
    answer = host.client.post("/v1/audio/transcriptions", files=recording, data={"model": "it", **fields})
    assert answer.json()["text"].strip() == "2 quick"
    urlencoded = {"model": "it", "audio": base64.b64encode(tone()).decode(), **fields}
    assert host.client.post("/v1/audio/transcriptions", data=urlencoded).json()["text"].strip() == "2 quick"
    summary = host.client.post("/summarize", files={"file": ("a.txt", b"x")}, data={"model": "it", **fields}).json()
    assert "2 quick" in json.dumps(summary)


def test_openais_client_sends_them_as_extra_body_with_files_too(host: Served) -> None:
    extra = {"plugin_options": OWN}
    with OpenAI(base_url=f"{host.url}/v1", api_key="none") as client:
        answer = client.chat.completions.create(model="it", messages=[{"role": "user", "content": "x"}], extra_body=extra)
        words = client.audio.transcriptions.create(model="it", file=("a.wav", tone()), extra_body=extra)
    assert answer.choices[0].message.content == "2 quick"
    assert words.text.strip() == "2 quick"


@pytest.mark.parametrize(
    ("model", "options", "param", "told"),
    [
        ("plain", OWN, "plugin_options.fancy", "is of the plugin 'echo'"),
        ("plain", {"echo": {"loud": 1}}, "plugin_options.echo", "carry no options for the plugin 'echo'"),
        ("it", {"fancyy": {"beams": 1}}, "plugin_options.fancyy", "no options of 'fancyy'"),
        ("it", {**OWN, "whisper": {"beam_size": 1}}, "plugin_options.whisper", "no options of 'whisper'"),
        ("it", {"fancy": {"beems": 1}}, "plugin_options.fancy.beems", "did you mean 'beams'? there are: beams, mode, words"),
        ("it", {"fancy": {"beams": 9}}, "plugin_options.fancy.beams", "expected `int` <= 8"),
        ("it", {"fancy": {"mode": "slow"}}, "plugin_options.fancy.mode", "slow"),
        ("it", {"fancy": {"words": ["a", 1]}}, "plugin_options.fancy.words[1]", "expected `str`"),
        ("it", {"fancy": 3}, "plugin_options", "`object`, got `int`"),
    ],
)
def test_what_a_model_does_not_know_is_refused_by_name(host: Served, model: str, options: Any, param: str, told: str) -> None:
    answer = host.chat(model, plugin_options=options)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["param"].startswith(param)
    assert told in error["message"]


def test_the_document_of_a_host_has_the_options_of_its_plugins(host: Served) -> None:
    document = host.client.get("/openapi.json").json()["components"]["schemas"]
    field = document["ChatBody"]["properties"]["plugin_options"]
    assert field["properties"] == {"fancy": {"$ref": "#/components/schemas/fancy.request_options"}}
    own = document["fancy.request_options"]["properties"]
    assert own["beams"] == {"type": "integer", "minimum": 1, "maximum": 8, "default": 5, "description": "How wide to look."}


def test_features_of_a_plugins_own_are_listed(host: Served) -> None:
    host.client.post("/v1/models/load", json={"model": "it"})
    (it,) = (model for model in host.client.get("/v1/models").json()["data"] if model["id"] == "it")
    assert {"x-fancy", "x-acme.words"} <= set(it["features"])


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    depth: int = 0


class Wide(RequestOptions):
    count: Annotated[int, Meta(ge=1, le=9)] = 1
    share: Annotated[float, Meta(gt=0, lt=1)] | None = None
    mode: Literal["a", "b"] = "a"
    name: Annotated[str, Meta(min_length=1, max_length=3, pattern="^x")] = "x"
    flags: tuple[bool, ...] = ()
    bias: dict[str, int] = {}
    inner: Inner = Inner()


TEXTS = st.sampled_from(["a", "b", "x", "xyz", "xyzw", "", "3", "true"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 12) | st.floats(-1, 2) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["depth", "k"]), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from([*Wide.__struct_fields__, "other"]), VALUES, max_size=3))
def test_the_host_refuses_before_the_queue_just_what_the_plugin_would_refuse(values: dict[str, Any]) -> None:
    found = problem_of("wide", options_schema(Wide), {"wide": values}, "m")
    if found is None:
        Wide.of(GenerateRequest(options={"wide": values}))
    else:
        assert str(found.param).startswith("plugin_options.wide")
        with pytest.raises(BadInputError):
            Wide.of(GenerateRequest(options={"wide": values}))


def test_a_schema_that_msgspec_cannot_say_lets_through_what_the_plugin_then_judges() -> None:
    odd = {"type": "object", "properties": {"x": {"anyOf": [{"type": "array"}, {"type": "galaxy"}]}, "y": {"type": "galaxy"}}}
    assert problem_of("it", odd, {"it": {"x": 3, "y": {}}}, "m") is None
    assert problem_of("it", odd, {"it": {"z": 3}}, "m") is not None


@pytest.mark.parametrize(("path", "body"), [("/v1/embeddings", {"input": "x"}), ("/v1/summaries", {"text": "x"})])
def test_a_number_that_no_frame_can_hold_is_refused(host: Served, path: str, body: dict[str, Any]) -> None:
    options = {"fancy": {"beams": 2**70}}
    assert host.client.post(path, json={"model": "it", **body, "plugin_options": options}).status_code == 400


def test_options_of_nobody_are_defaults() -> None:
    assert Wide.of(chat("hi")) == Wide()


def test_the_guides_plugin_reads_them() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "write-a-plugin.md").read_text()
    blocks = [
        re.search(rf"^```python {name}\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
        for name in (r"file=shout/modelhost_shout\.py", "request")
    ]
    names: dict[str, Any] = {"__name__": "shout"}
    code = "from modelhost import RequestOptions\n" + "".join(block[1] for block in blocks if block)
    exec(compile(code, "guide", "exec"), names)
    backend = names["ShoutBackend"](names["ShoutOptions"](marks=1))
    said = [
        next(backend.generate(chat("hi", options=options), Context())).text
        for options in ({}, {"shout": {"marks": 3}}, {"shout": {"marks": 0}})
    ]
    assert said == ["HI!", "HI!!!", "HI"]
