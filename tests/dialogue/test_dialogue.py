"""Dialogues: something said goes in, a reply comes out, in writing and in speech, whole or step by step."""

import base64
import io
import json
import re
import wave
from pathlib import Path
from typing import Any

import pytest
from dialogues import HEARD, SOUND, host as host, metric, names, only, say, seconds_of, sound_of, stream
from modelhost.config import DialogueConfig
from serving import Serve, Served, eventually


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


class TestReadAloud:
    @pytest.mark.parametrize("live", [False, True])
    def test_markdown_is_shown_and_what_it_says_is_spoken(self, host: Served, live: bool) -> None:
        written = "Say **this** and `that`. * See [here](https://example.com/a_b), e.g. __now__."
        steps = stream(host, text=written, synthesize_model="reader", stream_text=live, format="pcm")
        assert only(steps, "assistant_text")["text"].strip() == written
        spoken = sound_of(steps).decode("utf-16-le")
        assert " ".join(spoken.replace("|", " ").split()) == "Say this and that. * See here, e.g. now."
        assert spoken.count("|") == (2 if live else 1)

    @pytest.mark.parametrize("live", [False, True])
    def test_a_reply_of_marks_alone_is_not_spoken(self, host: Served, live: bool) -> None:
        steps = stream(host, text="** 😀 **", synthesize_model="reader", stream_text=live, format="pcm")
        assert "audio_chunk" not in names(steps)
        assert "degraded" not in names(steps)


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


def test_the_files_of_a_turn_are_gone_when_it_has_been_answered(host: Served) -> None:
    assert host.client.post("/v1/dialogue", files={"file": SOUND}).status_code == 200
    folder = Path(host.folder / "tmp")
    eventually(lambda: not list(folder.rglob("modelhost-upload-*")))


def test_no_failure_of_all_these_was_left_unhandled(host: Served) -> None:
    assert not re.search(r"Traceback|never retrieved|never awaited", "".join(host.log))
