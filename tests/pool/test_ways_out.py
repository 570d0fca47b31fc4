"""A refusal that names models which can names those that really can; and a model claims no more than it is configured for."""

from typing import Any

import pytest
from serving import Serve, Served

CONFIG = """
[models.chats]
plugin = "echo"
abilities = ["generate"]

[models.calls]
plugin = "echo"
abilities = ["generate"]
options = { tool = "look_up" }

[models.hears]
plugin = "echo"
abilities = ["transcribe"]

[models.never-asked]
plugin = "echo"
abilities = ["transcribe"]

[models.broken]
plugin = "not_installed"

[models.upstream]
plugin = "openai_api"
options = { abilities = ["synthesize"], base_url = "http://127.0.0.1:9/v1" }

[models.deaf]
plugin = "openai_api"
options = { abilities = ["generate"], base_url = "http://127.0.0.1:9/v1" }
"""
TOOL = {"type": "function", "function": {"name": "look_up"}}
SPEECH = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    host = serve(CONFIG)
    for name in ("chats", "calls", "hears", "deaf"):
        assert host.client.post("/v1/models/load", json={"model": name}).status_code == 200
    return host


def refusal(host: Served, model: str, content: Any = "x", **settings: Any) -> str:
    """What a refused chat is told."""
    answer = host.chat(model, messages=[{"role": "user", "content": content}], **settings)
    assert answer.status_code == 400, answer.text
    told: str = answer.json()["error"]["message"]
    return told


def test_who_cannot_do_it_at_all_names_those_that_can(host: Served) -> None:
    assert refusal(host, "hears") == "model 'hears' cannot generate; models that can: chats, calls, deaf"
    upload = {"file": ("x.wav", b"x")}
    answer = host.client.post("/v1/audio/transcriptions", data={"model": "chats"}, files=upload)
    assert answer.json()["error"]["message"] == "model 'chats' cannot transcribe; models that can: hears, never-asked"


def test_who_cannot_hear_a_chat_names_none_that_hears_and_cannot_chat(host: Served) -> None:
    assert refusal(host, "deaf", [SPEECH]) == "model 'deaf' does not support audio input; models that can: chats, calls"


def test_those_that_are_named_can_do_all_that_is_asked(host: Served) -> None:
    assert refusal(host, "chats", tools=[TOOL]).endswith("does not support tools; models that can: calls, deaf")
    assert refusal(host, "chats", [SPEECH], tools=[TOOL]).endswith("does not support tools; models that can: calls")
    assert refusal(host, "chats", logit_bias={"1": 1}, min_p=0.1).endswith("; no model here is known to")


def test_what_is_named_works(host: Served) -> None:
    assert host.chat("calls", tools=[TOOL]).json()["choices"][0]["finish_reason"] == "tool_calls"


def test_a_model_that_was_never_loaded_claims_what_its_options_say(host: Served) -> None:
    found = {model["id"]: model for model in host.client.get("/v1/models").json()["data"]}
    assert (found["upstream"]["state"], found["upstream"]["abilities"]) == ("cold", ["synthesize"])
    # So that nobody is asked which model is meant, where there is one that can.
    answer = host.client.post("/v1/audio/speech", json={"input": "hello"})
    assert answer.json()["error"]["code"] != "missing_required_parameter"


def test_no_model_claims_what_it_needs_an_option_for(host: Served) -> None:
    features = {name: host.client.get(f"/v1/models/{name}").json()["features"] for name in ("chats", "calls")}
    assert ("tools" in features["chats"], "tools" in features["calls"]) == (False, True)
