"""Clients of the older Gemma services, typed as their documents print them, and docs/guides/coming-from.md.

Tiny Gemmas stand for the real ones. One of them answers anything with the same sentence, so that every window can be counted.
"""

import base64
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import requests
from guide_reader import BLOCK, COMMANDS, GUIDES
from modelhost.authors.wav import wav
from openai import BadRequestError, OpenAI, PermissionDeniedError
from serving import Served, clean_environment

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
GUIDE = GUIDES / "coming-from.md"
PRINTED = [(language, text) for language, what, text in BLOCK.findall(GUIDE.read_text()) if what == "run"]
"""What the guide's readers are to type once the host runs."""
SAID = "Good morning."
KEY = "clients-of-the-gemmas"
ADMIN_KEY = "operator-of-the-gemmas"
KEYS = f"""
[keys.client]
key = "{KEY}"

[keys.operator]
key = "{ADMIN_KEY}"
scopes = ["inference", "admin"]
"""
RATE = 16_000

OLD_PYTHON = """
import requests
import base64

# Read audio file
with open("audio.wav", "rb") as f:
    audio_base64 = base64.b64encode(f.read()).decode()

response = requests.post(
    "http://localhost:8000/v1/audio/transcriptions",
    data={
        "audio": audio_base64,
        "prompt": "This is a meeting about the Q4 budget",
        "model": "gemma-2b"
    }
)

print(response.json()["text"])
"""
NEW_PYTHON = """
import base64
import requests

def transcribe_audio(audio_path, context=None, model_variant="E2B"):
    # Read and encode audio
    with open(audio_path, 'rb') as f:
        audio_base64 = base64.b64encode(f.read()).decode('utf-8')

    # Prepare request
    messages = []
    if context:
        messages.append({
            "role": "user",
            "content": f"Context: {context}\\n\\nTranscribe this audio"
        })
    else:
        messages.append({
            "role": "user",
            "content": "Transcribe this audio"
        })

    # Send request
    response = requests.post(
        "http://localhost:11343/v1/chat/completions",
        json={
            "model": f"gemma-3n-{model_variant}-it",
            "messages": messages,
            "audio": audio_base64,
            "temperature": 0.1
        }
    )

    # Extract transcription
    result = response.json()
    return result['choices'][0]['message']['content']

# Example usage
transcription = transcribe_audio(
    "meeting.m4a",
    context="Technical discussion about machine learning",
    model_variant="E2B"
)
print(transcription)
"""
NEW_CURL = """
# Encode audio file to base64
AUDIO_BASE64=$(base64 -w0 audio.wav)

# Send transcription request
curl -X POST http://localhost:11343/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "gemma-3n-E2B-it",
    "messages": [
      {
        "role": "user",
        "content": "Transcribe this audio"
      }
    ],
    "audio": "'$AUDIO_BASE64'",
    "temperature": 0.1
  }'
"""
"""As printed, but for `base64 -i`, which is macOS's."""


def tiny_gemmas() -> Any:
    """The makers of checkpoints of the plugin's own tests, as a module."""
    path = ROOT / "plugins" / "gemma_audio" / "tests" / "tiny.py"
    spec = importlib.util.spec_from_file_location("tiny_gemmas_of_the_seeds", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def syllables(seconds: float) -> bytes:
    """Something that passes for speech, 16-bit PCM: a buzz in syllables, with a pause in every two seconds."""
    at = np.arange(round(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 150 * n * at) / n for n in range(1, 20))
    sound = 0.1 * buzz * (0.55 - 0.45 * np.cos(2 * np.pi * 4 * at)) * (at % 2 < 1.4)
    return (sound * 32767).astype("<i2").tobytes()


def write_m4a(pcm: bytes, path: Path) -> None:
    with av.open(path, "w", format="ipod") as out:
        stream = out.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm, "<i2")[None], format="s16", layout="mono")
        frame.rate = RATE
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def in_base64(recording: bytes) -> str:
    return base64.b64encode(recording).decode()


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The guide's configuration with keys, and tiny Gemmas in the place of the real ones."""
    folder = tmp_path_factory.mktemp("gemmas")
    tiny = tiny_gemmas()
    tiny.gemma4_that_says(folder / "says", "Good", " morning", ".", "<turn|>")
    tiny.gemma3n(folder / "random")
    (config,) = (text for _, what, text in BLOCK.findall(GUIDE.read_text()) if what == "file=modelhost.toml")
    for variant, checkpoint in (("E4B", "says"), ("gemma-4-E4B", "random")):
        assert f'variant = "{variant}"' in config
        config = config.replace(f'variant = "{variant}"', f'source = "{checkpoint}"')
    (folder / "audio.wav").write_bytes(wav(syllables(2)))
    write_m4a(syllables(2), folder / "meeting.m4a")
    (folder / ".venv").symlink_to(sys.prefix)
    served = Served(config + KEYS, folder, env={"MODELHOST_SERVER__MAX_BODY_MB": "8"})
    served.client.timeout = 60
    served.client.headers["authorization"] = f"Bearer {KEY}"
    yield served
    assert served.stop() == 0


