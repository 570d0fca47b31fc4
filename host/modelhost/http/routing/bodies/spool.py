"""A request's files on disk; they are gone when the request has been answered."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from litestar import Request

from modelhost.concurrency.executor import threads
from modelhost.http.routing.in_flight import in_flight_of

PREFIX = "modelhost-upload-"


class Spool:
    """The folder of one request's files, made with the first of them; blocks, so use it from `in_thread`."""

    def __init__(self, on_leave: Callable[[Callable[[], None]], None]) -> None:
        """`on_leave` is given what removes the files."""
        self._folder: Path | None = None
        on_leave(self._remove)

    @classmethod
    def of(cls, request: Request[Any, Any, Any]) -> "Spool":
        """Return the spool of a request, which has one."""
        scope: Any = request.scope
        if "modelhost.spool" not in scope:
            scope["modelhost.spool"] = cls(in_flight_of(scope).on_leave)
        spool: Spool = scope["modelhost.spool"]
        return spool

    def new(self) -> IO[bytes]:
        """Open a new file for writing; its `name` is its path, and the caller closes it."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        file: Any = tempfile.NamedTemporaryFile(dir=self._folder, delete=False)  # noqa: SIM115  # handed to the caller
        return file  # type: ignore[no-any-return]

    def store(self, data: bytes) -> Path:
        """Write a file, and give its path."""
        with self.new() as file:
            file.write(data)
        return Path(file.name)

    def _remove(self) -> None:
        if self._folder is not None:
            threads.submit(shutil.rmtree, self._folder, ignore_errors=True)  # a hundred megabytes take a while to free
