"""Live work over WebSockets: what goes over the line, and what bad messages, floods and departures come to."""

import base64
import io
import wave
from pathlib import Path
from typing import Any

import httpx
import pytest
from lines import open_line
from modelhost import Blob
from modelhost.audio import SAMPLE_RATE, decode
from serving import Serve, Served, eventually
from websockets.exceptions import ConnectionClosed

KEY = "a-key-for-the-sockets-0123456789"
CONFIG = f"""
[server]
max_audio_mb = 1

[keys.me]
key = "{KEY}"
scopes = ["inference", "admin"]

[models.echo]
plugin = "echo"

[models.slow]
plugin = "echo"
options = {{ pace = 5 }}

[models.broken]
plugin = "echo"
options = {{ load_fault = "raise" }}

[routes]
transcribe = ["echo"]
generate = ["echo"]
synthesize = ["echo"]
"""

SOCKETS = ["/v1/generate_ws", "/v1/speech-to-text/ws", "/ws/stt", "/v1/text-to-speech/ws", "/ws/tts"]


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    host = serve(CONFIG)
    host.client.headers["authorization"] = f"Bearer {KEY}"
    return host


def running(host: Served, model: str) -> int:
    return int(host.worker(model)["in_flight"])


class TestGenerating:
    def test_prompts_are_answered_one_after_the_other_on_one_line(self, host: Served) -> None:
        with open_line(host, "/v1/generate_ws?model=echo") as line:
            for prompt in ("hello big world", "and again"):
                line.say(prompt=prompt, max_tokens=10)
                *tokens, done = line.until("done")
                assert "".join(token["text"] for token in tokens).strip() == prompt
                assert done["generated_text"].strip() == prompt
                assert (done["model"], done["finish_reason"]) == ("echo", "stop")
                assert done["usage"]["completion_tokens"] == len(prompt.split())

    def test_an_answer_can_be_cancelled_and_the_line_is_free_for_the_next(self, host: Served) -> None:
        with open_line(host, "/v1/generate_ws") as line:
            line.say(type="prompt", prompt="word " * 500, model="slow")
            assert line.hear()["type"] == "token"
            line.say(type="prompt", prompt="me too", model="slow")
            assert "being made" in next(one for one in line.until("error") if one["type"] == "error")["error"]["message"]
            line.say(type="cancel")
            line.until("cancelled")
            eventually(lambda: running(host, "slow") == 0)
            line.say(prompt="quick", model="echo")
            assert line.until("done")[-1]["generated_text"].strip() == "quick"

    def test_a_failure_is_a_message_and_the_line_stays(self, host: Served) -> None:
        with open_line(host, "/v1/generate_ws") as line:
            line.say(prompt="hi", model="nobody")
            assert line.error()["code"] == "model_not_found"
            line.say(prompt="hi", model="broken")
            assert line.error()["type"] == "server_error"
            line.say(prompt="hi", temperature=9)
            assert line.error()["param"] == "temperature"
            line.say(prompt="hi", model="echo")
            assert line.until("done")

    def test_a_client_that_leaves_stops_the_work(self, host: Served) -> None:
        with open_line(host, "/v1/generate_ws") as line:
            line.say(prompt="word " * 500, model="slow")
            line.hear()
            assert running(host, "slow") == 1
        eventually(lambda: running(host, "slow") == 0)


