"""Completions, the short way to an answer, and tokens, over a real socket."""

import json
from typing import Any

import httpx
import pytest
from openai import OpenAI
from serving import Serve, Served

CONFIG = """
[models.echo]
plugin = "echo"
aliases = ["chat"]

[models.breaks]
plugin = "echo"
options = { fault = "raise", fault_after = 1 }

[models.refuses]
plugin = "echo"
options = { fault = "overloaded" }
"""


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    return serve(CONFIG)


def ask(host: Served, path: str, **body: Any) -> Any:
    answer = host.client.post(path, json={"model": "echo", **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(host: Served, path: str, **body: Any) -> tuple[int, str | None]:
    answer = host.client.post(path, json={"model": "echo", **body})
    return answer.status_code, answer.json()["error"]["param"]


class TestCompletions:
    def test_each_prompt_has_its_choice_in_order_and_all_are_counted(self, host: Served) -> None:
        answer = ask(host, "/v1/completions", prompt=["one two", "three"])
        assert [(choice["index"], choice["text"]) for choice in answer["choices"]] == [(0, "one two "), (1, "three ")]
        assert answer["object"] == "text_completion"
        assert answer["usage"]["prompt_tokens"] == answer["usage"]["completion_tokens"] == 3

    def test_sixteen_tokens_are_the_default(self, host: Served) -> None:
        choice = ask(host, "/v1/completions", prompt="word " * 20)["choices"][0]
        assert (len(choice["text"].split()), choice["finish_reason"]) == (16, "length")

    def test_the_sdk_reads_whole_and_stream_alike(self, host: Served) -> None:
        with OpenAI(base_url=f"{host.url}/v1", api_key="none", max_retries=0) as client:
            whole = client.completions.create(model="echo", prompt=["a b", "c"])
            stream = client.completions.create(
                model="echo", prompt=["a b", "c"], stream=True, stream_options={"include_usage": True}
            )
            chunks = list(stream)
        texts = ["", ""]
        for chunk in chunks:
            for choice in chunk.choices:
                texts[choice.index] += choice.text
        assert texts == [choice.text for choice in whole.choices] == ["a b ", "c "]
        assert chunks[-1].usage == whole.usage

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"prompt": []}, "prompt"),
            ({"prompt": [[]]}, "prompt"),
            ({"prompt": ["a", 1]}, "prompt"),
            ({"prompt": ["a"] * 129}, "prompt"),
            ({"prompt": [-1]}, "prompt"),
            ({"prompt": "a", "best_of": 2}, "best_of"),
            ({"prompt": "a", "n": 129}, "n"),
            ({"prompt": "a", "logprobs": 6}, "logprobs"),
            ({"prompt": "a", "stream_options": {}}, "stream_options"),
            ({"prompt": "a", "suffix": "b"}, "suffix"),
            ({}, "prompt"),
        ],
    )
    def test_what_cannot_be_honoured_is_named(self, host: Served, body: dict[str, Any], param: str) -> None:
        assert refused(host, "/v1/completions", **body) == (400, param)


class TestGenerate:
    def test_a_prompt_gives_a_generated_text(self, host: Served) -> None:
        answer = ask(host, "/v1/generate", prompt="hello big world", max_tokens=2)
        assert (answer["generated_text"], answer["finish_reason"], answer["model"]) == ("hello big ", "length", "echo")

    def test_the_stream_is_the_bare_text(self, host: Served) -> None:
        answer = host.client.post("/v1/generate_stream", json={"model": "echo", "prompt": "grüß dich"})
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.text == "grüß dich "

    def test_a_failure_before_the_first_word_has_its_status(self, host: Served) -> None:
        assert host.client.post("/v1/generate_stream", json={"model": "refuses", "prompt": "a"}).status_code == 503

    def test_a_failure_midway_is_never_taken_for_the_end(self, host: Served) -> None:
        with pytest.raises(httpx.RemoteProtocolError):
            host.client.post("/v1/generate_stream", json={"model": "breaks", "prompt": "a b c"})
        assert host.chat("echo").status_code == 200


