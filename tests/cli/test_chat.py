"""`modelhost chat`, as somebody types it: with a pipe, in a terminal, and again the next day."""

import base64
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from serving import Serve, Served
from terminal import environment, plain, read_all, type_here

PROMPT = re.compile(r"(?:you|\.\.\.)> ")
ECHO = '[models.echo]\nplugin = "echo"\n[models.other]\nplugin = "echo"\noptions = { prefix = "other: " }\n'
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    return serve(ECHO)


def talk(folder: Path, host: Served, *lines: str, arguments: tuple[str, ...] = ("-m", "echo")) -> str:
    """Type lines into a conversation in a terminal, each at its prompt, then Ctrl-D; returns all that it shows."""
    ours, theirs = pty.openpty()
    env = environment(folder, TERM="xterm", MODELHOST_URL=host.url, XDG_STATE_HOME=str(folder / "state"))
    process = subprocess.Popen(
        [sys.executable, "-m", "modelhost", "chat", *arguments], cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    typed = iter([*(f"{line}\n".encode() for line in lines), b"\x04"])
    shown, seen = "", 0
    for data in read_all(ours):
        shown += data.decode(errors="replace")
        if len(PROMPT.findall(plain(shown))) > seen:
            seen += 1
            os.write(ours, next(typed, b"\x04"))
    with process:
        assert process.wait(30) == 0
    os.close(ours)
    return plain(shown).replace("\r", "")


def kept(folder: Path) -> list[dict[str, Any]]:
    """The conversation that can be gone on with."""
    messages: list[dict[str, Any]] = json.loads((folder / "state/modelhost/conversation.json").read_text())
    return messages


def test_a_file_through_a_pipe_is_said_after_the_prompt(tmp_path: Path, host: Served) -> None:
    said = type_here(tmp_path, "chat", "-m", "echo", "explain", said=b"def f(): pass\n", MODELHOST_URL=host.url)
    assert said.stdout == "explain def f(): pass \n"


def test_a_conversation_goes_on_the_next_day(tmp_path: Path, host: Served) -> None:
    for words in (["chat", "-m", "echo", "-s", "Be brief.", "first"], ["chat", "-m", "echo", "-c", "second"]):
        said = type_here(tmp_path, *words, MODELHOST_URL=host.url, XDG_STATE_HOME=str(tmp_path / "state"))
        assert said.returncode == 0, said.stderr
    assert [message["content"].strip() for message in kept(tmp_path)] == ["Be brief.", "first", "first", "second", "second"]
    assert (tmp_path / "state/modelhost/conversation.json").stat().st_mode & 0o077 == 0


def test_there_is_nothing_to_go_on_with_before_the_first(tmp_path: Path, host: Served) -> None:
    said = type_here(tmp_path, "chat", "-c", "more", MODELHOST_URL=host.url, XDG_STATE_HOME=str(tmp_path / "state"))
    assert (said.returncode, said.stderr) == (1, "Error: there is no conversation to go on with\n")


def test_commands_of_the_conversation_do_not_go_to_the_model(tmp_path: Path, host: Served) -> None:
    shown = talk(tmp_path, host, "/help", "hello", "/model other", "again", "/nonsense", "/bye", "never")
    assert shown.count("forget what was said") == 2
    assert "other: again" in shown
    assert [message["content"].strip() for message in kept(tmp_path)] == ["hello", "hello", "again", "other: again"]


def test_what_has_several_lines_is_said_whole(tmp_path: Path, host: Served) -> None:
    talk(tmp_path, host, '"""one', "two", 'three"""')
    assert kept(tmp_path)[0]["content"] == "one\ntwo\nthree"


def test_a_conversation_can_be_forgotten_and_its_model_told_anew(tmp_path: Path, host: Served) -> None:
    talk(tmp_path, host, "old", "/clear", "/system Be kind.", "new", arguments=("-m", "echo", "-s", "Be brief."))
    assert [message["content"].strip() for message in kept(tmp_path)] == ["Be kind.", "new", "new"]


def test_the_arrow_keys_bring_back_what_was_typed_before(tmp_path: Path, host: Served) -> None:
    talk(tmp_path, host, "remember me")
    shown = talk(tmp_path, host, "\x1b[A")
    assert kept(tmp_path)[0]["content"] == "remember me"
    assert "^[[A" not in shown


def test_a_picture_goes_along_with_what_is_said_next_alone(tmp_path: Path, host: Served) -> None:
    (tmp_path / "dot.png").write_bytes(PIXEL)
    talk(tmp_path, host, "/image dot.png", "what is this?", "hello")
    first, _, second, _ = (message["content"] for message in kept(tmp_path))
    url = f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"
    assert first == [{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    assert second == "hello"


@pytest.mark.parametrize(
    ("name", "said"), [("gone.png", "gone.png cannot be read"), ("song.mp3", "song.mp3 is not named like a picture")]
)
def test_what_is_no_picture_is_refused_before_anything_is_sent(tmp_path: Path, host: Served, name: str, said: str) -> None:
    ended = type_here(tmp_path, "chat", "-m", "echo", "-i", name, "look", MODELHOST_URL=host.url)
    assert ended.returncode == 1
    assert said in ended.stderr
