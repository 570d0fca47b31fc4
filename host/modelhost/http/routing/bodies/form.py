"""What came in a form, whatever it was written as: fields and files by name."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelhost.contract.errors import BadInputError
from modelhost.contract.structs import Struct
from modelhost.contract.types import Blob
from modelhost.http.routing.bodies.incoming import SMALL
from modelhost.http.routing.errors import TooLargeError

MAX_PARTS = 256
"""Fields and files of one form."""


class Upload(Struct):
    """A file of a form; it is there until the request has been answered."""

    audio: Blob
    filename: str = ""
    media_type: str = ""
    field: str = ""
    """Under which name it came."""

    @property
    def format(self) -> str:
        """What the client says it is: `wav`, `mp3`, …; empty where it says nothing."""
        return Path(self.filename).suffix.removeprefix(".").lower() or self.media_type.rpartition("/")[2].removeprefix("x-")


class Form:
    """Fields and files by name. Names of lists may end in `[]`, as SDKs write them."""

    def __init__(self) -> None:
        self.fields: dict[str, list[Any]] = {}
        self.files: dict[str, list[Upload]] = {}

    def add(self, name: str, value: Any) -> None:
        """Add a field."""
        self.fields.setdefault(name.removesuffix("[]"), []).append(value)

    def add_file(self, upload: Upload) -> None:
        """Add a file."""
        self.files.setdefault(upload.field, []).append(upload)


class Texts:
    """The fields of a form that are text, as they come: on disk where they are not small, until there is memory for them."""

    def __init__(self, most: int, refusal: Callable[[], TooLargeError]) -> None:
        """Raise `refusal` for more than `most` bytes of all together."""
        self._most = most
        self._refusal = refusal
        self._file = tempfile.SpooledTemporaryFile(max_size=SMALL)  # noqa: SIM115  # closed by `close`
        self._begun: list[tuple[str, str, int]] = []
        self.size = 0

    def begin(self, name: str, charset: str = "utf-8") -> None:
        """Begin a field."""
        self._begun.append((name, charset, self.size))

    def add(self, data: bytes) -> None:
        """Add to the field that was begun last."""
        self.size += len(data)
        if self.size > self._most:
            raise self._refusal()
        self._file.write(data)

    def read_into(self, form: Form) -> None:
        """Add all of them to a form. Raises `BadInputError` for bytes that are no text."""
        self._file.seek(0)
        ends = [*(start for _, _, start in self._begun[1:]), self.size]
        for (name, charset, start), end in zip(self._begun, ends, strict=False):
            form.add(name, _text(self._file.read(end - start), name, charset))

    def close(self) -> None:
        """Let go of them."""
        self._file.close()


def _text(data: bytes, name: str, charset: str) -> str:
    try:
        return data.decode(charset)
    except (UnicodeDecodeError, LookupError):
        raise BadInputError(
            f"{name[:100]} is not text in {charset[:40].upper()}; if it is a file, give its part a filename", param=name[:100]
        ) from None
