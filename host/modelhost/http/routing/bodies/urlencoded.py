"""`application/x-www-form-urlencoded`, with a recording in base64 among the fields."""

from collections.abc import Callable, Iterator
from typing import IO
from urllib.parse import unquote_to_bytes

from modelhost.contract.errors import BadInputError
from modelhost.contract.types import Blob
from modelhost.http.routing.bodies.form import MAX_PARTS, Form, Texts, Upload
from modelhost.http.routing.bodies.incoming import AT_ONCE, SMALL
from modelhost.http.routing.bodies.media import Base64File


def read_urlencoded(source: IO[bytes], form: Form, texts: Texts, *, base64_as: str | None, new: Callable[[], IO[bytes]]) -> None:
    """Read a form; blocks. Raises `BadInputError` for what is none."""
    pieces = _Pieces(source)
    count = 0
    while (name := pieces.name()) is not None:
        count += 1
        if count > MAX_PARTS:
            raise _bad(f"more than {MAX_PARTS} fields")
        field = unquote_to_bytes(name.replace(b"+", b" ")).decode("utf-8", "replace")
        if base64_as is not None and field.removesuffix("[]") == base64_as:
            if upload := _file(pieces.value(), base64_as, new):
                form.add_file(upload)
            continue
        texts.begin(field)
        for piece in pieces.value():
            texts.add(unquote_to_bytes(piece.replace(b"+", b" ")))


def _file(pieces: Iterator[bytes], name: str, new: Callable[[], IO[bytes]]) -> Upload | None:
    with new() as file:
        decoder = Base64File(file, name)
        for piece in pieces:
            # A plus would be a space here, which base64 has not: clients that forget to quote it mean it.
            decoder.feed(unquote_to_bytes(piece).replace(b" ", b"+"))
        decoder.finish()
        empty = not file.tell()
    return None if empty else Upload(audio=Blob(path=file.name), field=name)


class _Pieces:
    """Cuts a body to names and values, of which only the first must fit into memory."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._buffer = b""
        self._more()

    def _more(self) -> bool:
        data = self._source.read(AT_ONCE)
        if not data.isascii():
            raise _bad("it has bytes that are not ASCII; quote them as %XX")
        self._buffer += data
        return bool(data)

    def name(self) -> bytes | None:
        """Return the next name; None at the end."""
        while (end := self._buffer.find(b"=")) < 0 and len(self._buffer) <= SMALL and self._more():
            pass
        if not self._buffer:
            return None
        if end < 0 or b"&" in self._buffer[:end]:
            raise _bad("a field has no '='")
        name, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return name

    def value(self) -> Iterator[bytes]:
        """Yield the value of that name, piece by piece, none of which ends in the middle of an escape."""
        while (end := self._buffer.find(b"&")) < 0:
            cut = self._buffer.rfind(b"%", max(0, len(self._buffer) - 2))
            whole = len(self._buffer) if cut < 0 else cut
            yield self._buffer[:whole]
            self._buffer = self._buffer[whole:]
            if not self._more():
                yield self._buffer
                self._buffer = b""
                return
        yield self._buffer[:end]
        self._buffer = self._buffer[end + 1 :]


def _bad(what: str) -> BadInputError:
    return BadInputError(f"the form is not valid: {what}", code="invalid_form")
