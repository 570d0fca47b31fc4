"""`/v1/chat/completions` over a real socket: what is right, what is refused, and how that looks."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from serving import Serve, Served, eventually

CONFIG = """
[server]
hold_status = 1.0
max_body_mb = 1

[models.echo]
plugin = "echo"
aliases = ["e", "org/some-model"]

[models.inline]
plugin = "echo"
run = "inline"

[models.thinker]
plugin = "echo"
options = { reasoning = "hm", tool = "look_up" }

[models.slow]
plugin = "echo"
options = { pace = 20 }

[models.late]
plugin = "echo"
options = { delay = 2.5, fault = "overloaded" }

[models.one-by-one]
plugin = "echo"
options = { pace = 50 }
concurrency = 1

[models.circle]
plugin = "echo"
options = { ask = "circle" }

[models.inline-circle]
plugin = "echo"
run = "inline"
options = { ask = "inline-circle" }

[models.asks-nobody]
plugin = "echo"
run = "inline"
options = { ask = "nobody" }

[models.composed]
plugin = "echo"
options = { ask = "e" }

[models.off]
plugin = "echo"
enabled = false
"""
FAULTS = {
    "bad_input": (400, "invalid_value", "false"),
    "unsupported": (400, "unsupported", "false"),
    "over_quota": (429, "rate_limit_exceeded", "true"),
    "not_ready": (503, "model_not_ready", "false"),
    "overloaded": (503, "overloaded", "true"),
    "deadline": (504, "deadline_exceeded", "false"),
    "raise": (500, "backend_failed", "false"),
}
CONFIG += "".join(
    f'\n[models.{fault}]\nplugin = "echo"\noptions = {{ fault = "{fault}" }}\n'
    f'\n[models.{fault}-later]\nplugin = "echo"\noptions = {{ fault = "{fault}", fault_after = 1 }}\n'
    for fault in FAULTS
)


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    return serve(CONFIG)


def stream(host: Served, model: str, text: str = "hello big world", **settings: Any) -> Iterator[dict[str, Any]]:
    """The events of a stream as JSON; `[DONE]` must be there and is left out."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True, **settings}
    with host.client.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line and not line.startswith(":")]
    events = [line.removeprefix("data: ") for line in lines]
    assert events[-1] == "[DONE]" or "error" in json.loads(events[-1])
    yield from (json.loads(event) for event in events if event != "[DONE]")


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error of an answer, after checking that it is OpenAI's envelope and says who it was."""
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = body["error"]
    return error


@pytest.mark.parametrize("model", ["echo", "inline", "e", "org/some-model", "composed"])
def test_a_model_answers_by_name_and_alias_wherever_it_runs(host: Served, model: str) -> None:
    answer = host.chat(model).json()
    assert answer["choices"][0]["message"]["content"] == "hello big world "
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"] == 6


def test_the_answer_names_the_model_that_gave_it(host: Served) -> None:
    assert host.chat("org/some-model").json()["model"] == "echo"


def test_max_tokens_cuts_and_says_so(host: Served) -> None:
    choice = host.chat("echo", max_tokens=2).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("hello big ", "length")


def test_a_stream_says_the_same_as_a_plain_answer(host: Served) -> None:
    events = list(stream(host, "echo"))
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == "hello big world "
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert len({event["id"] for event in events}) == 1
    assert not any("usage" in event for event in events)


def test_usage_comes_last_and_only_when_asked_for(host: Served) -> None:
    events = list(stream(host, "echo", stream_options={"include_usage": True}))
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] == 3
    assert all(event["usage"] is None for event in events[:-1])


def test_reasoning_passes_through(host: Served) -> None:
    message = host.chat("thinker", include_thinking=True).json()["choices"][0]["message"]
    assert (message["reasoning_content"], message["thinking"], message["content"]) == ("hm", "hm", "hello big world ")
    assert "thinking" not in host.chat("thinker").json()["choices"][0]["message"]
    deltas = [event["choices"][0]["delta"] for event in stream(host, "thinker")]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "hm"


TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]


