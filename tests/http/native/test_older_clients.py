"""Probes and clients of older services, which read one model's health and compare ids of the hub."""

from typing import Any

import pytest
from serving import Serve, Served

CONFIG = """
[server]
health_as = "model"

[models.chat]
plugin = "echo"
listed_as = "google/gemma-3n-E2B-it"

[models.vectors]
plugin = "echo"
abilities = ["embed"]

[models.hosted]
plugin = "gemini"
options = { model = "gemini-2.5-flash", api_key = "secret-of-google" }

[routes]
generate = ["chat"]
embed = ["vectors"]
"""


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    return serve(CONFIG)


def test_a_probe_of_a_service_with_one_model_reads_what_it_reads(host: Served) -> None:
    assert host.client.get("/health").json() == {
        "status": "healthy",
        "model_available": True,
        "model_loaded": False,
        "device": "unknown",
    }
    host.chat("google/gemma-3n-E2B-it")
    assert host.client.get("/health").json() == {
        "status": "healthy",
        "model_available": True,
        "model_loaded": True,
        "device": "cpu",
    }
    assert host.client.get("/health", params={"model": "vectors"}).json()["model_loaded"] is False


def test_a_probe_of_a_service_of_several_reads_what_it_reads(host: Served) -> None:
    host.chat("chat")
    found = host.client.get("/health", params={"as": "services"}).json()
    assert found["status"] == "ok"
    assert found["embedding_model"]["name"] == "vectors"
    assert found["embedding_model"]["status"] == "not_loaded"
    assert found["gemini_api"] == {"api_key_set": True, "default_model": "gemini-2.5-flash"}
    chat = found["chat_model"]
    assert (chat["name"], chat["status"], chat["context_length"]) == ("google/gemma-3n-E2B-it", "loaded", 4096)
    assert "supports_tools" in chat


def test_the_hosts_own_words_stay_there_to_be_asked_for(host: Served) -> None:
    assert set(host.client.get("/health", params={"as": "modelhost"}).json()["models"]) == {"chat", "vectors", "hosted"}
    answer = host.client.get("/health", params={"as": "zzz"})
    assert (answer.status_code, "modelhost, model, services" in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("words", "told"), [("model", {"status": "healthy"}), ("services", {"status": "ok"}), ("modelhost", {"status": "healthy"})]
)
def test_who_has_no_key_is_told_the_status_alone_in_whatever_words(serve: Serve, words: str, told: dict[str, Any]) -> None:
    host = serve(f'{CONFIG}\n[keys.k]\nkey = "a-key-that-is-long-enough-to-be-one"\n'.replace('"model"', f'"{words}"'))
    assert host.client.get("/health").json() == told
    assert host.client.get("/health", params={"model": "vectors"}).json() == told
    answer = host.client.get("/health", headers={"authorization": "Bearer a-key-that-is-long-enough-to-be-one"})
    assert len(answer.json()) > 1
    assert "secret-of-google" not in answer.text


def test_a_model_is_listed_and_unloaded_under_the_id_that_clients_compare(host: Served) -> None:
    ids = [model["id"] for model in host.client.get("/v1/models").json()["data"]]
    assert ids == ["google/gemma-3n-E2B-it", "vectors", "hosted"]
    for name in ("chat", "google/gemma-3n-E2B-it"):
        assert host.client.get(f"/v1/models/{name}").json()["id"] == "google/gemma-3n-E2B-it"
        assert host.client.post("/v1/models/load", json={"model_name": name}).json()["id"] == "google/gemma-3n-E2B-it"
        assert host.client.delete(f"/v1/models/{name}").json()["id"] == "google/gemma-3n-E2B-it"