@pytest.fixture(scope="session")
def sdk(host: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{host.url}/v1", api_key=KEY, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def short() -> bytes:
    return wav(syllables(2))


@pytest.fixture(scope="session")
def long() -> bytes:
    """70 seconds: three windows or more."""
    return wav(syllables(70))


def run(host: Served, *command: str) -> str:
    """Do something where the host's files are; returns what it prints."""
    env = {**clean_environment(host.folder), "MODELHOST_URL": host.url, "MODELHOST_API_KEY": KEY}
    done = subprocess.run(command, cwd=host.folder, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def moved(example: str, host: Served, before: str, header: str) -> str:
    """An old example with the address of this host, and a header with the key before `before`: nothing else is changed."""
    assert example.count(before) == 1
    there = re.sub(r"http://localhost:(8000|11343)", host.url, example)
    return there.replace(before, f"{header}{before}")


IN_PYTHON = f'headers={{"Authorization": "Bearer {KEY}"}}, '
IN_CURL = f'-H "Authorization: Bearer {KEY}" '


class TestTheServiceOnPort8000:
    def test_its_python_example_prints_what_was_said(self, host: Served) -> None:
        assert run(host, sys.executable, "-c", moved(OLD_PYTHON, host, "data={", IN_PYTHON)) == f"{SAID}\n"

    def test_a_file_and_all_of_its_fields_are_taken(self, host: Served, short: bytes) -> None:
        form = {"model": "gemma-2b", "prompt": "a budget", "language": "en", "temperature": "0.2", "stream": "false"}
        answer = host.client.post("/v1/audio/transcriptions", data=form, files={"file": ("audio.wav", short)})
        assert (answer.status_code, answer.json()["text"]) == (200, SAID)
        assert "x-modelhost-ignored" not in answer.headers

    def test_its_chat_is_answered(self, host: Served) -> None:
        asked = """{
          "model": "gemma-2b",
          "messages": [
            {"role": "system", "content": "You are a helpful assistant"},
            {"role": "user", "content": "Hello, how are you?"}
          ],
          "temperature": 0.7,
          "max_tokens": 1000,
          "stream": false
        }"""
        answer = host.client.post("/v1/chat/completions", content=asked, headers={"content-type": "application/json"}).json()
        assert answer["choices"][0]["message"]["content"] == SAID
        assert answer["choices"][0]["finish_reason"] == "stop"

    def test_a_transcription_streams(self, host: Served, short: bytes) -> None:
        form = {"model": "gemma-2b", "audio": in_base64(short), "stream": "true"}
        events = events_of(requests.post(f"{host.url}/v1/audio/transcriptions", data=form, headers=bearer(KEY), timeout=60))
        assert [event["type"] for event in events] == ["transcript.text.delta", "transcript.text.done"]
        assert events[-1]["text"] == SAID

    def test_a_form_that_is_too_large_is_told_the_limit_that_it_broke(self, host: Served) -> None:
        answer = host.client.post("/v1/audio/transcriptions", data={"model": "gemma-2b", "prompt": "A" * 9 * 2**20})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
        assert "8 MiB" in answer.json()["error"]["message"]
        assert "max_body_mb" in answer.json()["error"]["message"]


class TestTheServiceOnPort11343:
    def test_its_python_client_gives_what_was_said(self, host: Served) -> None:
        assert run(host, sys.executable, "-c", moved(NEW_PYTHON, host, "json={", IN_PYTHON)) == f"{SAID}\n"

    def test_its_curl_example_prints_a_chat_completion(self, host: Served) -> None:
        answer = json.loads(run(host, "bash", "-ec", moved(NEW_CURL, host, '-H "Content-Type', IN_CURL)))
        assert answer["object"] == "chat.completion"
        assert answer["id"].startswith("chatcmpl-")
        (choice,) = answer["choices"]
        assert choice["message"] == {"role": "assistant", "content": SAID, "refusal": None}
        assert choice["finish_reason"] == "stop"
        usage = answer["usage"]
        assert usage["prompt_tokens"] > usage["prompt_tokens_details"]["audio_tokens"] > 0
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]

    def test_its_transcription_by_chat_takes_context_language_and_temperature(self, host: Served, short: bytes) -> None:
        answer = host.client.post("/v1/chat/completions", json=transcription(short, language="en"))
        assert answer.json()["choices"][0]["message"]["content"] == SAID
        assert "x-modelhost-ignored" not in answer.headers
        refused = host.client.post("/v1/chat/completions", json=transcription(short, language="klingon"))
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "language")

    def test_its_transcription_by_chat_streams(self, host: Served, long: bytes) -> None:
        asked = transcription(long, stream=True)
        answer = requests.post(f"{host.url}/v1/chat/completions", json=asked, headers=bearer(KEY), timeout=60)
        assert answer.text.rstrip().endswith("data: [DONE]")
        chunks = events_of(answer)
        words = [choice["delta"]["content"] for chunk in chunks for choice in chunk["choices"] if choice["delta"].get("content")]
        assert len(words) >= 3
        assert set("".join(words).split(SAID)) == {"", " "}

    def test_two_minutes_in_base64_are_taken(self, host: Served) -> None:
        two_minutes = wav(syllables(2) + bytes(118 * 2 * RATE))
        answer = host.client.post("/v1/chat/completions", json=transcription(two_minutes))
        assert (answer.status_code, answer.json()["choices"][0]["message"]["content"]) == (200, SAID)

    def test_any_gemma_that_hears_is_asked_the_same_way(self, host: Served, short: bytes) -> None:
        answer = host.client.post("/v1/chat/completions", json={**transcription(short), "model": "gemma-4"}).json()
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert answer["usage"]["prompt_tokens_details"]["audio_tokens"] >= 188


