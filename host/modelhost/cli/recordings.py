"""The recordings that a command is given: files, and what comes from pipes."""

import contextlib
import io
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click


@dataclass(frozen=True)
class Recording:
    """A recording by the name it was given, and the file that has its bytes; `path` need not exist."""

    name: str
    path: Path

    @property
    def upload_name(self) -> str:
        """Return what the host is told of the name: its suffix, which hints at the format."""
        return f"recording{self.path.suffix}" if self.path.suffix.isascii() else "recording"


class ReadFile(io.FileIO):
    """A file that reports how much of it has been read, in bytes."""

    def __init__(self, path: Path, on_read: Callable[[int], None]) -> None:
        super().__init__(path, "rb")
        self._on_read = on_read

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any file does, and report it."""
        data = super().read(-1 if size is None else size)
        self._on_read(self.tell())
        return data


@contextlib.contextmanager
def recordings_of(names: tuple[str, ...]) -> Iterator[list[Recording]]:
    """Yield the recordings of these names; `-` is standard input. What a pipe brings is kept in a file until the end."""
    with tempfile.TemporaryDirectory(prefix="modelhost-recordings-") as folder:
        yield [_recording(name, Path(folder) / str(number)) for number, name in enumerate(names)]


def _recording(name: str, copy: Path) -> Recording:
    path = Path(name)
    if name != "-" and not path.is_fifo():
        return Recording(click.format_filename(name), path)
    # A request says how long it is before it is sent, which a pipe does not know.
    with copy.open("wb") as file:
        if name == "-":
            shutil.copyfileobj(sys.stdin.buffer, file)
        else:
            with path.open("rb") as pipe:
                shutil.copyfileobj(pipe, file)
    return Recording("stdin" if name == "-" else name, copy)
