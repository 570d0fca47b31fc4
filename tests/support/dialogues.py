"""A host for dialogues, whose models are well or ill in known ways, and how a turn is taken with it."""

import base64
import json
import re
from itertools import groupby
from typing import Any

import pytest
from fake_plugins import fake_plugin
from modelhost import Blob
from modelhost.audio import SAMPLE_RATE, decode
from serving import Serve, Served

ALICE = {"authorization": "Bearer a-key-of-alice-0123456789"}
BOB = {"authorization": "Bearer a-key-of-bob-0123456789ab"}
CONFIG = """
[server]
log_format = "json"

[keys.alice]
key = "a-key-of-alice-0123456789"
scopes = ["inference", "metrics"]

[keys.bob]
key = "a-key-of-bob-0123456789ab"

[routes]
transcribe = ["ears"]
generate = ["mind"]
synthesize = ["voice"]

[models.ears]
plugin = "echo"

[models.mind]
plugin = "echo"
aliases = ["chat"]

[models.voice]
plugin = "echo"
preload = true

[models.singer]
plugin = "echo"

[models.slow]
plugin = "echo"
preload = true
options = { pace = 10 }

[models.busy]
plugin = "echo"
run = "inline"
options = { fault = "overloaded" }

[models.mute]
plugin = "echo"
run = "inline"
options = { fault = "raise" }

[models.hoarse]
plugin = "echo"
run = "inline"
options = { fault = "raise", fault_after = 2 }

[models.mortal]
plugin = "echo"
options = { pace = 20, fault = "exit", fault_after = 2 }

[models.witness]
plugin = "witness"

[models.reader]
plugin = "reader"
"""

WITNESS = """
from modelhost import Backend, BadInputError, Delta, Done, ModelCard, Options, hookimpl

class Fake(Backend[Options]):
    '''Hears nothing, and says all that it was told; more than eight messages it cannot take.'''

    def load(self):
        return ModelCard(concurrency=8, inputs=("text", "audio"))

    @hookimpl
    def transcribe(self, request, context):
        yield Done()

    @hookimpl
    def generate(self, request, context):
        if len(request.messages) > 8:
            raise BadInputError("that is too much", code="context_length_exceeded", param="messages")
        yield Delta(text="|".join(f"{one.role}:{one.text.split('|')[-1]}" for one in request.messages))
        yield Done()
"""

READER = """
from modelhost import AudioChunk, Backend, Done, ModelCard, Options, hookimpl

class Fake(Backend[Options]):
    '''Has a voice whose sound is the text itself.'''

    def load(self):
        return ModelCard()

    @hookimpl
    def synthesize(self, request, context):
        yield AudioChunk(data=f"{request.text}|".encode("utf-16-le"), sample_rate=16000)
        yield Done()
"""

SOUND = b"any sound"
HEARD = f"heard {len(SOUND)} bytes"


@pytest.fixture(scope="module")
def host(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    site = fake_plugin(tmp_path_factory.mktemp("site"), "witness", WITNESS)
    fake_plugin(site, "reader", READER)
    host = serve(CONFIG, env={"PYTHONPATH": str(site)})
    host.client.headers.update(ALICE)
    return host


def say(host: Served, **asked: Any) -> dict[str, Any]:
    """One turn, answered whole."""
    answer = host.client.post("/v1/dialogue", json=asked)
    assert answer.status_code == 200, answer.text
    whole: dict[str, Any] = answer.json()
    return whole


def stream(host: Served, **asked: Any) -> list[dict[str, Any]]:
    """One turn, step by step."""
    answer = host.client.post("/v1/dialogue", json={"stream_audio": True, **asked})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson"), answer.text
    assert answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.splitlines()]


def names(steps: list[dict[str, Any]]) -> list[str]:
    """The events in order, those that repeat once."""
    return [name for name, _ in groupby(step["event"] for step in steps)]


def only(steps: list[dict[str, Any]], event: str) -> dict[str, Any]:
    (found,) = (step for step in steps if step["event"] == event)
    return found


def seconds_of(sound: bytes) -> float:
    return len(decode(Blob(sound))) / SAMPLE_RATE


def sound_of(steps: list[dict[str, Any]]) -> bytes:
    return b"".join(base64.b64decode(step["audio_base64"]) for step in steps if step["event"] == "audio_chunk")


def metric(host: Served, line: str) -> float:
    found = re.search(rf"^modelhost_{re.escape(line)} (\S+)$", host.client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0
