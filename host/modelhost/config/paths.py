"""Paths that the operator wrote, and the texts that lie there."""

import stat
from pathlib import Path

from modelhost.contract.errors import ConfigError


def path_in(folder: Path, written: str, at: str) -> Path:
    """Return the path that is meant by what stands at `at`, relative to `folder`. Raises `ConfigError` for the home of nobody."""
    try:
        return folder / Path(written).expanduser()
    except RuntimeError:
        who = written.partition("/")[0]
        raise ConfigError(f"{at}: {who} is nobody's home folder on this machine; write the path in full") from None


def read_bytes(path: Path, most: int) -> bytes:
    """Return what is in a file.

    Raises `ConfigError` for one of more than `most` bytes, of which no more is read, and for what is no regular file, because a
    device has no end, and a pipe waits for its writer and can be read but once. Raises OSError.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ConfigError(f"{path} is not a file but a folder, a pipe or a device")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ConfigError(f"{path} is longer than the {most} bytes that are read of such a file")
    return content


def read_text(path: Path, most: int) -> str:
    """Return the text in a file of UTF-8, without the mark that Windows' editors begin it with.

    Raises UnicodeDecodeError, and what `read_bytes` raises.
    """
    return read_bytes(path, most).decode("utf-8-sig")
