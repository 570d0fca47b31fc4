"""Recordings and pictures in base64: decoded piece by piece into files, wherever in a request they stand."""

import binascii
import secrets
from pathlib import Path
from typing import IO, Any

from litestar import Request

from modelhost.contract.errors import BadInputError, UnsupportedError
from modelhost.contract.structs import Struct
from modelhost.contract.types import Blob
from modelhost.http.routing.bodies.incoming import SMALL
from modelhost.http.routing.bodies.spool import Spool

LONGEST_HEAD = 1024
"""Bytes that may stand before the comma of a `data:` URL."""

_HEAD = b"data:"


def from_base64(text: str | bytes, param: str) -> bytes:
    """Decode base64, with or without the head of a `data:` URL. Raises `BadInputError`."""
    data = text if isinstance(text, bytes) else text.encode("ascii", "replace")
    if data.startswith(_HEAD):
        data = data.partition(b",")[2]
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except binascii.Error:
        raise not_base64(param) from None


def not_base64(param: str) -> BadInputError:
    """Say that it is none."""
    return BadInputError(f"{param} is not valid base64", param=param, code="invalid_base64")


class Base64File:
    """A file that is written in base64, with or without the head of a `data:` URL. Raises `BadInputError` for what is none."""

    def __init__(self, file: IO[bytes], param: str) -> None:
        self._file = file
        self._param = param
        self._left = b""
        self._begun = False
        self._ended = False
        self.head = ""
        """What stood before the comma of a `data:` URL."""

    def feed(self, data: bytes) -> None:
        """Take more of it, in pieces of any length."""
        data = self._left + data
        if not self._begun and (comma := self._after_head(data)) is None:
            self._left = data
            return
        if not self._begun:
            self._begun = True
            self.head = data[: comma or 0].decode("ascii", "replace").rstrip(",")
            data = data[comma or 0 :]
        whole = len(data) // 4 * 4
        self._write(data[:whole])
        self._left = data[whole:]

    def _after_head(self, data: bytes) -> int | None:
        """Return where the base64 begins; None where that cannot be said yet."""
        if data[: len(_HEAD)] == _HEAD[: len(data)]:
            comma = data.find(b",", 0, LONGEST_HEAD)
            if comma < 0 and len(data) < LONGEST_HEAD:
                return None
            return comma + 1
        return 0

    def _write(self, data: bytes) -> None:
        if not data:
            return
        if self._ended:
            raise not_base64(self._param)
        self._ended = data.endswith(b"=")
        try:
            self._file.write(binascii.a2b_base64(data, strict_mode=True))
        except binascii.Error:
            raise not_base64(self._param) from None

    def finish(self) -> None:
        """End it. Raises `BadInputError` where something is missing."""
        if not self._begun:
            self._begun = True
            self.feed(b"")
        if self._left:
            raise not_base64(self._param)


class Lifted(Struct):
    """What was taken out of a body, and decoded."""

    path: Path
    head: str


class Media:
    """What of a request's media lies in files already; the strings of its body that stand for them tell which."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._token = ""
        self._lifted: dict[str, Lifted] = {}
        self.large = False
        """Whether the body is so large that working on it would keep the event loop from others."""

    @classmethod
    def of(cls, request: Request[Any, Any, Any]) -> "Media":
        """Return that of a request, which has one."""
        scope: Any = request.scope
        if "modelhost.media" not in scope:
            scope["modelhost.media"] = cls(Spool.of(request))
        media: Media = scope["modelhost.media"]
        return media

    def new(self) -> IO[bytes]:
        """Open a file for something that is lifted out; blocks."""
        return self._spool.new()

    def lifted(self, path: Path, head: str) -> str:
        """Return the string that stands for a file; nobody outside can make one up."""
        self._token = self._token or secrets.token_hex(16)
        name = f"{self._token}{len(self._lifted)}"
        self._lifted[name] = Lifted(path=path, head=head)
        return name

    def blob(self, text: str, param: str) -> Blob:
        """Return what a string of the body stands for. Raises `BadInputError` where it is no base64. Blocks where it is large."""
        if found := self._lifted.get(text):
            return Blob(path=found.path)
        data = from_base64(text, param)
        return Blob(data) if len(data) <= SMALL else Blob(path=self._spool.store(data))

    def picture(self, url: str, param: str) -> tuple[str, Blob]:
        """Return the media type and the bytes of a `data:` URL. Raises `RequestError` for any other."""
        found = self._lifted.get(url)
        head, comma, _ = (found.head, ",", "") if found else url.partition(",")
        if not head.startswith("data:") or not comma or not head.endswith(";base64"):
            raise UnsupportedError("this host fetches nothing; send the picture as data:image/png;base64,…", param=param)
        return head.removeprefix("data:").removesuffix(";base64") or "image/png", self.blob(url, param)