class TestBothServices:
    def test_a_request_without_a_key_is_refused_and_health_is_one_word(self, host: Served, short: bytes) -> None:
        answer = requests.post(f"{host.url}/v1/chat/completions", json=transcription(short), timeout=60)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert requests.get(f"{host.url}/health", timeout=60).json() == {"status": "healthy"}

    def test_health_tells_of_each_model_what_theirs_told_of_one(self, host: Served) -> None:
        assert host.chat("gemma-3n").status_code == 200
        answer = host.client.get("/health").json()
        assert answer["status"] == "healthy"
        model = answer["models"]["gemma-3n"]
        assert (model["model_available"], model["model_loaded"], model["device"]) == (True, True, "cpu")

    def test_models_are_listed_loaded_and_unloaded(self, host: Served) -> None:
        operator = bearer(ADMIN_KEY)
        loaded = requests.post(f"{host.url}/v1/models/load", json={"model_name": "gemma-4"}, headers=operator, timeout=60)
        assert (loaded.json()["id"], loaded.json()["state"]) == ("gemma-4", "ready")
        listed = host.client.get("/v1/models").json()
        assert listed["object"] == "list"
        assert [one["id"] for one in listed["data"]] == ["gemma-3n", "gemma-4"]
        (model,) = (one for one in listed["data"] if one["id"] == "gemma-4")
        assert model["capabilities"] == {"transcription": True, "chat": True, "multimodal": True, "streaming": True}
        assert (model["object"], isinstance(model["created"], int), isinstance(model["size_gb"], float)) == ("model", True, True)
        unloaded = requests.delete(f"{host.url}/v1/models/gemma-4", headers=operator, timeout=60).json()
        assert (unloaded["deleted"], unloaded["state"]) == (True, "cold")
        assert unloaded["freed_bytes"] > 0

    def test_who_may_only_ask_loads_and_unloads_nothing(self, sdk: OpenAI, host: Served) -> None:
        with pytest.raises(PermissionDeniedError) as refused:
            sdk.models.delete("gemma-3n")
        assert refused.value.code == "missing_scope"
        assert host.client.post("/v1/models/load", json={"model_name": "gemma-4"}).status_code == 403


