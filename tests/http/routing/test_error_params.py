"""An error names the field that was sent, whatever the contract between host and plugins calls it, on every route."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_plugins import fake_plugin
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from modelhost.http.app import ROUTES
from modelhost.http.routing.spec import spec_of
from serving import Serve, Served
from websockets.sync.client import connect

CRITIC = '''
import re

from modelhost import Backend, BadInputError, ModelCard, Options, hookimpl

SAYS = re.compile(r"refuse:([a-z_]+)")


class Critic(Backend[Options]):
    """Refuses whatever it is asked, for the field that the request names."""

    def load(self):
        return ModelCard(
            context_length=4096, sample_rate=16000,
            features=("prompts", "title", "hotwords", "word_timestamps", "repeat_penalty", "truncate", "translate", "speed",
                      "cloning", "completion", "live"),
        )

    def _refuse(self, said):
        raise BadInputError("no", param=SAYS.search(said)[1])
        yield

    @hookimpl
    def generate(self, request, context):
        return self._refuse(request.prompt or request.messages[-1].text)

    @hookimpl
    def synthesize(self, request, context):
        return self._refuse(request.text if "refuse" in request.text else request.voice)

    @hookimpl
    def transcribe(self, request, context):
        return self._refuse(request.audio.read().decode(errors="replace") if request.audio else request.prompt)

    @hookimpl
    def embed(self, request, context):
        return self._refuse(request.inputs[-1])

    @hookimpl
    def summarize(self, request, context):
        return self._refuse(request.text.read().decode())

    @hookimpl
    def tokenize(self, request, context):
        return self._refuse(request.text or (request.messages and request.messages[-1].text) or "refuse:tokens")

    @hookimpl
    def voices(self, request, context):
        return self._refuse("refuse:" + ("add" if request.add == "x" else "delete" if request.delete else "samples"))
'''

CONFIG = """
[models.critic]
plugin = "critic"
run = "inline"
"""


def say(param: str) -> str:
    return f"refuse:{param}"


CHAT = [{"role": "user", "content": "refuse:max_tokens"}]
JSON: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/chat/completions", {"messages": CHAT, "max_tokens": 3}, "max_tokens"),
    ("/v1/chat/completions", {"messages": CHAT, "max_completion_tokens": 3}, "max_completion_tokens"),
    ("/v1/chat/completions", {"messages": CHAT, "n_predict": 3}, "n_predict"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": say("messages")}]}, "messages"),
    ("/v1/completions", {"prompt": say("prompt")}, "prompt"),
    ("/v1/completions", {"prompt": say("max_tokens"), "max_new_tokens": 3}, "max_new_tokens"),
    ("/v1/completions", {"prompt": say("repeat_penalty"), "repetition_penalty": 1.1}, "repetition_penalty"),
    ("/v1/generate", {"prompt": say("messages")}, "prompt"),
    ("/v1/generate", {"prompt": say("repeat_penalty"), "repeat_penalty": 1.1}, "repeat_penalty"),
    ("/v1/generate_stream", {"prompt": say("messages")}, "prompt"),
    ("/v1/audio/speech", {"input": say("text")}, "input"),
    ("/v1/audio/speech", {"input": say("text"), "stream_format": "sse"}, "input"),
    ("/v1/audio/speech", {"input": say("format"), "response_format": "wav"}, "response_format"),
    ("/v1/audio/speech", {"input": say("voice"), "voice": "me"}, "voice"),
    ("/v1/text-to-speech", {"text": say("text")}, "text"),
    ("/v1/text-to-speech", {"text": say("voice"), "reference_id": "me"}, "reference_id"),
    ("/v1/text-to-speech", {"text": say("samples")}, "references"),
    ("/v1/embeddings", {"input": say("inputs")}, "input"),
    ("/v1/embeddings", {"input": say("overlong"), "truncate": True}, "truncate"),
    ("/v1/rerank", {"query": "who", "documents": [say("input")]}, "documents"),
    ("/v1/summaries", {"text": say("text")}, "text"),
    ("/v1/summaries", {"text": say("generator"), "generator": "x"}, "generator"),
    ("/tokenize", {"content": say("text")}, "content"),
    ("/tokenize", {"prompt": say("text")}, "prompt"),
    ("/tokenize", {"prompt": say("add_special"), "add_special_tokens": True}, "add_special_tokens"),
    ("/tokenize", {"messages": [{"role": "user", "content": say("messages")}]}, "messages"),
    ("/detokenize", {"tokens": [1]}, "tokens"),
    ("/v1/dialogue", {"text": say("messages")}, "text"),
    ("/v1/dialogue", {"text": "x", "generate_model": "nobody"}, "generate_model"),
    ("/v1/dialogue", {"text": "x", "model": "nobody"}, "model"),
    ("/v1/audio/transcriptions", {"audio": say("audio")}, "audio"),
]
FORMS: list[tuple[str, dict[str, str], str, str, str]] = [
    ("/v1/audio/transcriptions", {}, "file", "audio", "file"),
    ("/v1/audio/transcriptions", {"language": "es"}, "file", "language", "language"),
    ("/v1/audio/transcriptions", {"languages": "es"}, "file", "language", "languages"),
    ("/v1/audio/transcriptions", {"keywords": "x"}, "file", "hotwords", "keywords"),
    ("/v1/audio/transcriptions", {"hotwords": "x"}, "file", "hotwords", "hotwords"),
    ("/v1/audio/translations", {}, "file", "task", "model"),
    ("/v1/audio/translations", {}, "file", "audio", "file"),
    ("/v1/speech-to-text", {}, "file", "audio", "file"),
    ("/v1/audio/voices", {"name": "x"}, "file", "", "name"),
    ("/v1/audio/voices", {"name": "y"}, "file", "", "file"),
    ("/v1/audio/voices", {"name": "y"}, "audio_sample", "", "audio_sample"),
    ("/summarize", {}, "file", "text", "file"),
    ("/summarize", {"model_name": "x"}, "file", "generator", "model_name"),
    ("/embed", {}, "file", "inputs", "file"),
    ("/embed", {}, "file", "input", "file"),
    ("/v1/dialogue", {}, "file", "audio", "file"),
]
SOCKETS: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/generate_ws", {"prompt": say("messages")}, "prompt"),
    ("/v1/generate_ws", {"prompt": say("max_tokens"), "n_predict": 3}, "n_predict"),
    ("/v1/text-to-speech/ws", {"text": "x", "voice": say("voice")}, "voice"),
    ("/ws/tts", {"text": "x", "reference_id": say("voice")}, "reference_id"),
    ("/v1/speech-to-text/ws", {"type": "start", "prompt": say("timestamp_granularities")}, "word_timestamps"),
    ("/ws/stt", {"type": "start", "prompt": say("prompt")}, "prompt"),
]
NO_CALL = {"/parse-ast": "no model has a part in it", "/v1/models/load": "it asks no model for anything"}
"""Routes with a body whose fields no model is told."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_plugin(tmp_path_factory.mktemp("site"), "critic", CRITIC, target="Critic")


