"""Types `modelhost …` in a folder: in a process, in a terminal, or in neither where only the answer matters."""

import contextlib
import io
import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from modelhost.cli import main
from serving import clean_environment

Typed = Callable[..., subprocess.CompletedProcess[str]]
"""Takes the arguments of a command; returns how it ended, and what it printed as Latin-1, whatever it is."""


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


def type_here(folder: Path, *arguments: str, said: bytes = b"", **environ: str) -> subprocess.CompletedProcess[str]:
    """Do what `type_in` does in this process: starting another one takes longer than most commands do."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True) for _ in range(2))
    with (
        contextlib.chdir(folder),
        patch.dict(os.environ, environment(folder, **environ), clear=True),
        patch("sys.stdin", io.TextIOWrapper(io.BytesIO(said), "utf-8")),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main([*arguments])
    printed, complained = (stream.detach().getvalue() for stream in (out, err))
    assert isinstance(ended.value.code, int)
    return subprocess.CompletedProcess(arguments, ended.value.code, printed.decode("latin-1"), complained.decode())


def environment(folder: Path, **environ: str) -> dict[str, str]:
    """An environment in which no host is running."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return {**clean_environment(folder), "MODELHOST_SERVER__PORT": port, "COLUMNS": "80", "FORCE_COLOR": "", **environ}


def names_in(folder: Path) -> list[str]:
    """What a folder has."""
    return [path.name for path in folder.iterdir()]


def in_terminal(folder: Path, *arguments: str, stdout: bool = False) -> tuple[str, bytes]:
    """Type a command in a terminal, with standard output there or elsewhere; returns what that shows, and what went elsewhere."""
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
