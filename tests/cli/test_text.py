"""`modelhost summarize` and `modelhost embed`, as somebody types them, with a host that runs and with one of their own."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from serving import Serve, Served, clean_environment, eventually

CONFIG = """
[models.summaries]
plugin = "summarizer"
options = { generator = "echo" }

[models.echo]
plugin = "echo"

[models.slow]
plugin = "echo"
options = { pace = 4 }

[models.breaks]
plugin = "echo"
options = { fault = "raise", fault_after = 2 }

[routes]
summarize = ["summaries"]
embed = ["echo"]
"""
CODE = "def add(a, b):\n    return a + b\n"
LOG = "".join(f"2026-01-01 10:00:00 INFO request {number} took {number % 7} ms\n" for number in range(500))
Typed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    return serve(CONFIG)


@pytest.fixture
def typed(host: Served, tmp_path: Path) -> Typed:
    """Type `modelhost …` in a folder that has a file of code and a log, with a host that runs."""
    (tmp_path / "add.py").write_text(CODE)
    (tmp_path / "app.log").write_text(LOG)
    (tmp_path / "binary").write_bytes(b"\x7fELF\x00\x01")
    return lambda *arguments, **more: type_in(tmp_path, *arguments, MODELHOST_URL=host.url, **more)


def type_in(folder: Path, *arguments: str, said: bytes = b"", **environ: str) -> subprocess.CompletedProcess[str]:
    """Type `modelhost …` in a folder."""
    command = [sys.executable, "-m", "modelhost", *arguments]
    environment = environment_of(folder, **environ)
    ended = subprocess.run(command, cwd=folder, env=environment, input=said, capture_output=True, timeout=60, check=False)
    return subprocess.CompletedProcess(arguments, ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def environment_of(folder: Path, **environ: str) -> dict[str, str]:
    """An environment in which no host is running."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return {**clean_environment(folder), "MODELHOST_SERVER__PORT": port, "COLUMNS": "80", **environ}


class TestSummarize:
    def test_the_summary_is_printed_and_nothing_else_is(self, typed: Typed) -> None:
        ended = typed("summarize", "add.py", "--persona", "developer")
        assert (ended.returncode, ended.stderr) == (0, "")
        assert "return a + b" in ended.stdout
        assert ended.stdout.endswith("\n")

    def test_standard_input_and_pipes_can_be_summarised(self, typed: Typed) -> None:
        for name in ("-", "/dev/stdin"):
            assert "×500" in typed("summarize", name, said=LOG.encode()).stdout

    def test_settings_reach_the_host(self, typed: Typed) -> None:
        assert len(typed("summarize", "add.py", "--max-tokens", "3").stdout.split()) == 3
        assert typed("summarize", "add.py", "--model", "echo", "--max-tokens", "3").stdout == "def add(a, b): \n"
        assert "no model 'nobody'" in typed("summarize", "add.py", "--generator", "nobody").stderr

    def test_one_that_was_cut_off_is_not_passed_off_as_whole(self, typed: Typed) -> None:
        ended = typed("summarize", "add.py", "--max-tokens", "3")
        assert ended.returncode == 0
        assert ended.stderr == "add.py: the summary was cut off; --max-tokens says how long it may be\n"

    def test_those_of_several_stand_under_the_names_of_their_files(self, typed: Typed) -> None:
        ended = typed("summarize", "add.py", "-", "-m", "echo", "--max-tokens", "2", said=b"one two three")
        assert ended.stdout == "# add.py\n\ndef add(a, \n\n# stdin\n\none two \n"

    def test_they_go_into_the_file_that_is_named(self, typed: Typed, tmp_path: Path) -> None:
        (tmp_path / "notes.md").write_text("old")
        ended = typed("summarize", "add.py", "-", "-m", "echo", "--max-tokens", "2", "-o", "notes.md", said="größer ×".encode())
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
        assert (tmp_path / "notes.md").read_text() == "# add.py\n\ndef add(a, \n\n# stdin\n\ngrößer × \n"

    def test_one_that_fails_stops_no_other(self, typed: Typed) -> None:
        ended = typed("summarize", "binary", "missing", "add.py")
        assert ended.returncode == 1
        binary, missing = ended.stderr.splitlines()
        assert binary == "Error: binary: this is a binary file; send a text file"
        assert missing == "Error: missing: No such file or directory"
        assert ended.stdout.startswith("# add.py\n\n")

    def test_where_all_fail_the_file_is_left_as_it_was(self, typed: Typed, tmp_path: Path) -> None:
        (tmp_path / "notes.md").write_text("old")
        assert typed("summarize", "binary", "-o", "notes.md").returncode == 1
        assert (tmp_path / "notes.md").read_text() == "old"

    def test_a_failure_in_the_middle_is_one_line_after_what_was_written(self, typed: Typed) -> None:
        ended = typed("summarize", "add.py", "--generator", "breaks")
        assert (ended.returncode, len(ended.stdout.split()), ended.stdout[-1]) == (1, 2, "\n")
        assert ended.stderr.startswith("Error: add.py: the backend failed")
        assert len(ended.stderr.splitlines()) == 1

    def test_a_file_that_cannot_be_written_is_one_line(self, typed: Typed) -> None:
        ended = typed("summarize", "add.py", "-o", "none/notes.md")
        assert (ended.returncode, ended.stderr) == (1, "Error: cannot write none/notes.md: No such file or directory\n")

    def test_words_come_while_it_is_being_written_and_ctrl_c_ends_it(self, host: Served, typed: Typed, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "modelhost", "summarize", "add.py", "--generator", "slow", "--url", host.url]
        environment = environment_of(tmp_path)
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writing:
            assert writing.stdout is not None
            assert writing.stdout.read(4)
            assert host.worker("slow")["in_flight"] == 1
            writing.send_signal(signal.SIGINT)
            writing.communicate(timeout=20)
        assert writing.returncode == 130
        eventually(lambda: host.worker("slow")["in_flight"] == 0)

    @pytest.mark.parametrize("name", ["app.log", "[red]app.log"])
    def test_a_terminal_shows_how_far_it_is_where_the_words_go_into_a_pipe(
        self, host: Served, typed: Typed, tmp_path: Path, name: str
    ) -> None:
        (tmp_path / name).write_text(LOG)
        shown = Watched(host, tmp_path, "summarize", name, "--generator", "slow", "--max-tokens", "2")
        assert shown.until(rf"{re.escape(name)}: [1-9]\d* characters")
        text, status = shown.end()
        assert (len(text.split()), status) == (2, 0)

    def test_a_terminal_that_shows_the_words_shows_nothing_else_from_then_on(
        self, host: Served, typed: Typed, tmp_path: Path
    ) -> None:
        shown = Watched(
            host, tmp_path, "summarize", "app.log", "--generator", "slow", "--max-tokens", "2", words_on_the_terminal=True
        )
        shown.end()
        assert "app.log" in shown.text
        assert "characters" not in shown.text