class TestTokens:
    def test_a_text_comes_back_from_its_tokens(self, host: Served) -> None:
        answer = ask(host, "/tokenize", content="grüß 👋")
        assert answer["count"] == len(answer["tokens"]) == len("grüß 👋".encode())
        assert ask(host, "/detokenize", tokens=answer["tokens"])["content"] == "grüß 👋"

    def test_both_servers_words_mean_what_they_mean_there(self, host: Served) -> None:
        plain = ask(host, "/tokenize", content="a")["tokens"]
        begun = ask(host, "/tokenize", prompt="a")["tokens"]
        assert begun == [256, *plain]
        assert ask(host, "/tokenize", prompt="a", add_special_tokens=False)["tokens"] == plain
        assert ask(host, "/tokenize", content="a", add_special=True)["tokens"] == begun

    def test_pieces_that_are_no_characters_are_bytes(self, host: Served) -> None:
        answer = ask(host, "/tokenize", content="aü", with_pieces=True, return_token_strs=True)
        assert [token["piece"] for token in answer["tokens"]] == ["a", [0xC3], [0xBC]]
        assert answer["token_strs"] == ["a", "\ufffd", "\ufffd"]

    @pytest.mark.parametrize("length", [2047, 2048, 2049, 4096, 50_000])
    def test_an_answer_that_is_written_in_portions_says_what_a_short_one_does(self, host: Served, length: int) -> None:
        plain = ask(host, "/tokenize", content="x" * length)
        assert (plain["count"], plain["tokens"]) == (length, [ord("x")] * length)
        told = ask(host, "/tokenize", content="x" * length, with_pieces=True, return_token_strs=True)
        assert told == {**plain, "tokens": [{"id": ord("x"), "piece": "x"}] * length, "token_strs": ["x"] * length}

    def test_a_chat_costs_what_generating_counts(self, host: Served) -> None:
        assert ask(host, "/tokenize", messages=[{"role": "user", "content": "hi"}])["count"] > 2

    @pytest.mark.parametrize(
        "body", [{}, {"content": "a", "prompt": "b"}, {"messages": []}, {"messages": [{"role": "user"}]}, {"content": 1}]
    )
    def test_just_one_thing_is_cut(self, host: Served, body: dict[str, Any]) -> None:
        assert refused(host, "/tokenize", **body)[0] == 400

    @pytest.mark.parametrize("tokens", [[-1], [2**31], [257], ["a"], None])
    def test_what_is_no_token_is_refused(self, host: Served, tokens: Any) -> None:
        assert refused(host, "/detokenize", tokens=tokens)[0] == 400


def test_the_log_tells_who_what_and_how_much_and_nothing_that_was_said(host: Served) -> None:
    host.client.post(
        "/v1/completions",
        json={"model": "chat", "prompt": "a secret word"},
        headers={"x-request-id": "logged-1", "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"},
    )
    from serving import eventually

    eventually(lambda: any("logged-1" in line for line in host.log))
    (line,) = [json.loads(line) for line in host.log if "logged-1" in line]
    expected = {"event": "request", "route": "/v1/completions", "status": 200, "model": "echo", "ability": "generate", "key": ""}
    assert expected.items() <= line.items()
    assert (line["input_tokens"], line["output_tokens"]) == (3, 3)
    assert not any("secret" in line for line in host.log)


def test_metrics_count_requests_tokens_and_states_and_take_no_label_from_a_client(host: Served) -> None:
    host.chat("chat", "one two")
    host.client.get("/no/such/path-of-a-client")
    host.chat("model-of-a-client")
    text = host.client.get("/metrics").text
    assert "modelhost_requests_total{" in text
    assert 'modelhost_tokens_total{ability="generate",kind="output",model="echo"}' in text
    assert 'modelhost_model_state{model="echo",state="ready"} 1.0' in text
    assert 'modelhost_first_event_seconds_bucket{ability="generate"' in text
    assert "of-a-client" not in text


def test_answers_say_where_the_time_went(host: Served) -> None:
    timing = host.chat("echo").headers["server-timing"]
    assert [part.partition(";")[0] for part in timing.split(", ")] == ["load", "queue", "first", "total"]