def test_tool_calls_pass_through(host: Served) -> None:
    choice = host.chat("thinker", tools=TOOLS).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    call = choice["message"]["tool_calls"][0]
    assert json.loads(call["function"]["arguments"]) == {"text": "hello big world"}
    (event,) = [e for e in stream(host, "thinker", tools=TOOLS) if "tool_calls" in e["choices"][0]["delta"]]
    assert event["choices"][0]["delta"]["tool_calls"][0] == {"index": 0, **call}


def test_a_history_with_nulls_tools_and_parts_is_taken(host: Served) -> None:
    messages = [
        {"role": "developer", "content": "Be nice."},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], "name": "ann"},
        {
            "role": "assistant",
            "content": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "thinking": "hm"},
        {"role": "user", "content": "last words"},
    ]
    answer = host.client.post("/v1/chat/completions", json={"model": "echo", "messages": messages})
    assert answer.json()["choices"][0]["message"]["content"] == "last words "


def test_fields_that_change_no_answer_are_accepted(host: Served) -> None:
    harmless: dict[str, Any] = {
        "user": "u",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "auto",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "prediction": {"type": "content", "content": "x"},
        "modalities": ["text"],
        "verbosity": "medium",
        "n": 1,
        "temperature": 1,
        "top_p": 1.0,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "logit_bias": {},
        "logprobs": False,
        "response_format": {"type": "text"},
        "tools": [],
        "parallel_tool_calls": True,
        "reasoning_effort": None,
        "stop": None,
    }
    answer = host.chat("echo", **harmless)
    assert answer.status_code == 200, answer.text
    assert "x-modelhost-ignored" not in answer.headers


def test_unknown_fields_are_ignored_and_named(host: Served) -> None:
    answer = host.chat("echo", sparkle=1, glitter="x")
    assert answer.status_code == 200
    assert answer.headers["x-modelhost-ignored"] == "glitter, sparkle"


def test_a_field_name_cannot_smuggle_a_header(host: Served) -> None:
    answer = host.chat("echo", **{"a\r\nset-cookie: x": 1})
    assert answer.headers["x-modelhost-ignored"] == "a??set-cookie: x"
    assert "set-cookie" not in answer.headers


def test_who_asks_for_a_session_is_told_that_there_is_none(host: Served) -> None:
    body = {"model": "echo", "messages": [{"role": "user", "content": "Hello."}]}
    answer = httpx.post(f"{host.url}/v1/chat/completions", json=body, headers={"X-Session-Id": "sess_1"})
    assert (answer.status_code, answer.headers["x-modelhost-ignored"]) == (200, "x-session-id")


def test_strict_refuses_unknown_fields(serve: Serve) -> None:
    strict = serve('[server]\nstrict = true\n[models.echo]\nplugin = "echo"\n')
    answer = strict.chat("echo", sparkle=1)
    assert (answer.status_code, error_of(answer)["param"]) == (400, "sparkle")
    assert strict.chat("echo").status_code == 200


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"temperature": "0.5"}, "temperature"),
    ({"temperature": 2.5}, "temperature"),
    ({"temperature": -0.1}, "temperature"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": "7"}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"n": 10_000_000}, "n"),
    ({"n": True}, "n"),
    ({"top_p": 1.5}, "top_p"),
    ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"stop": ["x" * 100_000, "y" * 100_000]}, "stop"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"seed": 2**70}, "seed"),
    ({"logit_bias": {"1": 101}}, "logit_bias"),
    ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": [{"type": "sparkle"}]}]}, "messages[0].content"),
    ({"messages": [{"role": "tool", "content": "hi"}]}, "messages[0].tool_call_id"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
    ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"verbosity": "low"}, "verbosity"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"audio": "not base64!"}, "audio"),
    ({"logprobs": True}, "logprobs"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"min_p": 0.1}, "min_p"),
    ({"n": 2}, "n"),
    ({"max_tokens": 10**30}, "max_tokens"),
    ({"top_k": 2**70}, "top_k"),
    ({"logit_bias": {" 1_0 ": 1}}, "logit_bias"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"maximum": 10**30}}}]}, ""),
]