@pytest.fixture(scope="module")
def host(serve: Serve, site: Path) -> Served:
    return serve(CONFIG, env={"PYTHONPATH": str(site)})


def param(answer: httpx.Response) -> Any:
    assert answer.status_code in (400, 404), answer.text
    return answer.json()["error"]["param"]


@pytest.mark.parametrize(("path", "body", "field"), JSON)
def test_a_field_of_json_is_called_as_it_was_sent(host: Served, path: str, body: dict[str, Any], field: str) -> None:
    if "audio" in body:
        body = {**body, "audio": base64.b64encode(body["audio"].encode()).decode()}
    assert param(host.client.post(path, json=body)) == field


@pytest.mark.parametrize(("path", "fields", "file", "refused", "field"), FORMS)
def test_a_field_of_a_form_is_called_as_it_was_sent(
    host: Served, path: str, fields: dict[str, str], file: str, refused: str, field: str
) -> None:
    sent = host.client.post(path, data=fields, files={file: ("a.txt", say(refused).encode())})
    assert param(sent) == field


@pytest.mark.parametrize(("path", "message", "field"), SOCKETS)
def test_a_field_of_a_message_is_called_as_it_was_sent(host: Served, path: str, message: dict[str, Any], field: str) -> None:
    with connect(host.url.replace("http", "ws") + path, proxy=None) as line:
        line.send(json.dumps(message))
        if message.get("type") == "start":
            line.send(bytes(64_000))
        while (said := json.loads(line.recv(10)))["type"] != "error":
            pass
    assert said["error"]["param"] == field


def test_a_voice_that_cannot_be_forgotten_is_called_by_its_place_in_the_path(host: Served) -> None:
    assert param(host.client.delete("/v1/audio/voices/somebody")) == "name"


def test_a_reply_that_is_not_spoken_says_why_in_the_clients_words(serve: Serve, site: Path) -> None:
    echo = serve(CONFIG + '[models.echo]\nplugin = "echo"\nrun = "inline"\n', env={"PYTHONPATH": str(site)})
    body = {"text": "hello", "generate_model": "echo", "synthesize_model": "critic", "reference_id": say("voice")}
    for streamed in (False, True):
        answer = echo.client.post("/v1/dialogue", json={**body, "stream_audio": streamed})
        events = [json.loads(line) for line in answer.text.splitlines()]
        found = next(one for one in events if one.get("event") == "degraded") if streamed else events[0]["degraded"]
        assert found["error"]["param"] == "reference_id"


def test_every_route_that_asks_a_model_has_been_tried() -> None:
    tried = {path for path, *_ in (*JSON, *FORMS, *SOCKETS)}
    for route in ROUTES:
        if isinstance(route, (HTTPRouteHandler, WebsocketRouteHandler)):
            said = spec_of(route)
            if said.body or said.form or said.receives:
                assert {*route.paths} & {*tried, *NO_CALL}, f"{[*route.paths]} is not tried here"


def test_every_name_that_a_body_gives_to_a_field_is_one_of_its_own_fields_or_files() -> None:
    for route in ROUTES:
        if isinstance(route, (HTTPRouteHandler, WebsocketRouteHandler)):
            said = spec_of(route)
            for kind in (said.body, said.form, *said.receives):
                known = {*said.files, *said.query, *getattr(kind, "__struct_fields__", ())}
                for names in getattr(kind, "spelt", {}).values():
                    assert {*names} & known, f"{kind.__name__} has none of {names}"
