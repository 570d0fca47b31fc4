"""docs/guides/clients.md and voices.md, typed as printed: a real Whisper and a real voice, and the clients people have."""

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from guide_reader import BLOCK, GUIDES, NODE, Reader

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Somebody who has followed clients.md."""
    reader = Reader("clients.md", tmp_path_factory.mktemp("clients"), {})
    try:
        reader.follow()
        yield reader
    finally:
        assert reader.host.stop() == 0


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Somebody who has followed voices.md, with a stand-in for the fish-speech server."""
    server = fish_server().InThread()
    reader = Reader("voices.md", tmp_path_factory.mktemp("voices"), {"127.0.0.1:8080": server.url.removeprefix("http://")})
    try:
        reader.follow()
        yield reader
    finally:
        assert reader.host.stop() == 0
        server.stop()


def fish_server() -> Any:
    """The stand-in of the plugin's own tests, as a module."""
    path = ROOT / "plugins" / "openaudio" / "tests" / "fish_server.py"
    spec = importlib.util.spec_from_file_location("fish_server_of_the_guide", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("guide", ["clients.md", "voices.md"])
def test_every_block_is_run_or_is_a_configuration(guide: str) -> None:
    text = (GUIDES / guide).read_text()
    assert {what for _, what, _ in BLOCK.findall(text)} == {"file=modelhost.toml", "serve", "run"}
    assert set(re.findall(r"^```(\w+)$", text, re.MULTILINE)) <= {"toml"}


# A voice says nothing twice in quite the same way, so commas and numbers vary in what Whisper hears.


@pytest.mark.parametrize(
    "part",
    ['say "Good morning', "heard = client.audio", "stream=True", '"response_format": "text"', '"type": "start", "model"'],
)
def test_the_recording_is_heard_every_way(clients: Reader, part: str) -> None:
    assert "the meeting is at" in clients.said_by(part).lower()


def test_live_sound_ends_with_all_of_the_text(clients: Reader) -> None:
    *_, last = clients.said_by("websockets.sync").splitlines()
    assert re.match("done good morning.*the meeting is at", last.lower())


def test_several_are_written_into_files_of_their_own(clients: Reader) -> None:
    assert "Good evening" in clients.said_by("-o subtitles")
    assert "Good evening" in clients.said_by("AsyncOpenAI")
    assert (clients.folder / "subtitles" / "morning.srt").exists()


def test_a_model_does_not_differ_from_itself(clients: Reader) -> None:
    assert "word difference rate 0.0%" in clients.said_by("--compare")


def test_speech_arrives_whole(clients: Reader) -> None:
    assert len((clients.folder / "night.mp3").read_bytes()) > 2000
    assert (clients.folder / "sleep.flac").read_bytes().startswith(b"fLaC")


@pytest.mark.skipif(NODE is None, reason="needs Node.js")
def test_javascript_hears_and_speaks(clients: Reader) -> None:
    assert "the meeting is at" in clients.said_by("new FormData").lower()
    assert len((clients.folder / "tomorrow.mp3").read_bytes()) > 2000
    assert re.fullmatch(r"format \ndone [1-9]\d{3,} bytes\n", clients.said_by("new WebSocket"))


def voice_names(listed: str) -> list[str]:
    """The names in a list of voices."""
    return [voice["id"] for voice in json.loads(listed)["data"]]


def test_the_voices_that_are_listed_speak(voices: Reader) -> None:
    assert "en_US-joe-medium" in voice_names(voices.said_by("--voice narrator"))
    assert len((voices.folder / "story.mp3").read_bytes()) > 2000


def test_a_voice_is_made_named_and_forgotten(voices: Reader) -> None:
    assert json.loads(voices.said_by("audio_sample=@"))["id"] == "anna"
    assert "anna" in voice_names(voices.said_by("--voice anna"))
    assert (voices.folder / "good-morning.wav").read_bytes().startswith(b"RIFF")
    assert json.loads(voices.said_by("-X DELETE"))["deleted"] is True


def test_a_request_brings_its_own_voice(voices: Reader) -> None:
    media_type, seconds = voices.said_by("b64encode").split()
    assert (media_type, float(seconds) > 0) == ("audio/mpeg", True)
