"""Dialogues that do not come to their end: voices that fail, and people who leave."""

import json
import re
from typing import Any

import httpx
import pytest
from dialogues import host as host, metric, names, only, say, seconds_of, sound_of, stream
from serving import Serve, Served, eventually


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

    @pytest.fixture(scope="class")
    @classmethod
    def falling_back(cls, serve: Serve) -> Served:
        return serve(
            '[models.mute]\nplugin = "echo"\noptions = { fault = "raise" }\n'
            '[models.echo]\nplugin = "echo"\nrun = "inline"\n'
            '[routes]\ngenerate = ["echo"]\nsynthesize = ["mute", "echo"]\n'
        )

    @pytest.mark.parametrize("live", [False, True])
    def test_a_routes_fallback_speaks_the_reply_from_its_first_word(self, falling_back: Served, live: bool) -> None:
        text = "One two. Three four. Five six."
        steps = stream(falling_back, text=text, stream_text=live)
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


def test_no_failure_of_all_these_was_left_unhandled(host: Served) -> None:
    assert not re.search(r"Traceback|never retrieved|never awaited", "".join(host.log))
