"""What a model cannot do is refused before it waits for anything: for a slot, or for the model to be loaded."""

import threading

import pytest
from serving import Serve, Served, eventually

CONFIG = """
[models.busy]
plugin = "echo"
[models.busy.options]
pace = 0.5
concurrency = 1

[models.cold]
plugin = "echo"
abilities = ["generate"]

[models.upstream]
plugin = "openai_api"
options = { abilities = ["synthesize"], base_url = "http://127.0.0.1:9/v1" }
"""
TOOL = {"type": "function", "function": {"name": "look_up"}}


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    return serve(CONFIG)


def state(host: Served, model: str) -> str:
    told: str = host.client.get(f"/v1/models/{model}").json()["state"]
    return told


def test_what_the_card_rules_out_is_refused_while_the_model_is_busy(host: Served) -> None:
    threads = [threading.Thread(target=host.chat, args=("busy", "word " * 60)) for _ in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: host.worker("busy").get("in_flight") == 1)
    refused = host.chat("busy", tools=[TOOL])
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tools")
    assert host.worker("busy")["in_flight"] == 1, "nobody's answer ended meanwhile"
    for running in host.client.get("/v1/requests").json()["data"]:
        host.client.delete(f"/v1/requests/{running['id']}")
    for thread in threads:
        thread.join(30)


def test_before_there_is_a_card_what_the_configuration_claims_is_used_and_nothing_is_loaded(host: Served) -> None:
    answer = host.client.post("/v1/embeddings", json={"model": "cold", "input": "a"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
    assert state(host, "cold") == "cold"
    answer = host.chat("upstream")
    assert "cannot generate" in answer.json()["error"]["message"]
    assert state(host, "upstream") == "cold"
