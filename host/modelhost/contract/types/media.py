"""Bytes that may be large: audio, images, files."""

import tempfile
from pathlib import Path
from typing import IO, Any

SPOOL_OVER = 1024 * 1024
"""A blob of more bytes than this crosses to a worker as a file, not inside a frame."""


class Blob:
    """Bytes in memory or in a file; a backend reads them the same way from either.

    The file of a spooled blob lives as long as the call it came with.
    """

    __slots__ = ("_data", "_path")

    def __init__(self, data: bytes | None = None, *, path: str | Path | None = None) -> None:
        if (data is None) == (path is None):
            raise TypeError("a Blob is made of either bytes or a path")
        self._data = data
        self._path = None if path is None else Path(path)

    @property
    def size(self) -> int:
        """How many bytes there are."""
        if self._data is not None:
            return len(self._data)
        assert self._path is not None
        return self._path.stat().st_size

    @property
    def path(self) -> Path | None:
        """The file they are in; None where they are in memory."""
        return self._path

    def read(self) -> bytes:
        """Return all of the bytes."""
        if self._data is not None:
            return self._data
        assert self._path is not None
        return self._path.read_bytes()

    def open(self) -> IO[bytes]:
        """Open for reading, seekable; the caller closes it."""
        if self._path is not None:
            return self._path.open("rb")
        file = tempfile.SpooledTemporaryFile(max_size=SPOOL_OVER)  # noqa: SIM115  # handed to the caller
        file.write(self._data or b"")
        file.seek(0)
        return file

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Blob) and self.read() == other.read()

    def __hash__(self) -> int:
        return hash(self.read())

    def __repr__(self) -> str:
        return f"Blob({self.size} bytes)"

    def to_wire(self, spool: Path | None) -> dict[str, Any]:
        """Return what crosses the border; with a folder to spool to, what is large is written there first."""
        if self._path is not None:
            return {"path": str(self._path)}
        assert self._data is not None
        if spool is None or len(self._data) <= SPOOL_OVER:
            return {"data": self._data}
        with tempfile.NamedTemporaryFile(dir=spool, delete=False) as file:
            try:
                file.write(self._data)
                file.flush()
            except OSError:
                Path(file.name).unlink(missing_ok=True)
                raise
        return {"path": file.name}

    @classmethod
    def from_wire(cls, value: dict[str, Any]) -> "Blob":
        """Rebuild what `to_wire` gave."""
        return cls(value["data"]) if "data" in value else cls(path=value["path"])