class TestListening:
    def test_sound_is_heard_while_it_comes_in_binary_and_in_base64(self, host: Served) -> None:
        with open_line(host, "/ws/stt?model=echo") as line:
            line.line.send(bytes(100))
            assert line.until("partial")[-1]["text"] == "100 bytes"
            line.say(type="audio", audio=base64.b64encode(bytes(60)).decode())
            assert line.until("partial")[-1]["text"] == "160 bytes"
            line.say(type="end")
            done = line.until("done")[-1]
            assert done["text"] == "heard 160 bytes"
            assert done["usage"]["seconds"] == 3

    def test_after_the_end_a_new_start_begins_anew(self, host: Served) -> None:
        with open_line(host, "/v1/speech-to-text/ws") as line:
            for size in (10, 20):
                line.say(type="start", model="echo", partial=False, sample_rate=8000)
                line.say(audio=base64.b64encode(bytes(size)).decode())
                line.say(type="end")
                heard = line.until("done")
                assert {one["type"] for one in heard} == {"segment", "done"}
                assert heard[-1]["text"] == f"heard {size} bytes"

    def test_what_is_no_pcm_is_written_down_at_the_end(self, host: Served) -> None:
        with open_line(host, "/ws/stt") as line:
            line.say(type="start", model="echo", format="webm")
            for _ in range(3):
                line.line.send(bytes(1000))
            line.say(type="end")
            assert line.until("done")[-1]["text"] == "heard 3000 bytes"

    def test_a_recording_over_the_limit_is_refused(self, host: Served) -> None:
        with open_line(host, "/ws/stt") as line:
            line.say(type="start", model="echo", format="webm")
            line.line.send(bytes(900_000))
            line.line.send(bytes(900_000))
            assert "larger than 1 MiB" in line.error()["message"]
            line.line.send(bytes(900_000))
            line.say(type="end")
            line.say(type="start", model="echo")
            line.say(type="end")
            assert line.until("done")[-1]["text"] == "heard 0 bytes", "half a recording is not taken for the whole"
            eventually(lambda: not host.uploads())

    def test_a_second_start_before_the_end_and_broken_base64_are_told(self, host: Served) -> None:
        with open_line(host, "/ws/stt?model=echo") as line:
            line.say(type="start", model="echo", partial=False)
            line.say(type="start", model="echo")
            assert "before you `start`" in line.error()["message"]
            line.say(type="audio", audio="?")
            assert line.error()["code"] == "invalid_base64"
            line.say(type="end")
            assert line.until("done")[-1]["text"] == "heard 0 bytes"

    def test_who_only_starts_takes_no_place_of_the_model(self, host: Served) -> None:
        with open_line(host, "/ws/stt") as ears, open_line(host, "/ws/tts") as mouth:
            ears.say(type="start", model="slow")
            mouth.say(type="start", model="slow")
            ears.say(type="nonsense")  # an answer to it shows that what came before has been read
            mouth.say(type="nonsense")
            ears.error()
            mouth.error()
            assert running(host, "slow") == 0

    def test_a_recording_leaves_the_disk_when_it_has_been_answered(self, host: Served) -> None:
        with open_line(host, "/ws/stt") as line:
            for _ in range(3):
                line.say(type="start", model="echo", format="webm")
                line.line.send(bytes(1000))
                line.say(type="end")
                line.until("done")
            eventually(lambda: not host.uploads())

    def test_a_client_that_leaves_stops_the_work(self, host: Served) -> None:
        with open_line(host, "/ws/stt?model=slow") as line:
            line.line.send(bytes(100))
            eventually(lambda: running(host, "slow") == 1)
        eventually(lambda: running(host, "slow") == 0)

    def test_an_unknown_model_is_told_and_what_follows_is_not_kept(self, host: Served) -> None:
        with open_line(host, "/ws/stt?model=nobody") as line:
            line.line.send(bytes(100))
            assert line.error()["code"] == "model_not_found"
            for _ in range(20):
                line.line.send(bytes(500_000))
            line.say(type="end")
            line.say(type="start", model="echo")
            line.say(type="end")
            assert line.until("done")[-1]["text"] == "heard 0 bytes"