@pytest.mark.parametrize(("settings", "param"), REFUSED)
def test_what_is_wrong_or_cannot_be_honoured_is_refused_by_name(host: Served, settings: dict[str, Any], param: str) -> None:
    answer = host.chat("echo", **settings)
    assert answer.status_code == 400, answer.text
    error = error_of(answer)
    assert error["type"] == "invalid_request_error"
    assert (error["param"] or "").startswith(param)
    assert answer.headers["x-should-retry"] == "false"


@pytest.fixture(scope="module")
def mixed(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Echoes around `b`, whose plugin honours nothing beyond the plain case, as a stranger's first one."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "plain.py").write_text(
        "from modelhost import Backend, Delta, Done, ModelCard, Options, hookimpl\n"
        "class Plain(Backend[Options]):\n"
        "    def load(self):\n        return ModelCard()\n"
        "    @hookimpl\n    def generate(self, request):\n        yield Delta(text='plain')\n        yield Done()\n"
    )
    info = folder / "plain-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plain\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[modelhost.backends]\nplain = plain:Plain\n")
    config = '[models.a]\nplugin = "echo"\n[models.b]\nplugin = "plain"\n[models.c]\nplugin = "echo"\n'
    return serve(config, env={"PYTHONPATH": str(folder)})


def test_the_refusal_of_a_feature_names_the_models_that_have_it(mixed: Served) -> None:
    mixed.chat("a")
    answer = mixed.chat("b", top_k=5)
    assert answer.status_code == 400
    assert error_of(answer)["message"] == "model 'b' does not support top_k; models that can: a"


def test_a_part_the_model_cannot_read_is_refused_not_dropped(mixed: Served) -> None:
    for part, what in (
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}, "image"),
        ({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}, "audio"),
    ):
        body = {"model": "b", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, part]}]}
        answer = mixed.client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 400
        assert f"{what} input" in error_of(answer)["message"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.png", "file:///etc/passwd", "data:image/png;base64,!!!"])
def test_nothing_is_fetched_for_a_picture(host: Served, url: str) -> None:
    content = [{"type": "image_url", "image_url": {"url": url}}]
    body = {"model": "echo", "messages": [{"role": "user", "content": content}]}
    assert host.client.post("/v1/chat/completions", json=body).status_code == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"null", 400),
        (b"[]", 400),
        (b'{"messages": NaN}', 400),
        (b"\xff\xfe", 400),
        (b"[" * 200_000, 400),
        (b'{"messages":' + b'{"a":' * 100_000, 400),
        (b" " * (1024 * 1024 + 1), 413),
    ],
)
def test_what_is_no_request_gets_an_envelope(host: Served, body: bytes, status: int) -> None:
    answer = host.client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert error_of(answer)["type"] == "invalid_request_error"


def test_a_body_too_large_is_refused_when_it_is_sent_in_chunks(host: Served) -> None:
    chunks = (b" " * 65536 for _ in range(40))
    answer = host.client.post("/v1/chat/completions", content=chunks, headers={"content-type": "application/json"})
    assert (answer.status_code, error_of(answer)["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_browser_form_cannot_reach_a_json_route(host: Served, kind: str) -> None:
    body = b'{"model": "echo", "messages": [{"role": "user", "content": "hi"}]}'
    answer = host.client.post("/v1/chat/completions", content=body, headers={"content-type": kind})
    assert (answer.status_code, error_of(answer)["code"]) == (415, "unsupported_media_type")


def test_unknown_paths_and_methods_get_an_envelope(host: Served) -> None:
    assert error_of(host.client.get("/nowhere"))["code"] == "not_found"
    answer = host.client.get("/v1/chat/completions")
    assert (answer.status_code, error_of(answer)["code"]) == (405, "method_not_allowed")


def test_an_unknown_model_is_a_404_that_lists_the_known(host: Served) -> None:
    answer = host.chat("nobody")
    assert answer.status_code == 404
    assert error_of(answer)["code"] == "model_not_found"
    assert "echo" in error_of(answer)["message"]
    assert "off" not in error_of(answer)["message"].split(", ")


def test_a_request_without_a_model_asks_which(host: Served) -> None:
    answer = host.client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}]})
    assert (answer.status_code, error_of(answer)["param"]) == (400, "model")


