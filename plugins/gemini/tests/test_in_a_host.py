"""Gemini in a real host: a stand-in for Google's API behind a worker, a route in front."""

from collections.abc import Iterator
from typing import Any

import pytest
from serving import Served

CONFIG = """
[server]
local_only = true

[models.gemini]
plugin = "gemini"
options = { model = "gemini-2.5-flash", api_key = "${GEMINI_API_KEY}", base_url = "URL" }

[models.far]
plugin = "gemini"
options = { model = "gemini-2.5-flash", api_key = "${GEMINI_API_KEY}" }

[models.echo]
plugin = "echo"
options = { prefix = "from here: " }

[routes]
generate = ["gemini", "echo"]
"""


@pytest.fixture(scope="module")
def served(stand_in_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(CONFIG.replace("URL", stand_in_url), tmp_path_factory.mktemp("host"), env={"GEMINI_API_KEY": "a-secret-key"})
    yield served
    assert served.stop() == 0


def ask(served: Served) -> Any:
    answer = served.client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "hello big world"}]})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_its_answer_comes_through(served: Served, stand_in: Any) -> None:
    answer = ask(served)
    assert (answer["model"], answer["choices"][0]["message"]["content"]) == ("gemini", "hello big world ")
    assert answer["usage"]["total_tokens"] == 6
    assert stand_in.requests[0].headers["x-goog-api-key"] == "a-secret-key"


@pytest.mark.parametrize(("status", "name"), [(429, "RESOURCE_EXHAUSTED"), (503, "UNAVAILABLE"), (403, "PERMISSION_DENIED")])
def test_a_route_falls_back_when_it_cannot_serve(served: Served, stand_in: Any, status: int, name: str) -> None:
    stand_in.fail(status, stand_in.refusal(status, name, "no"))
    answer = ask(served)
    assert (answer["model"], answer["choices"][0]["message"]["content"]) == ("echo", "from here: hello big world ")
    assert len(stand_in.requests) == 1


def test_a_blocked_prompt_is_nobody_elses_to_answer(served: Served, stand_in: Any) -> None:
    stand_in.says({"promptFeedback": {"blockReason": "SAFETY"}})
    answer = served.chat("gemini", "words nobody may log")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_filter")
    assert "SAFETY" in answer.json()["error"]["message"]


def test_local_only_forbids_what_leaves_the_machine(served: Served) -> None:
    answer = served.chat("far")
    assert answer.status_code == 503
    assert "local_only" in answer.text


def test_neither_the_key_nor_what_was_said_is_logged(served: Served) -> None:
    log = "".join(served.log)
    assert "a-secret-key" not in log
    assert "nobody may log" not in log
