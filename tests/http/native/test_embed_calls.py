"""Answers that take several calls of an embedding model, or are asked of several models: `/embed` and `/v1/rerank`."""

import json
import re
from typing import Any

import httpx
from serving import Serve, Served, eventually

CONFIG = """
[models.broken]
plugin = "echo"
run = "inline"
options = { load_fault = "not_ready" }

[models.trained]
plugin = "echo"
run = "inline"
options = { dimensions = 128 }

[models.wide]
plugin = "echo"
run = "inline"
options = { dimensions = 768 }

[routes]
embed = ["broken", "%s"]
"""


def embed(host: Served, **query: Any) -> httpx.Response:
    """Have a file embedded, without saying how long its vector is to be."""
    return host.client.post("/embed", params=query, files={"file": ("a.txt", "a text")})


def line_of(host: Served, answer: httpx.Response) -> dict[str, Any]:
    """The line in the log that an answer has."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        found[:] = [
            json.loads(line) for line in host.log if answer.headers["x-request-id"] in line and '"event":"request"' in line
        ]
        return bool(found)

    eventually(is_there)
    return found[0]


def test_a_file_goes_to_the_next_model_of_the_route_with_the_length_that_one_was_trained_for(serve: Serve) -> None:
    for able, name in (("trained", "embedding_128d"), ("wide", "embedding_768d")):
        host = serve(CONFIG % able)
        for _ in ("not loaded yet", "loaded"):
            answer = embed(host)
            assert (answer.status_code, list(answer.json())) == (200, [name])


def test_a_file_that_no_model_can_take_is_told_why(serve: Serve) -> None:
    host = serve(CONFIG % "wide")
    assert embed(host, model="broken").json()["error"]["code"] == "model_not_ready"
    assert embed(host, model="nobody").json()["error"]["code"] == "model_not_found"


def test_the_log_tells_what_all_calls_for_an_answer_took(serve: Serve) -> None:
    host = serve('[models.echo]\nplugin = "echo"\n')
    asked = {"query": "four", "documents": ["one", "three"]}
    first = host.client.post("/v1/rerank", json=asked)
    line = line_of(host, first)
    assert line["input_tokens"] == first.json()["usage"]["prompt_tokens"] == 12
    assert line["cache"] == "miss"
    assert line["load_seconds"] > 0
    timing = re.search(r"load;dur=([\d.]+)", first.headers["server-timing"])
    assert timing
    assert float(timing[1]) > 0

    half = line_of(host, host.client.post("/v1/rerank", json={**asked, "query": "seven"}))
    assert (half["input_tokens"], half["cache"]) == (5, "miss")
    other_half = line_of(host, host.client.post("/v1/rerank", json={**asked, "documents": ["eleven"]}))
    assert (other_half["input_tokens"], other_half["cache"]) == (6, "miss")
    known = line_of(host, host.client.post("/v1/rerank", json=asked))
    assert ("input_tokens" in known, known["cache"]) == (False, "hit")