def test_a_disabled_model_says_so(host: Served) -> None:
    answer = host.chat("off")
    assert answer.status_code == 503
    assert "enabled" in error_of(answer)["message"]


@pytest.mark.parametrize("fault", FAULTS)
def test_every_typed_failure_has_its_status_and_says_whether_to_retry(host: Served, fault: str) -> None:
    status, code, retry = FAULTS[fault]
    for answer in (host.chat(fault), host.chat(fault, stream=True)):
        assert answer.status_code == status
        assert error_of(answer)["code"] == code
        assert answer.headers["x-should-retry"] == retry
        assert "reach nobody" not in answer.text
        if fault in ("over_quota", "overloaded"):
            assert int(answer.headers["retry-after"]) >= 3


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failure_in_the_middle_of_a_stream_is_an_event(host: Served, fault: str) -> None:
    events = list(stream(host, f"{fault}-later"))
    assert events[1]["choices"][0]["delta"]["content"] == "hello "
    assert events[-1]["error"]["code"] == FAULTS[fault][1]


def test_after_hold_status_a_failure_is_an_event_and_the_status_has_gone_out(host: Served) -> None:
    events = list(stream(host, "late"))
    assert [event["error"]["code"] for event in events] == ["overloaded"]


def test_models_that_call_each_other_in_a_circle_are_stopped(host: Served) -> None:
    answer = host.chat("circle")
    assert (answer.status_code, error_of(answer)["code"]) == (500, "call_cycle")
    assert "circle → circle" in error_of(answer)["message"]


def test_an_inline_models_call_of_another_fails_as_quickly_as_a_workers(host: Served) -> None:
    assert error_of(host.chat("inline-circle"))["code"] == "call_cycle"
    assert error_of(host.chat("asks-nobody"))["code"] == "model_not_found"
    eventually(lambda: host.worker("asks-nobody")["in_flight"] == 0)


def test_a_client_that_leaves_a_stream_stops_the_work(host: Served) -> None:
    body = {"model": "slow", "messages": [{"role": "user", "content": "word " * 1000}], "stream": True}
    with host.client.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()  # kept: a forgotten iterator closes the response
        next(lines)
        assert host.worker("slow")["in_flight"] == 1
        request_id = response.headers["x-request-id"]
    eventually(lambda: host.worker("slow")["in_flight"] == 0)
    eventually(lambda: any(request_id in line and "499" in line for line in host.log))


def test_a_client_that_leaves_a_plain_request_stops_the_work(host: Served) -> None:
    host.chat("slow", "warm")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{host.url}/v1/chat/completions",
            json={"model": "slow", "messages": [{"role": "user", "content": "word " * 1000}]},
            timeout=0.5,
        )
    eventually(lambda: host.worker("slow")["in_flight"] == 0)


def test_concurrency_is_kept_and_who_waits_is_served(host: Served) -> None:
    import threading

    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(host.chat("one-by-one", "a b c d e f g h i j").status_code))
        for _ in range(6)
    ]
    host.chat("one-by-one", "warm")
    for thread in threads:
        thread.start()
    seen = set()
    while any(thread.is_alive() for thread in threads):
        seen.add(host.worker("one-by-one")["in_flight"])
    assert answers == [200] * 6
    assert max(seen) == 1


def test_request_ids_go_in_and_out(host: Served) -> None:
    answer = host.client.get("/livez", headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    for bad in ("a b", "x" * 200, "<script>"):
        assert host.client.get("/livez", headers={"x-request-id": bad}).headers["x-request-id"].startswith("req_")


def test_nothing_a_caller_says_is_logged(host: Served) -> None:
    secret = "correct-horse-battery"
    for model in ("echo", "raise", "bad_input", "circle", f"no-{secret}"):
        host.chat(model, secret, **{secret: secret, "stop": [secret]})
    host.client.post("/v1/chat/completions", content=secret, headers={"content-type": "application/json"})
    host.client.get(f"/{secret}")
    eventually(lambda: any("backend failed" in line and "script.py" in line for line in host.log))
    eventually(lambda: any('"status":404' in line and '"method":"GET"' in line for line in host.log))
    assert not any(secret in line for line in host.log)