class TestSpeaking:
    def sound(self, parts: list[Any]) -> bytes:
        return b"".join(base64.b64decode(part["audio"]) for part in parts if part["type"] == "audio")

    def test_a_whole_text_in_one_message(self, host: Served) -> None:
        with open_line(host, "/ws/tts?model=echo") as line:
            line.say(text="one two three. four five.", format="wav")
            form, *parts, done = line.until("done")
            assert form == {"type": "format", "format": "wav", "media_type": "audio/wav", "sample_rate": 16_000}
            assert done["duration"] == pytest.approx(0.5)
            with wave.open(io.BytesIO(self.sound(parts))) as file:
                assert file.getframerate() == 16_000

    def test_the_first_sentence_is_heard_before_the_last_is_written(self, host: Served) -> None:
        with open_line(host, "/v1/text-to-speech/ws", max_size=None) as line:
            line.say(type="start", model="echo", format="mp3", binary=True, sample_rate=24_000)
            line.say(type="text", text="This is the first sentence and it is long enough for a frame or two. An")
            assert line.hear()["sample_rate"] == 24_000
            first = line.hear()
            assert isinstance(first, bytes)
            line.say(type="text", text="d this is the second.")
            line.say(type="end")
            sound = first
            while isinstance(told := line.hear(), bytes):
                sound += told
            assert told == {"type": "done", "duration": pytest.approx(2.0)}
            assert len(decode(Blob(sound))) / SAMPLE_RATE == pytest.approx(2.0, abs=0.2)

    def test_a_voice_that_is_not_there_is_told(self, host: Served) -> None:
        with open_line(host, "/ws/tts?model=echo") as line:
            line.say(text="hello", voice="nobody")
            assert line.error()["code"] == "unknown_voice"
            line.say(text="hello", reference_id="default", format="pcm")
            assert line.until("done")[-1]["duration"] == pytest.approx(0.1)

    def test_nothing_to_say_is_no_error(self, host: Served) -> None:
        with open_line(host, "/ws/tts?model=echo") as line:
            line.say(text=" ... ")
            assert line.until("done") == [{"type": "done", "duration": 0.0}]


@pytest.mark.hostile
class TestBadClients:
    @pytest.mark.parametrize("path", SOCKETS)
    def test_a_message_has_no_more_values_than_a_body(self, host: Served, path: str) -> None:
        with open_line(host, path) as line:
            line.line.send('{"type": "start", "x": [' + "[]," * 140_000 + "[]]}")
            assert line.error()["code"] == "too_many_values"
            line.line.send("{}")
            assert line.error()["type"] == "invalid_request_error", "the line stays"

    @pytest.mark.parametrize("path", SOCKETS)
    @pytest.mark.parametrize(
        "message", ["", "{", "[]", "3", '{"type": "launch"}', '{"type": 7}', "{}", '{"type": "start", "model": 3}', "[" * 100_000]
    )
    def test_a_bad_message_gets_an_error_and_the_line_stays(self, host: Served, path: str, message: str) -> None:
        with open_line(host, path) as line:
            for _ in range(3):
                line.line.send(message)
                assert line.error()["type"] == "invalid_request_error"

    def test_who_sends_nothing_but_nonsense_is_closed(self, host: Served) -> None:
        with open_line(host, "/ws/stt") as line:
            for _ in range(100):
                line.line.send("nonsense")
                assert line.error()
            with pytest.raises(ConnectionClosed) as closed:
                line.hear()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008

    def test_binary_frames_where_none_belong_are_told(self, host: Served) -> None:
        for path in ("/v1/generate_ws", "/ws/tts"):
            with open_line(host, path) as line:
                line.line.send(b"\0\1\2")
                assert "binary" in line.error()["message"]

    def test_a_message_over_a_megabyte_closes_the_line_and_nobody_elses(self, host: Served) -> None:
        with open_line(host, "/v1/generate_ws?model=echo") as other:
            with open_line(host, "/ws/stt") as line:
                line.line.send("x" * 2**21)
                with pytest.raises(ConnectionClosed):
                    line.hear()
            other.say(prompt="still here")
            assert other.until("done")

    def test_a_flood_waits_in_the_client_not_in_the_host(self, host: Served) -> None:
        before = rss(host)
        with open_line(host, "/ws/stt?model=slow", close_timeout=1) as line:
            line.line.socket.settimeout(2)
            try:
                for _ in range(400):
                    line.line.send(bytes(2**20 - 100))
            except (TimeoutError, ConnectionClosed):
                pass
            assert rss(host) - before < 160 * 2**20, "of 400 MiB; what was let in is held more than once by allocators under load"
        eventually(lambda: running(host, "slow") == 0)

    @pytest.mark.parametrize("path", SOCKETS)
    def test_without_a_key_the_handshake_is_refused_with_a_reason(self, host: Served, path: str) -> None:
        headers = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
        answer = httpx.get(
            f"{host.url}{path}", headers={**headers, "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}, trust_env=False
        )
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"


def rss(host: Served) -> int:
    return int(Path(f"/proc/{host.process.pid}/statm").read_text().split()[1]) * 4096