class TestTheSdk:
    @pytest.mark.parametrize("name", ["short", "long"])
    def test_a_recording_is_written_down_to_its_end(self, sdk: OpenAI, request: pytest.FixtureRequest, name: str) -> None:
        recording = request.getfixturevalue(name)
        heard = sdk.audio.transcriptions.create(
            model="gemma-3n", file=("a.wav", recording), language="en", response_format="verbose_json"
        )
        segments = heard.segments or []
        assert heard.text == " ".join([SAID] * len(segments))
        assert (heard.language, round(heard.duration)) == ("english", 2 if name == "short" else 70)
        assert all(segment.end - segment.start <= 30 for segment in segments)
        assert segments[0].start < 1
        assert heard.duration - segments[-1].end < 2
        gaps = [after.start - before.end for before, after in pairwise(segments)]
        assert all(0 <= gap < 1 for gap in gaps)
        assert len(segments) >= (1 if name == "short" else 3)

    def test_json_and_subtitles_have_every_window(self, sdk: OpenAI, long: bytes) -> None:
        plain = sdk.audio.transcriptions.create(model="gemma-3n", file=("a.wav", long))
        subtitles = str(sdk.audio.transcriptions.create(model="gemma-3n", file=("a.wav", long), response_format="srt"))
        assert plain.text.count(SAID) == subtitles.count(SAID) == len(re.findall(r"-->", subtitles)) >= 3
        assert subtitles.startswith("1\n00:00:00,")

    def test_a_part_of_a_message_may_be_a_recording(self, sdk: OpenAI, short: bytes) -> None:
        answer = sdk.chat.completions.create(model="gemma-3n", messages=question("What does she want?", short))  # type: ignore[arg-type]
        assert answer.choices[0].message.content == SAID
        assert answer.usage
        assert answer.usage.prompt_tokens_details
        assert answer.usage.prompt_tokens_details.audio_tokens

    def test_a_chat_streams(self, sdk: OpenAI, short: bytes) -> None:
        messages: Any = question("What does she want?", short)
        chunks = sdk.chat.completions.create(model="gemma-3n", messages=messages, stream=True)
        words = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
        assert ("".join(words), len(words) > 1) == (SAID, True)

    def test_a_question_about_more_than_the_model_hears_at_once_is_refused(self, sdk: OpenAI) -> None:
        messages: Any = question("What does she want?", wav(syllables(35)))
        with pytest.raises(BadRequestError) as refused:
            sdk.chat.completions.create(model="gemma-3n", messages=messages)
        assert (refused.value.code, refused.value.param) == ("audio_too_long", "messages")
        assert "30 s" in refused.value.message


class TestTheGuide:
    def test_every_block_is_of_a_kind_that_is_known(self) -> None:
        text = GUIDE.read_text()
        assert {what for _, what, _ in BLOCK.findall(text)} == {"install", "file=modelhost.toml", "check", "run"}
        assert set(re.findall(r"^```(\w+)$", text, re.MULTILINE)) <= {"toml"}

    @pytest.mark.parametrize(("language", "text"), PRINTED, ids=[language for language, _ in PRINTED])
    def test_what_it_prints_transcribes(self, host: Served, language: str, text: str) -> None:
        asked = text.replace("http://127.0.0.1:11343", host.url)
        if "curl" in asked and "Authorization" not in asked:  # before the guide has come to keys
            asked = asked.replace("curl -s", f"curl -s {IN_CURL.strip()}")
        assert SAID in run(host, *COMMANDS[language], asked)

    def test_it_explains_every_variable_endpoint_and_port_of_the_services(self) -> None:
        text = GUIDE.read_text()
        assert [name for name in (*VARIABLES, *ENDPOINTS, "8000", "11343") if name not in text] == []


VARIABLES = (
    *("GEMMA_MODEL_ID", "GEMMA_MODEL_VARIANT", "GEMMA_DEVICE", "LOW_MEMORY_MODE", "MAX_MEMORY_GB", "MAX_AUDIO_SIZE_MB"),
    *("MAX_CONCURRENT_REQUESTS", "REQUEST_TIMEOUT", "LOG_LEVEL", "HOST", "PORT"),
)
ENDPOINTS = (
    *("GET /health", "GET /v1/models", "POST /v1/audio/transcriptions", "POST /v1/chat/completions"),
    *("POST /v1/models/pull", "POST /v1/models/load", "DELETE /v1/models/"),
)


def transcription(recording: bytes, **settings: Any) -> dict[str, Any]:
    """A transcription by chat, as the service on port 11343 documents it."""
    content = "Context: This is a technical discussion.\n\nTranscribe this audio"
    return {
        "model": "gemma-3n-E2B-it",
        "messages": [{"role": "user", "content": content}],
        "audio": in_base64(recording),
        "temperature": 0.1,
        **settings,
    }


def question(text: str, recording: bytes) -> list[dict[str, Any]]:
    """A chat with a recording in OpenAI's form."""
    sound = {"type": "input_audio", "input_audio": {"data": in_base64(recording), "format": "wav"}}
    return [{"role": "user", "content": [sound, {"type": "text", "text": text}]}]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def events_of(answer: requests.Response) -> list[dict[str, Any]]:
    """What a stream told, without the word at its end."""
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: {")]