class Watched:
    """A command whose standard error is a terminal, and its standard output another one or a pipe."""

    def __init__(self, host: Served, folder: Path, *arguments: str, words_on_the_terminal: bool = False) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "modelhost", *arguments],
            cwd=folder,
            env=environment_of(folder, TERM="xterm", MODELHOST_URL=host.url),
            stdout=theirs if words_on_the_terminal else subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        self.text = ""

    def until(self, pattern: str) -> bool:
        """Read the terminal until something is on it; false where it ends without."""
        while not re.search(pattern, self.text):
            try:
                self.text += os.read(self._ours, 65536).decode(errors="replace")
            except OSError:  # what Linux gives when the last who could write has left
                return False
        return True

    def end(self) -> tuple[str, int]:
        """Read everything; returns what went into the pipe, and the exit status."""
        self.until("(?!)")
        os.close(self._ours)
        with self._process:
            text = self._process.stdout.read().decode() if self._process.stdout else ""
        return text, self._process.returncode


@pytest.mark.skipif(sys.platform != "linux", reason="a host of its own is tested where it is sure to end")
def test_without_a_host_one_is_started_for_the_command(tmp_path: Path) -> None:
    (tmp_path / "modelhost.toml").write_text(CONFIG)
    ended = type_in(tmp_path, "summarize", "-", "-m", "echo", said=b"one two")
    assert (ended.returncode, ended.stdout) == (0, "one two \n")
    assert ended.stderr == "no host is running: starting one for this command\n"
    refused = type_in(tmp_path, "summarize", "-", "--no-start", said=b"one two")
    assert "no host is running; start one" in refused.stderr


class TestEmbed:
    def test_each_text_is_a_line_of_json_in_order(self, typed: Typed) -> None:
        ended = typed("embed", "one", "two", "one")
        first, second, third = (json.loads(line) for line in ended.stdout.splitlines())
        assert (len(first), first == third, first == second) == (8, True, False)
        assert sum(number * number for number in first) == pytest.approx(1, abs=1e-5)

    def test_a_file_and_standard_input_are_read_and_all_else_is_text(self, typed: Typed) -> None:
        lines = typed("embed", "add.py", "-", CODE, "add.ts", said=CODE.encode()).stdout.splitlines()
        assert lines[0] == lines[1] == lines[2] != lines[3]

    def test_a_text_may_be_longer_than_a_name_can_be(self, typed: Typed) -> None:
        assert len(typed("embed", "word " * 1000).stdout.splitlines()) == 1

    def test_dimensions_and_model_reach_the_host(self, typed: Typed) -> None:
        assert len(json.loads(typed("embed", "one", "-m", "slow", "--dimensions", "8").stdout)) == 8
        assert "no model 'nobody'" in typed("embed", "one", "-m", "nobody").stderr

    def test_a_length_that_is_not_on_the_card_is_refused(self, typed: Typed) -> None:
        """The echo would make vectors of any length."""
        ended = typed("embed", "one", "--dimensions", "9")
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr.startswith("Error: this model's vectors have 8 dimensions; ask for these")

    def test_what_is_no_text_is_one_line(self, typed: Typed, tmp_path: Path) -> None:
        (tmp_path / "picture").write_bytes(b"\xff\xd8\xff")
        ended = typed("embed", "picture")
        assert (ended.returncode, ended.stderr) == (1, "Error: picture is not UTF-8; convert it, or name a text file\n")
