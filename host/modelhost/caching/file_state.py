"""The files that a model reads anew for every request, such as personas, and whether they have changed."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

SMALL = 64 * 1024
"""Bytes up to which a file is compared by its contents. Chosen, because the clock of a file system may miss an edit within
milliseconds, and reading a small one costs little."""


def state_of(paths: Iterable[str]) -> bytes:
    """Return a digest that changes whenever a file at or below these paths does, is added or removed; blocks.

    What is hidden below a folder (`.git`, what editors leave) does not count.
    Of larger files it is their size and times that count; the kernel sets the time of the last change by itself, so one with an
    older date is another all the same.
    """
    seen = [_facts(path) for root in paths for path in _below(Path(root))]
    return hashlib.blake2b(msgspec.msgpack.encode(seen), digest_size=16).digest()


def _below(root: Path) -> Iterator[Path]:
    yield root
    below = sorted((path.relative_to(root), path) for path in root.rglob("*"))
    yield from (path for inside, path in below if not any(part.startswith(".") for part in inside.parts))


def _facts(path: Path) -> tuple[str, bytes | tuple[int, ...] | None]:
    try:
        stat = path.stat()
        if not path.is_file():
            return str(path), None
        if stat.st_size <= SMALL:
            return str(path), path.read_bytes()
        return str(path), (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    except OSError:  # it is gone, or nobody may read it
        return str(path), None
